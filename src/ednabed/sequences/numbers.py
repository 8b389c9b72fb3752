"""Numbers of reads as files write them."""

from __future__ import annotations

import re
from decimal import Decimal

MAX_COUNT = 10**18
"""Largest count that is accepted; it fits into 64 bits."""
_WHOLE = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE]\+?[0-9]{1,2})?")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.0*)?")


def parse_count(cell: str) -> int | None:
    """Return a count (``12``, ``12.0``, ``1e+05``, ``1,200``); None if it is not a whole number from 0 to 10**18."""
    text = cell.strip()
    if text.isdecimal() and text.isascii() and len(text) < 19:
        return int(text)
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if not _WHOLE.fullmatch(text):
        return None
    value = Decimal(text)
    return int(value) if value <= MAX_COUNT and value == value.to_integral_value() else None
