"""``ednabed search``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ednabed.cli import main as entry
from ednabed.store.runs import find_run
from support import ednabed

A = "ACGTTGCATGCATGCATTGACCAGTCAAGG"
B = "ACGTTGCATGCATGCATTGACCAGTCAACC"
C = "GGGATTTCCCAGAGATTTGGGAAACACTCT"


def call(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        entry.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ws")
    (folder / "a.fa").write_text(f">a1;size=4;sample=S1\n{A}\n>c1\n{C}\n>b1\n{B}\n>a2\n{A}\n")
    assert ednabed("embed", "a.fa", "--dataset", "see", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    "query",
    [("--seq-idx", 0), ("--seq-idx", 3), ("--id", "a1"), ("--id", "a2"), ("--sequence", A), ("--sequence", A.lower())],
)
def test_the_nearest_come_first_each_sequence_once(capsys, workspace, query):
    code, out, err = call(capsys, "--workspace", workspace, "search", "--run", "see", *query, "--json")
    assert (code, err) == (0, "")
    hits = json.loads(out)
    assert [hit["id"] for hit in hits] == ["a1", "b1", "c1"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert hits[0]["similarity"] > hits[1]["similarity"] > hits[2]["similarity"]
    assert (hits[0]["occurrences"], hits[0]["abundance"], hits[0]["sample"]) == (2, 4, "S1")


def test_the_table_and_the_number_of_hits(capsys, workspace):
    code, out, err = call(capsys, "--workspace", workspace, "search", "--run", "see", "--id", "a2", "--top-k", 2)
    assert (code, err) == (0, "")
    lines = out.strip().split("\n")
    assert lines[0].split() == ["rank", "similarity", "occurrences", "id", "sample", "abundance", "lineage"]
    assert [line.split()[3] for line in lines[1:]] == ["a1", "b1"]
    assert lines[1].split()[1] == "1.0000"


def test_in_a_process_of_its_own(workspace):
    run = find_run(workspace, "see")
    done = ednabed("search", "--run", run.label, "--sequence", C, "--top-k", "1", "--json", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert [hit["id"] for hit in json.loads(done.stdout)] == ["c1"]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "wanted", "words"),
    [
        ((), 2, "name one query"),
        (("--seq-idx", 0, "--id", "a1"), 2, "name one query"),
        (("--seq-idx", -1), 2, ""),
        (("--seq-idx", 4), 1, "has records 0 to 3, not 4"),
        (("--id", "nobody"), 1, "no record with id 'nobody'"),
        (("--sequence", ""), 1, "empty"),
        (("--sequence", "ACGT!"), 1, "position 5"),
        (("--sequence", "ACG"), 1, "cannot be embedded by kmer6"),
        (("--seq-idx", 0, "--top-k", 0), 2, ""),
    ],
)
def test_queries_that_cannot_be_answered(capsys, workspace, arguments, wanted, words):
    code, out, err = call(capsys, "--workspace", workspace, "search", "--run", "see", *arguments)
    assert code == wanted
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_runs_that_are_not_there(capsys, workspace, tmp_path):
    assert call(capsys, "--workspace", workspace, "search", "--run", "none", "--seq-idx", 0)[0] == 1
    assert call(capsys, "--workspace", workspace, "search", "--seq-idx", 0)[0] == 2
    code, _, err = call(capsys, "--workspace", tmp_path, "search", "--run", "see", "--seq-idx", 0)
    assert code == 1
    assert "'ednabed embed' makes one" in err


def test_a_damaged_run_is_one_sentence(capsys, workspace, tmp_path):
    import shutil

    shutil.copytree(find_run(workspace, "see").folder, tmp_path / "run")
    (tmp_path / "run" / "records.parquet").write_bytes(b"PAR1")
    code, _, err = call(capsys, "search", "--run", tmp_path / "run", "--seq-idx", 0)
    assert code == 1
    assert err.count("\n") == 1
    assert "records.parquet cannot be read" in err
