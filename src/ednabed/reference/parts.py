"""The Parquet files of one run in a build: its records, and the distinct sequences that it brought.

``records-00000.parquet`` has one row a record: ``row`` (number of its vector), ``dataset``, ``run_id``, ``seq_idx``,
then the columns of the run but the letters. ``sequences-00000.parquet`` has one row a vector that this run brought:
``digest``, ``length``, ``n_ambiguous``, ``sequence``. Small row groups make single rows quick to reach (a few ms for
ten hits among a million records), and files of one run each need no rewriting when another run is added.
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

from ednabed.base.parquet_files import parquet_errors, sound
from ednabed.errors import StoreError
from ednabed.reference.columns import free_names, text
from ednabed.reference.sources import Source
from ednabed.reference.topk import lengths
from ednabed.sequences.records import MARKERS
from ednabed.store.files import sha256_file
from ednabed.store.runs import RECORDS, Run, reread

_ROW_GROUP = 1024
_BATCH = 65_536
_DIGEST = re.compile(r"SQ\.[A-Za-z0-9_-]{32}")
# What a run of an older tool lacks.
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
    """Return the file name of the distinct sequences that a part brought."""
    return f"sequences-{part:05d}.parquet"


@dataclass(frozen=True)
class Examined:
    """A run that was read through and found sound.

    Attributes:
        source: The run.
        rows: Number of its vectors.
        names: Digest of each record, large_string. Of a run of an older tool nobody knows the letters; there each row
            has a text of its own, so that it stands for itself.
    """

    source: Source
    rows: int
    names: pa.Array


def examine(source: Source) -> Examined:
    """Read a run through: checksums, shape, every value.

    Raises:
        StoreError: The run cannot go in; the message says why.
    """
    return reread(source.run, lambda run: _examine(replace(source, run=run)))


def _examine(source: Source) -> Examined:
    run = source.run
    vectors = run.vectors()
    if vectors.dimension != source.spec.dimension:
        raise StoreError(
            f"{vectors.path} has vectors of {vectors.dimension} dimensions, {source.spec.model} makes "
            f"{source.spec.dimension}"
        )
    if not vectors.rows:
        raise StoreError(f"{vectors.path} holds no vector")
    if run.manifest is not None:
        for name in (vectors.path.name, RECORDS):
            wanted = run.manifest.files.get(name, {}).get("sha256")
            if not (run.folder / name).is_file():
                raise StoreError(f"{run.folder / name} is absent")
            if wanted is None or sha256_file(run.folder / name) != wanted:
                raise StoreError(f"{run.folder / name} differs from its checksum in run.json")
        digests = run.load_records(["digest"]).column("digest").combine_chunks()
        if len(digests) != vectors.rows:
            raise StoreError(f"{run.folder}: {vectors.rows} vectors and {len(digests)} records do not belong together")
    else:
        digests = pa.nulls(vectors.rows, pa.string())
    first = 0
    for block in vectors.blocks():
        sums = lengths(block)
        for bad, what in (
            (~np.isfinite(sums), "is not finite (NaN or infinite)"),
            (sums == 0, "is all zeros"),
            (
                (sums < 1e-30) | (sums > 1e30),
                "is too short or too long for a direction (its length must be from 1e-30 to 1e30)",
            ),
        ):
            if bad.any():
                row = first + int(np.argmax(bad))
                raise StoreError(f"{vectors.path}: vector {row} {what}")
        first += len(block)
    return Examined(source, vectors.rows, unified_digests(digests, f"{source.identity}:"))


def write_part(
    build: Path, part: int, source: Source, rows: npt.NDArray[np.int64], first: int
) -> tuple[dict[str, int], npt.NDArray[np.int32]]:
    """Write the two files of a run.

    Args:
        build: Folder of the build.
        part: Number of the run in the build, from 0.
        source: The run.
        rows: Number of the vector of each of its records, int64, shape (n,).
        first: Number of the first vector that it brings; its records that come first with a vector of that number or
            a higher one bring it.

    Returns:
        Records by marker (empty where the records have no such column), and the length of each sequence that the run
        brought, int32 (-1 where nobody knows it).
    """
    brings = _brought(rows, first)
    markers: dict[str, int] = {}
    brought: list[npt.NDArray[np.int32]] = []
    writers: dict[str, pq.ParquetWriter] = {}

    def write(name: str, table: pa.Table) -> None:
        if name not in writers:
            # Lists of row groups are read at each opening; statistics would double them and nothing asks for them.
            writers[name] = pq.ParquetWriter(build / name, table.schema, compression="zstd", write_statistics=False)
        if table.num_rows:
            writers[name].write_table(table, row_group_size=_ROW_GROUP)

    try:
        at = 0
        for batch in _batches(source.run, len(rows)):
            here = rows[at : at + batch.num_rows]
            own = {
                "row": pa.array(here),
                "dataset": pa.array([source.dataset]).take(pa.array(np.zeros(len(here), np.int64))),
                "run_id": pa.array([source.run_id]).take(pa.array(np.zeros(len(here), np.int64))),
                "seq_idx": pa.array(np.arange(at, at + len(here))),
            }
            kept = [name for name in batch.schema.names if name not in ("sequence", "digest")]
            columns = [batch.column(name) for name in kept]
            write(records_name(part), pa.table([*own.values(), *columns], names=[*own, *free_names(kept)]))
            for name in MARKERS:
                if name in kept:
                    for value in text(batch.column(name)).value_counts().to_pylist():
                        key = "" if value["values"] is None else str(value["values"])
                        markers[key] = markers.get(key, 0) + value["counts"]
                    break
            chosen = pa.array(np.flatnonzero(brings[at : at + len(here)]))
            sequences = _sequences(batch).take(chosen)
            write(sequences_name(part), sequences)
            brought.append(sequences.column("length").fill_null(-1).to_numpy().astype(np.int32))
            at += len(here)
    finally:
        for writer in writers.values():
            writer.close()
    return markers, np.concatenate(brought)


def _brought(rows: npt.NDArray[np.int64], first: int) -> npt.NDArray[np.bool_]:
    """Tell which records are the first to have a vector of number ``first`` or more."""
    brings = np.zeros(len(rows), bool)
    new = np.flatnonzero(rows >= first)
    _, places = np.unique(rows[new], return_index=True)
    brings[new[places]] = True
    return brings


def _batches(run: Run, count: int) -> Iterator[pa.Table]:
    """Yield the records of a run in pieces; of a run of an older tool, that many records of which nothing is known."""
    if run.manifest is None:
        for first in range(0, count, _BATCH):
            size = min(_BATCH, count - first)
            yield pa.table([pa.nulls(size, field.type) for field in _BARE], schema=_BARE)
        return
    for batch in run.record_batches():
        yield pa.Table.from_batches([batch])


def _sequences(batch: pa.Table) -> pa.Table:
    """Return the columns of the sequences file, null where unknown."""
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in SEQUENCES_SCHEMA
    ]
    return pa.table(columns, schema=SEQUENCES_SCHEMA)


def unified_digests(digests: pa.Array, prefix: str) -> pa.Array:
    """Return digests as large_string with a text of its own (``prefix`` and the place) in place of each null."""
    digests = digests.cast(pa.large_string())
    if not digests.null_count:
        return digests
    names = pa.array([f"{prefix}{i}" for i in range(len(digests))], pa.large_string())
    return pc.if_else(pc.is_null(digests), names, digests)


def keys_of(names: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return a number for each digest, or text in place of one (``unified_digests``): uint64, shape (n,).

    It orders ties. It is the first eight bytes of the digest, little-endian, or of the SHA-256 of the text.
    """
    out = np.empty(len(names), "<u8")
    known = np.array([_DIGEST.fullmatch(name) is not None for name in names], bool)
    letters = b"".join(name.encode()[3:] for name, is_digest in zip(names, known, strict=True) if is_digest)
    out[known] = np.frombuffer(base64.urlsafe_b64decode(letters), "<u8").reshape(-1, 3)[:, 0]
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
                found = sound(pq.read_table(path, columns=[column], memory_map=True)).column(column)
        except FileNotFoundError as error:
            raise _damaged(path, "it is absent") from error
        kind = found.type
        chunks += found.chunks
    return pa.chunked_array(chunks, kind)


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path} cannot be read ({reason}); run 'ednabed consolidate --rebuild'")
