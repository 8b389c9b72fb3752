"""Speed of ``barcode-1`` compared with ``kmer6``: loading in a new process, and barcodes per second on all cores."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
from data import barcodes

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder


def loading(model: str) -> float:
    """Return the seconds from importing the engine to the first vector, in a separate process."""
    code = (
        "import time; t = time.perf_counter()\n"
        "from ednabed.engine.open import open_embedder\nfrom ednabed.engine.embed import Engine\n"
        f"Engine(open_embedder({model!r})).embed([b'ACGTTGCA' * 80])\nprint(time.perf_counter() - t)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sequences = [s for s in barcodes(given.n * 2) if 600 <= len(s) <= 700][: given.n]
    print(f"{len(sequences):,} barcodes of 600 to 700 bases, {len(set(sequences)):,} of them distinct")
    rates: dict[str, list[float]] = {"barcode-1": [], "kmer6": []}
    for _ in range(given.rounds):
        for model, model_rates in rates.items():
            engine = Engine(open_embedder(model))
            started = time.perf_counter()
            engine.embed(sequences)
            model_rates.append(len(set(sequences)) / (time.perf_counter() - started))
    for model, model_rates in rates.items():
        rate = np.median(model_rates)
        print(f"{model:<10} {rate:,.0f} barcodes per second, first vector {loading(model):.2f} s after import")


if __name__ == "__main__":
    main()
