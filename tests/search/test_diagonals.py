"""Diagonals found by numpy and by compiled code, compared with each other and with shared 8-mers counted one by one."""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.bases import encode
from ednabed.search import diagonals
from ednabed.search.diagonals import Diagonals, find_diagonals, position_table
from ednabed.search.divergence import Comparer, PackedSequences
from taxonomy_support import randomly, substituted

# Few different pieces, so that sequences share 8-mers, on several diagonals.
piece = st.sampled_from([randomly(n, seed) for seed, n in enumerate((9, 12, 20, 33))] + ["A", "N", "ACACACACACAC"])
dna = st.lists(piece, max_size=8).map("".join)


def both(query: str, rows: list[str]) -> tuple[Diagonals, Diagonals]:
    compiled = pytest.importorskip("ednabed.search.diagonals_compiled")
    held = PackedSequences.from_batches([[row.encode() for row in rows]])
    table = position_table()
    arguments = (encode(query.encode()), held.flat, held.starts, held.lengths, np.arange(len(rows)), table)
    found = find_diagonals(*arguments), compiled.find_diagonals_compiled(*arguments)
    assert (table == -1).all()
    return found


def values(found: Diagonals) -> dict[str, list[int]]:
    return {field.name: getattr(found, field.name).tolist() for field in fields(found)}


@given(dna, st.lists(dna, max_size=5))
def test_compiled_code_finds_the_same(query, rows):
    one, other = both(query, rows)
    assert values(one) == values(other)


@given(dna, dna)
def test_votes_are_shared_kmers(query, row):
    first: dict[str, int] = {}
    for i in range(len(query) - 7):
        # An N counts as A.
        first.setdefault(query[i : i + 8].replace("N", "A"), i)
    votes: Counter[int] = Counter()
    for i in range(0, len(row) - 7, 3):
        kmer = row[i : i + 8].replace("N", "A")
        if kmer in first:
            votes[i - first[kmer]] += 1
    found = both(query, [row])[1]
    best = min((d for d in votes if votes[d] == max(votes.values())), default=0)
    assert (found.best[0], found.votes[0]) == (best, votes[best])
    pairs = [(query[i], row[i + best]) for i in range(len(query)) if 0 <= i + best < len(row)]
    known = [pair for pair in pairs if "N" not in pair]
    assert found.overlap[0] == len(pairs)
    assert (found.n_bases[0], found.mismatches[0]) == (len(known), sum(a != b for a, b in known))


def test_real_barcodes_give_the_same(shared):
    """Related barcodes with gaps and N, whole and as pieces."""
    with gzip.open(shared / "data" / "16s.tsv.gz", "rt", encoding="utf-8") as file:
        column = next(file).rstrip("\n").split("\t").index("sequence")
        rows = [line.split("\t")[column].strip().upper() for line, _ in zip(file, range(2_000), strict=False)]
    gapped = 0
    for query in (rows[0], rows[700][50:200], rows[1500][:100] + rows[1500][103:]):
        one, other = both(query, rows)
        assert values(one) == values(other)
        gapped += int(one.gapped.sum())
    assert gapped > 100


def test_a_row_of_any_length_does_not_take_memory_of_all_others(monkeypatch):
    """One long record must not widen the table for all rows; parts give the same as all rows together."""
    rows = [substituted(randomly(200, 12), 4 * i, i) for i in range(20)] + [randomly(5_000, 3), "A", ""]
    whole = values(both(rows[3], rows)[0])
    for cells in (1, 1_000, 4_000):
        monkeypatch.setattr(diagonals, "_MAX_CELLS", cells)
        assert values(both(rows[3], rows)[0]) == whole


def test_without_numba_numpy_is_used(monkeypatch):
    held = PackedSequences.from_batches([[randomly(200, 1).encode()]])
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("ednabed.base.compiled", "ednabed.search.diagonals_compiled"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    comparer = Comparer(held)
    assert comparer._find_diagonals is find_diagonals
    assert comparer.compare(held.codes(0), np.arange(1)).mismatches.tolist() == [0]


def test_compiled_code_is_used_where_numba_is_installed():
    compiled = pytest.importorskip("ednabed.search.diagonals_compiled")
    assert Comparer(PackedSequences.from_batches([]))._find_diagonals is compiled.find_diagonals_compiled
