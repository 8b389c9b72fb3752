"""Distinct sequences as features (ASVs): one lineage and the reads in each sample, over their selected records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ednabed.base.text import clean
from ednabed.export.ids import FeatureIds
from ednabed.export.names import NO_NAME, Identification, Namer, SequenceIds
from ednabed.export.selection import Sample, Selection
from ednabed.sequences.taxon_ids import taxon_id, taxon_id_columns

NO_SAMPLE = "no_sample"
COLUMNS = ("id", "dataset", "sample", "abundance", "lineage")


@dataclass(frozen=True, slots=True)
class Feature:
    """A distinct sequence.

    Attributes:
        row: Its row in the collection.
        id: Its id in the export (``FeatureIds``).
        digest: Its digest, or the id that replaces it (``Piece.ids``).
        name: Id of its first record; None if that record has none.
        sequence: Its bases; None if unknown.
        length: Number of bases; None if unknown.
        named: The names that most of its labelled records have; the first of them in a tie. If no record is labelled,
            the names of the first record with an assignment.
        records: Number of its records.
        counts: Reads of each sample, in order of the records; a record without abundance counts as one.
        unknown: The samples in which a record does not state its number of reads.
        first: The first record of each sample, as a dict of the requested columns.
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
        """Total number of its reads."""
        return sum(self.counts.values())


def features(selection: Selection, names: Namer, ids: FeatureIds, columns: tuple[str, ...] = ()) -> Iterator[Feature]:
    """Yield the distinct sequences of a selection in row order.

    Args:
        selection: The sequences and records to export.
        names: Source of the names.
        ids: Ids of the features.
        columns: Columns of the records to include in ``Feature.first`` in addition to ``COLUMNS``.
    """
    taxa = taxon_id_columns(selection.collection.record_schema.names)
    requested = tuple(dict.fromkeys((*COLUMNS, *columns, *taxa)))
    for piece in selection.pieces(requested):
        records = piece.records.to_pylist()
        lengths = piece.sequences.column("length").to_pylist()
        bases = piece.sequences.column("sequence").to_pylist()
        rows = piece.rows.tolist()
        for index, (begin, end) in enumerate(pairwise(piece.starts.tolist())):
            row, digest = rows[index], piece.ids[index]
            lab_id = ids.lab_id(row, digest) if names.by_id else digest
            known = SequenceIds(row, (digest, lab_id, records[begin]["id"]))
            yield _feature(known, ids.id_of(row, digest), bases[index], lengths[index], records[begin:end], names, taxa)


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
        named = names.identify(record["id"], record["lineage"], known)
        if named.status:
            assigned = assigned or named
        elif any(named.lineage):
            labelled[named] += 1
            if taxa and not taxon_ids.get(named):
                taxon_ids[named] = taxon_id(taxa, [record[name] for name in taxa])
    names.divided += len(labelled) > 1
    # A Counter returns equal counts in the order of insertion.
    named = labelled.most_common(1)[0][0] if labelled else assigned or NO_NAME
    if taxon_ids.get(named):
        named = replace(named, taxon_id=taxon_ids[named])
    return Feature(
        known.row, id, known.ids[0], records[0]["id"], sequence, length, named, len(records), counts,
        frozenset(unknown), first,
    )  # fmt: skip


def sample_names(samples: Mapping[Sample, Any]) -> dict[Sample, str]:
    """Return a unique name for each sample, without control characters.

    This is the sample's own name; ``dataset/name`` if several datasets have a sample of that name; ``no_sample`` if
    the name is unknown. If another sample has the resulting name, ``_2`` and so on is added.
    """
    labels = {sample: clean(sample[1] or "").strip() or NO_SAMPLE for sample in samples}
    shared = Counter(labels.values())
    names: dict[Sample, str] = {}
    taken: set[str] = set()
    for sample, label in labels.items():
        base = label if shared[label] == 1 else f"{clean(sample[0])}/{label}"
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names[sample] = name
    return names
