"""From evidence to names: what is given, what is withheld, and what is told to be absent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.errors import UsageError
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.taxonomy.assignment import UNKNOWN, Withheld
from ednabed.taxonomy.evidence import Floats
from ednabed.taxonomy.labels import GENUS, SPECIES, Labels

IDENTITIES = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.97)
"""Least identity, as a share, for a name of each rank where nothing is calibrated, and for ``consensus``: those in
common use for barcodes at species to order, and wide ones above."""

LEAST_IDENTITIES = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.93)
"""Least identity for a name of each rank where it is calibrated. Of the names given on the markers of
``docs/accuracy.md`` hardly one is below; what is, is of a region that the reference hardly holds, of which calibration
knows nothing."""
NOVEL_COVERAGE = 80.0
"""Least share of the query inside the alignment, in percent, for a claim that a taxon is absent."""
GENUS_SLACK = 0.1
"""How much less sure than of a species it may be that a genus is absent. With none, half of the absent genera of
COI are claimed as absent species."""
FAMILY_DOUBT = 0.5
"""Share of the usual doubt that there may be that a family, or more, is absent: 0.9 probable where 0.8 is asked for.
With all the doubt, one absent genus in fourteen is claimed as an absent family (COI, 12S; 16S one in seven), with this
one in fifty (16S one in seventeen)."""
MARGIN = 1.0
"""Hits that are less near than the best by up to so many percentage points of identity take part in ``consensus``."""

_NO_NAME = -1


@dataclass(frozen=True)
class Criteria:
    """When a name is given, and when a taxon is told to be absent.

    Attributes:
        min_confidence: Least confidence of a name, and of an absence, 0 to 1.
        min_identity: Least identity of the nearest sequence, in percent; below it nothing is given.
        min_coverage: Least share of the query compared with it, in percent.
        alpha: Largest p-value, and false discovery rate, of an absence.
        precision: Give the names with the confidence that reached this precision in calibration, per marker and rank,
            instead of ``min_confidence``; above 0 and below 1. None: do not.
        known: Share of queries whose species is in the reference, above 0 and below 1; None: estimated from the
            queries.
        novel_coverage: Least share of the query inside the alignment for an absence, in percent.
        consensus: Name by the consensus of the best hits and fixed limits of identity, without confidences.
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
        """Refuse what cannot be."""
        for name, value, most in (
            ("min-confidence", self.min_confidence, 1.0),
            ("min-identity", self.min_identity, 100.0),
            ("min-coverage", self.min_coverage, 100.0),
            ("alpha", self.alpha, 1.0),
            ("novel-coverage", self.novel_coverage, 100.0),
            ("margin", self.margin, 100.0),
        ):
            if not 0 <= value <= most:
                raise UsageError(f"{name} is {value:g}; expected a number from 0 to {most:g}")
        for name, share in (("precision", self.precision), ("known", self.known)):
            if share is not None and not 0 < share < 1:
                raise UsageError(f"{name} is {share:g}; expected a share above 0 and below 1, such as 0.9")
        if self.consensus and (self.precision is not None or self.known is not None):
            raise UsageError("consensus gives names without confidences; omit precision and known, or consensus")


@dataclass(frozen=True)
class Opinion:
    """What is known of one query before it is judged; arrays are of the seven ranks.

    Attributes:
        sources: A lineage of the labels that has the name chosen; -1 where there is none, int64.
        tied: Lineages that fit equally well.
        likeness: Share of the letters compared with its nearest sequence that agree; NaN where nobody knows it.
        coverage: Share of the query inside that alignment, in percent; NaN where unknown, 100 without alignment.
        identity: Identity in percent; NaN where nobody knows it.
        confidences: Of the names, NaN where unknown.
        cutoffs: Least confidence of a name; infinite where none is enough, nor a limit of identity.
        absences: See ``Assignment``; NaN where unknown, as the next two.
        p_values: See there.
        q_values: See there.
        learned: Whether the names are by calibration; else by fixed limits of identity.
    """

    sources: npt.NDArray[np.int64]
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
    """What is said of one query; see ``Assignment``.

    Attributes:
        names: Best guess at each rank.
        lineage: The names given.
        tied: Lineages that fit equally well.
        withheld: Why the next name is not given.
        novel_rank: Number of the rank told to be absent; None where none is.
        by_limit: Number of the deepest rank given, where that is by a fixed limit of identity because nothing was
            learned of it; else None.
        note: What a user's own limit withheld; empty where nothing.
    """

    names: Lineage = UNKNOWN
    lineage: Lineage = UNKNOWN
    tied: tuple[Lineage, ...] = ()
    withheld: Withheld | None = None
    novel_rank: int | None = None
    by_limit: int | None = None
    note: str = ""


def judge(opinion: Opinion, labels: Labels, criteria: Criteria) -> Verdict:
    """Say what a query is.

    Args:
        opinion: What is known of it.
        labels: Lineages of the collection.
        criteria: When a name is given.
    """
    sources = opinion.sources.tolist()
    names = _lineage([labels.lineages[n][r] if n >= 0 else "" for r, n in enumerate(sources)])
    reasons = [_reason(opinion, r, apart) for r, apart in enumerate(_apart(opinion.tied, labels))]
    given = _given(opinion, names, reasons)
    limit, note = _own_limit(opinion, criteria)
    deepest = max(given, default=-1) if limit is None else -1
    below = [r for r in range(deepest + 1, len(RANKS)) if names[r]]
    by_limit = deepest if opinion.learned and deepest >= 0 and np.isnan(opinion.confidences[deepest]) else None
    return Verdict(
        names=names,
        lineage=_lineage([name if r <= deepest else "" for r, name in enumerate(names)]),
        tied=tuple(labels.lineages[n] for n in opinion.tied),
        withheld=(limit or reasons[below[0]] or "confidence") if below else None,
        novel_rank=_absent(opinion, names, deepest, criteria),
        by_limit=by_limit,
        note=note,
    )


def least_absence(rank: int, criteria: Criteria) -> float:
    """Return how sure it must be that the taxon of a rank is absent."""
    if rank < GENUS:
        return 1 - FAMILY_DOUBT * (1 - criteria.min_confidence)
    return criteria.min_confidence - (GENUS_SLACK if rank == GENUS else 0.0)


def lowered_by_ties(confidences: Floats, tied: tuple[int, ...], agreement: Floats, labels: Labels) -> Floats:
    """Return confidences, shape (7,): of names that fit equally well never more than their share of the votes.

    Args:
        confidences: Of the names chosen.
        tied: Lineages that fit equally well.
        agreement: Share of the votes that each name has, shape (7,).
        labels: Lineages of the collection.
    """
    found = confidences.copy()
    for r in range(len(RANKS) if tied else 0):
        if len({int(labels.taxa[n, r]) for n in tied} - {_NO_NAME}) > 1:
            found[r] = min(found[r], agreement[r])
    return found


def raised_by_deeper(confidences: Floats, named: npt.NDArray[np.bool_]) -> Floats:
    """Return confidences, shape (q, 7): of a name never less than of a deeper one."""
    found = confidences.copy()
    deeper = np.full(len(found), np.nan)
    for r in reversed(range(len(RANKS))):
        own = named[:, r]
        found[own, r] = np.fmax(found[own, r], deeper[own])
        deeper = np.where(own, found[:, r], deeper)
    return found


def _apart(tied: tuple[int, ...], labels: Labels) -> list[bool]:
    """Return for each rank whether lineages that fit equally well are of two taxa, as far as they have names."""
    found = []
    apart = False
    for r in range(len(RANKS)):
        taxa = {int(labels.taxa[n, r]) for n in tied}
        # Sources that disagree on a family may agree on its genus; one without a name agrees with whatever is above.
        apart = len(taxa - {_NO_NAME}) > 1 or (apart and (len(taxa) > 1 or _NO_NAME in taxa))
        found.append(apart)
    return found


def _reason(opinion: Opinion, rank: int, apart: bool) -> Withheld | None:
    """Return why the name at a rank is not given; None where it may be."""
    if apart:
        return "tie"
    confidence = opinion.confidences[rank]
    if np.isnan(confidence) and np.isinf(opinion.cutoffs[rank]):
        return "confidence"
    if np.isnan(confidence):
        return None if opinion.likeness >= IDENTITIES[rank] else "identity"
    if confidence < opinion.cutoffs[rank]:
        return "confidence"
    return "identity" if opinion.likeness < LEAST_IDENTITIES[rank] else None


def _given(opinion: Opinion, names: Lineage, reasons: list[Withheld | None]) -> list[int]:
    """Return the ranks at which a name may be given.

    A name by a fixed limit is not given below one that was withheld though something was learned of its rank.
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


def _own_limit(opinion: Opinion, criteria: Criteria) -> tuple[Withheld | None, str]:
    """Return the limit of the user that a query does not reach, and a sentence; None and nothing where it does."""
    limits: tuple[tuple[Withheld, float, float], ...] = (
        ("identity", opinion.identity, criteria.min_identity),
        ("coverage", opinion.coverage, criteria.min_coverage),
    )
    for name, value, least in limits:
        if least > 0 and not np.isnan(value) and value < least:
            return name, f"{name} {value:.1f} is below the {least:g} asked for"
    return None, ""


def _absent(opinion: Opinion, names: Lineage, deepest: int, criteria: Criteria) -> int | None:
    """Return the broadest rank of which the taxon is told to be absent; None where none is.

    Tested from species upward, each rank only when the one below is absent, none at which a name is given, and none at
    which the nearest relatives have no name. Nothing is absent without a name above it, nor where too little of the
    query was compared.
    """
    if deepest < 0 or (criteria.novel_coverage > 0 and not opinion.coverage >= criteria.novel_coverage):
        return None
    found = None
    for r in range(SPECIES, deepest, -1):
        if np.isnan(opinion.p_values[r]) or not names[r]:
            continue
        sure = np.isnan(opinion.absences[r]) or opinion.absences[r] >= least_absence(r, criteria)
        if not sure or max(opinion.p_values[r], opinion.q_values[r]) > criteria.alpha:
            break
        found = r
    return found


def _lineage(names: list[str]) -> Lineage:
    kingdom, phylum, class_, order, family, genus, species = names
    return kingdom, phylum, class_, order, family, genus, species
