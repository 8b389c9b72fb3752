"""What a reference lacks of a query, how common each case is in a study, and what that implies for probabilities.

Of an exact copy a reference lacks nothing; of a new sequence of a known species it lacks the sequence; of others the
species, the genus, the family, or the order or more. How a query looks in each of these situations is learned from the
reference (``fitting``). How common each one is differs between studies, and is estimated from the queries themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Floats, Ints
from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.draws import COPY, RECORD

SITUATIONS = ("nothing", "sequence", "species", "genus", "family", "order")
"""What the reference lacks; with the order possibly the class and the phylum too."""
KNOWN = 0.5
"""Share of queries whose species is assumed to be in the reference, if it is not estimated from the queries."""
ABSENT_RANKS = tuple(RANKS.index(rank) for rank in ("species", "genus", "family", "order"))
"""Ranks whose taxon can be reported as absent."""
MIN_QUERIES = 50
"""Minimum number of distinct queries for an estimate of their shares."""
_FIRST_ABSENT = 2
_PRIOR = 20.0
"""Pseudo-count, in queries, of the default proportions among the known (copies, new sequences) and among the unknown
(absent species, genera, families, orders). Small studies can hardly distinguish these."""
_PRIOR_SHARE = 0.2
"""Fraction of the study that is added to the pseudo-count among the unknown: in large studies a small difference
between draws and queries would otherwise look like other proportions. Among the known, copies are exact, so no more is
needed."""
MIN_KNOWN, MAX_KNOWN = 0.05, 0.95
"""Bounds of an estimated share of known species. Queries that do not resemble any draw would otherwise drive it to 0 or
1, and with it every name."""
_MAX_STEPS = 2_000
_TOLERANCE = 1e-5
_MIN_PROBABILITY = 1e-9


@dataclass(frozen=True)
class Shares:
    """How common the situations are in a study.

    Attributes:
        shares: Share of each of ``SITUATIONS``, summing to 1.
        source: ``estimated`` from the queries, ``fixed`` by the user, or the ``default``.
        queries: Number of distinct queries that the shares refer to.
    """

    shares: tuple[float, ...]
    source: str
    queries: int

    @property
    def known(self) -> float:
        """Share of queries whose species is in the reference."""
        return sum(self.shares[:_FIRST_ABSENT])


def situation_of(level: Ints) -> Ints:
    """Return the index of the situation of draws that left out these levels (``draws.LEVELS``)."""
    found = np.full(level.shape, len(SITUATIONS) - 1, np.int64)
    for number, left_out in enumerate((COPY, RECORD, *ABSENT_RANKS[:-1])):
        found[level == left_out] = number
    return found


def n_present(rank: int) -> int:
    """Return how many situations, from the first, leave the taxon of a rank in the reference; all above order."""
    return _FIRST_ABSENT + ABSENT_RANKS.index(rank) if rank in ABSENT_RANKS else len(SITUATIONS)


def presence(likely: Floats, rank: int) -> Floats:
    """Return the probability that the taxon of a rank is in the reference, shape (n,), from shape (n, 6)."""
    return np.asarray(likely[:, : n_present(rank)].sum(axis=1), np.float64)


def absence_score(likely: Floats, rank: int) -> Floats:
    """Return the log odds that the taxon of a rank is not in the reference, shape (n,), from shape (n, 6)."""
    present = np.clip(presence(likely, rank), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.asarray(np.log1p(-present) - np.log(present), np.float64)


def shifted(likely: Floats, fitted: Floats, shares: Floats) -> Floats:
    """Return probabilities of situations under other shares than those of the draws that they were learned from.

    Saerens, Latinne and Decaestecker 2002 (Neural Computation 14:21), eq. 2.4.

    Args:
        likely: Probabilities, shape (n, 6).
        fitted: Shares of the draws, shape (6,).
        shares: The shares to use, shape (6,).
    """
    other = likely * np.where(fitted > 0, shares / np.where(fitted > 0, fitted, 1), 0)
    total = other.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, other / np.where(total > 0, total, 1), likely), np.float64)


def with_known(shares: Floats, known: float) -> Floats:
    """Return shares with another share of known species; proportions among the known, and the others, do not change.

    Raises:
        UsageError: ``known`` is not between 0 and 1.
    """
    if not 0 < known < 1:
        raise UsageError(f"`known` is {known:g}; expected a share above 0 and below 1, such as {KNOWN}")
    parts = np.array(shares, np.float64)
    for half, share in ((slice(0, _FIRST_ABSENT), known), (slice(_FIRST_ABSENT, None), 1 - known)):
        total = parts[half].sum()
        parts[half] = parts[half] / total * share if total > 0 else 0
    return np.asarray(parts / parts.sum(), np.float64)


def estimate(likely: Floats, fitted: Floats, default: Floats) -> Shares:
    """Estimate how common each situation is in a study.

    The method is expectation maximisation on the probabilities of its queries (Saerens et al. 2002, eq. 2.9). The
    proportions among the known (copies, new sequences) and among the unknown (absent species, genera, families, orders)
    are posterior modes under Dirichlet priors (``_PRIOR``, ``_PRIOR_SHARE``). The share of known species is free,
    between ``MIN_KNOWN`` and ``MAX_KNOWN``. With fewer than ``MIN_QUERIES`` queries, or if the estimate does not
    converge, the default is returned.

    Args:
        likely: Probabilities of distinct queries, under the shares of the draws, shape (n, 6).
        fitted: These shares, shape (6,).
        default: The default shares, shape (6,).
    """
    usual = Shares(tuple(default.tolist()), "default", len(likely))
    halves = slice(0, _FIRST_ABSENT), slice(_FIRST_ABSENT, None)
    if len(likely) < MIN_QUERIES or not all(default[half].sum() > 0 for half in halves):
        return usual
    priors = _PRIOR, _PRIOR + _PRIOR_SHARE * len(likely)
    share = default
    for _ in range(_MAX_STEPS):
        last, share = share, shifted(likely, fitted, share).mean(axis=0)
        for half, prior in zip(halves, priors, strict=True):
            total = share[half].sum()
            parts = default[half] / default[half].sum()
            share[half] = total * (len(likely) * share[half] + prior * parts) / (len(likely) * total + prior)
        if np.abs(share - last).max() < _TOLERANCE:
            known = float(np.clip(share[:_FIRST_ABSENT].sum(), MIN_KNOWN, MAX_KNOWN))
            return Shares(tuple(with_known(share, known).tolist()), "estimated", len(likely))
    return usual
