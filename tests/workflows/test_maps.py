"""Kept maps: of a reference for all its builds, and of runs in the workspace."""

from __future__ import annotations

import importlib.util
import shutil
import threading

import numpy as np
import pytest

from ednabed.errors import StoreError, UsageError
from ednabed.maps.sequence_map import SequenceMap
from ednabed.reference import layout
from ednabed.workflows import maps
from ednabed.workflows.maps import map_reference, map_runs, read_map, read_runs_map
from reference_support import OTHER, add_run, consolidate, opened


@pytest.fixture(autouse=True)
def no_umap(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "umap" else real(name, *more))


@pytest.fixture
def workspace(tmp_path):
    add_run(tmp_path, "lake", "a", range(30))
    consolidate(tmp_path)
    return tmp_path


def places(found: SequenceMap) -> dict[int, tuple[float, ...]]:
    return {int(key): tuple(place) for key, place in zip(found.keys, found.coordinates.tolist(), strict=True)}


def test_it_is_kept_with_the_reference_and_survives_new_builds(workspace):
    assert read_map(opened(workspace)) is None
    reference, found = map_reference(workspace, max_landmarks=20)
    path = workspace / "data" / "reference" / "map.parquet"
    assert path.is_file()
    assert places(read_map(reference)) == places(read_map(reference.folder)) == places(found)
    layout.name_build(reference.folder, "old")
    add_run(workspace, "sea", "b", range(20, 50), created="2024-02-01T00:00:00+00:00")
    for options in ({"incremental": True}, {}):
        consolidate(workspace, **options)
        grown = opened(workspace)
        assert grown.verify() == []
        assert read_map(grown).of_rows(grown)[3].sum() == 30
    _, after = map_reference(workspace)
    assert len(after.keys) == 50
    assert all(places(after)[key] == place for key, place in places(found).items())
    # The named build has the same map.
    old = opened(workspace, "old")
    assert np.array_equal(read_map(old).of_rows(old)[0], found.of_rows(old)[0])
    layout.remove_name(old.folder, "old")
    assert path.is_file()


def test_leftovers_of_a_killed_command_are_removed_with_the_next_build(workspace):
    map_reference(workspace)
    folder = workspace / "data" / "reference"
    for ending in ("lock", "tmp"):
        (folder / f".map.parquet.0123456789ab.{ending}").write_bytes(b"half")
    add_run(workspace, "sea", "b", range(20, 50))
    consolidate(workspace)
    assert not list(folder.glob(".map*"))
    assert (folder / "map.parquet").is_file()


def test_nothing_is_written_if_nothing_is_new(workspace):
    map_reference(workspace, max_landmarks=20)
    path = workspace / "data" / "reference" / "map.parquet"
    before = path.stat()
    _, found = map_reference(workspace, max_landmarks=7, seed=3)
    assert found.landmarks == 20
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    _, anew = map_reference(workspace, max_landmarks=7, seed=3, refit=True)
    assert (anew.landmarks, anew.seed) == (7, 3)
    assert read_map(opened(workspace)).landmarks == 7


def test_a_damaged_map_is_reported_and_laid_out_again(workspace):
    map_reference(workspace)
    path = workspace / "data" / "reference" / "map.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    for refused in (lambda: map_reference(workspace), lambda: read_map(opened(workspace))):
        with pytest.raises(StoreError, match=r"map\.parquet .*'ednabed reference map --reference .*reference --refit'"):
            refused()
    map_reference(workspace, refit=True)
    assert len(read_map(opened(workspace)).keys) == 30


def test_a_reference_of_another_model_has_another_map(workspace):
    map_reference(workspace)
    shutil.rmtree(workspace / "consolidated_data")
    add_run(workspace, "lake", "b", range(12), spec=OTHER)
    consolidate(workspace, drop_missing=True)
    for refused in (lambda: map_reference(workspace), lambda: read_map(opened(workspace))):
        with pytest.raises(StoreError, match="cannot be compared"):
            refused()
    _, found = map_reference(workspace, refit=True)
    assert found.fingerprint == OTHER.fingerprint


@pytest.mark.parametrize("ends", [KeyboardInterrupt, OSError(28, "no space left on device")])
def test_a_failure_keeps_the_old_map(workspace, monkeypatch, ends):
    map_reference(workspace, max_landmarks=20)
    folder = workspace / "data" / "reference"
    before = (folder / "map.parquet").read_bytes()

    def fails(*_, **__):
        raise ends

    monkeypatch.setattr(maps, "make_map", fails)
    with pytest.raises(type(ends) if isinstance(ends, OSError) else ends):
        map_reference(workspace, refit=True)
    assert (folder / "map.parquet").read_bytes() == before
    assert not list(folder.glob(".map*"))


def test_a_reference_that_was_removed_meanwhile_is_not_created_again(workspace, monkeypatch):
    real = maps.make_map

    def removed(*arguments, **options):
        found = real(*arguments, **options)
        shutil.rmtree(workspace / "data" / "reference")
        return found

    monkeypatch.setattr(maps, "make_map", removed)
    with pytest.raises(StoreError, match="its map was not kept"):
        map_reference(workspace)
    assert not (workspace / "data" / "reference").exists()


def test_a_build_that_was_replaced_meanwhile_does_not_matter(workspace, monkeypatch):
    real = maps.make_map

    def replaced(*arguments, **options):
        add_run(workspace, "sea", "b", range(20, 50))
        consolidate(workspace)
        return real(*arguments, **options)

    monkeypatch.setattr(maps, "make_map", replaced)
    map_reference(workspace)
    monkeypatch.undo()
    now = opened(workspace)
    assert read_map(now).of_rows(now)[3].sum() == 30


def test_two_at_once_leave_a_complete_map(workspace):
    threads = [
        threading.Thread(
            target=map_reference, args=(workspace,), kwargs={"max_landmarks": most, "refit": True, "threads": 1}
        )
        for most in (10, 20, 10, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_map(opened(workspace)).landmarks in (10, 20)
    assert not list((workspace / "data" / "reference").glob(".map*"))


def test_no_reference(tmp_path):
    with pytest.raises(StoreError):
        map_reference(tmp_path)
    assert read_map(tmp_path) is None


def test_a_map_of_runs(workspace):
    add_run(workspace, "sea", "b", range(20, 50))
    runs, found = map_runs(workspace, ["sea/b", "lake"], max_landmarks=25)
    assert (runs.rows, len(found.keys), found.landmarks) == (50, 50, 25)
    (path,) = (workspace / "data" / "maps").iterdir()
    assert path.suffix == ".parquet"
    before = path.stat().st_mtime_ns
    # The same runs, in any order.
    _, again = map_runs(workspace, ["lake/a", "sea/b", "lake"])
    assert again.landmarks == 25
    assert path.stat().st_mtime_ns == before
    assert places(read_runs_map(workspace, ["lake", "sea"])) == places(found)
    assert read_runs_map(workspace, ["sea"]) is None
    map_runs(workspace, ["sea"])
    assert len(list((workspace / "data" / "maps").iterdir())) == 2
    _, anew = map_runs(workspace, ["lake", "sea"], max_landmarks=5, refit=True)
    assert anew.landmarks == 5


def test_other_runs_on_the_map_of_a_reference(workspace):
    reference, found = map_reference(workspace)
    add_run(workspace, "sea", "b", [3, 4, 90])
    runs, _ = map_runs(workspace, ["sea"])
    placed, similar = found.coordinates_of(reference, runs.vectors_of(np.arange(3)))
    told = places(found)
    assert [tuple(place) for place in placed[:2].tolist()] == [told[int(key)] for key in runs.keys[:2]]
    assert similar[:2] == pytest.approx([1, 1])
    assert similar[2] < 0.99


def test_runs_that_cannot_be_mapped(workspace):
    add_run(workspace, "sea", "b", range(5), spec=OTHER)
    with pytest.raises(StoreError, match="cannot be compared"):
        map_runs(workspace, ["lake", "sea"])
    with pytest.raises(UsageError, match="no run is given"):
        map_runs(workspace, [])
    with pytest.raises(StoreError, match="river"):
        map_runs(workspace, ["river"])
    assert not (workspace / "data" / "maps").exists()
