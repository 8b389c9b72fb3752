"""``ednabed reference``: show, verify, tag, list and remove."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cli_support
from reference_support import SPEC, add_run, consolidate, content, opened, snapshot
from support import ednabed


def call(capsys, *arguments) -> tuple[int, str, str]:
    return cli_support.call(capsys, "reference", *arguments)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    add_run(tmp_path, "lake", "a", [1, 2, 3], columns={"marker": ["COI", "COI", None]})
    add_run(tmp_path, "sea", "b", [3, 4], created="2024-01-02T00:00:00+00:00", columns={"marker": ["COI", "12S"]})
    add_run(tmp_path, "sea", "c", [3], created="2024-01-03T00:00:00+00:00")
    consolidate(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDNABED_WORKSPACE", raising=False)
    return tmp_path


def test_show(workspace, capsys):
    code, out, err = call(capsys, "show")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"reference    {Path('data', 'reference')}, build {opened(workspace).manifest.build}"
    for line in (
        "model        hand, 8 dimensions, no licence stated",
        f"fingerprint  {SPEC.fingerprint}",
        "version      none registered",
        "sequences    4 distinct, 90 bases",
        "records      6 in 3 runs of 2 datasets",
        "index        flat (exact)",
        "marker       (none): 1 records",
        "marker       12S: 1 records",
        "marker       COI: 3 records",
    ):
        assert line in lines
    rows = [line.split() for line in lines[-3:]]
    assert [row[:4] for row in rows] == [["lake", "a", "3", "3"], ["sea", "b", "2", "1"], ["sea", "c", "1", "0"]]
    assert "(none) 1, COI 2" in lines[-3]


def test_show_in_json(workspace, capsys):
    told = json.loads(call(capsys, "show", "--json")[1])
    assert told["counts"] == {"sequences": 4, "records": 6, "runs": 3, "datasets": 2, "letters": 90}
    assert told["markers"] == {"": 1, "12S": 1, "COI": 3}
    assert told["index"]["kind"] == "flat"
    assert [run["sequences"] for run in told["runs"]] == [3, 1, 0]
    assert told["bytes"] > 1000


def test_verify(workspace, capsys):
    code, out, err = call(capsys, "verify")
    assert (code, out, err) == (0, f"{Path('data', 'reference')}: sound\n", "")
    assert json.loads(call(capsys, "verify", "--json")[1])["faults"] == []
    path = opened(workspace).build / "records-00001.parquet"
    raw = path.read_bytes()
    path.write_bytes(raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:])
    code, out, err = call(capsys, "verify")
    assert code == 1
    assert "records-00001.parquet does not match its checksum" in out
    assert "has faults; each is shown with its remedy" in err
    code, out, _ = call(capsys, "verify", "--json")
    assert code == 1
    assert len(json.loads(out)["faults"]) == 1
    path.unlink()
    code, out, err = call(capsys, "verify")
    assert code == 1
    assert "records-00001.parquet is missing" in out
    (workspace / "data" / "reference" / "consolidated_metadata.json").write_text("{}")
    code, out, err = call(capsys, "verify")
    assert code == 1
    assert "Traceback" not in err


def test_names(workspace, capsys):
    build = opened(workspace).manifest.build
    code, out, err = call(capsys, "tag", "reference_2024-11")
    assert (code, out, err) == (0, f"reference_2024-11: build {build} of {Path('data', 'reference')}\n", "")
    before = content(opened(workspace))
    add_run(workspace, "sea", "d", [9], created="2024-01-04T00:00:00+00:00")
    consolidate(workspace, incremental=True)
    assert content(opened(workspace, "reference_2024-11")) == before
    for address in ("reference_2024-11", "data/reference/reference_2024-11"):
        told = json.loads(call(capsys, "show", "--json", "--reference", address)[1])
        assert (told["build"], told["counts"]["runs"]) == (build, 3)
        code, out, _ = call(capsys, "show", "--reference", address)
        assert f"build {build} (reference_2024-11)" in out
        assert call(capsys, "verify", "--reference", address)[0] == 0
    assert json.loads(call(capsys, "show", "--json")[1])["counts"]["runs"] == 4
    rows = json.loads(call(capsys, "list", "--json")[1])
    assert [(row["reference"], row["state"], row["counts"]["runs"]) for row in rows] == [
        ("data/reference", "current", 4), ("data/reference/reference_2024-11", "named", 3)
    ]  # fmt: skip
    code, out, err = call(capsys, "list")
    assert (code, err) == (0, "")
    assert out.splitlines()[2].split()[:4] == ["data/reference/reference_2024-11", "named", build, "hand"]
    # A name refers to one build.
    code, _, err = call(capsys, "tag", "reference_2024-11")
    assert code == 2
    assert "is already the name of build" in err
    # Only the current build gets a name, so the name of another one is a mistake.
    state = snapshot(workspace / "data")
    for command in (("tag", "x"), ("remove", "reference_2024-11")):
        code, _, err = call(capsys, *command, "--reference", "reference_2024-11")
        assert code == 2
        assert "is the name of one build; give the folder" in err
    assert snapshot(workspace / "data") == state
    code, out, _ = call(capsys, "remove", "reference_2024-11", "--json")
    # It is the previous build, which is kept until the next one.
    assert (code, json.loads(out)["deleted"]) == (0, False)
    code, out, err = call(capsys, "remove", "reference_2024-11")
    assert (code, out) == (1, "")
    assert "no build called" in err
    call(capsys, "tag", "now")
    assert call(capsys, "remove", "now")[1] == "now: removed; its build is kept, because it is in use\n"


@pytest.mark.parametrize("name", ["a/b", "..", "", "con"])
def test_impossible_names(workspace, capsys, name):
    code, out, err = call(capsys, "tag", name)
    assert (code, out) == (2, "")
    assert "cannot be a folder on every system" in err


def test_list_shows_damaged_and_sound_references(workspace, capsys):
    consolidate(workspace, output=Path("data/second"))
    (workspace / "data" / "older").mkdir()
    (workspace / "data" / "older" / "consolidated_metadata.json").write_text('{"total_embeddings": 5}')
    (workspace / "data" / "second" / "names.json").write_text("{")
    code, out, err = call(capsys, "list", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["reference"] for row in rows] == ["data/older", "data/reference", "data/second"]
    assert rows[0]["state"].startswith("damaged: ")
    assert [row["state"] for row in rows[1:]] == ["current", "current"]
    assert "names.json is damaged" in err
    assert call(capsys, "list")[0] == 0


def test_without_a_reference(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDNABED_WORKSPACE", raising=False)
    for command in (("show",), ("verify",), ("tag", "x"), ("remove", "x")):
        code, _, err = call(capsys, *command)
        assert code == 1
        assert "Traceback" not in err
        assert "reference" in err
        assert list(tmp_path.iterdir()) == []
    code, out, err = call(capsys, "list")
    assert (code, out) == (0, "")
    assert "'ednabed consolidate' builds one" in err
    assert json.loads(call(capsys, "list", "--json")[1]) == []
    code, _, err = call(capsys, "show", "--reference", "nowhere")
    assert code == 1
    assert "there is no reference 'nowhere'" in err


def test_in_a_process_of_its_own(workspace):
    done = ednabed("reference", "verify", cwd=workspace)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().strip().endswith(": sound")


def test_map(workspace, capsys):
    code, out, err = call(capsys, "map", "--most", "3", "--threads", "1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    folder = Path("data", "reference")
    assert lines[0] == f"reference    {folder}, build {opened(workspace).manifest.build}"
    assert lines[1].startswith("method       PCA, seed 0, laid out 2")
    assert lines[2:5] == [
        "laid out     3 sequences",
        "placed       1 among them",
        "clusters     0, groups of points on this map, not taxa",
    ]
    assert lines[5].startswith("rule         Of 4 sequences, the 3 with the smallest keys")
    assert lines[6].startswith(f"file         {folder / 'map.parquet'}, ")
    add_run(workspace, "sea", "d", range(10, 20), created="2024-01-04T00:00:00+00:00")
    consolidate(workspace)
    assert call(capsys, "verify")[0] == 0
    code, out, err = call(capsys, "map", "--json", "--most", "12", "--seed", "5")
    told = json.loads(out)
    assert code == 0
    assert (told["method"], told["landmarks"], told["placed"], told["most"], told["seed"]) == ("PCA", 3, 11, 3, 0)
    assert told["file"] == str(folder / "map.parquet")
    assert err.splitlines() == [
        "--most 12 was not used: the existing map was laid out with 3; --refit computes a new layout",
        "--seed 5 was not used: the existing map was laid out with 0; --refit computes a new layout",
    ]


def test_map_that_the_reference_has_outgrown(workspace, capsys):
    call(capsys, "map")
    add_run(workspace, "sea", "d", range(10, 15), created="2024-01-04T00:00:00+00:00")
    consolidate(workspace)
    assert call(capsys, "map")[2] == "only 4 of 9 sequences are laid out; --refit lays out more\n"
    code, out, err = call(capsys, "map", "--refit")
    assert (code, err) == (0, "")
    assert "laid out     9 sequences" in out


def test_map_that_is_damaged(workspace, capsys):
    call(capsys, "map")
    path = workspace / "data" / "reference" / "map.parquet"
    path.write_bytes(b"PAR1")
    code, out, err = call(capsys, "map")
    assert (code, out) == (1, "")
    assert "'ednabed reference map --reference data/reference --refit'" in err
    assert call(capsys, "map", "--refit")[0] == 0


def test_map_requires_at_least_one(workspace, capsys):
    assert call(capsys, "map", "--most", "0")[0] == 2
