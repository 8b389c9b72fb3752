"""Altered sequences: what may change, and how much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.bases import encode, reverse_complement_codes
from ednabed.training.views import Alterations, view

NOTHING = Alterations(crops=0, altered=0, runs_of_n=0, strands=0)
CODES = encode(b"ACGTTGCAACGGTACCATGN" * 30)


def test_without_alterations_a_view_is_the_sequence_itself():
    np.testing.assert_array_equal(view(CODES, NOTHING, np.random.default_rng(0)), CODES)


@given(st.integers(0, 2**32 - 1))
def test_a_fragment_is_part_of_its_sequence(seed):
    rules = Alterations(crops=1, altered=0, runs_of_n=0, strands=0, shortest=50, longest=200)
    piece = view(CODES, rules, np.random.default_rng(seed))
    assert 50 <= len(piece) <= 200
    assert piece.tobytes() in CODES.tobytes()


@given(st.integers(0, 2**32 - 1), st.integers(1, 99))
def test_short_sequences_stay_whole(seed, length):
    rules = Alterations(crops=1, altered=0, strands=0)
    np.testing.assert_array_equal(view(CODES[:length], rules, np.random.default_rng(seed)), CODES[:length])


@given(st.integers(0, 2**32 - 1))
def test_the_other_strand(seed):
    rules = Alterations(crops=0, altered=0, runs_of_n=0, strands=1)
    np.testing.assert_array_equal(view(CODES, rules, np.random.default_rng(seed)), reverse_complement_codes(CODES))


@given(st.integers(0, 2**32 - 1))
def test_a_run_of_n(seed):
    rules = Alterations(crops=0, altered=0, runs_of_n=1, strands=0)
    codes = CODES[CODES < 4]
    altered = view(codes, rules, np.random.default_rng(seed))
    changed = np.flatnonzero(altered != codes)
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


def test_the_input_is_not_modified():
    before = CODES.copy()
    rng = np.random.default_rng(0)
    for _ in range(50):
        view(CODES, Alterations(altered=1, runs_of_n=1), rng)
    np.testing.assert_array_equal(CODES, before)
