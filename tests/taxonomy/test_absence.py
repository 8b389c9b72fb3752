"""False discovery rates of claims of absence, against their definition and against Benjamini and Hochberg's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.taxonomy.absence import q_values

p_values = st.one_of(st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.3, 1.0]), st.floats(1e-6, 1))
ranks = st.tuples(*[st.just(math.nan)] * 3, *[st.one_of(st.just(math.nan), p_values)] * 4)
queries = st.lists(st.tuples(ranks, st.booleans(), st.floats(0.05, 1)), min_size=1, max_size=12)


def slowly(rows, claimable, known):
    """Compute q-values as the docstring defines them: for each p the best t not below it, among all claims and p."""
    first = [next((p for p in reversed(row) if not math.isnan(p)), math.nan) for row in rows]
    claims = [p for p, may in zip(first, claimable, strict=True) if may and not math.isnan(p)]

    def rate(p):
        rates = [sum(known) * t / sum(c <= t for c in claims) for t in [p, *claims] if t >= p and min(claims) <= t]
        return max(min([*rates, 1.0]), p)

    return [[math.nan if math.isnan(p) else rate(p) if claims else 1.0 for p in row] for row in rows]


def computed(some):
    rows, claimable, known = (list(column) for column in zip(*some, strict=True))
    return q_values(np.array(rows), np.array(claimable), np.array(known)), slowly(rows, claimable, known)


@settings(max_examples=300)
@given(queries)
def test_q_values_match_their_definition(some):
    found, expected = computed(some)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@settings(max_examples=100)
@given(queries)
def test_a_smaller_p_never_has_a_larger_rate(some):
    found, _ = computed(some)
    rows = np.array([row for row, _, _ in some])
    there = ~np.isnan(rows)
    order = np.argsort(rows[there], kind="stable")
    assert (np.diff(found[there][order]) >= -1e-12).all()
    assert ((found[there] >= 0) & (found[there] <= 1)).all()
    assert (np.isnan(found) == ~there).all()


@settings(max_examples=100)
@given(st.lists(p_values, min_size=1, max_size=20))
def test_with_all_known_and_claimable_it_equals_benjamini_hochberg(some):
    m = len(some)
    table = np.full((m, 7), np.nan)
    table[:, 6] = some
    found = q_values(table, np.ones(m, bool), np.ones(m))[:, 6]
    order = sorted(range(m), key=lambda i: some[i])
    expected = [0.0] * m
    least = 1.0
    for place in reversed(range(m)):
        least = min(least, some[order[place]] * m / (place + 1))
        expected[order[place]] = least
    assert found.tolist() == pytest.approx(expected)


def test_by_hand():
    table = np.full((4, 7), np.nan)
    table[:, 6] = [0.01, 0.02, 0.03, 0.5]
    table[0, 5] = 0.025
    all_may, half = np.ones(4, bool), np.full(4, 0.5)
    # Two of four are expected to be known: 2 * p / claims, and never less than p.
    assert q_values(table, all_may, half)[:, 6].tolist() == pytest.approx([0.02, 0.02, 0.03, 0.5])
    # A claim at a rank above is judged by the same list.
    assert q_values(table, all_may, half)[0, 5] == pytest.approx(max(min(2 * 0.025 / 2, 2 * 0.03 / 3), 0.025))
    # A query that cannot claim makes no claim, but may be known.
    some = np.array([True, False, True, True])
    assert q_values(table, some, half)[:, 6].tolist() == pytest.approx([0.02, 0.03, 0.03, 0.5])


def test_a_deeper_rank_without_a_p_value_leaves_the_claim_to_the_one_above():
    table = np.full((2, 7), np.nan)
    table[0, 5], table[1, 6] = 0.01, 0.04
    found = q_values(table, np.ones(2, bool), np.ones(2))
    assert [found[0, 5], found[1, 6]] == pytest.approx([0.02, 0.04])


def test_no_claims_and_no_queries():
    assert q_values(np.zeros((0, 7)), np.zeros(0, bool), np.zeros(0)).shape == (0, 7)
    assert np.isnan(q_values(np.full((2, 7), np.nan), np.ones(2, bool), np.ones(2))).all()
    table = np.full((2, 7), np.nan)
    table[:, 6] = 0.001
    assert q_values(table, np.zeros(2, bool), np.ones(2))[:, 6].tolist() == [1, 1]
