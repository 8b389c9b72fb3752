"""Select the distinct sequences of a collection to export, with their selected records, and read them in pieces.

Vectors are not read, and only one piece of records and bases is in memory at a time. The number of each selected row
and, with a filter, one byte per record of the collection stay in memory throughout, as do all feature ids (``ids``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import Ints
from ednabed.errors import StoreError, UsageError
from ednabed.reference.collection import Collection
from ednabed.search.choice import Choice, chosen_records, rows_with

# Row groups of bases have about a thousand rows.
_PIECE_ROWS = 4096
_PIECE_RECORDS = 50_000
Sample = tuple[str, str | None]
"""A dataset and the name of a sample in it, None if unknown: two datasets may use one name for different samples."""


@dataclass(frozen=True)
class Piece:
    """A batch of distinct sequences in row order, with their selected records.

    Attributes:
        rows: int64, shape (n,).
        starts: int64, shape (n + 1,): where the records of each sequence begin in ``records``; each has at least one.
        records: The requested columns, in order of (dataset, run_id, seq_idx) within a row; a column that is not in
            the collection is null.
        sequences: ``digest``, ``length`` and, if requested, ``sequence``, n rows; null where unknown.
        ids: Id of each sequence, unique in the collection: its digest or, if that is unknown, ``key.`` and the 16
            hexadecimal digits of its key.
    """

    rows: Ints
    starts: Ints
    records: pa.Table
    sequences: pa.Table
    ids: list[str]


class Selection:
    """Distinct sequences and records of a collection.

    Args:
        collection: The collection to export from.
        rows: Rows of the requested distinct sequences, int64, in any order, repeats count once; None selects all.
        choice: Selection of their records; None selects all. A sequence without a selected record is omitted.

    Attributes:
        collection: See above.
        rows: Rows of the exported sequences, int64, ascending.
        chosen: Whether each record of the collection is selected, bool; None if all are.

    Raises:
        UsageError: A row is not in the collection, or the filter is invalid.
        StoreError: A requested dataset or run does not exist, or nothing is left to export.
    """

    def __init__(self, collection: Collection, rows: Ints | None = None, choice: Choice | None = None) -> None:
        self.collection = collection
        selected = np.arange(collection.rows) if rows is None else np.unique(np.asarray(rows, np.int64))
        if len(selected) and not 0 <= selected[0] <= selected[-1] < collection.rows:
            wrong = selected[0] if selected[0] < 0 else selected[-1]
            raise UsageError(
                f"{collection.name} has {collection.rows:,} distinct sequences, numbered from 0; got {wrong}"
            )
        self.chosen = chosen_records(collection, choice or Choice())
        if self.chosen is not None:
            selected = selected[rows_with(collection, self.chosen)[selected]]
        self.rows: Ints = selected
        if not len(selected):
            raise StoreError(
                f"{collection.name} has no record that matches the selection, so there is nothing to export; "
                "select more records"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self, columns: Sequence[str], *, bases: bool = True) -> Iterator[Piece]:
        """Yield the sequences with their records, in row order.

        Args:
            columns: Columns of the records; columns that the collection lacks are null.
            bases: Whether to read the bases too.
        """
        collection = self.collection
        sizes = collection.starts[self.rows + 1] - collection.starts[self.rows]
        ends = np.cumsum(sizes)
        begin = 0
        while begin < len(self.rows):
            before = int(ends[begin - 1]) if begin else 0
            end = int(np.searchsorted(ends, before + _PIECE_RECORDS, side="right"))
            end = max(begin + 1, min(end, begin + _PIECE_ROWS))
            yield self._piece(self.rows[begin:end], columns, bases)
            begin = end

    def _piece(self, rows: Ints, columns: Sequence[str], bases: bool) -> Piece:
        collection = self.collection
        sizes = collection.starts[rows + 1] - collection.starts[rows]
        sequence_of = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(sequence_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positions = np.asarray(collection.positions[np.repeat(collection.starts[rows], sizes) + within], np.int64)
        if self.chosen is not None:
            kept = self.chosen[positions]
            sequence_of, positions = sequence_of[kept], positions[kept]
        starts = np.concatenate([[0], np.cumsum(np.bincount(sequence_of, minlength=len(rows)))]).astype(np.int64)
        present = [name for name in columns if name in collection.record_schema.names]
        records = collection.take_records(positions, present)
        for name in columns:
            if name not in present:
                records = records.append_column(name, pa.nulls(len(positions)))
        sequences = collection.take_sequences(rows, bases=bases)
        digests = sequences.column("digest").to_pylist()
        keys = collection.keys[rows].tolist()
        ids = [f"key.{key:016x}" if name is None else name for name, key in zip(digests, keys, strict=True)]
        return Piece(rows, starts, records.select(list(columns)), sequences, ids)

    def samples(self) -> dict[Sample, int | None]:
        """Return the samples of the selected records, in order of first appearance, with their total reads.

        The reads are the sum over all records of the sample in the collection, selected or not; None if one of them
        does not state its number of reads.
        """
        reads: dict[Sample, int | None] = {}
        present: dict[Sample, None] = {}
        selected = np.zeros(self.collection.rows, bool)
        selected[self.rows] = True
        columns = [c for c in ("dataset", "sample", "abundance") if c in self.collection.record_schema.names]
        for first, table in self.collection.scan_records(columns):
            kept = selected[table.column("row").to_numpy()]
            if self.chosen is not None:
                kept &= self.chosen[first : first + table.num_rows]
            nothing = [None] * table.num_rows
            datasets, samples, abundances = (
                table.column(name).to_pylist() if name in table.column_names else nothing
                for name in ("dataset", "sample", "abundance")
            )
            for dataset, sample, abundance, is_kept in zip(datasets, samples, abundances, kept.tolist(), strict=True):
                key = (str(dataset), sample)
                total = reads.get(key, 0)
                reads[key] = None if total is None or abundance is None else total + int(abundance)
                if is_kept:
                    present.setdefault(key)
        return {key: reads[key] for key in present}

    def with_complete_datasets(self) -> Selection:
        """Return all sequences and records of the datasets that the selected records belong to."""
        datasets = set(self.runs_of_datasets())
        if datasets == set(self.collection.part_datasets):
            return Selection(self.collection)
        return Selection(self.collection, None, Choice(datasets=tuple(datasets)))

    def runs(self) -> list[str]:
        """Return the runs that the selected records belong to (``dataset/run_id``)."""
        collection = self.collection
        positions = self._positions()
        parts = collection.parts_of(positions)
        _, first = np.unique(parts, return_index=True)
        labels = collection.take_records(positions[first], ["dataset", "run_id"])
        return [f"{row['dataset']}/{row['run_id']}" for row in labels.to_pylist()]

    def runs_of_datasets(self) -> dict[str, int]:
        """Return the number of runs of each dataset that the selected records belong to."""
        parts = np.unique(self.collection.parts_of(self._positions())).tolist()
        return dict(Counter(self.collection.part_datasets[part] for part in parts))

    def _positions(self) -> Ints:
        """Return the positions of the selected records."""
        collection = self.collection
        selected = np.zeros(collection.rows, bool)
        selected[self.rows] = True
        positions = np.asarray(collection.positions[np.repeat(selected, np.diff(collection.starts))], np.int64)
        if self.chosen is not None:
            positions = positions[self.chosen[positions]]
        return positions
