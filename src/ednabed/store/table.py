"""The LanceDB table ``sequences``: open it, name its columns and count its rows.

Row order in LanceDB has no meaning (updates move rows), so rows are always addressed by ``sequence_id``. A vector is
pending while it is null or all zeros. Each vector column has three companion columns: the status (``embedded`` or
``rejected``), the reason for a rejection, and the fingerprint of the function that computed the vector.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.stored_json import BadJson, parse_json
from ednabed.errors import StoreError, UsageError
from ednabed.extras import import_extra
from ednabed.store.defaults import database_address

TABLE = "sequences"
ID = "sequence_id"
SEQUENCE = "dna_sequence"
EMBEDDED = "embedded"
REJECTED = "rejected"
# Metadata key of a vector column for the spec of the last function that wrote to it, as JSON.
SPEC_KEY = "ednabed.spec"
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_COMPANIONS = ("_status", "_reason", "_fingerprint")


@contextmanager
def lance_errors(address: str) -> Iterator[None]:
    """Convert errors from Lance (including a full disk, and panics on a damaged file) to StoreError."""
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

    def connect(self) -> Any:
        """Connect to the database; a local folder is created if missing.

        Raises:
            MissingPackage: LanceDB is not installed.
            StoreError: The address cannot be opened.
        """
        # LanceDB warns on standard error when it creates a data set, and when a compaction meets another writer.
        os.environ.setdefault("LANCEDB_LOG", "error")
        lancedb = import_extra("lancedb", "table", "a LanceDB table")
        with lance_errors(self.address):
            return lancedb.connect(self.address, storage_options=dict(self.storage_options) or None)

    def open(self) -> Any:
        """Open the table ``sequences``.

        Raises:
            StoreError: There is no table, it cannot be read, or ``sequence_id`` or ``dna_sequence`` is missing or not
                text.
        """
        missing = f"{self.address} has no table '{TABLE}'; create it with 'ednabed table import FILE'"
        if self.is_local and not Path(self.address).is_dir():
            raise StoreError(missing)
        connection = self.connect()
        if not self.holds_table(connection):
            raise StoreError(missing)
        with lance_errors(self.address):
            table = connection.open_table(TABLE)
            names = table.schema.names
        for column in (ID, SEQUENCE):
            if column not in names:
                raise StoreError(
                    f"{self.address}, table '{TABLE}' has no column '{column}' "
                    f"(it has {', '.join(names)}); rename the column that contains it"
                )
            require_text(self, table, column)
        return table

    def holds_table(self, connection: Any) -> bool:
        """Return whether the database has a table ``sequences``."""
        with lance_errors(self.address):
            return TABLE in connection.list_tables().tables


def require_text(database: Database, table: Any, column: str) -> None:
    """Raise StoreError unless a column is text."""
    kind = table.schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise StoreError(
            f"{database.address}, table '{TABLE}': column '{column}' is {kind}, expected string; "
            "store it as text under that name"
        )


def quoted(column: str) -> str:
    """Return a column name quoted for Lance's filters, safe for any case and for SQL keywords."""
    return f"`{column}`"


def scan(database: Database, table: Any, columns: list[str], where: str | None = None) -> Iterator[Any]:
    """Yield Arrow batches of the current rows; later writes are not visible."""
    with lance_errors(database.address):
        query = table.search().select(columns).limit(None)
        if where is not None:
            query = query.where(where)
        yield from query.to_batches(4096)


def allow_null(database: Database, table: Any, column: str) -> None:
    """Make a vector column nullable, because pending and rejected rows have null vectors."""
    if not table.schema.field(column).nullable:
        with lance_errors(database.address):
            table.alter_columns({"path": column, "nullable": True})


def check_ids(database: Database, table: Any) -> None:
    """Raise StoreError if an id is missing or duplicated, because such rows cannot be distinguished."""
    import pyarrow.compute as pc

    ids = pa.chunked_array([batch.column(ID) for batch in scan(database, table, [ID])] or [pa.array([], pa.string())])
    if ids.null_count:
        raise StoreError(f"{database.address}, table '{TABLE}': {ids.null_count} rows have no {ID}; give each row one")
    if pc.count_distinct(ids).as_py() != len(ids):
        counts = pc.value_counts(ids)
        duplicate = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1))[0].as_py()
        raise StoreError(
            f"{database.address}, table '{TABLE}': {ID} {duplicate['values']!r} occurs {duplicate['counts']} times; "
            "rows are found by their id, so make the ids unique"
        )


def vector_dimension(database: Database, table: Any, columns: VectorColumns) -> int | None:
    """Return the dimension of the vector column, or None if the column does not exist yet.

    Raises:
        StoreError: The column cannot hold float32 vectors of one dimension.
    """
    if columns.vector not in table.schema.names:
        return None
    kind = table.schema.field(columns.vector).type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise StoreError(
            f"{database.address}, table '{TABLE}': column '{columns.vector}' is {kind}, "
            "expected fixed_size_list<float>[d]; put the vectors into another `vector_column`"
        )
    return int(kind.list_size)


def vectors_of(column: Any, dimension: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the vectors of a fixed-size-list column, with zeros for nulls, and a mask of the null rows."""
    null = np.asarray(column.is_null())
    out = np.zeros((len(column), dimension), np.float32)
    # flatten() omits null rows.
    out[~null] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension)
    return out, null


@dataclass
class TableStatus:
    """Contents of a table.

    Attributes:
        address: Location of the table.
        rows: Number of all rows.
        embedded: Number of rows with a usable vector.
        pending: Number of rows whose vector is null or all zeros and that were not rejected.
        rejected: Number of rows that were rejected, with the reason in the table.
        invalid: Number of rows whose vector is not finite.
        fingerprints: Number of embedded rows by fingerprint; ``unknown`` for vectors of unknown origin.
        dimension: Dimension of the vector column, or None if it does not exist yet.
        bytes_on_disk: Size of the data, or None if the store does not report it.
        versions: Number of stored table versions.
        vector_column: Name of the vector column.
        spec: The function that last wrote to the vector column (``Spec.to_dict``), or None if it is not recorded.
    """

    address: str
    rows: int
    embedded: int
    pending: int
    rejected: int
    invalid: int
    fingerprints: dict[str, int]
    dimension: int | None
    bytes_on_disk: int | None
    versions: int
    vector_column: str
    spec: dict[str, Any] | None = None


def survey(database: Database, columns: VectorColumns | None = None) -> TableStatus:
    """Count the rows of the table by state. Every vector is read once.

    Raises:
        StoreError: There is no table, or it does not have the columns of a sequence table.
    """
    columns = VectorColumns() if columns is None else columns
    table = database.open()
    dimension = vector_dimension(database, table, columns)
    selected = [c for c in (columns.vector, columns.status, columns.fingerprint) if c in table.schema.names]
    with lance_errors(database.address):
        rows, versions, size = table.count_rows(), len(table.list_versions()), _bytes_on_disk(table)
    status = TableStatus(database.address, rows, 0, 0, 0, 0, {}, dimension, size, versions, columns.vector)
    if dimension is None:
        status.pending = status.rows
        return status
    text = (table.schema.field(columns.vector).metadata or {}).get(SPEC_KEY.encode())
    try:
        status.spec = None if text is None else parse_json(text)
    except BadJson as error:
        raise StoreError(
            f"{database.address}, table '{TABLE}': column '{columns.vector}' has a damaged '{SPEC_KEY}' ({error}); "
            "embed again with 'ednabed table embed --no-resume'"
        ) from error
    for batch in scan(database, table, selected):
        vectors, null = vectors_of(batch.column(columns.vector), dimension)
        # One sum per row distinguishes all-zero from not-finite rows; float64 cannot overflow here.
        size = np.abs(vectors).sum(axis=1, dtype=np.float64)
        empty = null | (size == 0)
        names = batch.schema.names
        marks = np.array(batch.column(columns.status).to_pylist() if columns.status in names else [None] * len(batch))
        prints = batch.column(columns.fingerprint).to_pylist() if columns.fingerprint in names else [None] * len(batch)
        refused = empty & (marks == REJECTED)
        finite = np.isfinite(size)
        good = ~empty & finite
        status.rejected += int(refused.sum())
        status.pending += int((empty & ~refused).sum())
        status.invalid += int((~finite).sum())
        status.embedded += int(good.sum())
        for i in np.flatnonzero(good).tolist():
            name = prints[i] or "unknown"
            status.fingerprints[name] = status.fingerprints.get(name, 0) + 1
    return status


def _bytes_on_disk(table: Any) -> int | None:
    total = table.stats()["total_bytes"]
    return None if total is None else int(total)
