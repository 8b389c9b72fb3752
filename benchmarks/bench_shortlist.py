"""Is the nearest sequence by alignment among the candidates? By length of the query and size of the shortlist.

Queries are drawn from the shared table of a marker, whole and cropped. Every labelled sequence except the query's own
record is compared with each query. ``--marker M``, ``--queries N`` of each length (COI takes 0.7 s per query).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from data import shared

from ednabed.base.bases import decode
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.reference.build import BuildRequest, build_reference
from ednabed.reference.opened import open_reference
from ednabed.search.divergence import Comparer
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.taxonomy.candidates import COVERAGE_POWER, MAX_CANDIDATES, Finder
from ednabed.taxonomy.draws import CROPS, RECORD, draw, left_out
from ednabed.taxonomy.labels import read_row_labels
from ednabed.taxonomy.shortlist import default_exponents, shortlist

SIZES = (50, 100, 200, MAX_CANDIDATES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marker", default="coi")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    given = parser.parse_args()
    table = shared() / "data" / f"{given.marker}.tsv.gz"
    if not table.exists():
        print("the shared data are missing: nothing is measured")
        return
    embedder = open_embedder(given.model)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workspace = Path(folder)
        embed_to_run(RunRequest([table], workspace, dataset=given.marker), embedder, show_progress=False)
        reference = open_reference(build_reference(BuildRequest(workspace)).folder)
        labels = read_row_labels(reference)
        finder = Finder(reference, labels, default_exponents(reference.spec))
        comparer = Comparer(finder.bases)
        labelled_rows = np.flatnonzero(labels.labelled)
        print("| marker | query | queries | " + " | ".join(f"nearest among {size}" for size in SIZES) + " |")
        print("|" + " --- |" * (3 + len(SIZES)))
        for part in draw(labels, finder.bases, labels.labelled, given.queries, CROPS, 0):
            if part.level != RECORD:
                continue
            selected = np.random.default_rng(0).permutation(len(part.rows))[: given.queries]
            codes = [part.codes[i] for i in selected.tolist()]
            vectors, _ = Engine(embedder).embed([decode(query) for query in codes])
            excluded = left_out(labels, part)
            assert excluded is not None
            (groups, query_groups), _ = excluded
            lengths = np.array([len(query) for query in codes])
            rows = shortlist(
                reference.blocks(None), finder.bases.lengths, vectors, lengths, MAX_CANDIDATES, finder.exponents,
                (groups, query_groups[selected]),
            )  # fmt: skip
            found = np.zeros(len(SIZES))
            for i, query in enumerate(codes):
                others = labelled_rows[groups[labelled_rows] != query_groups[selected[i]]]
                divergence = comparer.compare(query, others, thorough=False)
                distance = divergence.distance / np.clip(divergence.n_bases / len(query), 0.01, 1) ** COVERAGE_POWER
                nearest = set(others[distance <= distance.min() + 1e-9].tolist())
                for j, size in enumerate(SIZES):
                    found[j] += bool(nearest & set(rows[i, : size * len(finder.exponents)].tolist()))
            length = f"{part.crop} letters" if part.crop else "whole"
            shares = " | ".join(f"{share:.3f}" for share in found / len(codes))
            print(f"| {given.marker} | {length} | {len(codes)} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
