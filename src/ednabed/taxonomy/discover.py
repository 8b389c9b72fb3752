"""Find what a reference lacks in a set of sequences: equal sequences are counted as one, similar ones are grouped.

Memory grows with the number of distinct sequences: for each, its bases and reads are held, and the ids of its records
until it is judged; for one that is not in the reference also its vector, its assignment, and the ids to the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Bools, FloatArray
from ednabed.base.topk import unit
from ednabed.reference.collection import Collection
from ednabed.search.queries import Query, QueryBatch
from ednabed.store.assignment import Assignment, Status
from ednabed.taxonomy.artefacts import UsualLength, warnings_of
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Novel
from ednabed.taxonomy.chimeras import ABUNDANCE_RATIO, ParentPool
from ednabed.taxonomy.classify import Classified
from ednabed.taxonomy.clusters import IDENTITY, candidate_taxa
from ednabed.taxonomy.completeness import parents_of
from ednabed.taxonomy.labels import RowLabels

REFERENCES = 8
"""Sequences of the reference, nearest by vector, that may be the parents of a chimera."""
# Sequences whose relatives in the reference are looked up at once.
_BATCH_SIZE = 1_024

_ABSENT: Status = "not_in_reference"

ReadsOf = Callable[[Query], tuple[int, Mapping[str, int]]]
"""Returns the reads of a record, and its reads by sample (empty if no sample is known)."""


@dataclass(slots=True, eq=False)
class Distinct:
    """A distinct sequence.

    Attributes:
        sequence: Its bases; on the strand of the reference once it is judged.
        ids: Ids of its records; empty once it is judged, unless its status is ``not_in_reference``.
        reads: Reads of all its records.
        samples: These reads by sample.
        status: Its status; None until it is judged.
        marker: Marker of the nearest sequence; None where unknown.
        tested: Whether absence from the reference was tested at some rank.
        novel: Its vector and assignment; None unless its status is ``not_in_reference``.
    """

    sequence: str
    ids: list[str] = field(default_factory=list)
    reads: int = 0
    samples: Counter[str] = field(default_factory=Counter)
    status: Status | None = None
    marker: str | None = None
    tested: bool = False
    novel: tuple[FloatArray, Assignment] | None = None

    def add(self, ids: Sequence[str], reads: int, samples: Mapping[str, int]) -> None:
        """Add records."""
        if self.status in (None, _ABSENT):
            self.ids.extend(ids)
        self.reads += reads
        self.samples.update(samples)


class Gathering:
    """Collects records and their assignments. Records of equal sequences are judged once and counted together.

    Args:
        reads_of: Returns the reads of a record.

    Attributes:
        records: Number of records, including rejected ones.
        rejected: Number of records that were rejected.
    """

    def __init__(self, reads_of: ReadsOf) -> None:
        self.records = 0
        self.rejected = 0
        self._reads_of = reads_of
        self._by_sequence: dict[str, Distinct] = {}

    def unseen(self, batches: Iterable[QueryBatch]) -> Iterator[QueryBatch]:
        """Count all records, and yield the first record of each distinct sequence, and rejected records."""
        for batch in batches:
            kept: list[Query] = []
            positions, rows = [], []
            row_of_position = {position: row for row, position in enumerate(batch.searchable)}
            for position, query in enumerate(batch.queries):
                if not self._count(query):
                    continue
                if position in row_of_position:
                    positions.append(len(kept))
                    rows.append(row_of_position[position])
                kept.append(query)
            if kept:
                yield QueryBatch(kept, positions, batch.vectors[np.array(rows, np.int64)])

    def _count(self, query: Query) -> bool:
        """Count a record; return whether it needs to be judged."""
        self.records += 1
        if query.sequence is None:
            self.rejected += 1
            return True
        new = query.sequence not in self._by_sequence
        one = self._by_sequence.setdefault(query.sequence, Distinct(query.sequence))
        one.add([str(query.info["id"])], *self._reads_of(query))
        return new

    def judge(self, found: Classified) -> None:
        """Store the assignment of a sequence; rejected ones are ignored."""
        if found.query.sequence is None or found.sequence is None or found.vector is None:
            return
        one = self._by_sequence[found.query.sequence]
        assignment = found.assignment
        if found.sequence != one.sequence:
            one.sequence = found.sequence
        one.status, one.marker = assignment.status, assignment.marker
        one.tested = any(p is not None for p in assignment.p_values)
        if assignment.status == _ABSENT:
            one.novel = found.vector, assignment
        else:
            one.ids = []

    def distinct(self) -> list[Distinct]:
        """Return the distinct sequences in the order of the input; a sequence and its reverse complement are one."""
        found: dict[str, Distinct] = {}
        for one in self._by_sequence.values():
            first = found.setdefault(one.sequence, one)
            if first is not one:
                first.add(one.ids, one.reads, one.samples)
        # So that another call does not add the same records again.
        self._by_sequence = found
        return list(found.values())


def find_candidates(
    sequences: Sequence[Distinct],
    collection: Collection,
    labels: RowLabels,
    *,
    identity: float = IDENTITY,
) -> list[CandidateTaxon]:
    """Group those of some distinct sequences that are not in the reference.

    Each group has warnings of possible artefacts, and how much of the taxon above it the reference has.

    Usual lengths are estimated from the sequences of one marker. Parents of a chimera are searched among all sequences
    and among the sequences of the reference that are nearest by vector.

    Args:
        sequences: All distinct sequences, in the reference or not, judged.
        collection: The reference.
        labels: Its lineages; the rows that have one may be parents of a chimera.
        identity: Minimum percent identity of the members of a group to its representative.
    """
    new = [(one, *one.novel) for one in sequences if one.novel is not None]
    if not new:
        return []
    lengths: dict[str | None, list[int]] = {}
    for one in sequences:
        lengths.setdefault(one.marker, []).append(len(one.sequence))
    usual = {marker: UsualLength.from_lengths(marker_lengths) for marker, marker_lengths in lengths.items()}
    # Less abundant sequences cannot be a parent of any of these.
    min_reads = ABUNDANCE_RATIO * min(one.reads for one, _, _ in new)
    possible_parents = [one for one in sequences if one.reads >= min_reads]
    pool = ParentPool([one.sequence for one in possible_parents], [one.reads for one in possible_parents])
    novels = []
    relatives = _relatives(np.stack([vector for _, vector, _ in new]), collection, labels.labelled)
    for (one, vector, assignment), references in zip(new, relatives, strict=True):
        warnings = warnings_of(
            one.sequence,
            marker=one.marker,
            lineage=assignment.lineage,
            usual=usual[one.marker],
            reads=one.reads,
            pool=pool,
            references=references,
        )
        novels.append(
            Novel(one.sequence, unit(vector[None])[0], assignment, tuple(one.ids), one.reads, one.samples, warnings)
        )
    groups = candidate_taxa(novels, identity=identity)
    return [replace(one, parent=parent) for one, parent in zip(groups, parents_of(groups, labels), strict=True)]


def _relatives(vectors: FloatArray, collection: Collection, labelled: Bools) -> Iterator[list[str]]:
    """Yield the bases of the sequences nearest to each vector."""
    for first in range(0, len(vectors), _BATCH_SIZE):
        batch = vectors[first : first + _BATCH_SIZE]
        rows: list[list[int]] = [[] for _ in batch]
        for query, row, _ in collection.search(batch, REFERENCES, allowed=labelled):
            for q, r in zip(query.tolist(), row.tolist(), strict=True):
                rows[q].append(r)
        known = np.unique(np.array([r for query_rows in rows for r in query_rows], np.int64))
        texts = collection.take_sequences(known).column("sequence").to_pylist()
        bases = dict(zip(known.tolist(), texts, strict=True))
        for query_rows in rows:
            yield [text for r in query_rows if (text := bases[r]) is not None]


def nearest_rows(candidates: Iterable[CandidateTaxon], collection: Collection, labelled: Bools) -> dict[str, int]:
    """Return the row of the nearest named relative of each representative, by the id of that relative.

    If several sequences have the id, it is the first of them.
    """
    names = [one.representative.assignment.nearest_id for one in candidates]
    ids = pa.array(sorted({name for name in names if name is not None}), pa.string())
    found: dict[str, int] = {}
    for _, table in collection.scan_records(["id"]) if len(ids) else ():
        matching = table.filter(pc.is_in(table.column("id").cast(pa.string()), value_set=ids))
        for name, row in zip(matching.column("id").to_pylist(), matching.column("row").to_pylist(), strict=True):
            if labelled[row]:
                found.setdefault(name, row)
    return found
