"""The names that ``ednabed classify --run`` kept next to the runs of a collection.

They are found by the identity of the runs, so a reference finds the names of the runs that it was built from wherever
these runs are now in the workspace. A distinct sequence has one name: the newest that any of the runs keeps for it.
These names are never labels: calibration, classification and consolidation do not read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.arrays import Floats
from ednabed.errors import EdnabedError, StoreError
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference
from ednabed.reference.parts import keys_of
from ednabed.store.assignments import COLUMNS, Facts, KeptFile, file_names, folder_of, list_kept, survey_kept
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.runs import runs_root, walk_runs

# Another process may replace a file between its listing and its reading.
_TRIES = 20
NEAREST = ("nearest_id", "nearest_lineage", "nearest_taxon_id", "identity", "coverage")
"""Columns of an assignment that describe the reference sequence on which it is based."""
_COLUMNS = ("digest", "status", "lineage", "confidence", *NEAREST)
_NONE = pa.schema([COLUMNS.field(name) for name in _COLUMNS]).empty_table()


@dataclass(frozen=True, eq=False)
class RowNames:
    """Names of n rows of a collection.

    Attributes:
        lineages: All lineages that may occur.
        lineage: Index of the lineage of each row, int32, shape (n,); -1 for none.
        statuses: All statuses that may occur.
        status: Index of the status of each row, int8, shape (n,); -1 for rows without assignment.
        confidence: Confidence of the deepest name, float64, shape (n,); NaN if unknown.
        nearest: Columns ``NEAREST``, n rows, null where unknown; None if all are unknown.
    """

    lineages: list[str]
    lineage: npt.NDArray[np.int32]
    statuses: list[str]
    status: npt.NDArray[np.int8]
    confidence: Floats
    nearest: pa.Table | None = None

    def any(self) -> bool:
        """Return whether any of the rows has an assignment."""
        return bool((self.status >= 0).any())

    def assignment_of(self, row: int) -> tuple[str, str | None, float | None] | None:
        """Return status, lineage (None if it has no name) and confidence of a row; None without assignment.

        Args:
            row: Index of the row among the n rows, from 0.
        """
        status = int(self.status[row])
        if status < 0:
            return None
        lineage, confidence = int(self.lineage[row]), float(self.confidence[row])
        return (
            self.statuses[status],
            self.lineages[lineage] if lineage >= 0 else None,
            None if np.isnan(confidence) else confidence,
        )

    def nearest_of(self, row: int) -> dict[str, Any]:
        """Return the columns ``NEAREST`` of a row's assignment, by name; None where unknown.

        Args:
            row: Index of the row among the n rows, from 0.
        """
        if self.nearest is None:
            return dict.fromkeys(NEAREST)
        return {name: self.nearest.column(name)[row].as_py() for name in NEAREST}


@dataclass(frozen=True, eq=False)
class KeptNames:
    """The names kept next to the runs of a collection, by key of the sequence.

    Attributes:
        facts: Label of a run to the facts about the file that its names come from, the newest first; empty if nothing
            is kept.
        without: Labels of the runs of the collection for which nothing is kept.
        faults: What is wrong with the files that were skipped, one sentence each.
        keys: Keys of the sequences that have an assignment, uint64, shape (n,), ascending, each once.
        names: The names of these sequences, n rows.
    """

    facts: dict[str, Facts]
    without: list[str]
    faults: list[str]
    keys: npt.NDArray[np.uint64]
    names: RowNames

    def __bool__(self) -> bool:
        return bool(self.facts)

    def of_keys(self, keys: npt.NDArray[np.uint64]) -> RowNames:
        """Return the names of sequences.

        Args:
            keys: Their keys (``Collection.keys``), uint64, shape (m,), in any order.

        Returns:
            m rows, in the order given.
        """
        rows = np.searchsorted(self.keys, keys)
        known = rows < len(self.keys)
        known[known] = self.keys[rows[known]] == keys[known]
        rows = rows[known]
        row_of_key = np.full(len(keys), -1)
        row_of_key[known] = rows
        nearest = None
        if self.names.nearest is not None:
            nearest = self.names.nearest.take(pa.array(row_of_key, mask=row_of_key < 0))
        lineage, status = np.full(len(keys), -1, np.int32), np.full(len(keys), -1, np.int8)
        confidence = np.full(len(keys), np.nan)
        lineage[known], status[known] = self.names.lineage[rows], self.names.status[rows]
        confidence[known] = self.names.confidence[rows]
        return RowNames(self.names.lineages, lineage, self.names.statuses, status, confidence, nearest)


@dataclass(frozen=True)
class _RunFolder:
    """A run of a collection and its current folder."""

    label: str
    identity: str
    folder: Path


def kept_names(collection: Collection, workspace: Path, build: str | None = None) -> KeptNames:
    """Return the names that are kept next to the runs of a collection.

    Args:
        collection: A reference, or runs searched directly.
        workspace: Folder in which the runs of a reference are looked for.
        build: Take only assignments by this build of a reference; the folder of a reference means any of its builds.
            None takes the newest readable file of each run and lists unreadable ones in ``faults``.

    Raises:
        StoreError: A build was given, and a file is damaged or belongs to another run.
    """
    for attempt in range(_TRIES):
        try:
            return _kept_names(collection, workspace, build)
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def kept_facts(collection: Collection, workspace: Path) -> list[Facts]:
    """Return the facts about all kept assignments of the runs of a collection, the newest first.

    Raises:
        StoreError: A file is damaged or belongs to another run.
    """
    found = [kept.facts for run in _run_folders(collection, workspace) for kept in list_kept(run.folder, run.identity)]
    return sorted(found, key=lambda facts: facts.created, reverse=True)


def kept_files(collection: Collection, workspace: Path) -> list[str]:
    """Return the names of the files that are kept next to the runs of a collection, without opening them.

    As long as these are the same, ``kept_names`` returns the same names.
    """
    return [name for run in _run_folders(collection, workspace) for name in file_names(run.folder)]


def is_by(facts: Facts, build: str) -> bool:
    """Return whether assignments were made with a build, given by its name or by the folder of its reference."""
    return build in (facts.build, facts.reference)


def _kept_names(collection: Collection, workspace: Path, build: str | None) -> KeptNames:
    used: list[tuple[str, KeptFile, pa.Table]] = []
    without = dict.fromkeys(_labels(collection))
    faults: list[str] = []
    for run in _run_folders(collection, workspace):
        found = _newest(run, faults) if build is None else _newest_by(run, build)
        if found is not None:
            used.append((run.label, *found))
            without.pop(run.label, None)
    used.sort(key=lambda entry: entry[1].facts.created, reverse=True)
    keys, names = _by_key([table for _, _, table in used])
    return KeptNames({label: kept.facts for label, kept, _ in used}, list(without), faults, keys, names)


def _newest(run: _RunFolder, faults: list[str]) -> tuple[KeptFile, pa.Table] | None:
    """Return the newest readable file of a run; faults of other files are added to ``faults``."""
    listed, wrong = survey_kept(run.folder, run.identity)
    faults += wrong
    for kept in listed:
        try:
            return kept, kept.read(_COLUMNS)
        except StoreError as error:
            faults.append(str(error))
    return None


def _newest_by(run: _RunFolder, build: str) -> tuple[KeptFile, pa.Table] | None:
    listed = list_kept(run.folder, run.identity)
    kept = next((kept for kept in listed if is_by(kept.facts, build)), None)
    return None if kept is None else (kept, kept.read(_COLUMNS))


def _by_key(tables: list[pa.Table]) -> tuple[npt.NDArray[np.uint64], RowNames]:
    """Return the assignments of tables by key, ascending; for a key in several tables, that of the first table."""
    table = pa.concat_tables([_NONE, *tables])
    # np.unique returns the index of the first of equal keys.
    keys, first = np.unique(keys_of(table.column("digest").to_pylist()), return_index=True)
    table = table.take(pa.array(first))
    lineages, lineage = _numbered(table.column("lineage"))
    statuses, status = _numbered(table.column("status"))
    confidence = table.column("confidence").to_numpy(zero_copy_only=False).astype(np.float64)
    nearest = table.select(list(NEAREST)).combine_chunks()
    return keys, RowNames(lineages, lineage, statuses, status.astype(np.int8), confidence, nearest)


def _numbered(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the distinct texts of a column, and the index of each row's text; -1 for null."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)


def _labels(collection: Collection) -> list[str]:
    if isinstance(collection, LooseRuns):
        return [source.label for source in collection.sources]
    return [part.label for part in collection.manifest.runs] if isinstance(collection, Reference) else []


def _run_folders(collection: Collection, workspace: Path) -> list[_RunFolder]:
    """Return the runs of a collection that may have assignments next to them."""
    if isinstance(collection, LooseRuns):
        return [_RunFolder(source.label, source.identity, source.run.folder) for source in collection.sources]
    if not isinstance(collection, Reference):
        return []
    parts = collection.manifest.runs
    labels = {part.identity: part.label for part in parts}
    # Their folders when they were added, which may be outside the folder of runs.
    found = _with_identities([workspace / part.folder for part in parts], labels)
    if len(found) < len(labels):
        moved = [folder for folder in walk_runs(runs_root(workspace)) if folder_of(folder).is_dir()]
        found = {**_with_identities(moved, labels), **found}
    return list(found.values())


def _with_identities(folders: Sequence[Path], labels: Mapping[str, str]) -> dict[str, _RunFolder]:
    """Return, by identity, the first folder that contains each of the runs in ``labels``."""
    found: dict[str, _RunFolder] = {}
    for folder in folders:
        identity = _identity(folder)
        if identity is not None and identity in labels:
            found.setdefault(identity, _RunFolder(labels[identity], identity, folder))
    return found


def _identity(folder: Path) -> str | None:
    """Return the identity of the run in a folder; None if there is no intact run."""
    try:
        manifest = (folder / MANIFEST).stat()
        return _identity_of(folder, manifest.st_mtime_ns, manifest.st_size)
    except (EdnabedError, OSError):
        # 'ednabed runs verify' reports a damaged run; here it is only ignored.
        return None


@lru_cache(maxsize=16_384)
def _identity_of(folder: Path, changed: int, size: int) -> str:
    """Return the identity of a run; the time and size of its manifest keep cached results from going stale."""
    return RunManifest.read(folder).identity
