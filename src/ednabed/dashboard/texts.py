"""Text from users on a page: it is shown and never interpreted, although Streamlit reads most text as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ednabed.base.text import clean
from ednabed.export.spreadsheet import safe_cell

# Characters with a meaning in Markdown or in Streamlit's additions to it (colours, formulas). HTML is not interpreted.
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&@^=\"'/])")
# Arrows, dashes, emoji and links are recognised after the escapes are resolved: an invisible joiner breaks them up.
_JOINED = re.compile(r"(?<=[-<>~=])(?=[-<>~=])|(?<=:)(?=\w|//)|(?<=\w)(?=@)|(?i:(?<=www))(?=[.])")
_JOINER = "\u2060"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_PARAMETER = re.compile(r"`([A-Za-z_]\w*(?:=[^`\s]+)?)`")


def literal(text: str) -> str:
    """Return Markdown that shows a text literally, on one line."""
    return _MARKS.sub(r"\\\1", _JOINED.sub(_JOINER, clean(text)))


def message(text: str) -> str:
    """Return Markdown for a message of the library; parameters, such as `` `seq_idx` ``, lose their backticks."""
    return literal(_PARAMETER.sub(r"\1", text))


def arrows(lineage: str | Sequence[str] | None) -> str:
    """Return the names of a lineage (a sequence, or joined by semicolons) with arrows in between; empty if unknown."""
    names = (lineage or "").split(";") if lineage is None or isinstance(lineage, str) else lineage
    return " › ".join(name for name in names if name)


def deepest_name(lineage: str | None) -> str:
    """Return the last name of a lineage; empty if unknown."""
    return next((name for name in reversed((lineage or "").split(";")) if name), "")


def cell(text: str | None) -> str:
    """Return a text for a table cell that a spreadsheet does not take for a formula, because tables are downloaded."""
    if text is None:
        return ""
    return safe_cell(text)


def file_name(name: str, number: int) -> str:
    """Return a file name under which an upload can be stored on every system, within the folder made for it.

    Args:
        name: The name sent by the browser, which may be any text.
        number: Distinguishes it from other uploads.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = _UNSAFE.sub("_", last)[-80:].strip("._-") or "upload"
    # The number in front avoids the device names of Windows.
    return f"{number}_{kept}"


def time_text(seconds: float) -> str:
    """Return a duration as text: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
