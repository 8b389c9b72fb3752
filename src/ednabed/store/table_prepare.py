"""Prepare a table for embedding: check that it can hold the vectors, and add the columns for them."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pyarrow as pa

from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.store.table import (
    SPEC_KEY,
    TABLE,
    Database,
    VectorColumns,
    allow_null,
    check_ids,
    lance_errors,
    quoted,
    require_text,
    scan,
    vector_dimension,
    vectors_of,
)

log = logging.getLogger("ednabed")

_TRIES = 5


def check_table(database: Database, table: Any, columns: VectorColumns, spec: Spec, *, resume: bool) -> None:
    """Raise StoreError if a table cannot hold the vectors of a function."""
    where = f"{database.address}, table '{TABLE}'"
    check_ids(database, table)
    for name in (columns.status, columns.reason, columns.fingerprint):
        if name in table.schema.names:
            require_text(database, table, name)
    dimension = vector_dimension(database, table, columns)
    if dimension is None:
        return
    if dimension != spec.dimension:
        # A column in which every row is still pending is replaced by ``make_room``.
        if not _holds_vectors(database, table, columns, dimension):
            return
        raise StoreError(
            f"{where}: column '{columns.vector}' contains vectors of {dimension} dimensions, but {spec.model} produces "
            f"{spec.dimension}; use another `vector_column` to keep both"
        )
    if resume:
        check_functions(database, table, columns, spec)


def make_room(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> None:
    """Drop a vector column of another dimension in which every row is pending; ``add_columns`` adds it again.

    Raises:
        StoreError: Another program wrote vectors to it meanwhile; they are kept.
    """
    where = f"{database.address}, table '{TABLE}': column '{columns.vector}'"
    for attempt in range(_TRIES):
        table.checkout_latest()
        dimension = vector_dimension(database, table, columns)
        if dimension is None or dimension == spec.dimension:
            return
        seen = table.version
        if _holds_vectors(database, table, columns, dimension):
            raise StoreError(f"{where} received vectors of {dimension} dimensions meanwhile; run the command again")
        try:
            with lance_errors(database.address):
                table.drop_columns([columns.vector])
        except StoreError:
            # Another process may have just dropped it; check again.
            if attempt == _TRIES - 1:
                raise
            continue
        if table.version == seen + 1:
            log.warning(
                "%s had %d dimensions and no vector in any row; it is replaced by one of %d dimensions for %s",
                where, dimension, spec.dimension, spec.model,
            )  # fmt: skip
            return
        # Lance drops a column even if another program has written to it or recreated it since the check.
        with lance_errors(database.address):
            table.checkout(table.version - 1)
        now = vector_dimension(database, table, columns)
        if now is not None and (now == spec.dimension or _holds_vectors(database, table, columns, now)):
            with lance_errors(database.address):
                table.restore()
    raise StoreError(f"{where} is constantly changed by other programs; run the command again when they have finished")


def _holds_vectors(database: Database, table: Any, columns: VectorColumns, dimension: int) -> bool:
    """Return whether any row has a vector that is not all zeros."""
    for batch in scan(database, table, [columns.vector], f"{quoted(columns.vector)} IS NOT NULL"):
        vectors, _ = vectors_of(batch.column(0), dimension)
        if vectors.any():
            return True
    return False


def check_functions(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> None:
    """Raise StoreError if the column contains vectors computed by another or an unknown function."""
    other = _other_function(database, table, columns, spec.fingerprint, spec.dimension)
    if other is not None:
        raise StoreError(
            f"{database.address}, table '{TABLE}': column '{columns.vector}' contains vectors computed by {other}, but "
            f"{spec.model} is {spec.fingerprint[:12]}; they cannot be mixed: replace them all with "
            "`resume=False` (without `max_sequences`), or use another `vector_column` to keep both"
        )


def _other_function(
    database: Database, table: Any, columns: VectorColumns, fingerprint_here: str, dimension: int
) -> str | None:
    """Return a description of the function of any foreign vectors, or None if there are none."""
    vector, fingerprint = quoted(columns.vector), quoted(columns.fingerprint)
    unknown = f"{vector} IS NOT NULL"
    if columns.fingerprint in table.schema.names:
        named = f"{vector} IS NOT NULL AND {fingerprint} IS NOT NULL AND {fingerprint} != '{fingerprint_here}'"
        for batch in scan(database, table, [columns.fingerprint], named):
            if len(batch):
                return f"another function ({batch.column(0)[0].as_py()[:12]})"
        unknown += f" AND {fingerprint} IS NULL"
    for batch in scan(database, table, [columns.vector], unknown):
        vectors, _ = vectors_of(batch.column(0), dimension)
        if vectors.any():
            return "an unknown function (no fingerprint)"
    return None


def add_columns(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> None:
    """Add the vector column and its companions if they are missing; another process may do the same."""
    required = [pa.field(columns.vector, pa.list_(pa.float32(), spec.dimension))]
    required += [pa.field(name, pa.string()) for name in (columns.status, columns.reason, columns.fingerprint)]
    for attempt in range(5):
        missing = [f for f in required if f.name not in table.schema.names]
        try:
            if missing:
                with lance_errors(database.address):
                    table.add_columns(pa.schema(missing))
            for f in required:
                allow_null(database, table, f.name)
            note_spec(database, table, columns, spec)
            return
        except StoreError:
            # Lance lets one of two writers win; the other checks again.
            if attempt == 4:
                raise
            time.sleep(0.2 * (attempt + 1))
        table.checkout_latest()


def note_spec(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> None:
    """Write the function into the metadata of the vector column, so that the table records what computed them."""
    metadata = table.schema.field(columns.vector).metadata or {}
    text = json.dumps(spec.to_dict(), sort_keys=True)
    if metadata.get(SPEC_KEY.encode()) != text.encode():
        with lance_errors(database.address):
            table.update_field_metadata({"path": columns.vector, "metadata": {SPEC_KEY: text}})
