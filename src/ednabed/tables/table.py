"""The LanceDB table ``sequences``: where it is, its columns, and its rows.

Row order in LanceDB has no meaning (updates move rows), so rows are always addressed by ``sequence_id``. A vector is
pending while it is null or all zeros. Each vector column has three companion columns: the status (``embedded`` or
``rejected``), the reason for a rejection, and the fingerprint of the function that computed the vector.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import FloatArray, Ints
from ednabed.errors import StoreError, UsageError
from ednabed.extras import import_extra
from ednabed.store.defaults import database_address

TABLE = "sequences"
ID = "sequence_id"
SEQUENCE = "dna_sequence"
EMBEDDED = "embedded"
REJECTED = "rejected"
ROW_ID = "_rowid"
"""Lance's row number, valid within one version of the table."""
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_COMPANIONS = ("_status", "_reason", "_fingerprint")
_SCAN_ROWS = 4096
_TAKE_ROWS = 10_000
_QUERIES = 64


@contextmanager
def lance_errors(address: str) -> Iterator[None]:
    """Raise StoreError instead of an error of Lance (including a full disk, and panics on a damaged file)."""
    try:
        yield
    except BaseException as error:
        # Panics of Rust code have no base class of their own, and two possible names.
        panics = type(error).__name__ in ("RustPanic", "PanicException")
        known = isinstance(error, RuntimeError | ValueError | OSError | LookupError | TypeError | ArithmeticError)
        if not panics and not known:
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        # The location in Lance's own source is of no use to the user.
        message = re.split(r", /\S+\.rs:|, location: ", lines[0])[0]
        message = message if len(message) <= 400 else f"{message[:400]} …"
        raise StoreError(
            f"{address}, table '{TABLE}': {message} (reported by LanceDB); check the address, its storage options and "
            "the free space, then run the command again"
        ) from error


@dataclass(frozen=True)
class VectorColumns:
    """Names of a vector column and its companions.

    ``vector`` has the companions ``embedding_status``, ``embedding_reason`` and ``embedding_fingerprint``; any other
    column ``x`` has ``x_status``, ``x_reason`` and ``x_fingerprint``. The companions of a column ``embedding`` are
    ``vector_status`` and so on, so that no two columns share companions.
    """

    vector: str = "vector"

    def __post_init__(self) -> None:
        """Reject names that could be interpreted as SQL."""
        if not _COLUMN.fullmatch(self.vector) or self.vector in (ID, SEQUENCE):
            raise UsageError(f"vector column {self.vector!r} is not a column name of letters, digits and underscores")
        if self.vector.endswith(_COMPANIONS):
            raise UsageError(
                f"vector column {self.vector!r} cannot end in {', '.join(_COMPANIONS)}: these are companion columns"
            )

    @property
    def _stem(self) -> str:
        return {"vector": "embedding", "embedding": "vector"}.get(self.vector, self.vector)

    @property
    def status(self) -> str:
        """Name of the status column."""
        return f"{self._stem}_status"

    @property
    def reason(self) -> str:
        """Name of the column with the reason why a row was rejected."""
        return f"{self._stem}_reason"

    @property
    def fingerprint(self) -> str:
        """Name of the fingerprint column."""
        return f"{self._stem}_fingerprint"


@dataclass(frozen=True)
class Database:
    """Location of the table.

    Attributes:
        address: Folder or object-store address (``s3://…``).
        storage_options: Lance's options for object stores.
    """

    address: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, workspace: Path, db: str | None, storage_options: Mapping[str, str] | None = None) -> Database:
        """Return the database at ``db``; None uses the default (see ``ednabed.store.defaults``)."""
        return cls(database_address(workspace, db, TABLE), dict(storage_options or {}))

    @property
    def is_local(self) -> bool:
        """Whether the database is a folder on this machine."""
        return "://" not in self.address

    def holds_table(self) -> bool:
        """Return whether the database exists and has a table ``sequences``."""
        return self._connection_to_table() is not None

    def open(self, columns: VectorColumns | None = None) -> Table:
        """Open the table ``sequences``.

        Args:
            columns: The vector column to use, and its companions; None is ``vector``. It may be missing.

        Raises:
            MissingPackage: LanceDB is not installed.
            StoreError: There is no table, it cannot be read, or ``sequence_id`` or ``dna_sequence`` is missing or not
                text.
        """
        connection = self._connection_to_table()
        if connection is None:
            raise StoreError(f"{self.address} has no table '{TABLE}'; create it with 'ednabed table import FILE'")
        with lance_errors(self.address):
            table = Table(self, connection.open_table(TABLE), columns or VectorColumns())
            names = table.names
        for column in (ID, SEQUENCE):
            if column not in names:
                raise StoreError(
                    f"{table.label} has no column '{column}' (it has {', '.join(names)}); rename the column that "
                    "contains it"
                )
            table.require_text(column)
        return table

    def create(self, rows: pa.RecordBatchReader | pa.Table) -> None:
        """Create the table with these rows in one commit; a local folder is created if missing."""
        connection = self._connect()
        with lance_errors(self.address):
            connection.create_table(TABLE, data=rows, exist_ok=False)

    def _connection_to_table(self) -> Any:
        """Return a connection to the database, or None if it does not exist or has no table ``sequences``."""
        if self.is_local and not Path(self.address).is_dir():
            return None
        connection = self._connect()
        with lance_errors(self.address):
            return connection if TABLE in connection.list_tables().tables else None

    def _connect(self) -> Any:
        # LanceDB warns on standard error when it creates a data set, and when a compaction meets another writer.
        os.environ.setdefault("LANCEDB_LOG", "error")
        lancedb = import_extra("lancedb", "table", "a LanceDB table")
        with lance_errors(self.address):
            return lancedb.connect(self.address, storage_options=dict(self.storage_options) or None)


class Table:
    """The open table ``sequences``, at one version, and one of its vector columns.

    Whatever LanceDB raises becomes a StoreError here.

    Attributes:
        database: Location of the table.
        lance: LanceDB's handle.
        columns: The vector column and its companions, which may be missing.
    """

    def __init__(self, database: Database, lance: Any, columns: VectorColumns) -> None:
        self.database = database
        self.lance = lance
        self.columns = columns

    @property
    def label(self) -> str:
        """The table in messages."""
        return f"{self.database.address}, table '{TABLE}'"

    @property
    def column_label(self) -> str:
        """The vector column in messages."""
        return f"{self.label}: column '{self.columns.vector}'"

    def _errors(self) -> AbstractContextManager[None]:
        return lance_errors(self.database.address)

    # -- columns -------------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> pa.Schema:
        """Columns of the table."""
        return self.lance.schema

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @property
    def dimension(self) -> int | None:
        """Dimension of the vector column, or None if the column does not exist yet.

        Raises:
            StoreError: The column cannot hold float32 vectors of one dimension.
        """
        if self.columns.vector not in self.schema.names:
            return None
        kind = self.schema.field(self.columns.vector).type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
            raise StoreError(
                f"{self.column_label} is {kind}, expected fixed_size_list<float>[d]; put the vectors into another "
                "`vector_column`"
            )
        return int(kind.list_size)

    def require_text(self, column: str) -> None:
        """Raise StoreError unless a column is text."""
        kind = self.schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise StoreError(
                f"{self.label}: column '{column}' is {kind}, expected string; store it as text under that name"
            )

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Add columns, null in all rows."""
        with self._errors():
            self.lance.add_columns(pa.schema(list(fields)))

    def allow_null(self, column: str) -> None:
        """Make a vector column nullable, because pending and rejected rows have null vectors."""
        if not self.schema.field(column).nullable:
            with self._errors():
                self.lance.alter_columns({"path": column, "nullable": True})

    def note(self, key: str) -> bytes | None:
        """Return what the metadata of the vector column contain under a key; None if nothing."""
        found: bytes | None = (self.schema.field(self.columns.vector).metadata or {}).get(key.encode())
        return found

    def write_note(self, key: str, text: str | None) -> None:
        """Write a text into the metadata of the vector column, unless it is there already; None removes it."""
        if self.note(key) != (None if text is None else text.encode()):
            with self._errors():
                self.lance.update_field_metadata({"path": self.columns.vector, "metadata": {key: text}})

    # -- rows ----------------------------------------------------------------------------------------------------------

    def count(self, where: str | None = None) -> int:
        """Return the number of rows that fulfil a filter (Lance's SQL); None counts all rows."""
        with self._errors():
            return int(self.lance.count_rows(where))

    def scan(self, names: Sequence[str], where: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of these columns and ``ROW_ID`` of the current rows; later writes are not visible."""
        with self._errors():
            query = self.lance.search().select(list(names)).with_row_id(True).limit(None)
            if where is not None:
                query = query.where(where)
            yield from query.to_batches(_SCAN_ROWS)

    def take(self, rows: Ints, names: Sequence[str]) -> pa.Table:
        """Return these columns and ``ROW_ID`` of the rows with the given numbers, in the given order."""
        distinct = np.unique(rows)
        parts = []
        with self._errors():
            for first in range(0, len(distinct), _TAKE_ROWS):
                block = distinct[first : first + _TAKE_ROWS].tolist()
                parts.append(self.lance.take_row_ids(block).select(list(names)).with_row_id().to_arrow())
            if not parts:
                parts.append(self.lance.search().select(list(names)).with_row_id(True).limit(0).to_arrow())
        return in_order(pa.concat_tables(parts), rows)

    def vectors(self, part: pa.RecordBatch | pa.Table) -> FloatArray:
        """Return the vectors of a part that has the vector column, float32, shape (n, d), with zeros for nulls."""
        column = part.column(self.columns.vector)
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        present = np.asarray(column.is_valid())
        out = np.zeros((len(column), column.type.list_size), np.float32)
        # flatten() omits null rows.
        out[present] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, out.shape[1])
        return out

    def merge(self, rows: pa.Table, where: str | None = None) -> int:
        """Replace columns of the rows that have the ids of ``rows``; return the number of rows that were updated.

        Args:
            rows: Ids and new values.
            where: Condition on ``source`` (``rows``) and ``target`` (the table); other rows are not updated.
        """
        with self._errors():
            merge = self.lance.merge_insert(ID).when_matched_update_all(where=where)
            # Null vectors are accepted only with this setting; all other vectors are finite.
            return int(merge.execute(rows, on_bad_vectors="null").num_updated_rows)

    def insert(self, rows: pa.RecordBatchReader) -> None:
        """Add the rows whose id is not in the table yet."""
        with self._errors():
            # add() could duplicate an id if two imports run at once on an object store, where there is no lock.
            self.lance.merge_insert(ID).when_not_matched_insert_all().execute(rows)

    def check_ids(self) -> None:
        """Raise StoreError if an id is missing or duplicated, because such rows cannot be distinguished."""
        import pyarrow.compute as pc

        ids = pa.chunked_array([batch.column(ID) for batch in self.scan([ID])] or [pa.array([], pa.string())])
        if ids.null_count:
            raise StoreError(f"{self.label}: {ids.null_count} rows have no {ID}; give each row one")
        if pc.count_distinct(ids).as_py() != len(ids):
            counts = pc.value_counts(ids)
            duplicate = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1))[0].as_py()
            raise StoreError(
                f"{self.label}: {ID} {duplicate['values']!r} occurs {duplicate['counts']} times; rows are found by "
                "their id, so make the ids unique"
            )

    # -- versions ------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Go to the newest version, with the writes of other programs."""
        with self._errors():
            self.lance.checkout_latest()

    def drop_vectors(self) -> bool:
        """Drop the vector column; return False if another program has written to the table since it was read."""
        with self._errors():
            before = self.lance.version
            self.lance.drop_columns([self.columns.vector])
            return bool(self.lance.version == before + 1)

    def step_back(self) -> None:
        """Go to the version before this one; nothing can be written until ``restore``."""
        with self._errors():
            self.lance.checkout(self.lance.version - 1)

    def restore(self) -> None:
        """Make this version the newest one."""
        with self._errors():
            self.lance.restore()

    def optimize(self) -> None:
        """Compact the files, and remove versions older than seven days."""
        with self._errors():
            self.lance.optimize()

    def size(self) -> tuple[int, int | None]:
        """Return the number of stored versions, and the size of the data in bytes (None if it is not reported)."""
        with self._errors():
            size = self.lance.stats()["total_bytes"]
            return len(self.lance.list_versions()), None if size is None else int(size)

    # -- index ---------------------------------------------------------------------------------------------------------

    def indices(self) -> list[str]:
        """Return the names of the indices of the vector column."""
        with self._errors():
            return [index.name for index in self.lance.list_indices() if self.columns.vector in index.columns]

    def create_index(self, name: str, config: Any) -> None:
        """Create or replace an index of the vector column."""
        with self._errors():
            self.lance.create_index(self.columns.vector, config=config, replace=True, name=name)

    def index_stats(self, name: str) -> Any:
        """Return LanceDB's description of an index."""
        with self._errors():
            return self.lance.index_stats(name)

    def search_index(
        self,
        queries: FloatArray,
        limit: int,
        names: Sequence[str],
        *,
        nprobes: int,
        refine_factor: int,
        where: str | None = None,
    ) -> pa.Table:
        """Query the index for the nearest rows of each query; rows added after it was built are also compared.

        Args:
            queries: Usable vectors, float32, shape (q, d).
            limit: Requested rows per query.
            names: Columns to return.
            nprobes: Lists to visit.
            refine_factor: Candidates per requested row that are compared using their vectors.
            where: Filter in Lance's SQL, applied before the search.

        Returns:
            The columns, ``ROW_ID`` and ``query_index`` (int64, from 0).
        """
        parts = []
        for first in range(0, len(queries), _QUERIES):
            block = list(queries[first : first + _QUERIES])
            with self._errors():
                search = self.lance.search(block, vector_column_name=self.columns.vector).distance_type("cosine")
                search = search.nprobes(nprobes).refine_factor(refine_factor).limit(limit)
                search = search.select([*names, "_distance"]).with_row_id(True)
                if where is not None:
                    search = search.where(where, prefilter=True)
                found = search.to_arrow()
            # LanceDB omits the column for a single query.
            numbers: Ints = found.column("query_index").to_numpy() if len(block) > 1 else np.zeros(len(found), np.int64)
            kept = found.select([*names, ROW_ID])
            parts.append(kept.append_column("query_index", pa.array(numbers.astype(np.int64) + first)))
        return pa.concat_tables(parts)


def row_ids(part: pa.RecordBatch | pa.Table) -> Ints:
    """Return the row numbers of a part, int64, shape (n,)."""
    return np.asarray(part.column(ROW_ID).to_numpy(), np.int64)


def in_order(taken: pa.Table, rows: Ints) -> pa.Table:
    """Return the rows of ``taken`` (each once, in any order) with the given numbers, in the given order."""
    found = row_ids(taken)
    order = np.argsort(found)
    return taken.take(pa.array(order[np.searchsorted(found, rows, sorter=order)])).combine_chunks()


def quoted(column: str) -> str:
    """Return a column name quoted for Lance's filters, safe for any case and for SQL keywords."""
    return f"`{column}`"
