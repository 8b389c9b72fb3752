"""Exact search inside one run, memory-mapped: what is this record, or this pasted sequence, like?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import FloatArray
from ednabed.models.spec import Policy
from ednabed.search.exact import nearest
from ednabed.sequences import normalise_one
from ednabed.store.manifest import RunManifest
from ednabed.store.runs import Run

_SHOWN = ("id", "sample", "abundance", "lineage", "length", "source")


def search_run(
    run: Run,
    *,
    seq_idx: int | None = None,
    record_id: str | None = None,
    sequence: str | None = None,
    model: str | None = None,
    k: int = 10,
) -> list[dict[str, Any]]:
    """Return the ``k`` records most similar to a query, most similar first.

    Args:
        run: Where to search.
        seq_idx: Query by number of the record, from 0.
        record_id: Query by id of the record.
        sequence: Query by letters, embedded with the function that made the run.
        model: Where that function's model is (name or folder), for ``sequence``; None takes the name in the manifest.
        k: Hits wanted; a smaller run gives all it has.

    Returns:
        For each hit, one a distinct sequence: rank (from 1), similarity (cosine), distance (1 - similarity),
        occurrences (records with this sequence), and of the first of them seq_idx, id, sample, abundance, lineage,
        length, source.

    Raises:
        StoreError: The run has no such record, or several with this id and different sequences.
        ModelError: The run's model is not here, or is not the one that made the run.
    """
    vectors = run.load_embeddings()
    records = run.load_records(["digest", *_SHOWN])
    if records.num_rows != len(vectors):
        raise StoreError(
            f"{run.folder}: {len(vectors)} vectors and {records.num_rows} records do not belong together; "
            f"'ednabed runs verify' says which file is damaged"
        )
    if sequence is not None:
        if run.manifest is None:
            raise StoreError(f"{run.label} was made by an older tool, so nobody knows how to embed the sequence for it")
        query = _embed(run.manifest, sequence, model)
    else:
        row = _row_of(run, records, record_id) if record_id is not None else seq_idx
        if row is None or not 0 <= row < len(vectors):
            raise StoreError(f"{run.label} has records 0 to {len(vectors) - 1}, not {row}")
        query = np.asarray(vectors[row : row + 1])
    _, first, number, counts = np.unique(
        np.array(records.column("digest").to_pylist()), return_index=True, return_inverse=True, return_counts=True
    )
    is_first = np.zeros(len(number), bool)
    is_first[first] = True
    # Rows of a repeated sequence are as near as its first one, so the first k distinct ones are among these.
    rows, similarities = nearest(query, vectors, min(len(vectors), k + len(vectors) - len(first)))
    kept = is_first[rows[0]]
    chosen, scores = rows[0][kept][:k], similarities[0][kept][:k]
    shown = records.select(list(_SHOWN)).take(chosen).to_pylist()
    return [
        {
            "rank": rank,
            "similarity": float(score),
            "distance": float(1 - score),
            "seq_idx": int(row),
            "occurrences": int(counts[number[row]]),
            **hit,
        }
        for rank, (row, score, hit) in enumerate(zip(chosen, scores, shown, strict=True), start=1)
    ]


def _row_of(run: Run, records: Any, record_id: str) -> int:
    import pyarrow.compute as pc

    rows = pc.indices_nonzero(pc.equal(records.column("id"), record_id)).to_pylist()
    if not rows:
        raise StoreError(f"{run.label} has no record with id {record_id!r}")
    if len({records.column("digest")[row].as_py() for row in rows}) > 1:
        places = ", ".join(f"{row} ({records.column('source')[row].as_py()})" for row in rows)
        raise StoreError(f"{run.label} has several sequences with id {record_id!r}; choose by --seq-idx: {places}")
    return int(rows[0])


def _embed(manifest: RunManifest, sequence: str, model: str | None) -> FloatArray:
    """Embed a pasted sequence with the function that made the run."""
    spec = manifest.spec
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
            f"the run was made by '{spec.model}', and {where} cannot stand for it ({error}); give --model NAME, or "
            "--model FOLDER where it was a folder"
        ) from error
    if embedder.spec.fingerprint != spec.fingerprint:
        raise StoreError(
            f"{where} has fingerprint {embedder.spec.fingerprint[:12]}, the run was made by {spec.fingerprint[:12]}: "
            "their vectors cannot be compared; say by --model where the weights are that made the run"
        )
    vectors, refused = Engine(embedder).embed([normalise_one(sequence, spec.alphabet)])
    if refused:
        raise StoreError(f"the sequence cannot be embedded by {spec.model}: {refused[0]}")
    return vectors
