"""``ednabed search``: every kind of query, every format of the results, and one sentence per error."""

from __future__ import annotations

import io
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cli_support import call_in
from ednabed.base import files as files_module
from ednabed.models.weights import revision_of
from ednabed.reference.manifest import METADATA
from ednabed.store.runs import find_run, runs_root
from reference_support import legacy
from support import ednabed

A = "ACGTTGCATGCATGCATTGACCAGTCAAGG"
B = "ACGTTGCATGCATGCATTGACCAGTCAACC"
C = "ACGTTGCATGGGATTTCCCAGAGATTTGGG"
D = "TTTTTGGGGGCCCCCAAAAATTTTTGGGGG"
RAT = "Animalia;Chordata;Mammalia;Rodentia;Muridae;Rattus;Rattus rattus"

NO_REFERENCE = "there is no reference: searched exactly in 2 runs; 'ednabed consolidate' builds a reference\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two runs and no reference: A three times, B, C and D once."""
    folder = tmp_path_factory.mktemp("ws")
    (folder / "lake.fa").write_text(f">a1;size=4;sample=S1\n{A}\n>c1;size=9;sample=S2\n{C}\n>b1\n{B}\n>a2\n{A}\n")
    (folder / "sea.tsv").write_text(f"id\tsequence\tlineage\tdepth\nd1\t{D}\t{RAT}\t12.5\na3\t{A}\t\t3\n")
    for name, dataset in (("lake.fa", "lake"), ("sea.tsv", "sea")):
        done = ednabed("embed", name, "--dataset", dataset, "--model", "kmer6", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def workspace(runs, tmp_path_factory) -> Path:
    """The same with a reference, and one with an index in ``ivf``."""
    folder = tmp_path_factory.mktemp("ref") / "ws"
    shutil.copytree(runs, folder)
    for more in ((), ("--index", "ivf", "--output", "ivf")):
        done = ednabed("consolidate", *more, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def queries(tmp_path) -> Path:
    """Three queries that can be searched, and three that cannot."""
    path = tmp_path / "q.fa"
    path.write_text(f">q1\n{C}\n>foreign\n{A}!\n>q2\n{A.lower()}\n>short\nACGTACGT\n>none\n>q1\n{D}\n")
    return path


def ids(text: str) -> list[str]:
    return [hit["id"] for hit in json.loads(text)["results"]]


# -- queries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (("--run", "lake", "--seq-idx", 0), {"id": "a1", "dataset": "lake", "seq_idx": 0}),
        (("--run", "lake", "--seq-idx", 3), {"id": "a2", "dataset": "lake", "seq_idx": 3}),
        (("--run", "sea", "--id", "a3"), {"id": "a3", "dataset": "sea", "seq_idx": 1}),
        (("--id", "a3"), {"id": "a3", "dataset": "sea", "seq_idx": 1}),
        (("--sequence", A), {"id": "query", "length": 30}),
        (("--sequence", A.lower(), "--run", "sea"), {"id": "query", "length": 30}),
    ],
)
@pytest.mark.parametrize("place", ["runs", "workspace", "ivf"])
def test_every_query_finds_the_same_everywhere(capsys, runs, workspace, query, told, place):
    where = ("--reference", "ivf") if place == "ivf" else ()
    code, out, err = call_in(capsys, runs if place == "runs" else workspace, "search", *query, *where, "--json")
    assert (code, err) == (0, NO_REFERENCE if place == "runs" else "")
    found = json.loads(out)
    assert {key: found["query"].get(key) for key in told} == told
    hits = found["results"]
    assert [(hit["rank"], hit["id"]) for hit in hits] == [(1, "a1"), (2, "b1"), (3, "c1"), (4, "d1")]
    assert (hits[0]["similarity"], hits[0]["distance"]) == (1, 0)
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)
    lake = find_run(workspace, "lake").folder
    assert hits[0] == {
        "rank": 1, "similarity": 1, "distance": 0, "id": "a1", "dataset": "lake", "run_id": lake.name, "seq_idx": 0,
        "sample": "S1", "abundance": 4, "lineage": None, "occurrences": 3, "datasets": {"lake": 2, "sea": 1},
        "length": 30, "source": "lake.fa",
        "source_file": f"consolidated_data/runs/lake/{lake.name}/embeddings.npy",
    }  # fmt: skip
    assert hits[3]["lineage"] == RAT


def test_in_a_process_of_its_own(workspace):
    done = ednabed("search", "--sequence", C, "--top-k", "1", "--json", cwd=workspace)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ids(done.stdout.decode()) == ["c1"]


def test_the_reference_needs_no_runs(capsys, workspace, tmp_path):
    shutil.copytree(workspace / "data", tmp_path / "data")
    code, out, _ = call_in(capsys, tmp_path, "search", "--id", "d1", "--align", "--json")
    assert (code, ids(out)[0], len(ids(out))) == (0, "d1", 4)
    assert json.loads(out)["results"][0]["cigar"] == "30="


def test_a_file_of_queries(capsys, workspace, queries):
    code, out, err = call_in(capsys, workspace, "search", "--fasta", queries, "--top-k", 1, "--json")
    assert code == 0
    found = json.loads(out)
    assert [entry["query"]["id"] for entry in found] == ["q1", "foreign", "q2", "short", "none", "q1"]
    assert [[hit["id"] for hit in entry["results"]] for entry in found] == [["c1"], [], ["a1"], [], [], ["d1"]]
    assert found[0]["query"] == {"id": "q1", "length": 30, "source": "q.fa"}
    rejected = {entry["query"]["id"]: entry["query"].get("rejected") for entry in found if not entry["results"]}
    assert rejected == {
        "foreign": "invalid character '!' at position 31", "short": "8 bases, fewer than the minimum of 20",
        "none": "empty sequence",
    }  # fmt: skip
    assert err == "".join(f"not searched: '{name}': {reason}\n" for name, reason in rejected.items())


@pytest.mark.parametrize("kind", ["fq", "tsv", "csv", "fa.gz", "stdin"])
def test_files_of_other_kinds(capsys, monkeypatch, workspace, tmp_path, kind):
    import gzip

    path = tmp_path / f"q.{kind}"
    text = {
        "fq": f"@q\n{C}\n+\n{'I' * 30}\n", "tsv": f"id\tsequence\nq\t{C}\n", "csv": f"id,sequence\nq,{C}\n",
    }.get(kind, f">q\n{C}\n")  # fmt: skip
    path.write_bytes(gzip.compress(text.encode()) if kind == "fa.gz" else text.encode())
    if kind == "stdin":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, out, err = call_in(capsys, workspace, "search", "--fasta", "-" if kind == "stdin" else path, "--json")
    assert (code, err) == (0, "")
    [found] = json.loads(out)
    assert (found["query"]["id"], found["results"][0]["id"], len(found["results"])) == ("q", "c1", 4)


def test_several_files_and_many_bad_queries(capsys, workspace, queries, tmp_path):
    many = tmp_path / "many.fa"
    many.write_text("".join(f">bad{i}\nACGT\n" for i in range(30)))
    code, out, err = call_in(capsys, workspace, "search", "--fasta", many, "--fasta", queries, "--json")
    assert code == 0
    assert [entry["query"]["id"] for entry in json.loads(out)][29:32] == ["bad29", "q1", "foreign"]
    assert sum("rejected" in entry["query"] for entry in json.loads(out)) == 33
    assert err.count("not searched: ") == 20
    assert err.endswith("... and 13 more were not searched\n")


def test_results_come_while_queries_are_still_read(workspace):
    """The first results for a stream are written before it ends."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "ednabed.cli.main",
        "search",
        "--fasta",
        "-",
        "--top-k",
        "1",
        "--format",
        "tsv",
    ]
    record, ended = f">q\n{C}\n".encode(), threading.Event()

    def feed() -> None:
        process.stdin.write(record * 20_000)
        process.stdin.flush()
        ended.wait(120)
        process.stdin.write(record)
        process.stdin.close()

    with subprocess.Popen(command, cwd=workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            assert process.stdout.readline().startswith(b"query\trank")
            for _ in range(4096):
                assert process.stdout.readline().startswith(b"q\t1\t1.000000\t0.000000\tc1\t")
        finally:
            ended.set()
        assert len(process.stdout.readlines()) == 20_001 - 4096
        feeder.join()
        assert process.wait() == 0


# -- search options --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (("--top-k", 2), ["a1", "b1"]),
        (("--top-k", 99), ["a1", "b1", "c1", "d1"]),
        (("--exclude-self",), ["b1", "c1", "d1"]),
        (("--exclude-self", "--top-k", 1), ["b1"]),
        (("--exclude-run", "LAKE"), ["a3", "d1"]),
        (("--exclude-run", "LAKE", "--exclude-run", "SEA"), []),
        (("--dataset", "sea"), ["a3", "d1"]),
        (("--dataset", "sea", "--dataset", "lake"), ["a1", "b1", "c1", "d1"]),
        (("--dataset", "sea", "--exclude-self"), ["d1"]),
        (("--min-similarity", 1), ["a1"]),
        (("--min-similarity", 0.5), ["a1", "b1"]),
        (("--where", "abundance >= 4"), ["a1", "c1"]),
        (("--where", "depth < 10 OR sample = 'S2'"), ["a3", "c1"]),
        (("--where", "lineage LIKE '%Rattus%' OR abundance IS NULL", "--dataset", "lake"), ["a2", "b1"]),
        (("--occurrences",), ["a1", "a2", "a3", "b1", "c1", "d1"]),
        (("--occurrences", "--top-k", 1, "--dataset", "lake"), ["a1", "a2"]),
        (("--exact", "--occurrences", "--where", "seq_idx > 0"), ["a2", "a3", "b1", "c1"]),
    ],
)
@pytest.mark.parametrize("place", ["runs", "workspace", "ivf"])
def test_search_options(capsys, runs, workspace, choice, found, place):
    labels = {"LAKE": find_run(workspace, "lake").label, "SEA": find_run(workspace, "sea").label}
    choice = [labels.get(part, part) for part in choice]
    where = ("--reference", "ivf") if place == "ivf" else ()
    folder = runs if place == "runs" else workspace
    code, out, err = call_in(capsys, folder, "search", "--sequence", A, *where, *choice, "--json")
    assert (code, ids(out)) == (0, found)
    assert err == (NO_REFERENCE if place == "runs" else "") + ("" if found else "no hit\n")


def test_queries_without_hits_are_counted(capsys, workspace, queries):
    code, out, err = call_in(
        capsys, workspace, "search", "--fasta", queries, "--dataset", "sea", "--min-similarity", 0.9, "--json"
    )
    assert code == 0
    assert [len(entry["results"]) for entry in json.loads(out)] == [0, 0, 1, 0, 0, 1]
    assert err.endswith("\n1 query has no hit\n")


def test_alignments(capsys, workspace):
    reverse = A[::-1].translate(str.maketrans("ACGT", "TGCA"))
    code, out, _ = call_in(
        capsys, workspace, "search", "--sequence", reverse, "--align", "--json", "--where", "id = 'a1'"
    )
    assert code == 0
    [hit] = json.loads(out)["results"]
    wanted = {"identity": 100.0, "query_coverage": 100.0, "target_coverage": 100.0, "strand": "-", "cigar": "30="}
    assert {key: hit[key] for key in wanted} == wanted
    code, out, _ = call_in(capsys, workspace, "search", "--id", "b1", "--align", "--top-k", 2, "--format", "blast6")
    assert code == 0
    assert [line.split("\t")[:4] for line in out.splitlines()] == [
        ["b1", "b1", "100.000", "30"], ["b1", "a1", "93.333", "30"]
    ]  # fmt: skip


# -- formats of the results ------------------------------------------------------------------------------------------


def test_the_table(capsys, workspace):
    code, out, err = call_in(capsys, workspace, "search", "--run", "lake", "--id", "a2", "--top-k", 2)
    assert (code, err) == (0, "")
    lines = out.strip().split("\n")
    assert lines[0].split()[:5] == ["rank", "similarity", "occurrences", "id", "dataset"]
    assert [line.split()[3] for line in lines[1:]] == ["a1", "b1"]
    assert lines[1].split()[1:3] == ["1.0000", "3"]


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [
        ("h.json", (), "["),
        ("h.tsv", (), "query\trank\tsimilarity\tdistance\tid\t"),
        ("h.b6", ("--align",), "q1\tc1\t100.000\t30\t0\t0\t1\t30\t1\t30\t-1\t0\n"),
        ("h.out", ("--format", "tsv"), "query\trank\t"),
        ("deep/er/h.txt", (), "query\trank\t"),
        ("h.tsv", ("--json",), "["),
    ],
)
def test_files_of_results(capsys, workspace, queries, tmp_path, name, options, begins):
    target = tmp_path / "out" / name
    code, out, _ = call_in(capsys, workspace, "search", "--fasta", queries, "--output", target, *options)
    assert (code, out) == (0, "")
    text = target.read_text(encoding="utf-8")
    assert text.startswith(begins)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    kind = {"[": "json", "q1": "blast6"}.get(begins[:2], "tsv")
    more = ["--align"] if kind == "blast6" else []
    assert call_in(capsys, workspace, "search", "--fasta", queries, "--format", kind, *more)[1] == text


def test_one_query_is_one_object_and_a_file_is_a_list(capsys, workspace, tmp_path):
    one = tmp_path / "one.fa"
    one.write_text(f">q\n{C}\n")
    assert isinstance(json.loads(call_in(capsys, workspace, "search", "--fasta", one, "--json")[1]), list)
    found = json.loads(call_in(capsys, workspace, "search", "--sequence", C, "--json")[1])
    assert set(found) == {"query", "results"}
    # The keys of the older guide.
    assert {"rank", "distance", "dataset", "run_id", "seq_idx", "source_file"} <= set(found["results"][0])


# -- index, exactness, functions -------------------------------------------------------------------------------------


def index_of(workspace: Path) -> Path:
    [path] = (workspace / "ivf" / "builds").glob("*/consolidated_index.faiss")
    return path


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Path:
    """A reference for which an index is useful."""
    folder = tmp_path_factory.mktemp("indexed")
    rng = random.Random(0)
    records = [f">s{i}\n{''.join(rng.choices('ACGT', k=60))}\n" for i in range(600)]
    (folder / "x.fa").write_text("".join(records))
    for command in (("embed", "x.fa"), ("consolidate", "--index", "ivf", "--output", "ivf")):
        assert ednabed(*command, cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize("damage", ["absent", "cut", "other bytes"])
def test_a_missing_or_damaged_index(capsys, indexed, tmp_path, damage):
    folder = tmp_path / "ws"
    shutil.copytree(indexed, folder)
    path = index_of(folder)
    if damage == "absent":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.write_bytes(bytes(path.stat().st_size))
    query = ("search", "--reference", "ivf", "--id", "s77", "--json", "--top-k", 1)
    code, out, err = call_in(capsys, folder, *query)
    assert (code, ids(out)) == (0, ["s77"])
    assert err.startswith("searched exactly, because ")
    assert str(path) in err
    assert err.endswith("; 'ednabed consolidate --rebuild' builds the index again\n")
    assert err.count("\n") == 1
    assert call_in(capsys, folder, *query, "--exact") == (0, out, "")
    # A complete index gives the same results without a notice.
    assert call_in(capsys, indexed, *query) == (0, out, "")


def test_the_query_is_embedded_by_the_function_of_the_reference_and_no_other(capsys, runs, tmp_path):
    folder = tmp_path / "ws"
    shutil.copytree(runs, folder)
    done = ednabed("embed", "lake.fa", "--dataset", "full", "--model", "kmer6-full", "--strand", "both", cwd=folder)
    assert done.returncode == 0
    code, out, err = call_in(capsys, folder, "search", "--sequence", A)
    assert (code, out) == (1, "")
    assert "created with 2 functions" in err
    assert "give a run of the intended function as --run" in err
    code, out, err = call_in(capsys, folder, "search", "--sequence", A, "--run", "full", "--json")
    assert (code, ids(out)) == (0, ["a1", "b1", "c1"])
    assert err.startswith("there is no reference: searched exactly in full/")
    for more in (("--run", "lake"), ("--run", "sea")):
        code, out, err = call_in(capsys, folder, "search", *more, "--seq-idx", 1, "--json")
        assert (code, err) == (0, NO_REFERENCE)
    assert ednabed("versions", "register", "--version", "v2", "--run", "full", cwd=folder).returncode == 0
    assert ednabed("consolidate", "--version", "v2", cwd=folder).returncode == 0
    code, out, err = call_in(capsys, folder, "search", "--sequence", A, "--json")
    assert (code, err, ids(out)) == (0, "", ["a1", "b1", "c1"])
    for query in (("--seq-idx", 0), ("--id", "a1"), ("--sequence", A)):
        code, out, err = call_in(capsys, folder, "search", "--run", "lake", *query)
        assert (code, out) == (1, "")
        assert "their vectors cannot be compared" in err
        assert err.count("\n") == 1


def test_a_model_in_a_folder(capsys, shared, runs, tmp_path):
    folder, tiny = tmp_path / "ws", tmp_path / "tiny"
    shutil.copytree(shared / "golden" / "nt_tiny" / "v2", tiny)
    folder.mkdir()
    shutil.copy(runs / "lake.fa", folder)
    done = ednabed("embed", "lake.fa", "--model", tiny, "--pooling", "cls", "--layer", "1", "--cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    code, out, err = call_in(capsys, folder, "search", "--sequence", A, "--model", tiny, "--json")
    assert code == 0, err
    assert ids(out)[0] == "a1"
    assert json.loads(out)["results"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    code, out, err = call_in(capsys, folder, "search", "--sequence", A)
    assert (code, out) == (1, "")
    assert "was built with 'tiny', and tiny cannot be used as this model" in err
    assert "give the name or the folder of the model as --model" in err
    # Its own records need no model.
    assert call_in(capsys, folder, "search", "--id", "a1", "--json")[0] == 0


def test_weights_that_are_not_available(capsys, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert revision_of(tmp_path) is None
    code, out, err = call_in(capsys, runs, "search", "--sequence", A, "--model", "nt-v2-50m")
    assert (code, out) == (1, "")
    assert "run 'ednabed models fetch nt-v2-50m'" in err


def test_runs_that_cannot_be_searched_are_named(capsys, runs, tmp_path):
    folder = tmp_path / "ws"
    shutil.copytree(runs, folder)
    legacy(runs_root(folder) / "old" / "r", np.ones((2, 8), np.float32))
    (find_run(folder, "lake").folder / "embeddings.npy").unlink()
    done = ednabed("search", "--sequence", A, "--json", cwd=folder)
    assert (done.returncode, ids(done.stdout.decode())) == (0, ["a3", "d1"])
    lines = sorted(done.stderr.decode().splitlines(), reverse=True)
    assert lines[0].startswith("there is no reference: searched exactly in sea/")
    assert lines[1].startswith("not searched: consolidated_data/runs/old/r: created by an older tool")
    assert lines[2].startswith("not searched: consolidated_data/runs/lake/")
    assert "embeddings.npy is missing" in lines[2]


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "wanted", "words"),
    [
        ((), 2, "give exactly one query"),
        (("--run", "lake"), 2, "give exactly one query"),
        (("--run", "lake", "--seq-idx", 0, "--id", "a1"), 2, "give exactly one query"),
        (("--sequence", A, "--fasta", "x.fa"), 2, "give exactly one query"),
        (("--seq-idx", 0), 2, "give that run as --run"),
        (("--run", "lake", "--seq-idx", -1), 2, "--seq-idx"),
        (("--run", "lake", "--seq-idx", 4), 1, "has records 0 to 3, not 4"),
        (("--run", "none", "--seq-idx", 0), 1, "there is no run 'none'"),
        (("--id", "nobody"), 1, "no record with id 'nobody'"),
        (("--run", "sea", "--id", "a1"), 1, "no record with id 'a1'"),
        (("--id", "\udcff"), 2, r"'\udcff' is not valid UTF-8"),
        (("--sequence", "AC\udcffGT"), 2, "not valid UTF-8"),
        (("--sequence", A, "--dataset", "\udcff"), 2, "not valid UTF-8"),
        (("--sequence", A, "--where", "id = '\udcff'"), 2, "position 7"),
        (("--sequence", ""), 1, "it is empty"),
        (("--sequence", "ACGT!"), 1, "position 5"),
        (("--sequence", "ACG"), 1, "cannot be embedded by kmer6"),
        (("--sequence", A, "--top-k", 0), 2, "--top-k"),
        (("--sequence", A, "--min-similarity", 2), 2, "min-similarity is 2.0"),
        (("--sequence", A, "--min-similarity", "nan"), 2, "min-similarity is nan"),
        (("--sequence", A, "--where", "sample = "), 2, "found the end"),
        (("--sequence", A, "--where", "nothing = 1"), 2, "no column 'nothing'"),
        (("--sequence", A, "--dataset", "none"), 1, "no dataset 'none'; it has lake, sea"),
        (("--sequence", A, "--exclude-run", "lake"), 1, "no run 'lake'; it has lake/"),
        (("--sequence", A, "--format", "blast6"), 2, "alignments"),
        (("--sequence", A, "--format", "xml"), 2, "xml"),
        (("--sequence", A, "--json", "--format", "tsv"), 2, "exclude each other"),
        (("--sequence", A, "--output", "OUT/x.foo"), 2, ".foo"),
        (("--sequence", A, "--output", "OUT/x.b6"), 2, "alignments"),
        (("--sequence", A, "--output", "WS"), 2, "is a directory"),
        (("--fasta", "WS/lake.fa", "--output", "WS/lake.fa", "--format", "tsv"), 2, "is one of the query files"),
        (("--fasta", "OUT/none.fa", "--output", "OUT/x.tsv"), 1, "no such file"),
        (("--fasta", "WS/empty.fa", "--output", "OUT/x.tsv"), 1, "is empty"),
        (("--fasta", "WS"), 1, "is a folder"),
        (("--fasta", "-", "--fasta", "-"), 2, "can be given only once"),
        (("--id", "nobody", "--output", "OUT/x.json"), 1, "no record with id"),
        (("--sequence", A, "--reference", ".."), 1, "there is no reference '..'"),
        (("--sequence", A, "--reference", "/"), 1, "there is no reference '/'"),
        (("--sequence", A, "--reference", ""), 1, "there is no reference ''"),
        (("--sequence", A, "--reference", "lake.fa"), 1, "there is no reference 'lake.fa'"),
        (("--sequence", A, "--reference", "ivf/builds"), 1, "there is no reference"),
        (("--sequence", A, "--reference", "x" * 300), 1, "xxx"),
        (("--sequence", A, "--model", "kmer6-full"), 1, "their vectors cannot be compared"),
        (("--sequence", A, "--model", "nonsense"), 1, "nonsense cannot be used as this model"),
        (("--sequence", A, "--model", "no/where/here"), 1, "folder does not exist"),
        (("--sequence", A, "--table", "--reference", "ivf"), 2, "exclude each other"),
    ],
)
def test_one_sentence_and_nothing_written(capsys, workspace, tmp_path, arguments, wanted, words):
    (workspace / "empty.fa").touch()
    out_folder = tmp_path / "out"
    arguments = [
        a.replace("OUT", str(out_folder)).replace("WS", str(workspace)) if isinstance(a, str) else a for a in arguments
    ]
    code, out, err = call_in(capsys, workspace, "search", *arguments)
    assert code == wanted
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    # click adds how the command is used.
    assert err.count("\n") == (1 if err.startswith("ednabed: ") else 4)
    assert not out_folder.exists()


def test_an_id_of_several_sequences_shows_how_to_choose(capsys, runs, tmp_path):
    folder = tmp_path / "ws"
    shutil.copytree(runs, folder)
    (folder / "more.fa").write_text(f">a1\n{D}\n")
    assert ednabed("embed", "more.fa", "--dataset", "more", "--model", "kmer6", cwd=folder).returncode == 0
    for _ in range(2):
        code, out, err = call_in(capsys, folder, "search", "--id", "a1")
        assert (code, out) == (1, "")
        choices = [f"--run {find_run(folder, name).label} --seq-idx 0" for name in ("lake", "more")]
        assert all(choice in err for choice in choices)
        for choice, best in zip(choices, ("a1", "a1"), strict=True):
            code, out, _ = call_in(capsys, folder, "search", *choice.split(), "--json")
            assert (code, ids(out)[0]) == (0, best)
        assert ednabed("consolidate", cwd=folder).returncode == 0


DAMAGES = {
    "metadata cut": lambda folder: (folder / METADATA).write_bytes((folder / METADATA).read_bytes()[:50]),
    "newer schema": lambda folder: (folder / METADATA).write_text(
        (folder / METADATA).read_text().replace("ednabed.reference/1", "ednabed.reference/9")
    ),
    "metadata no JSON": lambda folder: (folder / METADATA).write_bytes(b"\xff\x00"),
    "build gone": lambda folder: shutil.rmtree(folder / "builds"),
    "vectors cut": lambda folder: [cut(path) for path in folder.glob("builds/*/consolidated_embeddings.npy")],
    "rows cut": lambda folder: [cut(path) for path in folder.glob("builds/*/consolidated_rows.npy")],
    "records cut": lambda folder: [cut(path) for path in folder.glob("builds/*/records-00000.parquet")],
    "sequences cut": lambda folder: [cut(path) for path in folder.glob("builds/*/sequences-00000.parquet")],
}


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-30])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_reference_is_one_sentence(capsys, workspace, tmp_path, damage):
    shutil.copytree(workspace, tmp_path / "ws")
    DAMAGES[damage](tmp_path / "ws" / "data" / "reference")
    target = tmp_path / "x.json"
    code, out, err = call_in(capsys, tmp_path / "ws", "search", "--sequence", A, "--align", "--output", target)
    assert (code, out) == (1, "")
    assert err.startswith("ednabed: ")
    assert err.count("\n") == 1
    assert str(tmp_path / "ws" / "data" / "reference") in err
    if damage == "newer schema":
        assert "update ednabed" in err
    assert not target.exists()


def test_a_damaged_run_is_one_sentence(capsys, runs, tmp_path):
    shutil.copytree(find_run(runs, "lake").folder, tmp_path / "run")
    (tmp_path / "run" / "records.parquet").write_bytes(b"PAR1")
    code, out, err = call_in(capsys, runs, "search", "--run", tmp_path / "run", "--seq-idx", 0)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "records.parquet cannot be read" in err


def test_a_workspace_without_runs(capsys, tmp_path):
    for query in (("--run", "see", "--seq-idx", 0), ("--sequence", A), ("--id", "x")):
        code, out, err = call_in(capsys, tmp_path, "search", *query)
        assert (code, out) == (1, "")
        assert "'ednabed embed' creates one" in err or "'ednabed embed FILE' creates a run" in err
    assert list(tmp_path.iterdir()) == []


# -- complete or not at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "tsv", "b6"])
@pytest.mark.parametrize("older", [False, True])
def test_a_truncated_file_leaves_no_results(capsys, workspace, tmp_path, kind, older):
    (tmp_path / "q.fq").write_text(f"@q\n{C}\n+\n{'I' * 30}\n" * 9_000 + "@last\nACGT\n")
    target = tmp_path / "out" / f"h.{kind}"
    if older:
        target.parent.mkdir()
        target.write_text("older")
    code, out, err = call_in(
        capsys, workspace, "search", "--fasta", tmp_path / "q.fq", "--output", target, "--top-k", 1,
        *(["--align"] if kind == "b6" else []),
    )  # fmt: skip
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "q.fq" in err
    assert [path.read_text() for path in target.parent.iterdir()] == (["older"] if older else [])


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_leaves_no_results(workspace, tmp_path):
    target = tmp_path / "h.tsv"
    target.write_text("older")
    command = [sys.executable, "-m", "ednabed.cli.main", "search", "--fasta", "-", "--output", str(target)]
    with subprocess.Popen(command, cwd=workspace, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(f">q\n{C}\n".encode() * 20_000)
        process.stdin.flush()
        limit = time.monotonic() + 120
        while not list(tmp_path.glob(".h.tsv.*.tmp")) and time.monotonic() < limit:
            time.sleep(0.01)
        assert list(tmp_path.glob(".h.tsv.*.tmp")), "results are being written"
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        err = process.stderr.read().decode()
        assert process.wait() == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["h.tsv"]
    assert target.read_text() == "older"


def test_a_full_disk_leaves_no_results(capsys, workspace, queries, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", full)
    target = tmp_path / "out" / "h.json"
    code, out, err = call_in(capsys, workspace, "search", "--fasta", queries, "--output", target)
    assert (code, out) == (1, "")
    assert "No space left on device" in err
    assert list(target.parent.iterdir()) == []


def test_nothing_is_written_to_the_workspace(capsys, workspace, queries):
    def everything() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}

    before = everything()
    for query in (("--sequence", A), ("--fasta", queries), ("--run", "lake", "--seq-idx", 0), ("--id", "a1")):
        assert call_in(capsys, workspace, "search", *query, "--align")[0] == 0
    assert everything() == before


def test_a_function_whose_model_cannot_be_opened(capsys, tmp_path):
    """A run whose model cannot be opened is still searched by its records."""
    from reference_support import add_run

    add_run(tmp_path, "hand", "r", [1, 2, 3])
    code, out, _ = call_in(capsys, tmp_path, "search", "--run", "hand", "--seq-idx", 1, "--json")
    assert (code, ids(out)[0]) == (0, "r-1")
    code, _, err = call_in(capsys, tmp_path, "search", "--sequence", A)
    assert code == 1
    assert "hand/r was built with" in err
