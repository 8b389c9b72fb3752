"""The natural mixture, compared with figures counted by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.evaluate.metrics import judge_predictions
from ednabed.evaluate.mixture import (
    HALVES,
    measure_claims,
    measure_copies,
    measure_mixture,
    measure_rank,
    mixture_weights,
    natural_part,
    only_species,
    order_of,
    recall_at_precision,
    shares,
)
from ednabed.evaluate.predictions import Prediction
from ednabed.evaluate.splits import COPY, GROUPS, Labelled, LabelledQuery
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.taxa import Taxa

SPECIES, GENUS = 6, 5


def lineage(species="x", genus="A"):
    return ("K", "P", "C", "O", "F", genus, species and f"{genus} {species}")


def row(name, group, guess="x", confidence=None, given=None, **more):
    """Return a query of species A x and its prediction; the taxon that its group holds out is absent."""
    absent = len(RANKS) if group in (COPY, "record") else RANKS.index(group)
    query = LabelledQuery(name, "ACGT", lineage(), group, tuple(rank < absent for rank in range(7)))
    confidences = None if confidence is None else (confidence,) * 7
    by_rank = None if given is None else (given,) * 7
    return query, Prediction(name, lineage(guess), confidences=confidences, given=by_rank, **more)


def judged(rows):
    queries, predictions = zip(*rows, strict=True)
    names = [q.lineage for q in queries] + [p.names for p in predictions] + [t for p in predictions for t in p.tied]
    return judge_predictions(queries, predictions, Taxa(names))


def test_half_of_the_mixture_is_known_species():
    everything = shares((COPY, "record", "species", "genus", "family"))
    third = pytest.approx(1 / 6)
    assert everything == {COPY: 0.25, "record": 0.25, "species": third, "genus": third, "family": third}
    assert shares(("record", "species", "family")) == {"record": 0.5, "species": 0.25, "family": 0.25}


def test_a_group_divides_its_weight_among_counted_queries():
    groups = np.array([COPY, COPY, "record", "genus", "genus", "genus"])
    counted = np.array([True, True, True, True, False, True])
    assert mixture_weights(groups, counted).tolist() == [0.125, 0.125, 0.25, 0.25, 0, 0.25]


ROWS = [
    row("c1", COPY, "x", 0.9),
    row("c2", COPY, "x", 0.7),
    row("r1", "record", "x", 0.8),
    row("r2", "record", "y", 0.9),
    row("s1", "species", "y", 0.85),
    row("s2", "species", "y", 0.1),
    row("g1", "genus", "", 0.1),
]


def test_a_rank_of_the_mixture_by_hand():
    found = measure_rank(judged(ROWS), SPECIES)
    # Each copy and record weighs 1/8, each species 1/8, the genus 1/4. Given from 0.8: c1, r1, r2, s1.
    assert (found["known"], found["absent"]) == (4, 3)
    assert found["recall"] == pytest.approx((1 / 8 + 1 / 8) / (4 / 8))
    assert found["precision"] == pytest.approx(2 / 4)
    # c1 and r2 are tied at 0.9: half right. Then s1 1/3, r1 2/4, c2 3/5, s2 3/6.
    assert found["recall_at_precision"] == {"0.95": 0.0, "0.90": 0.0, "0.80": 0.0}
    assert found["over_classified"] == pytest.approx((1 / 8) / (1 / 2))
    # In bins: 0.9 (1 of 2 right), 0.8 to 0.9 (1 of 2), 0.7 (1 of 1), 0.1 (0 of 1).
    by_hand = (abs(1.8 - 1) + abs(1.65 - 1) + abs(0.7 - 1) + 0.1) / 6
    assert found["calibration_error"] == pytest.approx(by_hand)
    genus = measure_rank(judged(ROWS), GENUS)
    assert (genus["known"], genus["absent"]) == (6, 1)


def test_recall_at_equal_precision_takes_ties_together():
    order = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    right = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    weights = np.ones(5)

    def recall(precision):
        return recall_at_precision(order, right, weights, 5.0, precision)

    assert recall(0.95) == pytest.approx(1 / 5)
    # 1/1, 2/3, 3/4, 4/5: a later cutoff counts although an earlier one falls short.
    assert recall(0.8) == pytest.approx(4 / 5)
    assert recall(0.75) == pytest.approx(4 / 5)
    # Order within the tie does not matter.
    swapped = recall_at_precision(order, np.array([1.0, 0.0, 1.0, 1.0, 1.0]), weights, 5.0, 0.95)
    assert swapped == pytest.approx(1 / 5)
    assert recall_at_precision(order[1:], right[1:], weights[1:], 4.0, 0.95) == 0.0
    assert recall_at_precision(np.zeros(0), np.zeros(0), np.zeros(0), 4.0, 0.8) == 0.0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 3)), min_size=1),
    st.sampled_from([0.5, 0.8, 0.95]),
)
def test_recall_at_precision_is_the_best_of_all_cutoffs(rows, precision):
    order, right, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    best = 0.0
    for cutoff in set(order):
        given = order >= cutoff
        hits = (right * weights)[given].sum()
        if hits / weights[given].sum() >= precision - 1e-12:
            best = max(best, hits / weights.sum())
    assert recall_at_precision(order, right, weights, weights.sum(), precision) == pytest.approx(best)


def test_the_order_is_by_confidence_else_identity_else_novelty():
    novelty = (3.0,) * 7
    sure = judged([row("a", COPY, confidence=0.4, identity=90.0), row("b", COPY, identity=99.0)])
    # A guess without a confidence comes last.
    assert order_of(sure, SPECIES).tolist() == [0.4, -np.inf]
    near = judged([row("a", COPY, identity=90.0, novelty=novelty), row("b", COPY)])
    assert order_of(near, SPECIES).tolist() == [90.0, -np.inf]
    assert order_of(judged([row("a", COPY, novelty=novelty)]), SPECIES).tolist() == [-3.0]
    assert order_of(judged([row("a", COPY)]), SPECIES).tolist() == [-np.inf]
    # Without confidences there is no calibration error.
    assert measure_rank(near, SPECIES)["calibration_error"] is None
    assert measure_rank(sure, SPECIES)["calibration_error"] == pytest.approx(0.6)


def test_guesses_that_are_not_given_count_at_equal_precision():
    rows = [row("a", COPY, confidence=0.6, given=False), row("b", "genus", "y", confidence=0.5, given=True)]
    found = measure_rank(judged(rows), SPECIES)
    assert (found["recall"], found["precision"]) == (0.0, 0.0)
    assert found["recall_at_precision"]["0.95"] == 1.0


def test_claims_of_absence_by_hand():
    rows = [
        row("g1", "genus", absent_rank="genus"),
        row("g2", "genus", absent_rank="species"),
        row("g3", "genus", absent_rank="family"),
        row("g4", "genus"),
        row("f1", "family", absent_rank="genus"),
        row("r1", "record", absent_rank="species"),
        row("r2", "record"),
        row("c1", COPY),
    ]
    found = measure_claims(judged(rows))
    groups = found["groups"]
    assert groups["genus"] == {"queries": 4, "claimed": 0.75, "right": 0.25, "too_broad": 0.25, "too_narrow": 0.25}
    assert groups["family"] == {"queries": 1, "claimed": 1.0, "right": 0.0, "too_broad": 0.0, "too_narrow": 1.0}
    assert groups["record"] == {"queries": 2, "claimed": 0.5}
    assert groups[COPY] == {"queries": 1, "claimed": 0.0}
    assert groups["species"]["claimed"] is None
    # Genera weigh 1/16 each, the family 1/4, records 1/8: g3 and r1 are wrong, of g1, g2, g3, f1, r1.
    assert found["wrong"] == pytest.approx((1 / 16 + 1 / 8) / (3 / 16 + 1 / 4 + 1 / 8))
    assert found["known"] == pytest.approx((1 / 8) / (3 / 16 + 1 / 4 + 1 / 8))
    assert found["claims"] == 5
    nothing = measure_claims(judged(rows[3:4]))
    assert nothing["wrong"] is None and nothing["known"] is None


def test_a_claim_at_a_rank_without_a_true_name_is_wrong_if_a_deeper_name_is_present():
    def gap(name, present):
        names = ("K", "P", "C", "O", "", "A", "A x")
        query = LabelledQuery(
            name, "ACGT", names, "record" if present else "genus", (True,) * 4 + (False, present, present)
        )
        return query, Prediction(name, names, absent_rank="family")

    found = measure_claims(judged([gap("a", True), gap("b", False)]))
    assert found["wrong"] == 1.0
    assert measure_claims(judged([gap("b", False)]))["wrong"] is None


def test_copies_of_one_species():
    rows = [row("a", COPY, given=True), row("b", COPY, "y", given=True), row("c", COPY, given=False)]
    rows += [row("d", COPY, given=True), row("r", "record")]
    found = measure_copies(judged(rows), np.array([True, True, True, False]))
    assert found == {"queries": 3, "given": pytest.approx(2 / 3), "right": pytest.approx(1 / 3)}
    everything = measure_mixture(judged(rows), np.array([True, True, True, False]))
    assert everything["haplotypes"] == {"queries": 1, "accuracy": 1.0}


def test_a_sequence_contained_in_another_species_is_not_unique():
    training = [
        Labelled("1", "ACGTACGTTTGG", lineage("x")),
        Labelled("2", "ACGTACGTCC", lineage("x")),
        Labelled("3", "GGACGTACGTCCAA", lineage("y")),
        Labelled("4", "TTGGAC", lineage("")),
    ]
    taxa = Taxa(record.lineage for record in training)

    def ask(*sequences):
        queries = [LabelledQuery(s, s, lineage("x"), COPY, (True,) * 7) for s in sequences]
        return only_species(queries, training, taxa).tolist()

    assert ask("ACGTACGTTTGG", "ACGTACGTCC", "ACGTACGT", "TTTGG", "TTGG") == [True, False, False, True, True]
    # Matches do not span two records.
    assert ask("GGACGTACGTCCAA", "TTGGAC") == [False, True]
    assert only_species([], training, taxa).tolist() == []


@given(st.lists(st.sampled_from((COPY, *GROUPS)), max_size=200))
def test_half_of_a_study_is_known_species(groups):
    rows = natural_part(groups)
    assert (np.diff(rows) > 0).all()
    chosen = Counter(groups[i] for i in rows.tolist())
    for group in set(groups):
        first = [i for i, other in enumerate(groups) if other == group][: chosen[group]]
        assert first == [i for i in rows.tolist() if groups[i] == group], "the first queries are taken"
    known, absent = ([group for group in half if group in groups] for half in HALVES)
    halves = [sum(chosen[group] for group in half) for half in (known, absent)]
    assert len({chosen[group] for group in known}) <= 1
    for group in absent:
        larger = max(chosen[other] for other in absent)
        assert chosen[group] >= larger - 1 or chosen[group] == groups.count(group), "a small group is taken completely"
    if known and absent:
        assert halves[0] == halves[1]
    # The smaller half is taken completely, except for one query if the number of unknown ones is odd.
    scarce = [chosen[group] == groups.count(group) for group in known]
    assert not groups or any(scarce) or (absent and sum(map(groups.count, absent)) - halves[1] < max(len(known), 1))


def test_a_scarce_group_does_not_limit_the_study():
    rows = natural_part([COPY] * 90 + ["record"] * 80 + ["species"] * 5 + ["genus"] * 70 + ["family"] * 99)
    groups = np.array([COPY] * 90 + ["record"] * 80 + ["species"] * 5 + ["genus"] * 70 + ["family"] * 99)[rows]
    assert Counter(groups.tolist()) == {COPY: 80, "record": 80, "species": 5, "genus": 70, "family": 85}
