"""What calibration learned about a reference: probabilities and p-values, and the file next to the build that has them.

Everything is stored as numbers in JSON, so that people can read it and it stays readable for years.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.arrays import Floats, Ints
from ednabed.base.atomic import write_atomic
from ednabed.base.sealed import json_sha256, to_json
from ednabed.base.stored_json import BadJson, brief, parse_json, require, typed
from ednabed.base.text import clean
from ednabed.errors import StoreError
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy import calibration_old
from ednabed.taxonomy.calibration_old import OldGroup
from ednabed.taxonomy.evidence import FEATURES, QUERY_FEATURES, QUERY_SIZE, RANK_SIZE, Evidence
from ednabed.taxonomy.labels import SPECIES
from ednabed.taxonomy.lengths import LENGTH_NAMES, check_limits, length_classes, limit_at
from ednabed.taxonomy.logistic import Logistic
from ednabed.taxonomy.outlook import Outlook
from ednabed.taxonomy.situations import (
    ABSENT_RANKS,
    SITUATIONS,
    absence_score,
    n_present,
    presence,
    shifted,
)

FILE = "calibration.json"
SCHEMA = 2
ALL_LENGTHS = "all lengths"
_MIN_NULLS = 50
DIGITS = 6
"""Digits to which the limits are stored."""
SCORE_DIGITS = 4
"""Digits to which the scores are stored. Scores of queries are rounded in the same way, or equal ones would differ."""
CUTOFFS = tuple(round(0.01 * step, 2) for step in range(100))
"""Confidences at which the precision is stored."""
_EXACT_COPY, _GENUS_KNOWN = SITUATIONS.index("nothing"), SITUATIONS.index("species")

Reached = tuple[float, float, float, list[float | None]]
"""Shares assumed for a study, and the precisions of names under them; see ``Group.precision``."""


@dataclass(frozen=True)
class Model:
    """What was learned about queries of one length class, or of all.

    Attributes:
        situations: Probability of each of ``SITUATIONS``, from ``Evidence.of_query``.
        ranks: Mapping from rank to the probability that its name is right (class 1) if its taxon is in the reference,
            from ``Evidence.of_rank``; ranks with too few draws are missing.
    """

    situations: Logistic
    ranks: dict[str, Logistic]


@dataclass(frozen=True)
class Group:
    """What was learned about one marker, or about all together.

    Attributes:
        models: Mapping from the name of a length class to its model; ``ALL_LENGTHS`` serves the classes without one,
            and is absent if all have one.
        fitted: Share of each of ``SITUATIONS`` among the draws, as weighted.
        shares: Share of each that is assumed in a study, unless estimated from its queries (``situations.estimate``).
        nulls: Mapping from rank to the sorted scores (``absence_score``), for each length class and each situation, of
            draws whose taxon of that rank is in the reference, each from models that did not learn from its taxon.
        precision: Mapping from rank to the precision of names with a confidence of at least each of ``CUTOFFS``, for
            shares of known species, of exact copies among these, and of queries with a known genus among the others;
            measured on draws as for ``nulls``; None where there are no such names.
        decoys: Pairs, in order of length: a number of bases, and the distance below which one in twenty scrambled
            sequences of that length falls, on either strand. A query at a greater distance has no related sequence.
            Empty if no decoys were drawn.
        draws: Number of queries drawn, by what was left out.
    """

    models: dict[str, Model]
    fitted: list[float]
    shares: list[float]
    nulls: dict[str, list[list[list[float]]]]
    precision: dict[str, list[Reached]]
    decoys: list[tuple[int, float]]
    draws: dict[str, int]

    def check_shapes(self) -> None:
        """Raise BadJson if the sizes of models, shares or scores do not match."""
        count = len(SITUATIONS)
        if any(name not in (ALL_LENGTHS, *LENGTH_NAMES) for name in self.models) or (
            ALL_LENGTHS not in self.models and len(self.models) < len(LENGTH_NAMES)
        ):
            raise BadJson(
                f"a group has the models {', '.join(self.models)[:80]}, expected {ALL_LENGTHS!r} or all of "
                f"{', '.join(LENGTH_NAMES)}"
            )
        for model in self.models.values():
            model.situations.check_shapes(QUERY_SIZE, count)
            for ranked in model.ranks.values():
                ranked.check_shapes(RANK_SIZE, 2)
        if len(self.fitted) != count or len(self.shares) != count:
            raise BadJson(f"fitted or shares of a group do not have {count} numbers")
        for parts in self.nulls.values():
            if len(parts) != len(LENGTH_NAMES) or any(len(scores) != count for scores in parts):
                raise BadJson(
                    f"nulls of a group do not have {count} lists for each of {len(LENGTH_NAMES)} length classes"
                )
        if any(len(values) != len(CUTOFFS) for tried in self.precision.values() for *_, values in tried):
            raise BadJson(f"precision of a group does not have {len(CUTOFFS)} numbers")
        check_limits(self.decoys)

    def limits(self, lengths: Ints) -> Floats:
        """Return the distance at and above which queries have no related sequence, shape (n,); infinite if unknown."""
        return limit_at(self.decoys, lengths)

    def outlook(self, evidence: Evidence, lengths: Ints) -> Outlook:
        """Return what was learned about queries, from their evidence and their lengths in bases, shape (q,)."""
        return outlook_by(self.models, evidence, lengths)

    def confidences(self, outlook: Outlook, shares: Floats) -> Floats:
        """Return the probability that the name at each rank is right, shape (q, 7), under shares of situations."""
        assert outlook.situations is not None
        likely = shifted(outlook.situations, np.array(self.fitted), shares)
        present = np.stack([presence(likely, rank) for rank in range(len(RANKS))], axis=1)
        return np.asarray(present * outlook.right, np.float64)

    def absences(self, outlook: Outlook, shares: Floats) -> Floats:
        """Return the probability that the taxon of each rank is not in the reference, shape (q, 7); NaN above order."""
        assert outlook.situations is not None
        likely = shifted(outlook.situations, np.array(self.fitted), shares)
        found = np.full(outlook.right.shape, np.nan)
        for rank in ABSENT_RANKS:
            if RANKS[rank] in self.nulls:
                found[:, rank] = 1 - presence(likely, rank)
        return found

    def p_values(self, outlook: Outlook, shares: Floats) -> Floats:
        """Return p-values of the hypothesis that the taxon of each rank is in the reference, shape (q, 7).

        A p-value is the share of the queries with that taxon in the reference that look at least as absent: conformal
        p-values (Vovk, Gammerman and Shafer 2005) with a weight for each situation, so that the situations count as
        they occur in the study (Tibshirani et al. 2019, "Conformal prediction under covariate shift", eq. 7; the query
        itself counts as a draw of average weight). At species, exact copies do not count, so that the error rate holds
        for new sequences of known species. NaN where there are too few draws, and above order.

        Args:
            outlook: What was learned about q queries.
            shares: Share of each situation in the study, shape (6,).
        """
        assert outlook.situations is not None
        found = np.full(outlook.right.shape, np.nan)
        for rank in ABSENT_RANKS:
            parts = self.nulls.get(RANKS[rank])
            if parts is None:
                continue
            scores = np.round(absence_score(outlook.situations, rank), SCORE_DIGITS)
            pooled = [
                [one for by_situation in parts for one in by_situation[situation]]
                for situation in range(len(SITUATIONS))
            ]
            for number, by_situation in enumerate(parts):
                chosen = np.flatnonzero(outlook.classes == number)
                if len(chosen):
                    counted = slice(_EXACT_COPY + 1 if rank == SPECIES else 0, n_present(rank))
                    enough = sum(map(len, by_situation[counted])) >= _MIN_NULLS
                    found[chosen, rank] = _weighted_p(
                        by_situation if enough else pooled, scores[chosen], shares, counted
                    )
        return found

    def cutoff(self, rank: str, precision: float, shares: Floats) -> float | None:
        """Return the minimum confidence of a rank at which names reached a precision; None if there is none.

        It is interpolated between the shares that were tried.

        Args:
            rank: The rank.
            precision: Above 0 and below 1.
            shares: Share of each situation in the study, shape (6,).
        """
        known, absent = float(shares[:2].sum()), float(shares[2:].sum())
        copies = float(shares[_EXACT_COPY] / known) if known > 0 else 0.0
        genus_known = float(shares[_GENUS_KNOWN] / absent) if absent > 0 else 0.0
        table: dict[tuple[float, ...], float | None] = {}
        for *tried, values in self.precision.get(rank, []):
            good = [cutoff for cutoff, value in zip(CUTOFFS, values, strict=True) if (value or 0) >= precision]
            table[tuple(tried)] = good[0] if good else None
        # Interpolate over one of the three shares after the other, starting with the last.
        for share in (genus_known, copies, known):
            # Rounding errors of sums must not move on to the next share that was tried.
            at = round(share, DIGITS)
            rows: dict[tuple[float, ...], list[tuple[float, float | None]]] = {}
            for (*before, tried_share), value in table.items():
                rows.setdefault(tuple(before), []).append((tried_share, value))
            table = {before: _interpolated(row, at) for before, row in rows.items()}
        return table.get(())


def _interpolated(tried: list[tuple[float, float | None]], at: float) -> float | None:
    """Interpolate values at ascending positions, constant beyond the ends; None if a value that is needed is None."""
    below = [pair for pair in tried if pair[0] <= at][-1:] or tried[:1]
    above = [pair for pair in tried if pair[0] >= at][:1] or tried[-1:]
    (low, first), (high, second) = below[0], above[0]
    if first is None or second is None:
        return None
    return first if high == low else first + (second - first) * (at - low) / (high - low)


def outlook_by(models: dict[str, Model], evidence: Evidence, lengths: Ints) -> Outlook:
    """Return the predictions of some models for queries; see ``Group.outlook``."""
    classes = length_classes(lengths)
    situations = np.zeros((len(lengths), len(SITUATIONS)))
    right = np.full((len(lengths), len(RANKS)), np.nan)
    features = evidence.of_query()
    for number, name in enumerate(LENGTH_NAMES):
        in_class = np.flatnonzero(classes == number)
        if not len(in_class):
            continue
        model = models[name if name in models else ALL_LENGTHS]
        situations[in_class] = model.situations.predict(features[in_class])
        for r, rank in enumerate(RANKS):
            named = in_class[evidence.lineages[in_class, r] >= 0]
            if rank in model.ranks and len(named):
                right[named, r] = model.ranks[rank].predict(evidence.of_rank(r)[named])[:, 1]
    return Outlook(situations, right, None, classes)


def _weighted_p(nulls: list[list[float]], scores: Floats, shares: Floats, counted: slice) -> Floats:
    """Return the p-value of each score, shape (n,), from the scores of those situations that count."""
    values, weights = [], []
    for null, share in zip(nulls[counted], shares[counted], strict=True):
        if null and share > 0:
            values.append(np.array(null))
            weights.append(np.full(len(null), share / len(null)))
    if sum(map(len, values)) < _MIN_NULLS:
        return np.full(len(scores), np.nan)
    value, weight = np.concatenate(values), np.concatenate(weights)
    order = np.argsort(value, kind="stable")
    value, weight = value[order], weight[order]
    beyond = np.append(np.cumsum(weight[::-1])[::-1], 0)
    query_weight = (weight**2).sum() / weight.sum()
    position = np.searchsorted(value, scores, side="left")
    # Both are divided by the same sum; otherwise rounding would raise some p-values slightly above 1.
    return np.asarray((beyond[position] + query_weight) / (beyond[0] + query_weight), np.float64)


@dataclass(frozen=True)
class Calibration:
    """Everything that was learned about one build.

    Attributes:
        build: The build.
        created: Time of the calibration, ISO 8601.
        seed: Seed of the draws.
        known: Share of queries whose species is assumed to be in the reference, if it is not estimated from the
            queries.
        queries: Maximum draws per marker, as requested.
        exponents: See ``shortlist``.
        candidates: Candidates per exponent, for each length class.
        groups: With bases compared: mapping from marker to its group; the empty name is all markers together.
        vector_groups: The same by vectors alone.
        shortlist: Recall of the shortlist, by length class.
        reliability: What was measured on draws that were not used for fitting.
        copies: Mapping from marker to the share of exact copies among queries of known species, as counted in the
            reference; None if the reference was dereplicated, so that the share is assumed (``draws.COPIES``). The
            empty name is all markers.
        software: Versions.
        schema: Schema of the file that it was read from.
    """

    build: str
    created: str
    seed: int
    known: float
    queries: int
    exponents: list[float]
    candidates: list[int]
    groups: dict[str, Group] | dict[str, OldGroup]
    vector_groups: dict[str, Group] | dict[str, OldGroup]
    shortlist: list[dict[str, Any]] = field(default_factory=list)
    reliability: dict[str, Any] = field(default_factory=dict)
    copies: dict[str, float | None] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def group(self, marker: str, align: bool) -> Group | OldGroup | None:
        """Return the group of a marker, or else of all markers together; None if there is neither."""
        groups = self.groups if align else self.vector_groups
        return groups.get(marker, groups.get(""))

    def _check_shapes(self) -> None:
        """Raise BadJson if sizes do not match, which would otherwise show only when they are used."""
        if len(self.candidates) != len(LENGTH_NAMES):
            raise BadJson(f"candidates has {len(self.candidates)} numbers, expected {len(LENGTH_NAMES)}")
        for group in (*self.groups.values(), *self.vector_groups.values()):
            group.check_shapes()

    def write(self, build: Path) -> Path:
        """Write the calibration next to the files of a build, completely or not at all."""
        path = build / FILE
        body = {**asdict(self), "features": [*FEATURES, *QUERY_FEATURES], "situations": list(SITUATIONS)}
        write_atomic(path, to_json({**body, "calibration_sha256": json_sha256(body)}))
        return path

    @classmethod
    def read(cls, build: Path, name: str) -> Calibration | None:
        """Read the calibration of a build; None if there is none.

        Args:
            build: Folder of the build.
            name: The build's name, which the file must contain.

        Raises:
            StoreError: It is damaged, of another schema, or of another build.
        """
        path = build / FILE
        again = "create it again with 'ednabed reference calibrate'"
        try:
            values = parse_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, BadJson) as error:
            raise StoreError(f"{path} cannot be read ({error}); {again}") from error
        if not isinstance(values, dict) or values.pop("calibration_sha256", None) != json_sha256(values):
            raise StoreError(f"{path} is damaged; {again}")
        schema = values.get("schema")
        if schema not in (SCHEMA, calibration_old.SCHEMA):
            raise StoreError(
                f"{path} has schema {brief(schema)}, this ednabed reads schemas {calibration_old.SCHEMA} and {SCHEMA}; "
                f"{again}"
            )
        old = schema == calibration_old.SCHEMA
        expected = [*FEATURES] if old else [*FEATURES, *QUERY_FEATURES]
        if values.pop("features", None) != expected or (not old and values.pop("situations", None) != list(SITUATIONS)):
            raise StoreError(f"{path} uses other features than this ednabed; {again}")
        try:
            kind: type[Group] | type[OldGroup] = OldGroup if old else Group
            for key in ("groups", "vector_groups"):
                require(values, {key: dict[str, Any]}, "the file")
                values[key] = {marker: typed(kind, group, "a group") for marker, group in values[key].items()}
            found = typed(cls, values)
            found._check_shapes()
        except BadJson as error:
            raise StoreError(f"{path} was not written by this version of ednabed ({error}); {again}") from error
        if found.build != name:
            raise StoreError(f"{path} is of build {clean(found.build)[:100]}, not {name}; {again}")
        return found
