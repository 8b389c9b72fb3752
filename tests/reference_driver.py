"""A process that consolidates, for tests that kill it or read beside it.

Usage: python reference_driver.py SETTINGS.json, which holds: workspace, roots (folders of runs, taken in turn), rounds,
incremental, index; stall: the place at which the process writes a mark file and waits to be killed (or null).
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from ednabed.reference import assemble, layout
from ednabed.reference.build import BuildRequest, build_reference


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))

    def stall(*_, **__) -> None:
        Path(settings["mark"]).write_text("here", encoding="utf-8")
        time.sleep(600)

    def before(module, name: str) -> None:
        setattr(module, name, stall)

    def after(module, name: str, only=lambda *_: True) -> None:
        real = getattr(module, name)

        def wrapped(*arguments, **keywords):
            result = real(*arguments, **keywords)
            if only(*arguments):
                stall()
            return result

        setattr(module, name, wrapped)

    places = {
        "tidied": lambda: after(layout, "tidy"),
        "begun": lambda: before(assemble, "_number"),
        "records": lambda: after(assemble, "write_part"),
        "vectors": lambda: after(assemble, "_append"),
        "positions": lambda: after(np, "save"),
        "index": lambda: after(assemble.indexes, "write"),
        "written": lambda: before(layout, "publish"),
        "manifest": lambda: after(layout, "write_atomic", lambda path, _: path.parent.name.startswith(".")),
        "renamed": lambda: before(layout, "_unlink"),
        "unlinked": lambda: after(layout, "_unlink", lambda path: path.name == layout.INDEX),
        "half a manifest": lambda: _half_a_manifest(stall),
        "current": lambda: before(layout, "_link"),
        "linked": lambda: before(layout, "remove_unused"),
        "half removed": lambda: _half_removed(stall),
        "published": lambda: after(layout, "publish"),
    }
    if settings["stall"] in ("current", "linked", "half removed"):
        # Removing what is left goes through the same steps.
        layout.tidy = lambda folder: None
    if settings["stall"] is not None:
        places[settings["stall"]]()
    workspace = Path(settings["workspace"])
    for number in range(settings["rounds"]):
        root = settings["roots"][number % len(settings["roots"])]
        build_reference(
            BuildRequest(
                workspace,
                runs=Path(root),
                incremental=settings["incremental"],
                index=settings.get("index", "auto"),
                drop_missing=True,
            )
        )
        print(number, flush=True)


def _half_a_manifest(stall) -> None:
    """The temporary file of the metadata is written, and not yet renamed."""
    real = Path.replace

    def replace(self, target):
        if Path(target).name == "consolidated_metadata.json" and not Path(target).parent.name.startswith("."):
            stall()
        return real(self, target)

    Path.replace = replace


def _half_removed(stall) -> None:
    """Some files of the old build are gone."""

    def rmtree(path, **_):
        for left in sorted(Path(path).iterdir())[::2]:
            left.unlink()
        stall()

    shutil.rmtree = rmtree


if __name__ == "__main__":
    main()
