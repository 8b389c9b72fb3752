"""Logistic regression on piecewise linear features: fitted by scikit-learn, stored as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Floats, Ints
from ednabed.base.stored_json import BadJson

_KNOTS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles of a feature at which its slope may change."""
_MIN_SPREAD = 0.1
"""Standard deviation of a feature (all are logarithms or shares) below which it counts less, by the square of the
deficit. A feature that hardly varies among the draws says nothing about queries in which it does: scaled to the width
of the others, its slopes would be due to chance, and a query with foreign bases at its ends, or with N, would get more
confidence than a clean one."""
_NEVER = -50.0
"""Log odds of a class without examples."""


@dataclass(frozen=True)
class Logistic:
    """A model of the probabilities of classes.

    Attributes:
        knots: For each feature, where its slope may change.
        least: Minimum of each feature among the examples; smaller values are raised to it, because nothing was learned
            about them.
        most: Maximum of each feature; larger values are lowered to it in the same way.
        mean: Mean of each column of ``columns``.
        scale: Divisor of each column.
        weights: For each class, the weight of each column.
        intercepts: For each class, its log odds where all columns are at their means.
        examples: Number of examples that it was fitted to.
    """

    knots: list[list[float]]
    least: list[float]
    most: list[float]
    mean: list[float]
    scale: list[float]
    weights: list[list[float]]
    intercepts: list[float]
    examples: int

    def check_shapes(self, features: int, classes: int) -> None:
        """Raise BadJson if the sizes of its numbers do not match."""
        check_columns(self.knots, self.least, self.most, self.mean, self.scale, features)
        if len(self.weights) != classes or len(self.intercepts) != classes:
            raise BadJson(f"a model has {len(self.weights)} classes, expected {classes}")
        if any(len(row) != len(self.mean) for row in self.weights):
            raise BadJson("a model does not have one weight for each column")

    def predict(self, features: Floats) -> Floats:
        """Return the probability of each class, shape (n, classes), for features, shape (n, f)."""
        features = np.clip(features, np.array(self.least), np.array(self.most))
        table = (columns(features, self.knots) - np.array(self.mean)) / np.array(self.scale)
        odds = table @ np.array(self.weights).T + np.array(self.intercepts)
        odds -= odds.max(axis=1, keepdims=True)
        likely = np.exp(odds)
        return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float64)


def check_columns(
    knots: list[list[float]],
    lowest: list[float],
    highest: list[float],
    mean: list[float],
    scale: list[float],
    features: int,
) -> None:
    """Raise BadJson unless the numbers of a model that was read match the number of features."""
    wide = features + sum(map(len, knots))
    if [len(knots), len(lowest), len(highest)] != [features] * 3 or [len(mean), len(scale)] != [wide] * 2 or 0 in scale:
        raise BadJson(f"a model does not have the numbers of {features} features")


def columns(features: Floats, knots: list[list[float]]) -> Floats:
    """Return the features, and the amounts by which each exceeds its knots, shape (n, f + number of knots)."""
    parts = [features]
    for i, feature_knots in enumerate(knots):
        parts.append(np.maximum(features[:, i : i + 1] - np.array(feature_knots), 0))
    return np.concatenate(parts, axis=1)


def fit(features: Floats, classes: Ints, count: int, weights: Floats, penalty: float) -> Logistic:
    """Fit a model.

    Args:
        features: Shape (n, f).
        classes: Class of each example, 0 to ``count`` - 1, shape (n,). If one class has all examples, it always has
            probability 1; a class without examples has probability 0.
        count: Number of classes.
        weights: How much each example counts, shape (n,); 1 on average.
        penalty: Inverse strength of the L2 penalty (``C`` of scikit-learn).
    """
    # The import takes 1.2 s, and only calibration needs it.
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    knots = [
        [round(k, 6) for k in np.unique(np.quantile(features[:, i], _KNOTS)).tolist()] for i in range(features.shape[1])
    ]
    table = columns(features, knots)
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale < 1e-9] = 1
    narrow = np.maximum(_MIN_SPREAD / np.maximum(features.std(axis=0), 1e-9), 1) ** 2
    scale *= np.concatenate([narrow, np.repeat(narrow, [len(feature_knots) for feature_knots in knots])])
    present = np.unique(classes)
    slopes, intercepts = np.zeros((count, table.shape[1])), np.full(count, _NEVER)
    intercepts[present] = 0.0
    if len(present) > 1:
        model = LogisticRegression(C=penalty, max_iter=3_000)
        # Tables are small: two threads take four times as long, and sums would depend on the number of threads.
        with threadpool_limits(1):
            model.fit((table - mean) / scale, classes, sample_weight=weights)
        if len(present) == 2:
            slopes[present[1]], intercepts[present[1]] = model.coef_[0], model.intercept_[0]
        else:
            slopes[present], intercepts[present] = model.coef_, model.intercept_
    return Logistic(
        knots=knots,
        least=features.min(axis=0).tolist(),
        most=features.max(axis=0).tolist(),
        mean=mean.tolist(),
        scale=scale.tolist(),
        weights=slopes.tolist(),
        intercepts=intercepts.tolist(),
        examples=len(features),
    )


def constant(shares: list[float], size: int, examples: int) -> Logistic:
    """Return a model that predicts the same for every input.

    Args:
        shares: Probability of each class, above 0.
        size: Number of features.
        examples: Number of examples that the shares come from.
    """
    zeros, ones = [0.0] * size, [1.0] * size
    intercepts = [float(np.log(share)) for share in shares]
    return Logistic([[] for _ in zeros], zeros, zeros, zeros, ones, [zeros for _ in shares], intercepts, examples)
