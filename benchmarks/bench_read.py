"""Time reading and normalising a FASTA.gz, compared with dnaio alone on the same file.

    python benchmarks/bench_read.py [--records 100000] [--repeats 3]

The file contains COI barcodes from ``../shared/data/coi.tsv.gz`` (or from the folder in ``EDNABED_SHARED``), or random
sequences of 650 bases if that table is missing. Both readers alternate in one process and the best time of each counts.
The digest is timed separately, because dnaio computes none.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import dnaio
from xopen import xopen

from ednabed.sequences import normalise, open_records


def barcodes(count: int) -> tuple[str, Iterator[tuple[str, str]]]:
    """Return a description of the sequences, and pairs of header and sequence."""
    shared = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    table = shared / "data" / "coi.tsv.gz"
    if table.is_file():
        return "COI barcodes from coi.tsv.gz", islice(real(table), count)
    draw = random.Random(1)
    return "random sequences of 650 bases", (
        (f"r{i} random", "".join(draw.choices("ACGT", k=650))) for i in range(count)
    )


def real(table: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(table, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield f"{row['id']} {row['species']}".strip(), row["sequence"]


def dnaio_alone(path: Path) -> int:
    with xopen(path, "rb", threads=0) as stream, dnaio.open(stream) as reader:
        return sum(len(record.sequence) for record in reader)


def ours(path: Path, digest: bool = False) -> int:
    n_bases = 0
    with open_records(path) as batches:
        for batch in batches:
            accepted, rejected = normalise(batch, min_length=0, with_digest=digest)
            assert not rejected.num_rows
            n_bases += accepted.column("length").to_numpy().sum(dtype="int64")
    return int(n_bases)


def records_in(path: Path) -> int:
    with open_records(path) as batches:
        return sum(batch.num_rows for batch in batches)


def timed(work: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "barcodes.fasta.gz"
        origin, pairs = barcodes(options.records)
        with gzip.open(path, "wt", compresslevel=6, encoding="ascii", newline="\n") as stream:
            for name, sequence in pairs:
                stream.write(f">{name}\n{sequence}\n")
        runs: dict[str, list[float]] = {"dnaio alone": [], "read + normalise": [], "read + normalise + digest": []}
        n_bases = set()
        count = records_in(path)
        for _ in range(options.repeats):
            for name, work in zip(
                runs, (lambda: dnaio_alone(path), lambda: ours(path), lambda: ours(path, True)), strict=True
            ):
                seconds, total = timed(work)
                runs[name].append(seconds)
                n_bases.add(total)
        assert len(n_bases) == 1, "the readers disagree about the number of bases"
    print(f"{count:,} records, {n_bases.pop():,} bases ({origin}), best of {options.repeats}")
    dnaio_best = min(runs["dnaio alone"])
    for name, seconds in runs.items():
        best = min(seconds)
        print(f"{name:28s} {best:7.3f} s  {count / best:10,.0f} records/s  {best / dnaio_best:5.2f} x dnaio")
    digest_cost = min(runs["read + normalise + digest"]) - min(runs["read + normalise"])
    print(f"{'digest (difference)':28s} {digest_cost:7.3f} s  {digest_cost / count * 1e6:10.2f} µs per record")


if __name__ == "__main__":
    main()
