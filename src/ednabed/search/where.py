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

import re
from dataclasses import dataclass, field
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import UsageError
from ednabed.search.where_arrow import MOST_PATTERN, to_arrow
from ednabed.search.where_tree import TOKEN, Comparison, Join, Node, Not, Value, shown

MOST_LETTERS = 100_000
MOST_DEPTH = 50
"""Parentheses and NOTs inside each other."""
MOST_TESTS = 250
"""Comparisons: Arrow walks a row of ORs recursively and some thousands of them end the process; IN takes any number."""

_EXAMPLE = "sample = 'A1' AND abundance >= 10"
_KEYWORDS = frozenset(["AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"])
# An exponent of four digits or a hundred digits are slips, and work with such numbers takes long.
_NUMBER = re.compile(r"[^eE]{1,100}(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Where:
    """A filter that has been read and is right in itself; made by ``parse_where``.

    Attributes:
        text: The filter as the user wrote it.
        columns: The columns that it names.
    """

    text: str
    columns: frozenset[str]
    _tree: Node = field(repr=False)

    def expression(self, schema: pa.Schema) -> pc.Expression:
        """Return the filter for records of this schema, as ``Dataset.to_table(filter=…)`` takes it.

        Raises:
            UsageError: A column is not there, or holds another kind of values than the one it is compared with.
        """
        return to_arrow(self._tree, schema)


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
        found = TOKEN.match(text, place)
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
    return UsageError(f"filter, position {position}: found {shown(found)}, wanted {wanted}; {advice}")


class _Parser:
    """Recursive descent, one method a level of precedence."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._tests = 0
        self.columns: set[str] = set()

    def filter(self) -> Node:
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
            self._need(")", "close the parenthesis, or join by AND or OR")
        else:
            return self._test()
        self._depth -= 1
        return part

    def _test(self) -> Node:
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
        if len(pattern.value) > MOST_PATTERN:
            raise self._wrong(f"a pattern of at most {MOST_PATTERN} letters", "make it shorter")
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
                advice = "empty cells are found by IS NULL"
            elif token.kind in ("word", "name"):
                advice = "text stands in single quotes"
            elif token.value == "=":
                advice = "equality is written with one ="
            raise self._wrong("a number, TRUE, FALSE or text in single quotes", advice)
        self._place += 1
        return Value(value, token.written, token.position)
