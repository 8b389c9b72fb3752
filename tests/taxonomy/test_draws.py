"""Draws: what is left out is really left out, nothing twice, and what remains is told rightly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.search.divergence import Letters, decode
from ednabed.taxonomy.draws import CROPS, LEVEL_NAMES, LEVELS, RECORD, draw
from taxonomy_support import labels_of, lineage_of, randomly, world

name = st.sampled_from(["", "a", "b", "c"])
lineages = st.tuples(st.just("K"), st.just("P"), name, name, name, name, name)


def taxa_of(labels):
    main = labels.main
    return np.where(main[:, None] >= 0, labels.taxa[main], -1)


def expected(taxa, row, level):
    """Deepest rank at which the taxon of a row remains, or None where it cannot be drawn."""
    own = taxa[row]
    if level == RECORD:
        deepest = max((r for r in range(7) if own[r] >= 0), default=None)
        if deepest is None:
            return None
        return deepest if sum(other[deepest] == own[deepest] for other in taxa) > 1 else None
    if own[level] < 0:
        return None
    above = max((r for r in range(level) if own[r] >= 0), default=None)
    if above is None:
        return None
    left = [other for other in taxa if other[level] != own[level]]
    return above if any(other[above] == own[above] for other in left) else None


def drawn_rows(parts, level, crop=0):
    found = [part for part in parts if (part.level, part.crop) == (level, crop)]
    assert len(found) <= 1
    return dict(zip(found[0].rows.tolist(), found[0].remains.tolist(), strict=True)) if found else {}


@settings(max_examples=150)
@given(st.lists(st.one_of(lineages, st.none()), min_size=1, max_size=14), st.integers(0, 99))
def test_what_remains_is_told_rightly(some, seed):
    if not any(some):
        return
    labels = labels_of([[(lineage, 1)] if lineage is not None else [] for lineage in some])
    letters = Letters.of([[randomly(40, i).encode() for i in range(len(some))]])
    parts = draw(labels, letters, np.ones(len(some), bool), 100, (0,), seed)
    taxa = taxa_of(labels)
    for level in LEVELS:
        wanted = {row: expected(taxa, row, level) for row in range(len(some))}
        # A taxon whose rows stand under two parents may count as one that cannot be drawn: nothing is lost by that.
        found = drawn_rows(parts, level)
        assert all(wanted[row] == remains for row, remains in found.items())
        parents = {
            row: {tuple(other[:level]) for other in taxa if level < 7 and other[level] == taxa[row][level]}
            for row in wanted
        }
        surely = {
            row for row, rank in wanted.items() if rank is not None and (level == RECORD or len(parents[row]) == 1)
        }
        assert surely <= set(found)


@pytest.fixture(scope="module")
def made_up():
    barcodes = world(32, length=400)
    labels = labels_of([[(b.lineage, 1)] for b in barcodes])
    return labels, Letters.of([[b.sequence.encode() for b in barcodes]]), np.ones(len(barcodes), bool)


def test_draws_of_the_made_up_world(made_up):
    labels, letters, among = made_up
    parts = draw(labels, letters, among, 30, CROPS, 1)
    assert [(part.level, part.crop) for part in parts] == [(level, crop) for level in LEVELS for crop in CROPS]
    remains = {part.level: set(part.remains.tolist()) for part in parts}
    assert remains == {RECORD: {6}, 6: {5}, 5: {4}, 4: {3}, 3: {2}}, "every taxon has a sister"
    for part in parts:
        assert len(part.rows) == len(set(part.rows.tolist())) == len(part.codes) == len(part.remains) == 30
        for row, codes in zip(part.rows.tolist(), part.codes, strict=True):
            text = decode(codes)
            assert text in letters.text(row)
            assert len(text) == (part.crop or 400)


def test_taxa_are_drawn_not_records():
    """A species with a hundred records is drawn no more often than one with two, while there are others."""
    rows = [[(lineage_of(0, 0), 1)]] * 100 + [[(lineage_of(0, s), 1)] for s in (1, 2, 3, 4) for _ in range(2)]
    labels = labels_of(rows)
    letters = Letters.of([[randomly(50, i).encode() for i in range(len(rows))]])
    (part,) = [p for p in draw(labels, letters, np.ones(len(rows), bool), 5, (0,), 3) if p.level == RECORD]
    assert Counter(labels.main[part.rows].tolist()) == dict.fromkeys(range(5), 1)


def test_only_among_what_is_given_but_judged_by_all(made_up):
    labels, letters, _ = made_up
    among = np.zeros(len(letters.lengths), bool)
    among[::4] = True
    for part in draw(labels, letters, among, 1_000, (0,), 2):
        assert among[part.rows].all()
    # One record of each species is among them, and its species still remains without it.
    assert len(drawn_rows(draw(labels, letters, among, 1_000, (0,), 2), RECORD)) == 96


def test_pieces_are_shorter_than_their_sequence(made_up):
    labels, _, among = made_up
    texts = [randomly(332 if i % 2 else 333, i).encode() for i in range(len(among))]
    parts = draw(labels, Letters.of([texts]), among, 1_000, (313,), 4)
    assert {int(row) % 2 for part in parts for row in part.rows} == {0}


def test_sequences_without_letters_are_not_drawn(made_up):
    labels, _, among = made_up
    texts = [b"" if i % 3 else randomly(60, i).encode() for i in range(len(among))]
    assert {int(row) % 3 for part in draw(labels, Letters.of([texts]), among, 99, (0, 150), 4) for row in part.rows} == {
        0
    }


def test_a_seed_gives_the_same_draws_and_another_one_others(made_up):
    def rows(seed):
        return [
            (p.level, p.crop, p.rows.tolist(), [decode(c) for c in p.codes]) for p in draw(*made_up, 20, CROPS, seed)
        ]

    assert rows(5) == rows(5)
    assert rows(5) != rows(6)


def test_a_single_species_leaves_nothing_but_records():
    labels = labels_of([[(lineage_of(0, 0), 1)]] * 5)
    letters = Letters.of([[randomly(60, i).encode() for i in range(5)]])
    assert [part.level for part in draw(labels, letters, np.ones(5, bool), 9, (0,), 0)] == [RECORD]
    alone = labels_of([[(lineage_of(0, 0), 9)]])
    assert draw(alone, Letters.of([[b"ACGT" * 9]]), np.ones(1, bool), 9, (0,), 0) == []


def test_every_level_has_a_name():
    assert set(LEVEL_NAMES) == set(LEVELS)


def test_taxa_are_drawn_whatever_their_size():
    """Of a hundred species, half with two records and half with thirty, as many of each are drawn."""
    rows = [[(lineage_of(i % 4, i), 1)] for i in range(100) for _ in range(2 if i < 50 else 30)]
    letters = Letters.of([[randomly(30, i).encode() for i in range(len(rows))]])
    small = 0
    for seed in range(20):
        part = draw(labels_of(rows), letters, np.ones(len(rows), bool), 10, (0,), seed)[0]
        assert len(part.rows) == 30
        small += int((part.rows < 100).sum())
    # 600 draws by halves; of rows in proportion to their number there would be 38.
    assert abs(small - 300) < 5 * (600 * 0.25) ** 0.5
