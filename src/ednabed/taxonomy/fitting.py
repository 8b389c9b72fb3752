"""From draws and their answers to probabilities and p-values, and how well these hold on draws that taught nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.calibration import LENGTH_NAMES, Group, RankModel, columns, length_classes
from ednabed.taxonomy.decoys import Limits, least_limits
from ednabed.taxonomy.draws import LEVEL_NAMES, LEVELS, RECORD
from ednabed.taxonomy.evidence import FEATURES
from ednabed.taxonomy.metrics import calibration_error

FEWEST_DRAWS = 300
"""A marker with fewer draws than these is judged with all others."""
FEWEST_SEQUENCES = 200
"""So is one with fewer distinct labelled sequences: draws are pieces of them, and a few, drawn over and over, are still
a few. Of 60 to 150 fishes the calibration error at genus was up to 0.18, of 300 at most 0.10."""
_FEWEST_OF_EACH = 20
"""Right answers, and wrong ones, without which nothing can be said of a rank."""
_FAR = RANKS.index("order")
_DISTANT = (1, 2, 3, 4)
_FEWEST_DISTANT = 100
_KNOTS = (0.1, 0.25, 0.5, 0.75, 0.9)
_PENALTY = 0.3
_LEAST_SPREAD = 0.1
"""Standard deviation of a feature (all are logarithms or shares) below which it counts less, by the square of what it
lacks. What hardly varies among the draws tells nothing of queries in which it does: stretched to the width of the
others, chance would make its slopes, and a query with foreign letters at its ends, or with N, would get more confidence
than a clean one."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What was answered to some draws of one marker.

    Attributes:
        level: What each draw left out, int64, shape (n,).
        lengths: Its letters, int64, shape (n,).
        remains: See ``Draws``.
        absent: See ``Draws``.
        distance: Its least distance.
        features: See ``Evidence``, shape (n, 7, 8).
        right: Whether the name at each rank is right, shape (n, 7).
        judged: Whether that can be told: there is a name, and the truth is known.
        test: Whether it is kept apart to measure reliability.
    """

    level: Ints
    lengths: Ints
    remains: Ints
    absent: npt.NDArray[np.bool_]
    distance: Floats
    features: Floats
    right: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]
    test: npt.NDArray[np.bool_]


def fit_all(
    answers: dict[str, Answers], decoys: dict[str, Limits], sequences: dict[str, int], known: float
) -> tuple[dict[str, Group], dict[str, Any]]:
    """Fit a group for each marker with enough draws, and one for all together.

    Args:
        answers: Marker to its answers.
        decoys: Marker to its limits (``decoys``).
        sequences: Marker to its distinct labelled sequences.
        known: Share of queries whose species is supposed to be in the reference.

    Returns:
        Groups, and what was measured, by marker; all together have the empty name, and the name ``all``.
    """
    groups: dict[str, Group] = {}
    measured: dict[str, Any] = {}
    pooled = None
    for marker, own in answers.items():
        pooled = own if pooled is None else Answers(
            **{name: np.concatenate([getattr(pooled, name), getattr(own, name)]) for name in Answers.__annotations__}
        )  # fmt: skip
        if marker and len(own.level) >= FEWEST_DRAWS and sequences[marker] >= FEWEST_SEQUENCES:
            groups[marker], measured[marker] = _fit(own, decoys[marker], known)
    if len(groups) == 1 and len(answers) == 1:
        # All together are that one marker.
        return {"": groups.popitem()[1]}, {"all": measured.popitem()[1]}
    every = sum(sequences[marker] for marker in answers)
    if pooled is not None and len(pooled.level) >= FEWEST_DRAWS and every >= FEWEST_SEQUENCES:
        groups[""], measured["all"] = _fit(pooled, least_limits(decoys.values()), known)
    return groups, measured


def level_weights(level: Ints, known: float) -> Floats:
    """Return a weight for each draw so that levels count as supposed: the record's ``known``, the others the rest.

    Of the rest, species, genus and family have 3 parts each, order, class and phylum 1; levels that were not drawn have
    none.
    """
    there = set(level.tolist())
    parts = {lv: 3 if lv > _FAR else 1 for lv in LEVELS if lv != RECORD and lv in there}
    weights = np.zeros(len(level))
    for lv in there:
        share = known if lv == RECORD else (1 - known) * parts[lv] / sum(parts.values())
        weights[level == lv] = share / np.count_nonzero(level == lv)
    return np.asarray(weights / max(weights.sum(), 1e-300) * len(level), np.float64)


def _fit(answers: Answers, decoys: Limits, known: float) -> tuple[Group, dict[str, Any]]:
    """Measure what part of the draws teaches on the others; then let all of them teach."""
    measured = _measure(_teach(answers, ~answers.test, known, decoys), answers, known)
    return _teach(answers, np.ones(len(answers.level), bool), known, decoys), measured


def _teach(answers: Answers, taught: npt.NDArray[np.bool_], known: float, decoys: Limits) -> Group:
    ranks = {}
    for r, rank in enumerate(RANKS):
        own = np.flatnonzero(taught & answers.judged[:, r])
        distant = np.isin(answers.level[own], _DISTANT)
        # Weighed anew at each rank: many records of known species may have no name there, and could not be judged.
        weights = level_weights(answers.level[own], known)
        model = _fit_rank(answers.features[own, r], answers.right[own, r], weights, distant)
        if model is not None:
            ranks[rank] = model
    nulls = {}
    classes = length_classes(answers.lengths)
    for r in range(len(RANKS)):
        at = taught & (answers.remains == r) & answers.absent & np.isfinite(answers.distance)
        if at.any():
            nulls[RANKS[r]] = [
                [round(d, 6) for d in np.sort(answers.distance[at & (classes == c)]).tolist()]
                for c in range(len(LENGTH_NAMES))
            ]
    draws = {LEVEL_NAMES[lv]: int((answers.level == lv).sum()) for lv in LEVELS if (answers.level == lv).any()}
    return Group(ranks, nulls, decoys, draws)


def _fit_rank(
    features: Floats, right: npt.NDArray[np.bool_], weights: Floats, distant: npt.NDArray[np.bool_]
) -> RankModel | None:
    """Fit the model of a rank; None where the draws say too little.

    Where hardly any answer is wrong, though distant queries were drawn, the share of right ones is all there is to say.
    """
    if (~right).sum() < _FEWEST_OF_EACH and (right & distant).sum() >= _FEWEST_DISTANT:
        share = float((weights[right].sum() + 1) / (weights.sum() + 2))
        size = len(FEATURES)
        odds = float(np.log(share / (1 - share)))
        zeros, ones = [0.0] * size, [1.0] * size
        return RankModel([[] for _ in FEATURES], zeros, zeros, zeros, ones, zeros, odds, len(right))
    if min(right.sum(), (~right).sum()) < _FEWEST_OF_EACH:
        return None
    # 1.2 s to import: only calibration needs it.
    from sklearn.linear_model import LogisticRegression

    knots = [
        [round(k, 6) for k in np.unique(np.quantile(features[:, i], _KNOTS)).tolist()] for i in range(len(FEATURES))
    ]
    table = columns(features, knots)
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale < 1e-9] = 1
    narrow = np.maximum(_LEAST_SPREAD / np.maximum(features.std(axis=0), 1e-9), 1) ** 2
    scale *= np.concatenate([narrow, np.repeat(narrow, [len(places) for places in knots])])
    model = LogisticRegression(C=_PENALTY, max_iter=3_000)
    model.fit((table - mean) / scale, right, sample_weight=weights)
    return RankModel(
        knots=knots,
        least=features.min(axis=0).tolist(),
        most=features.max(axis=0).tolist(),
        mean=mean.tolist(),
        scale=scale.tolist(),
        weights=model.coef_[0].tolist(),
        intercept=float(model.intercept_[0]),
        draws=len(right),
    )


def _measure(group: Group, answers: Answers, known: float) -> dict[str, Any]:
    """Measure on the draws that taught nothing: calibration error, and how often a known taxon seems new at 5 %."""
    facts: dict[str, Any] = {}
    for rank, model in group.ranks.items():
        r = RANKS.index(rank)
        own = answers.test & answers.judged[:, r]
        if not own.any():
            continue
        told = model.predict(answers.features[own, r])
        error = calibration_error(
            told, answers.right[own, r].astype(np.float64), level_weights(answers.level[own], known)
        )
        facts[rank] = {"measured_on": int(own.sum()), "calibration_error": None if error is None else round(error, 4)}
    for rank in group.nulls:
        r = RANKS.index(rank)
        own = answers.test & (answers.remains == r) & answers.absent & np.isfinite(answers.distance)
        p = group.p_values(rank, answers.distance[own], answers.lengths[own])
        p = p[np.isfinite(p)]
        if len(p):
            facts.setdefault(rank, {}).update(
                {"false_novel_at_5_percent": round(float((p <= 0.05).mean()), 4), "nulls_measured_on": len(p)}
            )
    return facts
