"""Compare encoders and objectives to show what each part of the recipe of ``ednabed train`` contributes.

Every variant is trained on the same records for the same number of steps on the CPU, then tested on the nearest
neighbours of sequences whose record, species or genus it has not seen. Prints a Markdown table for
``docs/training.md``.

    python benchmarks/compare_training.py

The data are the splits of COI and 12S that ``train_barcode.py`` creates, so choices are not based on the queries that
``docs/accuracy.md`` reports. The convolutional encoder (convolutions over the bases, then attention) is only for
comparison.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ednabed.base.bases import encode
from ednabed.models.barcode.config import BarcodeConfig
from ednabed.models.base import Encoder, Tokens
from ednabed.models.load import load_encoder
from ednabed.training.loop import Schedule, train
from ednabed.training.networks import KmerNetwork, TrainableNetwork
from ednabed.training.records import pools, read_labelled
from ednabed.training.sampling import Sampler
from ednabed.training.train import DIMENSION, PATTERNS
from ednabed.training.validation import hold_out, means, measure_encoder
from ednabed.training.views import Alterations

SHOWN = ("record → species", "record → species among 50", "species → genus", "genus → family")
EVEN = dict.fromkeys(("record", "species", "genus", "family"), 1.0)
WIDTH = 128


class Convolutions(TrainableNetwork):
    """Two strided convolutions over the bases, two layers of attention, the mean over positions, a linear map.

    A position covers 16 bases; with more positions, or batches as large as for k-mers, a step takes seconds on a CPU.
    """

    batch = 128

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self._dimension = dimension
        self.bases = torch.nn.Embedding(6, 16, padding_idx=5)
        self.first = torch.nn.Conv1d(16, 64, 8, stride=4, padding=2)
        self.second = torch.nn.Conv1d(64, WIDTH, 4, stride=4)
        layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.attention = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = torch.nn.Linear(WIDTH, dimension)

    def prepare(self, views):
        out = np.full((len(views), -(-max(map(len, views)) // 16) * 16), 5, np.int64)
        for row, codes in zip(out, views, strict=True):
            row[: len(codes)] = codes
        return torch.from_numpy(out)

    def forward(self, prepared):
        mask = functional.max_pool1d((prepared != 5).float()[:, None], 16)[:, 0] > 0
        x = functional.gelu(self.first(self.bases(prepared).transpose(1, 2)))
        x = functional.gelu(self.second(x)).transpose(1, 2)
        x = self.attention(x, src_key_padding_mask=~mask) * mask[..., None]
        return functional.normalize(self.last(x.sum(dim=1) / mask.sum(dim=1, keepdim=True)), dim=1)

    def config(self, licence):
        return BarcodeConfig(self._dimension, PATTERNS, None, licence)

    def arrays(self):
        raise NotImplementedError("this encoder is only for comparison and cannot be saved")

    def encoder(self, name):
        return NetworkEncoder(self, name)


class NetworkEncoder(Encoder):
    """A network with the interface of an encoder."""

    def __init__(self, network: Convolutions, name: str) -> None:
        self._network = network
        self.name, self.dimension = name, network._dimension
        self.architecture, self.tokenizer, self.normalisation = {"family": "compared"}, "letters", "l2"
        self.token_budget = 60_000

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        codes = [encode(sequence) for sequence in sequences]
        return Tokens(
            np.concatenate([np.zeros(0, np.uint8), *codes]), np.cumsum([0, *map(len, codes)]).astype(np.int64)
        )

    def forward(self, tokens: Tokens):
        rows = [tokens.ids[a:b] for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]
        with torch.no_grad():
            return self._network(self._network.prepare(rows)).numpy()


def variants():
    """Yield name, network, alterations and weights of the questions."""
    plain = Alterations()

    def kmers(*patterns: str, dimension: int = DIMENSION):
        return lambda: KmerNetwork(patterns or PATTERNS, dimension)

    yield "the recipe: " + ", ".join(PATTERNS) + f", {DIMENSION} dimensions", kmers(), plain, EVEN
    yield "k-mers 1111111 alone", kmers("1111111"), plain, EVEN
    yield "k-mers 1111111 and 11011011011 (twice the size)", kmers("1111111", "11011011011"), plain, EVEN
    yield "256 dimensions", kmers(dimension=256), plain, EVEN
    yield "without pieces", kmers(), replace(plain, crops=0), EVEN
    yield "substitutions at 2 % instead of 0.4 %", kmers(), replace(plain, substitutions=0.02), EVEN
    yield "without substitutions and indels", kmers(), replace(plain, altered=0), EVEN
    yield "without runs of N", kmers(), replace(plain, runs_of_n=0), EVEN
    for question in EVEN:
        yield f"without the question of the {question}", kmers(), plain, EVEN | {question: 0.0}
    yield "the question of the record alone", kmers(), plain, {q: float(q == "record") for q in EVEN}
    yield "convolutions and attention over letters (batches of 128)", lambda: Convolutions(DIMENSION), plain, EVEN
    yield "the same without the other strand", lambda: Convolutions(DIMENSION), replace(plain, strands=0), EVEN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[Path("barcode") / "splits" / f"{m}.training.tsv" for m in ("coi", "12s")],
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--records", type=int, default=30_000, help="Maximum number of records per file.")
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--only", help="Run only variants whose name contains this text.")
    given = parser.parse_args()
    records = []
    rng = np.random.default_rng(0)
    for path in given.data:
        in_file, _ = read_labelled([path])
        records += [in_file[i] for i in np.sort(rng.permutation(len(in_file))[: given.records])]
    held_out = hold_out(records, given.queries, 0)
    training = pools([record for one in held_out for record in one.split.training])
    crops = ("whole", "150")
    print(f"{sum(map(len, training)):,} records, {given.steps} steps per variant, batches of {given.batch}\n")
    print("| variant | seconds | " + " | ".join(f"{crop}: {name}" for crop in crops for name in SHOWN) + " |")
    print("|" + " --- |" * (2 + len(crops) * len(SHOWN)))

    def row(name: str, steps: str, encoder: Encoder) -> None:
        found = means(measure_encoder(encoder, held_out))
        cells = [f"{found[f'{crop}, {figure}']:.3f}" for crop in crops for figure in SHOWN]
        print(f"| {name} | {steps} | " + " | ".join(cells) + " |", flush=True)

    row("kmer6", "–", load_encoder("kmer6"))
    for name, make, alterations, weights in variants():
        if given.only and given.only not in name:
            continue
        torch.manual_seed(0)
        network = make()
        sampler = Sampler(training, getattr(network, "batch", given.batch), alterations, 0)
        if name.startswith("the recipe"):
            row("the recipe, before training", "0", network.encoder("start"))
        plan = Schedule(
            given.steps,
            rate=2e-3 if isinstance(network, KmerNetwork) else 1e-3,
            weights=weights,
            report_every=given.steps,
        )
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            train(network, sampler, plan, Path(folder), "compared", dict, show_progress=False)
        row(name, f"{time.perf_counter() - started:.0f}", network.encoder("trained"))


if __name__ == "__main__":
    main()
