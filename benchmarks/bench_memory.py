"""Memory and disk space that models need: networks with the sizes in the catalogue and random weights, on the CPU.

Each size runs in a separate process, which opens a checkpoint from disk and embeds barcodes of 658 bases; its peak
resident memory is read from the system (Linux, macOS). The values of the weights do not affect memory, so random ones
are used. Batches differ in the maximum number of sequences; None is the default token budget.

    python benchmarks/bench_memory.py [--models nt-v2-50m …] [--batches 1 8 32]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {
    "nt-v2-50m": (12, 512, 16, 2048, True),
    "nt-v2-100m": (22, 512, 16, 2048, True),
    "nt-v2-250m": (24, 768, 16, 3072, True),
    "nt-v2-500m": (29, 1024, 16, 4096, True),
    "nt-500m-1000g": (24, 1280, 20, 5120, False),
    "agro-nt-1b": (40, 1500, 20, 5120, False),
    "nt-2.5b-multi-species": (32, 2560, 20, 10240, False),
}
"""Layers, width, heads, feed-forward width, and whether the layout is v2."""

CHILD = """
import json, resource, sys
from ednabed import EmbeddingEngine
sys.path.insert(0, {here!r})
from data import barcodes
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    sequences = [s.decode() for s in barcodes({count}, 658)]
engine = EmbeddingEngine(model_name={model!r}, use_gpu=False, batch_size={batch})
loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
engine.get_embeddings(sequences)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([value * unit / 1e9 for value in (loaded, peak)]))
"""


def write(folder: Path, name: str) -> float:
    """Write a checkpoint with random weights, and return its size in GB."""
    import torch
    from safetensors.torch import save_file

    from ednabed.models.nucleotide_transformer.config import read_nt_config
    from ednabed.models.nucleotide_transformer.weights import expected_shapes

    layers, hidden, heads, ffn, v2 = SIZES[name]
    positions = 2050 if v2 else 1026 if name.startswith("agro") else 1002
    settings = {
        "vocab_size": 4107 if v2 else 4105, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": ffn, "pad_token_id": 1, "mask_token_id": 2,
        "position_embedding_type": "rotary" if v2 else "absolute", "max_position_embeddings": positions,
        "layer_norm_eps": 1e-12, "token_dropout": not v2 and not name.startswith("agro"),
    }  # fmt: skip
    if v2:
        settings["add_bias_fnn"] = False
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    shapes = expected_shapes(read_nt_config(folder))
    save_file(
        {key: torch.randn(shape, generator=generator) * 0.02 for key, shape in shapes.items()},
        folder / "model.safetensors",
    )
    return (folder / "model.safetensors").stat().st_size / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument(
        "--batches", nargs="+", type=int, default=[1, 8, 32], help="Maximum batch sizes; the default budget is added."
    )
    parser.add_argument("--sequences", type=int, default=32)
    given = parser.parse_args()
    print("| model | file (GB) | batch | opened (GB) | peak (GB) |\n|---|---|---|---|---|")
    for name in given.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            # In a separate process, so that its memory is free when the network is measured.
            size = float(subprocess.run(
                [sys.executable, __file__, "--write", str(folder), name], check=True, capture_output=True, text=True,
            ).stdout)  # fmt: skip
            for batch in (*given.batches, None):
                code = CHILD.format(
                    here=str(Path(__file__).parent), count=given.sequences, model=str(folder), batch=batch
                )
                done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
                loaded, peak = json.loads(done.stdout.splitlines()[-1])
                print(f"| {name} | {size:.2f} | {batch or 'default'} | {loaded:.2f} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        print(write(Path(sys.argv[2]), sys.argv[3]))
    else:
        main()
