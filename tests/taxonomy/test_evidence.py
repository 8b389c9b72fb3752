"""Votes of candidates against a slow count, one query and one voter at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import FEATURES, LeftOut, weigh
from taxonomy_support import candidates_of, labels_of

RAT = ("Animalia", "Chordata", "Mammalia", "Rodentia", "Muridae", "Rattus", "Rattus rattus")
BROWN = (*RAT[:6], "Rattus norvegicus")
MOUSE = (*RAT[:5], "Mus", "Mus musculus")
NO_SPECIES = (*RAT[:6], "")
NO_GENUS = (*RAT[:5], "", "Rattus rattus")
MOSS = ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus moss")
TWIN = ("Plantae", "Bryophyta", "", "", "", "Rattus", "Rattus rattus")
EVERY = [RAT, BROWN, MOUSE, NO_SPECIES, NO_GENUS, MOSS, TWIN]


def slowly(candidates, labels, left_out=None):
    """What ``weigh`` says, by its docstring."""
    told = []
    for i in range(len(candidates.rows)):
        voters = []
        for column, row in enumerate(candidates.rows[i].tolist()):
            if row < 0:
                continue
            entries = range(labels.starts[row], labels.starts[row + 1])
            total = sum(int(labels.records[e]) for e in entries)
            for e in entries:
                lineage = int(labels.entries[e])
                silent = left_out is not None and left_out.taxa[lineage] == left_out.own[i]
                if silent and (left_out.rows is None or left_out.rows[i] == row):
                    continue
                distance = float(candidates.distances[i, column])
                letters = int(candidates.letters[i, column])
                voters.append([distance, column, lineage, int(labels.records[e]) / total, letters])
        voters.sort(key=lambda voter: tuple(voter[:3]))
        if not voters:
            told.append((-1, math.inf, [-1] * 7, [[0.0] * 8] * 7, set()))
            continue
        least = voters[0][0]
        tenth = voters[min(10, len(voters)) - 1][0]
        width, length = float(candidates.widths[i]), int(candidates.lengths[i])
        agreeing = list(voters)
        names, features = [], []
        for rank in range(7):
            named = [voter for voter in agreeing if labels.taxa[voter[2], rank] >= 0]
            if not named:
                names.append(-1)
                features.append([0.0] * 8)
                continue
            votes, wide = {}, {}
            for distance, _, lineage, share, _ in named:
                taxon = labels.taxa[lineage, rank]
                votes[taxon] = votes.get(taxon, 0) + share * math.exp((least - distance) / width)
                wide[taxon] = wide.get(taxon, 0) + share * math.exp((least - distance) / (0.2 * least))
            chosen = max(votes, key=lambda taxon: votes[taxon])
            own = [voter for voter in named if labels.taxa[voter[2], rank] == chosen]
            others = [voter[0] for voter in named if labels.taxa[voter[2], rank] != chosen]
            other = min(others) if others else max(voters[-1][0], own[0][0]) * 1.1
            names.append(int(chosen))
            features.append([
                math.log(own[0][0]), math.log(other / own[0][0]), votes[chosen] / sum(votes.values()),
                wide[chosen] / sum(wide.values()), math.log1p(own[0][4]), own[0][4] / length,
                math.log(tenth / least), math.log(len(own)),
            ])  # fmt: skip
            agreeing = [voter for voter in agreeing if labels.taxa[voter[2], rank] in (-1, chosen)]
        near = [voter for voter in voters if voter[0] <= least + 1e-9 and labels.taxa[voter[2], 6] >= 0]
        weights = {}
        for _, _, lineage, share, _ in near:
            taxon = int(labels.taxa[lineage, 6])
            weights[taxon] = weights.get(taxon, 0) + share
        clear = not weights or max(weights.values()) >= 0.9 * sum(weights.values())
        told.append((voters[0][1], least, names, features, set() if clear else set(weights)))
    return told


def check(candidates, labels, left_out=None):
    found = weigh(candidates, labels, left_out)
    for i, (nearest, distance, names, features, tied) in enumerate(slowly(candidates, labels, left_out)):
        assert found.nearest[i] == nearest
        assert found.distance[i] == distance
        chosen = [int(labels.taxa[n, r]) if n >= 0 else -1 for r, n in enumerate(found.lineages[i].tolist())]
        assert chosen == names
        np.testing.assert_allclose(found.features[i], features, rtol=1e-9, atol=1e-9)
        species = [int(labels.taxa[n, 6]) for n in found.tied[i]]
        assert len(species) == len(set(species))
        assert set(species) == tied
    return found


@st.composite
def tables(draw):
    """Rows with one to three lineages, and queries with distances that often tie."""
    some = st.lists(st.sampled_from(EVERY), max_size=3, unique=True)
    rows = [
        [(lineage, draw(st.integers(1, 20))) for lineage in draw(some)]
        for _ in range(draw(st.integers(1, 8)))
    ]  # fmt: skip
    rows[0] = rows[0] or [(RAT, 1)]
    order = st.permutations(range(len(rows)))
    picks = [draw(order)[: draw(st.integers(0, len(rows)))] for _ in range(draw(st.integers(1, 4)))]
    # Such as no two sums of votes are the same by chance.
    steps = st.sampled_from([0.0103, 0.0103, 0.0171, 0.0237, 0.0911, 0.33])
    return rows, picks, [[draw(steps) for _ in own] for own in picks], draw(st.sampled_from([None, 6, 5, 4, 7]))


@settings(max_examples=200)
@given(tables())
def test_against_a_slow_count(table):
    rows, picks, distances, rank = table
    rows = [sorted(row, key=lambda entry: -entry[1]) for row in rows]
    labels = labels_of(rows)
    left_out = None
    if rank is not None:
        taxa = labels.taxa[:, rank] if rank < 7 else labels.taxa.max(axis=1)
        named = taxa[taxa >= 0]
        own = np.resize(named if len(named) else np.array([-2]), len(picks))
        left_out = LeftOut(taxa, own, None if rank < 7 else np.array([one[0] if one else -1 for one in picks]))
    weights_tie = False
    for own in slowly(candidates_of(picks, distances), labels, left_out):
        weights_tie |= any(abs(f[2] - 0.5) < 1e-9 for f in own[3])
    if not weights_tie:
        check(candidates_of(picks, distances), labels, left_out)


def test_the_order_of_candidates_does_not_matter():
    labels = labels_of([[(RAT, 3)], [(BROWN, 2)], [(MOUSE, 1)], [(NO_SPECIES, 1)]])
    one = weigh(candidates_of([[0, 1, 2, 3]], [[0.02, 0.01, 0.05, 0.01]]), labels)
    other = weigh(candidates_of([[3, 2, 1, 0]], [[0.01, 0.05, 0.01, 0.02]]), labels)
    for r in range(7):
        assert labels.taxa[one.lineages[0, r], r] == labels.taxa[other.lineages[0, r], r]
    np.testing.assert_allclose(one.features, other.features)


def test_company_of_other_queries_does_not_matter():
    labels = labels_of([[(RAT, 3), (BROWN, 1)], [(BROWN, 2)], [(MOUSE, 1)]])
    rows, distances = [[0, 1, 2], [], [2]], [[0.02, 0.01, 0.05], [], [0.1]]
    together = weigh(candidates_of(rows, distances), labels)
    for i in range(3):
        alone = weigh(candidates_of(rows[i : i + 1], distances[i : i + 1]), labels)
        assert alone.lineages[0].tolist() == together.lineages[i].tolist()
        np.testing.assert_array_equal(alone.features[0], together.features[i])
        assert alone.tied[0] == together.tied[i]


def test_a_sequence_of_two_species_is_a_tie():
    labels = labels_of([[(RAT, 2), (BROWN, 1)], [(MOUSE, 5)]])
    found = check(candidates_of([[0, 1]], [[0.003, 0.1]]), labels)
    assert {labels.lineages[n][6] for n in found.tied[0]} == {"Rattus rattus", "Rattus norvegicus"}
    species = found.features[0, 6]
    assert species[FEATURES.index("agreement")] == pytest.approx(2 / 3)
    assert species[FEATURES.index("log_margin")] == pytest.approx(0)


def test_of_a_shared_sequence_the_other_species_still_votes():
    """Where a species is left out, or one record of it, what shares its sequence stays, with all of its vote."""
    labels = labels_of([[(RAT, 2), (BROWN, 1)], [(RAT, 5)], [(MOUSE, 5)]])
    rat, brown = (next(i for i, own in enumerate(labels.lineages) if own == one) for one in (RAT, BROWN))
    candidates = candidates_of([[0, 1, 2]], [[0.003, 0.02, 0.1]])
    species = labels.taxa[:, 6]
    found = weigh(candidates, labels, LeftOut(species, species[[rat]], None))
    assert (found.nearest[0], found.lineages[0, 6], found.tied) == (0, brown, [()])
    # On the other row the species may speak, where a record is left out.
    for row, named in ((0, brown), (1, rat), (2, rat)):
        found = weigh(candidates, labels, LeftOut(species, species[[rat]], np.array([row])))
        assert (found.nearest[0], found.lineages[0, 6]) == (0, named)
        assert found.features[0, 6, FEATURES.index("log_voters")] == pytest.approx(np.log(2 if row == 2 else 1))


def test_one_odd_record_among_many_is_no_tie():
    labels = labels_of([[(RAT, 19), (BROWN, 1)]])
    assert check(candidates_of([[0]], [[0.003]]), labels).tied == [()]


def test_homonyms_in_two_phyla_are_a_tie_of_two_species():
    labels = labels_of([[(RAT, 1)], [(TWIN, 1)]])
    found = check(candidates_of([[0, 1]], [[0.01, 0.01]]), labels)
    assert len(found.tied[0]) == 2
    # Names are chosen from kingdom down: one of the two phyla, and then only its own.
    chosen = found.lineages[0]
    assert len({labels.lineages[n][0] for n in chosen.tolist() if n >= 0}) == 1


def test_a_voter_without_a_name_is_silent_and_the_next_one_speaks():
    labels = labels_of([[(NO_SPECIES, 1)], [(RAT, 1)], [(MOUSE, 1)]])
    found = check(candidates_of([[0, 1, 2]], [[0.002, 0.02, 0.02]]), labels)
    assert [labels.lineages[n][r] for r, n in enumerate(found.lineages[0].tolist())] == list(RAT)
    assert found.nearest[0] == 0


def test_nothing_found():
    labels = labels_of([[(RAT, 1)]])
    found = check(candidates_of([[], [0]], [[], [0.1]]), labels)
    assert found.nearest.tolist() == [-1, 0]
    assert np.isinf(found.distance[0])
    assert found.features.shape == (2, len(RANKS), len(FEATURES))
    assert not found.features[0].any()


def test_far_voters_of_no_weight_still_name():
    """A voter without species is so much nearer that the others' weights are zero in a computer's numbers."""
    labels = labels_of([[(NO_SPECIES, 1)], [(RAT, 1)], [(BROWN, 1)]])
    found = weigh(candidates_of([[0, 1, 2]], [[0.001, 0.9, 0.95]], width=1e-4), labels)
    assert labels.lineages[found.lineages[0, 6]] == RAT
    assert np.isfinite(found.features).all()
