"""Labelled records for training: read from any file, deduplicated by sequence and lineage, grouped by marker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ednabed.base.arrays import Ints
from ednabed.base.bases import Codes, encode
from ednabed.base.files import sha256_file
from ednabed.errors import InputError, UsageError
from ednabed.evaluate.splits import Labelled
from ednabed.sequences import Labels, normalise, open_records
from ednabed.sequences.lineage import RANKS, split_lineage
from ednabed.taxonomy.taxa import Taxa, Taxon

TAUGHT_RANKS = ("species", "genus", "family")
"""Ranks whose names are taught."""
QUESTIONS = ("record", *TAUGHT_RANKS)
"""The questions of the objective; see ``objective``."""


log = logging.getLogger("ednabed")


@dataclass(frozen=True)
class TrainingInput:
    """A file that was read.

    Attributes:
        name: File name without folders.
        sha256: SHA-256 of its bytes, 64 hexadecimal digits.
        records: Number of records in it.
        taken: Number of these that are labelled, accepted and not a duplicate.
        rejected: Number of these with characters that are not accepted, or with too few bases.
        unlabelled: Number of these without a lineage.
    """

    name: str
    sha256: str
    records: int
    taken: int
    rejected: int
    unlabelled: int


def read_labelled(
    paths: Sequence[Path], labels: Labels | None = None, *, min_length: int = 100
) -> tuple[list[Labelled], list[TrainingInput]]:
    """Read the labelled records of files; the same sequence with the same lineage and marker counts once.

    The marker is read from the column ``marker``; without it, all records of a file belong to one marker.

    Args:
        paths: FASTA, FASTQ, TSV, CSV or Parquet, plain or compressed.
        labels: Lineages by id, which override those in the files; None keeps the lineages in the files.
        min_length: Minimum length of a sequence, in bases.

    Raises:
        InputError: A file cannot be read, or no file contains a labelled record.
        UsageError: A path is standard input.
    """
    if Path("-") in paths:
        raise UsageError("standard input (-) cannot be read again after an interruption; give a file to train on")
    names = [path.name for path in paths]
    found: list[Labelled] = []
    inputs = []
    seen: set[tuple[str, str, str]] = set()
    for path in paths:
        records = rejected = unlabelled = taken = 0
        with open_records(path, labels=labels) as batches:
            for raw in batches:
                accepted, refused = normalise(raw, min_length=min_length)
                records += raw.num_rows
                rejected += refused.num_rows
                columns = accepted.schema.names
                markers = accepted.column("marker").to_pylist() if "marker" in columns else [""] * accepted.num_rows
                for name, sequence, lineage, marker in zip(
                    accepted.column("id").to_pylist(), accepted.column("sequence").to_pylist(),
                    accepted.column("lineage").to_pylist(), markers, strict=True,
                ):  # fmt: skip
                    if not lineage:
                        unlabelled += 1
                        continue
                    key = (sequence, lineage, str(marker or ""))
                    if key not in seen:
                        seen.add(key)
                        taken += 1
                        file_name = path.name if names.count(path.name) == 1 else str(path)
                        found.append(Labelled(name, sequence, split_lineage(lineage), str(marker or "") or file_name))
            for note in batches.notes:
                log.warning("%s", note)
        inputs.append(TrainingInput(path.name, sha256_file(path), records, taken, rejected, unlabelled))
    if not found:
        rejected, unlabelled, records = (
            sum(getattr(one, name) for one in inputs) for name in ("rejected", "unlabelled", "records")
        )
        raise InputError(
            f"{', '.join(map(str, paths))}: no record has a lineage, so there is nothing to learn from ({records:,} "
            f"records, {unlabelled:,} without a lineage, {rejected:,} with characters that are not accepted or fewer "
            f"than {min_length} bases); give rank columns, lineages in the headers or `labels`, or lower `min_length`"
        )
    return found, inputs


class Pool:
    """The records of one marker, as arrays of numbers.

    Attributes:
        marker: Name of the marker.
        codes: Bases of each record as codes (``bases.encode``).
        taxa: By rank of ``TAUGHT_RANKS``, the number of each record's taxon, -1 if it has no name; int64, shape (n,).
        families: Record numbers nested by family, genus and species; a record without a name forms its own taxon.
    """

    def __init__(self, marker: str, records: Sequence[Labelled]) -> None:
        self.marker = marker
        self.codes: list[Codes] = [encode(record.sequence.encode()) for record in records]
        taxa = Taxa(record.lineage for record in records)
        keys = [taxa.taxa_of(record.lineage) for record in records]
        self.taxa: dict[str, Ints] = {}
        for rank in TAUGHT_RANKS:
            numbers: dict[Taxon, int] = {}
            column = RANKS.index(rank)
            self.taxa[rank] = np.array(
                [-1 if (taxon := row[column]) is None else numbers.setdefault(taxon, len(numbers)) for row in keys],
                np.int64,
            )
        species, genus, family = (self.taxa[rank].tolist() for rank in TAUGHT_RANKS)
        tree: dict[object, dict[object, dict[object, list[int]]]] = {}
        for i in range(len(records)):
            at_genus = genus[i] if genus[i] >= 0 else ("alone", i)
            at_family = family[i] if family[i] >= 0 else ("genus", at_genus)
            at_species = species[i] if species[i] >= 0 else ("alone", i)
            tree.setdefault(at_family, {}).setdefault(at_genus, {}).setdefault(at_species, []).append(i)
        self.families: list[list[list[list[int]]]] = [
            [[list(rows) for rows in by_species.values()] for by_species in by_genus.values()]
            for by_genus in tree.values()
        ]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.codes)


def pools(records: Sequence[Labelled]) -> list[Pool]:
    """Group records by marker, sorted by marker name."""
    by_marker: dict[str, list[Labelled]] = {}
    for record in records:
        by_marker.setdefault(record.marker, []).append(record)
    return [Pool(marker, by_marker[marker]) for marker in sorted(by_marker)]
