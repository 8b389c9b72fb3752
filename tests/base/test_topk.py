"""The best rows by exact search, against their definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.base import topk
from ednabed.base.topk import TopK, cosines, exact_candidates, lengths, unit, usable


def blocks_of(vectors: np.ndarray, sizes: list[int]):
    first = 0
    for size in [*sizes, len(vectors)]:
        block = vectors[first : first + size]
        if len(block):
            yield np.arange(first, first + len(block)), block, lengths(block)
        first += size


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 40), queries=st.integers(1, 6), k=st.integers(1, 12),
    kinds=st.integers(1, 40), sizes=st.lists(st.integers(1, 20), max_size=4),
)  # fmt: skip
def test_candidates_are_the_best_and_all_that_tie_with_the_last(seed, rows, queries, k, kinds, sizes):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((kinds, 5))[rng.integers(0, kinds, rows)].astype(np.float32)
    vectors *= rng.uniform(0.01, 100, (rows, 1)).astype(np.float32)
    asked = unit(rng.standard_normal((queries, 5)).astype(np.float32))
    k = min(k, rows)
    query, row, score = exact_candidates(asked, blocks_of(vectors, sizes), k)
    exact = asked.astype(np.float64) @ (vectors / np.linalg.norm(vectors.astype(np.float64), axis=1)[:, None]).T
    assert np.all(np.diff(query) >= 0)
    np.testing.assert_allclose(score, exact[query, row], atol=1e-6)
    for q in range(queries):
        own = row[query == q]
        assert len(own) == len(set(own.tolist())) >= k
        last = np.sort(exact[q])[::-1][k - 1]
        assert set(np.flatnonzero(exact[q] >= last - 5e-7).tolist()) <= set(own.tolist())
        assert np.all(exact[q, own] >= last - 4e-6)


def test_many_queries_are_searched_in_pieces(monkeypatch):
    monkeypatch.setattr(topk, "QUERY_ROWS", 3)
    rng = np.random.default_rng(1)
    vectors, asked = (
        rng.standard_normal((50, 4)).astype(np.float32),
        unit(rng.standard_normal((10, 4)).astype(np.float32)),
    )
    query, row, _ = exact_candidates(asked, blocks_of(vectors, [7, 7]), 1)
    assert query.tolist() == list(range(10))
    assert row.tolist() == (asked @ unit(vectors).T).argmax(axis=1).tolist()


def test_zero_vectors_are_never_found():
    vectors = np.array([[0, 0], [-1, 0], [0, 0]], np.float32)
    query, row, score = exact_candidates(np.array([[1, 0]], np.float32), blocks_of(vectors, [2]), 3)
    assert (query.tolist(), row.tolist(), score.tolist()) == ([0], [1], [-1.0])
    assert [part.tolist() for part in TopK(np.ones((2, 2), np.float32), 1).result()] == [[], [], []]


def test_lengths_do_not_overflow():
    vectors = np.array([[3e30, 4e30], [3e-30, 4e-30], [0, 0], [np.inf, 1], [np.nan, 1]], np.float32)
    found = lengths(vectors)
    np.testing.assert_allclose(found[:3], [5e30, 5e-30, 0], rtol=1e-6)
    assert found[3] == np.inf and np.isnan(found[4])
    np.testing.assert_allclose(unit(vectors[:3]), [[0.6, 0.8], [0.6, 0.8], [0, 0]], rtol=1e-6)


def test_a_cosine_does_not_depend_on_the_other_rows():
    vectors = np.random.default_rng(1).normal(size=(100, 512)).astype(np.float32) ** 2
    queries = np.roll(vectors, 1, axis=0)
    alone = [float(cosines(queries[i : i + 1], vectors[i : i + 1])[0]) for i in range(100)]
    assert cosines(queries, vectors).tolist() == alone
    assert cosines(vectors[:1] * 1e-18, vectors[:1] * 1e18).tolist() == [1.0]


def test_usable_vectors():
    rows = [[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [1e-30, 0], [1e38, 1e38]]
    assert usable(lengths(np.array(rows, np.float32))).tolist() == [True, False, False, False, True, True]
