"""Which function made the vectors of a table's column: one, and known, or they cannot be searched."""

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
    """Return the function that made the vectors of a column.

    Args:
        database: Where the table is.
        columns: Vector column and companions; None is ``vector``.

    Raises:
        StoreError: There is no such column, it has no vector, or its vectors were made by several functions, or by an
            unknown one.
    """
    columns = VectorColumns() if columns is None else columns
    return spec_of_column(database, database.open(), columns)


def spec_of_column(database: Database, table: Any, columns: VectorColumns) -> Spec:
    """Do what ``spec_of_table`` does, for an open table."""
    where = f"{database.address}, table '{TABLE}': column '{columns.vector}'"
    dimension = vector_dimension(database, table, columns)
    if dimension is None:
        raise StoreError(f"{where} is not there, wanted vectors; make them with 'ednabed table embed'")
    text = (table.schema.field(columns.vector).metadata or {}).get(SPEC_KEY.encode())
    try:
        spec = None if text is None else Spec.from_dict(parse_json(text))
    except ValueError as error:
        raise StoreError(
            f"{where} says in '{SPEC_KEY}' what no version of ednabed writes ({error}); embed again with "
            "'ednabed table embed --no-resume'"
        ) from error
    if spec is not None and _is_only_one(database, table, columns, spec):
        return spec
    prints = _fingerprints(database, table, columns)
    others = sorted(prints - {spec.fingerprint} if spec else prints, key=str)
    if others:
        # Rejected rows and cleared vectors keep their fingerprint, so only now the vectors are looked at.
        others = _makers(database, table, columns, dimension, spec)
    if spec is None or others:
        names = [other[:12] if other else "an unknown one" for other in others]
        names += [spec.fingerprint[:12]] if spec and spec.fingerprint in prints else []
        if not names:
            raise StoreError(f"{where} has no vector; make them with 'ednabed table embed'")
        which = f"by {len(names)} functions ({', '.join(names)})" if len(names) > 1 else "by a function that is unknown"
        raise StoreError(
            f"{where} holds vectors made {which}, wanted one known function, because only its vectors can be compared; "
            "replace them all by 'ednabed table embed --no-resume', or use another column by --vector-column"
        )
    if spec.fingerprint not in prints:
        raise StoreError(f"{where} has no vector; make them with 'ednabed table embed'")
    return spec


def _is_only_one(database: Database, table: Any, columns: VectorColumns, spec: Spec) -> bool:
    """Tell at once whether all rows have the fingerprint of ``spec``, as in a table that is wholly embedded."""
    if columns.fingerprint not in table.schema.names:
        return False
    fingerprint = quoted(columns.fingerprint)
    with lance_errors(database.address):
        if table.count_rows(f"{fingerprint} IS NULL OR {fingerprint} != '{spec.fingerprint}'"):
            return False
        return bool(table.count_rows(_own(table, columns, spec)))


def _own(table: Any, columns: VectorColumns, spec: Spec) -> str:
    """Return the filter for rows that this function gave a vector."""
    where = f"{quoted(columns.fingerprint)} = '{spec.fingerprint}'"
    if columns.status in table.schema.names:
        where += f" AND ({quoted(columns.status)} IS NULL OR {quoted(columns.status)} != '{REJECTED}')"
    return where


def _fingerprints(database: Database, table: Any, columns: VectorColumns) -> set[str | None]:
    """Return the fingerprints of all rows but rejected ones; does not look at the vectors."""
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


def _makers(
    database: Database, table: Any, columns: VectorColumns, dimension: int, spec: Spec | None
) -> list[str | None]:
    """Return the fingerprints beside usable vectors, None for no fingerprint, without the one of ``spec``."""
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
    """Return the numbers of the rows that hold a vector of this function."""
    where = _own(table, columns, spec)
    batches = [batch.column(ROW_ID).to_numpy() for batch in scan_rows(database, table, [columns.fingerprint], where)]
    return np.concatenate(batches or [np.zeros(0, np.uint64)]).astype(np.uint64)
