"""NT-500M layout (v1, random weights), 658 bp barcodes, on the local CPU: ednabed compared with Hugging Face.

Compared in one process with interleaved rounds, best round of each:
  recipe    as in the old guide: EsmForMaskedLM, fp32, one sequence at a time, padded to 1,000 tokens, all hidden states
  loop-N    EsmModel, bf16 if the CPU supports it, sorted, padded to the longest sequence in a batch of N
  ours      ednabed's engine with its default token budget and auto precision
and the matrix-product rate of the machine in the same precision (the best over the shapes that the network uses).

    python benchmarks/bench_nt.py [--layers 24] [--sequences 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from ednabed.engine.device import choose_device
from ednabed.engine.embed import Engine
from ednabed.models.base import Embedder
from ednabed.models.nucleotide_transformer.config import NTConfig
from ednabed.models.nucleotide_transformer.encoder import NucleotideTransformer
from ednabed.models.nucleotide_transformer.network import Network
from ednabed.models.spec import Policy

HIDDEN, HEADS, FFN, BASES = 1280, 20, 5120, 658


def flop_per_sequence(tokens: int, layers: int) -> float:
    """Return the floating-point operations in the matrix products of one sequence, including attention."""
    return layers * (2 * tokens * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * FFN) + 4 * tokens * tokens * HIDDEN)


def matmul_rate(dtype: torch.dtype, tokens: int) -> float:
    """Return the best rate of ``F.linear`` over the network's shapes, in FLOP/s."""
    best = 0.0
    for inner, outer in ((HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, FFN), (FFN, HIDDEN)):
        x, w = torch.randn(tokens, inner, dtype=dtype), torch.randn(outer, inner, dtype=dtype)
        torch.nn.functional.linear(x, w)
        for _ in range(3):
            start, n = time.perf_counter(), 0
            while time.perf_counter() - start < 0.15:
                torch.nn.functional.linear(x, w)
                n += 1
            best = max(best, 2 * tokens * inner * outer * n / (time.perf_counter() - start))
    return best


def hugging_face(layers: int):
    from transformers import EsmConfig, EsmForMaskedLM

    config = EsmConfig(
        vocab_size=4105, hidden_size=HIDDEN, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=FFN,
        max_position_embeddings=1002, position_embedding_type="absolute", token_dropout=True, layer_norm_eps=1e-12,
        pad_token_id=1, mask_token_id=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        emb_layer_norm_before=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return EsmForMaskedLM(config).eval()


def ours(model, layers: int, precision: str) -> Engine:
    config = NTConfig(
        vocab_size=4105, hidden=HIDDEN, layers=layers, heads=HEADS, ffn=FFN, position="absolute", max_positions=1002,
        eps=1e-12, token_dropout=True, gated=False, ffn_bias=True,
    )  # fmt: skip
    tensors = {
        k.removeprefix("esm."): v.detach().clone() for k, v in model.state_dict().items() if k.startswith("esm.")
    }
    tensors = {
        k.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): v
        for k, v in tensors.items()
    }
    network = Network(config, tensors, layers, "cpu", precision)
    return Engine(
        Embedder.from_encoder(
            NucleotideTransformer(network, name="nt", weights="random", precision=precision), Policy()
        )
    )


@torch.inference_mode()
def recipe(model, ids: torch.Tensor) -> np.ndarray:
    rows = []
    for row in ids:
        padded = torch.full((1, 1000), 1)
        padded[0, : len(row)] = row
        mask = (padded != 1).long()
        hidden = model(padded, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
        rows.append(((hidden * mask[..., None]).sum(1) / mask.sum()).numpy()[0])
    return np.stack(rows)


@torch.inference_mode()
def loop(model, ids: torch.Tensor, batch: int) -> np.ndarray:
    rows = []
    for first in range(0, len(ids), batch):
        part = ids[first : first + batch]
        mask = torch.ones_like(part)
        hidden = model(part, attention_mask=mask).last_hidden_state.float()
        rows.append(((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy())
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budgets", type=int, nargs="*", default=[])
    parser.add_argument("--no-recipe", action="store_true")
    arguments = parser.parse_args()
    precision = choose_device(False, "auto").precision
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    rng = np.random.default_rng(0)
    sequences = [bytes(rng.choice(list(b"ACGT"), BASES).astype(np.uint8)) for _ in range(arguments.sequences)]
    reference = hugging_face(arguments.layers)
    engine = ours(reference, arguments.layers, precision)
    tokens = engine.embedder.encoder.tokenize(sequences)
    ids = torch.from_numpy(np.insert(tokens.ids.reshape(len(sequences), -1).astype(np.int64), 0, 3, axis=1))
    flop = flop_per_sequence(ids.shape[1], arguments.layers)
    print(f"NT-500M layout, {arguments.layers} layers, {BASES} bp = {ids.shape[1]} tokens, {flop / 1e9:.0f} GFLOP each")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, precision {precision}")

    expected = recipe(reference, ids[:2]) if not arguments.no_recipe else loop(reference.esm, ids[:2], 2)
    half = hugging_face(arguments.layers).esm.to(dtype)
    cases = {f"loop-{n}": lambda n=n: loop(half, ids, n) for n in (1, 2, 4, 8, 16, 32)}
    cases["ours"] = lambda: engine.embed(sequences)[0]
    for budget in arguments.budgets:
        other = Engine(engine.embedder, token_budget=budget)
        cases[f"ours-{budget}"] = lambda other=other: other.embed(sequences)[0]
    got = engine.embed(sequences[:2])[0]
    cosine = (got * expected).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
    print(f"cosine of ours to the fp32 recipe: {cosine.min():.6f}")
    best = dict.fromkeys(cases, 0.0)
    peak = 0.0
    for _ in range(arguments.rounds):
        peak = max(peak, matmul_rate(dtype, 456))
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            best[name] = max(best[name], len(sequences) / (time.perf_counter() - start))
    if not arguments.no_recipe:
        start = time.perf_counter()
        recipe(reference, ids[:2])
        best["recipe"] = 2 / (time.perf_counter() - start)
    for name, rate in best.items():
        print(f"{name:<12} {rate:7.3f} sequences/s   ours is {best['ours'] / rate:6.2f} x")
    used = best["ours"] * flop
    print(
        f"matrix products: machine {peak / 1e9:.0f} GFLOP/s, ours {used / 1e9:.0f} GFLOP/s = {100 * used / peak:.0f} %"
    )


if __name__ == "__main__":
    main()
