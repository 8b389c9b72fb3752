"""Work in progress next to what it becomes, under another name, and held by a lock for as long as its process lives.

Work on ``NAME`` is called ``.NAME.<12 hexadecimal digits>.tmp``, a file or a folder; ``.NAME.<same digits>.lock`` is
there before it and after it, and locked while its process lives. So what a killed command left can be told from what a
live one is still writing.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LOCK = re.compile(r"(\..+\.[0-9a-f]{12})\.lock", re.DOTALL)
_OLD_SECONDS = 86_400
"""Age at which work without a lock file goes, of which nothing shows whether its process lives."""


@contextmanager
def in_progress(path: Path) -> Iterator[Path]:
    """Give the name under which to write what becomes ``path``; what is left under it when the block ends is removed.

    Folders above it are made. What killed commands left in the same folder is removed first.

    Args:
        path: What the work is to become. Renaming it is up to the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    stem = f".{path.name[:50]}.{uuid.uuid4().hex[:12]}"
    held = path.with_name(f"{stem}.lock")
    temporary = path.with_name(f"{stem}.tmp")
    lock = _hold(held)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            _remove(temporary)
        # What cannot be removed now goes with the next command, which needs its lock file to know that it is dead.
        gone = not os.path.lexists(temporary)
        if gone:
            _unlink(held)
        lock.release()
        if gone:
            # Windows keeps an open file, so there it can go only now.
            _unlink(held)


def sweep(folder: Path, *names: str) -> None:
    """Remove what killed commands left of work in progress in a folder; what a live one is writing stays.

    Args:
        folder: Where to look.
        names: Names of which also the work of earlier versions goes, when it is old: they made no lock file.
    """
    from filelock import FileLock, Timeout

    hidden = _hidden(folder)
    for name in names:
        _remove_old(folder, f".{name[:50]}", hidden)
    for entry in hidden:
        found = _LOCK.fullmatch(entry)
        if found is None:
            continue
        lock = FileLock(folder / entry)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            # At work, of another user, or swept by another command just now.
            continue
        left = folder / f"{found[1]}.tmp"
        with suppress(OSError):
            _remove(left)
        gone = not os.path.lexists(left)
        if gone:
            _unlink(folder / entry)
        lock.release()
        if gone:
            _unlink(folder / entry)


def _hold(path: Path) -> Any:
    """Return a lock on a new file. Another process takes it for an instant only, to see whether it is held."""
    from filelock import FileLock

    lock = FileLock(path)
    while True:
        lock.acquire()
        if path.exists():
            return lock
        lock.release()


def _remove_old(folder: Path, name: str, hidden: list[str]) -> None:
    work = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{12}}\.tmp")
    for entry in hidden:
        left = folder / entry
        if work.fullmatch(entry) and not left.with_suffix(".lock").exists():
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                    _remove(left)


def _hidden(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name.startswith(".")]
    except OSError:
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
