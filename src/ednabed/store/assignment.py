"""The result for one query, in the terms that assignment, novelty, evaluation and export share, and its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ednabed.base.stored_json import typed
from ednabed.sequences.lineage import RANKS, Lineage, format_lineage

Status = Literal["assigned", "not_in_reference", "unclassified", "rejected"]
Withheld = Literal["tie", "confidence", "identity", "coverage"]
STATUSES: tuple[Status, ...] = ("assigned", "not_in_reference", "unclassified", "rejected")
_OLD_STATUSES = {"novel": "not_in_reference"}
UNKNOWN: Lineage = ("", "", "", "", "", "", "")
ByRank = tuple[float | None, ...]
_NOTHING: ByRank = (None,) * len(RANKS)
_TEXT, _NUMBER = pa.string(), pa.float64()
RANK_COLUMNS = pa.struct(
    [("given", _TEXT), ("best", _TEXT), *((name, _NUMBER) for name in ("confidence", "absence", "p", "q"))]
)
ASSIGNMENT_COLUMNS = pa.schema(
    [
        *((name, _TEXT) for name in ("id", "status", "rank", "lineage")),
        ("confidence", _NUMBER),
        ("ranks", pa.struct([(rank, RANK_COLUMNS) for rank in RANKS])),
        *((name, _TEXT) for name in ("withheld", "nearest_id", "nearest_lineage", "nearest_taxon_id")),
        *((name, _NUMBER) for name in ("identity", "coverage", "similarity")),
        ("novel_rank", _TEXT),
        *((name, _NUMBER) for name in ("novel_p", "novel_q")),
        ("tied", pa.list_(_TEXT)),
        *((name, _TEXT) for name in ("strand", "marker", "note")),
    ]
)
"""Columns of assignments (``Assignment.to_dict``), in JSON lines and next to runs."""


def current_status(status: str) -> str:
    """Return the current name of a status, which may have had another name in an earlier version."""
    return _OLD_STATUSES.get(status, status)


def lineage_text(lineage: Lineage) -> str:
    """Return the seven names as one string, with ``;`` inside names as ``,``; empty if none is known."""
    return format_lineage([name.replace(";", ",") for name in lineage]) if any(lineage) else ""


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

    def numbers(self) -> Iterator[float]:
        """Yield all numbers that are known."""
        by_rank = (*self.confidences, *self.absences, *self.p_values, *self.q_values)
        values = (*by_rank, self.identity, self.coverage, self.similarity, self.novel_p, self.novel_q)
        return (value for value in values if value is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the assignment as plain values, with the keys ``ASSIGNMENT_COLUMNS`` in this order.

        Keys that differ from the attributes: ``lineage``, ``nearest_lineage`` and ``tied`` have lineages as strings
        (None for an unknown one), and ``ranks`` has for each rank ``given`` and ``best`` (the names in ``lineage`` and
        ``names``, None if there is none), ``confidence``, ``absence``, ``p`` and ``q``.
        """
        found: dict[str, Any] = {
            "lineage": lineage_text(self.lineage) or None,
            "nearest_lineage": lineage_text(self.nearest_lineage) or None,
            "tied": [lineage_text(lineage) for lineage in self.tied],
            "ranks": {
                rank: {
                    "given": self.lineage[r] or None,
                    "best": self.names[r] or None,
                    "confidence": _plain(self.confidences[r]),
                    "absence": _plain(self.absences[r]),
                    "p": _plain(self.p_values[r]),
                    "q": _plain(self.q_values[r]),
                }
                for r, rank in enumerate(RANKS)
            },
        }
        names = ASSIGNMENT_COLUMNS.names
        return {name: found[name] if name in found else _plain(getattr(self, name)) for name in names}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Assignment:
        """Return the assignment that ``to_dict`` turned into plain values.

        Values written by earlier versions, which lack some keys, are also read: missing values become None, the status
        ``novel`` becomes ``not_in_reference``, and ``novel_p`` becomes None if no absence was claimed (it was the
        p-value of the species, which is also in ``ranks``).

        Raises:
            AttributeError, KeyError, TypeError, ValueError: The value is not such an assignment.
        """
        ranks = [value["ranks"][rank] for rank in RANKS]
        claimed = "novel_q" in value or value["novel_rank"] is not None
        unchanged = ("id", "nearest_id", "identity", "coverage", "similarity", "strand", "marker", "novel_rank", "note")
        return typed(
            cls,
            {
                **{name: value[name] for name in unchanged},
                **{name: value.get(name) for name in ("withheld", "nearest_taxon_id", "novel_q")},
                "status": current_status(value["status"]),
                "lineage": _lineage([rank["given"] or "" for rank in ranks]),
                "names": _lineage([rank["best"] or "" for rank in ranks]),
                "confidences": tuple(rank["confidence"] for rank in ranks),
                "tied": tuple(_lineage_of_text(text) for text in value["tied"]),
                "nearest_lineage": _lineage_of_text(value["nearest_lineage"]),
                "novel_p": value["novel_p"] if claimed else None,
                "p_values": tuple(rank["p"] for rank in ranks),
                "q_values": tuple(rank.get("q") for rank in ranks),
                "absences": tuple(rank.get("absence") for rank in ranks),
            },
        )


def _lineage_of_text(text: str | None) -> Lineage:
    return _lineage(text.split(";")) if text else UNKNOWN


def _lineage(names: list[str]) -> Lineage:
    kingdom, phylum, class_, order, family, genus, species = names
    return kingdom, phylum, class_, order, family, genus, species


def _plain(value: Any) -> Any:
    """Return a number as a plain float, which JSON can represent, and other values unchanged."""
    return float(value) if isinstance(value, int | float | np.number) else value
