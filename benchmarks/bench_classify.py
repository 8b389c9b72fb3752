"""Queries per second on the COI reference: ``classify`` compared with vsearch and blastn, same queries and threads.

The queries are random records removed from the table, most of whose species remain in it, like a sample with a good
reference. Preparation (building and calibrating) is timed separately.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from data import table
from threadpoolctl import threadpool_limits

from ednabed.engine.open import open_embedder
from ednabed.evaluate.ednabed_method import EdnabedMethod
from ednabed.evaluate.methods import installed
from ednabed.evaluate.splits import Labelled
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.sequences import normalise_one
from ednabed.sequences.lineage import RANKS, parse_lineage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    rows = table("coi")
    if not rows:
        print("the shared data are missing: nothing is measured")
        return
    records = []
    for row in rows:
        lineage = parse_lineage(";".join(row[rank] for rank in RANKS))
        if lineage is not None:
            records.append(Labelled(row["id"], normalise_one(row["sequence"]).decode(), lineage))
    chosen = np.zeros(len(records), bool)
    chosen[np.random.default_rng(1).choice(len(records), given.queries, replace=False)] = True
    training = [record for record, out in zip(records, chosen, strict=True) if not out]
    queries = [(record.id, record.sequence) for record, out in zip(records, chosen, strict=True) if out]
    print(f"{len(training):,} records, {len(queries):,} queries, {given.threads} threads")
    others, missing = installed()
    for sentence in missing:
        print(sentence)
    rates = {}
    with threadpool_limits(given.threads):
        for method in (EdnabedMethod(open_embedder(given.model)), *others):
            begin = time.perf_counter()
            with method.prepare(training, given.threads) as classify:
                ready = time.perf_counter()
                classify(queries)
                rates[method.name] = len(queries) / (time.perf_counter() - ready)
            print(f"{method.name:<20} {rates[method.name]:8.1f} queries per second, prepared in {ready - begin:6.1f} s")
    own, *rest = rates
    for name in rest:
        print(f"{own} is {rates[own] / rates[name]:.1f} times as fast as {name}")


if __name__ == "__main__":
    main()
