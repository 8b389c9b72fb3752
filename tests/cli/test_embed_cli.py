"""``ednabed embed`` and the entry point: streams, exit codes, fast help."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cli_support import call
from ednabed.cli import main as entry
from ednabed.sequences.readers import READING
from ednabed.store.runs import Run, find_run
from support import ednabed

GOOD = "ACGTTGCATGCATGCATTGACC"
FASTA = f">x;size=3\n{GOOD}\n>y\n{GOOD}A\n>z\n{GOOD}\n>short\nACG\n>amb\n{GOOD}R\n"
VERBS = ("embed", "runs", "search", "validate", "models", "table")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.fa").write_text(FASTA)
    return tmp_path


def one_sentence(done: subprocess.CompletedProcess, code: int) -> str:
    """Return the single line in which an error is reported."""
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    lines = done.stderr.decode().strip().split("\n")
    assert len(lines) == 1, lines
    assert lines[0].startswith("ednabed: ")
    return lines[0]


@pytest.mark.parametrize(
    ("more", "model", "fingerprint"), [((), "barcode-1", None), (("--model", "kmer6"), "kmer6", "f003ebff2bd2")]
)
def test_a_run_is_created_and_summarised(folder, more, model, fingerprint):
    done = ednabed("embed", "a.fa", "--dataset", "see", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    assert "4 embedded of 5 read, 3 distinct sequences" in out
    assert "rejected   1, reasons in" in out
    assert "ambiguous  1 records contain an N" in out
    assert "computed   3 sequences" in out
    run = find_run(folder, "see")
    # Learned weights may be replaced by better ones; a formula does not change.
    fingerprint = fingerprint or run.manifest.spec.fingerprint[:12]
    assert f"{model}, 512 dimensions, fingerprint {fingerprint} (cpu fp32)" in out
    assert run.verify() == []
    assert (folder / out.split("\n")[0].split(None, 1)[1]).resolve() == run.folder.resolve()
    assert b"Traceback" not in done.stderr


def test_json_is_one_document_and_nothing_else(folder):
    done = ednabed("embed", "a.fa", "--output", "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    run = Run.open(folder / "out")
    assert told["counts"] == run.manifest.counts
    assert told["counts"]["read"] == told["counts"]["embedded"] + told["counts"]["rejected"]
    assert (told["existed"], told["computed"], told["taken_up"]) == (False, 3, 0)
    assert told["model"] == run.manifest.spec.model == "barcode-1"
    assert told["fingerprint"] == run.manifest.spec.fingerprint
    assert (folder / told["run"]).resolve() == run.folder.resolve()
    again = ednabed("embed", "a.fa", "--output", "out", "--json", cwd=folder)
    assert json.loads(again.stdout)["existed"] is True


def test_the_same_command_again_does_nothing_and_reports_it_on_stderr(folder, capsys):
    assert call(capsys, "--workspace", folder, "embed", folder / "a.fa")[0] == 0
    code, out, err = call(capsys, "--workspace", folder, "embed", folder / "a.fa")
    assert code == 0
    assert "nothing was done (--no-resume creates a new run)" in err
    assert "nothing was done" not in out
    assert call(capsys, "--workspace", folder, "embed", folder / "a.fa", "--no-resume")[0] == 0
    assert len(list((folder / "consolidated_data" / "runs" / "default").iterdir())) == 2


def test_standard_input(folder):
    done = ednabed("embed", "-", "--output", "out", "--json", cwd=folder, stdin=gzip.compress(FASTA.encode()))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["embedded"] == 4
    assert Run.open(folder / "out").manifest.inputs[0]["name"] == "stdin"
    assert one_sentence(ednabed("embed", "-", cwd=folder, stdin=b""), 1)


def test_the_workspace_comes_from_the_option_or_the_environment(folder):
    done = ednabed("embed", folder / "a.fa", "--dataset", "d", cwd=folder, env={"EDNABED_WORKSPACE": "from_env"})
    assert done.returncode == 0, done.stderr
    assert find_run(folder / "from_env", "d").verify() == []
    done = ednabed(
        "--workspace",
        "from_option",
        "embed",
        "a.fa",
        "--output",
        "o",
        cwd=folder,
        env={"EDNABED_WORKSPACE": "from_env"},
    )
    assert done.returncode == 0, done.stderr
    assert Run.open(folder / "from_option" / "o").verify() == []
    listed = ednabed("runs", "list", cwd=folder, env={"EDNABED_WORKSPACE": "from_env"})
    assert b"d/" in listed.stdout


def test_options_reach_the_run(folder, capsys):
    (folder / "l.tsv").write_text("id\ttaxonomy\nx\tAnimalia;Chordata;;;;;\n")
    code, out, err = call(
        capsys, "--workspace", folder, "embed", folder / "a.fa", "--output", "o", "--model", "kmer6-full",
        "--strand", "both", "--alphabet", "strict", "--min-length", 2, "--max-sequences", 3,
        "--labels", folder / "l.tsv",
        "--cpu", "--batch-size", 1,
    )  # fmt: skip
    assert code == 0, err
    assert "labelled   1 records have a lineage" in out
    manifest = Run.open(folder / "o").manifest
    assert (manifest.spec.dimension, manifest.spec.strand, manifest.spec.alphabet) == (4096, "both", "strict")
    assert manifest.options == {"min_length": 2, "max_sequences": 3, "reading": READING}
    assert manifest.counts["embedded"] == 3


BAD = {
    "cut.fa.gz": gzip.compress(FASTA.encode() * 50)[:-10],
    "quality.fq": f"@a\n{GOOD}\n+\nIII\n".encode(),
    "binary": bytes(range(256)) * 20,
    "empty.fa": b"",
    "none.fa": b">a\nACG\n",
}


def test_sample_metadata_are_joined_to_the_records(folder, capsys):
    fasta = "".join(f">a{i};sample=S{i % 3}\n{'ACGTTGCA' * 10}{'ACGT' * i}\n" for i in range(6))
    (folder / "s.fasta").write_text(fasta)
    known = folder / "known.tsv"
    known.write_text("sample\tlatitude\tlongitude\tdepth\nS0\t45.5\t-124.7\t558\nS1\t40.1\t-124.9\t\n")
    command = ("--workspace", folder, "embed", folder / "s.fasta", "--samples", known, "--model", "kmer6")
    assert call(capsys, *command)[0] == 0
    run = find_run(folder, "default")
    table = run.load_records()
    assert table.column("latitude").to_pylist() == [45.5, 40.1, None] * 2
    assert table.column("depth").to_pylist() == [558, None, None] * 2
    assert run.manifest.options["samples"]["name"] == "known.tsv"
    code, out, _ = call(capsys, "--workspace", folder, "search", "--run", "default", "--seq-idx", 0, "--where",
                        "depth >= 500", "--json")  # fmt: skip
    assert code == 0 and {hit["sample"] for hit in json.loads(out)["results"]} == {"S0"}
    # The same table gives the same run, another table another run.
    assert call(capsys, *command)[0] == 0
    assert len(list(run.folder.parent.glob("2*"))) == 1
    known.write_text(known.read_text() + "S2\t1\t2\t3\n")
    assert call(capsys, *command)[0] == 0
    assert len(list(run.folder.parent.glob("2*"))) == 2
    known.write_text("sample\tlatitude\tlongitude\nS0\t95\t2\n")
    code, _, err = call(capsys, *command)
    assert code == 1 and "sample 'S0': its latitude is 95" in err
    assert len(list(run.folder.parent.glob("*"))) == 2


@pytest.mark.parametrize("name", [*BAD, "missing.fa", "directory"])
def test_a_broken_input_is_one_sentence_exit_1_and_nothing_left(tmp_path, capsys, name):
    path = tmp_path / name
    if name == "directory":
        path.mkdir()
    elif name in BAD:
        path.write_bytes(BAD[name])
    code, out, err = call(capsys, "--workspace", tmp_path / "ws", "embed", path)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert name in err
    assert not (tmp_path / "ws").exists()


def test_errors_in_a_process_of_their_own(folder):
    assert "missing.fa" in one_sentence(ednabed("embed", "missing.fa", cwd=folder), 1)
    assert "nonsense" in one_sentence(ednabed("embed", "a.fa", "--model", "nonsense", cwd=folder), 2)
    assert {p.name for p in folder.iterdir()} == {"a.fa"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.fa", "--dataset", "../x"],
        ["a.fa", "--dataset", "con"],
        ["a.fa", "--dataset", "d", "--output", "o"],
        ["a.fa", "--max-sequences", "0"],
        ["a.fa", "--batch-size", "0"],
        ["a.fa", "--strand", "minus"],
        ["a.fa", "--precision", "fp8"],
        ["a.fa", "--precision", "bf16"],
        ["a.fa", "--nonsense"],
        ["a.fa", "--model", "nt-v2-50m", "--gpu"],
        ["a.fa", "--layer", "2"],
        ["a.fa", "--max-tokens", "50"],
        ["a.fa", "--model", "kmer66"],
        ["-", "-"],
    ],
)
def test_usage_errors_are_exit_2_and_leave_nothing(folder, capsys, arguments):
    code, out, err = call(capsys, "--workspace", folder / "ws", "embed", *arguments)
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert not (folder / "ws").exists()


def test_an_output_that_is_taken_is_exit_1(folder, capsys):
    (folder / "o").mkdir()
    (folder / "o" / "precious").write_text("x")
    code, _, err = call(capsys, "--workspace", folder, "embed", folder / "a.fa", "--output", "o")
    assert code == 1
    assert "give another --output" in err


def test_debug_gives_the_traceback(folder):
    done = ednabed("--debug", "embed", "missing.fa", cwd=folder)
    assert done.returncode == 1
    assert b"Traceback (most recent call last)" in done.stderr
    assert b"InputError" in done.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt, "abort"])
def test_an_interruption_is_exit_130(folder, capsys, monkeypatch, error):
    import click

    def stop(*_, **__):
        raise (click.exceptions.Abort if error == "abort" else error)

    monkeypatch.setattr("ednabed.store.run_writer.embed_to_run", stop)
    code, out, err = call(capsys, "--workspace", folder, "embed", folder / "a.fa")
    assert code == 130
    assert out == ""
    assert "interrupted" in err
    assert "Traceback" not in err


def test_an_interruption_while_computing_keeps_what_was_computed(folder, capsys, monkeypatch):
    from ednabed.models.kmer import KmerEncoder

    real, calls = KmerEncoder.forward, []

    def stop(self, tokens):
        calls.append(len(tokens))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, tokens)

    monkeypatch.setattr(KmerEncoder, "forward", stop)
    arguments = (
        "--workspace", folder, "embed", folder / "a.fa", "--dataset", "d", "--model", "kmer6", "--batch-size", 1,
        "--json",
    )  # fmt: skip
    assert call(capsys, *arguments)[0] == 130
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    told = json.loads(out)
    assert (told["computed"], told["taken_up"]) == (1, 2)
    assert find_run(folder, "d").verify() == []


def test_a_full_disk_is_one_sentence(folder, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "somewhere/file")

    monkeypatch.setattr("ednabed.store.run_writer.embed_to_run", full)
    code, _, err = call(capsys, "--workspace", folder, "embed", folder / "a.fa")
    assert code == 1
    assert err.startswith("ednabed: somewhere/file: No space left on device")
    assert err.count("\n") == 1


def test_an_internal_error_is_not_hidden(folder, monkeypatch):
    def fault(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("ednabed.store.run_writer.embed_to_run", fault)
    with pytest.raises(ZeroDivisionError):
        entry.main(["--workspace", str(folder), "embed", str(folder / "a.fa")])


# -- help ------------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    heavy = ("torch", "lancedb", "faiss", "sklearn", "streamlit", "pyarrow", "numpy", "transformers", "huggingface_hub")
    code = (
        "import sys\nfrom ednabed.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('IMPORTED', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.rstrip().endswith("IMPORTED []")


@pytest.mark.parametrize(
    "verb", [(), *((verb,) for verb in VERBS), ("runs", "verify"), ("runs", "show"), ("runs", "list")]
)
def test_help_of_each_command(capsys, verb):
    for flag in ("--help", "-h"):
        code, out, err = call(capsys, *verb, flag)
        assert code == 0, err
        assert out.startswith("Usage: ednabed")
        assert err == ""
    if not verb:
        assert all(name in out for name in VERBS)


def test_version(capsys):
    from ednabed.base.version import __version__

    assert call(capsys, "--version")[:2] == (0, f"ednabed, version {__version__}\n")


def test_an_unknown_command_is_a_usage_error(capsys):
    code, _, err = call(capsys, "embedd")
    assert code == 2
    assert "No such command" in err


# -- validate --------------------------------------------------------------------------------------------------------


def test_validate(capsys, tmp_path):
    code, out, err = call(capsys, "validate")
    assert (code, err) == (0, "")
    assert "2 of 2 sequences" in out
    code, out, err = call(capsys, "validate", "--json")
    told = json.loads(out)
    assert (code, told["checked"], told["failures"]) == (0, 2, [])
    assert np.array(told["similarity"]).shape == (3, 3)
    wrong = tmp_path / "w.tsv"
    near = "ACGTTGCATG" * 8
    wrong.write_text(
        "id\tsequence\tlineage\n"
        f"a\t{near}\tA;B;C;D;E;F;F x\nb\t{near}ACC\tA;Z;;;;;\nc\t{'GGATTCCAAC' * 8}\tA;B;C;D;E;F;F y\n"
    )
    code, out, err = call(capsys, "validate", "--model", "kmer6", "--fasta", wrong)
    assert code == 1
    assert "is not nearer to its relative" in out
    assert err == "ednabed: kmer6 failed the check for 2 of 2 sequences\n"
    code, out, _ = call(capsys, "validate", "--model", "kmer6", "--fasta", wrong, "--json")
    assert code == 1
    assert len(json.loads(out)["failures"]) == 2
    code, _, err = call(capsys, "validate", "--fasta", tmp_path / "none.fa")
    assert code == 1
    assert "none.fa" in err


def test_inputs_of_the_same_name_are_distinguished_and_named_once(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "r.fa").write_text(f">x\n{'ACGT' * 10}{folder.upper() * 3 if folder == 'a' else 'TTT'}\n")
    done = ednabed("embed", "a/r.fa", "b/r.fa", "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = pq.read_table(tmp_path / "run" / "records.parquet")
    assert records.column("source").to_pylist() == ["a/r.fa", "b/r.fa"]
    twice = ednabed("embed", "a/r.fa", "b/../a/r.fa", "--output", "again", cwd=tmp_path)
    assert twice.returncode == 2
    assert b"is given twice" in twice.stderr


def test_characters_that_the_console_lacks_are_shown_as_escapes(tmp_path: Path):
    (tmp_path / "r.fa").write_text(f">\u9c7c1\n{'ACGT' * 10}\n", encoding="utf-8")
    env = {"PYTHONIOENCODING": "cp1252"}
    assert ednabed("embed", "r.fa", "--output", "run", cwd=tmp_path, env=env).returncode == 0
    for extra in ((), ("--json",)):
        done = ednabed("search", "--run", "run", "--seq-idx", "0", *extra, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert b"\\u9c7c1" in done.stdout


def test_another_precision_is_another_run(tmp_path: Path, shared: Path):
    (tmp_path / "r.fa").write_text(f">x\n{'ACGT' * 10}\n")
    model = shared / "golden" / "nt_tiny" / "v2"
    runs = set()
    for precision in ("fp32", "fp32", "auto"):
        done = ednabed("embed", "r.fa", "--model", model, "--precision", precision, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        runs.add((json.loads(done.stdout)["run"], json.loads(done.stdout)["compute"][0]["precision"]))
    assert len(runs) == len({precision for _, precision in runs})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_an_input(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    text = f">x\n{'ACGT' * 10}\n".encode()
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(text))
    writer.start()
    done = ednabed("embed", "pipe", "--output", "run", cwd=tmp_path)
    writer.join()
    assert done.returncode == 0, done.stderr


def test_rows_that_do_not_belong_together_are_not_searched(tmp_path: Path):
    (tmp_path / "r.fa").write_text("".join(f">x{i}\n{'ACGT' * 10}{'A' * i}\n" for i in range(4)))
    assert ednabed("embed", "r.fa", "--output", "run", cwd=tmp_path).returncode == 0
    path = tmp_path / "run" / "records.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    done = ednabed("search", "--run", "run", "--id", "x2", cwd=tmp_path)
    assert done.returncode == 1
    assert b"4 vectors and 3 records do not belong together" in done.stderr
