"""Draws: what is left out is really left out, nothing is drawn twice, and what remains is correct."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.base.bases import decode
from ednabed.search.divergence import PackedSequences
from ednabed.taxonomy import draws
from ednabed.taxonomy.draws import (
    COPIES,
    COPY,
    CROPS,
    LEVEL_NAMES,
    LEVELS,
    PARTS,
    RECORD,
    copy_share,
    draw,
    is_dereplicated,
    left_out,
)
from taxonomy_support import labels_of, lineage_of, randomly, substituted, world

name = st.sampled_from(["", "a", "b", "c"])
phylum = st.sampled_from(["", "P", "Q"])
lineages = st.tuples(st.just("K"), phylum, name, name, name, name, name)


def taxa_of(labels):
    main = labels.main
    return np.where(main[:, None] >= 0, labels.taxa[main], -1)


def expected(taxa, row, level):
    """Return the deepest rank at which the taxon of a row remains, or None if it cannot be drawn."""
    own = taxa[row]
    if level >= RECORD:
        deepest = max((r for r in range(7) if own[r] >= 0), default=None)
        if deepest is None or level == COPY:
            return deepest
        return deepest if sum(other[deepest] == own[deepest] for other in taxa) > 1 else None
    if own[level] < 0:
        return None
    above = max((r for r in range(level) if own[r] >= 0), default=None)
    if above is None:
        return None
    left = [other for other in taxa if other[level] != own[level]]
    return above if any(other[above] == own[above] for other in left) else None


def taxon_left_out(taxa, row, level):
    """Return the taxon that counts as one: the one left out, or of a record its deepest."""
    return taxa[row][level] if level < RECORD else next(t for t in reversed(taxa[row].tolist()) if t >= 0)


@pytest.fixture(autouse=True, scope="module")
def one_repeated_sequence_is_enough():
    """Tables made by hand are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "MIN_REPEATED", 1)
        yield


def test_a_few_repeated_sequences_are_chance(monkeypatch):
    monkeypatch.setattr(draws, "MIN_REPEATED", 50)
    for repeated in (0, 49, 50):
        records = np.array([2] * repeated + [1] * 200)
        assert is_dereplicated(records) == (repeated < 50)
        assert copy_share(records) == (COPIES if repeated < 50 else pytest.approx(100 / 300))


def drawn_rows(parts, level, crop=0):
    found = [part for part in parts if (part.level, part.crop) == (level, crop)]
    assert len(found) <= 1
    return set(found[0].rows.tolist()) if found else set()


def related(count, length=40):
    """Return the given number of sequences of one region."""
    base = randomly(length, 5)
    return PackedSequences.from_batches([[substituted(base, 1, i).encode() for i in range(count)]])


def labels_and_bases(some):
    return labels_of([[(lineage, 1)] if lineage is not None else [] for lineage in some]), related(len(some))


some_lineages = st.lists(st.one_of(lineages, st.none()), min_size=1, max_size=14).filter(any)


@settings(max_examples=150)
@given(some_lineages, st.integers(0, 99))
def test_a_draw_leaves_something_of_its_taxon(some, seed):
    labels, letters = labels_and_bases(some)
    parts = draw(labels, letters, np.ones(len(some), bool), 100, (0,), seed)
    taxa = taxa_of(labels)
    for level in LEVELS:
        expected_ranks = {row: expected(taxa, row, level) for row in range(len(some))}
        # A taxon whose rows have two parents may count as one that cannot be drawn, which loses nothing.
        found = drawn_rows(parts, level)
        assert all(expected_ranks[row] is not None for row in found)
        parents = {
            row: {tuple(other[:level]) for other in taxa if level < 7 and other[level] == taxa[row][level]}
            for row in expected_ranks
        }
        surely = {
            row
            for row, rank in expected_ranks.items()
            if rank is not None and (level >= RECORD or len(parents[row]) == 1)
        }
        assert surely <= found


@settings(max_examples=150)
@given(st.lists(st.lists(lineages, max_size=3, unique=True), min_size=1, max_size=10).filter(any), st.integers(0, 99))
def test_exactly_what_should_be_is_left_out(some, seed):
    """A sequence that another taxon shares stays under the name of that taxon."""
    labels = labels_of([[(lineage, 1) for lineage in row] for row in some])
    entries = [labels.entries[first:last].tolist() for first, last in itertools.pairwise(labels.starts.tolist())]
    for part in draw(labels, related(len(some)), np.ones(len(some), bool), 100, (0,), seed):
        if part.level == COPY:
            continue
        (groups, own_groups), silent = left_out(labels, part)
        assert (silent.rows is None) == (part.level != RECORD)
        for i, own_row in enumerate(part.rows.tolist()):
            names = labels.taxa[part.lineages[i]].tolist()
            own = names[part.level] if part.level != RECORD else next(t for t in reversed(names) if t >= 0)
            for row in range(len(some)):
                speak = []
                for entry in entries[row]:
                    entry_taxa = labels.taxa[entry].tolist()
                    of_own = own == (
                        entry_taxa[part.level]
                        if part.level != RECORD
                        else next((t for t in reversed(entry_taxa) if t >= 0), -1)
                    )
                    speak.append(not of_own or (part.level == RECORD and row != own_row))
                    lost = silent.taxa[entry] == silent.query_taxa[i] and (
                        part.level != RECORD or silent.rows[i] == row
                    )
                    assert speak[-1] != lost
                if entries[row]:
                    assert (groups[row] != own_groups[i]) == any(speak)


def test_a_record_without_others_of_its_region_is_not_drawn_as_known():
    """Of two regions of one species, the second is not known from the first."""
    left, right = randomly(200, 1), randomly(200, 2)
    texts = [left, substituted(left, 4, 1), right, left + right, substituted(right, 30, 2), randomly(200, 3)]
    rows = [[(lineage_of(0, 0), 1)]] * 5 + [[(lineage_of(0, 1), 1)], [(lineage_of(0, 1), 1)]]
    letters = PackedSequences.from_batches([[text.encode() for text in [*texts, randomly(200, 4)]]])
    parts = draw(labels_of(rows), letters, np.ones(7, bool), 100, (0,), 1)
    # The two of the second species have nothing in common; the fifth differs by 15 % from the right one.
    assert set(drawn_rows(parts, RECORD)) == {0, 1, 2, 3, 4}
    assert set(drawn_rows(parts, 6)) == set(range(7)), "an unknown species needs no relatives"
    alone = draw(
        labels_of(rows[:3]),
        PackedSequences.from_batches([[t.encode() for t in texts[:3]]]),
        np.ones(3, bool),
        100,
        (0,),
        1,
    )
    assert set(drawn_rows(alone, RECORD)) == {0, 1}
    # An exact copy is known from the record that stays.
    assert set(drawn_rows(parts, COPY)) == set(range(7))


def test_pieces_that_no_other_record_covers_are_not_drawn_as_known():
    """A short and a long record: only the piece of the long one that aligns to the short one may be known from it."""
    long = randomly(600, 1)
    rows = [[(lineage_of(0, 0), 1)]] * 2 + [[(lineage_of(0, 1), 1)]]
    letters = PackedSequences.from_batches([[long.encode(), long[:180].encode(), randomly(600, 2).encode()]])
    met = 0
    for seed in range(60):
        for part in draw(labels_of(rows), letters, np.ones(3, bool), 9, (150,), seed):
            if part.level == RECORD:
                for row, codes in zip(part.rows.tolist(), part.codes, strict=True):
                    # 15 bases compared and 60 missing ones that count half: (1 + 0.4 * 60) / 77 is below 0.33.
                    assert row == 1 or long.index(decode(codes).decode()) <= 180 - 15
                    met += row == 0
    # A position from 0 to 450, of which the first 160 or so are near.
    assert 60 * 0.36 - 12 < met < 60 * 0.36 + 12


def test_draws_by_hand():
    named, silent = lineage_of(0, 0), lineage_of(0, None)
    no_genus = (*named[:5], "", "Genus0 species7")
    rows = [[(one, 1)] for one in (named, named, lineage_of(0, 1), silent, silent, no_genus, lineage_of(1))]
    letters = related(len(rows))
    parts = draw(labels_of(rows), letters, np.ones(len(rows), bool), 100, (0,), 0)
    # Members of a known species, and of a genus, whose species is unknown.
    assert drawn_rows(parts, RECORD) == {0, 1, 3, 4}
    assert drawn_rows(parts, 6) == {0, 1, 2, 5}
    assert drawn_rows(parts, 5) == {0, 1, 2, 3, 4, 6}
    assert drawn_rows(parts, COPY) == set(range(7))


@settings(max_examples=150)
@given(some_lineages, st.integers(0, 99), st.integers(1, 4))
def test_each_taxon_that_is_left_out_counts_as_one(some, seed, count):
    """No taxon is drawn twice more often than another that has rows left, whatever its size; at every level."""
    labels, letters = labels_and_bases(some)
    every = np.ones(len(some), bool)
    taxa = taxa_of(labels)
    eligible = {level: drawn_rows(draw(labels, letters, every, 100, (0,), seed), level) for level in LEVELS}
    parts = draw(labels, letters, every, count, (0,), seed)
    for level, share in zip(LEVELS, PARTS, strict=True):
        drawn = drawn_rows(parts, level)
        assert len(drawn) == min(count * share, len(eligible[level]))
        if level >= RECORD:
            # Among these the square roots of the numbers count, subject to chance.
            continue
        sizes = Counter(int(taxon_left_out(taxa, row, level)) for row in eligible[level])
        often = Counter(int(taxon_left_out(taxa, row, level)) for row in drawn)
        for one in sizes:
            for other in sizes:
                assert often[one] <= often[other] + 1 or often[other] == sizes[other]


@pytest.fixture(scope="module")
def made_up():
    barcodes = world(32, length=400)
    labels = labels_of([[(b.lineage, 1)] for b in barcodes])
    return labels, PackedSequences.from_batches([[b.sequence.encode() for b in barcodes]]), np.ones(len(barcodes), bool)


def test_draws_of_the_simulated_world(made_up):
    labels, letters, among = made_up
    parts = draw(labels, letters, among, 30, CROPS, 1)
    # Each of the two phyla has one class, without which nothing of it remains.
    levels = [level for level in LEVELS if level != 2]
    assert [(part.level, part.crop) for part in parts] == [(level, crop) for level in levels for crop in CROPS]
    for part in parts:
        count = 30 * PARTS[LEVELS.index(part.level)]
        assert len(part.rows) == len(set(part.rows.tolist())) == len(part.codes) == count
        for row, codes in zip(part.rows.tolist(), part.codes, strict=True):
            text = decode(codes)
            assert text in letters.text(row)
            assert len(text) == (part.crop or 400)


def test_classes_and_phyla_are_left_out_if_there_are_others():
    """Two phyla with two classes each; one class has a thousand times as many records, which does not matter."""
    rows, own = [], []
    for phylum_, class_ in (("P", "A"), ("P", "B"), ("Q", "C"), ("Q", "D")):
        for i in range(1_000 if class_ == "A" else 3):
            rows.append([(("K", phylum_, class_, "", "", "", f"{class_} species{i}"), 1)])
            own.append((phylum_, class_))
    letters = PackedSequences.from_batches([[randomly(25, i).encode() for i in range(len(rows))]])
    parts = {part.level: part for part in draw(labels_of(rows), letters, np.ones(len(rows), bool), 8, (0,), 1)}
    assert set(parts) == {COPY, 6, 2, 1}
    assert Counter(own[row][1] for row in parts[2].rows.tolist()) == dict.fromkeys("ABCD", 2)
    assert Counter(own[row][0] for row in parts[1].rows.tolist()) == {"P": 4, "Q": 4}


def test_only_the_given_rows_are_drawn_and_used(made_up):
    """Another record of a species does not count if it is of another marker."""
    labels, letters, _ = made_up
    among = np.zeros(len(letters.lengths), bool)
    among[::4] = True
    parts = draw(labels, letters, among, 1_000, (0,), 2)
    assert all(among[part.rows].all() for part in parts)
    # They have one record of each species: none can be known, and if it is left out, its genus remains.
    assert drawn_rows(parts, RECORD) == set()
    assert drawn_rows(parts, 6)
    among[::2] = True
    assert len(drawn_rows(draw(labels, letters, among, 1_000, (0,), 2), RECORD)) == 192


def test_pieces_are_shorter_than_their_sequence(made_up):
    labels, _, among = made_up
    texts = [randomly(332 if i % 2 else 333, i).encode() for i in range(len(among))]
    parts = draw(labels, PackedSequences.from_batches([texts]), among, 1_000, (313,), 4)
    assert {int(row) % 2 for part in parts for row in part.rows} == {0}


def test_empty_sequences_are_not_drawn(made_up):
    labels, _, among = made_up
    texts = [b"" if i % 3 else randomly(60, i).encode() for i in range(len(among))]
    assert {
        int(row) % 3
        for part in draw(labels, PackedSequences.from_batches([texts]), among, 99, (0, 150), 4)
        for row in part.rows
    } == {0}


def test_the_seed_determines_the_draws(made_up):
    def rows(seed):
        return [
            (p.level, p.crop, p.rows.tolist(), [decode(c) for c in p.codes]) for p in draw(*made_up, 20, CROPS, seed)
        ]

    assert rows(5) == rows(5)
    assert rows(5) != rows(6)


def test_a_single_species_leaves_nothing_but_records():
    labels = labels_of([[(lineage_of(0, 0), 1)]] * 5)
    letters = related(5)
    assert [part.level for part in draw(labels, letters, np.ones(5, bool), 9, (0,), 0)] == [COPY, RECORD]
    for records in (9, 1):
        alone = labels_of([[(lineage_of(0, 0), records)]])
        found = draw(alone, PackedSequences.from_batches([[b"ACGT" * 9]]), np.ones(1, bool), 9, (0,), 0)
        assert [part.level for part in found] == [COPY]


def test_every_level_has_a_name():
    assert set(LEVEL_NAMES) == set(LEVELS)


# -- copies, new sequences, and how many of each ---------------------------------------------------------------------


def part_of(parts, level):
    found = [part for part in parts if part.level == level]
    assert len(found) <= 1
    return found[0] if found else None


def pairs(part, labels):
    """Return row, lineage and records of each draw."""
    if part is None:
        return set()
    return {
        (row, labels.lineages[number], records)
        for row, number, records in zip(part.rows.tolist(), part.lineages.tolist(), part.records.tolist(), strict=True)
    }


counted = st.lists(
    st.lists(st.tuples(lineages, st.sampled_from([1, 1, 2, 5])), max_size=3, unique_by=lambda entry: entry[0]),
    min_size=1,
    max_size=10,
).filter(any)


@settings(max_examples=150)
@given(counted, st.integers(0, 99))
def test_copies_are_of_all_and_new_sequences_of_taxa_with_another_one(some, seed):
    some = [sorted(row, key=lambda entry: -entry[1]) for row in some]
    labels = labels_of(some)
    parts = draw(labels, related(len(some)), np.ones(len(some), bool), 100, (0,), seed)
    every = {(row, lineage, n) for row, own in enumerate(some) for lineage, n in own}
    assert pairs(part_of(parts, COPY), labels) == every
    taxa = dict(zip(labels.lineages, labels.taxa.tolist(), strict=True))

    def rows_of(taxon):
        return {row for row, lineage, _ in every if taxon in taxa[lineage]}

    last = {lineage: next((t for t in reversed(taxa[lineage]) if t >= 0), None) for lineage in taxa}
    assert pairs(part_of(parts, RECORD), labels) == {one for one in every if len(rows_of(last[one[1]])) > 1}


def test_a_sequence_that_two_species_share_is_drawn_for_each():
    one, other = lineage_of(0, 0), lineage_of(0, 1)
    rows = [[(one, 3), (other, 1)], [(one, 1)], [(other, 2)], [(lineage_of(4, 0), 1)], [(lineage_of(4, 1), 1)]]
    labels = labels_of(rows)
    parts = draw(labels, related(5), np.ones(5, bool), 100, (0,), 1)
    every = {(row, lineage, n) for row, own in enumerate(rows) for lineage, n in own}
    assert pairs(part_of(parts, COPY), labels) == every
    assert pairs(part_of(parts, RECORD), labels) == {(0, one, 3), (1, one, 1), (0, other, 1), (2, other, 2)}
    assert pairs(part_of(parts, 6), labels) == every
    assert (np.diff(part_of(parts, 6).rows) >= 0).all()


def test_a_copy_leaves_nothing_out():
    labels = labels_of([[(lineage_of(0, 0), 3), (lineage_of(0, 1), 1)], [(lineage_of(0, 1), 2)]])
    part = part_of(draw(labels, related(2), np.ones(2, bool), 100, (0,), 1), COPY)
    assert len(part.rows) == 3
    assert left_out(labels, part) is None


def test_a_new_sequence_leaves_out_all_of_its_records():
    labels = labels_of([[(lineage_of(0, 0), 1)], [(lineage_of(0, 0), 4)]])
    part = part_of(draw(labels, related(2), np.ones(2, bool), 100, (0,), 1), RECORD)
    groups, silent = left_out(labels, part)
    assert (part.rows.tolist(), silent.records.tolist()) == ([0, 1], [1, 4])
    assert groups[0].tolist() == groups[1].tolist()
    assert groups[0][0] != groups[0][1]


def drawn_first(rows, seeds=400):
    """Count how often each row is the copy that is drawn first, of ``PARTS`` of one."""
    labels, letters = labels_of(rows), related(len(rows))
    counts = Counter()
    for seed in range(seeds):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(draws, "PARTS", (1,) * len(PARTS))
            part = part_of(draw(labels, letters, np.ones(len(rows), bool), 1, (0,), seed), COPY)
        counts.update(part.rows.tolist())
    return [counts[row] / seeds for row in range(len(rows))]


def test_copies_of_a_species_are_drawn_in_proportion_to_its_records():
    """Those seen once are less often seen again: with eight of them and two seen twice, each half as often."""
    own = lineage_of(0, 0)
    shares = drawn_first([[(own, 1)]] * 8 + [[(own, 2)]] * 2 + [[(own, 12)]])
    assert sum(shares[:8]) == pytest.approx(4 / 20, abs=0.07)
    assert sum(shares[8:10]) == pytest.approx(4 / 20, abs=0.07)
    assert shares[10] == pytest.approx(12 / 20, abs=0.08)


def test_copies_of_a_dereplicated_reference_are_equally_likely(monkeypatch):
    monkeypatch.setattr(draws, "MIN_REPEATED", 2)
    own = lineage_of(0, 0)
    shares = drawn_first([[(own, 1)], [(own, 1)], [(own, 1)], [(own, 9)]])
    assert shares == pytest.approx([0.25] * 4, abs=0.07)


@pytest.mark.parametrize("level", [COPY, RECORD])
def test_a_species_is_drawn_in_proportion_to_the_root_of_its_entries(level):
    """Of 100 species half have two entries, with one and two records, half thirty-two: 1 to 4."""
    rows = []
    small = []
    for i in range(100):
        for _ in range(1 if i < 50 else 16):
            rows += [[(lineage_of(i % 4, i), 1)], [(lineage_of(i % 4, i), 2)]]
            small += [i < 50] * 2
    labels, letters = labels_of(rows), related(len(rows))
    few = total = 0
    for seed in range(40):
        part = part_of(draw(labels, letters, np.ones(len(rows), bool), 10, (0,), seed), level)
        few += sum(small[row] for row in part.rows.tolist())
        total += len(part.rows)
    assert total == 40 * 10 * PARTS[LEVELS.index(level)]
    # One in five, and somewhat fewer because drawn entries are not drawn again; by entries it is 0.06, by species 0.5.
    assert few / total == pytest.approx(0.2, abs=0.03 + 3 * (0.16 / total) ** 0.5)


def test_the_share_of_copies_by_hand():
    """Good and Turing: the next record is of a new sequence as often as records are of one that was seen once."""
    assert copy_share(np.array([1, 1, 3, 5])) == pytest.approx(1 - 2 / 10)
    # If no sequence was seen once, the next one may still be new.
    assert copy_share(np.array([2, 2])) == 0.95
    assert copy_share(np.array([1, 2])) == pytest.approx(2 / 3)
    # If each sequence occurs once, copies were not counted.
    assert copy_share(np.array([1, 1, 1])) == COPIES == 0.5
    assert copy_share(np.zeros(0, np.int64)) == COPIES


def test_the_share_of_copies_predicts_the_next_record():
    """Records of haplotypes of very different frequencies; the share of new ones among the next thousand."""
    rng = np.random.default_rng(3)
    often = rng.pareto(1, 3_000) + 0.1
    drawn = rng.choice(3_000, 3_000, p=often / often.sum())
    first, later = drawn[:2_000], drawn[2_000:]
    records = np.bincount(first)
    known = np.isin(later, first).mean()
    assert copy_share(records[records > 0]) == pytest.approx(known, abs=0.05)
