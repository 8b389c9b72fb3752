"""What compressing a run would do: decided from what lies in its folder and what its manifest lists.

``plan_run`` is where ``compress_run`` begins; ``survey_run`` tells it to people, with an estimate of the size. Nothing
is written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ednabed.errors import EdnabedError, StoreError
from ednabed.store.compressed_forms import estimate
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import Run
from ednabed.store.vectors import COMPRESSED, EMBEDDINGS, FORMS, HALF, VectorFile


@dataclass(frozen=True)
class Candidate:
    """What ``compress_run`` would do with a run.

    Attributes:
        label: Name of the run: dataset/run, else its folder.
        folder: Where it is.
        form: File name of the wanted form.
        state: ``ready`` (would be compressed), ``original`` (is in the wanted form; an original beside it would be
            deleted), ``already`` (nothing to do), ``young`` (not old enough), ``refused``.
        reason: One sentence on every state but ``ready``; else empty.
        rows: Number of vectors; None where refused.
        dimension: Length of a vector; None where refused.
        bytes: Size of the file that would be compressed, or, where there is nothing to compress, of the wanted form.
        estimated: Size that the wanted form would have, in bytes; None where the state is not ``ready`` or nothing was
            measured.
        measured_on: Bytes of the file on which this was measured; 0 for float16, whose size is known.
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
    """``vectors`` is the file to compress where the state is ready, else the wanted form."""

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
    """Say what ``compress_run`` would do with a run folder; nothing is written and nothing raised.

    Args:
        folder: Run folder.
        half: Float16 instead of the lossless form.
        delete_original: As for ``compress_run``.
        older_than: Days; a younger run stays as it is. The age is counted from ``created`` of the manifest, that of a
            folder of an older tool from the time of change of its vectors.
        measure: Estimate the size, which deflates up to 16 MB of the file.
        now: Time from which the age is counted; None is the present.
    """
    form = HALF if half else COMPRESSED
    label = str(folder)
    try:
        run = Run.open(folder)
        label = run.label
        if older_than is not None:
            created = _created(run)
            if ((now or datetime.now(UTC)) - created).total_seconds() < older_than * 86_400:
                reason = f"made on {created:%Y-%m-%d}, less than {older_than:g} days ago"
                return Candidate(label, folder, form, "young", reason)
        plan = plan_run(run, form, delete_original)
        vectors = plan.vectors
        estimated, measured_on = None, 0
        if plan.state == "ready" and measure:
            estimated, measured_on = estimate(vectors, half=half)
        reason = {
            "ready": "",
            "original": f"{form} is there already; its original would be deleted after a comparison",
            "already": f"{form} is there already",
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
    """Say what ``compress_run`` would do with each of some run folders, in their order; see ``survey_run``."""
    return [
        survey_run(folder, half=half, delete_original=delete_original, older_than=older_than, measure=measure)
        for folder in folders
    ]


def plan_run(run: Run, form: str, delete_original: bool) -> Plan:
    """Decide what is to be done. Raises StoreError for a run that cannot get the wanted form."""
    folder = run.folder
    if run.manifest is None and form == HALF:
        raise StoreError(
            f"{folder} was made by an older tool and has no {MANIFEST} that could remember the exact vectors, so "
            "--float16 is refused; compress it without, or embed the input again"
        )
    there = [name for name in FORMS if (folder / name).is_file()]
    listed = there if run.manifest is None else [name for name in FORMS if name in run.manifest.files]
    sources = [name for name in originals_of(form) if name in there]
    if form in there and form in listed:
        state: Literal["original", "already"] = "already"
        if delete_original and any(name in there or name in listed for name in originals_of(form)):
            state = "original"
        try:
            return Plan(state, VectorFile.open(folder, form))
        except StoreError as error:
            if not sources:
                raise
            raise spoilt(folder / form, sources[0]) from error
    if form == COMPRESSED and form in there:
        # Not listed: it got its name, or was to be deleted, when a command was killed. It may be the last exact form.
        sources.append(form)
    # What the manifest lists comes first; what it does not is the rest of an interrupted deletion.
    sources.sort(key=lambda name: name not in listed)
    if sources:
        return Plan("ready", VectorFile.open(folder, sources[0]))
    if HALF in there:
        raise StoreError(
            f"{folder} has its vectors in float16 only, so the exact ones cannot be had from it; take {EMBEDDINGS} "
            "from a backup or embed the input again"
        )
    raise StoreError(f"{folder / EMBEDDINGS} is absent; take it from a backup or embed the input again")


def originals_of(form: str) -> tuple[str, ...]:
    """Other forms of which ``form`` can be made, the preferred first."""
    return {HALF: (EMBEDDINGS, COMPRESSED), COMPRESSED: (EMBEDDINGS,)}.get(form, ())


def spoilt(path: Path, original: str) -> StoreError:
    """Return the error for a damaged form of which ``original``, a file name, is still there."""
    return StoreError(
        f"{path} is damaged, so nothing is deleted; move it away and run the same command again, which makes it anew "
        f"from {original}"
    )


def system_problem(folder: Path, error: OSError) -> str:
    """Say what the system refused in a run's folder."""
    name = error.filename or folder
    return (
        f"{name}: {error.strerror or error}; no vector was lost: look at the disk, its free space and the rights of "
        f"{folder}, then run the same command again"
    )


def _created(run: Run) -> datetime:
    """Time at which a run was made, with its zone."""
    if run.manifest is None:
        return datetime.fromtimestamp(run.vectors().path.stat().st_mtime, UTC)
    try:
        created = datetime.fromisoformat(run.manifest.created)
    except ValueError:
        raise StoreError(
            f"{run.folder / MANIFEST}: created is {run.manifest.created!r}, wanted a time in ISO 8601; its age is "
            "unknown, leave --older-than away"
        ) from None
    return created if created.tzinfo else created.replace(tzinfo=UTC)
