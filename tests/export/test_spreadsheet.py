"""Tests of tables that people open in a spreadsheet: no cell is a formula, and all else is unchanged."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.text import clean
from ednabed.export.assignments import TSV_COLUMNS, AssignmentWriter
from ednabed.export.spreadsheet import for_spreadsheets
from ednabed.store.assignment import Assignment

# The beginnings of a formula in spreadsheet programs, possibly after blanks or quotes.
STARTS = "=+-@＝＋－＠"


def table_of(text: bytes) -> list[list[str]]:
    lines = text.decode().split("\n")
    assert lines.pop() == ""
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"), (" =x", "' =x"), ('"=x"', "'\"=x\""), ("＝1", "'＝1"), ("-x", "'-x"),
        ("-", "-"), ("+", "+"), ("-0.5", "-0.5"), ("1e-5", "1e-5"), ("-1.5e-05", "-1.5e-05"), ("", ""),
        ("Salmo trutta", "Salmo trutta"), ("a=b", "a=b"), ("98.77", "98.77"), ("'=x", "'=x"),
    ],
)  # fmt: skip
def test_cells(cell, shown):
    assert table_of(for_spreadsheets(f"id\t{cell}\n{cell}\tx\n")) == [["id", shown], [shown, "x"]]


def test_an_empty_table():
    assert for_spreadsheets("") == b""
    assert for_spreadsheets("a\tb\n") == for_spreadsheets("a\tb") == b"a\tb\n"


cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(clean)


@given(st.lists(st.lists(cells | st.sampled_from(["=x", "-1", "- 1", "\u3000=x"]), min_size=2, max_size=4), max_size=4))
def test_no_cell_is_a_formula_and_no_cell_is_lost(rows):
    found = table_of(for_spreadsheets("".join("\t".join(row) + "\n" for row in rows)))
    assert len(found) == len(rows)
    for row, other in zip(rows, found, strict=True):
        assert len(row) == len(other)
        for cell, shown in zip(row, other, strict=True):
            assert shown in (cell, f"'{cell}")
            number = re.fullmatch(r"\s*[+-]?([0-9.]+([eE][+-]?[0-9]+)?)?\s*", cell)
            assert shown.strip().strip('"').strip()[:1] not in set(STARTS) or number


def test_assignments_keep_their_columns():
    """Test the table that the page offers: it contains names from users and from sequences of a reference."""
    one = Assignment('=HYPERLINK("http://x")', "assigned", lineage=("@a", *[""] * 6), similarity=-0.25, note="-x")
    stream = io.StringIO()
    with AssignmentWriter(stream, "tsv") as writer:
        writer.write(one)
    head, row = table_of(for_spreadsheets(stream.getvalue()))
    cells = dict(zip(head, row, strict=True))
    assert tuple(head) == TSV_COLUMNS
    assert cells["id"] == '\'=HYPERLINK("http://x")'
    assert (cells["kingdom"], cells["lineage"], cells["note"]) == ("'@a", "'@a;;;;;;", "'-x")
    assert (cells["similarity"], cells["strand"]) == ("-0.250000", "+")
