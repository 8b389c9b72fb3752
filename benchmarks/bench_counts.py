"""Speed of the count table reader in cells per second: many features, many samples, and the ratio of two sizes.

A ratio of 1 means that the time is linear in the number of cells.

Usage: python benchmarks/bench_counts.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from ednabed.sequences.counts import read_count_table

SIZES = ((1_000, 8_192), (1_000, 32_767), (8_192, 1_000), (32_767, 1_000))
"""Features and samples: a quarter of each shape, and the full size."""
SHARE = 0.05
"""Share of cells that are not 0."""


def write(path: Path, features: int, samples: int, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        file.write("\t".join(["#OTU ID", *(f"sample_{i}" for i in range(samples))]) + "\n")
        for feature in range(features):
            counts = rng.integers(1, 5_000, samples) * (rng.random(samples) < SHARE)
            file.write(f"asv{feature}\t" + "\t".join(map(str, counts.tolist())) + "\n")


def main() -> None:
    print("features  samples      MB  seconds  million cells/s")
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counts.tsv"
        for features, samples in SIZES:
            write(path, features, samples)
            began = time.perf_counter()
            table = read_count_table(path)
            seconds = time.perf_counter() - began
            assert (len(table), len(table.samples)) == (features, samples)
            rates.append(features * samples / seconds)
            size = path.stat().st_size / 1e6
            print(f"{features:8,}  {samples:7,}  {size:6.1f}  {seconds:7.2f}  {rates[-1] / 1e6:15.1f}")
    print(f"rate at full size / rate at a quarter: {rates[1] / rates[0]:.2f} (wide), {rates[3] / rates[2]:.2f} (long)")


if __name__ == "__main__":
    main()
