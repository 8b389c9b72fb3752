"""Is the sequence that is nearest letter by letter among the candidates? By length of the query and of the shortlist.

Queries are drawn from the shared table of a marker, whole and cut, and leave their own record out; every labelled
sequence is compared with each. ``--marker M``, ``--queries N`` of each length (COI takes 0.7 s a query).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from data import shared

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.models.catalog import DEFAULT_MODEL
from ednabed.reference.build import BuildRequest, consolidate
from ednabed.reference.opened import open_reference
from ednabed.search.divergence import Comparer, decode
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.taxonomy.candidates import COVERAGE_POWER, LONGEST, Finder
from ednabed.taxonomy.draws import CROPS, RECORD, draw, left_out
from ednabed.taxonomy.labels import read_labels
from ednabed.taxonomy.shortlist import default_exponents, shortlist

SIZES = (50, 100, 200, LONGEST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marker", default="coi")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    given = parser.parse_args()
    table = shared() / "data" / f"{given.marker}.tsv.gz"
    if not table.exists():
        print("the shared data are absent: nothing is measured")
        return
    embedder = open_embedder(given.model)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workspace = Path(folder)
        embed_to_run(RunRequest([table], workspace, dataset=given.marker), embedder, show_progress=False)
        reference = open_reference(consolidate(BuildRequest(workspace)).folder)
        labels = read_labels(reference)
        finder = Finder(reference, labels, default_exponents(reference.spec))
        comparer = Comparer(finder.letters)
        every = np.flatnonzero(labels.labelled)
        print("| marker | query | queries | " + " | ".join(f"nearest among {size}" for size in SIZES) + " |")
        print("|" + " --- |" * (3 + len(SIZES)))
        for part in draw(labels, finder.letters, labels.labelled, given.queries, CROPS, 0):
            if part.level != RECORD:
                continue
            some = np.random.default_rng(0).permutation(len(part.rows))[: given.queries]
            codes = [part.codes[i] for i in some.tolist()]
            vectors, _ = Engine(embedder).embed([decode(own) for own in codes])
            apart = left_out(labels, part)
            assert apart is not None
            (groups, own_groups), _ = apart
            lengths = np.array([len(own) for own in codes])
            rows = shortlist(
                reference.blocks(None), finder.letters.lengths, vectors, lengths, LONGEST, finder.exponents,
                (groups, own_groups[some]),
            )  # fmt: skip
            found = np.zeros(len(SIZES))
            for i, own in enumerate(codes):
                others = every[groups[every] != own_groups[some[i]]]
                divergence = comparer.compare(own, others, thorough=False)
                distance = divergence.distance / np.clip(divergence.letters / len(own), 0.01, 1) ** COVERAGE_POWER
                nearest = set(others[distance <= distance.min() + 1e-9].tolist())
                for j, size in enumerate(SIZES):
                    found[j] += bool(nearest & set(rows[i, : size * len(finder.exponents)].tolist()))
            what = f"{part.crop} letters" if part.crop else "whole"
            shares = " | ".join(f"{share:.3f}" for share in found / len(codes))
            print(f"| {given.marker} | {what} | {len(codes)} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
