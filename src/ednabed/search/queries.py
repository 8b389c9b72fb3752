"""Queries: records of runs, records of the collection itself, pasted sequences, and sequence files.

Sequences are only embedded with the same function as the collection.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ednabed.base.arrays import FloatArray
from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.base.topk import lengths
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import ModelError, StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.models.spec import Spec
from ednabed.reference.collection import Collection
from ednabed.reference.parts import keys_of
from ednabed.sequences import digest, normalise, normalise_one, open_records
from ednabed.store.runs import RECORDS, Run

# Number of queries of a file that are read, embedded and searched at once.
_BATCH = 4_096


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        info: Information shown with its hits: ``id`` and its origin; if it cannot be searched also ``rejected``, the
            reason.
        key: Key (``keys_of``) that identifies the query's own sequence among the hits; None if it cannot be searched.
        sequence: Normalised sequence; None if unknown.
        abundance: Number of reads stated in its file; None if not stated.
        sample: Sample stated in its file; None if not stated.
        file: File from which it was read, as given; None if it is not from a file.
    """

    info: dict[str, Any]
    key: int | None = None
    sequence: str | None = None
    abundance: int | None = None
    sample: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class QueryBatch:
    """A batch of queries.

    Attributes:
        queries: All queries, in the order of the input.
        searchable: Indices of the queries that can be searched.
        vectors: Vectors of these queries, float32, shape (len(searchable), d).
    """

    queries: list[Query]
    searchable: list[int]
    vectors: FloatArray

    def part(self, first: int, last: int) -> QueryBatch:
        """Return the queries from number ``first`` to before ``last``."""
        part = slice(bisect_left(self.searchable, first), bisect_left(self.searchable, last))
        indices = [index - first for index in self.searchable[part]]
        return QueryBatch(self.queries[first:last], indices, self.vectors[part])


def embedder_for(spec: Spec, what: str, model: str | None = None) -> Embedder:
    """Open the embedder that computed the vectors of a collection.

    Args:
        spec: Function of the collection.
        what: Name of the collection in messages.
        model: Name or folder of the model; None takes the name in the spec.

    Raises:
        StoreError: The model is a different function, or the function of the collection is unknown.
        ModelError: The weights are not available; the message states how to get them.
    """
    if spec.is_external:
        raise StoreError(
            f"{what} contains vectors of {spec.model}, a function that ednabed cannot compute, so no sequence can be "
            "embedded for it; search for a record of a run instead ('ednabed search --run RUN --seq-idx N')"
        )
    where = spec.model if model is None else model
    try:
        embedder = open_embedder(where, spec.policy)
    except UsageError as error:
        raise StoreError(
            f"{what} was built with '{spec.model}', and {where} cannot be used as this model ({error}); give the name "
            "or the folder of the model as `model`"
        ) from error
    except ModelError as error:
        raise ModelError(f"{what} was built with '{spec.model}', which the query needs too: {error}") from error
    if embedder.spec.fingerprint != spec.fingerprint:
        raise StoreError(
            f"{where} has fingerprint {embedder.spec.fingerprint[:12]}, {what} was built with "
            f"{spec.fingerprint[:12]}: their vectors cannot be compared; give the folder of the right weights as "
            "`model`"
        )
    return embedder


def by_sequence(embedder: Embedder, sequence: str) -> QueryBatch:
    """Return a pasted sequence as a query.

    Raises:
        InputError: A character is not accepted, or the sequence is empty.
        StoreError: The model cannot embed the sequence.
    """
    bases = normalise_one(sequence, embedder.spec.alphabet)
    vectors, refused = Engine(embedder).embed([bases])
    if refused:
        raise StoreError(f"the sequence cannot be embedded by {embedder.spec.model}: {refused[0]}")
    query = Query({"id": "query", "length": len(bases)}, _key(digest(bases)), bases.decode())
    return QueryBatch([query], [0], vectors)


def by_run(run: Run, label: tuple[str, str], seq_idx: int | None, record_id: str | None) -> QueryBatch:
    """Return a record of a run as a query, by its number or its id.

    Args:
        run: The run.
        label: Dataset and run_id of the run.
        seq_idx: Number of the record, from 0.
        record_id: Id of the record, if ``seq_idx`` is None.

    Raises:
        StoreError: The run has no such record, or several sequences with this id; or its vector has no direction.
    """
    vectors = run.vectors()
    if record_id is not None:
        seq_idx = _row_of(run, record_id)
    if seq_idx is None or not 0 <= seq_idx < vectors.rows:
        available = f"has records 0 to {vectors.rows - 1}" if vectors.rows else "has no records"
        raise StoreError(f"{run.label} {available}, not {seq_idx}")
    vector = run.take(np.array([seq_idx]))
    norm = lengths(vector)[0]
    if not (np.isfinite(norm) and norm > 0):
        raise StoreError(
            f"{vectors.path}: vector {seq_idx} {'is all zeros' if norm == 0 else 'is not finite'}, so nothing is "
            "similar to it; embed the input again"
        )
    info = {"id": None, "run": "/".join(label), "dataset": label[0], "run_id": label[1], "seq_idx": seq_idx}
    if run.manifest is None:
        return QueryBatch([Query(info, _key(f"{run.identity}:{seq_idx}"))], [0], vector)
    record = _record(run, seq_idx)
    query = Query({**info, "id": record["id"]}, _key(record["digest"]), record["sequence"])
    return QueryBatch([query], [0], vector)


def by_id(collection: Collection, record_id: str) -> QueryBatch:
    """Return the record of a collection with a given id as a query.

    Raises:
        StoreError: There is no such record, or several sequences have this id.
    """
    first_of: dict[int, int] = {}
    for first, table in collection.scan_records(["id"]):
        matches = pc.indices_nonzero(pc.equal(table.column("id"), record_id))
        rows = table.column("row").take(matches).to_pylist()
        for row, index in zip(rows, matches.to_pylist(), strict=True):
            first_of.setdefault(row, first + index)
    if not first_of:
        raise StoreError(f"{collection.name} has no record with id {record_id!r}")
    shown = np.array(list(first_of.values())[:6], np.int64)
    records = collection.take_records(shown, ["dataset", "run_id", "seq_idx"]).to_pylist()
    if len(first_of) > 1:
        listed = ", ".join(f"`run` {r['dataset']}/{r['run_id']} `seq_idx` {r['seq_idx']}" for r in records)
        raise StoreError(
            f"{collection.name} has {len(first_of)} sequences with id {record_id!r}; choose one by {listed}"
            + (" or another" if len(first_of) > len(records) else "")
        )
    row = np.array(list(first_of), np.int64)
    sequence = collection.take_sequences(row).column("sequence")[0].as_py()
    query = Query({"id": record_id, **records[0]}, int(collection.keys[row[0]]), sequence)
    return QueryBatch([query], [0], collection.vectors_of(row))


def by_files(embedder: Embedder, paths: Sequence[Path], min_length: int = 20) -> Iterator[QueryBatch]:
    """Yield the records of sequence files as queries, in batches, in the order of the input.

    A record that cannot be searched becomes a query with the reason.

    Raises:
        InputError: A file cannot be read, or contains no records.
    """
    engine = Engine(embedder)
    for path in paths:
        with open_records(path) as records:
            for batch in records:
                for first in range(0, batch.num_rows, _BATCH):
                    yield _batch(engine, batch.slice(first, _BATCH), min_length, path)


def _batch(engine: Engine, raw: Any, min_length: int, path: Path) -> QueryBatch:
    accepted, rejected = normalise(raw, alphabet=engine.embedder.spec.alphabet, min_length=min_length)
    sequences = accepted.column("sequence").to_pylist()
    vectors, refused = engine.embed([sequence.encode() for sequence in sequences])
    numbers = dict(zip(raw.column("record").to_pylist(), range(raw.num_rows), strict=True))
    queries: list[Query | None] = [None] * raw.num_rows
    rows: dict[int, int] = {}
    keys = keys_of(accepted.column("digest").to_pylist()).tolist()
    read = accepted.select(["id", "length", "source", "record", "abundance", "sample"])
    for i, record in enumerate(read.to_pylist()):
        number = numbers[record.pop("record")]
        more = {"abundance": record.pop("abundance"), "sample": record.pop("sample"), "file": path}
        if i in refused:
            queries[number] = Query({**record, "rejected": refused[i]}, **more)
        else:
            queries[number] = Query(record, keys[i], sequences[i], **more)
            rows[number] = i
    for record in rejected.select(["id", "source", "reason", "record"]).to_pylist():
        info = {"id": record["id"], "source": record["source"], "rejected": record["reason"]}
        queries[numbers[record["record"]]] = Query(info, file=path)
    searchable = sorted(rows)
    return QueryBatch([q for q in queries if q is not None], searchable, vectors[[rows[n] for n in searchable]])


def _key(name: str) -> int:
    return int(keys_of([name])[0])


def _record(run: Run, row: int) -> dict[str, Any]:
    """Return id, digest and sequence of a record, reading only the row group of the file that contains it."""
    path = run.folder / RECORDS
    columns = ["id", "digest", "sequence"]
    try:
        with parquet_errors(run.damaged_records), pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise StoreError(
                    f"{path} has no column {missing[0]!r}, so it was not written by ednabed; embed the input"
                )
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < first + rows:
                    table = checked_text(file.read_row_group(group, columns=columns))
                    record: dict[str, Any] = table.slice(row - first, 1).to_pylist()[0]
                    return record
                first += rows
    except FileNotFoundError as error:
        raise run.damaged_records("it is missing") from error
    raise StoreError(
        f"{path} has {first} records, so record {row} is lost; 'ednabed runs verify' shows which file is damaged"
    )


def _row_of(run: Run, record_id: str) -> int:
    if run.manifest is None:
        raise StoreError(f"{run.folder} was created by an older tool, so its rows have no ids; choose one by `seq_idx`")
    columns = [name for name in ("id", "digest", "source") if name in run.record_schema.names]
    records = run.load_records(columns)
    rows = pc.indices_nonzero(pc.equal(records.column("id"), record_id)).to_pylist()
    if not rows:
        raise StoreError(f"{run.label} has no record with id {record_id!r}")
    first_of: dict[str, int] = {}
    for row in rows:
        first_of.setdefault(records.column("digest")[row].as_py(), row)
    if len(first_of) > 1:
        shown = list(first_of.values())[:6]
        sources = records.column("source") if "source" in columns else pa.nulls(len(records))
        listed = ", ".join(f"{row} ({sources[row].as_py() or 'unknown file'})" for row in shown)
        raise StoreError(
            f"{run.label} has {len(first_of)} sequences with id {record_id!r}; choose one by `seq_idx`: {listed}"
            + (" or another" if len(first_of) > len(shown) else "")
        )
    return int(rows[0])
