"""``ednabed consolidate``: build one reference from many runs."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.base.text import human_bytes
from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, problem, threads_option
from ednabed.cli.words import in_options
from ednabed.errors import EdnabedError, StoreError, UsageError

if TYPE_CHECKING:
    from ednabed.reference.build import BuildResult
    from ednabed.reference.manifest import IndexFacts
    from ednabed.store.compress import Outcome


@click.command()
@click.option(
    "--runs-root", type=click.Path(path_type=Path), help="Folder of runs. Default: the runs of the workspace."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the reference. Default: data/reference in the workspace.",
)
@click.option("--incremental", is_flag=True, help="Add only the runs that are not yet in the reference.")
@click.option("--rebuild", is_flag=True, help="Build from scratch from the runs that exist now (the default).")
@click.option(
    "--drop-missing", is_flag=True,
    help="Build from scratch even if runs of the current build no longer exist and would be lost.",
)  # fmt: skip
@click.option("--version", help="Use only runs of this version, and assume it for run folders created by older tools.")
@click.option(
    "--index", "index_", type=click.Choice(["auto", "flat", "ivf"]), default="auto", show_default=True,
    help="flat: exact search; ivf: faster above about 20,000 sequences; auto: chosen by size.",
)  # fmt: skip
@click.option(
    "--compress", is_flag=True,
    help="Compress the runs (lossless) once the reference has been verified; originals are deleted after every value "
    "has been compared.",
)  # fmt: skip
@click.option(
    "--no-calibrate", is_flag=True,
    help="Skip the calibration ('ednabed reference calibrate') that follows if records are labelled.",
)  # fmt: skip
@threads_option
@json_option
@pass_context
def consolidate(
    context: Context,
    runs_root: Path | None,
    output: Path | None,
    incremental: bool,
    rebuild: bool,
    drop_missing: bool,
    version: str | None,
    index_: str,
    compress: bool,
    no_calibrate: bool,
    as_json: bool,
) -> None:
    """Build one searchable reference from many runs.

    The reference has each distinct sequence once, with all its occurrences. A run that cannot be added is reported, the
    others are added, and the exit code is 1. A build from scratch that would lose runs of the current build is refused
    unless --drop-missing is given. The previous build is kept until the next one; 'ednabed reference undo' restores it.
    If records are labelled, the reference is then calibrated, which takes some minutes.

    \b
    Example:
      ednabed consolidate
      ednabed consolidate --incremental
    """
    from ednabed.reference.build import BuildRequest
    from ednabed.reference.build import consolidate as build

    if incremental and rebuild:
        raise UsageError("--incremental and --rebuild exclude each other; omit one of them")
    if incremental and drop_missing:
        raise UsageError("--incremental drops no run, so --drop-missing has no effect with it; omit one of them")
    result = build(
        BuildRequest(
            context.workspace,
            runs_root,
            output,
            incremental=incremental,
            version=version,
            index=index_,
            drop_missing=drop_missing,
        ),
        show_progress=None,
    )
    manifest = result.manifest
    for label in result.changed_runs:
        notice(f"changed: run {label} is not the run that was added to the reference" + _advice(incremental))
    for label in (label for label in result.vanished if label not in result.dropped):
        notice(f"vanished: run {label} is in the reference but no longer among the runs" + _advice(incremental))
    for label in result.dropped:
        notice(f"dropped: run {label} is not in the new build; 'ednabed reference undo' restores the previous build")
    for folder, reason in result.left_out.items():
        notice(f"omitted: {folder}: {reason}")
    for folder, reason in result.refused.items():
        problem(f"refused: {folder}: {reason}")
    compressed, failed = _compress(result) if compress else ([], {})
    for folder, reason in failed.items():
        problem(f"not compressed: {folder}: {reason}")
    if not as_json:
        _print(result)
        if compress:
            saved = sum(outcome.before - outcome.after for outcome in compressed)
            emit(f"compressed   {len(compressed):,} runs, {human_bytes(max(0, saved))} saved")
    calibration = {"state": "skipped"} if no_calibrate else _calibrate(context.workspace, output, result)
    if as_json:
        emit_json(
            {
                "reference": str(result.folder),
                "build": manifest.build,
                "changed": result.changed,
                "added": [part.label for part in result.added],
                "retrained": result.retrained,
                "refused": {folder: in_options(reason) for folder, reason in result.refused.items()},
                "left_out": {folder: in_options(reason) for folder, reason in result.left_out.items()},
                "vanished": result.vanished,
                "dropped": result.dropped,
                "changed_runs": result.changed_runs,
                "counts": manifest.counts,
                "fingerprint": manifest.spec.fingerprint,
                "version": manifest.version,
                "index": vars(manifest.index),
                "compressed": [
                    {"run": c.label, "state": c.state, "before": c.before, "after": c.after} for c in compressed
                ],
                "not_compressed": failed,
                "calibration": calibration,
            }
        )
    elif calibration["state"] == "made":
        emit(f"calibrated   in {calibration['seconds']:,.0f} s, with {calibration['draws']:,} queries drawn from it")
    elif calibration["state"] == "kept":
        emit(f"calibrated   already, {calibration['created']}")
    if failed:
        raise StoreError(f"{len(failed)} of the runs could not be compressed; the reasons are above")
    if result.refused:
        raise StoreError(
            f"{len(result.refused)} of the runs could not be added to {result.folder}; the reasons are above"
        )


def _print(result: BuildResult) -> None:
    """Print the result of a build."""
    manifest = result.manifest
    counts = manifest.counts
    if not result.changed:
        reason = "no run could be added" if result.refused else "the reference already contains all runs"
        emit(f"nothing new  {reason}; nothing was rewritten")
    emit(f"reference    {result.folder}, build {manifest.build}")
    named = f", version {manifest.version}" if manifest.version else ""
    emit(f"model        {manifest.spec.model}, fingerprint {manifest.spec.fingerprint[:12]}{named}")
    emit(f"runs         {counts['runs']:,} of {counts['datasets']:,} datasets, {len(result.added):,} read now")
    emit(f"sequences    {counts['sequences']:,} distinct, in {counts['records']:,} records")
    emit(f"index        {index_text(manifest.index)}")
    if result.refused:
        emit(f"refused      {len(result.refused):,} runs (named above)")
    if result.left_out:
        emit(f"omitted      {len(result.left_out):,} runs (named above)")


def index_text(facts: IndexFacts) -> str:
    """Return a description of an index in one line."""
    if facts.kind == "flat":
        return "flat (exact)"
    short = "" if facts.reached else ", below the targets of 0.99 and 0.95: search with --exact where it matters"
    return (
        f"ivf, {facts.nprobe} of {facts.lists} lists visited, recall of the ten nearest {facts.recall:.3f}, for "
        f"queries unlike any sequence {facts.recall_strangers:.3f} (measured on {facts.measured_on}){short}"
    )


def _advice(incremental: bool) -> str:
    if incremental:
        return (
            "; the reference keeps it as it was; 'ednabed consolidate --rebuild' builds it from the runs that exist now"
        )
    return "; the new reference is built from the runs that exist now"


def _calibrate(workspace: Path, output: Path | None, result: BuildResult) -> dict[str, Any]:
    """Calibrate a reference unless it is calibrated; report errors as notices, because the reference works without.

    Returns:
        ``state``: ``made`` (with ``seconds``, and ``draws``, the number of queries), ``kept`` or ``none``; ``created``,
        if there is a calibration; and ``reason``: why there is none, or why only full-length sequences were drawn.
    """
    from ednabed.api.identify import calibrate_reference
    from ednabed.reference.layout import build_folder
    from ednabed.taxonomy.calibration import SCHEMA, Calibration

    if not result.changed:
        # A calibration that cannot be read, or is of an earlier version, is made again.
        with suppress(StoreError):
            kept = Calibration.read(build_folder(result.folder, result.manifest.build), result.manifest.build)
            if kept is not None and kept.schema == SCHEMA:
                return {"state": "kept", "created": kept.created, "reason": None}
    if sys.stderr.isatty():
        notice(f"calibrating {result.folder}; --no-calibrate skips this")
    began = time.monotonic()
    try:
        _, found, lacking = calibrate_reference(workspace, None if output is None else str(output), show_progress=None)
    except EdnabedError as error:
        notice(f"not calibrated: {error}")
        return {"state": "none", "reason": in_options(str(error))}
    if lacking is not None:
        notice(f"calibrated only on full-length sequences, because {lacking}")
    return {
        "state": "made",
        "created": found.created,
        "seconds": round(time.monotonic() - began, 1),
        "draws": sum(found.groups[""].draws.values()),
        "reason": None if lacking is None else in_options(lacking),
    }


def _compress(result: BuildResult) -> tuple[list[Outcome], dict[str, str]]:
    """Verify a reference, then compress its runs; return the outcomes, and the reasons for failures by folder."""
    from ednabed.reference.opened import open_reference
    from ednabed.store.compress import compress_run

    faults = open_reference(result.folder).verify()
    if faults:
        raise StoreError(f"{result.folder} has faults, so no run was compressed: {'; '.join(faults[:3])}")
    done, failed = [], {}
    for source in result.sources:
        try:
            outcome = compress_run(source.run, delete_original=True)
        except (EdnabedError, OSError) as error:
            failed[source.folder] = in_options(str(error))
            continue
        done.append(outcome)
        if outcome.problem is not None:
            failed[source.folder] = in_options(outcome.problem)
    return done, failed
