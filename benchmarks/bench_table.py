"""Cost of the table in addition to embedding, and one merge of thousands of rows compared with one update per row.

1. 200,000 rows x 512 (COI and fragments of it, all distinct): seconds of ``embed_table`` with kmer6, of the same
   embedding alone, and the difference, as a share of embedding times at other speeds.
2. 20,000 rows x 512: ``embed_table`` compared with the old way, one ``update`` per row (400 rows are timed; the time
   per row grows with the number of versions).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from data import barcodes

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.tables.fill import embed_table
from ednabed.tables.table import Database


def make(folder: Path, sequences: list[bytes]) -> Database:
    database = Database(str(folder))
    rows = pa.table(
        {"sequence_id": [f"s{i}" for i in range(len(sequences))], "dna_sequence": [s.decode() for s in sequences]}
    )
    database.create(rows)
    return database


def main() -> None:
    embedder = open_embedder("kmer6")
    base = barcodes(50_000)
    sequences = list(dict.fromkeys([s[cut:] for cut in (0, 1, 2, 3, 4) for s in base if len(s) > 300]))[:200_000]
    print(f"{len(sequences):,} distinct sequences")
    engine = Engine(embedder)
    for attempt in range(2):
        start = time.perf_counter()
        for first in range(0, len(sequences), 10_000):
            for _ in engine.stream(sequences[first : first + 10_000])[1]:
                pass
        alone = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as scratch:
            database = make(Path(scratch) / "db", sequences)
            start = time.perf_counter()
            embed_table(database.open(), embedder, Path(scratch), show_progress=False)
            total = time.perf_counter() - start
        overhead = total - alone
        print(
            f"round {attempt + 1}: embed_table {total:.1f} s, embedding alone {alone:.1f} s, overhead {overhead:.1f} s"
        )
    rates = {"kmer6 here": len(sequences) / alone, "5,000/s": 5000, "500/s": 500, "NT-500M on a CPU, 8/s": 8}
    for model, rate in rates.items():
        print(f"  the overhead is {100 * overhead / (len(sequences) / rate):8.2f} % of the embedding at {model}")

    selected = sequences[:20_000]
    with tempfile.TemporaryDirectory() as scratch:
        database = make(Path(scratch) / "db", selected)
        start = time.perf_counter()
        embed_table(database.open(), embedder, Path(scratch), show_progress=False)
        bulk = time.perf_counter() - start
        old = make(Path(scratch) / "old", selected)
        table = old.open().lance
        table.add_columns(pa.schema([pa.field("vector", pa.list_(pa.float32(), 512))]))
        vectors = np.random.default_rng(0).random((400, 512)).astype(np.float32)
        times = []
        for i in range(400):
            start = time.perf_counter()
            table.update(where=f"sequence_id = 's{i}'", values={"vector": vectors[i].tolist()})
            times.append(time.perf_counter() - start)
    first, last = np.mean(times[:100]), np.mean(times[-100:])
    growth = (last - first) / 300
    total = 20_000 * first + growth * 20_000**2 / 2
    print(f"20,000 rows: embed_table {bulk:.1f} s")
    print(f"one update per row: {1000 * first:.1f} ms each at first, {1000 * last:.1f} ms after 350 updates")
    print(f"  20,000 updates at the initial speed: {20_000 * first:,.0f} s = {20_000 * first / bulk:,.0f} x")
    print(f"  if the growth continues: {total:,.0f} s = {total / bulk:,.0f} x (extrapolated)")


if __name__ == "__main__":
    main()
