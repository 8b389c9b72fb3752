"""FASTQ to raw record batches, by dnaio, which is fast and right on malformed input. Qualities are not kept."""

from __future__ import annotations

import io
from collections.abc import Generator

import pyarrow as pa
from dnaio import FastqReader
from dnaio.exceptions import FileFormatError

from ednabed.errors import InputError
from ednabed.sequences.header_columns import HeaderColumns
from ednabed.sequences.opening import Source
from ednabed.sequences.records import BATCH_LETTERS, LONGEST
from ednabed.sequences.stream import TextStream, decode, unescape

_BUFFER = 256 * 1024


def read_fastq(source: Source, batch_size: int) -> Generator[pa.RecordBatch]:
    """Yield raw batches of at most ``batch_size`` records and about ``BATCH_LETTERS`` letters, in order.

    Raises:
        InputError: A record is malformed; the message names its number and line.
    """
    columns = HeaderColumns(source.head, b"@")
    text = TextStream(source, "fastq")
    count = 0
    names: list[str] = []
    sequences: list[str] = []
    letters = 0
    try:
        for record in FastqReader(io.BufferedReader(text, _BUFFER)):
            names.append(record.name)
            sequence = record.sequence
            sequences.append(sequence)
            letters += len(sequence)
            if len(names) == batch_size or letters >= BATCH_LETTERS:
                if len(sequence) > LONGEST:
                    raise InputError(
                        f"{source.path}: record {count + len(names)} has more than {LONGEST:,} letters, "
                        "too many to handle; cut it into pieces"
                    )
                yield _batch(names, sequences, text.escaped, source.name, count + 1, columns)
                count += len(names)
                names, sequences, letters = [], [], 0
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
        letters = pa.array([unescape(sequence.encode("ascii")) for sequence in sequences], pa.binary())
    else:
        letters = pa.array(sequences, pa.string()).cast(pa.binary())
    return columns.batch(written, letters, source, first)


def _malformed(error: FileFormatError, path: str, record: int) -> InputError:
    line = "" if error.line is None else f" (line {error.line + 1})"
    found = decode(unescape(error.message.splitlines()[0].encode("utf-8"))).rstrip(".")
    if "differ" in found:
        advice = "the file is damaged, make or download it again"
    elif "remature end" in found:
        found, advice = "the file ends in the middle of it", "it was cut, copy or download it again"
    elif "start with '+'" in found:
        advice = "each record has to have four lines; join wrapped lines, for example with 'seqtk seq'"
    else:
        advice = "correct that record so that the file is FASTQ"
    return InputError(f"{path}: record {record}{line}: {found[0].lower() + found[1:]}; {advice}")
