"""Runs with vectors of our choice, and the content of a reference in a form that does not depend on its order."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.files import sha256_file
from ednabed.models.spec import Spec
from ednabed.reference import build as building
from ednabed.reference.build import BuildRequest, BuildResult
from ednabed.reference.collection import Collection
from ednabed.reference.opened import Reference, open_reference
from ednabed.sequences.records import digest
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.runs import RECORDS, Run, runs_root

DIMENSION = 8
SPEC = Spec(
    model="hand", architecture={"family": "hand"}, weights="none", tokenizer="letters", dimension=DIMENSION, layer=None,
    pooling="mean", max_tokens=None, strand="given", long="truncate", alphabet="iupac", normalisation="none",
)  # fmt: skip
OTHER = replace(SPEC, model="other", architecture={"family": "other"})


def letters_of(number: int) -> str:
    """A sequence of its own for each number."""
    rng = random.Random(number)
    return "".join(rng.choice("ACGT") for _ in range(20 + number % 7))


def vector_of(number: int, kinds: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    """The vector of a sequence: sequences with the same number modulo ``kinds`` have the same one; 0: all differ."""
    vector = np.random.default_rng(number % kinds if kinds else number).standard_normal(dimension)
    return vector.astype(np.float32)


def write_run(
    folder: Path,
    numbers: Sequence[int],
    *,
    dataset: str | None = None,
    run_id: str | None = None,
    vectors: np.ndarray | None = None,
    kinds: int = 0,
    spec: Spec = SPEC,
    created: str = "2024-01-01T00:00:00+00:00",
    columns: Mapping[str, Any] | None = None,
) -> Run:
    """Write a sound run folder of the sequences with these numbers; ids are ``<run>-<row>``."""
    folder.mkdir(parents=True)
    if vectors is None:
        vectors = np.stack([vector_of(number, kinds, spec.dimension) for number in numbers])
    np.save(folder / "embeddings.npy", np.asarray(vectors, np.float32))
    sequences = [letters_of(number) for number in numbers]
    table = pa.table(
        {
            "id": [f"{folder.name}-{row}" for row in range(len(numbers))],
            "sequence": sequences,
            "length": pa.array([len(s) for s in sequences], pa.int32()),
            "n_ambiguous": pa.array([0] * len(numbers), pa.int32()),
            "digest": [digest(s.encode()) for s in sequences],
            "abundance": pa.array([row + 1 for row in range(len(numbers))], pa.int64()),
            "sample": pa.array([f"S{row % 3}" for row in range(len(numbers))], pa.string()),
            "lineage": pa.nulls(len(numbers), pa.string()),
            **(columns or {}),
        }
    )
    pq.write_table(table, folder / RECORDS)
    (folder / "rejected.tsv").write_text("id\treason\tsource\trecord\n", encoding="utf-8")
    manifest = RunManifest(
        dataset=dataset, run_id=run_id or folder.name, created=created, spec=spec, version=None, inputs=[], labels=None,
        options={}, counts={"embedded": len(numbers)}, compute=[], software={},
        files={
            name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
            for name in ("embeddings.npy", RECORDS, "rejected.tsv")
        },
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.to_text(), encoding="utf-8", newline="\n")
    return Run.open(folder)


def add_run(workspace: Path, dataset: str, name: str, numbers: Sequence[int], **more: Any) -> Run:
    """Write a run into a workspace."""
    return write_run(runs_root(workspace) / dataset / name, numbers, dataset=dataset, **more)


def consolidate(workspace: Path, **more: Any) -> BuildResult:
    return building.build_reference(BuildRequest(workspace, **more))


def opened(workspace: Path, name: str | None = None) -> Reference:
    return open_reference(workspace / "data" / "reference", name)


def content(collection: Collection) -> dict[int, dict[str, Any]]:
    """Everything in a collection by key: vector, digest, letters, and the records in their order."""
    rows = np.arange(collection.rows)
    columns = [name for name in collection.record_schema.names if name != "row"]
    records = collection.take_records(np.asarray(collection.positions), sorted(columns)).to_pylist()
    sequences = collection.take_sequences(rows).to_pylist()
    vectors = collection.vectors_of(rows)
    found = {}
    for row in rows.tolist():
        begin, end = collection.starts[row], collection.starts[row + 1]
        found[int(collection.keys[row])] = {
            "vector": vectors[row].tobytes(),
            "norm": float(collection.norms[row]),
            **sequences[row],
            "records": records[begin:end],
        }
    assert len(found) == collection.rows
    return found


def hits(collection: Collection, queries: np.ndarray, k: int, **more: Any) -> list[tuple[int, int, float]]:
    """Query, key and similarity of each hit, in order."""
    return [
        (q, int(collection.keys[row]), round(float(score), 5))
        for query, rows, scores in collection.search(queries, k, **more)
        for q, row, score in zip(query.tolist(), rows.tolist(), scores.tolist(), strict=True)
    ]


def check_hits(collection: Collection, queries: np.ndarray, k: int, found: list[tuple[int, int, float]]) -> None:
    """Compare hits with the definition: the k best cosines in float64, most similar first, equal vectors by key."""
    vectors = collection.vectors_of(np.arange(collection.rows))
    exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1)[:, None]
    row_of = {int(key): row for row, key in enumerate(collection.keys.tolist())}
    for q, query in enumerate(np.asarray(queries, np.float64)):
        scores = exact @ (query / np.linalg.norm(query))
        own = [row_of[key] for place, key, _ in found if place == q]
        assert len(own) == len(set(own)) == min(k, collection.rows)
        np.testing.assert_allclose([score for place, _, score in found if place == q], scores[own], atol=1.1e-5)
        np.testing.assert_allclose(scores[own], np.sort(scores)[::-1][:k], atol=1.5e-6)
        equal: dict[bytes, list[int]] = {}
        for row in own:
            equal.setdefault(vectors[row].tobytes(), []).append(int(collection.keys[row]))
        for vector, keys in equal.items():
            every = sorted(int(collection.keys[i]) for i in range(len(vectors)) if vectors[i].tobytes() == vector)
            assert keys == every[: len(keys)], "ties are in order of key, and the first of them are found"


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Each file below a folder with its time, inode and bytes; lock files left out."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def reseal(folder: Path, change: Any) -> None:
    """Change the body of a reference's metadata, and write them with checksums that fit; in both places."""
    from ednabed.reference.manifest import METADATA, ReferenceManifest

    manifest = ReferenceManifest.read(folder)
    place = folder / "builds" / manifest.build
    files = {
        name: {"sha256": sha256_file(place / name), "bytes": (place / name).stat().st_size} for name in manifest.files
    }
    text = change(replace(manifest, files=files)).to_text()
    for path in (folder / METADATA, place / METADATA):
        path.write_text(text, encoding="utf-8", newline="\n")


def legacy(folder: Path, vectors: np.ndarray, form: str = "npy") -> Path:
    """A folder of an older tool."""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "npz":
        np.savez_compressed(folder / "embeddings.npz", embeddings=vectors)
    else:
        np.save(folder / "embeddings.npy", vectors)
    return folder


def copy_run(run: Run, workspace: Path, dataset: str) -> Run:
    folder = runs_root(workspace) / dataset / run.folder.name
    shutil.copytree(run.folder, folder)
    return Run.open(folder)


def visible(folder: Path) -> set[str]:
    """What lies in a reference, builds by number of them, lock files left out."""
    names = {path.name for path in folder.iterdir() if path.name != ".lock"}
    return names
