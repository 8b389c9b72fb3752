"""kmer6: barcodes per second on one core, and whether 512 dimensions find neighbours as well as the full 4,096.

Speed: ``Engine.stream`` on 20,000 distinct sequences of 650 bp, best of 5. Neighbours: the nearest other record by
cosine of 1,000 queries from each table whose species has another record; the share with the same species and genus.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import numpy as np
from data import barcodes, table

from ednabed.base.nearest import nearest
from ednabed.engine.embed import Engine
from ednabed.models.base import Embedder
from ednabed.models.kmer import KmerEncoder
from ednabed.models.spec import Policy


def engine(dimension: int | None, strand: str = "given") -> Engine:
    return Engine(Embedder.from_encoder(KmerEncoder(dimension=dimension), Policy(strand=strand)))


def speed() -> None:
    sequences = list(dict.fromkeys(barcodes(20_000, 650)))
    for name, one in (
        ("kmer6", engine(512)),
        ("kmer6, both strands", engine(512, "both")),
        ("kmer6-full", engine(None)),
    ):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            for first in range(0, len(sequences), 4096):
                _, batches = one.stream(sequences[first : first + 4096])
                for _batch in batches:
                    pass
            best = min(best, time.perf_counter() - start)
        print(f"{name:<22} {len(sequences) / best:9,.0f} barcodes/s on one core")


def neighbours(marker: str) -> None:
    rows = [row for row in table(marker) if row["species"]]
    if not rows:
        print(f"{marker}: the shared data are missing")
        return
    rng = np.random.default_rng(0)
    rows = [rows[i] for i in rng.permutation(len(rows))[:20_000]]
    species = [row["species"] for row in rows]
    several = _several(species)
    queries = [i for i, name in enumerate(species) if name in several][:1000]
    for dimension in (512, None):
        vectors, _ = engine(dimension).embed([_clean(row["sequence"]) for row in rows])
        found, _ = nearest(vectors[queries], vectors, 2)
        best = [a if a != q else b for q, (a, b) in zip(queries, found, strict=True)]
        pairs = list(zip(queries, best, strict=True))
        right = {r: np.mean([rows[q][r] == rows[b][r] for q, b in pairs]) for r in ("species", "genus")}
        print(
            f"{marker}: {dimension or 4096:>4} dimensions: species {right['species']:.3f}, genus {right['genus']:.3f}"
        )


def _several(species: list[str]) -> set[str]:
    names, counts = np.unique(species, return_counts=True)
    return set(names[counts > 1].tolist())


def _clean(sequence: str) -> bytes:
    return "".join(c if c in "ACGT" else "N" for c in sequence).encode()


if __name__ == "__main__":
    speed()
    for name in ("coi", "12s"):
        neighbours(name)
