"""``ednabed compress``, and the other commands on compressed runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli_support import call
from ednabed.base.locks import exclusive
from ednabed.store.compress import LOCK
from ednabed.store.runs import find_run, runs_root
from support import ednabed

NPY, NPZ, F16 = "embeddings.npy", "embeddings.npz", "embeddings.f16.npy"
OTHERS = {"records.parquet", "rejected.tsv", "run.json"}
A = "ACGTTGCATGCATGCATTGACCAGTCAAGG"
B = "ACGTTGCATGCATGCATTGACCAGTCAACC"
C = "GGGATTTCCCAGAGATTTGGGAAACACTCT"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.fa").write_text(f">a1\n{A}\n>c1\n{C}\n>b1\n{B}\n>a2\n{A}\n")
    for dataset in ("lake", "river"):
        done = ednabed("embed", "a.fa", "--dataset", dataset, "--model", "kmer6", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "ws")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def forms(workspace: Path, dataset: str) -> set[str]:
    return {path.name for path in find_run(workspace, dataset).folder.iterdir()} - OTHERS


def hits_of(out: str) -> list[dict]:
    told = json.loads(out)
    return told if isinstance(told, list) else told["results"]


def legacy(folder: Path, array: np.ndarray | None = None) -> Path:
    folder.mkdir(parents=True)
    values = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32) if array is None else array
    np.save(folder / NPY, values)
    return folder


# -- the dry run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--delete-original",), ("--float16",), ("--json",)])
def test_a_dry_run_changes_nothing(capsys, workspace, more):
    before = files(workspace)
    code, _, _ = call(capsys, "--workspace", workspace, "compress", *more)
    assert code == 0
    assert files(workspace) == before


def test_a_dry_run_reports_the_real_saving(capsys, workspace):
    code, out, err = call(capsys, "--workspace", workspace, "compress")
    assert code == 0
    lines = out.strip().split("\n")
    assert lines[0].split() == ["run", "records", "dimension", "now", "then", "saving", "measured", "on", "note"]
    assert [line.split("/")[0] for line in lines[1:3]] == ["lake", "river"]
    assert "8.3 kB" in lines[1]
    assert "all of it" in lines[1]
    assert lines[3].startswith("2 to do, 0 to skip, 0 refused; 16,640 bytes now, ")
    assert err.startswith("dry run: nothing was changed; --execute")
    assert "--delete-original" in err
    told = json.loads(call(capsys, "--workspace", workspace, "compress", "--json")[1])
    assert told["executed"] is False
    for row in told["runs"]:
        assert (row["form"], row["state"], row["records"], row["dimension"]) == (NPZ, "ready", 4, 512)
        assert row["bytes"] == row["measured_on_bytes"] == 8320
    call(capsys, "--workspace", workspace, "compress", "--execute", "--delete-original")
    # Measured on the complete file, so the estimate is exact.
    for row, dataset in zip(told["runs"], ("lake", "river"), strict=True):
        assert row["estimated_bytes"] == (find_run(workspace, dataset).folder / NPZ).stat().st_size
    assert told["totals"]["after"] == sum(row["estimated_bytes"] for row in told["runs"])
    assert told["totals"]["saved"] == 2 * 8320 - told["totals"]["after"]


def test_noise_is_not_promised_half(capsys, tmp_path):
    """Older notes did, but float32 noise is compressed by about 7 %."""
    legacy(tmp_path / "old", np.random.default_rng(1).standard_normal((1000, 64)).astype(np.float32))
    _, out, _ = call(capsys, "compress", tmp_path / "old")
    saving = float(out.split("\n")[1].split(" %")[0].split()[-1])
    assert 5 < saving < 10


def test_float16_saves_half_and_that_is_known(capsys, workspace):
    _, out, _ = call(capsys, "--workspace", workspace, "compress", "--float16")
    line = out.split("\n")[1]
    assert "known" in line
    assert "4.2 kB" in line
    told = json.loads(call(capsys, "--workspace", workspace, "compress", "--float16", "--json")[1])
    assert [(row["estimated_bytes"], row["measured_on_bytes"]) for row in told["runs"]] == [(128 + 4096, 0)] * 2


# -- doing it --------------------------------------------------------------------------------------------------------

ORDERS = {
    "npz beside": [("--execute",)],
    "npz": [("--execute", "--delete-original")],
    "f16 beside": [("--execute", "--float16")],
    "f16": [("--execute", "--float16", "--delete-original")],
    "npz then f16": [("--execute", "--delete-original"), ("--execute", "--float16", "--delete-original")],
    "all": [("--execute",), ("--execute", "--float16")],
}
WANTED = {
    "npz beside": {NPY, NPZ},
    "npz": {NPZ},
    "f16 beside": {NPY, F16},
    "f16": {F16},
    "npz then f16": {F16},
    "all": {NPY, NPZ, F16},
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_other_commands_work_on_every_form(capsys, workspace, order):
    def answers():
        told = [call(capsys, "--workspace", workspace, "runs", "list", "--json")]
        for query in (("--seq-idx", 0), ("--seq-idx", 3), ("--id", "c1"), ("--sequence", B)):
            told.append(call(capsys, "--workspace", workspace, "search", "--run", "lake", *query, "--json"))
        return told

    before = answers()
    shown = json.loads(call(capsys, "--workspace", workspace, "runs", "show", "lake", "--json")[1])
    for options in ORDERS[order]:
        code, out, err = call(capsys, "--workspace", workspace, "compress", *options)
        assert (code, err) == (0, "")
        assert out.count("\n") == 3
    for dataset in ("lake", "river"):
        assert forms(workspace, dataset) == WANTED[order]
    after = answers()
    assert after[0] == before[0]
    for (code, out, err), (_, old, old_err) in zip(after[1:], before[1:], strict=True):
        assert (code, err) == (0, old_err)
        hits, wanted = hits_of(out), hits_of(old)
        assert len(hits) >= 3
        assert [hit["id"] for hit in hits] == [hit["id"] for hit in wanted]
        tolerance = 1e-3 if WANTED[order] == {F16} else 1e-6
        for hit, old_hit in zip(hits, wanted, strict=True):
            assert hit["similarity"] == pytest.approx(old_hit["similarity"], abs=tolerance)
    code, out, err = call(capsys, "--workspace", workspace, "runs", "verify")
    assert (code, out.count(": sound"), err) == (0, 2, "")
    code, out, _ = call(capsys, "--workspace", workspace, "runs", "show", "lake")
    assert code == 0
    for form in (NPY, NPZ, F16):
        assert (f"file         {form}," in out) == (form in WANTED[order])
    now = json.loads(call(capsys, "--workspace", workspace, "runs", "show", "lake", "--json")[1])
    assert {**now, "files": 0, "manifest_sha256": 0} == {**shown, "files": 0, "manifest_sha256": 0}
    # Embedding the same input again still finds the compressed run.
    done = ednabed("embed", "a.fa", "--dataset", "lake", "--model", "kmer6", "--json", cwd=workspace)
    assert json.loads(done.stdout)["existed"] is True, done.stderr


def test_the_summary_reports_what_was_really_saved(capsys, workspace):
    folder = find_run(workspace, "lake").folder
    code, out, _ = call(capsys, "--workspace", workspace, "compress", "lake", "--execute")
    size = (folder / NPZ).stat().st_size
    assert code == 0
    lines = out.strip().split("\n")
    assert lines[0].startswith(f"lake/{folder.name}: embeddings.npz, original kept; 8.3 kB before, ")
    assert lines[1] == (
        f"1 done, 0 skipped, 0 refused; their vectors took 8,320 bytes before and take {8320 + size:,} after: "
        f"{size:,} bytes more, because originals are kept (--delete-original deletes them)"
    )
    _, out, _ = call(capsys, "--workspace", workspace, "compress", "lake", "--execute")
    assert out.strip().split("\n") == [
        f"lake/{folder.name}: skipped, embeddings.npz already exists",
        "0 done, 1 skipped, 0 refused",
    ]
    _, out, _ = call(capsys, "--workspace", workspace, "compress", "lake", "--execute", "--delete-original")
    assert "embeddings.npy deleted" in out
    percent = f"{100 * 8320 / (8320 + size):.1f} %"
    assert out.strip().endswith(f"and take {size:,} after: 8,320 bytes ({percent}) saved")
    assert forms(workspace, "river") == {NPY}
    code, out, _ = call(
        capsys, "--workspace", workspace, "compress", "--execute", "--delete-original", "--float16", "--json"
    )
    told = json.loads(out)
    assert code == 0
    assert [(row["run"].split("/")[0], row["state"], row["deleted"]) for row in told["runs"]] == [
        ("lake", "compressed", [NPZ]),
        ("river", "compressed", [NPY]),
    ]
    assert all(row["worst_cosine_error"] < 1e-5 for row in told["runs"])
    now = 2 * (128 + 4096)
    assert told["totals"] == {
        "done": 2, "skipped": 0, "refused": 0, "before": size + 8320, "after": now, "saved": size + 8320 - now,
    }  # fmt: skip


def test_float16_that_is_larger_than_the_archive_is_reported(capsys, workspace):
    """The vectors of a k-mer count of short sequences are mostly zeros."""
    call(capsys, "--workspace", workspace, "compress", "lake", "--execute", "--delete-original")
    _, out, _ = call(capsys, "--workspace", workspace, "compress", "lake", "--float16", "--delete-original")
    assert "% more" in out
    assert "-" in out.split("\n")[1].split(" %")[0].split()[-1]
    _, out, _ = call(
        capsys, "--workspace", workspace, "compress", "lake", "--float16", "--delete-original", "--execute"
    )
    assert out.strip().endswith(" bytes more")


def test_names_datasets_and_paths(capsys, workspace):
    lake, river = find_run(workspace, "lake").folder, find_run(workspace, "river").folder
    code, out, _ = call(
        capsys, "--workspace", workspace, "compress", "lake", f"lake/{lake.name}", lake, river, "--execute", "--json"
    )
    assert code == 0
    assert [row["folder"] for row in json.loads(out)["runs"]] == [str(lake), str(river)]


def test_older_than(capsys, workspace):
    before = files(workspace)
    old = legacy(runs_root(workspace) / "ancient" / "2020")
    os.utime(old / NPY, (1.6e9, 1.6e9))
    code, out, _ = call(capsys, "--workspace", workspace, "compress", "--older-than", 7)
    assert code == 0
    assert out.count("less than 7 days ago") == 2
    assert "1 to do, 2 to skip, 0 refused" in out
    code, out, _ = call(capsys, "--workspace", workspace, "compress", "--older-than", 7, "--execute")
    assert code == 0
    assert out.count("skipped, created on ") == 2
    assert "1 done, 2 skipped, 0 refused" in out
    assert {path.name for path in old.iterdir()} == {NPY, NPZ}
    now = files(workspace)
    assert {name: now[name] for name in before} == before
    call(capsys, "--workspace", workspace, "compress", "--older-than", 0, "--execute")
    assert forms(workspace, "lake") == {NPY, NPZ}


def test_any_folder_of_runs_at_any_depth(capsys, workspace, tmp_path):
    legacy(tmp_path / "seeds" / "deep" / "er" / "x")
    legacy(tmp_path / "seeds" / "y")
    legacy(workspace / "inside" / "z")
    code, out, _ = call(
        capsys,
        "--workspace",
        workspace,
        "compress",
        "--runs-root",
        tmp_path / "seeds",
        "--execute",
        "--delete-original",
    )
    assert code == 0
    assert "2 done" in out
    assert set(files(tmp_path / "seeds")) == {"deep/er/x/embeddings.npz", "y/embeddings.npz"}
    assert forms(workspace, "lake") == {NPY}
    code, out, _ = call(capsys, "--workspace", workspace, "compress", "--runs-root", "inside", "--json")
    assert [row["run"] for row in json.loads(out)["runs"]] == [str(workspace / "inside" / "z")]


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execute", [(), ("--execute",)])
def test_refused_runs_are_named_and_the_others_are_done(capsys, workspace, execute):
    lake = find_run(workspace, "lake").folder
    (lake / "run.json").write_text("{")
    old = legacy(runs_root(workspace) / "old" / "2020")
    before = {**files(lake), **files(old)}
    code, out, err = call(capsys, "--workspace", workspace, "compress", "--float16", "--delete-original", *execute)
    assert code == 1
    refused = [line for line in err.split("\n") if line.startswith("refused: ")]
    assert len(refused) == 2
    assert str(lake) in refused[0]
    assert "is damaged" in refused[0]
    assert str(old) in refused[1]
    assert "older tool" in refused[1]
    assert "2 of 3 runs could not be compressed as requested" in err
    assert ("1 done, 0 skipped, 2 refused" if execute else "1 to do, 0 to skip, 2 refused") in out
    assert {**files(lake), **files(old)} == before
    assert forms(workspace, "river") == ({F16} if execute else {NPY})
    code, out, _ = call(capsys, "--workspace", workspace, "compress", "--float16", "--json", *execute)
    assert code == 1
    told = json.loads(out)
    assert [row["run"] for row in told["runs"] if row["state"] == "refused"] == [str(lake), str(old)]
    assert told["totals"]["refused"] == 2


def test_a_damaged_original_is_refused_by_name(capsys, workspace):
    path = find_run(workspace, "lake").folder / NPY
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    code, _, err = call(capsys, "--workspace", workspace, "compress", "--execute", "--delete-original")
    assert code == 1
    assert f"refused: {path} does not match its checksum in run.json, so nothing is deleted" in err
    assert path.read_bytes() == raw
    assert forms(workspace, "lake") == {NPY}
    assert forms(workspace, "river") == {NPZ}


def test_float16_back_to_lossless_is_refused_by_name(capsys, workspace):
    call(capsys, "--workspace", workspace, "compress", "lake", "--execute", "--delete-original", "--float16")
    for execute in ((), ("--execute",)):
        code, _, err = call(capsys, "--workspace", workspace, "compress", "lake", *execute)
        assert code == 1
        assert str(find_run(workspace, "lake").folder) in err
        assert "only in float16" in err


def test_a_run_that_another_command_compresses_is_a_sentence(capsys, workspace):
    lake = find_run(workspace, "lake").folder
    with exclusive(lake / LOCK, "compressing this run"):
        code, out, err = call(capsys, "--workspace", workspace, "compress", "--execute")
    assert code == 1
    doing = "compressing this run ('ednabed compress', or 'ednabed consolidate --compress')"
    assert f"refused: {lake}: another process is {doing}; wait until it has finished" in err
    assert "1 done, 0 skipped, 1 refused" in out
    assert forms(workspace, "river") == {NPY, NPZ}


def test_an_original_that_cannot_be_deleted_is_a_sentence(capsys, workspace, monkeypatch):
    real, lake = Path.unlink, find_run(workspace, "lake").folder

    def held(self, missing_ok=False):
        if self == lake / NPY:
            raise PermissionError(13, "in use by another program", str(self))
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    code, out, err = call(capsys, "--workspace", workspace, "compress", "--execute", "--delete-original")
    assert code == 1
    assert f"not deleted: {lake / NPY} could not be deleted (in use by another program)" in err
    assert "2 done, 0 skipped, 0 refused" in out
    assert forms(workspace, "lake") == {NPY, NPZ}
    assert forms(workspace, "river") == {NPZ}
    assert call(capsys, "--workspace", workspace, "runs", "verify")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "wanted", "words"),
    [
        (("none",), 1, "there is no run 'none'"),
        (("none", "lake", "--execute"), 1, "1 of 2 runs could not be compressed as requested"),
        (("con",), 2, "cannot be a folder on every system"),
        (("lake", "--runs-root", "x"), 2, "not both"),
        (("--runs-root", "nowhere"), 1, "nowhere is not a folder"),
        (("--older-than", "-1"), 2, "older-than"),
        (("--older-than", "x"), 2, "older-than"),
        (("--level", "3"), 2, "No such option"),
    ],
)
def test_impossible_requests(capsys, workspace, monkeypatch, arguments, wanted, words):
    monkeypatch.chdir(workspace)
    code, _, err = call(capsys, "--workspace", workspace, "compress", *arguments)
    assert code == wanted
    assert words in err
    assert "Traceback" not in err


def test_an_empty_workspace(capsys, tmp_path):
    code, out, err = call(capsys, "--workspace", tmp_path, "compress", "--execute")
    assert code == 0
    assert out == "0 done, 0 skipped, 0 refused\n"
    assert "'ednabed embed FILE' creates one" in err
    assert json.loads(call(capsys, "--workspace", tmp_path, "compress", "--json")[1])["runs"] == []
    assert list(tmp_path.iterdir()) == []


def test_in_a_process_of_its_own(workspace):
    done = ednabed("compress", "lake", "--execute", "--delete-original", "--json", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert json.loads(done.stdout)["totals"]["done"] == 1
    assert ednabed("runs", "verify", "lake", cwd=workspace).returncode == 0
