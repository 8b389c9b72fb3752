"""Tests of trained models: strict reading of folders, vectors by their definition, maps of other encoders."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ednabed.base.sealed import to_json
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import ModelError, UsageError
from ednabed.models import load
from ednabed.models.barcode.config import BarcodeConfig, EncoderInput, read_barcode_config
from ednabed.models.barcode.encoder import BarcodeEncoder, MappedEncoder, map_vectors
from ednabed.models.barcode.files import (
    BIAS,
    MAP,
    SCALE,
    TABLE,
    WEIGHTS,
    arrays_digest,
    quantise,
    table_of,
    write_arrays,
)
from ednabed.models.barcode.kmers import SpacedKmers
from ednabed.models.spec import Policy
from ednabed.sequences.normalisation import reverse_complement
from support import LetterEncoder

PATTERNS = ("111", "11011")
CONFIG = BarcodeConfig(16, PATTERNS, None, "CC0-1.0")


def table(columns: int = 168, dimension: int = 16) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((columns, dimension), np.float32)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "my-model"
    made.mkdir()
    (made / "config.json").write_text(to_json(CONFIG.to_dict()), encoding="utf-8")
    write_arrays(made / WEIGHTS, quantise(table()))
    return made


def texts(n: int = 40) -> list[bytes]:
    rng = np.random.default_rng(1)
    return [rng.choice(np.frombuffer(b"ACGTN", np.uint8), k).tobytes() for k in rng.integers(30, 300, n)]


def test_a_folder_gives_the_vectors_of_the_definition(folder):
    embedder = open_embedder(str(folder))
    spec = embedder.spec
    assert (spec.model, spec.dimension, spec.licence, spec.normalisation) == ("my-model", 16, "CC0-1.0", "l2")
    vectors, refused = Engine(embedder).embed(texts())
    assert not refused
    stored = table_of(quantise(table()))
    tokens = SpacedKmers(PATTERNS).tokenize(texts())
    for i, vector in enumerate(vectors):
        expected = stored[tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]]].sum(axis=0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_strands_batch_and_order_do_not_matter(folder):
    engine = Engine(open_embedder(str(folder)))
    together, _ = engine.embed(texts())
    turned, _ = engine.embed(reverse_complement(texts()))
    np.testing.assert_allclose(together, turned, atol=1e-6)
    alone = np.concatenate([engine.embed([text])[0] for text in texts()])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_strand_policy_changes_nothing(folder):
    """The vector already is the mean of both strands: one function, one fingerprint."""
    given, both = (open_embedder(str(folder), Policy(strand=strand)) for strand in ("given", "both"))
    assert given.spec.fingerprint == both.spec.fingerprint
    np.testing.assert_array_equal(Engine(given).embed(texts())[0], Engine(both).embed(texts())[0])


def test_a_sequence_without_kmers_is_refused(folder):
    _, refused = Engine(open_embedder(str(folder))).embed([b"ACNGTNACNGT", b"ACGTACGT"])
    assert list(refused) == [0]
    assert "no 3 consecutive bases without N" in refused[0]


def test_quantised_vectors_are_close_enough():
    given = table(2000, 64)
    given[7] = 0
    back = table_of(quantise(given))
    assert np.abs(back - given).max() <= np.abs(given).max() / 127 / 2 + 1e-6
    one, other = given.sum(axis=0), back.sum(axis=0)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.9999


def test_the_hash_identifies_the_weights(folder):
    encoder = load.load_encoder(str(folder))
    assert encoder.weights == arrays_digest(load_file(folder / WEIGHTS))
    assert encoder.weights == "sha256:" + encoder.weights[7:] and len(encoder.weights) == 71
    changed = quantise(table())
    changed[TABLE][5, 5] += 1
    assert arrays_digest(changed) != encoder.weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(SCALE), "'table.scale' is missing"),
        (lambda a: a.update(extra=np.zeros(2, np.float32)), "'extra' is not expected"),
        (lambda a: a.update({TABLE: a[TABLE][:, :8]}), "expected int8 of shape"),
        (lambda a: a.update({TABLE: a[TABLE].astype(np.int16)}), "is int16"),
        (lambda a: a.update({SCALE: np.full_like(a[SCALE], np.nan)}), "not finite"),
    ],
)
def test_weights_load_strictly(folder, change, message):
    arrays = {name: values.copy() for name, values in quantise(table()).items()}
    change(arrays)
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, folder / WEIGHTS)
    with pytest.raises(ModelError, match=message):
        load.load_encoder(str(folder))


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"\xff" * 100])
def test_damaged_weights(folder, content):
    (folder / WEIGHTS).unlink()
    if content is not None:
        (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="missing" if content is None else "cannot be read"):
        load.load_encoder(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"dimension": 0}, "dimension is 0"),
        ({"dimension": True}, "dimension is true"),
        ({"input": None}, "input is null"),
        ({"input": {"kind": "words"}}, "kind is"),
        ({"input": {"kind": "kmers", "patterns": "111"}}, "patterns is"),
        ({"input": {"kind": "kmers", "patterns": ["1101"]}}, "both ends"),
        ({"input": {"kind": "encoder", "model": "x"}}, "weights is missing"),
        ({"licence": 3}, "licence is 3"),
    ],
)
def test_unknown_settings_are_refused(folder, change, message):
    (folder / "config.json").write_text(json.dumps(CONFIG.to_dict() | change), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        read_barcode_config(folder)


def test_settings_can_be_read_back(folder, tmp_path):
    assert read_barcode_config(folder) == CONFIG
    other = BarcodeConfig(8, (), EncoderInput("nt-v2-50m", "sha256:" + "0" * 64, 3, "mean"), "")
    (tmp_path / "config.json").write_text(to_json(other.to_dict()), encoding="utf-8")
    assert read_barcode_config(tmp_path) == other


@pytest.mark.parametrize("setting", [{"layer": 1}, {"pooling": "cls"}])
def test_layer_and_pooling_cannot_be_chosen(folder, setting):
    with pytest.raises(UsageError, match="omit `layer`"):
        load.load_encoder(str(folder), **setting)


def test_a_map_of_another_encoder():
    base = LetterEncoder(max_tokens=50)
    rng = np.random.default_rng(0)
    matrix, bias = rng.standard_normal((10, 4), np.float32), rng.standard_normal(4, np.float32)
    config = BarcodeConfig(4, (), EncoderInput("letters", base.weights, None, "mean"))
    encoder = MappedEncoder(base, config, matrix, bias, name="mapped", weights="sha256:" + "1" * 64)
    assert (encoder.max_tokens, encoder.special_tokens, encoder.tokenizer) == (50, 1, "letters")
    tokens = encoder.tokenize([b"ACGTA", b"GGGGGG"])
    below = base.forward(tokens)
    expected = below / np.linalg.norm(below, axis=1, keepdims=True) @ matrix + bias
    np.testing.assert_allclose(encoder.forward(tokens), expected, atol=1e-6)
    np.testing.assert_array_equal(map_vectors(np.zeros((1, 10), np.float32), matrix, bias), bias[None])


def test_a_map_needs_the_weights_that_it_was_trained_on(tmp_path):
    base = LetterEncoder()
    config = BarcodeConfig(4, (), EncoderInput("letters", "sha256:" + "a" * 64, None, "mean"))
    with pytest.raises(
        ModelError, match=r"sha256:a+…, but the weights on this machine are none.*install the same weights"
    ):
        MappedEncoder.load(tmp_path, config, base, name="mapped")
    arrays = {MAP: np.ones((10, 4), np.float32), BIAS: np.zeros(4, np.float32)}
    write_arrays(tmp_path / WEIGHTS, arrays)
    config = BarcodeConfig(4, (), EncoderInput("letters", base.weights, None, "mean"))
    encoder = MappedEncoder.load(tmp_path, config, base, name="mapped")
    assert encoder.weights == arrays_digest(arrays)
    # The base encoder is one of the things that affect a vector.
    assert encoder.architecture["base_weights"] == base.weights


def test_the_function_has_its_own_fingerprint(folder):
    """Pinned: a change of this value means that earlier vectors are no longer comparable."""
    spec = open_embedder(str(folder)).spec
    assert spec.architecture == {"family": "kmer-map", "version": 1, "patterns": "111 11011"}
    assert isinstance(load.load_encoder(str(folder)), BarcodeEncoder)
    assert spec.fingerprint != open_embedder("kmer6").spec.fingerprint
