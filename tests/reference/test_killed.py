"""Consolidation killed at any moment or failing at any step, with concurrent readers and writers."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ednabed.base import atomic
from ednabed.errors import EdnabedError, StoreError
from ednabed.reference import build_names, layout
from ednabed.reference.opened import Reference, open_reference
from ednabed.store.runs import runs_root
from reference_support import add_run, consolidate, content, hits, opened, snapshot, vector_of, visible

DRIVER = Path(__file__).resolve().parents[1] / "reference_driver.py"
PLACES = [
    "tidied", "begun", "records", "vectors", "positions", "index", "written", "manifest", "renamed", "unlinked",
    "half a manifest", "current", "linked", "half removed", "published",
]  # fmt: skip
NEW_FROM = ("current", "linked", "half removed", "published")
WHOLE = {"builds", "consolidated_metadata.json", "consolidated_embeddings.npy", "consolidated_index.faiss"}


def start(workspace: Path, *, stall: str | None = None, roots=None, rounds=1, incremental=False, **more):
    settings = workspace / "settings.json"
    roots = [str(runs_root(workspace))] if roots is None else roots
    (workspace / "mark").unlink(missing_ok=True)
    settings.write_text(
        json.dumps(
            {
                "workspace": str(workspace), "roots": roots, "rounds": rounds, "incremental": incremental,
                "stall": stall, "mark": str(workspace / "mark"), **more,
            }
        )
    )  # fmt: skip
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def kill_at(process: subprocess.Popen, mark: Path) -> None:
    while not mark.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.002)
    process.kill()
    process.communicate()


def check_whole(folder: Path, builds: int = 1, names: set[str] = frozenset()) -> None:
    assert visible(folder) - {"previous.json"} == WHOLE | names
    assert len(list((folder / "builds").iterdir())) == builds
    assert open_reference(folder).verify() == []


def prepare(workspace: Path) -> tuple[dict, dict, dict]:
    """A reference of two runs with a named build of the first; then a third run. Contents: named, old, new."""
    folder = workspace / "data" / "reference"
    add_run(workspace, "see", "a", [1, 2, 3])
    consolidate(workspace)
    layout.name_build(folder, "first")
    named = content(opened(workspace))
    add_run(workspace, "see", "b", [3, 4], created="2024-01-02T00:00:00+00:00")
    # Twice, so that the next build makes the first of these go.
    consolidate(workspace)
    consolidate(workspace)
    old = content(opened(workspace))
    # Created before the others, so that its vectors replace others too.
    add_run(
        workspace,
        "see",
        "c",
        [4, 1, 5],
        created="2023-01-01T00:00:00+00:00",
        vectors=np.stack([vector_of(n) for n in (44, 1, 5)]),
    )
    consolidate(workspace, output=Path("other"))
    new = content(open_reference(workspace / "other"))
    assert old != new
    return named, old, new


@pytest.mark.parametrize("place", PLACES)
def test_killed_at_a_given_place(tmp_path, place):
    named, old, new = prepare(tmp_path)
    folder = tmp_path / "data" / "reference"
    incremental = PLACES.index(place) % 2 == 0
    kill_at(start(tmp_path, stall=place, incremental=incremental), tmp_path / "mark")
    found = opened(tmp_path)
    assert content(found) == (new if place in NEW_FROM else old)
    assert found.verify() == []
    assert content(opened(tmp_path, "first")) == named
    result = consolidate(tmp_path, incremental=True)
    assert result.changed == (place not in NEW_FROM)
    assert content(opened(tmp_path)) == new
    assert content(opened(tmp_path, "first")) == named
    check_whole(folder, builds=3, names={"names.json"})


@pytest.mark.parametrize("place", ["records", "written", "renamed", "half a manifest"])
def test_the_first_build_killed(tmp_path, place):
    add_run(tmp_path, "see", "a", [1, 2, 3])
    kill_at(start(tmp_path, stall=place), tmp_path / "mark")
    with pytest.raises(StoreError, match="contains no reference"):
        opened(tmp_path)
    assert consolidate(tmp_path, incremental=True).changed
    check_whole(tmp_path / "data" / "reference")


def test_killed_at_random_moments(tmp_path):
    killed_at_random(tmp_path, 5)


def killed_at_random(tmp_path: Path, seed: int) -> None:
    named, old, new = prepare(tmp_path)
    folder = tmp_path / "data" / "reference"
    a, b = tmp_path / "a", tmp_path / "b"
    shutil.copytree(runs_root(tmp_path), b)
    shutil.copytree(runs_root(tmp_path), a, ignore=shutil.ignore_patterns("c"))
    rng = random.Random(seed)
    seen = set()
    rounds = 0
    # Chance decides which of the two builds a kill leaves; repeat until both occurred.
    while rounds < 5 or (len(seen) < 2 and rounds < 60):
        rounds += 1
        process = start(tmp_path, roots=[str(a), str(b)], rounds=10_000)
        process.stdout.readline()
        time.sleep(rng.random() * 0.3)
        process.kill()
        process.communicate()
        found = opened(tmp_path)
        assert found.verify() == []
        now = content(found)
        # Folders are reported by their paths.
        state = {key: entry["vector"] for key, entry in now.items()}
        assert state in ({k: e["vector"] for k, e in old.items()}, {k: e["vector"] for k, e in new.items()})
        seen.add(len(state))
        assert content(opened(tmp_path, "first")) == named
    consolidate(tmp_path)
    assert content(opened(tmp_path)) == new
    check_whole(folder, builds=3, names={"names.json"})
    assert len(seen) == 2, "both were met"


# -- every step fails, or is the last --------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is dead: nothing after this reaches the disk."""


class Steps:
    """Counts the steps that change files, and stops at one of them: with an error, or as if killed."""

    def __init__(self, monkeypatch, at: int, error: OSError | None) -> None:
        import faiss
        import pyarrow.parquet as pq

        self.count, self.at, self.error, self.dead = 0, at, error, False
        for module, name in (
            (os, "unlink"), (os, "rmdir"), (os, "rename"), (os, "replace"), (os, "link"), (os, "mkdir"), (os, "fsync"),
            (shutil, "copyfile"), (np, "save"), (faiss, "write_index"), (pq.ParquetWriter, "write_table"),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, self.step(getattr(module, name)))
        real = Path.open
        monkeypatch.setattr(
            Path,
            "open",
            lambda path, mode="r", *a, **k: (
                self.step(real)(path, mode, *a, **k) if "w" in mode or "+" in mode else real(path, mode, *a, **k)
            ),
        )

    def step(self, real):
        def wrapped(*arguments, **keywords):
            if self.dead:
                raise Killed
            self.count += 1
            if self.count == self.at:
                if self.error is not None:
                    raise self.error
                self.dead = True
                raise Killed
            return real(*arguments, **keywords)

        return wrapped


def made_once(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("made")
    return workspace, prepare(workspace)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_once(tmp_path_factory)


@pytest.mark.parametrize(
    ("kind", "incremental"), [("killed", True), ("killed", False), ("disk full", True), ("denied", False)]
)
def test_stopped_at_every_step(made, tmp_path, kind, incremental):
    workspace, (named, old, new) = made
    error = {"killed": None, "disk full": errno.ENOSPC, "denied": errno.EACCES}[kind]
    failed = OSError(error, os.strerror(error), "some file") if error else None

    def attempt(at: int) -> int:
        """Stop at this step, look, finish; return how many steps there were, and count the outcomes."""
        place = tmp_path / f"{at}"
        shutil.copytree(workspace, place)
        folder = place / "data" / "reference"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(atomic.time, "sleep", lambda _: None)
            steps = Steps(patch, at, failed)
            try:
                consolidate(place, incremental=incremental)
                done = True
            except (Killed, OSError, EdnabedError):
                done = False
        found = opened(place)
        faults = found.verify()
        # A link that another program keeps open stays behind; the next command repairs it.
        assert faults == [] or (kind == "denied" and done and all("delete it" in fault for fault in faults))
        now = content(found)
        assert now in (old, new)
        assert not done or now == new
        outcomes.append(now == new)
        assert content(opened(place, "first")) == named
        if kind != "killed" and not done:
            assert not [path for path in folder.rglob(".*") if path.name != ".lock"], "cleaned up"
            assert visible(folder) == WHOLE | {"names.json", "previous.json"}
            assert len(list((folder / "builds").iterdir())) == 3
        result = consolidate(place, incremental=True)
        assert result.changed == (now == old)
        assert content(opened(place)) == new
        check_whole(folder, builds=3, names={"names.json"})
        shutil.rmtree(place)
        return steps.count

    outcomes: list[bool] = []
    total = attempt(10**9)
    assert outcomes == [True]
    assert total > 30
    # Some of the first steps, which write work in progress; all of the last ones, which publish.
    for at in sorted(
        {*range(1, total, 3 if (kind, incremental) == ("killed", True) else 9), *range(total - 26, total + 1)}
    ):
        attempt(at)
    assert outcomes.count(False) > 3
    assert outcomes.count(True) > 3


def test_a_build_that_is_in_use_stays_complete(tmp_path, monkeypatch):
    """Windows does not move a folder in which a file is open; such a folder is not removed piece by piece."""
    add_run(tmp_path, "see", "a", [1, 2])
    folder = consolidate(tmp_path).folder
    held = opened(tmp_path).build
    state = snapshot(held)
    real = Path.rename

    def rename(path, target):
        if path == held:
            raise PermissionError(13, "in use", str(path))
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        for builds in (2, 3, 3):
            assert consolidate(tmp_path).changed
            assert {k: v[2] for k, v in snapshot(held).items()} == {k: v[2] for k, v in state.items()}
            assert len(list((folder / "builds").iterdir())) == builds
    assert not consolidate(tmp_path, incremental=True).changed
    check_whole(folder, builds=2)


def test_metadata_that_are_being_read_are_replaced_a_little_later(tmp_path, monkeypatch):
    """Windows does not replace a file that another process has open."""
    add_run(tmp_path, "see", "a", [1, 2])
    folder = consolidate(tmp_path).folder
    before = opened(tmp_path).manifest.build
    real, tries = Path.replace, []

    def replace(path, target):
        if target == folder / "consolidated_metadata.json" and len(tries) < 3:
            tries.append(path)
            raise PermissionError(13, "in use", str(target))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    consolidate(tmp_path)
    assert len(tries) == 3
    assert opened(tmp_path).manifest.build != before
    check_whole(folder, builds=2)


def test_names_are_complete_or_missing(tmp_path):
    prepare(tmp_path)
    folder = tmp_path / "data" / "reference"
    raw = (folder / "names.json").read_bytes()
    for at in range(1, 30):
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at, None)
            try:
                layout.name_build(folder, "second")
            except Killed:
                # The last steps only tidy up.
                if (folder / "names.json").read_bytes() != raw:
                    assert build_names.read_names(folder).keys() == {"first", "second"}
        if steps.count < at:
            break
    assert build_names.read_names(folder).keys() == {"first", "second"}
    for at in range(1, 60):
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at, None)
            try:
                layout.remove_name(folder, "first")
            except Killed:
                if "first" in build_names.read_names(folder):
                    assert opened(tmp_path, "first").verify() == []
            except StoreError:
                break
        assert opened(tmp_path).verify() == []
    consolidate(tmp_path, incremental=True)
    check_whole(folder, builds=2, names={"names.json"})


@pytest.mark.parametrize("error", [None, errno.ENOSPC])
def test_undo_stopped_at_every_step_loses_nothing(made, tmp_path, error):
    workspace, (named, old, new) = made
    begun = tmp_path / "begun"
    shutil.copytree(workspace, begun)
    consolidate(begun)
    failed = OSError(error, os.strerror(error), "some file") if error else None
    outcomes = []
    for at in range(1, 100):
        place = tmp_path / f"{at}"
        shutil.copytree(begun, place)
        folder = place / "data" / "reference"
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at, failed)
            with suppress(Killed, OSError, EdnabedError):
                layout.undo_build(folder)
        now = content(opened(place))
        assert now in (old, new)
        outcomes.append(now == old)
        assert opened(place).verify() == []
        assert content(opened(place, "first")) == named
        # The other one is a step away, from wherever the kill left it.
        for wanted in (new, old) if now == old else (old, new):
            layout.undo_build(folder)
            assert content(opened(place)) == wanted
        consolidate(place, incremental=True)
        assert content(opened(place)) == new
        check_whole(folder, builds=3, names={"names.json"})
        shutil.rmtree(place)
        if steps.count < at:
            break
    assert outcomes.count(False) > 3
    assert outcomes.count(True) > 3


# -- two at once -----------------------------------------------------------------------------------------------------


def test_a_second_writer_gets_a_message_and_readers_continue(tmp_path):
    named, old, new = prepare(tmp_path)
    folder = tmp_path / "data" / "reference"
    process = start(tmp_path, stall="vectors")
    try:
        while not (tmp_path / "mark").exists():
            assert process.poll() is None, process.communicate()[1].decode()
            time.sleep(0.005)
        for call in (
            lambda: consolidate(tmp_path),
            lambda: consolidate(tmp_path, incremental=True),
            lambda: layout.name_build(folder, "x"),
            lambda: layout.remove_name(folder, "first"),
        ):
            with pytest.raises(
                StoreError,
                match=r"another process is writing this reference \('ednabed consolidate', .*\); wait",
            ):
                call()
        assert content(opened(tmp_path)) == old
        assert content(opened(tmp_path, "first")) == named
    finally:
        process.kill()
        process.communicate()
    consolidate(tmp_path)
    assert content(opened(tmp_path)) == new


def test_many_writers_at_once(tmp_path):
    """For a reference that does not exist yet, one builds it and the others get a message."""
    add_run(tmp_path, "see", "a", [1, 2, 3])
    ended = [(p.communicate(), p.returncode) for p in [start(tmp_path, rounds=5) for _ in range(3)]]
    assert any(code == 0 for _, code in ended)
    for (_, error), code in ended:
        if code:
            assert b"another process is writing this reference" in error, error.decode()
    check_whole(tmp_path / "data" / "reference", builds=2)


def test_a_failing_writer_does_not_take_the_lock_from_under_another(tmp_path):
    """It removes the folder that it created, but not while another one is working there."""
    with pytest.raises(StoreError, match="contains no run"):
        consolidate_in_empty(tmp_path)
    assert not (tmp_path / "data").exists()
    folder = tmp_path / "data" / "reference"
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with layout.writing(folder):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert entered.wait(30)
        with pytest.raises(StoreError, match="another process"):
            consolidate_in_empty(tmp_path)
        assert (folder / ".lock").exists()
    finally:
        leave.set()
        thread.join()


def consolidate_in_empty(workspace: Path):
    runs_root(workspace).mkdir(parents=True, exist_ok=True)
    return consolidate(workspace)


def test_readers_see_one_build_or_the_other(tmp_path):
    """Opened, left for a while, then searched and read completely, while another process replaces builds."""
    a, b = tmp_path / "a", tmp_path / "b"
    add_run(a, "see", "one", range(40))
    add_run(a, "see", "two", range(20, 50), created="2024-01-02T00:00:00+00:00")
    # The same sequences, in other positions and runs.
    add_run(b, "lake", "three", list(range(60))[::-1], created="2024-01-02T00:00:00+00:00")
    add_run(b, "lake", "four", [7, 7, 3])
    roots = [str(runs_root(a)), str(runs_root(b))]
    contents = []
    for root in roots:
        consolidate(tmp_path, runs=Path(root), drop_missing=True)
        contents.append(content(opened(tmp_path)))
    queries = np.stack([vector_of(n) for n in (0, 5, 49)])
    process = start(tmp_path, roots=roots, rounds=100_000)
    met, builds, rng = set(), set(), random.Random(1)
    try:
        process.stdout.readline()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            reference = opened(tmp_path)
            time.sleep(rng.choice([0, 0, 0.02, 0.1]))
            now = content(reference)
            assert now in contents
            number = contents.index(now)
            assert [q for q, *_ in hits(reference, queries, 5)] == [0] * 5 + [1] * 5 + [2] * 5
            assert reference.index_fault is None
            met.add(number)
            builds.add(reference.manifest.build)
        assert process.poll() is None, process.communicate()[1].decode()
    finally:
        process.kill()
        process.communicate()
    assert met == {0, 1}
    assert len(builds) > 10


def test_a_reader_of_many_runs_gets_a_message_that_its_build_is_gone(tmp_path, monkeypatch):
    """Not all files can be opened beforehand; the others give a message with the next step."""
    from ednabed.reference import opened as module

    monkeypatch.setattr(module, "_OPEN_PARTS", 1)
    for name in "ab":
        add_run(tmp_path, "see", name, [1, 2])
    consolidate(tmp_path)
    reference = opened(tmp_path)
    for _ in range(2):
        consolidate(tmp_path)
    with pytest.raises(StoreError, match=r"there is a newer build; run the same command again"):
        reference.take_records(np.array([0]), ["id"])
    assert len(hits(reference, vector_of(1)[None], 2)) == 2


def test_a_build_that_is_removed_while_it_is_opened_is_opened_again(tmp_path, monkeypatch):
    add_run(tmp_path, "see", "a", [1, 2])
    consolidate(tmp_path)
    real, times = Reference.__init__, []

    def racing(self, folder, manifest):
        times.append(manifest.build)
        if len(times) < 8:
            # The previous build stays, the one before it is removed.
            consolidate(tmp_path)
            consolidate(tmp_path)
        real(self, folder, manifest)

    monkeypatch.setattr(Reference, "__init__", racing)
    assert opened(tmp_path).rows == 2
    assert len(set(times)) == 8
    shutil.rmtree(tmp_path / "data" / "reference" / "builds")
    with pytest.raises(StoreError, match=r"is missing; rebuild the reference with 'ednabed consolidate --rebuild'"):
        opened(tmp_path)


@pytest.mark.slow
def test_readers_and_kills_for_long(tmp_path):
    for seed in range(10):
        killed_at_random(tmp_path / str(seed), seed)
