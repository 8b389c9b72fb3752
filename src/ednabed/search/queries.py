"""What is asked: records of runs, records of the collection itself, pasted letters, and files of sequences.

Letters are embedded with the one function that made the collection, or not at all.
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

from ednabed.base.parquet_files import parquet_errors, sound
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import ModelError, StoreError, UsageError
from ednabed.models.base import Embedder, FloatArray
from ednabed.models.spec import Spec
from ednabed.reference.collection import Collection
from ednabed.reference.parts import keys_of
from ednabed.reference.topk import lengths
from ednabed.sequences import digest, normalise, normalise_one, open_records
from ednabed.store.runs import RECORDS, Run

# Queries of a file that are read, embedded and searched at once.
_BATCH = 4_096


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        told: What is told of it beside its hits: ``id`` and where it comes from; of one that cannot be searched also
            ``rejected``, the reason.
        key: Its key (``keys_of``), by which it is known among the hits; None where it cannot be searched.
        sequence: Its normalised letters; None where nobody knows them.
        abundance: Reads that its file says it stands for; None where it does not.
        sample: Sample that its file says it is from.
        file: The file that it was read from, as it was named; None where it is not from a file.
    """

    told: dict[str, Any]
    key: int | None = None
    sequence: str | None = None
    abundance: int | None = None
    sample: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class QueryBatch:
    """Some queries.

    Attributes:
        queries: All of them, in the order of the input.
        places: Which of them can be searched.
        vectors: Their vectors, float32, shape (len(places), d).
    """

    queries: list[Query]
    places: list[int]
    vectors: FloatArray

    def part(self, first: int, last: int) -> QueryBatch:
        """Return the queries from number ``first`` to before ``last``."""
        some = slice(bisect_left(self.places, first), bisect_left(self.places, last))
        places = [place - first for place in self.places[some]]
        return QueryBatch(self.queries[first:last], places, self.vectors[some])


def embedder_for(spec: Spec, what: str, model: str | None = None) -> Embedder:
    """Open the embedder that made a collection.

    Args:
        spec: Its function.
        what: What to call the collection in messages.
        model: Where the model is (name or folder); None takes the name in the spec.

    Raises:
        StoreError: What is there is another function, or the function is not known.
        ModelError: The weights are not here; the message says how to get them.
    """
    if spec.is_external:
        raise StoreError(
            f"{what} holds vectors of {spec.model}, a function that is not known here, so no sequence can be embedded "
            "for it; search by the record of a run (run and seq_idx)"
        )
    where = spec.model if model is None else model
    try:
        embedder = open_embedder(where, spec.policy)
    except UsageError as error:
        raise StoreError(
            f"{what} was made by '{spec.model}', and {where} cannot stand for it ({error}); give --model NAME, or "
            "--model FOLDER where it was a folder"
        ) from error
    except ModelError as error:
        raise ModelError(f"{what} was made by '{spec.model}', which the query needs too: {error}") from error
    if embedder.spec.fingerprint != spec.fingerprint:
        raise StoreError(
            f"{where} has fingerprint {embedder.spec.fingerprint[:12]}, {what} was made by {spec.fingerprint[:12]}: "
            "their vectors cannot be compared; say by --model where the weights are that made it"
        )
    return embedder


def by_letters(embedder: Embedder, sequence: str) -> QueryBatch:
    """Return a pasted sequence as a query.

    Raises:
        InputError: A letter is not accepted, or nothing is left.
        StoreError: The model cannot take it.
    """
    letters = normalise_one(sequence, embedder.spec.alphabet)
    vectors, refused = Engine(embedder).embed([letters])
    if refused:
        raise StoreError(f"the sequence cannot be embedded by {embedder.spec.model}: {refused[0]}")
    query = Query({"id": "query", "length": len(letters)}, _key(digest(letters)), letters.decode())
    return QueryBatch([query], [0], vectors)


def by_run(run: Run, label: tuple[str, str], seq_idx: int | None, record_id: str | None) -> QueryBatch:
    """Return a record of a run as a query, by its number or its id.

    Args:
        run: The run.
        label: Its dataset and run_id.
        seq_idx: Number of the record, from 0.
        record_id: Its id, where ``seq_idx`` is None.

    Raises:
        StoreError: The run has no such record, or several sequences with this id; or its vector points nowhere.
    """
    vectors = run.vectors()
    if record_id is not None:
        seq_idx = _row_of(run, record_id)
    if seq_idx is None or not 0 <= seq_idx < vectors.rows:
        there = f"has records 0 to {vectors.rows - 1}" if vectors.rows else "has no record"
        raise StoreError(f"{run.label} {there}, not {seq_idx}")
    vector = run.take(np.array([seq_idx]))
    size = lengths(vector)[0]
    if not (np.isfinite(size) and size > 0):
        raise StoreError(
            f"{vectors.path}: vector {seq_idx} {'is all zeros' if size == 0 else 'is not finite'}, so nothing is "
            "similar to it; embed the input again"
        )
    told = {"id": None, "run": "/".join(label), "dataset": label[0], "run_id": label[1], "seq_idx": seq_idx}
    if run.manifest is None:
        return QueryBatch([Query(told, _key(f"{run.identity}:{seq_idx}"))], [0], vector)
    record = _record(run, seq_idx)
    query = Query({**told, "id": record["id"]}, _key(record["digest"]), record["sequence"])
    return QueryBatch([query], [0], vector)


def by_id(collection: Collection, record_id: str) -> QueryBatch:
    """Return the record of a collection with an id as a query.

    Raises:
        StoreError: There is no such record, or several sequences have this id.
    """
    first_of: dict[int, int] = {}
    for first, table in collection.scan_records(["id"]):
        at = pc.indices_nonzero(pc.equal(table.column("id"), record_id))
        rows = table.column("row").take(at).to_pylist()
        for row, place in zip(rows, at.to_pylist(), strict=True):
            first_of.setdefault(row, first + place)
    if not first_of:
        raise StoreError(f"{collection.name} has no record with id {record_id!r}")
    shown = np.array(list(first_of.values())[:6], np.int64)
    places = collection.take_records(shown, ["dataset", "run_id", "seq_idx"]).to_pylist()
    if len(first_of) > 1:
        told = ", ".join(f"--run {p['dataset']}/{p['run_id']} --seq-idx {p['seq_idx']}" for p in places)
        raise StoreError(
            f"{collection.name} has {len(first_of)} sequences with id {record_id!r}; choose one by {told}"
            + (" or another" if len(first_of) > len(places) else "")
        )
    row = np.array(list(first_of), np.int64)
    sequence = collection.take_sequences(row).column("sequence")[0].as_py()
    query = Query({"id": record_id, **places[0]}, int(collection.keys[row[0]]), sequence)
    return QueryBatch([query], [0], collection.vectors_of(row))


def by_files(embedder: Embedder, paths: Sequence[Path], min_length: int = 20) -> Iterator[QueryBatch]:
    """Yield the records of sequence files as queries, some at a time, in the order of the input.

    A record that cannot be searched comes as a query with the reason.

    Raises:
        InputError: A file cannot be read, or holds no record.
    """
    engine = Engine(embedder)
    for path in paths:
        with open_records(path) as records:
            for batch in records:
                for first in range(0, batch.num_rows, _BATCH):
                    yield _batch(engine, batch.slice(first, _BATCH), min_length, path)


def _batch(engine: Engine, raw: Any, min_length: int, path: Path) -> QueryBatch:
    accepted, rejected = normalise(raw, alphabet=engine.embedder.spec.alphabet, min_length=min_length)
    letters = accepted.column("sequence").to_pylist()
    vectors, refused = engine.embed([sequence.encode() for sequence in letters])
    numbers = dict(zip(raw.column("record").to_pylist(), range(raw.num_rows), strict=True))
    queries: list[Query | None] = [None] * raw.num_rows
    rows: dict[int, int] = {}
    keys = keys_of(accepted.column("digest").to_pylist()).tolist()
    read = accepted.select(["id", "length", "source", "record", "abundance", "sample"])
    for i, record in enumerate(read.to_pylist()):
        place = numbers[record.pop("record")]
        more = {"abundance": record.pop("abundance"), "sample": record.pop("sample"), "file": path}
        if i in refused:
            queries[place] = Query({**record, "rejected": refused[i]}, **more)
        else:
            queries[place] = Query(record, keys[i], letters[i], **more)
            rows[place] = i
    for record in rejected.select(["id", "source", "reason", "record"]).to_pylist():
        told = {"id": record["id"], "source": record["source"], "rejected": record["reason"]}
        queries[numbers[record["record"]]] = Query(told, file=path)
    places = sorted(rows)
    return QueryBatch([q for q in queries if q is not None], places, vectors[[rows[place] for place in places]])


def _key(name: str) -> int:
    return int(keys_of([name])[0])


def _record(run: Run, row: int) -> dict[str, Any]:
    """Return id, digest and sequence of a record, reading no more than the piece of the file that it lies in."""
    path = run.folder / RECORDS
    columns = ["id", "digest", "sequence"]
    try:
        with parquet_errors(run.damaged_records), pq.ParquetFile(path) as file:
            lacking = [name for name in columns if name not in file.schema_arrow.names]
            if lacking:
                raise StoreError(f"{path} has no column {lacking[0]!r}; it was not written by ednabed, embed the input")
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < first + rows:
                    table = sound(file.read_row_group(group, columns=columns))
                    record: dict[str, Any] = table.slice(row - first, 1).to_pylist()[0]
                    return record
                first += rows
    except FileNotFoundError as error:
        raise run.damaged_records("it is absent") from error
    raise StoreError(
        f"{path} has {first} records, so record {row} is lost; 'ednabed runs verify' says which file is damaged"
    )


def _row_of(run: Run, record_id: str) -> int:
    if run.manifest is None:
        raise StoreError(f"{run.folder} was made by an older tool, so its rows have no ids; choose one by --seq-idx")
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
        places = ", ".join(f"{row} ({sources[row].as_py() or 'unknown file'})" for row in shown)
        raise StoreError(
            f"{run.label} has {len(first_of)} sequences with id {record_id!r}; choose one by --seq-idx: {places}"
            + (" or another" if len(first_of) > len(shown) else "")
        )
    return int(rows[0])
