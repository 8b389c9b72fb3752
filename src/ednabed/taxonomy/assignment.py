"""What was found out about one query: the terms in which assignment, novelty, evaluation and export speak."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ednabed.sequences.lineage import RANKS, Lineage

Status = Literal["assigned", "novel", "unclassified", "rejected"]
UNKNOWN: Lineage = ("", "", "", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a query is.

    Attributes:
        id: Id of the query, as in its file.
        status: ``assigned``, a name at some rank reached the confidence asked for; ``novel``, and beside what name it
            has, at a deeper rank it differs from all that the reference knows (``novel_rank``); ``unclassified``, no
            name at any rank; ``rejected``, it could not be looked up (``note`` says why).
        lineage: The names given, empty below the deepest rank given and where the reference has no name.
        names: The best guess at every rank, whatever its confidence; empty where the candidates have no name.
        confidences: Probability that the name at this rank in ``names`` is right, 0 to 1; None where there is no name,
            or where nothing is calibrated.
        tied: Lineages of the candidates that fit equally well, if several species among them do; else empty.
        nearest_id: Id of the first record of the nearest sequence; None where nothing is near.
        nearest_lineage: Its lineage.
        identity: Identity of the query and that sequence, in percent of the columns of their alignment; None without
            alignment.
        coverage: Share of the query inside the alignment, in percent.
        similarity: Cosine of their vectors.
        strand: ``-`` where the query was found to be the reverse complement of the reference's strand.
        marker: Marker of the nearest sequence, where the reference knows markers.
        novel_rank: Broadest rank at which the query is new; None where it is not.
        novel_p: p-value of the hypothesis that its taxon of that rank (species where ``novel_rank`` is None) is in the
            reference.
        p_values: The same for every rank, None where nothing is calibrated.
        note: What else a reader should know; empty where nothing.
    """

    id: str
    status: Status
    lineage: Lineage = UNKNOWN
    names: Lineage = UNKNOWN
    confidences: tuple[float | None, ...] = (None,) * len(RANKS)
    tied: tuple[Lineage, ...] = field(default=())
    nearest_id: str | None = None
    nearest_lineage: Lineage = UNKNOWN
    identity: float | None = None
    coverage: float | None = None
    similarity: float | None = None
    strand: str = "+"
    marker: str | None = None
    novel_rank: str | None = None
    novel_p: float | None = None
    p_values: tuple[float | None, ...] = (None,) * len(RANKS)
    note: str = ""

    @property
    def rank(self) -> str | None:
        """Deepest rank that is given; None where none is."""
        given = [rank for rank, name in zip(RANKS, self.lineage, strict=True) if name]
        return given[-1] if given else None

    @property
    def confidence(self) -> float | None:
        """Confidence of the deepest rank given; None where none is."""
        rank = self.rank
        return None if rank is None else self.confidences[RANKS.index(rank)]
