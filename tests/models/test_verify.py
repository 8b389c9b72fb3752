"""Tests of verification against published vectors: the format of the real ones, and results with fabricated ones."""

import hashlib
import json
import os
import shutil
import struct
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ednabed.errors import ModelError
from ednabed.models.catalog import lookup
from ednabed.models.verify import verify

SHARED = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
TINY = SHARED / "golden" / "nt_tiny"
needs_shared = pytest.mark.skipif(not TINY.is_dir(), reason="the golden fixtures are not here (EDNABED_SHARED)")
SHIPPED = json.loads(files("ednabed").joinpath("models/data/nt_published.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("EDNABED_MODELS", raising=False)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("entry", SHIPPED["models"], ids=lambda entry: f"{entry['model_id']}-{len(entry['input'])}")
def test_the_shipped_vectors_are_the_published_ones(entry: dict[str, Any]) -> None:
    vector = entry["vector"]
    assert hashlib.sha256(struct.pack(f"<{len(vector)}f", *vector)).hexdigest() == entry["raw_f32_le_sha256"]
    assert float(np.linalg.norm(vector)) == pytest.approx(entry["norm"], abs=1e-6)
    assert lookup(entry["model_id"]) is not None
    assert set(entry["tolerance"]) == {"max_abs", "mean_abs", "cosine"}
    assert all(len(facts["sha256"]) == 64 for facts in entry["files"].values())


def test_source_and_licence_are_shipped_with_the_vectors() -> None:
    assert SHIPPED["source"]["repository"] == "tcztzy/evo.cpp"
    assert SHIPPED["source"]["licence"] == "Apache-2.0"


@needs_shared
def test_the_shipped_file_is_the_golden_one() -> None:
    assert json.loads((SHARED / "golden" / "nt_published.json").read_text(encoding="utf-8")) == SHIPPED


class Fabricated:
    """A copy of the tiny v2 checkpoint, and a file of published vectors for it."""

    def __init__(self, folder: Path, published: Path) -> None:
        self.folder = folder
        self.published = published
        shutil.copytree(TINY / "v2", folder)
        expected = np.load(folder / "expected.npz", allow_pickle=False)
        sequences = json.loads((folder / "sequences.json").read_text(encoding="utf-8"))["sequences"]
        names = expected["names"].tolist()
        self.models = []
        for wanted in ("bp18", "n_inside"):
            i = names.index(wanted)
            sequence = next(entry["sequence"] for entry in sequences if entry["name"] == wanted)
            self.models.append(
                {
                    "model_id": "InstaDeepAI/nucleotide-transformer-v2-50m-multi-species",
                    "input": sequence,
                    "token_ids": expected["ids"][i, : expected["lengths"][i]].tolist(),
                    "tolerance": {"max_abs": 7e-5, "mean_abs": 2e-5, "cosine": 0.999999},
                    "vector": [float(str(value)) for value in expected["mean_cls"][i, -1]],
                    "files": {
                        name: {"size": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
                        for name in ("config.json", "vocab.txt", "model.safetensors")
                    },
                }
            )
        self.write()

    def write(self) -> None:
        source = {"repository": "made/up", "commit": "0" * 40, "licence": "Apache-2.0"}
        self.published.write_text(json.dumps({"source": source, "models": self.models}), encoding="utf-8")


@pytest.fixture
def fabricated(tmp_path: Path) -> Fabricated:
    if not TINY.is_dir():
        pytest.skip("the golden fixtures are not here (EDNABED_SHARED)")
    return Fabricated(tmp_path / "nt-v2-50m", tmp_path / "published.json")


def test_a_model_that_reproduces_its_vectors(fabricated: Fabricated) -> None:
    report = verify(str(fabricated.folder), published=fabricated.published)
    assert report.status == "verified"
    assert report.message == "2 published vectors reproduced"
    assert report.source == f"made/up {'0' * 40} (Apache-2.0)"
    assert [check.passed for check in report.vectors] == [True, True]
    assert all(check.max_abs is not None and 0 <= check.max_abs < 7e-5 for check in report.vectors)
    assert report.files == ()
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["folder"] == str(fabricated.folder)


def test_a_catalogue_name_is_matched_by_its_hub_id(fabricated: Fabricated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDNABED_MODELS", str(fabricated.folder.parent))
    report = verify("nt-v2-50m", check_files=True, published=fabricated.published)
    assert report.status == "verified"
    assert {check.name: check.result for check in report.files} == {
        "config.json": "equal",
        "vocab.txt": "equal",
        "model.safetensors": "equal",
    }


@pytest.mark.parametrize(
    "tamper",
    [
        lambda entry: entry["vector"].__setitem__(3, entry["vector"][3] + 1e-4),
        lambda entry: entry["vector"].pop(),
        lambda entry: entry["vector"].__setitem__(slice(None), [0.0] * 64),
        lambda entry: entry["token_ids"].__setitem__(2, 7),
        lambda entry: entry["tolerance"].__setitem__("mean_abs", 0.0),
        lambda entry: entry["tolerance"].__setitem__("cosine", 1.1),
    ],
    ids=["one value", "another dimension", "zeros", "tokens", "mean", "cosine"],
)
def test_a_tampered_vector_fails(fabricated: Fabricated, tamper: Any) -> None:
    tamper(fabricated.models[1])
    fabricated.write()
    report = verify(str(fabricated.folder), published=fabricated.published)
    assert report.status == "failed"
    assert report.message.startswith("1 of 2 published vectors are not reproduced")
    assert [check.passed for check in report.vectors] == [True, False]
    json.dumps(report.to_dict(), allow_nan=False)


def test_tampered_weights_fail(fabricated: Fabricated) -> None:
    from safetensors.numpy import load_file, save_file

    path = fabricated.folder / "model.safetensors"
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("layer.1.attention.self.query.weight"))
    tensors[key] = tensors[key].copy()
    tensors[key].flat[0] += 0.5
    save_file(tensors, path)
    report = verify(str(fabricated.folder), check_files=True, published=fabricated.published)
    assert report.status == "failed"
    assert "do not use these weights" in report.message
    assert ("model.safetensors", "differs") in {(check.name, check.result) for check in report.files}


def test_another_file_fails_only_if_files_are_checked(fabricated: Fabricated) -> None:
    for entry in fabricated.models:
        entry["files"]["vocab.txt"]["sha256"] = "0" * 64
        entry["files"]["pytorch_model.bin"] = {"size": 1, "sha256": "0" * 64}
    fabricated.write()
    assert verify(str(fabricated.folder), published=fabricated.published).status == "verified"
    report = verify(str(fabricated.folder), check_files=True, published=fabricated.published)
    assert report.status == "failed"
    assert "differ from the published files" in report.message
    assert ("pytorch_model.bin", "absent") in {(check.name, check.result) for check in report.files}


@needs_shared
@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_a_model_without_published_vectors_is_not_called_verified(layout: str) -> None:
    report = verify(str(TINY / layout))
    assert report.status == "unverifiable"
    assert report.message == (
        "no published vector for this model: it was loaded strictly, but only ednabed's tests cover its arithmetic"
    )
    assert report.vectors == ()


def test_profiles_have_no_weights_to_verify() -> None:
    report = verify("kmer6")
    assert (report.status, report.folder) == ("no weights", None)


def test_missing_weights_are_reported() -> None:
    with pytest.raises(ModelError, match="run 'ednabed models fetch nt-v2-50m'"):
        verify("nt-v2-50m")


@needs_shared
@pytest.mark.parametrize("content", ["", "[]", '{"source": {}}'])
def test_an_unreadable_file_of_vectors_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "published.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read as published vectors"):
        verify(str(TINY / "v2"), published=tmp_path / "published.json")
