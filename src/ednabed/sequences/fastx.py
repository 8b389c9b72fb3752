"""FASTA and FASTQ to raw record batches, by dnaio, which is fast and right on malformed input."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
from dnaio import FastaReader, FastqReader
from dnaio.exceptions import FileFormatError

from ednabed.errors import InputError
from ednabed.sequences.headers import split_headers
from ednabed.sequences.opening import Source
from ednabed.sequences.records import BATCH_LETTERS, RAW_SCHEMA
from ednabed.sequences.stream import TextStream, unescape

_BUFFER = 256 * 1024
_LONGEST = 1_000_000_000


def read_fastx(source: Source, kind: Literal["fasta", "fastq"], batch_size: int) -> Iterator[pa.RecordBatch]:
    """Yield raw batches of at most ``batch_size`` records and about ``BATCH_LETTERS`` letters, in order.

    Raises:
        InputError: A record is malformed; the message names its number and line.
    """
    text = TextStream(source, kind)
    count = 0
    names: list[str] = []
    sequences: list[str] = []
    letters = 0
    try:
        stream = io.BufferedReader(text, _BUFFER)
        for record in FastaReader(stream) if kind == "fasta" else FastqReader(stream):
            names.append(record.name)
            sequence = record.sequence
            sequences.append(sequence)
            letters += len(sequence)
            if len(names) == batch_size or letters >= BATCH_LETTERS:
                if len(sequence) > _LONGEST:
                    raise InputError(
                        f"{source.path}: record {count + len(names)} has {len(sequence):,} letters, more than the "
                        f"{_LONGEST:,} that one record may have; cut it into pieces"
                    )
                yield _batch(names, sequences, text.escaped, source.name, count + 1)
                count += len(names)
                names, sequences, letters = [], [], 0
    except FileFormatError as error:
        raise _malformed(error, kind, source.path, count + len(names) + 1) from error
    if names:
        yield _batch(names, sequences, text.escaped, source.name, count + 1)


def _batch(names: list[str], sequences: list[str], escaped: bool, source: str, first: int) -> pa.RecordBatch:
    if escaped:
        names = [unescape(name) for name in names]
        sequences = [unescape(sequence) for sequence in sequences]
    headers = split_headers(names)
    count = len(names)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(headers.ids, pa.string()),
            pa.array(sequences, pa.string()).cast(pa.binary()),
            _column(headers.abundances, pa.int64(), count),
            _column(headers.samples, pa.string(), count),
            _column(headers.lineages, pa.string(), count),
            pa.array(headers.descriptions, pa.string()),
            pa.repeat(pa.scalar(source), count),
            pa.array(np.arange(first, first + count)),
        ],
        schema=RAW_SCHEMA,
    )


def _column(values: list[str | None] | list[int | None] | None, kind: pa.DataType, count: int) -> pa.Array:
    return pa.nulls(count, kind) if values is None else pa.array(values, kind)


def _malformed(error: FileFormatError, kind: str, path: str, record: int) -> InputError:
    line = "" if error.line is None else f" (line {error.line + 1})"
    found = unescape(error.message.splitlines()[0].rstrip("."))
    if "differ" in found:
        advice = "the file is damaged, make or download it again"
    elif "remature end" in found:
        found, advice = "the file ends in the middle of it", "it was cut, copy or download it again"
    elif "start with '+'" in found:
        advice = "each record has to have four lines; join wrapped lines, for example with 'seqtk seq'"
    else:
        advice = f"correct that record so that the file is {kind.upper()}"
    return InputError(f"{path}: record {record}{line}: {found[0].lower() + found[1:]}; {advice}")
