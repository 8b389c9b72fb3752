"""Counts joined to records: one record of the run for each sample in which a feature has reads.

A record finds its feature by its id (annotations such as ``;size=12`` do not count), in a table whose features are
named by their sequences also by its sequence. The table decides: what the record itself says of reads and sample does
not matter. Each feature belongs to one record, so no read is counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ednabed.errors import InputError
from ednabed.sequences.columns import shortened
from ednabed.sequences.counts import CountTable, lineages_of, no_match
from ednabed.sequences.counts.table import Ints, sequence_id

Refusal = tuple[str, str, str, int]
"""Id, reason, source and record, as in ``rejected.tsv``."""

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


class Occurrences:
    """The count tables of some inputs, and what of them was found.

    Args:
        tables: Count tables, at least one.
        keep_placeholders: See ``open_records``.

    Attributes:
        name: The files of the tables.
        notes: What a person should know of the tables.
        without_reads: Records that no sample has.
    """

    def __init__(self, tables: Sequence[CountTable], *, keep_placeholders: bool = False) -> None:
        self._tables: list[_Table] = []
        self.name = ", ".join(table.path for table in tables)
        self.notes: list[str] = []
        for table in tables:
            read = lineages_of(table, keep_placeholders=keep_placeholders)
            self._tables.append(_Table(table, read.values))
            self.notes += [f"{table.path}: {note}" for note in table.notes]
            self.notes += read.notes
        self._examples: list[str] = []
        self.without_reads = 0

    def split(self, batch: Any, most: int | None = None) -> tuple[Any, list[Refusal]]:
        """Return the records that have reads, and the others with the reason.

        Args:
            batch: Accepted records.
            most: Stop behind this many records with reads, and return nothing of those after them; None takes all.

        Raises:
            InputError: Two records with different sequences would get the counts of one feature.
        """
        ids, sequences, digests, sources, records = (
            batch.column(name).to_pylist() for name in ("id", "sequence", "digest", "source", "record")
        )
        self._examples += ids[: max(0, _EXAMPLES - len(self._examples))]
        self._turn(ids, sequences)
        kept: list[int] = []
        refusals: list[Refusal] = []
        for row, (name, sequence, digest, source, record) in enumerate(
            zip(ids, sequences, digests, sources, records, strict=True)
        ):
            if len(kept) == most:
                break
            reason = self._claim(name, sequence, digest, source, record)
            if reason is None:
                kept.append(row)
            else:
                self.without_reads += reason in (NOT_IN_TABLE, NO_READS)
                refusals.append((name, reason, source, record))
        return batch.take(pa.array(kept, pa.int64())), refusals

    def _turn(self, ids: Sequence[str], sequences: Sequence[str]) -> None:
        """Exchange rows and columns of a table whose column names, and not its row names, are ids of the records."""
        for number, table in enumerate(self._tables):
            counts = table.counts
            if (
                table.record_of
                or table.refused
                or any(table.find(*pair) is not None for pair in zip(ids, sequences, strict=True))
            ):
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
        return None if any(len(table.counts.row(place)[0]) for table, place in found) else NO_READS

    def expand(self, batch: Any) -> Iterator[Any]:
        """Yield records that have reads with one row for each sample, in the order of tables and samples.

        ``sample`` and ``abundance`` are those of the tables; ``lineage`` is that of the record, else of a table.
        A batch has at most ``_ROWS`` rows, and no more is held than that and the samples of one record.
        """
        found: list[tuple[int, _Table, int, int]] = []
        lineages = batch.column("lineage").to_pylist()
        starts = np.cumsum([0, *(len(table.counts.samples) for table in self._tables)]).tolist()
        for row, (name, sequence) in enumerate(
            zip(batch.column("id").to_pylist(), batch.column("sequence").to_pylist(), strict=True)
        ):
            for start, table in zip(starts, self._tables, strict=False):
                place = table.find(name, sequence)
                if place is not None:
                    found.append((row, table, place, start))
                    lineages[row] = lineages[row] or table.lineages[place]
        batch = _with(batch, "lineage", pa.array(lineages, pa.string()))
        samples = pa.array([name for table in self._tables for name in table.counts.samples], pa.string())
        for rows, columns, counts in _pieces(found):
            part = _with(batch.take(pa.array(rows)), "sample", samples.take(pa.array(columns)))
            yield _with(part, "abundance", pa.array(counts))

    def note_rejected(self, ids: Sequence[str], sequences: Sequence[str | None]) -> None:
        """Remember features whose records are rejected for reasons of their own.

        Args:
            ids: Those of the records.
            sequences: Their sequences as read, in the same order.
        """
        for name, sequence in zip(ids, sequences, strict=True):
            for table in self._tables:
                place = table.find(name, sequence)
                if place is not None:
                    table.refused.add(place)

    def check(self) -> None:
        """Refuse tables none of which has any of the records.

        Raises:
            InputError: No record was found in any table.
        """
        if self._examples and not any(table.record_of or table.refused for table in self._tables):
            raise no_match(self._tables[0].counts, self._examples)

    def summary(self, *, whole: bool) -> dict[str, int]:
        """Return how many features and reads have no partner.

        Args:
            whole: Whether the input was read to its end; else it is unknown which features have no sequence.

        Returns:
            ``features_without_reads`` (records that no sample has), ``reads_rejected`` (of records that cannot be
            embedded) and, of a whole input, ``features_without_sequence`` and ``reads_without_sequence`` (of the
            tables).
        """
        found = {"features_without_reads": self.without_reads}
        if whole:
            lacking = [(table.counts, table.without_sequence()) for table in self._tables]
            found["features_without_sequence"] = sum(len(places) for _, places in lacking)
            found["reads_without_sequence"] = sum(counts.reads_of(places) for counts, places in lacking)
        refused = [(table.counts, table.refused.difference(table.record_of)) for table in self._tables]
        return found | {"reads_rejected": sum(counts.reads_of(places) for counts, places in refused)}

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


def check_shared_samples(counts: Sequence[Occurrences]) -> None:
    """Refuse a sample that has reads of one sequence in two count tables: they would be counted twice.

    Args:
        counts: All count tables of a run, once the records have been read.

    Raises:
        InputError: Two tables have reads of one sequence in one sample.
    """
    tables = [table for one in counts for table in one._tables]
    known = Counter(name for table in tables for name in table.counts.samples)
    owners: dict[tuple[str, str], tuple[CountTable, int]] = {}
    for table in tables:
        here = table.counts
        shared = np.array([known[name] > 1 for name in here.samples], bool)
        if not shared.any():
            continue
        for place, (_, _, digest) in table.record_of.items():
            columns, _ = here.row(place)
            for column in columns[shared[columns]].tolist():
                sample = here.samples[column]
                there, other = owners.setdefault((digest, sample), (here, place))
                if there is not here:
                    raise InputError(
                        f"{here.path}: has reads of {shortened(here.ids[place])!r} in sample {sample!r}, and so has "
                        f"{there.path} of {shortened(there.ids[other])!r}, the same sequence; give each sample in one "
                        "table, or rename the samples of one table where they are not the same"
                    )


def _pieces(found: Iterable[tuple[int, _Table, int, int]]) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield row, number of the sample and reads of each occurrence, at most ``_ROWS`` at once.

    Args:
        found: Row, table, feature of the table, and what to add to the numbers of its samples.
    """
    held: list[tuple[Ints, Ints, Ints]] = []
    size = 0
    for row, table, place, start in found:
        columns, counts = table.counts.row(place)
        held.append((np.repeat(np.int64(row), len(columns)), columns + start, counts))
        size += len(columns)
        while size >= _ROWS:
            rows, numbers, reads = map(np.concatenate, zip(*held, strict=True))
            yield rows[:_ROWS], numbers[:_ROWS], reads[:_ROWS]
            held, size = [(rows[_ROWS:], numbers[_ROWS:], reads[_ROWS:])], size - _ROWS
    if size:
        rows, numbers, reads = map(np.concatenate, zip(*held, strict=True))
        yield rows, numbers, reads


def _with(batch: Any, name: str, values: Any) -> Any:
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, batch.schema.field(place), values)
