"""Convert columns on time and location to Darwin Core terms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from ednabed.export.dwc_terms import VERBATIM
from ednabed.sequences.samples import to_coordinates

# ISO 8601: a year, a month, a day or a date with time.
_MOMENT = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?)?)?")
_DEPTH = re.compile(r"\d{1,5}(?:\.\d+)?")


def text_of_value(value: Any) -> str:
    """Return the value of a column as text; empty if unknown."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value.isoformat() if isinstance(value, date) else str(value).strip()


def standard_cells(columns: Mapping[str, str], record: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the values of a record, by term; values that do not follow the standard go into the verbatim term.

    Args:
        columns: The column of each term (``dwc_terms.core_columns``).
        record: The value of each column.

    Returns:
        The cells that are not empty, and the terms whose values do not follow the standard.
    """
    cells: dict[str, str] = {}
    nonstandard = []
    for term, column in columns.items():
        value = text_of_value(record[column])
        if value and not _is_standard(term, value):
            nonstandard.append(term)
            # A column for the verbatim term itself takes precedence.
            cells.setdefault(VERBATIM[term], value)
        elif value:
            cells[term] = value
    return cells, nonstandard


def _is_standard(term: str, value: str) -> bool:
    if term == "eventDate":
        halves = value.split("/")
        return len(halves) <= 2 and all(map(_is_moment, halves))
    if term == "decimalLatitude":
        return isinstance(to_coordinates(value, 0), tuple)
    if term == "decimalLongitude":
        return isinstance(to_coordinates(0, value), tuple)
    if term in ("minimumDepthInMeters", "maximumDepthInMeters"):
        return _DEPTH.fullmatch(value) is not None
    return True


def _is_moment(text: str) -> bool:
    """Return whether a text is an existing year, month, day or date with time."""
    if _MOMENT.fullmatch(text) is None:
        return False
    try:
        # Only the complete form is parsed, so a missing month or day is set to 1.
        datetime.fromisoformat(text if len(text) >= len("2026-11-28") else f"{text}{'-01-01'[-(10 - len(text)) :]}")
    except ValueError:
        return False
    return True
