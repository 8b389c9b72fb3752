"""Tests of the encoder on generated checkpoints: a simple oracle, batches, layers, poolings, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ednabed.errors import ModelError, UsageError
from ednabed.models.base import Embedder, Tokens
from ednabed.models.nucleotide_transformer.encoder import NucleotideTransformer
from ednabed.models.spec import Policy

Arrays = dict[str, np.ndarray]
Draw = Callable[..., tuple[dict[str, Any], Arrays]]
Write = Callable[[Path, dict[str, Any], Arrays], Path]
Ragged = Callable[[Any], Tokens]

ERF = np.vectorize(math.erf)


def oracle(config: dict[str, Any], tensors: Arrays, ids: list[int]) -> np.ndarray:
    """Return every hidden state of one row with CLS, float64, following the description, one head at a time."""
    weights = {key: value.astype(np.float64) for key, value in tensors.items()}
    heads, dim = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
    rotary = config["position_embedding_type"] == "rotary"

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def reverse_complement_codes(x: np.ndarray) -> np.ndarray:
        if not rotary:
            return x
        out = np.empty_like(x)
        for t in range(len(x)):
            for i in range(dim // 2):
                angle = t / 10_000 ** (2 * i / dim)
                a, b = x[t, i], x[t, i + dim // 2]
                out[t, i] = a * math.cos(angle) - b * math.sin(angle)
                out[t, i + dim // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    row = [3, *ids]
    x = weights["esm.embeddings.word_embeddings.weight"][row]
    if config["token_dropout"]:
        masks = np.array(row) == 2
        x[masks] = 0
        x = x * 0.88 / (1 - masks.mean())
    if not rotary:
        x = x + weights["esm.embeddings.position_embeddings.weight"][2 : 2 + len(row)]
    states = [x]
    for layer in range(config["num_hidden_layers"]):
        at = f"esm.encoder.layer.{layer}"
        y = norm(x, f"{at}.attention.LayerNorm")
        q, k, v = (linear(y, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = []
        for head in range(heads):
            cut = slice(head * dim, (head + 1) * dim)
            scores = reverse_complement_codes(q[:, cut]) @ reverse_complement_codes(k[:, cut]).T / math.sqrt(dim)
            share = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(share / share.sum(-1, keepdims=True) @ v[:, cut])
        x = x + linear(np.concatenate(mixed, axis=1), f"{at}.attention.output.dense")
        y = linear(norm(x, f"{at}.LayerNorm"), f"{at}.intermediate.dense")
        if "add_bias_fnn" in config:
            gate, value = np.split(y, 2, axis=1)
            y = gate / (1 + np.exp(-gate)) * value
        else:
            y = y * (1 + ERF(y / math.sqrt(2))) / 2
        x = x + linear(y, f"{at}.output.dense")
        states.append(x)
    states[-1] = norm(x, "esm.encoder.emb_layer_norm_after")
    return np.stack(states)


@pytest.fixture
def rows() -> list[list[int]]:
    """Return content ids of seven rows for a 75-row vocabulary; lengths repeat, are out of order and include 0."""
    rng = np.random.default_rng(1)
    return [rng.integers(6, 75, length).tolist() for length in (5, 12, 0, 5, 1, 12, 30)]


@pytest.fixture(params=["v2", "v2_bias", "v1"])
def checkpoint(request: pytest.FixtureRequest, draw: Draw) -> tuple[dict[str, Any], Arrays]:
    if request.param != "v2_bias":
        return draw(request.param)
    config, tensors = draw("v2")
    config["add_bias_fnn"] = True
    rng = np.random.default_rng(2)
    for i in range(2):
        tensors[f"esm.encoder.layer.{i}.intermediate.dense.bias"] = rng.normal(size=48).astype(np.float32)
        tensors[f"esm.encoder.layer.{i}.output.dense.bias"] = rng.normal(size=16).astype(np.float32)
    return config, tensors


@pytest.fixture
def folder(tmp_path: Path, draw: Draw, write: Write) -> Path:
    return write(tmp_path, *draw("v2"))


def load(folder: Path, **options: Any) -> NucleotideTransformer:
    return NucleotideTransformer.load(folder, name="tiny", **options)


def test_equals_the_oracle(
    checkpoint: tuple[dict[str, Any], Arrays], tmp_path: Path, write: Write, ragged: Ragged, rows: list[list[int]]
) -> None:
    config, tensors = checkpoint
    rows[1][3] = rows[1][7] = rows[3][0] = 2
    folder = write(tmp_path, config, tensors)
    states = load(folder).hidden_states(ragged(rows))
    expected = [oracle(config, tensors, ids) for ids in rows]
    for got, want in zip(states, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-5)
    for layer in range(3):
        for pooling, pool in (("mean", lambda x: x.mean(0)), ("cls", lambda x: x[0])):
            vectors = load(folder, layer=layer, pooling=pooling).forward(ragged(rows))
            np.testing.assert_allclose(vectors, [pool(want[layer]) for want in expected], rtol=0, atol=5e-5)


def test_vectors_do_not_depend_on_the_batch(
    checkpoint: tuple[dict[str, Any], Arrays], tmp_path: Path, write: Write, ragged: Ragged, rows: list[list[int]]
) -> None:
    model = load(write(tmp_path, *checkpoint))
    together = model.forward(ragged(rows))
    for row, ids in enumerate(rows):
        np.testing.assert_allclose(model.forward(ragged([ids]))[0], together[row], rtol=0, atol=1e-5)
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = model.forward(ragged([rows[row] for row in order]))
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=1e-5)
    masked = model.forward(ragged([*rows, [2, 2, 2, 7]]))
    np.testing.assert_allclose(masked[:-1], together, rtol=0, atol=1e-5)


def test_v1_equals_transformers(tmp_path: Path, ragged: Ragged) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    shapes = [(16, 2, 2, 32, True), (30, 3, 3, 20, False), (64, 1, 8, 96, True)]
    rng = np.random.default_rng(4)
    for number, (hidden, layers, heads, ffn, token_dropout) in enumerate(shapes):
        torch.manual_seed(number)
        config = transformers.EsmConfig(
            vocab_size=4105,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=ffn,
            max_position_embeddings=102,
            pad_token_id=1,
            mask_token_id=2,
            token_dropout=token_dropout,
            position_embedding_type="absolute",
            emb_layer_norm_before=False,
            initializer_range=0.3,
        )
        kind = transformers.EsmModel if number % 2 else transformers.EsmForMaskedLM
        whole = kind(config).eval()
        with torch.no_grad():
            for parameter in whole.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        folder = tmp_path / str(number)
        whole.save_pretrained(folder)
        ids = [rng.integers(4, 4105, length).tolist() for length in (3, 99, 40, 3, 1)]
        padded = torch.ones(len(ids), 100, dtype=torch.long)
        for row, content in enumerate(ids):
            padded[row, : len(content) + 1] = torch.tensor([3, *content])
        with torch.no_grad():
            out = whole(padded, attention_mask=(padded != 1).long(), output_hidden_states=True)
        reference = torch.stack(out.hidden_states).numpy()
        for row, states in enumerate(load(folder).hidden_states(ragged(ids))):
            np.testing.assert_allclose(states, reference[:, row, : states.shape[1]], rtol=0, atol=5e-5)


def test_bf16_is_close_to_fp32(folder: Path, ragged: Ragged, rows: list[list[int]]) -> None:
    exact, coarse = (load(folder, precision=word).forward(ragged(rows)) for word in ("fp32", "bf16"))
    cosine = (exact * coarse).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(coarse, axis=1)
    assert cosine.min() >= 0.999
    assert coarse.dtype == np.float32 and not np.array_equal(exact, coarse)


def test_a_row_without_content(folder: Path, ragged: Ragged) -> None:
    for pooling in ("mean", "cls"):
        model = load(folder, pooling=pooling)
        assert np.isfinite(model.forward(ragged([[], []]))).all()
    np.testing.assert_array_equal(
        load(folder, pooling="mean").forward(ragged([[]])), load(folder, pooling="cls").forward(ragged([[]]))
    )
    with pytest.raises(ModelError, match=r"tiny: row 1 has no token, so pooling mean-no-cls has nothing to average"):
        load(folder, pooling="mean-no-cls").forward(ragged([[7], []]))


def test_an_empty_batch(folder: Path, ragged: Ragged) -> None:
    model = load(folder)
    assert model.forward(ragged([])).shape == (0, 16)
    assert model.hidden_states(ragged([])) == []
    assert len(model.tokenize([])) == 0


def test_rows_of_the_maximum_length_and_beyond(folder: Path, ragged: Ragged) -> None:
    model = load(folder)
    assert model.max_tokens == 64
    assert np.isfinite(model.forward(ragged([[7] * 63]))).all()
    with pytest.raises(ValueError, match=r"row 1 has 65 tokens with CLS, but the model accepts at most 64"):
        model.forward(ragged([[7], [7] * 64]))


@pytest.mark.parametrize("bad", [75, -1])
def test_ids_outside_the_embedding(folder: Path, ragged: Ragged, bad: int) -> None:
    with pytest.raises(ValueError, match=r"the model has ids 0 to 74"):
        load(folder).forward(ragged([[7, bad]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 3}, "layer 3 does not exist in tiny; choose one from 0 to 2"),
        ({"layer": -1}, "layer -1 does not exist in tiny; choose one from 0 to 2"),
        ({"pooling": "max"}, "pooling 'max' is unknown; choose one of mean, mean-no-cls, cls"),
        ({"precision": "int8"}, "precision 'int8' is unknown; choose one of fp32, bf16, fp16"),
        ({"device": "tpu"}, "device 'tpu' is unknown; choose one of cpu, cuda, mps"),
        ({"device": "cuda:x"}, "device 'cuda:x' is unknown; write cuda, or cuda:0 for the first one"),
        ({"device": "cuda:99"}, r"device 'cuda:99' is not available: torch finds \d+ CUDA devices; use cpu"),
    ],
)
def test_requests_that_cannot_be_met(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(folder, **options)


def test_an_early_layer_keeps_no_later_block(folder: Path) -> None:
    assert [len(load(folder, layer=layer)._network._blocks) for layer in (0, 1, 2)] == [0, 1, 2]


def test_description(folder: Path) -> None:
    model = load(folder, licence="CC-BY-NC-SA-4.0", revision="abc")
    assert (model.dimension, model.max_tokens, model.special_tokens, model.layer) == (16, 64, 1, 2)
    assert (model.pooling, model.normalisation, model.device, model.precision) == ("mean", "none", "cpu", "fp32")
    assert model.token_budget == 1_024
    assert model.weights.startswith("sha256:") and model.tokenizer.startswith("nt-3mer-v2:sha256:")
    assert model.architecture == {
        "family": "nucleotide-transformer",
        "hidden": 16,
        "layers": 2,
        "heads": 2,
        "ffn": 24,
        "activation": "swiglu",
        "ffn_bias": False,
        "position": "rotary",
        "eps": 1e-5,
        "token_dropout": False,
    }
    spec = Embedder.from_encoder(model, Policy()).spec
    assert spec.layer == 2 and spec.licence == "CC-BY-NC-SA-4.0" and spec.revision == "abc"
    other = Embedder.from_encoder(load(folder, layer=1), Policy()).spec
    assert other.weights == spec.weights and other.fingerprint != spec.fingerprint
