"""Exact search, keys and columns: the small parts, against their definitions."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.reference import topk
from ednabed.reference.columns import fitted, free_names, union
from ednabed.reference.parts import keys_of, unified_digests
from ednabed.reference.topk import TopK, exact_candidates, lengths, unit
from ednabed.sequences.records import digest


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


def test_keys_are_the_first_bytes_of_the_digest():
    names = [digest(b"ACGT"), "run:3", digest(b"GG"), "SQ"]
    wanted = []
    for name in names:
        raw = base64.urlsafe_b64decode(name[3:]) if name.startswith("SQ.") else hashlib.sha256(name.encode()).digest()
        wanted.append(int.from_bytes(raw[:8], "little"))
    assert keys_of(names).tolist() == wanted
    assert keys_of([]).tolist() == []
    assert keys_of(names[1:2]).tolist() == wanted[1:2]
    known = pa.array(["a", None, "b", None])
    assert unified_digests(known, "x:").to_pylist() == ["a", "x:1", "b", "x:3"]


def test_free_names():
    assert free_names(["id", "depth"]) == ["id", "depth"]
    assert free_names(["row", "row_input", "source_file"]) == ["row_input_input", "row_input", "source_file_input"]


KINDS = [
    pa.null(), pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.large_string(),
    pa.bool_(), pa.list_(pa.int8()), pa.dictionary(pa.int32(), pa.string()), pa.date32(), pa.binary(),
]  # fmt: skip


@settings(max_examples=100)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), order=st.randoms())
def test_types_are_unified_whatever_the_order(kinds, order):
    schemas = [pa.schema([("x", kind), (f"own{i}", kind)]) for i, kind in enumerate(kinds)]
    found = union(schemas)
    shuffled = schemas[:]
    order.shuffle(shuffled)
    assert union(shuffled)["x"] == found["x"]
    for schema in schemas:
        table = fitted(pa.table([pa.nulls(2, field.type) for field in schema], schema=schema), found.values())
        assert table.schema == pa.schema(found.values())
        assert table.num_rows == 2


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ([pa.int8(), pa.int16()], pa.int64()), ([pa.int64(), pa.float32()], pa.float64()),
        ([pa.null(), pa.int8()], pa.int8()), ([pa.int8(), pa.string()], pa.string()),
        ([pa.float32(), pa.null(), pa.float32()], pa.float32()), ([pa.int64(), pa.uint64()], pa.string()),
    ],
)  # fmt: skip
def test_types_of_several_runs(kinds, wanted):
    assert union([pa.schema([("x", kind)]) for kind in kinds])["x"].type == wanted
