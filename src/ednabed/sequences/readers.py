"""One way to read sequences from any file: ``open_records`` gives raw record batches, streamed.

The format is told by content, so names and endings do not matter. Memory holds a few batches, whatever the size of the
file. Order and ids are those of the file, and ``record`` numbers its records from 1.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa

from ednabed.errors import InputError, UsageError
from ednabed.sequences.columns import find_roles, require
from ednabed.sequences.delimited import find_dialect, read_delimited
from ednabed.sequences.fasta import read_fasta
from ednabed.sequences.fastq import read_fastq
from ednabed.sequences.labels import Labels
from ednabed.sequences.opening import Source
from ednabed.sequences.parquet import ParquetTable
from ednabed.sequences.records import BATCH_RECORDS, pieces
from ednabed.sequences.sniffing import Format, sniff
from ednabed.sequences.tables import raw_batch


class Records(Iterator[pa.RecordBatch]):
    """The raw batches of one opened input, once, in order. Close it, or use it in a ``with`` statement.

    Attributes:
        source: Base name of the file, as in the column ``source``; ``stdin`` for standard input.
        format: ``fasta``, ``fastq``, ``parquet`` or ``table``.
        compression: ``gz``, ``zst`` or None.
        count: Records given so far.
        labelled: Records given so far whose lineage came from the labels.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int = BATCH_RECORDS,
        labels: Labels | None = None,
        stdin: BinaryIO | None = None,
    ) -> None:
        """See ``open_records``."""
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, it has to be at least 1")
        self._labels = labels
        self._path = str(path)
        self.count = 0
        self.labelled = 0
        self._closed = False
        with ExitStack() as stack:
            opened = stack.enter_context(Source(path, stdin))
            self._path = opened.path
            self.source = opened.name
            self.compression = opened.compression
            self.format: Format = sniff(opened.head, opened.path)
            self._batches = self._open(opened, batch_size, stack)
            self._stack = stack.pop_all()

    def _open(self, source: Source, batch_size: int, stack: ExitStack) -> Generator[pa.RecordBatch]:
        if self.format == "fasta":
            return read_fasta(source, batch_size)
        if self.format == "fastq":
            return read_fastq(source, batch_size)
        if self.format == "parquet":
            parquet = ParquetTable(source)
            stack.callback(parquet.close)
            columns = parquet.columns
            tables = parquet.batches(batch_size)
        else:
            dialect = find_dialect(source)
            columns = list(dialect.columns)
            tables = read_delimited(source, dialect)
        roles = find_roles(columns, source.path)
        require(roles, columns, source.path)

        def rows() -> Generator[pa.RecordBatch]:
            first = 1
            for table in tables:
                yield from pieces(raw_batch(table, roles, source.path, source.name, first), batch_size)
                first += table.num_rows

        return rows()

    def __next__(self) -> pa.RecordBatch:
        """Return the next batch.

        Raises:
            InputError: The file is malformed or damaged from here on, or holds no record at all.
        """
        batch = next(self._batches, None)
        if batch is None:
            closed = self._closed
            self.close()
            if self.count == 0 and not closed:
                raise InputError(f"{self._path}: has a header but no record; give a file with at least one sequence")
            raise StopIteration
        self.count += batch.num_rows
        if self._labels is not None:
            before = self._labels.matched
            batch = self._labels.apply(batch)
            self.labelled += self._labels.matched - before
        return batch

    def close(self) -> None:
        """Close the file; a given or standard input stays open."""
        self._closed = True
        self._batches.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_records(
    path: str | Path,
    *,
    batch_size: int = BATCH_RECORDS,
    labels: Labels | None = None,
    stdin: BinaryIO | None = None,
) -> Records:
    """Open FASTA, FASTQ, TSV, CSV or Parquet, plain, gzip or zstd.

    Args:
        path: The file; ``-`` is ``stdin``.
        batch_size: Most records a batch; a batch also ends at about 8 MB of letters.
        labels: Lineages by id, which override those of the file; None leaves the file's.
        stdin: The binary stream that ``-`` reads; None is the standard input of the process.

    Returns:
        An iterator of batches that start with the columns of ``RAW_SCHEMA``; a table's other columns follow.

    Raises:
        InputError: The file is absent, unreadable, empty, damaged, or holds no sequences; what shows only later is
            raised while iterating.
        UsageError: ``batch_size`` is less than 1.
    """
    return Records(path, batch_size=batch_size, labels=labels, stdin=stdin)
