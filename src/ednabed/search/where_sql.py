"""Convert a checked filter to a condition in Lance's SQL (DataFusion), which selects the same rows as Arrow.

Nothing that the user wrote becomes SQL as it is: names are quoted, and values are written again from their parsed form.

Lance treats nulls differently from Arrow (``NOT (s IN ('a') AND s IN ('b'))`` becomes a plain TRUE, even for null), and
sorts not-a-number above all numbers. So every NOT is moved to the comparisons, which are then written so that they are
true exactly where they should be; whether they are false or null elsewhere does not matter.
"""

from __future__ import annotations

import pyarrow as pa

from ednabed.errors import UsageError
from ednabed.search.where_tree import Checked, Comparison, Join, Node, Not, shown
from ednabed.search.where_types import NUMBER_TEXT, range_of

MAX_SQL_DEPTH = 40
"""Maximum depth of nested parentheses: Lance's parser accepts 50."""
_NEGATED = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def to_sql(node: Node) -> str:
    """Convert a tree from ``where_types.checked`` to SQL.

    Raises:
        UsageError: LanceDB cannot express the filter.
    """
    return _condition(node, negated=False, depth=1)


def text_literal(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _condition(node: Node, *, negated: bool, depth: int) -> str:
    if isinstance(node, Not):
        return _condition(node.part, negated=not negated, depth=depth)
    if isinstance(node, Join):
        if depth > MAX_SQL_DEPTH:
            raise UsageError(
                f"the filter has more than {MAX_SQL_DEPTH} nested changes between AND and OR, which LanceDB cannot "
                "read; reduce the nesting"
            )
        operator = node.operator if not negated else {"AND": "OR", "OR": "AND"}[node.operator]
        return f"({f' {operator} '.join(_condition(part, negated=negated, depth=depth + 1) for part in node.parts)})"
    assert not isinstance(node, Comparison)
    return f"({_comparison(node, negated)})"


def _comparison(test: Checked, negated: bool) -> str:
    if "`" in test.column:
        raise UsageError(f"column {shown(test.column)}: LanceDB cannot filter by a name that contains a backtick")
    name, no = f"`{test.column}`", "NOT " if negated else ""
    if test.operator == "NULL":
        return f"{name} IS {no}NULL"
    if test.operator == "UNKNOWN":
        return "FALSE"
    if test.operator == "CERTAIN":
        return f"{name} IS NOT NULL" if test.values[0].as_py() != negated else "FALSE"
    column = _read(test, name)
    if test.is_number_text:
        return f"regexp_like({name}, {text_literal(NUMBER_TEXT)}) AND ({_compare(test, column, negated)})"
    return _compare(test, column, negated)


def _compare(test: Checked, column: str, negated: bool) -> str:
    if test.operator == "IN":
        if not test.values:
            return f"{column} IS NOT NULL" if negated else "FALSE"
        listed = ", ".join(_literal(value, test.type) for value in test.values)
        return f"{column} IS NOT NULL AND {column} {'NOT ' if negated else ''}IN ({listed})"
    value = _literal(test.values[0], test.type)
    if test.operator in ("LIKE", "ILIKE"):
        return f"{column} {'NOT ' if negated else ''}{test.operator} {value}"
    result = f"{column} {_NEGATED[test.operator] if negated else test.operator} {value}"
    if pa.types.is_floating(test.type) and test.operator not in ("=", "!="):
        return f"{result} OR isnan({column})" if negated else f"{result} AND NOT isnan({column})"
    return result


def _read(test: Checked, name: str) -> str:
    """Return the column in a type that Lance compares with the literals of ``_literal``."""
    if test.is_number_text:
        return f"TRY_CAST(regexp_replace({name}, '[\\t\\n\\f\\r ]', '', 'g') AS DOUBLE)"
    if pa.types.is_date(test.type) or pa.types.is_timestamp(test.type):
        return f"CAST({name} AS BIGINT)"
    if pa.types.is_dictionary(test.declared) or test.declared != test.type:
        if pa.types.is_floating(test.type):
            return f"CAST({name} AS DOUBLE)"
        return f"CAST({name} AS {'BIGINT' if pa.types.is_integer(test.type) else 'STRING'})"
    return name


def _literal(value: pa.Scalar, kind: pa.DataType) -> str:
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _whole(value.value)
    plain = value.as_py()
    if isinstance(plain, str):
        return text_literal(plain)
    if isinstance(plain, bool):
        return str(plain).upper()
    if isinstance(plain, float):
        return repr(plain).replace("inf", "1e999")
    return _whole(plain)


def _whole(number: int) -> str:
    # The smallest number is read as the negative of one that is too large.
    return str(number) if number > range_of(pa.int64())[0] else f"CAST('{number}' AS BIGINT)"
