"""Whole or absent: checksums, atomic replacement, names from users, and the lock on work in progress."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ednabed.errors import StoreError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Windows keeps these names for devices, with any extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(value: Any) -> str:
    """Write JSON in the one form that ednabed's files have: two blanks, keys as given, newline at the end, no NaN."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_sha256(value: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a value's JSON with sorted keys and no blanks."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 file under another name and rename it, so that readers see the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
def exclusive(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock file for the time of the block; the system frees it when the process dies.

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
    try:
        yield
    finally:
        lock.release()
