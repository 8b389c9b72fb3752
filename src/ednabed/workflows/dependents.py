"""Find what depends on a run in a workspace, before it is removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ednabed.errors import EdnabedError
from ednabed.reference import build_names, layout
from ednabed.reference.manifest import METADATA, Part, ReferenceManifest
from ednabed.reference.sources import shown_path
from ednabed.store.assignments import survey_kept
from ednabed.store.runs import Run
from ednabed.store.version_file import Versions
from ednabed.workflows.maps import runs_map_path


@dataclass(frozen=True)
class Dependents:
    """Dependents of a run. Exports and references outside ``data`` are unknown to a workspace.

    Attributes:
        current: References whose current build contains the run, as folders relative to the workspace.
        named: Named builds that contain the run, as ``folder/name``.
        assignments: Assignments kept next to the run, one text per file.
        tag: The version with which the run is tagged; None if it is not tagged.
        map: The map of this run alone; None if there is none.
        faults: Errors of files that could not be checked, one sentence each.
    """

    current: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    assignments: list[str] = field(default_factory=list)
    tag: str | None = None
    map: Path | None = None
    faults: list[str] = field(default_factory=list)


def dependents_of(workspace: Path, folder: Path) -> Dependents:
    """Find what depends on a run of a workspace.

    Args:
        workspace: Folder that contains ``data`` and ``consolidated_data``.
        folder: Folder of the run; it may be damaged.

    Raises:
        StoreError: The file of versions is damaged.
    """
    faults: list[str] = []
    try:
        run: Run | None = Run.open(folder)
        identity = None if run is None else run.identity
    except EdnabedError as error:
        # A damaged run can be identified only by its folder.
        run, identity = None, None
        faults.append(str(error))
    current, named = _builds_of(workspace, identity, shown_path(folder, workspace), faults)
    if run is None or identity is None:
        return Dependents(current, named, faults=faults)
    kept, damaged = survey_kept(folder, identity)
    tag = Versions.read(workspace).tags.get(identity)
    try:
        path = runs_map_path(workspace, [str(folder.resolve())])
    except EdnabedError:
        # A run of an unknown function has no map.
        path = None
    return Dependents(
        current,
        named,
        [f"by {one.facts.reference}, build {one.facts.build}, {one.facts.created[:19]}" for one in kept],
        None if tag is None else tag.version,
        path if path is not None and path.is_file() else None,
        [*faults, *damaged],
    )


def _builds_of(workspace: Path, identity: str | None, run_path: str, faults: list[str]) -> tuple[list[str], list[str]]:
    """Return the references whose current build contains a run, and the named builds that contain it."""
    current, named = [], []

    def contains(manifest: ReferenceManifest) -> bool:
        return any(_is(part, identity, run_path) for part in manifest.runs)

    for path in sorted((workspace / "data").glob(f"*/{METADATA}")):
        folder, shown = path.parent, shown_path(path.parent, workspace)
        try:
            if contains(layout.open_manifest(folder)):
                current.append(shown)
            for name in build_names.read_names(folder):
                if contains(layout.open_manifest(folder, name)):
                    named.append(f"{shown}/{name}")
        except EdnabedError as error:
            faults.append(str(error))
    return current, named


def _is(part: Part, identity: str | None, path: str) -> bool:
    return part.folder == path if identity is None else part.identity == identity
