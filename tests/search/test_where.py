"""Filters against three oracles: plain Python with three truth values, SQLite and Lance."""

from __future__ import annotations

import datetime
import random
import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.search.where import MAX_CHARACTERS, MAX_DEPTH, MAX_PATTERN, MAX_TESTS, Where, parse_where

# -- random tables, random filters, and the results of plain Python ---------------------------------------------------

TEXTS = ["", "a", "b", "A", "ab", "aXb", "a%b", "a_b", "a\\b", "it's", 'q"q', "a\nb", "é", "É", "12", "TRUE"]
INTEGERS = [-(2**63), -(2**53) - 1, -2, -1, 0, 1, 2, 3, 2**53, 2**53 + 1, 2**63 - 1]
FLOATS = [-1.5, -0.5, -0.0, 0.0, 0.5, 1.0, 2.5, 1e300]
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("sample", pa.string()),
        ("a `b` \"c\" 'd'.e", pa.string()),
        ("n", pa.int64()),
        ("small", pa.uint8()),
        ("f", pa.float64()),
        ("flag", pa.bool_()),
        ("NOT", pa.int64()),
    ]
)
STRANGE = "a `b` \"c\" 'd'.e"
VALUES: dict[str, list[Any]] = {
    "sample": TEXTS,
    STRANGE: TEXTS,
    "n": INTEGERS,
    "small": [0, 1, 2, 255],
    "f": FLOATS,
    "flag": [True, False],
    "NOT": [0, 1, 2],
}
QUOTED = "a \"b\" 'c' d"
"""A name that needs quotes and is valid in LanceDB."""
TEXT_COLUMNS = ("sample", STRANGE, QUOTED)
NUMBERS = ["-1", "0", "1", "2", "2.0", "1.5", "-0.5", "-1.5e0", ".5", "2.", "25E-1", "255", "256", "9007199254740992"]
NUMBERS += ["9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e30", "-1e30"]
PATTERNS = st.lists(st.sampled_from(["%", "_", "a", "b", "A", "X", "é", "\n", "'", "\\%", "\\_", "\\\\"])).map("".join)

cells = st.fixed_dictionaries({name: st.none() | st.sampled_from(values) for name, values in VALUES.items()})
tables = st.lists(cells, min_size=1, max_size=12).map(
    lambda rows: pa.Table.from_pylist([{"row": i, **row} for i, row in enumerate(rows)], schema=SCHEMA)
)


def literals(column: str) -> st.SearchStrategy[str]:
    if column in FURTHER:
        return st.sampled_from(FURTHER[column][2])
    if column in TEXT_COLUMNS:
        return st.sampled_from(TEXTS).map(lambda text: "'" + text.replace("'", "''") + "'")
    return st.sampled_from(["TRUE", "false"] if column == "flag" else NUMBERS)


@st.composite
def leaves(draw, ilike: bool, columns: tuple[str, ...] = tuple(VALUES)) -> tuple:
    column = draw(st.sampled_from(columns))
    words = ["null", "in", "compare", *(["like"] if column in TEXT_COLUMNS else [])]
    words += [] if column == "flag" else ["between"]
    word = draw(st.sampled_from(words))
    negated = draw(st.booleans())
    if word == "null":
        return ("null", column, negated)
    if word == "like":
        operator = draw(st.sampled_from(["LIKE", "ILIKE"] if ilike else ["LIKE"]))
        return (operator, column, negated, draw(PATTERNS))
    if word == "in":
        return ("in", column, negated, draw(st.lists(literals(column), min_size=1, max_size=4)))
    if word == "between":
        return ("between", column, negated, draw(literals(column)), draw(literals(column)))
    signs = ["=", "!=", "<>"] + ([] if column == "flag" else ["<", "<=", ">", ">="])
    return ("compare", column, draw(st.sampled_from(signs)), draw(literals(column)))


def filters(ilike: bool = True, columns: tuple[str, ...] = tuple(VALUES)) -> st.SearchStrategy[tuple]:
    return st.recursive(
        leaves(ilike, columns),
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
        ),
        max_leaves=6,
    )


LEVEL = {"or": 0, "and": 1, "not": 2}


def written(tree: tuple, rng: random.Random, escape: str = "") -> str:
    """A filter as text, without parentheses that precedence makes redundant, except by chance."""

    def word(text: str) -> str:
        return "".join(rng.choice([c.lower(), c.upper()]) for c in text)

    def gap() -> str:
        return rng.choice(["", " ", "\n\t "])

    def column(name: str) -> str:
        if name in (STRANGE, QUOTED, "NOT") or rng.random() < 0.3:
            quote = rng.choice('`"')
            return quote + name.replace(quote, quote * 2) + quote
        return name

    def inner(part: tuple, level: int) -> str:
        text = one(part)
        return f"({gap()}{text}{gap()})" if LEVEL.get(part[0], 3) < level or rng.random() < 0.1 else text

    def one(tree: tuple) -> str:
        kind = tree[0]
        if kind in ("and", "or"):
            return f" {word(kind)} ".join(inner(part, LEVEL[kind] + 1) for part in tree[1])
        if kind == "not":
            return f"{word('not')} {inner(tree[1], 2)}"
        name = column(tree[1])
        if kind == "compare":
            return f"{name}{gap()}{tree[2]}{gap()}{tree[3]}"
        no = f"{word('not')} " if tree[2] else ""
        if kind == "null":
            return f"{name} {word('is')} {no}{word('null')}"
        if kind == "in":
            return f"{name} {no}{word('in')}{gap()}({gap()}{f'{gap()},{gap()}'.join(tree[3])}{gap()})"
        if kind == "between":
            return f"{name} {no}{word('between')} {tree[3]} {word('and')} {tree[4]}"
        return f"{name} {no}{word(kind)} '{tree[3].replace(chr(39), chr(39) * 2)}'{escape}"

    return one(tree)


def value_of(literal: str) -> Any:
    if literal.upper() in ("TRUE", "FALSE"):
        return literal.upper() == "TRUE"
    if literal[0] == "'":
        return literal[1:-1].replace("''", "'")
    return int(literal) if literal.lstrip("-").isdigit() else float(literal)


def matches(pattern: str, text: str) -> bool:
    """LIKE by its definition."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(matches(pattern[1:], text[i:]) for i in range(len(text) + 1))
    if pattern[0] == "_":
        return bool(text) and matches(pattern[1:], text[1:])
    if pattern[0] == "\\" and len(pattern) > 1:
        pattern = pattern[1:]
    return text[:1] == pattern[0] and matches(pattern[1:], text[1:])


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def truth(tree: tuple, row: dict[str, Any]) -> bool | None:
    """True, False or None (unknown), as in SQL. Python compares int with float exactly."""
    kind = tree[0]
    if kind == "not":
        part = truth(tree[1], row)
        return None if part is None else not part
    if kind in ("and", "or"):
        parts = [truth(part, row) for part in tree[1]]
        if (kind == "or") in parts:
            return kind == "or"
        return None if None in parts else kind == "and"
    cell = row[tree[1]]
    if kind == "null":
        return (cell is None) != tree[2]
    if cell is None:
        return None
    if kind == "compare":
        return COMPARE[tree[2]](cell, value_of(tree[3]))
    if kind == "in":
        found = cell in [value_of(literal) for literal in tree[3]]
    elif kind == "between":
        found = value_of(tree[3]) <= cell <= value_of(tree[4])
    else:
        cell, pattern = (cell.lower(), tree[3].lower()) if kind == "ILIKE" else (cell, tree[3])
        found = matches(pattern, cell)
    return found != tree[2]


def chosen(table: pa.Table, text: str) -> list[int]:
    return table.filter(parse_where(text).expression(table.schema)).column("row").to_pylist()


@settings(max_examples=300)
@given(tables, filters(), st.randoms(use_true_random=False))
def test_a_filter_selects_the_same_as_python(table, tree, rng):
    text = written(tree, rng)
    assert chosen(table, text) == [row["row"] for row in table.to_pylist() if truth(tree, row)], text


@settings(max_examples=100)
@given(tables, filters(), st.randoms(use_true_random=False), st.integers(1, 12))
def test_a_parquet_dataset_is_filtered_in_the_same_way(tmp_path_factory, table, tree, rng, group):
    """Arrow skips row groups using their statistics, so there are many small ones."""
    path = tmp_path_factory.mktemp("where") / "records.parquet"
    pq.write_table(table, path, row_group_size=group)
    dataset = ds.dataset(path)
    expression = parse_where(written(tree, rng)).expression(dataset.schema)
    found = dataset.to_table(filter=expression, columns=["row"]).column("row").to_pylist()
    assert sorted(found) == [row["row"] for row in table.to_pylist() if truth(tree, row)]


def sqlite_rows(table: pa.Table, text: str) -> list[int]:
    base = sqlite3.connect(":memory:")
    try:
        base.execute("PRAGMA case_sensitive_like=ON")
        kinds = {"string": "TEXT", "double": "REAL"}
        quoted = ['"' + name.replace('"', '""') + '"' for name in table.schema.names]
        declared = [f"{q} {kinds.get(str(f.type), 'INTEGER')}" for q, f in zip(quoted, table.schema, strict=True)]
        base.execute(f"CREATE TABLE t ({', '.join(declared)})")
        marks = ", ".join("?" * len(quoted))
        base.executemany(f"INSERT INTO t VALUES ({marks})", [tuple(row.values()) for row in table.to_pylist()])
        return [row for (row,) in base.execute(f"SELECT row FROM t WHERE {text} ORDER BY row")]
    finally:
        base.close()


@settings(max_examples=300)
@given(tables, filters(ilike=False), st.integers())
def test_a_filter_selects_the_same_as_sqlite(table, tree, seed):
    text = written(tree, random.Random(seed))
    # SQLite reads this one as a float, which is rounded to a number that the table does hold.
    assume("-9223372036854775809" not in text)
    # SQLite has no escape character unless one is given; otherwise the same random choices give the same text.
    sqlite_text = written(tree, random.Random(seed), escape=" ESCAPE '\\'")
    assert chosen(table, text) == sqlite_rows(table, sqlite_text), text


# -- the same filter in LanceDB ----------------------------------------------------------------------------------------

DAYS = [datetime.date(1969, 12, 31), datetime.date(2026, 5, 31), datetime.date(2026, 6, 1)]
TIMES = [datetime.datetime(1969, 12, 31, 23, 59, 59), datetime.datetime(2026, 5, 31, 12), datetime.datetime(2026, 6, 1)]
DAY_TEXTS, TIME_TEXTS = ["'2026-05-31'", "'1970-01-01'"], ["'2026-05-31 12:00:00'", "'1969-12-31 23:59:59'"]
ZONED_TEXTS = ["'2026-05-31T12:00:00Z'", "'2026-05-31T13:00:00+01:00'"]
NAN, INFINITE = float("nan"), float("inf")
DEPTHS = ["5", " 7.5 ", "-3", "1e2", ".5", "2.", "abc", "", "12 m", "NaN", "0x10", "+4", "\t2\n", "-0.0"]
FURTHER: dict[str, tuple[pa.DataType, list[Any], list[str]]] = {
    "u": (pa.uint64(), [0, 1, 2**63, 2**64 - 1], [*NUMBERS, "18446744073709551615", "18446744073709551616"]),
    "f32": (pa.float32(), [0.1, 2, -0.0, NAN, -NAN, INFINITE], [*NUMBERS, "0.1", "1e39", "-1e999"]),
    "nan": (pa.float64(), [0.1, 2, -0.0, 0.0, NAN, -NAN, -INFINITE], [*NUMBERS, "0.1", "1e999", "-1e999"]),
    "depth": (pa.string(), DEPTHS, NUMBERS),
    "large": (pa.large_string(), TEXTS, ["'a'", "'it''s'"]),
    "coded": (pa.dictionary(pa.int32(), pa.string()), ["a", "b", "2", "it's"], ["'a'", "'it''s'"]),
    "numbered": (pa.dictionary(pa.int32(), pa.string()), ["1", "2", "2.5", "x"], NUMBERS),
    "day": (pa.date32(), DAYS, DAY_TEXTS),
    "day64": (pa.date64(), DAYS, DAY_TEXTS),
    "at": (pa.timestamp("us"), TIMES, TIME_TEXTS),
    "second": (pa.timestamp("s"), TIMES, TIME_TEXTS),
    "zoned": (pa.timestamp("ms", "UTC"), TIMES, ZONED_TEXTS),
    "dec": (pa.decimal128(12, 1), [Decimal("1.5"), Decimal(2), Decimal(-1)], NUMBERS),
}
"""Columns of further types: type, cells, and what they are compared with."""
IN_LANCE = (*(name for name in VALUES if name != STRANGE), QUOTED, *FURTHER)
LANCE_SCHEMA = pa.schema(
    [
        *(field for field in SCHEMA if field.name != STRANGE),
        (QUOTED, pa.string()),
        *((name, kind) for name, (kind, _, _) in FURTHER.items()),
    ]
)


def lance_table(rng: random.Random, nulls: int) -> pa.Table:
    cells = {**VALUES, QUOTED: TEXTS, **{name: values for name, (_, values, _) in FURTHER.items()}}
    columns = [pa.array(range(40))]
    for field in list(LANCE_SCHEMA)[1:]:
        coded = pa.types.is_dictionary(field.type)
        values = [rng.choice([*[None] * nulls, *cells[field.name]]) for _ in range(40)]
        array = pa.array(values, field.type.value_type if coded else field.type)
        columns.append(array.dictionary_encode() if coded else array)
    return pa.table(columns, schema=LANCE_SCHEMA)


@pytest.fixture(scope="module")
def lance(tmp_path_factory):
    """Pairs of a table in memory and the same table in LanceDB: random cells, with many nulls or with none."""
    import lancedb

    base = lancedb.connect(tmp_path_factory.mktemp("lance"))
    made = [lance_table(random.Random(seed), nulls=3 * (seed % 2)) for seed in range(8)]
    return [(table, base.create_table(f"t{i}", table)) for i, table in enumerate(made)]


def in_lance(pair: tuple[pa.Table, Any], text: str) -> list[int]:
    query = pair[1].search().where(parse_where(text).sql(pair[0].schema)).select(["row"]).limit(None)
    return sorted(query.to_arrow().column("row").to_pylist())


@settings(max_examples=300)
@given(filters(columns=IN_LANCE), st.randoms(use_true_random=False), st.integers(0, 7))
def test_a_filter_selects_the_same_in_lance(lance, tree, rng, number):
    text = written(tree, rng)
    assert in_lance(lance[number], text) == chosen(lance[number][0], text), text


@settings(max_examples=300)
@given(leaves(ilike=True, columns=IN_LANCE), st.booleans(), st.randoms(use_true_random=False), st.integers(0, 7))
def test_a_single_comparison_selects_the_same_in_lance(lance, leaf, negated, rng, number):
    text = written(("not", leaf) if negated else leaf, rng)
    assert in_lance(lance[number], text) == chosen(lance[number][0], text), text


@pytest.mark.parametrize(
    "text",
    [
        "f32 = 0.1",
        "f32 IN (0.1)",
        "f32 > 0.1",
        "sample LIKE 'a\\'",
        "sample LIKE '\\a_b'",
        "NOT (sample IN ('a') AND sample IN ('b'))",
        "n IN (-9223372036854775808, 5)",
        "n = -9223372036854775808",
        "n > -9223372036854775808",
        "n IN (1.5)",
        "n NOT IN (1.5)",
        " OR ".join(["n = 5"] * MAX_TESTS),
        f"n IN ({', '.join(map(str, range(8000)))})",
        "(" * MAX_DEPTH + "n = 1" + ")" * MAX_DEPTH,
        "sample = 'a'' OR ''1'' = ''1'",
        "sample = '''; DROP TABLE t; --'",
        "sample != 'a\\'' OR TRUE --'",
        "sample LIKE '%'' OR TRUE'",
    ],
)
def test_odd_filters_select_the_same_in_lance(lance, text):
    for pair in lance:
        assert in_lance(pair, text) == chosen(pair[0], text)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["=", "!=", "LIKE", "NOT LIKE", "<"]))
def test_no_text_leaves_its_quotes(lance, text, sign):
    """Whatever the value is, it is compared as text, and nothing of it is read as SQL."""
    text = text[:MAX_PATTERN]
    where = f"sample {sign} '{text.replace(chr(39), chr(39) * 2)}'"
    for pair in lance[:2]:
        assert in_lance(pair, where) == chosen(pair[0], where)


def test_what_lance_cannot_read_is_refused():
    deep = "n = 1"
    for level in range(MAX_DEPTH - 1):
        deep = f"({deep} {'AND' if level % 2 else 'OR'} n = 2)"
    schema = pa.schema([("n", pa.int64()), ("a`b", pa.string())])
    assert isinstance(parse_where(deep).expression(schema), pc.Expression)
    with pytest.raises(UsageError, match="more than 40 nested changes between AND and OR"):
        parse_where(deep).sql(schema)
    with pytest.raises(UsageError, match="LanceDB cannot filter by a name that contains a backtick"):
        parse_where("\"a`b\" = 'x'").sql(schema)
    with pytest.raises(UsageError, match=r"position 5: column 'n' contains whole numbers .*; write 5"):
        parse_where("n = '5'").sql(schema)


@pytest.mark.parametrize("depth", [39, 40])
def test_the_deepest_filter_is_read_by_lance(lance, depth):
    deep = "n = 1"
    for level in range(depth):
        deep = f"({deep} {'AND' if level % 2 else 'OR'} n NOT IN (2))"
    for pair in lance[:2]:
        assert in_lance(pair, deep) == chosen(pair[0], deep)


# -- types -------------------------------------------------------------------------------------------------------------

WORDS = ["a", None, "b", "B", "a%", ""]
TEXT_TYPES = [
    pa.array(WORDS, pa.string()),
    pa.array(WORDS, pa.large_string()),
    pa.array(WORDS).dictionary_encode(),
    pa.array(WORDS, pa.large_string()).dictionary_encode(),
]
NUMBER_TYPES = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    pa.float16(), pa.float32(), pa.float64(), pa.decimal128(12, 1), pa.dictionary(pa.int8(), pa.int32()),
]  # fmt: skip


@pytest.mark.parametrize("column", TEXT_TYPES, ids=lambda c: str(c.type))
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x = 'a'", [0]),
        ("x != 'a'", [2, 3, 4, 5]),
        ("x < 'a'", [3, 5]),
        ("x BETWEEN 'a' AND 'a%'", [0, 4]),
        ("x IN ('a', 'b', 'zz')", [0, 2]),
        ("x NOT IN ('a', 'b')", [3, 4, 5]),
        ("x LIKE 'a%'", [0, 4]),
        ("x LIKE 'a\\%'", [4]),
        ("x LIKE ''", [5]),
        ("x LIKE 'a\\'", []),
        ("x ILIKE 'b'", [2, 3]),
        ("x NOT ILIKE 'b'", [0, 4, 5]),
        ("x IS NULL", [1]),
        ("NOT x IS NULL", [0, 2, 3, 4, 5]),
    ],
)
def test_text_columns_of_all_types(tmp_path, column, text, rows):
    table = pa.table({"row": range(6), "x": column})
    assert chosen(table, text) == rows
    pq.write_table(table, tmp_path / "x.parquet")
    dataset = ds.dataset(tmp_path / "x.parquet")
    # Parquet returns a dictionary of strings, whatever kind of strings they were.
    assert pa.types.is_dictionary(dataset.schema.field("x").type) == pa.types.is_dictionary(column.type)
    found = dataset.to_table(filter=parse_where(text).expression(dataset.schema))
    assert found.column("row").to_pylist() == rows


@pytest.mark.parametrize("kind", NUMBER_TYPES, ids=str)
def test_number_columns_of_all_types(kind):
    values = [0, 1, None, 2, 100]
    column = pa.array(values, pa.int32()).cast(getattr(kind, "value_type", kind))
    column = column.dictionary_encode() if pa.types.is_dictionary(kind) else column
    table = pa.table({"row": range(5), "x": column})
    assert chosen(table, "x = 1") == chosen(table, "x IN (1.0, 77)") == [1]
    assert chosen(table, "x != 1") == chosen(table, "x NOT IN (1)") == [0, 3, 4]
    assert chosen(table, "x < 1.5") == chosen(table, "x NOT BETWEEN 1.5 AND 1e4") == [0, 1]
    assert chosen(table, "x >= -70000") == chosen(table, "x <= 60000") == [0, 1, 3, 4]
    assert chosen(table, "x = 1.5 OR x > 60000") == []
    assert chosen(table, "x IS NULL") == [2]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int64(), pa.uint64()], ids=str)
def test_the_limits_of_whole_numbers(kind):
    bits = kind.bit_width
    low, high = (0, 2**bits - 1) if str(kind)[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    cells = [low, low + 1, None, high - 1, high]
    table = pa.table({"row": range(5), "x": pa.array(cells, kind)})
    for number in (low - 1, low, low + 1, high - 1, high, high + 1):
        for sign, compare in COMPARE.items():
            wanted = [i for i, cell in enumerate(cells) if cell is not None and compare(cell, number)]
            assert chosen(table, f"x {sign} {number}") == wanted
            unwanted = [i for i, cell in enumerate(cells) if cell is not None and i not in wanted]
            assert chosen(table, f"NOT x {sign} {number}") == unwanted
        assert chosen(table, f"x IN ({number})") == chosen(table, f"x = {number}")
        assert chosen(table, f"x NOT IN ({number})") == chosen(table, f"x != {number}")


def test_a_number_of_a_float32_column_is_found_as_it_is_written():
    table = pa.table({"row": range(3), "x": pa.array([0.1, 0.2, None], pa.float32())})
    assert chosen(table, "x = 0.1") == chosen(table, "x IN (0.1)") == chosen(table, "x <= 0.1") == [0]
    assert chosen(table, "x > 0.1") == [1]


def test_not_a_number_equals_nothing_and_is_not_null():
    table = pa.table({"row": range(2), "x": [1.0, float("nan")]})
    assert chosen(table, "x = 1") == chosen(table, "x IS NOT NULL AND x < 2") == [0]
    assert chosen(table, "x != 1") == [1]
    assert chosen(table, "x IS NULL") == []


def test_a_column_that_is_null_throughout_compares_as_null(tmp_path):
    table = pa.table({"row": range(3), "x": pa.nulls(3), "y": [1, 2, 3]})
    for text in ("x = 1", "x = 'a'", "x LIKE 'a'", "x IN (1)", "x BETWEEN 1 AND 2", "x = TRUE", "x IS NOT NULL"):
        assert chosen(table, text) == []
        assert chosen(table, f"{text} OR y = 2") == [1]
    assert chosen(table, "NOT x = 1") == chosen(table, "NOT (x = 1 AND y > 0)") == []
    assert chosen(table, "NOT (x = 1 AND y = 3)") == [0, 1]
    assert chosen(table, "x IS NULL") == [0, 1, 2]
    pq.write_table(table, tmp_path / "x.parquet")
    dataset = ds.dataset(tmp_path / "x.parquet")
    found = dataset.to_table(filter=parse_where("x = 1 OR y = 2").expression(dataset.schema))
    assert found.column("row").to_pylist() == [1]


@pytest.mark.parametrize(
    ("kind", "day", "earlier"),
    [
        (pa.date32(), "2026-05-31", "2026-05-30"),
        (pa.date64(), "2026-05-31", "2026-05-30"),
        (pa.timestamp("s"), "2026-05-31", "2026-05-30 23:59:59"),
        (pa.timestamp("ns"), "2026-05-31 12:00:00", "2026-05-31 11:59:59.999999999"),
        (pa.timestamp("us", tz="UTC"), "2026-05-31T12:00:00Z", "2026-05-31T12:00:00+01:00"),
    ],
    ids=str,
)
def test_dates_and_times_are_written_as_text(kind, day, earlier):
    table = pa.table({"row": range(3), "t": pa.array([None, earlier, day]).cast(kind)})
    assert chosen(table, f"t = '{day}'") == chosen(table, f"t IN ('{day}')") == [2]
    assert chosen(table, f"t < '{day}'") == [1]
    assert chosen(table, f"t BETWEEN '{earlier}' AND '{day}'") == [1, 2]
    for wrong in ("'soon'", "5"):
        message = r"position 5: column 't' contains dates or times .*; write it as text"
        with pytest.raises(UsageError, match=message) as caught:
            chosen(table, f"t = {wrong}")
        # What the message advises is right.
        advice = str(caught.value).rsplit(", ", 1)[1]
        assert chosen(table, f"t IS NULL OR t = {advice}")[0] == 0


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "found", "wanted"),
    [
        ("sample", 7, "the end", "expected =, !=, <"),
        ("sample =", 9, "the end", "expected a number, TRUE, FALSE or text in single quotes"),
        ("sample == 'a'", 9, "'='", "write equality with one ="),
        ('sample = "a"', 10, "'\"a\"'", "write text in single quotes"),
        ("sample = a", 10, "'a'", "write text in single quotes"),
        ("sample = NULL", 10, "'NULL'", "IS NULL"),
        ("'a' = sample", 1, "\"'a'\"", "write the column first"),
        ("5 < n", 1, "'5'", "write the column first"),
        ("not = 1", 5, "'='", "expected a column"),
        ("like = 1", 1, "'like'", 'write a column of that name as "like"'),
        ("n = 1 n = 2", 7, "'n'", "expected AND, OR or the end"),
        ("n = 1;", 6, "';'", "expected a column, a value"),
        ("(n = 1", 7, "the end", "expected )"),
        ("n = 1)", 6, "')'", "expected AND, OR or the end"),
        ("()", 2, "')'", "expected a column"),
        ("n IS 1", 6, "'1'", "expected NULL; as in n IS NOT NULL"),
        ("n NOT = 1", 7, "'='", "expected LIKE, ILIKE, IN or BETWEEN"),
        ("n IN 1", 6, "'1'", "expected ("),
        ("n IN ()", 7, "')'", "expected a number"),
        ("n IN (1 2)", 9, "'2'", "expected )"),
        ("n BETWEEN 1 OR 2", 13, "'OR'", "expected AND"),
        ("sample LIKE 5", 13, "'5'", "expected text in single quotes"),
        ("sample = 'a", 10, '"\'a"', "expected a second ' that ends it"),
        ("`sample = 'a'", 1, "\"`sample = 'a'\"", "expected a second ` that ends it"),
        ("12S = 1", 1, "'12S'", "write a column whose name begins with a digit in backticks"),
        ("n = 1e", 5, "'1e'", "expected a number"),
        ("n = - 1", 5, "'-'", "expected a number"),
        ("n = +1", 5, "'+'", "expected a column, a value"),
        ("n = 1e1000", 5, "'1e1000'", "an exponent of at most 3"),
        (f"n = {'9' * 101}", 5, "'99", "at most 100 digits"),
        ("n = 1\x00", 6, "'\\x00'", "expected a column, a value"),
        ("sample = 'a\ud800'", 12, "'\\ud800'", "a Unicode character"),
        ("sample = ‘a’", 10, "'\\u2018'", "expected a column, a value in single quotes"),
        (f"sample LIKE '{'a' * (MAX_PATTERN + 1)}'", 13, "\"'aaa", f"at most {MAX_PATTERN} characters"),
    ],
)
def test_the_message_about_a_wrong_filter_has_position_and_expectation(text, position, found, wanted):
    with pytest.raises(UsageError) as caught:
        parse_where(text)
    message = str(caught.value)
    assert message.startswith(f"filter, position {position}: found {found}")
    assert wanted in message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_filter_is_refused(text):
    with pytest.raises(UsageError, match="the filter is empty; write, for example, "):
        parse_where(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampel = 'a'", "1: there is no column 'sampel', the most similar is 'sample'; choose one of 'row', "),
        ("n = 1 OR SAMPLE = 'a'", "position 10: there is no column 'SAMPLE', the most similar is 'sample';"),
        ("qqqqqqq IS NULL", "there is no column 'qqqqqqq'; choose one of"),
        ("sample IN ('a', 12)", "position 17: column 'sample' contains text"),
        ("sample = TRUE", "in single quotes: 'TRUE'"),
        ("n >= '10'", "position 6: column 'n' contains whole numbers (int64) and is compared with \"'10'\"; write 10"),
        ("n >= 'ten'", "write a number without quotes"),
        ("n = '-'", "write a number without quotes"),
        ("f BETWEEN 1 AND '2'", "position 17: column 'f' contains numbers (double)"),
        ("n = TRUE", "write a number without quotes"),
        ("n LIKE '1%'", "column 'n' contains whole numbers (int64), and LIKE is for text"),
        ("f ilike '1%'", "column 'f' contains numbers (double), and ILIKE is for text"),
        ("flag = 1", "column 'flag' contains TRUE and FALSE (bool) and is compared with '1'; write TRUE or FALSE"),
        ("flag = 'true'", "write TRUE or FALSE without quotes"),
        ("flag < TRUE", "which have no order for <; compare with = or !="),
        ("day = 5", "column 'day' contains dates or times (date32[day]) and is compared with '5'; write it as text"),
        ("list = 5", "column 'list' contains list<item: int64>, which a filter cannot compare; test only"),
        ("bytes = 'a'", "column 'bytes' contains binary, which a filter cannot compare"),
        ("twice = 'a'", "position 1: 2 columns have the name 'twice', expected one"),
    ],
)  # fmt: skip
def test_a_filter_that_does_not_fit_the_columns_is_refused(text, message):
    further = [("day", pa.date32()), ("list", pa.list_(pa.int64())), ("bytes", pa.binary())]
    schema = pa.schema([*SCHEMA, *further, ("twice", pa.string()), ("twice", pa.string())])
    where = parse_where(text)
    with pytest.raises(UsageError) as caught:
        where.expression(schema)
    assert message in str(caught.value)


def test_is_null_works_for_every_type():
    column = pa.array([[1], None, []], pa.list_(pa.int64()))
    assert chosen(pa.table({"row": range(3), "x": column}), "x IS NULL") == [1]


SOUP = [
    "sample", "n", "f", "flag", "`", '"', "'", "''", "'a'", "5", "-", "1e9", ".", "=", "<", ">", "!", "(", ")", ",",
    "AND", "or", "NOT", "in", "LIKE", "is", "NULL", "BETWEEN", "TRUE", " ", "\n", "\\", "%", ";", "--", "é", "\0",
]  # fmt: skip
EVERY = pa.Table.from_pylist([{"row": 0, **dict.fromkeys(VALUES)}, {"row": 1, **{k: v[0] for k, v in VALUES.items()}}])


@settings(max_examples=500)
@given(st.text() | st.text(st.characters()) | st.lists(st.sampled_from(SOUP)).map(" ".join))
def test_garbage_is_a_usage_error_and_nothing_else(text):
    try:
        where = parse_where(text)
        expression = where.expression(SCHEMA)
    except UsageError as error:
        assert "\n" not in str(error)
        str(error).encode("ascii", "strict") if text.isascii() else None
        return
    EVERY.cast(SCHEMA).filter(expression)


@pytest.mark.parametrize("opening", ["(", "NOT ", "(NOT "])
def test_depth_has_a_limit(opening):
    def nested(times: int) -> str:
        return opening * times + "n = 1" + ")" * (times * opening.count("("))

    deep = MAX_DEPTH // len(opening.split())
    if opening == "(NOT ":
        deep = MAX_DEPTH // 2
    table = pa.table({"row": range(2), "n": [1, 2]})
    assert chosen(table, nested(deep)) == ([0] if opening == "(" or deep % 2 == 0 else [1])
    for times in (deep + 1, 10_000):
        with pytest.raises(UsageError, match=f"at most {MAX_DEPTH} nested parentheses and NOTs"):
            parse_where(nested(times))


def test_depth_is_not_the_count():
    table = pa.table({"row": range(2), "n": [1, 2]})
    assert chosen(table, " AND ".join(["(NOT n = 2)"] * (3 * MAX_DEPTH))) == [0]


def test_length_has_a_limit():
    table = pa.table({"row": range(3), "n": [1, 2, None]})
    assert chosen(table, "n = 1".ljust(MAX_CHARACTERS)) == [0]
    with pytest.raises(UsageError, match=r"the filter has 100,001 characters, expected at most 100,000"):
        parse_where("n = 1".ljust(MAX_CHARACTERS + 1))


@pytest.mark.parametrize("join", [" OR ", " AND "])
def test_the_number_of_comparisons_has_a_limit(join):
    table = pa.table({"row": range(3), "n": [1, 2, None]})
    assert chosen(table, join.join(["n = 1"] * MAX_TESTS)) == [0]
    with pytest.raises(UsageError, match=f"expected at most {MAX_TESTS} comparisons; .* IN "):
        parse_where(join.join(["n = 1"] * (MAX_TESTS + 1)))


def test_the_largest_filter_needs_little_stack():
    """Arrow walks a chain of ANDs recursively, and threads of macOS have half a megabyte of stack."""
    table = pa.table({"row": range(3), "n": [1, 2, None]})
    results: list[list[int]] = []
    before = threading.stack_size(512 * 1024)
    try:
        text = " OR ".join(["NOT n BETWEEN 2 AND 3"] * MAX_TESTS)
        thread = threading.Thread(target=lambda: results.append(chosen(table, text)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert results == [[0]]


def test_a_long_list_of_ids():
    table = pa.table({"row": range(5), "id": ["id1", "id77", None, "x", "id9999"]})
    ids = ", ".join(f"'id{i}'" for i in range(8000))
    assert chosen(table, f"id IN ({ids})") == [0, 1]
    assert chosen(table, f"id NOT IN ({ids})") == [3, 4]
    numbers = pa.table({"row": range(4), "f": [-0.0, 77.5, None, 0.25]})
    values = ", ".join(str(i / 2) for i in range(8000))
    assert chosen(numbers, f"f IN ({values})") == [0, 1]
    assert chosen(numbers, f"f NOT IN ({values})") == [3]


@pytest.mark.parametrize("unit", ["%", "_", "é", "\\%", ".", "%a"])
def test_the_longest_pattern_works(unit):
    table = pa.table({"row": range(2), "x": ["a" * 10, None]})
    text = (unit * MAX_PATTERN)[:MAX_PATTERN]
    assert chosen(table, f"x LIKE '{text}'") == ([0] if unit == "%" else [])
    assert chosen(table, f"x ILIKE '{text}'") == ([0] if unit == "%" else [])


# -- the object --------------------------------------------------------------------------------------------------------


def test_a_filter_has_its_text_and_columns():
    where = parse_where("sample = 'n' AND (`a b` IS NULL OR NOT \"c\"\"d\" IN (1, 2) OR sample = 'x')")
    assert where.columns == {"sample", "a b", 'c"d'}
    assert where.text.startswith("sample = 'n'")
    with pytest.raises(AttributeError):
        where.text = "n = 1"
    assert where == parse_where(where.text) != parse_where("n = 1")
    assert isinstance(where, Where)
    assert len({where, parse_where(where.text)}) == 1


def test_a_column_may_have_the_letters_of_another_alphabet():
    """The upper case of ı is I, but ın is not IN."""
    table = pa.table({"row": range(2), "ın": ["a", "b"], "wässer_2": [1, 2]})
    assert chosen(table, "ın = 'a' OR wässer_2 = 5") == [0]


def test_one_filter_works_for_several_schemas():
    where = parse_where("x = 1")
    assert isinstance(where.expression(pa.schema([("x", pa.int8())])), pc.Expression)
    assert isinstance(where.expression(pa.schema([("x", pa.float32())])), pc.Expression)
    with pytest.raises(UsageError, match="there is no column 'x'"):
        where.expression(pa.schema([]))
    assert isinstance(where.expression(pa.schema([("x", pa.string())])), pc.Expression)
    with pytest.raises(UsageError, match="contains dates or times"):
        where.expression(pa.schema([("x", pa.date32())]))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_numbers_in_a_column_of_text_are_compared_as_numbers(kind):
    """The columns of a TSV file are text, but 10 is above 9. Text that is not a number is neither above nor below."""
    depths = ["5", "10", "200", " 7.5 ", "-3", "1e2", ".5", "abc", "", "12 m", None, "NaN", "0x10", "+4"]
    table = pa.table({"row": range(len(depths)), "depth": pa.array(depths, pa.string()).cast(kind)})
    assert chosen(table, "depth > 5") == [1, 2, 3, 5]
    assert chosen(table, "NOT depth > 5") == [0, 4, 6]
    assert chosen(table, "depth BETWEEN 0.5 AND 10") == [0, 1, 3, 6]
    assert chosen(table, "depth IN (5, 100)") == [0, 5]
    assert chosen(table, "depth = '5'") == [0]
    assert chosen(table, "depth IS NULL") == [10]
