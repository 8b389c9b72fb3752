"""``ednabed consolidate``: build one reference from many runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.base.text import human_bytes
from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, problem, threads_option
from ednabed.cli.words import in_options
from ednabed.errors import StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ednabed.reference.build import BuildResult
    from ednabed.reference.manifest import IndexFacts
    from ednabed.store.compress import Outcome
    from ednabed.workflows.consolidate import CalibrationOutcome, Consolidation, Steps


@click.command()
@click.option(
    "--runs-root",
    type=click.Path(path_type=Path),
    help="Folder that contains the runs. Default: consolidated_data/runs in the workspace.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to build the reference in. Default: data/reference in the workspace.",
)
@click.option(
    "--incremental", is_flag=True,
    help="Keep what is in the reference, and add only the runs that are not yet in it.",
)  # fmt: skip
@click.option("--rebuild", is_flag=True, help="Build from scratch from the runs that exist now (the default).")
@click.option(
    "--drop-missing", is_flag=True,
    help="Build from scratch even if runs of the current build no longer exist and would be lost.",
)  # fmt: skip
@click.option(
    "--version",
    help="Use only runs of this version (see 'ednabed versions'). Run folders created by older tools are assumed to be "
    "of this version.",
)
@click.option(
    "--index", "index_", type=click.Choice(["auto", "flat", "ivf"]), default="auto", show_default=True,
    help="flat: exact search; ivf: an approximate index, faster above about 20,000 sequences; auto: chosen by size.",
)  # fmt: skip
@click.option(
    "--compress", is_flag=True,
    help="Compress the vectors of the runs without loss once the reference has been verified; originals are deleted "
    "after every value has been compared.",
)  # fmt: skip
@click.option(
    "--no-calibrate", is_flag=True,
    help="Skip the calibration that follows if records are labelled; 'ednabed reference calibrate' can do it later.",
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

    The reference has each distinct sequence once, with all its occurrences. If records are labelled (have lineages),
    the reference is then calibrated: it learns from its own sequences how reliable its answers are, which 'discover'
    and the confidences of 'classify' require. This can take some minutes.

    Each call builds the reference from scratch, unless --incremental is given. A build from scratch that would lose
    runs of the current build is refused unless --drop-missing is given. The previous build is kept until the next one;
    'ednabed reference undo' restores it. If a run cannot be added, this is reported, the other runs are added, and the
    exit code is 1.

    \b
    Example:
      ednabed consolidate
      ednabed consolidate --incremental
    """
    from ednabed.reference.build import BuildRequest
    from ednabed.workflows.consolidate import consolidate as build_and_calibrate

    if incremental and rebuild:
        raise UsageError("--incremental and --rebuild exclude each other; omit one of them")
    if incremental and drop_missing:
        raise UsageError("--incremental drops no run, so --drop-missing has no effect with it; omit one of them")
    request = BuildRequest(
        context.workspace, runs_root, output, incremental=incremental, version=version, index=index_,
        drop_missing=drop_missing,
    )  # fmt: skip
    done = build_and_calibrate(
        request, compress=compress, calibrate=not no_calibrate, steps=_reports(incremental, compress, as_json),
        show_progress=None,
    )  # fmt: skip
    calibration = done.calibration
    if calibration.state == "none":
        notice(f"not calibrated: {calibration.reason}")
    elif calibration.reason is not None:
        notice(f"calibrated only on full-length sequences, because {calibration.reason}")
    if as_json:
        emit_json(_facts(done))
    elif calibration.state == "made":
        emit(f"calibrated   in {calibration.seconds:,.0f} s, with {calibration.draws:,} queries drawn from it")
    elif calibration.state == "kept":
        emit(f"calibrated   already, {calibration.created}")
    if done.not_compressed:
        raise StoreError(f"{len(done.not_compressed)} of the runs could not be compressed; the reasons are above")
    if done.build.refused:
        raise StoreError(
            f"{len(done.build.refused)} of the runs could not be added to {done.build.folder}; the reasons are above"
        )


def _reports(incremental: bool, compress: bool, as_json: bool) -> Steps:
    """Return steps that report what was done, and print it unless one JSON document is requested."""
    from ednabed.workflows.consolidate import Steps

    class Reports(Steps):
        def built(self, build: BuildResult) -> None:
            _report_runs(build, incremental)

        def compressed(self, build: BuildResult, done: Sequence[Outcome], failed: Mapping[str, str]) -> None:
            for folder, reason in failed.items():
                problem(f"not compressed: {folder}: {reason}")
            if as_json:
                return
            _print(build)
            if compress:
                saved = sum(outcome.before - outcome.after for outcome in done)
                emit(f"compressed   {len(done):,} runs, {human_bytes(max(0, saved))} saved")

        def calibrating(self, folder: Path) -> None:
            if sys.stderr.isatty():
                notice(f"calibrating {folder}; --no-calibrate skips this")

    return Reports()


def _report_runs(build: BuildResult, incremental: bool) -> None:
    """Report the runs that are not as they were, or were not added."""
    for label in build.changed_runs:
        notice(f"changed: run {label} is not the run that was added to the reference" + _advice(incremental))
    for label in (label for label in build.vanished if label not in build.dropped):
        notice(f"vanished: run {label} is in the reference but no longer among the runs" + _advice(incremental))
    for label in build.dropped:
        notice(f"dropped: run {label} is not in the new build; 'ednabed reference undo' restores the previous build")
    for folder, reason in build.left_out.items():
        notice(f"omitted: {folder}: {reason}")
    for folder, reason in build.refused.items():
        problem(f"refused: {folder}: {reason}")


def _facts(done: Consolidation) -> dict[str, Any]:
    """Return the JSON document."""
    build, manifest = done.build, done.build.manifest
    return {
        "reference": str(build.folder),
        "build": manifest.build,
        "changed": build.changed,
        "added": [part.label for part in build.added],
        "retrained": build.retrained,
        "refused": _in_options(build.refused),
        "left_out": _in_options(build.left_out),
        "vanished": build.vanished,
        "dropped": build.dropped,
        "changed_runs": build.changed_runs,
        "counts": manifest.counts,
        "fingerprint": manifest.spec.fingerprint,
        "version": manifest.version,
        "index": vars(manifest.index),
        "compressed": [
            {"run": c.label, "state": c.state, "before": c.before, "after": c.after} for c in done.compressed
        ],
        "not_compressed": _in_options(done.not_compressed),
        "calibration": _calibration_facts(done.calibration),
    }


def _calibration_facts(found: CalibrationOutcome) -> dict[str, Any]:
    shown = {"made": ("created", "seconds", "draws", "reason"), "kept": ("created", "reason"), "none": ("reason",)}
    facts = {**vars(found), "reason": None if found.reason is None else in_options(found.reason)}
    return {key: facts[key] for key in ("state", *shown.get(found.state, ()))}


def _in_options(reasons: Mapping[str, str]) -> dict[str, str]:
    return {folder: in_options(reason) for folder, reason in reasons.items()}


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
