"""Nucleotide Transformer tokens: ednabed on batches compared with transformers' ``EsmTokenizer``, 658 bp, one core."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import itertools
import tempfile
import time
from pathlib import Path

from data import barcodes

from ednabed.models.nucleotide_transformer.tokenizer import LAYOUTS


def theirs():
    from transformers import EsmTokenizer

    kmers = ["".join(bases) for bases in itertools.product("ATCG", repeat=6)]
    words = ["<unk>", "<pad>", "<mask>", "<cls>", *kmers, *"ATCGN", "<eos>", "<bos>"]
    folder = Path(tempfile.mkdtemp())
    path = folder / "vocab.txt"
    path.write_text("\n".join(words))
    return EsmTokenizer(str(path), eos_token=None)


def main() -> None:
    sequences = barcodes(20_000, 658)
    ours = LAYOUTS[4105]
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        for first in range(0, len(sequences), 1000):
            ours(sequences[first : first + 1000])
        best = min(best, time.perf_counter() - start)
    mine = len(sequences) / best
    print(f"ours          {mine:10,.0f} sequences/s (aim: 100,000)")
    tokenizer = theirs()
    selected = [s.decode() for s in sequences[:500]]
    ids = tokenizer(selected)["input_ids"]
    tokens = ours(sequences[:500])
    rows = [tokens.ids[a:b].tolist() for a, b in itertools.pairwise(tokens.offsets)]
    same = [row[1:] for row in ids] == rows
    start = time.perf_counter()
    tokenizer(selected)
    rate = len(selected) / (time.perf_counter() - start)
    print(f"EsmTokenizer  {rate:10,.0f} sequences/s; ours is {mine / rate:.0f} x; same ids: {same}")


if __name__ == "__main__":
    main()
