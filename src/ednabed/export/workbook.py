"""Write text tables as one Excel workbook with one sheet per table, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from ednabed.errors import StoreError
from ednabed.extras import import_extra

_ROWS, _COLUMNS, _CHARACTERS = 1_048_576, 16_384, 32_767
"""Maximum rows, columns, and characters per cell of an Excel sheet."""
# A fixed date, so that the same tables give the same file.
_CREATED = datetime(2000, 1, 1)


def write_workbook(path: Path, tables: Mapping[str, Path], is_number: Callable[[str, int, int], bool]) -> None:
    """Write tab-separated files as a workbook.

    All cells are text, even if they look like a formula, a link or a date, except those that ``is_number`` selects.

    Args:
        path: The file, which is replaced.
        tables: The file of each sheet, by sheet name; UTF-8, no quoting.
        is_number: Return whether a cell is a whole number, from its sheet, row and column (from 0).

    Raises:
        MissingPackage: XlsxWriter is not installed.
        StoreError: A table is larger than an Excel sheet.
    """
    xlsxwriter = import_extra("xlsxwriter", "export", "an export as xlsx")
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(str(path), {**options, "tmpdir": str(path.parent)})
    try:
        book.set_properties({"created": _CREATED})
        for name, file in tables.items():
            sheet = book.add_worksheet(name)
            with file.open(encoding="utf-8", newline="\n") as lines:
                for row, line in enumerate(lines):
                    cells = line.rstrip("\n").split("\t")
                    longest = max(map(len, cells))
                    if row >= _ROWS or len(cells) > _COLUMNS or longest > _CHARACTERS:
                        raise StoreError(
                            f"{name}: row {row + 1} has {len(cells):,} cells of up to {longest:,} characters, and an "
                            f"Excel sheet can have {_ROWS:,} rows of {_COLUMNS:,} cells of {_CHARACTERS:,} characters; "
                            "export to a folder (a name without .xlsx) instead"
                        )
                    for column, cell in enumerate(cells):
                        if cell and is_number(name, row, column):
                            sheet.write_number(row, column, int(cell))
                        elif cell:
                            sheet.write_string(row, column, cell)
    finally:
        book.close()
