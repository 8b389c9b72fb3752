"""An opened build of a reference: memory-mapped, and verified on request."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import Bools, FloatArray, Ints
from ednabed.base.files import file_fault, sha256_file
from ednabed.base.topk import lengths
from ednabed.errors import StoreError
from ednabed.reference import index as indexes
from ednabed.reference import layout
from ednabed.reference.collection import Block, Collection
from ednabed.reference.columns import fitted, union
from ednabed.reference.layout import INDEX, POSITIONS, ROW_TYPE, ROWS, VECTORS
from ednabed.reference.manifest import METADATA, ReferenceManifest
from ednabed.reference.partfile import PartFile, Shelf, gather
from ednabed.reference.parts import keys_of, records_name, sequences_name, taken_sequences, unified_digests
from ednabed.store.vectors import BLOCK_BYTES

log = logging.getLogger("ednabed")

# The files of up to this many parts are opened at once, so that they can still be read after another process has
# replaced this build.
_OPEN_PARTS = 50
_CACHE_BYTES = 500_000_000
_ADVICE = "rebuild the reference with 'ednabed consolidate --rebuild'"
_TRIES = 100


class Reference(Collection):
    """A build of a reference, opened by ``open_reference``.

    Attributes:
        folder: Folder of the reference.
        build: Folder of the build.
        manifest: Manifest of the build.
        index_fault: Why the index cannot be used, so that search is exact; None if nothing is wrong.

    Raises:
        StoreError: A file of the build is damaged or missing.
    """

    def __init__(self, folder: Path, manifest: ReferenceManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.build = layout.build_folder(folder, manifest.build)
        self.name = str(folder)
        self.spec = manifest.spec
        self.rows = manifest.counts["sequences"]
        table = self._array(ROWS, ROW_TYPE, (self.rows + 1,))
        self.vectors: FloatArray = self._array(VECTORS, np.dtype("<f4"), (self.rows, manifest.spec.dimension))
        self.positions = self._array(POSITIONS, np.dtype("<i8"), (manifest.counts["records"],))
        self.keys = np.ascontiguousarray(table["key"][:-1])
        self.norms = np.ascontiguousarray(table["norm"][:-1])
        self.starts = np.ascontiguousarray(table["first"])
        if self.starts[0] != 0 or self.starts[-1] != len(self.positions) or (np.diff(self.starts) < 1).any():
            raise StoreError(f"{self.build / ROWS} is damaged: its rows do not divide up the records; {_ADVICE}")
        parts = manifest.runs
        early = len(parts) <= _OPEN_PARTS
        shelf = Shelf(2 * _OPEN_PARTS, _CACHE_BYTES)
        self._records = [
            PartFile(self.build / records_name(i), part.records, shelf, _ADVICE, early) for i, part in enumerate(parts)
        ]
        self._sequences = [
            PartFile(self.build / sequences_name(i), part.sequences, shelf, _ADVICE, early)
            for i, part in enumerate(parts)
        ]
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
        except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
            # A damaged header makes numpy raise the last two.
            raise StoreError(f"{path} cannot be read ({error}); {_ADVICE}") from error
        expected = self.manifest.files.get(name, {}).get("seal")
        if expected is not None and indexes.seal(path, layout.HEADER_BYTES) != expected:
            raise StoreError(f"{path} is damaged; {_ADVICE}")
        if array.dtype != dtype or array.shape != shape:
            raise StoreError(
                f"{path} has shape {array.shape} and type {array.dtype}, the metadata state {shape} and {dtype}; "
                f"{_ADVICE}"
            )
        return array

    def _check_index(self) -> None:
        """Check the existence and size of the index file without reading it, and set ``index_fault``."""
        entry = self.manifest.files.get(INDEX)
        path = self.build / INDEX
        if entry is None:
            return
        if not path.is_file():
            if not self.build.is_dir():
                raise FileNotFoundError(2, "removed while it was opened", str(self.build))
            self.index_fault = f"{path} is missing"
        elif path.stat().st_size != entry["bytes"]:
            self.index_fault = f"{path} has {path.stat().st_size} bytes, expected {entry['bytes']}"

    @property
    def record_schema(self) -> pa.Schema:
        """Columns of the records of all runs; see ``columns.union`` for columns with several types."""
        if self._schema is None:
            fields = union(part.schema for part in self._records)
            self._schema = pa.schema([*fields.values(), pa.field("source_file", pa.string())])
        return self._schema

    def blocks(self, allowed: Bools | None = None) -> Iterator[Block]:
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

    def vectors_of(self, rows: Ints) -> FloatArray:
        """See ``Collection``."""
        return np.asarray(self.vectors[rows], np.float32)

    def candidates(self, queries: FloatArray, k: int, allowed: Bools | None, exact: bool) -> tuple[Any, Any, Any]:
        """See ``Collection``. Uses the index unless exact search is requested, rows are excluded, or it is damaged.

        If the index would have to return a large share of all rows, exact search is used because it is faster. A query
        for which the index returns too few rows is searched exactly.
        """
        facts = self.manifest.index
        by_index = facts.kind == "ivf" and not exact and allowed is None and self.index_fault is None
        if not by_index or k * facts.factor > self.rows // 4:
            return super().candidates(queries, k, allowed, exact)
        try:
            if self._index is None:
                self._index = indexes.open_index(self.build / INDEX, self.rows, self.spec.dimension, facts)
            found = indexes.refine(self._index, queries, self.vectors, self.norms, k, facts.nprobe, facts.factor)
        except indexes.DamagedIndex as error:
            self.index_fault = str(error)
            return super().candidates(queries, k, allowed, exact)
        few = np.flatnonzero(np.bincount(found[0], minlength=len(queries)) < k)
        if not len(few):
            return found
        kept = ~np.isin(found[0], few)
        query, row, score = super().candidates(queries[few], k, allowed, exact)
        return (
            np.concatenate([found[0][kept], few[query]]),
            np.concatenate([found[1][kept], row]),
            np.concatenate([found[2][kept], score]),
        )

    def take_records(self, positions: Ints, columns: Sequence[str]) -> pa.Table:
        """See ``Collection``."""
        schema = pa.schema([self.record_schema.field(name) for name in columns])

        def take(number: int, rows: Ints) -> pa.Table:
            part = self._records[number]
            present = [name for name in columns if name in part.schema.names]
            return self._complete(part.take(rows, present), schema, number)

        return gather(self._first_record, positions, take, schema)

    def scan_records(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """See ``Collection``."""
        schema = pa.schema([self.record_schema.field(name) for name in dict.fromkeys(["row", *columns])])
        for number, part in enumerate(self._records):
            present = [name for name in schema.names if name in part.schema.names]
            yield int(self._first_record[number]), self._complete(part.read(present), schema, number)

    def _complete(self, table: pa.Table, schema: pa.Schema, number: int) -> pa.Table:
        """Add the columns that a part lacks, and unify the types."""
        if "source_file" in schema.names:
            part = self.manifest.runs[number]
            source_file = pa.repeat(f"{part.folder}/{part.source_file}", table.num_rows)
            table = table.append_column("source_file", source_file)
        return fitted(table, schema)

    def parts_of(self, positions: Ints) -> Ints:
        """See ``Collection``."""
        return np.asarray(np.searchsorted(self._first_record, positions, side="right") - 1, np.int64)

    @property
    def part_datasets(self) -> list[str]:
        """See ``Collection``."""
        return [part.dataset for part in self.manifest.runs]

    def take_sequences(self, rows: Ints, *, bases: bool = True) -> pa.Table:
        """See ``Collection``."""
        schema = taken_sequences(bases)

        def take(number: int, part_rows: Ints) -> pa.Table:
            return self._sequences[number].take(part_rows, schema.names)

        return gather(self._first_row, rows, take, schema)

    def verify(self) -> list[str]:
        """Recompute every checksum, and check that the files agree with each other; return the faults found.

        Reads the complete build. Besides the checksums, this checks that each record belongs to one row and agrees
        with the positions of that row, that lengths and keys match the vectors and digests, and that the index can be
        opened and has all rows.
        """
        faults = []
        try:
            if ReferenceManifest.read(self.build) != self.manifest:
                faults.append(f"{self.build / METADATA} does not belong to build {self.manifest.build}")
        except StoreError as error:
            faults.append(str(error))
        for name, entry in self.manifest.files.items():
            fault = file_fault(self.build / name, entry)
            if fault is not None:
                faults.append(f"{self.build / name} {fault}")
        return [*faults, *self._link_faults()] or self._disagreements()

    def _link_faults(self) -> Iterator[str]:
        """Yield the faults of files that should be hard links to files of the current build but are not."""
        try:
            if ReferenceManifest.read(self.folder).build != self.manifest.build:
                return
        except StoreError as error:
            yield str(error)
            return
        for name in (VECTORS, INDEX):
            path, source = self.folder / name, self.build / name
            if not path.exists() or (source.exists() and path.samefile(source)):
                continue
            if name not in self.manifest.files or sha256_file(path) != self.manifest.files[name]["sha256"]:
                yield f"{path} does not belong to build {self.manifest.build}; delete it, ednabed does not read it"

    def _disagreements(self) -> list[str]:
        """Return where files that match their checksums contradict each other."""
        faults = []
        counts = np.diff(self.starts)
        ordered = np.sort(self.positions)
        if self.starts[0] != 0 or counts.min(initial=1) < 1 or counts.sum() != len(ordered):
            return [f"{self.build / ROWS}: its rows do not divide up the {len(ordered)} records"]
        if not np.array_equal(ordered, np.arange(len(ordered))):
            return [f"{self.build / POSITIONS}: not every record is in it exactly once"]
        expected = np.empty(len(ordered), np.int64)
        expected[self.positions] = np.repeat(np.arange(self.rows), counts)
        for first, table in self.scan_records(["row"]):
            if not np.array_equal(table.column("row").to_numpy(), expected[first : first + table.num_rows]):
                faults.append(f"{self.build}: the records from {first} on do not belong to their vectors")
        for rows, vectors, norms in self.blocks():
            if not np.allclose(lengths(vectors), norms, rtol=1e-6):
                faults.append(f"{self.build / VECTORS}: the vectors from {rows[0]} on do not have the stored lengths")
        for part, file in zip(self.manifest.runs, self._sequences, strict=True):
            digests = file.read(["digest"]).column("digest").combine_chunks()
            names = unified_digests(digests, f"{part.identity}:").to_pylist()
            if not np.array_equal(keys_of(names), self.keys[part.first : part.first + part.sequences]):
                faults.append(f"{self.build}: the sequences of run {part.label} do not belong to their vectors")
        if self.manifest.index.kind == "ivf":
            try:
                indexes.open_index(self.build / INDEX, self.rows, self.spec.dimension, self.manifest.index)
            except indexes.DamagedIndex as error:
                faults.append(str(error))
        return faults


def open_build(folder: Path, build: str) -> Reference:
    """Open a build by the name of its folder, whether it is current, named or the previous one.

    Raises:
        StoreError: The build does not exist or is damaged.
    """
    try:
        return Reference(folder, layout.read_build(folder, build))
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename} is missing; restore it from a backup") from error


def open_reference(folder: Path, name: str | None = None) -> Reference:
    """Open the current build of a reference, or the build called ``name``.

    Raises:
        StoreError: The build does not exist or is damaged.
    """
    for attempt in range(_TRIES):
        manifest = layout.open_manifest(folder, name)
        try:
            reference = Reference(folder, manifest)
        except FileNotFoundError as error:
            # Another process may have replaced the build just now.
            if attempt == _TRIES - 1 or layout.open_manifest(folder, name).build == manifest.build:
                raise StoreError(f"{error.filename} is missing; {_ADVICE}") from error
        else:
            log.debug("reading reference %s, build %s, %s sequences", folder, manifest.build, f"{reference.rows:,}")
            return reference
    raise AssertionError("unreachable")
