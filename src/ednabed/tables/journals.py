"""The journals of a table: vectors that were computed for it but are not in it yet.

There is one folder for each table, vector column, function, precision and process working on it; see ``journal``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ednabed.base.locks import exclusive
from ednabed.errors import StoreError
from ednabed.models.base import Embedder
from ednabed.store.checkpoint import checkpoint_folder
from ednabed.store.journal import VectorJournal, rows_on_disk
from ednabed.tables.table import Table

_PROCESSES = 64
_PRECISIONS = ("fp32", "bf16", "fp16")


@contextmanager
def open_journal(workspace: Path, table: Table, embedder: Embedder, flush_seconds: float) -> Iterator[VectorJournal]:
    """Open the journal of a table and function; a second process doing the same work gets a separate one.

    Args:
        workspace: Folder that contains the journals.
        table: The table and its vector column.
        embedder: The function, and the precision in which it is computed.
        flush_seconds: Maximum seconds of work lost if the process is killed.

    Raises:
        StoreError: Too many processes are doing the same work.
    """
    stem = _stem(table, embedder.spec.fingerprint, embedder.encoder.precision)
    for number in range(1, _PROCESSES + 1):
        folder = checkpoint_folder(workspace) / f"{stem}{number}"
        lock = exclusive(folder / "lock", "embedding the same table ('ednabed table embed')")
        try:
            lock.__enter__()
        except StoreError:
            continue
        # The folder stays, without vectors, because two processes could hold its lock at once if it were removed.
        try:
            with VectorJournal(folder, embedder.spec.dimension, flush_seconds=flush_seconds) as journal:
                yield journal
        finally:
            lock.__exit__(None, None, None)
        return
    raise StoreError(
        f"{checkpoint_folder(workspace)}: {_PROCESSES} processes are already embedding this table; wait until one has "
        "finished"
    )


def rows_waiting(workspace: Path, table: Table, fingerprint: str) -> int:
    """Return the number of computed vectors of a function that are in journals on this machine but not in the table."""
    stems = [_stem(table, fingerprint, precision) for precision in _PRECISIONS]
    return sum(rows_on_disk(folder) for stem in stems for folder in checkpoint_folder(workspace).glob(f"{stem}*"))


def _stem(table: Table, fingerprint: str, precision: str) -> str:
    database = table.database
    address = Path(database.address).resolve() if database.is_local else database.address
    name = f"{address}\n{table.columns.vector}\n{fingerprint}\n{precision}"
    return f".work-{hashlib.sha256(name.encode()).hexdigest()[:16]}-"
