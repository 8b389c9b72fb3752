"""Collect the rows of a count table as they are read: check names, parse counts, drop zeros."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ednabed.base.arrays import Ints
from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.numbers import parse_count

_FRACTION = re.compile(r"[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9.]+[eE]-[0-9]+")
_CACHED = 500_000
"""Maximum number of distinct count texts that are cached: most cells of a table are 0, and most others are small."""


class _Parsed(dict[str, int]):
    """Maps the text of a count to its value, -1 if it is not a count; each distinct text is parsed once."""

    def __missing__(self, cell: str) -> int:
        if len(self) > _CACHED:
            self.clear()
        value = parse_count(cell)
        self[cell] = -1 if value is None else value
        return self[cell]


class Builder:
    """Build a count table row by row.

    Args:
        path: The file, for messages.
        columns: Names of the columns of counts, each once.
        row_is: The type of a row: ``feature`` or ``sample``.
        column_is: The type of a column, likewise.

    Raises:
        InputError: There is no column, or two columns have the same name.
    """

    def __init__(
        self, path: str, columns: Sequence[str], *, row_is: str = "feature", column_is: str = "sample"
    ) -> None:
        self.path = path
        self._names = tuple(columns)
        self._row_is, self._column_is = row_is, column_is
        self._row_by_id: dict[str, int] = {}
        self._parsed = _Parsed()
        self._sizes: list[int] = [0]
        self._columns: list[Ints] = []
        self._counts: list[Ints] = []
        if not columns:
            raise InputError(f"{path}: has no column of counts; give ids in the first column and one column per sample")
        duplicate = next((name for name, count in Counter(columns).items() if count > 1), None)
        if duplicate is not None:
            raise InputError(f"{path}: two columns are named {shortened(duplicate)!r}; rename one of them")

    def __len__(self) -> int:
        return len(self._row_by_id)

    def add(self, name: str, cells: Sequence[str]) -> None:
        """Add a row with a count in every column."""
        self._name(name)
        parsed = self._parsed
        values = np.fromiter(map(parsed.__getitem__, cells), np.int64, len(cells))
        if values.min() < 0:
            wrong = int(np.flatnonzero(values < 0)[0])
            raise self.bad_count(name, self._names[wrong], cells[wrong])
        found = np.flatnonzero(values)
        self._append(found, values[found])

    def add_counts(self, name: str, columns: Ints, counts: Ints) -> None:
        """Add a row, given its counts above 0 and the indices of their columns in ascending order."""
        self._name(name)
        self._append(columns, counts)

    def _append(self, columns: Ints, counts: Ints) -> None:
        self._sizes.append(len(columns))
        self._columns.append(columns)
        self._counts.append(counts)

    def _name(self, name: str) -> None:
        row = len(self._row_by_id) + 1
        if not name:
            raise InputError(f"{self.path}: row {row} (below the header) has no id in its first column; give it one")
        if self._row_by_id.setdefault(name, row - 1) != row - 1:
            raise InputError(
                f"{self.path}: id {shortened(name)!r} is in row {self._row_by_id[name] + 1} and in row {row} (below "
                f"the header); each {self._row_is} must have only one row, add them up or rename one"
            )

    def bad_count(self, name: str, column: str, cell: str) -> InputError:
        """Return the error for a cell that is not a count, in the row added last."""
        row, shown = len(self._row_by_id), shortened(cell.strip())
        relative = " (relative abundances are not read counts)" if _FRACTION.fullmatch(shown) else ""
        return InputError(
            f"{self.path}: row {row} (below the header, id {shortened(name)!r}), {self._column_is} "
            f"{shortened(column)!r}: the count is {shown!r}, expected a whole number of 0 or more{relative}; correct "
            f"it, or remove the column if it is not a {self._column_is}"
        )

    def ragged(self, cells: int, expected: int) -> InputError:
        """Return the error for a row with too few or too many cells, after the row added last."""
        return InputError(
            f"{self.path}: row {len(self) + 1} (below the header) has {cells} cells, the header has {expected}; "
            "check that row for a missing or additional separator, or for a quote that is not closed"
        )

    def table(self, omitted: Sequence[str] = ()) -> CountTable:
        """Return the table, with rows as features. Raises InputError if there are no rows."""
        if not self._row_by_id:
            raise InputError(f"{self.path}: has a header line but no rows; give at least one id with its counts")
        empty = [np.zeros(0, np.int64)]
        return CountTable(
            self.path,
            self._names,
            tuple(omitted),
            self._row_by_id,
            np.cumsum(np.array(self._sizes, np.int64)),
            np.concatenate(empty + self._columns),
            np.concatenate(empty + self._counts),
        )
