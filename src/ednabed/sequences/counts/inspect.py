"""Whether a file of sequences is a count table too, so that its counts are not lost."""

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
    long_places,
    sequence_place,
    with_row_names,
)
from ednabed.sequences.counts.sample_columns import Column, hold_counts
from ednabed.sequences.delimited import find_dialect, read_rows
from ednabed.sequences.headerless import with_header
from ednabed.sequences.numbers import parse_count
from ednabed.sequences.opening import Source
from ednabed.sequences.parquet import ParquetTable, text_rows
from ednabed.sequences.sniffing import sniff

_ROWS = 1_000
_CELLS = 500_000
"""Rows and cells that are looked at, about."""
Found = Literal["sequence table", "sequences and counts"]


def find_counts(path: str | Path, *, stdin: BinaryIO | None = None) -> Found | None:
    """Return whether an input of sequences holds counts by sample.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: What ``-`` reads; None is the standard input of the process.

    Returns:
        ``sequence table``: features are named by their sequences (DADA2), so it is sequences and counts in one.
        ``sequences and counts``: ids and sequences, and columns of counts that look like samples. None: neither, or
        the table has one record per row, with a column of samples of its own.

    Raises:
        InputError: The file cannot be read.
    """
    with ExitStack() as stack:
        source = stack.enter_context(Source(path, stdin))
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
        some = list(islice(rows, max(10, min(_ROWS, _CELLS // len(columns)))))
        if not some:
            return None
        columns = with_row_names(columns, some[0])
        if (
            is_sequence_table(columns)
            or _has_sequences_as_row_names(columns, some)
            or _is_long_by_sequences(columns, some, source.path)
        ):
            return "sequence table"
        roles = find_roles(columns, source.path)
        if roles.id is None or roles.sequence is None:
            return None
        layout = find_layout(columns, some, source.path)
        if layout.by_prefix:
            return "sequences and counts"
        if roles.sample is not None:
            return None
        numbers = [
            Column(columns[place], [row[place].strip() for row in some if place < len(row)])
            for place in layout.counts
            if columns[place] in roles.extras
        ]
        return "sequences and counts" if hold_counts(numbers, has_reads=roles.abundance is not None) else None


def _has_sequences_as_row_names(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    others = range(1, len(columns))
    return bool(others) and all(is_sequence_name(row[0]) for row in rows if row) and _all_counts(rows, others)


def _is_long_by_sequences(columns: Sequence[str], rows: Sequence[Sequence[str]], path: str) -> bool:
    """Recognise a table of one count per row in which features have no other name than their sequence."""
    if find_roles(columns, path).id is not None or sequence_place(columns) is None:
        return False
    places = long_places(columns, rows, path)
    return places is not None and places[0] == sequence_place(columns)


def _all_counts(rows: Sequence[Sequence[str]], places: Iterable[int]) -> bool:
    columns = list(places)
    cells = chain.from_iterable((row[place] for place in columns if place < len(row)) for row in rows)
    return all(parse_count(cell) is not None for cell in set(cells))
