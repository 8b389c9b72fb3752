"""Whole or absent: checksums, atomic replacement, texts and names from users, and the lock on work in progress."""

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
# Windows keeps these names for devices, with any extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
# Line ends, tabs, what steers a terminal (C0, C1), the line ends of Unicode, and what turns the direction of text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COMPRESSED = (".gz", ".zst")
_STALE_SECONDS = 600
# Halves of pairs, from names of files that are no Unicode: UTF-8 cannot hold them.
_HALF = re.compile("[\ud800-\udfff]")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 file under another name and rename it, so that readers see the old text or the new."""
    with _renamed_at_the_end(path) as file:
        file.write(text)


def check_file(path: Path, example: str) -> None:
    """Make sure that results can be written to a file, before hours of work rather than after.

    Args:
        path: The file.
        example: See ``replacing``.

    Raises:
        UsageError: It is a folder, its ending is that of a compressed file, or what stands above it is no folder.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, wanted a file for the results; add a name such as {example}")
    if path.suffix.lower() in _COMPRESSED:
        raise UsageError(f"{path} has the ending of a compressed file, but results are text; leave {path.suffix} away")
    check_above(path)


def check_above(path: Path) -> None:
    """Make sure that folders can be made down to a path.

    Raises:
        UsageError: The nearest of them that is there is a file.
    """
    there = next((above for above in path.parents if above.exists()), None)
    if there is not None and not there.is_dir():
        raise UsageError(f"{there} is a file, wanted a folder for the results; give another name")


@contextmanager
def replacing(path: Path, example: str) -> Iterator[TextIO]:
    """Open a UTF-8 file for writing that takes the place of ``path`` when the block has ended well, and else vanishes.

    A link stays a link and its target is replaced; a pipe or a device is written to directly.

    Args:
        path: The file; folders above it are made.
        example: A name such as it could have, for the message where it is a folder.

    Raises:
        UsageError: See ``check_file``.
    """
    check_file(path, example)
    if path.exists() and not path.is_file():
        # A pipe or a device must be written to; renaming a file over it would do away with it. By its own name: that
        # of a pipe behind a link, such as standard output, is none that can be opened.
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    with _renamed_at_the_end(Path(os.path.realpath(path))) as file:
        yield file


@contextmanager
def _renamed_at_the_end(path: Path) -> Iterator[TextIO]:
    """Open a file of another name in the same folder; it is on the disk before it gets its own."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give another name in the same folder, to write a file to that takes the place of ``path`` when the block ended.

    It is on the disk before it gets its own name; when the block fails it vanishes. Folders above it are made.
    """
    with in_progress(path) as temporary:
        try:
            yield temporary
            fsync_file(temporary)
            _replace(temporary, path)
        except OSError as error:
            if error.errno is not None and error.filename is None:
                # A write that fails, as on a full disk, does not say of which file.
                error.filename = str(path)
            raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file over another; on Windows that fails while another process reads it, which takes no time."""
    for _ in range(50):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            time.sleep(0.02)
    temporary.replace(path)


def clean(text: str) -> str:
    """Return a text that can stand in a line of a table or on a terminal.

    Tabs, line ends and other control characters become blanks, what UTF-8 cannot hold U+FFFD.
    """
    # All that is replaced is not printable, and nearly all text is.
    return text if text.isprintable() else _HALF.sub("\ufffd", _CONTROL.sub(" ", text))


def human_bytes(n: int) -> str:
    """Write a size in decimal units: 1.9 GB."""
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
    """Return ``name`` when it can be one folder on every system, else raise UsageError.

    Letters, digits, dot, hyphen and underscore, at most 100, first a letter or digit: such a name cannot leave the
    workspace.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name) or name.endswith("."):
        raise UsageError(
            f"{kind} name {name!r} cannot be a folder on every system; take up to 100 letters, digits, '.', '-', '_', "
            "the first a letter or digit"
        )
    return name


@contextmanager
def exclusive(path: Path, doing: str, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock file for the time of the block; the system frees it when the process dies.

    Args:
        path: The lock file; folders above it are made.
        doing: What is being done, and in brackets by which commands, for the message.
        remove: Leave no lock file behind.

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
            raise StoreError(f"{path.parent}: another process is {doing}; wait until it has ended") from None
        except FileNotFoundError:
            # A process that was at it has ended just now and took its folder away.
            continue
        if path.exists():
            break
        lock.release()
    else:
        raise StoreError(f"{path} cannot be locked: it vanishes as soon as it is made; look at its folder")
    gone = not remove
    try:
        try:
            yield
        finally:
            # While it is held, so that it is not taken from under another process.
            gone = gone or _unlinked(path)
    finally:
        lock.release()
        if not gone:
            # Windows keeps an open file, so it can go only now; one that another process has opened stays.
            _unlinked(path)


def _unlinked(path: Path) -> bool:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return True
    return False
