"""Read sequences from any supported file: ``open_records`` streams raw record batches.

The format is recognised by content, so names and extensions do not matter. Memory holds only a few batches, whatever
the file size; only a Darwin Core Archive is loaded completely. Order and ids are those of the file, and ``record``
numbers its records from 1. A file with plain lineages is read twice: once for all its lineages, whose form depends on
the whole file, and once for the records. Columns that only some records fill (``marker``, ``organelle``) are present
from the first batch that has them onwards.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError, UsageError
from ednabed.sequences import zip_members
from ednabed.sequences.columns import find_roles, required_columns
from ednabed.sequences.counts.layout import is_sequence_table
from ednabed.sequences.delimited import find_dialect, read_delimited
from ednabed.sequences.dwca import DarwinCoreArchive, is_archive
from ednabed.sequences.fasta import read_fasta
from ednabed.sequences.fastq import read_fastq
from ednabed.sequences.header_columns import generated_id
from ednabed.sequences.headerless import with_header
from ednabed.sequences.labels import Labels
from ednabed.sequences.lineage import LineageReader
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.parquet import ParquetTable
from ednabed.sequences.records import BATCH_RECORDS, ORGANELLE, pieces
from ednabed.sequences.sniffing import Format, sniff
from ednabed.sequences.tables import raw_batch

log = logging.getLogger("ednabed")

READING = 3
"""Version of the rules for reading records from files: under another version a file may give different records."""
_BY_SAMPLE = "by_sample"


class Records(Iterator[pa.RecordBatch]):
    """Iterator over the raw batches of one opened input, in order. Close it, or use it in a ``with`` statement.

    Attributes:
        source: Base name of the file, as in the column ``source``; ``stdin`` for standard input.
        format: ``fasta``, ``fastq``, ``parquet``, ``dwca`` or ``table``.
        compression: ``gz``, ``zst`` or None.
        count: Number of records returned so far.
        labelled: Number of records returned so far whose lineage came from the labels.

    Raises:
        UsageError: ``batch_size`` is less than 1.
        InputError: The file cannot be read as sequences.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int = BATCH_RECORDS,
        labels: Labels | None = None,
        stdin: BinaryIO | None = None,
        shown: str | None = None,
        keep_placeholders: bool = False,
        by_sample: bool = False,
    ) -> None:
        """See ``open_records``."""
        if batch_size < 1:
            raise UsageError(f"`batch_size` is {batch_size}; it must be at least 1")
        self._labels = labels
        self._given = Path(path)
        self._path = str(path)
        self._by_sample = by_sample
        self.count = 0
        self.labelled = 0
        self._numbered = 0
        self._summed = self._unread_sizes = 0
        self._has_organelles = False
        self._archive: DarwinCoreArchive | None = None
        self._closed = False
        with ExitStack() as stack:
            opened = stack.enter_context(OpenedInput(path, stdin, shown=shown))
            self._path = opened.path
            self.source = opened.name
            self.compression = opened.compression
            self.format: Format = "dwca" if _is_dwca(opened) else sniff(opened.head, opened.path)
            log.debug("reading %s (%s%s)", self._path, self.format, f", {self.compression}" if self.compression else "")
            self._head = opened.head
            self._lineages = LineageReader(opened.path, self._census, keep_placeholders=keep_placeholders)
            self._batches = self._open(opened, batch_size, stack)
            self._stack = stack.pop_all()

    def _open(self, source: OpenedInput, batch_size: int, stack: ExitStack) -> Generator[pa.RecordBatch]:
        if self.format == "fasta":
            return read_fasta(source, batch_size)
        if self.format == "fastq":
            return read_fastq(source, batch_size)
        if self.format == "parquet":
            parquet = ParquetTable(source)
            stack.callback(parquet.close)
            columns = parquet.columns
            tables = parquet.batches(batch_size)
        elif self.format == "dwca":
            if self._archive is None:
                file = source.seekable_file()
                assert file is not None
                self._archive = DarwinCoreArchive(file, source.path)
            columns = self._archive.columns
            tables = self._archive.batches(batch_size)
        else:
            dialect = with_header(find_dialect(source), source.path)
            columns = list(dialect.columns)
            tables = read_delimited(source, dialect)
        if is_sequence_table(columns):
            raise InputError(
                f"{source.path}: its columns are named by sequences, as in a sequence table of DADA2, and its rows are "
                "samples; embed it ('ednabed embed' reads it with its counts), or give the sequences as FASTA"
            )
        roles = find_roles(columns, source.path)
        required_columns(roles, columns, source.path)

        def rows() -> Generator[pa.RecordBatch]:
            first = 1
            for table in tables:
                yield from pieces(raw_batch(table, roles, source.path, source.name, first), batch_size)
                first += table.num_rows

        return rows()

    def _census(self) -> Iterator[tuple[str, int]]:
        """Yield each lineage of the whole file, with a record that has it.

        Standard input and pipes cannot be read twice, so only their beginning is used.
        """
        with ExitStack() as stack:
            if self._given.is_file():
                again = stack.enter_context(OpenedInput(self._given, shown=self._path))
            else:
                complete = self._head[: self._head.rfind(b"\n>" if self.format == "fasta" else b"\n") + 1] or self._head
                again = stack.enter_context(OpenedInput("-", io.BytesIO(complete)))
            batches = self._open(again, BATCH_RECORDS, stack)
            stack.callback(batches.close)
            for batch in batches:
                distinct = batch.column("lineage").dictionary_encode()
                texts = distinct.dictionary.to_pylist()
                numbers, firsts = np.unique(distinct.indices.fill_null(len(texts)).to_numpy(), return_index=True)
                records = batch.column("record").take(pa.array(firsts)).to_pylist()
                yield from ((texts[n], r) for n, r in zip(numbers.tolist(), records, strict=True) if n < len(texts))

    def __next__(self) -> pa.RecordBatch:
        """Return the next batch.

        Raises:
            InputError: The file is malformed or damaged at this point, or contains no records at all.
        """
        batch = next(self._batches, None)
        if batch is None:
            closed = self._closed
            self.close()
            if self.count == 0 and not closed:
                raise InputError(f"{self._path}: has a header but no records; give a file with at least one sequence")
            raise StopIteration
        self._count_headers(batch)
        batch = self._split_samples(self._read_lineages(batch))
        self.count += batch.num_rows
        if self._labels is not None:
            before = self._labels.matched
            batch = self._labels.apply(batch)
            self.labelled += self._labels.matched - before
        return batch

    def _count_headers(self, batch: pa.RecordBatch) -> None:
        """Count headers that are lineages, whose records get their number as id, and sizes that are not numbers."""
        if self.format not in ("fasta", "fastq"):
            return
        unread = pc.match_substring_regex(batch.column("description"), r"(?i)(?:^|[;\s])size=")
        self._unread_sizes += pc.sum(unread.fill_null(False)).as_py() or 0
        if batch.column("lineage").null_count < len(batch):
            numbers = batch.column("record").cast(pa.string())
            generated = pc.binary_join_element_wise(pa.scalar(generated_id(self.source, "")), numbers, "")
            self._numbered += pc.sum(
                pc.and_(pc.equal(batch.column("id"), generated), batch.column("lineage").is_valid())
            ).as_py()

    def _read_lineages(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with its lineages in standard form; lineages that are not understood stay as text."""
        index = batch.schema.get_field_index("lineage")
        written = batch.column(index)
        organelles = pa.nulls(len(batch), pa.string())
        if written.null_count < len(written):
            distinct = written.dictionary_encode()
            texts = distinct.dictionary.to_pylist()
            codes = distinct.indices.fill_null(len(texts)).to_numpy()
            numbers, firsts, counts = np.unique(codes, return_index=True, return_counts=True)
            records = batch.column("record").take(pa.array(firsts)).to_pylist()
            for number, record, count in zip(numbers.tolist(), records, counts.tolist(), strict=True):
                if number < len(texts):
                    self._lineages.count(texts[number], count, record)
            found = [self._lineages.read(text) for text in texts]
            batch = self._kept_as_text(batch, distinct, [lineage.is_understood for lineage in found])
            tidy = pa.array([lineage.text for lineage in found], pa.string()).take(distinct.indices)
            batch = batch.set_column(index, batch.schema.field(index), tidy)
            organelles = pa.array([lineage.organelle or None for lineage in found], pa.string()).take(distinct.indices)
        index = batch.schema.get_field_index(ORGANELLE)
        self._has_organelles = self._has_organelles or organelles.null_count < len(batch)
        if index >= 0:
            marked = pc.coalesce(batch.column(index).cast(pa.string()), organelles)
            return batch.set_column(index, pa.field(ORGANELLE, pa.string()), marked)
        return batch.append_column(ORGANELLE, organelles) if self._has_organelles else batch

    def _kept_as_text(
        self, batch: pa.RecordBatch, written: pa.DictionaryArray, understood: list[bool]
    ) -> pa.RecordBatch:
        """Put header lineages that are not understood back into the description."""
        if self.format not in ("fasta", "fastq") or all(understood):
            return batch
        index = batch.schema.get_field_index("description")
        texts = [
            None if is_known else text
            for text, is_known in zip(written.dictionary.to_pylist(), understood, strict=True)
        ]
        returned = pa.array(texts, pa.string()).take(written.indices)
        return batch.set_column(index, batch.schema.field(index), pc.coalesce(batch.column(index), returned))

    def _split_samples(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Split a record with reads of several samples into one row per sample, if ``by_sample`` is set."""
        index = batch.schema.get_field_index(_BY_SAMPLE)
        if index < 0:
            return batch
        lists = batch.column(index)
        batch = batch.remove_column(index)
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_pylist()
        if not self._by_sample:
            self._summed += sum(size > 1 for size in sizes)
            return batch
        rows, samples, reads = [], [], []
        values_of = {name: batch.column(name).to_pylist() for name in ("sample", "abundance")}
        pairs = iter(lists.flatten().to_pylist())
        for row, size in enumerate(sizes):
            row_pairs = [next(pairs) for _ in range(size)]
            given = [(pair["sample"], pair["reads"]) for pair in row_pairs] or [
                (values_of["sample"][row], values_of["abundance"][row])
            ]
            rows += [row] * len(given)
            samples += [sample for sample, _ in given]
            reads += [count for _, count in given]
        batch = batch.take(pa.array(rows))
        for name, values in (("sample", pa.array(samples, pa.string())), ("abundance", pa.array(reads, pa.int64()))):
            index = batch.schema.get_field_index(name)
            batch = batch.set_column(index, batch.schema.field(index), values)
        return batch

    @property
    def notes(self) -> list[str]:
        """Issues with the ids and lineages read so far that the user should know about, one sentence each."""
        notes = self._lineages.notes()
        if self._unread_sizes:
            notes.insert(
                0,
                f"{self._path}: headers whose size is not a whole number of reads and stays in the description: "
                f"{self._unread_sizes:,}",
            )
        if self._summed:
            notes.insert(
                0,
                f"{self._path}: records with reads in several samples, of which only the sum is read here: "
                f"{self._summed:,}; 'ednabed embed' writes one record per sample",
            )
        if self._numbered:
            notes.insert(
                0,
                f"{self._path}: headers that are lineages without an id, whose records are named by their numbers "
                f"({generated_id(self.source, '1')}, …): {self._numbered:,}",
            )
        return notes

    def close(self) -> None:
        """Close the file; a stream passed in and standard input stay open."""
        self._closed = True
        self._batches.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_dwca(source: OpenedInput) -> bool:
    file = source.seekable_file() if source.head.startswith(zip_members.MAGIC) else None
    return file is not None and is_archive(file)


def open_records(
    path: str | Path,
    *,
    batch_size: int = BATCH_RECORDS,
    labels: Labels | None = None,
    stdin: BinaryIO | None = None,
    shown: str | None = None,
    keep_placeholders: bool = False,
    by_sample: bool = False,
) -> Records:
    """Open FASTA, FASTQ, TSV, CSV or Parquet, plain, gzip or zstd, a QIIME 2 artifact or a Darwin Core Archive.

    Args:
        path: The file; ``-`` is ``stdin``.
        batch_size: Maximum records per batch; a batch also ends at about 8 million bases.
        labels: Lineages by id, which override those of the file; None keeps the file's lineages.
        stdin: The binary stream that ``-`` reads; None is the standard input of the process.
        shown: The file name used in messages, for copies of the user's file; None uses the path.
        keep_placeholders: Keep names such as ``uncultured bacterium``, which otherwise count as unknown.
        by_sample: Split a record whose header has reads of several samples (OBITools) into one row per sample, with
            the same id, sequence and ``record``.

    Returns:
        An iterator of batches that start with the columns of ``RAW_SCHEMA``; a table's other columns follow, and
        ``marker`` and ``organelle`` if headers or lineages name them.

    Raises:
        InputError: The file is missing, unreadable, empty, damaged, or contains no sequences; problems found later are
            raised while iterating.
        UsageError: ``batch_size`` is less than 1.
    """
    return Records(
        path,
        batch_size=batch_size,
        labels=labels,
        stdin=stdin,
        shown=shown,
        keep_placeholders=keep_placeholders,
        by_sample=by_sample,
    )
