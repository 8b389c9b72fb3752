"""What a reference lacks, and how common that is in a study: Bayes by hand, and estimates of known shares."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.draws import COPY, RECORD
from ednabed.taxonomy.situations import (
    ABSENT_RANKS,
    MIN_QUERIES,
    SITUATIONS,
    Shares,
    absence_score,
    estimate,
    n_present,
    presence,
    shifted,
    situation_of,
    with_known,
)

FITTED = np.array([0.25, 0.25, 0.15, 0.15, 0.15, 0.05])
DEFAULT = np.array([0.2, 0.3, 0.15, 0.15, 0.15, 0.05])
shares = st.lists(st.floats(0.01, 1), min_size=6, max_size=6).map(lambda own: np.array(own) / sum(own))


def test_situations_of_what_is_left_out():
    level = np.array([COPY, RECORD, 6, 5, 4, 3, 2, 1])
    joint = [SITUATIONS[n] for n in situation_of(level)]
    assert joint == ["nothing", "sequence", "species", "genus", "family", "order", "order", "order"]


def test_situations_that_leave_a_rank_in_the_reference():
    left = {RANKS[rank]: SITUATIONS[: n_present(rank)] for rank in range(7)}
    assert left["species"] == ("nothing", "sequence")
    assert left["genus"] == ("nothing", "sequence", "species")
    assert left["family"] == ("nothing", "sequence", "species", "genus")
    assert left["order"] == ("nothing", "sequence", "species", "genus", "family")
    assert left["class"] == left["phylum"] == left["kingdom"] == SITUATIONS


@given(shares)
def test_presence_and_its_log_odds(likely):
    for rank in range(7):
        there = sum(likely.tolist()[: n_present(rank)])
        assert presence(likely[None], rank).tolist() == pytest.approx([there])
        if rank in ABSENT_RANKS:
            assert absence_score(likely[None], rank).tolist() == pytest.approx([math.log((1 - there) / there)])


def test_certain_absence_has_a_finite_score_in_the_right_order():
    sure, half, never = np.eye(6)[[0]], np.full((1, 6), 1 / 6), np.eye(6)[[5]]
    for rank in ABSENT_RANKS:
        scores = [float(absence_score(one, rank)[0]) for one in (sure, half, never)]
        assert np.isfinite(scores).all()
        assert scores == sorted(scores) and len(set(scores)) == 3
    # At ranks where nothing can be absent, nothing is.
    assert absence_score(half, 0)[0] < -15


@given(shares, shares, shares)
def test_other_shares_by_bayes(density, fitted, hold):
    """The probability that a query of a situation looks as it does (``density``) is the same whatever the shares."""
    joint = [d * f for d, f in zip(density, fitted, strict=True)]
    expected = [d * h for d, h in zip(density, hold, strict=True)]
    likely = np.array([joint]) / sum(joint)
    assert shifted(likely, fitted, hold)[0].tolist() == pytest.approx([one / sum(expected) for one in expected])


def test_other_shares_by_hand():
    likely = np.array([[0.5, 0.5, 0, 0, 0, 0]])
    found = shifted(likely, np.array([0.5, 0.5, 0, 0, 0, 0]), np.array([0.2, 0.8, 0, 0, 0, 0]))
    assert found[0].tolist() == pytest.approx([0.2, 0.8, 0, 0, 0, 0])
    # A situation without draws stays out, and a query without another explanation stays as it was.
    fitted = np.array([1, 0, 0, 0, 0, 0])
    assert shifted(np.array([[0.9, 0.1, 0, 0, 0, 0]]), fitted, DEFAULT)[0].tolist() == [1, 0, 0, 0, 0, 0]
    odd = np.array([[0, 1.0, 0, 0, 0, 0]])
    assert shifted(odd, fitted, DEFAULT).tolist() == odd.tolist()


@given(shares, st.floats(0.01, 0.99))
def test_another_share_of_known_species_keeps_the_proportions(own, known):
    found = with_known(own, known)
    assert found.sum() == pytest.approx(1)
    assert found[:2].sum() == pytest.approx(known)
    assert found[0] * own[1] == pytest.approx(found[1] * own[0])
    for i in range(2, 6):
        assert found[i] == pytest.approx(own[i] / own[2:].sum() * (1 - known))


def test_another_share_if_one_side_was_never_drawn():
    assert with_known(np.array([0.5, 0.5, 0, 0, 0, 0]), 0.3).tolist() == [0.5, 0.5, 0, 0, 0, 0]
    assert with_known(np.array([0, 0, 1, 0, 0, 0]), 0.3).tolist() == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("known", [0, 1, -0.2, 1.5, math.nan])
def test_shares_out_of_range(known):
    with pytest.raises(UsageError, match="a share above 0 and below 1"):
        with_known(DEFAULT, known)


# -- estimated from queries ------------------------------------------------------------------------------------------


def looks(situation, rng, apart=2.0):
    """Probabilities, under the shares of the draws, of queries that look more or less like their situations.

    Each is a point on a line, normally distributed around ``apart`` times the number of its situation.
    """
    point = rng.normal(apart * situation, 1)
    density = np.exp(-((point[:, None] - apart * np.arange(6)) ** 2) / 2) * FITTED
    return density / density.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("known", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("copies", [0.2, 0.8])
def test_known_shares_are_recovered(known, copies):
    rng = np.random.default_rng(int(100 * known + 10 * copies))
    others = DEFAULT[2:] / DEFAULT[2:].sum()
    true = np.array([known * copies, known * (1 - copies), *((1 - known) * others)])
    situation = rng.choice(6, 3_000, p=true)
    found = estimate(looks(situation, rng), FITTED, DEFAULT)
    assert (found.source, found.queries) == ("estimated", 3_000)
    assert sum(found.shares) == pytest.approx(1)
    assert found.known == pytest.approx(known, abs=0.05)
    assert found.shares[:2] == pytest.approx(true[:2], abs=0.05)
    assert found.shares[2:] == pytest.approx(true[2:], abs=0.05)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_estimate_has_the_highest_likelihood(seed):
    """No nearby shares give the queries, with 20 assumed known and 60 assumed unknown ones, a higher likelihood."""
    rng = np.random.default_rng(seed)
    likely = looks(rng.integers(0, 6, 200), rng)
    found = estimate(likely, FITTED, DEFAULT)
    assert found.source == "estimated"

    def likelihood(every):
        of_supposed = 0.0
        for half, count in ((slice(0, 2), 20), (slice(2, None), 60)):
            supposed = count * DEFAULT[half] / DEFAULT[half].sum()
            of_supposed += float((supposed * np.log(every[half] / every[half].sum())).sum())
        return float(np.log((likely / FITTED * every).sum(axis=1)).sum()) + of_supposed

    own = np.array(found.shares)
    best = likelihood(own)
    for more, less in itertools.permutations(range(6), 2):
        if own[less] > 0.02:
            other = own.copy()
            other[more] += 0.02
            other[less] -= 0.02
            assert likelihood(other) < best, (more, less)


def test_few_queries_get_the_default():
    rng = np.random.default_rng(1)
    likely = looks(np.zeros(MIN_QUERIES, np.int64), rng)
    few = estimate(likely[:-1], FITTED, DEFAULT)
    assert few == Shares(tuple(DEFAULT.tolist()), "default", MIN_QUERIES - 1)
    enough = estimate(likely, FITTED, DEFAULT)
    assert (enough.source, enough.queries) == ("estimated", MIN_QUERIES)
    assert enough.known > 0.9 > few.known == pytest.approx(0.5)
    assert estimate(np.zeros((0, 6)), FITTED, DEFAULT).source == "default"


def test_if_a_group_has_no_assumed_share_the_default_is_returned():
    rng = np.random.default_rng(2)
    likely = looks(rng.integers(0, 6, 200), rng)
    for default in (np.array([0.5, 0.5, 0, 0, 0, 0]), np.array([0, 0, 0.5, 0.5, 0, 0])):
        found = estimate(likely, FITTED, default)
        assert (found.source, found.shares) == ("default", tuple(default.tolist()))


def test_what_unknown_queries_lack_is_assumed_for_few_and_estimated_for_many():
    """All of 5 lack the genus, and all of 1,000: a few more than assumed do, and most."""
    rng = np.random.default_rng(3)
    supposed = DEFAULT[3] / DEFAULT[2:].sum()
    for known, unknown, prior in ((95, 5, 40), (1_000, 1_000, 420)):
        expected = (unknown + prior * supposed) / (unknown + prior)
        likely = looks(np.repeat([0, 3], [known, unknown]), rng, 6)
        found = np.array(estimate(likely, FITTED, DEFAULT).shares)
        assert found[:2].sum() == pytest.approx(known / (known + unknown), abs=0.03)
        assert found[3] / found[2:].sum() == pytest.approx(expected, abs=0.03)
