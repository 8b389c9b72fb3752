"""The folder layout of a reference: its builds, which of them is current, and their names.

A reference is a folder::

    consolidated_metadata.json      the current build: its manifest, replaced in one step
    consolidated_embeddings.npy     hard links to files of the current build, for other programs;
    consolidated_index.faiss        ednabed itself reads the build's folder
    names.json                      names given to builds
    previous.json                   which build was current before, for ``undo_build``
    map.parquet                     positions of sequences on a map, by key, so that it serves all builds
    builds/<build>/                 one immutable folder per build; a name that begins with a dot is work in progress

A build is removed when it is not current, not the previous one and not named. No build is removed while a named one is
missing or a file that names builds is damaged. A reader whose build is being removed reads the metadata again.
The next command that writes removes what killed commands left behind (work in progress, unused builds).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import numpy as np

from ednabed.base.atomic import sweep, write_atomic
from ednabed.base.files import check_name
from ednabed.base.locks import exclusive
from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.reference.build_names import NAMES, PREVIOUS, read_names, read_previous, write_names, write_previous
from ednabed.reference.manifest import METADATA, DamagedManifest, ReferenceManifest
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS

log = logging.getLogger("ednabed")

VECTORS = "consolidated_embeddings.npy"
INDEX = "consolidated_index.faiss"
ROWS = "consolidated_rows.npy"
POSITIONS = "consolidated_positions.npy"
MAP = "map.parquet"
ROW_TYPE = np.dtype([("key", "<u8"), ("norm", "<f4"), ("length", "<i4"), ("first", "<i8")])
"""One row per vector, and one more at the end: ``key`` sorts ties independently of the order of runs; ``norm`` is the
length of the vector; ``length`` is the length of the sequence (-1 if unknown); ``first`` is the index in the positions
at which its records begin; they end where those of the next row begin."""

SEALED = (VECTORS, ROWS, POSITIONS)
"""Files whose samples are checked whenever a build is opened (``index.seal``)."""
HEADER_BYTES = 128
"""Length of the header of a ``.npy`` file."""

_BUILDS = "builds"
_LOCK = ".lock"
# Only folders with such a name are ever removed from ``builds``.
_BUILD = re.compile(r"\.?\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{6}")
_TEMPORARY = re.compile(rf"\.({'|'.join(map(re.escape, (METADATA, NAMES, VECTORS, INDEX)))})\.[0-9a-f]+\.tmp")


def default_folder(workspace: Path) -> Path:
    """Return the folder of the workspace's default reference."""
    return workspace / "data" / "reference"


def reference_folders(workspace: Path) -> list[Path]:
    """Return the folders of all references of a workspace (in ``data``), sorted."""
    return sorted(path.parent for path in (workspace / "data").glob(f"*/{METADATA}"))


def find_reference(workspace: Path, name: str | None) -> tuple[Path, str | None]:
    """Return the folder of a reference, and the name of the requested build (None: the current one).

    Args:
        workspace: Folder that holds ``data/reference``.
        name: A folder (relative to the workspace, else to the current directory), a folder and the name of a build
            (``FOLDER/NAME``), or the name of a build of any reference in the workspace's ``data``. None is the
            workspace's default reference.

    Raises:
        StoreError: There is no such reference (the message lists the existing ones), or builds of several references
            have this name.
    """
    if name is None:
        return default_folder(workspace), None
    for folder in (workspace / name, Path(name)):
        if (folder / METADATA).is_file():
            return folder, None
    for folder in (workspace / name, Path(name)):
        if (folder.parent / METADATA).is_file() and folder.name in read_names(folder.parent):
            return folder.parent, folder.name
    names: dict[str, list[Path]] = {}
    faults = []
    for folder in reference_folders(workspace):
        try:
            for build in read_names(folder):
                names.setdefault(build, []).append(folder)
        except StoreError as error:
            faults.append(str(error))
    found = names.get(name, [])
    if len(found) > 1:
        addresses = " or ".join((folder.relative_to(workspace) / name).as_posix() for folder in found)
        raise StoreError(f"{name!r} is the name of a build in {len(found)} references; choose one: {addresses}")
    for fault in faults:
        log.warning("%s", fault)
    if found:
        return found[0], name
    known = f"; existing build names: {', '.join(sorted(names))}" if names else ""
    raise StoreError(
        f"there is no reference {name!r}: no folder with {METADATA} and no named build{known}; "
        "'ednabed reference list' shows the existing ones, 'ednabed consolidate' builds one"
    )


def check_outside(path: Path) -> None:
    """Check that results are not written into a reference or a run, which only their own commands may change.

    Raises:
        UsageError: The path is inside a reference or a run.
    """
    for folder in path.resolve().parents:
        of_run = (folder / MANIFEST).is_file() and (folder / RECORDS).is_file()
        if of_run or (folder / METADATA).is_file():
            raise UsageError(f"{path} is inside the {'run' if of_run else 'reference'} {folder}; choose another path")


def build_folder(folder: Path, build: str) -> Path:
    """Return the folder of a build."""
    return folder / _BUILDS / build


def newest_build(folder: Path) -> ReferenceManifest | None:
    """Return the manifest of the current build or, if damaged, of the newest intact build; None if there is none."""
    with suppress(DamagedManifest):
        return ReferenceManifest.read(folder) if (folder / METADATA).exists() else None
    found = []
    for path in (folder / _BUILDS).glob("*"):
        if _BUILD.fullmatch(path.name) and not path.name.startswith("."):
            with suppress(EdnabedError):
                found.append(read_build(folder, path.name))
    return max(found, key=lambda manifest: (manifest.created, manifest.build), default=None)


def open_manifest(folder: Path, name: str | None = None) -> ReferenceManifest:
    """Return the manifest of the current build, or of the build called ``name``.

    Raises:
        StoreError: There is no reference or no such name, or the manifest is damaged.
    """
    if name is None:
        manifest = ReferenceManifest.read(folder)
        check_name("build", manifest.build)
        return manifest
    return read_build(folder, _build_called(folder, name))


def read_build(folder: Path, build: str) -> ReferenceManifest:
    """Return the manifest in the folder of a build.

    Raises:
        StoreError: The build does not exist, or its manifest is damaged or belongs to another build.
    """
    manifest = ReferenceManifest.read(build_folder(folder, build))
    if manifest.build != build:
        raise StoreError(
            f"{build_folder(folder, build)} contains the metadata of build {manifest.build!r}; restore it from a backup"
        )
    return manifest


def _build_called(folder: Path, name: str) -> str:
    names = read_names(folder)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise StoreError(f"{folder} has no build called {name!r}; existing names: {known}")
    return names[name]


def check_sizes(folder: Path, manifest: ReferenceManifest) -> None:
    """Raise StoreError if a file of a build is missing or has the wrong size."""
    for name, entry in manifest.files.items():
        path = build_folder(folder, manifest.build) / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            what = "does not have the size that it was written with" if path.is_file() else "is missing"
            raise StoreError(f"{path} {what}; rebuild the reference with 'ednabed consolidate --rebuild'")


def check_replaceable(folder: Path) -> None:
    """Raise StoreError if a reference cannot be written to ``folder`` because it contains something else."""
    if not folder.exists():
        return
    if (folder / METADATA).exists():
        # A damaged one can be replaced; one by another program or by a newer ednabed must not be.
        with suppress(DamagedManifest):
            ReferenceManifest.read(folder)
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file, so it cannot be a reference; give another `output`")
    # A command that was killed before it published its first build leaves these; the map may be older.
    ours = {_BUILDS, NAMES, PREVIOUS, MAP}
    foreign = [e.name for e in folder.iterdir() if e.name not in ours]
    if (folder / _BUILDS).is_dir():
        foreign += [f"{_BUILDS}/{e.name}" for e in (folder / _BUILDS).iterdir() if not _BUILD.fullmatch(e.name)]
    foreign = [name for name in foreign if not name.startswith(".")]
    if foreign:
        raise StoreError(
            f"{folder} contains something other than a reference ({', '.join(sorted(foreign)[:3])}); "
            "give another `output`"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the write lock of a reference; readers do not need it."""
    doing = "writing this reference ('ednabed consolidate', or 'reference tag', 'remove' or 'undo')"
    with exclusive(folder / _LOCK, doing):
        yield


def tidy(folder: Path) -> None:
    """Remove what killed commands left, and repair the hard links to the current build's files. Needs ``writing``."""
    sweep(folder)
    for left in folder.iterdir():
        # These are written only under the lock of the reference; in earlier versions they had no locks of their own.
        if _TEMPORARY.fullmatch(left.name):
            left.unlink(missing_ok=True)
    if not (folder / _BUILDS).is_dir():
        return
    for left in (folder / _BUILDS).iterdir():
        if left.name.startswith(".") and _BUILD.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
        else:
            sweep(left)
    # If the metadata file is damaged, the current build is unknown, so all builds are kept.
    with suppress(EdnabedError):
        remove_unused(folder)
        if (folder / METADATA).exists():
            _link(folder, build_folder(folder, ReferenceManifest.read(folder).build))


def new_build(folder: Path) -> tuple[str, Path]:
    """Choose a name for a new build and create its empty work folder; return both. Needs ``writing``."""
    build = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"
    work = folder / _BUILDS / f".{build}"
    work.mkdir(parents=True)
    return build, work


def publish(folder: Path, work: Path, manifest: ReferenceManifest) -> Path:
    """Rename a finished build to its final name and make it current, in one step for readers. Needs ``writing``.

    Returns the folder of the build.
    """
    before = newest_build(folder)
    write_atomic(work / METADATA, manifest.to_text())
    path = build_folder(folder, manifest.build)
    work.rename(path)
    _make_current(folder, manifest, None if before is None else before.build)
    return path


def undo_build(folder: Path) -> tuple[ReferenceManifest, str]:
    """Make the previous build current again; calling this twice changes nothing.

    If this is killed at any instant, one of the two builds is current, and both are kept.

    Returns:
        The manifest of the restored build, and the name of the build that was current, which is now the previous one.

    Raises:
        StoreError: There is no reference or no previous build, or the previous build is damaged.
    """
    # Checked before taking the lock, which would create the folder.
    open_manifest(folder)
    with writing(folder):
        current = open_manifest(folder)
        before = read_previous(folder).get(current.build)
        if before is None or not build_folder(folder, before).is_dir():
            raise StoreError(
                f"{folder} keeps no build before {current.build}, so nothing was undone; 'ednabed consolidate' builds "
                "a new one from the existing runs"
            )
        manifest = read_build(folder, before)
        check_sizes(folder, manifest)
        _make_current(folder, manifest, current.build)
    return manifest, current.build


def _make_current(folder: Path, manifest: ReferenceManifest, before: str | None) -> None:
    """Make a published build current, record ``before`` as the previous one, and tidy up. Needs the lock."""
    try:
        if before is not None:
            # Written first, in addition to the existing entries: whichever build is current after a kill, its
            # previous build is known.
            write_previous(folder, {**read_previous(folder), manifest.build: before})
        # The hard links are removed first, so that they never belong to a build other than the one in the metadata.
        for name in (VECTORS, INDEX):
            _unlink(folder / name)
        write_atomic(folder / METADATA, manifest.to_text())
    except BaseException:
        tidy(folder)
        raise
    _link(folder, build_folder(folder, manifest.build))
    remove_unused(folder)


def _link(folder: Path, build: Path) -> None:
    """Hard-link the files of the current build into the reference's folder, unless they are linked already."""
    for name in (VECTORS, INDEX):
        source, link = build / name, folder / name
        if source.exists() and link.exists() and source.samefile(link):
            continue
        temporary = folder / f".{name}.{secrets.token_hex(6)}.tmp"
        # On file systems without hard links (exFAT, some network drives) these links are omitted.
        with suppress(OSError):
            if source.exists():
                os.link(source, temporary)
                temporary.replace(link)
            else:
                link.unlink(missing_ok=True)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_unused(folder: Path) -> None:
    """Remove the builds that are not current, not the previous one and not named. Needs ``writing``.

    No build is removed while a named one is missing, because a name may then refer to the wrong build.
    On Windows a build that another process reads stays complete and is removed the next time.

    Raises:
        StoreError: A file that states which builds are kept is damaged; nothing was removed.
    """
    names, previous = read_names(folder), read_previous(folder)
    kept = set(names.values())
    if (folder / METADATA).exists():
        current = ReferenceManifest.read(folder).build
        known = {build: before for build, before in previous.items() if build == current}
        kept |= {current, *known.values()}
        if known != previous:
            # The new build is current already, and entries of other builds do no harm.
            with suppress(OSError):
                write_previous(folder, known)
    else:
        kept |= {*previous, *previous.values()}
    missing = missing_builds(folder, names)
    if missing:
        log.warning("%s, so no build was removed", missing[0])
        return
    for path in (folder / _BUILDS).iterdir():
        if path.name not in kept and not path.name.startswith(".") and _BUILD.fullmatch(path.name):
            removed = path.with_name(f".{path.name}")
            with suppress(OSError):
                path.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)


def missing_builds(folder: Path, names: Mapping[str, str]) -> list[str]:
    """Return a message for each name whose build is missing."""
    return [
        f"{folder / NAMES} gives the name {name!r} to build {build}, which is not in {folder / _BUILDS} (restore it "
        f"from a backup, or remove the name with 'ednabed reference remove {name}')"
        for name, build in names.items()
        if not (build_folder(folder, build) / METADATA).is_file()
    ]


def remove_traces(folder: Path) -> None:
    """Remove what a command created in a folder without completing a reference there."""
    if (folder / METADATA).exists():
        return
    for path in (folder / _BUILDS, folder / _LOCK):
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def name_build(folder: Path, name: str) -> ReferenceManifest:
    """Give the current build a name, so that it is kept when later ones are built; return its manifest.

    Raises:
        UsageError: The name is not valid, or it belongs to another build.
        StoreError: There is no reference.
    """
    check_name("build", name)
    # Checked before taking the lock, which would create the folder.
    open_manifest(folder)
    with writing(folder):
        manifest = open_manifest(folder)
        names = read_names(folder)
        if names.get(name, manifest.build) != manifest.build:
            raise UsageError(
                f"{name!r} is already the name of build {names[name]}; choose another name, or remove this one with "
                f"'ednabed reference remove {name}'"
            )
        write_names(folder, {**names, name: manifest.build})
    return manifest


def remove_name(folder: Path, name: str) -> bool:
    """Remove a name; its build is removed too unless it is current, the previous one, or has another name.

    Returns whether the build no longer exists.

    Raises:
        StoreError: There is no such name.
    """
    _build_called(folder, name)
    with writing(folder):
        build = _build_called(folder, name)
        names = read_names(folder)
        del names[name]
        missing = not build_folder(folder, build).exists()
        # If this file is damaged, fail now and not halfway through the removal.
        read_previous(folder)
        write_names(folder, names)
        if not missing:
            # If it is missing, the name may have belonged to another build, which stays until the next removal.
            remove_unused(folder)
    return not build_folder(folder, build).exists()


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        # Windows keeps a file that another program has open, under all its names. The build itself is not affected.
        log.warning("%s is open in another program and still belongs to the old build; ednabed does not read it", path)
