"""Check arguments of the Python API: convert what is unambiguous, and refuse the rest in one sentence."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from ednabed.errors import UsageError


def sequence_text(value: Any, what: str) -> str:
    """Return a sequence given as text or as bytes.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        # A character outside ASCII is not a base, and is reported as such with its position.
        return value.decode("latin-1")
    raise UsageError(f"{what} is {_shown(value)}, expected a sequence as text")


def sequences_of(values: Any) -> list[str | None]:
    """Return sequences given as a list, an array (numpy, Arrow, pandas) or any other ordered iterable.

    A missing value (None, a null of Arrow) stays None.

    Raises:
        UsageError: ``values`` is a single text, has no order, or contains an item that is not text.
    """
    if isinstance(values, (str, bytes, bytearray)):
        raise UsageError("`sequences` is a single text, expected a list; give [sequence], or use get_embedding_single")
    if isinstance(values, (Mapping, Set)) or not isinstance(values, Iterable):
        raise UsageError(f"`sequences` is {_shown(values)}, expected a list of sequences")
    # Arrow and numpy have their own conversions, because their elements are not str.
    convert = getattr(values, "to_pylist", None) or getattr(values, "tolist", None)
    listed = list(values) if convert is None else convert()
    if not isinstance(listed, list):
        raise UsageError(f"`sequences` is {_shown(values)}, expected a list of sequences")
    return [
        None if value is None else sequence_text(value, f"`sequences`: number {i}") for i, value in enumerate(listed)
    ]


def whole_number(value: Any, what: str) -> int | None:
    """Return a whole number of any type, or one written as text (from a form or a settings file); None stays None.

    Raises:
        UsageError: It is something else.
    """
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        return int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise UsageError(f"`{what}` is {_shown(value)}, expected a whole number") from None


def yes_or_no(value: Any, what: str) -> bool | None:
    """Return True, False or None. Raises UsageError if the value is something else."""
    if value is None or isinstance(value, bool):
        return value
    raise UsageError(f"`{what}` is {_shown(value)}, expected True, False or None")


def model_of(value: Any) -> str:
    """Return the name of a model, or the folder of one given as a ``Path``.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(value, Path):
        # A path is never looked up as a model name.
        return str(value.absolute())
    if isinstance(value, str):
        return value
    raise UsageError(f"`model_name` is {_shown(value)}, expected a name or a folder")


def _shown(value: Any) -> str:
    return "None" if value is None else f"{reprlib.repr(value)} ({type(value).__name__})"
