"""Distinct sequences as features (ASVs): one set of names, and the reads in each sample, over their chosen records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ednabed.export.ids import FeatureIds
from ednabed.export.names import NO_NAME, Identification, Namer, SequenceIds
from ednabed.export.selection import Sample, Selection
from ednabed.sequences.taxon_ids import taxon_id, taxon_id_columns
from ednabed.store.files import clean

NO_SAMPLE = "no_sample"
COLUMNS = ("id", "dataset", "sample", "abundance", "lineage")


@dataclass(frozen=True, slots=True)
class Feature:
    """A distinct sequence.

    Attributes:
        row: Its row in the collection.
        id: What the export calls it (``FeatureIds``).
        digest: Its digest, or what stands for it (``Piece.ids``).
        name: Id of its first record; None where that has none.
        sequence: Its bases; None where unknown.
        length: Their number; None where unknown.
        named: What most of its labelled records say; among equals the first. Where none is labelled, what the first
            record with an assignment was called.
        records: Number of its records.
        counts: Sample to reads, in order of the records; a record without abundance is one.
        unknown: The samples in which a record does not say how many reads it is.
        first: Sample to its first record there, as a dict of the columns asked for.
    """

    row: int
    id: str
    digest: str
    name: str | None
    sequence: str | None
    length: int | None
    named: Identification
    records: int
    counts: dict[Sample, int]
    unknown: frozenset[Sample]
    first: dict[Sample, dict[str, Any]]

    @property
    def reads(self) -> int:
        """All its reads."""
        return sum(self.counts.values())


def features(selection: Selection, names: Namer, ids: FeatureIds, columns: tuple[str, ...] = ()) -> Iterator[Feature]:
    """Yield the distinct sequences of a selection in order of row.

    Args:
        selection: What is exported.
        names: Where names come from.
        ids: What they are called.
        columns: Columns of the records wanted in ``Feature.first`` beside ``COLUMNS``.
    """
    taxa = taxon_id_columns(selection.collection.record_schema.names)
    wanted = tuple(dict.fromkeys((*COLUMNS, *columns, *taxa)))
    for piece in selection.pieces(wanted):
        records = piece.records.to_pylist()
        lengths = piece.sequences.column("length").to_pylist()
        letters = piece.sequences.column("sequence").to_pylist()
        rows = piece.rows.tolist()
        for place, (begin, end) in enumerate(pairwise(piece.starts.tolist())):
            row, digest = rows[place], piece.ids[place]
            lab_id = ids.lab_id(row, digest) if names.by_id else digest
            known = SequenceIds(row, (digest, lab_id, records[begin]["id"]))
            yield _feature(known, ids.of(row, digest), letters[place], lengths[place], records[begin:end], names, taxa)


def _feature(
    known: SequenceIds, id: str, sequence: str | None, length: int | None, records: list[dict[str, Any]], names: Namer,
    taxa: list[str],
) -> Feature:  # fmt: skip
    counts: dict[Sample, int] = {}
    first: dict[Sample, dict[str, Any]] = {}
    unknown: set[Sample] = set()
    labelled: Counter[Identification] = Counter()
    taxon_ids: dict[Identification, str] = {}
    assigned: Identification | None = None
    for record in records:
        sample = (str(record["dataset"]), record["sample"])
        abundance = record["abundance"]
        if abundance is None:
            unknown.add(sample)
        counts[sample] = counts.get(sample, 0) + (1 if abundance is None else int(abundance))
        first.setdefault(sample, record)
        named = names.of(record["id"], record["lineage"], known)
        if named.status:
            assigned = assigned or named
        elif any(named.lineage):
            labelled[named] += 1
            if taxa and not taxon_ids.get(named):
                taxon_ids[named] = taxon_id(taxa, [record[name] for name in taxa])
    names.divided += len(labelled) > 1
    # A Counter gives equals in the order in which they came.
    named = labelled.most_common(1)[0][0] if labelled else assigned or NO_NAME
    if taxon_ids.get(named):
        named = replace(named, taxon_id=taxon_ids[named])
    return Feature(
        known.row, id, known.ids[0], records[0]["id"], sequence, length, named, len(records), counts,
        frozenset(unknown), first,
    )  # fmt: skip


def sample_names(samples: Mapping[Sample, Any]) -> dict[Sample, str]:
    """Return a name of its own for each sample, without control characters.

    It is its own name; where several datasets have that, ``dataset/name``; ``no_sample`` where it is not known; with
    ``_2`` and so on added where another has that.
    """
    own = {sample: clean(sample[1] or "").strip() or NO_SAMPLE for sample in samples}
    shared = Counter(own.values())
    names: dict[Sample, str] = {}
    taken: set[str] = set()
    for sample, name in own.items():
        wanted = name if shared[name] == 1 else f"{clean(sample[0])}/{name}"
        free, number = wanted, 2
        while free in taken:
            free, number = f"{wanted}_{number}", number + 1
        taken.add(free)
        names[sample] = free
    return names
