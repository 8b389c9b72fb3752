"""Smaller forms of a run's vectors: written beside the original, compared with it value by value, then published.

Two forms: ``embeddings.npz``, the same float32 values deflated, and ``embeddings.f16.npy``, float16, half the size. In
this order, so that a process killed at any instant leaves a run that opens and verifies, and the same call, made again,
finishes:

1. the original is checked against its checksum;
2. the new form is written into ``.compress/`` in the run's folder, reaches the disk, and is read back and compared;
3. it gets its name by one rename, then ``run.json`` lists it, by another;
4. only then, and only where asked, the original is deleted, which ``run.json`` does not list any more by now.

Memory in use is that of some blocks of vectors, however large the run (files in column order excepted, which are read
whole; no tool of ours writes them).
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from ednabed.errors import StoreError
from ednabed.store.compress_plan import originals_of, plan_run, spoilt, system_problem
from ednabed.store.compressed_forms import compare_forms, write_form
from ednabed.store.files import exclusive, sha256_file, write_atomic
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.runs import Run
from ednabed.store.temporary import sweep
from ednabed.store.vectors import COMPRESSED, EMBEDDINGS, FORMS, HALF, VectorFile

WORK = ".compress"
"""Folder in the run's folder in which a new form is written; its name is work in progress."""
LOCK = ".compress.lock"
"""Lock file in the run's folder; there only while ``compress_run`` is at work or after it was killed."""

_MEMBER = "embeddings.npy"
_CHUNK = 1 << 20
_DOING = "compressing this run ('ednabed compress', or 'consolidate --compress')"
_BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError)

Entry = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What ``compress_run`` did.

    Attributes:
        label: Name of the run: dataset/run, else its folder.
        folder: Where it is.
        form: File name of the wanted form, which is there now.
        state: ``compressed``, ``deleted`` (was in the wanted form; an original beside it was deleted), ``already``.
        before: Bytes that all forms of the vectors took together before.
        after: Bytes that they take now.
        deleted: Names of the files that were deleted.
        worst_cosine_error: Largest 1 - cosine of a vector to its original; None for the lossless form, or where nothing
            was compared.
        problem: One sentence when an original could not be deleted and both forms were kept; else None.
    """

    label: str
    folder: Path
    form: str
    state: Literal["compressed", "deleted", "already"]
    before: int
    after: int
    deleted: tuple[str, ...] = ()
    worst_cosine_error: float | None = None
    problem: str | None = None


def compress_run(run: Run, *, half: bool = False, delete_original: bool = False) -> Outcome:
    """Give a run a compressed form of its vectors, or finish what an interrupted call began.

    Args:
        run: The run. Its manifest is read again under the lock.
        half: ``embeddings.f16.npy`` (float16, half the size, memory-mappable) instead of ``embeddings.npz`` (the same
            float32 values, deflated).
        delete_original: Delete ``embeddings.npy`` (with ``half`` also ``embeddings.npz``) once every value of the new
            form was compared with it. A run that is in the wanted form already is treated so too.

    Returns:
        What was done. ``problem`` is set when an original could not be deleted, as where Windows finds it open in
        another program; both forms are kept and listed then.

    Raises:
        StoreError: Another process is at it, a file differs from its checksum, a vector cannot be kept in float16
            within ``WORST_COSINE_ERROR``, the original is gone, or the system refused. No vector was lost.
    """
    form = HALF if half else COMPRESSED
    folder = run.folder
    try:
        if not (folder / WORK).exists() and not (folder / LOCK).exists():
            # No trace in the folder of a run that stays as it is; it may be one that cannot be written to.
            plan = plan_run(Run.open(folder), form, delete_original)
            if plan.state == "already":
                size = _forms_bytes(folder)
                return Outcome(run.label, folder, form, "already", size, size)
        with locked_run(folder):
            shutil.rmtree(folder / WORK, ignore_errors=True)
            sweep(folder, MANIFEST)
            return _compress(Run.open(folder), form, delete_original)
    except OSError as error:
        raise StoreError(system_problem(folder, error)) from error


def _compress(run: Run, form: str, delete_original: bool) -> Outcome:
    """Do what the plan says; the lock is held."""
    folder, path = run.folder, run.folder / form
    plan = plan_run(run, form, delete_original)
    before = _forms_bytes(folder)
    if plan.state == "already":
        return Outcome(run.label, folder, form, "already", before, before)
    worst: float | None = None
    compared = ""
    if plan.state == "ready":
        source = plan.vectors
        _check(run, source.path.name)
        compared = source.path.name
        if path.exists():
            # Named, but not listed: a command that was killed between the two had finished it. Looked at again.
            if source.path != path:
                worst = compare_forms(source, VectorFile.open(folder, form))
            checksum = sha256_file(path)
        else:
            work = folder / WORK
            work.mkdir(exist_ok=True)
            try:
                write_form(source, work / form)
                worst = compare_forms(source, VectorFile.open(work, form))
                checksum = sha256_file(work / form)
                (work / form).replace(path)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        _list(run, {form: _entry(run, path, checksum)})
    else:
        _check(run, form)

    doomed: dict[str, Entry | None] = {}
    gone: list[str] = []
    for name in originals_of(form) if delete_original else ():
        if (folder / name).is_file():
            if name != compared:
                _check(run, name)
                error = compare_forms(VectorFile.open(folder, name), VectorFile.open(folder, form))
                worst = error if worst is None or error is None else max(worst, error)
            doomed[name] = _entry(run, folder / name)
        elif run.manifest is not None and name in run.manifest.files:
            # Somebody deleted it by hand; the wanted form has its checksum, so the run is whole without it.
            gone.append(name)
    _list(run, dict.fromkeys([*doomed, *gone]))
    deleted, problem = _delete(run, doomed)
    state: Literal["compressed", "deleted"] = "compressed" if plan.state == "ready" else "deleted"
    return Outcome(run.label, folder, form, state, before, _forms_bytes(folder), deleted, worst, problem)


def _delete(run: Run, doomed: dict[str, Entry | None]) -> tuple[tuple[str, ...], str | None]:
    """Delete originals; list again those that the system keeps. Returns the names deleted, and what went wrong."""
    deleted, problem = [], None
    kept: dict[str, Entry | None] = {}
    for name, entry in doomed.items():
        path = run.folder / name
        try:
            path.unlink(missing_ok=True)
            deleted.append(name)
        except OSError as error:
            kept[name] = entry
            problem = (
                f"{path} could not be deleted ({error.strerror or error}), so the run keeps both forms; close the "
                "program that has it open, or look at the rights of its folder, and run the same command again"
            )
    _list(run, kept)
    return tuple(deleted), problem


def _check(run: Run, name: str) -> None:
    """Raise StoreError unless a file is the one that the manifest knows; there is nothing to check without one."""
    manifest, path = run.manifest, run.folder / name
    if manifest is None:
        return
    entry = manifest.files.get(name)
    if entry is not None:
        if sha256_file(path) != entry["sha256"]:
            originals = [form for form in originals_of(name) if (run.folder / form).is_file()]
            if originals:
                raise spoilt(path, originals[0])
            raise StoreError(
                f"{path} differs from its checksum in {MANIFEST}, so nothing is deleted; take it from a backup or "
                "embed the input again"
            )
    elif _content_sha256(path) != _original_sha256(manifest, run.folder):
        raise StoreError(
            f"{path} is not listed in {MANIFEST} and is not what 'embed' wrote for this run, so nothing is deleted; "
            "move it away"
        )


def _content_sha256(path: Path) -> str:
    """SHA-256 of the bytes of ``embeddings.npy``, of the file itself or of the archive that holds it."""
    if path.name != COMPRESSED:
        return sha256_file(path)
    found = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_MEMBER) as member:
            for piece in _pieces(member):
                found.update(piece)
    except _BROKEN_ARCHIVE as error:
        raise StoreError(f"{path} cannot be read ({error}), so nothing is deleted; move it away") from error
    return found.hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def _original_sha256(manifest: RunManifest, folder: Path) -> str:
    """Checksum of the ``embeddings.npy`` that ``embed`` wrote."""
    entries = [manifest.files[name] for name in FORMS if name in manifest.files]
    found = {str(entry.get("original_sha256", entry["sha256"])) for entry in entries}
    if len(found) != 1:
        raise StoreError(
            f"{folder / MANIFEST} knows {len(found)} originals of its vectors, wanted one; take the run from a backup "
            "or embed the input again"
        )
    return found.pop()


def _entry(run: Run, path: Path, checksum: str | None = None) -> Entry | None:
    """What the manifest says of a file of vectors; None where there is no manifest."""
    if run.manifest is None:
        return None
    listed = run.manifest.files.get(path.name)
    if checksum is None and listed is not None:
        return dict(listed)
    entry: Entry = {"sha256": checksum or sha256_file(path), "bytes": path.stat().st_size}
    if path.name != EMBEDDINGS:
        entry["original_sha256"] = _original_sha256(run.manifest, run.folder)
    return entry


def _list(run: Run, changes: dict[str, Entry | None]) -> None:
    """Change entries of ``run.json`` (None takes one away), in one rename; a manifest that is right stays untouched."""
    if run.manifest is None or not changes:
        return
    # Read again: a tag may have been given meanwhile, and is kept.
    old = RunManifest.read(run.folder)
    files = {name: entry for name, entry in {**old.files, **changes}.items() if entry is not None}
    first = [name for name in FORMS if name in files]
    new = replace(old, files={name: files[name] for name in (*first, *(n for n in files if n not in first))})
    if new.identity != run.manifest.identity:
        raise StoreError(
            f"{run.folder / MANIFEST} was changed by another program meanwhile, so it stays as it is and nothing is "
            "deleted; run the same command again"
        )
    if new != old:
        write_atomic(run.folder / MANIFEST, new.to_text())


def _forms_bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in FORMS if (folder / name).is_file())


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Hold a run against ``compress_run`` of another process; leaves no lock file behind.

    Raises:
        StoreError: Another process is compressing it.
    """
    with exclusive(folder / LOCK, _DOING, remove=True):
        yield
