"""From letters as they stand in a file to upper-case A, C, G, T and N, or to a reason why not.

Case is folded, U is T, gaps (``-`` and ``.``) and white space are removed, IUPAC codes become N (or reject the record
under ``strict``). Anything else rejects the record with the letter and its position. A whole batch is one buffer here:
one table look-up over all its letters, and work on single records only where there is trouble.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.records import NORMALISED_SCHEMA, RAW_SCHEMA, REJECTED_SCHEMA, digest_array, flat, places_of

Alphabet = Literal["iupac", "strict"]

AMBIGUITY_CODES = "RYSWKMBDHV"
GAPS = "-."
_WHITE = " \t\n\r\v\f"
# Marks that the look-up leaves in place of what is no base; none of them can be a letter of the result.
_REMOVED, _CODE, _ALIEN = b"-", b"!", b"?"


def _table(alphabet: Alphabet) -> bytes:
    table = bytearray(_ALIEN * 256)
    codes = b"N" if alphabet == "iupac" else _CODE
    for letters, result in (("U", b"T"), (AMBIGUITY_CODES, codes), (GAPS + _WHITE, _REMOVED)):
        for letter in letters:
            table[ord(letter)] = table[ord(letter.lower())] = ord(result)
    for letter in "ACGTN":
        table[ord(letter)] = table[ord(letter.lower())] = ord(letter)
    return bytes(table)


_TABLES: dict[Alphabet, bytes] = {"iupac": _table("iupac"), "strict": _table("strict")}
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def normalise(
    batch: pa.RecordBatch, *, alphabet: Alphabet = "iupac", min_length: int = 20, with_digest: bool = True
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Normalise the sequences of a raw batch and part the records that can be used from those that cannot.

    Args:
        batch: A batch that starts with the columns of ``RAW_SCHEMA``; further columns are kept.
        alphabet: ``iupac`` turns ambiguity codes into N; ``strict`` rejects a record that has one (N itself passes).
        min_length: Fewest letters, counted after normalising, N included.
        with_digest: False leaves the column ``digest`` out, for callers that never look at it.

    Returns:
        The accepted records (``NORMALISED_SCHEMA`` and the further columns) and the rejected ones
        (``REJECTED_SCHEMA``), both in the order of the input. Either may have no rows.
    """
    data, offsets = flat(batch.column("sequence"))
    letters = data.translate(_TABLES[alphabet])
    aliens = _aliens(letters, offsets)
    ambiguous = _count(letters, b"N", offsets)
    kept = np.diff(offsets)
    if _REMOVED in letters:
        kept = kept - _count(letters, _REMOVED, offsets)
        letters = letters.translate(None, _REMOVED)
    reasons = _reasons(batch, data, offsets, kept, ambiguous, aliens, min_length)

    bounds = np.zeros(len(offsets), np.int32)
    np.cumsum(kept, out=bounds[1:])
    made = {
        "sequence": pa.StringArray.from_buffers(batch.num_rows, pa.py_buffer(bounds), pa.py_buffer(letters)),
        "length": pa.array(kept, pa.int32()),
        "n_ambiguous": pa.array(ambiguous, pa.int32()),
    }
    further = [field for field in batch.schema if field.name not in RAW_SCHEMA.names]
    fields = [field for field in (*NORMALISED_SCHEMA, *further) if field.name != "digest"]
    accepted = pa.RecordBatch.from_arrays(
        [made[field.name] if field.name in made else batch.column(field.name) for field in fields],
        schema=pa.schema(fields),
    )
    if reasons:
        keep = np.ones(batch.num_rows, np.bool_)
        keep[list(reasons)] = False
        accepted = accepted.filter(pa.array(keep))
    if with_digest:
        place = NORMALISED_SCHEMA.get_field_index("digest")
        accepted = accepted.add_column(place, NORMALISED_SCHEMA.field(place), digest_array(accepted.column("sequence")))
    return accepted, _rejected(batch, reasons)


def _count(letters: bytes, letter: bytes, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count a letter in each row."""
    if letter not in letters:
        return np.zeros(len(offsets) - 1, np.int64)
    return np.diff(np.searchsorted(places_of(letters, letter), offsets))


def _aliens(letters: bytes, offsets: npt.NDArray[np.int64]) -> dict[int, int]:
    """Map each row that holds a letter which is not accepted to the place of the first one in the whole buffer."""
    if _ALIEN not in letters and _CODE not in letters:
        return {}
    codes = np.frombuffer(letters, np.uint8)
    places = np.flatnonzero((codes == ord(_ALIEN)) | (codes == ord(_CODE)))
    firsts = np.searchsorted(places, offsets)
    return {row: int(places[firsts[row]]) for row in np.flatnonzero(np.diff(firsts)).tolist()}


def _reasons(
    batch: pa.RecordBatch,
    data: bytes,
    offsets: npt.NDArray[np.int64],
    kept: npt.NDArray[np.int64],
    ambiguous: npt.NDArray[np.int64],
    aliens: dict[int, int],
    min_length: int,
) -> dict[int, str]:
    """Say for each row that is rejected why. Where there are several reasons the last one written here is told."""
    reasons: dict[int, str] = {}
    for row in np.flatnonzero(kept < min_length).tolist():
        letters = "1 letter" if kept[row] == 1 else f"{kept[row]} letters"
        reasons[row] = f"{letters}, fewer than the least of {min_length}"
    for row in np.flatnonzero(kept == ambiguous).tolist():
        given = data[offsets[row] : offsets[row + 1]]
        reasons[row] = "holds no A, C, G or T" if given.strip() else "empty sequence"
    for row, place in aliens.items():
        reasons[row] = _describe(data[offsets[row] : offsets[row + 1]], place - int(offsets[row]))
    ids = batch.column("id")
    if pc.any(pc.equal(pc.binary_length(ids), 0)).as_py():
        for row, name in enumerate(ids.to_pylist()):
            if not name:
                reasons[row] = "the record has no id"
    return reasons


def _describe(given: bytes, place: int) -> str:
    """Name the first letter that is not accepted. All before it are ASCII, so its byte is also its position."""
    letter = given[place : place + 4].decode("utf-8", "replace")[0]
    if letter == "\ufffd":
        letter = given[place : place + 1].decode("latin-1")
    if letter.upper() in AMBIGUITY_CODES:
        return f"ambiguity code {letter!r} at position {place + 1} (alphabet strict)"
    return f"letter {letter!r} at position {place + 1}"


def _rejected(batch: pa.RecordBatch, reasons: dict[int, str]) -> pa.RecordBatch:
    rows = sorted(reasons)
    taken = batch.select(["id", "source", "record"]).take(pa.array(rows, pa.int64()))
    why = pa.array([reasons[row] for row in rows], pa.string())
    return pa.RecordBatch.from_arrays(
        [taken.column("id"), why, taken.column("source"), taken.column("record")], schema=REJECTED_SCHEMA
    )


def normalise_one(text: str, alphabet: Alphabet = "iupac") -> bytes:
    """Normalise one pasted sequence: bare letters, or one FASTA record whose header line is left out.

    Args:
        text: The sequence, on any number of lines.
        alphabet: As for ``normalise``.

    Raises:
        InputError: It is empty, holds no A, C, G or T, or has a letter that is not accepted.
    """
    text = text.strip()
    if text.startswith(">"):
        text = text.partition("\n")[2]
    data = text.encode("utf-8")
    letters = data.translate(_TABLES[alphabet])
    aliens = _aliens(letters, np.array([0, len(data)], np.int64))
    if aliens:
        raise InputError(f"the sequence cannot be used: {_describe(data, aliens[0])}; DNA letters are A, C, G, T and N")
    letters = letters.translate(None, _REMOVED)
    if not letters.strip(b"N"):
        reason = "it holds no A, C, G or T" if letters or data.strip() else "it is empty"
        raise InputError(f"the sequence cannot be used: {reason}; paste the letters of one DNA sequence")
    return letters


def reverse_complement(sequences: Sequence[bytes]) -> list[bytes]:
    """Return the other strand of each normalised sequence, in the same order. N stays N."""
    if not sequences:
        return []
    # One look-up and one reversal of everything: the order of the rows is turned round too, and put right at the end.
    rows = b"\n".join(sequences).translate(_COMPLEMENT)[::-1].split(b"\n")
    rows.reverse()
    return rows
