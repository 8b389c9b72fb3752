"""A user's text filter on the columns of records: ``sample = 'A1' AND abundance >= 10``.

The language is a small subset of SQL, interpreted as in Lance (DataFusion), so that one filter works for runs,
references and tables:

- ``column = value``, with ``=  !=  <>  <  <=  >  >=``; the column comes first;
- ``column [NOT] LIKE 'a%'``, or ``ILIKE`` to ignore case: ``%`` matches any text, ``_`` any character, and a backslash
  makes the next character literal;
- ``column [NOT] IN ('a', 'b')``, ``column [NOT] BETWEEN 1 AND 5``, ``column IS [NOT] NULL``;
- ``NOT``, then ``AND``, then ``OR``, and parentheses.

Values are ``'text'`` (a quote inside is doubled), numbers, ``TRUE`` and ``FALSE``; a date or time is written as text.
Column names are case-sensitive; a name with characters other than letters, digits and underscore is written in
backticks or double quotes. A comparison with an empty cell (null) is neither true nor false, nor is its NOT: neither
selects the record.

The text is compiled to an Arrow expression, or for a LanceDB table to SQL of its own; it is never run as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import UsageError
from ednabed.search.where_arrow import to_arrow
from ednabed.search.where_sql import to_sql
from ednabed.search.where_tree import TOKEN, Comparison, Join, Node, Not, Value, shown
from ednabed.search.where_types import checked

MAX_CHARACTERS = 100_000
MAX_PATTERN = 1_000
"""Maximum characters of a LIKE pattern: each becomes part of a regular expression, whose size is limited."""
MAX_DEPTH = 50
"""Maximum depth of nested parentheses and NOTs."""
MAX_TESTS = 250
"""Maximum comparisons: Arrow walks ORs recursively, and some thousands of them crash it; IN takes any number."""

_EXAMPLE = "sample = 'A1' AND abundance >= 10"
_KEYWORDS = frozenset(["AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"])
# A four-digit exponent or more than a hundred digits are typing errors, and computing with such numbers takes long.
_NUMBER = re.compile(r"[^eE]{1,100}(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Where:
    """A parsed and valid filter, created by ``parse_where``.

    Attributes:
        text: The filter as the user wrote it.
        columns: The columns that it uses.
    """

    text: str
    columns: frozenset[str]
    _tree: Node = field(repr=False)

    def expression(self, schema: pa.Schema) -> pc.Expression:
        """Return the filter for records of this schema, in the form that ``Dataset.to_table(filter=…)`` accepts.

        Raises:
            UsageError: A column does not exist, or its type does not match the value that it is compared with.
        """
        return to_arrow(checked(self._tree, schema))

    def sql(self, schema: pa.Schema) -> str:
        """Return the filter for a LanceDB table of this schema, as a condition in Lance's SQL.

        Raises:
            UsageError: As for ``expression``; or LanceDB cannot read the filter.
        """
        return to_sql(checked(self._tree, schema))


def parse_where(text: str) -> Where:
    """Parse a filter.

    Raises:
        UsageError: The text is not a filter; the message states the position (from 1) and what was expected there.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"the filter has {len(text):,} characters, expected at most {MAX_CHARACTERS:,}; make it shorter"
        )
    tokens = _tokens(text)
    if len(tokens) == 1:
        raise UsageError(f"the filter is empty; write, for example, {_EXAMPLE}")
    parser = _Parser(tokens)
    tree = parser.filter()
    return Where(text, frozenset(parser.columns), tree)


# -- from text to the tree ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    """``kind``: keyword, word, name (quoted), text, number, sign or end; ``value``: unquoted, keywords in capitals."""

    kind: str
    value: str
    written: str
    position: int


def _tokens(text: str) -> list[_Token]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _error(error.start + 1, text[error.start], "a Unicode character", "type it again") from None
    tokens = []
    index = 0
    while index < len(text):
        found = TOKEN.match(text, index)
        if found is None:
            raise _no_token(text, index)
        kind, written = str(found.lastgroup), found[0]
        value = written
        if kind == "word" and written.isascii() and written.upper() in _KEYWORDS:
            kind, value = "keyword", written.upper()
        elif kind in ("text", "name"):
            value = written[1:-1].replace(written[0] * 2, written[0])
        if kind != "blank":
            tokens.append(_Token(kind, value, written, index + 1))
        index = found.end()
    return [*tokens, _Token("end", "", "", len(text) + 1)]


def _no_token(text: str, index: int) -> UsageError:
    """Return the error for an index at which no token begins."""
    first, rest = text[index], text[index:]
    if first in "'\"`":
        return _error(index + 1, rest, f"a second {first} that ends it", "close the quote, double a quote inside it")
    if first in "-.0123456789":
        return _error(
            index + 1, rest.split()[0], "a number such as 12, -0.5 or 1e-3",
            "write a column whose name begins with a digit in backticks, text in single quotes",
        )  # fmt: skip
    return _error(
        index + 1, first, "a column, a value in single quotes, a number or a sign such as = or <", f"as in {_EXAMPLE}"
    )


def _error(position: int, found: str, expected: str, advice: str) -> UsageError:
    return UsageError(f"filter, position {position}: found {shown(found)}, expected {expected}; {advice}")


class _Parser:
    """A recursive descent parser with one method per level of precedence."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._index = 0
        self._depth = 0
        self._tests = 0
        self.columns: set[str] = set()

    def filter(self) -> Node:
        """Parse all tokens."""
        tree = self._any()
        if self._next.kind != "end":
            raise self._wrong("AND, OR or the end")
        return tree

    @property
    def _next(self) -> _Token:
        return self._tokens[self._index]

    def _take(self, *values: str) -> str:
        """Consume and return the next token if it is one of these keywords or signs; else return the empty string."""
        token = self._next
        if token.kind not in ("keyword", "sign") or token.value not in values:
            return ""
        self._index += 1
        return token.value

    def _need(self, value: str, advice: str = f"as in {_EXAMPLE}") -> None:
        if not self._take(value):
            raise self._wrong(value, advice)

    def _wrong(self, expected: str, advice: str = f"as in {_EXAMPLE}") -> UsageError:
        return _error(self._next.position, self._next.written, expected, advice)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"at most {MAX_DEPTH} nested parentheses and NOTs", "reduce the nesting")

    def _any(self) -> Node:
        parts = [self._all()]
        while self._take("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Join("OR", tuple(parts))

    def _all(self) -> Node:
        parts = [self._one()]
        while self._take("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Join("AND", tuple(parts))

    def _one(self) -> Node:
        if self._take("NOT"):
            self._deeper()
            part: Node = Not(self._one())
        elif self._take("("):
            self._deeper()
            part = self._any()
            self._need(")", "close the parenthesis, or join with AND or OR")
        else:
            return self._test()
        self._depth -= 1
        return part

    def _test(self) -> Node:
        token = self._next
        if token.kind not in ("word", "name"):
            advice = f"as in {_EXAMPLE}"
            if token.kind in ("text", "number"):
                advice = "write the column first, then the value"
            elif token.kind == "keyword":
                advice = f'write a column of that name as "{token.written}"'
            raise self._wrong("a column", advice)
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise self._wrong(f"at most {MAX_TESTS} comparisons", "combine those of one column, as in id IN ('a', 'b')")
        self._index += 1
        self.columns.add(token.value)
        sign = self._take("=", "!=", "<>", "<", "<=", ">", ">=")
        if sign:
            return Comparison(token.value, token.position, "!=" if sign == "<>" else sign, (self._value(),))
        if self._take("IS"):
            negated = self._take("NOT")
            self._need("NULL", f"as in {token.written} IS NOT NULL")
            test = Comparison(token.value, token.position, "NULL")
        else:
            negated = self._take("NOT")
            word = self._take("LIKE", "ILIKE", "IN", "BETWEEN")
            if not word:
                signs = "" if negated else "=, !=, <, <=, >, >=, IS, NOT, "
                raise self._wrong(f"{signs}LIKE, ILIKE, IN or BETWEEN")
            test = Comparison(token.value, token.position, word, self._values(word))
        return Not(test) if negated else test

    def _values(self, word: str) -> tuple[Value, ...]:
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
        if len(pattern.value) > MAX_PATTERN:
            raise self._wrong(f"a pattern of at most {MAX_PATTERN} characters", "make it shorter")
        return (self._value(),)

    def _value(self) -> Value:
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
                advice = "find empty cells with IS NULL"
            elif token.kind in ("word", "name"):
                advice = "write text in single quotes"
            elif token.value == "=":
                advice = "write equality with one ="
            raise self._wrong("a number, TRUE, FALSE or text in single quotes", advice)
        self._index += 1
        return Value(value, token.written, token.position)
