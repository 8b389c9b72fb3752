"""Checksums and sizes of files and folders, and checks of the names and paths that users give."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ednabed.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Windows reserves these names for devices, with any extension.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_COMPRESSED = (".gz", ".zst")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_entry(path: Path) -> dict[str, Any]:
    """Return the entry of a file in a manifest: its ``sha256`` and its ``bytes``."""
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def file_fault(path: Path, entry: Mapping[str, Any]) -> str | None:
    """Return why a file does not match its ``file_entry``, without its name; None if it matches."""
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != entry["bytes"]:
        return f"has {path.stat().st_size} bytes, expected {entry['bytes']}"
    return None if sha256_file(path) == entry["sha256"] else "does not match its checksum"


def folder_bytes(folder: Path) -> int:
    """Return the total bytes of all files in a folder, counting files with several hard links once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file():
            status = path.stat()
            seen[status.st_dev, status.st_ino or id(path)] = status.st_size
    return sum(seen.values())


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


def check_file(path: Path, example: str) -> None:
    """Check that results can be written to a file, before hours of work rather than after.

    Args:
        path: The file.
        example: An example file name, for the error message if the path is a folder.

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
