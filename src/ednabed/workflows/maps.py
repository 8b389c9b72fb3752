"""Maps that are laid out once and kept: for a reference in its folder, for runs in the workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from ednabed.engine.threads import cores
from ednabed.errors import StoreError, UsageError
from ednabed.maps.make import DEFAULT_LANDMARKS, make_map
from ednabed.maps.sequence_map import SequenceMap
from ednabed.reference import layout
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference, open_reference
from ednabed.reference.sources import Source
from ednabed.workflows.inventory import usable_source


def map_reference(
    workspace: Path,
    reference: str | None = None,
    *,
    max_landmarks: int = DEFAULT_LANDMARKS,
    seed: int = 0,
    refit: bool = False,
    threads: int | None = None,
    show_progress: bool | None = None,
) -> tuple[Reference, SequenceMap]:
    """Lay out the map of a reference and keep it in its folder, or add missing sequences to the existing map.

    All builds share the map, because it is indexed by key: sequences keep their positions when the reference grows, and
    sequences of other builds stay on it. If two commands run at once, the complete map that is finished last is kept.

    Args:
        workspace: Folder that contains ``data``.
        reference: Folder of a reference, or name of a build; None takes the reference of the workspace.
        max_landmarks: Maximum landmarks, for a new layout.
        seed: Random seed, for a new layout.
        refit: Compute a new layout; all positions change.
        threads: Number of threads for comparisons; None takes all cores. It does not affect the result.
        show_progress: As in ``make_map``.

    Returns:
        The reference and its map, which contains every sequence with a vector.

    Raises:
        StoreError: The reference does not exist, or was removed meanwhile; or the existing map is damaged, of another
            function, or shares no landmark with this build, and ``refit`` is False.
        UsageError: ``max_landmarks`` is below 1.
    """
    opened = open_reference(*layout.find_reference(workspace, reference))
    path = opened.folder / layout.MAP
    earlier = None if refit else _read(path)
    found = _layout(opened, earlier, max_landmarks, seed, threads, show_progress)
    if found is not earlier:
        _write(found, opened.folder)
    return opened, found


def read_map(reference: Reference | Path) -> SequenceMap | None:
    """Return the map that is kept with a reference; None if there is none.

    Sequences added after the layout are not on the map until ``map_reference`` is called again.

    Args:
        reference: An opened reference, or the folder of one.

    Raises:
        StoreError: The map is damaged, of an unknown schema, or of another function than the opened reference.
    """
    found = _read((reference.folder if isinstance(reference, Reference) else reference) / layout.MAP)
    if found is not None and isinstance(reference, Reference):
        found.check_function(reference)
    return found


def map_runs(
    workspace: Path,
    runs: Sequence[str],
    *,
    max_landmarks: int = DEFAULT_LANDMARKS,
    seed: int = 0,
    refit: bool = False,
    threads: int | None = None,
    show_progress: bool | None = None,
) -> tuple[LooseRuns, SequenceMap]:
    """Lay out the map of runs, or read it if it exists.

    It is kept at ``data/maps/<name>.parquet`` in the workspace; the name is a hash of the identities of the runs, so
    the same runs have the same map wherever they are and in whatever order they are given.

    Args:
        workspace: Folder that contains ``consolidated_data`` and ``data``.
        runs: ``dataset/run``, a dataset (its newest run), or a folder; at least one.
        max_landmarks: See ``map_reference``.
        seed: See ``map_reference``.
        refit: See ``map_reference``.
        threads: See ``map_reference``.
        show_progress: See ``map_reference``.

    Returns:
        The runs as one collection, and its map.

    Raises:
        StoreError: A run does not exist, is damaged or of an unknown function, or the runs have different functions; or
            the existing map is damaged, and ``refit`` is False.
        UsageError: No run is given, or ``max_landmarks`` is below 1.
    """
    sources = _sources(workspace, runs)
    path = _runs_path(workspace, sources)
    collection = LooseRuns(sources)
    earlier = None if refit else _read(path)
    found = _layout(collection, earlier, max_landmarks, seed, threads, show_progress)
    if found is not earlier:
        found.write(path)
    return collection, found


def read_runs_map(workspace: Path, runs: Sequence[str]) -> SequenceMap | None:
    """Return the map of runs that ``map_runs`` has kept; None if there is none.

    Raises:
        StoreError: A run does not exist, or the map is damaged.
        UsageError: No run is given.
    """
    return _read(runs_map_path(workspace, runs))


def runs_map_path(workspace: Path, runs: Sequence[str]) -> Path:
    """Return the path of the map of runs, whether it exists or not. Raises the errors of ``read_runs_map``."""
    return _runs_path(workspace, _sources(workspace, runs))


def _write(found: SequenceMap, folder: Path) -> None:
    # If the reference was removed, its folder is not created again. A new build in it does not matter.
    try:
        layout.open_manifest(folder)
    except StoreError as error:
        raise StoreError(f"the reference can no longer be read, so its map was not kept: {error}") from error
    found.write(folder / layout.MAP)


def _layout(
    collection: Collection,
    earlier: SequenceMap | None,
    max_landmarks: int,
    seed: int,
    threads: int | None,
    show_progress: bool | None,
) -> SequenceMap:
    with threadpool_limits(cores() if threads is None else threads):
        return make_map(
            collection, max_landmarks=max_landmarks, seed=seed, earlier=earlier, show_progress=show_progress
        )


def _read(path: Path) -> SequenceMap | None:
    try:
        return SequenceMap.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sources(workspace: Path, runs: Sequence[str]) -> list[Source]:
    """Return the runs with these names, each once."""
    if not runs:
        raise UsageError("no run is given, expected at least one; 'ednabed runs list' lists them")
    found: dict[str, Source] = {}
    for name in runs:
        source = usable_source(workspace, name)
        found[source.identity] = source
    return list(found.values())


def _runs_path(workspace: Path, sources: Sequence[Source]) -> Path:
    # Includes the function, because for a run of an older tool the user states it, and may change it later.
    lines = sorted(f"{source.identity} {source.spec.fingerprint}\n" for source in sources)
    name = hashlib.sha256("".join(lines).encode()).hexdigest()[:32]
    return workspace / "data" / "maps" / f"{name}.parquet"
