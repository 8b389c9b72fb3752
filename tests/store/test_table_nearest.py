"""Exact nearest keys by definition, rows by number, and filters that Lance must read completely."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import StoreError
from ednabed.store.table import ID
from ednabed.store.table_nearest import (
    NearestKeys,
    cosines,
    read_filter,
    scan_rows,
    take_rows,
    usable,
    vectors_in,
)
from table_support import sequences, simple, vector_array


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_nearest_keys_are_those_of_the_full_matrix(keys: int, batches: int, k: int, seed: int) -> None:
    """Each key has one vector and occurs in any number of batches; equal vectors are in the order of their keys."""
    chance = np.random.default_rng(seed)
    # Small integers produce many ties.
    vectors = chance.integers(-2, 3, (keys, 3)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    queries = chance.integers(1, 4, (4, 3)).astype(np.float32)
    nearest = NearestKeys(queries, k)
    seen: set[int] = set()
    for _ in range(batches):
        rows = chance.integers(0, keys, chance.integers(1, 30))
        seen.update(rows.tolist())
        nearest.add(rows.astype(np.uint64) + np.uint64(7), vectors[rows])
    for q, query in enumerate(queries):
        scores = {
            key: float(query @ vectors[key] / np.sqrt(query @ query * (vectors[key] @ vectors[key]))) for key in seen
        }
        wanted = sorted(seen, key=lambda key: (-round(scores[key], 4), key))
        found = [int(key) - 7 for key in nearest.found(q)]
        assert len(set(found)) == len(found) == min(len(wanted), nearest.width)
        # In float32, neighbours may swap; the spare keys beyond k allow for this.
        assert set(wanted[:k]) <= set(found)
        assert all(scores[a] >= scores[b] - 1e-5 for a, b in itertools.pairwise(found))


def test_queries_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ednabed.store.table_nearest._QUERY_ROWS", 3)
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    nearest = NearestKeys(vectors[:10], 1)
    nearest.add(np.arange(50, dtype=np.uint64), vectors)
    assert [int(nearest.found(i)[0]) for i in range(10)] == list(range(10))


def test_a_cosine_does_not_depend_on_the_other_rows() -> None:
    vectors = np.random.default_rng(1).normal(size=(100, 512)).astype(np.float32) ** 2
    queries = np.roll(vectors, 1, axis=0)
    alone = [float(cosines(queries[i : i + 1], vectors[i : i + 1])[0]) for i in range(100)]
    assert cosines(queries, vectors).tolist() == alone
    assert cosines(vectors[:1] * 1e-18, vectors[:1] * 1e18).tolist() == [1.0]


def test_usable_vectors() -> None:
    rows = [[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [1e-30, 0], [3e38, 3e38]]
    assert usable(np.array(rows, np.float32)).tolist() == [True, False, False, False, True, True]


def test_rows_are_returned_in_the_requested_order(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(40, 10)).astype(np.float32)
    database = simple(tmp_path / "db", sequences(40), vector=vector_array(list(vectors)))
    table = database.open()
    table.delete("sequence_id = 'r3'")
    ids, rows = [], []
    for batch in scan_rows(database, table, [ID], "sequence_id != 'r5'"):
        ids += batch.column(ID).to_pylist()
        rows += batch.column("_rowid").to_pylist()
    assert sorted(ids) == sorted(f"r{i}" for i in range(40) if i not in (3, 5))
    order = np.random.default_rng(3).permutation(len(rows))
    wanted = np.array(rows, np.uint64)[np.concatenate([order, order[:4]])]
    taken = take_rows(database, table, wanted, [ID, "vector"])
    assert taken.column(ID).to_pylist() == [ids[i] for i in [*order, *order[:4]]]
    expected = [vectors[int(id_[1:])] for id_ in taken.column(ID).to_pylist()]
    assert np.array_equal(vectors_in(taken, "vector", 10), expected)
    nothing = take_rows(database, table, np.zeros(0, np.uint64), [ID, "vector"])
    assert nothing.num_rows == 0 and vectors_in(nothing, "vector", 10).shape == (0, 10)


def test_a_filter_is_read_to_its_end(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(10), site=list("aabbbccccc"))
    table = database.open()
    for where, rows in (("site = 'a'", 2), ("site = 'a' OR site = 'b'", 5), ("site = 'b' -- or c", 3), ("true", 10)):
        condition, count = read_filter(database, table, where)
        assert count == rows
        found = [row for batch in scan_rows(database, table, [ID], condition) for row in batch.column(ID).to_pylist()]
        assert len(found) == rows


@pytest.mark.parametrize(
    "where",
    [
        "",
        " ",
        "nosuchcolumn = 3",
        "site = ",
        "site",
        "1 + 1",
        "count(*) > 1",
        "sequence_id IN (SELECT sequence_id FROM sequences)",
        "site = 'a' ADN site = 'b'",
        "site = 'a' LIMIT 1",
        "true; DROP TABLE sequences",
        "true); DELETE FROM sequences; --",
        "DELETE FROM sequences",
        "1 / 0 = 1",
        "regexp_match(site, '(')",
        "'unterminated",
        "site = $1",
        "\x00",
        "(" * 3000 + "true" + ")" * 3000,
    ],
)
def test_an_invalid_filter_is_one_sentence_and_changes_nothing(tmp_path: Path, where: str) -> None:
    database = simple(tmp_path / "db", sequences(3), site=["a", "b", "c"])
    table = database.open()
    before = (table.version, table.to_arrow())
    with pytest.raises(StoreError, match=r"the filter .* expected an SQL condition on the columns .*site") as error:
        read_filter(database, table, where)
    assert "\n" not in str(error.value)
    table = database.open()
    assert (table.version, table.to_arrow()) == before
