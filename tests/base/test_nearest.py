"""Exact neighbours against a plain computation in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base import nearest as module
from ednabed.base.nearest import nearest


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale else 0.0


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 45), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_neighbours_equal_the_oracle(n, q, k, block, seed):
    rng = np.random.default_rng(seed)
    # Few distinct whole numbers, so that ties and zero rows occur.
    collection = rng.integers(-1, 2, (n, 3)).astype(np.float32)
    queries = rng.integers(-1, 2, (q, 3)).astype(np.float32) * 7
    before = collection.copy(), queries.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_ROWS", block)
        rows, scores = nearest(queries, collection, k)
    assert rows.shape == scores.shape == (q, min(k, n))
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(collection, before[0])
    np.testing.assert_array_equal(queries, before[1])
    for query, found, similarities in zip(queries, rows, scores, strict=True):
        wanted = np.array([cosine(query, row) for row in collection])
        np.testing.assert_allclose(similarities, wanted[found], atol=1e-6)
        np.testing.assert_allclose(similarities, np.sort(wanted)[::-1][: len(found)], atol=1e-6)
        assert len(set(found.tolist())) == len(found)
        assert (np.diff(similarities) <= 0).all()
        assert (np.abs(similarities) <= 1).all()


@pytest.mark.parametrize("block", [1, 3, 16_384])
def test_exact_ties_are_in_order_of_row_number(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK_ROWS", block)
    axes = np.eye(4, dtype=np.float32)
    collection = axes[[1, 0, 2, 0, 1, 0, 3, 0]]
    rows, scores = nearest(axes[:1], collection, 6)
    assert rows.tolist() == [[1, 3, 5, 7, 0, 2]]
    assert scores.tolist() == [[1, 1, 1, 1, 0, 0]]


def test_scale_does_not_matter():
    rng = np.random.default_rng(0)
    collection = rng.normal(size=(200, 16)).astype(np.float32)
    queries = rng.normal(size=(5, 16)).astype(np.float32)
    rows, scores = nearest(queries, collection, 10)
    scaled, scaled_scores = nearest(
        queries * 64, collection * (2.0 ** rng.integers(-9, 9, (200, 1))).astype(np.float32), 10
    )
    np.testing.assert_array_equal(rows, scaled)
    np.testing.assert_allclose(scores, scaled_scores, atol=1e-6)


def test_nothing_to_search_in_or_for():
    empty = np.empty((0, 4), np.float32)
    some = np.ones((3, 4), np.float32)
    assert [a.shape for a in nearest(some, empty, 5)] == [(3, 0), (3, 0)]
    assert [a.shape for a in nearest(empty, some, 2)] == [(0, 2), (0, 2)]


def test_a_memory_mapped_collection(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows, scores = nearest(np.asarray(mapped[7:8]), mapped, 1)
    assert rows.tolist() == [[7]]
    assert scores[0, 0] == pytest.approx(1, abs=1e-6)
