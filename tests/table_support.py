"""LanceDB tables for tests: made, read back by id, and embedded in a process that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from ednabed.tables.table import Database

DRIVER = Path(__file__).with_name("table_driver.py")
DIMENSION = 10


def sequences(n: int, length: int = 30, seed: int = 0) -> list[str]:
    """``n`` random sequences, the same ones for the same seed."""
    letters = np.random.default_rng(seed).choice(list("ACGT"), (n, length))
    return ["".join(row) for row in letters]


def vector_array(rows: Sequence[Sequence[float] | np.ndarray | None], dimension: int = DIMENSION) -> pa.Array:
    values = [None if r is None else np.asarray(r, np.float32).tolist() for r in rows]
    return pa.array(values, pa.list_(pa.float32(), dimension))


def make(folder: Path, columns: dict[str, Any] | pa.Table, **settings: Any) -> Database:
    """A database with the table ``sequences``; nulls in vectors are allowed."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    lancedb.connect(str(folder)).create_table("sequences", data=table, on_bad_vectors="null", **settings)
    return Database(str(folder))


def simple(folder: Path, letters: Sequence[str | None], **further: Any) -> Database:
    """A table of rows r0, r1, ... with these sequences."""
    columns = {"sequence_id": [f"r{i}" for i in range(len(letters))], "dna_sequence": pa.array(letters, pa.string())}
    return make(folder, columns | further)


def read(database: Database) -> pa.Table:
    """The whole table, sorted by id."""
    return database.open().lance.to_arrow().sort_by("sequence_id").combine_chunks()


def rows(database: Database) -> dict[str, dict[str, Any]]:
    """The rows by id; fails when an id stands twice."""
    listed = database.open().lance.to_arrow().to_pylist()
    found = {row["sequence_id"]: row for row in listed}
    assert len(found) == len(listed), "an id stands twice"
    return found


def same_vector(row: dict[str, Any], wanted: np.ndarray, column: str = "vector") -> bool:
    return row[column] is not None and np.array_equal(np.array(row[column], np.float32), wanted)


def start(database: Database, workspace: Path, **settings: Any) -> subprocess.Popen[str]:
    """Embed in a process of its own (see ``table_driver.py`` for the settings)."""
    settings = {"db": database.address, "workspace": str(workspace)} | settings
    return subprocess.Popen(
        [sys.executable, str(DRIVER), json.dumps(settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a process from ``start`` and return its counts."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)
