"""Convert the columns of a table (delimited text or Parquet) to raw record batches.

Cells are bytes or text or, from Parquet, numbers. IDs, samples and lineages become text, abundances whole numbers,
sequences bytes. Lineages stay as written, because the rank of a name can only be determined from the whole file.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.columns import Roles, plain, required_columns
from ednabed.sequences.lineage_fields import CELL, RANKS
from ednabed.sequences.numbers import parse_count
from ednabed.sequences.records import RAW_SCHEMA, SOURCE_RECORDS
from ednabed.sequences.stream import decode_text
from ednabed.sequences.taxon_names import EMPTY, is_empty, species_of_scientific_name

_NO_SEQUENCE = pa.array([b"None", b"none", b"NULL", b"null"], pa.binary())
_NO_NUMBER = ("", "na", "n/a", "nan", "null", "none")
_MAX_SOURCE_RECORDS = 10**12
"""More than any database has; sums over all records of a reference stay within 64 bits."""
_VERBATIM = "verbatimidentification"
_ABOVE_SPECIES = frozenset(
    ("domain", "superkingdom", *RANKS[:6], "subphylum", "subclass", "suborder", "superfamily", "subfamily", "tribe",
     "subgenus", "unranked")
)  # fmt: skip
_COORD = r"^\s*[(\[]?\s*(?P<latitude>[-+]?\d+(?:\.\d*)?)\s*[,;]\s*(?P<longitude>[-+]?\d+(?:\.\d*)?)\s*[)\]]?\s*$"


def raw_batch(batch: pa.RecordBatch, roles: Roles, path: str, name: str, first: int) -> pa.RecordBatch:
    """Return rows of a table as a raw batch.

    Args:
        batch: The rows, all columns.
        roles: The roles of the columns.
        path: The file, for messages.
        name: The value of the column ``source``.
        first: Number of the first row, 1 for the first row below the header.

    Raises:
        InputError: An abundance or a number of source records is not a whole number, or a column is nested.
    """
    id_column, sequence_column = required_columns(roles, batch.schema.names, path)
    count = batch.num_rows
    columns = {
        "id": pc.utf8_trim_whitespace(text_of(batch.column(id_column), id_column, path)).fill_null(""),
        "sequence": _sequences(batch.column(sequence_column), sequence_column, path),
        "abundance": pa.nulls(count, pa.int64()),
        "sample": pa.nulls(count, pa.string()),
        "lineage": written_lineages(batch, roles, path),
        "description": pa.nulls(count, pa.string()),
        "source": pa.repeat(pa.scalar(name), count),
        "record": pa.array(np.arange(first, first + count, dtype=np.int64)),
    }
    if roles.abundance:
        values = batch.column(roles.abundance)
        if roles.quantity_type:
            # Darwin Core counts individuals, biomass and more in the same column.
            kinds = text_of(batch.column(roles.quantity_type), roles.quantity_type, path)
            is_reads = pc.match_substring_regex(kinds.fill_null(""), "(?i)read|sequence")
            values = pc.if_else(is_reads, values, pa.scalar(None, values.type))
        columns["abundance"] = _whole_numbers(values, roles.abundance, path, first, "reads")
    if roles.sample:
        samples = pc.utf8_trim_whitespace(text_of(batch.column(roles.sample), roles.sample, path))
        columns["sample"] = pc.if_else(pc.equal(samples, ""), pa.scalar(None, pa.string()), samples)
    arrays = [columns[field.name] for field in RAW_SCHEMA]
    fields = list(RAW_SCHEMA)
    if roles.source_records:
        arrays.append(_source_records(batch.column(roles.source_records), roles.source_records, path, first))
        fields.append(pa.field(SOURCE_RECORDS, pa.int64()))
    # BOLD writes the word None for unknown values.
    is_bold = plain(id_column) == "processid"
    for column, kept in roles.extras.items():
        values = _extra(batch.column(column), column, path)
        if is_bold and pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(values, "None"), pa.scalar(None, pa.string()), values)
        arrays.append(values)
        fields.append(pa.field(kept, values.type))
    if roles.coordinates:
        for kept, numbers in _coordinates(batch.column(roles.coordinates), roles, path):
            arrays.append(numbers)
            fields.append(pa.field(kept, pa.float64()))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _coordinates(values: pa.Array, roles: Roles, path: str) -> list[tuple[str, pa.Array]]:
    """Return latitude and longitude from cells that contain both, under names that the table does not use."""
    assert roles.coordinates is not None
    parts = pc.extract_regex(text_of(values, roles.coordinates, path), _COORD)
    return [(name, pc.struct_field(parts, name).cast(pa.float64())) for name in ("latitude", "longitude")]


def text_of(values: pa.Array, column: str, path: str) -> pa.Array:
    """Return a column as text: bytes are UTF-8, or else Latin-1 cell by cell; numbers keep their notation.

    Raises:
        InputError: The cells are lists or other nested values.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            return pa.array([None if cell is None else decode_text(cell) for cell in values.to_pylist()], pa.string())
    if pa.types.is_nested(values.type):
        raise InputError(
            f"{path}: column {column!r} has type {values.type}, not one value per record; write the file without that "
            "column"
        )
    try:
        if pa.types.is_floating(values.type):
            # pandas turns whole numbers into floats if one is missing.
            return pa.array(
                [None if v is None else str(int(v)) if v.is_integer() else repr(v) for v in values.to_pylist()]
            )
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: column {column!r} has type {values.type}, which is not text; write the file without that column"
        ) from error


def written_lineages(batch: pa.RecordBatch, roles: Roles, path: str) -> pa.Array:
    """Return the lineages of table rows as written, for ``lineage.LineageReader``; null where there is none.

    The cells of rank columns are joined into one text in which each keeps its rank (``lineage.join_cells``); the cells
    of PR2's columns are joined as PR2 writes them in one cell.
    """
    if roles.lineage:
        written = pc.utf8_trim_whitespace(text_of(batch.column(roles.lineage), roles.lineage, path))
        return pc.if_else(pc.equal(written, ""), pa.scalar(None, pa.string()), written)
    if not (roles.ranks or roles.domain or roles.scientific_name):
        return pa.nulls(batch.num_rows, pa.string())
    blank = pa.repeat(pa.scalar(""), batch.num_rows)
    cells = {rank: _names(batch, column, path) for rank, column in roles.ranks.items()}
    cells["species"] = _species(batch, roles, cells, blank, path)
    domain = blank if roles.domain is None else _names(batch, roles.domain, path)
    kingdom = cells.get("kingdom", blank)
    if roles.pr2:
        first = domain if roles.domain else pc.if_else(pc.equal(kingdom, ""), pa.scalar("Eukaryota"), kingdom)
        names = [first, *(_names(batch, column, path) for column in roles.pr2 if column is not None)]
        written = pc.binary_join_element_wise(*names, *(cells.get(rank, blank) for rank in RANKS[2:]), ";")
    else:
        if roles.domain:
            is_empty_ = pc.match_substring_regex(kingdom, rf"(?i)^(?:{EMPTY})$")
            cells["kingdom"] = pc.if_else(is_empty_, domain, kingdom)
        written = pc.binary_join_element_wise(*(cells.get(rank, blank) for rank in RANKS), CELL)
    has_name = pc.match_substring_regex(written, rf"[^;{CELL}]")
    return pc.if_else(has_name, written, pa.scalar(None, pa.string()))


def _species(batch: pa.RecordBatch, roles: Roles, cells: dict[str, pa.Array], blank: pa.Array, path: str) -> pa.Array:
    """Return the species of rows; if it is empty, the species in the scientific name, or genus and epithet."""
    species = cells.get("species", blank)
    if roles.scientific_name is None and roles.epithet is None:
        return species
    genus = cells.get("genus", blank)
    name = blank if roles.scientific_name is None else _names(batch, roles.scientific_name, path)
    rank = blank if roles.taxon_rank is None else _names(batch, roles.taxon_rank, path)
    epithet = blank if roles.epithet is None else _names(batch, roles.epithet, path)
    verbatim = next((column for column in batch.schema.names if plain(column) == _VERBATIM), None)
    written = blank if verbatim is None else text_of(batch.column(verbatim), verbatim, path).fill_null("")
    rows = zip(*(column.to_pylist() for column in (species, genus, name, rank, epithet, written)), strict=True)
    return pa.array([_one_species(*row) for row in rows], pa.string())


@lru_cache(maxsize=65_536)
def _one_species(species: str, genus: str, name: str, rank: str, epithet: str, verbatim: str) -> str:
    if not is_empty(species):
        return species
    # Our Darwin Core export writes the complete lineage there, so no part of the name has to be guessed.
    *above, last = verbatim.split(";")
    if len(above) == len(RANKS) - 1 and last and last == name:
        return last
    if rank.lower() in _ABOVE_SPECIES:
        return ""
    found = species_of_scientific_name(name)
    return f"{genus} {epithet}" if not found and not is_empty(genus) and not is_empty(epithet) else found


def _names(batch: pa.RecordBatch, column: str, path: str) -> pa.Array:
    """Return the cells of one rank; a semicolon in one would shift all ranks after it."""
    cells = pc.utf8_trim_whitespace(text_of(batch.column(column), column, path).fill_null(""))
    return pc.replace_substring(cells, ";", ",")


def _sequences(values: pa.Array, column: str, path: str) -> pa.Array:
    """Return sequences as bytes; a cell that means "no sequence" (BOLD's ``None``) becomes empty."""
    sequences = _bytes_of(values, column, path)
    return pc.if_else(pc.is_in(sequences, value_set=_NO_SEQUENCE), pa.scalar(b"", pa.binary()), sequences)


def _bytes_of(values: pa.Array, column: str, path: str) -> pa.Array:
    if pa.types.is_binary(values.type):
        return values
    return text_of(values, column, path).cast(pa.binary())


def _extra(values: pa.Array, column: str, path: str) -> pa.Array:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return values
    return text_of(values, column, path)


def _source_records(values: pa.Array, column: str, path: str, first: int) -> pa.Array:
    counts = _whole_numbers(values, column, path, first, "source records")
    wrong = pc.fill_null(pc.or_(pc.less(counts, 1), pc.greater(counts, _MAX_SOURCE_RECORDS)), False)
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise InputError(
            f"{path}: row {first + row}: {column} is {counts[row].as_py()}, expected a number of source records from 1 "
            "to 10^12; correct it, leave it empty if it is unknown, or rename the column if it is something else"
        )
    return counts


def _whole_numbers(values: pa.Array, column: str, path: str, first: int, counted: str) -> pa.Array:
    """Return cells as whole numbers from 0, null where they mean "none"; ``counted`` is the thing that they count."""
    if pa.types.is_integer(values.type):
        wrong = pc.fill_null(pc.or_(pc.less(values, 0), pc.greater(values, 10**18)), False)
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            raise InputError(
                f"{path}: row {first + row}: {column} is {values[row].as_py()}, not a number of {counted}; correct it"
            )
        return values.cast(pa.int64())
    cells = pc.utf8_trim_whitespace(text_of(values, column, path))
    unknown = pc.is_in(pc.utf8_lower(cells), value_set=pa.array(_NO_NUMBER))
    cells = pc.if_else(unknown, pa.scalar(None, pa.string()), cells)
    cells = pc.replace_substring_regex(cells, r"^(\d+)\.0*$", r"\1")
    if pc.all(pc.fill_null(pc.match_substring_regex(cells, r"^\d{1,18}$"), True)).as_py():
        return cells.cast(pa.int64())
    written = cells.to_pylist()
    counts = [None if cell is None else parse_count(cell) for cell in written]
    for row, (cell, count) in enumerate(zip(written, counts, strict=True)):
        if cell is not None and count is None:
            raise InputError(
                f"{path}: row {first + row}: {column} is {cell!r}, not a whole number of {counted}; correct it, or "
                "rename the column if it is not a count"
            )
    return pa.array(counts, pa.int64())
