"""From evidence to an assignment: which names are given, which are withheld, and which taxa are reported as absent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS, Lineage, as_lineage
from ednabed.store.assignment import UNKNOWN, Withheld
from ednabed.taxonomy.labels import GENUS, SPECIES, RowLabels

IDENTITIES = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.97)
"""Minimum identity, as a share, for a name at each rank without calibration, and for ``consensus``: from species to
order the limits commonly used for barcodes, wide limits above."""

MIN_IDENTITIES = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.93)
"""Minimum identity for a name at each rank with calibration. Hardly any of the names given on the markers of
``docs/accuracy.md`` is below it; those that are come from a region that the reference barely covers, about which
calibration learned nothing."""
NOVEL_COVERAGE = 80.0
"""Minimum share of the query inside the alignment, in percent, for a claim that a taxon is absent."""
GENUS_SLACK = 0.1
"""How much lower the probability that a genus is absent may be than that for a species. At 0, half of the absent genera
of COI are claimed as absent species."""
FAMILY_DOUBT = 0.5
"""Share of the usual uncertainty that is allowed for the absence of a family or a rank above: the probability must be
0.9 where 0.8 is requested. At 1, one absent genus in fourteen is claimed as an absent family (COI, 12S; 16S one in
seven), at 0.5 one in fifty (16S one in seventeen)."""
MARGIN = 1.0
"""Hits whose identity is at most this many percentage points below the best take part in ``consensus``."""

_NO_NAME = -1


@dataclass(frozen=True)
class Criteria:
    """When a name is given, and when a taxon is reported as absent.

    Attributes:
        min_confidence: Minimum confidence of a name, and of an absence, 0 to 1.
        min_identity: Minimum identity of the nearest sequence, in percent; below it no name is given.
        min_coverage: Minimum share of the query compared with it, in percent.
        alpha: Maximum p-value, and maximum false discovery rate, of an absence.
        precision: Give the names whose confidence reached this precision in calibration, per marker and rank, instead
            of using ``min_confidence``; above 0 and below 1. None: do not.
        known: Share of queries whose species is in the reference, above 0 and below 1; None: estimate it from the
            queries.
        novel_coverage: Minimum share of the query inside the alignment for an absence, in percent.
        consensus: Name by the consensus of the best hits and fixed identity limits, without confidences.
        margin: See ``MARGIN``.
    """

    min_confidence: float = 0.8
    min_identity: float = 0.0
    min_coverage: float = 0.0
    alpha: float = 0.05
    precision: float | None = None
    known: float | None = None
    novel_coverage: float = NOVEL_COVERAGE
    consensus: bool = False
    margin: float = MARGIN

    def __post_init__(self) -> None:
        """Raise UsageError if a value is out of range or two settings exclude each other."""
        for name, value, maximum in (
            ("min_confidence", self.min_confidence, 1.0),
            ("min_identity", self.min_identity, 100.0),
            ("min_coverage", self.min_coverage, 100.0),
            ("alpha", self.alpha, 1.0),
            ("novel_coverage", self.novel_coverage, 100.0),
            ("margin", self.margin, 100.0),
        ):
            if not 0 <= value <= maximum:
                raise UsageError(f"`{name}` is {value:g}; expected a number from 0 to {maximum:g}")
        for name, share in (("precision", self.precision), ("known", self.known)):
            if share is not None and not 0 < share < 1:
                raise UsageError(f"`{name}` is {share:g}; expected a share above 0 and below 1, such as 0.9")
        if self.consensus and (self.precision is not None or self.known is not None):
            raise UsageError(
                "`consensus` gives names without confidences; omit `precision` and `known`, or omit `consensus`"
            )


@dataclass(frozen=True)
class Opinion:
    """What is known about one query before it is judged; arrays have one value for each of the seven ranks.

    Attributes:
        sources: A lineage of the labels that has the chosen name; -1 where there is none, int64.
        tied: Lineages that fit equally well.
        likeness: Share of the bases compared with its nearest sequence that agree; NaN where unknown.
        coverage: Share of the query inside that alignment, in percent; NaN where unknown, 100 without alignment.
        identity: Identity in percent; NaN where unknown.
        confidences: Confidences of the names, NaN where unknown.
        cutoffs: Minimum confidence of a name; infinite where no confidence and no identity limit is enough.
        absences: See ``Assignment``; NaN where unknown, as in the next two.
        p_values: See ``Assignment``.
        q_values: See ``Assignment``.
        learned: Whether the names rest on calibration; otherwise on fixed identity limits.
    """

    sources: Ints
    tied: tuple[int, ...]
    likeness: float
    coverage: float
    identity: float
    confidences: Floats
    cutoffs: Floats
    absences: Floats
    p_values: Floats
    q_values: Floats
    learned: bool = True


@dataclass(frozen=True)
class Verdict:
    """The verdict on one query; see ``Assignment``.

    Attributes:
        names: Best guess at each rank.
        lineage: The names given.
        tied: Lineages that fit equally well.
        withheld: Why the next name is not given.
        novel_rank: Index of the rank reported as absent; None if no rank is.
        by_limit: Index of the deepest rank given, if that name rests on a fixed identity limit because calibration
            learned nothing about it; otherwise None.
        note: Which limit set by the user withheld names; empty if none did.
    """

    names: Lineage = UNKNOWN
    lineage: Lineage = UNKNOWN
    tied: tuple[Lineage, ...] = ()
    withheld: Withheld | None = None
    novel_rank: int | None = None
    by_limit: int | None = None
    note: str = ""


def judge(opinion: Opinion, labels: RowLabels, criteria: Criteria) -> Verdict:
    """Return the verdict on a query.

    Args:
        opinion: What is known about it.
        labels: Lineages of the collection.
        criteria: When a name is given.
    """
    sources = opinion.sources.tolist()
    names = as_lineage([labels.lineages[n][r] if n >= 0 else "" for r, n in enumerate(sources)])
    reasons = [_reason(opinion, r, differ) for r, differ in enumerate(_ties_differ(opinion.tied, labels))]
    given = _given(opinion, names, reasons)
    limit, note = _failed_limit(opinion, criteria)
    deepest = max(given, default=-1) if limit is None else -1
    below = [r for r in range(deepest + 1, len(RANKS)) if names[r]]
    by_limit = deepest if opinion.learned and deepest >= 0 and np.isnan(opinion.confidences[deepest]) else None
    return Verdict(
        names=names,
        lineage=as_lineage([name if r <= deepest else "" for r, name in enumerate(names)]),
        tied=tuple(labels.lineages[n] for n in opinion.tied),
        withheld=(limit or reasons[below[0]] or "confidence") if below else None,
        novel_rank=_absent(opinion, names, deepest, criteria),
        by_limit=by_limit,
        note=note,
    )


def min_absence(rank: int, criteria: Criteria) -> float:
    """Return the minimum probability at which the taxon of a rank is reported as absent."""
    if rank < GENUS:
        return 1 - FAMILY_DOUBT * (1 - criteria.min_confidence)
    return criteria.min_confidence - (GENUS_SLACK if rank == GENUS else 0.0)


def lowered_by_ties(confidences: Floats, tied: tuple[int, ...], agreement: Floats, labels: RowLabels) -> Floats:
    """Return confidences, shape (7,), in which names that fit equally well never exceed their share of the votes.

    Args:
        confidences: Confidences of the chosen names.
        tied: Lineages that fit equally well.
        agreement: Share of the votes for each name, shape (7,).
        labels: Lineages of the collection.
    """
    found = confidences.copy()
    for r in range(len(RANKS) if tied else 0):
        if len({int(labels.taxa[n, r]) for n in tied} - {_NO_NAME}) > 1:
            found[r] = min(found[r], agreement[r])
    return found


def raised_by_deeper(confidences: Floats, named: Bools) -> Floats:
    """Return confidences, shape (q, 7), in which a name never has less confidence than a deeper one."""
    found = confidences.copy()
    deeper = np.full(len(found), np.nan)
    for r in reversed(range(len(RANKS))):
        has_name = named[:, r]
        found[has_name, r] = np.fmax(found[has_name, r], deeper[has_name])
        deeper = np.where(has_name, found[:, r], deeper)
    return found


def _ties_differ(tied: tuple[int, ...], labels: RowLabels) -> list[bool]:
    """Return for each rank whether the tied lineages belong to different taxa, as far as they have names."""
    found = []
    differ = False
    for r in range(len(RANKS)):
        taxa = {int(labels.taxa[n, r]) for n in tied}
        # Sources that disagree on a family may agree on its genus; a lineage without a name agrees with any rank above.
        differ = len(taxa - {_NO_NAME}) > 1 or (differ and (len(taxa) > 1 or _NO_NAME in taxa))
        found.append(differ)
    return found


def _reason(opinion: Opinion, rank: int, differ: bool) -> Withheld | None:
    """Return why the name at a rank is not given; None if it may be given."""
    if differ:
        return "tie"
    confidence = opinion.confidences[rank]
    if np.isnan(confidence) and np.isinf(opinion.cutoffs[rank]):
        return "confidence"
    if np.isnan(confidence):
        return None if opinion.likeness >= IDENTITIES[rank] else "identity"
    if confidence < opinion.cutoffs[rank]:
        return "confidence"
    return "identity" if opinion.likeness < MIN_IDENTITIES[rank] else None


def _given(opinion: Opinion, names: Lineage, reasons: list[Withheld | None]) -> list[int]:
    """Return the ranks at which a name may be given.

    A name that rests on a fixed limit is not given below a name that was withheld although its rank was learned.
    """
    given = []
    withheld = False
    for r in range(len(RANKS)):
        if not names[r] or reasons[r] == "tie":
            continue
        learned = not np.isnan(opinion.confidences[r])
        if reasons[r] is None and (learned or not withheld):
            given.append(r)
        withheld = withheld or (learned and reasons[r] is not None)
    return given


def _failed_limit(opinion: Opinion, criteria: Criteria) -> tuple[Withheld | None, str]:
    """Return which limit of the user a query fails, and a sentence about it; None and an empty text if none."""
    limits: tuple[tuple[Withheld, float, float], ...] = (
        ("identity", opinion.identity, criteria.min_identity),
        ("coverage", opinion.coverage, criteria.min_coverage),
    )
    for name, value, minimum in limits:
        if minimum > 0 and not np.isnan(value) and value < minimum:
            return name, f"{name} {value:.1f} is below the requested {minimum:g}"
    return None, ""


def _absent(opinion: Opinion, names: Lineage, deepest: int, criteria: Criteria) -> int | None:
    """Return the broadest rank whose taxon is reported as absent; None if there is none.

    Ranks are tested from species upward, each only if the rank below is absent, and none at which a name is given or at
    which the nearest relatives have no name. Nothing is absent without a name above it, or if too little of the query
    was compared.
    """
    if deepest < 0 or (criteria.novel_coverage > 0 and not opinion.coverage >= criteria.novel_coverage):
        return None
    found = None
    for r in range(SPECIES, deepest, -1):
        if np.isnan(opinion.p_values[r]) or not names[r]:
            continue
        sure = np.isnan(opinion.absences[r]) or opinion.absences[r] >= min_absence(r, criteria)
        if not sure or max(opinion.p_values[r], opinion.q_values[r]) > criteria.alpha:
            break
        found = r
    return found
