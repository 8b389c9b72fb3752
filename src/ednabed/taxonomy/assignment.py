"""The result for one query, in the terms that assignment, novelty, evaluation and export share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ednabed.sequences.lineage import RANKS, Lineage

Status = Literal["assigned", "not_in_reference", "unclassified", "rejected"]
Withheld = Literal["tie", "confidence", "identity", "coverage"]
UNKNOWN: Lineage = ("", "", "", "", "", "", "")
ByRank = tuple[float | None, ...]
_NOTHING: ByRank = (None,) * len(RANKS)


@dataclass(frozen=True, slots=True)
class Assignment:
    """The taxonomic assignment of a query.

    Attributes:
        id: Id of the query, as in its file.
        status: ``assigned``, a name at some rank is sure enough; ``not_in_reference``, in addition to that name, its
            taxon at a lower rank is found to be absent from the reference (``novel_rank``); ``unclassified``, no name
            at any rank; ``rejected``, it could not be looked up (``note`` gives the reason).
        lineage: The names given, empty below the deepest rank given and where the reference has no name.
        names: The best guess at every rank, whatever its confidence; empty where the candidates have no name.
        confidences: Probability that the name at this rank in ``names`` is right, 0 to 1; None where there is no name,
            or without calibration.
        withheld: Why the first name in ``names`` below the names given is not given: ``tie``, equally near sequences
            disagree; ``confidence``, ``identity`` or ``coverage``, it is too low. None if all names are given.
        tied: Lineages of the candidates that fit equally well, if they belong to several species; otherwise empty.
        nearest_id: Id of the nearest record; None if there is none. Among equally near records, one that has the names
            in ``names``.
        nearest_lineage: Its lineage.
        nearest_taxon_id: Its taxon id, if the reference has one; otherwise None.
        identity: Identity of the query and that sequence, in percent of the columns of their alignment; None without
            alignment.
        coverage: Share of the query inside the alignment, in percent.
        similarity: Cosine of their vectors.
        strand: ``-`` if the query was found to be the reverse complement of the reference's strand.
        marker: Marker of the nearest sequence, if the reference has markers.
        novel_rank: Broadest rank whose taxon is reported as absent from the reference; None if there is none.
        novel_p: p-value of the hypothesis that its taxon of that rank is in the reference; None if no absence is
            reported.
        novel_q: The same as a false discovery rate: of all claims of absence among the queries with a p-value at most
            as large, the share expected to be of species that are in the reference after all (``absence.q_values``).
        p_values: p-values for every rank, None without calibration and above order.
        q_values: The same as false discovery rates.
        absences: Probability that the taxon of each rank is not in the reference; None without calibration and above
            order.
        note: What else a reader should know; empty if there is nothing.
    """

    id: str
    status: Status
    lineage: Lineage = UNKNOWN
    names: Lineage = UNKNOWN
    confidences: ByRank = _NOTHING
    withheld: Withheld | None = None
    tied: tuple[Lineage, ...] = field(default=())
    nearest_id: str | None = None
    nearest_lineage: Lineage = UNKNOWN
    nearest_taxon_id: str | None = None
    identity: float | None = None
    coverage: float | None = None
    similarity: float | None = None
    strand: str = "+"
    marker: str | None = None
    novel_rank: str | None = None
    novel_p: float | None = None
    novel_q: float | None = None
    p_values: ByRank = _NOTHING
    q_values: ByRank = _NOTHING
    absences: ByRank = _NOTHING
    note: str = ""

    @property
    def rank(self) -> str | None:
        """Deepest rank with a name given; None if there is none."""
        given = [rank for rank, name in zip(RANKS, self.lineage, strict=True) if name]
        return given[-1] if given else None

    @property
    def confidence(self) -> float | None:
        """Confidence of the deepest rank given; None if there is none."""
        rank = self.rank
        return None if rank is None else self.confidences[RANKS.index(rank)]

    @property
    def guess_rank(self) -> str | None:
        """Deepest rank with a guess; None if there is none."""
        guessed = [rank for rank, name in zip(RANKS, self.names, strict=True) if name]
        return guessed[-1] if guessed else None

    @property
    def species_p(self) -> float | None:
        """p-value of the hypothesis that its species is in the reference; None where unknown."""
        return self.p_values[-1]

    @property
    def species_q(self) -> float | None:
        """The same as a false discovery rate."""
        return self.q_values[-1]
