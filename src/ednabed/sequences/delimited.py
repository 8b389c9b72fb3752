"""Tables as text: separated by tab, comma or semicolon, with a header line, streamed block by block.

Quotes are understood in CSV, and in TSV when the header line has them (R writes such files). A line break inside a
quoted cell is refused: it cannot be told from a quote that was never closed, which would swallow the rows after it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ednabed.errors import InputError
from ednabed.sequences.columns import ID, plain
from ednabed.sequences.opening import Source
from ednabed.sequences.records import LONGEST
from ednabed.sequences.sniffing import UTF8_BOM
from ednabed.sequences.stream import TextStream, decode

BLOCK_BYTES = 2 * 1024 * 1024
_SEQUENCE_SUFFIXES = (".fa", ".fas", ".fasta", ".fna", ".ffn", ".fq", ".fastq")


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written.

    Attributes:
        delimiter: Tab, comma or semicolon.
        quoted: True when cells may stand in double quotes.
        columns: Names of the columns; an empty one is called ``unnamed_1`` by its place.
        header_lines: Lines up to and including the header line; 0 when there is none.
        first_line: The header line as written.
    """

    delimiter: str
    quoted: bool
    columns: tuple[str, ...]
    header_lines: int
    first_line: str


def find_dialect(source: Source) -> Dialect:
    """Find separator and columns in the header line.

    Raises:
        InputError: The first line is no header line of a table.
    """
    skipped = 0
    line = ""
    for raw in source.head.removeprefix(UTF8_BOM).splitlines():
        line = decode(raw)
        skipped += 1
        if line.strip() and not _is_comment(line):
            break
    delimiter = next((mark for mark in "\t,;" if mark in line), None)
    if delimiter is None:
        raise _no_table(source.path, line)
    quoted = delimiter != "\t" or line.lstrip().startswith('"')
    cells = next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE))
    columns = tuple(cell.strip() or f"unnamed_{place}" for place, cell in enumerate(cells, 1))
    return Dialect(delimiter, quoted, columns, skipped, line)


def _is_comment(line: str) -> bool:
    """Tell a remark ('# Constructed from biom file') from a header line that begins with # ('#OTU ID')."""
    if not line.startswith("#") or "\t" in line:
        return False
    first = next(csv.reader([line.replace(";", ",")]))[0]
    return plain(first) not in {plain(name) for name in ID}


def _no_table(path: str, line: str) -> InputError:
    shown = "".join(letter if letter.isprintable() else "?" for letter in line[:40]) + ("…" if len(line) > 40 else "")
    bare = path.lower().removesuffix(".gz").removesuffix(".zst")
    if bare.endswith(_SEQUENCE_SUFFIXES) or (line.strip() and not set(line.strip().upper()) - set("ACGTUN-")):
        advice = "put a line '>name' before each sequence (FASTA)"
    else:
        advice = "give FASTA (first line '>name'), FASTQ ('@name') or a table whose first line names its columns"
    return InputError(f"{path}: begins with {shown!r}, which is no sequence record and no header line; {advice}")


def read_delimited(source: Source, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """Yield the rows as batches of binary columns, one batch a block of the file, in order.

    Raises:
        InputError: A row has too few or too many cells, or a line break in a cell, or is too long to handle.
    """
    wrong: list[Any] = []

    def refuse(row: Any) -> str:
        wrong.append(row)
        return "error"

    rows = 0
    parsing = pyarrow.csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char='"' if dialect.quoted else False,
        newlines_in_values=dialect.quoted,
        invalid_row_handler=refuse,
    )
    converting = pyarrow.csv.ConvertOptions(
        column_types={name: pa.binary() for name in dialect.columns}, strings_can_be_null=False
    )
    for chunk in _chunks(TextStream(source, "table"), dialect.header_lines, source.path):
        # One call for whole rows that are at hand: Arrow's streaming reader would read tens of blocks ahead.
        reading = pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(chunk) + 1, column_names=list(dialect.columns)
        )
        try:
            table = pyarrow.csv.read_csv(pa.BufferReader(chunk), reading, parsing, converting)
        except pa.ArrowInvalid as error:
            if wrong:
                raise _ragged(wrong[0], rows, dialect, source.path) from error
            raise InputError(
                f"{source.path}: cannot be read as a table after row {rows} ({str(error).splitlines()[0]}); check the "
                "rows after it"
            ) from error
        for batch in table.to_batches():
            if dialect.quoted:
                _refuse_line_breaks(batch, rows, source.path)
            types = rows == 0 and batch.num_rows > 0 and batch.column(0)[0].as_py() == b"#q2:types"
            rows += batch.num_rows
            if batch.num_rows > types:
                yield batch.slice(int(types))


def _chunks(stream: TextStream, header_lines: int, path: str) -> Iterator[bytes]:
    """Yield the text below the header in pieces that end where a line ends, none of them blank."""
    held: list[bytes] = []
    to_skip = header_lines
    while data := stream.block(BLOCK_BYTES):
        while to_skip and data:
            _, end, data = data.partition(b"\n")
            to_skip -= len(end)
        cut = data.rfind(b"\n") + 1
        if cut and (chunk := b"".join([*held, memoryview(data)[:cut]])).strip():
            yield chunk
        held = [data[cut:]] if cut else [*held, data]
        if sum(map(len, held)) > LONGEST:
            raise InputError(f"{path}: one line has more than {LONGEST:,} letters; give such sequences as FASTA")
    if (chunk := b"".join(held)).strip():
        yield chunk


def _ragged(row: Any, rows: int, dialect: Dialect, path: str) -> InputError:
    number = rows + row.number
    advice = "check that row for a missing or additional separator, or for a quote that is not closed"
    if number == 1 and row.actual_columns == row.expected_columns + 1:
        advice = "if R wrote it, write it again with row.names = FALSE"
    return InputError(
        f"{path}: row {number} (below the header) has {row.actual_columns} cells, "
        f"the header has {row.expected_columns}; {advice}"
    )


def _refuse_line_breaks(batch: pa.RecordBatch, rows: int, path: str) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pc.any(found := pc.match_substring(column, "\n")).as_py():
            row = rows + pc.index(found, True).as_py() + 1
            raise InputError(
                f"{path}: row {row} (below the header) has a line break in column {name!r}, or a quote that is never "
                "closed; remove the line break or close the quote"
            )
