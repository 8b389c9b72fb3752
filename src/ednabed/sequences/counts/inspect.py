"""Check whether a file of sequences is also a count table, so that its counts are not lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Literal

from ednabed.sequences import zip_members
from ednabed.sequences.columns import find_roles
from ednabed.sequences.counts.layout import (
    find_layout,
    is_sequence_name,
    is_sequence_table,
    long_columns,
    sequence_column,
    with_row_names,
)
from ednabed.sequences.counts.sample_columns import Column, hold_counts
from ednabed.sequences.delimited import find_dialect, read_rows
from ednabed.sequences.headerless import with_header
from ednabed.sequences.numbers import parse_count
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.parquet import ParquetTable, text_rows
from ednabed.sequences.sniffing import sniff

_ROWS = 1_000
_CELLS = 500_000
"""Approximate maximum number of rows and cells that are inspected."""
Found = Literal["sequence table", "sequences and counts"]


def find_counts(path: str | Path, *, stdin: BinaryIO | None = None) -> Found | None:
    """Return whether an input of sequences also contains counts by sample.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: The stream that ``-`` reads; None is the standard input of the process.

    Returns:
        ``sequence table``: features are named by their sequences (DADA2), so it contains both sequences and counts.
        ``sequences and counts``: ids and sequences, and columns of counts that look like samples. None: neither, or
        the table has one record per row and a column of samples.

    Raises:
        InputError: The file cannot be read.
    """
    with ExitStack() as stack:
        source = stack.enter_context(OpenedInput(path, stdin))
        if source.head.startswith(zip_members.MAGIC):
            return None
        kind = sniff(source.head, source.path)
        rows: Iterable[Sequence[str]]
        if kind == "table":
            dialect = with_header(find_dialect(source), source.path)
            columns, rows = dialect.columns, read_rows(source, dialect)
        elif kind == "parquet":
            parquet = ParquetTable(source)
            stack.callback(parquet.close)
            columns, rows = tuple(parquet.columns), text_rows(parquet, source.path)
        else:
            return None
        first_rows = list(islice(rows, max(10, min(_ROWS, _CELLS // len(columns)))))
        if not first_rows:
            return None
        columns = with_row_names(columns, first_rows[0])
        if (
            is_sequence_table(columns)
            or _has_sequences_as_row_names(columns, first_rows)
            or _is_long_by_sequences(columns, first_rows, source.path)
        ):
            return "sequence table"
        roles = find_roles(columns, source.path)
        if roles.id is None or roles.sequence is None:
            return None
        layout = find_layout(columns, first_rows, source.path)
        if layout.by_prefix:
            return "sequences and counts"
        if roles.sample is not None:
            return None
        numbers = [
            Column(columns[index], [row[index].strip() for row in first_rows if index < len(row)])
            for index in layout.counts
            if columns[index] in roles.extras
        ]
        return "sequences and counts" if hold_counts(numbers, has_reads=roles.abundance is not None) else None


def _has_sequences_as_row_names(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    others = range(1, len(columns))
    return bool(others) and all(is_sequence_name(row[0]) for row in rows if row) and _all_counts(rows, others)


def _is_long_by_sequences(columns: Sequence[str], rows: Sequence[Sequence[str]], path: str) -> bool:
    """Return whether a table has one count per row and its features have no name other than their sequence."""
    if find_roles(columns, path).id is not None or sequence_column(columns) is None:
        return False
    found = long_columns(columns, rows, path)
    return found is not None and found[0] == sequence_column(columns)


def _all_counts(rows: Sequence[Sequence[str]], columns: Iterable[int]) -> bool:
    indices = list(columns)
    cells = chain.from_iterable((row[index] for index in indices if index < len(row)) for row in rows)
    return all(parse_count(cell) is not None for cell in set(cells))
