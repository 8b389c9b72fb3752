"""What was looked up for some queries, before anything is known about the other queries of the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import FEATURES, Evidence
from ednabed.taxonomy.outlook import Outlook
from ednabed.taxonomy.situations import SITUATIONS

_AGREEMENT = FEATURES.index("agreement")


@dataclass
class Findings:
    """What was looked up for q queries, without their bases and vectors.

    Attributes:
        rows: Row of the nearest sequence; -1 if there is none, int64, shape (q,).
        nearest: See ``Evidence.nearest_lineages``.
        lineages: See ``Evidence``, int64, shape (q, 7).
        agreement: Share of the votes for the chosen name, float64, shape (q, 7).
        distance: Minimum distance; infinite if there is none.
        identity: Identity with the nearest sequence, in percent; NaN where unknown, as in the next three.
        coverage: Share of the query inside that alignment, in percent.
        likeness: Share of the bases compared that agree.
        similarity: Cosine of the vectors.
        turned: Whether it is the reverse complement of the reference's strand.
        unrelated: Whether it is no nearer than a scrambled sequence.
        marker: Number of the marker of the nearest sequence.
        situations: See ``Outlook``, NaN where unknown, float64, shape (q, 6).
        right: See ``Outlook``.
        old_p: See ``Outlook.p_values``; NaN where unknown.
        classes: See ``Outlook``.
        tied: See ``Evidence``.
    """

    rows: Ints
    nearest: Ints
    lineages: Ints
    agreement: Floats
    distance: Floats
    identity: Floats
    coverage: Floats
    likeness: Floats
    similarity: Floats
    turned: Bools
    unrelated: Bools
    marker: Ints
    situations: Floats
    right: Floats
    old_p: Floats
    classes: Ints
    tied: list[tuple[int, ...]]

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.rows)

    @classmethod
    def from_evidence(
        cls, evidence: Evidence, rows: Ints, measures: tuple[Floats, Floats, Floats, Floats], turned: bool
    ) -> Findings:
        """Create findings for which no predictions of a calibration are known yet.

        Args:
            evidence: Evidence of q queries.
            rows: See the attributes.
            measures: Identity, coverage, likeness and similarity.
            turned: See the attributes; the same for all queries.
        """
        q = len(rows)
        identity, coverage, likeness, similarity = measures
        return cls(
            rows=rows,
            nearest=evidence.nearest_lineages,
            lineages=evidence.lineages,
            agreement=evidence.features[:, :, _AGREEMENT],
            distance=evidence.distance,
            identity=identity,
            coverage=coverage,
            likeness=likeness,
            similarity=similarity,
            turned=np.full(q, turned),
            unrelated=np.zeros(q, bool),
            marker=np.zeros(q, np.int64),
            situations=np.full((q, len(SITUATIONS)), np.nan),
            right=np.full((q, len(RANKS)), np.nan),
            old_p=np.full((q, len(RANKS)), np.nan),
            classes=np.zeros(q, np.int64),
            tied=list(evidence.tied),
        )

    def learn(self, selected: Ints, outlook: Outlook) -> None:
        """Store the predictions of a calibration for the selected queries."""
        if outlook.situations is not None:
            self.situations[selected] = outlook.situations
        if outlook.p_values is not None:
            self.old_p[selected] = outlook.p_values
        self.right[selected], self.classes[selected] = outlook.right, outlook.classes

    def part(self, chosen: Ints) -> Findings:
        """Return the findings of the selected queries."""
        arrays = {one.name: getattr(self, one.name)[chosen] for one in fields(self) if one.name != "tied"}
        return Findings(**arrays, tied=[self.tied[i] for i in chosen.tolist()])

    def outlook(self, selected: Ints) -> Outlook:
        """Return the predictions of the calibration for the selected queries."""
        return Outlook(self.situations[selected], self.right[selected], self.old_p[selected], self.classes[selected])

    def put(self, rows: Ints, other: Findings, chosen: Ints) -> None:
        """Replace queries by selected queries of other findings."""
        for one in fields(self):
            if one.name == "tied":
                for row, number in zip(rows.tolist(), chosen.tolist(), strict=True):
                    self.tied[row] = other.tied[number]
            else:
                getattr(self, one.name)[rows] = getattr(other, one.name)[chosen]


def join_findings(several: Sequence[Findings]) -> Findings:
    """Join several findings; at least one must be given."""
    arrays = {
        one.name: np.concatenate([getattr(part, one.name) for part in several])
        for one in fields(Findings)
        if one.name != "tied"
    }
    return Findings(**arrays, tied=[tied for part in several for tied in part.tied])
