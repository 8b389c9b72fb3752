"""Check the tree of a filter against the types of the columns, and write its values in these types.

``where_arrow`` converts the result for records, ``where_sql`` for LanceDB tables.
"""

from __future__ import annotations

import difflib
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import pyarrow as pa

from ednabed.errors import UsageError
from ednabed.search.where_tree import TOKEN, Checked, Comparison, Join, Node, Not, Value, shown
from ednabed.sequences.columns import listed

NUMBER_TEXT = r"^[\t\n\f\r ]*-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?[\t\n\f\r ]*$"
"""Text that counts as a number where a column of text is compared with numbers."""
_KINDS: dict[str, tuple[type, str]] = {
    "text": (str, "text"),
    "integer": (Decimal, "whole numbers"),
    "number": (Decimal, "numbers"),
    "truth": (bool, "TRUE and FALSE"),
    "time": (str, "dates or times"),
}
"""Kinds of columns: the Python type of a value for it, and the name of its contents in messages."""


def checked(node: Node, schema: pa.Schema) -> Node:
    """Return the tree with ``Checked`` instead of every ``Comparison``, for records of this schema.

    Raises:
        UsageError: A column does not exist, or its type does not match the value that it is compared with.
    """
    if isinstance(node, Not):
        return Not(checked(node.part, schema))
    if isinstance(node, Join):
        return Join(node.operator, tuple(checked(part, schema) for part in node.parts))
    return _Check(node, _type_of(node, schema)).result() if isinstance(node, Comparison) else node


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


class _Check:
    """A comparison and the type of its column."""

    def __init__(self, test: Comparison, arrow_type: pa.DataType) -> None:
        self._test = test
        self._declared = arrow_type
        if pa.types.is_dictionary(arrow_type):
            arrow_type = arrow_type.value_type
        if pa.types.is_decimal(arrow_type) or pa.types.is_float16(arrow_type):
            # Arrow cannot compare these with a number as they are.
            arrow_type = pa.float64()
        # The columns of a TSV file are text; in a comparison with numbers, cells that are numbers count, as in SQL.
        numbers = bool(test.values) and all(isinstance(value.value, Decimal) for value in test.values)
        self._is_number_text = _kind_of(arrow_type) == "text" and numbers
        self._type = pa.float64() if self._is_number_text else arrow_type
        self._kind = _kind_of(self._type)

    def result(self) -> Node:
        """Return the checked comparison."""
        test = self._test
        if test.operator == "NULL":
            return self._checked("NULL")
        if pa.types.is_null(self._type):
            return self._checked("UNKNOWN")
        for value in test.values:
            self._check(value)
        if test.operator == "BETWEEN":
            return Join("AND", (self._compare(">=", test.values[0]), self._compare("<=", test.values[1])))
        if test.operator == "IN":
            return self._in()
        if test.operator in ("LIKE", "ILIKE"):
            return self._checked(test.operator, self._scalar(test.values[0]))
        return self._compare(test.operator, test.values[0])

    def _checked(self, operator: str, *values: pa.Scalar) -> Checked:
        return Checked(self._test.column, self._declared, self._type, self._is_number_text, operator, values)

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

    def _compare(self, sign: str, value: Value) -> Checked:
        if self._kind != "integer":
            return self._checked(sign, self._scalar(value))
        # Exact, even with a fraction or a number that the column's type cannot hold.
        assert isinstance(value.value, Decimal)
        low, high = range_of(self._type)
        bound = int(value.value.to_integral_value(ROUND_CEILING if sign in ("<", ">=") else ROUND_FLOOR))
        if sign in ("=", "!="):
            if bound != value.value or not low <= bound <= high:
                return self._certain(sign == "!=")
        elif not low <= bound <= high:
            return self._certain((bound > high) == (sign in ("<", "<=")))
        return self._checked(sign, pa.scalar(bound, self._type))

    def _certain(self, truth: bool) -> Checked:
        return self._checked("CERTAIN", pa.scalar(truth))

    def _in(self) -> Checked:
        values = self._test.values
        if self._kind != "integer":
            return self._checked("IN", *map(self._scalar, values))
        low, high = range_of(self._type)
        numbers = [value.value for value in values if isinstance(value.value, Decimal)]
        chosen = [int(n) for n in numbers if low <= n <= high and n == n.to_integral_value()]
        return self._checked("IN", *(pa.scalar(n, self._type) for n in chosen))

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


def range_of(arrow_type: pa.DataType) -> tuple[int, int]:
    """Return the smallest and the largest number of an integer type."""
    bits = arrow_type.bit_width
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if pa.types.is_signed_integer(arrow_type) else (0, 2**bits - 1)
