"""Labelled records for training: read from any file, each sequence and lineage once, grouped by marker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.errors import InputError, UsageError
from ednabed.evaluate.splits import Labelled
from ednabed.search.divergence import Codes, encode
from ednabed.sequences import Labels, normalise, open_records
from ednabed.sequences.lineage import RANKS, split_lineage
from ednabed.store.files import sha256_file
from ednabed.taxonomy.taxa import Taxa, Taxon

Ints = npt.NDArray[np.int64]
TAUGHT = ("species", "genus", "family")
"""Ranks whose names are taught."""
QUESTIONS = ("record", *TAUGHT)
"""What training asks; see ``objective``."""


log = logging.getLogger("ednabed")


@dataclass(frozen=True)
class Input:
    """A file that was read.

    Attributes:
        name: Its name without folders.
        sha256: Of its bytes, 64 hexadecimal digits.
        records: In it.
        taken: Of these, how many are labelled, acceptable and not a repetition.
        rejected: Of these, how many have letters that are not accepted, or too few.
        unlabelled: Of these, how many have no lineage.
    """

    name: str
    sha256: str
    records: int
    taken: int
    rejected: int
    unlabelled: int


def read_labelled(
    paths: Sequence[Path], labels: Labels | None = None, *, min_length: int = 100
) -> tuple[list[Labelled], list[Input]]:
    """Read the labelled records of files; the same sequence with the same lineage and marker counts once.

    The marker is that of the column ``marker``; without one, records of one file are of one marker.

    Args:
        paths: FASTA, FASTQ, TSV, CSV or Parquet, plain or compressed.
        labels: Lineages by id, which override those of the files; None leaves the files'.
        min_length: Shortest sequence taken, in letters.

    Raises:
        InputError: A file cannot be read, or none holds a labelled record.
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
                        own = path.name if names.count(path.name) == 1 else str(path)
                        found.append(Labelled(name, sequence, split_lineage(lineage), str(marker or "") or own))
            for note in batches.notes:
                log.warning("%s", note)
        inputs.append(Input(path.name, sha256_file(path), records, taken, rejected, unlabelled))
    if not found:
        bad, bare, every = (sum(getattr(one, what) for one in inputs) for what in ("rejected", "unlabelled", "records"))
        raise InputError(
            f"{', '.join(map(str, paths))}: no record has a lineage, so there is nothing to learn from ({every:,} "
            f"records, {bare:,} without a lineage, {bad:,} with letters that are not accepted or fewer than "
            f"{min_length}); give rank columns, lineages in the headers or --labels, or lower --shortest"
        )
    return found, inputs


class Pool:
    """The records of one marker, as numbers.

    Attributes:
        marker: Its name.
        codes: Letters of each record as codes (``divergence.encode``).
        taxa: By rank of ``TAUGHT``, the number of each record's taxon, -1 where it has no name; int64, shape (n,).
        families: Record numbers by family, genus and species: what has no name stands alone.
    """

    def __init__(self, marker: str, records: Sequence[Labelled]) -> None:
        self.marker = marker
        self.codes: list[Codes] = [encode(record.sequence.encode()) for record in records]
        taxa = Taxa(record.lineage for record in records)
        keys = [taxa.of(record.lineage) for record in records]
        self.taxa: dict[str, Ints] = {}
        for rank in TAUGHT:
            numbers: dict[Taxon, int] = {}
            place = RANKS.index(rank)
            self.taxa[rank] = np.array(
                [-1 if (key := own[place]) is None else numbers.setdefault(key, len(numbers)) for own in keys], np.int64
            )
        species, genus, family = (self.taxa[rank].tolist() for rank in TAUGHT)
        tree: dict[object, dict[object, dict[object, list[int]]]] = {}
        for i in range(len(records)):
            at_genus = genus[i] if genus[i] >= 0 else ("alone", i)
            at_family = family[i] if family[i] >= 0 else ("genus", at_genus)
            at_species = species[i] if species[i] >= 0 else ("alone", i)
            tree.setdefault(at_family, {}).setdefault(at_genus, {}).setdefault(at_species, []).append(i)
        self.families: list[list[list[list[int]]]] = [
            [[list(own) for own in of_genus.values()] for of_genus in of_family.values()] for of_family in tree.values()
        ]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.codes)


def pools(records: Sequence[Labelled]) -> list[Pool]:
    """Group records by marker, the markers sorted by name."""
    by_marker: dict[str, list[Labelled]] = {}
    for record in records:
        by_marker.setdefault(record.marker, []).append(record)
    return [Pool(marker, by_marker[marker]) for marker in sorted(by_marker)]
