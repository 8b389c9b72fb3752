"""Counts joined to records: one record of the run for each sample in which a feature has reads.

A record finds its feature by its id (annotations such as ``;size=12`` do not count), in a table whose features are
named by their sequences also by its sequence. The table decides: what the record itself says of reads and sample does
not matter. Each feature belongs to one record, so no read is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ednabed.errors import InputError
from ednabed.sequences.columns import shortened
from ednabed.sequences.counts import CountTable, lineages_of, no_match
from ednabed.sequences.counts.table import sequence_id

Refusal = tuple[str, str, str, int]
"""Id, reason, source and record, as in ``rejected.tsv``."""

SUMMARY = ("features_without_reads", "features_without_sequence", "reads_without_sequence", "reads_rejected")
NOT_IN_TABLE = "is not in the table of counts"
NO_READS = "has no reads in any sample of the table of counts"
_EXAMPLES = 1_000
_ROWS = 8_192
"""Maximum rows of a batch."""


@dataclass
class _Table:
    """A count table and which of its features were found.

    Attributes:
        counts: The table.
        record_of: Feature to the source, record and sequence that has its counts.
        lineages: The lineage of each feature, None where the table says none.
        refused: Features whose record cannot be embedded.
    """

    counts: CountTable
    lineages: list[str | None]
    record_of: dict[int, tuple[str, int, str]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)

    def without_sequence(self) -> list[int]:
        """Return the features that no record has."""
        return [place for place in range(len(self.counts)) if place not in self.record_of and place not in self.refused]

    def find(self, name: str, sequence: str | None) -> int | None:
        """Return the feature of a record, None where there is none."""
        place = self.counts.find(name)
        if place is None and sequence is not None and self.counts.named_by_sequence:
            place = self.counts.places.get(sequence_id(sequence))
        return place


class SharedSamples:
    """Refuses a sample that has reads of one sequence in two count tables: they would be counted twice.

    Args:
        tables: All count tables of a run.
    """

    def __init__(self, tables: Sequence[CountTable]) -> None:
        seen: set[str] = set()
        self._shared: set[str] = set()
        for table in tables:
            self._shared |= seen & set(table.samples)
            seen |= set(table.samples)
        self._owner: dict[tuple[str, str], tuple[str, str]] = {}

    def check(self, table: CountTable, name: str, digest: str, samples: Sequence[str]) -> None:
        """Note the samples in which a table has reads of a sequence.

        Raises:
            InputError: Another table has reads of it in one of these samples.
        """
        if not self._shared:
            return
        for sample in self._shared.intersection(samples):
            path, other = self._owner.setdefault((digest, sample), (table.path, name))
            if path != table.path:
                raise InputError(
                    f"{table.path}: has reads of {shortened(name)!r} in sample {sample!r}, and so has {path} of "
                    f"{shortened(other)!r}, the same sequence; give each sample in one table, or rename the samples of "
                    "one table where they are not the same"
                )


class Occurrences:
    """The count tables of some inputs, and what of them was found.

    Args:
        tables: Count tables, at least one.
        shared: See ``SharedSamples``; one for all inputs of a run.
        keep_placeholders: See ``open_records``.

    Attributes:
        name: The files of the tables.
        notes: What a person should know of the tables.
        without_reads: Records that no sample has.
    """

    def __init__(self, tables: Sequence[CountTable], shared: SharedSamples, *, keep_placeholders: bool = False) -> None:
        self._tables: list[_Table] = []
        self._shared = shared
        self.name = ", ".join(table.path for table in tables)
        self.notes: list[str] = []
        for table in tables:
            read = lineages_of(table, keep_placeholders=keep_placeholders)
            self._tables.append(_Table(table, read.values))
            self.notes += [f"{table.path}: {note}" for note in table.notes]
            self.notes += read.notes
        self._examples: list[str] = []
        self.without_reads = 0

    def split(self, batch: Any) -> tuple[Any, list[Refusal]]:
        """Return the records that have reads, and the others with the reason.

        Args:
            batch: Accepted records.

        Raises:
            InputError: Two records with different sequences would get the counts of one feature, or one sequence has
                reads in one sample of two tables.
        """
        ids, sequences, digests, sources, records = (
            batch.column(name).to_pylist() for name in ("id", "sequence", "digest", "source", "record")
        )
        self._examples += ids[: max(0, _EXAMPLES - len(self._examples))]
        self._turn(ids, sequences)
        kept = np.zeros(len(batch), bool)
        refusals: list[Refusal] = []
        for row, (name, sequence, digest, source, record) in enumerate(
            zip(ids, sequences, digests, sources, records, strict=True)
        ):
            reason = self._claim(name, sequence, digest, source, record)
            kept[row] = reason is None
            if reason is not None:
                self.without_reads += reason in (NOT_IN_TABLE, NO_READS)
                refusals.append((name, reason, source, record))
        return batch.filter(pa.array(kept)), refusals

    def _turn(self, ids: Sequence[str], sequences: Sequence[str]) -> None:
        """Exchange rows and columns of a table whose column names, and not its row names, are ids of the records."""
        for number, table in enumerate(self._tables):
            counts = table.counts
            if table.record_of or any(table.find(*pair) is not None for pair in zip(ids, sequences, strict=True)):
                continue
            turned = None if set(counts.samples).isdisjoint(ids) else counts.transposed()
            if turned is not None:
                self._tables[number] = _Table(turned, [None] * len(turned))
                self.notes.append(
                    f"{counts.path}: its column names are ids of the sequences, so its rows are read as samples"
                )

    def _claim(self, name: str, sequence: str, digest: str, source: str, record: int) -> str | None:
        """Bind the features of a record to it; return why it gets no reads, or None."""
        found = [(table, place) for table in self._tables if (place := table.find(name, sequence)) is not None]
        if not found:
            return NOT_IN_TABLE
        for table, place in found:
            first_source, first_record, first_digest = table.record_of.setdefault(place, (source, record, digest))
            if (first_source, first_record) == (source, record):
                continue
            if first_digest != digest and first_source != source:
                raise InputError(
                    f"{table.counts.path}: id {shortened(name)!r} is of different sequences in {first_source} (record "
                    f"{first_record}) and {source} (record {record}), so it is unknown which of them these counts are "
                    "of; embed each input with its own table in a run of its own"
                )
            return f"the counts of this id are those of record {first_record} of {first_source}"
        reads = False
        for table, place in found:
            columns, _ = table.counts.row(place)
            samples = [table.counts.samples[column] for column in columns.tolist()]
            self._shared.check(table.counts, name, digest, samples)
            reads = reads or bool(samples)
        return None if reads else NO_READS

    def expand(self, batch: Any) -> Iterator[Any]:
        """Yield records that have reads with one row for each sample, in the order of tables and samples.

        ``sample`` and ``abundance`` are those of the tables; ``lineage`` is that of the record, else of a table.
        """
        rows: list[int] = []
        samples: list[str] = []
        reads: list[int] = []
        lineages = batch.column("lineage").to_pylist()
        for row, (name, sequence) in enumerate(
            zip(batch.column("id").to_pylist(), batch.column("sequence").to_pylist(), strict=True)
        ):
            for table in self._tables:
                place = table.find(name, sequence)
                if place is None:
                    continue
                columns, counts = table.counts.row(place)
                rows += [row] * len(columns)
                samples += [table.counts.samples[column] for column in columns.tolist()]
                reads += counts.tolist()
                lineages[row] = lineages[row] or table.lineages[place]
        batch = _with(batch, "lineage", pa.array(lineages, pa.string()))
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            some = batch.take(pa.array(rows[part], pa.int64()))
            some = _with(some, "sample", pa.array(samples[part], pa.string()))
            yield _with(some, "abundance", pa.array(reads[part], pa.int64()))

    def note_rejected(self, ids: Sequence[str]) -> None:
        """Remember features whose records are rejected for reasons of their own."""
        for name in ids:
            for table in self._tables:
                place = table.find(name, None)
                if place is not None:
                    table.refused.add(place)

    def check(self) -> None:
        """Refuse tables none of which has any of the records.

        Raises:
            InputError: No record was found in any table.
        """
        if self._examples and not any(table.record_of or table.refused for table in self._tables):
            raise no_match(self._tables[0].counts, self._examples)

    def summary(self) -> dict[str, int]:
        """Return how many features and reads have no partner.

        Keys: ``features_without_reads`` (records that no sample has), ``features_without_sequence`` and
        ``reads_without_sequence`` (of the tables), ``reads_rejected`` (of records that cannot be embedded).
        """
        found = dict.fromkeys(SUMMARY, 0)
        found["features_without_reads"] = self.without_reads
        for table in self._tables:
            lacking = table.without_sequence()
            found["features_without_sequence"] += len(lacking)
            found["reads_without_sequence"] += table.counts.reads_of(lacking)
            found["reads_rejected"] += table.counts.reads_of(table.refused.difference(table.record_of))
        return found

    def unmatched(self) -> list[str]:
        """Return a sentence for each table that has features without a sequence, or samples without reads."""
        sentences = []
        for table in self._tables:
            counts = table.counts
            lacking = table.without_sequence()
            if lacking:
                what = "1 feature has" if len(lacking) == 1 else f"{len(lacking):,} features have"
                example = max(lacking, key=lambda place: counts.reads_of([place]))
                sentences.append(
                    f"{counts.path}: {what} no sequence in the input and {counts.reads_of(lacking):,} reads, such as "
                    f"{shortened(counts.ids[example])!r}"
                )
            used = {column for place in table.record_of for column in counts.row(place)[0].tolist()}
            empty = [name for number, name in enumerate(counts.samples) if number not in used]
            if empty:
                what = "1 sample has" if len(empty) == 1 else f"{len(empty):,} samples have"
                sentences.append(f"{counts.path}: {what} no reads and no records in the run, such as {empty[0]!r}")
        return sentences


def _with(batch: Any, name: str, values: Any) -> Any:
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, batch.schema.field(place), values)
