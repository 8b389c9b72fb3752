"""Unify the columns of the records of several runs: their names, types and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

RESERVED = ("row", "dataset", "run_id", "seq_idx", "source_file")
"""Names of columns that a collection adds to those of its runs."""


def free_names(names: Sequence[str]) -> list[str]:
    """Return the names of a run's columns, with ``_input`` appended to those that are ``RESERVED``."""
    taken = {*RESERVED, *names}
    free = []
    for name in names:
        new = name
        if name in RESERVED:
            while new in taken:
                new += "_input"
            taken.add(new)
        free.append(new)
    return free


def union(schemas: Iterable[pa.Schema]) -> dict[str, pa.Field]:
    """Return the columns of all schemas by name.

    If a column has several types, whole numbers become int64, numbers become float64, and anything else becomes text;
    nulls take any type. The result does not depend on the order of the schemas.
    """
    types: dict[str, pa.DataType] = {}
    for field in (field for schema in schemas for field in schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        types[field.name] = _join(types.get(field.name, kind), kind)
    return {name: pa.field(name, kind) for name, kind in types.items()}


def _join(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    kinds = {_kind(one), _kind(other)}
    if kinds == {"integer"}:
        return pa.int64()
    return pa.float64() if kinds <= {"integer", "float"} else pa.string()


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_integer(type_) and type_ != pa.uint64():
        return "integer"
    return "float" if pa.types.is_floating(type_) else "other"


def fitted(table: pa.Table, fields: Iterable[pa.Field]) -> pa.Table:
    """Return the columns ``fields`` (from ``union``) of a table of one run; missing columns are null."""
    schema = pa.schema(list(fields))
    columns = [
        _as(table.column(field.name), field.type)
        if field.name in table.schema.names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if pa.types.is_string(kind):
        return as_text(column)
    # Large whole numbers in a column with fractions lose their last digits.
    return column.cast(kind, safe=False)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text."""
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        # Nested types and bytes have no cast to text.
        values = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
