"""Calibrations of schema 1, written by earlier versions: still read, and reported as old.

They assume that half of the queries belong to known species, have seen no exact copies, and judge absence by distance
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Floats, Ints
from ednabed.base.stored_json import BadJson
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import FEATURES, Evidence
from ednabed.taxonomy.lengths import LENGTH_NAMES, check_limits, length_classes, limit_at
from ednabed.taxonomy.logistic import check_columns, columns
from ednabed.taxonomy.outlook import Outlook

SCHEMA = 1
_MIN_NULLS = 50
_DIGITS = 6
_MAX_ODDS = 500.0


@dataclass(frozen=True)
class OldRankModel:
    """Probability that the chosen name at a rank is right: a logistic regression on piecewise linear features.

    Attributes:
        knots: For each of ``FEATURES``, where its slope may change.
        least: Minimum of each feature among the draws; smaller values are raised to it, because nothing was learned
            about them.
        most: Maximum of each feature; larger values are lowered to it in the same way.
        mean: Mean of each column of ``columns``.
        scale: Their standard deviations.
        weights: Weight of each column.
        intercept: Log odds where all columns are at their means.
        draws: Number of draws that it was fitted to.
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
        odds = np.clip(table @ np.array(self.weights) + self.intercept, -_MAX_ODDS, _MAX_ODDS)
        return np.asarray(1 / (1 + np.exp(-odds)), np.float64)


@dataclass(frozen=True)
class OldGroup:
    """What was learned about one marker, or about all together.

    Attributes:
        ranks: Mapping from rank to its model; ranks with too few draws are missing.
        nulls: Mapping from rank to the sorted distances, for each length class, of queries that belong to a taxon of
            that rank in the reference and to none below.
        decoys: See ``calibration.Group``.
        draws: Number of queries drawn, by what was left out.
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
                raise BadJson("a model does not have one weight for each column")
        if any(len(parts) != len(LENGTH_NAMES) for parts in self.nulls.values()):
            raise BadJson(f"nulls of a group do not have one list for each of {len(LENGTH_NAMES)} length classes")
        check_limits(self.decoys)

    def limits(self, lengths: Ints) -> Floats:
        """See ``calibration.Group``."""
        return limit_at(self.decoys, lengths)

    def outlook(self, evidence: Evidence, lengths: Ints) -> Outlook:
        """See ``calibration.Group``; here without situations and with the p-values of distances."""
        right = np.full((len(lengths), len(RANKS)), np.nan)
        p_values = np.full((len(lengths), len(RANKS)), np.nan)
        for r, rank in enumerate(RANKS):
            named = np.flatnonzero(evidence.lineages[:, r] >= 0)
            if rank in self.ranks and len(named):
                right[named, r] = self.ranks[rank].predict(evidence.features[named, r])
            p_values[:, r] = self.p_values(rank, evidence.distance, lengths)
        return Outlook(None, right, p_values, length_classes(lengths))

    def p_values(self, rank: str, distances: Floats, lengths: Ints) -> Floats:
        """Return p-values of belonging to a taxon of a rank that is in the reference, shape (n,); NaN where unknown.

        (1 + nulls at least as far) / (1 + nulls): the conformal p-value (Vovk, Gammerman and Shafer 2005), which is at
        most ``a`` in a share ``a`` of queries that resemble the draws.
        """
        parts = [np.array(part) for part in self.nulls.get(rank, [[] for _ in LENGTH_NAMES])]
        pooled = np.sort(np.concatenate(parts))
        classes = length_classes(lengths)
        p = np.full(len(distances), np.nan)
        for number, class_nulls in enumerate(parts):
            chosen = np.flatnonzero(classes == number)
            null = class_nulls if len(class_nulls) >= _MIN_NULLS else pooled
            if len(null) >= _MIN_NULLS:
                beyond = len(null) - np.searchsorted(null, np.round(distances[chosen], _DIGITS) * (1 - 1e-9))
                p[chosen] = (1 + beyond) / (1 + len(null))
        return p
