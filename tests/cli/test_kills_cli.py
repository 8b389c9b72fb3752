"""Commands that write files, killed and run again: files are complete or missing, results equal, nothing is left over.

Every state of the files during writing is checked; the slow tests kill real processes at random moments.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cli_support import call_in
from ednabed.base import atomic, files, locks
from ednabed.cli.main import main
from ednabed.errors import UsageError
from ednabed.reference.opened import open_reference
from ednabed.store import assignments
from ednabed.store.assignments import COLUMNS, ClassifiedBy, folder_of, list_kept
from ednabed.store.runs import find_run
from ednabed.tables.index import find_index
from ednabed.tables.provenance import spec_of
from ednabed.tables.table import Database
from ednabed.taxonomy.calibration import Calibration
from ednabed.training import train as training
from ednabed.training.train import train_model
from ednabed.workflows.identify import calibrate_reference
from ednabed.workflows.maps import map_reference, map_runs, read_map, read_runs_map
from kill_support import command, killed_at_random, snapshots
from reference_support import add_run, consolidate, opened
from taxonomy_support import DRAWS, shared_world, world, world_workspace, write_table
from train_driver import request_of

KILLS = 5
WRITING = {atomic.__file__, files.__file__, locks.__file__}
"""The modules that write and replace files."""


def age(folder: Path) -> None:
    """Make the leftovers of killed commands old, as they are when somebody returns later."""
    for path in folder.rglob(".*.tmp"):
        os.utime(path, (0, 0))


def leftovers(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob(".*") if p.name not in (".lock",))


def no_rest(folder: Path, again: Callable[[], object]) -> None:
    """Run it once more, later; then nothing of killed commands is left."""
    age(folder)
    again()
    assert [name for name in leftovers(folder) if name.endswith(".tmp")] == []


# -- each state ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path) -> Path:
    workspace = tmp_path / "ws"
    add_run(workspace, "lake", "a", range(30))
    consolidate(workspace)
    return workspace


def test_the_map_of_a_reference_in_each_state(mapped, tmp_path):
    map_reference(mapped, max_landmarks=20, threads=1)
    old = read_map(opened(mapped)).coordinates.tobytes()

    def lay_out(workspace: Path = mapped) -> None:
        map_reference(workspace, seed=1, refit=True, threads=1)

    states = snapshots(mapped, lay_out, tmp_path / "states", WRITING)
    new = read_map(opened(mapped)).coordinates.tobytes()
    found = []
    for state in states:
        found.append(read_map(opened(state)).coordinates.tobytes())
        assert opened(state).verify() == []
        no_rest(state, lambda state=state: lay_out(state))
        assert read_map(opened(state)).coordinates.tobytes() == new
    assert found == sorted(found, key=[old, new].index)
    assert set(found) == {old, new}
    assert len(states) >= 3


def test_the_map_of_runs_in_each_state(mapped, tmp_path):
    def lay_out(workspace: Path = mapped) -> None:
        map_runs(workspace, ["lake/a"], refit=True, threads=1)

    states = snapshots(mapped, lay_out, tmp_path / "states", WRITING)
    new = read_runs_map(mapped, ["lake/a"]).coordinates.tobytes()
    seen = set()
    for state in states:
        found = read_runs_map(state, ["lake/a"])
        seen.add(found is None)
        assert found is None or found.coordinates.tobytes() == new
        no_rest(state, lambda state=state: lay_out(state))
        assert read_runs_map(state, ["lake/a"]).coordinates.tobytes() == new
    assert seen == {True, False}


def calibrated(build: Path) -> dict | None:
    """Return the calibration of a build without its time; None if there is none."""
    if Calibration.read(build, build.name) is None:
        return None
    found = json.loads((build / "calibration.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("created", "calibration_sha256")}


def test_a_calibration_in_each_state(tmp_path):
    workspace = Path(shutil.copytree(world_workspace(tmp_path / "world"), tmp_path / "ws"))
    reference = open_reference(workspace / "data" / "reference")
    build = reference.manifest.build
    wanted = Calibration.read(reference.build, build)
    content = calibrated(reference.build)
    (reference.build / "calibration.json").unlink()
    states = snapshots(reference.folder, lambda: wanted.write(reference.build), tmp_path / "states", WRITING)
    seen = set()
    for state in states:
        there = open_reference(state)
        assert there.verify() == []
        found = calibrated(there.build)
        seen.add(found is None)
        assert found in (None, content)
        no_rest(state, lambda there=there: wanted.write(there.build))
    assert seen == {True, False}


def test_assignments_in_each_state(mapped, tmp_path):
    run = find_run(mapped, "lake/a")
    digests = run.load_records(["digest"]).column("digest").unique()
    table = pa.table(
        {one.name: digests if one.name == "digest" else pa.nulls(len(digests), one.type) for one in COLUMNS}
    ).set_column(1, "status", pa.array(["assigned"] * len(digests)))

    def keep(at=run, note: str = "new") -> None:
        notes = pa.array([note] * len(digests), pa.string())
        assignments.keep(
            at, table.set_column(table.column_names.index("note"), "note", notes),
            ClassifiedBy("b", "data/r", "hand", "f", calibrated=None, criteria={"alpha": 0.05}),
        )  # fmt: skip

    keep(note="old")
    states = snapshots(run.folder.parent, keep, tmp_path / "states", {assignments.__file__, *WRITING})
    seen = []
    for state in states:
        there = type(run).open(state / "a")
        newest = list_kept(there.folder, there.identity)[0].read(["note"]).column("note").unique().to_pylist()
        seen.append(*newest)
        keep(there)
        assert len(list_kept(there.folder, there.identity)) == 1
        assert [p.name for p in folder_of(there.folder).iterdir() if p.name.startswith(".") and p.name != ".lock"] == []
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"old", "new"}


@pytest.fixture(scope="module")
def barcodes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("barcodes")
    return write_table(folder / "barcodes.tsv", world(genera=24, species=3, records=3, length=240, marker="COI"))


def test_a_trained_model_in_each_state_of_its_writing(barcodes, tmp_path):
    """After the last step, the folder is complete or missing, and leftovers next to it are removed."""
    home = tmp_path / "models"
    home.mkdir()

    def train(folder: Path = home) -> None:
        train_model(request_of(str(barcodes), str(folder / "small"), "5"), show_progress=False)

    states = snapshots(home, train, tmp_path / "states", {training.__file__, shutil.__file__})
    wanted = {p.name: p.read_bytes() for p in (home / "small").iterdir() if p.name != "training.json"}
    assert leftovers(home) == []
    seen = set()
    for state in states:
        whole = (state / "small").exists()
        seen.add(whole)
        try:
            train(state)
        except UsageError:
            # The training had ended in this state, and left nothing behind.
            assert whole
            assert [p.name for p in state.iterdir()] == ["small"]
        assert {p.name: p.read_bytes() for p in (state / "small").iterdir() if p.name != "training.json"} == wanted
        assert leftovers(state) == []
    assert seen == {True, False}


# -- random moments --------------------------------------------------------------------------------------------------


def read_json(capsys, workspace: Path, *words: str) -> dict:
    code, out, err = call_in(capsys, workspace, *words)
    assert not code, err
    return json.loads(out)


@pytest.mark.slow
def test_reference_calibrate_killed_at_random(tmp_path):
    workspace = Path(shutil.copytree(world_workspace(tmp_path / "world"), tmp_path / "ws"))
    reference = open_reference(workspace / "data" / "reference")
    path = reference.build / "calibration.json"
    calibrate_reference(workspace, queries=DRAWS, threads=1)
    wanted = Calibration.read(reference.build, reference.manifest.build)
    content = calibrated(reference.build)

    def check() -> None:
        assert calibrated(reference.build) in (None, content)
        assert open_reference(reference.folder).verify() == []

    words = command(workspace, "reference", "calibrate", "--queries", str(DRAWS), "--threads", "1")
    assert killed_at_random(words, KILLS, 1, check, lambda: path.unlink(missing_ok=True))
    no_rest(workspace, lambda: wanted.write(reference.build))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["reference", "runs"])
def test_maps_killed_at_random(tmp_path, what):
    workspace = tmp_path / "ws"
    add_run(workspace, "lake", "a", range(600))
    consolidate(workspace)
    if what == "reference":
        words, read = (
            command(workspace, "reference", "map", "--refit", "--threads", "1"),
            lambda: read_map(opened(workspace)),
        )
        lay_out = lambda: map_reference(workspace, refit=True, threads=1)  # noqa: E731
    else:
        words, read = (
            command(workspace, "runs", "map", "lake/a", "--refit"),
            lambda: read_runs_map(workspace, ["lake/a"]),
        )
        lay_out = lambda: map_runs(workspace, ["lake/a"], refit=True, threads=1)  # noqa: E731
    lay_out()
    wanted = read().coordinates

    def check() -> None:
        np.testing.assert_array_equal(read().coordinates, wanted)

    assert killed_at_random(words, KILLS, 2, check)
    no_rest(workspace, lay_out)


@pytest.mark.slow
def test_train_killed_at_random(barcodes, tmp_path):
    arguments = (
        "train", str(barcodes), "--output", "small", "--pattern", "11111", "--dimension", "16", "--steps", "40",
        "--batch", "32", "--validation", "5", "--shortest", "50", "--cpu", "--threads", "1", "--seed", "7",
    )  # fmt: skip
    workspace = tmp_path / "ws"
    workspace.mkdir()
    folder = workspace / "small"
    weights: list[bytes] = []

    def check() -> None:
        if folder.exists():
            assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "training.json"}
            weights.append((folder / "model.safetensors").read_bytes())

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    words = command(workspace, *arguments)
    assert killed_at_random(words, KILLS, 3, check, fresh, codes=(0, 2))
    assert len(set(weights)) == 1
    age(workspace)
    with pytest.raises(SystemExit):
        main(["--workspace", str(workspace), *arguments])
    assert leftovers(workspace) == []


@pytest.mark.slow
def test_table_index_killed_at_random(tmp_path, capsys):
    rng = np.random.default_rng(1)
    source = tmp_path / "in.fa"
    source.write_text("".join(f">r{i}\n{''.join(rng.choice(list('ACGT'), 60))}\n" for i in range(3000)))
    workspace = tmp_path / "ws"
    for words in (("table", "import", str(source)), ("table", "embed", "--model", "kmer6")):
        read_json(capsys, workspace, *words, "--json")
    database = Database(str(workspace / "data" / "lancedb"))
    spec = spec_of(database.open())
    rows = database.open().lance.to_arrow().sort_by("sequence_id")

    def check() -> None:
        table = database.open()
        info, why = find_index(table, spec)
        # An existing index has been measured; otherwise search is exact, without a notice.
        assert info is not None or why is None
        assert table.lance.to_arrow().sort_by("sequence_id").equals(rows)

    assert killed_at_random(command(workspace, "table", "index", "--force", "--threads", "1"), KILLS, 4, check)
    info, _ = find_index(database.open(), spec)
    assert info is not None
    assert info.reached


@pytest.mark.slow
def test_classify_run_killed_at_random(tmp_path, capsys):
    workspace = Path(shutil.copytree(world_workspace(tmp_path / "world"), tmp_path / "ws"))
    for number in (0, 1):
        write_table(tmp_path / f"study{number}.tsv", shared_world()[number::7])
        read_json(
            capsys, workspace, "embed", str(tmp_path / f"study{number}.tsv"), "--dataset", f"study{number}",
            "--model", "kmer6", "--json",
        )  # fmt: skip
    runs = [find_run(workspace, f"study{number}") for number in (0, 1)]
    words = command(workspace, "classify", "--run", "study0", "--run", "study1", "--threads", "1")
    tables: list[list[pa.Table]] = [[], []]

    def check() -> None:
        for run, found in zip(runs, tables, strict=True):
            assert run.verify() == []
            kept = list_kept(run.folder, run.identity)
            assert len(kept) <= 1
            found += [one.read() for one in kept]

    def fresh() -> None:
        for run in runs:
            shutil.rmtree(folder_of(run.folder), ignore_errors=True)

    assert killed_at_random(words, KILLS, 5, check, fresh)
    for found in tables:
        assert found
        assert all(one.equals(found[0]) for one in found)


def test_a_model_that_is_being_trained_is_not_cleared(barcodes, tmp_path):
    request = request_of(str(barcodes), str(tmp_path / "small"), "2")
    report = train_model(request, show_progress=False)
    # The model is complete, so its report is returned; the process that holds the work folder removes it.
    with locks.exclusive(tmp_path / ".small.training" / "lock", "training this model"):
        assert train_model(request, show_progress=False) == report
        assert (tmp_path / ".small.training").is_dir()
    assert train_model(request, show_progress=False) == report
    assert leftovers(tmp_path) == []
    # Other settings give another model, and the name is in use.
    with pytest.raises(UsageError, match="exists; give a new folder"):
        train_model(request_of(str(barcodes), str(tmp_path / "small"), "3"), show_progress=False)
