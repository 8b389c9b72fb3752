"""Delimited text tables (tab, comma or semicolon) with a header line, streamed block by block.

Quotes are parsed in CSV, and in TSV if the header line has them (R writes such files). In other TSV files a fully
quoted cell (pandas and QIIME 2 write ``"a ""b"" c"``) loses its quotes; any other quote is an ordinary character. A
line break inside a quoted cell is refused because it cannot be distinguished from a quote that was never closed, which
would swallow the rows after it.

``read_delimited`` yields columns; ``read_rows`` yields rows of cells, for tables with thousands of columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.columns import ID, plain
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.records import MAX_LENGTH
from ednabed.sequences.sniffing import UTF8_BOM
from ednabed.sequences.stream import TextStream, decode_text

BLOCK_BYTES = 2 * 1024 * 1024
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_FULLY_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_MAX_NAME_LENGTH = 100_000
"""Maximum characters in a column name: the sequences that name columns in DADA2 tables have fewer."""
_MAX_COLUMNS = 50_000
_SEQUENCE_SUFFIXES = (".fa", ".fas", ".fasta", ".fna", ".ffn", ".fq", ".fastq")


class NoSeparator(InputError):
    """The first line has no tab, comma or semicolon, so it is not the header line of a table."""


@dataclass(frozen=True)
class Dialect:
    """The format of a delimited text.

    Attributes:
        delimiter: Tab, comma or semicolon.
        quoted: True if cells may be in double quotes.
        columns: Names of the columns; an empty name becomes ``unnamed_1``, with the column's number.
        header_lines: Number of lines up to and including the header line; 0 if there is none.
        first_line: The header line as written.
    """

    delimiter: str
    quoted: bool
    columns: tuple[str, ...]
    header_lines: int
    first_line: str


def find_dialect(source: OpenedInput) -> Dialect:
    """Find the separator and the columns in the header line, however long it is.

    Raises:
        NoSeparator: The first line is not the header line of a table.
        InputError: The file is damaged, its first line is too long, or a quote in that line is not closed.
    """
    skipped, line = _header_line(source)
    delimiter = next((mark for mark in "\t,;" if mark in line), None)
    if delimiter is None:
        raise _no_table(source.path, line)
    quoted = delimiter != "\t" or line.lstrip().startswith('"')
    columns = tuple(
        cell.strip() or f"unnamed_{number}"
        for number, cell in enumerate(split_line(line, delimiter, quoted, source.path), 1)
    )
    number, name = max(enumerate(columns, 1), key=lambda pair: len(pair[1]))
    if len(name) > _MAX_NAME_LENGTH:
        raise InputError(
            f"{source.path}: column {number} of the header line has a name of {len(name):,} characters "
            f"({shortened(name)}), expected at most {_MAX_NAME_LENGTH:,}; check the separators and the line ends, or "
            "give FASTA"
        )
    return Dialect(delimiter, quoted, columns, skipped, line)


def _header_line(source: OpenedInput) -> tuple[int, str]:
    """Return the number and the text of the first line that is neither blank nor a comment."""
    while True:
        text = source.head.removeprefix(UTF8_BOM)
        lines = text.splitlines()
        found = next(
            (
                (number, line)
                for number, raw in enumerate(lines, 1)
                if (line := decode_text(raw)).strip() and not _is_comment(line)
            ),
            (len(lines), decode_text(lines[-1])),
        )
        # The last line of the head may continue, and a carriage return at its end may be half of a line end.
        if found[0] < len(lines) or not source.extend_head():
            return found
        if len(source.head) > MAX_LENGTH:
            raise InputError(
                f"{source.path}: its first line has more than {MAX_LENGTH:,} characters; give a table whose first line "
                "names its columns"
            )


def split_line(line: str, delimiter: str, quoted: bool, path: str) -> list[str]:
    """Return the cells of one line.

    Raises:
        InputError: A quote is never closed, or something follows a closing quote.
    """
    if '"' not in line:
        return line.split(delimiter)
    if not quoted:
        return [unquoted(cell) for cell in line.split(delimiter)]
    try:
        return next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_MINIMAL, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{path}: the line that begins with {shortened(line)!r} cannot be split into cells ({error}); close or "
            "remove the quotes in it"
        ) from error


def unquoted(cell: str) -> str:
    """Return a cell without the quotes around it if it is fully quoted and every quote in it is doubled."""
    if cell[:1] != '"' or not _FULLY_QUOTED.fullmatch(cell):
        return cell
    return cell[1:-1].replace('""', '"')


def _is_comment(line: str) -> bool:
    """Distinguish a comment ('# Constructed from biom file') from a header line that begins with # ('#OTU ID')."""
    if not line.startswith("#") or "\t" in line:
        return False
    first = next(csv.reader([line.replace(";", ",")]))[0]
    return plain(first) not in {plain(name) for name in ID}


def _no_table(path: str, line: str) -> NoSeparator:
    shown = "".join(char if char.isprintable() else "?" for char in line[:40]) + ("…" if len(line) > 40 else "")
    bare = path.lower().removesuffix(".gz").removesuffix(".zst")
    if bare.endswith(_SEQUENCE_SUFFIXES) or (line.strip() and not set(line.strip().upper()) - set("ACGTUN-")):
        advice = "put a line '>name' before each sequence (FASTA)"
    else:
        advice = "give FASTA (first line '>name'), FASTQ ('@name') or a table whose first line names its columns"
    return NoSeparator(f"{path}: begins with {shown!r}, which is neither a sequence record nor a header line; {advice}")


def read_delimited(source: OpenedInput, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """Yield the rows as batches of binary columns, one batch per block of the file, in order.

    Raises:
        InputError: There are too many columns (raised at once); a row has too few or too many cells, has a line break
            in a cell, or is too long to handle (raised when the row is reached).
    """
    if len(dialect.columns) > _MAX_COLUMNS:
        # Arrow allocates 8 kB for each column, whatever it contains.
        raise InputError(
            f"{source.path}: its header line has {len(dialect.columns):,} columns, expected at most {_MAX_COLUMNS:,}; "
            "give the sequences as FASTA and their counts as a separate table"
        )
    return _batches(source, dialect)


def _batches(source: OpenedInput, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    rows = 0
    parsing = pyarrow.csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char='"' if dialect.quoted else False,
        newlines_in_values=dialect.quoted,
    )
    converting = pyarrow.csv.ConvertOptions(
        column_types={name: pa.binary() for name in dialect.columns}, strings_can_be_null=False
    )
    for chunk in _chunks(TextStream(source, "table"), dialect.header_lines, source.path):
        # One call per chunk of complete rows, because Arrow's streaming reader would read tens of blocks ahead.
        reading = pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(chunk) + 1, column_names=list(dialect.columns)
        )
        try:
            table = pyarrow.csv.read_csv(pa.BufferReader(chunk), reading, parsing, converting)
        except pa.ArrowInvalid as error:
            # pyarrow has a hook for such rows, but it fails if a row is not UTF-8, and that row is lost.
            if found := _RAGGED.search(str(error)):
                row, expected, actual = map(int, found.groups())
                raise _ragged(rows + row, expected, actual, source.path) from error
            raise InputError(
                f"{source.path}: cannot be read as a table after row {rows} ({str(error).splitlines()[0]}); check the "
                "rows after it"
            ) from error
        for batch in table.to_batches():
            if dialect.quoted:
                _refuse_line_breaks(batch, rows, source.path)
            else:
                batch = _unquote(batch)
            types = rows == 0 and batch.num_rows > 0 and batch.column(0)[0].as_py() == b"#q2:types"
            rows += batch.num_rows
            if batch.num_rows > types:
                yield batch.slice(int(types))


def read_rows(source: OpenedInput, dialect: Dialect) -> Iterator[list[str]]:
    """Yield the rows as lists of cells, in order, without blank lines; the number of cells is not checked.

    The time is linear in the number of cells, even with tens of thousands of columns.

    Raises:
        InputError: A quote is never closed, the file is damaged or binary, or a line is too long to handle.
    """
    first = True
    for chunk in _chunks(TextStream(source, "table"), dialect.header_lines, source.path):
        for line in _lines(chunk):
            if line.strip(" ") and (cells := split_line(line, dialect.delimiter, dialect.quoted, source.path)):
                if not (first and cells[0] == "#q2:types"):
                    yield cells
                first = False


def _lines(chunk: bytes) -> Iterator[str]:
    """Decode the lines of a chunk as UTF-8, or as Latin-1 for a line that is not UTF-8."""
    try:
        yield from chunk.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        yield from map(decode_text, chunk.split(b"\n"))


def _unquote(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Remove the quotes from fully quoted cells."""
    for index, column in enumerate(batch.columns):
        if not pc.any(pc.starts_with(column, '"')).as_py():
            continue
        is_quoted = pc.match_substring_regex(column, f"^{_FULLY_QUOTED.pattern}$")
        bare = pc.replace_substring(pc.replace_substring_regex(column, r'(?s)^"(.*)"$', r"\1"), '""', '"')
        batch = batch.set_column(index, batch.schema.field(index), pc.if_else(is_quoted, bare, column))
    return batch


def _chunks(stream: TextStream, header_lines: int, path: str) -> Iterator[bytes]:
    """Yield the text below the header in non-blank chunks that end at a line end."""
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
        if sum(map(len, held)) > MAX_LENGTH:
            raise InputError(f"{path}: one line has more than {MAX_LENGTH:,} characters; give such sequences as FASTA")
    if (chunk := b"".join(held)).strip():
        yield chunk


def _ragged(number: int, expected: int, actual: int, path: str) -> InputError:
    advice = "check that row for a missing or additional separator, or for a quote that is not closed"
    if number == 1 and actual == expected + 1:
        advice = "if R wrote it, write it again with row.names = FALSE"
    return InputError(
        f"{path}: row {number} (below the header) has {actual} cells, the header has {expected}; {advice}"
    )


def _refuse_line_breaks(batch: pa.RecordBatch, rows: int, path: str) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pc.any(found := pc.match_substring(column, "\n")).as_py():
            row = rows + pc.index(found, True).as_py() + 1
            raise InputError(
                f"{path}: row {row} (below the header) has a line break in column {name!r}, or a quote that is never "
                "closed; remove the line break or close the quote"
            )
