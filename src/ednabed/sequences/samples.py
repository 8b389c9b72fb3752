"""Sample metadata, joined to the records by sample name: where and when each sample was taken, and anything else.

The table is a TSV or CSV with a column of sample names (``sample``, ``sample_id``, ``samp_name``, ``eventID``, QIIME
2's ``#SampleID``, …); all its other columns become columns of the records. Latitude and longitude are in degrees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.columns import OTHER_SAMPLES, SAMPLE, UNNAMED_FIRST, find_coordinates, listed, plain
from ednabed.sequences.delimited import find_dialect, read_delimited
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.records import RESERVED
from ednabed.sequences.sniffing import sniff
from ednabed.sequences.tables import text_of

NAMES = (*SAMPLE, "samp_name", "sample_name", "#sampleid", *OTHER_SAMPLES, "id", UNNAMED_FIRST)
Coordinates = tuple[float, float]
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d{1,3},\d+\s*")


class Samples:
    """Metadata of samples.

    Attributes:
        path: The file it was read from, for messages.
        names: Names of the samples, text.
        table: The other columns, row i for name i: whole numbers, numbers or text; null where the cell is empty.
        matched: Number of records for which ``apply`` has found a sample so far.
    """

    def __init__(self, names: pa.Array, table: pa.Table, path: str = "samples") -> None:
        self.names = names
        self.table = table
        self.path = path
        self.matched = 0

    def __len__(self) -> int:
        return len(self.names)

    def column_names_with(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Return the names that the table's columns get in records that already have the given columns.

        A column whose name is taken is called ``<name>_sample``. Records of one input must agree on these names.
        """
        taken = {*columns, *RESERVED}
        names = []
        for name in self.table.column_names:
            while name in taken:
                name += "_sample"
            taken.add(name)
            names.append(name)
        return tuple(names)

    def apply(self, batch: pa.RecordBatch, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return the batch with the columns of the table, null for records whose sample is not in the table.

        Args:
            batch: The records.
            names: Names for the columns; None uses ``column_names_with`` with the columns of the batch.
        """
        rows = pc.index_in(batch.column("sample"), value_set=self.names)
        self.matched += len(batch) - rows.null_count
        names = self.column_names_with(batch.schema.names) if names is None else names
        for name, column in zip(names, self.table.columns, strict=True):
            batch = batch.append_column(name, column.combine_chunks().take(rows))
        return batch


def read_samples(path: str | Path) -> Samples:
    """Read a table of samples (TSV or CSV, plain, .gz or .zst). Rows without a sample name are skipped.

    Raises:
        InputError: The file cannot be read as a table, has no column of sample names or no other column, has a
            duplicated column or sample, or contains a location that is not on the globe.
    """
    with OpenedInput(path, None, expected="sample with its location") as source:
        if sniff(source.head, source.path) != "table":
            raise InputError(
                f"{source.path}: is not a table of samples; give a TSV or CSV: sample, latitude, longitude"
            )
        dialect = find_dialect(source)
        name_column = next((c for name in NAMES for c in dialect.columns if plain(c) == plain(name)), None)
        duplicate = next((c for c in dialect.columns if dialect.columns.count(c) > 1), None)
        if duplicate is not None:
            raise InputError(f"{source.path}: two columns are named {duplicate!r}; rename one of them")
        others = [column for column in dialect.columns if column != name_column]
        if name_column is None or not others:
            missing = "sample names" if name_column is None else "anything but sample names"
            raise InputError(
                f"{source.path}: no column of {missing} among {listed(dialect.columns)}; expected a column 'sample' "
                "and others such as latitude and longitude"
            )
        columns = [name_column, *others]
        batches = [
            pa.table([_cells(batch, column, source.path) for column in columns], names=columns)
            for batch in read_delimited(source, dialect)
        ]
        if not batches:
            raise InputError(f"{source.path}: has a header line but no rows; give at least one sample")
        all_rows = pa.concat_tables(batches).combine_chunks()
        names = all_rows.column(name_column).combine_chunks()
        all_rows = all_rows.filter(pc.is_valid(names))
        names = names.drop_null()
        for row in pc.value_counts(names).to_pylist():
            if row["counts"] > 1:
                raise InputError(
                    f"{source.path}: sample {row['values']!r} is in {row['counts']} rows; keep one of them"
                )
        table = pa.table({column: _typed(all_rows.column(column)) for column in others})
        _check_coordinates(names, table, source.path)
        return Samples(names, table, source.path)


def to_coordinates(latitude: object, longitude: object) -> Coordinates | str | None:
    """Return the coordinates in two cells; None if a cell has no number, and the reason as text if one is invalid."""
    numbers = []
    for cell, limit, name in ((latitude, 90.0, "latitude"), (longitude, 180.0, "longitude")):
        text = str(cell)
        if _DECIMAL_COMMA.fullmatch(text):
            return f"its {name} is {text.strip()!r}, expected a number with a decimal point"
        try:
            # Python's digit separator is not part of a number in a table.
            value = float(text.replace("_", "?"))
        except ValueError:
            # Empty, "not applicable", "missing: control sample" and the like.
            return None
        if np.isnan(value):
            return None
        if not -limit <= value <= limit:
            return f"its {name} is {text.strip()}, expected degrees from -{limit:.0f} to {limit:.0f}"
        numbers.append(value)
    return numbers[0], numbers[1]


def _cells(batch: pa.RecordBatch, column: str, path: str) -> pa.Array:
    """Return cells as text without surrounding white space, null where they are empty."""
    cells = pc.utf8_trim_whitespace(text_of(batch.column(column), column, path))
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as whole numbers or numbers if all its cells are."""
    # A code such as 007, 0x1F or one with 19 or more digits is not a number; neither are words such as nan.
    if not pc.any(pc.match_substring_regex(column, r"(?i)^[-+]?(0[0-9x]|nan|inf|[0-9]{19})")).as_py():
        for kind in (pa.int64(), pa.float64()):
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:
                continue
    return column


def _check_coordinates(names: pa.Array, table: pa.Table, path: str) -> None:
    columns: Sequence[str] | None = find_coordinates(table.column_names)
    if columns is None:
        return
    for name, *cells in zip(names.to_pylist(), *(table.column(c).to_pylist() for c in columns), strict=True):
        coordinates = to_coordinates(*cells)
        if isinstance(coordinates, str):
            raise InputError(f"{path}: sample {name!r}: {coordinates}; correct it, or leave it empty")
