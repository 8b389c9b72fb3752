"""``ednabed runs``: list, show, verify and map."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import reference_support
from cli_support import call
from ednabed.store.assignments import COLUMNS, ClassifiedBy, keep
from ednabed.store.runs import find_run, runs_root
from ednabed.workflows.maps import map_runs, read_runs_map
from support import ednabed

GOOD = "ACGTTGCATGCATGCATTGACC"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.fa").write_text(f">x\n{GOOD}\n>y\n{GOOD}A\n>short\nACG\n")
    for dataset in ("lake", "river"):
        done = ednabed("embed", "a.fa", "--dataset", dataset, "--model", "kmer6", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws"


def test_an_empty_workspace(capsys, tmp_path):
    code, out, err = call(capsys, "--workspace", tmp_path, "runs", "list")
    assert (code, out) == (0, "")
    assert "'ednabed embed FILE' creates one" in err
    assert call(capsys, "--workspace", tmp_path, "runs", "list", "--json")[:2] == (0, "[]\n")
    assert call(capsys, "--workspace", tmp_path, "runs", "verify")[0] == 1
    assert call(capsys, "--workspace", tmp_path, "runs", "show", "x")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_show_assignments(capsys, workspace):
    run = find_run(workspace, "lake")
    digests = run.load_records(["digest"]).column("digest").to_pylist()
    statuses = ("assigned", "not_in_reference")
    rows = [{"digest": one, "status": status} for one, status in zip(digests, statuses, strict=True)]
    shares = {
        "12S": {"source": "estimated", "known": 0.834, "queries": 1412, "shares": [0.5, 0.334, 0.166, 0.0, 0.0, 0.0]},
        "": {"source": "fixed", "known": 0.9, "queries": 7, "shares": [0.45, 0.45, 0.1, 0.0, 0.0, 0.0]},
        "COI": {"source": "default", "known": 0.5, "queries": 0, "shares": [0.25, 0.25, 0.5, 0.0, 0.0, 0.0]},
    }
    kept = keep(
        run,
        pa.Table.from_pylist(rows, COLUMNS),
        ClassifiedBy(
            build="b",
            reference="data/fish",
            model="hand",
            fingerprint="f" * 64,
            calibrated=None,
            criteria={},
            shares=shares,
        ),
    )
    code, out, err = call(capsys, "--workspace", workspace, "runs", "show", "lake")
    assert (code, err) == (0, "")
    assert out.splitlines()[-4:] == [
        f"assignments  by data/fish, build b, {kept.facts.created[:19]}: 1 assigned, 1 not_in_reference",
        "             known species of 12S: 0.83, estimated from 1,412 distinct sequences",
        "             known species: 0.90, as requested",
        "             known species of COI: 0.50, the default",
    ]
    (shown,) = json.loads(call(capsys, "--workspace", workspace, "runs", "show", "lake", "--json")[1])["assignments"]
    assert shown["shares"] == shares


def test_list(capsys, workspace):
    code, out, err = call(capsys, "--workspace", workspace, "runs", "list")
    assert (code, err) == (0, "")
    lines = out.strip().split("\n")
    assert len(lines) == 3
    assert lines[1].startswith("lake/")
    assert lines[2].startswith("river/")
    assert "kmer6" in lines[1]
    assert "f003ebff2bd2" in lines[1]
    told = json.loads(call(capsys, "--workspace", workspace, "runs", "list", "--json")[1])
    assert [row["state"] for row in told] == ["complete", "complete"]
    assert [row["records"] for row in told] == [2, 2]


def test_list_shows_damaged_old_and_unfinished_runs(capsys, workspace):
    root = runs_root(workspace)
    (find_run(workspace, "lake").folder / "run.json").write_text("{")
    (root / "old" / "2020").mkdir(parents=True)
    np.save(root / "old" / "2020" / "embeddings.npy", np.zeros((4, 3), np.float32))
    (root / "old" / ".partial-1-x").mkdir()
    code, out, _ = call(capsys, "--workspace", workspace, "runs", "list", "--json")
    assert code == 0
    states = {row["run"].split("/")[0]: row["state"] for row in json.loads(out)}
    assert states["lake"].startswith("damaged: ")
    assert states["old"] == "no manifest (older tool)"
    assert states["river"] == "complete"
    assert ".partial" not in out
    assert call(capsys, "--workspace", workspace, "runs", "list")[0] == 0


def test_show(capsys, workspace):
    code, out, err = call(capsys, "--workspace", workspace, "runs", "show", "lake")
    assert (code, err) == (0, "")
    for words in ("kmer6, 512 dimensions", "a.fa: 2 of 3 records accepted", "embeddings.npy", "rejected     1"):
        assert words in out
    run = find_run(workspace, "lake")
    code, out, _ = call(capsys, "--workspace", workspace, "runs", "show", run.label, "--json")
    wanted = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    assert json.loads(out) == {**wanted, "assignments": []}


def test_show_of_an_older_tool(capsys, tmp_path):
    np.save(tmp_path / "embeddings.npy", np.zeros((4, 3), np.float32))
    code, out, _ = call(capsys, "runs", "show", tmp_path)
    assert code == 0
    assert "4 x 3, created by an older tool" in out
    told = json.loads(call(capsys, "runs", "show", tmp_path, "--json")[1])
    assert (told["records"], told["dimension"], told["made_by"]) == (4, 3, None)
    code, _, err = call(capsys, "runs", "verify", tmp_path)
    assert code == 1
    assert "1 of 1 runs have faults" in err


def test_verify_sound(capsys, workspace):
    code, out, err = call(capsys, "--workspace", workspace, "runs", "verify")
    assert (code, err) == (0, "")
    assert out.count(": sound") == 2
    told = json.loads(call(capsys, "--workspace", workspace, "runs", "verify", "lake", "--json")[1])
    assert [row["faults"] for row in told] == [[]]


@pytest.mark.parametrize("name", ["embeddings.npy", "records.parquet", "rejected.tsv", "run.json"])
@pytest.mark.parametrize("named", ["all", "label", "path"])
def test_verify_finds_one_flipped_byte_in_any_file(capsys, workspace, name, named):
    folder = find_run(workspace, "lake").folder
    path = folder / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 2
    path.write_bytes(raw)
    which = {"all": [], "label": [f"lake/{folder.name}"], "path": [folder]}[named]
    code, out, err = call(capsys, "--workspace", workspace, "runs", "verify", *which, "--json")
    assert code == 1
    told = json.loads(out)
    assert len(told) == (2 if named == "all" else 1)
    bad = [row for row in told if row["faults"]]
    assert len(bad) == 1
    assert name in bad[0]["faults"][0]
    assert err.startswith(f"ednabed: 1 of {len(told)} runs have faults")
    code, out, _ = call(capsys, "--workspace", workspace, "runs", "verify", *which)
    assert code == 1
    assert name in out


@pytest.mark.parametrize("verb", ["show", "verify"])
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("none", 1),
        ("lake/none", 1),
        ("../lake", 1),
        ("lake/../../..", 1),
        ("a/b/c", 1),
        ("con", 2),
        ("a b", 2),
        ("", 1),
    ],
)
def test_missing_runs(capsys, workspace, monkeypatch, verb, name, wanted):
    monkeypatch.chdir(workspace)
    code, out, err = call(capsys, "--workspace", workspace, "runs", verb, name)
    assert code == wanted
    assert out == ""
    assert err.count("\n") == 1


# -- maps --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_umap(monkeypatch):
    """Layouts without the package that some have installed, so that all have the same."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "umap" else real(name, *more))


def test_a_map_of_runs(capsys, workspace, no_umap):
    names = ("lake", find_run(workspace, "river").label)
    code, out, err = call(capsys, "--workspace", workspace, "runs", "map", *names)
    assert (code, err) == (0, "")
    _, found = map_runs(workspace, names)
    assert out == f"map of 2 sequences by {found.method}: {found.rule}\n0 of 2 sequences have a name\n"
    [path] = (workspace / "data" / "maps").iterdir()
    before = path.read_bytes()
    # The existing map is reported again, and kept.
    code, out, _ = call(capsys, "--workspace", workspace, "runs", "map", *names, "--json")
    assert code == 0
    assert json.loads(out) == {
        "runs": list(names), "method": found.method, "sequences": 2, "landmarks": 2, "rule": found.rule,
        "named": 0, "classes": {},
    }  # fmt: skip
    assert path.read_bytes() == before
    assert call(capsys, "--workspace", workspace, "runs", "map", *names, "--refit", "--seed", 7)[0] == 0
    assert read_runs_map(workspace, names).seed == 7
    # The map belongs to these runs: other runs have another map, and a folder is also accepted as a name.
    assert call(capsys, "--workspace", workspace, "runs", "map", find_run(workspace, "lake").folder)[0] == 0
    assert len(list((workspace / "data" / "maps").iterdir())) == 2


@pytest.mark.parametrize(
    ("names", "status", "told"),
    [
        ((), 2, "Missing argument 'RUN...'"), (("absent",), 1, "absent"), (("lake", "absent"), 1, "absent"),
        (("lake", "--seed", "-1"), 2, "-1 is not in the range"), (("lake", "--seed", "x"), 2, "not a valid integer"),
        (("lake", "other"), 1, "cannot be compared"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_mapped(capsys, workspace, no_umap, names, status, told):
    reference_support.add_run(workspace, "other", "r", [1, 2])
    code, out, err = call(capsys, "--workspace", workspace, "runs", "map", *names)
    assert (code, out) == (status, "")
    assert told in err
    assert not (workspace / "data" / "maps").exists()
