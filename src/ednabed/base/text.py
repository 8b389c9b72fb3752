"""Texts for people: cleaned of control characters, shortened, or aligned in columns, and sizes as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Line ends, tabs, terminal control codes (C0, C1), Unicode line separators and text direction controls.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Lone surrogates, from file names that are not valid Unicode: UTF-8 cannot encode them.
_HALF = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return a text that is safe in a line of a table or on a terminal.

    Tabs, line ends and other control characters become spaces; characters that UTF-8 cannot encode become U+FFFD.
    """
    # Every replaced character is unprintable, and nearly all text is printable.
    return text if text.isprintable() else _HALF.sub("\ufffd", _CONTROL.sub(" ", text))


def tsv_line(cells: Iterable[str]) -> str:
    """Return a line of a tab-separated table, with its end; the cells are cleaned."""
    return "\t".join(map(clean, cells)) + "\n"


def readable(text: str) -> str:
    """Return a text as one line that UTF-8 can encode; file names may contain bytes that it cannot."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").splitlines())


def shortened(text: str, limit: int = 40) -> str:
    """Return a text of at most ``limit`` characters: a longer one is cut, with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table for reading, with two spaces between the columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def human_bytes(n: int) -> str:
    """Format a size in decimal units, such as 1.9 GB."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
