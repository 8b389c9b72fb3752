"""Verbosity, the log file and threads: the options that every command has."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest

from cli_support import call_in
from ednabed.cli.console import console
from ednabed.cli.main import main
from ednabed.engine.threads import cores, limited_threads
from support import ednabed

SEQUENCE = "ACGTTGCAAGCTTAGCCATGCAAGTCCATGACGT"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR) ")


@pytest.fixture
def workspace(tmp_path) -> Path:
    (tmp_path / "in.fa").write_text(f">a\n{SEQUENCE}\n>b\n{SEQUENCE[::-1]}\n>c\nACGT\n")
    return tmp_path


def embed(workspace: Path, *more: str) -> tuple[str | Path, ...]:
    return "embed", workspace / "in.fa", "--model", "kmer6", "--dataset", "see", *more


@pytest.mark.parametrize("before", [True, False])
def test_quiet_shows_only_results_and_errors(capsys, workspace, before):
    code, out, err = call_in(capsys, workspace, *embed(workspace))
    assert code == 0
    code, again, err = call_in(capsys, workspace, *embed(workspace))
    assert (code, "nothing was done" in err) == (0, True)
    given = ("--quiet", *embed(workspace)) if before else embed(workspace, "--quiet")
    code, out, err = call_in(capsys, workspace, *given)
    assert (code, out, err) == (0, again, "")
    code, out, err = call_in(capsys, workspace, "runs", "show", "nosuch", "--quiet")
    assert (code, out) == (1, "")
    assert err.startswith("ednabed: there is no run 'nosuch'")
    # The next command is not quiet.
    assert "nothing was done" in call_in(capsys, workspace, *embed(workspace))[2]


def test_quiet_reports_why_one_run_of_several_was_refused(capsys, workspace):
    assert call_in(capsys, workspace, *embed(workspace))[0] == 0
    code, _, err = call_in(capsys, workspace, "compress", "see", "absent", "--quiet")
    assert code == 1
    assert "refused: there is no run 'absent'" in err
    assert "dry run" not in err


def test_quiet_draws_no_bar(capsys, workspace, monkeypatch):
    from ednabed.engine import progress

    shown = []
    real = progress.progress_bar

    def always(*given, **more):
        bar = real(*given, **{**more, "show": True})
        shown.append(not bar._bar.disable)
        return bar

    monkeypatch.setattr("ednabed.store.run_vectors.progress_bar", always)
    assert call_in(capsys, workspace, *embed(workspace))[0] == 0
    assert call_in(capsys, workspace, *embed(workspace, "--quiet", "--no-resume"))[0] == 0
    assert shown == [True, False]


@pytest.mark.parametrize("before", [True, False])
def test_verbose_shows_inputs_the_model_and_times(capsys, workspace, before):
    given = ("--verbose", *embed(workspace)) if before else embed(workspace, "--verbose")
    code, _, err = call_in(capsys, workspace, *given)
    assert code == 0
    assert f"reading {workspace / 'in.fa'} (fasta)" in err
    assert re.search(r"model kmer6, fingerprint [0-9a-f]{12}, on cpu in fp32: loaded in \d+\.\d s", err)
    assert re.search(r"^embedding: 2 seq in \d+\.\d s$", err, re.MULTILINE)
    assert re.search(r"^reading: 3 record in \d+\.\d s$", err, re.MULTILINE)
    assert call_in(capsys, workspace, "consolidate", "--verbose", "--no-calibrate")[0] == 0
    code, _, err = call_in(capsys, workspace, "search", "--sequence", SEQUENCE, "--verbose")
    assert code == 0
    assert re.search(r"reading reference .*reference, build .*, 2 sequences", err)
    code, _, err = call_in(capsys, workspace, "search", "--sequence", SEQUENCE)
    assert (code, err) == (0, "")


def test_quiet_and_verbose(capsys, workspace):
    code, _, err = call_in(capsys, workspace, "--quiet", "runs", "list", "--verbose")
    assert code == 2
    assert "--quiet and --verbose exclude each other" in err


def test_the_log_has_the_lines_of_standard_error(capsys, workspace):
    log = workspace / "löг.log"
    assert call_in(capsys, workspace, "--log", log, *embed(workspace))[0] == 0
    assert call_in(capsys, workspace, *embed(workspace, "--log", log, "--quiet"))[0] == 0
    code, _, err = call_in(capsys, workspace, "runs", "show", "nosuch", "--log", log)
    assert code == 1
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(LINE.match(line) for line in lines), lines
    text = [line.partition("Z ")[2] for line in lines]
    assert [line for line in text if re.match(r"INFO ednabed .*: embed begins, process \d+$", line)] == [
        text[0], text[2]
    ]  # fmt: skip
    assert [line.rpartition(" after ")[0] for line in text if "exit code" in line] == [
        "INFO exit code 0", "INFO exit code 0", "INFO exit code 1",
    ]  # fmt: skip
    # Notices that --quiet hides are in the log.
    assert any("nothing was done" in line for line in text)
    assert f"ERROR {err.strip()}" in text


def test_usage_errors_and_tracebacks_are_in_the_log(capsys, workspace, monkeypatch):
    log = workspace / "log"
    assert call_in(capsys, workspace, "--log", log, "runs", "show", "--bogus")[0] == 2
    assert "ERROR No such option" in log.read_text()
    monkeypatch.setattr("ednabed.store.runs.find_run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["--workspace", str(workspace), "--log", str(log), "runs", "show", "see"])
    text = log.read_text()
    assert "ERROR Traceback" in text
    assert "ZeroDivisionError" in text
    assert "exit code 1" in text
    assert not [h for h in logging.getLogger("ednabed").handlers if isinstance(h, logging.FileHandler)]


def test_no_secret_gets_into_the_log(capsys, workspace, monkeypatch):
    log = workspace / "log"
    for name, value in (("HF_TOKEN", "hf_veryverysecret"), ("AWS_SECRET_ACCESS_KEY", "abc/secret+key")):
        monkeypatch.setenv(name, value)
    secrets = ["hf_veryverysecret", "abc/secret+key", "tokentoken12", "optionsecret", "me:pass"]
    argv = ["ednabed", "--token", "tokentoken12", "--storage-option", "aws_secret_access_key=optionsecret"]
    monkeypatch.setattr("sys.argv", argv)
    try:
        console.begin("embed", quiet=True, verbose=False, file=log)
        for secret in secrets:
            logging.getLogger("ednabed").info("it is %s, at https://me:pass@host/x", secret)
    finally:
        console.end(0)
    text = log.read_text()
    assert text.count("it is") == len(secrets)
    for secret in secrets[:-1]:
        assert secret not in text
    assert "https://***@host/x" in text


def test_a_file_that_is_not_a_log_is_not_changed(capsys, workspace):
    before = (workspace / "in.fa").read_bytes()
    code, _, err = call_in(capsys, workspace, "runs", "list", "--log", workspace / "in.fa")
    assert code == 2
    assert "in.fa: its first line does not begin with a time, expected a log of ednabed; give another file" in err
    assert (workspace / "in.fa").read_bytes() == before
    code, _, err = call_in(capsys, workspace, "runs", "list", "--log", workspace / "no" / "where")
    assert code == 2
    assert "give a writable file" in err


# -- threads ---------------------------------------------------------------------------------------------------------

THREADS = """
import json, os, sys
import click
from ednabed.cli.main import cli, main
from ednabed.cli.common import pass_context, threads_option

@cli.command()
@threads_option
@pass_context
def look(context):
    "Example:"
    import faiss, torch, numpy, pyarrow
    from threadpoolctl import threadpool_info
    from ednabed.engine.threads import cores
    pools = {pool["num_threads"] for pool in threadpool_info()}
    threads = [cores(), torch.get_num_threads(), faiss.omp_get_max_threads(), pyarrow.cpu_count(), sorted(pools)]
    print(json.dumps(threads))

main()
"""


def test_threads_reach_every_library_before_they_are_loaded(tmp_path):
    import subprocess
    import sys

    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    for words in (["--threads", "1", "look"], ["--threads", "2", "look", "--threads", "1"]):
        done = subprocess.run(
            [sys.executable, "-c", THREADS, *words], capture_output=True, check=True, cwd=tmp_path, env=free
        )
        assert json.loads(done.stdout) == [1, 1, 1, 1, [1]], words


def test_threads_are_limited_in_loaded_libraries_and_restored():
    import pyarrow as pa
    import torch
    from threadpoolctl import threadpool_info

    def now():
        pools = sorted(pool["num_threads"] for pool in threadpool_info())
        return cores(), torch.get_num_threads(), pa.cpu_count(), os.environ.get("OMP_NUM_THREADS"), pools

    before = now()
    with limited_threads(3):
        inside = now()
        with limited_threads(None):
            assert cores() == 3
    assert inside[:4] == (3, 3, 3, "3")
    assert set(inside[4]) == {3}
    assert now() == before
    assert cores() <= (os.cpu_count() or 1)


def test_the_vectors_do_not_depend_on_the_threads(tmp_path):
    rng = np.random.default_rng(1)
    text = "".join(f">r{i}\n{''.join(rng.choice(list('ACGT'), 300))}\n" for i in range(200))
    (tmp_path / "in.fa").write_text(text)
    found = []
    for count in ("1", "2"):
        done = ednabed("embed", "in.fa", "--output", f"run{count}", "--threads", count, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        found.append((tmp_path / f"run{count}" / "embeddings.npy").read_bytes())
    assert found[0] == found[1]
