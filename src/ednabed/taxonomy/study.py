"""Assign taxonomy to the queries of one study, after all of them are looked up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Floats, Ints
from ednabed.reference.collection import Collection
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.taxon_ids import taxon_id, taxon_id_columns
from ednabed.store.assignment import Assignment, ByRank, Status
from ednabed.taxonomy.absence import q_values
from ednabed.taxonomy.assign import (
    IDENTITIES,
    Criteria,
    Opinion,
    Verdict,
    judge,
    lowered_by_ties,
    min_absence,
    raised_by_deeper,
)
from ednabed.taxonomy.bins import conflicts
from ednabed.taxonomy.calibration import Calibration, Group
from ednabed.taxonomy.findings import Findings, join_findings
from ednabed.taxonomy.labels import RowLabels
from ednabed.taxonomy.outlook import Outlook
from ednabed.taxonomy.situations import Shares, estimate, with_known

_UNRELATED = "no nearer to the reference than a scrambled sequence: another marker, or no related sequence"
_NOT_LEARNED = "the reference has too few records to learn its probability"
_REVERSED = "is the reverse complement of the reference's strand"
# Nearest records whose ids are read at once.
_BATCH_SIZE = 65_536


class Study:
    """Judges queries in the light of all queries of the study.

    Args:
        found: The findings, in parts.
        collection: The collection in which they were looked up.
        labels: Its lineages.
        calibration: What was learned about it; None: fixed identity limits.
        criteria: When a name is given.
        align: Whether bases were compared.

    Attributes:
        found: The findings, joined.
        shares: Mapping from marker to how common known species and others are among its queries.
        unreached: Mapping from marker to the ranks at which no confidence reached the requested precision, so that no
            name is given.
    """

    def __init__(
        self,
        found: Sequence[Findings],
        collection: Collection,
        labels: RowLabels,
        calibration: Calibration | None,
        criteria: Criteria,
        align: bool,
    ) -> None:
        self.shares: dict[str, Shares] = {}
        self.unreached: dict[str, list[str]] = {}
        self._labels = labels
        self._calibration = calibration
        self._criteria = criteria
        self.found = join_findings(found) if found else _empty_findings()
        shape = self.found.lineages.shape
        self._confidences = np.full(shape, np.nan)
        self._absences, self._p_values = np.full(shape, np.nan), np.full(shape, np.nan)
        self._cutoffs = np.full(shape, criteria.min_confidence)
        known = np.full(len(self.found), 1.0)
        for marker in np.unique(self.found.marker).tolist():
            queries = np.flatnonzero(self.found.marker == marker)
            name = labels.markers[marker]
            group = None if calibration is None else calibration.group(name, align)
            if group is None or calibration is None:
                continue
            outlook = self.found.outlook(queries)
            if isinstance(group, Group):
                shares = self._shares_of(group, outlook, self.found.unrelated[queries])
                if shares.queries:
                    self.shares[name] = shares
                known[queries] = shares.known
                self._learn(group, outlook, queries, name, shares)
            else:
                known[queries] = calibration.known
                self._confidences[queries] = outlook.right
                assert outlook.p_values is not None
                self._p_values[queries] = outlook.p_values
        self._settle_confidences()
        # Without alignment the coverage is unknown, and no minimum applies.
        self._coverage = self.found.coverage if align else np.full(len(self.found), 100.0)
        judged = (self.found.rows >= 0) & ~self.found.unrelated
        # If the nearest relatives have no name at a rank, nothing can be absent there.
        self._p_values[~judged[:, None] | (self.found.lineages < 0)] = np.nan
        self._q_values = q_values(self._p_values, judged & self._claimable(), known)
        self._ids, self._taxon_ids = nearest_ids(collection, labels, self.found.rows, self.found.nearest)
        self._conflicts = conflicts(collection, self._taxon_ids)

    def _shares_of(self, group: Group, outlook: Outlook, unrelated: np.ndarray) -> Shares:
        """Return how common the situations are: as set by the user, or estimated from queries that are related."""
        default = np.array(group.shares)
        assert outlook.situations is not None
        counted = outlook.situations[~unrelated]
        if self._criteria.known is not None:
            return Shares(tuple(with_known(default, self._criteria.known).tolist()), "fixed", len(counted))
        return estimate(counted, np.array(group.fitted), default)

    def _learn(self, group: Group, outlook: Outlook, queries: Ints, marker: str, shares: Shares) -> None:
        parts = np.array(shares.shares)
        self._confidences[queries] = group.confidences(outlook, parts)
        self._absences[queries] = group.absences(outlook, parts)
        self._p_values[queries] = group.p_values(outlook, parts)
        if self._criteria.precision is not None:
            for r, rank in enumerate(RANKS):
                cutoff = group.cutoff(rank, self._criteria.precision, parts)
                self._cutoffs[queries, r] = np.inf if cutoff is None else cutoff
                if cutoff is None:
                    self.unreached.setdefault(marker, []).append(rank)

    def _settle_confidences(self) -> None:
        for i, tied in enumerate(self.found.tied):
            if tied:
                agreement = self.found.agreement[i]
                self._confidences[i] = lowered_by_ties(self._confidences[i], tied, agreement, self._labels)
        self._confidences = raised_by_deeper(self._confidences, self.found.lineages >= 0)

    def _claimable(self) -> np.ndarray:
        """Return which queries have a sufficient probability of absence at their deepest judged rank, shape (q,)."""
        sure = np.zeros(len(self.found), bool)
        for r in range(len(RANKS)):
            absences = self._absences[:, r]
            enough = np.isnan(absences) | (absences >= min_absence(r, self._criteria))
            sure = np.where(np.isnan(self._p_values[:, r]), sure, enough)
        minimum = self._criteria.novel_coverage
        return np.asarray(sure & ((self._coverage >= minimum) if minimum > 0 else True), bool)

    def assignment(self, number: int) -> Assignment:
        """Return the assignment of a distinct query, with an empty id."""
        found = self.found
        row = int(found.rows[number])
        if row < 0:
            return Assignment("", "unclassified", note="no related sequence in the reference")
        verdict = self._verdict(number)
        status: Status = "assigned" if any(verdict.lineage) else "unclassified"
        novel = verdict.novel_rank
        if novel is not None:
            status = "not_in_reference"
        identity, coverage = float(found.identity[number]), float(found.coverage[number])
        return Assignment(
            id="",
            status=status,
            lineage=verdict.lineage,
            names=verdict.names,
            confidences=(None,) * len(RANKS) if found.unrelated[number] else _by_rank(self._confidences[number]),
            withheld=verdict.withheld,
            tied=verdict.tied,
            nearest_id=self._ids[number],
            nearest_lineage=self._labels.lineages[int(found.nearest[number])],
            nearest_taxon_id=self._taxon_ids[number],
            identity=None if np.isnan(identity) else identity,
            coverage=None if np.isnan(coverage) else coverage,
            similarity=float(found.similarity[number]),
            strand="-" if found.turned[number] else "+",
            marker=self._labels.markers[int(found.marker[number])] or None,
            novel_rank=None if novel is None else RANKS[novel],
            novel_p=None if novel is None else float(self._p_values[number, novel]),
            novel_q=None if novel is None else float(self._q_values[number, novel]),
            p_values=_by_rank(self._p_values[number]),
            q_values=_by_rank(self._q_values[number]),
            absences=(None,) * len(RANKS) if found.unrelated[number] else _by_rank(self._absences[number]),
            note=self._note(number, verdict),
        )

    def _verdict(self, number: int) -> Verdict:
        found = self.found
        if found.unrelated[number]:
            return Verdict()
        opinion = Opinion(
            sources=found.lineages[number],
            tied=found.tied[number],
            likeness=float(found.likeness[number]),
            coverage=float(self._coverage[number]),
            identity=float(found.identity[number]),
            confidences=self._confidences[number],
            cutoffs=self._cutoffs[number],
            absences=self._absences[number],
            p_values=self._p_values[number],
            q_values=self._q_values[number],
            learned=self._calibration is not None,
        )
        return judge(opinion, self._labels, self._criteria)

    def _note(self, number: int, verdict: Verdict) -> str:
        notes = [_REVERSED] if self.found.turned[number] else []
        if self.found.unrelated[number]:
            notes.append(_UNRELATED)
        if verdict.by_limit is not None:
            rank = verdict.by_limit
            notes.append(
                f"{RANKS[rank]} by the fixed threshold of {100 * IDENTITIES[rank]:g} % identity: {_NOT_LEARNED}"
            )
        if verdict.note:
            notes.append(verdict.note)
        conflict = self._conflicts.get(self._taxon_ids[number] or "")
        if conflict:
            notes.append(conflict)
        if verdict.novel_rank is not None:
            above = max(r for r, name in enumerate(verdict.lineage) if name)
            if any(verdict.names[r] for r in range(above + 1, verdict.novel_rank)):
                notes.append(
                    f"absent at {RANKS[verdict.novel_rank]} or above, within {verdict.lineage[above]}: no name between "
                    "them is certain"
                )
        return "; ".join(notes)


def nearest_ids(
    collection: Collection, labels: RowLabels, rows: Ints, lineages: Ints
) -> tuple[list[str | None], list[str | None]]:
    """Return the id and the taxon id of one record of each row that has the lineage.

    Args:
        collection: The collection.
        labels: Its lineages.
        rows: Shape (q,); -1 for none.
        lineages: Lineage of each row, by number in the labels, shape (q,).

    Returns:
        Two lists of length q; None where there is no row, or no taxon id.
    """
    taxon_columns = taxon_id_columns(collection.record_schema.names)
    columns = ["id", "lineage", *taxon_columns]
    known: dict[tuple[int, int], tuple[str | None, str | None]] = {}
    distinct = np.unique(rows[rows >= 0])
    for first in range(0, len(distinct), _BATCH_SIZE):
        batch = distinct[first : first + _BATCH_SIZE]
        starts, ends = collection.starts[batch], collection.starts[batch + 1]
        sizes = np.asarray(ends - starts, np.int64)
        row_of = np.repeat(batch, sizes)
        within = np.arange(len(row_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positions = np.asarray(collection.positions[np.repeat(starts, sizes) + within], np.int64)
        table = collection.take_records(positions, columns)
        values = [pc.cast(table.column(name), pa.string()).to_pylist() for name in columns]
        numbers = labels.numbers_of(values[1])
        for i, row in enumerate(row_of.tolist()):
            taxon = taxon_id(taxon_columns, [column[i] for column in values[2:]])
            known.setdefault((row, numbers[i]), (values[0][i], taxon or None))
    pairs = [
        known.get((row, lineage), (None, None)) for row, lineage in zip(rows.tolist(), lineages.tolist(), strict=True)
    ]
    return [name for name, _ in pairs], [taxon for _, taxon in pairs]


def _by_rank(values: Floats) -> ByRank:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _empty_findings() -> Findings:
    """Return findings for no queries."""
    none, by_rank = np.zeros(0), np.zeros((0, len(RANKS)))
    numbers = np.zeros(0, np.int64)
    return Findings(
        rows=numbers, nearest=numbers, lineages=np.zeros((0, len(RANKS)), np.int64), agreement=by_rank, distance=none,
        identity=none, coverage=none, likeness=none, similarity=none, turned=np.zeros(0, bool),
        unrelated=np.zeros(0, bool), marker=numbers, situations=np.zeros((0, 6)), right=by_rank, old_p=by_rank,
        classes=numbers, tied=[],
    )  # fmt: skip
