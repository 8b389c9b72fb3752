"""A table of samples, joined to the records by the name of their sample: where and when each was taken, and what else.

A TSV or CSV with a column of sample names (``sample``, ``sample_id``, ``samp_name``, ``eventID``, QIIME 2's
``#SampleID``, …); all its other columns become columns of the records. Latitude and longitude are degrees.
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
from ednabed.sequences.opening import Source
from ednabed.sequences.records import RESERVED
from ednabed.sequences.sniffing import sniff
from ednabed.sequences.tables import text_of

NAMES = (*SAMPLE, "samp_name", "sample_name", "#sampleid", *OTHER_SAMPLES, "id", UNNAMED_FIRST)
Coordinates = tuple[float, float]
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d{1,3},\d+\s*")


class Samples:
    """What is known of samples.

    Attributes:
        path: The file it came from, for messages.
        names: Names of the samples, text.
        table: Their other columns, row i for name i: whole numbers, numbers or text; null where the cell is empty.
        matched: Records that ``apply`` found a sample for so far.
    """

    def __init__(self, names: pa.Array, table: pa.Table, path: str = "samples") -> None:
        self.names = names
        self.table = table
        self.path = path
        self.matched = 0

    def __len__(self) -> int:
        return len(self.names)

    def names_beside(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Return what the columns of the table are called among records that have some columns already.

        One whose name is taken is called ``<name>_sample``. Records that come together must agree on this.
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
        """Return the batch with the columns of the table, null where a record's sample is not in it.

        Args:
            batch: The records.
            names: What the columns are called; None is ``names_beside`` those of the batch.
        """
        place = pc.index_in(batch.column("sample"), value_set=self.names)
        self.matched += len(batch) - place.null_count
        names = self.names_beside(batch.schema.names) if names is None else names
        for name, column in zip(names, self.table.columns, strict=True):
            batch = batch.append_column(name, column.combine_chunks().take(place))
        return batch


def read_samples(path: str | Path) -> Samples:
    """Read a table of samples (TSV or CSV, plain, .gz or .zst).

    Raises:
        InputError: The file cannot be read as a table, has no column of sample names or nothing beside it, has a column
            or a sample twice, or a place that is not on the globe. Rows that name no sample are left out.
    """
    with Source(path, None, wanted="sample with its place") as source:
        if sniff(source.head, source.path) != "table":
            raise InputError(f"{source.path}: is no table of samples; give a TSV or CSV: sample, latitude, longitude")
        dialect = find_dialect(source)
        of_name = next((c for name in NAMES for c in dialect.columns if plain(c) == plain(name)), None)
        twice = next((c for c in dialect.columns if dialect.columns.count(c) > 1), None)
        if twice is not None:
            raise InputError(f"{source.path}: two columns are named {twice!r}; rename one of them")
        others = [column for column in dialect.columns if column != of_name]
        if of_name is None or not others:
            lacking = "names of samples" if of_name is None else "anything but names of samples"
            raise InputError(
                f"{source.path}: no column of {lacking} among {listed(dialect.columns)}; wanted a column 'sample' and "
                "others such as latitude and longitude"
            )
        batches = [
            pa.table([_cells(batch, column, source.path) for column in (of_name, *others)], names=[of_name, *others])
            for batch in read_delimited(source, dialect)
        ]
        if not batches:
            raise InputError(f"{source.path}: has a header line but no row; give at least one sample")
        whole = pa.concat_tables(batches).combine_chunks()
        names = whole.column(of_name).combine_chunks()
        whole = whole.filter(pc.is_valid(names))
        names = names.drop_null()
        for row in pc.value_counts(names).to_pylist():
            if row["counts"] > 1:
                raise InputError(
                    f"{source.path}: sample {row['values']!r} stands in {row['counts']} rows; keep one of them"
                )
        table = pa.table({column: _typed(whole.column(column)) for column in others})
        _check_places(names, table, source.path)
        return Samples(names, table, source.path)


def to_coordinates(latitude: object, longitude: object) -> Coordinates | str | None:
    """Return a place from what stands in two cells; None where one says nothing, a text where it cannot be a place."""
    numbers = []
    for cell, most, name in ((latitude, 90.0, "latitude"), (longitude, 180.0, "longitude")):
        text = str(cell)
        if _DECIMAL_COMMA.fullmatch(text):
            return f"its {name} is {text.strip()!r}, wanted a decimal point"
        try:
            # Python's own digit separator is no part of a number that people write.
            value = float(text.replace("_", "?"))
        except ValueError:
            # Empty, "not applicable", "missing: control sample" and the like.
            return None
        if np.isnan(value):
            return None
        if not -most <= value <= most:
            return f"its {name} is {text.strip()}, wanted degrees from -{most:.0f} to {most:.0f}"
        numbers.append(value)
    return numbers[0], numbers[1]


def _cells(batch: pa.RecordBatch, column: str, path: str) -> pa.Array:
    """Return cells as text without blanks around them, null where they are empty."""
    cells = pc.utf8_trim_whitespace(text_of(batch.column(column), column, path))
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as whole numbers or numbers, where all its cells are."""
    # A code such as 007, 0x1F or one of 19 digits and more is no number, and neither is what says that there is none.
    if not pc.any(pc.match_substring_regex(column, r"(?i)^[-+]?(0[0-9x]|nan|inf|[0-9]{19})")).as_py():
        for kind in (pa.int64(), pa.float64()):
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:
                continue
    return column


def _check_places(names: pa.Array, table: pa.Table, path: str) -> None:
    columns: Sequence[str] | None = find_coordinates(table.column_names)
    if columns is None:
        return
    for name, *cells in zip(names.to_pylist(), *(table.column(c).to_pylist() for c in columns), strict=True):
        place = to_coordinates(*cells)
        if isinstance(place, str):
            raise InputError(f"{path}: sample {name!r}: {place}; correct it, or leave it empty")
