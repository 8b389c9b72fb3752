"""Compare the files of a reference and of a workspace with their checksums, and report faults file by file."""

from __future__ import annotations

from pathlib import Path

from ednabed.errors import EdnabedError
from ednabed.maps.sequence_map import SequenceMap
from ednabed.reference import build_names, layout
from ednabed.reference.opened import Reference, open_build, open_reference
from ednabed.store.checkpoint import CHECKPOINT, checkpoint_folder, verify_checkpoint
from ednabed.taxonomy.calibration import Calibration
from ednabed.workflows.maps import read_map


def verify_reference(folder: Path, name: str | None = None) -> list[str]:
    """Read all files of a reference and return one sentence per damaged file; empty if there are no faults.

    Args:
        folder: Folder of the reference.
        name: Name of a build, to read only its files; None reads every kept build (current, previous and named), the
            names of builds, and the map.

    Raises:
        OSError: The system refuses to read a file.
    """
    try:
        current = open_reference(folder, name)
        faults = _of_build(current)
    except EdnabedError as error:
        current, faults = None, [str(error)]
    if name is not None:
        return faults
    others: set[str] = set()
    try:
        names = build_names.read_names(folder)
        faults += layout.missing_builds(folder, names)
        others |= {build for build in names.values() if layout.build_folder(folder, build).is_dir()}
    except EdnabedError as error:
        faults.append(str(error))
    try:
        previous = build_names.read_previous(folder)
        if current is not None:
            others |= {previous[build] for build in previous if build == current.manifest.build}
    except EdnabedError as error:
        faults.append(str(error))
    for build in sorted(others - ({current.manifest.build} if current is not None else set())):
        try:
            faults += _of_build(open_build(folder, build))
        except EdnabedError as error:
            faults.append(str(error))
    try:
        read_map(folder if current is None else current)
    except EdnabedError as error:
        faults.append(str(error))
    # A damaged manifest is reported with each build.
    return list(dict.fromkeys(faults))


def _of_build(opened: Reference) -> list[str]:
    faults = opened.verify()
    try:
        Calibration.read(opened.build, opened.manifest.build)
    except EdnabedError as error:
        faults.append(str(error))
    return faults


def verify_kept_files(workspace: Path) -> dict[Path, list[str]]:
    """Read the files that a workspace keeps next to its runs, and return the faults of each file.

    These are the maps of runs and the checkpoint of ``table embed``; versions, references and jobs are verified
    elsewhere.
    """
    found: dict[Path, list[str]] = {}
    for path in sorted((workspace / "data" / "maps").glob("*.parquet")):
        try:
            SequenceMap.read(path)
            found[path] = []
        except EdnabedError as error:
            found[path] = [str(error)]
    checkpoint = checkpoint_folder(workspace) / CHECKPOINT
    if checkpoint.is_file():
        found[checkpoint] = verify_checkpoint(workspace)
    return found
