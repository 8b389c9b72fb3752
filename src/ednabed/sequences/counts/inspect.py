"""Whether a file of sequences is a count table too, so that its counts are not lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Literal

from ednabed.sequences import zip_members
from ednabed.sequences.columns import find_roles, plain
from ednabed.sequences.counts.layout import is_sequence_name, is_sequence_table, with_row_names
from ednabed.sequences.delimited import find_dialect, read_rows
from ednabed.sequences.headerless import with_header
from ednabed.sequences.numbers import parse_count
from ednabed.sequences.opening import Source
from ednabed.sequences.parquet import ParquetTable, text_rows
from ednabed.sequences.sniffing import sniff

_ROWS = 1_000
_CELLS = 500_000
"""Rows and cells that are looked at, about."""
_NO_SAMPLES = frozenset(
    ("length", "seqlength", "sequencelength", "taxid", "taxonid", "taxonomyid", "ncbitaxid", "gi", "year", "month",
     "day", "elev", "elevation", "depth", "latitude", "longitude", "lat", "lon", "start", "end", "version", "clusterid",
     "bp", "bases", "nrecords", "score", "position", "rank", "cluster", "unnamed1")
)  # fmt: skip
"""Columns of whole numbers that are common next to sequences and are not samples (``plain`` names)."""

Found = Literal["sequence table", "sequences and counts"]


def find_counts(path: str | Path, *, stdin: BinaryIO | None = None) -> Found | None:
    """Return whether an input of sequences holds counts by sample.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: What ``-`` reads; None is the standard input of the process.

    Returns:
        ``sequence table``: features are named by their sequences (DADA2), so it is sequences and counts in one.
        ``sequences and counts``: ids and sequences, and all further columns are whole numbers. None: neither, or the
        table has a column of reads or of samples of its own.

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
        if is_sequence_table(columns) or _has_sequences_as_row_names(columns, some):
            return "sequence table"
        roles = find_roles(columns, source.path)
        if roles.id is None or roles.sequence is None or roles.abundance or roles.sample:
            return None
        others = [
            place for place, name in enumerate(columns) if name in roles.extras and plain(name) not in _NO_SAMPLES
        ]
        return "sequences and counts" if others and _all_counts(some, others) else None


def _has_sequences_as_row_names(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    others = range(1, len(columns))
    return bool(others) and all(is_sequence_name(row[0]) for row in rows if row) and _all_counts(rows, others)


def _all_counts(rows: Sequence[Sequence[str]], places: Iterable[int]) -> bool:
    columns = list(places)
    cells = chain.from_iterable((row[place] for place in columns if place < len(row)) for row in rows)
    return all(parse_count(cell) is not None for cell in set(cells))
