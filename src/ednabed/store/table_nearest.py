"""Exact nearest rows of a LanceDB table: one pass over the vectors for all queries together.

LanceDB's own search without an index answers one to three queries a second over 200,000 rows; a blocked matrix product
over the streamed vectors answers hundreds. Vectors that are null, zero or not finite are never found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.errors import StoreError
from ednabed.models.base import FloatArray
from ednabed.store.table import TABLE, Database, lance_errors, vectors_of

ROW_ID = "_rowid"
"""Lance's number of a row, valid within one version of the table."""
TIE = 1e-6
"""Similarities that are no further apart are one: the order of a sum moves them by as much."""
# Beyond the rows wanted, so that those whose float32 products are off by rounding are not lost.
_SPARE = 16
_QUERY_ROWS = 1024
_TAKE_ROWS = 10_000
_NO_KEY = np.uint64(2**64 - 1)
Numbers = npt.NDArray[np.uint64]


def filter_text(database: Database, table: Any, where: str) -> str:
    """Return a user's filter so that Lance reads all of it.

    Lance stops at the end of the first condition and forgets what follows (``a = 1 ADN b = 2``), but not within
    brackets. A filter is a condition and nothing else: Lance has no statements that change data in it.

    Raises:
        StoreError: It is no condition on the columns of the table.
    """
    # The line break ends a comment of SQL.
    condition = f"(\n{where}\n)"
    try:
        table.count_rows(condition)
    except Exception as error:  # also a panic inside Lance, which is an Exception of its own
        said = (str(error).splitlines() or [type(error).__name__])[0].split(", /")[0][:300]
        raise StoreError(
            f"{database.address}, table '{TABLE}': the filter {where!r} cannot be used ({said}); wanted a condition in "
            f"SQL on the columns {', '.join(table.schema.names)}, such as \"sample = 'A'\""
        ) from error
    return condition


def scan_rows(database: Database, table: Any, names: Sequence[str], where: str | None = None) -> Iterator[Any]:
    """Yield Arrow batches of these columns and ``ROW_ID``, as ``scan`` does."""
    with lance_errors(database.address):
        query = table.search().select(list(names)).with_row_id(True).limit(None)
        if where is not None:
            query = query.where(where)
        yield from query.to_batches(4096)


def take_rows(database: Database, table: Any, rows: Numbers, names: Sequence[str]) -> pa.Table:
    """Return these columns and ``ROW_ID`` of rows by their number, in the order asked for."""
    wanted = np.unique(rows)
    parts = []
    with lance_errors(database.address):
        for first in range(0, len(wanted), _TAKE_ROWS):
            some = wanted[first : first + _TAKE_ROWS].tolist()
            parts.append(table.take_row_ids(some).select(list(names)).with_row_id().to_arrow())
        if not parts:
            parts.append(table.search().select(list(names)).with_row_id(True).limit(0).to_arrow())
    taken = pa.concat_tables(parts)
    # Lance returns them in an order of its own, each once.
    places = {row: place for place, row in enumerate(taken.column(ROW_ID).to_pylist())}
    return taken.take(pa.array([places[row] for row in rows.tolist()], pa.int64())).combine_chunks()


def vectors_in(part: Any, column: str, dimension: int) -> FloatArray:
    """Return the vectors of a batch or table, float32, shape (n, d), zeros where null."""
    values = part.column(column)
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return vectors_of(values, dimension)[0]


def usable(vectors: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which vectors are finite and not zero."""
    with np.errstate(all="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return np.asarray(np.isfinite(squares) & (squares > 0), np.bool_)


def unit(vectors: FloatArray) -> FloatArray:
    """Return usable vectors scaled to length 1, float32, same shape."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / norms[:, None], np.float32)


def cosines(queries: FloatArray, vectors: FloatArray) -> npt.NDArray[np.float32]:
    """Return the cosine of each query with the vector beside it, float32, shape (n,), both of shape (n, d).

    Summed in float64, so that it depends on the two vectors only and not on how many are compared at once.
    """
    products = np.einsum("nd,nd->n", queries, vectors, dtype=np.float64)
    norms = np.einsum("nd,nd->n", queries, queries, dtype=np.float64)
    norms = np.sqrt(norms * np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.asarray(np.clip(products / norms, -1, 1), np.float32)


class NearestKeys:
    """The most similar keys for each of some queries, gathered batch by batch.

    Rows with the same key are one thing (the same sequence) with the same vector, and count as one.

    Args:
        queries: Usable vectors, float32, shape (q, d).
        k: Keys wanted a query; some more are kept (``_SPARE``), because products in float32 are not exact.
    """

    def __init__(self, queries: FloatArray, k: int) -> None:
        self._queries = unit(queries)
        self.width = k + _SPARE
        self._scores = np.full((len(queries), self.width), -np.inf, np.float32)
        self._keys = np.full((len(queries), self.width), _NO_KEY, np.uint64)

    def add(self, keys: Numbers, vectors: FloatArray) -> None:
        """Take in usable vectors, float32, shape (m, d), with their keys, shape (m,)."""
        keys, first = np.unique(keys, return_index=True)
        block = unit(vectors[first]).T
        for start in range(0, len(self._queries), _QUERY_ROWS):
            some = slice(start, start + _QUERY_ROWS)
            scores = self._queries[some] @ block
            hot = np.flatnonzero(scores.max(axis=1, initial=-np.inf) >= self._scores[some, -1] - TIE) + start
            if len(hot):
                self._merge(hot, scores[hot - start], keys)

    def _merge(self, queries: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], keys: Numbers) -> None:
        if len(keys) > self.width:
            # Of equal scores those with the least key, which is the order of ``keys``.
            best = np.argsort(-np.round(scores, 6), axis=1, kind="stable")[:, : self.width]
            scores, own = np.take_along_axis(scores, best, 1), keys[best]
        else:
            own = np.broadcast_to(keys, scores.shape)
        scores = np.concatenate([self._scores[queries], scores], axis=1)
        own = np.concatenate([self._keys[queries], own], axis=1)
        by_key = np.argsort(own, axis=1, kind="stable")
        scores, own = np.take_along_axis(scores, by_key, 1), np.take_along_axis(own, by_key, 1)
        scores[:, 1:][own[:, 1:] == own[:, :-1]] = -np.inf
        best = np.argsort(-np.round(scores, 6), axis=1, kind="stable")[:, : self.width]
        self._scores[queries] = np.take_along_axis(scores, best, 1)
        self._keys[queries] = np.take_along_axis(own, best, 1)

    def found(self, query: int) -> Numbers:
        """Return the keys of one query, most similar first, at most ``width`` of them."""
        return np.asarray(self._keys[query][np.isfinite(self._scores[query])])
