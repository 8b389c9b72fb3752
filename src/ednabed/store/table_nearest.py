"""Find the exact nearest rows of a LanceDB table in one pass over the vectors for all queries together.

Over 200,000 rows, LanceDB's own search without an index answers one to three queries per second; a blocked matrix
product over the streamed vectors answers hundreds. Vectors that are null, zero or not finite are never found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.arrays import FloatArray
from ednabed.errors import StoreError
from ednabed.store.table import TABLE, Database, lance_errors, vectors_of

ROW_ID = "_rowid"
"""Lance's row number, valid within one version of the table."""
TIE = 1e-6
"""Maximum difference between tied similarities; the order of summation can change them by this much."""
# Extra rows to keep, so that rows whose float32 products are affected by rounding are not lost.
_SPARE = 16
_NO_COLUMN = "ednabed_no_such_column"
_QUERY_ROWS = 1024
_TAKE_ROWS = 10_000
NO_KEY = np.uint64(2**64 - 1)
"""Marker for a missing key; never the number of a row or sequence."""
Numbers = npt.NDArray[np.uint64]


def read_filter(database: Database, table: Any, where: str) -> tuple[str, int]:
    """Return a user's filter in a form that Lance reads completely, and the number of rows that match it.

    Lance stops at the end of the first condition and ignores the rest (``a = 1 ADN b = 2``). It does not do so within
    brackets; a column that cannot exist then shows whether Lance read past them. A filter is only a condition, because
    Lance does not allow statements that change data in it.

    Raises:
        StoreError: The filter is not a condition on the columns of the table.
    """
    # The line break ends an SQL comment.
    condition = f"(\n{where}\n)"
    problem = None
    try:
        count = int(table.count_rows(condition))
        try:
            table.count_rows(f"{condition} AND {_NO_COLUMN} IS NULL")
            problem = "Lance does not read all of it"
        except Exception as error:
            if _NO_COLUMN not in str(error):
                raise
    except Exception as error:  # includes a panic in Lance, which has its own exception type
        problem = (str(error).splitlines() or [type(error).__name__])[0].split(", /")[0][:300]
    if problem is not None:
        raise StoreError(
            f"{database.address}, table '{TABLE}': the filter {where!r} cannot be used ({problem}); expected an SQL "
            f"condition on the columns {', '.join(table.schema.names)}, such as \"sample = 'A'\""
        )
    return condition, count


def scan_rows(database: Database, table: Any, names: Sequence[str], where: str | None = None) -> Iterator[Any]:
    """Yield Arrow batches of these columns and ``ROW_ID``, like ``scan``."""
    with lance_errors(database.address):
        query = table.search().select(list(names)).with_row_id(True).limit(None)
        if where is not None:
            query = query.where(where)
        yield from query.to_batches(4096)


def take_rows(database: Database, table: Any, rows: Numbers, names: Sequence[str]) -> pa.Table:
    """Return these columns and ``ROW_ID`` of the rows with the given numbers, in the given order."""
    distinct_rows = np.unique(rows)
    parts = []
    with lance_errors(database.address):
        for first in range(0, len(distinct_rows), _TAKE_ROWS):
            block = distinct_rows[first : first + _TAKE_ROWS].tolist()
            parts.append(table.take_row_ids(block).select(list(names)).with_row_id().to_arrow())
        if not parts:
            parts.append(table.search().select(list(names)).with_row_id(True).limit(0).to_arrow())
    taken = pa.concat_tables(parts)
    # Lance returns each row once, in arbitrary order.
    index_of_row = {row: index for index, row in enumerate(taken.column(ROW_ID).to_pylist())}
    return taken.take(pa.array([index_of_row[row] for row in rows.tolist()], pa.int64())).combine_chunks()


def vectors_in(part: Any, column: str, dimension: int) -> FloatArray:
    """Return the vectors of a batch or table, float32, shape (n, d), with zeros for nulls."""
    values = part.column(column)
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return vectors_of(values, dimension)[0]


def usable(vectors: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which vectors are finite and not zero; bool, shape (n,)."""
    with np.errstate(all="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return np.asarray(np.isfinite(squares) & (squares > 0), np.bool_)


def unit(vectors: FloatArray) -> FloatArray:
    """Return usable vectors scaled to length 1, float32, same shape."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / norms[:, None], np.float32)


def cosines(queries: FloatArray, vectors: FloatArray) -> npt.NDArray[np.float32]:
    """Return the cosine of each query with the vector in the same row, float32, shape (n,); both have shape (n, d).

    Sums are in float64, so that a cosine depends only on its two vectors and not on how many are compared at once.
    """
    products = np.einsum("nd,nd->n", queries, vectors, dtype=np.float64)
    norms = np.einsum("nd,nd->n", queries, queries, dtype=np.float64)
    norms = np.sqrt(norms * np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.asarray(np.clip(products / norms, -1, 1), np.float32)


class NearestKeys:
    """The most similar keys for each query, collected batch by batch.

    Rows with the same key stand for the same sequence with the same vector, and count as one.

    Args:
        queries: Usable vectors, float32, shape (q, d).
        k: Requested keys per query; ``_SPARE`` more are kept, because products in float32 are not exact.
    """

    def __init__(self, queries: FloatArray, k: int) -> None:
        self._queries = unit(queries)
        self.width = k + _SPARE
        self._scores = np.full((len(queries), self.width), -np.inf, np.float32)
        self._keys = np.full((len(queries), self.width), NO_KEY, np.uint64)

    def add(self, keys: Numbers, vectors: FloatArray) -> None:
        """Add usable vectors, float32, shape (m, d), with their keys, shape (m,)."""
        keys, first = np.unique(keys, return_index=True)
        block = unit(vectors[first]).T
        for start in range(0, len(self._queries), _QUERY_ROWS):
            rows = slice(start, start + _QUERY_ROWS)
            scores = self._queries[rows] @ block
            improved = np.flatnonzero(scores.max(axis=1, initial=-np.inf) >= self._scores[rows, -1] - TIE) + start
            if len(improved):
                self._merge(improved, scores[improved - start], keys)

    def _merge(self, queries: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], keys: Numbers) -> None:
        best = _best(scores, self.width)
        scores = np.concatenate([self._scores[queries], np.take_along_axis(scores, best, 1)], axis=1)
        merged = np.concatenate([self._keys[queries], keys[best]], axis=1)
        by_key = np.argsort(merged, axis=1, kind="stable")
        scores, merged = np.take_along_axis(scores, by_key, 1), np.take_along_axis(merged, by_key, 1)
        scores[:, 1:][merged[:, 1:] == merged[:, :-1]] = -np.inf
        best = _best(scores, self.width)
        self._scores[queries] = np.take_along_axis(scores, best, 1)
        self._keys[queries] = np.take_along_axis(merged, best, 1)

    def found(self, query: int) -> Numbers:
        """Return the keys of one query, most similar first, at most ``width`` of them."""
        return np.asarray(self._keys[query][np.isfinite(self._scores[query])])


def _best(scores: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.int64]:
    """Return the columns of the ``n`` best scores of each row, best first; ties are in column order."""
    # Score and column are combined in one number: sorting a few of those is much faster than a stable sort of all.
    steps = np.where(np.isfinite(scores), np.round(scores / TIE), -(10.0**9)).astype(np.int64)
    bits = max(1, int(scores.shape[1] - 1).bit_length())
    numbers = (-steps << bits) | np.arange(scores.shape[1])
    if scores.shape[1] > n:
        numbers = np.partition(numbers, n - 1, axis=1)[:, :n]
    return np.asarray(np.sort(numbers, axis=1) & ((1 << bits) - 1), np.int64)
