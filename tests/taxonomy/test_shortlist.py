"""The shortlist compared with a sort of the complete matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.engine.open import open_embedder
from ednabed.taxonomy.shortlist import default_exponents, shortlist
from reference_support import SPEC


def blocks_of(vectors, sizes):
    """Return the collection's vectors in blocks, with their lengths."""
    norms = np.linalg.norm(vectors, axis=1).astype(np.float32)
    ends = np.minimum(np.cumsum(sizes), len(vectors))
    first = 0
    for last in [*ends.tolist(), len(vectors)]:
        yield np.arange(first, last), vectors[first:last], norms[first:last]
        first = last


def whole(vectors, lengths, queries, query_lengths, k, exponents, left_out=None):
    """Compute all cosines and all scores, sorted as the docstring defines."""
    scores = {}
    for q, query in enumerate(queries.astype(np.float64)):
        for row, vector in enumerate(vectors.astype(np.float64)):
            size = np.linalg.norm(vector)
            if not (np.isfinite(vector).all() and size > 0):
                continue
            if left_out is not None and left_out[0][row] == left_out[1][q]:
                continue
            cosine = vector @ query / size / np.linalg.norm(query)
            ratio = max(lengths[row], query_lengths[q]) / min(lengths[row], query_lengths[q])
            for e in exponents:
                scores[q, e, row] = cosine * ratio**e if cosine >= 0 else cosine
    found = []
    for q in range(len(queries)):
        lists = []
        for e in exponents:
            own = sorted(
                (row for row in range(len(vectors)) if (q, e, row) in scores), key=lambda row: -scores[q, e, row]
            )
            lists.append([*own[:k], *[-1] * (k - len(own))])
        flat = [row for together in zip(*lists, strict=True) for row in together]
        found.append([row if row not in flat[:i] else -1 for i, row in enumerate(flat)])
    return found


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 6), st.integers(1, 70),
    st.sampled_from([(0.0,), (0.25,), (0.0, 0.25), (0.0, 0.25, 0.5)]),
    st.lists(st.integers(0, 20), max_size=4), st.booleans(),
)  # fmt: skip
def test_against_a_sort_of_the_complete_matrix(seed, rows, queries, k, exponents, sizes, leave):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, 8)).astype(np.float32) * rng.uniform(0.1, 9, (rows, 1)).astype(np.float32)
    asked = rng.standard_normal((queries, 8)).astype(np.float32) * 3
    lengths, query_lengths = rng.integers(1, 900, rows), rng.integers(1, 900, queries)
    left_out = (rng.integers(0, 5, rows), rng.integers(0, 5, queries)) if leave else None
    found = shortlist(blocks_of(vectors, sizes), lengths, asked, query_lengths, k, exponents, left_out)
    expected = whole(vectors, lengths, asked, query_lengths, k, exponents, left_out)
    assert found.shape == (queries, k * len(exponents))
    assert found.tolist() == expected


def test_more_queries_than_are_multiplied_at_once():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((90, 8)).astype(np.float32)
    asked = rng.standard_normal((530, 8)).astype(np.float32)
    lengths, own = rng.integers(100, 700, 90), rng.integers(100, 700, 530)
    found = shortlist(blocks_of(vectors, [30, 30]), lengths, asked, own, 5, (0.0, 0.25))
    assert found.tolist() == whole(vectors, lengths, asked, own, 5, (0.0, 0.25))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_an_invalid_vector_does_not_mask_others(bad):
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((10, 8)).astype(np.float32)
    vectors[4] = bad
    found = shortlist(blocks_of(vectors, [3]), np.full(10, 500), vectors[[0, 7]], np.array([500, 500]), 10, (0.0,))
    assert [sorted(own) for own in found.tolist()] == [[-1, *(r for r in range(10) if r != 4)]] * 2
    assert found[:, 0].tolist() == [0, 7]


def test_no_rows_left():
    vectors = np.eye(3, 8, dtype=np.float32)
    every = np.zeros(3, np.int64)
    found = shortlist(
        blocks_of(vectors, []), np.full(3, 9), vectors[:1], np.array([9]), 2, (0.0, 0.25), (every, every[:1])
    )
    assert found.tolist() == [[-1] * 4]
    assert shortlist([], np.zeros(0, np.int64), vectors[:1], np.array([9]), 2, (0.0,)).tolist() == [[-1, -1]]


def test_kmer_counts_are_also_looked_up_by_containment():
    assert default_exponents(open_embedder("kmer6").spec) == (0.0, 0.25)
    assert default_exponents(replace(SPEC, pooling="mean")) == (0.0,)
