"""A reference of 1,000,000 x 256 synthetic vectors in 20 runs: building, opening, memory, search compared with FAISS.

Each consolidation runs in a separate process, whose peak memory is printed. ``--rows N`` sets another size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic import Vectors, make_run

RUNS = 20
DIMENSION = 256
CHILD = """
import json, resource, sys, time
from pathlib import Path
from ednabed.reference.build import BuildRequest, build_reference
begin = time.perf_counter()
result = build_reference(BuildRequest(Path(sys.argv[1]), incremental=sys.argv[2] == "incremental"))
seconds = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps({"seconds": seconds, "peak": peak, "index": vars(result.manifest.index), "added": len(result.added)}))
"""
OPEN = """
import sys, time
from pathlib import Path
from ednabed.reference.opened import open_reference
begin = time.perf_counter()
open_reference(Path(sys.argv[1]))
print(time.perf_counter() - begin)
"""


def child(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(workspace: Path, how: str) -> dict:
    result = json.loads(child(CHILD, str(workspace), how))
    print(f"{how:<12} {result['seconds']:6.1f} s, {result['added']:>2} runs read, peak memory {result['peak']:,.0f} MB")
    return result


def best(function, times: int = 7) -> float:
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        world = Vectors(DIMENSION, rows // 20)
        root = workspace / "consolidated_data" / "runs"
        for number in range(RUNS - 1):
            make_run(root, number, rows // RUNS, world, DIMENSION)
        print(f"{rows:,} synthetic vectors of {DIMENSION} dimensions in {RUNS} runs")
        build(workspace, "scratch")
        make_run(root, RUNS - 1, rows // RUNS, world, DIMENSION)
        incremental = build(workspace, "incremental")
        scratch = build(workspace, "scratch")
        print(f"one more run: from scratch takes {scratch['seconds'] / incremental['seconds']:.1f} times as long")
        nothing = build(workspace, "incremental")
        assert nothing["added"] == 0
        reference = workspace / "data" / "reference"
        size = sum(p.stat().st_size for p in (reference / "builds").rglob("*") if p.is_file()) / 1e6
        print(f"opening      {min(float(child(OPEN, str(reference))) for _ in range(3)) * 1e3:.0f} ms ({size:,.0f} MB)")
        search(reference)


def search(folder: Path) -> None:
    import faiss

    from ednabed.base.topk import unit
    from ednabed.reference.index import open_index
    from ednabed.reference.layout import INDEX
    from ednabed.reference.opened import open_reference

    reference = open_reference(folder)
    facts = reference.manifest.index
    print(f"index        {facts}")
    if facts.kind != "ivf":
        return
    rng = np.random.default_rng(1)
    chosen = np.sort(rng.choice(reference.rows, 1000, replace=False))
    queries = unit(np.asarray(reference.vectors[chosen]))
    shown = ["id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage"]

    def ours(vectors: np.ndarray) -> list:
        return list(reference.search(vectors, 10))

    index = open_index(reference.build / INDEX, reference.rows, DIMENSION, facts)
    halves = faiss.IndexScalarQuantizer(DIMENSION, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for _, block, _ in reference.blocks():
        halves.train(unit(block)) if not halves.is_trained else None
        halves.add(unit(block))
    refined = faiss.IndexRefine(index, halves)
    inner = faiss.SearchParametersIVF()
    inner.nprobe = facts.nprobe
    outer = faiss.IndexRefineSearchParameters(k_factor=facts.factor, base_index_params=inner)

    def by_refine(vectors: np.ndarray) -> None:
        refined.search(vectors, 10, params=outer)

    def bare(vectors: np.ndarray) -> None:
        index.search(vectors, 10 * facts.factor, params=inner)

    for batch in (queries, queries[:1]):
        for function in (ours, by_refine, bare):
            function(batch)
        # Interleaved, so that other load on the machine affects all equally.
        times = {ours: [], by_refine: [], bare: []}
        for _ in range(15):
            for function in times:
                times[function].append(best(lambda f=function, b=batch: f(b), 1))
        mine, refine, base = (float(np.median(times[f])) for f in times)
        print(
            f"{len(batch):>5} queries  ednabed {mine * 1e3:8.2f} ms ({len(batch) / mine:,.0f}/s), FAISS with float16 "
            f"refinement {refine * 1e3:8.2f} ms, FAISS candidates alone {base * 1e3:8.2f} ms; ednabed takes "
            f"{mine / refine:.2f} of FAISS"
        )
    numbers = iter(np.tile(np.arange(1000), 3).tolist())

    def one_with_records() -> None:
        number = next(numbers)
        for _, row, _ in reference.search(queries[number : number + 1], 10):
            reference.take_records(reference.positions[reference.starts[row]], shown)

    print(f"one query with the records of its hits: {best(one_with_records, 60) * 1e3:.1f} ms (a new query each time)")
    exact = best(lambda: list(reference.search(queries[:1], 10, exact=True)), 3)
    print(f"one query, exact: {exact * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
