"""Write an export to a file or a folder, which appears complete or not at all.

Unfinished output is kept next to the target under a name that begins with a dot. An output folder contains
``export.json``, which records how it was created and lists its files; only a folder that has this file (or is empty)
is written to again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ednabed.base.atomic import in_progress, sweep, whole_file, write_atomic
from ednabed.base.files import check_file, check_parents, file_entry, fsync_file
from ednabed.base.sealed import to_json
from ednabed.base.stored_json import BadJson, parse_json
from ednabed.errors import UsageError
from ednabed.reference.layout import check_outside

ABOUT = "export.json"
ABOUT_SCHEMA = "ednabed.export/1"


def check_target_file(path: Path, example: str) -> None:
    """Check that a file can be written.

    Raises:
        UsageError: The path is a folder or not a regular file, has the extension of a compressed file, or is in a run
            or a reference.
    """
    check_file(path, example)
    check_outside(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a pipe or a device, expected a file; give a file such as {example}")


def check_target_folder(folder: Path, format: str) -> None:
    """Check that a folder can be written, and that no file from another source would be replaced in it.

    Raises:
        UsageError: The folder or one of its parents is a file; it is in a run or a reference; or it contains something
            that is not an export of this format.
    """
    check_parents(folder / ABOUT)
    check_outside(folder / ABOUT)
    # Files that a killed command left in an otherwise empty folder are not from another source.
    sweep(folder)
    if folder.is_dir() and any(folder.iterdir()) and _about(folder).get("format") != format:
        raise UsageError(
            f"{folder} is not empty and not an export as {format} (it has no {ABOUT} of one); give another folder"
        )


@contextmanager
def atomic_target(path: Path, example: str) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block succeeds, and is deleted otherwise.

    Args:
        path: The file; if it is a link, its target is replaced. Parent folders are created.
        example: An example of a file name, for messages.

    Raises:
        UsageError: See ``check_target_file``.
    """
    check_target_file(path, example)
    with whole_file(Path(os.path.realpath(path))) as work:
        yield work


@contextmanager
def atomic_folder(folder: Path, format: str, about: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder whose files are moved to ``folder`` when the block succeeds; otherwise it is deleted.

    A new folder appears only when it is complete. In the folder of an earlier export, its files are replaced one after
    the other when all are finished, files that the new export lacks are removed, and all other files stay.

    Args:
        folder: Output folder.
        format: Name of the format.
        about: Content of ``export.json`` in addition to schema, format and files. It is read when the block has ended.

    Raises:
        UsageError: See ``check_target_folder``.
    """
    check_target_folder(folder, format)
    is_new = not folder.exists()
    parent = folder.parent if is_new else folder
    with in_progress(parent / "export") as work:
        work.mkdir()
        yield work
        names = sorted(path.name for path in work.iterdir())
        listed = {}
        for name in names:
            fsync_file(work / name)
            listed[name] = file_entry(work / name)
        write_atomic(work / ABOUT, to_json({"schema": ABOUT_SCHEMA, "format": format, **about, "files": listed}))
        if is_new:
            work.rename(folder)
            return
        removed = set(_about(folder).get("files", {})) - set(names)
        # export.json is replaced last: until then, its checksums show that the files are not from one export.
        for name in (*names, ABOUT):
            (work / name).replace(folder / name)
        for name in removed:
            if Path(name).name == name:
                (folder / name).unlink(missing_ok=True)


def files_of(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the files of an export, including ``export.json``; empty if the folder has none."""
    about = _about(folder)
    return tuple(sorted([*about["files"], ABOUT])) if about else ()


def _about(folder: Path) -> dict[str, Any]:
    """Return the content of ``export.json``; empty if there is none that ednabed wrote."""
    try:
        body = parse_json((folder / ABOUT).read_bytes())
    except (OSError, BadJson):
        return {}
    known = isinstance(body, dict) and body.get("schema") == ABOUT_SCHEMA and isinstance(body.get("files"), dict)
    return body if known else {}
