"""Runs of synthetic vectors, for benchmarks of sizes for which no real data are available; their output mentions this.

Vectors are clustered by family, genus and species (48 latent dimensions), with about 20 near-duplicates per species, as
in barcode references. The sequences are short unique texts, because consolidation does not use their bases.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.atomic import write_atomic
from ednabed.base.files import sha256_file
from ednabed.base.version import software_versions
from ednabed.models.spec import Spec
from ednabed.sequences import digest_array
from ednabed.store.manifest import MANIFEST, RunManifest


def spec(dimension: int) -> Spec:
    return Spec(
        model="synthetic", architecture={"family": "synthetic"}, weights="none", tokenizer="none", dimension=dimension,
        layer=None, pooling="none", max_tokens=None, strand="given", long="truncate", alphabet="iupac",
        normalisation="l2",
    )  # fmt: skip


class Vectors:
    """Draws vectors from one simulated set of families, genera and species."""

    def __init__(self, dimension: int, species: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._to = rng.standard_normal((48, dimension)).astype(np.float32) / 7
        families = rng.standard_normal((max(1, species // 100), 48)).astype(np.float32)
        genera = families[rng.integers(0, len(families), max(1, species // 10))]
        genera = genera + 0.5 * rng.standard_normal(genera.shape).astype(np.float32)
        self._species = genera[rng.integers(0, len(genera), species)]
        self._species = self._species + 0.25 * rng.standard_normal(self._species.shape).astype(np.float32)
        self._rng = rng

    def draw(self, n: int) -> np.ndarray:
        latent = self._species[self._rng.integers(0, len(self._species), n)]
        latent = latent + 0.05 * self._rng.standard_normal(latent.shape).astype(np.float32)
        vectors = np.tanh(latent @ self._to)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def make_run(root: Path, number: int, rows: int, vectors: Vectors, dimension: int) -> Path:
    """Write a finished run of ``rows`` vectors as ``embed`` would write it."""
    folder = root / f"study{number:04d}" / f"2026-01-01_00-{number // 60:02d}-{number % 60:02d}"
    folder.mkdir(parents=True)
    with (folder / "embeddings.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})
        for first in range(0, rows, 50_000):
            file.write(vectors.draw(min(50_000, rows - first)).tobytes())
    sequences = pa.array([f"{number}-{i}" for i in range(rows)])
    table = pa.table(
        {
            "id": pa.array([f"asv{number}_{i}" for i in range(rows)]),
            "sequence": sequences,
            "length": pa.array(np.full(rows, 200, np.int32)),
            "n_ambiguous": pa.array(np.zeros(rows, np.int32)),
            "digest": digest_array(sequences),
            "abundance": pa.array(np.arange(rows)),
            "sample": pa.array([f"S{i % 50}" for i in range(rows)]),
            "lineage": pa.array([f"Animalia;Chordata;;;F{i % 400};G{i % 4000};G s{i % 20000}" for i in range(rows)]),
            "source": pa.array(["synthetic.fasta"] * rows),
        }
    )  # fmt: skip
    pq.write_table(table, folder / "records.parquet", compression="zstd")
    (folder / "rejected.tsv").write_text("id\treason\tsource\trecord\n", encoding="utf-8")
    names = ("embeddings.npy", "records.parquet", "rejected.tsv")
    manifest = RunManifest(
        dataset=folder.parent.name, run_id=folder.name,
        created=f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}+00:00",
        spec=spec(dimension), version=None, inputs=[], labels=None, options={}, counts={"embedded": rows}, compute=[],
        software=software_versions("numpy", "pyarrow", "torch"),
        files={n: {"sha256": sha256_file(folder / n), "bytes": (folder / n).stat().st_size} for n in names},
    )  # fmt: skip
    write_atomic(folder / MANIFEST, manifest.to_text())
    return folder
