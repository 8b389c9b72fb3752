"""Tests of strict loading: each fault of a checkpoint is an error that names the file and the key."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from ednabed.cli.main import main
from ednabed.errors import ModelError
from ednabed.models.nucleotide_transformer.config import NTConfig, read_nt_config
from ednabed.models.nucleotide_transformer.weights import expected_shapes, load_tensors, weights_digest

Arrays = dict[str, np.ndarray]
KEY = "esm.encoder.layer.1.attention.self.key.weight"


class Checkpoint:
    """A tiny checkpoint on disk whose tensors a test may change."""

    def __init__(self, folder: Path, config: dict[str, Any], tensors: Arrays) -> None:
        self.folder, self.tensors = folder, tensors
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        self.config: NTConfig = read_nt_config(folder)

    def load(self) -> dict[str, torch.Tensor]:
        return load_tensors(self.folder, self.config)

    def digest(self) -> str:
        return weights_digest(self.load())

    def save(self) -> None:
        save_file(self.tensors, self.folder / "model.safetensors")

    def save_bin(self, **options: Any) -> Path:
        path = self.folder / "pytorch_model.bin"
        torch.save({key: torch.from_numpy(value) for key, value in self.tensors.items()}, path, **options)
        return path

    def save_shards(self, suffix: str = "safetensors") -> Path:
        """Write two shards and their index, with the keys distributed in turn."""
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        names = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
        parts: list[Arrays] = [{}, {}]
        weight_map = {}
        for i, (key, value) in enumerate(sorted(self.tensors.items())):
            parts[i % 2][key] = value
            weight_map[key] = names[i % 2]
        for name, part in zip(names, parts, strict=True):
            if suffix == "safetensors":
                save_file(part, self.folder / name)
            else:
                torch.save({key: torch.from_numpy(value) for key, value in part.items()}, self.folder / name)
        index = self.folder / f"{stem}.{suffix}.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
        return index

    def refuses(self, *parts: str) -> None:
        with pytest.raises(ModelError) as caught:
            self.load()
        for part in parts:
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def v2(tmp_path: Path, draw: Callable[..., Any]) -> Checkpoint:
    return Checkpoint(tmp_path, *draw("v2"))


@pytest.fixture
def v1(tmp_path: Path, draw: Callable[..., Any]) -> Checkpoint:
    return Checkpoint(tmp_path, *draw("v1", hidden=4))


def test_loads_what_the_encoder_uses_and_nothing_else(v2: Checkpoint) -> None:
    v2.save()
    loaded = v2.load()
    assert {name: tuple(tensor.shape) for name, tensor in loaded.items()} == expected_shapes(v2.config)
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32 and tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.numpy(), v2.tensors[f"esm.{name}"])


def test_missing(v2: Checkpoint) -> None:
    del v2.tensors[KEY]
    v2.save()
    v2.refuses("model.safetensors", f"tensor '{KEY}' is missing (1 of the 31 tensors")


def test_missing_layer_and_table(v1: Checkpoint) -> None:
    v1.tensors.pop("esm.embeddings.position_embeddings.weight")
    v1.save()
    v1.refuses("tensor 'esm.embeddings.position_embeddings.weight' is missing")


@pytest.mark.parametrize(
    "key",
    [
        "esm.encoder.layer.2.LayerNorm.bias",
        "esm.encoder.layer.0.intermediate.dense.bias",
        "esm.embeddings.layer_norm.weight",
        "esm.classifier.dense.weight",
        "head.dense.weight",
        "classifier",
        "lm_head",
        "",
    ],
)
def test_unexpected(v2: Checkpoint, key: str) -> None:
    v2.tensors[key] = np.zeros(16, np.float32)
    v2.save()
    v2.refuses("model.safetensors", f"tensor '{key}' is unexpected", "2 layers with rotary positions")


def test_rotary_table_in_a_network_with_learned_positions_is_unexpected(v1: Checkpoint) -> None:
    key = "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"
    v1.tensors[key] = np.ones(1, np.float32)
    v1.save()
    v1.refuses(f"'{key}' is unexpected")


def test_shape(v2: Checkpoint) -> None:
    v2.tensors[KEY] = np.zeros((16, 15), np.float32)
    v2.save()
    v2.refuses("model.safetensors", f"tensor '{KEY}' has shape [16, 15], but config.json requires [16, 16]")


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_])
def test_kind(v2: Checkpoint, dtype: type) -> None:
    v2.tensors[KEY] = np.ones((16, 16), dtype)
    v2.save()
    v2.refuses("model.safetensors", f"tensor '{KEY}' is of the kind torch.", "expected dense float16")


def test_sparse_and_complex_tensors(v2: Checkpoint) -> None:
    for value in (torch.ones(16, 16).to_sparse(), torch.ones(16, 16, dtype=torch.complex64)):
        torch.save({KEY: value}, v2.folder / "pytorch_model.bin")
        v2.refuses("pytorch_model.bin", KEY)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(v2: Checkpoint, value: float) -> None:
    v2.tensors[KEY][3, 4] = value
    v2.save()
    v2.refuses("model.safetensors", f"tensor '{KEY}' contains values that are not finite")


def test_float64_beyond_float32(v2: Checkpoint) -> None:
    v2.tensors[KEY] = np.full((16, 16), 1e300)
    v2.save()
    v2.refuses(f"tensor '{KEY}' contains values that are not finite")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_widths_are_converted(v2: Checkpoint, dtype: torch.dtype) -> None:
    converted = {key: torch.from_numpy(value).to(dtype) for key, value in v2.tensors.items()}
    save_torch(converted, v2.folder / "model.safetensors")
    for name, tensor in v2.load().items():
        assert torch.equal(tensor, converted[f"esm.{name}"].float())


def test_unused_tensors_are_ignored(v2: Checkpoint) -> None:
    v2.save()
    digest = v2.digest()
    v2.tensors |= {
        "esm.embeddings.position_ids": np.arange(66)[None],
        "esm.embeddings.position_embeddings.weight": np.full((7, 3), np.nan, np.float32),
        "esm.rotary_embeddings.inv_freq": v2.tensors["esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"],
        "esm.contact_head.regression.bias": np.ones(1, np.float32),
        "esm.pooler.dense.weight": np.ones((16, 16), np.float32),
        "lm_head.layer_norm.bias": np.ones(16, np.float32),
    }
    v2.save()
    assert v2.digest() == digest


@pytest.mark.parametrize("prefix", ["esm.", ""])
def test_heads_of_fine_tuned_classifiers_are_omitted_and_named(
    v2: Checkpoint, caplog: pytest.LogCaptureFixture, prefix: str
) -> None:
    v2.save()
    digest = v2.digest()
    assert caplog.text == ""
    v2.tensors = {prefix + key.removeprefix("esm."): value for key, value in v2.tensors.items()}
    heads = ["classifier.dense.weight", "classifier.out_proj.bias", "cls.predictions.bias", "score.weight"]
    v2.tensors |= {key: np.ones(16, np.float32) for key in heads}
    v2.save()
    assert v2.digest() == digest
    for key in heads:
        assert key in caplog.text
    # All other checks stay strict, and heads do not replace missing tensors.
    v2.tensors["regression.weight"] = np.ones(16, np.float32)
    v2.save()
    v2.refuses("tensor 'regression.weight' is unexpected")


def test_a_folder_of_a_fine_tuned_classifier_is_a_model(v2: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    v2.tensors["classifier.out_proj.weight"] = np.ones((3, 16), np.float32)
    v2.save()
    config = json.loads((v2.folder / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": ["EsmForSequenceClassification"], "problem_type": "single_label_classification",
               "id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}  # fmt: skip
    (v2.folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(SystemExit) as done:
        main(["validate", "--cpu", "--json", "--model", str(v2.folder)])
    out, err = capsys.readouterr()
    assert done.value.code in (0, 1) and len(json.loads(out)["similarity"]) == 3
    assert "classifier.out_proj.weight" in err


def test_rescaled_rotary_positions(v2: Checkpoint) -> None:
    key = "esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq"
    v2.tensors[key] = v2.tensors[key] / 2
    v2.save()
    v2.refuses("model.safetensors", f"tensor '{key}' is not the rotary table of base 10000")


def test_names_without_prefix(v2: Checkpoint) -> None:
    v2.save()
    digest = v2.digest()
    v2.tensors = {key.removeprefix("esm."): value for key, value in v2.tensors.items()}
    v2.save()
    assert v2.digest() == digest
    del v2.tensors[KEY.removeprefix("esm.")]
    v2.save()
    v2.refuses(f"tensor '{KEY.removeprefix('esm.')}' is missing")


def test_names_with_and_without_prefix(v2: Checkpoint) -> None:
    v2.tensors[KEY.removeprefix("esm.")] = v2.tensors.pop(KEY)
    v2.save()
    v2.refuses("model.safetensors", f"'{KEY.removeprefix('esm.')}'", "differ in the prefix 'esm.'")


def test_layer_norm_names_of_transformers_5(v2: Checkpoint) -> None:
    v2.save()
    digest = v2.digest()
    own = v2.tensors
    v2.tensors = {
        re.sub(
            r"LayerNorm\.(weight|bias)$", lambda m: f"LayerNorm.{'gamma' if m[1] == 'weight' else 'beta'}", key
        ): value
        for key, value in own.items()
    }
    assert "esm.encoder.layer.0.LayerNorm.gamma" in v2.tensors
    v2.save()
    assert v2.digest() == digest
    v2.tensors = own | {"esm.encoder.layer.0.LayerNorm.gamma": np.ones(16, np.float32)}
    v2.save()
    v2.refuses("the tensor of 'esm.encoder.layer.0.LayerNorm.", "is in the file twice")


def test_no_weights(v2: Checkpoint) -> None:
    v2.refuses(str(v2.folder), "has no weights, expected one of model.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 8, 500, -1])
def test_truncated_safetensors(v2: Checkpoint, kept: int) -> None:
    v2.save()
    path = v2.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    v2.refuses(str(path), "is not a complete safetensors file")


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -1])
@pytest.mark.parametrize("archive", [True, False])
def test_truncated_bin(v2: Checkpoint, kept: int, archive: bool) -> None:
    path = v2.save_bin(_use_new_zipfile_serialization=archive)
    path.write_bytes(path.read_bytes()[:kept])
    v2.refuses(str(path))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("archive", [True, False])
def test_damaged_bin_gives_no_other_error(v2: Checkpoint, archive: bool) -> None:
    path = v2.save_bin(_use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[draw.randrange(4000)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            v2.load()
        except ModelError as error:
            assert str(path) in str(error)


class Touch:
    """A pickle of this creates a file when a program that runs its code reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["pickle", "archive", "legacy"])
@pytest.mark.parametrize("place", ["pytorch_model.bin", "shard"])
def test_code_in_a_bin_does_not_run(v2: Checkpoint, tmp_path: Path, form: str, place: str) -> None:
    marker, control = tmp_path / "ran", tmp_path / "control"
    pickle.loads(pickle.dumps(Touch(control))).close()
    assert control.exists(), "the trap itself works"
    if place == "shard":
        index = v2.save_shards("bin")
        path = next(v2.folder.glob("pytorch_model-00002*"))
        assert index.exists()
    else:
        path = v2.folder / place
    trap = {KEY: Touch(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, path, _use_new_zipfile_serialization=form == "archive")
    v2.refuses(str(path), "nothing in it was run")
    assert not marker.exists()


def test_bin_that_is_not_a_dictionary_of_tensors(v2: Checkpoint) -> None:
    path = v2.folder / "pytorch_model.bin"
    torch.save([torch.ones(2)], path)
    v2.refuses(str(path), "contains a list, expected a dictionary of tensors")
    torch.save({"state_dict": {KEY: torch.ones(2)}}, path)
    v2.refuses(str(path), "entry 'state_dict' is a dict, expected a tensor")


def test_column_major_bin_and_legacy_bin(v2: Checkpoint) -> None:
    v2.save()
    digest = v2.digest()
    (v2.folder / "model.safetensors").unlink()
    v2.save_bin(_use_new_zipfile_serialization=False)
    assert v2.digest() == digest
    transposed = {
        key: torch.from_numpy(np.asfortranarray(value)) if value.ndim == 2 else torch.from_numpy(value)
        for key, value in v2.tensors.items()
    }
    assert transposed[KEY].stride() == (1, 16)
    torch.save(transposed, v2.folder / "pytorch_model.bin")
    assert v2.digest() == digest


def test_safetensors_are_preferred(v2: Checkpoint) -> None:
    v2.save()
    (v2.folder / "pytorch_model.bin").write_bytes(b"not read")
    (v2.folder / "model.safetensors.index.json").write_bytes(b"not read")
    v2.load()


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards(v2: Checkpoint, suffix: str) -> None:
    v2.save()
    digest = v2.digest()
    (v2.folder / "model.safetensors").unlink()
    v2.save_shards(suffix)
    assert v2.digest() == digest


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_missing_shard(v2: Checkpoint, suffix: str) -> None:
    v2.save_shards(suffix)
    path = next(v2.folder.glob("*-00002-of-00002*"))
    path.unlink()
    v2.refuses(f"{path} is missing", f"{suffix}.index.json lists")


def test_key_in_two_shards(v2: Checkpoint) -> None:
    v2.save_shards()
    for path in sorted(v2.folder.glob("model-*.safetensors")):
        part = load_file(path)
        if KEY not in part:
            save_file(part | {KEY: v2.tensors[KEY]}, path)
            v2.refuses(
                f"{path}: tensor '{KEY}' is in this file, but model.safetensors.index.json lists it in model-0000"
            )
            return
    raise AssertionError("one shard lacks the key")


def test_key_in_a_shard_that_the_index_does_not_list(v2: Checkpoint) -> None:
    index = v2.save_shards()
    content = json.loads(index.read_text(encoding="utf-8"))
    del content["weight_map"][KEY]
    index.write_text(json.dumps(content), encoding="utf-8")
    v2.refuses(f"tensor '{KEY}' is in this file, but model.safetensors.index.json does not list it")


def test_key_that_the_shard_lacks(v2: Checkpoint) -> None:
    v2.save_shards()
    for path in sorted(v2.folder.glob("model-*.safetensors")):
        part = load_file(path)
        if part.pop(KEY, None) is not None:
            save_file(part, path)
            v2.refuses(f"{path}: tensor '{KEY}' is missing, but model.safetensors.index.json lists it in this file")


@pytest.mark.parametrize(
    "name",
    [
        "../model-00001-of-00002.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "sub\\model.safetensors",
        "C:model.safetensors",
        "..",
        "",
        "model.bin",
        None,
        7,
    ],
)
def test_index_with_a_name_that_is_not_plain(v2: Checkpoint, name: object) -> None:
    index = v2.save_shards()
    content = json.loads(index.read_text(encoding="utf-8"))
    content["weight_map"][KEY] = name
    index.write_text(json.dumps(content), encoding="utf-8")
    v2.refuses(str(index), f"the file of '{KEY}' is {name!r}", "expected the plain name of a .safetensors file")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_index_without_a_map(v2: Checkpoint, content: str) -> None:
    (v2.folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    v2.refuses("model.safetensors.index.json", "weight_map is not an object")


def test_index_that_is_not_json(v2: Checkpoint) -> None:
    (v2.folder / "pytorch_model.bin.index.json").write_text("{", encoding="utf-8")
    v2.refuses("pytorch_model.bin.index.json is not JSON")


def test_digest_sees_every_used_tensor_and_the_names(v2: Checkpoint) -> None:
    v2.save()
    tensors = v2.load()
    digest = weights_digest(tensors)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    for name, tensor in tensors.items():
        changed = tensor.clone()
        changed.view(-1)[-1] += 1e-3
        assert weights_digest(tensors | {name: changed}) != digest
    a, b = "encoder.layer.0.LayerNorm.bias", "encoder.layer.1.LayerNorm.bias"
    assert weights_digest(tensors | {a: tensors[b], b: tensors[a]}) != digest
    assert weights_digest(dict(reversed(tensors.items()))) == digest
    column_major = {name: tensor.T.contiguous().T if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
    assert weights_digest(column_major) == digest


def test_digest_follows_the_documentation() -> None:
    text = b"a 2x3\n" + np.arange(6, dtype="<f4").tobytes() + b"b 1\n" + np.ones(1, "<f4").tobytes()
    tensors = {"b": torch.ones(1), "a": torch.arange(6.0).reshape(2, 3)}
    assert weights_digest(tensors) == f"sha256:{hashlib.sha256(text).hexdigest()}"


def test_digest_of_all_file_formats_agrees(golden: Path, tmp_path: Path) -> None:
    only_bin = tmp_path / "bin"
    only_bin.mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copy(golden / "nt_tiny" / "v1" / name, only_bin / name)
    folders = [golden / "nt_tiny" / name for name in ("v1", "v1_sharded", "v1_sharded_bin")] + [only_bin]
    digests = {weights_digest(load_tensors(folder, read_nt_config(folder))) for folder in folders}
    assert digests == {"sha256:92bd2032c2b85a7627c66a749c58d00173b9e7fe03b17ab4e463bac2b56b2bd5"}


def test_loaded_files_may_be_removed_at_once(v2: Checkpoint) -> None:
    v2.save()
    loaded = v2.load()
    (v2.folder / "model.safetensors").unlink()
    v2.save_bin()
    v2.load()
    (v2.folder / "pytorch_model.bin").unlink()
    assert loaded[KEY.removeprefix("esm.")].isfinite().all()
