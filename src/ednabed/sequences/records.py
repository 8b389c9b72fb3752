"""Schemas of record batches, sequence digests, and splitting batches to size.

Records are passed on as Arrow record batches, never as one Python object per record. Readers return ``RAW_SCHEMA``,
which ``normalisation.normalise`` turns into ``NORMALISED_SCHEMA`` and ``REJECTED_SCHEMA``. Tables may add the user's
columns after these; a column whose name is taken here gets the suffix ``_input`` (``free_name``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import Ints

MARKERS = ("marker", "marker_code", "target_gene", "markercode")
"""Columns that name the marker of a record; the first one present is used."""
BATCH_RECORDS = 8_192
BATCH_BASES = 8_000_000
MAX_LENGTH = 1_000_000_000
"""Maximum number of bases in one record: the 32-bit offsets of a column allow this, with room for its neighbours."""

_PART = 64 * 1024

RAW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sequence", pa.binary()),
        pa.field("abundance", pa.int64()),
        pa.field("sample", pa.string()),
        pa.field("lineage", pa.string()),
        pa.field("description", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
    ]
)
"""First columns of a batch as read. ``sequence`` is binary: the bases exactly as in the file."""

NORMALISED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("n_ambiguous", pa.int32(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        *(field for field in RAW_SCHEMA if field.name not in ("id", "sequence")),
    ]
)
"""First columns of an accepted batch. ``n_ambiguous`` counts the bases that are N after normalisation."""

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
    ]
)
"""All columns of a rejected batch: which record was rejected, and a short reason."""

SOURCE_RECORDS = "source_records"
"""Column (int64) with the number of database entries (GenBank, BOLD) that one record represents; null is unknown. The
column is missing if the input has no such column."""
RESERVED = frozenset((*NORMALISED_SCHEMA.names, SOURCE_RECORDS))
ORGANELLE = "organelle"
"""Column with the organelle that a gene is in, if headers or lineages (PR2) give it."""
LATE_COLUMNS = ("marker", ORGANELLE)
"""Columns that only some records of a file may fill: batches have them from the first such record onwards."""


def raw_records(ids: Sequence[str], sequences: Sequence[str | None], source: str = "") -> pa.RecordBatch:
    """Return sequences from memory as a raw batch; ``record`` is the position, counted from 0.

    None means an empty sequence.
    """
    n = len(ids)
    columns = {
        "id": pa.array(ids, pa.string()),
        "sequence": pa.array([(s or "").encode() for s in sequences], pa.binary()),
        "source": pa.array([source] * n, pa.string()),
        "record": pa.array(range(n), pa.int64()),
    }
    arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in RAW_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=RAW_SCHEMA)


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return the name that a user's column gets: its original name, with ``_input`` added until it is free.

    Args:
        name: The column's name in the user's table.
        taken: Names already given to the user's other columns.
    """
    others = taken if isinstance(taken, set) else set(taken)
    while name in RESERVED or name in others:
        name += "_input"
    return name


def markers_of(batch: pa.RecordBatch) -> list[str]:
    """Return the marker of each record, empty where it is unknown."""
    column = next((name for name in MARKERS if name in batch.schema.names), None)
    if column is None:
        return [""] * len(batch)
    return [str(marker or "").strip() for marker in batch.column(column).to_pylist()]


def unique_ids(batch: pa.RecordBatch) -> list[str]:
    """Return a key for each record that must be unique in its file: the id, with the marker where it is known.

    A BOLD specimen has one process ID for all its markers.
    """
    ids = batch.column("id").to_pylist()
    return [f"{name}\x1f{marker}" if marker else name for name, marker in zip(ids, markers_of(batch), strict=True)]


def digest(sequence: bytes) -> str:
    """Return the GA4GH refget digest of a normalised sequence: ``SQ.`` and 32 base64url characters.

    The 32 characters encode the first 24 bytes of the sequence's SHA-512 (``sha512t24u``).
    """
    return "SQ." + base64.urlsafe_b64encode(hashlib.sha512(sequence).digest()[:24]).decode("ascii")


def digest_array(sequences: pa.Array) -> pa.Array:
    """Return the digests of a column (string or binary, no nulls) as a string column."""
    data, offsets = flat(sequences)
    count = len(sequences)
    view = memoryview(data)
    sha512 = hashlib.sha512
    ends = offsets.tolist()
    parts = [sha512(view[start:end]).digest()[:24] for start, end in pairwise(ends)]
    # 24 bytes are 32 characters without padding, so all digests of a batch can be encoded at once.
    encoded = np.frombuffer(base64.urlsafe_b64encode(b"".join(parts)), np.uint8).reshape(count, 32)
    rows = np.empty((count, 35), np.uint8)
    rows[:, :3] = np.frombuffer(b"SQ.", np.uint8)
    rows[:, 3:] = encoded
    starts = np.arange(0, 35 * count + 1, 35, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(starts), pa.py_buffer(rows.tobytes()))


def flat(column: pa.Array) -> tuple[bytes, Ints]:
    """Return the concatenated bytes of a string or binary column, and the n + 1 offsets of its rows, starting at 0.

    A null counts as an empty row.
    """
    if column.null_count:
        column = column.fill_null(b"" if pa.types.is_binary(column.type) else "")
    if len(column) == 0:
        return b"", np.zeros(1, np.int64)
    _, raw_offsets, data = column.buffers()
    offsets = np.frombuffer(raw_offsets, np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    if data is None:
        return b"", offsets
    return bytes(memoryview(data)[offsets[0] : offsets[-1]]), offsets - offsets[0]


def positions_of(data: bytes, character: bytes) -> Ints:
    """Return all positions of one character, ascending. Works in parts that fit into the processor's cache."""
    codes = np.frombuffer(data, np.uint8)
    found = []
    for start in range(0, len(codes), _PART):
        positions = np.flatnonzero(codes[start : start + _PART] == ord(character))
        if len(positions):
            found.append(positions + start)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def pieces(batch: pa.RecordBatch, batch_size: int, bases: int = BATCH_BASES) -> Iterator[pa.RecordBatch]:
    """Split a batch, without copying, into batches of at most ``batch_size`` records and about ``bases`` bases.

    A single record with more bases than that forms its own batch.
    """
    if batch.num_rows <= batch_size and batch.column("sequence").nbytes <= bases:
        if batch.num_rows:
            yield batch
        return
    column = batch.column("sequence")
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + batch.num_rows + 1]
    start = 0
    while start < batch.num_rows:
        within = int(np.searchsorted(offsets, int(offsets[start]) + bases, side="right")) - 1
        end = min(start + batch_size, max(within, start + 1), batch.num_rows)
        yield batch.slice(start, end - start)
        start = end
