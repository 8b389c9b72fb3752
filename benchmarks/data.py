"""Barcodes for benchmarks: the shared COI table if it exists, else random sequences (the output shows which)."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np


def shared() -> Path:
    """Return the folder of shared data, which may not exist."""
    return Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))


def table(marker: str) -> list[dict[str, str]]:
    """Return all rows of a shared table; empty if it does not exist."""
    path = shared() / "data" / f"{marker}.tsv.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        header = next(lines).rstrip("\n").split("\t")
        return [dict(zip(header, line.rstrip("\n").split("\t"), strict=True)) for line in lines]


def barcodes(n: int, bases: int | None = None) -> list[bytes]:
    """Return ``n`` sequences of A, C, G, T, all of length ``bases`` if given; real COI sequences if available."""
    real = [row["sequence"].encode() for row in table("coi")]
    real = [s for s in real if not s.strip(b"ACGT")]
    if bases is not None:
        real = [s[:bases] for s in real if len(s) >= bases]
    if len(real) >= n:
        print(f"{n:,} real COI sequences" + (f", cut to {bases} bp" if bases else ""))
        return real[:n]
    print(f"{n:,} random sequences (the shared data are missing)")
    rng = np.random.default_rng(0)
    lengths = np.full(n, bases) if bases else rng.integers(300, 900, n)
    return [rng.choice(np.frombuffer(b"ACGT", np.uint8), length).tobytes() for length in lengths]
