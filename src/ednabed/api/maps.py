"""Maps that are laid out once and kept: of a reference in its folder, of runs in the workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from ednabed.api.inventory import fault_of
from ednabed.engine.threads import cores
from ednabed.errors import StoreError, UsageError
from ednabed.reference import layout
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference, open_reference
from ednabed.reference.sources import Source, source_of
from ednabed.store.runs import find_run, runs_root
from ednabed.taxonomy.sequence_map import MOST, SequenceMap, make_map


def map_reference(
    workspace: Path,
    reference: str | None = None,
    *,
    most: int = MOST,
    seed: int = 0,
    refit: bool = False,
    threads: int | None = None,
    show_progress: bool | None = None,
) -> tuple[Reference, SequenceMap]:
    """Lay out the map of a reference and keep it in the reference's folder, or add to the one there what it lacks.

    All builds share it, because it goes by key: what is on it keeps its place when the reference grows, and sequences
    of other builds stay on it. Of two commands at once the map that was finished last is kept, whole.

    Args:
        workspace: Folder that holds ``data``.
        reference: Folder of a reference, or name of a build; None is the workspace's.
        most: Landmarks at most, of a map that is laid out anew.
        seed: Seed, of a map that is laid out anew.
        refit: Lay it out anew; all places change.
        threads: Threads of the comparisons; None takes all cores. They change nothing but the time.
        show_progress: As in ``make_map``.

    Returns:
        The reference and its map, on which every sequence is that has a vector.

    Raises:
        StoreError: There is no reference, or it was removed meanwhile; or the map that is there is damaged, of another
            function, or has no landmark that this build has, and ``refit`` is not asked for.
        UsageError: ``most`` is below 1.
    """
    opened = open_reference(*layout.find_reference(workspace, reference))
    path = opened.folder / layout.MAP
    before = None if refit else _read(path)
    found = _made(opened, before, most, seed, threads, show_progress)
    if found is not before:
        _keep(found, opened.folder)
    return opened, found


def read_map(reference: Reference | Path) -> SequenceMap | None:
    """Return the map that is kept with a reference, None where there is none.

    Sequences that came after it was laid out are not on it before ``map_reference`` is called again.

    Args:
        reference: An opened reference, or the folder of one.

    Raises:
        StoreError: It is damaged, of an unknown schema, or of another function than the opened reference.
    """
    found = _read((reference.folder if isinstance(reference, Reference) else reference) / layout.MAP)
    if found is not None and isinstance(reference, Reference):
        found.check_function(reference)
    return found


def map_runs(
    workspace: Path,
    runs: Sequence[str],
    *,
    most: int = MOST,
    seed: int = 0,
    refit: bool = False,
    threads: int | None = None,
    show_progress: bool | None = None,
) -> tuple[LooseRuns, SequenceMap]:
    """Lay out the map of some runs as they lie, or read it where it was laid out before.

    It is kept at ``data/maps/<name>.parquet`` of the workspace; the name is a hash of the runs' identities, so the
    same runs have the same map wherever they lie and in whatever order they are named.

    Args:
        workspace: Folder that holds ``consolidated_data`` and ``data``.
        runs: ``dataset/run``, a dataset (its newest run), or a folder; at least one.
        most: See ``map_reference``.
        seed: See ``map_reference``.
        refit: See ``map_reference``.
        threads: See ``map_reference``.
        show_progress: See ``map_reference``.

    Returns:
        The runs as one collection, and its map.

    Raises:
        StoreError: There is no such run, one is broken, what made it is unknown, or they were made by several
            functions; or the map that is there is damaged, and ``refit`` is not asked for.
        UsageError: No run is named, or ``most`` is below 1.
    """
    sources = _sources(workspace, runs)
    path = _runs_path(workspace, sources)
    collection = LooseRuns(sources)
    before = None if refit else _read(path)
    found = _made(collection, before, most, seed, threads, show_progress)
    if found is not before:
        found.write(path)
    return collection, found


def read_runs_map(workspace: Path, runs: Sequence[str]) -> SequenceMap | None:
    """Return the map of some runs that ``map_runs`` kept, None where there is none.

    Raises:
        StoreError: There is no such run, or the map is damaged.
        UsageError: No run is named.
    """
    return _read(runs_map_path(workspace, runs))


def runs_map_path(workspace: Path, runs: Sequence[str]) -> Path:
    """Return where the map of some runs is kept, whether it was laid out or not. Raises as ``read_runs_map`` does."""
    return _runs_path(workspace, _sources(workspace, runs))


def _keep(found: SequenceMap, folder: Path) -> None:
    # Where the reference is gone, its folder is not made again. A new build in it does not matter.
    try:
        layout.open_manifest(folder)
    except StoreError as error:
        raise StoreError(f"the reference cannot be read any more, so its map was not kept: {error}") from error
    found.write(folder / layout.MAP)


def _made(
    collection: Collection,
    before: SequenceMap | None,
    most: int,
    seed: int,
    threads: int | None,
    show_progress: bool | None,
) -> SequenceMap:
    with threadpool_limits(cores() if threads is None else threads):
        return make_map(collection, most=most, seed=seed, earlier=before, show_progress=show_progress)


def _read(path: Path) -> SequenceMap | None:
    try:
        return SequenceMap.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sources(workspace: Path, runs: Sequence[str]) -> list[Source]:
    """Return runs by their names, each once."""
    if not runs:
        raise UsageError("no run is named, wanted at least one; 'ednabed runs list' shows what there is")
    found: dict[str, Source] = {}
    for name in runs:
        source = source_of(find_run(workspace, name), runs_root(workspace), workspace)
        fault = fault_of(source.run, source.spec)
        if fault is not None:
            raise StoreError(fault)
        found[source.identity] = source
    return list(found.values())


def _runs_path(workspace: Path, sources: Sequence[Source]) -> Path:
    # With the function, because of a run of an older tool only the user says what made it, and may say otherwise later.
    lines = sorted(f"{source.identity} {source.spec.fingerprint}\n" for source in sources)
    name = hashlib.sha256("".join(lines).encode()).hexdigest()[:32]
    return workspace / "data" / "maps" / f"{name}.parquet"
