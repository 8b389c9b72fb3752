"""ednabed itself under evaluation: the training records that it receives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ednabed.engine.open import open_embedder
from ednabed.evaluate import ednabed_method
from ednabed.evaluate.ednabed_method import EdnabedMethod, labelled_records
from ednabed.evaluate.splits import Labelled, split
from ednabed.taxonomy.labels import read_row_labels
from taxonomy_support import lineage_of, randomly, reference_of, world


class StoppedError(Exception):
    pass


def test_labelled_records_have_their_markers(tmp_path):
    made = [*world(2, length=200, marker="COI"), *world(2, length=200, seed=9)]
    found = labelled_records(reference_of(tmp_path, made))
    assert {(one.id, one.marker) for one in found} == {(one.id, one.marker) for one in made}
    assert {one.marker for one in found} == {"", "COI"}


def test_training_keeps_its_markers(monkeypatch):
    """The calibrated reference has the same markers as the one that is measured."""
    seen = []

    def look(reference, *_, **__):
        labels = read_row_labels(reference)
        seen.append(sorted(labels.markers[n] for n in labels.marker.tolist()))
        raise StoppedError

    monkeypatch.setattr(ednabed_method, "calibrate", look)
    training = [
        Labelled(f"r{i}", randomly(100, i), lineage_of(i), marker) for i, marker in enumerate(["COI", "12S", "", "12S"])
    ]
    with pytest.raises(StoppedError), EdnabedMethod(open_embedder("kmer6")).prepare(training, 1):
        pass
    assert seen == [["", "12S", "12S", "COI"]]


def test_a_split_keeps_the_markers_of_training_records():
    records = [Labelled(one.id, one.sequence, one.lineage, one.marker) for one in world(8, length=200, marker="COI")]
    data_split = split(records, queries=5)
    assert {one.marker for one in data_split.training} == {"COI"}
    assert data_split.queries


def test_numbers_of_source_records_reach_the_reference(monkeypatch):
    """They are a column of the training table and do not affect how sequences and lineages are read."""
    seen = []

    def look(request, *_, **__):
        seen.extend(line.split("\t") for line in request.inputs[0].read_text(encoding="utf-8").splitlines())
        raise StoppedError

    monkeypatch.setattr(ednabed_method, "embed_to_run", look)
    training = [Labelled(f"r{i}", randomly(100, i), lineage_of(i), "COI", 1 + i) for i in range(3)]
    with pytest.raises(StoppedError), EdnabedMethod(open_embedder("kmer6")).prepare(training, 1):
        pass
    assert seen[0][-1] == "n_records"
    assert [row[-1] for row in seen[1:]] == ["1", "2", "3"]


def test_records_of_one_sequence_and_lineage_are_counted(tmp_path):
    made = world(3, length=200)
    repeated = [*made, *(replace(one, id=f"{one.id} again") for one in made[:4])]
    found = labelled_records(reference_of(tmp_path, repeated))
    counts = {one.sequence: one.records for one in found}
    assert [counts[one.sequence] for one in made[:4]] == [2] * 4
    assert sum(counts.values()) == len(repeated)
