"""Identify the function that computed the vectors of a table column; only one known function can be searched."""

from __future__ import annotations

from typing import Any

import numpy as np

from ednabed.base.stored_json import parse_json
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.store.table import (
    REJECTED,
    SPEC_KEY,
    TABLE,
    Database,
    VectorColumns,
    lance_errors,
    quoted,
    vector_dimension,
)
from ednabed.store.table_nearest import ROW_ID, Numbers, scan_rows, usable, vectors_in


def spec_of_table(database: Database, columns: VectorColumns | None = None) -> Spec:
    """Return the function that computed the vectors of a column.

    Args:
        database: Location of the table.
        columns: Vector column and companions; None is ``vector``.

    Raises:
        StoreError: There is no such column, it has no vector, or its vectors were computed by several functions or by
            an unknown one.
    """
    columns = VectorColumns() if columns is None else columns
    return spec_of_column(database, database.open(), columns)


def spec_of_column(database: Database, table: Any, columns: VectorColumns) -> Spec:
    """Return the function that computed the vectors of a column of an open table; see ``spec_of_table``."""
    where = f"{database.address}, table '{TABLE}': column '{columns.vector}'"
    dimension = vector_dimension(database, table, columns)
    if dimension is None:
        raise StoreError(f"{where} does not exist; compute its vectors with 'ednabed table embed'")
    text = (table.schema.field(columns.vector).metadata or {}).get(SPEC_KEY.encode())
    try:
        spec = None if text is None else Spec.from_dict(parse_json(text))
    except ValueError as error:
        raise StoreError(
            f"{where} has a '{SPEC_KEY}' that no version of ednabed writes ({error}); embed again with "
            "'ednabed table embed --no-resume'"
        ) from error
    if spec is not None and _is_only_one(database, table, columns, spec):
        return spec
    prints = _fingerprints(database, table, columns)
    others = sorted(prints - {spec.fingerprint} if spec else prints, key=str)
    if others:
        # Rejected rows and cleared vectors keep their fingerprint, so the vectors themselves must be checked now.
        others = _other_fingerprints(database, table, columns, dimension, spec)
    if spec is None or others:
        names = [other[:12] if other else "an unknown one" for other in others]
        names += [spec.fingerprint[:12]] if spec and spec.fingerprint in prints else []
        if not names:
            raise StoreError(f"{where} has no vectors; compute them with 'ednabed table embed'")
        which = f"by {len(names)} functions ({', '.join(names)})" if len(names) > 1 else "by an unknown function"
        raise StoreError(
            f"{where} contains vectors computed {which}, expected one known function, because only vectors of the same "
            "function can be compared; replace them all with 'ednabed table embed --no-resume', or use another "
            "`vector_column`"
        )
    if spec.fingerprint not in prints:
        raise StoreError(f"{where} has no vectors; compute them with 'ednabed table embed'")
    return spec


def _is_only_one(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> bool:
    """Return quickly whether all rows have the fingerprint of ``spec``, as in a completely embedded table."""
    if columns.fingerprint not in table.schema.names:
        return False
    fingerprint = quoted(columns.fingerprint)
    with lance_errors(database.address):
        if table.count_rows(f"{fingerprint} IS NULL OR {fingerprint} != '{spec.fingerprint}'"):
            return False
        return bool(table.count_rows(_embedded_filter(table, columns, spec)))


def _embedded_filter(table: Any, columns: VectorColumns, spec: Spec) -> str:
    """Return the filter for rows with a vector computed by this function."""
    where = f"{quoted(columns.fingerprint)} = '{spec.fingerprint}'"
    if columns.status in table.schema.names:
        where += f" AND ({quoted(columns.status)} IS NULL OR {quoted(columns.status)} != '{REJECTED}')"
    return where


def _fingerprints(database: Database, table: Any, columns: VectorColumns) -> set[str | None]:
    """Return the fingerprints of all rows except rejected ones, without reading the vectors."""
    import pyarrow.compute as pc

    names = [name for name in (columns.fingerprint, columns.status) if name in table.schema.names]
    if columns.fingerprint not in names:
        return {None}
    found: set[str | None] = set()
    for batch in scan_rows(database, table, names):
        prints = batch.column(columns.fingerprint)
        if columns.status in names:
            prints = prints.filter(pc.fill_null(pc.not_equal(batch.column(columns.status), REJECTED), True))
        found.update(prints.unique().to_pylist())
    return found


def _other_fingerprints(
    database: Database, table: Any, columns: VectorColumns, dimension: int, spec: Spec | None
) -> list[str | None]:
    """Return the fingerprints of usable vectors, except that of ``spec``; None stands for a missing fingerprint."""
    fingerprint = columns.fingerprint if columns.fingerprint in table.schema.names else None
    where = None
    if fingerprint is not None and spec is not None:
        where = f"{quoted(fingerprint)} IS NULL OR {quoted(fingerprint)} != '{spec.fingerprint}'"
    found: set[str | None] = set()
    for batch in scan_rows(database, table, [columns.vector, *([fingerprint] if fingerprint else [])], where):
        good = usable(vectors_in(batch, columns.vector, dimension))
        prints = batch.column(fingerprint).to_pylist() if fingerprint else [None] * len(batch)
        found.update(name for name, is_good in zip(prints, good.tolist(), strict=True) if is_good)
    return sorted(found, key=str)


def embedded_rows(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> Numbers:
    """Return the row numbers of the rows with a vector of this function."""
    where = _embedded_filter(table, columns, spec)
    batches = [batch.column(ROW_ID).to_numpy() for batch in scan_rows(database, table, [columns.fingerprint], where)]
    return np.concatenate(batches or [np.zeros(0, np.uint64)]).astype(np.uint64)
