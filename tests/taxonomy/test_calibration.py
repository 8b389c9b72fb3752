"""What is kept of a calibration: probabilities and p-values by their definitions, and the file in which they lie."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.errors import StoreError
from ednabed.store.files import json_sha256
from ednabed.taxonomy.calibration import (
    FILE,
    LENGTH_NAMES,
    Calibration,
    Group,
    RankModel,
    columns,
    length_classes,
)
from ednabed.taxonomy.evidence import FEATURES
from ednabed.taxonomy.metrics import calibration_error

SIZE = len(FEATURES)


def group(nulls=None, ranks=None, decoys=((25, 0.31), (150, 0.4), (313, 0.39))):
    return Group(ranks or {}, nulls or {}, list(decoys), {"record": 300})


def model(intercept=0.0, weights=None, knots=None):
    knots = knots or [[] for _ in FEATURES]
    size = SIZE + sum(map(len, knots))
    return RankModel(
        knots, [-8.0] * SIZE, [9.5] * SIZE, [0.0] * size, [1.0] * size, weights or [0.1] * size, intercept, 400
    )


def calibration(build="2026-01-02_03-04-05-abcdef"):
    full = group({"species": [[0.01], [], [0.002, 0.003]]}, {"species": model(0.5, knots=[[0.25], *[[]] * 7])})
    return Calibration(
        build=build, created="2026-01-02T03:04:05+00:00", seed=3, known=0.5, queries=6_000, exponents=[0.0, 0.25],
        candidates=[100, 50, 50], groups={"": full, "COI": group()}, vector_groups={"": group()},
        shortlist=[{"letters": "up to 220", "recall": {"50": 0.9}}], reliability={"aligned": {"all": {}}},
        software={"ednabed": "0"},
    )  # fmt: skip


# -- lengths and p-values --------------------------------------------------------------------------------------------


def test_lengths_fall_into_the_classes_that_have_their_names():
    lengths = np.array([1, 150, 220, 221, 313, 450, 451, 20_000])
    assert [LENGTH_NAMES[c] for c in length_classes(lengths)] == [
        *["up to 220"] * 3, *["221 to 450"] * 3, *["above 450"] * 2,
    ]  # fmt: skip


def p_by_definition(nulls, distance):
    return (1 + sum(null >= distance for null in nulls)) / (1 + len(nulls))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=50, max_size=80), st.lists(st.integers(0, 35), min_size=1, max_size=9))
def test_p_values_by_their_definition(nulls, asked):
    """Distances of k / 502 tie often, as those of letters do; what is kept is rounded."""
    kept = sorted(round((k + 1) / 502, 6) for k in nulls)
    own = group({"genus": [[], [], kept]})
    found = own.p_values("genus", np.array([(k + 1) / 502 for k in asked]), np.full(len(asked), 500))
    assert found.tolist() == pytest.approx([p_by_definition(nulls, k) for k in asked])


def test_p_values_of_the_own_class_of_length_if_there_are_enough():
    short, long = [0.2] * 60, [0.001] * 60
    own = group({"species": [short, [0.05] * 10, long]})
    lengths = np.array([100, 300, 600])
    found = own.p_values("species", np.array([0.1, 0.1, 0.1]), lengths)
    # Ten of the middle class are too few, so all are taken.
    assert found.tolist() == pytest.approx([61 / 61, 61 / 131, 1 / 61])


def test_p_values_that_nobody_can_know():
    assert np.isnan(group().p_values("species", np.array([0.1]), np.array([300]))).all()
    few = group({"species": [[0.1] * 20, [0.1] * 20, [0.1] * 9]})
    assert np.isnan(few.p_values("species", np.array([0.1]), np.array([300]))).all()
    enough = group({"species": [[0.1] * 20, [0.1] * 20, [0.1] * 10]})
    assert enough.p_values("species", np.array([0.1, np.inf]), np.array([300, 9])).tolist() == [1, 1 / 51]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.01, 0.5))
def test_a_share_of_the_known_is_called_new_at_most(seed, alpha):
    """The conformal promise, on average over draws: nulls and queries are alike."""
    rng = np.random.default_rng(seed)
    below = []
    for _ in range(40):
        every = np.round(rng.integers(0, 60, 130) / 502, 6)
        own = group({"species": [[], [], sorted(every[:100].tolist())]})
        below.append((own.p_values("species", every[100:], np.full(30, 500)) <= alpha).mean())
    assert np.mean(below) <= alpha + 4 * math.sqrt(alpha / 40) * 0.35


# -- limits ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(
    st.dictionaries(st.integers(1, 2_000), st.floats(0.01, 0.6), min_size=1, max_size=6),
    st.lists(st.integers(0, 5_000), min_size=1, max_size=9),
)
def test_limits_lie_between_those_of_the_lengths_beside(decoys, asked):
    """On a straight line over the logarithm of the length; beyond the first and the last they stay."""
    points = sorted(decoys.items())
    wanted = []
    for length in asked:
        shorter = [point for point in points if point[0] <= length]
        longer = [point for point in points if point[0] >= length]
        if not shorter or not longer:
            wanted.append((shorter[-1] if shorter else longer[0])[1])
            continue
        (a, low), (b, high) = shorter[-1], longer[0]
        wanted.append(low if a == b else low + (high - low) * math.log(length / a) / math.log(b / a))
    found = group(decoys=points).limits(np.array(asked))
    assert found.tolist() == pytest.approx(wanted)


def test_limits_by_hand():
    own = group(decoys=[(25, 0.3), (100, 0.4)])
    assert own.limits(np.array([0, 1, 25, 50, 100, 10**6])).tolist() == pytest.approx([0.3, 0.3, 0.3, 0.35, 0.4, 0.4])
    assert own.limits(np.zeros(0, np.int64)).shape == (0,)
    assert group(decoys=[(150, 0.38)]).limits(np.array([20, 150, 900])).tolist() == [0.38] * 3
    assert group(decoys=()).limits(np.array([1, 300])).tolist() == [math.inf] * 2


# -- probabilities ---------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_probabilities_by_their_definition(seed):
    rng = np.random.default_rng(seed)
    knots = [sorted(rng.normal(size=rng.integers(0, 4)).tolist()) for _ in FEATURES]
    size = SIZE + sum(map(len, knots))
    ends = np.sort(rng.normal(size=(2, SIZE)), axis=0).tolist()
    own = RankModel(
        knots, *ends, rng.normal(size=size).tolist(), rng.uniform(0.5, 2, size).tolist(),
        rng.normal(size=size).tolist(), float(rng.normal()), 100,
    )  # fmt: skip
    features = rng.normal(size=(5, SIZE))
    for row, told in zip(features.tolist(), own.predict(features).tolist(), strict=True):
        # What was never taught counts as the nearest that was.
        row = [min(max(value, low), high) for value, low, high in zip(row, *ends, strict=True)]
        table = [*row, *(max(value - knot, 0) for value, places in zip(row, knots, strict=True) for knot in places)]
        assert columns(np.array([row]), knots)[0].tolist() == pytest.approx(table)
        odds = own.intercept + sum(
            w * (x - m) / s for w, x, m, s in zip(own.weights, table, own.mean, own.scale, strict=True)
        )
        assert told == pytest.approx(1 / (1 + math.exp(-odds)))


def test_probabilities_far_from_all_that_was_taught_are_those_of_the_furthest_that_was():
    own = model(weights=[0.2] * SIZE)
    far = own.predict(np.array([[1e4] * SIZE, [-1e4] * SIZE, [np.inf] * SIZE, [9.5] * SIZE, [-8.0] * SIZE]))
    most, least = (1 / (1 + math.exp(-0.2 * SIZE * end)) for end in (9.5, -8.0))
    assert far.tolist() == pytest.approx([most, least, most, most, least])
    # One feature alone is held back, the others count as they are.
    one = own.predict(np.array([[100.0, *[1.0] * 7]]))
    assert one.tolist() == pytest.approx([1 / (1 + math.exp(-0.2 * (9.5 + 7)))])


def test_odds_beyond_what_a_computer_holds():
    own = model(weights=[1e3] * SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = own.predict(np.array([[9.0] * SIZE, [-8.0] * SIZE]))
    assert told.tolist() == pytest.approx([1, 0])


def test_a_marker_has_its_own_group_or_that_of_all():
    own = calibration()
    assert own.group("COI", True) is own.groups["COI"]
    assert own.group("12S", True) is own.groups[""]
    assert own.group("COI", False) is own.vector_groups[""]
    assert replace(own, groups={}).group("COI", True) is None


def test_calibration_error_by_hand():
    told = np.array([0.05, 0.95, 0.95, 1.0, np.nan, 0.5])
    right = np.array([0, 1, 0, 1, 1, 1.0])
    # Bins: |0.05 - 0|, |2.9 - 2|, |0.5 - 1|.
    assert calibration_error(told, right) == pytest.approx((0.05 + 0.9 + 0.5) / 5)
    weights = np.array([2, 1, 1, 1, 9, 0.0])
    assert calibration_error(told, right, weights) == pytest.approx((0.1 + 0.9) / 5)
    assert calibration_error(np.array([np.nan]), np.array([1.0])) is None


# -- the file --------------------------------------------------------------------------------------------------------


def test_written_and_read_it_is_the_same(tmp_path):
    own = calibration()
    path = own.write(tmp_path)
    assert path == tmp_path / FILE
    assert [p.name for p in tmp_path.iterdir()] == [FILE], "nothing else is left"
    assert Calibration.read(tmp_path, own.build) == own
    own = replace(own, seed=4)
    own.write(tmp_path)
    assert Calibration.read(tmp_path, own.build) == own


def test_none_where_there_is_none(tmp_path):
    assert Calibration.read(tmp_path, "x") is None
    assert Calibration.read(tmp_path / "nowhere", "x") is None


def change(path, edit):
    """Change the values, and seal them again."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("calibration_sha256")
    edit(values)
    path.write_text(json.dumps({**values, "calibration_sha256": json_sha256(values)}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "cannot be read"),
        (lambda p: p.write_bytes(b""), "cannot be read"),
        (lambda p: p.write_bytes(b"\xff\xfe{}"), "cannot be read"),
        (lambda p: p.write_text("[1, 2]"), "is damaged"),
        (lambda p: p.write_text("{}"), "is damaged"),
        (lambda p: p.write_text(p.read_text().replace('"seed": 3', '"seed": 4')), "is damaged"),
        (lambda p: change(p, lambda v: v.update(schema=2)), r"has schema 2, this ednabed reads schema 1"),
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
            lambda p: change(p, lambda v: v["groups"][""]["ranks"]["species"].pop("least")),
            "was not written by this ver",
        ),
        (lambda p: change(p, lambda v: v.update(build="other")), "is of build other, not 2026"),
    ],
)
def test_a_file_that_is_not_its_own_is_refused(tmp_path, damage, told):
    own = calibration()
    path = own.write(tmp_path)
    damage(path)
    with pytest.raises(StoreError, match=rf"{FILE}.*{told}.*ednabed reference calibrate"):
        Calibration.read(tmp_path, own.build)


def test_other_features_are_told_as_such(tmp_path):
    own = calibration()
    path = own.write(tmp_path)
    change(path, lambda values: values.update(features=[*FEATURES[:-1], "another"]))
    with pytest.raises(StoreError, match="features") as told:
        Calibration.read(tmp_path, own.build)
    assert "schema 1, this ednabed reads schema 1" not in str(told.value)


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match="ednabed reference calibrate"):
        Calibration.read(tmp_path, "x")
