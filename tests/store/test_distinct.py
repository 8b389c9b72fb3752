"""Numbers of distinct sequences and claims of ids, compared with a dictionary."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.store.distinct import DistinctIndex


@pytest.fixture
def index(tmp_path):
    index = DistinctIndex(tmp_path / "index.sqlite")
    yield index
    index.close()


def digests(values: list[int]) -> list[bytes]:
    return [hashlib.sha256(str(v).encode()).digest()[:24] for v in values]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8))
def test_numbers_are_given_in_order_of_first_occurrence(tmp_path_factory, blocks):
    index = DistinctIndex(tmp_path_factory.mktemp("index") / "i.sqlite")
    oracle: dict[int, int] = {}
    for block in blocks:
        unknown = index.find(digests(block)).tolist()
        assert unknown == [oracle.get(v, -1) for v in block]
        wanted = [oracle.setdefault(v, len(oracle)) for v in block]
        found = index.number(digests(block))
        assert found.dtype == np.int64
        assert found.tolist() == wanted
        assert len(index) == len(oracle)
    assert index.find(digests(list(range(31)))).tolist() == [oracle.get(v, -1) for v in range(31)]
    index.close()


IDS = st.sampled_from(["a", "A", "b", "ä", "a ", "", "'; DROP TABLE ids; --", "1", "01"])
CLAIMS = st.lists(st.tuples(st.integers(0, 1), st.lists(st.tuples(IDS, st.integers(0, 3)), max_size=8)), max_size=6)


@settings(max_examples=80, deadline=None)
@given(CLAIMS)
def test_an_id_is_bound_to_the_first_sequence_that_claims_it_for_each_source(tmp_path_factory, calls):
    index = DistinctIndex(tmp_path_factory.mktemp("index") / "i.sqlite")
    oracle: dict[tuple[int, str], int] = {}
    for source, rows in calls:
        ids, numbers = [r[0] for r in rows], [r[1] for r in rows]
        clash = index.claim(source, ids, np.array(numbers, np.int64))
        wanted = [oracle.setdefault((source, id_), n) != n for id_, n in rows]
        assert clash.dtype == bool
        assert clash.tolist() == wanted
        assert index.get_ids(source, ids).tolist() == [oracle[source, id_] for id_ in ids]
    assert index.get_ids(7, ["a"]).tolist() == [-1]
    index.close()


def test_a_clash_does_not_bind(index):
    assert index.claim(0, ["a", "a", "a"], np.array([1, 2, 1])).tolist() == [False, True, False]
    assert index.get_ids(0, ["a"]).tolist() == [1]


def test_full_64_bit_numbers_can_be_bound(index):
    numbers = np.array([-(2**63), 2**63 - 1, 0])
    assert not index.claim(0, ["a", "b", "c"], numbers).any()
    assert not index.claim(0, ["a", "b", "c"], numbers).any()
    assert index.get_ids(0, ["a", "b", "c"]).tolist() == numbers.tolist()


def test_the_first_time_is_remembered(index):
    assert index.first_time(2, ["a", "b", "a"]).tolist() == [True, True, False]
    assert index.first_time(2, ["b", "c"]).tolist() == [False, True]
    assert index.first_time(3, ["a"]).tolist() == [True]


def test_an_old_file_is_not_reused(tmp_path):
    path = tmp_path / "i.sqlite"
    first = DistinctIndex(path)
    first.number(digests([1, 2]))
    first.close()
    path.write_bytes(b"no database at all")
    second = DistinctIndex(path)
    assert len(second) == 0
    assert second.find(digests([1])).tolist() == [-1]
    second.close()
