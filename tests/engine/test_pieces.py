"""Strands, windows, truncation and rejection, against the definitions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.engine.embed import Engine
from ednabed.engine.pieces import cut
from ednabed.errors import UsageError
from ednabed.models.spec import Policy
from ednabed.sequences import reverse_complement
from support import expected, letters

DNA = st.text("ACGTN", min_size=1, max_size=60)
MANY = st.lists(DNA, min_size=1, max_size=12)
OTHER = str.maketrans("ACGT", "TGCA")


def other_strand(sequence: str) -> str:
    return sequence.translate(OTHER)[::-1]


def windows(sequence: str, limit: int) -> list[str]:
    """Return the fewest consecutive windows within the limit, equal in length to within one."""
    count = -(-len(sequence) // limit)
    edges = [i * len(sequence) // count for i in range(count + 1)]
    return [sequence[a:b] for a, b in pairwise(edges)]


def run(policy: Policy, sequences: list[str], **settings):
    """Return vectors, truncation flags and refusals, all by position."""
    engine = Engine(letters(policy, **settings))
    refused, batches = engine.stream([s.encode() for s in sequences])
    vectors, flags = {}, {}
    for batch in batches:
        for i, vector, flag in zip(batch.index.tolist(), batch.vectors, batch.truncated.tolist(), strict=True):
            vectors[i], flags[i] = vector, flag
    return vectors, flags, refused


@given(DNA)
def test_the_window_oracle_matches_the_documentation(sequence):
    for limit in (1, 3, 7, 59, 60, 61):
        parts = windows(sequence, limit)
        assert "".join(parts) == sequence
        lengths = [len(part) for part in parts]
        assert max(lengths) <= limit
        assert max(lengths) - min(lengths) <= 1
        assert len(parts) == 1 or (len(parts) - 1) * limit < len(sequence)


@given(MANY)
def test_both_strands_are_the_mean_of_the_two(sequences):
    vectors, _, refused = run(Policy(strand="both"), sequences)
    assert not refused
    for i, sequence in enumerate(sequences):
        oracle = (expected(sequence) + expected(other_strand(sequence))) / 2
        np.testing.assert_allclose(vectors[i], oracle, atol=1e-6)


@given(DNA)
def test_both_strands_give_a_sequence_and_its_other_strand_one_vector(sequence):
    engine = Engine(letters(Policy(strand="both")))
    vectors, _ = engine.embed([sequence.encode(), other_strand(sequence).encode()])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


@given(MANY)
def test_reverse_complement(sequences):
    encoded = [s.encode() for s in sequences]
    assert reverse_complement(encoded) == [other_strand(s).encode() for s in sequences]
    assert reverse_complement(reverse_complement(encoded)) == encoded


@given(MANY, st.integers(2, 70), st.booleans(), st.integers(1, 300))
def test_windows_are_averaged(sequences, max_tokens, both, budget):
    policy = Policy(long="window", max_tokens=max_tokens, strand="both" if both else "given")
    engine = Engine(letters(policy, max_tokens=100), token_budget=budget)
    vectors, refused = engine.embed([s.encode() for s in sequences])
    assert not refused
    for vector, sequence in zip(vectors, sequences, strict=True):
        strands = [sequence, other_strand(sequence)] if both else [sequence]
        parts = [part for strand in strands for part in windows(strand, max_tokens - 1)]
        np.testing.assert_allclose(vector, np.mean([expected(p) for p in parts], axis=0), atol=2e-6)


@given(MANY, st.integers(2, 70), st.booleans())
def test_truncation_keeps_the_first_tokens_and_is_flagged(sequences, max_tokens, both):
    policy = Policy(max_tokens=max_tokens, strand="both" if both else "given")
    vectors, flags, refused = run(policy, sequences, max_tokens=100)
    assert not refused
    for i, sequence in enumerate(sequences):
        strands = [sequence, other_strand(sequence)] if both else [sequence]
        oracle = np.mean([expected(strand[: max_tokens - 1]) for strand in strands], axis=0)
        np.testing.assert_allclose(vectors[i], oracle, atol=1e-6)
        assert flags[i] == (len(sequence) > max_tokens - 1)


@given(MANY, st.integers(2, 70), st.booleans())
def test_rejection_reports_tokens_and_limit(sequences, max_tokens, both):
    policy = Policy(long="reject", max_tokens=max_tokens, strand="both" if both else "given")
    vectors, flags, refused = run(policy, sequences, max_tokens=100)
    for i, sequence in enumerate(sequences):
        if len(sequence) + 1 > max_tokens:
            assert refused[i] == f"{len(sequence) + 1} tokens, more than the {max_tokens} allowed"
            assert i not in vectors
        else:
            assert i in vectors
            assert not flags[i]


def test_the_exact_limit_is_not_too_long():
    for long in ("truncate", "window", "reject"):
        vectors, flags, refused = run(Policy(long=long), ["ACGTACGTA"], max_tokens=10)
        assert not refused
        assert flags == {0: False}
        np.testing.assert_allclose(vectors[0], expected("ACGTACGTA"), atol=1e-6)


def test_windows_set_no_truncation_flag():
    _, flags, _ = run(Policy(long="window"), ["ACGT" * 20, "ACGT"], max_tokens=10)
    assert flags == {0: False, 1: False}


@pytest.mark.parametrize("strand", ["given", "both"])
@pytest.mark.parametrize("long", ["truncate", "window"])
def test_pieces_of_a_sequence_stay_together_and_count(strand, long):
    pieces = cut(letters(Policy(strand=strand, long=long), max_tokens=6), [b"ACGTACGTACG", b"A", b"ACGTA"])
    strands = 2 if strand == "both" else 1
    assert pieces.counts.tolist() == [strands * (3 if long == "window" else 1), strands, strands]
    assert len(pieces.lengths) == pieces.counts.sum()
    assert pieces.lengths.max() <= 5


@pytest.mark.parametrize(
    ("policy", "settings", "words"),
    [
        (Policy(max_tokens=11), {"max_tokens": 10}, "accepts at most 10"),
        (Policy(max_tokens=11), {}, "no token limit"),
    ],
)
def test_impossible_limits_are_refused(policy, settings, words):
    with pytest.raises(UsageError, match=words):
        letters(policy, **settings)


@pytest.mark.parametrize("wrong", [{"strand": "minus"}, {"long": "cut"}, {"alphabet": "rna"}, {"max_tokens": 1}])
def test_policy_refuses_unknown_words(wrong):
    with pytest.raises(UsageError):
        Policy(**wrong)
