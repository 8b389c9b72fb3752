"""``DataManager``: the content of a workspace, and search over all of it, with and without a reference."""

from __future__ import annotations

import logging
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import ednabed
from ednabed import get_data_manager
from ednabed.errors import StoreError, UsageError
from ednabed.reference import loose
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference
from ednabed.search.hits import SearchOptions
from ednabed.store import vectors as vector_files
from ednabed.store.compress import compress_run
from ednabed.store.runs import RECORDS, Run, runs_root
from ednabed.store.versions import register, tag_run
from ednabed.workflows import search as module
from reference_support import (
    DIMENSION,
    OTHER,
    SPEC,
    add_run,
    consolidate,
    copy_run,
    legacy,
    letters_of,
    vector_of,
    write_run,
)


@pytest.fixture
def workspace(tmp_path) -> Path:
    """Three runs of two datasets; sequence 1 is in all of them."""
    add_run(tmp_path, "lake", "r1", [1, 2, 3])
    add_run(tmp_path, "lake", "r2", [4, 1, 5, 1])
    add_run(tmp_path, "sea", "r1", [6, 1])
    return tmp_path


def cosines(number: int, others: list[int]) -> list[float]:
    a, b = vector_of(number).astype(np.float64), np.stack([vector_of(n) for n in others]).astype(np.float64)
    return (b @ a / (np.linalg.norm(a) * np.linalg.norm(b, axis=1))).tolist()


def places(hits: list[dict]) -> list[tuple]:
    return [(hit["dataset"], hit["run_id"], hit["seq_idx"]) for hit in hits]


def warned(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- inventory -------------------------------------------------------------------------------------------------------


def test_the_name_of_the_guide(workspace):
    assert isinstance(ednabed.get_data_manager(workspace), ednabed.DataManager)
    assert get_data_manager(str(workspace)).list_datasets() == ["lake", "sea"]


def test_an_empty_workspace(tmp_path):
    manager = get_data_manager(tmp_path / "none")
    assert (manager.list_datasets(), manager.list_runs()) == ([], [])
    assert manager.storage() == {"runs": [], "runs_bytes": 0, "references": {}, "table_bytes": 0}
    with pytest.raises(StoreError, match="contains no run that can be searched; 'ednabed embed FILE' creates a run"):
        manager.search(record_id="x")
    with pytest.raises(StoreError, match="there is no run 'lake'"):
        manager.search_across_embeddings("lake", 0)
    assert not (tmp_path / "none").exists()


def test_runs_and_their_facts(workspace):
    legacy(runs_root(workspace) / "old" / "deep" / "er", np.ones((5, 3), np.float32))
    manager = get_data_manager(workspace)
    runs = manager.list_runs()
    assert [(run.dataset, run.run_id, run.records, run.dimension, run.model, run.fault) for run in runs] == [
        ("lake", "r1", 3, DIMENSION, "hand", None),
        ("lake", "r2", 4, DIMENSION, "hand", None),
        ("old", "deep/er", 5, 3, None, None),
        ("sea", "r1", 2, DIMENSION, "hand", None),
    ]
    assert runs[0].fingerprint == SPEC.fingerprint
    assert runs[0].created == "2024-01-01T00:00:00+00:00"
    assert runs[0].bytes == (runs[0].path / "embeddings.npy").stat().st_size
    assert (runs[2].fingerprint, runs[2].created) == (None, None)
    assert [run.run_id for run in manager.list_runs("lake")] == ["r1", "r2"]
    assert manager.list_runs("none") == []
    assert manager.list_datasets() == ["lake", "old", "sea"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


BROKEN = {
    "run.json is damaged": lambda folder: (folder / "run.json").write_text("{"),
    "embeddings.npy is missing": lambda folder: (folder / "embeddings.npy").unlink(),
    "embeddings.npy cannot be read": lambda folder: cut(folder / "embeddings.npy"),
    "embeddings.npy cannot be read as an array": lambda folder: (folder / "embeddings.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'shape': (3, 8".ljust(128) + b"\n"
    ),
    "embeddings.npy contains float64": lambda folder: np.save(folder / "embeddings.npy", np.ones((3, DIMENSION))),
    "has vectors of 5 dimensions, but hand produces 8": lambda folder: np.save(
        folder / "embeddings.npy", np.ones((3, 5), np.float32)
    ),
    "2 vectors and 3 records": lambda folder: np.save(folder / "embeddings.npy", np.ones((2, DIMENSION), np.float32)),
    "records.parquet is missing": lambda folder: (folder / RECORDS).unlink(),
    "records.parquet cannot be read": lambda folder: cut(folder / RECORDS),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_damaged_run_is_shown_as_damaged_and_the_others_are_searched(workspace, caplog, fault):
    BROKEN[fault](runs_root(workspace) / "lake" / "r1")
    manager = get_data_manager(workspace)
    runs = manager.list_runs()
    assert [run.fault is None for run in runs] == [False, True, True]
    assert fault in runs[0].fault
    assert "\n" not in runs[0].fault
    assert (runs[0].dataset, runs[0].run_id, runs[0].records, runs[0].dimension) == ("lake", "r1", None, None)
    assert manager.list_datasets() == ["lake", "sea"]
    assert [entry["run"] for entry in manager.storage()["runs"] if "form" not in entry] == ["lake/r1"]
    for _ in range(2):
        assert places(manager.search_across_embeddings("sea/r1", 0))[0][:2] == ("lake", "r2")
    # It is reported, but only once.
    [message] = warned(caplog)
    assert message.startswith("not searched: consolidated_data/runs/lake/r1: ")
    assert fault in message
    # If the damaged run itself is requested, it is an error.
    for search in (
        lambda: manager.search_across_embeddings("lake/r1", 0), lambda: manager.search(run="lake/r1", seq_idx=0)
    ):  # fmt: skip
        with pytest.raises(StoreError) as told:
            search()
        assert fault in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("form", ["npy", "npz", "f16"])
def test_files_and_content_of_a_run(workspace, form):
    manager = get_data_manager(workspace)
    folder = runs_root(workspace) / "lake" / "r2"
    if form != "npy":
        compress_run(Run.open(folder), half=form == "f16", delete_original=True)
    name = {"npy": "embeddings.npy", "npz": "embeddings.npz", "f16": "embeddings.f16.npy"}[form]
    wanted = np.stack([vector_of(n) for n in (4, 1, 5, 1)])
    for run in ("lake/r2", "lake", folder, str(folder)):
        files = manager.get_run_files(run)
        assert list(files) == ["embeddings", f"embeddings_{form}", "records", "rejected", "manifest"]
        assert files["embeddings"] == files[f"embeddings_{form}"] == folder / name
        assert files["manifest"] == folder / "run.json"
        assert all(path.is_file() for path in files.values())
        assert manager.load_records(run, ["id"]).column("id").to_pylist() == [f"r2-{i}" for i in range(4)]
        assert manager.load_records(run).column("sequence")[1].as_py() == letters_of(1)
        for mmap in (True, False):
            vectors = manager.load_embeddings(run, mmap=mmap)
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(vectors, wanted, atol=2e-3 if form == "f16" else 0)
            assert isinstance(vectors, np.memmap) == (mmap and form == "npy")


def test_files_of_an_older_tool(workspace):
    folder = legacy(runs_root(workspace) / "old" / "r", np.ones((2, 3), np.float32), "npz")
    manager = get_data_manager(workspace)
    path = folder / "embeddings.npz"
    assert manager.get_run_files("old/r") == {"embeddings": path, "embeddings_npz": path}
    assert manager.load_embeddings(folder).shape == (2, 3)
    with pytest.raises(StoreError, match="created by an older tool, so its rows have no ids"):
        manager.load_records("old/r")
    with pytest.raises(StoreError, match=r"there is no run 'old/x' .*existing runs: lake/r1, lake/r2, old/r, sea/r1"):
        manager.get_run_files("old/x")


def test_storage(workspace):
    consolidate(workspace)
    compress_run(Run.open(runs_root(workspace) / "lake" / "r1"), delete_original=True)
    legacy(runs_root(workspace) / "old" / "r", np.zeros((2000, DIMENSION), np.float32))
    (workspace / "data" / "lancedb" / "deep").mkdir(parents=True)
    (workspace / "data" / "lancedb" / "deep" / "x").write_bytes(b"12345")
    found = get_data_manager(workspace).storage()
    folders = {run: runs_root(workspace) / run for run in ("lake/r1", "lake/r2", "old/r", "sea/r1")}
    sizes = {run: sum(path.stat().st_size for path in folder.iterdir()) for run, folder in folders.items()}
    assert {entry["run"]: entry["bytes"] for entry in found["runs"]} == sizes
    assert [entry["bytes"] for entry in found["runs"]] == sorted(sizes.values(), reverse=True)
    assert found["runs_bytes"] == sum(sizes.values())
    assert found["table_bytes"] == 5
    by_run = {entry["run"]: entry for entry in found["runs"]}
    assert by_run["lake/r1"] == {"run": "lake/r1", "bytes": sizes["lake/r1"], "form": "embeddings.npz"}
    old = by_run["old/r"]
    assert old["form"] == "embeddings.npy"
    assert 0.9 * sizes["old/r"] < old["saved_lossless"] < sizes["old/r"]
    # Without a manifest that remembers the exact vectors, 'compress --float16' refuses.
    assert "saved_float16" not in old
    assert by_run["sea/r1"]["saved_float16"] == 2 * DIMENSION * 2
    # A file with two names counts once.
    reference = workspace / "data" / "reference"
    inodes = {path.stat().st_ino: path.stat().st_size for path in reference.rglob("*") if path.is_file()}
    assert found["references"] == {"data/reference": sum(inodes.values())}
    quick = get_data_manager(workspace).storage(measure=False)
    assert not any("saved_lossless" in entry for entry in quick["runs"])
    assert quick["runs_bytes"] == found["runs_bytes"]


# -- search over all runs --------------------------------------------------------------------------------------------


@pytest.fixture(params=["runs", "reference", "incomplete reference", "other reference"])
def searched(request, workspace, monkeypatch) -> Path:
    """A workspace with or without a reference; checks that the right collection is searched."""
    if request.param == "incomplete reference":
        shutil.move(runs_root(workspace) / "sea", workspace / "away")
        consolidate(workspace)
        shutil.move(workspace / "away", runs_root(workspace) / "sea")
    elif request.param == "other reference":
        add_run(workspace, "other", "r", [1], spec=OTHER)
        register(workspace, "v2", OTHER)
        consolidate(workspace, version="v2")
    elif request.param == "reference":
        consolidate(workspace)
    used = []
    real = module.Search
    monkeypatch.setattr(
        module, "Search", lambda collection, *more: used.append(type(collection)) or real(collection, *more)
    )
    yield workspace
    assert set(used) == {Reference if request.param == "reference" else LooseRuns}


def test_search_across_embeddings(searched):
    manager = get_data_manager(searched)
    hits = manager.search_across_embeddings("lake/r1", 0)
    # Sequence 1 first, then the others by cosine; sequences of the run itself only if other runs have them, too.
    numbers = {("lake", "r2", 0): 4, ("lake", "r2", 1): 1, ("lake", "r2", 2): 5, ("sea", "r1", 0): 6}
    found = places(hits)
    assert set(found) == set(numbers)
    scores = dict(zip(numbers, cosines(1, list(numbers.values())), strict=True))
    assert found == sorted(numbers, key=lambda place: -scores[place])
    assert [hit["similarity"] for hit in hits] == pytest.approx([scores[place] for place in found], abs=1e-6)
    assert [hit["distance"] for hit in hits] == pytest.approx([1 - scores[place] for place in found], abs=1e-6)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert [hit["path"] for hit in hits] == [runs_root(searched) / place[0] / place[1] for place in found]
    assert (hits[0]["occurrences"], hits[0]["datasets"], hits[0]["id"]) == (3, {"lake": 2, "sea": 1}, "r2-1")

    everything = manager.search_across_embeddings(runs_root(searched) / "lake" / "r1", 0, 3, exclude_same_run=False)
    assert len(everything) == 3
    assert places(everything)[0] == ("lake", "r1", 0)
    assert (everything[0]["similarity"], everything[0]["occurrences"]) == (1, 4)
    assert len(manager.search_across_embeddings("lake/r1", 0, 100, exclude_same_run=False)) == 6


def test_impossible_queries(searched):
    manager = get_data_manager(searched)
    for seq_idx in (3, -1):
        with pytest.raises(StoreError, match=f"lake/r1 has records 0 to 2, not {seq_idx}"):
            manager.search_across_embeddings("lake/r1", seq_idx)
    with pytest.raises(UsageError, match="`top_k` is 0"):
        manager.search_across_embeddings("lake/r1", 0, top_k=0)
    with pytest.raises(StoreError, match="there is no run 'lake/r9'"):
        manager.search_across_embeddings("lake/r9", 0)
    assert len(manager.search_across_embeddings("lake/r1", np.int64(0))) == 4


def test_runs_of_another_function_are_not_among_the_hits(workspace):
    add_run(workspace, "other", "r", [1, 1], spec=OTHER)
    manager = get_data_manager(workspace)
    assert {hit["dataset"] for hit in manager.search_across_embeddings("lake/r1", 0)} == {"lake", "sea"}
    assert manager.search_across_embeddings("other", 0) == []
    assert places(manager.search_across_embeddings("other", 0, exclude_same_run=False)) == [("other", "r", 0)]
    with pytest.raises(StoreError, match="other/r has records 0 to 1, not 2"):
        manager.search_across_embeddings("other", 2)


def test_a_run_in_another_folder(workspace, tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("away") / "mine", [2, 9])
    manager = get_data_manager(workspace)
    for _ in range(2):
        hits = manager.search_across_embeddings(run.folder, 0)
        assert places(hits)[0] == ("lake", "r1", 1)
        assert len(hits) == 6
        hits = manager.search_across_embeddings(run.folder, 1, exclude_same_run=False)
        assert (hits[0]["path"], hits[0]["similarity"]) == (run.folder, 1)
        assert len(hits) == 7
        consolidate(workspace)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_a_copy_of_a_run_is_the_same_run(workspace, tmp_path_factory, reference, old):
    if old:
        vectors = np.stack([vector_of(n) for n in (8, 9)])
        run = Run.open(legacy(runs_root(workspace) / "old" / "r", vectors))
        register(workspace, "v1", SPEC)
        tag_run(workspace, run, "v1", assume=True)
    else:
        run = Run.open(runs_root(workspace) / "sea" / "r1")
    if reference:
        consolidate(workspace)
    copy = shutil.copytree(run.folder, tmp_path_factory.mktemp("copy") / "x" / "y")
    manager = get_data_manager(workspace)
    for folder in (copy, copy_run(run, workspace, "zz").folder):
        hits = manager.search_across_embeddings(folder, 0)
        own = "old" if old else "sea"
        assert own not in {hit["dataset"] for hit in hits}
        assert "zz" not in {hit["dataset"] for hit in hits}
        hits = manager.search_across_embeddings(folder, 0, exclude_same_run=False)
        assert places(hits)[0] == (own, "r" if old else "r1", 0)


@pytest.mark.parametrize("old", [False, True])
def test_a_run_that_was_moved_since_it_was_added_to_the_reference(workspace, old):
    if old:
        run = Run.open(legacy(runs_root(workspace) / "old" / "r", np.stack([vector_of(n) for n in (8, 9)])))
        register(workspace, "v1", SPEC)
        tag_run(workspace, run, "v1", assume=True)
    else:
        run = Run.open(runs_root(workspace) / "sea" / "r1")
    consolidate(workspace)
    moved = runs_root(workspace) / "new" / "place"
    moved.parent.mkdir()
    shutil.move(run.folder, moved)
    hits = get_data_manager(workspace).search_across_embeddings("new/place", 0)
    assert moved not in [hit["path"] for hit in hits]
    hits = get_data_manager(workspace).search_across_embeddings("lake/r1", 0)
    assert moved in [hit["path"] for hit in hits]
    assert all(hit["path"].is_dir() for hit in hits)


def test_hits_in_removed_runs_show_their_former_folder(workspace):
    consolidate(workspace)
    shutil.rmtree(runs_root(workspace) / "sea")
    hits = get_data_manager(workspace).search_across_embeddings("lake/r1", 0)
    assert runs_root(workspace) / "sea" / "r1" in [hit["path"] for hit in hits]


@pytest.mark.parametrize("reference", [False, True])
def test_forms_do_not_change_the_hits(workspace, reference):
    manager = get_data_manager(workspace)
    before = manager.search_across_embeddings("lake/r1", 0)
    if reference:
        consolidate(workspace)
    compress_run(Run.open(runs_root(workspace) / "lake" / "r2"), delete_original=True)
    after = manager.search_across_embeddings("lake/r1", 0)
    assert [{**hit, "source_file": None} for hit in after] == [{**hit, "source_file": None} for hit in before]


def test_folders_of_older_tools_are_searched_once_their_function_is_stated(workspace, caplog):
    vectors = np.stack([vector_of(n) for n in (1, 8)])
    run = Run.open(legacy(runs_root(workspace) / "old" / "r", vectors))
    manager = get_data_manager(workspace)
    assert "old" not in {hit["dataset"] for hit in manager.search_across_embeddings("lake/r1", 0)}
    [message] = warned(caplog)
    assert message.startswith(
        "not searched: consolidated_data/runs/old/r: created by an older tool, so the model is unknown"
    )
    with pytest.raises(StoreError, match=r"runs/old/r was created by an older tool, so the model is unknown"):
        manager.search_across_embeddings("old/r", 0)
    register(workspace, "v1", SPEC)
    tag_run(workspace, run, "v1", assume=True)
    assert ("old", "r", 0) in places(manager.search_across_embeddings("lake/r1", 0))
    assert places(manager.search_across_embeddings("old/r", 0))[0] == ("lake", "r1", 0)
    assert len(warned(caplog)) == 1


def test_new_runs_are_seen_and_old_ones_are_not_read_again(workspace, monkeypatch):
    opened = []
    real = loose.LooseRuns
    monkeypatch.setattr(module, "LooseRuns", lambda sources: opened.append(len(sources)) or real(sources))
    manager = get_data_manager(workspace)
    for seq_idx in range(3):
        manager.search_across_embeddings("lake/r1", seq_idx)
    assert opened == [3]
    add_run(workspace, "tank", "r", [1])
    assert manager.search_across_embeddings("lake/r1", 0, 1)[0]["datasets"] == {"lake": 2, "sea": 1, "tank": 1}
    shutil.rmtree(runs_root(workspace) / "tank")
    assert manager.search_across_embeddings("lake/r1", 0, 1)[0]["datasets"] == {"lake": 2, "sea": 1}
    compress_run(Run.open(runs_root(workspace) / "lake" / "r2"), delete_original=True)
    assert len(manager.search_across_embeddings("lake/r1", 0)) == 4
    assert opened == [3, 4, 3, 3]


@pytest.mark.parametrize("form", ["npy", "npz", "f16"])
def test_runs_are_searched_without_loading_their_vectors(tmp_path, monkeypatch, form):
    monkeypatch.setattr(vector_files, "BLOCK_BYTES", 300_000)
    spec = replace(SPEC, dimension=1024)
    rng = np.random.default_rng(1)
    for name in ("r1", "r2", "r3", "r4"):
        vectors = rng.integers(1, 3, (800, 1024)).astype(np.float32)
        run = add_run(tmp_path, "big", name, range(800), vectors=vectors, spec=spec)
        if form != "npy":
            compress_run(run, half=form == "f16", delete_original=True)
    manager = get_data_manager(tmp_path)
    manager.search_across_embeddings("big/r1", 0)
    tracemalloc.start()
    hits = get_data_manager(tmp_path).search_across_embeddings("big/r1", 7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(hits) == 10
    # All vectors take 13.1 MB as float32.
    assert peak < 5_000_000


# -- search in general -----------------------------------------------------------------------------------------------


def test_exactly_one_query(workspace):
    manager = get_data_manager(workspace)
    for asked in (
        {}, {"run": "lake"}, {"record_id": "x", "sequence": "ACGT"}, {"run": "lake", "seq_idx": 0, "record_id": "x"},
        {"files": ["x"], "sequence": "A"},
    ):  # fmt: skip
        with pytest.raises(UsageError, match="give exactly one query"):
            manager.search(**asked)
    with pytest.raises(UsageError, match="give that run as `run`"):
        manager.search(seq_idx=0)


def test_several_functions_without_a_choice(workspace):
    add_run(workspace, "other", "r", [1, 2], spec=OTHER)
    manager = get_data_manager(workspace)
    for asked in ({"record_id": "r1-0"}, {"sequence": "ACGT"}, {"files": ["x.fa"]}):
        with pytest.raises(
            StoreError, match=r"created with 2 functions, .*other \(\w{12}\): other/r; give a run .*as `run`"
        ):
            manager.search(**asked)
    collection, answers = manager.search(run="other", seq_idx=0)
    assert [hit["dataset"] for _, hits in answers for hit in hits] == ["other", "other"]
    assert collection.name == "other/r"
    consolidate(workspace, version=register(workspace, "v1", SPEC).version.name)
    with pytest.raises(
        StoreError, match=r"other/r was computed by other .*, .* by hand .*: their vectors cannot be compared"
    ):
        manager.search(run="other", seq_idx=0)


def test_a_reference_by_its_folder(workspace):
    consolidate(workspace, output=Path("mine"))
    manager = get_data_manager(workspace)
    for reference in ("mine", str(workspace / "mine"), workspace / "mine"):
        collection, answers = manager.search(run="sea", seq_idx=0, reference=reference, options=SearchOptions(k=1))
        assert isinstance(collection, Reference)
        assert [hit["seq_idx"] for _, hits in answers for hit in hits] == [0]
    assert isinstance(manager.search(run="sea", seq_idx=0)[0], LooseRuns)
    for reference in (
        "..",
        "",
        ".",
        "mine/x",
        "nowhere",
        os.devnull,
        str(workspace),
        "mine/consolidated_metadata.json",
    ):
        with pytest.raises(StoreError, match="there is no reference"):
            manager.search(run="sea", seq_idx=0, reference=reference)


def test_a_run_that_is_damaged_after_listing_is_reported(workspace):
    """A run that is damaged between listing and reading gives one sentence, too."""
    manager = get_data_manager(workspace)
    collection, answers = manager.search(run="lake/r1", seq_idx=0, options=SearchOptions(align=True))
    path = runs_root(workspace) / "sea" / "r1" / RECORDS
    table = pq.read_table(path)
    path.unlink()
    with pytest.raises(StoreError, match=r"records\.parquet is missing|cannot be read"):
        list(answers)
    pq.write_table(table, path)
    assert collection.rows == 6
