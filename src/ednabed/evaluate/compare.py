"""Two versions beside each other: what each has, and how far they agree on the sequences that both embedded.

Agreement is measured on a seeded sample of the common distinct sequences: how many of the ten nearest others a sequence
has in common under both versions, how alike the two rank the similarities of pairs, and how often the nearest other
sequence has the same name under each. Where nothing is common, nothing is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.errors import UsageError
from ednabed.evaluate.common_sequences import Digests, common_digests, gather, hold
from ednabed.evaluate.comparison import Accuracy, Comparison
from ednabed.models.base import FloatArray
from ednabed.search.exact import nearest
from ednabed.sequences.lineage import RANKS
from ednabed.store.versions import Versions

__all__ = ["Accuracy", "Comparison", "compare_versions"]

NEIGHBOURS = 10
MOST_PAIRS = 1_000_000
# What float32 vectors carry: cosines that differ by less are ties, so that rounding makes no order.
_DECIMALS = 7
_BLOCK_ROWS = 256

Float64 = npt.NDArray[np.float64]


def compare_versions(
    workspace: Path,
    first: str,
    second: str,
    *,
    root: Path | None = None,
    sample: int = 2000,
    ranks: Sequence[str] = ("genus", "species"),
    seed: int = 0,
) -> Comparison:
    """Compare two versions of a workspace.

    Args:
        workspace: Folder of the workspace.
        first: Name of a version.
        second: Name of another one.
        root: Folder below which the runs are; None: that of the workspace.
        sample: Common distinct sequences measured, at most; the vectors of both versions are held for so many.
        ranks: Ranks of the names that are compared.
        seed: Of the samples; the same seed and runs give the same result.

    Raises:
        StoreError: There is no such version or folder, or a vector is not finite.
        UsageError: The two are one, or a number or rank cannot be meant.
    """
    versions = Versions.read(workspace)
    pair = versions.get(first), versions.get(second)
    if first == second:
        raise UsageError(f"{first!r} was named twice; name two versions")
    if sample < 2 or seed < 0:
        raise UsageError(f"sample {sample} and seed {seed}: wanted at least 2 sequences and a seed of at least 0")
    strange = [rank for rank in ranks if rank not in RANKS]
    if strange:
        raise UsageError(f"rank {strange[0]!r} is unknown; choose among {', '.join(RANKS)}")
    holdings, digests, damaged = hold(workspace, versions, pair, root)
    both = common_digests(*digests)
    chosen = _sample(both, sample, seed)
    vectors, names, conflicting = gather(holdings, chosen, ranks)
    k = shared = chance = correlation = None
    pairs = 0
    accuracies = [Accuracy(rank, 0, None, None) for rank in ranks]
    n = len(chosen)
    if n > 1:
        k = min(NEIGHBOURS, n - 1)
        near = neighbours(vectors[0], k), neighbours(vectors[1], k)
        shared, chance = overlap(*near), k / (n - 1)
        i, j = pairs_of(n, MOST_PAIRS, seed)
        pairs = len(i)
        correlation = spearman(cosines(vectors[0], i, j), cosines(vectors[1], i, j))
        accuracies = [_accuracy(rank, names[rank], near) for rank in ranks]
    return Comparison(
        versions=pair,
        holdings=holdings,
        damaged=damaged,
        common=len(both),
        sampled=n,
        seed=seed,
        neighbours=k,
        overlap=shared,
        overlap_by_chance=chance,
        pairs=pairs,
        correlation=correlation,
        conflicting=conflicting,
        accuracies=accuracies,
    )


def neighbours(vectors: FloatArray, k: int) -> npt.NDArray[np.int64]:
    """Return the ``k`` nearest *other* rows of each row by cosine, nearest first, ties by row number.

    Args:
        vectors: float32, shape (n, d).
        k: At least 1 and less than n.

    Returns:
        Row numbers, int64, shape (n, k).
    """
    found = np.empty((len(vectors), k), np.int64)
    for first in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[first : first + _BLOCK_ROWS]
        rows, _ = nearest(block, vectors, k + 1)
        others = rows != np.arange(first, first + len(block))[:, None]
        # Among many equal vectors a row may not be among its own nearest; then the farthest is one too many.
        others[others.all(axis=1), -1] = False
        found[first : first + len(block)] = rows[others].reshape(-1, k)
    return found


def overlap(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Return the mean share of neighbours that two lists have in common; both int64, shape (n, k), k at least 1."""
    n, k = first.shape
    return float(np.count_nonzero(first[:, :, None] == second[:, None, :]) / (n * k))


def pairs_of(n: int, most: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs i < j of n rows, sorted: all where there are at most ``most``, else a random part of them.

    The part is drawn with replacement and each pair kept once, so it is somewhat smaller than ``most`` where that is
    near to all.
    """
    if n * (n - 1) // 2 <= most:
        i, j = np.triu_indices(n, 1)
        return i.astype(np.int64), j.astype(np.int64)
    rng = np.random.default_rng([seed, 1])
    one = rng.integers(0, n, most)
    other = rng.integers(0, n - 1, most)
    other += other >= one
    keys = np.unique(np.minimum(one, other) * n + np.maximum(one, other))
    return keys // n, keys % n


def cosines(vectors: FloatArray, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]) -> Float64:
    """Return the cosine of each pair of rows, float64 rounded to seven decimals; that of a zero row is 0.

    Args:
        vectors: float32, shape (n, d).
        i: First rows, ascending.
        j: Second rows.
    """
    unit = vectors.astype(np.float64)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.where(norms > 0, norms, 1)
    found = np.empty(len(i))
    for first in range(0, len(vectors), _BLOCK_ROWS):
        start, end = np.searchsorted(i, [first, first + _BLOCK_ROWS])
        if start < end:
            block = unit[first : first + _BLOCK_ROWS] @ unit.T
            found[start:end] = block[i[start:end] - first, j[start:end]]
    return np.round(found, _DECIMALS)


def average_ranks(values: Float64) -> Float64:
    """Return the rank of each value, from 1; equal values share the mean of their ranks. float64, shape (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Float64 = (last - (counts - 1) / 2)[place]
    return ranks


def spearman(first: Float64, second: Float64) -> float | None:
    """Return Spearman's rank correlation of two lists, -1 to 1; None where one has equal values only (or none)."""
    if len(first) < 2:
        return None
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(first), average_ranks(second)))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return None if scale == 0 else float(np.clip((a @ b) / scale, -1, 1))


def _sample(digests: Digests, most: int, seed: int) -> Digests:
    """Return a part of sorted digests, sorted."""
    if len(digests) <= most:
        return digests
    rows = np.random.default_rng([seed, 0]).choice(len(digests), most, replace=False, shuffle=False)
    return digests[np.sort(rows)]


def _accuracy(
    rank: str, names: npt.NDArray[np.str_], near: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
) -> Accuracy:
    """Judge the nearest neighbours by names, shape (n,), empty where unknown."""
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    asked = np.flatnonzero((names != "") & (counts[place] > 1))
    if not len(asked):
        return Accuracy(rank, 0, None, None)
    found = [names[rows[asked, 0]] for rows in near]
    right, unnamed = (
        [int(np.count_nonzero(name == wanted)) for name in found] for wanted in (names[asked], np.str_(""))
    )
    return Accuracy(rank, len(asked), (right[0], right[1]), (unnamed[0], unnamed[1]))
