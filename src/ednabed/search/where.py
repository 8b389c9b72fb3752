"""A filter on the columns of records, written by a person as text: ``sample = 'A1' AND abundance >= 10``.

The language is a small part of SQL, read the way Lance (DataFusion) reads it, so that one filter serves runs,
references and tables:

- ``column = value``, with ``=  !=  <>  <  <=  >  >=``; the column stands first;
- ``column [NOT] LIKE 'a%'``, ``ILIKE`` where case does not matter: ``%`` is any text, ``_`` any letter, and a backslash
  takes the sign after it as it is;
- ``column [NOT] IN ('a', 'b')``, ``column [NOT] BETWEEN 1 AND 5``, ``column IS [NOT] NULL``;
- ``NOT``, then ``AND``, then ``OR``, and parentheses.

Values are ``'text'`` (a quote inside is doubled), numbers, ``TRUE`` and ``FALSE``; a date or time is written as text.
Names of columns are taken as written; one that is not made of letters, digits and underscore stands in backticks or
double quotes. A comparison with an empty cell (null) is neither true nor false, and so is its NOT: neither chooses the
record.

The text is compiled to an Arrow expression; it is never run as SQL or Python.
"""

from __future__ import annotations

import difflib
import functools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import UsageError
from ednabed.sequences.columns import listed

MOST_LETTERS = 100_000
MOST_DEPTH = 50
"""Parentheses and NOTs inside each other."""
MOST_TESTS = 250
"""Comparisons: Arrow walks a row of ORs recursively and some thousands of them end the process; IN takes any number."""
MOST_PATTERN = 1_000
"""Letters of a LIKE pattern: each becomes part of a regular expression, whose size is limited."""

_EXAMPLE = "sample = 'A1' AND abundance >= 10"
_KEYWORDS = frozenset(["AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"])
_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?!\w)
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>`(?:[^`]|``)*`|"(?:[^"]|"")*")
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><=|>=|<>|!=|[=<>(),])""",
    re.VERBOSE,
)
# An exponent of four digits or a hundred digits are slips, and work with such numbers takes long.
_NUMBER = re.compile(r"[^eE]{1,100}(?:[eE][+-]?[0-9]{1,3})?")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Where:
    """A filter that has been read and is right in itself; made by ``parse_where``.

    Attributes:
        text: The filter as the user wrote it.
        columns: The columns that it names.
    """

    text: str
    columns: frozenset[str]
    _tree: _Node = field(repr=False)

    def expression(self, schema: pa.Schema) -> pc.Expression:
        """Return the filter for records of this schema, as ``Dataset.to_table(filter=…)`` takes it.

        Raises:
            UsageError: A column is not there, or holds another kind of values than the one it is compared with.
        """
        return _compile(self._tree, schema)


def parse_where(text: str) -> Where:
    """Read a filter.

    Raises:
        UsageError: The text is not a filter; the message says at which letter (from 1) and what was wanted there.
    """
    if len(text) > MOST_LETTERS:
        raise UsageError(f"the filter has {len(text):,} letters, wanted at most {MOST_LETTERS:,}; make it shorter")
    tokens = _tokens(text)
    if len(tokens) == 1:
        raise UsageError(f"the filter is empty; write, for example, {_EXAMPLE}")
    parser = _Parser(tokens)
    tree = parser.filter()
    return Where(text, frozenset(parser.columns), tree)


# -- the tree ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    value: str | Decimal | bool
    written: str
    position: int


@dataclass(frozen=True, slots=True)
class _Test:
    """One column against values; ``operator`` is a sign of ``_COMPARE``, or LIKE, ILIKE, IN, BETWEEN, NULL."""

    column: str
    position: int
    operator: str
    values: tuple[_Value, ...] = ()


@dataclass(frozen=True, slots=True)
class _Not:
    part: _Node


@dataclass(frozen=True, slots=True)
class _Join:
    operator: str
    parts: tuple[_Node, ...]


_Node = _Test | _Not | _Join


# -- from text to the tree ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    """``kind``: keyword, word, name (quoted), text, number, sign or end; ``value``: without quotes, keywords large."""

    kind: str
    value: str
    written: str
    position: int


def _tokens(text: str) -> list[_Token]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _error(error.start + 1, text[error.start], "a letter of Unicode", "type that letter again") from None
    tokens = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise _stray(text, place)
        kind, written = str(found.lastgroup), found[0]
        value = written
        if kind == "word" and written.isascii() and written.upper() in _KEYWORDS:
            kind, value = "keyword", written.upper()
        elif kind in ("text", "name"):
            value = written[1:-1].replace(written[0] * 2, written[0])
        if kind != "blank":
            tokens.append(_Token(kind, value, written, place + 1))
        place = found.end()
    return [*tokens, _Token("end", "", "", len(text) + 1)]


def _stray(text: str, place: int) -> UsageError:
    """Say what is wrong where no token begins."""
    first, rest = text[place], text[place:]
    if first in "'\"`":
        return _error(place + 1, rest, f"a second {first} that ends it", "close the quote, double a quote inside it")
    if first in "-.0123456789":
        return _error(
            place + 1, rest.split()[0], "a number such as 12, -0.5 or 1e-3",
            "a column whose name begins with a digit stands in backticks, text in single quotes",
        )  # fmt: skip
    return _error(
        place + 1, first, "a column, a value in single quotes, a number or a sign such as = or <", f"as in {_EXAMPLE}"
    )


def _error(position: int, found: str, wanted: str, advice: str) -> UsageError:
    return UsageError(f"filter, position {position}: found {_shown(found)}, wanted {wanted}; {advice}")


def _shown(text: str, most: int = 40) -> str:
    # ascii() also keeps letters that no terminal takes out of the message.
    return ascii(text if len(text) <= most else text[:most] + "...") if text else "the end"


class _Parser:
    """Recursive descent, one method a level of precedence."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._tests = 0
        self.columns: set[str] = set()

    def filter(self) -> _Node:
        """Read all tokens."""
        tree = self._any()
        if self._next.kind != "end":
            raise self._wrong("AND, OR or the end")
        return tree

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, *values: str) -> str:
        """Go past the next token where it is one of these keywords or signs, and return it; else the empty string."""
        token = self._next
        if token.kind not in ("keyword", "sign") or token.value not in values:
            return ""
        self._place += 1
        return token.value

    def _need(self, value: str, advice: str = f"as in {_EXAMPLE}") -> None:
        if not self._take(value):
            raise self._wrong(value, advice)

    def _wrong(self, wanted: str, advice: str = f"as in {_EXAMPLE}") -> UsageError:
        return _error(self._next.position, self._next.written, wanted, advice)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise self._wrong(f"at most {MOST_DEPTH} parentheses and NOTs inside each other", "write it flatter")

    def _any(self) -> _Node:
        parts = [self._all()]
        while self._take("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else _Join("OR", tuple(parts))

    def _all(self) -> _Node:
        parts = [self._one()]
        while self._take("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else _Join("AND", tuple(parts))

    def _one(self) -> _Node:
        if self._take("NOT"):
            self._deeper()
            part: _Node = _Not(self._one())
        elif self._take("("):
            self._deeper()
            part = self._any()
            self._need(")", "close the parenthesis, or join by AND or OR")
        else:
            return self._test()
        self._depth -= 1
        return part

    def _test(self) -> _Node:
        token = self._next
        if token.kind not in ("word", "name"):
            advice = f"as in {_EXAMPLE}"
            if token.kind in ("text", "number"):
                advice = "the column stands first, the value after it"
            elif token.kind == "keyword":
                advice = f"a column of that name is written `{token.written}`"
            raise self._wrong("a column", advice)
        self._tests += 1
        if self._tests > MOST_TESTS:
            raise self._wrong(f"at most {MOST_TESTS} comparisons", "join those of one column, as in id IN ('a', 'b')")
        self._place += 1
        self.columns.add(token.value)
        sign = self._take("=", "!=", "<>", "<", "<=", ">", ">=")
        if sign:
            return _Test(token.value, token.position, "!=" if sign == "<>" else sign, (self._value(),))
        if self._take("IS"):
            negated = self._take("NOT")
            self._need("NULL", f"as in {token.written} IS NOT NULL")
            test = _Test(token.value, token.position, "NULL")
        else:
            negated = self._take("NOT")
            word = self._take("LIKE", "ILIKE", "IN", "BETWEEN")
            if not word:
                signs = "" if negated else "=, !=, <, <=, >, >=, IS, NOT, "
                raise self._wrong(f"{signs}LIKE, ILIKE, IN or BETWEEN")
            test = _Test(token.value, token.position, word, self._values(word))
        return _Not(test) if negated else test

    def _values(self, word: str) -> tuple[_Value, ...]:
        if word == "BETWEEN":
            low = self._value()
            self._need("AND", "as in length BETWEEN 100 AND 200")
            return low, self._value()
        if word == "IN":
            self._need("(", "as in sample IN ('A1', 'A2')")
            values = [self._value()]
            while self._take(","):
                values.append(self._value())
            self._need(")", "as in sample IN ('A1', 'A2')")
            return tuple(values)
        pattern = self._next
        if pattern.kind != "text":
            raise self._wrong("text in single quotes", "as in id LIKE 'A1%'")
        if len(pattern.value) > MOST_PATTERN:
            raise self._wrong(f"a pattern of at most {MOST_PATTERN} letters", "make it shorter")
        return (self._value(),)

    def _value(self) -> _Value:
        token = self._next
        value: str | Decimal | bool
        if token.kind == "text":
            value = token.value
        elif token.kind == "number":
            if not _NUMBER.fullmatch(token.value):
                raise self._wrong("at most 100 digits and an exponent of at most 3", "write a shorter number")
            value = Decimal(token.value)
        elif token.kind == "keyword" and token.value in ("TRUE", "FALSE"):
            value = token.value == "TRUE"
        else:
            advice = f"as in {_EXAMPLE}"
            if token.value == "NULL":
                advice = "empty cells are found by IS NULL"
            elif token.kind in ("word", "name"):
                advice = "text stands in single quotes"
            elif token.value == "=":
                advice = "equality is written with one ="
            raise self._wrong("a number, TRUE, FALSE or text in single quotes", advice)
        self._place += 1
        return _Value(value, token.written, token.position)


# -- from the tree to Arrow --------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[type, str]] = {
    "text": (str, "text"),
    "integer": (Decimal, "whole numbers"),
    "number": (Decimal, "numbers"),
    "truth": (bool, "TRUE and FALSE"),
    "time": (str, "dates or times"),
}
"""What a column holds: how a value for it is read, and how a message calls it."""


def _compile(node: _Node, schema: pa.Schema) -> pc.Expression:
    if isinstance(node, _Not):
        return ~_compile(node.part, schema)
    if isinstance(node, _Join):
        join = operator.and_ if node.operator == "AND" else operator.or_
        return functools.reduce(join, [_compile(part, schema) for part in node.parts])
    return _Column(node, _type_of(node, schema)).expression()


def _type_of(test: _Test, schema: pa.Schema) -> pa.DataType:
    """Return the type of the one column of that name."""
    places = schema.get_all_field_indices(test.column)
    if len(places) == 1:
        return schema.field(places[0]).type
    if places:
        raise UsageError(
            f"filter, position {test.position}: {len(places)} columns have the name {_shown(test.column)}, wanted one; "
            "filter by another column"
        )
    by_plain = {name.lower(): name for name in schema.names}
    near = difflib.get_close_matches(test.column.lower(), list(by_plain), n=1, cutoff=0.5)
    nearest = f", the nearest is {by_plain[near[0]]!r}" if near else ""
    raise UsageError(
        f"filter, position {test.position}: there is no column {_shown(test.column)}{nearest}; "
        f"take one of {listed(schema.names)}"
    )


class _Column:
    """A column of known type, and the tests it can stand."""

    def __init__(self, test: _Test, arrow_type: pa.DataType) -> None:
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
        self._type = arrow_type
        self._kind = _kind_of(arrow_type)

    def expression(self) -> pc.Expression:
        """Return the test as an expression; but for IS NULL it is null where the column is."""
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

    def _check(self, value: _Value) -> None:
        test = self._test
        where = f"filter, position {value.position}: column {_shown(test.column)} holds"
        if not self._kind:
            raise UsageError(
                f"{where} {self._declared}, which a filter cannot compare; ask only whether it IS NULL or IS NOT NULL"
            )
        wanted, called = _KINDS[self._kind]
        where = f"{where} {called} ({self._declared})"
        if test.operator in ("LIKE", "ILIKE") and self._kind != "text":
            raise UsageError(f"{where}, and {test.operator} is for text; compare by =, <, > or BETWEEN")
        if self._kind == "truth" and test.operator in ("<", "<=", ">", ">=", "BETWEEN"):
            raise UsageError(f"{where}, which have no order for {test.operator}; compare by = or !=")
        if type(value.value) is not wanted:
            raise UsageError(f"{where} and is compared with {_shown(value.written)}; write {self._advice(value)}")

    def _compare(self, sign: str, value: _Value) -> pc.Expression:
        if self._kind == "integer":
            assert isinstance(value.value, Decimal)
            return self._compare_integer(sign, value.value)
        return _COMPARE[sign](self._field, self._scalar(value))

    def _scalar(self, value: _Value) -> pa.Scalar:
        """Return the value in the column's own type, so that 0.1 equals the 0.1 of a float32 column."""
        if isinstance(value.value, Decimal):
            return pa.scalar(float(value.value), self._type)
        if self._kind == "time":
            try:
                return pa.scalar(value.value).cast(self._type)
            except pa.ArrowInvalid:
                raise UsageError(
                    f"filter, position {value.position}: column {_shown(self._test.column)} holds dates or times "
                    f"({self._declared}) and {_shown(value.written)} is none; write {self._advice(value)}"
                ) from None
        return pa.scalar(value.value, self._type)

    def _compare_integer(self, sign: str, value: Decimal) -> pc.Expression:
        """Compare exactly, also with a fraction or a number that the column's type cannot hold."""
        low, high = _range_of(self._type)
        bound = int(value.to_integral_value(ROUND_CEILING if sign in ("<", ">=") else ROUND_FLOOR))
        if sign in ("=", "!="):
            if bound != value or not low <= bound <= high:
                return self._certain(sign == "!=")
        elif not low <= bound <= high:
            return self._certain((bound > high) == (sign in ("<", "<=")))
        return _COMPARE[sign](self._field, pa.scalar(bound, self._type))

    def _is_in(self) -> pc.Expression:
        values = self._test.values
        if self._kind == "integer":
            low, high = _range_of(self._type)
            numbers = [value.value for value in values if isinstance(value.value, Decimal)]
            chosen: list[Any] = [int(n) for n in numbers if low <= n <= high and n == n.to_integral_value()]
        else:
            chosen = [self._scalar(value) for value in values]
            if self._kind == "number" and any(scalar.as_py() == 0 for scalar in chosen):
                # is_in tells 0.0 from -0.0, which = does not.
                chosen += [pa.scalar(0.0, self._type), pa.scalar(-0.0, self._type)]
        found = pc.is_in(self._field, value_set=pa.array(chosen, self._type))
        # is_in says false of null; SQL says neither, so that NOT IN does not choose it.
        return pc.if_else(self._field.is_valid(), found, pa.scalar(None, pa.bool_()))

    def _advice(self, value: _Value) -> str:
        """Say how the value is written for this column."""
        if self._kind == "text":
            return f"it as text, in single quotes: '{value.written[:60]}'"
        if self._kind == "truth":
            return "TRUE or FALSE without quotes"
        if self._kind == "time":
            if not pa.types.is_timestamp(self._type):
                return "it as text, '2026-05-31'"
            return "it as text, '2026-05-31T12:00:00Z'" if self._type.tz else "it as text, '2026-05-31 12:00:00'"
        number = _TOKEN.fullmatch(value.value.strip()) if isinstance(value.value, str) else None
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
    """Return the regular expression (RE2) of a LIKE pattern; ``fold`` makes large and small letters the same."""
    parts = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "%":
            parts.append(".*")
        elif letter == "_":
            parts.append(".")
        else:
            # A backslash at the very end stands for itself, as in DataFusion.
            plain = next(letters, letter) if letter == "\\" else letter
            parts.append(plain if plain.isalnum() else f"\\x{{{ord(plain):x}}}")
    return f"(?{'is' if fold else 's'})\\A{''.join(parts)}\\z"
