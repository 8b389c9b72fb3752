"""A filter as a tree: ``where`` parses it from text, ``where_types`` checks it against the types of the columns."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?!\w)
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>`(?:[^`]|``)*`|"(?:[^"]|"")*")
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><=|>=|<>|!=|[=<>(),])""",
    re.VERBOSE,
)
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value as parsed, as written, and the position (from 1) of its first character."""

    value: str | Decimal | bool
    written: str
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of a column with values; ``operator`` is a key of ``COMPARE``, or LIKE, ILIKE, IN, BETWEEN, NULL."""

    column: str
    position: int
    operator: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """A comparison that fits the type of its column.

    Attributes:
        column: Name of the column.
        declared: Type of the column.
        type: Type in which it is compared, and type of the values.
        is_number_text: The column is text, and only cells that are numbers count; the others count as null.
        operator: As in ``Comparison`` without BETWEEN; or CERTAIN (the same for all cells that are not null, its only
            value), or UNKNOWN (null for all cells).
        values: The values; for LIKE and ILIKE the pattern.
    """

    column: str
    declared: pa.DataType
    type: pa.DataType
    is_number_text: bool
    operator: str
    values: tuple[pa.Scalar, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a part; null stays null."""

    part: Node


@dataclass(frozen=True, slots=True)
class Join:
    """Parts joined by AND or OR."""

    operator: str
    parts: tuple[Node, ...]


Node = Comparison | Checked | Not | Join


def shown(text: str, limit: int = 40) -> str:
    """Return a piece of a filter as it is shown in messages, shortened to ``limit`` characters."""
    # ascii() also escapes characters that terminals cannot display.
    return ascii(text if len(text) <= limit else text[:limit] + "...") if text else "the end"
