"""``ednabed compress``: smaller forms of the vectors of runs; a dry run unless ``--execute``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import (
    Context,
    emit,
    emit_json,
    human_bytes,
    json_option,
    notice,
    pass_context,
    problem,
    table,
    threads_option,
)
from ednabed.cli.runs import find_run_folder
from ednabed.cli.words import in_options
from ednabed.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ednabed.store.compress import Outcome
    from ednabed.store.compress_plan import Candidate


@dataclass
class _Told:
    """What there is to tell: one dictionary a run, and the totals."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    skipped: int = 0
    refused: int = 0
    problems: int = 0
    before: int = 0
    after: int = 0

    def refuse(self, run: str, reason: str) -> None:
        self.refused += 1
        reason = in_options(reason)
        self.runs.append({"run": run, "state": "refused", "reason": reason})
        problem(f"refused: {reason}")


@click.command()
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option(
    "--runs-root",
    type=click.Path(path_type=Path),
    help="Compress every run below this folder, at any depth (in the workspace, if relative). Default: the runs of the "
    "workspace.",
)
@click.option("--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Only runs made so many days ago.")
@click.option("--float16", "half", is_flag=True, help="embeddings.f16.npy: half the size, values rounded to float16.")
@click.option("--execute", is_flag=True, help="Do it; without, say only what would be done.")
@click.option(
    "--delete-original",
    is_flag=True,
    help="Delete embeddings.npy (with --float16 also embeddings.npz) when every value was compared.",
)
@threads_option
@json_option
@pass_context
def compress(
    context: Context,
    names: tuple[str, ...],
    runs_root: Path | None,
    older_than: int | None,
    half: bool,
    execute: bool,
    delete_original: bool,
    as_json: bool,
) -> None:
    """Make the vectors of runs smaller: embeddings.npz (lossless), or float16 (half the size).

    RUN is dataset/run, a dataset (its newest run) or a folder; without, every run is meant. Nothing is changed without
    --execute. The saving shown is measured on the file itself: vectors of neural models deflate by 7 to 8 % only,
    those of kmer6 on short sequences by 90 %. Every value of the new form is compared with the original before
    anything is deleted; float16 may move no vector by more than 1e-3 (1 - cosine). Started again after an
    interruption, the same command finishes.

    \b
    Example:
      ednabed compress --older-than 30 --execute --delete-original
    """
    from ednabed.errors import EdnabedError
    from ednabed.store.compress import compress_run
    from ednabed.store.compress_plan import survey_run
    from ednabed.store.runs import Run

    told = _Told()
    options: dict[str, Any] = {"half": half, "delete_original": delete_original, "older_than": older_than}
    for folder in _folders(context, names, runs_root, told):
        candidate = survey_run(folder, **options, measure=not execute)
        if candidate.state == "refused":
            told.refuse(str(folder), candidate.reason)
        elif not execute:
            _would(told, candidate)
        elif candidate.state == "young":
            _skip(told, candidate)
        else:
            try:
                outcome = compress_run(Run.open(folder), half=half, delete_original=delete_original)
            except EdnabedError as error:
                told.refuse(str(folder), str(error))
            else:
                _did(told, outcome, candidate, as_json)
    _summary(told, execute, half, delete_original, as_json)


def _folders(context: Context, names: tuple[str, ...], root: Path | None, told: _Told) -> list[Path]:
    """Return the folders of the runs meant, each once; a name that leads to none is refused."""
    from ednabed.store.runs import find_run, runs_root, walk_runs

    if names:
        if root is not None:
            raise UsageError("name runs or give --runs-root, not both")
        folders: dict[Path, Path] = {}
        for name in names:
            try:
                folder = Path(find_run_folder(context, name, find_run))
            except StoreError as error:
                told.refuse(name, str(error))
            else:
                folders.setdefault(folder.resolve(), folder)
        return list(folders.values())
    place = runs_root(context.workspace) if root is None else context.workspace / root
    if root is not None and not place.is_dir():
        raise StoreError(f"{place} is not a folder; give --runs-root the folder that holds the runs")
    found = walk_runs(place)
    if not found:
        notice(f"no runs in {place}; 'ednabed embed FILE' makes one")
    return found


def _skip(told: _Told, candidate: Candidate) -> None:
    told.skipped += 1
    told.runs.append(
        {
            "run": candidate.label,
            "folder": str(candidate.folder),
            "form": candidate.form,
            "state": candidate.state,
            "reason": candidate.reason,
        }
    )


def _would(told: _Told, candidate: Candidate) -> None:
    """Note what would be done."""
    _skip(told, candidate)
    if candidate.rows is None:
        return
    told.runs[-1] |= {
        "records": candidate.rows,
        "dimension": candidate.dimension,
        "bytes": candidate.bytes,
        "estimated_bytes": candidate.estimated,
        "measured_on_bytes": candidate.measured_on,
    }
    if candidate.state in ("ready", "original"):
        told.skipped -= 1
        told.done += 1
    if candidate.estimated is not None:
        told.before += candidate.bytes
        told.after += candidate.estimated


def _did(told: _Told, outcome: Outcome, candidate: Candidate, as_json: bool) -> None:
    """Note what was done, and tell of it at once: the next run may take minutes."""
    if outcome.state == "already":
        _skip(told, candidate)
        return
    told.done += 1
    told.before += outcome.before
    told.after += outcome.after
    told.runs.append(
        {
            "run": outcome.label,
            "folder": str(outcome.folder),
            "form": outcome.form,
            "state": outcome.state,
            "reason": outcome.problem or "",
            "bytes_before": outcome.before,
            "bytes_after": outcome.after,
            "deleted": list(outcome.deleted),
            "worst_cosine_error": outcome.worst_cosine_error,
        }
    )
    if outcome.problem is not None:
        told.problems += 1
        problem(f"not deleted: {outcome.problem}")
    if not as_json:
        gone = f"{' and '.join(outcome.deleted)} deleted" if outcome.deleted else "original kept"
        error = outcome.worst_cosine_error
        worst = "" if error is None else f", worst 1 - cosine {error:.1e}"
        sizes = f"{human_bytes(outcome.before)} before, {human_bytes(outcome.after)} after"
        emit(f"{outcome.label}: {outcome.form}{worst}, {gone}; {sizes}")


def _summary(told: _Told, execute: bool, half: bool, delete_original: bool, as_json: bool) -> None:
    """Print the totals, and end with an error where a run was refused."""
    saved = told.before - told.after
    if as_json:
        totals = {key: getattr(told, key) for key in ("done", "skipped", "refused", "before", "after")}
        emit_json({"executed": execute, "runs": told.runs, "totals": {**totals, "saved": saved}})
    elif execute:
        for row in told.runs:
            if row["state"] in ("already", "young"):
                emit(f"{row['run']}: skipped, {row['reason']}")
        emit(f"{told.done} done, {told.skipped} skipped, {told.refused} refused{_sizes(told, saved)}")
    else:
        _print_dry(told, half, delete_original, saved)
    if told.refused or told.problems:
        raise StoreError(
            f"{told.refused + told.problems} of {told.done + told.skipped + told.refused} runs could not be treated as "
            "asked; the reasons stand above, and this command lost no vector"
        )


def _sizes(told: _Told, saved: int) -> str:
    """Say what was really saved."""
    if not told.before:
        return ""
    sizes = f"; their vectors took {told.before:,} bytes before and take {told.after:,} after"
    if saved >= 0:
        return f"{sizes}: {saved:,} bytes ({_percent(saved, told.before)}) saved"
    kept = any(row["state"] == "compressed" and not row["deleted"] for row in told.runs)
    why = ", because originals are kept (--delete-original deletes them)" if kept else ""
    return f"{sizes}: {-saved:,} bytes more{why}"


def _print_dry(told: _Told, half: bool, delete_original: bool, saved: int) -> None:
    rows = [row for row in told.runs if row["state"] != "refused"]
    if rows:
        header = ["run", "records", "dimension", "now", "then", "saving", "measured on", "note"]
        emit(table(header, [_dry_cells(row, half) for row in rows]))
    how = "known" if half else "estimated"
    sizes = ""
    if told.before:
        change = f"{_percent(abs(saved), told.before)} {'less' if saved >= 0 else 'more'}"
        sizes = f"; {told.before:,} bytes now, {told.after:,} in the new form ({how}): {change}"
    emit(f"{told.done} to do, {told.skipped} to skip, {told.refused} refused{sizes}")
    if not told.done:
        return
    if delete_original:
        notice("dry run: nothing was changed; --execute does it, and deletes each original after a full comparison")
    else:
        notice(
            "dry run: nothing was changed; --execute writes the new forms, but space is saved only when the originals "
            "go (--delete-original)"
        )


def _dry_cells(row: dict[str, Any], half: bool) -> list[str]:
    if row.get("records") is None:
        return [row["run"], "", "", "", "", "", "", row["reason"]]
    now, then = row["bytes"], row["estimated_bytes"]
    cells = [row["run"], f"{row['records']:,}", str(row["dimension"]), human_bytes(now)]
    if then is None:
        return [*cells, "", "", "", row["reason"]]
    measured = row["measured_on_bytes"]
    part = "known" if half else "all of it" if measured >= now else f"{human_bytes(measured)} of it"
    return [*cells, human_bytes(then), _percent(now - then, now), part, row["reason"]]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.1f} %"
