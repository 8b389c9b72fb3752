"""Figures compared with plain definitions: counted by hand, or by loops over queries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.evaluate.metrics import (
    ASSUMED_SHARES,
    IDENTITY_BINS,
    auroc,
    calibration_error,
    identity_bins,
    judge_predictions,
    measure,
    measure_bins,
    measure_novelty,
    wilson,
)
from ednabed.evaluate.predictions import Prediction, from_assignment
from ednabed.evaluate.splits import GROUPS, LabelledQuery
from ednabed.store.assignment import Assignment
from ednabed.taxonomy.draws import LEVEL_NAMES
from ednabed.taxonomy.fitting import level_weights
from ednabed.taxonomy.situations import KNOWN
from ednabed.taxonomy.taxa import Taxa

GENUS, SPECIES = 5, 6


def lineage(species="", genus="A", phylum="P"):
    return ("K", phylum, "C", "O", "F", genus, species and f"{genus} {species}")


def query(name, group="record", present=True, names=None):
    names = names or lineage("x")
    return LabelledQuery(name, "ACGT", names, group, (*map(bool, names[:6]), present))


def prediction(name, species="x", confidence=None, **more):
    confidences = None if confidence is None else (None,) * 6 + (confidence,)
    return Prediction(name, lineage(species), confidences=confidences, **more)


def judged(pairs):
    queries, predictions = zip(*pairs, strict=True)
    names = [q.lineage for q in queries] + [p.names for p in predictions] + [t for p in predictions for t in p.tied]
    return judge_predictions(queries, predictions, Taxa(names))


def test_accuracy_counts_queries_whose_taxon_is_present():
    result = measure(
        judged(
            [
                (query("a"), prediction("a", "x", 0.9)),
                (query("b"), prediction("b", "y", 0.9)),
                (query("c"), prediction("c", "x", 0.5)),
                (query("d"), prediction("d", "")),
                (query("e", "species", present=False), prediction("e", "y", 0.8)),
                (query("f", "species", present=False), prediction("f", "y", 0.7)),
                (query("g", names=lineage("")), prediction("g", "y", 1.0)),
            ]
        ),
        SPECIES,
    )
    assert result["queries"] == 6
    assert (result["present"], result["absent"]) == (4, 2)
    assert result["accuracy"] == 0.5
    assert (result["given"], result["precision"]) == (3, pytest.approx(1 / 3))
    assert result["recall"] == 0.25
    assert result["over_classified"] == 0.5
    assert result["accuracy_low"] < 0.5 < result["accuracy_high"]


def test_a_tie_counts_as_the_share_of_its_names_that_is_right():
    tied = (lineage("x"), lineage("y"), lineage("y"), lineage(""))
    many = judged(
        [(query("a"), prediction("a", "y", tied=tied)), (query("b"), prediction("b", tied=(lineage("y"), lineage(""))))]
    )
    # x and y count once each, however many hits have them; the hit without a name is ignored.
    assert many.right[:, SPECIES].tolist() == [0.5, 0.0]
    assert many.right[:, GENUS].tolist() == [1.0, 1.0]
    result = measure(many, SPECIES)
    assert (result["accuracy"], result["precision"], result["recall"]) == (0.25, 0.25, 0.25)


def test_a_namesake_in_another_phylum_is_wrong_and_one_without_a_phylum_right():
    namesakes = [lineage("x", phylum=p) for p in ("P", "Q")]
    taxa = Taxa([*namesakes, lineage("z", "B")])
    rows = [(query("a"), Prediction("a", namesakes[1])), (query("b"), Prediction("b", namesakes[0]))]
    rows.append((query("c", names=lineage("z", "B")), Prediction("c", lineage("z", "B", phylum=""))))
    result = judge_predictions([q for q, _ in rows], [p for _, p in rows], taxa)
    assert result.right[:, GENUS].tolist() == [0, 1, 1]
    assert result.right[:, SPECIES].tolist() == [0, 1, 1]


def test_methods_without_confidences_are_fully_confident_and_missing_confidences_are_not_given():
    rows = [
        (query("a"), prediction("a")),
        (query("b"), prediction("b", "x", confidence=0.1)),
        (query("c"), prediction("c", "")),
    ]
    result = judged(rows)
    np.testing.assert_array_equal(result.confidence[:, SPECIES], [1.0, 0.1, np.nan])
    # A confidence at another rank does not apply to this one.
    np.testing.assert_array_equal(result.confidence[:, GENUS], [1.0, np.nan, 1.0])
    assert measure(result, SPECIES)["given"] == 1


def test_figures_without_queries_are_none():
    result = measure(judged([(query("a", names=lineage("")), prediction("a"))]), SPECIES)
    assert result["queries"] == 0
    for key in ("accuracy", "accuracy_low", "accuracy_high", "precision", "recall", "over_classified"):
        assert result[key] is None
    assert result["calibration_error"] is None


def test_predictions_of_other_queries_are_refused():
    with pytest.raises(UsageError, match="do not match"):
        judge_predictions([query("a"), query("b")], [prediction("b"), prediction("a")], Taxa([]))


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 1.0, 0.31, 0.39, np.nan])
    right = np.array([1.0, 0.0, 1.0, 0.5, 0.0, 1.0])
    # Bin 9: |2.9 - 2| = 0.9; bin 3: |0.7 - 0.5| = 0.2; five guesses.
    assert calibration_error(confidence, right) == pytest.approx(1.1 / 5)
    assert calibration_error(np.array([np.nan]), np.array([1.0])) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=50))
def test_calibration_error_against_a_loop(rows):
    total = 0.0
    for b in range(10):
        in_bin = [(c, r) for c, r in rows if min(math.floor(c * 10), 9) == b]
        if in_bin:
            gap = abs(sum(c for c, _ in in_bin) / len(in_bin) - sum(r for _, r in in_bin) / len(in_bin))
            total += gap * len(in_bin) / len(rows)
    found = calibration_error(np.array([c for c, _ in rows]), np.array([r for _, r in rows]))
    assert found == pytest.approx(total, abs=1e-12)


scores = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@given(scores, scores)
def test_auroc_is_the_share_of_pairs_in_order(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positive, negative)]
    assert auroc(np.array(positive, float), np.array(negative, float)) == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_of_an_empty_group_is_none():
    assert auroc(np.array([]), np.array([1.0])) is None
    assert auroc(np.array([1.0]), np.array([])) is None


def test_wilson_as_published():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20, 29 of 29, to four digits.
    for (right, total), expected in {(81, 263): (0.2553, 0.3662), (0, 20): (0, 0.1611), (29, 29): (0.8830, 1)}.items():
        assert wilson(right, total) == pytest.approx(expected, abs=5e-5)
    assert wilson(0, 0) == (None, None)


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))))
def test_wilson_solves_its_equation(case):
    right, total = case
    share = right / total
    low, high = wilson(right, total)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    for edge in (low, high):
        # The edge is where the observed share is 1.96 standard deviations of the edge away.
        assert (share - edge) ** 2 == pytest.approx(3.8414588 * edge * (1 - edge) / total, abs=1e-7)


def test_novelty_of_held_out_genera_compared_with_held_out_records():
    def row(name, group, novelty, p):
        by_rank = (None,) * 5 + (novelty, None)
        p_values = None if p is None else (None,) * 5 + (p, None)
        return query(name, group), prediction(name, novelty=by_rank, p_values=p_values)

    result = judged(
        [
            row("a", "record", 1.0, 0.05),
            row("b", "record", 5.0, 0.2),
            row("c", "record", None, 0.3),
            row("d", "record", 2.0, None),
            row("e", "genus", 5.0, 0.01),
            row("f", "genus", 9.0, 0.06),
            row("g", "species", 100.0, 0.0),
        ]
    )
    found = measure_novelty(result, "genus")
    assert (found["novel"], found["familiar"]) == (2, 3)
    assert found["auroc"] == pytest.approx((2.5 + 3) / 6)
    # Only the held-out species is in its genus without a nearer relative.
    assert (found["false_novel"], found["false_novel_records"]) == (1.0, pytest.approx(1 / 3))
    assert found["found_novel"] == 0.5
    empty = measure_novelty(result, "family")
    assert (empty["auroc"], empty["found_novel"], empty["false_novel"]) == (None, None, None)


def test_false_novelty_is_counted_in_the_group_that_holds_out_the_rank_below():
    """One query of each group has p <= 0.05, at every rank."""
    sizes = {"record": 10, "species": 5, "genus": 4, "family": 2}
    rows = [
        (query(f"{group}{i}", group), prediction(f"{group}{i}", p_values=(0.05 if i == 0 else 0.06,) * 7))
        for group, size in sizes.items()
        for i in range(size)
    ]
    found = {rank: measure_novelty(judged(rows), rank) for rank in ("species", "genus", "family")}
    assert [one["false_novel"] for one in found.values()] == [1 / 10, 1 / 5, 1 / 4]
    assert [one["false_novel_records"] for one in found.values()] == [1 / 10] * 3
    assert [one["found_novel"] for one in found.values()] == [1 / 5, 1 / 4, 1 / 2]


def test_the_overall_calibration_error_weights_groups_by_assumed_shares():
    """Records are sure and right (0 off), species 0.5 off, genera 0.9; in separate bins, so nothing cancels."""
    rows = [(query(f"r{i}"), prediction(f"r{i}", "x", 1.0)) for i in range(2)]
    rows += [(query(f"s{i}", "species", present=False), prediction(f"s{i}", "y", 0.5)) for i in range(10)]
    rows += [(query(f"g{i}", "genus", present=False), prediction(f"g{i}", "y", 0.9)) for i in range(5)]
    # Without families the others keep their ratio.
    by_hand = (3 * 0 + 0.5 + 0.9) / 5
    assert measure(judged(rows), SPECIES)["calibration_error"] == pytest.approx(by_hand)
    alone = judged(rows)
    assert measure(alone, SPECIES, alone.groups == "species")["calibration_error"] == pytest.approx(0.5)


def test_assumed_shares_match_calibration():
    assert pytest.approx({"record": 1 / 2, "species": 1 / 6, "genus": 1 / 6, "family": 1 / 6}) == ASSUMED_SHARES
    assert ASSUMED_SHARES["record"] == KNOWN
    left_out = np.array([level for level, name in LEVEL_NAMES.items() if name in GROUPS[1:]])
    assert level_weights(left_out, KNOWN).tolist() == pytest.approx([1, 1, 1])


def test_identity_bins_include_their_lower_edge():
    identity = np.array([100, 99.999999999999, 99.99, 99, 98.9, 97, 96.9, 95, 94, 90, 89.9, 80, 79.9, 0, np.nan])
    names = [IDENTITY_BINS[i] for i in identity_bins(identity)]
    assert names == [
        "100", "100", "99-100", "99-100", "97-99", "97-99", "95-97", "95-97", "90-95", "90-95", "80-90", "80-90",
        "<80", "<80", "none",
    ]  # fmt: skip


def test_accuracy_by_bin_ignores_absent_taxa():
    result = judged(
        [
            (query("a"), prediction("a", "x")),
            (query("b"), prediction("b", "y")),
            (query("c", "species", present=False), prediction("c", "y")),
            (query("d"), prediction("d", "x")),
        ]
    )
    bins = measure_bins(result, identity_bins(np.array([100.0, 100.0, 100.0, np.nan])))
    assert list(bins) == list(IDENTITY_BINS)
    assert bins["100"]["species"] == {"present": 2, "accuracy": 0.5}
    assert bins["100"]["genus"] == {"present": 3, "accuracy": 1.0}
    assert bins["none"]["species"] == {"present": 1, "accuracy": 1.0}
    assert bins["<80"]["species"] == {"present": 0, "accuracy": None}


def test_an_assignment_becomes_a_prediction():
    none = (None,) * 7
    names = lineage("x")
    calibrated = Assignment(
        "a", "assigned", names=names, confidences=(1.0,) * 6 + (0.4,), tied=(names, lineage("y")), identity=99.0,
        coverage=40.0, similarity=0.5,
        p_values=(None, None, None, None, 0.9, 0.5, 0.01),
    )  # fmt: skip
    found = from_assignment(calibrated, 500)
    assert (found.id, found.names, found.tied, found.identity) == ("a", names, calibrated.tied, 99.0)
    assert found.confidences == calibrated.confidences
    assert found.p_values == calibrated.p_values
    assert found.novelty == (0.0,) * 6 + (pytest.approx(0.6),)
    plain = from_assignment(Assignment("c", "assigned", names=names, similarity=0.75), 500)
    assert (plain.confidences, plain.p_values, plain.novelty) == (None, None, (25.0,) * 7)
    unrelated = from_assignment(Assignment("d", "unclassified"), 500)
    assert (unrelated.novelty, unrelated.confidences) == ((100.0,) * 7, none)


def test_novelty_is_one_minus_confidence():
    def novelty(*confidences, **more):
        given = Assignment("a", "assigned", identity=99.0, coverage=40.0, confidences=confidences, **more)
        return from_assignment(given, 500).novelty

    assert novelty(1.0, 0.9, 0.8, 0.7, 0.7, 0.2, 0.0) == pytest.approx((0, 0.1, 0.2, 0.3, 0.3, 0.8, 1))
    # A rank without a name is as new as the one above it, or as the first below that has one.
    assert novelty(1.0, None, None, 0.7, None, 0.2, None) == pytest.approx((0, 0, 0, 0.3, 0.3, 0.8, 0.8))
    assert novelty(None, None, 0.9, 0.8, None, None, None) == pytest.approx((0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2))
    # A query without a related sequence has no confidences, and is newer than any query with confidences.
    unrelated = from_assignment(Assignment("b", "unclassified", identity=70.0, coverage=40.0, similarity=0.1), 500)
    assert min(unrelated.novelty) > 1


def test_a_match_over_a_few_bases_is_newer_than_a_slightly_different_sequence():
    def novelty(identity, coverage, length=600):
        given = Assignment("a", "assigned", identity=identity, coverage=coverage, similarity=0.4)
        return from_assignment(given, length).novelty[SPECIES]

    assert novelty(100.0, 100.0) < novelty(99.0, 100.0) < novelty(100.0, 3.0) < novelty(80.0, 100.0)
    # A match over half a barcode counts nearly as much as over the whole; the other half is not a difference.
    assert novelty(100.0, 50.0) < novelty(99.0, 100.0)
    assert novelty(100.0, 100.0, 150) > novelty(100.0, 100.0)
    # Nothing aligns: only the cosine is known.
    assert novelty(0.0, 0.0) == pytest.approx(60)


def test_names_that_are_withheld_are_not_given():
    """Confidence alone is not enough: ``classify`` withholds names that are too distant or tied."""
    q = [LabelledQuery("a", "ACGT", lineage("x"), "record", (True,) * 7)]
    names = lineage("x")
    sure = Assignment("a", "assigned", names=names, lineage=(*names[:6], ""), confidences=(0.99,) * 7, identity=80.0)
    judged = judge_predictions(q, [from_assignment(sure, 500)], Taxa([names]))
    assert measure(judged, SPECIES)["given"] == 0
    assert measure(judged, SPECIES)["recall"] == 0
    assert measure(judged, SPECIES - 1)["given"] == 1
    # A method without explicit given names gives those with high confidence.
    judged = judge_predictions(q, [Prediction("a", names=names, confidences=(0.99,) * 6 + (0.5,))], Taxa([names]))
    assert [measure(judged, rank)["given"] for rank in (SPECIES - 1, SPECIES)] == [1, 0]
