"""Calibration of confidences if 10 %, 50 % and 95 % of the queries are known species.

For each marker, held-out queries (from the split of ``ednabed evaluate``) and exact copies are combined into studies
with these shares of known species, half of them copies. Prints the calibration errors with an assumed share of 0.5, and
with all shares estimated from the study. Takes several minutes per marker.

    python benchmarks/known_share.py --markers coi 12s
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data import shared

from ednabed.evaluate.ednabed_method import EdnabedMethod
from ednabed.evaluate.metrics import judge_predictions
from ednabed.evaluate.splits import COPY, GROUPS, Labelled, LabelledQuery, split
from ednabed.models.load import load_embedder
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.metrics import calibration_error

SHARES = (0.10, 0.50, 0.95)
MEASURED = ("species", "genus", "family")
SEED = 2024


def records_of(path: Path, marker: str) -> list[Labelled]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            Labelled(row["id"], row["sequence"], tuple(row[rank] for rank in RANKS), marker, int(row["n_records"]))
            for row in rows
        ]


def study(queries: Sequence[LabelledQuery], known: float, size: int, rng: np.random.Generator) -> list[LabelledQuery]:
    """Draw a study with the given share of known species, half of them copies."""
    groups = np.array([query.group for query in queries])
    absent = [group for group in GROUPS[1:] if (groups == group).any()]
    shares = {COPY: known / 2, GROUPS[0]: known / 2, **dict.fromkeys(absent, (1 - known) / len(absent))}
    chosen = [
        rng.choice(np.flatnonzero(groups == group), min(round(size * share), int((groups == group).sum())), False)
        for group, share in shares.items()
    ]
    return [queries[i] for i in np.concatenate(chosen).tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--markers", nargs="+", default=["coi", "12s"])
    parser.add_argument("--queries", type=int, default=1_000, help="maximum number of queries per study")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    folder = arguments.data or shared() / "data"
    print(
        "Calibration errors at species, genus and family, with an assumed share of 0.5 and with the estimated share:\n"
    )
    print("| marker | known species | estimated | with 0.5 assumed | with the estimate |")
    print("|---|---|---|---|---|")
    for marker in arguments.markers:
        data_split = split(records_of(folder / f"{marker}.tsv.gz", marker), queries=arguments.queries // 2, seed=SEED)
        queries = [*data_split.crop(None), *data_split.crop_copies(None)]
        with EdnabedMethod(load_embedder("barcode-1")).prepare(data_split.training, arguments.threads) as classify:
            for known in SHARES:
                asked = study(queries, known, arguments.queries, np.random.default_rng(SEED))
                pairs = [(query.id, query.sequence) for query in asked]
                cells = []
                for ask in (classify, classify.together):
                    judged = judge_predictions(asked, ask(pairs), data_split.taxa)
                    errors = []
                    for rank in map(RANKS.index, MEASURED):
                        counted = judged.known[:, rank]
                        error = calibration_error(judged.confidence[counted, rank], judged.right[counted, rank])
                        errors.append("–" if error is None else f"{error:.3f}")
                    cells.append(", ".join(errors))
                found = ", ".join(f"{shares.known:.2f}" for shares in classify.shares.values())
                print(f"| {marker} | {known:.2f} | {found} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
