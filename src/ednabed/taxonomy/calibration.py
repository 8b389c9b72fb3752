"""What calibration taught about a reference: probabilities and p-values, and the file beside the build that keeps them.

All of it is numbers in JSON, so that it can be read by people and in years to come.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.errors import StoreError
from ednabed.store.files import json_sha256, to_json, write_atomic
from ednabed.taxonomy.evidence import FEATURES

FILE = "calibration.json"
SCHEMA = 1
LENGTH_EDGES = (220, 450)
"""Queries up to 220 letters, up to 450, and longer ones are judged apart: the middle (in proportion) between the
lengths that calibration draws, 150, 313 and full."""
LENGTH_NAMES = ("up to 220", "221 to 450", "above 450")
_FEWEST_NULLS = 50
DIGITS = 6
"""Digits of the distances that are kept. A query's are rounded alike, or what is equally far would not be."""
_MOST_ODDS = 500.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankModel:
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


def columns(features: Floats, knots: list[list[float]]) -> Floats:
    """Return the features, and what each exceeds its knots by, shape (n, 8 + number of knots)."""
    parts = [features]
    for i, places in enumerate(knots):
        parts.append(np.maximum(features[:, i : i + 1] - np.array(places), 0))
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Group:
    """What is known of one marker, or of all together.

    Attributes:
        ranks: Rank to its model; ranks that the draws say too little of are absent.
        nulls: Rank to, for each class of length, the sorted distances of queries that belong to a taxon of that rank in
            the reference and to none below.
        decoys: Pairs, in order of length: letters, and the distance that one in twenty scrambled sequences of so many
            letters stays below, on either strand. What is further away is like nothing. Empty where
            none was drawn.
        draws: Queries drawn, by what was left out.
    """

    ranks: dict[str, RankModel]
    nulls: dict[str, list[list[float]]]
    decoys: list[tuple[int, float]]
    draws: dict[str, int]

    def limits(self, lengths: Ints) -> Floats:
        """Return the distance from which on queries are like nothing, shape (n,); infinite where nobody knows.

        Between the lengths of ``decoys`` it is interpolated over the logarithm of the length; beyond, it stays.
        """
        if not self.decoys:
            return np.full(len(lengths), np.inf)
        letters, limits = (np.array(column, np.float64) for column in zip(*self.decoys, strict=True))
        return np.asarray(np.interp(np.log(np.maximum(lengths, 1)), np.log(letters), limits), np.float64)

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
                beyond = len(null) - np.searchsorted(null, np.round(distances[chosen], DIGITS) * (1 - 1e-9))
                p[chosen] = (1 + beyond) / (1 + len(null))
        return p


@dataclass(frozen=True)
class Calibration:
    """All that was learned on one build.

    Attributes:
        build: The build.
        created: When, ISO 8601.
        seed: Seed of the draws.
        known: Share of queries whose species is in the reference, as supposed for the probabilities.
        queries: Most draws a marker, as asked for.
        exponents: See ``shortlist``.
        candidates: Candidates by each exponent, for each class of length.
        groups: With letters compared: marker to its group; the empty name is all markers together.
        vector_groups: The same by vectors alone.
        shortlist: Facts on the shortlist's recall, by class of length.
        reliability: What was measured on draws that taught nothing.
        software: Versions.
    """

    build: str
    created: str
    seed: int
    known: float
    queries: int
    exponents: list[float]
    candidates: list[int]
    groups: dict[str, Group]
    vector_groups: dict[str, Group]
    shortlist: list[dict[str, Any]] = field(default_factory=list)
    reliability: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)

    def group(self, marker: str, align: bool) -> Group | None:
        """Return what is known of a marker, or else of all together; None where nothing is."""
        groups = self.groups if align else self.vector_groups
        return groups.get(marker, groups.get(""))

    def write(self, build: Path) -> Path:
        """Write it beside a build's files, whole or not at all."""
        path = build / FILE
        body = {"schema": SCHEMA, "features": list(FEATURES), **asdict(self)}
        write_atomic(path, to_json({**body, "calibration_sha256": json_sha256(body)}))
        return path

    @classmethod
    def read(cls, build: Path, name: str) -> Calibration | None:
        """Read the calibration of a build; None where there is none.

        Args:
            build: Folder of the build.
            name: The build's name, which the file must give.

        Raises:
            StoreError: It is damaged, of another schema, or of another build.
        """
        path = build / FILE
        again = "make it again with 'ednabed reference calibrate'"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}); {again}") from error
        if not isinstance(values, dict) or values.pop("calibration_sha256", None) != json_sha256(values):
            raise StoreError(f"{path} is damaged; {again}")
        schema = values.pop("schema", None)
        if schema != SCHEMA:
            raise StoreError(f"{path} has schema {schema!r}, this ednabed reads schema {SCHEMA}; {again}")
        if values.pop("features", None) != list(FEATURES):
            raise StoreError(f"{path} judges by other features than this ednabed does; {again}")
        try:
            for key in ("groups", "vector_groups"):
                values[key] = {marker: _group(group) for marker, group in values[key].items()}
            found = cls(**values)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise StoreError(f"{path} was not written by this version of ednabed ({error}); {again}") from error
        if found.build != name:
            raise StoreError(f"{path} is of build {found.build}, not {name}; {again}")
        return found


def _group(values: dict[str, Any]) -> Group:
    ranks = {rank: RankModel(**model) for rank, model in values["ranks"].items()}
    decoys = [(int(letters), float(limit)) for letters, limit in values["decoys"]]
    return Group(ranks, values["nulls"], decoys, values["draws"])


def length_classes(lengths: Ints) -> Ints:
    """Return the class of each length: 0 up to 220 letters, 1 up to 450, 2 above."""
    return np.asarray(np.searchsorted(LENGTH_EDGES, lengths, side="left"), np.int64)
