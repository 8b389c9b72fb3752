"""Runs searched directly, as one collection: exact search without a reference.

Vectors and bases stay in the files of the runs and are read in pieces; the other columns of the records are held in
memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import Bools, FloatArray, Ints
from ednabed.base.topk import lengths
from ednabed.errors import StoreError
from ednabed.reference.collection import Block, Collection
from ednabed.reference.columns import fitted, free_names, union
from ednabed.reference.partfile import PartFile, Shelf, gather
from ednabed.reference.parts import keys_of, taken_sequences, unified_digests
from ednabed.reference.sources import Source, one_function
from ednabed.store.runs import RECORDS
from ednabed.store.vectors import VectorFile

log = logging.getLogger("ednabed")

_OPEN_PARTS = 50
_SHOWN = ("id", "length", "abundance", "sample", "lineage", "source")


class LooseRuns(Collection):
    """Runs with one embedding function, as a collection.

    Args:
        sources: The runs, at least one. Each distinct sequence has the vector of the first run that contains it.
        columns: Columns of the records to read (``digest`` among them) from every run that has them, also from one of
            an older tool. The lengths of the vectors are then not read, so that the collection cannot be searched. None
            reads everything from the runs of ednabed.

    Raises:
        StoreError: The runs have several functions, or one cannot be read.
    """

    def __init__(self, sources: Sequence[Source], columns: Sequence[str] | None = None) -> None:
        one_function(sources, None, "build a reference from the runs of one with 'ednabed consolidate --version V'")
        self.sources = sorted(sources, key=lambda s: (s.dataset, s.run_id, s.identity))
        self.name = self.sources[0].label if len(self.sources) == 1 else f"{len(self.sources)} runs"
        self.spec = self.sources[0].spec
        for source in self.sources:
            log.debug("reading run %s", source.label)
        files = [source.run.vectors() for source in self.sources]
        self._tables = [_records(s, f, columns) for s, f in zip(self.sources, files, strict=True)]
        self._first = np.cumsum([0] + [file.rows for file in files])
        filled = [
            unified_digests(table.column("digest").combine_chunks(), f"{source.identity}:")
            for table, source in zip(self._tables, self.sources, strict=True)
        ]
        coded = pa.concat_arrays(filled).dictionary_encode()
        row_of = coded.indices.to_numpy().astype(np.int64)
        self.rows = len(coded.dictionary)
        # Rows are numbered in order of first occurrence, so the first record of a row is where its number first occurs.
        _, self._record_of = np.unique(row_of, return_index=True)
        self._row_of = row_of
        self.positions = np.argsort(row_of, kind="stable").astype(np.int64)
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=self.rows))]).astype(np.int64)
        self.keys = keys_of(coded.dictionary.to_pylist())
        if columns is None:
            self.norms = np.concatenate([norms for _, _, norms in self._read()] or [np.zeros(0, np.float32)])
            unusable = int((~np.isfinite(self.norms) | (self.norms == 0)).sum())
            if unusable:
                log.warning("%s: %d vectors are not finite or all zeros, so they are never found", self.name, unusable)
        shelf = Shelf(_OPEN_PARTS, 0)
        self._sequences = [
            None
            if source.run.manifest is None
            else PartFile(source.run.folder / RECORDS, file.rows, shelf, "embed the input again")
            for source, file in zip(self.sources, files, strict=True)
        ]

    def _read(self) -> Iterator[Block]:
        """Yield the vectors of all rows block by block, with their lengths."""
        for number, source in enumerate(self.sources):
            first = int(self._first[number])
            for block in source.run.blocks():
                rows = self._rows_between(first, first + len(block))
                vectors = block[self._record_of[rows] - first]
                yield rows, vectors, lengths(vectors)
                first += len(block)

    def _rows_between(self, begin: int, end: int) -> Ints:
        """Return the rows, consecutive, whose first record is at a position from ``begin`` to before ``end``."""
        first, last = np.searchsorted(self._record_of, [begin, end])
        return np.arange(first, last)

    @property
    def record_schema(self) -> pa.Schema:
        """See ``Collection``."""
        fields = union(table.schema for table in self._tables)
        return pa.schema([field for name, field in fields.items() if name != "digest"])

    def blocks(self, allowed: Bools | None = None) -> Iterator[Block]:
        """See ``Collection``."""
        for rows, vectors, norms in self._read():
            if allowed is None:
                yield rows, vectors, norms
            elif allowed[rows].any():
                kept = allowed[rows]
                yield rows[kept], vectors[kept], norms[kept]

    def vectors_of(self, rows: Ints) -> FloatArray:
        """See ``Collection``."""
        out = np.empty((len(rows), self.spec.dimension), np.float32)
        records = self._record_of[rows]
        part_of = np.searchsorted(self._first, records, side="right") - 1
        for number in np.unique(part_of).tolist():
            selected = np.flatnonzero(part_of == number)
            out[selected] = self.sources[number].run.take(records[selected] - self._first[number])
        return out

    def take_records(self, positions: Ints, columns: Sequence[str]) -> pa.Table:
        """See ``Collection``."""
        schema = pa.schema([self.record_schema.field(name) for name in columns])

        def take(number: int, rows: Ints) -> pa.Table:
            return fitted(self._tables[number].take(pa.array(rows)), schema)

        return gather(self._first, positions, take, schema)

    def scan_records(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """See ``Collection``."""
        schema = pa.schema([self.record_schema.field(name) for name in columns if name != "row"])
        for number, table in enumerate(self._tables):
            first = int(self._first[number])
            rows = pa.array(self._row_of[first : first + table.num_rows])
            yield first, fitted(table, schema).append_column("row", rows)

    def parts_of(self, positions: Ints) -> Ints:
        """See ``Collection``."""
        return np.asarray(np.searchsorted(self._first, positions, side="right") - 1, np.int64)

    @property
    def part_datasets(self) -> list[str]:
        """See ``Collection``."""
        return [source.dataset for source in self.sources]

    def take_sequences(self, rows: Ints, *, bases: bool = True) -> pa.Table:
        """See ``Collection``. Reads only the row groups that contain the rows."""
        schema = taken_sequences(bases)

        def take(number: int, part_rows: Ints) -> pa.Table:
            part = self._sequences[number]
            if part is None:
                return pa.table([pa.nulls(len(part_rows), field.type) for field in schema], schema=schema)
            return fitted(part.take(part_rows, schema.names), schema)

        return gather(self._first, self._record_of[rows], take, schema)


def _records(source: Source, file: VectorFile, selected: Sequence[str] | None) -> pa.Table:
    """Return the records of a run without their bases, with dataset, run_id, seq_idx, source_file and digest."""
    n = file.rows
    if source.run.manifest is None and selected is None:
        columns = {"digest": pa.nulls(n, pa.string())} | {name: pa.nulls(n) for name in _SHOWN}
    else:
        names = source.run.record_schema.names
        table = source.run.load_records([name for name in names if name != "sequence" and name in (selected or names)])
        if table.num_rows != n:
            raise StoreError(
                f"{source.run.folder} has {n} vectors but {table.num_rows} records; "
                f"'ednabed runs verify' shows which file is damaged"
            )
        columns = dict(zip(free_names(table.schema.names), table.columns, strict=True))
    added = {
        "dataset": pa.repeat(source.dataset, n),
        "run_id": pa.repeat(source.run_id, n),
        "seq_idx": pa.array(np.arange(n)),
        "source_file": pa.repeat(f"{source.folder}/{file.path.name}", n),
    }
    return pa.table({**added, **columns})
