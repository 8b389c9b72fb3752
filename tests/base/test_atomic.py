"""Files are complete or absent; the next command removes leftovers of killed commands, work of live ones stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ednabed.base.atomic import in_progress, sweep, whole_file, write_atomic

WRITER = """
import sys, time
from pathlib import Path
from ednabed.base.atomic import in_progress
with in_progress(Path(sys.argv[1])) as work:
    if sys.argv[2] == "folder":
        work.mkdir()
        (work / "part").write_text("half")
    else:
        work.write_text("half")
    print(work, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writing():
    """Start a process that writes to a path and never ends; all are killed at the end."""
    started = []

    def start(path: Path, kind: str) -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), kind], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_atomic_text_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "er" / "x.json"
    write_atomic(path, "old\n")
    write_atomic(path, "neu: ä\nβ\n")
    assert path.read_bytes() == "neu: ä\nβ\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("times", [3, 1000])
def test_a_file_that_is_being_read_is_replaced_a_little_later(tmp_path, monkeypatch, times):
    """Windows cannot replace a file that another process has open."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    real, tries = Path.replace, []

    def replace(self, target):
        tries.append(self)
        if len(tries) <= times:
            raise PermissionError(13, "in use", str(target))
        return real(self, target)

    def write():
        with whole_file(path) as work:
            work.write_bytes(b"new")

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if times == 3:
        write()
    else:
        with pytest.raises(PermissionError, match="in use"):
            write()
    assert path.read_bytes() == (b"new" if times == 3 else b"old")
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_work_of_a_live_command_stays_and_work_of_a_killed_one_is_removed(tmp_path, writing, kind):
    process, work = writing(tmp_path / "out.tsv", kind)
    for name in ("out.tsv", "other.tsv"):
        write_atomic(tmp_path / name, "whole")
    assert work.exists()
    assert {p.name for p in tmp_path.iterdir()} == {
        "out.tsv", "other.tsv", work.name, work.with_suffix(".lock").name
    }  # fmt: skip
    process.kill()
    process.wait()
    write_atomic(tmp_path / "other.tsv", "again")
    assert {p.name for p in tmp_path.iterdir()} == {"out.tsv", "other.tsv"}
    assert (tmp_path / "out.tsv").read_text() == "whole"


def test_nothing_is_left_after_success_or_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), in_progress(tmp_path / "deep" / "x") as work:
        work.mkdir()
        (work / "part").touch()
        raise ZeroDivisionError
    with whole_file(tmp_path / "deep" / "x") as work:
        work.write_text("whole")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x"]


def test_old_leftovers_of_earlier_versions_are_removed(tmp_path):
    """They created no lock file, so one of them may still be running."""
    old, young, other = (tmp_path / f".{name}.0123456789a{i}.tmp" for i, name in enumerate(("x", "x", "y")))
    for path in (old, young, other):
        path.write_text("half")
    long_ago = time.time() - 100_000
    for path in (old, other):
        os.utime(path, (long_ago, long_ago))
    write_atomic(tmp_path / "x", "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"x", young.name, other.name}


def test_only_our_temporary_names_are_swept(tmp_path):
    names = [".lock", ".versions.json.lock", ".x.0123.lock", "x.0123456789ab.lock", ".x.0123456789ab.locked", "a.tmp"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".gone.0123456789ab.lock").touch()
    sweep(tmp_path)
    sweep(tmp_path / "nowhere")
    assert {p.name for p in tmp_path.iterdir()} == set(names)


def test_a_folder_in_which_a_killed_export_worked_is_exported_to(tmp_path, writing):
    from ednabed.export.place import atomic_folder

    folder = tmp_path / "out"
    process, _ = writing(folder / "export", "folder")
    process.kill()
    process.wait()
    with atomic_folder(folder, "fasta", {}) as work:
        (work / "a.fasta").touch()
    assert {p.name for p in folder.iterdir()} == {"a.fasta", "export.json"}


def test_a_killed_discovery_leaves_nothing_for_the_next(tmp_path, writing):
    from ednabed.export.discovery import FILES, write_discovery

    process, work = writing(tmp_path / "discovery", "folder")
    process.kill()
    process.wait()
    assert work.exists()
    write_discovery(tmp_path / "discovery", [])
    assert [p.name for p in tmp_path.iterdir()] == ["discovery"]
    assert {p.name for p in (tmp_path / "discovery").iterdir()} == set(FILES)


def test_a_run_is_cleared_by_the_next_compression(tmp_path, writing):
    from compress_support import make_run, noise
    from ednabed.store.compress import LOCK, compress_run

    run = make_run(tmp_path / "run", noise())
    process, work = writing(run.folder / "run.json", "file")
    (run.folder / LOCK).touch()
    compress_run(run)
    assert work.exists()
    process.kill()
    process.wait()
    (run.folder / LOCK).touch()
    compress_run(run)
    assert not [p.name for p in run.folder.iterdir() if p.name.startswith(".")]
    shutil.rmtree(run.folder)
