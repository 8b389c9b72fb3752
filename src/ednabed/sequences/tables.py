"""From the columns of a table (delimited text or Parquet) to raw record batches.

Cells arrive as bytes or text or, from Parquet, as numbers; ids, samples and lineages become text, abundances whole
numbers, sequences bytes. Lineages are read once for each distinct one in a batch.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.columns import Roles, require
from ednabed.sequences.lineage import RANKS, tidy_lineage, tidy_ranks
from ednabed.sequences.records import RAW_SCHEMA
from ednabed.sequences.stream import decode

_NO_NUMBER = ("", "na", "n/a", "nan", "null", "none")
_BINOMIAL = re.compile(r"[A-Z][a-z-]+[ _][a-z][a-z-]+$")


def raw_batch(batch: pa.RecordBatch, roles: Roles, path: str, name: str, first: int) -> pa.RecordBatch:
    """Turn rows of a table into a raw batch.

    Args:
        batch: The rows, all columns.
        roles: What the columns mean.
        path: The file, for messages.
        name: What the column ``source`` says.
        first: Number of the first row, 1 for the first row below the header.

    Raises:
        InputError: An abundance is no whole number, a lineage cannot be told, a column is nested.
    """
    id_column, sequence_column = require(roles, batch.schema.names, path)
    count = batch.num_rows
    columns = {
        "id": pc.utf8_trim_whitespace(text_of(batch.column(id_column), id_column, path)).fill_null(""),
        "sequence": _bytes_of(batch.column(sequence_column), sequence_column, path),
        "abundance": pa.nulls(count, pa.int64()),
        "sample": pa.nulls(count, pa.string()),
        "lineage": lineages_of(batch, roles, path, first),
        "description": pa.nulls(count, pa.string()),
        "source": pa.repeat(pa.scalar(name), count),
        "record": pa.array(np.arange(first, first + count, dtype=np.int64)),
    }
    if roles.abundance:
        columns["abundance"] = _abundances(batch.column(roles.abundance), roles.abundance, path, first)
    if roles.sample:
        samples = pc.utf8_trim_whitespace(text_of(batch.column(roles.sample), roles.sample, path))
        columns["sample"] = pc.if_else(pc.equal(samples, ""), pa.scalar(None, pa.string()), samples)
    arrays = [columns[field.name] for field in RAW_SCHEMA]
    fields = list(RAW_SCHEMA)
    for column, kept in roles.extras.items():
        values = _extra(batch.column(column), column, path)
        arrays.append(values)
        fields.append(pa.field(kept, values.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def text_of(values: pa.Array, column: str, path: str) -> pa.Array:
    """Return a column as text: bytes are UTF-8, or else Latin-1 cell by cell; numbers as they are written."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            return pa.array([None if cell is None else decode(cell) for cell in values.to_pylist()], pa.string())
    if pa.types.is_nested(values.type):
        raise InputError(
            f"{path}: column {column!r} holds {values.type}, not one value a record; write the file without that column"
        )
    try:
        if pa.types.is_floating(values.type):
            # What pandas makes of whole numbers with a gap among them.
            return pa.array(
                [None if v is None else str(int(v)) if v.is_integer() else repr(v) for v in values.to_pylist()]
            )
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: column {column!r} holds {values.type}, which is no text; write the file without that column"
        ) from error


def lineages_of(batch: pa.RecordBatch, roles: Roles, path: str, first: int) -> pa.Array:
    """Return the lineages of rows of a table, tidy; null where nothing is known."""
    if roles.ranks or roles.binomial:
        cells = {rank: _names(batch, column, path) for rank, column in roles.ranks.items()}
        if roles.binomial:
            names = _names(batch, roles.binomial, path).to_pylist()
            cells["species"] = pa.array([name if _BINOMIAL.match(name) else "" for name in names], pa.string())
        blank = pa.repeat(pa.scalar(""), batch.num_rows)
        written = pc.binary_join_element_wise(*(cells.get(rank, blank) for rank in RANKS), ";")
    elif roles.lineage:
        written = text_of(batch.column(roles.lineage), roles.lineage, path).fill_null("")
    else:
        return pa.nulls(batch.num_rows, pa.string())
    read = tidy_ranks if roles.ranks or roles.binomial else tidy_lineage
    distinct = written.dictionary_encode()
    tidy: list[str | None] = []
    for place, value in enumerate(distinct.dictionary.to_pylist()):
        try:
            tidy.append(read(value))
        except InputError as error:
            row = first + pc.index(distinct.indices, place).as_py()
            raise InputError(f"{path}: row {row}: {error}") from error
    return pa.array(tidy, pa.string()).take(distinct.indices)


def _names(batch: pa.RecordBatch, column: str, path: str) -> pa.Array:
    """Return the cells of one rank; a semicolon in one would shift all ranks after it."""
    return pc.replace_substring(text_of(batch.column(column), column, path).fill_null(""), ";", ",")


def _bytes_of(values: pa.Array, column: str, path: str) -> pa.Array:
    if pa.types.is_binary(values.type):
        return values
    return text_of(values, column, path).cast(pa.binary())


def _extra(values: pa.Array, column: str, path: str) -> pa.Array:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return values
    return text_of(values, column, path)


def _abundances(values: pa.Array, column: str, path: str, first: int) -> pa.Array:
    if pa.types.is_integer(values.type):
        wrong = pc.fill_null(pc.or_(pc.less(values, 0), pc.greater(values, 10**18)), False)
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            raise InputError(
                f"{path}: row {first + row}: {column} is {values[row].as_py()}, not a number of reads; correct it"
            )
        return values.cast(pa.int64())
    cells = pc.utf8_trim_whitespace(text_of(values, column, path))
    unknown = pc.is_in(pc.utf8_lower(cells), value_set=pa.array(_NO_NUMBER))
    cells = pc.if_else(unknown, pa.scalar(None, pa.string()), cells)
    cells = pc.replace_substring_regex(cells, r"^(\d+)\.0*$", r"\1")
    wrong = pc.invert(pc.match_substring_regex(cells, r"^\d{1,18}$"))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise InputError(
            f"{path}: row {first + row}: {column} is {cells[row].as_py()!r}, not a whole number of reads; "
            f"correct it, or rename the column if it is no count"
        )
    return cells.cast(pa.int64())
