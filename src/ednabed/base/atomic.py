"""Files and folders that are complete or absent: work in progress has another name, and a rename is the last step.

Work on ``NAME`` is a file or folder next to it called ``.NAME.<12 hexadecimal digits>.tmp``. The lock file
``.NAME.<same digits>.lock`` is created before it and removed after it, and is locked while its process lives. This
distinguishes leftovers of a killed command from work that a live one is still writing.
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
from typing import Any, TextIO

from ednabed.base.files import check_file, fsync_file
from ednabed.base.locks import release

_LOCK = re.compile(r"(\..+\.[0-9a-f]{12})\.lock", re.DOTALL)
_OLD_SECONDS = 86_400
"""Age at which work without a lock file is removed, because nothing shows whether its process lives."""


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 file under another name and rename it, so that readers see either the old text or the new."""
    with _text_file(path) as file:
        file.write(text)


@contextmanager
def replacing(path: Path, example: str) -> Iterator[TextIO]:
    """Open a UTF-8 file for writing that replaces ``path`` if the block succeeds, and is discarded otherwise.

    A link stays a link and its target is replaced; a pipe or a device is written to directly.

    Args:
        path: The file; its parent folders are created.
        example: An example file name, for the error message if the path is a folder.

    Raises:
        UsageError: See ``check_file``.
    """
    check_file(path, example)
    if path.exists() and not path.is_file():
        # A pipe or a device must be written to directly, because renaming a file over it would remove it. The given
        # name is used, because the target of a link to a pipe, such as standard output, cannot be opened.
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    with _text_file(Path(os.path.realpath(path))) as file:
        yield file


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder for a file that replaces ``path`` when the block ends.

    The file is on the disk before it gets its final name, and is removed if the block fails. Parent folders are
    created.
    """
    with in_progress(path) as temporary:
        try:
            yield temporary
            fsync_file(temporary)
            _replace(temporary, path)
        except OSError as error:
            if error.errno is not None and error.filename is None:
                # A failed write, as on a full disk, does not name the file.
                error.filename = str(path)
            raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file over another; on Windows this fails while another process reads it, so it is retried briefly."""
    for _ in range(50):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            time.sleep(0.02)
    temporary.replace(path)


@contextmanager
def in_progress(path: Path) -> Iterator[Path]:
    """Yield a temporary path for work that becomes ``path``; anything left under it when the block ends is removed.

    Parent folders are created. Leftovers of killed commands in the same folder are removed first.

    Args:
        path: The final path. The block itself must rename the work to it.
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
        # Work that cannot be removed now is removed by the next command, which needs the lock file to recognise it.
        release(lock, held, remove=not os.path.lexists(temporary))


def sweep(folder: Path, *names: str) -> None:
    """Remove leftover work of killed commands from a folder; work that a live command is writing stays.

    Args:
        folder: The folder to clean.
        names: Final names for which old work without a lock file, from earlier versions, is also removed.
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
            # Still in use, owned by another user, or just removed by another command.
            continue
        leftover = folder / f"{found[1]}.tmp"
        with suppress(OSError):
            _remove(leftover)
        release(lock, folder / entry, remove=not os.path.lexists(leftover))


def _hold(path: Path) -> Any:
    """Return a lock on a new file. Another process acquires it only for an instant, to see whether it is held."""
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
        leftover = folder / entry
        if work.fullmatch(entry) and not leftover.with_suffix(".lock").exists():
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _OLD_SECONDS:
                    _remove(leftover)


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
