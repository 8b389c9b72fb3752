"""Diversity against its definition: every way to draw the reads, and scipy's hypergeometric distribution."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from ednabed.errors import UsageError
from ednabed.taxonomy.diversity import diversity, rarefaction_curve


def indices(counts: np.ndarray) -> tuple[float, float, float]:
    share = counts[counts > 0] / counts.sum()
    return len(share), float(-(share * np.log(share)).sum()), float(1 - (share**2).sum())


@pytest.mark.parametrize("counts", [[1], [3], [1, 1], [4, 1, 1], [2, 3, 0, 4], [1, 1, 1, 1, 1, 1], [7, 2]])
def test_every_way_to_draw_the_reads(counts):
    reads = np.repeat(np.arange(len(counts)), counts)
    for depth in range(1, len(reads) + 1):
        drawn = [
            indices(np.bincount(reads[list(some)], minlength=len(counts)))
            for some in combinations(range(len(reads)), depth)
        ]
        found = rarefaction_curve(counts, [depth])
        got = [found.richness[0], found.shannon[0], found.simpson[0]]
        assert got == pytest.approx(np.mean(drawn, axis=0), abs=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 17, 500, 4_000, 8_500])
def test_it_matches_scipy(depth):
    counts = np.array([5000, 2500, 900, 300, 200, 50, 30, 10, 5, 3, 1, 1])
    k = np.arange(depth + 1)
    richness = shannon = second = 0.0
    for x in counts.tolist():
        p = hypergeom.pmf(k, counts.sum(), x, depth)
        share = k / depth
        richness += 1 - p[0]
        shannon -= (p[1:] * share[1:] * np.log(share[1:])).sum()
        second += (p * share**2).sum()
    found = rarefaction_curve(counts, [depth])
    assert found.richness[0] == pytest.approx(richness, rel=1e-9)
    assert found.shannon[0] == pytest.approx(shannon, rel=1e-9, abs=1e-9)
    assert found.simpson[0] == pytest.approx(1 - second, rel=1e-9, abs=1e-9)


samples = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any)


@settings(deadline=None, max_examples=60)
@given(samples)
def test_invariants_of_every_curve(counts):
    total = sum(counts)
    found = rarefaction_curve(counts, np.arange(1, total + 1))
    full = indices(np.array(counts))
    assert (found.richness[-1], found.shannon[-1], found.simpson[-1]) == pytest.approx(full, abs=1e-12)
    assert (found.richness[0], found.shannon[0], found.simpson[0]) == pytest.approx((1, 0, 0), abs=1e-12)
    for column in (found.richness, found.shannon, found.simpson):
        assert (np.diff(column) > -1e-12).all()
    assert (found.richness <= min(len(counts), total) + 1e-12).all()
    assert (found.shannon <= np.log(found.richness) + 1e-9).all(), "entropy is concave in the logarithm of richness"


@settings(deadline=None, max_examples=30)
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_taxa_does_not_matter(counts, rng):
    mixed = [*counts, 0]
    rng.shuffle(mixed)
    found, again = diversity([counts]), diversity([mixed])
    assert found.shannon[0] == pytest.approx(again.shannon[0], abs=1e-12)
    assert found.rarefied.richness[0] == again.rarefied.richness[0]


def test_a_table():
    table = np.array([[50, 50, 0], [100, 0, 0], [0, 0, 0], [10, 10, 10]])
    found = diversity(table)
    assert found.depth == 30
    assert found.reads.tolist() == [100, 100, 0, 30]
    assert found.richness.tolist() == [2, 1, 0, 3]
    assert found.richness.dtype == np.int64
    assert found.shannon == pytest.approx([np.log(2), 0, np.nan, np.log(3)], nan_ok=True)
    assert found.simpson == pytest.approx([0.5, 0, np.nan, 2 / 3], nan_ok=True)
    assert found.rarefied.richness[[1, 3]].tolist() == [1, 3]
    assert 1.99 < found.rarefied.richness[0] <= 2
    assert np.isnan(found.rarefied.richness[2])
    deeper = diversity(table, 60)
    assert np.isnan(deeper.rarefied.shannon).tolist() == [False, False, True, True]


def test_empty_tables():
    assert diversity(np.zeros((0, 3), np.int64)).depth == 0
    found = diversity(np.zeros((2, 0), np.int64))
    assert found.richness.tolist() == [0, 0]
    assert np.isnan(found.rarefied.richness).all()
    assert len(rarefaction_curve([1, 2], np.zeros(0, np.int64)).richness) == 0


@pytest.mark.parametrize("wrong", [[[-1, 2]], [[0.5]], [1, 2], [["a"]]])
def test_a_table_without_read_counts_is_refused(wrong):
    with pytest.raises(UsageError, match="give numbers of reads"):
        diversity(wrong)


@pytest.mark.parametrize("depth", [0, -3])
def test_a_depth_of_no_reads_is_refused(depth):
    with pytest.raises(UsageError, match="at least 1"):
        diversity([[1, 2]], depth)
    with pytest.raises(UsageError, match="at least 1"):
        rarefaction_curve([1, 2], [5, depth])


def test_millions_of_reads_stay_precise():
    rng = np.random.default_rng(0)
    counts = np.sort(rng.multinomial(5_000_000, rng.dirichlet(np.full(10_000, 0.1)))).astype(np.int64)
    total = int(counts.sum())
    depth = total // 3
    found = diversity(counts[None], depth)
    # Hurlbert's formula, its logarithm summed term by term.
    logs = np.concatenate([[0], np.cumsum(np.log1p(-depth / (total - np.arange(int(counts[-1])))))])
    assert found.rarefied.richness[0] == pytest.approx((1 - np.exp(logs[counts])).sum(), rel=1e-12)
    assert 0 < found.shannon[0] - found.rarefied.shannon[0] < 0.01
    nearly = diversity(counts[None], total - 1).rarefied
    assert found.richness[0] - nearly.richness[0] == pytest.approx((counts == 1).sum() / total, rel=1e-6)
    assert nearly.shannon[0] == pytest.approx(found.shannon[0], abs=1e-6)
