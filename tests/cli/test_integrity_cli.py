"""Every flipped byte in stored files is found, a reference loses nothing by accident, and 'undo' restores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli_support import call
from ednabed.errors import StoreError
from ednabed.reference import build, build_names, layout
from ednabed.store.compress import compress_run
from ednabed.store.runs import Run, runs_root
from reference_support import add_run, consolidate, content, opened, snapshot


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """Two runs, and a reference of them whose build is called 'kept'."""
    add_run(tmp_path, "lake", "a", [1, 2, 3, 4])
    add_run(tmp_path, "sea", "b", [4, 5], created="2024-01-02T00:00:00+00:00")
    consolidate(tmp_path)
    layout.name_build(tmp_path / "data" / "reference", "kept")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDNABED_WORKSPACE", raising=False)
    return tmp_path


FOLDER = Path("data", "reference")


def flip(path: Path, at: int, bit: int = 0) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :])


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_in_the_names_is_found_and_nothing_is_removed(workspace, capsys):
    path = workspace / FOLDER / "names.json"
    named = opened(workspace, "kept").manifest.build
    flip(path, path.read_bytes().index(named.encode()) + len(named) - 1)
    code, out, err = call(capsys, "reference", "verify")
    assert code == 1
    assert "names.json is damaged" in out
    assert "Traceback" not in err
    before = snapshot(workspace / FOLDER)
    for arguments in ((), ("--incremental",), ("--drop-missing",)):
        code, _, err = call(capsys, "consolidate", *arguments, "--no-calibrate")
        assert (code, err.count("\n")) == (1, 1)
        assert "names.json is damaged" in err
    assert snapshot(workspace / FOLDER) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("name", ["names.json", "previous.json"])
def test_every_flipped_byte_shows(workspace, name, data):
    folder = workspace / FOLDER
    if not (folder / build_names.PREVIOUS).exists():
        consolidate(workspace)
    path = folder / name
    raw = path.read_bytes()
    try:
        flip(path, data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7)))
        with pytest.raises(StoreError, match=rf"{name} (is damaged|has schema)"):
            build_names.read_names(folder) if name == "names.json" else build_names.read_previous(folder)
    finally:
        path.write_bytes(raw)


def test_names_of_the_first_form_are_read_and_sealed_at_the_next_write(workspace, capsys):
    path = workspace / FOLDER / "names.json"
    named = opened(workspace, "kept").manifest.build
    path.write_text(json.dumps({"schema": "ednabed.names/1", "names": {"old": named}}), encoding="utf-8")
    assert call(capsys, "reference", "verify")[0] == 0
    assert opened(workspace, "old").manifest.build == named
    assert call(capsys, "reference", "tag", "new")[0] == 0
    body = json.loads(path.read_text(encoding="utf-8"))
    assert (body["schema"], body["names"]) == ("ednabed.names/2", {"new": named, "old": named})
    assert "names_sha256" in body


def test_nothing_is_removed_while_a_named_build_is_missing(workspace, capsys):
    """As a flipped byte in names of the first form makes it, which have no checksum."""
    path = workspace / FOLDER / "names.json"
    named = opened(workspace, "kept").manifest.build
    wrong = named[:-1] + ("0" if named[-1] != "0" else "1")
    path.write_text(json.dumps({"schema": "ednabed.names/1", "names": {"kept": wrong}}), encoding="utf-8")
    code, out, _ = call(capsys, "reference", "verify")
    assert code == 1
    assert f"names.json gives the name 'kept' to build {wrong}, which is not in" in out
    for _ in range(3):
        code, _, err = call(capsys, "consolidate", "--no-calibrate")
        assert code == 0
        assert f"the name 'kept' to build {wrong}, which is not in" in err
        assert "no build was removed" in err
    assert len(list((workspace / FOLDER / "builds").iterdir())) == 4
    path.write_text(json.dumps({"schema": "ednabed.names/1", "names": {"kept": named}}), encoding="utf-8")
    assert call(capsys, "reference", "verify", "--reference", "kept")[0] == 0
    assert call(capsys, "consolidate", "--incremental", "--no-calibrate")[0] == 0
    assert len(list((workspace / FOLDER / "builds").iterdir())) == 3
    # The name of a missing build can be removed, which removes no other build.
    path.write_text(json.dumps({"schema": "ednabed.names/1", "names": {"kept": wrong}}), encoding="utf-8")
    assert call(capsys, "reference", "remove", "kept")[0] == 0
    assert len(list((workspace / FOLDER / "builds").iterdir())) == 3


@pytest.mark.parametrize("what", ["map.parquet", "calibration.json", "previous.json", "named", "before"])
def test_verify_reads_everything_that_a_reference_stores(workspace, capsys, what):
    folder = workspace / FOLDER
    named = opened(workspace, "kept").build
    consolidate(workspace)
    before = opened(workspace).build
    consolidate(workspace)
    path = {
        "map.parquet": folder / "map.parquet",
        "calibration.json": opened(workspace).build / "calibration.json",
        "previous.json": folder / "previous.json",
        "named": named / "consolidated_rows.npy",
        "before": before / "records-00000.parquet",
    }[what]
    assert call(capsys, "reference", "verify")[0] == 0
    if path.exists():
        flip(path, 100)
    else:
        path.write_bytes(b"PAR1{")
    code, out, err = call(capsys, "reference", "verify", "--json")
    assert code == 1
    (fault,) = json.loads(out)["faults"]
    assert str(path.relative_to(workspace)) in fault
    assert "Traceback" not in err


def test_runs_verify_reads_what_is_kept_next_to_runs(workspace, capsys):
    from ednabed.dashboard.job import SEAL, now
    from ednabed.store.checkpoint import CHECKPOINT, checkpoint_folder, write_checkpoint

    checkpoint = checkpoint_folder(workspace) / CHECKPOINT
    assert call(capsys, "runs", "map", "lake")[0] == 0
    (the_map,) = (workspace / "data" / "maps").glob("*.parquet")
    write_checkpoint(workspace, last_id="a", total=1, model="kmer6")
    assert json.loads(checkpoint.read_text())["last_embedded_id"] == "a"
    job = workspace / "data" / "jobs" / "20260101-000000-000000-abcdef" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text(SEAL.text({"title": "t", "arguments": [], "about": {}, "created": now()}))
    code, out, err = call(capsys, "runs", "verify")
    assert (code, err) == (0, "")
    assert out.count(": sound") == 4
    for path in (the_map, checkpoint, job):
        raw = path.read_bytes()
        flip(path, len(raw) // 2)
        code, out, err = call(capsys, "runs", "verify")
        assert code == 1
        assert str(path.relative_to(workspace)) in out
        assert out.count(": sound") == 4 - (path != job)
        assert "1 of the files kept next to the runs have faults" in err
        code, out, _ = call(capsys, "runs", "verify", "--json")
        assert [row["file"] for row in json.loads(out) if row["faults"]]
        path.write_bytes(raw)
    checkpoint.write_text('{"timestamp": "t", "last_embedded_id": "a", "total_processed": 1, "model": "kmer6"}')
    assert call(capsys, "runs", "verify")[0] == 0


def test_versions_verify(workspace, capsys):
    path = Path("data", "versions.json")
    assert call(capsys, "versions", "verify")[:2] == (0, f"{path}: does not exist, no version is registered\n")
    call(capsys, "versions", "register", "--version", "v1.0", "--model", "kmer6", "--description", "Baseline")
    assert call(capsys, "versions", "verify")[:2] == (0, f"{path}: sound, 1 versions, 0 tags\n")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"Baseline", b"Baselime"))
    code, out, err = call(capsys, "versions", "verify")
    assert (code, out) == (1, "")
    assert "versions.json is damaged (its checksum does not match its content)" in err


def test_the_checkpoint_of_an_interrupted_embedding_is_sealed(tmp_path):
    from ednabed.store import attempts

    tries = [{"device": "cpu", "precision": "fp32", "first_row": 0}]
    path = tmp_path / "tries.json"
    path.write_text(json.dumps(tries))
    assert attempts.read_attempts(path) == tries
    path.write_text(attempts.TRIES.text({"tries": tries}), newline="\n")
    assert attempts.read_attempts(path) == tries
    flip(path, path.read_bytes().index(b"cpu"))
    with pytest.raises(StoreError, match=r"tries\.json is damaged .* start over with `resume=False`"):
        attempts.read_attempts(path)


# -- runs that would be lost -----------------------------------------------------------------------------------------


def test_a_rebuild_that_would_lose_a_run_is_refused(workspace, capsys):
    run = runs_root(workspace) / "lake"
    run.rename(workspace / "moved")
    before = snapshot(workspace / FOLDER)
    code, out, err = call(capsys, "consolidate", "--no-calibrate")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "contains 1 run that a build from scratch would lose: lake/a (not among the runs)" in err
    assert "--drop-missing" in err
    assert snapshot(workspace / FOLDER) == before
    whole = content(opened(workspace))
    # An incremental build loses nothing.
    code, _, err = call(capsys, "consolidate", "--incremental", "--no-calibrate")
    assert code == 0
    assert "vanished: run lake/a" in err
    code, out, err = call(capsys, "consolidate", "--drop-missing", "--no-calibrate", "--json")
    assert code == 0
    assert json.loads(out)["dropped"] == ["lake/a"]
    assert "dropped: run lake/a is not in the new build; 'ednabed reference undo' restores the previous build" in err
    assert opened(workspace).rows == 2
    # And back, and forth, and back.
    for rows in (5, 2, 5):
        code, out, err = call(capsys, "reference", "undo")
        assert (code, err) == (0, "")
        assert f"is current again, with {rows} sequences" in out
        assert opened(workspace).rows == rows
        assert call(capsys, "reference", "verify")[0] == 0
    assert content(opened(workspace)) == whole
    (workspace / "moved").rename(run)
    assert call(capsys, "consolidate", "--no-calibrate")[0] == 0
    assert call(capsys, "consolidate", "--incremental", "--drop-missing")[0] == 2


def test_a_damaged_run_is_not_lost_either(workspace, capsys):
    flip(runs_root(workspace) / "lake" / "a" / "records.parquet", 50)
    before = snapshot(workspace / FOLDER)
    code, _, err = call(capsys, "consolidate", "--no-calibrate")
    assert code == 1
    assert "would lose: lake/a (" in err
    assert "records.parquet does not match its checksum" in err
    assert snapshot(workspace / FOLDER) == before


def test_a_damaged_manifest_of_the_reference_loses_no_run(workspace, capsys):
    flip(workspace / FOLDER / "consolidated_metadata.json", 300)
    (runs_root(workspace) / "lake").rename(workspace / "moved")
    code, _, err = call(capsys, "consolidate", "--no-calibrate")
    assert code == 1
    assert "would lose: lake/a" in err
    assert call(capsys, "consolidate", "--drop-missing", "--no-calibrate")[0] == 0
    assert call(capsys, "reference", "undo")[0] == 0
    assert opened(workspace).rows == 5


def test_the_previous_build_is_kept_until_the_next(workspace, capsys):
    first = opened(workspace).manifest.build
    layout.remove_name(workspace / FOLDER, "kept")
    code, _, err = call(capsys, "reference", "undo")
    assert code == 1
    assert f"keeps no build before {first}, so nothing was undone" in err
    builds = [first]
    for _ in range(3):
        consolidate(workspace)
        builds.append(opened(workspace).manifest.build)
        assert {p.name for p in (workspace / FOLDER / "builds").iterdir()} == set(builds[-2:])
    told = json.loads(call(capsys, "reference", "show", "--json")[1])
    assert told["previous"] == builds[-2]
    assert f"previous     build {builds[-2]}" in call(capsys, "reference", "show")[1]
    # After undo, a new build follows the restored one.
    call(capsys, "reference", "undo")
    consolidate(workspace)
    assert {p.name for p in (workspace / FOLDER / "builds").iterdir()} == {builds[-2], opened(workspace).manifest.build}


def test_a_damaged_previous_build_is_not_restored(workspace, capsys):
    before = opened(workspace).build
    consolidate(workspace)
    now = opened(workspace).manifest.build
    (before / "consolidated_rows.npy").write_bytes(b"short")
    code, _, err = call(capsys, "reference", "undo")
    assert code == 1
    assert "consolidated_rows.npy does not have the size" in err
    assert opened(workspace).manifest.build == now


def test_undo_needs_a_reference(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "reference", "undo")
    assert code == 1
    assert "contains no reference" in err
    assert list(tmp_path.iterdir()) == []


# -- compress at the same time as other commands ---------------------------------------------------------------------


def compressed_before(monkeypatch, module, name: str, folder: Path) -> None:
    """Compress a run, and delete its original, just before a function is called for the first time."""
    real = getattr(module, name)

    def wrapped(*arguments, **keywords):
        monkeypatch.setattr(module, name, real)
        compress_run(Run.open(folder), delete_original=True)
        return real(*arguments, **keywords)

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize("place", ["_missing", "_examine", "write_build"])
def test_a_run_that_is_compressed_while_others_read_it_is_added(tmp_path, capsys, monkeypatch, place):
    folder = add_run(tmp_path, "lake", "a", [1, 2, 3]).folder
    compressed_before(monkeypatch, build, place, folder)
    code, _, err = call(capsys, "--workspace", tmp_path, "consolidate", "--no-calibrate")
    assert (code, err) == (0, "")
    assert not (folder / "embeddings.npy").exists()
    assert opened(tmp_path).rows == 3
    assert opened(tmp_path).verify() == []


def test_a_run_that_is_compressed_while_it_is_verified_is_sound(tmp_path, capsys, monkeypatch):
    from ednabed.store import runs

    folder = add_run(tmp_path, "lake", "a", [1, 2, 3]).folder
    compressed_before(monkeypatch, runs, "file_fault", folder)
    code, out, err = call(capsys, "--workspace", tmp_path, "runs", "verify")
    assert (code, out, err) == (0, f"{folder}: sound\n", "")
    assert not (folder / "embeddings.npy").exists()


def test_runs_are_searched_while_they_are_compressed(tmp_path):
    from ednabed import get_data_manager

    run = add_run(tmp_path, "lake", "a", [1, 2, 3])
    loose = get_data_manager(tmp_path).loose_runs(["lake"])
    before = content(loose)
    compress_run(run, delete_original=True)
    assert {k: v["vector"] for k, v in content(loose).items()} == {k: v["vector"] for k, v in before.items()}
    assert run.load_embeddings().shape == (3, 8)
    assert run.is_complete()


def test_a_run_that_was_replaced_by_another_is_not_read_further(tmp_path):
    run = add_run(tmp_path, "lake", "a", [1, 2, 3])
    shutil.rmtree(run.folder)
    other = add_run(tmp_path, "lake", "a", [4, 5, 6, 7])
    compress_run(other, delete_original=True)
    with pytest.raises(StoreError, match="no longer contains the run that was opened"):
        run.load_embeddings()
