"""Where an export goes: a file or a folder that is whole or absent.

Work in progress lies beside it under a name that begins with a dot. A folder holds ``export.json``, which says what
made it and lists its files; only a folder that has it (or is empty) is written to again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ednabed.base.stored_json import BadJson, parse_json
from ednabed.errors import UsageError
from ednabed.reference.layout import check_outside
from ednabed.store import files
from ednabed.store.files import check_above, check_file, fsync_file, sha256_file, to_json, write_atomic
from ednabed.store.temporary import in_progress, sweep

ABOUT = "export.json"
ABOUT_SCHEMA = "ednabed.export/1"


def check_target_file(path: Path, example: str) -> None:
    """Make sure that a file can be written.

    Raises:
        UsageError: It is a folder or no regular file, has the ending of a compressed file, or lies in a run or a
            reference.
    """
    check_file(path, example)
    check_outside(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a pipe or a device, wanted a file; name one such as {example}")


def check_target_folder(folder: Path, format: str) -> None:
    """Make sure that a folder can be written, and that nothing of somebody else would be replaced in it.

    Raises:
        UsageError: It, or one above it, is a file; it lies in a run or a reference; or it holds something that is no
            export of this format.
    """
    check_above(folder / ABOUT)
    check_outside(folder / ABOUT)
    # What a killed command left in an empty folder is nothing of somebody else.
    sweep(folder)
    if folder.is_dir() and any(folder.iterdir()) and _about(folder).get("format") != format:
        raise UsageError(
            f"{folder} holds something else than an export as {format} (no {ABOUT} of one); name another folder"
        )


@contextmanager
def whole_target(path: Path, example: str) -> Iterator[Path]:
    """Give the name of a work file that takes the place of ``path`` when the block has ended well, and else vanishes.

    Args:
        path: The file; a link stays one and its target is replaced. Folders above it are made.
        example: A name such as it could have, for messages.

    Raises:
        UsageError: See ``check_target_file``.
    """
    check_target_file(path, example)
    with files.whole_file(Path(os.path.realpath(path))) as work:
        yield work


@contextmanager
def whole_folder(folder: Path, format: str, about: Mapping[str, Any]) -> Iterator[Path]:
    """Give a work folder whose files are in ``folder`` when the block has ended well; else it vanishes.

    A folder that is not there appears whole. In one of an earlier export, its files are replaced one after the other
    when all are finished, those that the new one lacks are removed, and all else stays.

    Args:
        folder: Where to.
        format: Name of the format.
        about: What ``export.json`` says beside schema, format and files. It is read when the block has ended.

    Raises:
        UsageError: See ``check_target_folder``.
    """
    check_target_folder(folder, format)
    whole = not folder.exists()
    place = folder.parent if whole else folder
    with in_progress(place / "export") as work:
        work.mkdir()
        yield work
        names = sorted(path.name for path in work.iterdir())
        listed = {}
        for name in names:
            fsync_file(work / name)
            listed[name] = {"sha256": sha256_file(work / name), "bytes": (work / name).stat().st_size}
        write_atomic(work / ABOUT, to_json({"schema": ABOUT_SCHEMA, "format": format, **about, "files": listed}))
        if whole:
            work.rename(folder)
            return
        gone = set(_about(folder).get("files", {})) - set(names)
        # Last, because it has the checksums: until then it tells that the files are not those of one export.
        for name in (*names, ABOUT):
            (work / name).replace(folder / name)
        for name in gone:
            if Path(name).name == name:
                (folder / name).unlink(missing_ok=True)


def files_of(folder: Path) -> tuple[str, ...]:
    """Return the names of the files of an export in a folder, sorted, ``export.json`` with them; none where none is."""
    about = _about(folder)
    return tuple(sorted([*about["files"], ABOUT])) if about else ()


def _about(folder: Path) -> dict[str, Any]:
    """Return what ``export.json`` says; nothing where there is none of ours."""
    try:
        body = parse_json((folder / ABOUT).read_bytes())
    except (OSError, BadJson):
        return {}
    known = isinstance(body, dict) and body.get("schema") == ABOUT_SCHEMA and isinstance(body.get("files"), dict)
    return body if known else {}
