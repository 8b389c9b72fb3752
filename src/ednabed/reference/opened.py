"""An opened build of a reference: memory-mapped, and verified where asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.errors import StoreError
from ednabed.models.base import FloatArray
from ednabed.reference import index as indexes
from ednabed.reference import layout
from ednabed.reference.build import ROW_TYPE
from ednabed.reference.collection import Block, Collection
from ednabed.reference.layout import INDEX, POSITIONS, ROWS, VECTORS
from ednabed.reference.manifest import ReferenceManifest
from ednabed.reference.parts import SEQUENCES_SCHEMA, records_name, sequences_name
from ednabed.store.files import sha256_file
from ednabed.store.vectors import BLOCK_BYTES

log = logging.getLogger("ednabed")

# Records of a part are held as a whole once so many of its row groups were asked for, as large batches do.
_HELD_FROM = 0.3


class PartFile:
    """A Parquet file of a build, opened when it is first needed.

    Args:
        path: The file.
        rows: Rows that it must have.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path = path
        self._rows = rows
        self._file: pq.ParquetFile | None = None
        self._held: dict[tuple[str, ...], pa.Table] = {}
        self._groups_read: dict[tuple[str, ...], int] = {}
        self._group_starts: npt.NDArray[np.int64] | None = None

    @property
    def file(self) -> pq.ParquetFile:
        """The opened file. Raises StoreError when it is damaged or has other rows."""
        if self._file is None:
            try:
                self._file = pq.ParquetFile(self._path, memory_map=True)
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(error) from error
            if self._file.metadata.num_rows != self._rows:
                raise self._damaged(f"{self._file.metadata.num_rows} rows, wanted {self._rows}")
        return self._file

    @property
    def schema(self) -> pa.Schema:
        """Columns of the file."""
        return self.file.schema_arrow

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Return columns of all rows."""
        try:
            return self.file.read(columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return columns of the rows given, in that order, reading no more row groups than they lie in."""
        key = tuple(columns)
        if key in self._held:
            return self._held[key].take(pa.array(rows))
        groups, local = np.unique(np.searchsorted(self._starts(), rows, side="right") - 1, return_inverse=True)
        total = self.file.metadata.num_row_groups
        self._groups_read[key] = self._groups_read.get(key, 0) + len(groups)
        if total > 8 and self._groups_read[key] > _HELD_FROM * total and "sequence" not in key:
            self._held[key] = self.read(columns).combine_chunks()
            return self._held[key].take(pa.array(rows))
        try:
            table = self.file.read_row_groups(groups.tolist(), columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        sizes = np.diff(self._starts())[groups]
        within = rows - self._starts()[groups][local]
        return table.take(pa.array((np.cumsum(sizes) - sizes)[local] + within))

    def _starts(self) -> npt.NDArray[np.int64]:
        """Return the row at which each row group begins, and the number of rows at the end."""
        if self._group_starts is None:
            metadata = self.file.metadata
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._group_starts = np.cumsum([0, *sizes])
        return self._group_starts

    def _damaged(self, error: object) -> StoreError:
        return StoreError(f"{self._path} cannot be read ({error}); make it again with 'ednabed consolidate --rebuild'")


class Reference(Collection):
    """A build of a reference, opened by ``open_reference``.

    Attributes:
        folder: Folder of the reference.
        build: Folder of the build.
        manifest: What it holds.
        index_fault: Why its index cannot be used, so that search is exact; None where nothing is wrong.
    """

    def __init__(self, folder: Path, manifest: ReferenceManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.build = layout.build_folder(folder, manifest.build)
        self.name = str(folder)
        self.spec = manifest.spec
        self.rows = manifest.counts["sequences"]
        table = self._array(ROWS, ROW_TYPE, (self.rows + 1,))
        self.vectors: npt.NDArray[np.float32] = self._array(
            VECTORS, np.dtype("<f4"), (self.rows, manifest.spec.dimension)
        )
        self.positions = self._array(POSITIONS, np.dtype("<i8"), (manifest.counts["records"],))
        self.keys = np.ascontiguousarray(table["key"][:-1])
        self.norms = np.ascontiguousarray(table["norm"][:-1])
        self.starts = np.ascontiguousarray(table["first"])
        parts = manifest.runs
        self._records = [PartFile(self.build / records_name(i), part.records) for i, part in enumerate(parts)]
        self._sequences = [PartFile(self.build / sequences_name(i), part.sequences) for i, part in enumerate(parts)]
        self._first_record = np.cumsum([0] + [part.records for part in parts])
        self._first_row = np.array([part.first for part in parts] + [self.rows])
        self._schema: pa.Schema | None = None
        self._index: Any = None
        self.index_fault: str | None = None
        self._check_index()

    def _array(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        path = self.build / name
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}); make it again with 'ednabed consolidate --rebuild'"
            ) from error
        if array.dtype != dtype or array.shape != shape:
            raise StoreError(
                f"{path} has shape {array.shape} and type {array.dtype}, the metadata say {shape} and {dtype}; "
                "make it again with 'ednabed consolidate --rebuild'"
            )
        return array

    def _check_index(self) -> None:
        """Find out, without reading it, whether the index file is the one that was written."""
        entry = self.manifest.files.get(INDEX)
        path = self.build / INDEX
        if entry is None:
            return
        if not path.is_file():
            self.index_fault = f"{path} is absent"
        elif path.stat().st_size != entry["bytes"]:
            self.index_fault = f"{path} has {path.stat().st_size} bytes, wanted {entry['bytes']}"

    @property
    def record_schema(self) -> pa.Schema:
        """Columns of the records of all runs; one that has several types is text."""
        if self._schema is None:
            fields: dict[str, pa.Field] = {}
            for part in self._records:
                for field in part.schema:
                    known = fields.setdefault(field.name, field)
                    if known.type != field.type and not pa.types.is_null(field.type):
                        was_null = pa.types.is_null(known.type)
                        fields[field.name] = field if was_null else pa.field(field.name, pa.string())
            self._schema = pa.schema([*fields.values(), pa.field("source_file", pa.string())])
        return self._schema

    def blocks(self, allowed: npt.NDArray[np.bool_] | None = None) -> Iterator[Block]:
        """See ``Collection``. Reads through the memory map."""
        size = max(1, BLOCK_BYTES // (4 * self.spec.dimension))
        for first in range(0, self.rows, size):
            end = min(first + size, self.rows)
            if allowed is None or allowed[first:end].all():
                rows = np.arange(first, end)
                yield rows, self.vectors[first:end], self.norms[first:end]
            else:
                rows = first + np.flatnonzero(allowed[first:end])
                if len(rows):
                    yield rows, self.vectors[rows], self.norms[rows]

    def vectors_of(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """See ``Collection``."""
        return np.asarray(self.vectors[rows], np.float32)

    def candidates(
        self, queries: FloatArray, k: int, allowed: npt.NDArray[np.bool_] | None, exact: bool
    ) -> tuple[Any, Any, Any]:
        """See ``Collection``. By the index, unless exact search is asked for, rows are left out, or it is damaged."""
        facts = self.manifest.index
        if facts.kind == "flat" or exact or allowed is not None or self.index_fault is not None:
            return super().candidates(queries, k, allowed, exact)
        try:
            if self._index is None:
                self._index = indexes.open_index(self.build / INDEX, self.rows, self.spec.dimension, facts)
            return indexes.refine(self._index, queries, self.vectors, self.norms, k, facts.nprobe, facts.factor)
        except indexes.DamagedIndex as error:
            self.index_fault = str(error)
            return super().candidates(queries, k, allowed, exact)

    def take_records(self, positions: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """See ``Collection``."""
        part_of = np.searchsorted(self._first_record, positions, side="right") - 1
        pieces, order = [], []
        wanted = pa.schema([self.record_schema.field(name) for name in columns])
        for number in np.unique(part_of).tolist():
            here = np.flatnonzero(part_of == number)
            part = self._records[number]
            present = [name for name in columns if name in part.schema.names]
            table = part.take(positions[here] - self._first_record[number], present)
            pieces.append(self._complete(table, wanted, number))
            order.append(here)
        if not pieces:
            return wanted.empty_table()
        back = np.empty(len(positions), np.int64)
        back[np.concatenate(order)] = np.arange(len(positions))
        return pa.concat_tables(pieces).take(pa.array(back))

    def scan_records(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """See ``Collection``."""
        wanted = pa.schema([self.record_schema.field(name) for name in dict.fromkeys(["row", *columns])])
        for number, part in enumerate(self._records):
            present = [name for name in wanted.names if name in part.schema.names]
            yield int(self._first_record[number]), self._complete(part.read(present), wanted, number)

    def _complete(self, table: pa.Table, wanted: pa.Schema, number: int) -> pa.Table:
        """Add the columns that a part lacks, and bring types together."""
        part = self.manifest.runs[number]
        columns = []
        for field in wanted:
            if field.name == "source_file":
                columns.append(pa.repeat(f"{part.folder}/{part.source_file}", table.num_rows))
            elif field.name not in table.schema.names:
                columns.append(pa.nulls(table.num_rows, field.type))
            elif table.schema.field(field.name).type == field.type:
                columns.append(table.column(field.name))
            else:
                columns.append(_text(table.column(field.name)))
        return pa.table(columns, schema=wanted)

    def datasets_of(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """See ``Collection``."""
        part_of = np.searchsorted(self._first_record, positions, side="right") - 1
        return [self.manifest.runs[number].dataset for number in part_of.tolist()]

    def take_sequences(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """See ``Collection``."""
        part_of = np.searchsorted(self._first_row, rows, side="right") - 1
        pieces, order = [SEQUENCES_SCHEMA.empty_table()], []
        for number in np.unique(part_of).tolist():
            here = np.flatnonzero(part_of == number)
            found = self._sequences[number].take(rows[here] - self._first_row[number], SEQUENCES_SCHEMA.names)
            pieces.append(found)
            order.append(here)
        back = np.empty(len(rows), np.int64)
        if order:
            back[np.concatenate(order)] = np.arange(len(rows))
        return pa.concat_tables(pieces).take(pa.array(back))

    def verify(self) -> list[str]:
        """Recompute every checksum, and check that the files fit together; return the faults found.

        Reads the whole build. Checked beside the checksums: each record belongs to one row, and the records of a row
        are where its positions say; the index opens and has all rows.
        """
        faults = []
        for name, wanted in self.manifest.files.items():
            path = self.build / name
            if not path.is_file():
                faults.append(f"{path} is absent")
            elif path.stat().st_size != wanted["bytes"]:
                faults.append(f"{path} has {path.stat().st_size} bytes, wanted {wanted['bytes']}")
            elif sha256_file(path) != wanted["sha256"]:
                faults.append(f"{path} differs from its checksum")
        if faults:
            return faults
        owner = np.repeat(np.arange(self.rows), np.diff(self.starts))
        told = np.full(len(self.positions), -1, np.int64)
        told[self.positions] = owner
        for first, table in self.scan_records(["row"]):
            if not np.array_equal(table.column("row").to_numpy(), told[first : first + table.num_rows]):
                faults.append(f"{self.build}: the records from {first} on are not those of their vectors")
        if self.manifest.index.kind == "ivf":
            try:
                indexes.open_index(self.build / INDEX, self.rows, self.spec.dimension, self.manifest.index)
            except indexes.DamagedIndex as error:
                faults.append(str(error))
        return faults


def open_reference(folder: Path, name: str | None = None) -> Reference:
    """Open the current build of a reference, or the one called ``name``.

    Raises:
        StoreError: There is none, or it is damaged.
    """
    for attempt in range(3):
        manifest = layout.open_manifest(folder, name)
        try:
            return Reference(folder, manifest)
        except FileNotFoundError as error:
            # Another process may have put a new build in its place just now.
            if attempt == 2 or layout.open_manifest(folder, name).build == manifest.build:
                raise StoreError(
                    f"{error.filename} is absent; make the reference again with 'ednabed consolidate --rebuild'"
                ) from error
    raise AssertionError("unreachable")


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text."""
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        # Nested types have no cast to text.
        values = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
