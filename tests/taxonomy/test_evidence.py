"""Votes of candidates against a slow count, one query and one voter at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import (
    FEATURES,
    MIN_DISTANCE,
    QUERY_FEATURES,
    RANK_SIZE,
    LeftOut,
    weigh,
)
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
    """Compute what ``weigh`` returns, as its docstring defines it."""
    result = []
    for i in range(len(candidates.rows)):
        voters = []
        for column, row in enumerate(candidates.rows[i].tolist()):
            if row < 0:
                continue
            entries = range(labels.starts[row], labels.starts[row + 1])
            records = {e: int(labels.records[e]) for e in entries}
            total = sum(records.values())
            for e in entries:
                lineage = int(labels.entries[e])
                silent = left_out is not None and left_out.taxa[lineage] == left_out.query_taxa[i]
                if silent and (left_out.rows is None or left_out.rows[i] == row):
                    continue
                distance = float(candidates.distances[i, column])
                letters = int(candidates.bases[i, column])
                voters.append([distance, column, lineage, records[e] / total, letters])
        voters.sort(key=lambda voter: tuple(voter[:3]))
        if not voters:
            result.append((-1, math.inf, [-1] * 7, [[0.0] * 8] * 7, set(), -1))
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
        # Of the nearest, the first that agrees with all names.
        near = [voter for voter in voters if voter[0] <= least + 1e-9]
        first = next((voter for voter in near if voter in agreeing), near[0])
        result.append((first[1], least, names, features, set() if clear else set(weights), first[2]))
    return result


def query_slowly(candidates, labels, left_out, i, names):
    """Compute ``QUERY_FEATURES`` of a query as their docstring defines them, from the taxa of its names."""
    voters = []
    for column, row in enumerate(candidates.rows[i].tolist()):
        for e in range(labels.starts[row], labels.starts[row + 1]) if row >= 0 else ():
            lineage = int(labels.entries[e])
            own = left_out is not None and left_out.taxa[lineage] == left_out.query_taxa[i]
            if own and (left_out.rows is None or left_out.rows[i] == row):
                continue
            mismatches = float(candidates.mismatches[i, column] + candidates.lacking[i, column])
            voters.append((float(candidates.distances[i, column]), mismatches, labels.taxa[lineage]))
    near = [voter for voter in voters if voter[0] <= min(v[0] for v in voters) + 1e-9]
    apart = min((mismatches for _, mismatches, _ in near), default=math.inf)
    species = {int(taxa[6]) for _, _, taxa in near} - {-1}
    genera = {int(taxa[5]) for _, _, taxa in near} - {-1}
    records = sequences = 1
    if names[6] >= 0:
        of_it = [e for e in range(len(labels.entries)) if labels.taxa[labels.entries[e], 6] == names[6]]
        records, sequences = sum(int(labels.records[e]) for e in of_it), len(of_it)
        if left_out is not None and left_out.records is not None and left_out.query_taxa[i] == names[6]:
            records -= int(left_out.records[i])
            sequences -= 1
    return [
        float(apart == 0), math.log(max(len(species), 1)), math.log(max(len(genera), 1)),
        math.log(1 + min(apart, 500)), math.log(max(records, 1)), math.log(max(sequences, 1)),
    ]  # fmt: skip


def check(candidates, labels, left_out=None):
    found = weigh(candidates, labels, left_out)
    for i, (nearest, distance, names, features, tied, lineage) in enumerate(slowly(candidates, labels, left_out)):
        assert (found.nearest[i], found.nearest_lineages[i]) == (nearest, lineage)
        assert found.query_features[i].tolist() == pytest.approx(query_slowly(candidates, labels, left_out, i, names))
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
    """Draw rows with one to three lineages, and queries with distances that often tie."""
    some = st.lists(st.sampled_from(EVERY), max_size=3, unique=True)
    rows = [
        [(lineage, draw(st.integers(1, 20))) for lineage in draw(some)]
        for _ in range(draw(st.integers(1, 8)))
    ]  # fmt: skip
    rows[0] = rows[0] or [(RAT, 1)]
    order = st.permutations(range(len(rows)))
    picks = [draw(order)[: draw(st.integers(0, len(rows)))] for _ in range(draw(st.integers(1, 4)))]
    # Weights with which no two sums of votes are equal by chance.
    steps = st.sampled_from([0.0103, 0.0103, 0.0171, 0.0237, 0.0911, 0.33])
    rank = draw(st.sampled_from([None, 6, 5, 4, "sequence"]))
    return rows, picks, [[draw(steps) for _ in own] for own in picks], rank, draw(st.booleans())


@settings(max_examples=200)
@given(tables())
def test_against_a_slow_count(table):
    rows, picks, distances, rank, identical = table
    rows = [sorted(row, key=lambda entry: -entry[1]) for row in rows]
    labels = labels_of(rows)
    left_out = None
    if rank == "sequence":
        taxa = labels.taxa.max(axis=1)
        first = [one[0] if one else -1 for one in picks]
        entries = [int(labels.starts[row]) if row >= 0 and rows[row] else -1 for row in first]
        own = np.array([taxa[labels.entries[e]] if e >= 0 else -2 for e in entries])
        records = np.array([labels.records[e] if e >= 0 else 0 for e in entries])
        left_out = LeftOut(taxa, own, np.array(first), records)
    elif rank is not None:
        named = labels.taxa[:, rank][labels.taxa[:, rank] >= 0]
        left_out = LeftOut(labels.taxa[:, rank], np.resize(named if len(named) else np.array([-2]), len(picks)), None)
    candidates = candidates_of(picks, distances)
    if identical:
        # Sequences at the minimum distance are identical.
        candidates = replace(candidates, mismatches=np.where(candidates.distances < 0.0104, 0, candidates.mismatches))
    weights_tie = False
    for own in slowly(candidates, labels, left_out):
        weights_tie |= any(abs(f[2] - 0.5) < 1e-9 for f in own[3])
    if not weights_tie:
        check(candidates, labels, left_out)


def test_the_order_of_candidates_does_not_matter():
    labels = labels_of([[(RAT, 3)], [(BROWN, 2)], [(MOUSE, 1)], [(NO_SPECIES, 1)]])
    one = weigh(candidates_of([[0, 1, 2, 3]], [[0.02, 0.01, 0.05, 0.01]]), labels)
    other = weigh(candidates_of([[3, 2, 1, 0]], [[0.01, 0.05, 0.01, 0.02]]), labels)
    for r in range(7):
        assert labels.taxa[one.lineages[0, r], r] == labels.taxa[other.lineages[0, r], r]
    np.testing.assert_allclose(one.features, other.features)


def test_other_queries_do_not_matter():
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


def test_the_other_species_of_a_shared_sequence_still_votes():
    """If a species, or one record of it, is left out, other taxa with its sequence stay, with their complete vote."""
    labels = labels_of([[(RAT, 2), (BROWN, 1)], [(RAT, 5)], [(MOUSE, 5)]])
    rat, brown = (next(i for i, own in enumerate(labels.lineages) if own == one) for one in (RAT, BROWN))
    candidates = candidates_of([[0, 1, 2]], [[0.003, 0.02, 0.1]])
    species = labels.taxa[:, 6]
    found = weigh(candidates, labels, LeftOut(species, species[[rat]], None))
    assert (found.nearest[0], found.lineages[0, 6], found.tied) == (0, brown, [()])
    # On the other row the species may vote, if one record is left out.
    for row, named in ((0, brown), (1, rat), (2, rat)):
        found = weigh(candidates, labels, LeftOut(species, species[[rat]], np.array([row])))
        assert (found.nearest[0], found.lineages[0, 6]) == (0, named)
        assert found.features[0, 6, FEATURES.index("log_voters")] == pytest.approx(np.log(2 if row == 2 else 1))


def test_one_odd_record_among_many_is_not_a_tie():
    labels = labels_of([[(RAT, 19), (BROWN, 1)]])
    assert check(candidates_of([[0]], [[0.003]]), labels).tied == [()]


def test_homonyms_in_two_phyla_are_a_tie_of_two_species():
    labels = labels_of([[(RAT, 1)], [(TWIN, 1)]])
    found = check(candidates_of([[0, 1]], [[0.01, 0.01]]), labels)
    assert len(found.tied[0]) == 2
    # Names are chosen from kingdom down: one of the two phyla, and then only names within it.
    chosen = found.lineages[0]
    assert len({labels.lineages[n][0] for n in chosen.tolist() if n >= 0}) == 1


def test_a_voter_without_a_name_does_not_vote_but_the_next_one_does():
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


def test_far_voters_without_weight_still_give_a_name():
    """A voter without species is so much nearer that the weights of the others underflow to zero."""
    labels = labels_of([[(NO_SPECIES, 1)], [(RAT, 1)], [(BROWN, 1)]])
    found = weigh(candidates_of([[0, 1, 2]], [[0.001, 0.9, 0.95]], width=1e-4), labels)
    assert labels.lineages[found.lineages[0, 6]] == RAT
    assert np.isfinite(found.features).all()


# -- the nearest, and what is known of the query ---------------------------------------------------------------------


def feature_of(found, name, query=0):
    return float(found.query_features[query, QUERY_FEATURES.index(name)])


def test_among_equally_near_candidates_the_nearest_has_the_chosen_names():
    """The first candidate is of another species, which has fewer votes."""
    labels = labels_of([[(BROWN, 1)], [(RAT, 1)], [(RAT, 1)], [(MOUSE, 1)]])
    found = check(candidates_of([[0, 1, 2, 3]], [[0.01, 0.01, 0.01, 0.2]]), labels)
    assert found.nearest[0] == 1
    assert labels.lineages[found.nearest_lineages[0]] == RAT
    # The minimum distance still comes first.
    found = check(candidates_of([[0, 1, 2, 3]], [[0.009, 0.01, 0.01, 0.2]], width=1.0), labels)
    assert labels.lineages[found.lineages[0, 6]] == RAT
    assert labels.lineages[found.nearest_lineages[0]] == BROWN


def test_for_a_shared_sequence_the_lineage_with_the_names_is_returned():
    labels = labels_of([[(BROWN, 2), (RAT, 1)], [(RAT, 5)]])
    found = check(candidates_of([[0, 1]], [[0.01, 0.01]]), labels)
    assert (found.nearest[0], labels.lineages[found.nearest_lineages[0]]) == (0, RAT)


def test_exact_means_no_differences_and_nothing_missing():
    labels = labels_of([[(RAT, 3)], [(BROWN, 1)]])
    candidates = candidates_of([[0, 1]], [[0.001, 0.02]])
    assert feature_of(weigh(candidates, labels), "exact") == 0
    same = replace(candidates, mismatches=np.zeros((1, 2)))
    assert feature_of(weigh(same, labels), "exact") == 1
    assert feature_of(weigh(same, labels), "log_mismatches") == 0
    lacking = replace(same, lacking=np.full((1, 2), 2.0))
    assert feature_of(weigh(lacking, labels), "exact") == 0
    assert feature_of(weigh(lacking, labels), "log_mismatches") == pytest.approx(math.log(3))
    # A candidate that is identical but not the nearest, because it covers less, is ignored.
    far = replace(candidates, mismatches=np.array([[3.0, 0.0]]))
    assert feature_of(weigh(far, labels), "exact") == 0


def test_by_vectors_alone_exact_is_the_minimum_distance():
    labels = labels_of([[(RAT, 3)], [(BROWN, 1)]])
    for distance, exact in ((MIN_DISTANCE, 1), (MIN_DISTANCE + 1e-6, 0)):
        candidates = replace(candidates_of([[0, 1]], [[distance, 0.02]]), bases_known=False)
        found = weigh(candidates, labels)
        assert feature_of(found, "exact") == exact
        assert feature_of(found, "log_mismatches") == pytest.approx(0 if exact else math.log(501))


def test_species_and_genera_of_the_nearest():
    labels = labels_of([[(RAT, 3), (BROWN, 1)], [(MOUSE, 1)], [(NO_SPECIES, 1)], [(MOSS, 1)]])
    found = check(candidates_of([[0, 1, 2, 3], [0, 1], [2]], [[0.01, 0.01, 0.01, 0.3], [0.01, 0.02], [0.1]]), labels)
    assert [math.exp(feature_of(found, "log_species", i)) for i in range(3)] == pytest.approx([3, 2, 1])
    assert [math.exp(feature_of(found, "log_genera", i)) for i in range(3)] == pytest.approx([2, 1, 1])


def test_records_and_sequences_of_the_species_without_what_is_left_out():
    labels = labels_of([[(RAT, 3), (BROWN, 1)], [(RAT, 4)], [(BROWN, 9)]])
    candidates = candidates_of([[0, 1, 2]], [[0.01, 0.02, 0.2]])
    species = labels.taxa[:, 6]
    rat = species[[labels.lineages.index(RAT)]]

    def sizes(left_out):
        found = check(candidates, labels, left_out)
        assert labels.lineages[found.lineages[0, 6]] == RAT
        return round(math.exp(feature_of(found, "log_records"))), round(math.exp(feature_of(found, "log_sequences")))

    assert sizes(None) == (7, 2)
    candidates = candidates_of([[1, 2]], [[0.02, 0.2]])
    assert sizes(LeftOut(species, rat, np.array([0]), np.array([3]))) == (4, 1)
    brown = species[[labels.lineages.index(BROWN)]]
    assert sizes(LeftOut(species, brown, np.array([0]), np.array([1]))) == (7, 2), "nothing is lost of another species"


def test_features_of_names_and_queries():
    labels = labels_of([[(RAT, 3)], [(MOUSE, 1)]])
    found = weigh(candidates_of([[0, 1], []], [[0.01, 0.05], []]), labels)
    for rank in range(7):
        expected = [*found.features[0, rank], *found.query_features[0]]
        assert found.of_rank(rank)[0].tolist() == expected
        assert len(expected) == RANK_SIZE
    table = found.of_query()
    assert table.shape == (2, 32) and np.isfinite(table).all()
    assert table[:, 0].tolist() == pytest.approx([math.log(0.01), 0])
    assert table[0, -6:].tolist() == found.query_features[0].tolist()
    # Features of species, genus, family, order and class, in that order.
    assert table[0, 6:26].tolist() == found.features[0, [6, 5, 4, 3, 2], :4].reshape(-1).tolist()
    part = found.part(np.array([1, 0, 0]))
    assert part.of_query().tolist() == table[[1, 0, 0]].tolist()
    assert part.nearest.tolist() == [-1, 0, 0]
