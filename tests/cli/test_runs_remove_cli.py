"""Removing runs: dependents are reported, nothing outside the workspace changes, killed removals are finished."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cli_support import call_in
from ednabed.errors import StoreError
from ednabed.reference import layout
from ednabed.store import run_removal
from ednabed.store.assignments import folder_of
from ednabed.store.compress import locked_run
from ednabed.store.run_removal import remove_run
from ednabed.store.runs import Run, runs_root, walk_runs
from ednabed.store.version_file import Versions
from ednabed.store.versions import register, tag_run
from ednabed.workflows.maps import map_runs, runs_map_path
from kill_support import snapshots
from reference_support import SPEC, add_run, consolidate, opened, snapshot


def call(capsys, workspace, *arguments) -> tuple[int, str, str]:
    return call_in(capsys, workspace, "runs", "remove", *arguments)


def content(workspace: Path) -> dict[str, bytes]:
    return {
        p.relative_to(workspace).as_posix(): p.read_bytes()
        for p in workspace.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


@pytest.fixture
def workspace(tmp_path) -> Path:
    """Two runs; the first has names next to it, a tag and a map, and is in a named build that is not current."""
    workspace = tmp_path / "ws"
    run = add_run(workspace, "see", "a", [1, 2, 3])
    add_run(workspace, "see", "b", [3, 4], created="2024-01-02T00:00:00+00:00")
    register(workspace, "v1", SPEC)
    tag_run(workspace, run, "v1")
    map_runs(workspace, ["see/a"], threads=1, show_progress=False)
    names = folder_of(run.folder)
    names.mkdir()
    (names / "whatever").write_text("kept")
    return workspace


def test_a_dry_run_reports_what_depends_and_changes_nothing(capsys, workspace):
    consolidate(workspace)
    layout.name_build(workspace / "data" / "reference", "first")
    before = content(workspace)
    code, out, err = call(capsys, workspace, "see/a")
    assert (code, out) == (1, "0 to remove, 1 refused; 0 B\n")
    assert "refused: the current build of data/reference was built from see/a" in err
    code, out, err = call(capsys, workspace, "see/a", "--force")
    assert code == 0
    assert "see/a: ready, " in out
    assert "data/reference: its current build contains the run and keeps its sequences until it is rebuilt" in out
    assert "data/reference/first: this named build contains the run and does not change" in out
    assert "tagged as v1: the tag is removed with the run" in out
    assert "data/maps/" in out.replace(os.sep, "/")
    assert "1 to remove, 0 refused" in out
    assert "dry run: nothing was changed" in err
    assert content(workspace) == before


def test_a_run_is_removed_with_everything_that_belongs_to_it(capsys, workspace):
    path = runs_map_path(workspace, ["see/a"])
    other = snapshot(runs_root(workspace) / "see" / "b")
    assert path.is_file()
    code, out, _ = call(capsys, workspace, "see/a", "--execute", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["executed"]
    assert [(row["run"], row["state"], row["tag"]) for row in told["runs"]] == [("see/a", "removed", "v1")]
    assert [p.name for p in (runs_root(workspace) / "see").iterdir()] == ["b"]
    assert snapshot(runs_root(workspace) / "see" / "b") == other
    assert not path.exists()
    assert not Versions.read(workspace).tags
    assert call(capsys, workspace, "see/b", "--execute")[0] == 0
    assert not (runs_root(workspace) / "see").exists()


def test_a_run_of_the_current_build_needs_force_and_the_reference_keeps_its_sequences(capsys, workspace):
    consolidate(workspace)
    code, _, err = call(capsys, workspace, "see/a", "see/b", "--execute")
    assert code == 1
    assert err.count("refused: the current build of data/reference was built from") == 2
    assert len(walk_runs(runs_root(workspace))) == 2
    assert call(capsys, workspace, "see/a", "--execute", "--force")[0] == 0
    assert opened(workspace).verify() == []
    assert opened(workspace).rows == 4


def test_a_tag_is_kept_while_a_copy_of_the_run_exists(capsys, workspace):
    shutil.copytree(runs_root(workspace) / "see" / "a", runs_root(workspace) / "copy" / "a")
    assert call(capsys, workspace, "see/a", "--execute")[0] == 0
    assert len(Versions.read(workspace).tags) == 1


def test_a_damaged_run_can_be_removed(capsys, workspace):
    consolidate(workspace)
    (runs_root(workspace) / "see" / "a" / "run.json").write_text("{")
    code, _, err = call(capsys, workspace, "see/a", "--execute")
    assert code == 1
    assert "was built from see/a" in err
    code, _, err = call(capsys, workspace, "see/a", "--execute", "--force")
    assert code == 0, err
    assert not (runs_root(workspace) / "see" / "a").exists()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("see", 1, "'see' is a dataset; give the run to remove: see/a, see/b"),
        ("../outside", 1, "leads out of its folder"),
        ("see/../../../../outside", 1, "leads out of its folder"),
        ("OUTSIDE", 1, "is outside the workspace"),
        ("see/none", 1, "there is no run 'see/none'"),
        ("", 1, "there is no run ''"),
        (".", 1, "is outside the workspace"),
        ("data", 1, "is not a run"),
        ("see/full", 1, "contains something other than a run (notes.txt)"),
        ("link", 1, "is a link"),
    ],
)
def test_names_that_are_refused(capsys, workspace, tmp_path, name, code, said):
    outside = add_run(tmp_path / "outside", "x", "y", [1]).folder
    add_run(workspace, "see", "full", [1])
    (runs_root(workspace) / "see" / "full" / "notes.txt").write_text("mine")
    if name == "link":
        try:
            (workspace / "link").symlink_to(runs_root(workspace) / "see" / "a", target_is_directory=True)
        except OSError:
            pytest.skip("no links here")
    if name == "see":
        shutil.rmtree(runs_root(workspace) / "see" / "full")
    before = content(tmp_path)
    found, _, err = call(capsys, workspace, str(outside) if name == "OUTSIDE" else name, "--execute", "--force")
    assert found == code
    assert said in err
    assert content(tmp_path) == before


def test_a_run_in_use_is_not_removed(workspace):
    folder = runs_root(workspace) / "see" / "a"
    with (
        locked_run(folder),
        pytest.raises(StoreError, match=r"another process is compressing this run .*; wait until it has finished"),
    ):
        remove_run(workspace, folder)
    assert Run.open(folder).verify() == []
    assert folder_of(folder).is_dir()


def test_a_run_with_an_open_file_stays_complete(capsys, workspace, monkeypatch):
    """Windows does not move a folder in which a file is open."""
    before = content(workspace)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(13, "in use")))
    code, _, err = call(capsys, workspace, "see/a", "--execute")
    assert code == 1
    assert "cannot be removed (in use), and nothing was" in err
    assert content(workspace) == before


def test_killed_at_every_instant(capsys, workspace, tmp_path):
    """In every state the run is complete or gone, and the same command finishes from there."""
    spare = shutil.copytree(workspace, tmp_path / "spare")
    folder = runs_root(workspace) / "see" / "a"
    states = snapshots(
        workspace, lambda: remove_run(workspace, folder), tmp_path / "states", {run_removal.__file__, shutil.__file__}
    )
    assert call(capsys, spare, "see/a", "--execute")[0] == 0
    wanted = content(spare)
    seen = set()
    for state in states:
        place = runs_root(state) / "see" / "a"
        seen.add(place.exists())
        if place.exists():
            assert Run.open(place).verify() == []
            assert folder_of(place).is_dir()
        assert [p.name for p in walk_runs(runs_root(state))] == (["a", "b"] if place.exists() else ["b"])
        again = shutil.copytree(state, tmp_path / "again")
        code, out, err = call(capsys, again, "see/a", "--execute")
        left = {name for name in content(again) if ".lock" not in name}
        if code == 0:
            assert not (runs_root(again) / "see" / "a").exists(), out
        else:
            # Killed when everything was done.
            assert "there is no run 'see/a'" in err
        assert {name for name in left if "runs/" in name} == {name for name in wanted if "runs/" in name}
        shutil.rmtree(again)
    assert seen == {True, False}
    assert len(states) > 5


def test_a_new_run_of_the_same_name_keeps_its_own_files(capsys, workspace):
    folder = runs_root(workspace) / "see" / "a"
    shutil.copytree(folder, folder.with_name(".removed-a"))
    assert call(capsys, workspace, "see/b", "--execute")[0] == 0
    assert Run.open(folder).verify() == []
    assert folder_of(folder).is_dir()
    assert not folder.with_name(".removed-a").exists()


def test_two_at_once(workspace):
    """One removes it, the other reports an error."""
    from concurrent.futures import ThreadPoolExecutor

    folder = runs_root(workspace) / "see" / "a"

    def attempt(_):
        try:
            remove_run(workspace, folder)
        except StoreError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(attempt, range(4)))
    assert None in ended
    assert all(one is None or "no longer exists" in one or "removing a run from it" in one for one in ended)
    assert [p.name for p in folder.parent.iterdir()] == ["b"]
