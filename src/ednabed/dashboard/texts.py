"""Texts of users on a page: they are shown, and nothing else happens. Streamlit reads most texts as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ednabed.export.spreadsheet import safe_cell
from ednabed.store.files import clean

# What Markdown, and Streamlit's additions to it (colours, formulas), give a meaning to. HTML is not read.
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&@^=\"'/])")
# Arrows, dashes, emoji and links are found after the marks have been read: an invisible joiner keeps them apart.
_JOINED = re.compile(r"(?<=[-<>~=])(?=[-<>~=])|(?<=:)(?=\w|//)|(?<=\w)(?=@)|(?i:(?<=www))(?=[.])")
_JOINER = "\u2060"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def plain(text: str) -> str:
    """Return Markdown that shows a text as it stands, on one line."""
    return _MARKS.sub(r"\\\1", _JOINED.sub(_JOINER, clean(text)))


def arrows(lineage: str | Sequence[str] | None) -> str:
    """Return the names of a lineage (seven, or joined by semicolons) with arrows between; empty where none is known."""
    names = (lineage or "").split(";") if lineage is None or isinstance(lineage, str) else lineage
    return " › ".join(name for name in names if name)


def deepest(lineage: str | None) -> str:
    """Return the last name of a lineage; empty where none is known."""
    return next((name for name in reversed((lineage or "").split(";")) if name), "")


def cell(text: str | None) -> str:
    """Return a text for a table, which people may download and open in a spreadsheet: no formula begins in it."""
    if text is None:
        return ""
    return safe_cell(text)


def file_name(name: str, number: int) -> str:
    """Return a name under which an upload can be kept, on every system, within the folder made for it.

    Args:
        name: As the browser gave it, which may be anything.
        number: Puts it apart from other uploads.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = _UNSAFE.sub("_", last)[-80:].strip("._-") or "upload"
    # The number in front keeps Windows' names of devices away.
    return f"{number}_{kept}"


def time_text(seconds: float) -> str:
    """Write a duration: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
