"""Rows of many Parquet files laid end to end, read where they lie: row group by row group, few files open at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.parquet_files import parquet_errors, sound
from ednabed.errors import StoreError

# Columns of a part are held as a whole once so many of its row groups were asked for, as large batches do.
_HELD_FROM = 0.3


class Shelf:
    """What the parts of one collection share: how many are open, and how much of them is held in memory.

    One thread at a time reads them (``lock``): an opened Parquet file is not for several, and a page or a notebook may
    ask from several.

    Args:
        most_open: Files that are open at once; more would use up what systems allow a process.
        most_held: Bytes of columns that are held at once.
    """

    def __init__(self, most_open: int, most_held: int) -> None:
        self.lock = threading.RLock()
        self._most_open = most_open
        self._open: OrderedDict[PartFile, None] = OrderedDict()
        self._free = most_held

    def opened(self, part: PartFile) -> None:
        """Note that a part is open and in use; the one that was not used for longest is closed."""
        self._open[part] = None
        self._open.move_to_end(part)
        while len(self._open) > self._most_open:
            self._open.popitem(last=False)[0].close()

    def has_room(self, size: int) -> bool:
        """Tell whether so many bytes more may be held, and count them."""
        if size > self._free:
            return False
        self._free -= size
        return True


class PartFile:
    """A Parquet file, read when it is first needed.

    Args:
        path: The file.
        rows: Rows that it must have.
        shelf: What it shares with others.
        advice: What to do when it cannot be read, for messages.
        opened: Open it now, so that it can be read even when it was removed in the meantime.

    Raises:
        FileNotFoundError: It is absent, and was to be opened now.
    """

    def __init__(self, path: Path, rows: int, shelf: Shelf, advice: str, opened: bool = False) -> None:
        self._path = path
        self._rows = rows
        self._shelf = shelf
        self._advice = advice
        self._map: Any = None
        self._file: pq.ParquetFile | None = None
        self._held: dict[tuple[str, ...], pa.Table] = {}
        self._groups_read: dict[tuple[str, ...], int] = {}
        self._group_starts: npt.NDArray[np.int64] | None = None
        if opened:
            self._map = self._mapped()
            shelf.opened(self)

    @property
    def file(self) -> pq.ParquetFile:
        """The opened file. Raises StoreError when it is damaged or has other rows."""
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
                    f"{self._path.parent} was removed while it was read, because there is a newer build; run the same "
                    "command again"
                ) from error
            if rows != self._rows:
                raise self._damaged(f"{rows} rows, wanted {self._rows}")
            self._file = file
        self._shelf.opened(self)
        return self._file

    def close(self) -> None:
        """Close the file; it is opened again when it is needed. What is held stays."""
        self._file = None
        self._map = None

    def _mapped(self) -> Any:
        try:
            with parquet_errors(self._damaged):
                return pa.memory_map(str(self._path))
        except FileNotFoundError as error:
            # That of pyarrow has no name.
            raise FileNotFoundError(2, "absent", str(self._path)) from error

    @property
    def schema(self) -> pa.Schema:
        """Columns of the file."""
        with self._shelf.lock:
            return self.file.schema_arrow

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Return columns of all rows."""
        with self._shelf.lock, parquet_errors(self._damaged):
            return self._whole(sound(self.file.read(columns=list(columns))), columns)

    def _whole(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Return a table that was read, which lacks without a word the columns that the file does not have."""
        lacking = [name for name in columns if name not in table.column_names]
        if lacking:
            raise self._damaged(f"it has no column {lacking[0]!r}")
        return table

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return columns of the rows given, in that order, one row group in memory at a time.

        The letters (column ``sequence``) come as large_string: all that is asked for may be more than 2 GB.
        """
        with self._shelf.lock:
            return self._take(rows, columns)

    def _take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        key = tuple(columns)
        if key in self._held:
            return self._held[key].take(pa.array(rows))
        starts = self._starts()
        group_of = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(group_of, kind="stable")
        groups, firsts = np.unique(group_of[order], return_index=True)
        total = self.file.metadata.num_row_groups
        self._groups_read[key] = self._groups_read.get(key, 0) + len(groups)
        if total > 8 and self._groups_read[key] > _HELD_FROM * total and "sequence" not in key:
            whole = self.read(columns)
            if self._shelf.has_room(whole.nbytes):
                self._held[key] = whole.combine_chunks()
                return self._held[key].take(pa.array(rows))
        pieces = []
        with parquet_errors(self._damaged):
            for group, own in zip(groups.tolist(), np.split(order, firsts[1:]), strict=True):
                piece = self.file.read_row_group(group, columns=list(columns), use_threads=False)
                taken = self._whole(piece, columns).take(pa.array(rows[own] - starts[group]))
                pieces.append(_wide(sound(taken)))
        if not pieces:
            return _wide(pa.schema([self.schema.field(name) for name in columns]).empty_table())
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pa.concat_tables(pieces).take(pa.array(back))

    def _starts(self) -> npt.NDArray[np.int64]:
        """Return the row at which each row group begins, and the number of rows at the end."""
        if self._group_starts is None:
            metadata = self.file.metadata
            with parquet_errors(self._damaged):
                sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            starts = np.cumsum([0, *sizes], dtype=np.int64)
            if min(sizes, default=0) < 0 or starts[-1] != self._rows:
                raise self._damaged(f"its row groups have {starts[-1]} rows, wanted {self._rows}")
            self._group_starts = starts
        return self._group_starts

    def _damaged(self, reason: str) -> StoreError:
        return StoreError(f"{self._path} cannot be read ({reason}); {self._advice}")


def _wide(table: pa.Table) -> pa.Table:
    if "sequence" not in table.schema.names:
        return table
    place = table.schema.get_field_index("sequence")
    return table.set_column(place, "sequence", table.column("sequence").cast(pa.large_string()))


def gather(
    starts: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    take: Callable[[int, npt.NDArray[np.int64]], pa.Table],
    schema: pa.Schema,
) -> pa.Table:
    """Return rows of parts that are laid end to end, in the order asked for.

    Args:
        starts: Position at which each part begins, int64; ascending.
        positions: Rows wanted, int64.
        take: Gives rows of a part (its number, and rows counted within it), with the columns of ``schema``.
        schema: Columns of the outcome.
    """
    part_of = np.searchsorted(starts, positions, side="right") - 1
    order = np.argsort(part_of, kind="stable")
    numbers, firsts = np.unique(part_of[order], return_index=True)
    pieces = [schema.empty_table()]
    for number, own in zip(numbers.tolist(), np.split(order, firsts[1:]) if len(order) else [], strict=True):
        pieces.append(take(number, positions[own] - starts[number]))
    back = np.empty(len(positions), np.int64)
    back[order] = np.arange(len(positions))
    return pa.concat_tables(pieces).take(pa.array(back))
