"""Embedding a table is killed at any moment and started again: complete, equal, and nothing is repeated."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from ednabed.store.journal import VectorJournal
from ednabed.tables.fill import embed_table
from ednabed.tables.status import survey
from ednabed.tables.table import Database
from support import expected, letters
from table_support import finish, make, read, rows, same_vector, sequences, simple, start


def log_lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_at_a_random_moment(process: subprocess.Popen[str], log: Path, longest: float, chance: random.Random) -> bool:
    """Kill a process some time after it began to compute; return whether it was still running."""
    begun = log_lines(log)
    while process.poll() is None and log_lines(log) == begun:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, longest))
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


@pytest.mark.parametrize(
    ("merge_rows", "seconds_a_row"), [(50, 0.0003), (2000, 0.001)], ids=["many merges", "between merges"]
)
def test_kills_at_random_moments(tmp_path: Path, merge_rows: int, seconds_a_row: float) -> None:
    chance = random.Random(merge_rows)
    letters_ = sequences(1700)
    spellings = [*letters_, *(s.lower() for s in letters_[:280]), *["ACGT"] * 20]
    further: dict[str, Any] = {"site": [f"sité {i % 9}" for i in range(2000)], "depth": np.arange(2000) / 7}
    database = simple(tmp_path / "db", spellings, **further)
    before = read(database)
    log = tmp_path / "log"
    settings = {"merge_rows": merge_rows, "flush_seconds": 0.0, "seconds_a_row": seconds_a_row, "log": str(log)}
    kills, stats = 0, None
    while stats is None:
        process = start(database, tmp_path, **settings)
        if kills < 4:
            kills += kill_at_a_random_moment(process, log, 0.5, chance)
            assert survey(database.open()).rows == 2000
        else:
            stats = finish(process)
    after = read(database)
    assert after.select(before.column_names).equals(before)
    for i, row in enumerate(sorted(rows(database).values(), key=lambda r: int(r["sequence_id"][1:]))):
        if i < 1980:
            assert same_vector(row, expected(spellings[i].upper())), row["sequence_id"]
            assert row["embedding_status"] == "embedded"
        else:
            assert (row["vector"], row["embedding_status"]) == (None, "rejected")
    # A kill costs at most the current batch (at most 33 sequences of 30 bases in 1,000 tokens), and what was merged
    # before it is no longer in the cache for the 280 duplicates.
    again = 280 if merge_rows < 2000 else 0
    assert 1700 <= log_lines(log) <= 1700 + kills * 33 + again
    assert stats["pending"] < 2000 or stats["taken_up"] > 0


@pytest.mark.parametrize(
    ("name", "at", "when"),
    [
        ("flush", 3, "before"),
        ("flush", 3, "after"),
        ("_update", 1, "before"),
        ("_update", 1, "after"),  # vectors are in, rejections are not
        ("_update", 3, "after"),
        ("write_checkpoint", 2, "before"),
        ("reset", 1, "before"),
        ("reset", 2, "after"),
        ("optimize", 1, "before"),
        ("optimize", 1, "after"),
    ],
)
def test_kills_at_each_step(tmp_path: Path, name: str, at: int, when: str) -> None:
    assert name in ("_update", "write_checkpoint", "optimize") or hasattr(VectorJournal, name)
    letters_ = ["ACGT", *sequences(300), "???"]
    database = simple(tmp_path / "db", letters_)
    log = tmp_path / "log"
    process = start(database, tmp_path, merge_rows=100, flush_seconds=0.0, log=str(log), die=[name, at, when])
    _, err = process.communicate(timeout=300)
    assert process.returncode == 137, err
    again = log_lines(log)
    stats = embed_table(database.open(), letters(log=log), tmp_path)
    # Only vectors that had not reached the disk are computed again.
    assert log_lines(log) <= 300 + (33 if name == "flush" else 0)
    assert stats.computed == log_lines(log) - again
    found = rows(database)
    assert len(found) == 302
    assert all(same_vector(found[f"r{i}"], expected(letters_[i])) for i in range(1, 301))
    assert [found[i]["embedding_status"] for i in ("r0", "r301")] == ["rejected", "rejected"]
    assert embed_table(database.open(), letters(), tmp_path).pending == 0


def test_a_kill_between_two_processes_at_once(tmp_path: Path) -> None:
    database = simple(tmp_path / "db", sequences(500))
    logs = [tmp_path / "log0", tmp_path / "log1"]
    common = {"merge_rows": 50, "flush_seconds": 0.0, "seconds_a_row": 0.0005}
    doomed, other = (start(database, tmp_path, log=str(log), **common) for log in logs)
    kill_at_a_random_moment(doomed, logs[0], 0.1, random.Random(1))
    finish(other)
    stats = embed_table(database.open(), letters(), tmp_path)
    assert (stats.pending, survey(database.open()).embedded) == (0, 500)
    assert all(same_vector(row, expected(row["dna_sequence"])) for row in rows(database).values())


@pytest.mark.slow
def test_100_000_rows_and_20_kills(tmp_path: Path, shared: Path) -> None:
    """Use the command line and kmer6; a table that is finished before a kill starts over."""
    chance = random.Random(20)
    source = pa.csv.read_csv(
        shared / "data" / "coi.tsv.gz", parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False)
    ).slice(0, 100_000)
    columns = {name: source[name] for name in source.column_names if name not in ("id", "sequence")}
    make(tmp_path / "raw", {"sequence_id": source["id"], "dna_sequence": source["sequence"], **columns})
    plain = read(Database(str(tmp_path / "raw")))
    wanted_rows = len(plain)

    def command(db: Path) -> list[str]:
        arguments = ["--workspace", tmp_path / "ws", "table", "embed", "--db", db, "--model", "kmer6", "--json"]
        return [sys.executable, "-m", "ednabed.cli.main", *map(str, arguments)]

    def fresh(name: str) -> Path:
        shutil.copytree(tmp_path / "raw", tmp_path / name)
        return tmp_path / name

    def embedded(db: Path) -> dict[str, pa.Table]:
        status = survey(Database(str(db)))
        assert (status.rows, status.pending, status.invalid) == (wanted_rows, 0, 0)
        return read(Database(str(db)))

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    reference = fresh("whole")
    started = time.monotonic()
    whole = subprocess.run(command(reference), capture_output=True, text=True, env=environment, check=True)
    seconds = time.monotonic() - started
    print(f"\nuninterrupted: {seconds:.1f} s, {whole.stdout}")
    wanted = embedded(reference)
    shutil.rmtree(reference)
    assert wanted.select(plain.column_names).equals(plain)

    kills, tables, rounds = 0, 0, []
    while kills < 20:
        db = fresh(f"table{tables}")
        tables += 1
        started_here = kills
        while True:
            process = subprocess.Popen(
                command(db), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            ended = False
            if kills < 20:
                try:
                    process.wait(chance.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
                    ended = True
            out, err = process.communicate()
            if ended:
                status = survey(Database(str(db)))
                rounds.append((status.embedded, status.pending))
                continue
            assert process.returncode == 0, err
            print(f"table {tables}: {kills - started_here} kills, then {json.loads(out)}")
            break
        found = embedded(db)
        assert found.equals(wanted)
        shutil.rmtree(db)
    print(f"{kills} kills, {tables} tables, (embedded, pending) after each kill: {rounds}")
