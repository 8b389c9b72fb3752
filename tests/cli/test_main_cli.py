"""Behaviour of every command: progress in a file, and termination from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from ednabed.cli import main as entry
from support import ednabed
from taxonomy_support import DRAWS, shared_world, write_table


def test_long_commands_report_their_progress(tmp_path, monkeypatch):
    from ednabed.engine import progress

    told = []
    monkeypatch.setattr(progress.ProgressFile, "write_state", lambda _, state, now: told.append((state, now)))
    table = write_table(tmp_path / "t.tsv", shared_world())

    def parts(*arguments: str) -> list[tuple[str, int, int | None]]:
        told.clear()
        with pytest.raises(SystemExit) as ended:
            entry.main(["--workspace", str(tmp_path), "--progress", str(tmp_path / "p.json"), *arguments])
        assert not ended.value.code
        last = {}
        for state, _ in told:
            last[state["doing"]] = (state["done"], state["total"])
        return [(doing, *counts) for doing, counts in last.items()]

    n = len(shared_world())
    assert parts("embed", str(table), "--model", "kmer6") == [("reading", n, None), ("embedding", n, n)]
    built = parts("consolidate", "--no-calibrate")
    assert built == [("reading runs", 1, 1), ("writing the reference", n, n)]
    [(doing, done, total)] = parts("reference", "calibrate", "--queries", str(DRAWS))
    assert doing == "calibrating"
    assert done == total > 0
    few = write_table(tmp_path / "few.tsv", shared_world()[:9])
    assert parts("classify", str(few), "--output", str(tmp_path / "o.tsv")) == [("classifying", 9, None)]
    assert parts("discover", str(few), "--output", str(tmp_path / "d")) == [("looking up", 9, None)]


def test_the_file_of_the_progress(tmp_path):
    table = write_table(tmp_path / "t.tsv", shared_world()[:9])
    done = ednabed("--progress", "p.json", "embed", table, "--model", "kmer6", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == b""
    assert json.loads((tmp_path / "p.json").read_text())["done"] == 9
    # If the file cannot be written, the work is still done.
    done = ednabed("--progress", "no/p.json", "embed", table, "--model", "kmer6", "--dataset", "d", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    done = ednabed("--progress", tmp_path, "models", "list", cwd=tmp_path)
    assert done.returncode == 2


def test_the_package_can_be_run(tmp_path):
    done = subprocess.run([sys.executable, "-m", "ednabed", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("ednabed, version ")


def test_a_second_request_to_end_does_not_interrupt_the_first(monkeypatch):
    end = entry._exit_handler()
    with pytest.raises(SystemExit) as ended:
        end(15, None)
    assert ended.value.code == 143
    end(15, None)
    monkeypatch.setattr(entry, "_SAME_REQUEST_SECONDS", -1.0)
    with pytest.raises(SystemExit):
        end(15, None)


def test_the_end_of_standard_input_ends_the_command(tmp_path):
    script = (
        "import sys, time\nfrom ednabed.cli import main as entry\n"
        "def loop(*_, **__):\n"
        "    try:\n"
        "        print('up', flush=True)\n"
        "        while True: time.sleep(0.01)\n"
        "    finally:\n"
        "        print(repr(sys.stdin.read()), 'cleaned', flush=True)\n"
        "entry.models.commands['list'].callback = loop\n"
        "entry.main(['--until-stdin-ends', 'models', 'list'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    )
    assert process.stdout.readline() == "up\n"
    began = time.monotonic()
    process.stdin.close()
    assert process.stdout.readline() == "'' cleaned\n"
    assert process.wait(60) == 143
    assert time.monotonic() - began < 25
    process.stdout.close()
