"""From answers to groups: nulls by loops, clipped features, who teaches and who measures, and what is too little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.calibration import LENGTH_NAMES, length_classes
from ednabed.taxonomy.draws import LEVELS, RECORD
from ednabed.taxonomy.evidence import FEATURES
from ednabed.taxonomy.fitting import FEWEST_DRAWS, FEWEST_SEQUENCES, Answers, fit_all, level_weights
from ednabed.taxonomy.metrics import calibration_error

SPECIES = 6


def answers(count=600, seed=0, **more):
    """Answers whose first feature says who is right: below 0 all are, above 1 none is, between by chance."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 7, len(FEATURES)))
    features[:, :, 0] = rng.uniform(-1, 2, (count, 7))
    level = rng.choice(LEVELS, count)
    values = {
        "level": level,
        "lengths": rng.choice([100, 313, 600], count),
        "remains": np.where(level == RECORD, SPECIES, level - 1),
        "absent": rng.random(count) < 0.8,
        "distance": np.where(rng.random(count) < 0.05, np.inf, rng.uniform(0.001, 0.4, count)),
        "features": features,
        "right": features[:, :, 0] < rng.uniform(size=(count, 7)),
        "judged": rng.random((count, 7)) < 0.9,
        "test": rng.random(count) < 0.25,
    }
    return Answers(**{**values, **more})


def one_group(own, known=0.5, decoys=()):
    groups, measured = fit_all({"COI": own}, {"COI": list(decoys)}, {"COI": 200}, known)
    assert list(groups) == [""] and list(measured) == ["all"]
    return groups[""], measured["all"]


# -- nulls -----------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_nulls_are_those_that_are_known_to_be_absent(seed):
    """Taught by all draws: those that measured too."""
    own = answers(320, seed)
    group, _ = one_group(own)
    for r, rank in enumerate(RANKS):
        wanted = [[] for _ in LENGTH_NAMES]
        for i in range(320):
            if own.remains[i] == r and own.absent[i] and own.distance[i] < np.inf:
                wanted[length_classes(own.lengths[i : i + 1])[0]].append(round(float(own.distance[i]), 6))
        assert group.nulls.get(rank, [[], [], []]) == [sorted(part) for part in wanted]
        assert (rank in group.nulls) == any(wanted)


def test_false_novelty_is_measured_by_draws_that_taught_nothing():
    """All that teach are near, all that measure are far: every one of them seems to be new."""
    own = answers(absent=np.ones(600, bool))
    own = replace(own, distance=np.where(own.test, 0.3, 0.01), lengths=np.full(600, 100))
    group, measured = one_group(own)
    for rank in group.nulls:
        assert measured[rank]["false_novel_at_5_percent"] == 1
        assert measured[rank]["nulls_measured_on"] == (own.test & (own.remains == RANKS.index(rank))).sum()
    alike, measured = one_group(replace(own, distance=np.full(600, 0.01)))
    assert {measured[rank]["false_novel_at_5_percent"] for rank in alike.nulls} == {0}


# -- probabilities ---------------------------------------------------------------------------------------------------


def test_who_is_right_is_learned_by_all_and_measured_on_others():
    own = answers(3_000)
    group, measured = one_group(own)
    for r, rank in enumerate(RANKS):
        model = group.ranks[rank]
        assert model.draws == own.judged[:, r].sum()
        told = model.predict(own.features[:, r])
        surely, never = own.features[:, r, 0] < 0, own.features[:, r, 0] > 1
        assert told[surely].mean() > 0.9 and told[never].mean() < 0.1
        assert measured[rank]["measured_on"] == (own.test & own.judged[:, r]).sum()
        assert measured[rank]["calibration_error"] < 0.1
    # Were those that measure wrong about everything, it would be told.
    liars = replace(own, right=own.right ^ own.test[:, None])
    _, measured = one_group(liars)
    assert all(measured[rank]["calibration_error"] > 0.5 for rank in RANKS)


def test_reliability_is_that_of_a_model_of_the_others():
    own = answers(1_500)
    _, measured = one_group(own, known=0.7)
    fields = {name: getattr(own, name)[~own.test] for name in Answers.__annotations__}
    taught, _ = one_group(Answers(**fields), known=0.7)
    for r, rank in enumerate(RANKS):
        kept = own.test & own.judged[:, r]
        told = taught.ranks[rank].predict(own.features[kept, r])
        wanted = calibration_error(told, own.right[kept, r].astype(float), level_weights(own.level[kept], 0.7))
        assert measured[rank]["calibration_error"] == round(wanted, 4)


def test_levels_are_weighed_among_those_that_can_be_judged():
    """Most records of known species have no name at a rank: the few that have stand for all of them."""
    rng = np.random.default_rng(3)
    level = rng.choice([RECORD, 5], 2_000)
    judged = np.repeat((level == 5)[:, None] | (rng.random((2_000, 1)) < 0.1), 7, axis=1)
    # Nothing but the level says who is right.
    right = np.repeat((level == RECORD)[:, None], 7, axis=1)
    own = answers(2_000, level=level, judged=judged, right=right)
    for known in (0.2, 0.8):
        told = one_group(own, known)[0].ranks["species"].predict(own.features[:, SPECIES])
        assert np.median(told) == pytest.approx(known, abs=0.12)


def test_what_hardly_varies_says_next_to_nothing():
    """A feature that is the same for all draws but for chance, which by chance tells right from wrong."""
    own = answers(900, judged=np.ones((900, 7), bool))
    own.features[:, :, 5] = 1 - 0.003 * own.right
    told = one_group(own)[0].ranks["genus"]
    queries = np.repeat(own.features[:, 5].mean(axis=0)[None], 2, axis=0)
    queries[:, 5] = (0, 1)
    low, high = told.predict(queries)
    assert abs(low - high) < 0.05
    # Where it does vary, it is worth what it tells.
    own.features[:, :, 5] = 1 - 0.3 * own.right
    low, high = one_group(own)[0].ranks["genus"].predict(queries)
    assert low > 0.95 and high < 0.05


def test_features_are_held_to_what_was_taught():
    own = answers(900)
    group, _ = one_group(own)
    for r, rank in enumerate(RANKS):
        model = group.ranks[rank]
        seen = own.features[own.judged[:, r], r]
        assert model.least == seen.min(axis=0).tolist()
        assert model.most == seen.max(axis=0).tolist()
        beyond = np.concatenate([seen.max(axis=0)[None] + 50, seen.min(axis=0)[None] - 50])
        ends = np.stack([seen.max(axis=0), seen.min(axis=0)])
        assert model.predict(beyond).tolist() == model.predict(ends).tolist()


def test_where_hardly_any_is_wrong_the_share_of_right_ones_is_told():
    right = np.ones((600, 7), bool)
    right[:19] = False
    own = answers(right=right, judged=np.ones((600, 7), bool))
    group, _ = one_group(own)
    weights = level_weights(own.level, 0.5)
    wanted = (weights[19:].sum() + 1) / (weights.sum() + 2)
    far = np.full((3, len(FEATURES)), 99.0) * np.array([[-1], [0], [1]])
    for rank in RANKS:
        assert group.ranks[rank].predict(far).tolist() == pytest.approx([wanted] * 3)
    # Not so where no distant query was drawn: then nobody knows of these.
    near, _ = one_group(replace(own, level=np.where(np.arange(600) % 2, RECORD, SPECIES)))
    assert near.ranks == {}


def test_too_few_of_each_say_nothing():
    right = np.zeros((600, 7), bool)
    right[:19] = True
    own = answers(right=right, judged=np.ones((600, 7), bool))
    assert one_group(own)[0].ranks == {}
    right[19] = True
    # Twenty may all be among those that measure, but all teach in the end.
    assert set(one_group(replace(own, right=right))[0].ranks) == set(RANKS)


# -- markers ---------------------------------------------------------------------------------------------------------


def test_markers_with_enough_draws_and_all_together():
    several = {"COI": answers(400), "12S": answers(FEWEST_DRAWS, 1), "18S": answers(FEWEST_DRAWS - 1, 2)}
    decoys = {"COI": [(100, 0.3), (600, 0.4)], "12S": [(100, 0.35), (150, 0.38)], "18S": [(600, 0.39)]}
    groups, measured = fit_all(several, decoys, dict.fromkeys(several, FEWEST_SEQUENCES), 0.5)
    assert set(groups) == {"", "COI", "12S"}
    assert set(measured) == {"all", "COI", "12S"}
    assert {name: sum(group.draws.values()) for name, group in groups.items()} == {"": 999, "COI": 400, "12S": 300}
    assert groups["COI"].decoys == decoys["COI"]
    # What is like nothing in any of them is like nothing in all of them.
    assert groups[""].decoys == [(100, 0.3), (150, 0.38), (600, 0.39)]
    assert groups[""].ranks["species"].draws == sum(int(own.judged[:, SPECIES].sum()) for own in several.values())


def test_records_without_a_marker_beside_one_marker():
    own, decoys = {"": answers(350), "COI": answers(400)}, {"": [], "COI": [(100, 0.3)]}
    groups, measured = fit_all(own, decoys, {"": 300, "COI": 300}, 0.5)
    assert set(groups) == {"", "COI"}
    assert sum(groups[""].draws.values()) == 750
    assert set(measured) == {"all", "COI"}


def test_too_few_draws_make_no_group():
    assert fit_all({"COI": answers(FEWEST_DRAWS - 1)}, {"COI": []}, {"COI": 250}, 0.5) == ({}, {})
    assert fit_all({}, {}, {}, 0.5) == ({}, {})


def test_draws_of_too_few_sequences_make_no_group():
    own = {"COI": answers(400), "12S": answers(400, 1)}
    groups, _ = fit_all(own, {"COI": [], "12S": []}, {"COI": FEWEST_SEQUENCES - 1, "12S": FEWEST_SEQUENCES}, 0.5)
    assert set(groups) == {"", "12S"}
    groups, _ = fit_all(own, {"COI": [], "12S": []}, {"COI": FEWEST_SEQUENCES - 1, "12S": 0}, 0.5)
    assert groups == {}
