"""Candidate taxa: what identity and order of abundance imply, whatever the order of the input."""

from __future__ import annotations

import csv
import gzip
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.search.align import align
from ednabed.sequences import RANKS, digest
from ednabed.store.assignment import UNKNOWN, Assignment
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Claim, Novel, claim_of
from ednabed.taxonomy.clusters import candidate_taxa, density_groups

FLY = ("Animalia", "Arthropoda", "Insecta", "Diptera", "", "", "")
MOTH = ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "", "", "")


def randomly(length: int, seed: int) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=length))


def changed(sequence: str, places: int, seed: int = 0) -> str:
    """Substitute the given number of bases."""
    letters = list(sequence)
    for i in random.Random(seed).sample(range(len(letters)), places):
        letters[i] = {"A": "C", "C": "G", "G": "T", "T": "A"}[letters[i]]
    return "".join(letters)


def novel(sequences: list[str], reads: list[int] | None = None, **more: object) -> list[Novel]:
    vectors, refused = Engine(open_embedder("kmer6")).embed([s.encode() for s in sequences])
    assert not refused
    reads = reads or [1] * len(sequences)
    more = {"novel_rank": "species", "novel_p": 0.01, "novel_q": 0.02, **more}
    return [
        Novel(s, vectors[i], Assignment(f"q{i}", "not_in_reference", **more), (f"q{i}",), reads[i])
        for i, s in enumerate(sequences)
    ]  # fmt: skip


def parts(found: list[CandidateTaxon]) -> list[list[str]]:
    return [list(one.ids) for one in found]


def described(found: list[CandidateTaxon]) -> list[tuple]:
    return [
        (
            one.id,
            [(m.novel.sequence, m.identity, m.distance) for m in one.members],
            one.lineage,
            one.claim,
            one.samples,
        )
        for one in found
    ]


# -- few ---------------------------------------------------------------------------------------------------------------


def test_nothing_gives_nothing():
    assert candidate_taxa([]) == []


def test_one_sequence_is_its_own_candidate():
    (one,) = candidate_taxa(novel([randomly(300, 1)], [7]))
    assert (one.id, one.sequences, one.reads, one.ids) == ("novel_1", 1, 7, ("q0",))
    spread = (one.mean_difference, one.largest_difference, one.mean_distance, one.largest_distance)
    assert spread == (0, 0, 0, 0)
    assert one.members[0].identity == 100


@pytest.mark.parametrize(("places", "taxa"), [(0, 1), (8, 1), (9, 1), (10, 2), (60, 2)])
def test_two_sequences_are_one_taxon_from_97_percent_on(places, taxa):
    first = randomly(300, 1)
    second = changed(first, places) if places else first + "A"
    found = candidate_taxa(novel([first, second], [1, 5]))
    assert len(found) == taxa
    assert found[0].representative.sequence == second
    if taxa == 1:
        (alignment,) = align(first, [second])
        assert found[0].members[1].identity == alignment.identity
        assert found[0].mean_difference == found[0].largest_difference == 100 - alignment.identity


def test_a_short_overlap_does_not_join():
    whole = randomly(500, 3)
    left, right, inside = whole[:280], whole[220:], whole[100:300]
    assert len(candidate_taxa(novel([left, right]))) == 2
    assert len(candidate_taxa(novel([left, right], None), coverage=20)) == 1
    # A fragment is entirely within.
    assert len(candidate_taxa(novel([whole, inside]))) == 1


def test_sequences_with_gaps_and_a_common_part_are_joined():
    """The lowest score that an alignment within the limits can have: 81 % in common, 3 % gaps of one base each."""
    whole = randomly(600, 6)
    left, right = whole[:500], "".join(letter for i, letter in enumerate(whole[95:595]) if i % 34 != 20)
    (alignment,) = align(right, [left], strand="plus")
    assert 97 <= alignment.identity < 97.5
    assert 80 <= alignment.query_coverage < 84
    assert len(candidate_taxa(novel([left, right]))) == 1


def test_equal_reads_are_ordered_by_digest():
    first = randomly(300, 1)
    for other in (changed(first, 3, seed) for seed in range(6)):
        one, two = (candidate_taxa(novel(pair)) for pair in ([first, other], [other, first]))
        least = min(first, other, key=lambda s: digest(s.encode()))
        assert one[0].representative.sequence == two[0].representative.sequence == least


def test_many_copies_of_one_vector():
    """Distinct sequences may share a vector (a token limit cuts them); density without distances is defined."""
    whole = randomly(300, 4)
    some = novel([changed(whole, i % 3, i) for i in range(12)])
    distinct = list({one.sequence: one for one in some}.values())
    same = [Novel(one.sequence, some[0].vector, one.assignment, one.ids) for one in distinct]
    assert len(candidate_taxa(same)) == 1
    far = novel([randomly(300, 50 + i) for i in range(6)])
    assert len(candidate_taxa([Novel(one.sequence, some[0].vector, one.assignment, one.ids) for one in far])) == 6


# -- what is reported --------------------------------------------------------------------------------------------------


def test_ids_go_by_reads_and_samples_are_added():
    a, b = randomly(300, 1), randomly(300, 2)
    one, other, third = novel([a, changed(a, 2), b], [3, 4, 6])
    found = candidate_taxa(
        [
            Novel(one.sequence, one.vector, one.assignment, ("x", "y"), 3, {"lake": 1, "pond": 2}),
            Novel(other.sequence, other.vector, other.assignment, ("z",), 4, {"lake": 4}, ("odd",)),
            Novel(third.sequence, third.vector, third.assignment, ("w",), 6, {}, ("low complexity",)),
        ]
    )
    assert [(t.id, t.reads, t.ids) for t in found] == [("novel_1", 7, ("z", "x", "y")), ("novel_2", 6, ("w",))]
    assert found[0].samples == {"lake": 5, "pond": 2}
    assert found[1].samples == {}
    assert found[0].warnings == ("odd",)
    assert found[1].warnings == ("low complexity",)


def test_warnings_of_others_are_counted():
    a = randomly(300, 1)
    one, other, third = novel([a, changed(a, 2), changed(a, 3)], [9, 1, 2])
    other = Novel(other.sequence, other.vector, other.assignment, other.ids, 1, {}, ("odd",))
    (found,) = candidate_taxa([one, other, third])
    assert found.warnings == ("1 of 2 other sequences have warnings",)


def claimed(rank: str, **more: object) -> Assignment:
    """A claim at a rank; p and q show their rank: species 0.001 and 0.01, genus 0.002 and 0.02, …"""
    p_values = tuple(0.001 * (7 - r) if r >= 3 else None for r in range(7))
    q_values = tuple(0.01 * (7 - r) if r >= 3 else None for r in range(7))
    own = RANKS.index(rank)
    given: dict[str, object] = {"names": tuple("KPCOFGS"), "p_values": p_values, "q_values": q_values}
    given |= {"novel_rank": rank, "novel_p": p_values[own], "novel_q": q_values[own], **more}
    return Assignment("q", "not_in_reference", **given)


@pytest.mark.parametrize(
    ("ranks", "rank"),
    [
        (["genus"], "genus"),
        # Two of two, or two of three, or three of four, but not one of two.
        (["genus", "genus"], "genus"),
        (["genus", "species"], "species"),
        (["genus", "genus", "species"], "genus"),
        (["genus", "species", "species"], "species"),
        (["family", "family", "genus", "species"], "genus"),
        (["family", "species", "genus", "family"], "genus"),
        # A broader claim of others counts, but does not make that of the representative broader.
        (["genus", "family", "species"], "genus"),
        (["species", "family", "family"], "species"),
        (["genus", "order", "order"], "genus"),
        (["order", "family", "genus", "genus", "species"], "genus"),
    ],
)
def test_the_rank_is_supported_by_the_representative_and_by_most(ranks, rank):
    found = claim_of([claimed(one) for one in ranks])
    place = 7 - RANKS.index(rank)
    assert found == Claim(rank, 0.001 * place, 0.01 * place)


def test_an_untested_rank_takes_the_claim_that_implies_it():
    unnamed = claimed("family", names=(*"KPCOF", "", "S"))
    untested = claimed("family", p_values=(None, None, None, 0.004, 0.003, None, 0.001))
    for first in (unnamed, untested):
        assert claim_of([first, claimed("genus")]) == Claim("genus", first.novel_p, first.novel_q)
        assert claim_of([first, claimed("species")]) == Claim("species", 0.001, 0.01)


def test_a_sequence_without_claim_is_refused():
    (one,) = novel([randomly(300, 1)], None, novel_rank=None)
    with pytest.raises(ValueError, match="'q0' has no claim of absence"):
        candidate_taxa([one])


@pytest.mark.parametrize(
    ("rank", "lineage", "candidate"),
    [
        ("species", FLY, False), ("genus", FLY, True), ("family", FLY, True), ("order", FLY, True),
        ("genus", UNKNOWN, False),
        # All names are at or below the absent rank.
        ("order", ("", "", "", "Diptera", "", "", ""), False),
    ],
)  # fmt: skip
def test_a_candidate_lacks_more_than_a_species_and_has_a_name(rank, lineage, candidate):
    (one,) = candidate_taxa(novel([randomly(300, 1)], None, novel_rank=rank, lineage=lineage))
    assert one.candidate is candidate
    assert one.claim == Claim(rank, 0.01, 0.02)


@pytest.mark.parametrize(
    ("lineages", "rank", "agreed"),
    [
        ([FLY], "species", FLY),
        ([FLY, FLY, MOTH], "species", FLY),
        ([FLY, MOTH], "species", (*FLY[:3], "", "", "", "")),
        ([FLY, MOTH, UNKNOWN, UNKNOWN], "species", UNKNOWN),
        ([FLY, FLY], "order", (*FLY[:3], "", "", "", "")),
        # A rank that all skip hides nothing below it; homonyms below other names are not counted together.
        ([("A", "", "", "", "F", "", "")] * 2, "species", ("A", "", "", "", "F", "", "")),
        ([("A", "p", "", "", "F", "", ""), ("A", "q", "", "", "F", "", "")], "species", ("A", "", "", "", "", "", "")),
    ],
)
def test_the_lineage_is_what_most_have(lineages, rank, agreed):
    a = randomly(400, 1)
    some = []
    for i, lineage in enumerate(lineages):
        some += [
            Novel(n.sequence, n.vector, n.assignment, (f"x{i}",))
            for n in novel([changed(a, i, i) if i else a], None, lineage=lineage, novel_rank=rank)
        ]  # fmt: skip
    (found,) = candidate_taxa(some)
    assert found.lineage == agreed
    assert found.claim.rank == rank


# -- laws --------------------------------------------------------------------------------------------------------------


@st.composite
def families(draw) -> list[Novel]:
    """A few ancestors, each with variants at many distances, some of them fragments."""
    sequences, reads = [], []
    for ancestor in range(draw(st.integers(1, 3))):
        whole = randomly(240, 100 + ancestor)
        for number in range(draw(st.integers(1, 6))):
            one = changed(whole, draw(st.sampled_from([0, 1, 3, 7, 9, 15])), number)
            start = draw(st.sampled_from([0, 0, 10, 60]))
            sequences.append(one[start:])
            reads.append(draw(st.integers(1, 4)))
    unique = dict(zip(sequences, reads, strict=True))
    return novel(list(unique), list(unique.values()))


@settings(max_examples=40)
@given(families(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(some, chance):
    found = described(candidate_taxa(some))
    assert described(candidate_taxa(some)) == found
    shuffled = list(some)
    chance.shuffle(shuffled)
    assert described(candidate_taxa(shuffled)) == found


@settings(max_examples=40)
@given(families())
def test_taxa_are_coherent_and_distinct(some):
    found = candidate_taxa(some)
    assert sorted(id for one in found for id in one.ids) == sorted(one.ids[0] for one in some)
    assert [one.id for one in found] == [f"novel_{i + 1}" for i in range(len(found))]
    order = [(-one.reads, digest(one.representative.sequence.encode())) for one in found]
    assert order == sorted(order)
    for one in found:
        assert one.representative.reads == max(member.novel.reads for member in one.members)
        for member in one.members[1:]:
            (alignment,) = align(member.novel.sequence, [one.representative.sequence], strand="plus")
            shorter = len(member.novel.sequence) <= len(one.representative.sequence)
            assert member.identity == alignment.identity >= 97
            assert (alignment.query_coverage if shorter else alignment.target_coverage) >= 80
            cosine = float(member.novel.vector @ one.representative.vector)
            assert member.distance == pytest.approx(max(0, 1 - cosine), abs=1e-6)
    # At most four representatives are compared, which is all or almost all of them here.
    if len(found) <= 5:
        for i, one in enumerate(found):
            for other in found[:i]:
                (alignment,) = align(one.representative.sequence, [other.representative.sequence], strand="plus")
                apart = alignment is None or alignment.identity < 97
                assert apart or min(alignment.query_coverage, alignment.target_coverage) < 80


def test_density_groups_are_the_dense_ones():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, 200))
    points = np.concatenate([c + 0.02 * rng.normal(size=(10, 200)) for c in centres]).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    groups = density_groups(points)
    assert groups.dtype == np.int64
    assert [len(set(groups[i : i + 10].tolist())) for i in range(0, 40, 10)] == [1, 1, 1, 1]
    assert len(set(groups.tolist())) == 4
    for few in range(3):
        assert density_groups(points[:few]).tolist() == [-1] * few


# -- real sequences ----------------------------------------------------------------------------------------------------


def barcodes(shared: Path) -> dict[str, list[str]]:
    """COI barcodes by species, of 60 species with at least four sequences, at most ten each."""
    by: dict[str, set[str]] = defaultdict(set)
    with gzip.open(shared / "data" / "coi.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["species"] and 600 <= len(row["sequence"]) <= 700 and not set(row["sequence"]) - set("ACGT"):
                by[row["species"]].add(row["sequence"])
    chance = random.Random(7)
    names = chance.sample(sorted(name for name, own in by.items() if len(own) >= 4), 60)
    return {name: chance.sample(sorted(by[name]), min(10, len(by[name]))) for name in names}


def test_species_of_real_barcodes_are_found_again(shared: Path):
    species = barcodes(shared)
    sequences = {sequence: name for name, own in species.items() for sequence in own}
    found = candidate_taxa(novel(list(sequences)))
    names = [[sequences[member.novel.sequence] for member in one.members] for one in found]
    pure = sum(max(own.count(name) for name in own) for own in names) / len(sequences)
    whole = sum(max(own.count(name) for own in names) for name in species) / len(sequences)
    one_to_one = sum(any(sorted(own) == [name] * len(species[name]) for own in names) for name in species)
    print(len(sequences), len(found), pure, whole, one_to_one)
    assert pure >= 0.97
    assert whole >= 0.85
    assert one_to_one >= 40
