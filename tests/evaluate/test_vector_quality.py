"""Nearest neighbours by vectors alone, compared with a search in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.evaluate.splits import Labelled, LabelledQuery, split
from ednabed.evaluate.vector_quality import fragments_together, measure_neighbours, nearest_names, reversed_queries
from ednabed.sequences.lineage import RANKS
from support import letters
from taxonomy_support import lineage_of, randomly, reverse_complement, world


@pytest.fixture(scope="module")
def data_split():
    records = [Labelled(one.id, one.sequence, one.lineage) for one in world(genera=24, length=200)]
    return split(records, queries=12)


def by_definition(engine, data_split, queries, group, rank) -> float:
    column = RANKS.index(rank)
    training = engine.embed([r.sequence.encode() for r in data_split.training])[0].astype(np.float64)
    training /= np.linalg.norm(training, axis=1, keepdims=True)
    right = []
    for query in queries:
        if query.group == group:
            vector = engine.embed([query.sequence.encode()])[0][0].astype(np.float64)
            cosines = training @ (vector / np.linalg.norm(vector))
            names = {data_split.training[i].lineage[column] for i in np.flatnonzero(cosines >= cosines.max() - 1e-6)}
            right.append((query.lineage[column] in names) / len(names))
    return float(np.mean(right))


@pytest.mark.parametrize("length", [None, 90])
def test_names_of_the_nearest_neighbours(data_split, length):
    engine = Engine(open_embedder("kmer6"))
    queries = data_split.crop(length)
    references, _ = engine.embed([record.sequence.encode() for record in data_split.training])
    found = nearest_names(engine, references, data_split.training, queries, data_split.taxa)
    for group, rank in (("record", "species"), ("species", "genus"), ("genus", "family")):
        defined = by_definition(engine, data_split, queries, group, rank)
        assert found[f"{group} → {rank}"] == pytest.approx(defined, abs=1e-9)
    assert found["record → species among 50"] >= found["record → species"]
    assert 0.5 <= found["new genera told"] <= 1


def test_equally_near_neighbours_share_the_credit():
    """If two species have the same sequence, the query counts half."""
    text = randomly(100, 1)
    training = [Labelled(f"r{i}", text, lineage_of(0, i)) for i in range(2)]
    training.append(Labelled("far", randomly(100, 2), lineage_of(4)))
    present = (True,) * 7
    queries = [LabelledQuery("q", text, lineage_of(0, 1), "record", present)]
    engine = Engine(open_embedder("kmer6"))
    references, _ = engine.embed([record.sequence.encode() for record in training])
    from ednabed.taxonomy.taxa import Taxa

    found = nearest_names(engine, references, training, queries, Taxa(one.lineage for one in training))
    assert found == {
        "record → species": 0.5, "record → species among 50": 1.0, "species → genus": None, "genus → family": None,
        "new genera told": None,
    }  # fmt: skip


def test_queries_that_cannot_be_embedded_count_as_wrong(data_split):
    engine = Engine(open_embedder("kmer6"))
    references, _ = engine.embed([record.sequence.encode() for record in data_split.training])
    queries = [LabelledQuery("q", "NNNNNNNNNN", data_split.training[0].lineage, "record", (True,) * 7)]
    found = nearest_names(engine, references, data_split.training, queries, data_split.taxa)
    assert found["record → species"] == 0 and found["record → species among 50"] == 0


def test_queries_are_reverse_complemented(data_split):
    for query, other in zip(data_split.queries, reversed_queries(data_split.queries), strict=True):
        assert other.sequence == reverse_complement(query.sequence)
        assert (other.id, other.lineage, other.group) == (query.id, query.lineage, query.group)


def test_fragments():
    """Families with different bases are distinguished by composition; one family or short sequences give None."""
    engine = Engine(letters())
    rich = [Labelled(f"a{i}", "AC" * 200, lineage_of(0)) for i in range(3)]
    poor = [Labelled(f"b{i}", "GT" * 200, lineage_of(4)) for i in range(3)]
    from ednabed.taxonomy.taxa import Taxa

    taxa = Taxa(one.lineage for one in rich + poor)
    assert fragments_together(engine, rich + poor, taxa, draws=50, seed=0) == 1.0
    assert fragments_together(engine, rich, taxa, draws=50, seed=0) is None
    short = [Labelled("s", "AC" * 100, lineage_of(0)), Labelled("t", "GT" * 100, lineage_of(4))]
    assert fragments_together(engine, short, taxa, draws=50, seed=0) is None


def test_all_figures_of_an_encoder(data_split):
    crops = {"full": data_split.crop(None), "90": data_split.crop(90)}
    found = measure_neighbours(open_embedder("kmer6"), data_split, crops)
    assert list(found.figures) == ["full", "full, other strand", "90", "90, other strand"]
    assert found.model == "kmer6" and found.fragments is None
    assert found.figures["full, other strand"]["record → species"] < found.figures["full"]["record → species"]
    assert found.to_dict()["figures"]["full"] == found.figures["full"]
