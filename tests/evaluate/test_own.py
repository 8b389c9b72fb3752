"""ednabed itself under evaluation: what it is given of the training records."""

from __future__ import annotations

import pytest

from ednabed.engine.open import open_embedder
from ednabed.evaluate import own
from ednabed.evaluate.own import Own, labelled_records
from ednabed.evaluate.splits import Labelled, split
from ednabed.taxonomy.labels import read_labels
from taxonomy_support import lineage_of, randomly, reference_of, world


class StoppedError(Exception):
    pass


def test_labelled_records_have_their_markers(tmp_path):
    made = [*world(2, length=200, marker="COI"), *world(2, length=200, seed=9)]
    found = labelled_records(reference_of(tmp_path, made))
    assert {(one.id, one.marker) for one in found} == {(one.id, one.marker) for one in made}
    assert {one.marker for one in found} == {"", "COI"}


def test_training_keeps_its_markers(monkeypatch):
    """What is calibrated is a reference of the same markers as the one that is measured."""
    seen = []

    def look(reference, *_, **__):
        labels = read_labels(reference)
        seen.append(sorted(labels.markers[n] for n in labels.marker.tolist()))
        raise StoppedError

    monkeypatch.setattr(own, "calibrate", look)
    training = [
        Labelled(f"r{i}", randomly(100, i), lineage_of(i), marker) for i, marker in enumerate(["COI", "12S", "", "12S"])
    ]
    with pytest.raises(StoppedError), Own(open_embedder("kmer6")).prepare(training, 1):
        pass
    assert seen == [["", "12S", "12S", "COI"]]


def test_a_split_leaves_markers_in_training():
    records = [Labelled(one.id, one.sequence, one.lineage, one.marker) for one in world(8, length=200, marker="COI")]
    parted = split(records, queries=5)
    assert {one.marker for one in parted.training} == {"COI"}
    assert parted.queries
