"""The stored parts of a calibration: probabilities and p-values by their definitions, and the file that has them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.base.sealed import json_sha256
from ednabed.errors import StoreError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.calibration import ALL_LENGTHS, CUTOFFS, FILE, SCHEMA, Calibration, Group, Model
from ednabed.taxonomy.calibration_old import OldGroup, OldRankModel
from ednabed.taxonomy.evidence import FEATURES, QUERY_FEATURES, RANK_SIZE, Evidence, weigh
from ednabed.taxonomy.lengths import LENGTH_NAMES, length_classes
from ednabed.taxonomy.logistic import constant
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.outlook import Outlook
from ednabed.taxonomy.situations import SITUATIONS, n_present
from taxonomy_support import candidates_of, labels_of, lineage_of

SPECIES, GENUS, FAMILY = 6, 5, 4
# Number of features that ``Evidence.of_query`` has.
QUERY_SIZE = 32
FITTED = [0.25, 0.25, 0.15, 0.15, 0.15, 0.05]
SHARES = [0.3, 0.2, 0.1, 0.2, 0.15, 0.05]


def group(nulls=None, models=None, decoys=((25, 0.31), (150, 0.4), (313, 0.39)), precision=None):
    return Group(
        {} if models is None else models, FITTED, SHARES, nulls or {}, precision or {}, list(decoys), {"record": 300}
    )


def model(ranks=("species",), situations=None):
    return Model(
        constant(situations or FITTED, QUERY_SIZE, 500), {rank: constant([0.1, 0.9], RANK_SIZE, 400) for rank in ranks}
    )


def calibration(build="2026-01-02_03-04-05-abcdef"):
    nulls = {"species": [[[], [-3.25], [], [], [], []], [[]] * 6, [[-9.5], [-4.0, 1.0], [], [], [], []]]}
    reached = [None if cutoff > 0.9 else round(0.5 + cutoff / 2, 4) for cutoff in CUTOFFS]
    full = group(
        nulls, {ALL_LENGTHS: model()}, precision={"species": [(0.1, 0.5, 0.0, reached), (0.5, 0.5, 0.0, reached)]}
    )
    return Calibration(
        build=build, created="2026-01-02T03:04:05+00:00", seed=3, known=0.5, queries=6_000, exponents=[0.0, 0.25],
        candidates=[100, 50, 50], groups={"": full, "COI": group(models={ALL_LENGTHS: model()})},
        vector_groups={"": group(models={ALL_LENGTHS: model()})},
        shortlist=[{"letters": "up to 220", "recall": {"50": 0.9}}], reliability={"aligned": {"all": {}}},
        copies={"": 0.25, "COI": None}, software={"ednabed": "0"},
    )  # fmt: skip


def outlook_of(situations, lengths=500):
    """What was learned about queries of the given length that have these probabilities of situations."""
    situations = np.array(situations, np.float64)
    q = len(situations)
    return Outlook(situations, np.full((q, 7), 0.9), None, length_classes(np.full(q, lengths)))


def with_score(score, rank=SPECIES):
    """Probabilities of situations for which the score of a rank is this one."""
    there = 1 / (1 + math.exp(score))
    count = n_present(rank)
    return [there / count] * count + [(1 - there) / (6 - count)] * (6 - count)


# -- lengths ---------------------------------------------------------------------------------------------------------


def test_lengths_fall_into_the_classes_with_matching_names():
    lengths = np.array([1, 150, 220, 221, 313, 450, 451, 20_000])
    assert [LENGTH_NAMES[c] for c in length_classes(lengths)] == [
        *["up to 220"] * 3, *["221 to 450"] * 3, *["above 450"] * 2,
    ]  # fmt: skip


# -- p-values --------------------------------------------------------------------------------------------------------


def p_by_definition(nulls, score, shares, rank):
    """Each draw counts as the share of its situation divided by its draws; the query as one of average weight."""
    weighed = [
        (null, shares[situation] / len(own))
        for situation, own in enumerate(nulls[: n_present(rank)])
        if situation > 0 or rank != SPECIES
        for null in own
    ]
    own = sum(w * w for _, w in weighed) / sum(w for _, w in weighed)
    return (sum(w for null, w in weighed if null >= score) + own) / (sum(w for _, w in weighed) + own)


scores = st.lists(st.integers(-30, 30), min_size=20, max_size=40).map(lambda own: sorted(one / 4 for one in own))


@settings(max_examples=60)
@given(
    st.lists(scores, min_size=6, max_size=6), st.lists(st.integers(-32, 32), min_size=1, max_size=6),
    st.lists(st.floats(0.01, 1), min_size=6, max_size=6), st.sampled_from([SPECIES, GENUS, FAMILY, 3]),
)  # fmt: skip
def test_p_values_by_their_definition(nulls, asked, parts, rank):
    """Scores in steps of a quarter are often tied. Situations without the rank do not count, nor copies at species."""
    nulls[1] = sorted(nulls[1] * 3)
    shares = np.array(parts) / sum(parts)
    own = group({RANKS[rank]: [[[]] * 6, [[]] * 6, nulls]})
    found = own.p_values(outlook_of([with_score(one / 4, rank) for one in asked]), shares)
    expected = [p_by_definition(nulls, one / 4, shares.tolist(), rank) for one in asked]
    assert found[:, rank].tolist() == pytest.approx(expected)
    assert np.isnan(np.delete(found, rank, axis=1)).all()


def test_with_one_situation_it_equals_the_plain_conformal_p_value():
    own = group({"species": [[[]] * 6, [[]] * 6, [[], [k / 100 for k in range(99)], [], [], [], []]]})
    found = own.p_values(outlook_of([with_score(0.95), with_score(5), with_score(-5)]), np.array(SHARES))
    assert found[:, SPECIES].tolist() == pytest.approx([5 / 100, 1 / 100, 1])


def test_p_values_use_the_length_class_if_it_has_enough_draws():
    short, middle, long = ([[], own, [], [], [], []] for own in ([0.0] * 60, [-1.0] * 10, [-5.0] * 60))
    own = group({"species": [short, middle, long]})
    asked = [with_score(-0.5)]
    found = [own.p_values(outlook_of(asked, n), np.array(SHARES))[0, SPECIES] for n in (100, 300, 600)]
    # Ten draws of the middle class are too few, so all classes are used.
    assert found == pytest.approx([61 / 61, 61 / 131, 1 / 61])
    # So they are even with many exact copies, which do not count.
    own = group({"species": [short, [[-9.0] * 90, *middle[1:]], long]})
    assert own.p_values(outlook_of(asked, 300), np.array(SHARES))[0, SPECIES] == pytest.approx(61 / 131)


def test_p_values_are_unknown_with_too_few_draws():
    asked = outlook_of([with_score(0)])
    assert np.isnan(group().p_values(asked, np.array(SHARES))).all()

    def parts(size):
        return [[[], [0.0] * 20, [], [], [], []]] * 2 + [[[], [0.0] * size, [], [], [], []]]

    assert np.isnan(group({"species": parts(9)}).p_values(asked, np.array(SHARES))).all()
    assert group({"species": parts(10)}).p_values(asked, np.array(SHARES))[0, SPECIES] == 1
    # Exact copies do not show how a query may look absent, and situations with a share of 0 do not count.
    copies = {"species": [[[0.0] * 99, [], [0.0] * 99, [], [], []]] * 3}
    assert np.isnan(group(copies).p_values(asked, np.array(SHARES))).all()
    never = {"species": [[[], [0.0] * 99, [], [], [], []]] * 3}
    assert np.isnan(group(never).p_values(asked, np.array([0.5, 0, 0.5, 0, 0, 0]))).all()


@pytest.mark.parametrize("shares", [[0.1, 0.6, 0.3, 0, 0, 0], [0.1, 0.2, 0.7, 0, 0, 0]])
def test_a_limited_share_of_present_taxa_seems_absent(shares):
    """The conformal guarantee, whatever the shares of situations in a study; the draws have other shares."""
    rng = np.random.default_rng(7)
    shares = np.array(shares)
    below = {alpha: [] for alpha in (0.05, 0.2, 0.5)}
    for _ in range(60):
        near, far = np.sort(rng.normal(0, 1, 150)), np.sort(rng.normal(2, 1, 150))
        own = group({"genus": [[[]] * 6, [[]] * 6, [[], near.tolist(), far.tolist(), [], [], []]]})
        # Queries of a genus that is present: new sequences and new species, as common as in the study.
        situation = rng.choice(2, 200, p=shares[1:3] / shares[1:3].sum())
        asked = [with_score(one, GENUS) for one in rng.normal(2 * situation, 1)]
        p = own.p_values(outlook_of(asked), shares)[:, GENUS]
        for alpha, found in below.items():
            found.append((p <= alpha).mean())
    for alpha, found in below.items():
        # 12,000 queries and 60 sets of draws; neither more nor far fewer.
        assert np.mean(found) == pytest.approx(alpha, abs=4 * math.sqrt(alpha * (1 - alpha) / 60 / 100))


# -- probabilities ---------------------------------------------------------------------------------------------------


def test_confidence_is_presence_times_the_probability_of_the_right_name():
    own = group(models={ALL_LENGTHS: model()})
    likely = [0.4, 0.3, 0.2, 0.1, 0, 0]
    outlook = outlook_of([likely])
    confidences = own.confidences(outlook, np.array(FITTED))
    assert confidences[0].tolist() == pytest.approx([0.9, 0.9, 0.9, 0.9, 0.9, 0.9 * 0.9, 0.7 * 0.9])
    # In a study with other shares, by Bayes' rule.
    odds = [one * share / was for one, share, was in zip(likely, SHARES, FITTED, strict=True)]
    confidences = own.confidences(outlook, np.array(SHARES))
    assert confidences[0, SPECIES] == pytest.approx(sum(odds[:2]) / sum(odds) * 0.9)
    assert confidences[0, GENUS] == pytest.approx(sum(odds[:3]) / sum(odds) * 0.9)


def test_probabilities_of_absence_at_the_ranks_that_are_tested():
    outlook = outlook_of([[0.4, 0.3, 0.2, 0.1, 0, 0]])
    some = group({"species": [[[]] * 6] * 3, "genus": [[[]] * 6] * 3})
    absences = some.absences(outlook, np.array(FITTED))[0]
    assert absences[GENUS:].tolist() == pytest.approx([0.1, 0.3])
    assert np.isnan(absences[:GENUS]).all()


def test_a_length_class_has_its_own_model_or_the_common_one():
    labels = labels_of([[(lineage_of(0, 0), 1)], [((*lineage_of(0)[:6], ""), 1)]])
    evidence = weigh(candidates_of([[0], [0], [0], [1], []], [[0.01], [0.01], [0.01], [0.01], []]), labels)
    likely = [0.9, 0.02, 0.02, 0.02, 0.02, 0.02]
    own = group(models={"up to 220": model(("genus", "species"), likely), ALL_LENGTHS: model(("genus",))})
    predicted = own.outlook(evidence, np.array([100, 300, 600, 100, 100]))
    assert predicted.situations[0].tolist() == pytest.approx(likely)
    assert predicted.situations[1].tolist() == predicted.situations[2].tolist() == pytest.approx(FITTED)
    assert np.isnan(predicted.right[:, SPECIES]).tolist() == [False, True, True, True, True], "nor without a name"
    assert np.isnan(predicted.right[:, GENUS]).tolist() == [False] * 4 + [True]
    assert predicted.right[0, GENUS] == pytest.approx(0.9)
    assert predicted.classes.tolist() == [0, 1, 2, 0, 0]
    assert predicted.p_values is None


# -- cutoffs ---------------------------------------------------------------------------------------------------------


def reaches(*steps):
    """The precision at each cutoff, given pairs of the first cutoff and the precision from there."""
    return [next((value for first, value in reversed(steps) if cutoff >= first), None) for cutoff in CUTOFFS]


def study(known, copies=0.5, genus_known=1.0):
    """Shares with these shares of known species, of exact copies among them, and of known genera among the others."""
    others = (1 - known) * np.array([genus_known, 1 - genus_known, 0, 0])
    return np.array([known * copies, known * (1 - copies), *others])


def test_the_minimum_confidence_that_reached_a_precision():
    tried = [
        (0.1, 0.5, 0.0, reaches((0, 0.5), (0.9, 0.95))),
        (0.5, 0.5, 0.0, reaches((0, 0.8), (0.4, 0.95), (0.8, 0.99))),
    ]
    own = group(precision={"genus": tried})
    assert own.cutoff("genus", 0.95, study(0.1)) == pytest.approx(0.9)
    assert own.cutoff("genus", 0.95, study(0.5)) == pytest.approx(0.4)
    # Linear between the shares that were tried, constant beyond them.
    assert own.cutoff("genus", 0.95, study(0.2)) == pytest.approx(0.9 - 0.5 * 0.25)
    assert own.cutoff("genus", 0.95, study(0.05)) == pytest.approx(0.9)
    assert own.cutoff("genus", 0.95, study(0.99)) == pytest.approx(0.4)
    assert own.cutoff("genus", 0.3, study(0.3)) == 0


def test_rounding_does_not_move_to_the_next_share():
    tried = [(0.5, copies, 0.0, reaches((0, value))) for copies, value in ((0.1, 0.9), (0.5, 0.9), (0.9, 0.1))]
    own = group(precision={"genus": tried})
    for copies in (0.5, np.nextafter(0.5, 1), 0.1 + 0.2 + 0.2):
        assert own.cutoff("genus", 0.8, study(0.5, copies)) == 0
    assert own.cutoff("genus", 0.8, study(0.5, 0.6)) is None


def test_no_cutoff_if_no_confidence_reached_the_precision():
    tried = [(0.1, 0.5, 0.0, reaches((0, 0.5), (0.9, 0.95))), (0.5, 0.5, 0.0, reaches((0, 0.8), (0.8, 0.99)))]
    own = group(precision={"genus": tried, "family": [(0.1, 0.5, 0.0, [None] * len(CUTOFFS))]})
    assert own.cutoff("genus", 0.97, study(0.5)) == pytest.approx(0.8)
    assert own.cutoff("genus", 0.97, study(0.1)) is None
    assert own.cutoff("genus", 0.97, study(0.4)) is None, "nor next to a share at which it was not reached"
    assert own.cutoff("family", 0.1, study(0.1)) is None
    assert own.cutoff("species", 0.1, study(0.1)) is None


def test_cutoffs_between_shares_of_copies_and_of_known_genera():
    def least(known, copies, genus_known):
        return known / 2 + copies / 4 + genus_known / 5

    tried = [
        (known, copies, genus_known, reaches((0, 0.5), (least(known, copies, genus_known), 0.95)))
        for known in (0.2, 0.8)
        for copies in (0.2, 0.6)
        for genus_known in (0.0, 0.5)
    ]
    own = group(precision={"genus": tried})
    for shares in ((0.2, 0.2, 0.0), (0.8, 0.6, 0.5), (0.2, 0.6, 0.1), (0.5, 0.4, 0.3), (0.8, 0.5, 0.5)):
        assert own.cutoff("genus", 0.9, study(*shares)) == pytest.approx(least(*shares), abs=0.02)
    assert own.cutoff("genus", 0.9, study(0.8, 0.99, 0.9)) == pytest.approx(least(0.8, 0.6, 0.5), abs=0.02)


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=100, max_size=100), min_size=3, max_size=3),
    st.floats(0.05, 1), st.sampled_from([0.1, 0.3, 0.5]),
)  # fmt: skip
def test_cutoffs_by_their_definition(reached, precision, known):
    own = group(
        precision={"order": [(share, 0.5, 0.0, one) for share, one in zip((0.1, 0.3, 0.5), reached, strict=True)]}
    )
    values = dict(zip((0.1, 0.3, 0.5), reached, strict=True))[known]
    good = [cutoff for cutoff, value in zip(CUTOFFS, values, strict=True) if value is not None and value >= precision]
    assert own.cutoff("order", precision, study(known)) == (good[0] if good else None)


# -- limits ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(
    st.dictionaries(st.integers(1, 2_000), st.floats(0.01, 0.6), min_size=1, max_size=6),
    st.lists(st.integers(0, 5_000), min_size=1, max_size=9),
)
def test_limits_are_between_those_of_the_adjacent_lengths(decoys, asked):
    """Linear in the logarithm of the length; constant beyond the first and the last."""
    points = sorted(decoys.items())
    expected = []
    for length in asked:
        shorter = [point for point in points if point[0] <= length]
        longer = [point for point in points if point[0] >= length]
        if not shorter or not longer:
            expected.append((shorter[-1] if shorter else longer[0])[1])
            continue
        (a, low), (b, high) = shorter[-1], longer[0]
        expected.append(low if a == b else low + (high - low) * math.log(length / a) / math.log(b / a))
    found = group(decoys=points).limits(np.array(asked))
    assert found.tolist() == pytest.approx(expected)


def test_limits_by_hand():
    own = group(decoys=[(25, 0.3), (100, 0.4)])
    assert own.limits(np.array([0, 1, 25, 50, 100, 10**6])).tolist() == pytest.approx([0.3, 0.3, 0.3, 0.35, 0.4, 0.4])
    assert own.limits(np.zeros(0, np.int64)).shape == (0,)
    assert group(decoys=[(150, 0.38)]).limits(np.array([20, 150, 900])).tolist() == [0.38] * 3
    assert group(decoys=()).limits(np.array([1, 300])).tolist() == [math.inf] * 2


# -- groups and errors ------------------------------------------------------------------------------------------------


def test_a_marker_has_its_own_group_or_the_common_one():
    own = calibration()
    assert own.group("COI", True) is own.groups["COI"]
    assert own.group("12S", True) is own.groups[""]
    assert own.group("COI", False) is own.vector_groups[""]
    assert replace(own, groups={}).group("COI", True) is None


def test_calibration_error_by_hand():
    confidence = np.array([0.05, 0.95, 0.95, 1.0, np.nan, 0.5])
    right = np.array([0, 1, 0, 1, 1, 1.0])
    # Bins: |0.05 - 0|, |2.9 - 2|, |0.5 - 1|.
    assert calibration_error(confidence, right) == pytest.approx((0.05 + 0.9 + 0.5) / 5)
    weights = np.array([2, 1, 1, 1, 9, 0.0])
    assert calibration_error(confidence, right, weights) == pytest.approx((0.1 + 0.9) / 5)
    assert calibration_error(np.array([np.nan]), np.array([1.0])) is None


# -- the file --------------------------------------------------------------------------------------------------------


def test_a_round_trip_preserves_it(tmp_path):
    own = calibration()
    path = own.write(tmp_path)
    assert path == tmp_path / FILE
    assert [p.name for p in tmp_path.iterdir()] == [FILE], "nothing else is left"
    assert Calibration.read(tmp_path, own.build) == own
    own = replace(own, seed=4)
    own.write(tmp_path)
    assert Calibration.read(tmp_path, own.build) == own


def test_no_file_gives_none(tmp_path):
    assert Calibration.read(tmp_path, "x") is None
    assert Calibration.read(tmp_path / "nowhere", "x") is None


def change(path, edit):
    """Change the values, and seal them again."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("calibration_sha256")
    edit(values)
    path.write_text(json.dumps({**values, "calibration_sha256": json_sha256(values)}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "cannot be read"),
        (lambda p: p.write_bytes(b""), "cannot be read"),
        (lambda p: p.write_bytes(b"\xff\xfe{}"), "cannot be read"),
        (lambda p: p.write_text("[1, 2]"), "is damaged"),
        (lambda p: p.write_text("{}"), "is damaged"),
        (lambda p: p.write_text(p.read_text().replace('"seed": 3', '"seed": 4')), "is damaged"),
        (lambda p: change(p, lambda v: v.update(schema=3)), r"has schema 3, this ednabed reads schemas 1 and 2"),
        (lambda p: change(p, lambda v: v.pop("schema")), r"has schema None, this ednabed reads schemas 1 and 2"),
        (lambda p: change(p, lambda v: v.pop("groups")), "was not written by this version"),
        (lambda p: change(p, lambda v: v.update(groups=[])), "was not written by this version"),
        (lambda p: change(p, lambda v: v["groups"].update(COI=None)), "was not written by this version"),
        (lambda p: change(p, lambda v: v.update(more=1)), "was not written by this version"),
        *(
            (
                lambda p, d=decoys: change(p, lambda v: v["groups"]["COI"].update(decoys=d)),
                "was not written by this ver",
            )
            for decoys in ([None, 0.4], [[25, 0.3, 9]], [["x", 0.3]], None)
        ),
        (
            lambda p: change(p, lambda v: v["groups"][""]["models"][ALL_LENGTHS]["ranks"]["species"].pop("least")),
            "was not written by this ver",
        ),
        (lambda p: change(p, lambda v: v["groups"]["COI"].pop("fitted")), "was not written by this ver"),
        (lambda p: change(p, lambda v: v["groups"]["COI"].update(precision={"genus": [0.5]})), "was not written by th"),
        (lambda p: change(p, lambda v: v.update(build="other")), "is of build other, not 2026"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, damage, message):
    own = calibration()
    path = own.write(tmp_path)
    damage(path)
    with pytest.raises(StoreError, match=rf"{FILE}.*{message}.*ednabed reference calibrate"):
        Calibration.read(tmp_path, own.build)


def test_a_model_for_each_length_class_needs_none_for_all_lengths(tmp_path):
    """As a reference with enough draws of every length has them."""
    own = replace(calibration(), groups={"": group(models={name: model() for name in LENGTH_NAMES})})
    path = own.write(tmp_path)
    assert Calibration.read(tmp_path, own.build) == own
    change(path, lambda values: values["groups"][""]["models"].pop(LENGTH_NAMES[1]))
    with pytest.raises(StoreError, match="expected 'all lengths' or all of up to 220, 221 to 450, above 450"):
        Calibration.read(tmp_path, own.build)


@pytest.mark.parametrize(
    "other",
    [{"features": [*FEATURES, *QUERY_FEATURES[:-1], "another"]}, {"features": list(FEATURES)}, {"situations": ["one"]}],
)
def test_other_features_are_reported(tmp_path, other):
    own = calibration()
    path = own.write(tmp_path)
    change(path, lambda values: values.update(other))
    with pytest.raises(StoreError, match="features") as error:
        Calibration.read(tmp_path, own.build)
    assert "has schema" not in str(error.value)


def test_the_file_names_its_features_and_situations(tmp_path):
    values = json.loads(calibration().write(tmp_path).read_text(encoding="utf-8"))
    assert values["schema"] == SCHEMA
    assert values["features"] == [*FEATURES, *QUERY_FEATURES]
    assert values["situations"] == list(SITUATIONS)


def test_a_folder_with_the_name_of_the_file_is_refused(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match="ednabed reference calibrate"):
        Calibration.read(tmp_path, "x")


# -- files of schema 1 -----------------------------------------------------------------------------------------------


def old_model(rng, knots=()):
    size = len(FEATURES) + len(knots)
    return OldRankModel(
        [list(knots), *[[]] * 7], [-8.0] * 8, [9.5] * 8, rng.normal(size=size).tolist(),
        rng.uniform(0.5, 2, size).tolist(), rng.normal(size=size).tolist(), 0.3, 400,
    )  # fmt: skip


def write_old(folder, nulls, ranks, build="old"):
    """Write a file in the format of ednabed before copies were drawn."""
    one = {"ranks": {rank: asdict(own) for rank, own in ranks.items()}, "nulls": nulls, "decoys": [[25, 0.3]]}
    body = {
        "schema": 1, "features": list(FEATURES), "build": build, "created": "2026-01-02T03:04:05+00:00", "seed": 3,
        "known": 0.5, "queries": 6_000, "exponents": [0.0, 0.25], "candidates": [100, 50, 50],
        "groups": {"": {**one, "draws": {"record": 300}}}, "vector_groups": {}, "shortlist": [], "reliability": {},
        "software": {"ednabed": "0"},
    }  # fmt: skip
    path = folder / FILE
    path.write_text(json.dumps({**body, "calibration_sha256": json_sha256(body)}), encoding="utf-8")
    return path


def old_p(nulls, k):
    return (1 + sum(null >= k for null in nulls)) / (1 + len(nulls))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 30), min_size=50, max_size=80), st.lists(st.integers(0, 35), min_size=1, max_size=9))
def test_p_values_of_distances_by_their_definition(nulls, asked):
    """Distances of k / 502 are often tied, as distances between sequences are; stored ones are rounded."""
    kept_ = sorted(round((k + 1) / 502, 6) for k in nulls)
    own = OldGroup({}, {"genus": [[], [], kept_]}, [], {})
    found = own.p_values("genus", np.array([(k + 1) / 502 for k in asked]), np.full(len(asked), 500))
    assert found.tolist() == pytest.approx([old_p(nulls, k) for k in asked])


def test_p_values_of_distances_use_the_length_class_if_it_has_enough_draws():
    own = OldGroup({}, {"species": [[0.2] * 60, [0.05] * 10, [0.001] * 60]}, [], {})
    found = own.p_values("species", np.array([0.1, 0.1, 0.1]), np.array([100, 300, 600]))
    assert found.tolist() == pytest.approx([61 / 61, 61 / 131, 1 / 61])
    few = OldGroup({}, {"species": [[0.1] * 20, [0.1] * 20, [0.1] * 9]}, [], {})
    assert np.isnan(few.p_values("species", np.array([0.1]), np.array([300]))).all()


def test_a_file_of_schema_1_is_read_and_gives_the_same_results(tmp_path):
    rng = np.random.default_rng(5)
    ranks = {"species": old_model(rng, (0.25, 0.5)), "genus": old_model(rng)}
    write_old(tmp_path, {"species": [[], [], [0.01] * 60]}, ranks)
    own = Calibration.read(tmp_path, "old")
    assert (own.schema, own.known, own.copies) == (1, 0.5, {})
    found = own.group("COI", True)
    assert isinstance(found, OldGroup)
    assert found.limits(np.array([100])).tolist() == [0.3]
    features = rng.normal(size=(3, 7, 8))
    evidence = Evidence(
        np.zeros(3, np.int64), np.array([0.02, 0.005, np.inf]), np.array([[0] * 7, [0] * 6 + [-1], [-1] * 7]), features,
        np.zeros((3, 6)), np.array([0, 0, -1]), [()] * 3,
    )  # fmt: skip
    predicted = found.outlook(evidence, np.array([500, 500, 500]))
    assert predicted.situations is None
    assert predicted.p_values[:, SPECIES].tolist() == pytest.approx([1 / 61, 1, 1 / 61])
    assert np.isnan(predicted.p_values[:, :SPECIES]).all()
    for rank, knots in (("species", (0.25, 0.5)), ("genus", ())):
        r = RANKS.index(rank)
        for i in range(3):
            if evidence.lineages[i, r] < 0:
                assert np.isnan(predicted.right[i, r])
                continue
            row = features[i, r].tolist()
            table = [*row, *(max(row[0] - knot, 0) for knot in knots)]
            one = ranks[rank]
            parts = zip(one.weights, table, one.mean, one.scale, strict=True)
            odds = 0.3 + sum(w * (x - m) / s for w, x, m, s in parts)
            assert predicted.right[i, r] == pytest.approx(1 / (1 + math.exp(-odds)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.update(features=[*FEATURES[:-1], "another"]), "other features"),
        (lambda v: v["groups"][""]["ranks"]["species"].pop("least"), "was not written by this version"),
        (lambda v: v["groups"][""].pop("nulls"), "was not written by this version"),
    ],
)
def test_a_damaged_or_foreign_file_of_schema_1_is_refused(tmp_path, edit, message):
    path = write_old(tmp_path, {}, {"species": old_model(np.random.default_rng(1))})
    change(path, edit)
    with pytest.raises(StoreError, match=message):
        Calibration.read(tmp_path, "old")
