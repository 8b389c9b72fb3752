"""Train ``barcode-1`` on the shared data: the training records of ``evaluate``'s split of each marker.

The reported accuracy (``docs/accuracy.md``) is measured on the held-out part of these splits, which the model does not
see. Takes about half an hour on one CPU core; ``--steps 800`` takes three minutes and gives nearly the same figures on
whole sequences.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from data import shared

MARKERS = ("coi", "12s", "16s", "18s", "its")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=shared() / "data")
    parser.add_argument("--folder", type=Path, default=Path("barcode"), help="Workspaces, splits and the model.")
    parser.add_argument("--steps", type=int, default=6000)
    given = parser.parse_args()
    program = str(Path(sys.executable).with_name("ednabed"))

    def run(*arguments: str | Path) -> None:
        print("ednabed", *arguments, flush=True)
        # One thread, so that the sums match those of the shipped weights.
        subprocess.run([program, *map(str, arguments)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    splits = []
    for marker in MARKERS:
        workspace = ("--workspace", given.folder / marker)
        splits.append(given.folder / "splits" / f"{marker}.training.tsv")
        if not splits[-1].exists():
            run(*workspace, "embed", given.data / f"{marker}.tsv.gz", "--dataset", marker, "--model", "kmer6")
            run(*workspace, "consolidate", "--no-calibrate")
            run(*workspace, "evaluate", "--training-to", splits[-1])
    run(
        "--workspace", given.folder, "train", *splits, "--output", "barcode-1", "--steps", str(given.steps),
        "--rate", "2e-3", "--licence", "Apache-2.0", "--cpu",
    )  # fmt: skip


if __name__ == "__main__":
    main()
