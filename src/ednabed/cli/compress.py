"""``ednabed compress``: compress the vectors of runs; a dry run unless ``--execute`` is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.base.text import human_bytes
from ednabed.cli.common import (
    Context,
    emit,
    emit_json,
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
class _Tally:
    """The report: one dictionary per run, and the totals."""

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
    help="Compress every run in this folder, at any depth; relative to the workspace or absolute. Default: the runs of "
    "the workspace.",
)
@click.option("--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Only runs at least this many days old.")
@click.option(
    "--float16", "half", is_flag=True, help="Write embeddings.f16.npy: half the size, values rounded to float16."
)
@click.option("--execute", is_flag=True, help="Compress the runs; without this option, only report what would be done.")
@click.option(
    "--delete-original",
    is_flag=True,
    help="Delete embeddings.npy (with --float16 also embeddings.npz) after comparing every value.",
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
    """Compress the vectors of runs.

    The result is embeddings.npz (lossless), or embeddings.f16.npy with --float16 (half the size). RUN is dataset/run, a
    dataset (its newest run) or a folder; without RUN, every run is compressed. Nothing is changed without --execute.
    The saving shown is measured on the file itself: deflating saves only 7 to 8 % for vectors of neural models, but 90
    % for kmer6 on short sequences. Every value of the new form is compared with the original before anything is
    deleted; float16 may change no vector by more than 1e-3 (1 - cosine). Run the same command again after an
    interruption to finish.

    \b
    Example:
      ednabed compress --older-than 30 --execute --delete-original
    """
    from ednabed.errors import EdnabedError
    from ednabed.store.compress import compress_run
    from ednabed.store.compress_plan import survey_run
    from ednabed.store.runs import Run

    tally = _Tally()
    options: dict[str, Any] = {"half": half, "delete_original": delete_original, "older_than": older_than}
    for folder in _folders(context, names, runs_root, tally):
        candidate = survey_run(folder, **options, measure=not execute)
        if candidate.state == "refused":
            tally.refuse(str(folder), candidate.reason)
        elif not execute:
            _add_planned(tally, candidate)
        elif candidate.state == "young":
            _add_skipped(tally, candidate)
        else:
            try:
                outcome = compress_run(Run.open(folder), half=half, delete_original=delete_original)
            except EdnabedError as error:
                tally.refuse(str(folder), str(error))
            else:
                _add_done(tally, outcome, candidate, as_json)
    _print_summary(tally, execute, half, delete_original, as_json)


def _folders(context: Context, names: tuple[str, ...], root: Path | None, tally: _Tally) -> list[Path]:
    """Return the folders of the selected runs, each once; a name without a run is refused."""
    from ednabed.store.runs import find_run, runs_root, walk_runs

    if names:
        if root is not None:
            raise UsageError("give run names or --runs-root, not both")
        folders: dict[Path, Path] = {}
        for name in names:
            try:
                folder = Path(find_run_folder(context, name, find_run))
            except StoreError as error:
                tally.refuse(name, str(error))
            else:
                folders.setdefault(folder.resolve(), folder)
        return list(folders.values())
    folder = runs_root(context.workspace) if root is None else context.workspace / root
    if root is not None and not folder.is_dir():
        raise StoreError(f"{folder} is not a folder; give the folder of the runs with --runs-root")
    found = walk_runs(folder)
    if not found:
        notice(f"no runs in {folder}; 'ednabed embed FILE' creates one")
    return found


def _add_skipped(tally: _Tally, candidate: Candidate) -> None:
    tally.skipped += 1
    tally.runs.append(
        {
            "run": candidate.label,
            "folder": str(candidate.folder),
            "form": candidate.form,
            "state": candidate.state,
            "reason": in_options(candidate.reason),
        }
    )


def _add_planned(tally: _Tally, candidate: Candidate) -> None:
    """Record what would be done."""
    _add_skipped(tally, candidate)
    if candidate.rows is None:
        return
    tally.runs[-1] |= {
        "records": candidate.rows,
        "dimension": candidate.dimension,
        "bytes": candidate.bytes,
        "estimated_bytes": candidate.estimated,
        "measured_on_bytes": candidate.measured_on,
    }
    if candidate.state in ("ready", "original"):
        tally.skipped -= 1
        tally.done += 1
    if candidate.estimated is not None:
        tally.before += candidate.bytes
        tally.after += candidate.estimated


def _add_done(tally: _Tally, outcome: Outcome, candidate: Candidate, as_json: bool) -> None:
    """Record what was done, and report it immediately, because the next run may take minutes."""
    if outcome.state == "already":
        _add_skipped(tally, candidate)
        return
    tally.done += 1
    tally.before += outcome.before
    tally.after += outcome.after
    tally.runs.append(
        {
            "run": outcome.label,
            "folder": str(outcome.folder),
            "form": outcome.form,
            "state": outcome.state,
            "reason": in_options(outcome.problem or ""),
            "bytes_before": outcome.before,
            "bytes_after": outcome.after,
            "deleted": list(outcome.deleted),
            "worst_cosine_error": outcome.worst_cosine_error,
        }
    )
    if outcome.problem is not None:
        tally.problems += 1
        problem(f"not deleted: {outcome.problem}")
    if not as_json:
        originals = f"{' and '.join(outcome.deleted)} deleted" if outcome.deleted else "original kept"
        error = outcome.worst_cosine_error
        worst = "" if error is None else f", worst 1 - cosine {error:.1e}"
        sizes = f"{human_bytes(outcome.before)} before, {human_bytes(outcome.after)} after"
        emit(f"{outcome.label}: {outcome.form}{worst}, {originals}; {sizes}")


def _print_summary(tally: _Tally, execute: bool, half: bool, delete_original: bool, as_json: bool) -> None:
    """Print the totals. Raises StoreError if a run was refused."""
    saved = tally.before - tally.after
    if as_json:
        totals = {key: getattr(tally, key) for key in ("done", "skipped", "refused", "before", "after")}
        emit_json({"executed": execute, "runs": tally.runs, "totals": {**totals, "saved": saved}})
    elif execute:
        for row in tally.runs:
            if row["state"] in ("already", "young"):
                emit(f"{row['run']}: skipped, {row['reason']}")
        emit(f"{tally.done} done, {tally.skipped} skipped, {tally.refused} refused{_sizes(tally, saved)}")
    else:
        _print_dry_run(tally, half, delete_original, saved)
    if tally.refused or tally.problems:
        raise StoreError(
            f"{tally.refused + tally.problems} of {tally.done + tally.skipped + tally.refused} runs could not be "
            "compressed as requested; the reasons are above, and no vector was lost"
        )


def _sizes(tally: _Tally, saved: int) -> str:
    """Return what was actually saved."""
    if not tally.before:
        return ""
    sizes = f"; their vectors took {tally.before:,} bytes before and take {tally.after:,} after"
    if saved >= 0:
        return f"{sizes}: {saved:,} bytes ({_percent(saved, tally.before)}) saved"
    kept = any(row["state"] == "compressed" and not row["deleted"] for row in tally.runs)
    why = ", because originals are kept (--delete-original deletes them)" if kept else ""
    return f"{sizes}: {-saved:,} bytes more{why}"


def _print_dry_run(tally: _Tally, half: bool, delete_original: bool, saved: int) -> None:
    rows = [row for row in tally.runs if row["state"] != "refused"]
    if rows:
        header = ["run", "records", "dimension", "now", "then", "saving", "measured on", "note"]
        emit(table(header, [_dry_run_cells(row, half) for row in rows]))
    how = "known" if half else "estimated"
    sizes = ""
    if tally.before:
        change = f"{_percent(abs(saved), tally.before)} {'less' if saved >= 0 else 'more'}"
        sizes = f"; {tally.before:,} bytes now, {tally.after:,} in the new form ({how}): {change}"
    emit(f"{tally.done} to do, {tally.skipped} to skip, {tally.refused} refused{sizes}")
    if not tally.done:
        return
    if delete_original:
        notice("dry run: nothing was changed; --execute compresses, and deletes each original after a full comparison")
    else:
        notice(
            "dry run: nothing was changed; --execute writes the new forms, but space is saved only if the originals "
            "are deleted (--delete-original)"
        )


def _dry_run_cells(row: dict[str, Any], half: bool) -> list[str]:
    if row.get("records") is None:
        return [row["run"], "", "", "", "", "", "", row["reason"]]
    now, then = row["bytes"], row["estimated_bytes"]
    cells = [row["run"], f"{row['records']:,}", str(row["dimension"]), human_bytes(now)]
    if then is None:
        return [*cells, "", "", "", row["reason"]]
    measured = row["measured_on_bytes"]
    part = "known" if half else "all of it" if measured >= now else f"{human_bytes(measured)} of it"
    return [*cells, human_bytes(then), _percent(now - then, now), part, row["reason"]]


def _percent(part: int, total: int) -> str:
    return f"{100 * part / max(1, total):.1f} %"
