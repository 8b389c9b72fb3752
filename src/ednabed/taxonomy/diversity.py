"""Diversity of samples, as observed and as expected at a common depth.

Samples with more reads show more taxa, so samples are compared at one depth: rarefied to ``m`` reads. This module
computes the exact expectation over all ways to draw m of a sample's n reads without replacement, so nothing is random
and nothing needs to be repeated. Of the n reads, a taxon has x; the number K of these among the m drawn is
hypergeometric:

- richness: the sum over taxa of P(K > 0) (Hurlbert 1971, Ecology 52:577);
- Shannon: the expectation of the entropy of the drawn reads, the sum over k of -(k/m) ln(k/m) f_k(m), where f_k(m) is
  the expected number of taxa with k reads (Chao et al. 2014, Ecological Monographs 84:45, appendix);
- Gini-Simpson: 1 - E[sum of (K/m)^2], from E[K(K - 1)] = m(m - 1) x(x - 1) / (n(n - 1)).

The entropy of a drawn sample is below that of the pool, however large m is: compare entropies only at one depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Floats, Ints
from ednabed.errors import UsageError

_OMITTED = 1e-16
"""Maximum probability omitted at the ends of a distribution; over 10,000 taxa it changes no figure by 1e-12."""


@dataclass(frozen=True, eq=False)
class Rarefied:
    """Expected diversity at several depths or of several samples; NaN if there are fewer reads than the depth.

    Attributes:
        richness: Number of taxa, float64, shape (n,), 1 to the number of taxa.
        shannon: Entropy in nats (natural logarithm), float64, shape (n,), at least 0.
        simpson: Gini-Simpson index: probability that two reads, drawn with replacement, are of different taxa; float64,
            shape (n,), 0 to below 1.
    """

    richness: Floats
    shannon: Floats
    simpson: Floats


@dataclass(frozen=True, eq=False)
class Diversity:
    """Diversity of several samples.

    Attributes:
        reads: Reads of each sample, int64, shape (samples,).
        richness: Taxa with a read, int64, shape (samples,).
        shannon: Entropy in nats, float64, shape (samples,); NaN of a sample without reads.
        simpson: Gini-Simpson index, float64, shape (samples,), 0 to below 1; NaN of a sample without reads.
        depth: Reads to which the samples are rarefied; 0 if no sample has reads.
        rarefied: Expected diversity at this depth, each of shape (samples,); NaN of samples with fewer reads.
    """

    reads: Ints
    richness: Ints
    shannon: Floats
    simpson: Floats
    depth: int
    rarefied: Rarefied


def diversity(counts: npt.ArrayLike, depth: int | None = None) -> Diversity:
    """Return the diversity of samples.

    A sample of 5 million reads and 10,000 taxa takes some 0.04 s.

    Args:
        counts: Reads of each taxon in each sample, integers from 0, shape (samples, taxa).
        depth: Reads to rarefy to, at least 1; None takes the reads of the smallest sample that has any.

    Raises:
        UsageError: The depth is below 1, or the counts are not a two-dimensional array of integers from 0.
    """
    table = _checked(counts, 2)
    reads = table.sum(axis=1)
    if depth is None:
        depth = int(reads[reads > 0].min(initial=np.iinfo(np.int64).max)) if (reads > 0).any() else 0
    else:
        _check_depths(np.array([depth]))
    samples = [_Sample(row) for row in table]
    found = [sample.at(depth) for sample in samples]
    return Diversity(
        reads,
        (table > 0).sum(axis=1).astype(np.int64),
        np.array([sample.shannon for sample in samples], np.float64),
        np.array([sample.simpson for sample in samples], np.float64),
        depth,
        _rarefied(found),
    )


def rarefaction_curve(counts: npt.ArrayLike, depths: npt.ArrayLike) -> Rarefied:
    """Return the expected diversity of one sample at several depths.

    Args:
        counts: Reads of each taxon, integers from 0, shape (taxa,).
        depths: Numbers of reads, at least 1, shape (d,), in any order.

    Returns:
        The three indices, each of shape (d,), in the order of the depths; NaN if the sample has fewer reads.

    Raises:
        UsageError: A depth is below 1, or the counts are not integers from 0.
    """
    sample = _Sample(_checked(counts, 1))
    requested = np.atleast_1d(np.asarray(depths))
    _check_depths(requested)
    requested = _checked(requested, 1)
    return _rarefied([sample.at(depth) for depth in requested.tolist()])


class _Sample:
    """One sample: its distinct read counts per taxon, and how many taxa have each."""

    def __init__(self, counts: Ints) -> None:
        self.reads, self.taxa = np.unique(counts[counts > 0], return_counts=True)
        self.total = int(counts.sum())
        share = self.reads / max(1, self.total)
        self.shannon = float(-(self.taxa * share * np.log(share)).sum()) + 0.0 if self.total else math.nan
        self.simpson = float(1 - (self.taxa * share**2).sum()) if self.total else math.nan

    def at(self, depth: int) -> tuple[float, float, float]:
        """Return the expected richness, entropy and Gini-Simpson index at a depth."""
        n, m = self.total, depth
        if not 1 <= m <= n:
            return math.nan, math.nan, math.nan
        if m == n:
            return float(self.taxa.sum()), self.shannon, self.simpson
        richness = shannon = 0.0
        for x, taxa in zip(self.reads.tolist(), self.taxa.tolist(), strict=True):
            k, p = _drawn(n, x, m)
            share = k / m
            # A share of 0 adds nothing; it is replaced by 1, whose logarithm is 0.
            shannon -= taxa * float(p @ (share * np.log(np.where(k > 0, share, 1))))
            richness += taxa * (1 - float(p[0]) if k[0] == 0 else 1.0)
        x = self.reads.astype(np.float64)
        # n is above m, and therefore above 1.
        pairs = float((self.taxa * (x / n) * ((x - 1) / (n - 1))).sum())
        # One read belongs to one taxon, but the sum over many taxa is not quite 0.
        return richness, max(0.0, shannon), max(0.0, (1 - 1 / m) * (1 - pairs))


def _drawn(n: int, x: int, m: int) -> tuple[Floats, Floats]:
    """Return the numbers of reads that a taxon may keep, and their probabilities, without the negligible ends.

    A hypergeometric variable is closer to its mean than a binomial variable with the same mean (Hoeffding 1963, section
    6), so Bernstein's inequality bounds the distance from the mean beyond which values are omitted. Probabilities are
    products of the ratios of neighbours, scaled to sum to 1: logarithms of factorials of millions would leave only 8
    digits.
    """
    mean = x * (m / n)
    variance = mean * min(1 - x / n, 1 - m / n)
    logarithm = math.log(2 / _OMITTED)
    far = logarithm / 3 + math.sqrt((logarithm / 3) ** 2 + 2 * logarithm * variance)
    first = max(0, x + m - n, math.floor(mean - far))
    last = min(x, m, math.ceil(mean + far))
    k = np.arange(first, last + 1, dtype=np.float64)
    before = k[:-1]
    ratios = ((x - before) / (before + 1)) * ((m - before) / (n - x - m + before + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    p = np.exp(logs - logs.max())
    return k, np.asarray(p / p.sum(), np.float64)


def _rarefied(found: list[tuple[float, float, float]]) -> Rarefied:
    columns = np.array(found, np.float64).reshape(-1, 3)
    return Rarefied(columns[:, 0].copy(), columns[:, 1].copy(), columns[:, 2].copy())


def _checked(values: npt.ArrayLike, dimensions: int) -> Ints:
    array = np.asarray(values)
    if array.size == 0 and array.ndim == dimensions:
        return np.asarray(array, np.int64)
    if array.ndim != dimensions or array.dtype.kind not in "iu" or array.min() < 0:
        raise UsageError(
            f"got an array of shape {array.shape} and type {array.dtype}, expected {dimensions} dimensions of integers "
            "from 0; give numbers of reads"
        )
    return array.astype(np.int64)


def _check_depths(depths: npt.NDArray[Any]) -> None:
    if (depths < 1).any():
        raise UsageError(f"got a depth of {int(depths.min())} reads, expected at least 1; give another `depth`")
