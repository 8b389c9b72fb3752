"""A count table: how many reads each feature (ASV, OTU) has in each sample.

Read are TSV and CSV, plain, gzip or zstd: the first column holds ids, each other column is a sample. What other
programs add is understood: the line ``# Constructed from biom file``, ``#OTU ID``, counts such as ``12.0`` (biom) and
``1e+05`` (R), a header without a cell for the ids (R), QIIME 2's ``#q2:types``, and a column of lineages
(``taxonomy``), which is left out.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.columns import LINEAGE, plain
from ednabed.sequences.delimited import Dialect, find_dialect, read_delimited
from ednabed.sequences.opening import Source
from ednabed.sequences.sniffing import UTF8_BOM, sniff
from ednabed.sequences.stream import decode
from ednabed.sequences.tables import text_of

_WHOLE = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE]\+?[0-9]{1,2})?")
_MOST = 10**18
"""Counts up to here fit into 64 bits."""


@dataclass(frozen=True)
class CountTable:
    """Counts by feature and sample; only those above 0 are held.

    Attributes:
        path: The file, for messages.
        samples: Names of the samples, in the order of the file.
        left_out: Columns that are no samples (lineages).
        places: Id of a feature to its number, in the order of the file.
        starts: int64 (features + 1): the counts of feature i are those from ``starts[i]`` to before ``starts[i + 1]``.
        columns: int64: number of the sample of each count.
        counts: int64, 1 to 10**18.
    """

    path: str
    samples: tuple[str, ...]
    left_out: tuple[str, ...]
    places: dict[str, int]
    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def of(self, name: str) -> dict[int, int]:
        """Return the counts of a feature by number of sample; empty where all are 0. Raises KeyError: no such id."""
        place = self.places[name]
        part = slice(self.starts[place], self.starts[place + 1])
        return dict(zip(self.columns[part].tolist(), self.counts[part].tolist(), strict=True))


def read_count_table(path: str | Path, *, stdin: BinaryIO | None = None) -> CountTable:
    """Read a count table.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: What ``-`` reads; None is the standard input of the process.

    Raises:
        InputError: The file cannot be read as a table, has no sample or no feature, names a sample or a feature twice,
            lacks an id, or a count is no whole number from 0 on.
    """
    with Source(path, stdin, wanted="id and its counts") as source:
        dialect = _layout(source)
        names = dialect.columns
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise InputError(f"{source.path}: two columns are named {twice!r}; rename one of them")
        lineages = {plain(name) for name in LINEAGE}
        kept = [place for place, name in enumerate(names) if place and plain(name) not in lineages]
        if not kept:
            raise InputError(
                f"{source.path}: has no column of counts; give ids in the first column and a column a sample"
            )
        places: dict[str, int] = {}
        sizes, columns, counts = [[np.zeros(1, np.int64)] for _ in range(3)]
        for batch in read_delimited(source, dialect):
            ids = _add_ids(places, batch, source.path, names[0])
            table = np.column_stack([_counts(batch, place, ids, len(places), source.path) for place in kept])
            rows, found = np.nonzero(table)
            sizes.append(np.bincount(rows, minlength=len(table)).astype(np.int64))
            columns.append(found.astype(np.int64))
            counts.append(table[rows, found])
        if not places:
            raise InputError(f"{source.path}: has a header line but no row; give at least one id with its counts")
        return CountTable(
            source.path,
            tuple(names[place] for place in kept),
            tuple(name for place, name in enumerate(names) if place and place not in kept),
            places,
            np.cumsum(np.concatenate(sizes)),
            np.concatenate(columns[1:]),
            np.concatenate(counts[1:]),
        )


def _layout(source: Source) -> Dialect:
    """Find separator and columns; name the column of ids where R's ``write.table`` left its name out of the header."""
    kind = sniff(source.head, source.path)
    try:
        dialect = find_dialect(source) if kind == "table" else None
    except InputError:
        dialect = None
    if dialect is None:
        raise InputError(
            f"{source.path}: is no count table; give a TSV or CSV: ids in its first column, a column a sample"
        )
    lines = source.head.removeprefix(UTF8_BOM).splitlines()[dialect.header_lines :]
    first = next((line for line in lines if line.strip()), b"")
    reader = csv.reader(
        [decode(first)], delimiter=dialect.delimiter, quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    )
    cells = next(reader, [])
    if len(cells) == len(dialect.columns) + 1:
        return replace(dialect, columns=("#row names", *dialect.columns))
    return dialect


def _add_ids(places: dict[str, int], batch: pa.RecordBatch, path: str, column: str) -> list[str]:
    ids = [name.strip() for name in text_of(batch.column(0), column, path).to_pylist()]
    for name in ids:
        row = len(places) + 1
        if not name:
            raise InputError(f"{path}: row {row} (below the header) has no id in its first column; give it one")
        if places.setdefault(name, row - 1) != row - 1:
            raise InputError(
                f"{path}: id {name!r} stands in row {places[name] + 1} and in row {row} (below the header); "
                "a feature has one row, add them up or rename one"
            )
    return ids


def _counts(batch: pa.RecordBatch, place: int, ids: list[str], rows: int, path: str) -> npt.NDArray[np.int64]:
    """Return one sample's counts of a batch, int64 (rows of the batch)."""
    sample = batch.schema.names[place]
    cells = pc.utf8_trim_whitespace(text_of(batch.column(place), sample, path))
    cells = pc.replace_substring_regex(cells, r"^([0-9]+)\.0*$", r"\1")
    if not pc.all(pc.match_substring_regex(cells, r"^[0-9]{1,18}$")).as_py():
        written = cells.to_pylist()
        numbers = [_whole(cell) for cell in written]
        if None in numbers:
            wrong = numbers.index(None)
            raise InputError(
                f"{path}: row {rows - len(ids) + wrong + 1} (below the header, id {ids[wrong]!r}), sample {sample!r}: "
                f"the count is {written[wrong]!r}, wanted a whole number from 0 on; correct it, or take the column out "
                "if it is no sample"
            )
        return np.array(numbers, np.int64)
    return np.asarray(cells.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _whole(cell: str) -> int | None:
    """Read a count in whichever notation; None where it is none."""
    if not _WHOLE.fullmatch(cell):
        return None
    value = Decimal(cell)
    return int(value) if value <= _MOST and value == value.to_integral_value() else None
