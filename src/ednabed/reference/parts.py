"""The Parquet files of one run in a build: its records, and the distinct sequences that it added.

``records-00000.parquet`` has one row per record: ``row`` (number of its vector), ``dataset``, ``run_id``, ``seq_idx``,
then the columns of the run without the bases. ``sequences-00000.parquet`` has one row per vector that this run added:
``digest``, ``length``, ``n_ambiguous``, ``sequence``. Small row groups make access to single rows fast (a few ms for
ten hits among a million records), and because each file belongs to one run, adding a run rewrites no files.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ednabed.base.arrays import Bools, Ints
from ednabed.base.files import sha256_file
from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.base.topk import lengths
from ednabed.errors import StoreError
from ednabed.reference.columns import as_text, free_names
from ednabed.reference.sources import Source
from ednabed.sequences.records import MARKERS
from ednabed.store.runs import RECORDS, Run, reread

_ROW_GROUP = 1024
_BATCH = 65_536
_DIGEST = re.compile(r"SQ\.[A-Za-z0-9_-]{32}")
# Columns that a run of an older tool lacks.
_BARE = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("length", pa.int32()),
        pa.field("abundance", pa.int64()),
        pa.field("sample", pa.string()),
        pa.field("lineage", pa.string()),
        pa.field("source", pa.string()),
    ]
)
SEQUENCES_SCHEMA = pa.schema(
    [
        pa.field("digest", pa.string()),
        pa.field("length", pa.int32()),
        pa.field("n_ambiguous", pa.int32()),
        pa.field("sequence", pa.string()),
    ]
)
_TAKEN_SEQUENCES = pa.schema(
    [SEQUENCES_SCHEMA.field("digest"), SEQUENCES_SCHEMA.field("length"), pa.field("sequence", pa.large_string())]
)


def taken_sequences(bases: bool) -> pa.Schema:
    """Return the columns of ``Collection.take_sequences``, with or without the bases."""
    return pa.schema([field for field in _TAKEN_SEQUENCES if bases or field.name != "sequence"])


def records_name(part: int) -> str:
    """Return the file name of the records of a part."""
    return f"records-{part:05d}.parquet"


def sequences_name(part: int) -> str:
    """Return the file name of the distinct sequences that a part added."""
    return f"sequences-{part:05d}.parquet"


@dataclass(frozen=True)
class Examined:
    """A run that was read completely and found intact.

    Attributes:
        source: The run.
        rows: Number of its vectors.
        names: Digest of each record, large_string. The sequences of a run of an older tool are unknown; there each row
            has a unique text instead, so that it counts as distinct.
    """

    source: Source
    rows: int
    names: pa.Array


def examine(source: Source) -> Examined:
    """Read a run completely and check the checksums, the shape and every value.

    Raises:
        StoreError: The run cannot be added; the message states why.
    """
    return reread(source.run, lambda run: _examine(replace(source, run=run)))


def _examine(source: Source) -> Examined:
    run = source.run
    vectors = run.vectors()
    if vectors.dimension != source.spec.dimension:
        raise StoreError(
            f"{vectors.path} has vectors of {vectors.dimension} dimensions, but {source.spec.model} produces "
            f"{source.spec.dimension}"
        )
    if not vectors.rows:
        raise StoreError(f"{vectors.path} contains no vectors")
    if run.manifest is not None:
        for name in (vectors.path.name, RECORDS):
            expected = run.manifest.files.get(name, {}).get("sha256")
            if not (run.folder / name).is_file():
                raise StoreError(f"{run.folder / name} is missing")
            if expected is None or sha256_file(run.folder / name) != expected:
                raise StoreError(f"{run.folder / name} does not match its checksum in run.json")
        digests = run.load_records(["digest"]).column("digest").combine_chunks()
        if len(digests) != vectors.rows:
            raise StoreError(f"{run.folder} has {vectors.rows} vectors but {len(digests)} records")
    else:
        digests = pa.nulls(vectors.rows, pa.string())
    first = 0
    for block in vectors.blocks():
        norms = lengths(block)
        for bad, what in (
            (~np.isfinite(norms), "is not finite (NaN or infinite)"),
            (norms == 0, "is all zeros"),
            (
                (norms < 1e-30) | (norms > 1e30),
                "is too short or too long to have a direction (its length must be from 1e-30 to 1e30)",
            ),
        ):
            if bad.any():
                row = first + int(np.argmax(bad))
                raise StoreError(f"{vectors.path}: vector {row} {what}")
        first += len(block)
    return Examined(source, vectors.rows, unified_digests(digests, f"{source.identity}:"))


def write_part(
    build: Path, part: int, source: Source, rows: Ints, first: int
) -> tuple[dict[str, int], npt.NDArray[np.int32]]:
    """Write the two files of a run.

    Args:
        build: Folder of the build.
        part: Number of the run in the build, from 0.
        source: The run.
        rows: Number of the vector of each of its records, int64, shape (n,).
        first: Number of the first vector that the run adds; a vector with this or a higher number is added by the
            first record that has it.

    Returns:
        Records by marker (empty if the records have no such column), and the length of each sequence that the run
        added, int32 (-1 if unknown).
    """
    adds = _adds(rows, first)
    markers: dict[str, int] = {}
    added: list[npt.NDArray[np.int32]] = []
    writers: dict[str, pq.ParquetWriter] = {}

    def write(name: str, table: pa.Table) -> None:
        if name not in writers:
            # Row group metadata is read at each opening; statistics would double it and are not used.
            writers[name] = pq.ParquetWriter(build / name, table.schema, compression="zstd", write_statistics=False)
        if table.num_rows:
            writers[name].write_table(table, row_group_size=_ROW_GROUP)

    try:
        start = 0
        for batch in _batches(source.run, len(rows)):
            batch_rows = rows[start : start + batch.num_rows]
            reserved = {
                "row": pa.array(batch_rows),
                "dataset": pa.array([source.dataset]).take(pa.array(np.zeros(len(batch_rows), np.int64))),
                "run_id": pa.array([source.run_id]).take(pa.array(np.zeros(len(batch_rows), np.int64))),
                "seq_idx": pa.array(np.arange(start, start + len(batch_rows))),
            }
            kept = [name for name in batch.schema.names if name not in ("sequence", "digest")]
            columns = [batch.column(name) for name in kept]
            write(records_name(part), pa.table([*reserved.values(), *columns], names=[*reserved, *free_names(kept)]))
            for name in MARKERS:
                if name in kept:
                    for value in as_text(batch.column(name)).value_counts().to_pylist():
                        key = "" if value["values"] is None else str(value["values"])
                        markers[key] = markers.get(key, 0) + value["counts"]
                    break
            chosen = pa.array(np.flatnonzero(adds[start : start + len(batch_rows)]))
            sequences = _sequences(batch).take(chosen)
            write(sequences_name(part), sequences)
            added.append(sequences.column("length").fill_null(-1).to_numpy().astype(np.int32))
            start += len(batch_rows)
    finally:
        for writer in writers.values():
            writer.close()
    return markers, np.concatenate(added)


def _adds(rows: Ints, first: int) -> Bools:
    """Return which records are the first with a vector whose number is ``first`` or higher."""
    adds = np.zeros(len(rows), bool)
    new = np.flatnonzero(rows >= first)
    _, firsts = np.unique(rows[new], return_index=True)
    adds[new[firsts]] = True
    return adds


def _batches(run: Run, count: int) -> Iterator[pa.Table]:
    """Yield the records of a run in pieces; for a run of an older tool, yield ``count`` records with unknown values."""
    if run.manifest is None:
        for first in range(0, count, _BATCH):
            size = min(_BATCH, count - first)
            yield pa.table([pa.nulls(size, field.type) for field in _BARE], schema=_BARE)
        return
    for batch in run.record_batches():
        yield pa.Table.from_batches([batch])


def _sequences(batch: pa.Table) -> pa.Table:
    """Return the columns of the sequences file, null if unknown."""
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in SEQUENCES_SCHEMA
    ]
    return pa.table(columns, schema=SEQUENCES_SCHEMA)


def unified_digests(digests: pa.Array, prefix: str) -> pa.Array:
    """Return digests as large_string, with each null replaced by a unique text (``prefix`` and the index)."""
    digests = digests.cast(pa.large_string())
    if not digests.null_count:
        return digests
    names = pa.array([f"{prefix}{i}" for i in range(len(digests))], pa.large_string())
    return pc.if_else(pc.is_null(digests), names, digests)


def keys_of(names: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return a number for each digest or text that replaces one (``unified_digests``), uint64, shape (n,).

    Ties are sorted by this number. It is the first eight bytes of the digest, little-endian, or of the SHA-256 of the
    text.
    """
    out = np.empty(len(names), "<u8")
    known = np.array([_DIGEST.fullmatch(name) is not None for name in names], bool)
    encoded = b"".join(name.encode()[3:] for name, is_digest in zip(names, known, strict=True) if is_digest)
    out[known] = np.frombuffer(base64.urlsafe_b64decode(encoded), "<u8").reshape(-1, 3)[:, 0]
    hashed = b"".join(
        hashlib.sha256(name.encode()).digest()[:8]
        for name, is_digest in zip(names, known, strict=True)
        if not is_digest
    )
    out[~known] = np.frombuffer(hashed, "<u8")
    return out


def read_column(paths: Sequence[Path], column: str) -> pa.ChunkedArray:
    """Return one column of several Parquet files, one after another.

    Raises:
        StoreError: A file cannot be read.
    """
    chunks: list[Any] = []
    kind: Any = None
    for path in paths:
        try:
            with parquet_errors(partial(_damaged, path)):
                found = checked_text(pq.read_table(path, columns=[column], memory_map=True)).column(column)
        except FileNotFoundError as error:
            raise _damaged(path, "it is missing") from error
        kind = found.type
        chunks += found.chunks
    return pa.chunked_array(chunks, kind)


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path} cannot be read ({reason}); run 'ednabed consolidate --rebuild'")
