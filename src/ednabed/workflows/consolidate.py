"""Build a reference from runs, compress these runs if requested, and calibrate the reference."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ednabed.errors import EdnabedError, StoreError
from ednabed.reference.build import BuildRequest, BuildResult, build_reference
from ednabed.reference.layout import build_folder
from ednabed.reference.opened import open_reference
from ednabed.store.compress import Outcome, compress_run
from ednabed.taxonomy.calibration import SCHEMA, Calibration
from ednabed.workflows.identify import calibrate_reference


@dataclass(frozen=True)
class CalibrationOutcome:
    """Whether a reference is calibrated after its consolidation.

    Attributes:
        state: ``made``; ``kept``, the build already had a calibration; ``none``, it cannot be calibrated; ``skipped``,
            calibration was not requested.
        created: Time of the calibration, UTC, ISO 8601; None if there is none.
        seconds: Time that calibration took; None unless ``made``.
        draws: Number of queries drawn from the reference; None unless ``made``.
        reason: Why there is no calibration, or why only full-length sequences were drawn; None if neither applies.
    """

    state: Literal["made", "kept", "none", "skipped"]
    created: str | None = None
    seconds: float | None = None
    draws: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Consolidation:
    """The result of ``consolidate``.

    Attributes:
        build: The reference, and the runs that were added, refused or omitted.
        compressed: The runs that were compressed; empty if that was not requested.
        not_compressed: Folder of a run to the reason why it could not be compressed, or its original not deleted.
        calibration: Whether the reference is calibrated.
    """

    build: BuildResult
    compressed: Sequence[Outcome]
    not_compressed: Mapping[str, str]
    calibration: CalibrationOutcome


class Steps:
    """The steps of ``consolidate``, for a caller that reports each of them at once; the methods do nothing."""

    def built(self, build: BuildResult) -> None:
        """The reference is built and published."""

    def compressed(self, build: BuildResult, done: Sequence[Outcome], failed: Mapping[str, str]) -> None:
        """The runs are compressed, or none is to be; the arguments are the attributes of ``Consolidation``."""

    def calibrating(self, folder: Path) -> None:
        """The calibration of the reference in this folder begins; it may take minutes."""


def consolidate(
    request: BuildRequest,
    *,
    compress: bool = False,
    calibrate: bool = True,
    steps: Steps | None = None,
    show_progress: bool | None = False,
) -> Consolidation:
    """Build a reference, and make it ready for classification.

    Args:
        request: What to build.
        compress: Compress the runs (lossless) once the reference has been verified; originals are deleted after every
            value has been compared.
        calibrate: Calibrate the reference, unless this build is calibrated already. A reference that cannot be
            calibrated, for example because no record is labelled, still works for searches.
        steps: Is called after each step; None for no calls.
        show_progress: True shows the progress on standard error, None only on a terminal.

    Raises:
        StoreError: The reference cannot be built (``build_reference``), or it has faults, so no run is compressed.
        UsageError: The version is not registered, or the index is unknown.
    """
    steps = Steps() if steps is None else steps
    build = build_reference(request, show_progress=show_progress)
    steps.built(build)
    done, failed = _compress(build) if compress else ([], {})
    steps.compressed(build, done, failed)
    calibration = _calibrate(request, build, steps, show_progress) if calibrate else CalibrationOutcome("skipped")
    return Consolidation(build, done, failed, calibration)


def _compress(build: BuildResult) -> tuple[list[Outcome], dict[str, str]]:
    """Verify a reference, then compress its runs; return the outcomes, and the reasons for failures by folder."""
    faults = open_reference(build.folder).verify()
    if faults:
        raise StoreError(f"{build.folder} has faults, so no run was compressed: {'; '.join(faults[:3])}")
    done, failed = [], {}
    for source in build.sources:
        try:
            outcome = compress_run(source.run, delete_original=True)
        except (EdnabedError, OSError) as error:
            failed[source.folder] = str(error)
            continue
        done.append(outcome)
        if outcome.problem is not None:
            failed[source.folder] = outcome.problem
    return done, failed


def _calibrate(
    request: BuildRequest, build: BuildResult, steps: Steps, show_progress: bool | None
) -> CalibrationOutcome:
    """Calibrate a reference unless it is calibrated."""
    if not build.changed:
        # A calibration that cannot be read, or is of an earlier version, is made again.
        with suppress(StoreError):
            kept = Calibration.read(build_folder(build.folder, build.manifest.build), build.manifest.build)
            if kept is not None and kept.schema == SCHEMA:
                return CalibrationOutcome("kept", kept.created)
    steps.calibrating(build.folder)
    began = time.monotonic()
    reference = None if request.output is None else str(request.output)
    try:
        _, found, lacking = calibrate_reference(request.workspace, reference, show_progress=show_progress)
    except EdnabedError as error:
        return CalibrationOutcome("none", reason=str(error))
    seconds = round(time.monotonic() - began, 1)
    return CalibrationOutcome("made", found.created, seconds, sum(found.groups[""].draws.values()), lacking)
