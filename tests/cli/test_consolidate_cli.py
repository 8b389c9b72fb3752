"""``ednabed consolidate``: options, output, and exit codes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli_support import call
from ednabed.reference.opened import open_reference
from ednabed.store.runs import Run, runs_root
from ednabed.store.versions import register
from reference_support import OTHER, SPEC, add_run, content, legacy, opened, snapshot, vector_of
from support import ednabed
from taxonomy_support import reference_of, world, world_workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """Two runs; the workspace is the current folder."""
    add_run(tmp_path, "lake", "a", [1, 2, 3])
    add_run(tmp_path, "sea", "b", [3, 4], created="2024-01-02T00:00:00+00:00")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDNABED_WORKSPACE", raising=False)
    return tmp_path


UNLABELLED = (
    f"not calibrated: {Path('data', 'reference')} has no record with a lineage, so it cannot assign taxonomy; "
    "embed labelled records (with lineage columns, or with 'ednabed embed INPUT --labels FILE'), "
    "then consolidate again\n"
)


def test_output(workspace, capsys):
    code, out, err = call(capsys, "consolidate")
    assert (code, err) == (0, UNLABELLED)
    build = opened(workspace).manifest.build
    assert out.splitlines() == [
        f"reference    {Path('data', 'reference')}, build {build}",
        f"model        hand, fingerprint {SPEC.fingerprint[:12]}",
        "runs         2 of 2 datasets, 2 read now",
        "sequences    4 distinct, in 5 records",
        "index        flat (exact)",
    ]
    code, out, err = call(capsys, "consolidate", "--incremental")
    assert (code, err) == (0, UNLABELLED)
    assert out.startswith("nothing new  the reference already contains all runs; nothing was rewritten\n")
    assert f"build {build}" in out
    assert "2 of 2 datasets, 0 read now" in out


def test_json(workspace, capsys):
    register(workspace, "v1", SPEC)
    code, out, err = call(capsys, "consolidate", "--json")
    assert (code, err) == (0, UNLABELLED)
    told = json.loads(out)
    assert told["calibration"] == {"state": "none", "reason": UNLABELLED.removeprefix("not calibrated: ").rstrip()}
    assert told["added"] == ["lake/a", "sea/b"]
    assert (told["changed"], told["refused"], told["left_out"], told["vanished"], told["changed_runs"]) == (
        True, {}, {}, [], []
    )  # fmt: skip
    assert told["counts"]["sequences"] == 4
    assert (told["version"], told["fingerprint"]) == ("v1", SPEC.fingerprint)
    assert told["index"]["kind"] == "flat"
    add_run(workspace, "sea", "c", [9])
    told = json.loads(call(capsys, "consolidate", "--json", "--incremental")[1])
    assert (told["added"], told["counts"]["runs"]) == (["sea/c"], 3)
    told = json.loads(call(capsys, "consolidate", "--json", "--incremental")[1])
    assert (told["changed"], told["added"]) == (False, [])


def test_a_refused_run_is_named_the_others_are_added_and_the_code_is_1(workspace, capsys):
    bad = add_run(workspace, "sea", "c", [5, 6])
    array = np.load(bad.folder / "embeddings.npy")
    np.save(bad.folder / "embeddings.npy", array * 2)
    for arguments in ((), ("--json",), ("--incremental",)):
        code, out, err = call(capsys, "consolidate", *arguments)
        assert code == 1
        assert "refused: consolidated_data/runs/sea/c: " in err
        assert "embeddings.npy does not match its checksum in run.json" in err
        assert err.splitlines()[-1].startswith("ednabed: 1 of the runs could not be added to")
        if arguments == ("--json",):
            assert list(json.loads(out)["refused"]) == ["consolidated_data/runs/sea/c"]
        else:
            assert "refused      1 runs (named above)" in out
        assert "Traceback" not in err
        assert opened(workspace).rows == 4
    assert "nothing new  no run could be added; nothing was rewritten" in out


def test_runs_that_vanished_and_changed(workspace, capsys):
    call(capsys, "consolidate")
    shutil.rmtree(runs_root(workspace) / "lake" / "a")
    code, out, err = call(capsys, "consolidate", "--no-calibrate", "--incremental")
    assert code == 0
    assert err == (
        "vanished: run lake/a is in the reference but no longer among the runs; the reference keeps it as it was; "
        "'ednabed consolidate --rebuild' builds it from the runs that exist now\n"
    )
    assert out.startswith("nothing new")
    add_run(workspace, "lake", "a", [8])
    code, _, err = call(capsys, "consolidate", "--no-calibrate", "--incremental")
    assert code == 1
    assert "changed: run lake/a is not the run that was added to the reference; the reference keeps it" in err
    assert "refused: consolidated_data/runs/lake/a: lake/a is in the reference with different content" in err
    code, _, err = call(capsys, "consolidate", "--no-calibrate", "--rebuild")
    assert (code, err) == (
        0,
        "changed: run lake/a is not the run that was added to the reference; the new reference is built from the runs "
        "that exist now\n",
    )  # fmt: skip
    assert opened(workspace).rows == 3
    assert call(capsys, "consolidate", "--no-calibrate", "--incremental")[2] == ""


@pytest.mark.parametrize(
    ("arguments", "wanted", "words"),
    [
        (("--incremental", "--rebuild"), 2, "exclude each other"),
        (("--index", "hnsw"), 2, "hnsw"),
        (("--version", "v9"), 1, "no version 'v9'"),
        (("--runs-root", "nowhere"), 1, "nowhere is not a folder"),
        (("--runs-root", "file"), 1, "file is not a folder"),
        (("--output", "file"), 1, "file is a file, so it cannot be a reference"),
        (("--output", "file/below"), 1, "file"),
        (("--output", "consolidated_data"), 1, "contains something other than a reference (runs)"),
        (("--output", "."), 1, "contains something other than a reference"),
        (("surplus",), 2, "unexpected extra argument"),
    ],
)
def test_impossible_requests(workspace, capsys, arguments, wanted, words):
    (workspace / "file").write_text("x")
    state = snapshot(workspace)
    code, out, err = call(capsys, "consolidate", *arguments)
    assert (code, out) == (wanted, "")
    assert words in err
    assert "Traceback" not in err
    if wanted == 1:
        assert err.count("\n") == 1
    assert snapshot(workspace) == state
    assert not (workspace / "data").exists()


def test_without_runs(tmp_path, capsys):
    code, out, err = call(capsys, "--workspace", tmp_path, "consolidate")
    assert (code, out) == (1, "")
    assert "create runs with 'ednabed embed FILE'" in err
    runs_root(tmp_path).mkdir(parents=True)
    code, out, err = call(capsys, "--workspace", tmp_path, "consolidate")
    assert (code, out) == (1, "")
    assert "contains no run; create one with 'ednabed embed FILE'" in err


def test_versions(workspace, capsys):
    add_run(workspace, "sea", "other", [1], spec=OTHER)
    code, out, err = call(capsys, "consolidate")
    assert (code, out) == (1, "")
    assert "the runs were created with 2 functions" in err
    assert "lake/a, sea/b" in err and "sea/other" in err
    register(workspace, "v1", SPEC)
    register(workspace, "v2", OTHER)
    code, out, err = call(capsys, "consolidate", "--version", "v1")
    assert code == 0
    assert err.startswith("omitted: consolidated_data/runs/sea/other: created with other")
    assert "omitted      1 runs (named above)" in out
    assert f"fingerprint {SPEC.fingerprint[:12]}, version v1" in out
    code, out, err = call(capsys, "consolidate", "--version", "v2", "--output", "data/second")
    assert code == 0
    assert open_reference(workspace / "data" / "second").rows == 1
    code, _, err = call(capsys, "consolidate", "--version", "v2", "--incremental")
    assert code == 1
    assert "their vectors cannot be mixed; give another --output" in err


def test_folders_of_older_tools(workspace, capsys):
    legacy(runs_root(workspace) / "old" / "deep" / "x", np.stack([vector_of(1)]), "npz")
    register(workspace, "v1", SPEC)
    code, _, err = call(capsys, "consolidate")
    assert code == 0
    assert "omitted: consolidated_data/runs/old/deep/x: created by an older tool" in err
    code, out, err = call(capsys, "consolidate", "--version", "v1", "--no-calibrate")
    assert (code, err) == (0, "")
    assert "runs         3 of 3 datasets" in out
    assert call(capsys, "consolidate", "--incremental", "--no-calibrate")[::2] == (0, "")


# -- compress --------------------------------------------------------------------------------------------------------


def test_compress_after_the_reference_is_verified(workspace, capsys):
    legacy(runs_root(workspace) / "old" / "x", np.stack([vector_of(1)]))
    register(workspace, "v1", SPEC)
    code, out, err = call(capsys, "consolidate", "--version", "v1", "--compress", "--no-calibrate")
    assert (code, err) == (0, "")
    assert "compressed   3 runs, " in out
    for name in ("lake/a", "sea/b", "old/x"):
        folder = runs_root(workspace) / name
        assert (folder / "embeddings.npz").exists()
        assert not (folder / "embeddings.npy").exists()
    assert Run.open(runs_root(workspace) / "lake" / "a").verify() == []
    before = content(opened(workspace))
    code, out, err = call(capsys, "consolidate", "--incremental", "--compress", "--json", "--no-calibrate")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["changed"], {c["state"] for c in told["compressed"]}) == (False, {"already"})
    assert told["not_compressed"] == {}
    call(capsys, "consolidate", "--version", "v1")
    after = content(opened(workspace))
    assert {k: e["vector"] for k, e in after.items()} == {k: e["vector"] for k, e in before.items()}
    assert {r["source_file"] for e in after.values() for r in e["records"]} == {
        f"consolidated_data/runs/{name}/embeddings.npz" for name in ("lake/a", "sea/b", "old/x")
    }


def test_nothing_is_compressed_if_the_reference_has_faults(workspace, capsys, monkeypatch):
    from ednabed.reference.opened import Reference

    monkeypatch.setattr(Reference, "verify", lambda self: ["x does not match its checksum"])
    state = snapshot(runs_root(workspace))
    code, _, err = call(capsys, "consolidate", "--compress")
    assert code == 1
    assert "has faults, so no run was compressed: x does not match" in err
    assert snapshot(runs_root(workspace)) == state


def test_runs_that_are_not_in_the_reference_are_not_compressed(workspace, capsys):
    bad = add_run(workspace, "sea", "c", [5])
    np.save(bad.folder / "embeddings.npy", np.full((1, 8), np.nan, np.float32))
    add_run(workspace, "sea", "other", [1], spec=OTHER)
    register(workspace, "v1", SPEC)
    state = {name: snapshot(runs_root(workspace) / name) for name in ("sea/c", "sea/other")}
    code, out, _ = call(capsys, "consolidate", "--version", "v1", "--compress")
    assert code == 1
    assert "compressed   2 runs" in out
    assert {name: snapshot(runs_root(workspace) / name) for name in state} == state


@pytest.mark.parametrize("error", ["ours", "system"])
def test_a_run_that_cannot_be_compressed_is_named(workspace, capsys, monkeypatch, error):
    from ednabed.errors import StoreError
    from ednabed.workflows import consolidate as module

    real = module.compress_run

    def failing(run, **keywords):
        if run.folder.name == "a":
            raise StoreError("held") if error == "ours" else PermissionError(13, "denied", "some file")
        return real(run, **keywords)

    monkeypatch.setattr(module, "compress_run", failing)
    code, out, err = call(capsys, "consolidate", "--compress")
    assert code == 1
    assert "not compressed: consolidated_data/runs/lake/a: " in err
    assert err.splitlines()[-1].startswith("ednabed: 1 of the runs could not be compressed")
    assert "compressed   1 runs" in out
    assert opened(workspace).verify() == []


@pytest.mark.parametrize(("number", "words"), [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_full_or_read_only_disk_is_a_sentence(workspace, capsys, monkeypatch, number, words):
    call(capsys, "consolidate")
    state = snapshot(workspace)

    def full(path, *_):
        raise OSError(number, words, str(path))

    monkeypatch.setattr(np, "save", full)
    code, out, err = call(capsys, "consolidate")
    assert (code, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1
    assert snapshot(workspace) == state


# -- calibrate -------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path_factory, tmp_path, monkeypatch) -> Path:
    """A copy of a workspace with a reference of labelled records; calibration is replaced by a quick stand-in."""
    from ednabed.taxonomy.calibration import Calibration
    from ednabed.workflows import identify

    own = Path(shutil.copytree(world_workspace(tmp_path_factory.mktemp("world") / "ws"), tmp_path / "own"))
    (path,) = calibrations(own)
    known = Calibration.read(path.parent, path.parent.name)

    def calibrate(reference, *_, **__):
        return replace(known, build=reference.manifest.build, created="2026-11-22T00:00:00+00:00")

    monkeypatch.setattr(identify, "calibrate", calibrate)
    return own


def calibrations(workspace: Path) -> list[Path]:
    """Calibrations of the current build; the calibration of the previous build stays with that build."""
    return list(opened(workspace).build.glob("calibration.json"))


def test_labelled_records_are_calibrated(labelled, capsys):
    arguments = ("--workspace", labelled, "consolidate")
    code, out, err = call(capsys, *arguments, "--no-calibrate")
    assert (code, err) == (0, "")
    assert "calibrated" not in out
    assert calibrations(labelled) == []
    told = json.loads(call(capsys, *arguments, "--no-calibrate", "--json")[1])
    assert told["calibration"] == {"state": "skipped"}
    # The missing calibration is made, although nothing is new.
    code, out, err = call(capsys, *arguments, "--incremental")
    assert (code, err) == (0, "")
    assert out.startswith("nothing new")
    last = out.splitlines()[-1]
    assert re.fullmatch(r"calibrated   in \d+ s, with \d+ queries drawn from it", last)
    (path,) = calibrations(labelled)
    assert path.parent == opened(labelled).build
    groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
    assert f"with {sum(groups['']['draws'].values())} queries" in last


def test_an_unchanged_calibrated_reference_keeps_its_calibration(labelled, capsys):
    (path,) = calibrations(labelled)
    before = path.read_bytes()
    arguments = ("--workspace", labelled, "consolidate", "--incremental")
    created = json.loads(before)["created"]
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"calibrated   already, {created}"
    told = json.loads(call(capsys, *arguments, "--json")[1])
    assert told["calibration"] == {"state": "kept", "created": created, "reason": None}
    assert path.read_bytes() == before
    # A calibration that cannot be read is made again.
    path.write_bytes(before[: len(before) // 2])
    told = json.loads(call(capsys, *arguments, "--json")[1])
    assert (told["changed"], told["calibration"]["state"]) == (False, "made")
    again = json.loads(path.read_text(encoding="utf-8"))
    assert told["calibration"]["draws"] == sum(again["groups"][""]["draws"].values())
    assert told["calibration"]["created"] == again["created"]


def test_too_few_labels_do_not_harm_the_reference(tmp_path, capsys):
    reference_of(tmp_path, world(2, species=2, records=2, length=300))
    code, out, err = call(capsys, "--workspace", tmp_path, "consolidate")
    assert code == 0
    assert err.startswith("not calibrated: ") and err.count("\n") == 1
    assert "expected at least 200" in err
    assert "sequences    8 distinct, in 8 records" in out and "calibrated" not in out
    assert opened(tmp_path).verify() == []
    told = json.loads(call(capsys, "--workspace", tmp_path, "consolidate", "--json")[1])
    assert told["calibration"]["state"] == "none" and "expected at least 200" in told["calibration"]["reason"]
    assert calibrations(tmp_path) == []


def test_without_the_model_calibration_uses_full_length_sequences(tmp_path, capsys):
    numbers = range(200)
    lineages = [f"K;P;C;O;F{n // 40};G{n // 8};G{n // 8} s{n // 4}" for n in numbers]
    add_run(tmp_path, "lake", "a", list(numbers), columns={"lineage": lineages})
    code, out, err = call(capsys, "--workspace", tmp_path, "consolidate", "--output", "data/mine")
    assert code == 0, err
    assert err.startswith("calibrated only on full-length sequences, because ") and err.count("\n") == 1
    assert "'hand'" in err
    assert out.splitlines()[-1].startswith("calibrated   in ")
    assert len(list(tmp_path.glob("data/mine/builds/*/calibration.json"))) == 1


# -- in a process of its own -----------------------------------------------------------------------------------------


def test_from_sequences_to_a_reference(tmp_path):
    a, b = "ACGTTGCATGCATGCATTGACCAGTCAAGG", "ACGTTGCATGCATGCATTGACCAGTCAACC"
    (tmp_path / "a.tsv").write_text(f"id\tsequence\tmarker\trow\n1\t{a}\tCOI\t7\n2\t{b}\t\t8\n")
    (tmp_path / "b.fa").write_text(f">x\n{a}\n")
    for arguments in (("a.tsv", "--dataset", "see"), ("b.fa", "--output", "my runs/one")):
        done = ednabed("embed", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = ednabed("consolidate", "--no-calibrate", "--index", "ivf", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    assert b"sequences    2 distinct, in 2 records" in done.stdout
    done = ednabed("consolidate", "--no-calibrate", "--incremental", "--runs-root", "my runs", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    told = json.loads(done.stdout)
    assert told["added"] == ["my runs/one"]
    assert told["counts"]["records"] == 3
    reference = opened(tmp_path)
    assert {r["row_input"] for e in content(reference).values() for r in e["records"]} == {"7", "8", None}
    assert reference.verify() == []
