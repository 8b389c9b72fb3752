"""Searchable collections: distinct sequences with one vector each, and the records in which they occur.

There are three kinds: an opened reference (``opened``), runs searched directly (``loose``), and a LanceDB table
(``tables.collection``). Rows are numbered from 0; records are numbered separately, by position. All data is read in
place, as a memory map or in pieces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.arrays import Bools, FloatArray, Ints
from ednabed.base.topk import DIGITS, QUERY_ROWS, exact_candidates, unit
from ednabed.models.spec import Spec
from ednabed.store.vectors import BLOCK_BYTES

# Maximum hits of all queries that are searched at once.
_MAX_PAIRS = 500_000
Block = tuple[Ints, FloatArray, FloatArray]
Ranked = tuple[Ints, Ints, FloatArray]


class Collection(ABC):
    """Distinct sequences, their vectors and records.

    Attributes:
        name: Name of the collection in messages.
        spec: The function that computed all vectors.
        rows: Number of distinct sequences.
        keys: Key of each sequence (``parts.keys_of``), uint64, shape (rows,).
        norms: Length of each vector, float32, shape (rows,).
        starts: Index in ``positions`` at which the records of each row begin, int64, shape (rows + 1,).
        positions: Positions of records, row after row, int64; within a row in order of (dataset, run_id, seq_idx).
    """

    name: str
    spec: Spec
    rows: int
    keys: npt.NDArray[np.uint64]
    norms: FloatArray
    starts: Ints
    positions: Ints

    @property
    @abstractmethod
    def record_schema(self) -> pa.Schema:
        """Columns of the records: dataset, run_id, seq_idx, source_file, and those of the runs without the bases."""

    @abstractmethod
    def blocks(self, allowed: Bools | None = None) -> Iterator[Block]:
        """Yield (rows, vectors, lengths) block by block, only for rows that are ``allowed``; None allows all."""

    @abstractmethod
    def vectors_of(self, rows: Ints) -> FloatArray:
        """Return the vectors of rows, float32, shape (len(rows), d)."""

    @abstractmethod
    def take_records(self, positions: Ints, columns: Sequence[str]) -> pa.Table:
        """Return the records at positions, in the given order; a column that a run lacks is null for its records."""

    @abstractmethod
    def scan_records(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (first position, table of columns and ``row``) piece by piece, all records in order of position."""

    @abstractmethod
    def take_sequences(self, rows: Ints, *, bases: bool = True) -> pa.Table:
        """Return ``digest``, ``length`` and ``sequence`` of rows, in the given order; null where unknown.

        Args:
            rows: Rows of the collection, int64, shape (n,).
            bases: Whether to read ``sequence`` too; if False, the column is omitted.
        """

    def search(
        self, queries: FloatArray, k: int, *, allowed: Bools | None = None, exact: bool = False
    ) -> Iterator[Ranked]:
        """Find the rows most similar to each query, in batches of queries.

        Args:
            queries: float32, shape (q, d), any length except 0.
            k: Number of rows to find per query; a smaller collection returns all its rows.
            allowed: Rows that may be found, bool, shape (rows,); None for all.
            exact: Compare with every vector, even if there is an index.

        Yields:
            Query numbers, rows (both int64) and cosines (float32, -1 to 1), each of shape (c,), for the next queries:
            in order of query, most similar first, ties by key; at most k per query.
        """
        k = min(k, self.rows)
        if not k:
            return
        # The more rows per query, the fewer queries are held at once.
        step = max(1, min(QUERY_ROWS, _MAX_PAIRS // k))
        for first in range(0, len(queries), step):
            batch = unit(np.asarray(queries[first : first + step], np.float32))
            query, row, score = self._ranked(*self.candidates(batch, k, allowed, exact), k)
            yield query + first, row, score

    def candidates(self, queries: FloatArray, k: int, allowed: Bools | None, exact: bool) -> tuple[Any, Any, Any]:
        """Return (query, row, cosine) of the best ``k`` and of all that tie with the last; here by exact search."""
        query, row, _ = exact_candidates(queries, self.blocks(allowed), k)
        # The rounding of a matrix product depends on its shape. Float64 sums of pairs do not, so equal rows tie exactly
        # and the order is stable.
        score = np.empty(len(row), np.float32)
        # In order of row, because a compressed run is read completely each time.
        order = np.argsort(row, kind="stable")
        step = max(1, 4 * BLOCK_BYTES // (4 * queries.shape[1]))
        for first in range(0, len(row), step):
            pairs = order[first : first + step]
            rows, inverse = np.unique(row[pairs], return_inverse=True)
            vectors = self.vectors_of(rows)
            for begin in range(0, len(pairs), 16_384):
                part = slice(begin, begin + 16_384)
                scored = pairs[part]
                dots = np.einsum("nd,nd->n", vectors[inverse[part]], queries[query[scored]], dtype=np.float64)
                score[scored] = dots / self.norms[row[scored]]
        return query, row, score

    def _ranked(self, query: Ints, row: Ints, score: FloatArray, k: int) -> Ranked:
        order = np.lexsort((self.tie_order(row), -np.round(score.astype(np.float64), DIGITS), query))
        query, row, score = query[order], row[order], score[order]
        kept = np.arange(len(query)) - np.searchsorted(query, query) < k
        return query[kept], row[kept], np.clip(score[kept], -1, 1)

    def tie_order(self, rows: Ints) -> npt.NDArray[Any]:
        """Return numbers by which rows with equal cosines are sorted; here their keys."""
        return np.asarray(self.keys[rows])

    @abstractmethod
    def parts_of(self, positions: Ints) -> Ints:
        """Return the number of each record's run, without reading the records."""

    @property
    @abstractmethod
    def part_datasets(self) -> list[str]:
        """Dataset of each run; the empty string for the rows of a table."""

    def positions_of(self, row: int) -> Ints:
        """Return the positions of the records of a row."""
        return np.asarray(self.positions[self.starts[row] : self.starts[row + 1]], np.int64)
