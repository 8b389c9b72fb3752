"""Parquet tables, streamed row group by row group.

Parquet must be seekable: compressed files and standard input are first copied to a temporary file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.errors import InputError
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.tables import text_of

_TEXT_ROWS = 1024


class ParquetTable:
    """An opened Parquet file. ``close`` it when done; the source stays open."""

    def __init__(self, source: OpenedInput) -> None:
        """Open the file. Raises InputError if its footer is missing or damaged."""
        self._path = source.path
        with ExitStack() as stack:
            file: IO[bytes] | None = source.seekable_file()
            if file is None:
                file = stack.enter_context(tempfile.TemporaryFile(prefix="ednabed-"))
                while block := source.read():
                    file.write(block)
                file.seek(0)
            with parquet_errors(self._damaged):
                self._file = pq.ParquetFile(file, buffer_size=1024 * 1024, pre_buffer=False)
                stack.callback(self._file.close)
                self.columns: list[str] = list(self._file.schema_arrow.names)
            self._stack = stack.pop_all()

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self._path}: the Parquet data are truncated or damaged ({reason}); write the file again")

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most ``rows`` rows. Raises InputError if a page is damaged."""
        with parquet_errors(self._damaged):
            batches = self._file.iter_batches(batch_size=rows, use_threads=False)
        while True:
            # The yield is outside this block, because it raises errors of the caller.
            with parquet_errors(self._damaged):
                batch = next(batches, None)
                if batch is None:
                    return
                checked_text(batch)
            yield batch

    def close(self) -> None:
        """Close the file and remove the temporary file, if there is one."""
        self._stack.close()


def text_rows(table: ParquetTable, path: str) -> Iterator[list[str]]:
    """Yield the rows as lists of texts, with an empty text for null.

    Raises:
        InputError: A page is damaged, or a column is nested.
    """
    for batch in table.batches(_TEXT_ROWS):
        columns = [
            text_of(column, name, path).to_pylist() for name, column in zip(table.columns, batch.columns, strict=True)
        ]
        yield from ([cell or "" for cell in row] for row in zip(*columns, strict=True))
