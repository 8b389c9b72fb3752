"""Tables of ours for a spreadsheet: no cell of text begins a formula there."""

from __future__ import annotations

from ednabed.export.record_tsv import safe_cell


def for_spreadsheets(text: str) -> bytes:
    """Return a tab-separated text as UTF-8, with an apostrophe before each cell that a spreadsheet would run."""
    lines = ("\t".join(map(safe_cell, line.split("\t"))) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines).encode()
