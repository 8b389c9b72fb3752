"""Read FASTQ into raw record batches with dnaio, which is fast and handles malformed input correctly.

Qualities are not kept.
"""

from __future__ import annotations

import io
from collections.abc import Generator

import pyarrow as pa
from dnaio import FastqReader
from dnaio.exceptions import FileFormatError

from ednabed.errors import InputError
from ednabed.sequences.header_columns import HeaderColumns
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.records import BATCH_BASES, MAX_LENGTH
from ednabed.sequences.stream import TextStream, decode_text, unescape

_BUFFER = 256 * 1024


def read_fastq(source: OpenedInput, batch_size: int) -> Generator[pa.RecordBatch]:
    """Yield raw batches of at most ``batch_size`` records and about ``BATCH_BASES`` bases, in order.

    Raises:
        InputError: A record is malformed; the message names its number and line.
    """
    columns = HeaderColumns(source.head, b"@")
    text = TextStream(source, "fastq")
    count = 0
    names: list[str] = []
    sequences: list[str] = []
    bases = 0
    try:
        for record in FastqReader(io.BufferedReader(text, _BUFFER)):
            names.append(record.name)
            sequence = record.sequence
            sequences.append(sequence)
            bases += len(sequence)
            if len(names) == batch_size or bases >= BATCH_BASES:
                if len(sequence) > MAX_LENGTH:
                    raise InputError(
                        f"{source.path}: record {count + len(names)} has more than {MAX_LENGTH:,} bases, "
                        "too many to handle; cut it into pieces"
                    )
                yield _batch(names, sequences, text.escaped, source.name, count + 1, columns)
                count += len(names)
                names, sequences, bases = [], [], 0
    except FileFormatError as error:
        raise _malformed(error, source.path, count + len(names) + 1) from error
    if names:
        yield _batch(names, sequences, text.escaped, source.name, count + 1, columns)


def _batch(
    names: list[str], sequences: list[str], escaped: bool, source: str, first: int, columns: HeaderColumns
) -> pa.RecordBatch:
    written = "\n".join(names).encode("ascii")
    if escaped:
        written = unescape(written)
        column = pa.array([unescape(sequence.encode("ascii")) for sequence in sequences], pa.binary())
    else:
        column = pa.array(sequences, pa.string()).cast(pa.binary())
    return columns.batch(written, column, source, first)


def _malformed(error: FileFormatError, path: str, record: int) -> InputError:
    line = "" if error.line is None else f" (line {error.line + 1})"
    found = decode_text(unescape(error.message.splitlines()[0].encode("utf-8"))).rstrip(".")
    if "differ" in found:
        advice = "the file is damaged, create or download it again"
    elif "remature end" in found:
        found, advice = "the file ends in the middle of it", "it was truncated, copy or download it again"
    elif "start with '+'" in found:
        advice = "each record must have four lines; join wrapped lines, for example with 'seqtk seq'"
    else:
        advice = "correct that record so that the file is valid FASTQ"
    return InputError(f"{path}: record {record}{line}: {found[0].lower() + found[1:]}; {advice}")
