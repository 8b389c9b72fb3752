"""Strict reading of stored JSON as data, with the types that its reader expects.

Whatever Python's reader raises, and whatever it accepts that is not JSON (NaN, Infinity), becomes a ``BadJson`` here.
The checksum of a file shows that it was not changed by accident; it does not show that its content is valid.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from ednabed.base.text import shortened

T = TypeVar("T")

MAX_DEPTH = 100
"""Maximum depth of nested lists and objects; our files have fewer than ten levels."""
_WORDS = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", dict: "an object",
          list: "a list", tuple: "a list"}  # fmt: skip


class BadJson(ValueError):
    """The text is not JSON, or its values are not what its reader expects; the message is part of a sentence."""


def parse_json(
    text: str | bytes,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    *,
    undecodable: bool = False,
) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text; bytes are UTF-8.
        pairs: Builds an object from its names and values, which may repeat; None keeps the last value of each name.
        undecodable: Accept halves of surrogate pairs, by which Python represents bytes that are not
            UTF-8 in file names.

    Raises:
        BadJson: The text is not UTF-8, not JSON, nested too deeply, or has a number or text that JSON does not allow.
    """
    try:
        written = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(written, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=pairs)
        if not undecodable and ("\\ud" in written or "\\uD" in written):
            # Half of a surrogate pair, which no file and no terminal accepts.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError as error:
        raise BadJson("it is not UTF-8") from error
    except BadJson:
        raise
    except ValueError as error:
        raise BadJson(str(error).splitlines()[0].rstrip(".")) from error
    _check_depth(value)
    return value


def typed(kind: type[T], values: Any, what: str = "the file") -> T:
    """Build a dataclass from the values of a JSON object; every value must have the type that the class declares.

    Args:
        kind: The dataclass. Fields may be texts, numbers, booleans, None, literals, lists, tuples, mappings with texts
            as keys, ``Any``, and dataclasses of these.
        values: The value that was read.
        what: Name of the thing described, for messages.

    Raises:
        BadJson: A field is missing, unexpected or of another type.
    """
    result: T = _dataclass(kind, values, what)
    return result


def _no_number(name: str) -> NoReturn:
    raise BadJson(f"it has {name}, which is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadJson(f"it has the number {text[:20]}, which is too large")
    return value


def _too_deep() -> BadJson:
    return BadJson(f"lists and objects are nested more than {MAX_DEPTH} deep")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                inner += container.values()
            elif isinstance(container, list):
                inner += container
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep()


@lru_cache(maxsize=64)
def _simple_types(hint: Any) -> frozenset[type]:
    """Return the types whose values match a hint without further checks."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return frozenset(choice for choice in choices if choice in (float, str, bool, type(None)))


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: type, values: Any, what: str) -> Any:
    if not isinstance(values, Mapping):
        raise _wrong(what, "an object", values)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in values:
        if name not in fields:
            raise BadJson(f"{what} has a field {str(name)[:60]!r}, which is not expected")
    found = {}
    for name, field in fields.items():
        if name in values:
            found[name] = _convert(_hints(kind)[name], values[name], f"{name} of {what}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadJson(f"{what} has no field {name!r}")
    return kind(**found)


def _convert(hint: Any, value: Any, what: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, what)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise _wrong(what, " or ".join(map(repr, arguments)), value)
        return value
    if hint is None or hint is type(None):
        if value is not None:
            raise _wrong(what, "null", value)
        return None
    base = origin or hint
    if isinstance(base, type) and dataclasses.is_dataclass(base):
        return value if isinstance(value, base) else _dataclass(base, value, what)
    if base is tuple:
        return _convert_tuple(arguments, value, what)
    if base is list:
        if not isinstance(value, list):
            raise _wrong(what, "a list", value)
        if set(map(type, value)) <= _simple_types(arguments[0]):
            # The many numbers of a calibration; they are finite, or the file would have been refused.
            return value
        return [_convert(arguments[0], item, f"{number + 1} in {what}") for number, item in enumerate(value)]
    if base is dict or base is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(what, "an object", value)
        return {name: _convert(arguments[1], item, f"{name[:60]!r} in {what}") for name, item in value.items()}
    if base is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if base not in _WORDS:
        raise TypeError(f"{what}: JSON cannot be read as {hint}")
    if not isinstance(value, base) or (base is int and (isinstance(value, bool) or abs(value) >= 2**63)):
        raise _wrong(what, _WORDS[base], value)
    return value


def _convert_union(choices: tuple[Any, ...], value: Any, what: str) -> Any:
    if value is None and type(None) in choices:
        return None
    wrong: BadJson | None = None
    for choice in choices:
        if choice is not type(None):
            try:
                return _convert(choice, value, what)
            except BadJson as error:
                wrong = error
    assert wrong is not None
    raise wrong


def _convert_tuple(arguments: tuple[Any, ...], value: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(what, "a list", value)
    if len(arguments) == 2 and arguments[1] is ...:
        return tuple(_convert(arguments[0], item, f"{number + 1} in {what}") for number, item in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(what, f"a list of {len(arguments)}", value)
    return tuple(
        _convert(kind, item, f"{number + 1} in {what}")
        for number, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )


def brief(value: Any) -> str:
    """Return a value as shown in messages, in at most 60 characters."""
    return shortened(repr(value), 60)


def _wrong(what: str, expected: str, value: Any) -> BadJson:
    return BadJson(f"{what} is {brief(value)}, expected {expected}")


def require(values: Any, kinds: Mapping[str, Any], what: str) -> None:
    """Check the required fields of an object; it may have others.

    Args:
        values: The value that was read.
        kinds: Maps the name of each required field to its type, as in ``typed``.
        what: Name of the thing described, for messages.

    Raises:
        BadJson: The value is not an object, or a field is missing or of another type.
    """
    if not isinstance(values, Mapping):
        raise _wrong(what, "an object", values)
    for name, kind in kinds.items():
        if name not in values:
            raise BadJson(f"{what} has no field {name!r}")
        _convert(kind, values[name], f"{name} of {what}")
