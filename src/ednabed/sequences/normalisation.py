"""Normalise sequences to upper-case A, C, G, T and N, or give the reason why a record is rejected.

Lower case becomes upper case, U becomes T, gaps (``-`` and ``.``) and white space are removed, and IUPAC codes become
N (or reject the record with ``strict``). Any other character rejects the record, and the reason gives the character
and its position. A batch is one buffer here, so one table look-up handles all its characters; single records are
inspected only if there is a problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Ints
from ednabed.errors import InputError
from ednabed.sequences.records import NORMALISED_SCHEMA, RAW_SCHEMA, REJECTED_SCHEMA, digest_array, flat, positions_of

Alphabet = Literal["iupac", "strict"]

AMBIGUITY_CODES = "RYSWKMBDHV"
GAPS = "-."
_WHITE = " \t\n\r\v\f"
# Marks by which the look-up replaces characters that are not bases; no mark can be a base of the result.
_REMOVED, _CODE, _INVALID = b"-", b"!", b"?"


def _table(alphabet: Alphabet) -> bytes:
    table = bytearray(_INVALID * 256)
    codes = b"N" if alphabet == "iupac" else _CODE
    for characters, result in (("U", b"T"), (AMBIGUITY_CODES, codes), (GAPS + _WHITE, _REMOVED)):
        for character in characters:
            table[ord(character)] = table[ord(character.lower())] = ord(result)
    for base in "ACGTN":
        table[ord(base)] = table[ord(base.lower())] = ord(base)
    return bytes(table)


_TABLES: dict[Alphabet, bytes] = {"iupac": _table("iupac"), "strict": _table("strict")}
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def normalise(
    batch: pa.RecordBatch, *, alphabet: Alphabet = "iupac", min_length: int = 20, with_digest: bool = True
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Normalise the sequences of a raw batch and separate accepted from rejected records.

    Args:
        batch: A batch that starts with the columns of ``RAW_SCHEMA``; further columns are kept.
        alphabet: ``iupac`` turns ambiguity codes into N; ``strict`` rejects a record that has one (N itself passes).
        min_length: Minimum number of bases after normalisation, including N.
        with_digest: False omits the column ``digest``, for callers that do not need it.

    Returns:
        The accepted records (``NORMALISED_SCHEMA`` and the further columns) and the rejected ones
        (``REJECTED_SCHEMA``), both in the order of the input. Either may have no rows.
    """
    data, offsets = flat(batch.column("sequence"))
    bases = data.translate(_TABLES[alphabet])
    invalid = _first_invalid(bases, offsets)
    ambiguous = _count(bases, b"N", offsets)
    lengths = np.diff(offsets)
    if _REMOVED in bases:
        lengths = lengths - _count(bases, _REMOVED, offsets)
        bases = bases.translate(None, _REMOVED)
    reasons = _reasons(batch, data, offsets, lengths, ambiguous, invalid, min_length)

    bounds = np.zeros(len(offsets), np.int32)
    np.cumsum(lengths, out=bounds[1:])
    computed = {
        "sequence": pa.StringArray.from_buffers(batch.num_rows, pa.py_buffer(bounds), pa.py_buffer(bases)),
        "length": pa.array(lengths, pa.int32()),
        "n_ambiguous": pa.array(ambiguous, pa.int32()),
    }
    further = [field for field in batch.schema if field.name not in RAW_SCHEMA.names]
    fields = [field for field in (*NORMALISED_SCHEMA, *further) if field.name != "digest"]
    accepted = pa.RecordBatch.from_arrays(
        [computed[field.name] if field.name in computed else batch.column(field.name) for field in fields],
        schema=pa.schema(fields),
    )
    if reasons:
        keep = np.ones(batch.num_rows, np.bool_)
        keep[list(reasons)] = False
        accepted = accepted.filter(pa.array(keep))
    if with_digest:
        index = NORMALISED_SCHEMA.get_field_index("digest")
        accepted = accepted.add_column(index, NORMALISED_SCHEMA.field(index), digest_array(accepted.column("sequence")))
    return accepted, _rejected(batch, reasons)


def _count(bases: bytes, character: bytes, offsets: Ints) -> Ints:
    """Count a character in each row."""
    if character not in bases:
        return np.zeros(len(offsets) - 1, np.int64)
    return np.diff(np.searchsorted(positions_of(bases, character), offsets))


def _first_invalid(bases: bytes, offsets: Ints) -> dict[int, int]:
    """Map each row with a character that is not accepted to the position of the first one in the whole buffer."""
    if _INVALID not in bases and _CODE not in bases:
        return {}
    codes = np.frombuffer(bases, np.uint8)
    positions = np.flatnonzero((codes == ord(_INVALID)) | (codes == ord(_CODE)))
    firsts = np.searchsorted(positions, offsets)
    return {row: int(positions[firsts[row]]) for row in np.flatnonzero(np.diff(firsts)).tolist()}


def _reasons(
    batch: pa.RecordBatch,
    data: bytes,
    offsets: Ints,
    lengths: Ints,
    ambiguous: Ints,
    invalid: dict[int, int],
    min_length: int,
) -> dict[int, str]:
    """Return the reason for each rejected row. If several apply, the last one assigned here is reported."""
    reasons: dict[int, str] = {}
    for row in np.flatnonzero(lengths < min_length).tolist():
        length = "1 base" if lengths[row] == 1 else f"{lengths[row]} bases"
        reasons[row] = f"{length}, fewer than the minimum of {min_length}"
    for row in np.flatnonzero(lengths == ambiguous).tolist():
        given = data[offsets[row] : offsets[row + 1]]
        reasons[row] = "contains no A, C, G or T" if given.strip() else "empty sequence"
    for row, position in invalid.items():
        reasons[row] = _describe(data[offsets[row] : offsets[row + 1]], position - int(offsets[row]))
    ids = batch.column("id")
    if pc.any(pc.equal(pc.binary_length(ids), 0)).as_py():
        for row, name in enumerate(ids.to_pylist()):
            if not name:
                reasons[row] = "the record has no id"
    return reasons


def _describe(given: bytes, index: int) -> str:
    """Name the first character that is not accepted. All before it are ASCII, so its byte index is its position."""
    character = given[index : index + 4].decode("utf-8", "replace")[0]
    if character == "\ufffd":
        character = given[index : index + 1].decode("latin-1")
    if character.upper() in AMBIGUITY_CODES:
        return f"ambiguity code {character!r} at position {index + 1} (alphabet strict)"
    return f"invalid character {character!r} at position {index + 1}"


def _rejected(batch: pa.RecordBatch, reasons: dict[int, str]) -> pa.RecordBatch:
    rows = sorted(reasons)
    taken = batch.select(["id", "source", "record"]).take(pa.array(rows, pa.int64()))
    reason = pa.array([reasons[row] for row in rows], pa.string())
    return pa.RecordBatch.from_arrays(
        [taken.column("id"), reason, taken.column("source"), taken.column("record")], schema=REJECTED_SCHEMA
    )


def normalise_one(text: str, alphabet: Alphabet = "iupac") -> bytes:
    """Normalise one pasted sequence: only bases, or one FASTA record, whose header line is dropped.

    Args:
        text: The sequence, on any number of lines.
        alphabet: See ``normalise``.

    Raises:
        InputError: The sequence is empty, contains no A, C, G or T, or has a character that is not accepted.
    """
    text = text.strip()
    if text.startswith(">"):
        text = text.partition("\n")[2]
    data = text.encode("utf-8")
    bases = data.translate(_TABLES[alphabet])
    invalid = _first_invalid(bases, np.array([0, len(data)], np.int64))
    if invalid:
        raise InputError(
            f"the sequence cannot be used: {_describe(data, invalid[0])}; the bases of DNA are A, C, G, T and N"
        )
    bases = bases.translate(None, _REMOVED)
    if not bases.strip(b"N"):
        reason = "it contains no A, C, G or T" if bases or data.strip() else "it is empty"
        raise InputError(f"the sequence cannot be used: {reason}; paste the bases of one DNA sequence")
    return bases


def reverse_complement(sequences: Sequence[bytes]) -> list[bytes]:
    """Return the reverse complement of each normalised sequence, in the same order. N stays N."""
    if not sequences:
        return []
    # One look-up and one reversal for all sequences; this also reverses the order of the rows, which is restored below.
    rows = b"\n".join(sequences).translate(_COMPLEMENT)[::-1].split(b"\n")
    rows.reverse()
    return rows
