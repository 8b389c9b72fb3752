"""Smaller forms of a run's vectors: written next to the original, compared with it value by value, then published.

There are two forms: ``embeddings.npz``, the same float32 values deflated, and ``embeddings.f16.npy``, float16 at half
the size. The steps below are ordered so that a process killed at any instant leaves a run that opens and verifies, and
repeating the same call finishes the work:

1. The original is checked against its checksum.
2. The new form is written into ``.compress/`` in the run's folder, flushed to disk, read back and compared.
3. One rename gives it its final name, and another one makes ``run.json`` list it.
4. Only then, and only if requested, the original is deleted; by now ``run.json`` no longer lists it.

Memory use is a few blocks of vectors, however large the run. The exception is files in column order, which are loaded
completely; ednabed never writes them.
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

from ednabed.base.atomic import sweep, write_atomic
from ednabed.base.files import sha256_file
from ednabed.base.locks import exclusive
from ednabed.errors import StoreError
from ednabed.store.compress_plan import damaged_form, originals_of, plan_run, system_problem
from ednabed.store.compressed_forms import compare_forms, write_form
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.runs import Run
from ednabed.store.vectors import COMPRESSED, EMBEDDINGS, FORMS, HALF, VectorFile

WORK = ".compress"
"""Folder in the run's folder for a new form while it is written; the leading dot marks work in progress."""
LOCK = ".compress.lock"
"""Lock file in the run's folder; it exists only while ``compress_run`` works or after it was killed."""

_MEMBER = "embeddings.npy"
_CHUNK = 1 << 20
_DOING = "compressing this run ('ednabed compress', or 'ednabed consolidate --compress')"
_BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError)

Entry = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Outcome of ``compress_run``.

    Attributes:
        label: Name of the run: dataset/run, otherwise its folder.
        folder: Folder of the run.
        form: File name of the requested form, which now exists.
        state: ``compressed``, ``deleted`` (the requested form existed, and an original next to it was deleted), or
            ``already`` (nothing to do).
        before: Total bytes of all forms of the vectors before.
        after: Total bytes of all forms of the vectors now.
        deleted: Names of the files that were deleted.
        worst_cosine_error: Maximum 1 - cosine between a vector and its original; None for the lossless form, or if
            nothing was compared.
        problem: One sentence if an original could not be deleted and both forms were kept; otherwise None.
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
    """Write a compressed form of a run's vectors, or finish what an interrupted call began.

    Args:
        run: The run. Its manifest is read again under the lock.
        half: Write ``embeddings.f16.npy`` (float16, half the size, memory-mappable) instead of ``embeddings.npz`` (the
            same float32 values, deflated).
        delete_original: Delete ``embeddings.npy`` (with ``half`` also ``embeddings.npz``) after every value of the new
            form has been compared with it. This also applies to a run that already has the requested form.

    Returns:
        The outcome. ``problem`` is set if an original could not be deleted, for example because another program has it
        open on Windows; both forms are then kept and listed.

    Raises:
        StoreError: Another process is compressing the run, a file does not match its checksum, float16 cannot represent
            a vector within ``WORST_COSINE_ERROR``, the original is missing, or a file operation failed. No vector is
            lost.
    """
    form = HALF if half else COMPRESSED
    folder = run.folder
    try:
        if not (folder / WORK).exists() and not (folder / LOCK).exists():
            # Leave no trace in the folder of a run that does not change; it may be read-only.
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
    """Carry out the plan; the caller holds the lock."""
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
            # The form exists but is not listed: a command was killed in between. Compare it again.
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
        _update_manifest(run, {form: _entry(run, path, checksum)})
    else:
        _check(run, form)

    to_delete: dict[str, Entry | None] = {}
    already_gone: list[str] = []
    for name in originals_of(form) if delete_original else ():
        if (folder / name).is_file():
            if name != compared:
                _check(run, name)
                error = compare_forms(VectorFile.open(folder, name), VectorFile.open(folder, form))
                worst = error if worst is None or error is None else max(worst, error)
            to_delete[name] = _entry(run, folder / name)
        elif run.manifest is not None and name in run.manifest.files:
            # It was deleted by hand; the requested form has its checksum, so the run is complete without it.
            already_gone.append(name)
    _update_manifest(run, dict.fromkeys([*to_delete, *already_gone]))
    deleted, problem = _delete(run, to_delete)
    state: Literal["compressed", "deleted"] = "compressed" if plan.state == "ready" else "deleted"
    return Outcome(run.label, folder, form, state, before, _forms_bytes(folder), deleted, worst, problem)


def _delete(run: Run, to_delete: dict[str, Entry | None]) -> tuple[tuple[str, ...], str | None]:
    """Delete originals and list again those that cannot be deleted; return the names deleted, and the problem."""
    deleted, problem = [], None
    kept: dict[str, Entry | None] = {}
    for name, entry in to_delete.items():
        path = run.folder / name
        try:
            path.unlink(missing_ok=True)
            deleted.append(name)
        except OSError as error:
            kept[name] = entry
            problem = (
                f"{path} could not be deleted ({error.strerror or error}), so the run keeps both forms; close the "
                "program that has it open, or check the permissions of its folder, and run the same command again"
            )
    _update_manifest(run, kept)
    return tuple(deleted), problem


def _check(run: Run, name: str) -> None:
    """Raise StoreError unless a file matches the manifest; without a manifest there is nothing to check."""
    manifest, path = run.manifest, run.folder / name
    if manifest is None:
        return
    entry = manifest.files.get(name)
    if entry is not None:
        if sha256_file(path) != entry["sha256"]:
            originals = [form for form in originals_of(name) if (run.folder / form).is_file()]
            if originals:
                raise damaged_form(path, originals[0])
            raise StoreError(
                f"{path} does not match its checksum in {MANIFEST}, so nothing is deleted; restore it from a backup or "
                "embed the input again"
            )
    elif _content_sha256(path) != _original_sha256(manifest, run.folder):
        raise StoreError(
            f"{path} is not listed in {MANIFEST} and was not written by 'embed' for this run, so nothing is deleted; "
            "move it away"
        )


def _content_sha256(path: Path) -> str:
    """Return the SHA-256 of the bytes of ``embeddings.npy``, which is the file itself or a member of the archive."""
    if path.name != COMPRESSED:
        return sha256_file(path)
    checksum = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_MEMBER) as member:
            for piece in _pieces(member):
                checksum.update(piece)
    except _BROKEN_ARCHIVE as error:
        raise StoreError(f"{path} cannot be read ({error}), so nothing is deleted; move it away") from error
    return checksum.hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def _original_sha256(manifest: RunManifest, folder: Path) -> str:
    """Return the checksum of the ``embeddings.npy`` written by ``embed``."""
    entries = [manifest.files[name] for name in FORMS if name in manifest.files]
    found = {str(entry.get("original_sha256", entry["sha256"])) for entry in entries}
    if len(found) != 1:
        raise StoreError(
            f"{folder / MANIFEST} lists {len(found)} originals of its vectors, expected one; restore the run from a "
            "backup or embed the input again"
        )
    return found.pop()


def _entry(run: Run, path: Path, checksum: str | None = None) -> Entry | None:
    """Return the manifest entry of a vector file; None if there is no manifest."""
    if run.manifest is None:
        return None
    listed = run.manifest.files.get(path.name)
    if checksum is None and listed is not None:
        return dict(listed)
    entry: Entry = {"sha256": checksum or sha256_file(path), "bytes": path.stat().st_size}
    if path.name != EMBEDDINGS:
        entry["original_sha256"] = _original_sha256(run.manifest, run.folder)
    return entry


def _update_manifest(run: Run, changes: dict[str, Entry | None]) -> None:
    """Change entries of ``run.json`` (None removes one) by one rename; an up-to-date manifest is left untouched."""
    if run.manifest is None or not changes:
        return
    # The manifest is read again to keep a tag that may have been added meanwhile.
    old = RunManifest.read(run.folder)
    files = {name: entry for name, entry in {**old.files, **changes}.items() if entry is not None}
    first = [name for name in FORMS if name in files]
    new = replace(old, files={name: files[name] for name in (*first, *(n for n in files if n not in first))})
    if new.identity != run.manifest.identity:
        raise StoreError(
            f"{run.folder / MANIFEST} was changed by another program meanwhile, so it is not updated and nothing is "
            "deleted; run the same command again"
        )
    if new != old:
        write_atomic(run.folder / MANIFEST, new.to_text())


def _forms_bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in FORMS if (folder / name).is_file())


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Lock a run against ``compress_run`` in another process; the lock file is removed at the end.

    Raises:
        StoreError: Another process is compressing it.
    """
    with exclusive(folder / LOCK, _DOING, remove=True):
        yield
