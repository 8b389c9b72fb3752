"""Turn the header lines of FASTA and FASTQ into the columns of a raw batch.

If no header of a batch contains a mark of a format that ``headers`` parses, the headers are only split at the first
white space, all at once. Columns that only some headers fill (``marker``, ``organelle``, ``by_sample``) are added from
the first batch of a file that has them onwards.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Ints
from ednabed.sequences.headers import PIPED, Header, parse_header
from ednabed.sequences.records import RAW_SCHEMA
from ednabed.sequences.sniffing import UTF8_BOM
from ednabed.sequences.stream import decode_text

_SPECIAL = (b";", b"=", b"__", b"{", b"\t", b"\v", b"\f", b"  ", b"\n ", b" \n")
"""Marks that make a batch's headers be parsed one by one: annotations, lineages and unusual white space."""
_EXTRAS = {
    "marker": pa.string(),
    "organelle": pa.string(),
    "by_sample": pa.list_(pa.struct([("sample", pa.string()), ("reads", pa.int64())])),
}
"""Columns that only some headers fill, and their types."""


class HeaderColumns:
    """Turn the headers of one file into columns, batch by batch.

    Args:
        head: The first bytes of the file, which decide whether its headers are lineages without ids.
        mark: The byte that headers begin with.
    """

    def __init__(self, head: bytes = b"", mark: bytes = b">") -> None:
        self._are_lineages = _are_lineages(head, mark)
        self._extras: tuple[str, ...] = ()

    def batch(self, written: bytes, sequences: pa.Array, source: str, first: int) -> pa.RecordBatch:
        """Return a batch of records: ``RAW_SCHEMA``, then the extra columns seen in the file so far.

        Args:
            written: The header lines without their ``>`` or ``@``, joined by line ends.
            sequences: The column of sequences.
            source: The value of the column ``source``.
            first: Number of the first record.
        """
        count = len(sequences)
        # White space at either end counts as next to a line end. The text may be one very long line, so don't copy it.
        is_special = (
            any(mark in written for mark in _SPECIAL)
            or written.startswith(b" ")
            or written.endswith(b" ")
            or (b"|" in written and PIPED.search(b"\n" + written + b"\n") is not None)
        )
        plain = None if is_special else _split_plain(written)
        if plain is None:
            headers = [
                parse_header(decode_text(line), are_lineages=self._are_lineages) for line in written.split(b"\n")
            ]
            columns = _columns(headers, source, first)
            found = {name for name in _EXTRAS if any(getattr(header, name) for header in headers)}
            self._extras = tuple(name for name in _EXTRAS if name in found or name in self._extras)
            extras = [pa.array([_extra(h, name) for h in headers], _EXTRAS[name]) for name in self._extras]
        else:
            none = pa.nulls(count, pa.string())
            ids, descriptions = plain
            columns = {"id": ids, "abundance": pa.nulls(count, pa.int64()), "sample": none, "lineage": none}
            columns["description"] = descriptions
            extras = [pa.nulls(count, _EXTRAS[name]) for name in self._extras]
        columns["sequence"] = sequences
        columns["source"] = pa.repeat(pa.scalar(source), count)
        columns["record"] = pa.array(np.arange(first, first + count, dtype=np.int64))
        schema = pa.schema([*RAW_SCHEMA, *(pa.field(name, _EXTRAS[name]) for name in self._extras)])
        return pa.RecordBatch.from_arrays([*(columns[name] for name in RAW_SCHEMA.names), *extras], schema=schema)


def _are_lineages(head: bytes, mark: bytes) -> bool:
    """Return whether the headers at the beginning of a file are lineages without ids."""
    lines = [line[1:] for line in head.removeprefix(UTF8_BOM).splitlines() if line.startswith(mark)][:500]
    texts = [decode_text(line).strip() for line in lines]
    lineages = [text for text in texts if text.count(";") >= 4 and not set("=|") & set(text) and "__" not in text]
    ids = [text for text in lineages if re.search(r"\d", text.split(";")[0])]
    return len(lineages) * 2 > len(texts) and len(ids) * 10 < len(lineages)


def _columns(headers: list[Header], source: str, first: int) -> dict[str, pa.Array]:
    ids = [h.id or (generated_id(source, str(first + i)) if h.lineage else "") for i, h in enumerate(headers)]
    return {
        "id": pa.array(ids, pa.string()),
        "abundance": pa.array([h.abundance for h in headers], pa.int64()),
        **{
            name: pa.array([getattr(h, name) for h in headers], pa.string())
            for name in ("sample", "lineage", "description")
        },
    }


def generated_id(source: str, number: str) -> str:
    """Return an id for a record whose header has none: the file name without extension, and the record number."""
    return f"{PurePath(source.removesuffix('.gz').removesuffix('.zst')).stem}_{number}"


def _extra(header: Header, name: str) -> Any:
    value = getattr(header, name)
    return [{"sample": s, "reads": n} for s, n in value] if name == "by_sample" and value is not None else value


def _split_plain(written: bytes) -> tuple[pa.Array, pa.Array] | None:
    """Split all header lines at their first space at once; return None if they are not UTF-8."""
    if not written.isascii():
        try:
            written.decode("utf-8")
        except UnicodeDecodeError:
            return None
    codes = np.frombuffer(written, np.uint8)
    ends = np.append(np.flatnonzero(codes == ord("\n")), len(codes))
    starts = np.concatenate(([0], ends[:-1] + 1))
    spaces = np.append(np.flatnonzero(codes == ord(" ")), len(codes))
    splits = np.minimum(spaces[np.searchsorted(spaces, starts)], ends)
    rests = np.minimum(splits + 1, ends)
    descriptions = _strings(codes, rests, ends)
    if (rests == ends).any():
        descriptions = pc.if_else(pa.array(rests < ends), descriptions, pa.scalar(None, pa.string()))
    return _strings(codes, starts, splits), descriptions


def _strings(codes: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> pa.Array:
    """Gather spans of a buffer, in order and one per line, into a string column."""
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(ends - starts, out=offsets[1:])
    # One byte per byte of text, because one header may be as long as the file.
    steps = np.zeros(len(codes) + 1, np.int8)
    steps[starts] += 1
    steps[ends] -= 1
    is_inside = np.cumsum(steps, dtype=np.int8, out=steps)[:-1].view(np.bool_)
    return pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(codes[is_inside]))
