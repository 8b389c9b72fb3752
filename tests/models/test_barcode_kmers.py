"""Tests of the columns of canonical, contiguous and spaced k-mers against a definition in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.models.barcode.kmers import SpacedKmers
from ednabed.sequences.normalisation import reverse_complement

PATTERNS = ("111", "11011", "1")
sequences = st.lists(st.text("ACGTN", max_size=60).map(str.encode), max_size=6)


def words(sequence: bytes, pattern: str) -> Counter[tuple[str, str]]:
    """Return the k-mers of a sequence for a pattern, each as the smaller of itself and its reverse complement."""
    found: Counter[tuple[str, str]] = Counter()
    for i in range(len(sequence) - len(pattern) + 1):
        window = sequence[i : i + len(pattern)]
        if b"N" not in window:
            word = bytes(letter for letter, one in zip(window, pattern, strict=True) if one == "1")
            found[pattern, min(word, reverse_complement([word])[0]).decode()] += 1
    return found


@given(sequences)
def test_columns_follow_the_definition(given_sequences):
    """Equal words share a column and different words do not, whatever else is in the batch."""
    tokens = SpacedKmers(PATTERNS).tokenize(given_sequences)
    assert len(tokens) == len(given_sequences)
    column_of: dict[tuple[str, str], int] = {}
    for i, sequence in enumerate(given_sequences):
        expected = sum((words(sequence, pattern) for pattern in PATTERNS), Counter())
        columns = Counter(tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist())
        assert sorted(columns.values()) == sorted(expected.values())
        for word in expected:
            alone = "".join(letter if one == "1" else "A" for letter, one in zip(_spread(*word), word[0], strict=True))
            single = SpacedKmers(PATTERNS)
            ids = single.tokenize([alone.encode()]).ids.tolist()
            column = next(c for c in ids if _pattern_of(single, c) == word[0])
            assert column_of.setdefault(word, column) == column
            assert columns[column] == expected[word]
    assert len(set(column_of.values())) == len(column_of)


def _spread(pattern: str, word: str) -> str:
    bases = iter(word)
    return "".join(next(bases) if one == "1" else "A" for one in pattern)


def _pattern_of(kmers: SpacedKmers, column: int) -> str:
    """The columns of the patterns follow each other: 32 for three bases, 136 for four, 2 for one."""
    assert kmers.columns == 32 + 136 + 2
    return PATTERNS[int(np.searchsorted([32, 168], column, "right"))]


@given(sequences)
def test_both_strands_have_the_same_counts(given_sequences):
    kmers = SpacedKmers(("11111", "110111011"))
    here, there = kmers.tokenize(given_sequences), kmers.tokenize(reverse_complement(given_sequences))
    for i in range(len(given_sequences)):
        columns = [np.sort(t.ids[t.offsets[i] : t.offsets[i + 1]]) for t in (here, there)]
        np.testing.assert_array_equal(*columns)


def test_many_sequences_are_processed_in_consistent_batches():
    rng = np.random.default_rng(0)
    texts = [rng.choice(np.frombuffer(b"ACGT", np.uint8), n).tobytes() for n in rng.integers(0, 900, 400)]
    kmers = SpacedKmers(("1111111",))
    together = kmers.tokenize(texts)
    for i in (0, 1, 137, 398, 399):
        columns = together.ids[together.offsets[i] : together.offsets[i + 1]]
        np.testing.assert_array_equal(columns, kmers.tokenize([texts[i]]).ids)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], "no pattern"),
        (["0110"], "begins and ends with 1"),
        (["1101"], "the same from both ends"),
        (["1" * 10], "9 ones"),
        (["1" + "0" * 31 + "1"], "32 characters"),
        (["111", "111"], "duplicated"),
        (["1x1"], "1 and 0"),
    ],
)
def test_patterns_that_cannot_be_used(patterns, message):
    with pytest.raises(UsageError, match=message):
        SpacedKmers(patterns)
