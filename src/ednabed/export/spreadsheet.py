"""Make tables safe for spreadsheet programs: no text cell is executed as a formula."""

from __future__ import annotations

import re

from ednabed.base.text import clean

# What spreadsheet programs take for the beginning of a formula (OWASP, "CSV injection"). A quote would hide the rest.
_FORMULA = re.compile(r'[\t\r"]|\s*[=+\-@＝＋－＠]')
_HARMLESS = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)?(?:(?<=[0-9.])[eE][+-]?[0-9]+)?\s*")


def safe_cell(text: str) -> str:
    """Return a text in a form that is safe in a cell of a spreadsheet."""
    cell = clean(text)
    # A character that becomes a blank must not hide the formula character after it.
    is_formula = _FORMULA.match(text) or _FORMULA.match(cell)
    return f"'{cell}" if is_formula and not _HARMLESS.fullmatch(cell) else cell


def for_spreadsheets(text: str) -> bytes:
    """Return a tab-separated text as UTF-8, with an apostrophe before each cell that a spreadsheet would execute."""
    lines = ("\t".join(map(safe_cell, line.split("\t"))) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines).encode()
