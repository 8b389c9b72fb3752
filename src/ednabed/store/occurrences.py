"""Join counts to records: a run has one record for each sample in which a feature has reads.

A record is matched to its feature by its id, without annotations such as ``;size=12``, and also by its sequence if the
table names features by their sequences. The table takes precedence over reads and samples stated in the record itself.
Each feature belongs to one record, so no read is counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import Ints
from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.counts import CountTable, lineages_of, no_match_error
from ednabed.sequences.counts.table import sequence_id

Refusal = tuple[str, str, str, int]
"""Id, reason, source and record, as in ``rejected.tsv``."""

NOT_IN_TABLE = "is not in the count table"
NO_READS = "has no reads in any sample of the count table"
_EXAMPLES = 1_000
_ROWS = 8_192
"""Maximum rows per batch."""


@dataclass
class _Table:
    """A count table and the features found in it.

    Attributes:
        counts: The table.
        record_of: Feature to the source, record and sequence digest of the record that has its counts.
        lineages: The lineage of each feature, or None if the table does not state one.
        refused: Features whose record cannot be embedded.
    """

    counts: CountTable
    lineages: list[str | None]
    record_of: dict[int, tuple[str, int, str]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)

    def without_sequence(self) -> list[int]:
        """Return the features without a record."""
        matched = self.record_of.keys() | self.refused
        return [feature for feature in range(len(self.counts)) if feature not in matched]

    def find(self, name: str, sequence: str | None) -> int | None:
        """Return the feature of a record, or None if it has none."""
        feature = self.counts.find(name)
        if feature is None and sequence is not None and self.counts.named_by_sequence:
            feature = self.counts.row_of_id.get(sequence_id(sequence))
        return feature


class Occurrences:
    """The count tables of one or more inputs, and the features found in them.

    Args:
        tables: Count tables, at least one.
        keep_placeholders: See ``open_records``.

    Attributes:
        name: The file names of the tables.
        notes: Remarks about the tables for the user.
        without_reads: Number of records that occur in no sample.
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

    def split(self, batch: Any, limit: int | None = None) -> tuple[Any, list[Refusal]]:
        """Return the records that have reads, and the others with the reason for their rejection.

        Args:
            batch: Accepted records.
            limit: Stop after this number of records with reads and ignore the rest; None processes all.

        Raises:
            InputError: Two records with different sequences would get the counts of one feature.
        """
        ids, sequences, digests, sources, records = (
            batch.column(name).to_pylist() for name in ("id", "sequence", "digest", "source", "record")
        )
        self._examples += ids[: max(0, _EXAMPLES - len(self._examples))]
        self._transpose_if_needed(ids, sequences)
        kept: list[int] = []
        refusals: list[Refusal] = []
        for row, (name, sequence, digest, source, record) in enumerate(
            zip(ids, sequences, digests, sources, records, strict=True)
        ):
            if len(kept) == limit:
                break
            reason = self._claim(name, sequence, digest, source, record)
            if reason is None:
                kept.append(row)
            else:
                self.without_reads += reason in (NOT_IN_TABLE, NO_READS)
                refusals.append((name, reason, source, record))
        return batch.take(pa.array(kept, pa.int64())), refusals

    def _transpose_if_needed(self, ids: Sequence[str], sequences: Sequence[str]) -> None:
        """Transpose each table whose column names, instead of its row names, are ids of the records."""
        for number, table in enumerate(self._tables):
            counts = table.counts
            if (
                table.record_of
                or table.refused
                or any(table.find(*pair) is not None for pair in zip(ids, sequences, strict=True))
            ):
                continue
            transposed = None if set(counts.samples).isdisjoint(ids) else counts.transposed()
            if transposed is not None:
                self._tables[number] = _Table(transposed, [None] * len(transposed))
                self.notes.append(f"{counts.path}: its column names are sequence ids, so its rows are read as samples")

    def _claim(self, name: str, sequence: str, digest: str, source: str, record: int) -> str | None:
        """Bind the features of a record to it; return the reason why it gets no reads, or None if it gets some."""
        found = [(table, feature) for table in self._tables if (feature := table.find(name, sequence)) is not None]
        if not found:
            return NOT_IN_TABLE
        for table, feature in found:
            first_source, first_record, first_digest = table.record_of.setdefault(feature, (source, record, digest))
            if (first_source, first_record) == (source, record):
                continue
            if first_digest != digest and first_source != source:
                raise InputError(
                    f"{table.counts.path}: id {shortened(name)!r} has different sequences in {first_source} (record "
                    f"{first_record}) and {source} (record {record}), so it is unknown to which of them these counts "
                    "belong; embed each input with its own table in a separate run"
                )
            return f"the counts of this id belong to record {first_record} of {first_source}"
        return None if any(len(table.counts.row(feature)[0]) for table, feature in found) else NO_READS

    def expand(self, batch: Any) -> Iterator[Any]:
        """Yield records that have reads, with one row per sample, in the order of tables and samples.

        ``sample`` and ``abundance`` come from the tables; ``lineage`` comes from the record, or else from a table. A
        batch has at most ``_ROWS`` rows, and only these and the samples of one record are held in memory.
        """
        found: list[tuple[int, _Table, int, int]] = []
        lineages = batch.column("lineage").to_pylist()
        starts = np.cumsum([0, *(len(table.counts.samples) for table in self._tables)]).tolist()
        for row, (name, sequence) in enumerate(
            zip(batch.column("id").to_pylist(), batch.column("sequence").to_pylist(), strict=True)
        ):
            for start, table in zip(starts, self._tables, strict=False):
                feature = table.find(name, sequence)
                if feature is not None:
                    found.append((row, table, feature, start))
                    lineages[row] = lineages[row] or table.lineages[feature]
        batch = _with_column(batch, "lineage", pa.array(lineages, pa.string()))
        samples = pa.array([name for table in self._tables for name in table.counts.samples], pa.string())
        for rows, columns, counts in _pieces(found):
            part = _with_column(batch.take(pa.array(rows)), "sample", samples.take(pa.array(columns)))
            yield _with_column(part, "abundance", pa.array(counts))

    def note_rejected(self, ids: Sequence[str], sequences: Sequence[str | None]) -> None:
        """Record the features whose records are rejected for reasons unrelated to the table.

        Args:
            ids: Ids of the records.
            sequences: Their sequences as read, in the same order.
        """
        for name, sequence in zip(ids, sequences, strict=True):
            for table in self._tables:
                feature = table.find(name, sequence)
                if feature is not None:
                    table.refused.add(feature)

    def check(self) -> None:
        """Check that the tables contain at least one of the records.

        Raises:
            InputError: No record was found in any table.
        """
        if self._examples and not any(table.record_of or table.refused for table in self._tables):
            raise no_match_error(self._tables[0].counts, self._examples)

    def summary(self, *, complete: bool) -> dict[str, int]:
        """Return the numbers of unmatched features and reads.

        Args:
            complete: Whether the input was read to its end; otherwise the features without a sequence are unknown.

        Returns:
            ``features_without_reads`` (records that occur in no sample), ``reads_rejected`` (of records that cannot be
            embedded) and, for a complete input, ``features_without_sequence`` and ``reads_without_sequence`` (of the
            tables).
        """
        summary = {"features_without_reads": self.without_reads}
        if complete:
            unmatched = [(table.counts, table.without_sequence()) for table in self._tables]
            summary["features_without_sequence"] = sum(len(features) for _, features in unmatched)
            summary["reads_without_sequence"] = sum(counts.reads_of(features) for counts, features in unmatched)
        refused = [(table.counts, table.refused.difference(table.record_of)) for table in self._tables]
        return summary | {"reads_rejected": sum(counts.reads_of(features) for counts, features in refused)}

    def unmatched(self) -> list[str]:
        """Return a sentence for each table that has features without a sequence, or samples without reads."""
        sentences = []
        for table in self._tables:
            counts = table.counts
            features = table.without_sequence()
            if features:
                what = "1 feature has" if len(features) == 1 else f"{len(features):,} features have"
                example = max(features, key=lambda feature: counts.reads_of([feature]))
                sentences.append(
                    f"{counts.path}: {what} no sequence in the input and {counts.reads_of(features):,} reads, such as "
                    f"{shortened(counts.ids[example])!r}"
                )
            used = {column for feature in table.record_of for column in counts.row(feature)[0].tolist()}
            empty = [name for number, name in enumerate(counts.samples) if number not in used]
            if empty:
                what = "1 sample has" if len(empty) == 1 else f"{len(empty):,} samples have"
                sentences.append(f"{counts.path}: {what} no reads and no records in the run, such as {empty[0]!r}")
        return sentences


def check_shared_samples(counts: Sequence[Occurrences]) -> None:
    """Check that no sample has reads of the same sequence in two count tables, which would be counted twice.

    Args:
        counts: All count tables of a run, after the records have been read.

    Raises:
        InputError: Two tables have reads of the same sequence in the same sample.
    """
    tables = [table for occurrences in counts for table in occurrences._tables]
    tables_with_sample = Counter(name for table in tables for name in table.counts.samples)
    owners: dict[tuple[str, str], tuple[CountTable, int]] = {}
    for table in tables:
        current = table.counts
        shared = np.array([tables_with_sample[name] > 1 for name in current.samples], bool)
        if not shared.any():
            continue
        for feature, (_, _, digest) in table.record_of.items():
            columns, _ = current.row(feature)
            for column in columns[shared[columns]].tolist():
                sample = current.samples[column]
                owner, owner_feature = owners.setdefault((digest, sample), (current, feature))
                if owner is not current:
                    raise InputError(
                        f"{current.path}: has reads of {shortened(current.ids[feature])!r} in sample {sample!r}, and "
                        f"{owner.path} has reads of {shortened(owner.ids[owner_feature])!r}, the same sequence, in it; "
                        "give each sample in only one table, or rename the samples of one table if they are different"
                    )


def _pieces(found: Iterable[tuple[int, _Table, int, int]]) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield the row, sample number and reads of each occurrence, at most ``_ROWS`` at a time.

    Args:
        found: Row, table, feature of the table, and the offset to add to its sample numbers.
    """
    held: list[tuple[Ints, Ints, Ints]] = []
    size = 0
    for row, table, feature, start in found:
        columns, counts = table.counts.row(feature)
        held.append((np.repeat(np.int64(row), len(columns)), columns + start, counts))
        size += len(columns)
        while size >= _ROWS:
            rows, numbers, reads = map(np.concatenate, zip(*held, strict=True))
            yield rows[:_ROWS], numbers[:_ROWS], reads[:_ROWS]
            held, size = [(rows[_ROWS:], numbers[_ROWS:], reads[_ROWS:])], size - _ROWS
    if size:
        rows, numbers, reads = map(np.concatenate, zip(*held, strict=True))
        yield rows, numbers, reads


def _with_column(batch: Any, name: str, values: Any) -> Any:
    index = batch.schema.get_field_index(name)
    return batch.set_column(index, batch.schema.field(index), values)
