"""Embeds a table with a ``LetterEncoder``; run as a script with its settings in JSON, so that a test can kill it.

Settings: db, workspace; vector_column, max_sequences; merge_rows and flush_seconds replace the constants of the module;
log, seconds_a_row, salt go to the encoder; die: [name, n, "before" or "after"] ends the process, as a kill does,
at the n-th call of that function.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from ednabed.store.journal import VectorJournal
from ednabed.tables import fill
from ednabed.tables.pending import PendingRows
from ednabed.tables.table import Database, VectorColumns
from support import letters


def deadly(function, at: int, when: str):
    """The function, but the process ends at call ``at`` (counted from 1), with nothing flushed."""
    calls = 0

    def call(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == at and when == "before":
            os._exit(137)
        result = function(*arguments, **named)
        if calls == at and when == "after":
            os._exit(137)
        return result

    return call


def main() -> None:
    # A process that hangs says where, before the test that waits for it gives up.
    faulthandler.dump_traceback_later(200, exit=True)
    settings = json.loads(sys.argv[1])
    fill.MERGE_ROWS = settings.get("merge_rows", fill.MERGE_ROWS)
    fill._MERGE_BYTES = 0 if "merge_rows" in settings else fill._MERGE_BYTES
    fill._JOURNAL_SECONDS = settings.get("flush_seconds", fill._JOURNAL_SECONDS)
    if "die" in settings:
        name, at, when = settings["die"]
        if name == "optimize":
            from lancedb.table import LanceTable

            LanceTable.optimize = deadly(LanceTable.optimize, at, when)
        elif hasattr(VectorJournal, name):
            setattr(VectorJournal, name, deadly(getattr(VectorJournal, name), at, when))
        elif hasattr(PendingRows, name):
            setattr(PendingRows, name, deadly(getattr(PendingRows, name), at, when))
        else:
            setattr(fill, name, deadly(getattr(fill, name), at, when))
    log = settings.get("log")
    embedder = letters(
        log=None if log is None else Path(log),
        seconds_a_row=settings.get("seconds_a_row", 0.0),
        salt=settings.get("salt", 0),
    )
    stats = fill.embed_table(
        Database(settings["db"]).open(VectorColumns(settings.get("vector_column", "vector"))),
        embedder,
        Path(settings["workspace"]),
        max_sequences=settings.get("max_sequences"),
        resume=settings.get("resume", True),
        show_progress=False,
    )
    print(json.dumps(asdict(stats)))


if __name__ == "__main__":
    main()
