"""Where the builds of a reference lie, which one is current, and what names they have.

A reference is a folder::

    consolidated_metadata.json      the current build: its manifest, replaced in one step
    consolidated_embeddings.npy     other names (hard links) of files of the current build, for other programs;
    consolidated_index.faiss        ednabed itself reads the build's folder
    names.json                      names given to builds
    builds/<build>/                 one immutable folder a build; a name beginning with a dot is work in progress

A build is removed when it is neither current nor named. A reader that met one just then reads the metadata again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ednabed.errors import StoreError, UsageError
from ednabed.reference.manifest import METADATA, ReferenceManifest
from ednabed.store.files import check_name, exclusive, to_json, write_atomic

VECTORS = "consolidated_embeddings.npy"
INDEX = "consolidated_index.faiss"
ROWS = "consolidated_rows.npy"
POSITIONS = "consolidated_positions.npy"
NAMES = "names.json"
NAMES_SCHEMA = "ednabed.names/1"
_BUILDS = "builds"


def default_folder(workspace: Path) -> Path:
    """Return the reference of a workspace."""
    return workspace / "data" / "reference"


def find_reference(workspace: Path, name: str | None) -> tuple[Path, str | None]:
    """Return the folder of a reference, and the name of the build that is meant (None: the current one).

    Args:
        workspace: Folder that holds ``data/reference``.
        name: A folder (from the workspace, else from here), a folder and the name of a build (``FOLDER/NAME``), or the
            name of a build of the workspace's reference. None is the workspace's reference.

    Raises:
        StoreError: There is no such reference; those there are, are named.
    """
    if name is None:
        return default_folder(workspace), None
    for folder in (workspace / name, Path(name)):
        if (folder / METADATA).is_file():
            return folder, None
    for folder in (workspace / name, Path(name)):
        if folder.parent.name and folder.name in read_names(folder.parent):
            return folder.parent, folder.name
    names = read_names(default_folder(workspace))
    if name in names:
        return default_folder(workspace), name
    known = f"; names of builds there: {', '.join(sorted(names))}" if names else ""
    raise StoreError(
        f"there is no reference {name!r}: no folder with {METADATA} and no named build{known}; "
        "'ednabed reference list' shows what there is, 'ednabed consolidate' makes one"
    )


def build_folder(folder: Path, build: str) -> Path:
    """Return the folder of a build."""
    return folder / _BUILDS / build


def read_names(folder: Path) -> dict[str, str]:
    """Return name to build of a reference; empty where no name was given.

    Raises:
        StoreError: The file is damaged or of an unknown schema.
    """
    path = folder / NAMES
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, RecursionError):
        raise StoreError(f"{path} is damaged; mend it, or delete it to forget the names of builds") from None
    if not isinstance(body, dict) or body.get("schema") != NAMES_SCHEMA or not isinstance(body.get("names"), dict):
        raise StoreError(f"{path} is not of schema {NAMES_SCHEMA!r}; update ednabed")
    return {str(name): check_name("build", str(build)) for name, build in body["names"].items()}


def open_manifest(folder: Path, name: str | None = None) -> ReferenceManifest:
    """Return the manifest of the current build, or of the build called ``name``.

    Raises:
        StoreError: There is no reference, no such name, or the manifest is damaged.
    """
    if name is None:
        manifest = ReferenceManifest.read(folder)
        check_name("build", manifest.build)
        return manifest
    names = read_names(folder)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise StoreError(f"{folder} has no build called {name!r}; names there: {known}")
    return ReferenceManifest.read(build_folder(folder, names[name]))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a reference for writing; readers need none."""
    with exclusive(folder / ".lock", "writing this reference"):
        yield


def new_build(folder: Path, build: str) -> Path:
    """Make an empty work folder for a build; those that interrupted commands left are removed. Needs ``writing``."""
    builds = folder / _BUILDS
    for left in builds.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
    work = builds / f".{build}"
    work.mkdir(parents=True)
    return work


def publish(folder: Path, work: Path, manifest: ReferenceManifest) -> Path:
    """Give a finished build its name and make it the current one, in one step for every reader. Needs ``writing``.

    Returns the folder of the build.
    """
    write_atomic(work / METADATA, manifest.to_text())
    place = build_folder(folder, manifest.build)
    work.rename(place)
    # The other names go first, so that at no time they stand for another build than the metadata.
    for name in (VECTORS, INDEX):
        _unlink(folder / name)
    write_atomic(folder / METADATA, manifest.to_text())
    for name in (VECTORS, INDEX):
        if (place / name).exists() and not (folder / name).exists():
            # File systems without hard links (exFAT, some network drives) go without these names.
            with suppress(OSError):
                os.link(place / name, folder / name)
    remove_unused(folder)
    return place


def remove_unused(folder: Path) -> None:
    """Remove the builds that are neither current nor named. Needs ``writing``.

    On Windows the files of a build that another process reads stay; they go the next time.
    """
    kept = set(read_names(folder).values())
    if (folder / METADATA).exists():
        kept.add(ReferenceManifest.read(folder).build)
    for place in (folder / _BUILDS).iterdir():
        if place.name not in kept:
            shutil.rmtree(place, ignore_errors=True)


def name_build(folder: Path, name: str) -> ReferenceManifest:
    """Give the current build a name, by which it is kept beside later ones; return its manifest.

    Raises:
        UsageError: The name cannot be one, or stands for another build.
        StoreError: There is no reference.
    """
    check_name("build", name)
    with writing(folder):
        manifest = open_manifest(folder)
        names = read_names(folder)
        if names.get(name, manifest.build) != manifest.build:
            raise UsageError(
                f"{name!r} is the name of build {names[name]} already; take another name, or remove that one with "
                f"'ednabed reference remove {name}'"
            )
        _write_names(folder, {**names, name: manifest.build})
    return manifest


def remove_name(folder: Path, name: str) -> bool:
    """Take a name away; its build goes too unless it is current or has another name. Returns whether it went.

    Raises:
        StoreError: There is no such name.
    """
    with writing(folder):
        names = read_names(folder)
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise StoreError(f"{folder} has no build called {name!r}; names there: {known}")
        build = names.pop(name)
        _write_names(folder, names)
        remove_unused(folder)
    return not build_folder(folder, build).exists()


def _write_names(folder: Path, names: dict[str, str]) -> None:
    write_atomic(folder / NAMES, to_json({"schema": NAMES_SCHEMA, "names": dict(sorted(names.items()))}))


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError as error:
        raise StoreError(
            f"{path} is in use by another program ({error.strerror}); close it and run the command again"
        ) from error
