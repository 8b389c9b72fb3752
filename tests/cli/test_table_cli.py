"""``ednabed table`` in a process of its own: output, exit codes, and paths."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ednabed.api import EmbeddingEngine
from ednabed.engine.open import open_embedder
from ednabed.tables.fill import embed_table
from ednabed.tables.status import survey
from ednabed.tables.table import Database
from support import ednabed
from table_support import make, rows, same_vector, sequences, simple, vector_array


def fasta(path: Path, letters: list[str], prefix: str = "r") -> Path:
    path.write_text("".join(f">{prefix}{i}\n{s}\n" for i, s in enumerate(letters)), encoding="utf-8")
    return path


def sentence(result: subprocess.CompletedProcess[bytes], code: int = 1) -> str:
    """The one sentence of a refused command."""
    text = result.stderr.decode()
    assert result.returncode == code, text
    assert result.stdout == b""
    assert text.startswith("ednabed: ") and text.count("\n") == 1, text
    return text


def test_import_embed_and_status(tmp_path: Path) -> None:
    letters = sequences(30)
    fasta(tmp_path / "a.fasta", [*letters, "ACGT"])
    result = ednabed("table", "import", "a.fasta", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "31 added of 31 read" in result.stdout.decode()
    database = Database(str(tmp_path / "data" / "lancedb"))
    assert len(rows(database)) == 31

    result = ednabed("table", "embed", "--max-sequences", "10", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = result.stdout.decode()
    assert "10 rows; 31 were pending" in out and "remaining  21 pending rows" in out

    result = ednabed("table", "embed", "--json", cwd=tmp_path)
    stats = json.loads(result.stdout)
    assert (stats["pending"], stats["embedded"], stats["rejected"], stats["left"]) == (21, 20, 1, 0)
    assert result.stderr == b""
    again = json.loads(ednabed("table", "embed", "--json", cwd=tmp_path).stdout)
    assert (again["pending"], again["computed"]) == (0, 0)

    status = json.loads(ednabed("table", "status", "--json", cwd=tmp_path).stdout)
    assert (status["rows"], status["embedded"], status["pending"], status["rejected"], status["invalid"]) == (
        31,
        30,
        0,
        1,
        0,
    )
    assert status["fingerprints"] == {stats["fingerprint"]: 30}
    assert (status["dimension"], status["vector_column"]) == (512, "vector")
    out = ednabed("table", "status", cwd=tmp_path).stdout.decode()
    for line in (
        "rows       31",
        "embedded   30",
        "pending    0",
        "rejected   1",
        "30 vectors of 512 dimensions",
        "versions kept",
    ):
        assert line in out

    assert stats["model"] == "barcode-1"
    wanted = EmbeddingEngine("barcode-1").get_embeddings(letters)
    found = rows(database)
    assert all(same_vector(found[f"r{i}"], wanted[i]) for i in range(30))


def test_import_from_standard_input_and_twice(tmp_path: Path) -> None:
    text = b">a\nACGTACGT\n>b;size=3\nGGTTGGTT\n>b;size=3\nGGTTGGTT\n>a\nTTTT\n"
    first = ednabed("table", "import", "-", "--json", cwd=tmp_path, stdin=text)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert (result["read"], result["added"], result["repeated"], len(result["rejected"])) == (4, 2, 1, 1)
    second = ednabed("table", "import", "-", cwd=tmp_path, stdin=text)
    assert second.returncode == 0
    assert "0 added of 4 read" in second.stdout.decode() and "unchanged  2" in second.stdout.decode()
    assert "id 'a': this id occurs earlier in the input with another sequence" in second.stderr.decode()


def test_a_changed_sequence_requires_replace(tmp_path: Path) -> None:
    old, new = sequences(2)
    ednabed("table", "import", fasta(tmp_path / "a.fasta", [old]), cwd=tmp_path)
    ednabed("table", "embed", cwd=tmp_path)
    fasta(tmp_path / "a.fasta", [new])
    text = sentence(ednabed("table", "import", "a.fasta", cwd=tmp_path))
    assert "'r0'" in text and "'sequences'" in text and "--replace" in text
    assert ednabed("table", "import", "a.fasta", "--replace", cwd=tmp_path).returncode == 0
    status = survey(Database(str(tmp_path / "data" / "lancedb")).open())
    assert (status.embedded, status.pending) == (0, 1)


def test_paths_of_the_database(tmp_path: Path) -> None:
    fasta(tmp_path / "a.fasta", sequences(2))
    database = tmp_path / "elsewhere" / "db"
    ednabed("table", "import", "a.fasta", "--db", database, cwd=tmp_path)
    assert b"rows       2" in ednabed("table", "status", cwd=tmp_path, env={"EDNABED_DB": str(database)}).stdout
    ednabed("--workspace", "ws", "table", "import", "a.fasta", cwd=tmp_path)
    assert (tmp_path / "ws" / "data" / "lancedb" / "sequences.lance").is_dir()
    ednabed("table", "embed", cwd=tmp_path, env={"EDNABED_WORKSPACE": "ws"})
    checkpoint = tmp_path / "ws" / "data" / "processed" / "embedder_checkpoints" / "embedding_checkpoint.json"
    assert json.loads(checkpoint.read_text(encoding="utf-8"))["total_processed"] == 2
    assert not (tmp_path / "data").exists()


def test_the_database_of_the_environment(tmp_path: Path) -> None:
    """A drive with a folder ``lancedb``, by the new and by the old variable, on the command line and in Python."""
    drive = tmp_path / "drive"
    simple(drive / "lancedb", sequences(3))
    for name in ("EDNABED_DB", "BIOSCANSCAN_DB_DRIVE"):
        result = ednabed("table", "status", cwd=tmp_path, env={name: str(drive)})
        assert b"rows       3" in result.stdout, result.stderr
        assert (b"BIOSCANSCAN_DB_DRIVE is the old name of EDNABED_DB" in result.stderr) == name.startswith("BIO")
    # A new table is created where it would be looked for.
    fasta(tmp_path / "a.fasta", sequences(2))
    for name, place in (("EDNABED_DB", ("new",)), ("BIOSCANSCAN_DB_DRIVE", ("new", "lancedb"))):
        folder = tmp_path / name
        ednabed("table", "import", "a.fasta", cwd=tmp_path, env={name: str(folder / "new")})
        assert folder.joinpath(*place, "sequences.lance").is_dir()
    code = """
from ednabed import EmbeddingEngine
from ednabed.api import DataManager
print(EmbeddingEngine("kmer6").embed_and_update_lancedb()["embedded"], DataManager().workspace)
"""
    env = {**os.environ, "EDNABED_DB": str(drive), "EDNABED_WORKSPACE": str(tmp_path / "ws")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["3", str(tmp_path / "ws")]
    assert (tmp_path / "ws" / "data" / "processed" / "embedder_checkpoints").is_dir()


def test_another_dimension_and_another_function(tmp_path: Path) -> None:
    simple(tmp_path / "db", sequences(3), vector=vector_array([np.ones(10)] * 3))
    embed = ("table", "embed", "--db", "db", "--model", "kmer6")
    text = sentence(ednabed(*embed, cwd=tmp_path))
    assert " 10 dimensions" in text and " 512" in text and "--vector-column" in text
    for column, strand in (("kmer", "given"), ("both", "both")):
        done = ednabed(*embed, "--vector-column", column, "--strand", strand, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    text = sentence(ednabed(*embed, "--vector-column", "both", cwd=tmp_path))
    assert "another function" in text and "--no-resume" in text
    done = ednabed(*embed, "--vector-column", "both", "--no-resume", cwd=tmp_path)
    assert done.returncode == 0
    found = rows(Database(str(tmp_path / "db")))
    assert all(row["both"] == row["kmer"] and row["vector"] == [1.0] * 10 for row in found.values())


@pytest.mark.parametrize("verb", ["embed", "index", "status"])
def test_no_table_is_one_sentence(tmp_path: Path, verb: str) -> None:
    assert "ednabed table import" in sentence(ednabed("table", verb, cwd=tmp_path))
    assert not (tmp_path / "data").exists()


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    make(tmp_path / "twice", {"sequence_id": ["a", "a"], "dna_sequence": sequences(2)})
    assert "'a' occurs 2 times" in sentence(ednabed("table", "embed", "--db", "twice", cwd=tmp_path))
    make(tmp_path / "numbers", {"sequence_id": [1, 2], "dna_sequence": sequences(2)})
    assert "int64, expected string" in sentence(ednabed("table", "embed", "--db", "numbers", cwd=tmp_path))
    simple(tmp_path / "damaged", sequences(2))
    for manifest in (tmp_path / "damaged" / "sequences.lance" / "_versions").iterdir():
        manifest.write_bytes(b"garbage")
    assert "'sequences'" in sentence(ednabed("table", "status", "--db", "damaged", cwd=tmp_path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("embed", "--vector-column", "a; DROP TABLE sequences"), "vector column"),
        (("embed", "--vector-column", "dna_sequence"), "vector column"),
        (("status", "--vector-column", "x' OR '1'='1"), "vector column"),
        (("status", "--storage-option", "novalue"), "KEY=VALUE"),
        (("embed", "--model", "kmer66"), "kmer6"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    database = simple(tmp_path / "db", sequences(2))
    result = ednabed("table", *arguments, "--db", "db", cwd=tmp_path)
    assert result.returncode in (1, 2)
    assert said in result.stderr.decode() and "Traceback" not in result.stderr.decode()
    assert database.open().lance.schema.names == ["sequence_id", "dna_sequence"]


def test_usage_errors_of_options(tmp_path: Path) -> None:
    for arguments in (("import",), ("embed", "--max-sequences", "0"), ("embed", "--batch-size", "-1"), ("fish",)):
        assert ednabed("table", *arguments, cwd=tmp_path).returncode == 2


def test_inputs_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.fasta").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    fasta(tmp_path / "good.fasta", sequences(2))
    for name in ("empty.fasta", "folder", "absent.fasta"):
        assert name in sentence(ednabed("table", "import", "good.fasta", name, cwd=tmp_path))
    assert "has no table 'sequences'" in sentence(ednabed("table", "status", cwd=tmp_path))


def test_an_unreachable_object_store_is_one_sentence(tmp_path: Path) -> None:
    options = {
        "client_max_retries": "0",
        "endpoint": "http://127.0.0.1:9",
        "allow_http": "true",
        "aws_access_key_id": "none",
        "aws_secret_access_key": "none",
        "region": "us-east-1",
    }
    given = [word for key, value in options.items() for word in ("--storage-option", f"{key}={value}")]
    text = sentence(ednabed("table", "status", "--db", "s3://bucket/db", *given, cwd=tmp_path))
    assert "s3://bucket/db" in text and "storage options" in text


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_exits_with_130_and_the_next_command_continues(tmp_path: Path) -> None:
    letters = sequences(20_000, 600)
    database = simple(tmp_path / "data" / "lancedb", letters)
    process = subprocess.Popen(
        [sys.executable, "-m", "ednabed.cli.main", "table", "embed"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    # The vector column exists once the command is working.
    while process.poll() is None and "vector" not in database.open().lance.schema.names:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    if process.returncode != 0:  # it was quicker than the signal
        assert process.returncode == 130, err
        assert b"Traceback" not in err and b"interrupted" in err
    assert ednabed("table", "embed", cwd=tmp_path).returncode == 0
    status = survey(database.open())
    assert (status.rows, status.embedded, status.pending) == (20_000, 20_000, 0)


def test_index(tmp_path: Path) -> None:
    database = simple(tmp_path / "data" / "lancedb", [*sequences(300, 100), "ACGT"])
    embed_table(database.open(), open_embedder("kmer6"), tmp_path, show_progress=False)
    small = ednabed("table", "index", cwd=tmp_path)
    assert (small.returncode, small.stderr) == (0, b"")
    assert "300 rows with a vector" in small.stdout.decode() and "--force" in small.stdout.decode()
    result = ednabed("table", "index", "--force", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    shown = result.stdout.decode()
    assert "column 'vector'" in shown and "index      vector_idx, IVF_RQ of 1 lists" in shown
    # LanceDB draws the rotation of its codes again each time, so the last hundredth is random.
    recall = re.search(r"^recall     ([0-9.]+)% of the ten nearest", shown, re.MULTILINE)
    assert recall is not None and float(recall[1]) >= 99
    info = json.loads(ednabed("table", "index", "--force", "--json", cwd=tmp_path).stdout)
    assert (info["built"], info["rows"], info["reached"]) == (True, 300, True) and info["recall"] >= 0.99
    # The facts about the index and the function are kept together, and the table does not change.
    status = survey(database.open())
    assert status.spec is not None and (status.embedded, status.spec["model"]) == (300, "kmer6")


def test_tables_that_cannot_be_indexed(tmp_path: Path) -> None:
    simple(tmp_path / "unknown", sequences(3), vector=vector_array([np.ones(10)] * 3))
    assert "by an unknown function" in sentence(ednabed("table", "index", "--db", "unknown", "--force", cwd=tmp_path))
    refused = ednabed("table", "index", "--db", "unknown", "--vector-column", "a b", cwd=tmp_path)
    assert refused.returncode == 2 and "vector column" in refused.stderr.decode()
