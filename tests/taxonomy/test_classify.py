"""Assignments in a small simulated world: right names, the same with any other queries, and sense in bad cases."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.engine.open import open_embedder
from ednabed.errors import StoreError, UsageError
from ednabed.models.spec import Policy
from ednabed.search.align import align
from ednabed.search.queries import Query, QueryBatch
from ednabed.sequences.lineage import RANKS, parse_lineage
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import calibrate
from ednabed.taxonomy.calibration_old import OldGroup, OldRankModel
from ednabed.taxonomy.classify import Classifier
from ednabed.workflows.identify import open_classifier
from taxonomy_support import (
    FOREIGN,
    Barcode,
    batch_of,
    lineage_of,
    randomly,
    reference_of,
    reverse_complement,
    shared_world,
    substituted,
    world,
    world_workspace,
)

WORLD = shared_world()
KNOWN = [b for b in WORLD if b.id.endswith("r1")]


def absent_species():
    """Three more species of each genus, as far from the sequence of the genus as its existing species."""
    found = []
    for genus in range(40):
        firsts = [b.sequence for b in WORLD if b.lineage == lineage_of(genus, int(b.id[-3])) and b.id.endswith("r0")]
        letters = "".join(max(set(column), key=column.count) for column in zip(*firsts, strict=True))
        found += [
            Barcode(f"a{genus}s{s}", substituted(letters, 10, 1_000 * s + genus), lineage_of(genus, s))
            for s in (3, 4, 5)
        ]
    return found


ABSENT = absent_species()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return world_workspace(tmp_path_factory.mktemp("world") / "ws")


@pytest.fixture(scope="module")
def classifier(workspace):
    return open_classifier(workspace, threads=1)


@pytest.fixture(scope="module")
def by_vectors(workspace):
    return open_classifier(workspace, align=False, threads=1)


@pytest.fixture(scope="module")
def uncalibrated(classifier):
    return Classifier(classifier.collection, classifier.embedder, None, Criteria())


@pytest.fixture(scope="module")
def mixed():
    """Queries of every kind: known species, pieces, other strands, new species, N, and unrelated sequences."""
    rng = random.Random(5)
    some = []
    for i in range(54):
        own = WORLD[rng.randrange(len(WORLD))].sequence
        some.append((f"q{i}", (
            own, substituted(own, 3, i), own[100:260], reverse_complement(own), substituted(own, 40, i),
            own[:200] + "N" * 12 + own[212:],
        )[i % 6]))  # fmt: skip
    return [*some, ("foreign", randomly(300, FOREIGN)), *((f"again{i}", text) for i, (_, text) in enumerate(some[:6]))]


def ask(classifier, queries, size=1_000):
    """Return assignments by id, from batches of the given size."""
    batches = [batch_of(classifier.embedder, queries[i : i + size]) for i in range(0, len(queries), size)]
    return [found.assignment for found in classifier.run(batches)]


def one(classifier, sequence):
    return ask(classifier, [("q", sequence)])[0]


def with_criteria(classifier, **more):
    return Classifier(
        classifier.collection, classifier.embedder, classifier.calibration, Criteria(**more),
        align=classifier._align,
    )  # fmt: skip


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classifier", "by_vectors", "uncalibrated"])
def test_members_of_known_species_get_their_names(request, kind):
    asked = [(b.id, substituted(b.sequence, 2, i)) for i, b in enumerate(KNOWN)]
    found = ask(request.getfixturevalue(kind), asked)
    assert [a.id for a in found] == [name for name, _ in asked]
    right = [a.names == b.lineage for a, b in zip(found, KNOWN, strict=True)]
    assert np.mean(right) > 0.98
    given_ = [a.lineage == b.lineage for a, b in zip(found, KNOWN, strict=True)]
    assert np.mean(given_) > (0.98 if kind == "uncalibrated" else 0.8)
    for a, b in zip(found, KNOWN, strict=True):
        assert all(name in ("", truth) for name, truth in zip(a.lineage, b.lineage, strict=True))
        assert (a.strand, a.status, a.novel_rank) == ("+", "assigned", None)


def test_new_species_get_their_genus_and_no_species(classifier):
    found = ask(classifier, [(b.id, b.sequence) for b in ABSENT])
    assert np.mean([a.names[5] == b.lineage[5] for a, b in zip(found, ABSENT, strict=True)]) > 0.95
    assert np.mean([a.lineage[6] == "" for a in found]) > 0.95
    assert {a.novel_rank for a in found} <= {None, "species"}
    absent = [a for a in found if a.status == "not_in_reference"]
    assert all(a.novel_rank == "species" and a.novel_p <= 0.05 and a.novel_q <= 0.05 for a in absent)
    assert all(a.lineage[4] and a.absences[6] >= 0.8 for a in absent)
    assert np.mean([a.lineage[5] != "" for a in absent]) > 0.3, "genera are assumed to be absent as often"
    # If its genus is not sure, the note says so.
    assert all(("absent at species or above" in a.note) == (a.lineage[5] == "") for a in absent)
    assert len(absent) > 0.5 * len(found)
    # No query is of a known species, and the queries themselves show it.
    assert classifier.shares[""].source == "estimated"
    assert classifier.shares[""].known < 0.1


def test_exact_copies_get_their_species(classifier):
    found = ask(classifier, [(b.id, b.sequence) for b in KNOWN])
    assert np.mean([a.lineage == b.lineage for a, b in zip(found, KNOWN, strict=True)]) > 0.95
    assert not [a.id for a in found if a.novel_rank is not None]
    shares = classifier.shares[""]
    assert (shares.source, shares.queries) == ("estimated", len(KNOWN))
    # All are copies; the prior adds 20 queries, half of them copies because the records show no share.
    copies = (len(KNOWN) + 10) / (len(KNOWN) + 20)
    assert shares.known > 0.94 and shares.shares[0] == pytest.approx(0.95 * copies, abs=0.01)


def test_identity_and_coverage_are_those_of_the_alignment(classifier, mixed):
    rows = classifier.collection.take_sequences(np.arange(classifier.collection.rows)).column("sequence").to_pylist()
    records = {}
    for _, table in classifier.collection.scan_records(["id"]):
        records.update(zip(table["id"].to_pylist(), table["row"].to_pylist(), strict=True))
    for a, (_, text) in zip(ask(classifier, mixed[:36]), mixed, strict=False):
        own = reverse_complement(text) if a.strand == "-" else text
        exact = align(own, [rows[records[a.nearest_id]]], strand="plus")[0]
        assert a.identity == pytest.approx(exact.identity, abs=1)
        assert a.coverage == pytest.approx(exact.query_coverage, abs=1)
        vectors = batch_of(classifier.embedder, [("a", own), ("b", rows[records[a.nearest_id]])]).vectors
        assert a.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


def test_confidences_fall_with_rank_and_names_have_no_gaps(classifier, by_vectors, mixed):
    for a in [*ask(classifier, mixed), *ask(by_vectors, mixed)]:
        confidences = [c for c in a.confidences if c is not None]
        assert confidences == sorted(confidences, reverse=True)
        assert all(0 <= c <= 1 for c in confidences)
        assert all(p is None or 0 < p <= 1 for p in a.p_values)
        depth = len([name for name in a.lineage if name])
        assert a.lineage == (a.names[:depth] + ("",) * (len(RANKS) - depth))
        assert (a.status == "not_in_reference") == (a.novel_rank is not None)
        assert (a.withheld is None) == (a.lineage == a.names)
        assert all((p is None) == (q is None) for p, q in zip(a.p_values, a.q_values, strict=True))
        if a.novel_rank is not None:
            # Nothing is absent without a name above it.
            assert RANKS.index(a.novel_rank) >= depth > 0
            assert a.coverage is None or a.coverage >= 80


# -- company ---------------------------------------------------------------------------------------------------------


def plain(a):
    """Return all fields, with numbers rounded as they are written."""
    return (
        a.id, a.status, a.lineage, a.names, a.withheld, a.tied, a.nearest_id, a.nearest_lineage, a.strand, a.marker,
        a.novel_rank, a.note,
        *(None if x is None else round(x, 3) for x in (*a.confidences, *a.p_values, *a.q_values, *a.absences)),
        a.identity, a.coverage,
    )  # fmt: skip


@settings(max_examples=6)
@given(
    st.randoms(use_true_random=False), st.integers(1, 50), st.sampled_from(["classifier", "by_vectors", "uncalibrated"])
)
def test_neither_order_nor_batches_change_an_assignment(request, mixed, random, size, kind):
    own = request.getfixturevalue(kind)
    whole = {a.id: plain(a) for a in ask(own, mixed)}
    asked = list(mixed)
    random.shuffle(asked)
    found = ask(own, asked, size)
    assert [a.id for a in found] == [name for name, _ in asked], "the order of the input"
    assert {a.id: plain(a) for a in found} == whole


def test_similarities_are_the_same_to_the_last_written_digit(classifier, mixed):
    """A table must not change with the number of other queries."""
    together = [f"{a.similarity:.6f}" for a in ask(classifier, mixed)]
    assert [f"{a.similarity:.6f}" for a in ask(classifier, mixed, 1)] == together


def test_threads_do_not_change_an_assignment(classifier, mixed):
    many = Classifier(classifier.collection, classifier.embedder, classifier.calibration, Criteria(), threads=4)
    assert ask(many, mixed * 3) == ask(classifier, mixed * 3)


def test_equal_sequences_get_equal_assignments(classifier, mixed):
    found = {a.id: a for a in ask(classifier, mixed)}
    for i in range(6):
        assert plain(found[f"again{i}"])[1:] == plain(found[f"q{i}"])[1:]


def test_all_batches_are_looked_up_before_anything_is_yielded(classifier, mixed):
    """The assignment of a query depends on how many of the others are of known species."""
    taken = []
    reported = []

    def batches():
        for first in range(0, len(mixed), 10):
            taken.append(first)
            yield batch_of(classifier.embedder, mixed[first : first + 10])

    for number, found in enumerate(classifier.run(batches(), reported.append)):
        assert taken == list(range(0, len(mixed), 10))
        assert sum(reported) == len(mixed) and max(reported) == 10
        assert found.query.info["id"] == mixed[number][0]


def test_no_query(classifier):
    assert list(classifier.run([])) == []
    assert classifier.shares == {}


def test_vectors_and_bases_are_on_the_strand_of_the_reference(classifier, mixed):
    batch = batch_of(classifier.embedder, mixed)
    for found, (_, text) in zip(classifier.run([batch]), mixed, strict=True):
        own = reverse_complement(text) if found.assignment.strand == "-" else text
        assert found.sequence == own
        expected = batch_of(classifier.embedder, [("q", own)]).vectors[0]
        np.testing.assert_allclose(found.vector, expected, atol=1e-6)


# -- strands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classifier", "by_vectors", "uncalibrated"])
def test_the_other_strand_is_found_and_noted(request, kind):
    own = request.getfixturevalue(kind)
    asked = [(b.id, substituted(b.sequence, 2, i)) for i, b in enumerate(KNOWN[:20])]
    forward = ask(own, asked)
    backward = ask(own, [(name, reverse_complement(text)) for name, text in asked])
    for one_, other in zip(forward, backward, strict=True):
        assert (one_.strand, other.strand) == ("+", "-")
        assert other.lineage == one_.lineage
        assert other.nearest_id == one_.nearest_id
        assert "reverse complement" in other.note
        assert not one_.note


def test_the_other_strand_by_vectors_of_both_strands(tmp_path):
    reference = reference_of(tmp_path, world(8, length=300), strand="both")
    embedder = open_embedder("kmer6", Policy(strand="both"))
    own = Classifier(reference, embedder, None, Criteria())
    barcodes = world(8, length=300)[::9]
    for b in barcodes:
        a = one(own, reverse_complement(b.sequence))
        assert (a.strand, a.lineage, a.identity) == ("-", b.lineage, 100)
        assert (one(own, b.sequence).strand, one(own, b.sequence).lineage) == ("+", b.lineage)


def test_an_alignment_of_a_few_bases_does_not_relate_sequences(classifier):
    """Even if it scores better than scrambled sequences do."""
    groups = {name: replace(group, decoys=[]) for name, group in classifier.calibration.groups.items()}
    trusting = Classifier(
        classifier.collection, classifier.embedder, replace(classifier.calibration, groups=groups), Criteria()
    )
    found = ask(trusting, [(str(i), randomly(300, FOREIGN + i)) for i in range(40)])
    assert all(one.coverage < 50 for one in found)
    assert {one.status for one in found} == {"unclassified"}
    assert all("no nearer to the reference" in one.note for one in found)


@pytest.mark.parametrize("kind", ["classifier", "by_vectors", "uncalibrated"])
def test_unrelated_queries_are_not_turned(request, kind):
    """A strand is noted if the other one fits, not if both are unrelated."""
    found = ask(request.getfixturevalue(kind), [(str(i), randomly(300, FOREIGN + i)) for i in range(30)])
    like_nothing = [a for a in found if not any(a.lineage if kind == "uncalibrated" else a.names)]
    assert len(like_nothing) > 20
    assert not [a.note for a in like_nothing if "reverse complement" in a.note]
    assert {a.strand for a in like_nothing} == {"+"}


# -- what the reference does not hold --------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [25, 60, 100, 150, 300, 600])
def test_another_marker_is_reported_not_forced(classifier, length):
    """Of unrelated sequences one in twenty may be mistaken, on either strand; none gets a genus."""
    found = ask(classifier, [(str(i), randomly(length, FOREIGN + i)) for i in range(100)])
    assert not [(a.lineage, a.coverage, a.strand) for a in found if a.lineage[5]]
    named = [a for a in found if any(a.lineage) or a.status == "not_in_reference"]
    assert len(named) <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5
    assert all("another marker" in a.note for a in found if not any(a.names))


def test_another_marker_longer_than_all_draws_is_reported_too(tmp_path, classifier):
    """A reference of short sequences has no draws of 600 bases; what was learned about short ones is sufficient."""
    reference = reference_of(tmp_path, world(24, length=200))
    own = Classifier(reference, classifier.embedder, calibrate(reference, classifier.embedder, queries=700), Criteria())
    found = ask(own, [(str(i), randomly(600, FOREIGN + i)) for i in range(40)])
    assert (
        sum(any(a.lineage) or a.status == "not_in_reference" for a in found)
        <= 40 * 0.05 + 3 * (40 * 0.05 * 0.95) ** 0.5
    )


@pytest.mark.parametrize("length", [25, 60, 100, 150, 300, 600])
def test_another_marker_is_reported_by_vectors_too(by_vectors, length):
    found = ask(by_vectors, [(str(i), randomly(length, FOREIGN + i)) for i in range(100)])
    assert not [a.lineage for a in found if a.lineage[5]]
    named = [a for a in found if any(a.lineage) or a.status == "not_in_reference"]
    assert len(named) <= 100 * 0.05 + 3 * (100 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("length", [25, 60, 100, 150, 300, 600])
def test_another_marker_is_not_forced_without_calibration(uncalibrated, length):
    """A few bases at the ends always match: identity over one percent of a query means nothing."""
    found = ask(uncalibrated, [(str(i), randomly(length, FOREIGN + i)) for i in range(40)])
    assert not [(a.lineage, a.identity, a.coverage) for a in found if any(a.lineage[3:])]


def test_a_marker_is_named(tmp_path):
    own = Classifier(
        reference_of(tmp_path, [*world(4, length=200, marker="COI"), *world(4, length=200, seed=3, marker="12S")]),
        open_embedder("kmer6"), None, Criteria(),
    )  # fmt: skip
    assert one(own, world(4, length=200)[5].sequence).marker == "COI"
    assert one(own, world(4, length=200, seed=3)[5].sequence).marker == "12S"


# -- labels ----------------------------------------------------------------------------------------------------------


def small(tmp_path, *entries, **more):
    """A classifier built from a few (sequence, lineage) pairs, without calibration."""
    barcodes = [Barcode(f"r{i}", text, lineage) for i, (text, lineage) in enumerate(entries)]
    return Classifier(reference_of(tmp_path, barcodes), open_embedder("kmer6"), None, Criteria(**more))


def test_no_labels_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no record with a lineage, so it cannot assign taxonomy"):
        small(tmp_path, (randomly(100, 1), ("",) * 7))


def test_labels_for_part_of_it(tmp_path):
    """Unlabelled records are not used: the nearest labelled one gives the name."""
    base = randomly(300, 1)
    own = small(tmp_path, (base, ("",) * 7), (substituted(base, 6, 1), lineage_of(0)), (randomly(300, 2), ("",) * 7))
    a = one(own, base)
    assert (a.lineage, a.nearest_id, a.identity) == (lineage_of(0), "r1", 98)


def test_one_species_only(tmp_path, classifier):
    base = randomly(400, 1)
    barcodes = [Barcode(f"r{i}", substituted(base, 1 + i % 6, i), lineage_of(0)) for i in range(210)]
    reference = reference_of(tmp_path, barcodes)
    own = Classifier(reference, classifier.embedder, calibrate(reference, classifier.embedder), Criteria())
    for judge in (own, Classifier(reference, classifier.embedder, None, Criteria())):
        a = one(judge, base)
        assert (a.lineage, a.confidence, a.status) == (lineage_of(0), None, "assigned")
        assert one(judge, substituted(base, 60, 1)).lineage[6] == ""
    # Here it cannot be learned how another species looks, so none is reported as absent.
    assert one(own, substituted(base, 60, 1)).novel_rank is None
    assert not any(one(own, randomly(400, FOREIGN)).lineage)


def test_skipped_ranks_stay_empty(tmp_path):
    gaps = ("Animalia", "Chordata", "", "", "Muridae", "", "Rattus rattus")
    base = randomly(200, 1)
    own = small(tmp_path, (base, gaps), (randomly(200, 2), lineage_of(3)))
    assert one(own, base).lineage == gaps
    assert one(own, substituted(base, 8, 1)).lineage == ("Animalia", "Chordata", "", "", "Muridae", "", "")


def test_homonyms_in_two_phyla_are_two(tmp_path):
    moss = ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus rattus")
    rat = ("Animalia", "Chordata", "", "", "", "Rattus", "Rattus rattus")
    base, other = randomly(200, 1), randomly(200, 2)
    own = small(tmp_path, (base, moss), (other, rat), (base + "A", rat), (other + "C", moss), (randomly(200, 3), rat))
    assert one(own, randomly(200, 3)).lineage == rat
    # At the same distance from both: no name is given, both are reported as tied.
    a = one(own, base)
    assert (a.lineage, a.status, a.withheld) == (("",) * 7, "unclassified", "tie")
    assert set(a.tied) == {moss, rat}


def test_a_sequence_of_two_species_gets_their_genus(tmp_path):
    base = randomly(300, 1)
    own = small(tmp_path, (base, lineage_of(0, 0)), (base, lineage_of(0, 1)), (randomly(300, 2), lineage_of(9)))
    a = one(own, base)
    assert (a.lineage, a.status, a.identity) == (lineage_of(0, None), "assigned", 100)
    assert set(a.tied) == {lineage_of(0, 0), lineage_of(0, 1)}


def test_a_piece_that_two_species_share_gets_their_genus(classifier, tmp_path):
    base = randomly(300, 1)
    own = small(
        tmp_path, (base + randomly(200, 2), lineage_of(0, 0)), (base + randomly(200, 3), lineage_of(0, 1)),
        (randomly(500, 4), lineage_of(9)),
    )  # fmt: skip
    a = one(own, base[20:280])
    assert (a.lineage, set(a.tied)) == (lineage_of(0, None), {lineage_of(0, 0), lineage_of(0, 1)})


def test_more_ties_than_the_shortlist_holds_are_reported(tmp_path):
    """A short piece is in hundreds of sequences: all of one length and species come first in the shortlist."""
    piece = randomly(150, 1)
    short = [Barcode(f"a{i}", piece + randomly(150, 100 + i), lineage_of(0, 0)) for i in range(110)]
    long = [Barcode(f"b{i}", piece + randomly(350, 300 + i), lineage_of(0, 1)) for i in range(110)]
    own = Classifier(reference_of(tmp_path, short + long), open_embedder("kmer6"), None, Criteria())
    a = one(own, piece)
    assert a.lineage == lineage_of(0, None)
    assert set(a.tied) == {lineage_of(0, 0), lineage_of(0, 1)}


def test_one_record_per_species(tmp_path, classifier):
    """There are no new sequences of known species to learn from, but copies are near and other species far."""
    barcodes = world(70, records=1, length=400)
    reference = reference_of(tmp_path, barcodes)
    calibration = calibrate(reference, classifier.embedder, queries=1_200)
    assert "record" not in calibration.groups[""].draws
    own = Classifier(reference, classifier.embedder, calibration, Criteria())
    for differing in (0, 2):
        a = one(own, substituted(barcodes[5].sequence, differing, 1))
        assert (a.lineage, a.status) == (barcodes[5].lineage, "assigned")
    assert one(own, substituted(barcodes[5].sequence, 30, 1)).lineage[6] == ""


def test_a_rank_about_which_nothing_was_learned_is_named_by_the_fixed_limit(classifier):
    group = classifier.calibration.groups[""]
    models = {
        name: replace(model, ranks={rank: own for rank, own in model.ranks.items() if rank != "species"})
        for name, model in group.models.items()
    }
    calibration = replace(classifier.calibration, groups={"": replace(group, models=models)})
    own = Classifier(classifier.collection, classifier.embedder, calibration, Criteria())
    known = KNOWN[5]
    a = one(own, substituted(known.sequence, 2, 1))
    assert (a.lineage, a.status, a.confidence) == (known.lineage, "assigned", None)
    assert "species by the fixed threshold of 97 % identity" in a.note
    assert one(own, substituted(known.sequence, 30, 1)).lineage[6] == ""
    strict = Classifier(classifier.collection, classifier.embedder, calibration, Criteria(min_confidence=1.0))
    assert one(strict, substituted(known.sequence, 2, 1)).lineage[6] == "", "nor where a rank above is withheld"


def test_the_nearest_record_has_the_names_that_are_given(tmp_path):
    """For a sequence that two species share, the record of the one with more votes, although the other comes first."""
    base = randomly(300, 1)
    many, few = lineage_of(0, 1), lineage_of(0, 0)
    own = small(
        tmp_path, (base, few), (base, many), (base, many), (substituted(base, 3, 1), few), (randomly(300, 2), many)
    )
    a = one(own, base)
    assert (a.names, a.nearest_lineage, a.nearest_id) == (many, many, "r1")


# -- bases and limits ------------------------------------------------------------------------------------------------


def test_queries_with_n(classifier, uncalibrated):
    known = KNOWN[7]
    rng = random.Random(1)
    for share in (0.02, 0.1):
        letters = list(known.sequence)
        for i in rng.sample(range(500), int(500 * share)):
            letters[i] = "N"
        a = one(classifier, "".join(letters))
        assert a.lineage == known.lineage
        assert a.coverage == 100
        assert one(uncalibrated, "".join(letters)).names == known.lineage


def test_unknown_bases_do_not_remove_a_species_without_calibration(uncalibrated):
    """All known bases of the query match those of the species."""
    known = KNOWN[7].sequence
    a = one(uncalibrated, known[:200] + "N" * 25 + known[225:])
    assert a.lineage == KNOWN[7].lineage


@pytest.mark.parametrize(("unknown", "differing", "rank"), [
    (0, 15, "species"), (0, 16, "genus"), (25, 14, "species"), (25, 15, "genus"), (100, 12, "species"),
    (100, 13, "genus"), (300, 6, "species"), (300, 7, "genus"),
])  # fmt: skip
def test_fixed_limits_apply_to_the_known_bases(tmp_path, unknown, differing, rank):
    """97 % of the known bases agree, or almost; N in the query or in the reference."""
    base = randomly(500, 1)
    changed = substituted(base[unknown:], differing, 3)
    for query, row in ((base, "N" * unknown + changed), ("N" * unknown + changed, base)):
        own = small(
            tmp_path / str(len(list(tmp_path.iterdir()))), (row, lineage_of(0)), (randomly(500, 2), lineage_of(9))
        )
        a = one(own, query)
        assert [rank for rank, name in zip(RANKS, a.lineage, strict=True) if name][-1] == rank
        # The identity that is reported is that of the alignment, in which N agrees with nothing.
        assert a.identity == pytest.approx(100 * (500 - unknown - differing) / 500)
        assert a.coverage == 100


def test_an_overlap_of_less_than_half_gives_no_name_without_calibration(tmp_path):
    """The last bases of one are the first of the other: a dovetail of 100 of 300 means nothing, of 200 it does."""
    base = randomly(500, 1)
    own = small(tmp_path, (base[:300], lineage_of(0)), (randomly(300, 2), lineage_of(9)))
    assert one(own, base[100:400]).lineage == lineage_of(0)
    a = one(own, base[200:500])
    assert (a.lineage, a.status, a.nearest_id) == (("",) * 7, "unclassified", "r0")
    assert a.identity == 100
    assert a.coverage == pytest.approx(100 / 3)


@pytest.mark.parametrize("kind", ["classifier", "by_vectors", "uncalibrated"])
def test_a_thousand_unknown_bases(request, kind):
    """In the middle of a query, before it, or alone."""
    own = request.getfixturevalue(kind)
    known = KNOWN[7]
    for text in (known.sequence[:250] + "N" * 1_000 + known.sequence[250:], "N" * 1_000 + known.sequence):
        a = one(own, text)
        assert a.status in ("assigned", "not_in_reference", "unclassified")
        assert all(name in ("", truth) for name, truth in zip(a.lineage, known.lineage, strict=True))
    _, refused = own._engine.embed([b"N" * 1_000])
    assert set(refused) == {0}, "it is rejected before it is looked up"


def test_memory_for_a_record_of_a_million_bases_does_not_grow_with_the_others(tmp_path):
    """Every query is compared with it: the table of diagonals must not grow with all candidates."""
    barcodes = world(12, length=300)
    long = Barcode("long", randomly(1_000_000, 77), lineage_of(99))
    reference = reference_of(tmp_path, [*barcodes, long])
    own = Classifier(reference, open_embedder("kmer6"), None, Criteria())
    queries = [(b.id, substituted(b.sequence, 1, i)) for i, b in enumerate(barcodes[:20])]
    queries += [("piece", long.sequence[500_000:500_300]), ("foreign", randomly(300, FOREIGN))]
    batch = batch_of(own.embedder, queries)
    tracemalloc.start()
    found = {f.assignment.id: f.assignment for f in own.run([batch])}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A table of all 145 candidates by a million diagonals would take 1.2 GB.
    assert peak < 150e6
    assert all(found[b.id].lineage == b.lineage for b in barcodes[:20])
    assert (found["piece"].lineage, found["piece"].nearest_id) == (lineage_of(99), "long")
    assert (found["piece"].identity, found["piece"].coverage) == (100, 100)
    assert not any(found["foreign"].lineage[3:])


def test_the_shortest_queries(classifier, uncalibrated):
    for own in (classifier, uncalibrated):
        for length in (20, 24, 40):
            a = one(own, WORLD[10].sequence[200 : 200 + length])
            assert a.status in ("assigned", "not_in_reference", "unclassified")
            assert a.lineage[6] in ("", WORLD[10].lineage[6])


def test_queries_longer_than_any_sequence(classifier):
    known = KNOWN[3]
    a = one(classifier, randomly(3_000, FOREIGN) + known.sequence + randomly(3_000, FOREIGN + 1))
    assert a.coverage == pytest.approx(100 * 500 / 6_500, abs=1)
    assert a.names == known.lineage or not any(a.names)


@pytest.mark.parametrize(("limit", "note"), [("min_identity", "identity"), ("min_coverage", "coverage")])
def test_limits_of_identity_and_coverage(classifier, limit, note):
    known = KNOWN[4]
    text = substituted(known.sequence, 6, 2)
    if limit == "min_coverage":
        text = known.sequence[250:] + randomly(250, FOREIGN)
    value = getattr(one(classifier, text), note)
    below = one(with_criteria(classifier, **{limit: value + 0.5}), text)
    assert (below.status, below.lineage, below.novel_rank) == ("unclassified", ("",) * 7, None)
    assert note in below.note
    assert "requested" in below.note
    above = one(with_criteria(classifier, **{limit: value - 0.5}), text)
    assert above.lineage == one(classifier, text).lineage


@pytest.mark.parametrize("limit", ["min_identity", "min_coverage"])
def test_limits_that_need_alignment_are_refused_by_vectors_alone(workspace, by_vectors, limit):
    """Without bases there is no identity: a limit of it must not be ignored silently."""
    for least in (97, 0.1):
        with pytest.raises(UsageError, match=rf"without alignment.*`{limit}`.*`align=False`"):
            open_classifier(workspace, align=False, criteria=Criteria(**{limit: least}), threads=1)
        with pytest.raises(UsageError, match=limit):
            with_criteria(by_vectors, **{limit: least})
    # A limit of 0 is no limit.
    assert one(with_criteria(by_vectors, **{limit: 0}), KNOWN[0].sequence).lineage == KNOWN[0].lineage


def test_vectors_alone_need_a_calibration(classifier):
    with pytest.raises(UsageError, match="is not calibrated, and without alignment"):
        Classifier(classifier.collection, classifier.embedder, None, Criteria(), align=False)


def test_rejected_queries_keep_their_position(classifier):
    batch = batch_of(classifier.embedder, [("a", KNOWN[0].sequence), ("b", KNOWN[1].sequence)])
    bad = Query({"id": "bad", "rejected": "letter '!' at position 3"})
    found = list(classifier.run([QueryBatch([bad, batch.queries[0], bad, batch.queries[1]], [1, 3], batch.vectors)]))
    assert [f.assignment.status for f in found] == ["rejected", "assigned", "rejected", "assigned"]
    assert [f.assignment.id for f in found] == ["bad", "a", "bad", "b"]
    assert found[0].assignment.note == "letter '!' at position 3"
    assert found[0].vector is found[0].sequence is None
    assert next(classifier.run([QueryBatch([bad], [], batch.vectors[:0])])).assignment.status == "rejected"


# -- the study -------------------------------------------------------------------------------------------------------


def assorted(known, count=120):
    """Queries of which a share is of known species, the others of absent species of known genera."""
    there = list(itertools.islice(WORLD, 0, None, 4))[: round(known * count)]
    return [
        *((f"q{i}", substituted(b.sequence, 2, i)) for i, b in enumerate(there)),
        *((f"q{i}", ABSENT[i].sequence) for i in range(len(there), count)),
    ]


@pytest.mark.parametrize("known", [0.1, 0.5, 0.9])
def test_shares_are_estimated_from_the_queries(classifier, known):
    found = ask(classifier, assorted(known))
    shares = classifier.shares[""]
    assert (shares.source, shares.queries) == ("estimated", 120)
    assert shares.known == pytest.approx(known, abs=0.08)
    assert len(found) == 120


def test_the_same_sequence_again_counts_once(classifier):
    """Neither the shares nor the false discovery rates may depend on how often a file contains a sequence."""
    asked = assorted(0.5)
    once = ask(classifier, asked)
    shares = classifier.shares
    more = asked + [(f"again{i}", text) for i, (_, text) in enumerate(asked[:40] * 5)]
    often = ask(classifier, more, 33)
    # Except for the last digit of sums.
    assert classifier.shares[""].shares == pytest.approx(shares[""].shares)
    assert classifier.shares[""].queries == shares[""].queries == 120
    assert [plain(a) for a in often[:120]] == [plain(a) for a in once]
    assert [plain(a)[1:] for a in often[120:]] == [plain(a)[1:] for a in once[:40] * 5]


def test_rates_are_those_of_the_distinct_queries(classifier):
    """By definition: m times the share of known species times p, divided by the claims that are at least as sure."""
    asked = assorted(0.5)
    found = ask(classifier, asked)
    known = classifier.shares[""].known
    claims = sorted(a.p_values[6] for a in found if a.absences[6] >= 0.8)
    assert len(claims) > 20
    for a in found:
        for p, q in zip(a.p_values, a.q_values, strict=True):
            if p is not None:
                rates = [known * 120 * t / sum(c <= t for c in claims) for t in [p, *claims] if p <= t >= claims[0]]
                assert q == pytest.approx(min([*rates, 1.0]))
        if a.novel_rank is not None:
            assert a.novel_q == a.q_values[RANKS.index(a.novel_rank)] <= 0.05


def test_few_queries_take_the_assumed_shares(classifier):
    ask(classifier, assorted(0.9, 49))
    shares = classifier.shares[""]
    assert (shares.source, shares.queries) == ("default", 49)
    assert shares.known == pytest.approx(classifier.calibration.known)
    # Fifty queries with one duplicate are 49.
    asked = assorted(0.9, 49)
    ask(classifier, [*asked, ("again", asked[0][1])])
    assert classifier.shares[""].source == "default"


def test_unrelated_queries_are_not_part_of_the_study(classifier):
    asked = assorted(0.5)
    ask(classifier, asked)
    shares = classifier.shares[""]
    found = ask(classifier, asked + [(f"x{i}", randomly(300, FOREIGN + i)) for i in range(30)])
    unrelated = sum(not any(a.names) for a in found)
    assert unrelated > 20
    assert classifier.shares[""].queries == 150 - unrelated
    assert classifier.shares[""].known == pytest.approx(shares.known, abs=0.06)


def test_the_share_of_known_species_can_be_fixed(classifier):
    asked = assorted(0.5)
    assignments = {}
    for known in (0.1, 0.9):
        own = with_criteria(classifier, known=known)
        assignments[known] = ask(own, asked)
        shares = own.shares[""]
        assert (shares.source, shares.queries) == ("fixed", 120)
        assert shares.known == pytest.approx(known)
    for few, many in zip(assignments[0.1], assignments[0.9], strict=True):
        if few.confidences[6] is not None and not few.tied:
            assert few.confidences[6] <= many.confidences[6] + 1e-9
            assert few.absences[6] >= many.absences[6] - 1e-9
    assert (
        np.mean([a.confidences[6] for a in assignments[0.1]])
        < np.mean([a.confidences[6] for a in assignments[0.9]]) - 0.02
    )


def test_a_precision_uses_the_confidence_that_reached_it(classifier):
    own = with_criteria(classifier, precision=0.9)
    found = ask(own, assorted(0.5))
    group, shares = classifier.calibration.groups[""], np.array(own.shares[""].shares)
    cutoffs = [group.cutoff(rank, 0.9, shares) for rank in RANKS]
    assert cutoffs[6] is not None and own.unreached == {}
    for a in found:
        depth = len([name for name in a.lineage if name])
        if a.withheld == "confidence":
            assert a.confidences[depth] < cutoffs[depth]
        if depth:
            assert a.confidences[depth - 1] >= cutoffs[depth - 1]


def test_a_precision_that_was_never_reached_gives_no_name(classifier):
    never = {
        name: replace(group, precision={**group.precision, "species": [(0.5, 0.5, 0.0, [0.5] * 100)]})
        for name, group in classifier.calibration.groups.items()
    }
    own = Classifier(
        classifier.collection, classifier.embedder, replace(classifier.calibration, groups=never),
        Criteria(precision=0.9),
    )  # fmt: skip
    found = ask(own, assorted(0.5))
    assert own.unreached == {"": ["species"]}
    assert not [a.lineage for a in found if a.lineage[6]]
    assert sum(bool(a.lineage[5]) for a in found) > 60


@pytest.mark.parametrize("more", [{"precision": 0.9}, {"known": 0.5}])
def test_criteria_that_need_a_calibration_are_refused_without_one(classifier, more):
    old = replace(classifier.calibration, schema=1)
    for calibration, reason in ((None, "is not calibrated"), (old, "has a calibration of an earlier version")):
        with pytest.raises(UsageError, match=f"{reason}, so `precision` and `known` cannot be used"):
            Classifier(classifier.collection, classifier.embedder, calibration, Criteria(**more))


def test_nothing_is_absent_if_a_query_is_barely_compared(classifier):
    """A part of it is of a new species, the rest aligns to no sequence of the reference."""
    asked = assorted(0)
    joined = [(name, text[100:] + randomly(150, FOREIGN + i)) for i, (name, text) in enumerate(asked)]
    assert sum(a.novel_rank is not None for a in ask(classifier, asked)) > 40
    found = ask(classifier, joined)
    assert all(a.coverage < 80 for a in found)
    assert not [a.id for a in found if a.novel_rank is not None]
    loose = ask(with_criteria(classifier, novel_coverage=0), joined)
    assert sum(a.novel_rank is not None for a in loose) > 20


# -- consensus, and calibrations of earlier versions -----------------------------------------------------------------


def test_a_consensus_names_without_confidences(classifier):
    own = with_criteria(classifier, consensus=True)
    found = ask(own, [(b.id, substituted(b.sequence, 2, i)) for i, b in enumerate(KNOWN)])
    assert np.mean([a.lineage == b.lineage for a, b in zip(found, KNOWN, strict=True)]) > 0.95
    for a in found:
        assert {a.status, a.novel_rank} <= {"assigned", None}
        assert set(a.confidences) == set(a.p_values) == set(a.absences) == {None}
        assert a.tied == ()
    assert own.shares == {}
    assert not any(one(own, randomly(300, FOREIGN)).lineage[3:])


def test_a_consensus_needs_bases(classifier):
    with pytest.raises(UsageError, match="`consensus` compares identities, which need alignment"):
        Classifier(
            classifier.collection, classifier.embedder, classifier.calibration, Criteria(consensus=True),
            align=False,
        )  # fmt: skip


def test_a_consensus_is_the_majority_of_the_best_hits(tmp_path):
    base = randomly(300, 1)
    one_, other = lineage_of(0, 0), lineage_of(0, 1)
    own = small(
        tmp_path, (substituted(base, 1, 1), one_), (substituted(base, 2, 2), other), (substituted(base, 2, 3), other),
        (substituted(base, 6, 4), one_), (substituted(base, 6, 5), one_), (randomly(300, 2), lineage_of(9)),
        consensus=True,
    )  # fmt: skip
    a = one(own, base)
    assert (a.lineage, a.nearest_lineage) == (other, one_)
    strict = Classifier(own.collection, own.embedder, None, Criteria(consensus=True, margin=0))
    assert one(strict, base).lineage == one_
    wide = Classifier(own.collection, own.embedder, None, Criteria(consensus=True, margin=3))
    assert one(wide, base).lineage == one_


def test_a_calibration_of_schema_1_still_classifies(classifier):
    """Its p-values are those of distances, and half of the queries are assumed to be known."""
    zeros, ones = [0.0] * 8, [1.0] * 8
    sure = OldRankModel([[] for _ in range(8)], zeros, zeros, zeros, ones, zeros, 3.0, 400)
    # Members of a species are nearer than 2 %, those of a genus than 8 %.
    nulls = {"species": [[0.02] * 99, [0.02] * 99, [0.02] * 99], "genus": [[], [], [0.08] * 99]}
    group = OldGroup({rank: sure for rank in RANKS[:6]}, nulls, [(25, 0.3), (400, 0.4)], {"record": 400})
    old = replace(classifier.calibration, groups={"": group}, vector_groups={}, schema=1)
    own = Classifier(classifier.collection, classifier.embedder, old, Criteria())
    asked = [(b.id, substituted(b.sequence, n, i)) for i, b in enumerate(KNOWN[:60]) for n in (1, 30)]
    found = ask(own, asked)
    assert own.shares == {}
    p = [a.p_values[6] for a in found]
    assert p == pytest.approx([1.0, 0.01] * 60)
    for a, b in zip(found[::2], KNOWN, strict=False):
        assert a.lineage[:6] == b.lineage[:6]
        assert a.confidences[0] == pytest.approx(1 / (1 + math.exp(-3)))
    # 120 queries, half known, by 60 claims: 0.01.
    new = [a for a in found[1::2] if a.status == "not_in_reference"]
    assert len(new) == 60 and {a.novel_rank for a in new} == {"species"}
    assert [a.novel_q for a in new] == pytest.approx([0.01] * 60)
    assert {a.absences for a in found} == {(None,) * 7}


# -- real sequences --------------------------------------------------------------------------------------------------


def real(shared, marker, count):
    """Every thirtieth record of a marker's table, if it has a species and no N."""
    path = shared / "data" / f"{marker}.tsv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    some = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in itertools.islice(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 0, None, 30):
            lineage = parse_lineage(";".join(row[rank] for rank in RANKS))
            if lineage and lineage[6] and not set(row["sequence"]) - set("ACGT"):
                some.append(Barcode(f"{marker}{len(some)}", row["sequence"], lineage))
            if len(some) == count:
                break
    return some


def test_real_12s_sequences(shared, tmp_path):
    some = real(shared, "12s", 500)
    embedder = open_embedder("kmer6")
    known, left_out = [b for i, b in enumerate(some) if i % 8], some[::8]
    reference = reference_of(tmp_path, known)
    own = Classifier(reference, embedder, calibrate(reference, embedder, queries=700), Criteria())
    for a, b in zip(ask(own, [(b.id, b.sequence) for b in known[:20]]), known, strict=False):
        assert a.identity == 100
        assert a.nearest_lineage == b.lineage or b.lineage in a.tied or a.nearest_id != b.id
    found = ask(own, [(b.id, b.sequence) for b in left_out])
    present = {b.lineage[6] for b in known}
    unknown = [a for a, b in zip(found, left_out, strict=True) if b.lineage[6] not in present]
    assert sum(bool(a.lineage[6]) for a in unknown) < 0.1 * len(unknown)
    orders = [a.names[3] == b.lineage[3] for a, b in zip(found, left_out, strict=True) if b.lineage[3]]
    assert np.mean(orders) > 0.5
    # Another marker of the same animals: hardly any may seem to be related, and none in detail.
    unrelated = ask(own, [(b.id, b.sequence) for b in real(shared, "coi", 40)])
    assert not [(a.lineage, a.coverage) for a in unrelated if any(a.lineage[2:])]
    assert sum(a.status != "unclassified" for a in unrelated) <= 40 * 0.05 + 3 * (40 * 0.05 * 0.95) ** 0.5
