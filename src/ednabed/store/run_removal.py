"""Remove a run: hide it from every reader in one step, then delete it together with what is kept next to it.

The folder is first renamed to ``.removed-<name>``, which is no longer a run, and deleted last. A command that is killed
in between leaves that folder behind, and the next command that removes runs finishes the removal.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ednabed.base.locks import exclusive
from ednabed.errors import StoreError, UsageError
from ednabed.store.assignments import folder_of
from ednabed.store.compress import LOCK, WORK, locked_run
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS, REJECTED, Run, run_folders, runs_root, walk_runs
from ednabed.store.vectors import FORMS
from ednabed.store.version_file import Versions, locked, write_versions

_GONE = ".removed-"
_OURS = {MANIFEST, RECORDS, REJECTED, LOCK, WORK, *FORMS}


def removable_run(workspace: Path, name: str) -> Path:
    """Return the folder of a run that may be removed.

    Args:
        workspace: Folder of the workspace; nothing outside it is ever removed.
        name: ``dataset/run``, or the folder of a run in the workspace. The name of a dataset alone is not accepted,
            because its newest run changes as soon as one is removed.

    Raises:
        UsageError: The name is that of a dataset, or leads out of the workspace.
        StoreError: There is no such run, or its folder also contains something else.
    """
    root, home = runs_root(workspace), workspace.resolve()
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        raise UsageError(f"{name!r} leads out of its folder; give the run as dataset/run ('ednabed runs list')")
    if len(parts) == 1 and (newest := run_folders(root / name)):
        shown = ", ".join(f"{name}/{folder.name}" for folder in newest[-3:])
        raise UsageError(f"{name!r} is a dataset; give the run to remove: {shown}")
    folder = next((path for path in (root / name, workspace / name, Path(name)) if name and path.is_dir()), None)
    if folder is None:
        raise StoreError(f"there is no run {name!r} in {root}; 'ednabed runs list' shows the existing runs")
    real = folder.resolve()
    if folder.is_symlink() or not real.is_relative_to(home) or real in (home, root.resolve()):
        raise UsageError(
            f"{folder} is a link or is outside the workspace {workspace}, but only runs in the workspace can be "
            "removed; delete it by hand"
        )
    if not any((folder / mark).is_file() for mark in (MANIFEST, *FORMS)) or folder.name.startswith("."):
        raise StoreError(f"{folder} is not a run; 'ednabed runs list' shows the existing runs")
    names = {entry.name for entry in folder.iterdir()}
    foreign = sorted(entry for entry in names - _OURS if not entry.startswith(f".{MANIFEST}."))
    if foreign or len(walk_runs(folder)) > 1:
        what = ", ".join(foreign[:3])
        raise StoreError(f"{folder} contains something other than a run ({what}); move that away first")
    return folder


def remove_run(workspace: Path, folder: Path) -> None:
    """Remove a run, the assignments kept next to it, and its tag unless the workspace has a copy of the run.

    Args:
        workspace: Folder that contains ``data`` and ``consolidated_data``.
        folder: See ``removable_run``.

    Raises:
        StoreError: Another process is compressing or classifying the run, has one of its files open (Windows), or has
            just removed it. In the first two cases the run remains complete.
    """
    gone = folder.with_name(f"{_GONE}{folder.name}")
    with exclusive(folder.parent / f"{_GONE[:-1]}.lock", "removing a run from it ('ednabed runs remove')", remove=True):
        if not folder.is_dir():
            raise StoreError(f"{folder} no longer exists; another process has removed it")
        identity = _identity(folder)
        finish_removal(gone)
        try:
            # Every process that works on the run holds one of these locks.
            with locked_run(folder):
                pass
            if folder_of(folder).is_dir():
                with exclusive(folder_of(folder) / ".lock", "saving assignments of this run"):
                    pass
            folder.rename(gone)
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be removed ({error.strerror}), and nothing was removed; close the programs that read "
                "it, and run the same command again"
            ) from error
        if identity is not None:
            _untag(workspace, identity)
        finish_removal(gone)
    with suppress(OSError):
        # This fails if the folder contains other runs or work in progress.
        folder.parent.rmdir()


def unfinished_removals(workspace: Path, names: Iterable[str] = ()) -> dict[Path, Path]:
    """Return what killed commands left of the runs they were removing, keyed by the original folder of each run.

    Args:
        workspace: Folder that contains ``consolidated_data``.
        names: Runs that may be elsewhere in the workspace, in the form that ``removable_run`` accepts.
    """
    found = {*runs_root(workspace).rglob(f"{_GONE}*")}
    for folder in (workspace / name for name in names if name and ".." not in Path(name).parts):
        found.add(folder.with_name(f"{_GONE}{folder.name}"))
    return {gone.with_name(gone.name.removeprefix(_GONE)): gone for gone in sorted(found) if gone.is_dir()}


def finish_removal(gone: Path) -> None:
    """Delete a run that has already been renamed for removal, and the assignments kept next to it.

    Args:
        gone: See ``unfinished_removals``; nothing is done if it does not exist.

    Raises:
        StoreError: A file cannot be deleted.
    """
    if not gone.is_dir():
        return
    folder = gone.with_name(gone.name.removeprefix(_GONE))
    try:
        names = folder_of(folder)
        # A run created meanwhile under the same name owns these assignments.
        if names.is_dir() and not folder.exists():
            shutil.rmtree(names)
        shutil.rmtree(gone)
    except OSError as error:
        raise StoreError(
            f"{error.filename or gone}: cannot be deleted ({error.strerror}); the run is no longer listed, and "
            "'ednabed runs remove' finishes when the programs that read it are closed"
        ) from error


def _identity(folder: Path) -> str | None:
    """Return the identity by which tags refer to a run; None if the run is damaged."""
    try:
        return Run.open(folder).identity
    except StoreError:
        return None


def _untag(workspace: Path, identity: str) -> None:
    """Remove the tag of a run, unless the workspace contains a copy of the run."""
    if identity not in Versions.read(workspace).tags:
        return
    if any(_identity(other) == identity for other in walk_runs(runs_root(workspace))):
        return
    with locked(workspace):
        versions = Versions.read(workspace)
        tags = {known: tag for known, tag in versions.tags.items() if known != identity}
        write_versions(workspace, replace(versions, tags=tags))
