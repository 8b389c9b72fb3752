"""What is asked: records of runs, records of the collection itself, pasted letters, and files of sequences.

Letters are embedded with the one function that made the collection, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import InputError, ModelError, StoreError, UsageError
from ednabed.models.base import Embedder, FloatArray
from ednabed.models.spec import Policy, Spec
from ednabed.reference.collection import Collection
from ednabed.reference.parts import keys_of
from ednabed.sequences import digest, normalise, normalise_one, open_records
from ednabed.store.runs import Run

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
    """

    told: dict[str, Any]
    key: int | None = None
    sequence: str | None = None


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


def embedder_for(spec: Spec, what: str, model: str | None = None) -> Embedder:
    """Open the embedder that made a collection.

    Args:
        spec: Its function.
        what: What to call the collection in messages.
        model: Where the model is (name or folder); None takes the name in the spec.

    Raises:
        StoreError: What is there is another function.
        ModelError: The weights are not here; the message says how to get them.
    """
    is_kmer = spec.architecture.get("family") == "kmer"
    policy = Policy(
        layer=spec.layer,
        pooling=None if is_kmer else spec.pooling,
        max_tokens=spec.max_tokens,
        strand=spec.strand,
        long=spec.long,
        alphabet=spec.alphabet,
    )
    where = spec.model if model is None else model
    try:
        embedder = open_embedder(where, policy)
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

    Raises:
        StoreError: The run has no such record, or several sequences with this id.
    """
    vectors = run.vectors()
    known = run.manifest is not None
    if record_id is not None:
        seq_idx = _row_of(run, record_id)
    if seq_idx is None or not 0 <= seq_idx < vectors.rows:
        raise StoreError(f"{run.label} has records 0 to {vectors.rows - 1}, not {seq_idx}")
    vector = vectors.take(np.array([seq_idx]))
    told: dict[str, Any] = {"id": None, "run": "/".join(label), "dataset": label[0], "run_id": label[1]}
    told["seq_idx"] = seq_idx
    if not known:
        return QueryBatch([Query(told, _key(f"{run.identity}:{seq_idx}"))], [0], vector)
    record = run.load_records(["id", "digest", "sequence"]).slice(seq_idx, 1).to_pylist()[0]
    query = Query({**told, "id": record["id"]}, _key(record["digest"]), record["sequence"])
    return QueryBatch([query], [0], vector)


def by_id(collection: Collection, record_id: str) -> QueryBatch:
    """Return the record of a collection with an id as a query.

    Raises:
        StoreError: There is no such record, or several sequences have this id.
    """
    import pyarrow.compute as pc

    found: list[int] = []
    positions: list[int] = []
    for first, table in collection.scan_records(["id"]):
        at = pc.indices_nonzero(pc.equal(table.column("id"), record_id))
        found += table.column("row").take(at).to_pylist()
        positions += [first + place for place in at.to_pylist()]
    if not found:
        raise StoreError(f"{collection.name} has no record with id {record_id!r}")
    shown = ["dataset", "run_id", "seq_idx"]
    places = collection.take_records(np.array(positions[:6]), shown).to_pylist()
    if len(set(found)) > 1:
        told = ", ".join(f"{p['dataset']}/{p['run_id']} {p['seq_idx']}" for p in places)
        raise StoreError(
            f"{collection.name} has {len(set(found))} sequences with id {record_id!r}; choose one by --run RUN "
            f"--seq-idx N: {told}"
        )
    row = np.array([found[0]])
    sequence = collection.take_sequences(row).column("sequence")[0].as_py()
    told_first = {"id": record_id, **places[0]}
    query = Query(told_first, int(collection.keys[found[0]]), sequence)
    return QueryBatch([query], [0], collection.vectors_of(row))


def by_files(embedder: Embedder, paths: Sequence[Path], min_length: int = 20) -> Iterator[QueryBatch]:
    """Yield the records of sequence files as queries, some at a time, in the order of the input.

    A record that cannot be searched comes as a query with the reason.

    Raises:
        InputError: A file cannot be read, or holds no record.
    """
    engine = Engine(embedder)
    for path in paths:
        empty = True
        with open_records(path) as records:
            for batch in records:
                empty = False
                for first in range(0, batch.num_rows, _BATCH):
                    yield _batch(engine, batch.slice(first, _BATCH), min_length)
        if empty:
            raise InputError(f"{path}: holds no record; wanted sequences to search for")


def _batch(engine: Engine, raw: Any, min_length: int) -> QueryBatch:
    accepted, rejected = normalise(raw, alphabet=engine.embedder.spec.alphabet, min_length=min_length)
    letters = accepted.column("sequence").to_pylist()
    vectors, refused = engine.embed([sequence.encode() for sequence in letters])
    numbers = dict(zip(raw.column("record").to_pylist(), range(raw.num_rows), strict=True))
    queries: list[Query | None] = [None] * raw.num_rows
    rows: dict[int, int] = {}
    keys = keys_of(accepted.column("digest").to_pylist()).tolist()
    for i, record in enumerate(accepted.select(["id", "length", "record"]).to_pylist()):
        place = numbers[record.pop("record")]
        if i in refused:
            queries[place] = Query({**record, "rejected": refused[i]})
        else:
            queries[place] = Query(record, keys[i], letters[i])
            rows[place] = i
    for record in rejected.select(["id", "reason", "record"]).to_pylist():
        queries[numbers[record["record"]]] = Query({"id": record["id"], "rejected": record["reason"]})
    places = sorted(rows)
    return QueryBatch([q for q in queries if q is not None], places, vectors[[rows[place] for place in places]])


def _key(name: str) -> int:
    return int(keys_of([name])[0])


def _row_of(run: Run, record_id: str) -> int:
    import pyarrow.compute as pc

    records = run.load_records(["id", "digest", "source"])
    rows = pc.indices_nonzero(pc.equal(records.column("id"), record_id)).to_pylist()
    if not rows:
        raise StoreError(f"{run.label} has no record with id {record_id!r}")
    if len({records.column("digest")[row].as_py() for row in rows}) > 1:
        places = ", ".join(f"{row} ({records.column('source')[row].as_py()})" for row in rows)
        raise StoreError(f"{run.label} has several sequences with id {record_id!r}; choose by --seq-idx: {places}")
    return int(rows[0])
