"""Tests of the encoder against hidden states and vectors of other implementations with the same random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ednabed.models.base import Tokens
from ednabed.models.nucleotide_transformer.encoder import NucleotideTransformer

LAYOUTS = ("v1", "agro", "v2", "v2_3mer")
POOLINGS = {"mean_cls": "mean", "mean_nocls": "mean-no-cls", "cls": "cls"}
BF16_COSINE = 0.999
LONG = 200

Ragged = Callable[[Any], Tokens]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows; in float64, as the tolerance is below float32's resolution."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


class Case:
    """One layout: its folder, the expected values and the tolerance."""

    def __init__(self, golden: Path, layout: str) -> None:
        self.layout = layout
        self.folder = golden / "nt_tiny" / layout
        with np.load(self.folder / "expected.npz", allow_pickle=False) as arrays:
            self.expected = {name: arrays[name] for name in arrays.files}
        tolerances = json.loads((golden / "nt_tiny" / "tolerances.json").read_text(encoding="utf-8"))
        self.tolerance = tolerances["layouts"][layout]
        self.lengths = self.expected["lengths"]
        self.rows = [ids[1:length] for ids, length in zip(self.expected["ids"], self.lengths, strict=True)]

    def load(self, **options: Any) -> NucleotideTransformer:
        return NucleotideTransformer.load(self.folder, name=self.layout, **options)

    def check(self, array: str, row: int, got: np.ndarray) -> None:
        """Compare one row's pooled vectors, shape (layers + 1, hidden) or one layer of it."""
        reference = self.expected.get(f"{array}_f64", self.expected[array])[row]
        long_cls = array in ("cls", "batch_cls")
        atol = self.tolerance["atol_long_cls" if long_cls and self.lengths[row] > LONG else "atol"]
        if got.ndim == 1:
            reference = reference[-1]
        assert np.abs(got - reference).max() <= atol, (array, row)
        assert cosines(got, reference).min() >= self.tolerance["min_cosine"], (array, row)


@pytest.fixture(params=LAYOUTS)
def case(golden: Path, request: pytest.FixtureRequest) -> Case:
    return Case(golden, request.param)


def pool(states: np.ndarray, array: str) -> np.ndarray:
    """Pool (layers + 1, tokens, hidden) according to the name of the array."""
    if array.endswith("mean_cls"):
        return states.mean(axis=1)
    return states[:, 1:].mean(axis=1) if array.endswith("mean_nocls") else states[:, 0]


def test_every_layer_alone_and_in_one_batch(case: Case, ragged: Ragged) -> None:
    model = case.load()
    together = model.hidden_states(ragged(case.rows))
    for row, ids in enumerate(case.rows):
        (alone,) = model.hidden_states(ragged([ids]))
        for array in POOLINGS:
            case.check(array, row, pool(alone, array))
            case.check(f"batch_{array}", row, pool(together[row], array))


def test_every_hidden_state_of_short_rows(case: Case, ragged: Ragged) -> None:
    model = case.load()
    for name in ("bp17", "n_inside"):
        row = case.expected["names"].tolist().index(name)
        (states,) = model.hidden_states(ragged([case.rows[row]]))
        expected = case.expected[f"hidden_{name}_f64"]
        assert states.shape == expected.shape and states.dtype == np.float32
        assert np.abs(states - expected).max() <= case.tolerance["atol"]


def test_masked_ids(case: Case, ragged: Ragged) -> None:
    model = case.load()
    masked = case.expected["masked_ids"][1:]
    alone, beside = (
        model.hidden_states(ragged([masked]))[0],
        model.hidden_states(ragged([case.rows[5], masked, case.rows[2], case.rows[4][: len(masked)]]))[1],
    )
    for states in (alone, beside):
        assert np.abs(states - case.expected["masked_hidden_f64"]).max() <= case.tolerance["atol"]


@pytest.mark.parametrize("array", POOLINGS)
def test_vectors_of_every_layer(case: Case, ragged: Ragged, array: str) -> None:
    layers = case.expected["cls"].shape[1] - 1
    for layer in (*range(layers + 1), None):
        model = case.load(layer=layer, pooling=POOLINGS[array])
        assert model.layer == (layers if layer is None else layer)
        vectors = model.forward(ragged(case.rows))
        assert vectors.dtype == np.float32 and vectors.shape == (len(case.rows), model.dimension)
        for row in range(len(case.rows)):
            reference = case.expected[f"{array}_f64"][row, model.layer]
            long = array == "cls" and case.lengths[row] > LONG
            assert np.abs(vectors[row] - reference).max() <= case.tolerance["atol_long_cls" if long else "atol"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(case: Case, ragged: Ragged, precision: str) -> None:
    vectors = case.load(precision=precision).forward(ragged(case.rows))
    reference = case.expected["mean_cls_f64"][:, -1]
    assert cosines(vectors, reference).min() >= BF16_COSINE
    assert np.abs(vectors - reference).max() > 1e-4, "the precision had an effect"


@pytest.mark.parametrize("layout", ["v1", "agro", "v2_3mer"])
def test_bin_files(golden: Path, tmp_path: Path, ragged: Ragged, layout: str) -> None:
    case = Case(golden, layout)
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copy(case.folder / name, tmp_path / name)
    model = NucleotideTransformer.load(tmp_path, name=layout)
    assert model.weights == case.load().weights
    for row, vector in enumerate(model.forward(ragged(case.rows))):
        case.check("mean_cls", row, vector)


@pytest.mark.parametrize("folder", ["v1_sharded", "v1_sharded_bin"])
def test_sharded_files(golden: Path, ragged: Ragged, folder: str) -> None:
    case = Case(golden, "v1")
    model = NucleotideTransformer.load(golden / "nt_tiny" / folder, name=folder)
    for row, vector in enumerate(model.forward(ragged(case.rows))):
        case.check("mean_cls", row, vector)


def test_from_bases(golden: Path) -> None:
    case = Case(golden, "v2")
    known = json.loads((case.folder / "sequences.json").read_text(encoding="utf-8"))["sequences"]
    short = [row for row, sequence in enumerate(known) if not sequence["truncated"]]
    model = case.load()
    vectors = model.forward(model.tokenize([known[row]["sequence"].encode() for row in short]))
    for row, vector in zip(short, vectors, strict=True):
        case.check("mean_cls", row, vector)
