"""Decide what compressing a run would do, from the files in its folder and the entries of its manifest.

``compress_run`` begins with ``plan_run``; ``survey_run`` describes the plan for people, with an estimate of the size.
Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ednabed.base.times import utc_changed
from ednabed.errors import EdnabedError, StoreError
from ednabed.store.compressed_forms import estimate_size
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import Run
from ednabed.store.vectors import COMPRESSED, EMBEDDINGS, FORMS, HALF, VectorFile


@dataclass(frozen=True)
class Candidate:
    """The expected effect of ``compress_run`` on a run.

    Attributes:
        label: Name of the run: dataset/run, otherwise its folder.
        folder: Folder of the run.
        form: File name of the requested form.
        state: ``ready`` (would be compressed), ``original`` (has the requested form; an original next to it would be
            deleted), ``already`` (nothing to do), ``young`` (not old enough), ``refused``.
        reason: One sentence for every state except ``ready``, for which it is empty.
        rows: Number of vectors; None if refused.
        dimension: Length of a vector; None if refused.
        bytes: Size of the file that would be compressed, or of the requested form if there is nothing to compress.
        estimated: Estimated size of the requested form, in bytes; None if the state is not ``ready`` or nothing was
            measured.
        measured_on: Bytes of the file on which the estimate is based; 0 for float16, whose size is known.
    """

    label: str
    folder: Path
    form: str
    state: Literal["ready", "original", "already", "young", "refused"]
    reason: str
    rows: int | None = None
    dimension: int | None = None
    bytes: int = 0
    estimated: int | None = None
    measured_on: int = 0


@dataclass(frozen=True)
class Plan:
    """A decision; ``vectors`` is the file to compress if the state is ready, otherwise the requested form."""

    state: Literal["ready", "original", "already"]
    vectors: VectorFile


def survey_run(
    folder: Path,
    *,
    half: bool = False,
    delete_original: bool = False,
    older_than: float | None = None,
    measure: bool = True,
    now: datetime | None = None,
) -> Candidate:
    """Return what ``compress_run`` would do with a run folder; nothing is written and nothing raised.

    Args:
        folder: Run folder.
        half: Float16 instead of the lossless form.
        delete_original: As for ``compress_run``.
        older_than: Minimum age in days; a younger run is not changed. The age is counted from ``created`` in the
            manifest, or from the modification time of the vectors for a folder of an older tool.
        measure: Estimate the size, which deflates up to 16 MB of the file.
        now: Time up to which the age is counted; None is the current time.
    """
    form = HALF if half else COMPRESSED
    label = str(folder)
    try:
        run = Run.open(folder)
        label = run.label
        if older_than is not None:
            created = _created(run)
            if ((now or datetime.now(UTC)) - created).total_seconds() < older_than * 86_400:
                reason = f"created on {created:%Y-%m-%d}, less than {older_than:g} days ago"
                return Candidate(label, folder, form, "young", reason)
        plan = plan_run(run, form, delete_original)
        vectors = plan.vectors
        estimated, measured_on = None, 0
        if plan.state == "ready" and measure:
            estimated, measured_on = estimate_size(vectors, half=half)
        reason = {
            "ready": "",
            "original": f"{form} already exists; its original would be deleted after a comparison",
            "already": f"{form} already exists",
        }[plan.state]
        size = vectors.path.stat().st_size
    except EdnabedError as error:
        return Candidate(label, folder, form, "refused", str(error))
    except OSError as error:
        return Candidate(label, folder, form, "refused", system_problem(folder, error))
    return Candidate(
        label, folder, form, plan.state, reason, vectors.rows, vectors.dimension, size, estimated, measured_on
    )


def survey_runs(
    folders: Iterable[Path],
    *,
    half: bool = False,
    delete_original: bool = False,
    older_than: float | None = None,
    measure: bool = True,
) -> list[Candidate]:
    """Return what ``compress_run`` would do with each run folder, in the given order; see ``survey_run``."""
    return [
        survey_run(folder, half=half, delete_original=delete_original, older_than=older_than, measure=measure)
        for folder in folders
    ]


def plan_run(run: Run, form: str, delete_original: bool) -> Plan:
    """Decide what to do. Raises StoreError if the requested form cannot be created for the run."""
    folder = run.folder
    if run.manifest is None and form == HALF:
        raise StoreError(
            f"{folder} was created by an older tool and has no {MANIFEST} to record the exact vectors, so float16 is "
            "refused; compress it without `half=True`, or embed the input again"
        )
    existing = [name for name in FORMS if (folder / name).is_file()]
    listed = existing if run.manifest is None else [name for name in FORMS if name in run.manifest.files]
    sources = [name for name in originals_of(form) if name in existing]
    if form in existing and form in listed:
        state: Literal["original", "already"] = "already"
        if delete_original and any(name in existing or name in listed for name in originals_of(form)):
            state = "original"
        try:
            return Plan(state, VectorFile.open(folder, form))
        except StoreError as error:
            if not sources:
                raise
            raise damaged_form(folder / form, sources[0]) from error
    if form == COMPRESSED and form in existing:
        # It is not listed, because a command was killed while publishing or deleting it. It may be the last exact form.
        sources.append(form)
    # Listed files come first; unlisted ones are left over from an interrupted deletion.
    sources.sort(key=lambda name: name not in listed)
    if sources:
        return Plan("ready", VectorFile.open(folder, sources[0]))
    if HALF in existing:
        raise StoreError(
            f"{folder} has its vectors only in float16, so the exact ones are not available; restore {EMBEDDINGS} "
            "from a backup or embed the input again"
        )
    raise StoreError(f"{folder / EMBEDDINGS} is missing; restore it from a backup or embed the input again")


def originals_of(form: str) -> tuple[str, ...]:
    """Return the other forms from which ``form`` can be created, preferred first."""
    return {HALF: (EMBEDDINGS, COMPRESSED), COMPRESSED: (EMBEDDINGS,)}.get(form, ())


def damaged_form(path: Path, original: str) -> StoreError:
    """Return the error for a damaged form whose original (file name ``original``) still exists."""
    return StoreError(
        f"{path} is damaged, so nothing is deleted; move it away and run the same command again, which creates it "
        f"again from {original}"
    )


def system_problem(folder: Path, error: OSError) -> str:
    """Return the message for a file operation that failed in a run's folder."""
    name = error.filename or folder
    return (
        f"{name}: {error.strerror or error}; no vector was lost: check the disk, its free space and the permissions of "
        f"{folder}, then run the same command again"
    )


def _created(run: Run) -> datetime:
    """Return the time at which a run was created, with its time zone."""
    if run.manifest is None:
        return utc_changed(run.vectors().path)
    try:
        created = datetime.fromisoformat(run.manifest.created)
    except ValueError:
        raise StoreError(
            f"{run.folder / MANIFEST}: created is {run.manifest.created!r}, expected a time in ISO 8601; the age of "
            "the run is unknown, so omit `older_than`"
        ) from None
    return created if created.tzinfo else created.replace(tzinfo=UTC)
