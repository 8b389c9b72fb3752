"""Header lines of FASTA and FASTQ to the columns of a raw batch.

A batch none of whose headers holds a mark of what ``headers`` understands is only split at the first white space, all
headers at once.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.sequences.headers import Header, parse_header
from ednabed.sequences.records import RAW_SCHEMA
from ednabed.sequences.sniffing import UTF8_BOM
from ednabed.sequences.stream import decode

_SPECIAL = (b";", b"=", b"__", b"{", b"\t", b"\v", b"\f", b"  ", b"\n ", b" \n")
"""What makes a batch's headers be read one by one: annotations, lineages, and white space that needs care."""
_EXTRAS = {
    "marker": pa.string(),
    "organelle": pa.string(),
    "by_sample": pa.list_(pa.struct([("sample", pa.string()), ("reads", pa.int64())])),
}
"""Columns that some headers fill beside those of ``RAW_SCHEMA``."""


class HeaderStyle(NamedTuple):
    """What the headers of a file have in common, as far as its beginning tells.

    Attributes:
        extras: The columns of ``_EXTRAS`` that they fill.
        are_lineages: Whether they are lineages without an id.
        are_piped: Whether ``|`` separates parts that are understood.
    """

    extras: tuple[str, ...] = ()
    are_lineages: bool = False
    are_piped: bool = False


PLAIN = HeaderStyle()


def header_style(head: bytes, mark: bytes = b">") -> HeaderStyle:
    """Look at the headers at the beginning of a file.

    Args:
        head: The first bytes.
        mark: What headers begin with.
    """
    lines = [line[1:] for line in head.removeprefix(UTF8_BOM).splitlines() if line.startswith(mark)][:500]
    texts = [decode(line).strip() for line in lines]
    lineages = [text for text in texts if text.count(";") >= 4 and not set("=|") & set(text) and "__" not in text]
    ids = [text for text in lineages if re.search(r"\d", text.split(";")[0])]
    are_lineages = len(lineages) * 2 > len(texts) and len(ids) * 10 < len(lineages)
    headers = [parse_header(text, are_lineages=are_lineages) for text in texts]
    extras = tuple(name for name in _EXTRAS if any(getattr(header, name) for header in headers))
    piped = [h for h, text in zip(headers, texts, strict=True) if "|" in text and (h.lineage or h.marker)]
    return HeaderStyle(extras, are_lineages, bool(piped))


def header_columns(
    written: bytes, sequences: pa.Array, source: str, first: int, style: HeaderStyle = PLAIN
) -> pa.RecordBatch:
    """Return a batch of FASTA or FASTQ records: ``RAW_SCHEMA``, then the extras of the style.

    Args:
        written: The header lines without their ``>`` or ``@``, joined by line ends.
        sequences: The column of sequences.
        source: What the column ``source`` says.
        first: Number of the first record.
        style: What the headers of the file have in common.
    """
    count = len(sequences)
    framed = b"\n" + written + b"\n"
    marks = (*_SPECIAL, b"|") if style.are_piped else _SPECIAL
    plain = None if any(mark in framed for mark in marks) else _split_plain(written)
    none = pa.nulls(count, pa.string())
    extras: list[pa.Array] = [pa.nulls(count, _EXTRAS[name]) for name in style.extras]
    if plain is None:
        headers = [parse_header(decode(line), are_lineages=style.are_lineages) for line in written.split(b"\n")]
        ids = pa.array(
            # A header that is a lineage has no id, so its number stands in.
            [h.id or (made_id(source, str(first + i)) if h.lineage else "") for i, h in enumerate(headers)], pa.string()
        )  # fmt: skip
        abundances = pa.array([h.abundance for h in headers], pa.int64())
        samples, lineages, descriptions = (
            pa.array([getattr(h, name) for h in headers], pa.string()) for name in ("sample", "lineage", "description")
        )
        extras = [pa.array([_extra(h, name) for h in headers], _EXTRAS[name]) for name in style.extras]
    else:
        ids, descriptions = plain
        abundances, samples, lineages = pa.nulls(count, pa.int64()), none, none
    records = pa.array(np.arange(first, first + count, dtype=np.int64))
    sources = pa.repeat(pa.scalar(source), count)
    columns = [ids, sequences, abundances, samples, lineages, descriptions, sources, records, *extras]
    schema = pa.schema([*RAW_SCHEMA, *(pa.field(name, _EXTRAS[name]) for name in style.extras)])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def made_id(source: str, number: str) -> str:
    """Return the id of a record whose header has none: the name of the file without ending, and the record's number."""
    return f"{PurePath(source.removesuffix('.gz').removesuffix('.zst')).stem}_{number}"


def _extra(header: Header, name: str) -> Any:
    value = getattr(header, name)
    return [{"sample": s, "reads": n} for s, n in value] if name == "by_sample" and value is not None else value


def _split_plain(written: bytes) -> tuple[pa.Array, pa.Array] | None:
    """Split header lines at their first space, all at once; None when they are not UTF-8."""
    if not written.isascii():
        try:
            written.decode("utf-8")
        except UnicodeDecodeError:
            return None
    letters = np.frombuffer(written + b"\n", np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    spaces = np.append(np.flatnonzero(letters == ord(" ")), len(letters))
    splits = np.minimum(spaces[np.searchsorted(spaces, starts)], ends)
    rests = np.minimum(splits + 1, ends)
    descriptions = _strings(letters, rests, ends)
    if (rests == ends).any():
        descriptions = pc.if_else(pa.array(rests < ends), descriptions, pa.scalar(None, pa.string()))
    return _strings(letters, starts, splits), descriptions


def _strings(letters: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Array:
    """Gather spans of a buffer into a column of text."""
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(ends - starts, out=offsets[1:])
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
    return pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(letters[places]))
