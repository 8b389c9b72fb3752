"""Find the candidates of queries, with distances: a shortlist by vector, then a comparison of the bases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Floats, Ints
from ednabed.base.bases import Codes
from ednabed.reference.collection import Collection
from ednabed.search.divergence import RELATED, Comparer, PackedSequences
from ednabed.taxonomy.evidence import MIN_DISTANCE, TIE, Candidates
from ednabed.taxonomy.labels import RowLabels
from ednabed.taxonomy.shortlist import shortlist

# Sequences whose bases are read at once.
_ROWS = 65_536
# Queries that one thread compares before it takes more.
_STEP = 16
_MISMATCHES = 0.5
"""Width of the votes where bases are compared (``Candidates.widths``), in mismatches of the nearest candidate. If all
bases of the query counted, those without an aligned partner would narrow the width and make near ties look clear."""
FAR_BY_BASES = 0.08
FAR_BY_VECTORS = 0.3
"""Minimum distance at which a query gets a longer shortlist, because distant relatives rank lower in it. A query
without any related sequence (``RELATED``) does not get one."""
_UNCERTAIN = 0.2
"""Distance above which pairs are aligned that hardly share any 8-mers: they are further apart than that."""
MAX_CANDIDATES = 400
"""Candidates per exponent for a query that is far from all near ones."""
COVERAGE_POWER = 0.2
"""A distance over a share c of the query's bases is multiplied by 1 / c ** 0.2: among many short sequences one is near
by chance, or because its region hardly varies. Families of new genera on COI: 0.766 instead of 0.741 of draws right
(``docs/decisions.md``)."""
_KEPT = 100
"""Candidates per query that are weighted: the nearest, and more if more are equally near."""
_MIN_SHARE = 0.01
_WIDTH_SHARE = 0.1
"""Width of the votes where vectors are compared, as a share of the smallest distance."""


class _Measured:
    """Measurements on a shortlist, all of shape (q, columns)."""

    def __init__(self, rows: Ints) -> None:
        self.distances = np.full(rows.shape, np.inf)
        self.mismatches = np.zeros(rows.shape)
        self.bases = np.zeros(rows.shape, np.int64)
        self.overlaps = np.full(rows.shape, -1, np.int64)
        self.lacking = np.zeros(rows.shape)


class Finder:
    """Finds the candidates of queries among the labelled sequences of a collection. Holds their bases in memory.

    Args:
        collection: The collection to search.
        labels: Its lineages.
        exponents: How the length of a sequence affects its position in the shortlist (``shortlist``).
        threads: Threads that compare bases.
    """

    def __init__(
        self, collection: Collection, labels: RowLabels, exponents: Sequence[float], *, threads: int = 1
    ) -> None:
        self.collection = collection
        self.exponents = tuple(exponents)
        self._threads = threads
        self.bases = read_bases(collection)
        self._labelled = labels.labelled
        self._lengths = np.maximum(self.bases.lengths, 1)
        self._comparers = [Comparer(self.bases) for _ in range(threads)]

    def find(
        self,
        queries: FloatArray,
        codes: Sequence[Codes],
        k: int,
        left_out: tuple[Ints, Ints] | None = None,
        *,
        align: bool = True,
        thorough: bool = True,
    ) -> Candidates:
        """Find candidates.

        Args:
            queries: Vectors, float32, shape (q, d).
            codes: The bases of each query (``bases.encode``), on the strand of its vector.
            k: Candidates per query and exponent; ``MAX_CANDIDATES`` for queries that are far from all of these.
            left_out: A group of each row and of each query: rows of a query's own group are not candidates.
            align: Compare bases; False uses 1 - similarity as the distance.
            thorough: Look for distant relatives if there are no near ones; False quickly finds whether any row shares
                some words.
        """
        lengths = np.fromiter(map(len, codes), np.int64, len(codes))
        usable = self._labelled & (self.bases.lengths > 0) if align else self._labelled
        blocks = self.collection.blocks(None if usable.all() else usable)
        longest = max(k, MAX_CANDIDATES) if thorough else k
        rows = shortlist(blocks, self._lengths, queries, lengths, longest, self.exponents, left_out)
        found = _Measured(rows)
        first_rows = rows[:, : k * len(self.exponents)]
        measure = partial(self._compare, thorough) if align else partial(self._by_vectors, queries)
        measure(found, codes, first_rows, np.arange(len(codes)), 0)
        smallest = found.distances.min(axis=1, initial=np.inf)
        if thorough:
            # If all are equally near, there may be more of them, of other species.
            farthest = np.where(first_rows >= 0, found.distances[:, : first_rows.shape[1]], -np.inf).max(
                axis=1, initial=-np.inf
            )
            far = (smallest > FAR_BY_BASES) & (smallest < RELATED) if align else smallest > FAR_BY_VECTORS
            crowded = (farthest <= smallest + TIE) & ((smallest < RELATED) | (not align))
            more = np.flatnonzero(far | crowded)
            measure(found, codes, rows[:, first_rows.shape[1] :], more, first_rows.shape[1])
        tied = (found.distances <= found.distances.min(axis=1, keepdims=True, initial=np.inf) + TIE) & (rows >= 0)
        count = max(_KEPT, int(tied.sum(axis=1).max(initial=0)))
        kept = np.argsort(found.distances, axis=1, kind="stable")[:, :count]
        rows, distances, mismatches, bases, overlaps, lacking = (
            np.take_along_axis(values, kept, 1)
            for values in (rows, found.distances, found.mismatches, found.bases, found.overlaps, found.lacking)
        )
        rows = np.where(np.isfinite(distances), rows, -1)
        if align:
            widths = _MISMATCHES / (bases[:, 0] + 2) / _covered(bases[:, 0], lengths)
        else:
            widths = np.maximum(_WIDTH_SHARE * np.minimum(distances.min(axis=1, initial=1), 1), MIN_DISTANCE)
        positions = kept // len(self.exponents)
        return Candidates(rows, positions, distances, mismatches, bases, overlaps, lacking, lengths, widths, align)

    def cosines(self, queries: FloatArray, rows: Ints) -> Floats:
        """Return the cosine of each query, shape (q, d), and its rows, shape (q, k), in float64 to avoid rounding."""
        found = np.zeros(rows.shape)
        for i, query in enumerate(queries.astype(np.float64)):
            vectors = self.collection.vectors_of(np.maximum(rows[i], 0)).astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                cosine = np.einsum("kd,d->k", vectors, query) / (
                    np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
                )
            found[i] = np.clip(np.nan_to_num(cosine), -1, 1)
        return found

    def _by_vectors(
        self, vectors: FloatArray, found: _Measured, codes: Sequence[Codes], rows: Ints, queries: Ints, first: int
    ) -> None:
        """Use 1 - similarity as the distance of some queries and their rows, starting at column ``first``."""
        lengths = np.fromiter(map(len, codes), np.int64, len(codes))[queries, None]
        candidate_rows = rows[queries]
        present = candidate_rows >= 0
        columns = slice(first, first + rows.shape[1])
        shorter = np.minimum(self._lengths[candidate_rows], lengths)
        ratio = np.maximum(self._lengths[candidate_rows], lengths) / shorter
        similarity = self.cosines(vectors[queries], candidate_rows) * ratio ** max(self.exponents)
        found.distances[queries, columns] = np.where(present, np.maximum(1 - similarity, MIN_DISTANCE), np.inf)
        found.bases[queries, columns] = shorter

    def _compare(
        self, thorough: bool, found: _Measured, codes: Sequence[Codes], rows: Ints, queries: Ints, first: int
    ) -> None:
        """Compare the bases of some queries and their rows, starting at column ``first``."""

        def compare(comparer: Comparer, numbers: Sequence[int]) -> None:
            for i in numbers:
                columns = np.flatnonzero(rows[i] >= 0)
                divergence = comparer.compare(codes[i], rows[i, columns], thorough=False)
                if thorough and not first and divergence.distance.min(initial=1) > _UNCERTAIN:
                    divergence = comparer.compare(codes[i], rows[i, columns])
                columns += first
                found.distances[i, columns] = divergence.distance / _covered(divergence.n_bases, len(codes[i]))
                found.mismatches[i, columns] = divergence.mismatches
                found.bases[i, columns] = divergence.n_bases
                found.overlaps[i, columns] = divergence.overlap
                found.lacking[i, columns] = divergence.lacking

        self._share_out(compare, queries.tolist())

    def _share_out(self, compare: Any, queries: list[int]) -> None:
        """Let every thread compare some of the queries, a few at a time."""
        steps = iter([queries[first : first + _STEP] for first in range(0, len(queries), _STEP)])

        def work(comparer: Comparer) -> None:
            # Taking from one iterator is safe between threads, because a list's iterator is.
            for numbers in steps:
                compare(comparer, numbers)

        if self._threads == 1 or len(queries) <= _STEP:
            work(self._comparers[0])
            return
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(work, self._comparers))


def _covered(bases: Ints, lengths: Ints | int) -> Floats:
    """Return the divisor of a distance from the bases compared and those of the query (``COVERAGE_POWER``)."""
    return np.asarray(np.clip(bases / np.maximum(lengths, 1), _MIN_SHARE, 1) ** COVERAGE_POWER, np.float64)


def read_bases(collection: Collection) -> PackedSequences:
    """Read the bases of all rows of a collection; rows whose sequence is unknown have none."""

    def batches() -> Iterator[list[bytes]]:
        for first in range(0, collection.rows, _ROWS):
            rows = np.arange(first, min(first + _ROWS, collection.rows))
            yield [(text or "").encode() for text in collection.take_sequences(rows).column("sequence").to_pylist()]

    return PackedSequences.from_batches(batches())
