"""Runs with vectors made for a test of compression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.atomic import write_atomic
from ednabed.base.files import sha256_file
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.runs import Run
from support import letters

NPY, NPZ, F16 = "embeddings.npy", "embeddings.npz", "embeddings.f16.npy"


def make_run(folder: Path, array: np.ndarray, created: str = "2026-01-02T03:04:05+00:00") -> Run:
    """A sound run with these vectors, as 'embed' would have written it."""
    folder.mkdir(parents=True)
    np.save(folder / NPY, array)
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(len(array))]}), folder / "records.parquet")
    (folder / "rejected.tsv").write_text("id\treason\tsource\trecord\n")
    files = (NPY, "records.parquet", "rejected.tsv")
    manifest = RunManifest(
        dataset="see",
        run_id=folder.name,
        created=created,
        spec=replace(letters().spec, dimension=array.shape[1]),
        version=None,
        inputs=[],
        labels=None,
        options={},
        counts={"embedded": len(array)},
        compute=[],
        software={"ednabed": "0"},
        files={f: {"sha256": sha256_file(folder / f), "bytes": (folder / f).stat().st_size} for f in files},
    )
    write_atomic(folder / MANIFEST, manifest.to_text())
    run = Run.open(folder)
    assert run.verify() == []
    return run


def legacy(folder: Path, **forms: np.ndarray) -> Run:
    """A folder of an older tool with these forms of its vectors."""
    folder.mkdir(parents=True)
    if "npy" in forms:
        np.save(folder / NPY, forms["npy"])
    if "npz" in forms:
        np.savez_compressed(folder / NPZ, embeddings=forms["npz"])
    return Run.open(folder)


def noise(rows: int = 50, dimension: int = 10, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
