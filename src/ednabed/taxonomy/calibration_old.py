"""Calibrations as they were written up to schema 1: still read, and said to be old.

They suppose that half of the queries are of known species, have seen no exact copies, and tell what is absent by its
distance alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.base.stored_json import BadJson
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import FEATURES, Evidence
from ednabed.taxonomy.lengths import LENGTH_NAMES, check_limits, length_classes, limit_at
from ednabed.taxonomy.logistic import check_columns, columns
from ednabed.taxonomy.outlook import Outlook

SCHEMA = 1
_FEWEST_NULLS = 50
_DIGITS = 6
_MOST_ODDS = 500.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OldRankModel:
    """Probability that the name chosen at a rank is right: a logistic regression on piecewise linear features.

    Attributes:
        knots: For each of ``FEATURES``, where its slope may change.
        least: The least value of each feature among the draws; what is less counts as that, because nothing was learned
            of it.
        most: The largest, alike.
        mean: Mean of each column of ``columns``.
        scale: Their standard deviations.
        weights: Weight of each column.
        intercept: Log odds where all columns are at their means.
        draws: Draws that taught it.
    """

    knots: list[list[float]]
    least: list[float]
    most: list[float]
    mean: list[float]
    scale: list[float]
    weights: list[float]
    intercept: float
    draws: int

    def predict(self, features: Floats) -> Floats:
        """Return probabilities, shape (n,), for features, shape (n, 8)."""
        features = np.clip(features, np.array(self.least), np.array(self.most))
        table = (columns(features, self.knots) - np.array(self.mean)) / np.array(self.scale)
        odds = np.clip(table @ np.array(self.weights) + self.intercept, -_MOST_ODDS, _MOST_ODDS)
        return np.asarray(1 / (1 + np.exp(-odds)), np.float64)


@dataclass(frozen=True)
class OldGroup:
    """What is known of one marker, or of all together.

    Attributes:
        ranks: Rank to its model; ranks that the draws say too little of are absent.
        nulls: Rank to, for each class of length, the sorted distances of queries that belong to a taxon of that rank in
            the reference and to none below.
        decoys: See ``calibration.Group``.
        draws: Queries drawn, by what was left out.
    """

    ranks: dict[str, OldRankModel]
    nulls: dict[str, list[list[float]]]
    decoys: list[tuple[int, float]]
    draws: dict[str, int]

    def check_shapes(self) -> None:
        """See ``calibration.Group``."""
        for model in self.ranks.values():
            check_columns(model.knots, model.least, model.most, model.mean, model.scale, len(FEATURES))
            if len(model.weights) != len(model.mean):
                raise BadJson("weights of a model are not one for each column")
        if any(len(parts) != len(LENGTH_NAMES) for parts in self.nulls.values()):
            raise BadJson(f"nulls of a group are not lists for each of {len(LENGTH_NAMES)} lengths")
        check_limits(self.decoys)

    def limits(self, lengths: Ints) -> Floats:
        """See ``calibration.Group``."""
        return limit_at(self.decoys, lengths)

    def outlook(self, evidence: Evidence, lengths: Ints) -> Outlook:
        """See ``calibration.Group``; without situations, and with the p-values of distances."""
        right = np.full((len(lengths), len(RANKS)), np.nan)
        p_values = np.full((len(lengths), len(RANKS)), np.nan)
        for r, rank in enumerate(RANKS):
            own = np.flatnonzero(evidence.lineages[:, r] >= 0)
            if rank in self.ranks and len(own):
                right[own, r] = self.ranks[rank].predict(evidence.features[own, r])
            p_values[:, r] = self.p_values(rank, evidence.distance, lengths)
        return Outlook(None, right, p_values, length_classes(lengths))

    def p_values(self, rank: str, distances: Floats, lengths: Ints) -> Floats:
        """Return p-values of belonging to a taxon of a rank that is in the reference, shape (n,); NaN where unknown.

        (1 + nulls at least as far) / (1 + nulls): the conformal p-value (Vovk, Gammerman and Shafer 2005), which is at
        most ``a`` in a share ``a`` of queries that are like those drawn.
        """
        parts = [np.array(part) for part in self.nulls.get(rank, [[] for _ in LENGTH_NAMES])]
        every = np.sort(np.concatenate(parts))
        classes = length_classes(lengths)
        p = np.full(len(distances), np.nan)
        for number, own in enumerate(parts):
            chosen = np.flatnonzero(classes == number)
            null = own if len(own) >= _FEWEST_NULLS else every
            if len(null) >= _FEWEST_NULLS:
                beyond = len(null) - np.searchsorted(null, np.round(distances[chosen], _DIGITS) * (1 - 1e-9))
                p[chosen] = (1 + beyond) / (1 + len(null))
        return p
