"""Convert a checked filter to an Arrow expression, evaluated as in SQL, also where Arrow differs."""

from __future__ import annotations

import functools
import operator

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.search.where_tree import COMPARE, Checked, Comparison, Join, Node, Not
from ednabed.search.where_types import NUMBER_TEXT


def to_arrow(node: Node) -> pc.Expression:
    """Convert a tree from ``where_types.checked``; except for IS NULL, a comparison is null where its column is."""
    if isinstance(node, Not):
        return ~to_arrow(node.part)
    if isinstance(node, Join):
        join = operator.and_ if node.operator == "AND" else operator.or_
        return functools.reduce(join, map(to_arrow, node.parts))
    assert not isinstance(node, Comparison)
    return _comparison(node)


def _comparison(test: Checked) -> pc.Expression:
    field = _read(test)
    if test.operator == "NULL":
        return field.is_null()
    if test.operator == "UNKNOWN":
        return pc.scalar(pa.scalar(None, pa.bool_()))
    if test.operator == "IN":
        return _is_in(field, test)
    value = test.values[0]
    if test.operator == "CERTAIN":
        return _unless_null(field, value)
    if test.operator in ("LIKE", "ILIKE"):
        return pc.match_substring_regex(field, like_regex(value.as_py(), fold=test.operator == "ILIKE"))
    return COMPARE[test.operator](field, value)


def _read(test: Checked) -> pc.Expression:
    """Return the column in the type in which it is compared."""
    field = pc.field(test.column)
    declared = test.declared
    if pa.types.is_dictionary(declared):
        declared = declared.value_type
        field = field.cast(declared)
    if test.is_number_text:
        kept = pc.if_else(pc.match_substring_regex(field, NUMBER_TEXT), field, pa.scalar(None, declared))
        return pc.utf8_trim_whitespace(kept).cast(test.type)
    return field if declared == test.type else field.cast(test.type)


def _is_in(field: pc.Expression, test: Checked) -> pc.Expression:
    chosen = list(test.values)
    if pa.types.is_floating(test.type) and any(value.as_py() == 0 for value in chosen):
        # is_in distinguishes 0.0 from -0.0, unlike =.
        chosen += [pa.scalar(0.0, test.type), pa.scalar(-0.0, test.type)]
    # For null, is_in returns false; in SQL it is neither, so that NOT IN does not select it.
    return _unless_null(field, pc.is_in(field, value_set=pa.array(chosen, test.type)))


def _unless_null(field: pc.Expression, result: pc.Expression | pa.Scalar) -> pc.Expression:
    return pc.if_else(field.is_valid(), result, pa.scalar(None, pa.bool_()))


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
