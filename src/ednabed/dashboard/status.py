"""The state of a workspace: its runs, whether they are in the reference, and the references with their builds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ednabed.errors import EdnabedError
from ednabed.reference import build_names, layout
from ednabed.reference.manifest import ReferenceManifest
from ednabed.store.manifest import RunManifest
from ednabed.store.version_file import Versions
from ednabed.tables.status import TableStatus, survey
from ednabed.tables.table import Database
from ednabed.taxonomy.calibration import FILE as CALIBRATION
from ednabed.workflows.inventory import RunInfo, run_infos


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        info: The run.
        version: Name of the registered version of its function; None if there is none.
        in_reference: Whether the reference of the workspace contains it; None if unknown (the run is damaged or of an
            older tool, or there is no reference).
    """

    info: RunInfo
    version: str | None
    in_reference: bool | None


@dataclass(frozen=True)
class ReferenceState:
    """A build of a reference that has a name or is current.

    Attributes:
        address: Argument for ``find_reference``: the folder relative to the workspace, and the name of a build.
        name: Name of the build; None for the current one.
        manifest: Its manifest; None if it is damaged.
        calibrated: Whether it is calibrated.
        fault: Why it cannot be used; None if it can.
    """

    address: str
    name: str | None
    manifest: ReferenceManifest | None
    calibrated: bool
    fault: str | None


def run_states(workspace: Path) -> list[RunState]:
    """Return the runs of a workspace with their version and whether its reference contains them, by dataset and run.

    Only manifests are read. A damaged file of versions is treated as missing; ``versions_fault`` reports it.
    """
    versions = Versions() if versions_fault(workspace) else Versions.read(workspace)
    identities: set[str] | None = None
    try:
        identities = {part.identity for part in layout.open_manifest(layout.default_folder(workspace)).runs}
    except (EdnabedError, OSError):
        # ``reference_states`` reports the reason.
        identities = None
    return [_run_state(info, versions, identities) for info in run_infos(workspace)]


def _run_state(info: RunInfo, versions: Versions, identities: set[str] | None) -> RunState:
    version = None if info.fingerprint is None else versions.of_fingerprint(info.fingerprint)
    in_reference = None
    # The identity of a run of an older tool would have to be computed from its vectors.
    if info.fault is None and info.fingerprint is not None and identities is not None:
        try:
            in_reference = RunManifest.read(info.path).identity in identities
        except (EdnabedError, OSError):
            # The run was removed meanwhile.
            in_reference = None
    return RunState(info, None if version is None else version.name, in_reference)


def versions_fault(workspace: Path) -> str | None:
    """Return why the file of versions cannot be read; None if it can, or does not exist."""
    try:
        Versions.read(workspace)
    except EdnabedError as error:
        return str(error)
    return None


def reference_states(workspace: Path) -> list[ReferenceState]:
    """Return the references of a workspace (folders in ``data``) and their named builds, the default one first."""
    default = layout.default_folder(workspace)
    folders = sorted(layout.reference_folders(workspace), key=lambda p: (p != default, p))
    states = []
    for folder in folders:
        path = folder.relative_to(workspace).as_posix()
        states.append(_reference_state(folder, path, None))
        try:
            names = build_names.read_names(folder)
        except EdnabedError as error:
            states.append(ReferenceState(f"{path}/{build_names.NAMES}", None, None, False, str(error)))
            continue
        states += [_reference_state(folder, f"{path}/{name}", name) for name in names]
    return states


def _reference_state(folder: Path, address: str, name: str | None) -> ReferenceState:
    try:
        manifest = layout.open_manifest(folder, name)
        layout.check_sizes(folder, manifest)
    except (EdnabedError, OSError) as error:
        return ReferenceState(address, name, None, False, str(error))
    calibrated = (layout.build_folder(folder, manifest.build) / CALIBRATION).is_file()
    return ReferenceState(address, name, manifest, calibrated, None)


def table_state(workspace: Path) -> TableStatus | None:
    """Count the rows of the table of a workspace, reading every vector once; None if there is no table.

    Raises:
        StoreError: The table exists but cannot be read.
    """
    database = Database.at(workspace, None)
    return survey(database.open()) if database.holds_table() else None
