"""Where the builds of a reference lie, which one is current, and what names they have.

A reference is a folder::

    consolidated_metadata.json      the current build: its manifest, replaced in one step
    consolidated_embeddings.npy     other names (hard links) of files of the current build, for other programs;
    consolidated_index.faiss        ednabed itself reads the build's folder
    names.json                      names given to builds
    previous.json                   which build was current before, for ``undo_build``
    map.parquet                     places of sequences on a map, by key, so that it serves all builds
    builds/<build>/                 one immutable folder a build; a name beginning with a dot is work in progress

A build is removed when it is neither current nor the one before nor named, and none is while a named one is missing or
a file that names builds is damaged. A reader that met one just then reads the metadata again.
What killed commands left (work in progress, builds that nobody reads) goes when the next one writes.
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

from ednabed.base.sealed import Damaged, Seal, UnknownSchema
from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.reference.manifest import METADATA, DamagedManifest, ReferenceManifest
from ednabed.store.files import check_name, exclusive, write_atomic
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS
from ednabed.store.temporary import sweep

log = logging.getLogger("ednabed")

VECTORS = "consolidated_embeddings.npy"
INDEX = "consolidated_index.faiss"
ROWS = "consolidated_rows.npy"
POSITIONS = "consolidated_positions.npy"
NAMES = "names.json"
PREVIOUS = "previous.json"
MAP = "map.parquet"
NAMES_SCHEMA = "ednabed.names/2"
NAMES_SCHEMA_1 = "ednabed.names/1"
"""Of the time before the file had a checksum; still read."""
ROW_TYPE = np.dtype([("key", "<u8"), ("norm", "<f4"), ("length", "<i4"), ("first", "<i8")])
"""One row a vector, and one more at the end: ``key`` puts ties in an order that does not depend on the order of runs;
``norm`` is the vector's length; ``length`` that of the sequence (-1 unknown); ``first`` is the first place of its
records in the positions, which end where the next row's begin."""

SEALED = (VECTORS, ROWS, POSITIONS)
"""Files of which samples are checked whenever a build is opened (``index.seal``)."""
HEADER_BYTES = 128
"""Length of the header of a ``.npy`` file."""

_NAMES_SEAL = Seal(NAMES_SCHEMA, "names_sha256", unsealed=(NAMES_SCHEMA_1,))
PREVIOUS_SCHEMA = "ednabed.previous/1"
_PREVIOUS_SEAL = Seal(PREVIOUS_SCHEMA, "previous_sha256")
_BUILDS = "builds"
_LOCK = ".lock"
# Nothing else below ``builds`` is ever removed.
_BUILD = re.compile(r"\.?\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{6}")
_TEMPORARY = re.compile(rf"\.({'|'.join(map(re.escape, (METADATA, NAMES, VECTORS, INDEX)))})\.[0-9a-f]+\.tmp")


def default_folder(workspace: Path) -> Path:
    """Return the reference of a workspace."""
    return workspace / "data" / "reference"


def reference_folders(workspace: Path) -> list[Path]:
    """Return the references of a workspace (folders in ``data``), sorted."""
    return sorted(path.parent for path in (workspace / "data").glob(f"*/{METADATA}"))


def find_reference(workspace: Path, name: str | None) -> tuple[Path, str | None]:
    """Return the folder of a reference, and the name of the build that is meant (None: the current one).

    Args:
        workspace: Folder that holds ``data/reference``.
        name: A folder (from the workspace, else from here), a folder and the name of a build (``FOLDER/NAME``), or the
            name of a build of any reference in the workspace's ``data``. None is the workspace's reference.

    Raises:
        StoreError: There is no such reference; those there are, are named. Or builds of several references have the
            name.
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
        raise StoreError(f"{name!r} is the name of a build in {len(found)} references; say which: {addresses}")
    for fault in faults:
        log.warning("%s", fault)
    if found:
        return found[0], name
    known = f"; names of builds there: {', '.join(sorted(names))}" if names else ""
    raise StoreError(
        f"there is no reference {name!r}: no folder with {METADATA} and no named build{known}; "
        "'ednabed reference list' shows what there is, 'ednabed consolidate' makes one"
    )


def check_outside(path: Path) -> None:
    """Make sure that results do not go into a reference or a run, which nothing but its own verbs may change.

    Raises:
        UsageError: They would.
    """
    for folder in path.resolve().parents:
        of_run = (folder / MANIFEST).is_file() and (folder / RECORDS).is_file()
        if of_run or (folder / METADATA).is_file():
            raise UsageError(f"{path} lies in the {'run' if of_run else 'reference'} {folder}; name another place")


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
        body = _NAMES_SEAL.read(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnknownSchema as found:
        raise StoreError(
            f"{path} is of schema {found}, this version of ednabed reads {NAMES_SCHEMA_1!r} and {NAMES_SCHEMA!r}; "
            "update ednabed"
        ) from None
    except Damaged as error:
        raise StoreError(
            f"{path} is damaged ({error}), so the names of builds are unknown and no build is removed; take it from a "
            "backup, or delete it and name the builds again"
        ) from None
    names = body.get("names")
    if body.keys() != {"names"} or not isinstance(names, dict) or not all(isinstance(b, str) for b in names.values()):
        raise StoreError(
            f"{path} does not hold the names of builds, so no build is removed; take it from a backup, or delete it "
            "and name the builds again"
        )
    return {name: check_name("build", build) for name, build in names.items()}


def read_previous(folder: Path) -> dict[str, str]:
    """Return build to the build that was current before it; empty where nothing is known.

    There is more than the entry of the current build only while one is published or brought back, or where that was
    killed.

    Raises:
        StoreError: The file is damaged or of an unknown schema.
    """
    path = folder / PREVIOUS
    try:
        body = _PREVIOUS_SEAL.read(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnknownSchema as found:
        raise StoreError(
            f"{path} is of schema {found}, this version of ednabed reads {PREVIOUS_SCHEMA!r}; update ednabed"
        ) from None
    except Damaged as error:
        raise StoreError(
            f"{path} is damaged ({error}), so the build before is unknown and no build is removed; take it from a "
            "backup, or delete it to give up the build before"
        ) from None
    return {check_name("build", build): check_name("build", before) for build, before in body["previous"].items()}


def newest_build(folder: Path) -> ReferenceManifest | None:
    """Return the current build's manifest or, where that is damaged, that of the newest sound build; None for none."""
    with suppress(DamagedManifest):
        return ReferenceManifest.read(folder) if (folder / METADATA).exists() else None
    found = []
    for place in (folder / _BUILDS).glob("*"):
        if _BUILD.fullmatch(place.name) and not place.name.startswith("."):
            with suppress(EdnabedError):
                found.append(read_build(folder, place.name))
    return max(found, key=lambda manifest: (manifest.created, manifest.build), default=None)


def open_manifest(folder: Path, name: str | None = None) -> ReferenceManifest:
    """Return the manifest of the current build, or of the build called ``name``.

    Raises:
        StoreError: There is no reference, no such name, or the manifest is damaged.
    """
    if name is None:
        manifest = ReferenceManifest.read(folder)
        check_name("build", manifest.build)
        return manifest
    return read_build(folder, _build_called(folder, name))


def read_build(folder: Path, build: str) -> ReferenceManifest:
    """Return the manifest that a build has in its own folder.

    Raises:
        StoreError: The build is not there, or its manifest is damaged or of another build.
    """
    manifest = ReferenceManifest.read(build_folder(folder, build))
    if manifest.build != build:
        raise StoreError(
            f"{build_folder(folder, build)} holds the metadata of build {manifest.build!r}; take it from a backup"
        )
    return manifest


def _build_called(folder: Path, name: str) -> str:
    names = read_names(folder)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise StoreError(f"{folder} has no build called {name!r}; names there: {known}")
    return names[name]


def check_sizes(folder: Path, manifest: ReferenceManifest) -> None:
    """Raise StoreError where a file of a build is not there with its size."""
    for name, entry in manifest.files.items():
        path = build_folder(folder, manifest.build) / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            what = "has not the size that it was written with" if path.is_file() else "is absent"
            raise StoreError(f"{path} {what}; make the reference again with 'ednabed consolidate --rebuild'")


def check_place(folder: Path) -> None:
    """Raise StoreError where a reference cannot be written to ``folder``, because something else is there."""
    if not folder.exists():
        return
    if (folder / METADATA).exists():
        # Damaged ones can be replaced; those of another program or of a newer ednabed are not ours to replace.
        with suppress(DamagedManifest):
            ReferenceManifest.read(folder)
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file, so no reference can be there; name another --output")
    # A command that was killed before it published its first build leaves these; a map may be left of an earlier one.
    ours = {_BUILDS, NAMES, PREVIOUS, MAP}
    foreign = [e.name for e in folder.iterdir() if e.name not in ours]
    if (folder / _BUILDS).is_dir():
        foreign += [f"{_BUILDS}/{e.name}" for e in (folder / _BUILDS).iterdir() if not _BUILD.fullmatch(e.name)]
    foreign = [name for name in foreign if not name.startswith(".")]
    if foreign:
        raise StoreError(
            f"{folder} holds something else than a reference ({', '.join(sorted(foreign)[:3])}); name another --output"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a reference for writing; readers need none."""
    doing = "writing this reference ('ednabed consolidate', or 'reference tag', 'remove' or 'undo')"
    with exclusive(folder / _LOCK, doing):
        yield


def tidy(folder: Path) -> None:
    """Remove what killed commands left, and mend the other names of the current build's files. Needs ``writing``."""
    sweep(folder)
    for left in folder.iterdir():
        # These are written under the lock of the reference only; earlier versions had no lock for each.
        if _TEMPORARY.fullmatch(left.name):
            left.unlink(missing_ok=True)
    if not (folder / _BUILDS).is_dir():
        return
    for left in (folder / _BUILDS).iterdir():
        if left.name.startswith(".") and _BUILD.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
        else:
            sweep(left)
    # Where the metadata are damaged nobody knows which build is current, so all are kept.
    with suppress(EdnabedError):
        remove_unused(folder)
        if (folder / METADATA).exists():
            _link(folder, build_folder(folder, ReferenceManifest.read(folder).build))


def new_build(folder: Path) -> tuple[str, Path]:
    """Name a build and make an empty work folder for it; return both. Needs ``writing``."""
    build = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"
    work = folder / _BUILDS / f".{build}"
    work.mkdir(parents=True)
    return build, work


def publish(folder: Path, work: Path, manifest: ReferenceManifest) -> Path:
    """Give a finished build its name and make it the current one, in one step for every reader. Needs ``writing``.

    Returns the folder of the build.
    """
    before = newest_build(folder)
    write_atomic(work / METADATA, manifest.to_text())
    place = build_folder(folder, manifest.build)
    work.rename(place)
    _make_current(folder, manifest, None if before is None else before.build)
    return place


def undo_build(folder: Path) -> tuple[ReferenceManifest, str]:
    """Make the build current again that was current before; done twice, it changes nothing.

    Killed at any instant, the one build or the other is current, and both are kept.

    Returns:
        Its manifest, and the name of the build that was current, which is now the one before.

    Raises:
        StoreError: There is no reference, no build before, or that one is damaged.
    """
    # Before the lock, which would make the folder.
    open_manifest(folder)
    with writing(folder):
        current = open_manifest(folder)
        before = read_previous(folder).get(current.build)
        if before is None or not build_folder(folder, before).is_dir():
            raise StoreError(
                f"{folder} keeps no build before {current.build}, so nothing was undone; 'ednabed consolidate' makes a "
                "new one of the runs that are there"
            )
        manifest = read_build(folder, before)
        check_sizes(folder, manifest)
        _make_current(folder, manifest, current.build)
    return manifest, current.build


def _make_current(folder: Path, manifest: ReferenceManifest, before: str | None) -> None:
    """Make a build that is in its place the current one, ``before`` the one before it, and tidy up. Needs the lock."""
    try:
        if before is not None:
            # First, and beside what is known of the builds so far: whichever of the two is current after a kill, the
            # one before it is known.
            _write_previous(folder, {**read_previous(folder), manifest.build: before})
        # The other names go first, so that they do not stand for another build than the metadata.
        for name in (VECTORS, INDEX):
            _unlink(folder / name)
        write_atomic(folder / METADATA, manifest.to_text())
    except BaseException:
        tidy(folder)
        raise
    _link(folder, build_folder(folder, manifest.build))
    remove_unused(folder)


def _link(folder: Path, place: Path) -> None:
    """Give the files of the current build their other names where these are absent or those of another build."""
    for name in (VECTORS, INDEX):
        own, other = place / name, folder / name
        if own.exists() and other.exists() and own.samefile(other):
            continue
        temporary = folder / f".{name}.{secrets.token_hex(6)}.tmp"
        # File systems without hard links (exFAT, some network drives) go without these names.
        with suppress(OSError):
            if own.exists():
                os.link(own, temporary)
                temporary.replace(other)
            else:
                other.unlink(missing_ok=True)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_unused(folder: Path) -> None:
    """Remove the builds that are neither current nor the one before nor named. Needs ``writing``.

    None is removed while a named one is missing, because a name may then stand for another build than it was given to.
    On Windows a build that another process reads stays whole; it goes the next time.

    Raises:
        StoreError: A file that says which builds are kept is damaged; nothing was removed.
    """
    names, previous = read_names(folder), read_previous(folder)
    kept = set(names.values())
    if (folder / METADATA).exists():
        current = ReferenceManifest.read(folder).build
        known = {build: before for build, before in previous.items() if build == current}
        kept |= {current, *known.values()}
        if known != previous:
            _write_previous(folder, known)
    else:
        kept |= {*previous, *previous.values()}
    missing = missing_builds(folder, names)
    if missing:
        log.warning("%s, so no build was removed", missing[0])
        return
    for place in (folder / _BUILDS).iterdir():
        if place.name not in kept and not place.name.startswith(".") and _BUILD.fullmatch(place.name):
            gone = place.with_name(f".{place.name}")
            with suppress(OSError):
                place.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)


def missing_builds(folder: Path, names: Mapping[str, str]) -> list[str]:
    """Say of each name whose build is not there that it is missing."""
    return [
        f"{folder / NAMES} names build {build} {name!r}, which is not in {folder / _BUILDS} (take it from a backup, or "
        f"forget the name with 'ednabed reference remove {name}')"
        for name, build in names.items()
        if not (build_folder(folder, build) / METADATA).is_file()
    ]


def remove_traces(folder: Path) -> None:
    """Remove what a command made in a folder in which no reference came to be."""
    if (folder / METADATA).exists():
        return
    for place in (folder / _BUILDS, folder / _LOCK):
        with suppress(OSError):
            place.rmdir() if place.is_dir() else place.unlink(missing_ok=True)


def name_build(folder: Path, name: str) -> ReferenceManifest:
    """Give the current build a name, by which it is kept beside later ones; return its manifest.

    Raises:
        UsageError: The name cannot be one, or stands for another build.
        StoreError: There is no reference.
    """
    check_name("build", name)
    # Before the lock, which would make the folder.
    open_manifest(folder)
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
    """Take a name away; its build goes too unless it is current, the one before, or has another name.

    Returns whether it is gone.

    Raises:
        StoreError: There is no such name.
    """
    _build_called(folder, name)
    with writing(folder):
        build = _build_called(folder, name)
        names = read_names(folder)
        del names[name]
        missing = not build_folder(folder, build).exists()
        # A damaged one would stop the removal half-way.
        read_previous(folder)
        _write_names(folder, names)
        if not missing:
            # Else the name may have stood for another build, which stays until the next command that removes some.
            remove_unused(folder)
    return not build_folder(folder, build).exists()


def _write_names(folder: Path, names: dict[str, str]) -> None:
    write_atomic(folder / NAMES, _NAMES_SEAL.text({"names": dict(sorted(names.items()))}))


def _write_previous(folder: Path, previous: Mapping[str, str]) -> None:
    write_atomic(folder / PREVIOUS, _PREVIOUS_SEAL.text({"previous": dict(previous)}))


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        # Windows keeps a file that another program has open, under all its names. The build itself is not concerned.
        log.warning("%s is open in another program and still that of the build before; ednabed does not read it", path)
