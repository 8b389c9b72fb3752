"""Tests of finding the folder with the weights of a model, and its missing files."""

import shutil
from pathlib import Path

import pytest

from ednabed.models import hub, weights
from ednabed.models.catalog import find_card

COMMIT = "c0ffee" + "0" * 34
CONFIG = b"{}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("EDNABED_MODELS", raising=False)
    return tmp_path / "hub"


def lay(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config.json": CONFIG, "model.safetensors": b"weights", **files}.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_pinned_card_is_found_only_at_its_revision(cache: Path) -> None:
    card = find_card("nt-v2-50m")
    snapshots = cache / "models--InstaDeepAI--nucleotide-transformer-v2-50m-multi-species" / "snapshots"
    lay(snapshots / COMMIT)
    assert weights.local_folder(card) is None
    right = lay(snapshots / str(card.revision))
    assert weights.local_folder(card) == right
    (right / "model.safetensors").unlink()
    assert weights.local_folder(card) is None


def test_an_unpinned_card_is_found_at_main_or_at_the_only_commit(cache: Path) -> None:
    card = find_card("nt-500m-1000g")
    repository = cache / "models--InstaDeepAI--nucleotide-transformer-500m-1000g"
    assert weights.local_folder(card) is None
    one = lay(repository / "snapshots" / COMMIT)
    assert weights.local_folder(card) == one
    two = lay(repository / "snapshots" / ("d" * 40))
    assert weights.local_folder(card) is None
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("d" * 40)
    assert weights.local_folder(card) == two
    (repository / "refs" / "main").write_text("../../elsewhere")
    assert weights.local_folder(card) is None


def test_folders_copied_by_hand_come_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = find_card("nt-v2-50m")
    cached = lay(weights.cache_folder(card) / "snapshots" / str(card.revision))
    monkeypatch.setenv("EDNABED_MODELS", str(tmp_path / "carried"))
    assert weights.local_folder(card) == cached
    carried = lay(tmp_path / "carried" / "nt-v2-50m")
    assert weights.local_folder(card) == carried
    assert weights.revision_of(carried) is None
    assert weights.revision_of(cached) == card.revision
    assert hub.fetch(card) == carried
    other = lay(tmp_path / "carried" / "org--name")
    assert weights.local_folder(hub.hub_card("org/name")) == other


@pytest.mark.parametrize(
    ("index", "lacking"),
    [
        (b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', ("model-00001-of-00002.safetensors",)),
        (b"{", ("a readable model.safetensors.index.json",)),
        (b"[]", ("a readable model.safetensors.index.json",)),
        (b'{"weight_map": {}}', ("plain file names of shards in model.safetensors.index.json",)),
        (b'{"weight_map": {"a": "../../secret"}}', ("plain file names of shards in model.safetensors.index.json",)),
    ],
)
def test_missing_files_of_a_folder(tmp_path: Path, index: bytes, lacking: tuple[str, ...]) -> None:
    assert weights.missing_files(tmp_path) == ("config.json",)
    (tmp_path / "config.json").write_bytes(CONFIG)
    assert weights.missing_files(tmp_path) == ("model.safetensors or pytorch_model.bin",)
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    assert weights.missing_files(tmp_path) == lacking
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert weights.missing_files(tmp_path) == ()


@pytest.mark.parametrize("layout", ["v1", "v1_sharded", "v1_sharded_bin", "v2", "v2_3mer", "agro"])
def test_the_golden_folders_lack_nothing(layout: str, tmp_path: Path, shared: Path) -> None:
    golden = shared / "golden" / "nt_tiny" / layout
    assert weights.missing_files(golden) == ()
    copy = tmp_path / layout
    shutil.copytree(golden, copy)
    for path in copy.iterdir():
        if path.suffix in (".safetensors", ".bin"):
            path.unlink()
    assert weights.missing_files(copy) != ()
