"""Calibration on a small simulated world: excluded records stay out, randomness is seeded, too little is refused."""

from __future__ import annotations

import csv
import gzip
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ednabed.engine.open import open_embedder
from ednabed.errors import StoreError, UsageError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy import calibrate as module
from ednabed.taxonomy import candidates
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import calibrate
from ednabed.taxonomy.calibration import ALL_LENGTHS, Calibration
from ednabed.taxonomy.classify import Classifier
from ednabed.taxonomy.draws import LEVEL_NAMES, LEVELS, PARTS
from ednabed.taxonomy.labels import read_row_labels
from ednabed.taxonomy.lengths import LENGTH_NAMES
from ednabed.taxonomy.situations import SITUATIONS
from taxonomy_support import Barcode, batch_of, lineage_of, randomly, reference_of, substituted, world

FEWEST, DRAWS = 300, 420


@pytest.fixture(scope="module")
def embedder():
    return open_embedder("kmer6")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Twenty-four genera: the minimum number of draws takes a second or two."""
    return reference_of(tmp_path_factory.mktemp("calibrate"), world(24, records=(3, 2, 4), length=400))


@pytest.fixture(scope="module")
def seen():
    """What was weighed while ``calibration`` was built: candidates and what was left out."""
    return []


@pytest.fixture(scope="module")
def calibration(reference, embedder, seen):
    weigh = module.weigh

    def spy(found, labels, left_out=None):
        seen.append((found, left_out))
        return weigh(found, labels, left_out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "weigh", spy)
        return calibrate(reference, embedder, queries=DRAWS)


def without_time(found):
    return replace(found, created="")


def test_a_seed_gives_the_same_result_with_any_number_of_threads(reference, embedder, calibration):
    again = calibrate(reference, embedder, queries=DRAWS, threads=3)
    assert without_time(again) == without_time(calibration)
    other = calibrate(reference, embedder, queries=DRAWS, seed=1)
    assert other.groups != calibration.groups


def test_draws_of_every_level_up_to_the_requested_number(calibration):
    group = calibration.groups[""]
    # Each phylum has one class, so none can be left out.
    assert set(group.draws) == set(LEVEL_NAMES.values()) - {"class"}
    assert FEWEST <= sum(group.draws.values()) <= DRAWS
    once = group.draws["order"]
    assert group.draws == {
        LEVEL_NAMES[level]: once * share for level, share in zip(LEVELS, PARTS, strict=True) if level != 2
    }


def test_what_is_left_out_does_not_vote(calibration, reference, seen):
    labels = read_row_labels(reference)
    own = [left_out.query_taxa[0] for _, left_out in seen if left_out is not None]
    ranks = {tuple(rank for rank in range(7) if taxon in labels.taxa[:, rank]) for taxon in own}
    assert ranks == {(rank,) for rank in range(7) if rank not in (0, 2)}
    letters = candidates.read_bases(reference)
    kinds = set()
    for found, left_out in seen:
        kind = "copy" if left_out is None else "taxon" if left_out.rows is None else "record"
        kinds.add(kind)
        aligned = (found.overlaps >= 0).any()
        for i, rows in enumerate(found.rows.tolist()):
            there = [row for row in rows if row >= 0]
            if kind == "taxon":
                assert int(left_out.query_taxa[i]) not in labels.taxa[labels.main[there]]
                continue
            if kind == "record":
                assert int(left_out.rows[i]) not in there
            if found.lengths[i] == 400:
                # Its own record has no mismatch, or distance 0; all sequences differ.
                same = found.mismatches[i, 0] == 0 if aligned else found.distances[i, 0] < 0.001
                assert same == (kind == "copy")
    assert kinds == {"copy", "record", "taxon"}
    assert letters.lengths.min() == 400


def test_nulls_are_sorted_and_rise_with_what_is_missing(calibration):
    for groups in (calibration.groups, calibration.vector_groups):
        nulls = groups[""].nulls
        assert set(nulls) == {"species", "genus", "family", "order"}
        for parts in nulls.values():
            assert len(parts) == len(LENGTH_NAMES)
            assert all(len(part) == len(SITUATIONS) for part in parts)
            assert all(own == sorted(own) for part in parts for own in part)
        for rank, count in (("species", 2), ("genus", 3), ("family", 4), ("order", 5)):
            scores = [np.concatenate([part[situation] for part in nulls[rank]]) for situation in range(6)]
            assert [len(own) > 0 for own in scores] == [situation < count for situation in range(6)]
            # Copies, and the last situation that leaves the rank in the reference.
            assert np.median(scores[0]) < np.median(scores[count - 1]), rank


def test_what_was_learned_holds_on_other_draws(calibration):
    """In this world members of a species differ by 1 %, sister species by 4 %: they can be distinguished."""
    model = calibration.groups[""].models[ALL_LENGTHS]
    assert model.situations.examples > 300
    assert model.ranks["species"].examples > 120
    for aligned in ("aligned", "vectors"):
        for rank in ("species", "genus", "family"):
            fact = calibration.reliability[aligned]["all"][rank]
            assert 0 <= fact["calibration_error"] < 0.15
            assert fact["measured_on"] > 20
            assert fact["falsely_absent_at_5_percent"] < 0.2
            # At species, new sequences only.
            assert fact["absence_measured_on"] > (20 if rank == "species" else 50)


def test_reliability_and_metadata(calibration, reference, tmp_path):
    assert (calibration.seed, calibration.known, calibration.queries) == (0, 0.5, DRAWS)
    assert calibration.copies == {"": None}, "every sequence occurs once, so copies were not counted"
    assert calibration.groups[""].shares[:2] == pytest.approx([0.25, 0.25])
    calibration.write(tmp_path)
    assert Calibration.read(tmp_path, calibration.build) == calibration


def test_copies_are_counted_if_records_are(tmp_path, embedder):
    """Every third sequence occurs three times, so three records in five are copies of another."""
    some = world(24, records=(3, 2, 4), length=250)
    more = [Barcode(f"{b.id}x{i}", b.sequence, b.lineage) for b in some[::3] for i in range(2)]
    own = calibrate(reference_of(tmp_path, some + more), embedder, queries=700)
    once, thrice = len(some) - len(some[::3]), len(some[::3])
    share = 1 - once / (once + 3 * thrice)
    assert own.copies == {"": round(share, 4)}
    group = own.groups[""]
    assert group.shares[:2] == pytest.approx([0.5 * share, 0.5 * (1 - share)])
    assert group.draws["copy"] <= 2 * thrice


def test_another_assumed_share_of_known_species(reference, embedder, calibration):
    own = calibrate(reference, embedder, queries=DRAWS, known=0.8)
    group, usual = own.groups[""], calibration.groups[""]
    assert sum(group.shares[:2]) == pytest.approx(0.8)
    # What is learned about each query does not depend on it.
    assert (group.models, group.nulls, group.fitted) == (usual.models, usual.nulls, usual.fitted)


def test_a_world_of_one_marker_is_one_group(tmp_path, embedder, calibration):
    assert list(calibration.groups) == list(calibration.vector_groups) == [""]
    reference = reference_of(tmp_path, world(24, records=3, length=250, marker="COI"))
    # Sequences of 250 bases give no pieces of 313, so a third of the draws is missing.
    own = calibrate(reference, embedder, queries=600)
    assert list(own.groups) == [""]
    assert own.group("COI", True) is own.group("", True) is own.group("other", True)


def test_markers_with_enough_draws_have_their_own_groups(tmp_path, embedder):
    barcodes = [
        *world(24, records=3, length=250, marker="COI"),
        *world(24, records=3, length=180, seed=9, marker="12S"),
    ]
    few = [Barcode(f"x{i}", randomly(250, 50_000 + i), lineage_of(i % 4, i % 3), "18S") for i in range(8)]
    own = calibrate(reference_of(tmp_path, barcodes + few), embedder, queries=700)
    assert set(own.groups) == set(own.vector_groups) == {"", "COI", "12S"}
    assert sum(own.groups[""].draws.values()) > sum(own.groups["COI"].draws.values())


def test_without_the_model_complete_sequences_are_drawn(reference):
    own = calibrate(reference, None, queries=FEWEST + 200)
    group = own.groups[""]
    assert group.decoys == []
    assert all(not own for parts in group.nulls.values() for i in (0, 2) for own in parts[i]), "all have 400 bases"


# -- the size of the shortlist ---------------------------------------------------------------------------------------


def test_the_shortlist_is_longer_if_a_short_one_misses_the_nearest(monkeypatch, reference, embedder):
    """In reverse order the best candidate is last, so a shortlist of 50 never finds it."""
    shortlist = candidates.shortlist

    def upside_down(*arguments):
        rows = shortlist(*arguments)
        for i, own in enumerate(rows):
            there = np.flatnonzero(own >= 0)
            rows[i, there] = own[there[::-1]].copy()
        return rows

    monkeypatch.setattr(candidates, "shortlist", upside_down)
    own = calibrate(reference, embedder, queries=DRAWS)
    measured = [fact for fact in own.shortlist if fact["measured_on"]]
    assert measured
    assert all(fact["recall"]["50"] < 0.5 for fact in measured)
    assert all(fact["candidates"] > 50 for fact in measured)


# -- too little ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"known": 0}, "above 0 and below 1"),
        ({"known": 1.0}, "above 0 and below 1"),
        ({"queries": 299}, "expected at least 300"),
    ],
)
def test_numbers_out_of_range(reference, embedder, more, message):
    with pytest.raises(UsageError, match=message):
        calibrate(reference, embedder, **more)


def test_no_labels(tmp_path, embedder):
    barcodes = [Barcode(f"r{i}", randomly(100, i), ("",) * 7) for i in range(4)]
    with pytest.raises(StoreError, match="no record with a lineage"):
        calibrate(reference_of(tmp_path, barcodes), embedder)


def apart(count):
    """Species of different phyla, with one sequence each."""
    return [Barcode(f"r{i}", randomly(60, i), ("", f"P{i}", "", "", "", "", f"Genus{i} species")) for i in range(count)]


def test_nothing_to_leave_out_but_copies(tmp_path, embedder):
    with pytest.raises(StoreError, match="cannot be calibrated: no taxon in it has a second sequence or a sister"):
        calibrate(reference_of(tmp_path, apart(210)), embedder)


def test_too_few_draws(tmp_path, embedder):
    """Except for five sequences of one species, nothing but copies can be left out."""
    base = randomly(60, 1_000)
    related = [Barcode(f"s{i}", substituted(base, 1, i), lineage_of(0)) for i in range(5)]
    with pytest.raises(StoreError, match=r"only 2\d\d queries could be drawn .*, expected at least 300; add labelled"):
        calibrate(reference_of(tmp_path, [*apart(205), *related]), embedder)


def test_too_few_sequences(tmp_path, embedder):
    """Levels and lengths give thousands of draws from them, but they remain few."""
    with pytest.raises(StoreError, match="96 distinct labelled sequences, expected at least 200; add labelled records"):
        calibrate(reference_of(tmp_path, world(8, length=500)), embedder)


def test_one_species_only(tmp_path, embedder):
    """Members can be left out, but no other species can be confused with it: no confidence is invented."""
    base = randomly(400, 1)
    barcodes = [Barcode(f"r{i}", substituted(base, 1 + i % 6, i), lineage_of(0)) for i in range(210)]
    own = calibrate(reference_of(tmp_path, barcodes), embedder, queries=6_000)
    group = own.groups[""]
    assert set(group.draws) == {"copy", "record"}
    assert all(model.ranks == {} for model in group.models.values())
    # Nor can it be learned how an absent species looks.
    assert group.nulls == {}
    assert sum(group.shares[2:]) == 0


def test_labels_for_part_of_it(tmp_path, embedder):
    """Unlabelled records are neither drawn nor used as candidates."""
    barcodes = [
        b if i % 4 else Barcode(b.id, b.sequence, ("",) * 7) for i, b in enumerate(world(24, records=4, length=250))
    ]
    own = calibrate(reference_of(tmp_path, barcodes), embedder, queries=600)
    assert FEWEST <= sum(own.groups[""].draws.values()) <= 600
    assert "species" in own.groups[""].models[ALL_LENGTHS].ranks


def test_records_without_species_are_not_used_for_species(tmp_path, embedder):
    """A record without a species name may have other records of its species in the reference, or not."""
    barcodes = [
        Barcode(b.id, b.sequence, b.lineage if int(b.id.split("s")[0][1:]) % 2 else (*b.lineage[:6], ""))
        for b in world(24, records=3, length=400)
    ]
    own = calibrate(reference_of(tmp_path, barcodes), embedder, queries=DRAWS)
    group = own.groups[""]
    species, genus = (sum(len(one) for part in group.nulls[rank] for one in part) for rank in ("species", "genus"))
    # Everything left out as a species has a name; half of the copies and records have none.
    drawn = group.draws["copy"] + group.draws["record"]
    assert species < 0.75 * drawn
    assert genus == drawn + group.draws["species"]


# -- queries of which less can be compared ---------------------------------------------------------------------------

FISH = Path(__file__).resolve().parents[2] / "examples" / "fish_12s.tsv.gz"


def masked(sequence, share, seed):
    """Replace a share of the bases with N."""
    letters = list(sequence)
    for i in random.Random(seed).sample(range(len(letters)), round(share * len(letters))):
        letters[i] = "N"
    return "".join(letters)


def test_a_query_with_fewer_bases_compared_is_not_surer(embedder, tmp_path):
    """Complete fish sequences, some of genera left out, compared with ones with foreign bases at the ends or with N.

    Nearly all sequences of that reference are of one length, so that the draws say next to nothing of either.
    """
    with gzip.open(FISH, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    genera = sorted({row["genus"] for row in rows})
    out = set(genera[::5])
    fishes = [Barcode(row["id"], row["sequence"], tuple(row[rank] for rank in RANKS)) for row in rows]
    reference = reference_of(tmp_path, [fish for fish in fishes if fish.lineage[5] not in out])
    found = calibrate(reference, embedder, queries=3_000)
    # Known species are equally common in all studies: here the queries are compared one by one.
    classifier = Classifier(reference, embedder, found, Criteria(known=0.5))
    unknown = [fish.sequence.upper() for fish in fishes if fish.lineage[5] in out]
    asked = unknown + [fish.sequence.upper() for fish in fishes if fish.lineage[5] not in out][::20]

    def confidences(sequences):
        names = [(str(i), sequence) for i, sequence in enumerate(sequences)]
        return [one.assignment for one in classifier.run([batch_of(embedder, names)])]

    def wrong(answers):
        return sum(bool(one.lineage[5]) for one in answers[: len(unknown)])

    clean = confidences(asked)
    assert sum(one.confidences[5] is not None for one in clean) > 150
    spoilt = {
        **{n: [randomly(n, i) + s + randomly(n, ~i) for i, s in enumerate(asked)] for n in (10, 25)},
        **{share: [masked(s, share, i) for i, s in enumerate(asked)] for share in (0.05, 0.1)},
    }
    for how, sequences in spoilt.items():
        answers = confidences(sequences)
        assert wrong(answers) <= wrong(clean) + 0.02 * len(unknown), how
        for rank in ("family", "genus", "species"):
            r = RANKS.index(rank)
            rises = np.array([
                after.confidences[r] - before.confidences[r]
                for before, after in zip(clean, answers, strict=True)
                if before.names[r] and before.names[r] == after.names[r]
            ])  # fmt: skip
            # An N may hide a base that differs, so that single queries are surer; foreign bases hide none.
            assert rises.mean() < (0.005 if how > 1 else 0.03), (how, rank)
            if how > 1:
                assert (rises > 0.02).mean() <= 0.03, (how, rank)
