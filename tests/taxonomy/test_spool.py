"""Queries that wait on disk come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.base.bases import encode
from ednabed.search.queries import Query
from ednabed.taxonomy.spool import Spool

# Characters of all scripts, including line ends, but no lone surrogates, which files cannot contain.
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
letters = st.text("ACGTN", min_size=1, max_size=40)
infos = st.dictionaries(text, st.one_of(text, st.none(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False)))
queries = st.builds(
    lambda more, name, **fields: Query({"id": name, **more}, **fields),
    infos, text,
    key=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
    sequence=st.one_of(st.none(), letters),
    abundance=st.one_of(st.none(), st.integers(0, 2**62)),
    sample=st.one_of(st.none(), text),
    file=st.one_of(st.none(), st.sampled_from([Path("a.fasta"), Path("b") / "c.fasta", Path("-")])),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(queries, st.one_of(st.none(), st.integers(0, 5))), max_size=8))
def test_queries_come_back_in_their_order(some):
    with Spool() as spool:
        for query, number in some:
            spool.add_query(query, number)
        expected = [
            (Query(q.info, q.key, q.sequence if n is None else None, q.abundance, q.sample, q.file), n)
            for q, n in some
        ]  # fmt: skip
        assert list(spool.queries()) == expected
        assert list(spool.queries()) == expected, "twice"


@settings(max_examples=60)
@given(
    st.lists(st.lists(letters, max_size=4), max_size=5), st.integers(1, 6), st.integers(0, 99),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_vectors_and_bases_come_back_in_any_order(parts, size, seed, random):
    every = [own for part in parts for own in part]
    vectors = np.random.default_rng(seed).normal(size=(len(every), size)).astype(np.float32)
    with Spool() as spool:
        first = 0
        for part in parts:
            spool.add_distinct(vectors[first : first + len(part)], [encode(own.encode()) for own in part])
            first += len(part)
        order = list(range(len(every)))
        random.shuffle(order)
        for number in order:
            assert spool.vector(number).tolist() == vectors[number].tolist()
            assert spool.vector(number).dtype == np.float32
            assert spool.bases(number).tolist() == encode(every[number].encode()).tolist()


def test_vectors_of_any_layout():
    vectors = np.arange(12, dtype=np.float64).reshape(3, 4).T
    with Spool() as spool:
        spool.add_distinct(vectors, [encode(b"A")] * 4)
        assert [spool.vector(i).tolist() for i in range(4)] == vectors.tolist()


def test_files_are_gone_afterwards():
    with Spool() as spool:
        spool.add_query(Query({"id": "a"}), None)
    with pytest.raises(ValueError, match="closed"):
        spool.add_query(Query({"id": "b"}), None)
    with pytest.raises(ValueError, match="closed"):
        spool.vector(0)
