"""A table as a collection: distinct sequences, each with the vector of its first row by id, and the rows with it.

To number them, every sequence must be read. ``found_by_index`` avoids this: it numbers only the rows that the index of
a table returns for some queries. On 1,000,000 barcodes, numbering takes 12 s, the index 5 ms per query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Bools, FloatArray, Ints
from ednabed.base.recall import NEIGHBOURS
from ednabed.base.topk import lengths, unit, usable
from ednabed.errors import InputError
from ednabed.models.spec import Spec
from ednabed.reference.collection import Block, Collection, Ranked
from ednabed.reference.parts import keys_of, taken_sequences
from ednabed.sequences import RANKS, RAW_SCHEMA, Alphabet, digest, normalise, normalise_one, tidy_lineage
from ednabed.sequences.lineage import tidy_ranks
from ednabed.tables.index import IndexInfo, rows_to_fetch
from ednabed.tables.table import ID, ROW_ID, SEQUENCE, Table, in_order, row_ids

_PLAIN = ("sample", "abundance", "source")
"""Columns of the user that describe a hit."""
_SCAN_POSITIONS = 65_536
# If more rows than this belong to few sequences, they are counted in an exact pass.
_MAX_FETCHED = 4096
_FETCHED_AT_ONCE = 65_536
_QUERIES_AT_ONCE = 256
_TIE = 1e-6
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_RANK_OF_SIX_BITS = np.array([sorted(_BASE64URL).index(character) for character in _BASE64URL], np.uint64)


class TableCollection(Collection):
    """Rows of a table with a vector, as a collection: a row is a record, with null as dataset, run_id and seq_idx.

    Opening it reads every sequence and vector once, and keeps about 50 bytes per row in memory.

    Args:
        table: The table, at a version that is not changed by other writers.
        spec: The function that computed its vectors (``spec_of``).
        where: Condition in Lance's SQL; only rows that fulfil it are records. None takes all.
    """

    def __init__(self, table: Table, spec: Spec, where: str | None = None) -> None:
        self.name = table.database.address
        self.spec = spec
        self._table = table
        self._where = where
        ids: list[pa.Array] = []
        keys, norms, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
        for batch in table.scan([ID, SEQUENCE, table.columns.vector], where):
            of_batch = lengths(table.vectors(batch))
            kept = np.flatnonzero(usable(of_batch))
            ids.append(batch.column(ID).take(pa.array(kept)))
            keys.append(keys_of(digests_of(batch.column(SEQUENCE).take(pa.array(kept)), spec.alphabet)))
            norms.append(of_batch[kept])
            numbers.append(row_ids(batch)[kept])
        found = np.concatenate(numbers)
        order = np.argsort(found)
        self._row_ids = found[order]
        distinct, row_of, counts = np.unique(np.concatenate(keys)[order], return_inverse=True, return_counts=True)
        # Rows are numbered in the order of their digests.
        by_digest = np.argsort(digest_order(distinct))
        row_of = np.argsort(by_digest)[row_of]
        self.rows = len(distinct)
        self.keys = distinct[by_digest]
        self.starts = np.concatenate([[0], np.cumsum(counts[by_digest])]).astype(np.int64)
        id_order = np.zeros(len(order), np.int64)
        repeated = np.flatnonzero(np.diff(self.starts)[row_of] > 1)
        if len(repeated):
            repeated_ids = pa.chunked_array(ids).take(pa.array(order[repeated]))
            id_order[repeated] = pc.rank(repeated_ids, tiebreaker="dense").to_numpy()
        self.positions = np.lexsort((id_order, row_of)).astype(np.int64)
        first = self.positions[self.starts[:-1]]
        self._first_ids = self._row_ids[first]
        self.norms = np.concatenate(norms)[order][first]

    @property
    def record_schema(self) -> pa.Schema:
        """See ``Collection``; ``id`` is ``sequence_id``, and a column of the table with such a name is omitted."""
        schema = self._table.schema
        fields = {"id": pa.string(), "dataset": pa.string(), "run_id": pa.string(), "seq_idx": pa.int64()}
        fields |= {name: _plain_type(schema.field(name).type) for name in _PLAIN if name in schema.names}
        fields |= {"lineage": pa.string(), "length": pa.int64(), "source_file": pa.string()}
        columns = self._table.columns
        omitted = (*fields, ID, SEQUENCE, columns.vector, columns.status, columns.reason, columns.fingerprint, "row")
        fields |= {field.name: field.type for field in schema if field.name not in omitted}
        return pa.schema(list(fields.items()))

    def blocks(self, allowed: Bools | None = None) -> Iterator[Block]:
        """See ``Collection``."""
        order = np.argsort(self._first_ids)
        first_ids = self._first_ids[order]
        for batch in self._table.scan([self._table.columns.vector], self._where) if self.rows else ():
            found = row_ids(batch)
            index = np.minimum(np.searchsorted(first_ids, found), self.rows - 1)
            kept = first_ids[index] == found
            if allowed is not None:
                kept &= allowed[order[index]]
            rows = order[index[kept]]
            if len(rows):
                yield rows, self._table.vectors(batch)[kept], self.norms[rows]

    def vectors_of(self, rows: Ints) -> FloatArray:
        """See ``Collection``."""
        return self._table.vectors(self._table.take(self._first_ids[rows], [self._table.columns.vector]))

    def take_records(self, positions: Ints, columns: Sequence[str]) -> pa.Table:
        """See ``Collection``."""
        schema = pa.schema([self.record_schema.field(name) for name in columns])
        names = self._table.names
        stored = {"id": [ID], "length": [SEQUENCE], "lineage": ["lineage", *RANKS]}
        needed = dict.fromkeys(name for column in columns for name in stored.get(column, [column]) if name in names)
        part = self._table.take(self._row_ids[positions], list(needed) or [ID])
        return pa.table([self._column(field, part) for field in schema], schema=schema)

    def _column(self, field: pa.Field, part: pa.Table) -> pa.Array | pa.ChunkedArray:
        """Return a column of the records of rows of the table."""
        count = len(part)
        values: list[Any]
        if field.name in ("dataset", "run_id", "seq_idx"):
            return pa.nulls(count, field.type)
        if field.name == "source_file":
            return pa.repeat(self.name, count)
        if field.name == "id":
            return part.column(ID).cast(field.type)
        if field.name == "length":
            values = [len(normalised(text, self.spec.alphabet) or "") for text in part.column(SEQUENCE).to_pylist()]
        elif field.name == "lineage":
            shown = [name for name in ("lineage", *RANKS) if name in part.column_names]
            values = [_lineage(row) for row in part.select(shown).to_pylist()] if shown else [None] * count
        elif field.name in _PLAIN:
            values = [_plain(value) for value in part.column(field.name).to_pylist()]
        else:
            return part.column(field.name)
        return pa.array(values, field.type)

    def scan_records(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """See ``Collection``."""
        row_of = self._row_of()
        for first in range(0, len(self.positions), _SCAN_POSITIONS):
            positions = np.arange(first, min(first + _SCAN_POSITIONS, len(self.positions)))
            records = self.take_records(positions, [name for name in columns if name != "row"])
            yield first, records.append_column("row", pa.array(row_of[positions]))

    def _row_of(self) -> Ints:
        """Return the row of each position."""
        row_of = np.empty(len(self.positions), np.int64)
        row_of[self.positions] = np.repeat(np.arange(self.rows), np.diff(self.starts))
        return row_of

    def take_sequences(self, rows: Ints, *, bases: bool = True) -> pa.Table:
        """See ``Collection``. A sequence that can no longer be normalised is unknown."""
        column = self._table.take(self._first_ids[rows], [SEQUENCE]).column(SEQUENCE)
        sequences = [normalised(text, self.spec.alphabet) for text in column.to_pylist()]
        values = {
            "digest": digests_of(column.combine_chunks(), self.spec.alphabet),
            "length": [len(sequence or "") for sequence in sequences],
            "sequence": sequences,
        }
        schema = taken_sequences(bases)
        return pa.table([pa.array(values[field.name], field.type) for field in schema], schema=schema)

    def parts_of(self, positions: Ints) -> Ints:
        """See ``Collection``."""
        return np.zeros(len(positions), np.int64)

    @property
    def part_datasets(self) -> list[str]:
        """See ``Collection``."""
        return [""]

    def tie_order(self, rows: Ints) -> npt.NDArray[Any]:
        """See ``Collection``. Rows are numbered in the order of their digests."""
        return rows


class FoundRows(TableCollection):
    """The rows of a table that its index returned for some queries. A search returns for each query those found for it.

    Args:
        table: The table.
        spec: The function of its vectors.
        found: The rows (``Table.search_index``); a row found for several queries occurs several times.
        queries: The queries, float32, shape (q, d), any length except 0.
    """

    def __init__(self, table: Table, spec: Spec, found: pa.Table, queries: FloatArray) -> None:
        numbers = row_ids(found)
        distinct = found.take(pa.array(np.unique(numbers, return_index=True)[1]))
        super().__init__(_Fetched(table, distinct), spec)
        query = found.column("query_index").to_numpy()
        is_record = np.isin(numbers, self._row_ids)
        row = self._row_of()[np.searchsorted(self._row_ids, numbers[is_record])]
        self._query, self._row = np.divmod(np.unique(query[is_record] * max(1, self.rows) + row), max(1, self.rows))
        vectors = self.vectors_of(np.arange(self.rows))
        # As in an exact search, so that both give the same digits.
        dots = np.einsum("nd,nd->n", vectors[self._row], unit(queries)[self._query], dtype=np.float64)
        self._score = np.asarray(dots / self.norms[self._row], np.float32)

    def settle(self, complete: Bools, k: int) -> Bools:
        """Drop what is not certain, and the queries for which it leaves too few sequences.

        A sequence as far as the last row found for a query may have more rows beyond it.

        Args:
            complete: For which queries all rows were found, so that everything is certain; bool, shape (q,).
            k: Number of sequences needed per query.

        Returns:
            Which queries are left, bool, shape (q,).
        """
        edge = np.full(len(complete), np.inf, np.float32)
        np.minimum.at(edge, self._query, self._score)
        kept = complete[self._query] | (self._score > edge[self._query] + _TIE)
        settled = complete | (np.bincount(self._query[kept], minlength=len(complete)) >= k)
        kept &= settled[self._query]
        self._query = (np.cumsum(settled) - 1)[self._query[kept]]
        self._row, self._score = self._row[kept], self._score[kept]
        return np.asarray(settled, np.bool_)

    def search(
        self,
        queries: FloatArray,
        k: int,
        *,
        allowed: Bools | None = None,
        exact: bool = False,
    ) -> Iterator[Ranked]:
        """See ``Collection``; ``queries`` are those for which the rows were found."""
        yield self._ranked(self._query, self._row, self._score, k)


class _Fetched(Table):
    """Rows of a table that were read already."""

    def __init__(self, table: Table, rows: pa.Table) -> None:
        super().__init__(table.database, table.lance, table.columns)
        self._rows = rows

    def scan(self, names: Sequence[str], where: str | None = None) -> Iterator[pa.RecordBatch]:
        yield from self._rows.select([*names, ROW_ID]).to_batches()

    def take(self, rows: Ints, names: Sequence[str]) -> pa.Table:
        if not set(names) <= set(self._rows.column_names):
            return super().take(rows, names)
        return in_order(self._rows.select([*names, ROW_ID]), rows)


def found_by_index(
    table: Table, spec: Spec, info: IndexInfo, queries: FloatArray, k: int, where: str | None = None
) -> Iterator[tuple[Ints, FoundRows]]:
    """Search the index for the ``k`` most similar sequences of each query.

    Args:
        table: The table.
        spec: The function of its vectors.
        info: Its index (``find_index``).
        queries: Vectors, float32, shape (q, d), any length except 0.
        k: Number of sequences to find per query.
        where: Condition in Lance's SQL; only rows that fulfil it are searched.

    Yields:
        Numbers of queries, and the rows found for these queries. A query that is in no piece has sequences with so many
        rows that only an exact search can count them.
    """
    columns = [ID, SEQUENCE, table.columns.vector, *_PLAIN, "lineage", *RANKS]
    names = [name for name in columns if name in table.names]
    # The settings were measured for ten hits; more hits are spread over more lists.
    nprobes = min(info.lists, int(np.ceil(info.nprobes * max(1.0, k / NEIGHBOURS))))
    refine_factor = info.refine_factor
    if where is not None:
        # Rows that fulfil a filter may be in any list, far from the query: searching only the lists near the query, a
        # filter for insects found 72 % of its hits.
        nprobes, refine_factor = info.lists, 4 * refine_factor
    pending = np.arange(len(queries))
    limit = rows_to_fetch(k)
    while len(pending) and limit <= _MAX_FETCHED:
        step = max(1, min(_QUERIES_AT_ONCE, _FETCHED_AT_ONCE // limit))
        left = [np.zeros(0, np.int64)]
        for first in range(0, len(pending), step):
            numbers = pending[first : first + step]
            part = table.search_index(
                queries[numbers], limit, names, nprobes=nprobes, refine_factor=refine_factor, where=where
            )
            fetched = np.bincount(part.column("query_index").to_numpy(), minlength=len(numbers))
            found = FoundRows(table, spec, part, queries[numbers])
            settled = found.settle((fetched < limit) & (nprobes == info.lists), k)
            left.append(numbers[~settled])
            if settled.any():
                yield numbers[settled], found
        pending = np.concatenate(left)
        limit *= 4
        nprobes = min(info.lists, 4 * nprobes)


def digests_of(sequences: pa.Array, alphabet: Alphabet) -> list[str]:
    """Return the digest of each sequence, normalised; one that cannot be normalised (any more) is used as it is."""
    count = len(sequences)
    column = sequences.cast(pa.string()).fill_null("").cast(pa.binary())
    given = {
        "id": pa.repeat("row", count),
        "sequence": column,
        "source": pa.repeat("", count),
        "record": pa.array(np.arange(count)),
    }
    arrays = [given.get(field.name, pa.nulls(count, field.type)) for field in RAW_SCHEMA]
    accepted, refused = normalise(
        pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA), alphabet=alphabet, min_length=1
    )
    digests = dict(zip(accepted.column("record").to_pylist(), accepted.column("digest").to_pylist(), strict=True))
    digests |= {row: digest(column[row].as_py()) for row in refused.column("record").to_pylist()}
    return [digests[row] for row in range(count)]


def digest_order(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return numbers that sort like the texts of the digests with these keys (``keys_of``): their first 60 bits."""
    bits = keys.astype("<u8").view(">u8").astype(np.uint64)
    order = np.zeros(len(keys), np.uint64)
    for shift in range(58, 3, -6):
        order = order << np.uint64(6) | _RANK_OF_SIX_BITS[bits >> np.uint64(shift) & np.uint64(63)]
    return order


def normalised(text: str | None, alphabet: Alphabet) -> str | None:
    """Return a normalised sequence, or None if it cannot be normalised."""
    try:
        return normalise_one(text or "", alphabet).decode()
    except InputError:
        return None


def _plain_type(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    if types.is_floating(kind):
        return pa.float64()
    return kind if types.is_integer(kind) or types.is_boolean(kind) else pa.string()


def _plain(value: Any) -> str | int | float | None:
    """Return a value of a user's column in a form that JSON can represent."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _lineage(row: dict[str, Any]) -> str | None:
    """Return the lineage of a row: its lineage column, in standard form if it can be parsed, else its ranks."""
    text = row.get("lineage")
    if text is None:
        ranks = [str(row.get(rank) or "").replace(";", ",") for rank in RANKS]
        return tidy_ranks(";".join(ranks))
    try:
        return tidy_lineage(str(text))
    except InputError:
        return str(text)
