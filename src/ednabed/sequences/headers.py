"""What the header lines of FASTA and FASTQ records say: id, size, sample, lineage and the rest.

Recognised are VSEARCH's and USEARCH's ``;size=12``, ``;sample=S1`` (``barcodelabel``) and ``;tax=d:…,p:…``, and
lineages that cannot be mistaken: prefixes (``k__Fungi;p__…``, also behind UNITE's ``|``) and MIDORI's ``root_1;…``
(also behind ``###``). Everything else stays in the description. A batch none of whose headers holds ``;``, ``=`` or
``__`` is only split at the first white space, all headers at once.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.lineage import tidy_lineage
from ednabed.sequences.stream import decode

_SPECIAL = (b";", b"=", b"__", b"\t", b"\v", b"\f", b"  ", b"\n ", b" \n")
"""What makes a batch's headers be read one by one: annotations, lineages, and white space that needs care."""
_KINDS = (pa.string(), pa.int64(), pa.string(), pa.string(), pa.string())
_SIZE = re.compile(r"(?:^|[;\s])size=(\d{1,18})(?=[;\s]|$)")
_SAMPLE = re.compile(r"(?:^|[;\s])(?:sample|barcodelabel)=([^;\s]+)")
_TAX = re.compile(r"(?:^|[;\s])tax=\s*([dkpcofgs]:[^;]*)")
_OTHER = re.compile(r";[A-Za-z_][\w.]*=")
_LINEAGE = re.compile(r"(?:(?:sk|k|d)__|D_0__|root(?:_1)?;)")
_JOINED_LINEAGE = re.compile(r"([^\s|#][^\s#]*?)(?:\||###)((?:sk__|k__|d__|root(?:_1)?;)[^|]*)(?:\|(.*))?$")


class Header(NamedTuple):
    """The parts of one header; None where it does not say."""

    id: str
    abundance: int | None = None
    sample: str | None = None
    lineage: str | None = None
    description: str | None = None


def header_columns(written: bytes, sequences: pa.Array, source: str, first: int) -> list[pa.Array]:
    """Return the columns of ``RAW_SCHEMA`` for a batch of FASTA or FASTQ records.

    Args:
        written: The header lines without their ``>`` or ``@``, joined by line ends.
        sequences: The column of sequences.
        source: What the column ``source`` says.
        first: Number of the first record.
    """
    count = len(sequences)
    framed = b"\n" + written + b"\n"
    plain = None if any(mark in framed for mark in _SPECIAL) else _split_plain(written)
    if plain is None:
        headers = [parse_header(decode(line)) for line in written.split(b"\n")]
        ids, abundances, samples, lineages, descriptions = (
            pa.array(values, kind) for values, kind in zip(zip(*headers, strict=True), _KINDS, strict=True)
        )
    else:
        ids, descriptions = plain
        abundances, samples, lineages = pa.nulls(count, pa.int64()), *(pa.nulls(count, pa.string()),) * 2
    records = pa.array(np.arange(first, first + count, dtype=np.int64))
    return [ids, sequences, abundances, samples, lineages, descriptions, pa.repeat(pa.scalar(source), count), records]


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


def parse_header(text: str) -> Header:
    """Read one header line, without its ``>`` or ``@``."""
    text = text.strip()
    size = sample = lineage = None
    if "=" in text:
        if match := _SIZE.search(text):
            size, text = int(match[1]), _without(text, match)
        if match := _SAMPLE.search(text):
            sample, text = match[1], _without(text, match)
        if match := _TAX.search(text):
            lineage, text = _known(match[1]), _without(text, match)
    extra = ""
    joined = _JOINED_LINEAGE.match(text)
    if joined and (found := _known(joined[2])):
        name, lineage, rest = joined[1], lineage or found, (joined[3] or "")
    else:
        name, _, rest = text.partition(" ") if "\t" not in text else _partition(text)
        if other := _OTHER.search(name):
            name, extra = name[: other.start()], name[other.start() + 1 :].strip(";")
    rest = rest.strip()
    if _LINEAGE.match(rest) and (found := _known(rest)):
        lineage, rest = lineage or found, ""
    description = " ".join(part for part in (rest, extra) if part)
    return Header(name.rstrip(";"), size, sample, lineage, description or None)


def _partition(text: str) -> tuple[str, str, str]:
    first, *rest = text.split(None, 1)
    return first, " ", rest[0] if rest else ""


def _without(text: str, match: re.Match[str]) -> str:
    """Cut an annotation out; what follows keeps its own separator."""
    return text[: match.start()] + text[match.end() :]


def _known(text: str) -> str | None:
    """Read a lineage that a header holds; one that makes no sense is left where it is."""
    try:
        return tidy_lineage(text)
    except InputError:
        return None
