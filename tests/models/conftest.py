"""Golden fixtures, ragged batches and tiny checkpoints for the tests of the Nucleotide Transformer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ednabed.models.base import Tokens

Checkpoint = tuple[dict[str, Any], dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder ``golden`` with vectors computed by other implementations."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("EDNABED_SHARED", beside)) / "golden"
    if not (folder / "nt_tiny").is_dir():
        pytest.skip("no golden fixtures: set EDNABED_SHARED to the folder that holds 'golden'")
    return folder


@pytest.fixture(scope="session")
def ragged() -> Callable[[Sequence[Sequence[int]]], Tokens]:
    """Return a batch from one list of content ids per row."""

    def build(rows: Sequence[Sequence[int]]) -> Tokens:
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        ids = np.concatenate([np.asarray(row, np.int16) for row in rows]) if len(rows) else np.zeros(0, np.int16)
        return Tokens(ids, offsets)

    return build


@pytest.fixture(scope="session")
def draw() -> Callable[..., Checkpoint]:
    """Return a random checkpoint in memory: settings and tensors, with ``esm.`` keys as in a real file."""

    def build(
        layout: str = "v2", *, hidden: int = 16, layers: int = 2, heads: int = 2, ffn: int = 24, seed: int = 0
    ) -> Checkpoint:
        rng = np.random.default_rng(seed)
        v2 = layout == "v2"
        vocab, positions = (75, 66) if v2 else (4105, 66)
        config: dict[str, Any] = {
            "model_type": "esm",
            "emb_layer_norm_before": False,
            "hidden_size": hidden,
            "intermediate_size": ffn,
            "is_folding_model": False,
            "layer_norm_eps": 1e-5,
            "mask_token_id": 2,
            "max_position_embeddings": positions,
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            "pad_token_id": 1,
            "position_embedding_type": "rotary" if v2 else "absolute",
            "token_dropout": not v2,
            "vocab_size": vocab,
        }
        if v2:
            config["add_bias_fnn"] = False
        shapes: dict[str, tuple[int, ...]] = {
            "esm.embeddings.word_embeddings.weight": (vocab, hidden),
            "esm.embeddings.position_embeddings.weight": (positions, hidden),
            "esm.encoder.emb_layer_norm_after.weight": (hidden,),
            "esm.encoder.emb_layer_norm_after.bias": (hidden,),
            "esm.contact_head.regression.weight": (1, layers * heads),
            "lm_head.bias": (vocab,),
            "lm_head.dense.weight": (hidden, hidden),
        }
        for i in range(layers):
            at = f"esm.encoder.layer.{i}."
            for part in (
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ):
                shapes |= {f"{at}{part}.weight": (hidden, hidden), f"{at}{part}.bias": (hidden,)}
            for part in ("attention.LayerNorm", "LayerNorm"):
                shapes |= {f"{at}{part}.weight": (hidden,), f"{at}{part}.bias": (hidden,)}
            shapes |= {
                f"{at}intermediate.dense.weight": (2 * ffn if v2 else ffn, hidden),
                f"{at}output.dense.weight": (hidden, ffn),
            }
            if not v2:
                shapes |= {f"{at}intermediate.dense.bias": (ffn,), f"{at}output.dense.bias": (hidden,)}
        tensors = {
            key: (rng.normal(0, 0.3, shape) + key.endswith("LayerNorm.weight")).astype(np.float32)
            for key, shape in shapes.items()
        }
        if v2:
            dim = hidden // heads
            for i in range(layers):
                key = f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq"
                tensors[key] = (10_000.0 ** (-np.arange(0, dim, 2) / dim)).astype(np.float32)
        return config, tensors

    return build


@pytest.fixture(scope="session")
def write() -> Callable[[Path, dict[str, Any], dict[str, np.ndarray]], Path]:
    """Write a checkpoint with safetensors and return its folder."""

    def save(folder: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, folder / "model.safetensors")
        return folder

    return save
