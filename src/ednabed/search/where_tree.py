"""A filter as a tree: what ``where`` reads from text, and ``where_arrow`` makes an Arrow expression of."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

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
    """A value as read, as it was written, and the letter (from 1) at which it stands."""

    value: str | Decimal | bool
    written: str
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column against values; ``operator`` is a sign of ``COMPARE``, or LIKE, ILIKE, IN, BETWEEN, NULL."""

    column: str
    position: int
    operator: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part; null stays null."""

    part: Node


@dataclass(frozen=True, slots=True)
class Join:
    """Parts joined by AND or OR."""

    operator: str
    parts: tuple[Node, ...]


Node = Comparison | Not | Join


def shown(text: str, most: int = 40) -> str:
    """Return a piece of a filter as messages show it."""
    # ascii() also keeps letters that no terminal takes out of the message.
    return ascii(text if len(text) <= most else text[:most] + "...") if text else "the end"
