"""The names that ``ednabed classify --run`` kept next to the runs of a collection, by row.

They are found by the identity of the runs, so a reference finds those of the runs that it was built from wherever these
are now in the workspace. A distinct sequence has one name: the newest that any of the runs keeps for it. These names
are never labels: nothing that calibrates, classifies or consolidates reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.errors import EdnabedError
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference
from ednabed.reference.parts import keys_of
from ednabed.store.assignments import Facts, Kept, file_names, folder_of, list_kept
from ednabed.store.manifest import RunManifest
from ednabed.store.runs import runs_root, walk_runs

# Another process may replace a file between its listing and its reading.
_TRIES = 5


@dataclass(frozen=True, eq=False)
class KeptNames:
    """Names of the rows of a collection.

    Attributes:
        facts: Label of a run to what the file says of itself from which its names are, the newest first.
        without: Labels of the runs of the collection for which nothing is kept.
        lineages: Every lineage that occurs.
        lineage: Number of the lineage of each row, int32, shape (rows,); -1 for none.
        statuses: Every status that occurs.
        status: Number of the status of each row, int8, shape (rows,); -1 where it has no assignment.
        confidence: Of the deepest name, float64, shape (rows,); NaN where unknown.
    """

    facts: dict[str, Facts]
    without: list[str]
    lineages: list[str]
    lineage: npt.NDArray[np.int32]
    statuses: list[str]
    status: npt.NDArray[np.int8]
    confidence: npt.NDArray[np.float64]

    def of(self, row: int) -> tuple[str, str | None, float | None] | None:
        """Return status, lineage (None where no name is given) and confidence of a row; None without assignment."""
        status = int(self.status[row])
        if status < 0:
            return None
        lineage, confidence = int(self.lineage[row]), float(self.confidence[row])
        return (
            self.statuses[status],
            self.lineages[lineage] if lineage >= 0 else None,
            None if np.isnan(confidence) else confidence,
        )


@dataclass(frozen=True)
class _Place:
    """Where a run of a collection is."""

    label: str
    identity: str
    folder: Path


def kept_names(collection: Collection, workspace: Path, build: str | None = None) -> KeptNames | None:
    """Return the names that are kept next to the runs of a collection; None where there are none (by the build).

    Args:
        collection: A reference, or runs as they lie.
        workspace: Folder in which the runs of a reference are found.
        build: Take assignments by this build of a reference only; a folder of a reference is any of its builds. None
            takes the newest of each run.

    Raises:
        StoreError: A file is damaged or of another run.
    """
    for attempt in range(_TRIES):
        try:
            return _kept_names(collection, workspace, build)
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def kept_facts(collection: Collection, workspace: Path) -> list[Facts]:
    """Return what all assignments of the runs of a collection say of themselves, the newest first.

    Raises:
        StoreError: See ``kept_names``.
    """
    found = [kept.facts for place in _places(collection, workspace) for kept in list_kept(place.folder, place.identity)]
    return sorted(found, key=lambda facts: facts.created, reverse=True)


def kept_files(collection: Collection, workspace: Path) -> list[str]:
    """Return the names of the files that are kept next to the runs of a collection; none is opened."""
    return [name for place in _places(collection, workspace) for name in file_names(place.folder)]


def is_by(facts: Facts, build: str) -> bool:
    """Return whether assignments are by a build, given by its name or by the folder of its reference."""
    return build in (facts.build, facts.reference)


def _kept_names(collection: Collection, workspace: Path, build: str | None) -> KeptNames | None:
    used: list[tuple[str, Kept]] = []
    without = {part: None for part in _labels(collection)}
    for place in _places(collection, workspace):
        listed = list_kept(place.folder, place.identity)
        newest = next((kept for kept in listed if build is None or is_by(kept.facts, build)), None)
        if newest is not None:
            used.append((place.label, newest))
            without.pop(place.label, None)
    if not used:
        return None
    used.sort(key=lambda one: one[1].facts.created)
    names = _Numbers(collection)
    for _, kept in used:
        names.add(kept.read(["digest", "status", "lineage", "confidence"]))
    return KeptNames(
        {label: kept.facts for label, kept in reversed(used)}, list(without), list(names.lineages), names.lineage,
        list(names.statuses), names.status, names.confidence,
    )  # fmt: skip


class _Numbers:
    """Puts the rows of tables of assignments to the rows of a collection; later tables win."""

    def __init__(self, collection: Collection) -> None:
        self._order = np.argsort(collection.keys, kind="stable")
        self._keys = collection.keys[self._order]
        self.lineages: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.lineage = np.full(collection.rows, -1, np.int32)
        self.status = np.full(collection.rows, -1, np.int8)
        self.confidence = np.full(collection.rows, np.nan)

    def add(self, table: pa.Table) -> None:
        keys = keys_of(table.column("digest").to_pylist())
        at = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        there = np.flatnonzero(self._keys[at] == keys)
        rows = self._order[at[there]]
        self.lineage[rows] = _coded(table.column("lineage"), self.lineages)[there]
        self.status[rows] = _coded(table.column("status"), self.statuses)[there]
        confidence = table.column("confidence").to_numpy(zero_copy_only=False).astype(np.float64)
        self.confidence[rows] = confidence[there]


def _coded(column: pa.ChunkedArray, known: dict[str, int]) -> npt.NDArray[np.int64]:
    """Return numbers for texts, adding unseen ones to ``known``; -1 for null."""
    coded = column.combine_chunks().dictionary_encode()
    numbers = [known.setdefault(text, len(known)) for text in coded.dictionary.to_pylist()]
    places = coded.indices.fill_null(len(numbers)).to_numpy()
    return np.asarray(np.array([*numbers, -1], np.int64)[places], np.int64)


def _labels(collection: Collection) -> list[str]:
    if isinstance(collection, LooseRuns):
        return [source.label for source in collection.sources]
    return [part.label for part in collection.manifest.runs] if isinstance(collection, Reference) else []


def _places(collection: Collection, workspace: Path) -> list[_Place]:
    """Return the runs of a collection that may have assignments next to them."""
    if isinstance(collection, LooseRuns):
        return [_Place(source.label, source.identity, source.run.folder) for source in collection.sources]
    if not isinstance(collection, Reference):
        return []
    wanted = {part.identity: part.label for part in collection.manifest.runs}
    # Where they were when they were taken in, which may be outside the folder of runs; and where runs are now.
    folders = [workspace / part.folder for part in collection.manifest.runs]
    folders += walk_runs(runs_root(workspace))
    return _with_identities(folders, wanted)


def _with_identities(folders: Sequence[Path], wanted: dict[str, str]) -> list[_Place]:
    found: dict[str, _Place] = {}
    for folder in folders:
        if not folder_of(folder).is_dir():
            continue
        try:
            identity = RunManifest.read(folder).identity
        except (EdnabedError, OSError):
            # 'ednabed runs verify' reports a broken run; here it names nothing.
            continue
        if identity in wanted:
            found.setdefault(identity, _Place(wanted[identity], identity, folder))
    return list(found.values())
