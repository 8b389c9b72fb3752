"""Run folders are opened, found and verified; nothing outside is reached and no pickle is loaded."""

from __future__ import annotations

import io
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from ednabed.errors import StoreError, UsageError
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run, find_run, runs_root, walk_runs
from support import letters

FASTA = "".join(f">r{i}\n{'ACGT' * 5}{'ACGTN'[i % 4] * (i % 7)}\n" for i in range(12)) + ">short\nACG\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with one run, never changed by a test."""
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "in.fa").write_text(FASTA)
    embed_to_run(RunRequest([workspace / "in.fa"], workspace, dataset="see"), letters())
    return workspace


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run that a test may damage."""
    shutil.copytree(find_run(made, "see").folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def faults(folder) -> list[str]:
    """Return the faults found by verify, or the error on opening."""
    try:
        return Run.open(folder).verify()
    except StoreError as error:
        return [str(error)]


def test_a_sound_run_has_no_faults(run):
    assert run.verify() == []
    assert {p.name for p in run.folder.iterdir()} == {"embeddings.npy", "records.parquet", "rejected.tsv", "run.json"}


@pytest.mark.parametrize("name", ["embeddings.npy", "records.parquet", "rejected.tsv", "run.json"])
def test_one_flipped_byte_of_any_file_is_found(run, name):
    path = run.folder / name
    raw = path.read_bytes()
    rng = random.Random(5)
    places = range(len(raw)) if len(raw) < 1500 else {0, 1, len(raw) - 1, *rng.sample(range(len(raw)), 150)}
    for place in places:
        path.write_bytes(raw[:place] + bytes([raw[place] ^ rng.randint(1, 255)]) + raw[place + 1 :])
        assert faults(run.folder), place
    path.write_bytes(raw)
    assert faults(run.folder) == []


def test_every_byte_of_the_manifest_counts(run):
    path = run.folder / "run.json"
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert faults(run.folder), place


@pytest.mark.parametrize("name", ["embeddings.npy", "records.parquet", "rejected.tsv"])
@pytest.mark.parametrize("damage", ["absent", "longer", "shorter", "empty", "folder"])
def test_files_that_are_missing_or_have_another_size_are_named(run, name, damage):
    path = run.folder / name
    raw = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "absent":
        path.write_bytes({"longer": raw + b"\0", "shorter": raw[:-1], "empty": b""}[damage])
    (fault,) = faults(run.folder)
    assert fault.startswith(name)


def test_files_of_another_run_are_found(run, made, tmp_path):
    (tmp_path / "b.fa").write_text(FASTA + ">more\n" + "ACGGT" * 5 + "\n")
    other = embed_to_run(RunRequest([tmp_path / "b.fa"], tmp_path, output=tmp_path / "out"), letters()).run
    for name in ("embeddings.npy", "records.parquet"):
        shutil.copy(other.folder / name, run.folder / name)
        assert faults(run.folder)
        shutil.copy(find_run(made, "see").folder / name, run.folder / name)
    assert faults(run.folder) == []


# -- folders of older tools ------------------------------------------------------------------------------------------


def legacy(folder, array=None, name="embeddings.npy"):
    folder.mkdir(parents=True)
    array = np.arange(12, dtype=np.float32).reshape(4, 3) if array is None else array
    if name.endswith("npz"):
        np.savez_compressed(folder / name, embeddings=array)
    else:
        np.save(folder / name, array)
    return folder


@pytest.mark.parametrize("name", ["embeddings.npy", "embeddings.npz"])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_folder_of_an_older_tool_opens(tmp_path, name, mmap):
    found = Run.open(legacy(tmp_path / "old", name=name))
    assert found.manifest is None
    np.testing.assert_array_equal(found.load_embeddings(mmap), np.arange(12, dtype=np.float32).reshape(4, 3))
    with pytest.raises(StoreError, match="created by an older tool, so its rows have no ids"):
        found.load_records()
    with pytest.raises(StoreError, match="nothing to verify against"):
        found.verify()
    assert found.label == str(found.folder)


def test_the_vectors_are_memory_mapped_and_read_only(run):
    vectors = run.load_embeddings()
    assert isinstance(vectors, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1


class Bomb:
    def __reduce__(self):
        return (exec, ("import pathlib, os; pathlib.Path(os.environ['BOMB']).write_text('ran')",))


@pytest.mark.parametrize("name", ["embeddings.npy", "embeddings.npz"])
@pytest.mark.parametrize("kind", ["array", "bare"])
def test_a_pickle_is_refused_and_nothing_of_it_runs(tmp_path, monkeypatch, name, kind):
    mark = tmp_path / "ran"
    monkeypatch.setenv("BOMB", str(mark))
    folder = tmp_path / "old"
    folder.mkdir()
    if kind == "bare":
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    elif name.endswith("npz"):
        np.savez(folder / name, embeddings=np.array([Bomb()], object))
    else:
        np.save(folder / name, np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(StoreError, match="cannot be read as an array"):
        Run.open(folder).load_embeddings()
    assert not mark.exists()


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 2)), np.zeros(3, np.float32), np.zeros((2, 2, 2), np.float32), np.zeros((3, 2), np.int32),
     np.array(1.0, np.float32), np.zeros((2, 2), ">f4")],
)  # fmt: skip
def test_an_array_that_is_not_a_float32_matrix_is_refused(tmp_path, array):
    with pytest.raises(StoreError, match="expected a float32 matrix"):
        Run.open(legacy(tmp_path / "old", array)).load_embeddings()


@pytest.mark.parametrize("name", ["embeddings.npy", "embeddings.npz"])
@pytest.mark.parametrize("mmap", [True, False])
def test_an_array_cut_at_any_byte_is_one_sentence(tmp_path, name, mmap):
    folder = legacy(tmp_path / "old", name=name)
    raw = (folder / name).read_bytes()
    for length in range(0, len(raw), 5 if len(raw) > 100 else 1):
        (folder / name).write_bytes(raw[:length])
        with pytest.raises(StoreError, match="cannot be read as an array"):
            Run.open(folder).load_embeddings(mmap)


def test_a_damaged_archive_is_a_sentence_or_the_right_array(tmp_path):
    folder = legacy(tmp_path / "old", name="embeddings.npz")
    raw = (folder / "embeddings.npz").read_bytes()
    for place in range(len(raw)):
        (folder / "embeddings.npz").write_bytes(raw[:place] + bytes([raw[place] ^ 255]) + raw[place + 1 :])
        try:
            array = Run.open(folder).load_embeddings()
        except StoreError:
            continue
        # These bytes do not matter, such as the time of the file in the archive.
        np.testing.assert_array_equal(array, np.arange(12, dtype=np.float32).reshape(4, 3))


def test_other_archives_are_one_sentence(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    np.savez(folder / "embeddings.npz", vectors=np.zeros((2, 2), np.float32))
    with pytest.raises(StoreError, match="cannot be read"):
        Run.open(folder).load_embeddings()
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 2), np.float32))
    (folder / "embeddings.npz").write_bytes(buffer.getvalue())
    with pytest.raises(StoreError, match="cannot be read"):
        Run.open(folder).load_embeddings()


def test_damaged_records_are_one_sentence(run):
    path = run.folder / "records.parquet"
    for data in (b"", b"PAR1", path.read_bytes()[:-20], b"x" * 500):
        path.write_bytes(data)
        with pytest.raises(StoreError, match=r"records\.parquet cannot be read"):
            run.load_records()


# -- finding ---------------------------------------------------------------------------------------------------------


def test_runs_are_found_by_name_by_dataset_and_by_path(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder,) = walk_runs(runs_root(made))
    assert find_run(made, f"see/{folder.name}").folder == folder
    assert find_run(made, f"see\\{folder.name}").folder == folder
    assert find_run(made, "see").label == f"see/{folder.name}"
    assert find_run(made, str(folder)).folder == folder
    shutil.copytree(folder, tmp_path / "my run")
    assert find_run(made, "my run").verify() == []
    assert find_run(made, "./my run").verify() == []


def test_a_path_is_relative_to_the_workspace_like_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.fa").write_text(FASTA)
    workspace = tmp_path / "ws"
    run = embed_to_run(RunRequest([tmp_path / "in.fa"], workspace, output=Path("out/r1")), letters()).run
    assert find_run(workspace, "out/r1").folder == run.folder


def test_the_newest_run_of_a_dataset_is_taken(tmp_path):
    root = runs_root(tmp_path)
    for name in ("2026-01-02_00-00-00", "2025-12-31_00-00-00", ".partial-2027"):
        legacy(root / "see" / name)
    (root / "see" / "2028-01-01_00-00-00").mkdir()
    (root / "see" / "note.txt").write_text("x")
    assert find_run(tmp_path, "see").folder.name == "2026-01-02_00-00-00"
    assert [f.name for f in walk_runs(root)] == ["2025-12-31_00-00-00", "2026-01-02_00-00-00"]


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "..",
        "../../outside/x",
        "see/../../../outside",
        "a/b/c",
        "./x",
        ".partial",
        "",
        "/no/such",
        "see/none",
    ],
)
def test_names_without_a_run_are_one_sentence(made, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        find_run(made, name)


@pytest.mark.parametrize("name", ["con", "see/nul", "a b", "a\0b", "C:\\x", "x:y", "x" * 101, "a/*"])
def test_names_that_cannot_be_a_run_are_refused(made, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot be a folder on every system"):
        find_run(made, name)


def test_a_run_next_to_the_runs_folder_is_not_found_by_name(tmp_path, monkeypatch):
    """Only an intentional path leads out of the folder of runs."""
    monkeypatch.chdir(tmp_path)
    workspace = tmp_path / "deep" / "ws"
    legacy(workspace / "consolidated_data" / "secret")
    runs_root(workspace).mkdir(parents=True)
    with pytest.raises(StoreError):
        find_run(workspace, "secret")
    with pytest.raises(StoreError):
        find_run(workspace, "../secret")


def test_a_folder_that_is_not_a_run_is_one_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="runs list"):
            Run.open(folder)


def test_an_empty_workspace_shows_how_to_create_a_run(tmp_path):
    assert walk_runs(runs_root(tmp_path)) == []
    with pytest.raises(StoreError, match="none yet; 'ednabed embed' creates one"):
        find_run(tmp_path, "see")
