"""What is exported: some distinct sequences of a collection with those of their records that are chosen, in pieces.

Vectors are not read, and records and bases are held one piece at a time. What is held throughout is the number of each
selected row and, with a filter, one byte per record of the collection. Ids of features (``ids``) are held as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.errors import StoreError, UsageError
from ednabed.reference.collection import Collection
from ednabed.search.choice import Choice, chosen_records, rows_with

# Row groups of letters have about a thousand rows.
_PIECE_ROWS = 4096
_PIECE_RECORDS = 50_000
Sample = tuple[str, str | None]
"""A dataset and the name of a sample in it, None where unknown: two datasets may use one name for different samples."""


@dataclass(frozen=True)
class Piece:
    """Some distinct sequences in order of row, with their chosen records.

    Attributes:
        rows: int64, shape (n,).
        starts: int64, shape (n + 1,): where the records of each begin in ``records``; each has at least one.
        records: The columns asked for, in order of (dataset, run_id, seq_idx) within a row; one that is not in the
            collection is null.
        sequences: ``digest``, ``length`` and, where asked for, ``sequence``, n rows; null where unknown.
        ids: Id of each sequence, unique in the collection: its digest; where that is unknown, ``key.`` and the 16
            hexadecimal digits of its key.
    """

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    records: pa.Table
    sequences: pa.Table
    ids: list[str]


class Selection:
    """Distinct sequences and records of a collection.

    Args:
        collection: What is exported from.
        rows: Distinct sequences that are wanted, int64, any order, repeats count once; None takes all.
        choice: Which of their records are wanted; None takes all. A sequence without a wanted record is left out.

    Attributes:
        collection: See above.
        rows: Those that are exported, int64, ascending.

    Raises:
        UsageError: A row is not in the collection, or the filter is not one.
        StoreError: A dataset or run that was named is not there, or nothing is left to export.
    """

    def __init__(
        self, collection: Collection, rows: npt.NDArray[np.int64] | None = None, choice: Choice | None = None
    ) -> None:
        self.collection = collection
        wanted = np.arange(collection.rows) if rows is None else np.unique(np.asarray(rows, np.int64))
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < collection.rows:
            wrong = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise UsageError(f"{collection.name} has {collection.rows:,} distinct sequences, from 0 on; got {wrong}")
        self.chosen = chosen_records(collection, choice or Choice())
        if self.chosen is not None:
            wanted = wanted[rows_with(collection, self.chosen)[wanted]]
        self.rows: npt.NDArray[np.int64] = wanted
        if not len(wanted):
            raise StoreError(
                f"{collection.name} has no record of this choice, so there is nothing to export; choose less narrowly"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self, columns: Sequence[str], *, bases: bool = True) -> Iterator[Piece]:
        """Yield the sequences with their records, in order of row.

        Args:
            columns: Columns of the records; those that the collection lacks are null.
            bases: Whether the bases are read too.
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

    def _piece(self, rows: npt.NDArray[np.int64], columns: Sequence[str], bases: bool) -> Piece:
        collection = self.collection
        sizes = collection.starts[rows + 1] - collection.starts[rows]
        own = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positions = np.asarray(collection.positions[np.repeat(collection.starts[rows], sizes) + within], np.int64)
        if self.chosen is not None:
            kept = self.chosen[positions]
            own, positions = own[kept], positions[kept]
        starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=len(rows)))]).astype(np.int64)
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
        """Return the samples of the chosen records, in order of first appearance, with all their reads.

        The reads are those of every record of the sample in the collection, chosen or not; None where a record of it
        does not say how many it is.
        """
        reads: dict[Sample, int | None] = {}
        there: dict[Sample, None] = {}
        wanted = np.zeros(self.collection.rows, bool)
        wanted[self.rows] = True
        columns = [c for c in ("dataset", "sample", "abundance") if c in self.collection.record_schema.names]
        for first, table in self.collection.scan_records(columns):
            kept = wanted[table.column("row").to_numpy()]
            if self.chosen is not None:
                kept &= self.chosen[first : first + table.num_rows]
            nothing = [None] * table.num_rows
            datasets, samples, abundances = (
                table.column(name).to_pylist() if name in table.column_names else nothing
                for name in ("dataset", "sample", "abundance")
            )
            for dataset, sample, abundance, is_kept in zip(datasets, samples, abundances, kept.tolist(), strict=True):
                key = (str(dataset), sample)
                before = reads.get(key, 0)
                reads[key] = None if before is None or abundance is None else before + int(abundance)
                if is_kept:
                    there.setdefault(key)
        return {key: reads[key] for key in there}

    def of_whole_datasets(self) -> Selection:
        """Return all sequences and records of the datasets that the chosen records are of."""
        datasets = set(self.runs_of_datasets())
        if datasets == set(self.collection.part_datasets):
            return Selection(self.collection)
        return Selection(self.collection, None, Choice(datasets=tuple(datasets)))

    def runs(self) -> list[str]:
        """Return the runs that the chosen records are of (``dataset/run_id``)."""
        collection = self.collection
        positions = self._positions()
        parts = collection.parts_of(positions)
        _, first = np.unique(parts, return_index=True)
        labels = collection.take_records(positions[first], ["dataset", "run_id"])
        return [f"{row['dataset']}/{row['run_id']}" for row in labels.to_pylist()]

    def runs_of_datasets(self) -> dict[str, int]:
        """Return how many runs of each dataset the chosen records are of."""
        parts = np.unique(self.collection.parts_of(self._positions())).tolist()
        return dict(Counter(self.collection.part_datasets[part] for part in parts))

    def _positions(self) -> npt.NDArray[np.int64]:
        """Return the positions of the chosen records."""
        collection = self.collection
        wanted = np.zeros(collection.rows, bool)
        wanted[self.rows] = True
        positions = np.asarray(collection.positions[np.repeat(wanted, np.diff(collection.starts))], np.int64)
        if self.chosen is not None:
            positions = positions[self.chosen[positions]]
        return positions
