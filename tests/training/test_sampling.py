"""Batches: determined by their number, from one marker, with related taxa."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ednabed.evaluate.splits import Labelled
from ednabed.training.records import pools
from ednabed.training.sampling import Sampler
from ednabed.training.views import Alterations
from taxonomy_support import lineage_of, randomly, world

PLAIN = Alterations(crops=0, altered=0, runs_of_n=0, strands=0)


def records(**settings) -> list[Labelled]:
    return [Labelled(one.id, one.sequence, one.lineage, one.marker) for one in world(length=120, **settings)]


def test_a_batch_depends_only_on_seed_and_number():
    made = pools(records(genera=16))
    first, second = (Sampler(made, 64, Alterations(shortest=50), seed=3) for _ in range(2))
    second.batch(9)
    for number in (0, 5):
        one, other = first.batch(number), second.batch(number)
        np.testing.assert_array_equal(one.records, other.records)
        assert [v.tobytes() for v in one.views] == [v.tobytes() for v in other.views]
    assert first.batch(0).records.tolist() != first.batch(1).records.tolist()
    assert first.batch(0).records.tolist() != Sampler(made, 64, PLAIN, seed=4).batch(0).records.tolist()


def test_two_views_of_each_record_with_its_taxa():
    pool = pools(records(genera=16))[0]
    batch = Sampler([pool], 64, PLAIN, seed=0).batch(0)
    assert len(batch.views) == len(batch.records) == 64
    np.testing.assert_array_equal(batch.records[:32], batch.records[32:])
    assert len(set(batch.records.tolist())) == 32
    for i, row in enumerate(batch.records.tolist()):
        np.testing.assert_array_equal(batch.views[i], pool.codes[row])
        assert all(batch.taxa[rank][i] == pool.taxa[rank][row] for rank in batch.taxa)


def test_every_question_finds_its_positives():
    batch = Sampler(pools(records(genera=16)), 96, PLAIN, seed=0).batch(0)
    genera = {family: set() for family in batch.taxa["family"].tolist()}
    for family, genus in zip(batch.taxa["family"].tolist(), batch.taxa["genus"].tolist(), strict=True):
        genera[family].add(genus)
    assert len(genera) > 1 and max(map(len, genera.values())) > 1
    assert max(Counter(batch.taxa["species"].tolist()).values()) > 2


def test_a_batch_contains_one_marker():
    mixed = records(genera=8, marker="12S") + records(genera=8, seed=5, marker="COI")
    made = pools(mixed)
    assert [pool.marker for pool in made] == ["12S", "COI"]
    sequences = {pool.marker: {codes.tobytes() for codes in pool.codes} for pool in made}
    seen = set()
    for number in range(20):
        views = {v.tobytes() for v in Sampler(made, 32, PLAIN, seed=0).batch(number).views}
        markers = [marker for marker, in_pool in sequences.items() if views <= in_pool]
        assert len(markers) == 1
        seen.add(markers[0])
    assert seen == {"12S", "COI"}


def test_rare_families_are_drawn_as_often_as_large_ones():
    """One family has 200 records of one genus, the other a single record: both are drawn equally often."""
    large = [Labelled(f"a{i}", randomly(120, i), lineage_of(0)) for i in range(200)]
    small = [Labelled("b", randomly(120, 999), lineage_of(4))]
    sampler = Sampler(pools(large + small), 8, PLAIN, seed=0)
    drawn = sum(200 in sampler.batch(number).records for number in range(30))
    assert drawn > 20


def test_a_pool_smaller_than_a_batch():
    made = pools(records(genera=2, species=1, records=2))
    assert len(made[0]) == 4
    assert len(Sampler(made, 64, PLAIN, seed=0).batch(0).views) == 8


def test_records_without_names_are_separate_taxa():
    lineage = ("Animalia", "P", "", "", "", "", "")
    pool = pools([Labelled("a", randomly(100, 1), lineage), Labelled("b", randomly(100, 2), lineage)])[0]
    assert all((numbers == -1).all() for numbers in pool.taxa.values())
    assert len(pool.families) == 2
