"""Measure how widely an index must be searched, compared with exact search.

The queries are sampled rows, for each of which the nearest *other* rows are counted, and as many strangers, which are
unlike all rows. A hit is correct if it is at least as near as the tenth, so that ties do not count as errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.topk import exact_candidates, unit

NEIGHBOURS = 10
"""Number of nearest rows that are counted for each query."""
SEED = 20261122
_TIE = 1e-6
Pairs = tuple[Ints, Ints, FloatArray]
"""Query numbers, rows and cosines, each of shape (c,)."""


@dataclass(frozen=True)
class Target:
    """What a search must find.

    Attributes:
        members: Share of the nearest other rows of sampled rows.
        strangers: Share of the nearest rows of strangers.
        noise: Length of the noise that makes a stranger of a row's unit vector: its cosine with the row is
            1 / sqrt(1 + noise²).
    """

    members: float
    strangers: float
    noise: float


REFERENCE_TARGET = Target(members=0.99, strangers=0.95, noise=1.0)
"""For the index of a reference. With kmer6, its strangers are like barcodes with 8 % of their bases changed."""
TABLE_TARGET = Target(members=0.99, strangers=0.99, noise=2.0)
"""For the index of a table. Its strangers are about as far from its rows as barcodes with 20 % of their bases changed.

It is stricter because that costs little: a table's index has few lists, and a query takes 5.4 ms instead of 3.6. With a
reference, it would take 10.7 ms instead of 1.0 (``docs/decisions.md``).
"""


@dataclass(frozen=True)
class Measured:
    """The narrowest search that reaches a target, or the widest that was tried.

    Attributes:
        nprobe: Lists visited.
        factor: Candidates compared per requested row.
        recall: Share of the nearest other rows that were found.
        recall_strangers: The same for strangers.
        measured_on: Number of sampled rows.
        reached: Whether both shares reach the target.
    """

    nprobe: int
    factor: int
    recall: float
    recall_strangers: float
    measured_on: int
    reached: bool


class Trial:
    """Queries whose nearest rows are known from exact search.

    Args:
        members: Vectors of sampled rows, float32, shape (n, d), of any length except 0.
        rows: Numbers of these rows, int64, shape (n,).
        blocks: All vectors block by block: row numbers, vectors, and their lengths.
        target: What a search must find.

    Attributes:
        queries: The sampled rows, then the strangers: unit vectors, float32, shape (2 n, d).
        k: Number of nearest rows counted per query; 0 if there is no other row.
    """

    def __init__(
        self,
        members: FloatArray,
        rows: Ints,
        blocks: Iterable[tuple[Ints, FloatArray, FloatArray]],
        target: Target,
    ) -> None:
        members = unit(members)
        noise = np.random.default_rng(SEED + 2).standard_normal(members.shape).astype(np.float32)
        self.queries = np.concatenate([members, unit(members + target.noise * unit(noise))])
        self._target = target
        # A stranger has no row.
        self._row_of_query = np.concatenate([rows, np.full(len(rows), -1)])
        query, row, score = exact_candidates(self.queries, blocks, NEIGHBOURS + 1)
        others = row != self._row_of_query[query]
        query, score = query[others], score[others]
        counts = np.bincount(query, minlength=len(self.queries))
        self.k = min(NEIGHBOURS, int(counts.min(initial=NEIGHBOURS)))
        self._threshold = np.zeros(len(self.queries), np.float32)
        if self.k:
            order = np.lexsort((-score, query))
            self._threshold = score[order][np.cumsum(counts) - counts + self.k - 1]

    def narrowest(
        self, widths: Sequence[tuple[int, int]], lists: int, search: Callable[[int, int], Iterable[Pairs]]
    ) -> Measured | None:
        """Return the first width at which a search reaches the target, else the last; None if there is no other row.

        Args:
            widths: Lists visited and candidates per requested row, from fast to thorough.
            lists: Number of lists of the index.
            search: Searches the index for ``queries`` at a width, and returns what it finds; all pairs of one query
                are in one piece.
        """
        measured = None
        for nprobe, factor in dict.fromkeys((min(nprobe, lists), factor) for nprobe, factor in widths):
            if not self.k:
                break
            found = np.zeros(len(self.queries))
            for query, row, score in search(nprobe, factor):
                correct = (row != self._row_of_query[query]) & (score >= self._threshold[query] - _TIE)
                found += np.bincount(query[correct], minlength=len(found))
            recall, strangers = (float(half.mean() / self.k) for half in np.split(np.minimum(found, self.k), 2))
            reached = recall >= self._target.members and strangers >= self._target.strangers
            measured = Measured(nprobe, factor, recall, strangers, len(found) // 2, reached)
            if reached:
                break
        return measured
