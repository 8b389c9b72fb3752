"""Checksums, atomic file replacement, cleaning of user-supplied texts and names, and the lock on work in progress."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ednabed.base.sealed import json_sha256 as json_sha256
from ednabed.base.sealed import to_json as to_json
from ednabed.errors import StoreError, UsageError
from ednabed.store.temporary import in_progress

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Windows reserves these names for devices, with any extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
# Line ends, tabs, terminal control codes (C0, C1), Unicode line separators and text direction controls.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COMPRESSED = (".gz", ".zst")
_STALE_SECONDS = 600
# Lone surrogates, from file names that are not valid Unicode: UTF-8 cannot encode them.
_HALF = re.compile("[\ud800-\udfff]")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 file under another name and rename it, so that readers see either the old text or the new."""
    with _renamed_at_the_end(path) as file:
        file.write(text)


def check_file(path: Path, example: str) -> None:
    """Check that results can be written to a file, before hours of work rather than after.

    Args:
        path: The file.
        example: See ``replacing``.

    Raises:
        UsageError: The path is a folder, has the extension of a compressed file, or has a file among its parents.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, expected a file for the results; add a file name such as {example}")
    if path.suffix.lower() in _COMPRESSED:
        raise UsageError(
            f"{path} has the extension of a compressed file, but results are plain text; omit {path.suffix}"
        )
    check_parents(path)


def check_parents(path: Path) -> None:
    """Check that the parent folders of a path can be created.

    Raises:
        UsageError: The nearest existing parent is a file.
    """
    existing = next((parent for parent in path.parents if parent.exists()), None)
    if existing is not None and not existing.is_dir():
        raise UsageError(f"{existing} is a file, expected a folder for the results; give another path")


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
    with _renamed_at_the_end(Path(os.path.realpath(path))) as file:
        yield file


@contextmanager
def _renamed_at_the_end(path: Path) -> Iterator[TextIO]:
    """Open a temporary file in the same folder; it is on the disk before it gets its final name."""
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


def clean(text: str) -> str:
    """Return a text that is safe in a line of a table or on a terminal.

    Tabs, line ends and other control characters become spaces; characters that UTF-8 cannot encode become U+FFFD.
    """
    # Every replaced character is unprintable, and nearly all text is printable.
    return text if text.isprintable() else _HALF.sub("\ufffd", _CONTROL.sub(" ", text))


def human_bytes(n: int) -> str:
    """Format a size in decimal units, such as 1.9 GB."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def fsync_file(path: Path) -> None:
    """Force a finished file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it is a valid folder name on every system, otherwise raise UsageError.

    A name has at most 100 letters, digits, dots, hyphens and underscores and begins with a letter or digit, so it
    cannot lead out of the workspace.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name) or name.endswith("."):
        raise UsageError(
            f"{kind} name {name!r} cannot be a folder on every system; use up to 100 letters, digits, '.', '-' or '_', "
            "beginning with a letter or digit"
        )
    return name


@contextmanager
def exclusive(path: Path, doing: str, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock file during the block; the system releases the lock when the process dies.

    Args:
        path: The lock file; its parent folders are created.
        doing: The work in progress, with the commands that do it in brackets, for the error message.
        remove: Delete the lock file at the end.

    Raises:
        StoreError: Another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(f"{path.parent}: another process is {doing}; wait until it has finished") from None
        except FileNotFoundError:
            # The process that held it has just finished and removed the folder.
            continue
        if path.exists():
            break
        lock.release()
    else:
        raise StoreError(f"{path} cannot be locked: it disappears as soon as it is created; check its folder")
    gone = not remove
    try:
        try:
            yield
        finally:
            # Done while the lock is held, so that no other process loses a lock file it has just acquired.
            gone = gone or _unlinked(path)
    finally:
        lock.release()
        if not gone:
            # Windows cannot delete an open file, so it is deleted only now, unless another process has it open.
            _unlinked(path)


def _unlinked(path: Path) -> bool:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return True
    return False
