"""Compressing, killed at any instant and run again: the run opens and verifies all the time, and nothing is left over.

Each state in which the folder is meanwhile (``kill_support.snapshots``) is what a kill there would have left. A few
real kills confirm it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ednabed.base import atomic, files
from ednabed.errors import StoreError
from ednabed.store import compress, compressed_forms
from ednabed.store.compress import LOCK, compress_run
from ednabed.store.compress_plan import survey_run
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run
from kill_support import snapshots
from support import letters

NPY, NPZ, F16 = "embeddings.npy", "embeddings.npz", "embeddings.f16.npy"
WATCHED = {
    compress.__file__,
    compressed_forms.__file__,
    files.__file__,
    atomic.__file__,
    shutil.__file__,
    zipfile.__file__,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run of 40 records, never changed by a test."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(3)
    text = "".join(f">r{i}\n{''.join(rng.choice(list('ACGT'), 40))}\n" for i in range(40))
    (folder / "in.fa").write_text(text)
    return embed_to_run(RunRequest([folder / "in.fa"], folder, output=folder / "run"), letters()).run.folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def vectors_of(folder: Path) -> np.ndarray:
    return np.array(Run.open(folder).load_embeddings())


def age(folder: Path) -> None:
    """Make the leftovers of a killed write old, as if somebody returned to them later."""
    for path in folder.glob(".run.json.*.tmp"):
        os.utime(path, (0, 0))


STARTS = {
    "npy": [],
    "npy+npz": [(False, False)],
    "npz": [(False, True)],
    "npy+f16": [(True, False)],
}


CASES = [
    (start, half, delete, legacy)
    for start, half, delete, legacy in itertools.product(STARTS, [False, True], [False, True], [False, True])
    # Float16 is refused for folders of older tools.
    if not (legacy and (half or "f16" in start))
]


@pytest.mark.parametrize(("start", "half", "delete", "legacy"), CASES)
def test_killed_at_every_instant(made, tmp_path, monkeypatch, start, half, delete, legacy):
    monkeypatch.setattr(compressed_forms, "_BLOCK_BYTES", 4 * 10 * 15)
    folder = shutil.copytree(made, tmp_path / "run")
    if legacy:
        (folder / "run.json").unlink()
    for options in STARTS[start]:
        compress_run(Run.open(folder), half=options[0], delete_original=options[1])
    exact = np.load(made / NPY)
    rounded = exact.astype(np.float16).astype(np.float32)
    identity = Run.open(folder).identity

    def sound(place: Path) -> None:
        run = Run.open(place)
        assert legacy or run.verify() == []
        assert legacy or run.is_complete()
        assert run.identity == identity
        assert np.array_equal(vectors_of(place), rounded if run.vectors().path.name == F16 else exact)

    states = snapshots(
        folder, lambda: compress_run(Run.open(folder), half=half, delete_original=delete), tmp_path / "states", WATCHED
    )
    wanted = contents(folder)
    sound(folder)
    for state in states:
        assert {NPY, NPZ} & names(state) or (F16 in names(state) and half and delete)
        survey_run(state, half=half, delete_original=delete)
        again = shutil.copytree(state, tmp_path / "again")
        age(again)
        # The lock and the work folder are not part of the run, and a reader ignores them.
        sound(again)
        compress_run(Run.open(again), half=half, delete_original=delete)
        sound(again)
        assert contents(again) == wanted
        assert compress_run(Run.open(again), half=half, delete_original=delete).state == "already"
        shutil.rmtree(again)
    if (start, half, delete) == ("npy", False, True):
        # Lock, work folder, new form in it (empty, partial, complete), renamed, listed, no longer listed, deleted.
        assert len(states) >= 10
        listings = {(state / "run.json").read_bytes() for state in states if not legacy}
        assert legacy or len(listings) == 3


@pytest.mark.parametrize("half", [False, True])
def test_killed_and_then_asked_for_the_other_form(made, tmp_path, half):
    """Any request after a kill gives an error or the form, and a sound run in either case."""
    folder = shutil.copytree(made, tmp_path / "run")
    exact, identity = np.load(made / NPY), Run.open(made).identity
    first = snapshots(
        folder, lambda: compress_run(Run.open(folder), half=half, delete_original=True), tmp_path / "a", WATCHED
    )
    for number, state in enumerate(first):
        for other_half, delete in ((not half, False), (not half, True), (half, False)):
            again = shutil.copytree(state, tmp_path / "b" / f"{number}-{other_half}-{delete}")
            exact_is_there = bool({NPY, NPZ} & set(contents(again)))
            try:
                compress_run(Run.open(again), half=other_half, delete_original=delete)
            except StoreError as error:
                assert "only in float16" in str(error)
                assert not exact_is_there
                assert not other_half
            run = Run.open(again)
            assert run.verify() == []
            assert run.identity == identity
            np.testing.assert_allclose(run.load_embeddings(), exact, rtol=1e-3, atol=1e-6)
            assert ".compress" not in names(again)
            if exact_is_there and not (delete and other_half):
                assert {NPY, NPZ} & names(again)


STALL = """
import sys, time
from pathlib import Path
from ednabed.store import compress, compressed_forms
from ednabed.store.runs import Run

folder, mark, place, half = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "half"

def stall(*_):
    mark.write_text("here")
    time.sleep(600)

if place == "written":
    compress.compare_forms = stall
elif place == "renamed":
    compress._update_manifest = stall
elif place == "listed":
    compress._delete = stall
compress.compress_run(Run.open(folder), half=half, delete_original=True)
"""


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("place", ["written", "renamed", "listed"])
def test_a_process_that_is_killed(made, tmp_path, half, place):
    folder = shutil.copytree(made, tmp_path / "run")
    exact, mark = np.load(made / NPY), tmp_path / "mark"
    command = [sys.executable, "-c", STALL, str(folder), str(mark), place, "half" if half else "exact"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not mark.exists():
            assert process.poll() is None, process.communicate()[1].decode()
            time.sleep(0.005)
        for other in (half, not half):
            with pytest.raises(
                StoreError,
                match=r"another process is compressing this run \(.*compress.*\); wait until it has finished",
            ):
                compress_run(Run.open(folder), half=other, delete_original=True)
        assert Run.open(folder).verify() == []
    finally:
        process.kill()
        process.communicate()
    form = F16 if half else NPZ
    left = names(folder)
    assert LOCK in left
    assert NPY in left, "nothing was deleted yet"
    assert (form in left) == (place != "written")
    assert Run.open(folder).verify() == []
    outcome = compress_run(Run.open(folder), half=half, delete_original=True)
    assert outcome.deleted == (NPY,)
    assert names(folder) == {form, "records.parquet", "rejected.tsv", "run.json"}
    run = Run.open(folder)
    assert run.verify() == []
    np.testing.assert_array_equal(run.load_embeddings(), exact.astype(np.float16) if half else exact)


def test_many_processes_at_once(made, tmp_path):
    """One process compresses; the others get an error, or come later and find it done."""
    folder = shutil.copytree(made, tmp_path / "run")
    command = [sys.executable, "-c", STALL, str(folder), str(tmp_path / "mark"), "nowhere", "exact"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    ended = [(process.communicate()[1].decode(), process.returncode) for process in started]
    assert any(code == 0 for _, code in ended)
    for error, code in ended:
        assert code == 0 or "another process is compressing this run" in error
    assert names(folder) - {LOCK} == {NPZ, "records.parquet", "rejected.tsv", "run.json"}
    assert Run.open(folder).verify() == []
