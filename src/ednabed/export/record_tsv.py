"""Write records as TSV: UTF-8, a header line, a tab between cells, no quoting, empty where unknown.

Users open such a file in a spreadsheet program, which executes a cell that begins with a formula character. Therefore
an apostrophe is put in front of a text cell that begins, after blanks and quotes, with ``=``, ``+``, ``-`` or ``@``
(also in their full-width forms), or with a quote, a tab or a carriage return, so that the program shows it as text.
Cells that contain only a number or a sign are not changed, nor are numeric columns. Tabs, line ends and other control
characters become blanks. Other formats keep names unchanged; use Parquet to read the data back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from ednabed.base.atomic import replacing
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.record_columns import RecordTables
from ednabed.export.report import Written
from ednabed.export.selection import Selection
from ednabed.export.spreadsheet import safe_cell


def write_tsv(
    selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, occurrences: bool = True
) -> Written:
    """Write a TSV file, which appears complete or not at all; see ``record_columns`` for its columns.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the distinct sequences.
        target: The file.
        occurrences: Write one line per record, else one per distinct sequence.

    Raises:
        UsageError: The target is a folder.
    """
    tables = RecordTables(selection, names, ids, occurrences=occurrences)
    rows = guarded = 0
    with replacing(target, "records.tsv") as stream:
        stream.write("\t".join(safe_cell(name) for name in tables.schema.names) + "\n")
        for table in tables:
            columns = []
            for column in table.columns:
                cells, changed = _cells(column)
                columns.append(cells)
                guarded += changed
            stream.writelines("\t".join(line) + "\n" for line in zip(*columns, strict=True))
            rows += table.num_rows
    notes = []
    if guarded:
        notes.append(
            f"{guarded:,} cells begin like a formula and got an apostrophe in front, so that no spreadsheet program "
            "executes them"
        )
    return Written(len(selection), rows, notes=tuple(notes))


def _cells(column: pa.ChunkedArray) -> tuple[list[str], int]:
    """Return the cells of a column, and the number of guarded cells."""
    values = column.to_pylist()
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return ["" if value is None else str(value) for value in values], 0
    cells = ["" if value is None else _text(value) for value in values]
    safe = [safe_cell(cell) for cell in cells]
    return safe, sum(after[:1] == "'" != before[:1] for after, before in zip(safe, cells, strict=True))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
