"""A process that makes a run with a ``LetterEncoder``, for tests that kill it.

Usage: python run_driver.py SETTINGS.json, which holds: request (of ``RunRequest``, paths as text), log, seconds_a_row,
flush_seconds, and stall: the place at which the process writes a mark file and then waits to be killed (or null).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ednabed.store import run_vectors, run_writer
from ednabed.store.journal import VectorJournal
from ednabed.store.run_writer import RunRequest, embed_to_run
from support import letters


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    VectorJournal.__init__.__defaults__ = (settings["flush_seconds"],)

    def stall(*_) -> None:
        Path(settings["mark"]).write_text("here", encoding="utf-8")
        time.sleep(600)

    def before(module, name: str) -> None:
        setattr(module, name, stall)

    def after(module, name: str) -> None:
        real = getattr(module, name)

        def wrapped(*arguments, **keywords):
            result = real(*arguments, **keywords)
            stall()
            return result

        setattr(module, name, wrapped)

    places = {
        "staged": lambda: after(run_writer, "stage"),
        "assembling": lambda: before(VectorJournal, "read"),
        "assembled": lambda: before(run_vectors, "fsync_file"),
        "manifest": lambda: _after_manifest(stall),
        "published": lambda: before(run_writer, "_clear"),
    }
    if settings["stall"] is not None:
        places[settings["stall"]]()
    request = {**settings["request"]}
    for key in ("workspace", "output", "labels"):
        if request.get(key) is not None:
            request[key] = Path(request[key])
    for key in ("inputs", "abundance"):
        request[key] = [Path(p) for p in request.get(key, ())]
    embedder = letters(log=Path(settings["log"]), seconds_a_row=settings["seconds_a_row"])
    result = embed_to_run(RunRequest(**request), embedder)
    print(json.dumps({"computed": result.computed, "taken_up": result.taken_up, "existed": result.existed}))


def _after_manifest(stall) -> None:
    real = run_writer.write_atomic

    def wrapped(path, text):
        real(path, text)
        if path.name == "run.json":
            stall()

    run_writer.write_atomic = wrapped


if __name__ == "__main__":
    main()
