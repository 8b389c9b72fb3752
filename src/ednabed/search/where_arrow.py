"""Convert the tree of a filter to an Arrow expression: column types, nulls, and differences between Arrow and SQL."""

from __future__ import annotations

import difflib
import functools
import operator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import UsageError
from ednabed.search.where_tree import COMPARE, TOKEN, Comparison, Join, Node, Not, Value, shown
from ednabed.sequences.columns import listed

MAX_PATTERN = 1_000
"""Maximum characters of a LIKE pattern: each becomes part of a regular expression, whose size is limited."""

# Text that Arrow can cast to a number.
_NUMBER_TEXT = r"^\s*-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*$"
_KINDS: dict[str, tuple[type, str]] = {
    "text": (str, "text"),
    "integer": (Decimal, "whole numbers"),
    "number": (Decimal, "numbers"),
    "truth": (bool, "TRUE and FALSE"),
    "time": (str, "dates or times"),
}
"""Kinds of columns: the Python type of a value for it, and the name of its contents in messages."""


def to_arrow(node: Node, schema: pa.Schema) -> pc.Expression:
    """Convert a tree to an expression for records of this schema; see ``Where.expression``."""
    if isinstance(node, Not):
        return ~to_arrow(node.part, schema)
    if isinstance(node, Join):
        join = operator.and_ if node.operator == "AND" else operator.or_
        return functools.reduce(join, [to_arrow(part, schema) for part in node.parts])
    return _Column(node, _type_of(node, schema)).expression()


def _type_of(test: Comparison, schema: pa.Schema) -> pa.DataType:
    """Return the type of the only column with that name."""
    indices = schema.get_all_field_indices(test.column)
    if len(indices) == 1:
        return schema.field(indices[0]).type
    if indices:
        raise UsageError(
            f"filter, position {test.position}: {len(indices)} columns have the name {shown(test.column)}, expected "
            "one; filter by another column"
        )
    by_lower = {name.lower(): name for name in schema.names}
    matches = difflib.get_close_matches(test.column.lower(), list(by_lower), n=1, cutoff=0.5)
    similar = f", the most similar is {by_lower[matches[0]]!r}" if matches else ""
    raise UsageError(
        f"filter, position {test.position}: there is no column {shown(test.column)}{similar}; "
        f"choose one of {listed(schema.names)}"
    )


class _Column:
    """A comparison and the type of its column."""

    def __init__(self, test: Comparison, arrow_type: pa.DataType) -> None:
        self._test = test
        self._field = pc.field(test.column)
        self._declared = arrow_type
        if pa.types.is_dictionary(arrow_type):
            arrow_type = arrow_type.value_type
            self._field = self._field.cast(arrow_type)
        if pa.types.is_decimal(arrow_type) or pa.types.is_float16(arrow_type):
            # Arrow cannot compare these with a number as they are.
            arrow_type = pa.float64()
            self._field = self._field.cast(arrow_type)
        if _kind_of(arrow_type) == "text" and test.values and all(isinstance(v.value, Decimal) for v in test.values):
            # The columns of a TSV file are text; in a comparison with numbers, cells that are numbers count, as in SQL.
            is_number = pc.match_substring_regex(self._field, _NUMBER_TEXT)
            kept = pc.if_else(is_number, self._field, pa.scalar(None, arrow_type))
            arrow_type = pa.float64()
            self._field = pc.utf8_trim_whitespace(kept).cast(arrow_type)
        self._type = arrow_type
        self._kind = _kind_of(arrow_type)

    def expression(self) -> pc.Expression:
        """Return the test as an expression; except for IS NULL, it is null where the column is."""
        test = self._test
        if test.operator == "NULL":
            return self._field.is_null()
        if pa.types.is_null(self._type):
            return pc.scalar(pa.scalar(None, pa.bool_()))
        for value in test.values:
            self._check(value)
        if test.operator in ("LIKE", "ILIKE"):
            pattern = like_regex(str(test.values[0].value), fold=test.operator == "ILIKE")
            return pc.match_substring_regex(self._field, pattern)
        if test.operator == "BETWEEN":
            return self._compare(">=", test.values[0]) & self._compare("<=", test.values[1])
        if test.operator == "IN":
            return self._is_in()
        return self._compare(test.operator, test.values[0])

    def _check(self, value: Value) -> None:
        test = self._test
        where = f"filter, position {value.position}: column {shown(test.column)} contains"
        if not self._kind:
            raise UsageError(
                f"{where} {self._declared}, which a filter cannot compare; test only whether it IS NULL or IS NOT NULL"
            )
        expected, called = _KINDS[self._kind]
        where = f"{where} {called} ({self._declared})"
        if test.operator in ("LIKE", "ILIKE") and self._kind != "text":
            raise UsageError(f"{where}, and {test.operator} is for text; compare with =, <, > or BETWEEN")
        if self._kind == "truth" and test.operator in ("<", "<=", ">", ">=", "BETWEEN"):
            raise UsageError(f"{where}, which have no order for {test.operator}; compare with = or !=")
        if type(value.value) is not expected:
            raise UsageError(f"{where} and is compared with {shown(value.written)}; write {self._advice(value)}")

    def _compare(self, sign: str, value: Value) -> pc.Expression:
        if self._kind == "integer":
            assert isinstance(value.value, Decimal)
            return self._compare_integer(sign, value.value)
        return COMPARE[sign](self._field, self._scalar(value))

    def _scalar(self, value: Value) -> pa.Scalar:
        """Return the value in the column's own type, so that 0.1 equals the 0.1 of a float32 column."""
        if isinstance(value.value, Decimal):
            return pa.scalar(float(value.value), self._type)
        if self._kind == "time":
            try:
                return pa.scalar(value.value).cast(self._type)
            except pa.ArrowInvalid:
                raise UsageError(
                    f"filter, position {value.position}: column {shown(self._test.column)} contains dates or times "
                    f"({self._declared}) and {shown(value.written)} is not one; write {self._advice(value)}"
                ) from None
        return pa.scalar(value.value, self._type)

    def _compare_integer(self, sign: str, value: Decimal) -> pc.Expression:
        """Compare exactly, even with a fraction or a number that the column's type cannot hold."""
        low, high = _range_of(self._type)
        bound = int(value.to_integral_value(ROUND_CEILING if sign in ("<", ">=") else ROUND_FLOOR))
        if sign in ("=", "!="):
            if bound != value or not low <= bound <= high:
                return self._certain(sign == "!=")
        elif not low <= bound <= high:
            return self._certain((bound > high) == (sign in ("<", "<=")))
        return COMPARE[sign](self._field, pa.scalar(bound, self._type))

    def _is_in(self) -> pc.Expression:
        values = self._test.values
        if self._kind == "integer":
            low, high = _range_of(self._type)
            numbers = [value.value for value in values if isinstance(value.value, Decimal)]
            chosen: list[Any] = [int(n) for n in numbers if low <= n <= high and n == n.to_integral_value()]
        else:
            chosen = [self._scalar(value) for value in values]
            if self._kind == "number" and any(scalar.as_py() == 0 for scalar in chosen):
                # is_in distinguishes 0.0 from -0.0, unlike =.
                chosen += [pa.scalar(0.0, self._type), pa.scalar(-0.0, self._type)]
        found = pc.is_in(self._field, value_set=pa.array(chosen, self._type))
        # For null, is_in returns false; in SQL it is neither, so that NOT IN does not select it.
        return pc.if_else(self._field.is_valid(), found, pa.scalar(None, pa.bool_()))

    def _advice(self, value: Value) -> str:
        """Return how to write the value for this column."""
        if self._kind == "text":
            return f"it as text, in single quotes: '{value.written[:60]}'"
        if self._kind == "truth":
            return "TRUE or FALSE without quotes"
        if self._kind == "time":
            if not pa.types.is_timestamp(self._type):
                return "it as text, '2026-05-31'"
            return "it as text, '2026-05-31T12:00:00Z'" if self._type.tz else "it as text, '2026-05-31 12:00:00'"
        number = TOKEN.fullmatch(value.value.strip()) if isinstance(value.value, str) else None
        return number[0] if number is not None and number.lastgroup == "number" else "a number without quotes"

    def _certain(self, truth: bool) -> pc.Expression:
        return pc.if_else(self._field.is_valid(), pa.scalar(truth), pa.scalar(None, pa.bool_()))


def _kind_of(arrow_type: pa.DataType) -> str:
    types = pa.types
    if types.is_string(arrow_type) or types.is_large_string(arrow_type):
        return "text"
    if types.is_integer(arrow_type):
        return "integer"
    if types.is_floating(arrow_type):
        return "number"
    if types.is_boolean(arrow_type):
        return "truth"
    return "time" if types.is_date(arrow_type) or types.is_timestamp(arrow_type) else ""


def _range_of(arrow_type: pa.DataType) -> tuple[int, int]:
    bits = arrow_type.bit_width
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if pa.types.is_signed_integer(arrow_type) else (0, 2**bits - 1)


def like_regex(pattern: str, *, fold: bool) -> str:
    """Return the regular expression (RE2) for a LIKE pattern; ``fold`` ignores case."""
    parts = []
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            parts.append(".*")
        elif character == "_":
            parts.append(".")
        else:
            # A backslash at the very end is literal, as in DataFusion.
            plain = next(characters, character) if character == "\\" else character
            parts.append(plain if plain.isalnum() else f"\\x{{{ord(plain):x}}}")
    return f"(?{'is' if fold else 's'})\\A{''.join(parts)}\\z"
