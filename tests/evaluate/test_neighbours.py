"""Nearest neighbours by vectors alone, beside a search in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.evaluate.neighbours import fragments_together, measure_neighbours, nearest_names, reversed_queries
from ednabed.evaluate.splits import Labelled, Query, split
from ednabed.sequences.lineage import RANKS
from support import letters
from taxonomy_support import lineage_of, randomly, reverse_complement, world


@pytest.fixture(scope="module")
def parted():
    records = [Labelled(one.id, one.sequence, one.lineage) for one in world(genera=24, length=200)]
    return split(records, queries=12)


def by_definition(engine, parted, queries, group, rank) -> float:
    place = RANKS.index(rank)
    training = engine.embed([r.sequence.encode() for r in parted.training])[0].astype(np.float64)
    training /= np.linalg.norm(training, axis=1, keepdims=True)
    right = []
    for query in queries:
        if query.group == group:
            own = engine.embed([query.sequence.encode()])[0][0].astype(np.float64)
            cosines = training @ (own / np.linalg.norm(own))
            names = {parted.training[i].lineage[place] for i in np.flatnonzero(cosines >= cosines.max() - 1e-6)}
            right.append((query.lineage[place] in names) / len(names))
    return float(np.mean(right))


@pytest.mark.parametrize("length", [None, 90])
def test_names_of_the_nearest(parted, length):
    engine = Engine(open_embedder("kmer6"))
    queries = parted.crop(length)
    references, _ = engine.embed([record.sequence.encode() for record in parted.training])
    found = nearest_names(engine, references, parted.training, queries, parted.taxa)
    for group, rank in (("record", "species"), ("species", "genus"), ("genus", "family")):
        wanted = by_definition(engine, parted, queries, group, rank)
        assert found[f"{group} → {rank}"] == pytest.approx(wanted, abs=1e-9)
    assert found["record → species among 50"] >= found["record → species"]
    assert 0.5 <= found["new genera told"] <= 1


def test_equally_near_ones_share():
    """Two species with one sequence: the query counts half."""
    text = randomly(100, 1)
    training = [Labelled(f"r{i}", text, lineage_of(0, i)) for i in range(2)]
    training.append(Labelled("far", randomly(100, 2), lineage_of(4)))
    present = (True,) * 7
    queries = [Query("q", text, lineage_of(0, 1), "record", present)]
    engine = Engine(open_embedder("kmer6"))
    references, _ = engine.embed([record.sequence.encode() for record in training])
    from ednabed.taxonomy.taxa import Taxa

    found = nearest_names(engine, references, training, queries, Taxa(one.lineage for one in training))
    assert found == {
        "record → species": 0.5, "record → species among 50": 1.0, "species → genus": None, "genus → family": None,
        "new genera told": None,
    }  # fmt: skip


def test_what_cannot_be_embedded_counts_as_wrong(parted):
    engine = Engine(open_embedder("kmer6"))
    references, _ = engine.embed([record.sequence.encode() for record in parted.training])
    queries = [Query("q", "NNNNNNNNNN", parted.training[0].lineage, "record", (True,) * 7)]
    found = nearest_names(engine, references, parted.training, queries, parted.taxa)
    assert found["record → species"] == 0 and found["record → species among 50"] == 0


def test_queries_are_turned(parted):
    for query, turned in zip(parted.queries, reversed_queries(parted.queries), strict=True):
        assert turned.sequence == reverse_complement(query.sequence)
        assert (turned.id, turned.lineage, turned.group) == (query.id, query.lineage, query.group)


def test_fragments():
    """Families that differ in their letters are told by composition; equal ones are chance; too short ones nothing."""
    engine = Engine(letters())
    rich = [Labelled(f"a{i}", "AC" * 200, lineage_of(0)) for i in range(3)]
    poor = [Labelled(f"b{i}", "GT" * 200, lineage_of(4)) for i in range(3)]
    from ednabed.taxonomy.taxa import Taxa

    taxa = Taxa(one.lineage for one in rich + poor)
    assert fragments_together(engine, rich + poor, taxa, draws=50, seed=0) == 1.0
    assert fragments_together(engine, rich, taxa, draws=50, seed=0) is None
    short = [Labelled("s", "AC" * 100, lineage_of(0)), Labelled("t", "GT" * 100, lineage_of(4))]
    assert fragments_together(engine, short, taxa, draws=50, seed=0) is None


def test_all_of_it(parted):
    crops = {"full": parted.crop(None), "90": parted.crop(90)}
    found = measure_neighbours(open_embedder("kmer6"), parted, crops)
    assert list(found.figures) == ["full", "full, other strand", "90", "90, other strand"]
    assert found.model == "kmer6" and found.fragments is None
    assert found.figures["full, other strand"]["record → species"] < found.figures["full"]["record → species"]
    assert found.to_dict()["figures"]["full"] == found.figures["full"]
