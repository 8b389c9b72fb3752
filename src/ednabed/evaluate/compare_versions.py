"""Compare two versions: the runs of each, and how well they agree on the sequences that both embedded.

Agreement is measured on a seeded sample of the distinct sequences in common: how many of the ten nearest neighbours of
a sequence are the same under both versions, how similarly the two rank the similarities of pairs, and how often the
nearest neighbour has the same name under each. Without common sequences nothing is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import FloatArray
from ednabed.base.nearest import nearest
from ednabed.errors import UsageError
from ednabed.evaluate.holdings import find_holdings, names_of, take_vectors
from ednabed.evaluate.version_comparison import Accuracy, VersionComparison
from ednabed.sequences.lineage import RANKS
from ednabed.store.versions import Versions

__all__ = ["Accuracy", "VersionComparison", "compare_versions"]

NEIGHBOURS = 10
MAX_PAIRS = 1_000_000
# The precision of float32 vectors: cosines that differ by less are ties, so that rounding does not create an order.
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
) -> VersionComparison:
    """Compare two versions of a workspace.

    Args:
        workspace: Folder of the workspace.
        first: Name of a version.
        second: Name of another version.
        root: Folder that contains the runs; None takes that of the workspace.
        sample: Maximum number of common distinct sequences to measure; memory holds their vectors of both versions.
        ranks: Ranks of the names that are compared.
        seed: Seed of the samples; the same seed and runs give the same result.

    Raises:
        StoreError: The version or folder does not exist, or a vector is not finite.
        UsageError: The two versions are the same, or a number or rank is invalid.
    """
    versions = Versions.read(workspace)
    for name in (first, second):
        versions.get(name)
    if first == second:
        raise UsageError(f"{first!r} was named twice; name two versions")
    if sample < 2 or seed < 0:
        raise UsageError(f"sample {sample} and seed {seed}: expected at least 2 sequences and a seed of at least 0")
    unknown = [rank for rank in ranks if rank not in RANKS]
    if unknown:
        raise UsageError(f"rank {unknown[0]!r} is unknown; choose from {', '.join(RANKS)}")
    holdings, collections, damaged = find_holdings(workspace, versions, (first, second), root)
    # The number of a sequence has the first bytes of its digest in reverse, so these are in order of digest.
    a, b = (np.empty(0, np.uint64) if one is None else one.keys.byteswap() for one in collections)
    common, *rows = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    n = min(sample, len(common))
    if n < len(common):
        chosen = np.sort(np.random.default_rng([seed, 0]).choice(len(common), n, replace=False, shuffle=False))
        rows = [one[chosen] for one in rows]
    both = [(one, selected) for one, selected in zip(collections, rows, strict=True) if one is not None and n]
    names = names_of(both, ranks)
    found = VersionComparison(
        holdings, damaged, len(common), n, seed, [Accuracy(rank, names[rank][1]) for rank in ranks]
    )
    vectors = [take_vectors(one, selected) for one, selected in both]
    if n > 1:
        found.neighbours = k = min(NEIGHBOURS, n - 1)
        nearest_rows = neighbours(vectors[0], k), neighbours(vectors[1], k)
        found.overlap, found.overlap_by_chance = overlap(*nearest_rows), k / (n - 1)
        i, j = pairs_of(n, MAX_PAIRS, seed)
        found.pairs = len(i)
        found.correlation = spearman(cosines_of_pairs(vectors[0], i, j), cosines_of_pairs(vectors[1], i, j))
        found.accuracies = [accuracy(rank, *names[rank], nearest_rows) for rank in ranks]
    return found


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
        # Among many equal vectors a row may not be among its nearest rows; then drop the farthest one instead.
        others[others.all(axis=1), -1] = False
        found[first : first + len(block)] = rows[others].reshape(-1, k)
    return found


def overlap(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Return the mean share of neighbours in common; both arrays are int64, shape (n, k), with k at least 1."""
    n, k = first.shape
    return float(np.count_nonzero(first[:, :, None] == second[:, None, :]) / (n * k))


def pairs_of(n: int, maximum: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs i < j of n rows, sorted: all pairs if there are at most ``maximum``, else a random sample.

    Pairs are drawn with replacement and duplicates are removed, so the sample is somewhat smaller than ``maximum`` if
    that is close to the number of all pairs.
    """
    if n * (n - 1) // 2 <= maximum:
        i, j = np.triu_indices(n, 1)
        return i.astype(np.int64), j.astype(np.int64)
    rng = np.random.default_rng([seed, 1])
    one = rng.integers(0, n, maximum)
    other = rng.integers(0, n - 1, maximum)
    other += other >= one
    keys = np.unique(np.minimum(one, other) * n + np.maximum(one, other))
    return keys // n, keys % n


def cosines_of_pairs(vectors: FloatArray, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]) -> Float64:
    """Return the cosine of each pair of rows, float64 rounded to seven decimals; 0 if a row is all zeros.

    Args:
        vectors: float32, shape (n, d).
        i: First row of each pair, ascending.
        j: Second row of each pair.
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


def spearman(first: Float64, second: Float64) -> float | None:
    """Return Spearman's rank correlation of two arrays, -1 to 1; None if one is empty or all its values are equal."""
    from scipy.stats import rankdata

    if len(first) < 2:
        return None
    a, b = (ranks - ranks.mean() for ranks in (rankdata(first), rankdata(second)))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return None if scale == 0 else float(np.clip((a @ b) / scale, -1, 1))


def accuracy(
    rank: str,
    names: npt.NDArray[np.str_],
    conflicting: int,
    nearest_rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> Accuracy:
    """Count how often the nearest neighbour has the same name; ``names`` has shape (n,), empty if unknown."""
    _, name_index, counts = np.unique(names, return_inverse=True, return_counts=True)
    asked = np.flatnonzero((names != "") & (counts[name_index] > 1))
    if not len(asked):
        return Accuracy(rank, conflicting)
    found = [names[rows[asked, 0]] for rows in nearest_rows]
    right, unnamed = (
        [int(np.count_nonzero(name == expected)) for name in found] for expected in (names[asked], np.str_(""))
    )
    return Accuracy(rank, conflicting, len(asked), (right[0], right[1]), (unnamed[0], unnamed[1]))
