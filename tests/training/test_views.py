"""Altered sequences: what is allowed to change, and how much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.search.divergence import encode, turn
from ednabed.training.views import Alterations, view

NOTHING = Alterations(crops=0, altered=0, runs_of_n=0, strands=0)
LETTERS = encode(b"ACGTTGCAACGGTACCATGN" * 30)


def test_nothing_altered_is_the_sequence_itself():
    np.testing.assert_array_equal(view(LETTERS, NOTHING, np.random.default_rng(0)), LETTERS)


@given(st.integers(0, 2**32 - 1))
def test_a_piece_is_a_piece(seed):
    rules = Alterations(crops=1, altered=0, runs_of_n=0, strands=0, shortest=50, longest=200)
    piece = view(LETTERS, rules, np.random.default_rng(seed))
    assert 50 <= len(piece) <= 200
    assert piece.tobytes() in LETTERS.tobytes()


@given(st.integers(0, 2**32 - 1), st.integers(1, 99))
def test_short_sequences_stay_whole(seed, length):
    rules = Alterations(crops=1, altered=0, strands=0)
    np.testing.assert_array_equal(view(LETTERS[:length], rules, np.random.default_rng(seed)), LETTERS[:length])


@given(st.integers(0, 2**32 - 1))
def test_the_other_strand(seed):
    rules = Alterations(crops=0, altered=0, runs_of_n=0, strands=1)
    np.testing.assert_array_equal(view(LETTERS, rules, np.random.default_rng(seed)), turn(LETTERS))


@given(st.integers(0, 2**32 - 1))
def test_a_run_of_n(seed):
    rules = Alterations(crops=0, altered=0, runs_of_n=1, strands=0)
    letters = LETTERS[LETTERS < 4]
    altered = view(letters, rules, np.random.default_rng(seed))
    changed = np.flatnonzero(altered != letters)
    assert 0 < len(changed) <= 30 and (altered[changed] == 4).all()
    assert changed.max() - changed.min() < 30


def test_rates_of_substitutions_and_indels():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 4, 3_000).astype(np.uint8)
    rules = Alterations(crops=0, altered=1, substitutions=0.02, indels=0, runs_of_n=0, strands=0)
    shares = [np.mean(view(base, rules, rng) != base) for _ in range(300)]
    assert np.mean(shares) == pytest.approx(0.02, rel=0.25)
    assert max(shares) < 0.17
    rules = Alterations(crops=0, altered=1, substitutions=0.02, indels=0.5, runs_of_n=0, strands=0)
    lengths = [len(view(base, rules, rng)) for _ in range(300)]
    assert min(lengths) < 3_000 < max(lengths)
    assert np.mean(lengths) == pytest.approx(3_000, abs=10)


def test_what_is_given_is_not_written_to():
    before = LETTERS.copy()
    rng = np.random.default_rng(0)
    for _ in range(50):
        view(LETTERS, Alterations(altered=1, runs_of_n=1), rng)
    np.testing.assert_array_equal(LETTERS, before)
