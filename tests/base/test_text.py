"""Texts for people: cleaned, shortened, aligned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.text import aligned, clean, human_bytes, readable, shortened, tsv_line

# Any text that Python can hold, including lone surrogates.
anything = st.text(st.characters(), max_size=30)


@given(anything)
def test_a_cleaned_text_is_one_line_that_utf_8_can_encode(text):
    for shown in (clean(text), readable(text)):
        shown.encode()
        assert len(shown.splitlines()) <= 1
    assert len(clean(text)) == len(text)
    assert "\t" not in clean(text)


@given(anything, st.integers(1, 40))
def test_a_long_text_is_cut(text, limit):
    shown = shortened(text, limit)
    assert shown == text if len(text) <= limit else shown == f"{text[: limit - 1]}…"
    assert len(shown) <= limit


def test_a_line_of_a_table():
    assert tsv_line(["a\tb", "", "c\n"]) == "a b\t\tc \n"


def test_columns_are_aligned():
    assert aligned([["run", "rows"], ["a", "1,000"], ["lake", ""]]) == ["run   rows", "a     1,000", "lake"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_900_000_000, "1.9 GB"), (5 * 10**12, "5.0 TB"),
     (7 * 10**15, "7000.0 TB")],
)  # fmt: skip
def test_sizes(size, text):
    assert human_bytes(size) == text
