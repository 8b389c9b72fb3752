"""Read rows of many concatenated Parquet files in place: one row group at a time, with few files open at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.arrays import Ints
from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.errors import StoreError

# Columns of a part are kept in memory once this share of its row groups was requested, as by large batches.
_CACHE_FROM = 0.3


class Shelf:
    """The limits that the parts of one collection share: open files, and bytes cached in memory.

    Only one thread at a time reads the parts (``lock``), because an open Parquet file is not thread-safe, and a web
    page or a notebook may read from several threads.

    Args:
        max_open: Maximum number of open files; more would exceed the limit that systems set for a process.
        max_cached: Maximum bytes of cached columns.
    """

    def __init__(self, max_open: int, max_cached: int) -> None:
        self.lock = threading.RLock()
        self._max_open = max_open
        self._open: OrderedDict[PartFile, None] = OrderedDict()
        self._free = max_cached

    def opened(self, part: PartFile) -> None:
        """Record that a part is open and in use; the least recently used ones are closed."""
        self._open[part] = None
        self._open.move_to_end(part)
        while len(self._open) > self._max_open:
            self._open.popitem(last=False)[0].close()

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes of the cache and return True, or return False if there is not enough room."""
        if size > self._free:
            return False
        self._free -= size
        return True


class PartFile:
    """A Parquet file, read when it is first needed.

    Args:
        path: The file.
        rows: Expected number of rows.
        shelf: Limits that it shares with other parts.
        advice: Next step in messages about a file that cannot be read.
        opened: Open the file now, so that it can be read even if it is removed in the meantime.

    Raises:
        FileNotFoundError: The file does not exist, and ``opened`` is True.
    """

    def __init__(self, path: Path, rows: int, shelf: Shelf, advice: str, opened: bool = False) -> None:
        self._path = path
        self._rows = rows
        self._shelf = shelf
        self._advice = advice
        self._map: Any = None
        self._file: pq.ParquetFile | None = None
        self._cached: dict[tuple[str, ...], pa.Table] = {}
        self._groups_read: dict[tuple[str, ...], int] = {}
        self._group_starts: Ints | None = None
        if opened:
            self._map = self._mapped()
            shelf.opened(self)

    @property
    def file(self) -> pq.ParquetFile:
        """The opened file. Raises StoreError if it is damaged or has the wrong number of rows."""
        if self._file is None:
            try:
                with parquet_errors(self._damaged):
                    self._map = self._mapped() if self._map is None else self._map
                    file = pq.ParquetFile(self._map)
                    rows, _ = file.metadata.num_rows, file.schema_arrow.names
            except FileNotFoundError as error:
                if self._path.parent.is_dir():
                    raise self._damaged(str(error)) from error
                raise StoreError(
                    f"{self._path.parent} was removed while it was being read, because there is a newer build; run the "
                    "same command again"
                ) from error
            if rows != self._rows:
                raise self._damaged(f"{rows} rows, expected {self._rows}")
            self._file = file
        self._shelf.opened(self)
        return self._file

    def close(self) -> None:
        """Close the file; it is opened again when it is needed. Cached columns are kept."""
        self._file = None
        self._map = None

    def _mapped(self) -> Any:
        try:
            with parquet_errors(self._damaged):
                return pa.memory_map(str(self._path))
        except FileNotFoundError as error:
            # The error of pyarrow has no file name.
            raise FileNotFoundError(2, "missing", str(self._path)) from error

    @property
    def schema(self) -> pa.Schema:
        """Columns of the file."""
        with self._shelf.lock:
            return self.file.schema_arrow

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Return columns of all rows."""
        with self._shelf.lock, parquet_errors(self._damaged):
            return self._complete(checked_text(self.file.read(columns=list(columns))), columns)

    def _complete(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Return a table after checking that it has all columns, because pyarrow silently omits missing ones."""
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise self._damaged(f"it has no column {missing[0]!r}")
        return table

    def take(self, rows: Ints, columns: Sequence[str]) -> pa.Table:
        """Return columns of the given rows, in that order, with one row group in memory at a time.

        The bases (column ``sequence``) are large_string, because the result may exceed 2 GB.
        """
        with self._shelf.lock:
            return self._take(rows, columns)

    def _take(self, rows: Ints, columns: Sequence[str]) -> pa.Table:
        key = tuple(columns)
        if key in self._cached:
            return self._cached[key].take(pa.array(rows))
        starts = self._starts()
        group_of = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(group_of, kind="stable")
        groups, firsts = np.unique(group_of[order], return_index=True)
        total = self.file.metadata.num_row_groups
        self._groups_read[key] = self._groups_read.get(key, 0) + len(groups)
        if total > 8 and self._groups_read[key] > _CACHE_FROM * total and "sequence" not in key:
            table = self.read(columns)
            if self._shelf.reserve(table.nbytes):
                self._cached[key] = table.combine_chunks()
                return self._cached[key].take(pa.array(rows))
        pieces = []
        with parquet_errors(self._damaged):
            for group, selected in zip(groups.tolist(), np.split(order, firsts[1:]), strict=True):
                piece = self.file.read_row_group(group, columns=list(columns), use_threads=False)
                taken = self._complete(piece, columns).take(pa.array(rows[selected] - starts[group]))
                pieces.append(_large_sequences(checked_text(taken)))
        if not pieces:
            return _large_sequences(pa.schema([self.schema.field(name) for name in columns]).empty_table())
        inverse = np.empty(len(rows), np.int64)
        inverse[order] = np.arange(len(rows))
        return pa.concat_tables(pieces).take(pa.array(inverse))

    def _starts(self) -> Ints:
        """Return the row at which each row group begins, and the number of rows at the end."""
        if self._group_starts is None:
            metadata = self.file.metadata
            with parquet_errors(self._damaged):
                sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            starts = np.cumsum([0, *sizes], dtype=np.int64)
            if min(sizes, default=0) < 0 or starts[-1] != self._rows:
                raise self._damaged(f"its row groups have {starts[-1]} rows, expected {self._rows}")
            self._group_starts = starts
        return self._group_starts

    def _damaged(self, reason: str) -> StoreError:
        return StoreError(f"{self._path} cannot be read ({reason}); {self._advice}")


def _large_sequences(table: pa.Table) -> pa.Table:
    if "sequence" not in table.schema.names:
        return table
    index = table.schema.get_field_index("sequence")
    return table.set_column(index, "sequence", table.column("sequence").cast(pa.large_string()))


def gather(
    starts: Ints,
    positions: Ints,
    take: Callable[[int, Ints], pa.Table],
    schema: pa.Schema,
) -> pa.Table:
    """Return rows of concatenated parts, in the given order.

    Args:
        starts: Position at which each part begins, int64; ascending.
        positions: Rows to return, int64.
        take: Returns rows of a part (its number, and rows counted within it), with the columns of ``schema``.
        schema: Columns of the result.
    """
    part_of = np.searchsorted(starts, positions, side="right") - 1
    order = np.argsort(part_of, kind="stable")
    numbers, firsts = np.unique(part_of[order], return_index=True)
    pieces = [schema.empty_table()]
    for number, selected in zip(numbers.tolist(), np.split(order, firsts[1:]) if len(order) else [], strict=True):
        pieces.append(take(number, positions[selected] - starts[number]))
    inverse = np.empty(len(positions), np.int64)
    inverse[order] = np.arange(len(positions))
    return pa.concat_tables(pieces).take(pa.array(inverse))
