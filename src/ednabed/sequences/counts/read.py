"""Read a count table of any supported format, recognised by its content.

These are supported, plain, gzip or zstd: TSV and CSV of features by samples (with the additions of biom, QIIME 2, R,
phyloseq, mothur and ampliseq), samples by sequences (DADA2), mothur's shared and sparse count_table, one count per row,
Parquet, BIOM (HDF5 and JSON) and QIIME 2 artifacts of a feature table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from ednabed.errors import InputError
from ednabed.sequences.counts.biom import HDF5_MAGIC, read_biom
from ednabed.sequences.counts.layout import is_sequence_table, long_columns, with_row_names
from ednabed.sequences.counts.long import read_long
from ednabed.sequences.counts.mothur import SPARSE_MARK, is_shared, read_shared, read_sparse
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.counts.wide import read_features, read_sequence_table
from ednabed.sequences.delimited import Dialect, NoSeparator, find_dialect, read_rows
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.parquet import ParquetTable, text_rows
from ednabed.sequences.sniffing import UTF8_BOM, sniff
from ednabed.sequences.stream import decode_text

_EXPECTED = (
    "give a TSV or CSV with ids in its first column and one column per sample, a BIOM table or a QIIME 2 feature table"
)
_CELL = re.compile(r'"[^"]*"|[^\s"]\S*')
"""A cell between spaces."""
_FIRST_ROWS = 50
"""Number of rows used to distinguish columns of words from columns of counts."""


def read_count_table(path: str | Path, *, stdin: BinaryIO | None = None) -> CountTable:
    """Read a count table.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: The stream that ``-`` reads; None is the standard input of the process.

    Returns:
        The counts by feature and sample. ``notes`` lists what was omitted.

    Raises:
        InputError: The file cannot be read as a table, has no sample or no feature, names a sample or a feature twice,
            lacks an id, or a count is not a whole number of 0 or more.
    """
    with OpenedInput(path, stdin, expected="id and its counts", use="counts") as source:
        text = source.head.removeprefix(UTF8_BOM).lstrip()
        if source.head.startswith(HDF5_MAGIC) or text.startswith(b"{"):
            return read_biom(source)
        if text.startswith(SPARSE_MARK):
            return read_sparse(read_rows(source, Dialect("\t", False, (), 1, "")), source.path)
        return _read_parquet(source) if _is_parquet(source) else _read_text(source)


def _is_parquet(source: OpenedInput) -> bool:
    """Return whether a source is Parquet and not text. Raises InputError if it is not a table."""
    try:
        kind = sniff(source.head, source.path)
    except InputError as error:
        reason = str(error).removeprefix(f"{source.path}: ")
        raise InputError(f"{source.path}: is not a count table ({reason}); {_EXPECTED}") from error
    if kind not in ("parquet", "table"):
        raise InputError(f"{source.path}: is not a count table (it is {kind.upper()}); {_EXPECTED}")
    return kind == "parquet"


def _read_text(source: OpenedInput) -> CountTable:
    try:
        dialect = find_dialect(source)
    except NoSeparator as error:
        if _is_separated_by_spaces(source.head):
            raise InputError(
                f"{source.path}: is separated by spaces, expected tabs or commas; write it again with tabs (in R: "
                "write.table with sep = '\\t')"
            ) from error
        raise InputError(f"{source.path}: is not a count table (its first line has one cell); {_EXPECTED}") from error
    return _read_rows(dialect.columns, read_rows(source, dialect), source.path)


def _is_separated_by_spaces(head: bytes) -> bool:
    """Return whether ids and counts are separated by spaces, the default of ``write.table`` in R."""
    lines = [line.strip() for line in decode_text(head).splitlines() if line.strip() and not line.startswith("# ")]
    cells = [len(_CELL.findall(line)) for line in lines[:2]]
    return len(cells) == 2 and cells[1] > 1 and cells[1] - cells[0] in (0, 1)


def _read_parquet(source: OpenedInput) -> CountTable:
    parquet = ParquetTable(source)
    try:
        return _read_rows(parquet.columns, text_rows(parquet, source.path), source.path)
    finally:
        parquet.close()


def _read_rows(columns: Sequence[str], rows: Iterator[Sequence[str]], path: str) -> CountTable:
    first_rows = list(islice(rows, _FIRST_ROWS))
    if not first_rows:
        raise InputError(f"{path}: has a header line but no rows; give at least one id with its counts")
    columns = with_row_names(columns, first_rows[0])
    all_rows = chain(first_rows, rows)
    if is_shared(columns):
        return read_shared(columns, all_rows, path)
    if is_sequence_table(columns):
        return read_sequence_table(columns, all_rows, path)
    roles = long_columns(columns, first_rows, path)
    if roles is not None:
        return read_long(columns, roles, all_rows, path)
    return read_features(columns, first_rows, all_rows, path)
