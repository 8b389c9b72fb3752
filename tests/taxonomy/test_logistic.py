"""Probabilities of classes compared with a plain softmax, and with the model that they were fitted by."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ednabed.taxonomy.logistic import Logistic, columns, constant, fit

SIZE = 8


def model_of(weights, intercepts, ends=(-8.0, 9.5)):
    """A model without knots; features are clipped to two ends."""
    size = len(weights[0])
    zeros = [0.0] * size
    return Logistic(
        [[] for _ in zeros], [ends[0]] * size, [ends[1]] * size, zeros, [1.0] * size, weights, intercepts, 9
    )


def softmax(odds):
    return [1 / sum(math.exp(other - own) for other in odds) for own in odds]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_probabilities_by_their_definition(seed, classes):
    rng = np.random.default_rng(seed)
    knots = [sorted(rng.normal(size=rng.integers(0, 4)).tolist()) for _ in range(SIZE)]
    size = SIZE + sum(map(len, knots))
    ends = np.sort(rng.normal(size=(2, SIZE)), axis=0).tolist()
    own = Logistic(
        knots, *ends, rng.normal(size=size).tolist(), rng.uniform(0.5, 2, size).tolist(),
        rng.normal(size=(classes, size)).tolist(), rng.normal(size=classes).tolist(), 100,
    )  # fmt: skip
    features = rng.normal(size=(5, SIZE))
    for row, predicted in zip(features.tolist(), own.predict(features).tolist(), strict=True):
        # Values outside the examples count as the nearest end.
        row = [min(max(value, low), high) for value, low, high in zip(row, *ends, strict=True)]
        table = [*row, *(max(value - knot, 0) for value, places in zip(row, knots, strict=True) for knot in places)]
        assert columns(np.array([row]), knots)[0].tolist() == pytest.approx(table)
        odds = [
            intercept + sum(w * (x - m) / s for w, x, m, s in zip(weights, table, own.mean, own.scale, strict=True))
            for weights, intercept in zip(own.weights, own.intercepts, strict=True)
        ]
        assert predicted == pytest.approx(softmax(odds))


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_a_fitted_model_matches_scikit_learn(classes):
    """Its table is scaled, and features that hardly vary count less; scikit-learn gets the same table."""
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 500)
    features = rng.normal(size=(500, 4)) + truth[:, None] * np.array([1, 0.5, 0, -1])
    features[:, 3] *= 0.01
    weights = rng.uniform(0.2, 2, 500)
    own = fit(features, truth, classes, weights, 0.3)
    table = (columns(features, own.knots) - own.mean) / own.scale
    oracle = LogisticRegression(C=0.3, max_iter=3_000).fit(table, truth, sample_weight=weights)
    np.testing.assert_allclose(own.predict(features), oracle.predict_proba(table), atol=1e-9)
    assert own.examples == 500
    # It not only matches scikit-learn but also separates the classes.
    assert (own.predict(features).argmax(axis=1) == truth).mean() > 1.3 / classes


def test_knots_are_quantiles_and_ends_are_those_of_the_examples():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(400, 2))
    own = fit(features, (features[:, 0] > 0).astype(int), 2, np.ones(400), 0.3)
    for column, places in enumerate(own.knots):
        assert places == pytest.approx(np.quantile(features[:, column], (0.1, 0.25, 0.5, 0.75, 0.9)), abs=1e-6)
    assert (own.least, own.most) == (features.min(axis=0).tolist(), features.max(axis=0).tolist())
    beyond = np.stack([features.max(axis=0) + 50, features.min(axis=0) - 50])
    ends = np.stack([features.max(axis=0), features.min(axis=0)])
    assert own.predict(beyond).tolist() == own.predict(ends).tolist()


def test_features_that_hardly_vary_are_divided_by_more():
    rng = np.random.default_rng(5)
    features = np.stack([rng.normal(size=900), 1 + 0.01 * rng.normal(size=900)], axis=1)
    own = fit(features, rng.integers(0, 2, 900), 2, np.ones(900), 0.3)
    spread = features.std(axis=0)
    assert own.scale[0] == pytest.approx(spread[0])
    assert own.scale[1] == pytest.approx(spread[1] * (0.1 / spread[1]) ** 2)


def test_classes_without_examples_get_almost_no_probability():
    rng = np.random.default_rng(6)
    truth = rng.choice([1, 3, 4], 300)
    features = rng.normal(size=(300, 2)) + truth[:, None]
    own = fit(features, truth, 6, np.ones(300), 0.3)
    predicted = own.predict(features)
    assert predicted[:, [0, 2, 5]].max() < 1e-12
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    two = fit(features, np.where(truth == 1, 1, 4), 6, np.ones(300), 0.3).predict(features)
    assert two[:, [0, 2, 3, 5]].max() < 1e-12
    assert two[truth == 1, 1].mean() > 0.6 > 0.4 > two[truth != 1, 1].mean()
    # If one class has all examples, it always has probability 1.
    alone = fit(features, np.full(300, 2), 6, np.ones(300), 0.3).predict(features)
    assert alone[:, 2].min() > 1 - 1e-12


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.integers(1, 5), st.floats(-1e6, 1e6))
def test_a_constant_model_predicts_the_same_for_everything(parts, size, value):
    shares = [part / sum(parts) for part in parts]
    own = constant(shares, size, 77)
    assert own.predict(np.full((2, size), value)).tolist() == [pytest.approx(shares)] * 2
    assert own.examples == 77


def test_beyond_the_examples_the_prediction_is_that_at_the_end():
    own = model_of([[0.0] * SIZE, [0.2] * SIZE], [0.0, 0.0])
    far = own.predict(np.array([[1e4] * SIZE, [-1e4] * SIZE, [np.inf] * SIZE, [9.5] * SIZE, [-8.0] * SIZE]))[:, 1]
    most, least = (1 / (1 + math.exp(-0.2 * SIZE * end)) for end in (9.5, -8.0))
    assert far.tolist() == pytest.approx([most, least, most, most, least])
    # Only one feature is clipped, the others count as they are.
    one = own.predict(np.array([[100.0, *[1.0] * (SIZE - 1)]]))[:, 1]
    assert one.tolist() == pytest.approx([1 / (1 + math.exp(-0.2 * (9.5 + SIZE - 1)))])


def test_odds_that_overflow():
    own = model_of([[0.0] * SIZE, [1e3] * SIZE], [0.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted = own.predict(np.array([[9.0] * SIZE, [-8.0] * SIZE]))
    assert predicted[:, 1].tolist() == pytest.approx([1, 0])
