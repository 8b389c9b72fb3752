"""From evidence to names: what is given, what is withheld, and what is new."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.taxonomy.assignment import UNKNOWN
from ednabed.taxonomy.calibration import Group
from ednabed.taxonomy.evidence import FEATURES, Evidence, Floats, Ints
from ednabed.taxonomy.labels import SPECIES, Labels

IDENTITIES = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.97)
"""Least identity, as a share, for a name of each rank where nothing is calibrated: those in common use for barcodes at
species to order, and wide ones above."""

LEAST_IDENTITIES = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.93)
"""Least identity for a name of each rank where it is calibrated. Of the names given on the markers of
``docs/accuracy.md`` hardly one is below; what is, is of a region that the reference hardly holds, of which calibration
knows nothing."""

_NO_NAME = -1
_AGREEMENT = FEATURES.index("agreement")


@dataclass(frozen=True)
class Criteria:
    """When a name is given.

    Attributes:
        min_confidence: Least confidence of a rank, 0 to 1.
        min_identity: Least identity of the nearest sequence, in percent; below it nothing is given.
        min_coverage: Least share of the query compared with it, in percent.
        alpha: Share of queries of known taxa that may be called new.
    """

    min_confidence: float = 0.8
    min_identity: float = 0.0
    min_coverage: float = 0.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, value, most in (
            ("min-confidence", self.min_confidence, 1.0),
            ("min-identity", self.min_identity, 100.0),
            ("min-coverage", self.min_coverage, 100.0),
            ("alpha", self.alpha, 1.0),
        ):
            if not 0 <= value <= most:
                raise UsageError(f"{name} is {value:g}; wanted a number from 0 to {most:g}")


@dataclass(frozen=True)
class Verdict:
    """What is said of one query.

    Attributes:
        names: Best guess at each rank.
        confidences: Of these; None where there is no name or nothing to judge it by.
        lineage: The names given.
        tied: Lineages that fit equally well.
        p_values: See ``Assignment``.
        novel_rank: See ``Assignment``.
        novel_p: See ``Assignment``.
        by_limit: The deepest name is given by a fixed limit of identity, because nothing was learned of its rank.
        strange: It is no nearer than a scrambled sequence, so nothing is said.
    """

    names: Lineage = UNKNOWN
    confidences: tuple[float | None, ...] = (None,) * len(RANKS)
    lineage: Lineage = UNKNOWN
    tied: tuple[Lineage, ...] = ()
    p_values: tuple[float | None, ...] = (None,) * len(RANKS)
    novel_rank: str | None = None
    novel_p: float | None = None
    by_limit: bool = False
    strange: bool = False


def judge(
    evidence: Evidence, lengths: Ints, likenesses: Floats, labels: Labels, group: Group | None, criteria: Criteria
) -> list[Verdict]:
    """Say what queries of one marker are.

    Args:
        evidence: Of q queries.
        lengths: Their letters, shape (q,).
        likenesses: Share of the letters compared with its nearest sequence that agree, shape (q,); NaN where nobody
            knows it.
        labels: Lineages of the collection.
        group: What calibration says of the marker; None where there is none.
        criteria: When a name is given.
    """
    confidences = _confidences(evidence, labels, group)
    p_values = np.full(confidences.shape, np.nan)
    strange = is_strange(evidence.distance, lengths, group).tolist()
    if group is not None:
        for r, rank in enumerate(RANKS):
            p_values[:, r] = group.p_values(rank, evidence.distance, lengths)
    return [
        _verdict(evidence, i, confidences[i], p_values[i], float(likenesses[i]), strange[i], labels, criteria)
        for i in range(len(lengths))
    ]


def is_strange(distances: Floats, lengths: Ints, group: Group | None) -> npt.NDArray[np.bool_]:
    """Tell which queries are no nearer than scrambled sequences, shape (q,); none where nothing is known."""
    if group is None:
        return np.zeros(len(lengths), bool)
    return np.asarray(distances >= group.limits(lengths), bool)


def _confidences(evidence: Evidence, labels: Labels, group: Group | None) -> Floats:
    """Return the confidence of each name, shape (q, 7), NaN where unknown; never less than that of a deeper name.

    And never more than its share among names that fit equally well.
    """
    told = np.full(evidence.lineages.shape, np.nan)
    if group is not None:
        for r, rank in enumerate(RANKS):
            model = group.ranks.get(rank)
            own = np.flatnonzero(evidence.lineages[:, r] >= 0)
            if model is not None and len(own):
                told[own, r] = model.predict(evidence.features[own, r])
    for i, tied in enumerate(evidence.tied):
        for r in range(len(RANKS) if tied else 0):
            if len({int(labels.taxa[n, r]) for n in tied} - {_NO_NAME}) > 1:
                told[i, r] = min(told[i, r], evidence.features[i, r, _AGREEMENT])
    deeper = np.full(len(told), np.nan)
    for r in reversed(range(len(RANKS))):
        named = evidence.lineages[:, r] >= 0
        told[named, r] = np.fmax(told[named, r], deeper[named])
        deeper = np.where(named, told[:, r], deeper)
    return told


def _verdict(
    evidence: Evidence,
    i: int,
    confidences: Floats,
    p_values: Floats,
    likeness: float,
    strange: bool,
    labels: Labels,
    criteria: Criteria,
) -> Verdict:
    if evidence.nearest[i] < 0:
        return Verdict()
    if strange:
        return Verdict(strange=True)
    sources = evidence.lineages[i].tolist()
    names = _lineage([labels.lineages[n][r] if n >= 0 else "" for r, n in enumerate(sources)])
    tied = evidence.tied[i]
    deepest = -1
    # Whether lineages that fit equally well are of two taxa, as far as they have names.
    apart = False
    # Whether a name above was withheld, though something was learned of its rank.
    withheld = False
    for r in range(len(RANKS)):
        told = {int(labels.taxa[n, r]) for n in tied}
        # Sources that disagree on a family may agree on its genus; one without a name agrees with whatever is above.
        apart = len(told - {_NO_NAME}) > 1 or (apart and (len(told) > 1 or _NO_NAME in told))
        if not names[r] or apart:
            continue
        confidence = confidences[r]
        if np.isnan(confidence):
            given = likeness >= IDENTITIES[r] and not withheld
        else:
            given = confidence >= criteria.min_confidence and not likeness < LEAST_IDENTITIES[r]
            withheld = withheld or not given
        if given:
            deepest = r
    novel_rank, novel_p = _novelty(p_values, names, deepest, criteria.alpha)
    return Verdict(
        names=names,
        confidences=tuple(None if np.isnan(c) else float(c) for c in confidences),
        lineage=_lineage([name if r <= deepest else "" for r, name in enumerate(names)]),
        tied=tuple(labels.lineages[n] for n in tied),
        p_values=tuple(None if np.isnan(p) else float(p) for p in p_values),
        novel_rank=novel_rank,
        novel_p=novel_p,
        by_limit=deepest >= 0 and bool(np.isnan(confidences[deepest])),
    )


def _novelty(p_values: Floats, names: Lineage, deepest: int, alpha: float) -> tuple[str | None, float | None]:
    """Return the broadest rank at which a query is new, and its p-value, else None and that of the deepest rank judged.

    Tested from species upward, each rank only when the one below is new: so at most ``alpha`` of the queries of known
    species, of new species of known genera, and so on, are said to be newer than they are. A rank at which a name is
    given is not new, and one at which the nearest relatives have no name cannot be judged.
    """
    novel: int | None = None
    first: float | None = None
    for r in range(SPECIES, max(deepest, -1), -1):
        if np.isnan(p_values[r]) or not names[r]:
            continue
        first = float(p_values[r]) if first is None else first
        if p_values[r] > alpha:
            break
        novel = r
    if novel is not None:
        return RANKS[novel], float(p_values[novel])
    if first is None and names[SPECIES] and not np.isnan(p_values[SPECIES]):
        first = float(p_values[SPECIES])
    return None, first


def _lineage(names: list[str]) -> Lineage:
    kingdom, phylum, class_, order, family, genus, species = names
    return kingdom, phylum, class_, order, family, genus, species
