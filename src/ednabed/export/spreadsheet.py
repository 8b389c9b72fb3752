"""Tables of ours for a spreadsheet: no cell of text begins a formula there."""

from __future__ import annotations

import re

from ednabed.store.files import clean

# What spreadsheets take for the beginning of a formula: OWASP's "CSV injection". A quote would hide what follows it.
_RUNS = re.compile(r'[\t\r"]|\s*[=+\-@＝＋－＠]')
_HARMLESS = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)?(?:(?<=[0-9.])[eE][+-]?[0-9]+)?\s*")


def safe_cell(text: str) -> str:
    """Return a text as it can stand in a cell that a spreadsheet may open."""
    cell = clean(text)
    # What becomes a blank before a sign does not hide it.
    runs = _RUNS.match(text) or _RUNS.match(cell)
    return f"'{cell}" if runs and not _HARMLESS.fullmatch(cell) else cell


def for_spreadsheets(text: str) -> bytes:
    """Return a tab-separated text as UTF-8, with an apostrophe before each cell that a spreadsheet would run."""
    lines = ("\t".join(map(safe_cell, line.split("\t"))) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines).encode()
