"""From answers to groups: nulls and precisions by loops, what is fitted and measured, and what is too little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy import fitting as module
from ednabed.taxonomy.calibration import ALL_LENGTHS, CUTOFFS, outlook_by
from ednabed.taxonomy.draws import COPY, LEVELS, RECORD
from ednabed.taxonomy.evidence import FEATURES, QUERY_FEATURES, Evidence
from ednabed.taxonomy.fitting import (
    MIN_DRAWS,
    MIN_SEQUENCES,
    TRIED,
    Answers,
    fit_all,
    folds,
    join,
    level_weights,
)
from ednabed.taxonomy.lengths import LENGTH_NAMES, length_classes
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.situations import ABSENT_RANKS, SITUATIONS, absence_score, n_present, situation_of

SPECIES = 6


def evidence_of(level, features, rng):
    """Return the evidence of draws: the more was left out, the farther the nearest."""
    n = len(level)
    situation = situation_of(level)
    query = np.zeros((n, len(QUERY_FEATURES)))
    query[:, 0] = situation == 0
    query[:, 3] = np.where(situation == 0, 0, 1 + situation + rng.normal(0, 0.5, n))
    return Evidence(
        np.zeros(n, np.int64), np.exp(rng.normal(-5 + situation, 0.7)), np.zeros((n, 7), np.int64), features, query,
        np.zeros(n, np.int64), [()] * n,
    )  # fmt: skip


def answers(count=900, seed=0, named=0.95, truth=0.95, **more):
    """Answers whose first feature shows which are right: below 0 all, above 1 none, in between by chance.

    Where the taxon of a rank was left out no name of it is right.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 7, len(FEATURES)))
    features[:, :, 0] = rng.uniform(-1, 2, (count, 7))
    level = more.pop("level", None)
    if level is None:
        level = rng.choice(LEVELS, count, p=[0.2, 0.2, *[0.1] * 6])
    there = np.stack([situation_of(level) < n_present(r) for r in range(7)], axis=1)
    right = (features[:, :, 0] < rng.uniform(size=(count, 7))) & there
    evidence = evidence_of(level, features, rng)
    evidence.lineages[rng.random((count, 7)) > named] = -1
    values = {
        "level": level, "lengths": rng.choice([100, 313, 600], count), "evidence": evidence, "right": right,
        "truth": rng.random((count, 7)) < truth, "fold": folds(count, rng),
    }  # fmt: skip
    own = Answers(**{**values, **more})
    return replace(own, right=own.right & own.judged)


def one_group(own, known=0.5, decoys=(), copies=0.5):
    groups, measured = fit_all({"COI": own}, {"COI": list(decoys)}, {"COI": 200}, {"COI": copies, "": 0.1}, known)
    assert list(groups) == [""] and list(measured) == ["all"]
    return groups[""], measured["all"]


@pytest.fixture(scope="module")
def own():
    return answers(1_200)


@pytest.fixture(scope="module")
def fitted(own):
    return one_group(own)


@pytest.fixture(scope="module")
def apart(own):
    """The predictions for each draw from models of the other folds, fitted one by one."""
    situations, right = np.zeros((len(own), 6)), np.full((len(own), 7), np.nan)
    for fold in range(4):
        asked = np.flatnonzero(own.fold == fold)
        models = module._fit_models(own.part(np.flatnonzero(own.fold != fold)))
        predicted = outlook_by(models, own.evidence.part(asked), own.lengths[asked])
        situations[asked], right[asked] = predicted.situations, predicted.right
    return situations, right


# -- weights ---------------------------------------------------------------------------------------------------------


def test_levels_count_as_assumed():
    level = np.array([COPY] * 3 + [RECORD] * 7 + [6] * 2 + [5] * 4 + [4] + [3] * 3 + [2] * 5 + [1] * 2)
    weights = level_weights(level, 0.64, 0.25)
    shares = {lv: weights[level == lv].sum() / weights.sum() for lv in LEVELS}
    # Of the rest three parts in ten each, and one part together.
    expected = {COPY: 0.16, RECORD: 0.48, 6: 0.108, 5: 0.108, 4: 0.108, 3: 0.012, 2: 0.012, 1: 0.012}
    assert shares == pytest.approx(expected)
    assert weights.sum() == pytest.approx(len(level))


def test_levels_that_were_not_drawn_leave_their_share_to_the_others():
    assert level_weights(np.array([COPY, RECORD, 6, 6]), 0.5, 0.5).tolist() == pytest.approx([1, 1, 1, 1])
    assert level_weights(np.array([COPY, RECORD, 6, 3, 3]), 0.6, 0.5).tolist() == pytest.approx(
        [1.5, 1.5, 1.5, 0.25, 0.25]
    )
    # One in four of the others has its genus in the reference; without any other such draw all have.
    assert level_weights(np.array([RECORD, 6, 5, 5]), 0.5, 0.5, 0.25).tolist() == pytest.approx([2, 0.5, 0.75, 0.75])
    assert level_weights(np.array([RECORD, 6]), 0.5, 0.5, 0.25).tolist() == pytest.approx([1, 1])
    assert level_weights(np.array([5, 5, 3]), 0.9).tolist() == pytest.approx([9 / 8, 9 / 8, 3 / 4])
    assert level_weights(np.array([RECORD] * 4), 0.2).tolist() == pytest.approx([1] * 4)
    # There are no exact copies, or nothing but exact copies.
    assert level_weights(np.array([COPY] * 2), 0.5, 0.0).tolist() == [0, 0]


def test_for_fitting_known_and_others_have_equal_weight_and_so_do_copies(own, fitted):
    group, _ = fitted
    assert sum(group.fitted[:2]) == pytest.approx(0.5)
    assert group.fitted[0] == pytest.approx(0.25)
    other, _ = one_group(own, known=0.8, copies=0.25)
    assert other.fitted == pytest.approx(group.fitted)
    assert other.shares == pytest.approx([0.2, 0.6, *(0.2 * np.array([3, 3, 3, 1]) / 10)])


# -- nulls -----------------------------------------------------------------------------------------------------------


def test_nulls_are_scores_of_present_taxa_from_models_not_fitted_to_them(own, fitted, apart):
    group, _ = fitted
    situation = situation_of(own.level)
    assert set(group.nulls) == {RANKS[r] for r in ABSENT_RANKS}
    for r in ABSENT_RANKS:
        expected = [[[] for _ in SITUATIONS] for _ in LENGTH_NAMES]
        scores = absence_score(apart[0], r)
        for i in range(len(own)):
            if own.truth[i, r] and situation[i] < n_present(r):
                expected[length_classes(own.lengths[i : i + 1])[0]][situation[i]].append(round(float(scores[i]), 4))
        for found, lists in zip(group.nulls[RANKS[r]], expected, strict=True):
            assert [len(one) for one in found] == [len(one) for one in lists]
            for one, other in zip(found, lists, strict=True):
                assert one == sorted(one)
                assert one == pytest.approx(sorted(other), abs=2e-4)
    # The more is missing, the more absent it looks.
    species = group.nulls["species"]
    assert np.median(np.concatenate([part[0] for part in species])) < np.median(
        np.concatenate([part[1] for part in species])
    )


def test_no_nulls_without_candidates_or_at_ranks_without_absent_taxa():
    own = answers(900, level=np.repeat([COPY, RECORD, 6], 300))
    far = np.arange(900) % 3 == 0
    evidence = replace(own.evidence, distance=np.where(far, np.inf, own.evidence.distance))
    group, _ = one_group(replace(own, evidence=evidence))
    assert set(group.nulls) == {"species"}
    count = sum(len(one) for part in group.nulls["species"] for one in part)
    assert count == (own.truth[:600, SPECIES] & ~far[:600]).sum()


def test_absence_is_measured_on_folds_not_used_for_nulls(own, fitted):
    """At 5 %, about as many of the present taxa seem absent."""
    _, measured = fitted
    for rank in ("species", "genus", "family", "order"):
        fact = measured[rank]
        r = RANKS.index(rank)
        least = 1 if rank == "species" else 0
        there = (situation_of(own.level) >= least) & (situation_of(own.level) < n_present(r)) & own.truth[:, r]
        assert fact["absence_measured_on"] == (there & (own.fold >= 2)).sum()
        assert fact["falsely_absent_at_5_percent"] < 0.13


def test_it_is_reported_if_the_measured_folds_look_absent():
    own = answers(1_200)
    # Known taxa of these folds look like absent orders.
    liars = (own.fold >= 2) & (situation_of(own.level) < 2) & (situation_of(own.level) > 0)
    rng = np.random.default_rng(3)
    strange = evidence_of(np.full(len(own), 3), own.evidence.features, rng)
    evidence = replace(
        own.evidence,
        distance=np.where(liars, strange.distance, own.evidence.distance),
        query_features=np.where(liars[:, None], strange.query_features, own.evidence.query_features),
    )
    _, measured = one_group(replace(own, evidence=evidence))
    assert measured["species"]["falsely_absent_at_5_percent"] > 0.25


# -- probabilities ---------------------------------------------------------------------------------------------------


def test_what_a_query_lacks_is_learned(own, fitted):
    group, _ = fitted
    predicted = group.outlook(own.evidence, own.lengths).situations
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    situation = situation_of(own.level)
    assert (predicted.argmax(axis=1) == situation).mean() > 0.5
    assert predicted[situation == 0, 0].mean() > 0.95 > 0.05 > predicted[situation > 0, 0].mean()


def test_right_names_are_learned_if_the_taxon_is_present(own, fitted):
    group, measured = fitted
    situation = situation_of(own.level)
    for r, rank in enumerate(RANKS):
        model = group.models[ALL_LENGTHS].ranks[rank]
        there = own.judged[:, r] & (situation < n_present(r))
        assert model.examples == there.sum()
        predicted = model.predict(own.evidence.of_rank(r))[:, 1]
        first = own.evidence.features[:, r, 0]
        assert predicted[first < 0].mean() > 0.85 and predicted[first > 1].mean() < 0.15
        assert measured[rank]["measured_on"] == own.judged[:, r].sum()
        assert measured[rank]["calibration_error"] < 0.1


def test_reliability_comes_from_models_of_the_other_folds(own, fitted, apart):
    _, measured = fitted
    weights = level_weights(own.level, 0.5, 0.5)
    for r, rank in enumerate(RANKS):
        judged = own.judged[:, r]
        # The assumed shares are those of the draws, so that nothing is shifted.
        predicted = apart[0][judged, : n_present(r)].sum(axis=1) * apart[1][judged, r]
        expected = calibration_error(predicted, own.right[judged, r].astype(float), weights[judged])
        assert measured[rank]["calibration_error"] == pytest.approx(expected, abs=1e-4)
    # A model fitted to the same taxa would seem better than it is: here one fold contradicts all others.
    liars = replace(own, right=np.where((own.fold == 1)[:, None], ~own.right & own.judged, own.right))
    _, predicted = one_group(liars)
    assert predicted["genus"]["calibration_error"] > measured["genus"]["calibration_error"] + 0.1


def test_precision_of_names_by_a_loop(own, fitted, apart):
    group, _ = fitted
    for rank in ("species", "family"):
        r = RANKS.index(rank)
        known, copies, genus_known = TRIED
        every = [(first, second, third) for first in known for second in copies for third in genus_known]
        assert [one[:3] for one in group.precision[rank]] == every
        for *tried, reached in group.precision[rank][::5]:
            weights = level_weights(own.level, *tried)
            shares = np.bincount(situation_of(own.level), weights, len(SITUATIONS)) / weights.sum()
            likely = apart[0] * shares / np.array(group.fitted)
            likely /= likely.sum(axis=1, keepdims=True)
            predicted = likely[:, : n_present(r)].sum(axis=1) * apart[1][:, r]
            assert len(reached) == len(CUTOFFS)
            for place in (0, 30, 60, 80):
                given = [i for i in range(len(own)) if own.judged[i, r] and predicted[i] >= CUTOFFS[place]]
                total = sum(weights[i] for i in given)
                expected = sum(weights[i] for i in given if own.right[i, r]) / total if total else None
                assert reached[place] == (None if expected is None else pytest.approx(expected, abs=2e-3))
    # A higher precision takes a higher confidence.
    shares = np.array([0.45, 0.45, 0.05, 0.05, 0, 0])
    cutoffs = [group.cutoff("species", precision, shares) for precision in (0.5, 0.8, 0.9)]
    assert None not in cutoffs and cutoffs == sorted(cutoffs) and cutoffs[0] < cutoffs[-1]


def test_a_feature_that_hardly_varies_has_little_weight():
    """A feature that is equal for all draws except for chance, which by chance separates right from wrong."""
    own = answers(900, named=1, truth=1)
    own.evidence.features[:, :, 5] = 1 - 0.003 * own.right
    predicted = one_group(own)[0].models[ALL_LENGTHS].ranks["genus"]
    queries = np.repeat(own.evidence.of_rank(5).mean(axis=0)[None], 2, axis=0)
    queries[:, 5] = (0, 1)
    low, high = predicted.predict(queries)[:, 1]
    assert abs(low - high) < 0.05
    # If it does vary, it has weight.
    own.evidence.features[:, :, 5] = 1 - 0.3 * own.right
    low, high = one_group(own)[0].models[ALL_LENGTHS].ranks["genus"].predict(queries)[:, 1]
    assert low > 0.95 and high < 0.05


def test_if_hardly_any_is_wrong_the_share_of_right_ones_is_predicted():
    own = answers(900, named=1, truth=1)
    there = np.stack([situation_of(own.level) < n_present(r) for r in range(7)], axis=1)
    right = there.copy()
    right[:19] = False
    own = replace(own, right=right)
    group, _ = one_group(own)
    for r, rank in enumerate(RANKS):
        kept_ = there[:, r]
        weights = level_weights(own.level[kept_])
        expected = (weights[right[kept_, r]].sum() + 1) / (weights.sum() + 2)
        far = np.full((3, 14), 99.0) * np.array([[-1], [0], [1]])
        predicted = group.models[ALL_LENGTHS].ranks[rank].predict(far)[:, 1]
        assert predicted.tolist() == pytest.approx([expected] * 3)


def test_without_wrong_or_distant_draws_there_is_no_model():
    level = np.where(np.arange(900) % 2, COPY, RECORD)
    own = replace(answers(900, level=level, named=1, truth=1), right=np.ones((900, 7), bool))
    assert one_group(own)[0].models[ALL_LENGTHS].ranks == {}
    # Some of the absent species get wrong names, which is enough for species, but not for genera.
    some = answers(900, level=np.where(np.arange(900) % 2, 6, RECORD), named=1, truth=1)
    right = np.ones((900, 7), bool)
    right[:, 6] = some.level == RECORD
    assert set(one_group(replace(some, right=right))[0].models[ALL_LENGTHS].ranks) == {"species"}


def test_too_few_right_ones_give_no_model():
    own = answers(900, named=1, truth=1)
    known = np.flatnonzero(situation_of(own.level) < 2)
    right = np.zeros((900, 7), bool)
    right[known[:19]] = True
    assert one_group(replace(own, right=right))[0].models[ALL_LENGTHS].ranks == {}
    right[known[19]] = True
    assert set(one_group(replace(own, right=right))[0].models[ALL_LENGTHS].ranks) == set(RANKS)


def test_a_length_class_with_enough_draws_of_every_kind_has_its_own_model():
    rng = np.random.default_rng(1)
    own = answers(1_500, lengths=rng.permutation(np.repeat([100, 600], [700, 800])))
    assert set(one_group(own)[0].models) == {LENGTH_NAMES[0], LENGTH_NAMES[2], ALL_LENGTHS}
    all_classes = answers(2_400, lengths=rng.permutation(np.repeat([100, 313, 600], 800)))
    found = one_group(all_classes)[0]
    assert set(found.models) == set(LENGTH_NAMES)
    # What is fitted can be read again.
    found.check_shapes()
    # Without copies among the short draws, it is unknown how a short copy looks.
    short = np.where((own.lengths == 100) & (own.level == COPY), RECORD, own.level)
    assert set(one_group(replace(own, level=short))[0].models) == {LENGTH_NAMES[2], ALL_LENGTHS}


# -- parts -----------------------------------------------------------------------------------------------------------


def test_parts_and_their_union():
    own = answers(50)
    order = np.random.default_rng(1).permutation(50)
    again = join([own.part(order[:20]), own.part(order[20:])]).part(np.argsort(order))
    for name in ("level", "lengths", "right", "truth", "fold", "judged"):
        assert getattr(again, name).tolist() == getattr(own, name).tolist()
    assert again.evidence.of_query().tolist() == own.evidence.of_query().tolist()
    assert len(again) == 50


def test_a_taxon_has_one_fold_and_folds_are_of_similar_size():
    found = folds(8_000, np.random.default_rng(2))
    assert found.shape == (8_000,)
    assert np.bincount(found).tolist() == pytest.approx([2_000] * 4, abs=200)


# -- markers ---------------------------------------------------------------------------------------------------------


def test_markers_with_enough_draws_and_all_together():
    several = {"COI": answers(400), "12S": answers(MIN_DRAWS, 1), "18S": answers(MIN_DRAWS - 1, 2)}
    decoys = {"COI": [(100, 0.3), (600, 0.4)], "12S": [(100, 0.35), (150, 0.38)], "18S": [(600, 0.39)]}
    copies = {"COI": 0.5, "12S": 0.2, "18S": 0.1, "": 0.3}
    groups, measured = fit_all(several, decoys, dict.fromkeys(several, MIN_SEQUENCES), copies, 0.5)
    assert set(groups) == {"", "COI", "12S"}
    assert set(measured) == {"all", "COI", "12S"}
    assert {name: sum(group.draws.values()) for name, group in groups.items()} == {"": 999, "COI": 400, "12S": 300}
    assert groups["COI"].decoys == decoys["COI"]
    # A query without related sequences in any of them has none in all of them.
    assert groups[""].decoys == [(100, 0.3), (150, 0.38), (600, 0.39)]
    # Each has its own share of copies.
    assert {name: group.shares[0] for name, group in groups.items()} == pytest.approx(
        {"COI": 0.25, "12S": 0.1, "": 0.15}
    )


def test_records_without_a_marker_and_one_marker():
    own, decoys = {"": answers(350), "COI": answers(400)}, {"": [], "COI": [(100, 0.3)]}
    groups, measured = fit_all(own, decoys, {"": 300, "COI": 300}, {"": 0.5, "COI": 0.5}, 0.5)
    assert set(groups) == {"", "COI"}
    assert sum(groups[""].draws.values()) == 750
    assert set(measured) == {"all", "COI"}


def test_too_few_draws_give_no_group():
    few = {"COI": answers(MIN_DRAWS - 1)}
    assert fit_all(few, {"COI": []}, {"COI": 250}, {"COI": 0.5, "": 0.5}, 0.5) == ({}, {})
    assert fit_all({}, {}, {}, {"": 0.5}, 0.5) == ({}, {})


def test_draws_of_too_few_sequences_give_no_group():
    own, decoys = {"COI": answers(400), "12S": answers(400, 1)}, {"COI": [], "12S": []}
    copies = dict.fromkeys(["", "COI", "12S"], 0.5)
    groups, _ = fit_all(own, decoys, {"COI": MIN_SEQUENCES - 1, "12S": MIN_SEQUENCES}, copies, 0.5)
    assert set(groups) == {"", "12S"}
    groups, _ = fit_all(own, decoys, {"COI": MIN_SEQUENCES - 1, "12S": 0}, copies, 0.5)
    assert groups == {}
