"""Find the assignments that name the records of a collection: kept next to its runs, from a file, or none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.errors import InputError
from ednabed.export.features import features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import NO_NAME, Identification, Namer, SequenceIds, identification, names_by_id
from ednabed.export.selection import Selection
from ednabed.reference.collection import Collection
from ednabed.reference.kept import KeptNames, RowNames, is_by, kept_facts, kept_files, kept_names
from ednabed.reference.sources import shown_path
from ednabed.store.assignment import STATUSES

NONE = "NONE"
"""Given instead of a build or file, for no assignments."""

log = logging.getLogger("ednabed")


@dataclass(frozen=True, eq=False)
class AssignmentSource:
    """The source of assignments for the records of a collection; at most one attribute is set.

    Attributes:
        kept: Assignments kept next to its runs.
        file: A file written by ``ednabed classify``.
    """

    kept: KeptNames | None = None
    file: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.kept) or self.file is not None

    @cached_property
    def by_id(self) -> dict[str, Identification] | None:
        """The assignments of the file by id, read once; None without a file. Raises InputError if it has none."""
        return None if self.file is None else names_by_id(self.file)

    def namer(self, collection: Collection) -> Namer:
        """Return names for an export of a collection. Raises InputError if the file cannot be read."""
        return Namer(self.by_id, self.kept.of_keys(collection.keys) if self.kept else None)

    def row_names(self, collection: Collection) -> RowNames | None:
        """Return the assignments of all rows of a collection; None if there are none.

        Raises:
            InputError: The file cannot be read, or one of its ids belongs to several sequences of the collection.
        """
        if self.kept:
            return self.kept.of_keys(collection.keys)
        if self.file is None:
            return None
        selection = Selection(collection)
        found = [one.named for one in features(selection, self.namer(collection), FeatureIds(selection))]
        lineages = list(dict.fromkeys(";".join(one.lineage) for one in found if any(one.lineage)))
        number = {lineage: i for i, lineage in enumerate(lineages)}
        confidences = [np.nan if one.confidence is None else one.confidence for one in found]
        return RowNames(
            lineages,
            np.array([number.get(";".join(one.lineage), -1) for one in found], np.int32),
            list(STATUSES),
            np.array([STATUSES.index(one.status) if one.status else -1 for one in found], np.int8),
            np.array(confidences, np.float64),
        )

    def references(self, runs: Sequence[str]) -> str:
        """Return the references from which runs (``dataset/run_id``) have their names; empty if unknown."""
        return "; ".join(self._builds_of(runs))

    def _builds_of(self, runs: Sequence[str]) -> list[str]:
        facts = {} if self.kept is None else self.kept.facts
        return list(dict.fromkeys(f"{one.reference}, build {one.build}" for run, one in facts.items() if run in runs))

    def notes(self, runs: Sequence[str]) -> list[str]:
        """Return notes on the assignments that name runs (``dataset/run_id``), and on runs without assignments."""
        if not self.kept:
            return []
        shown = self._builds_of(runs)
        more = f" and {len(shown) - 3} more builds" if len(shown) > 3 else ""
        notes = (
            [f"names of records without a lineage of their own are assignments from {'; '.join(shown[:3])}{more}"]
            if shown
            else []
        )
        without = [run for run in self.kept.without if run in runs]
        if without:
            notes.append(
                f"{len(without):,} of the runs have no assignments, such as {without[0]}; 'ednabed classify --run "
                f"{without[0]} --reference DIR' names its sequences"
            )
        return notes


class HitLineages:
    """Looks up lineages for records of a collection without a lineage of their own, in batches (``LineageLookup``).

    Assignments of a file are looked up by record id or digest. Ids with a suffix, which exports give to sequences that
    share an id, are not looked up, because they depend on the exported selection.

    Args:
        collection: The collection.
        source: The source of assignments.

    Raises:
        InputError: The file cannot be read.
    """

    def __init__(self, collection: Collection, source: AssignmentSource) -> None:
        self._collection = collection
        self._kept = source.kept
        self._namer = Namer(source.by_id)

    def __call__(self, rows: npt.NDArray[np.int64], ids: Sequence[str | None]) -> list[str | None]:
        """Return the lineage of each record; None if there is none.

        Args:
            rows: Row of each record, int64, shape (n,).
            ids: Id of each record; None if it has none.

        Raises:
            InputError: An id of the file belongs to several sequences of the collection.
        """
        found = self._by_row(rows) if self._kept else self._by_id(rows, ids)
        return [";".join(one.lineage) if any(one.lineage) else None for one in found]

    def _by_row(self, rows: npt.NDArray[np.int64]) -> list[Identification]:
        assert self._kept is not None
        names = self._kept.of_keys(self._collection.keys[rows])
        found = [names.assignment_of(i) for i in range(len(rows))]
        return [NO_NAME if one is None else identification(*one) for one in found]

    def _by_id(self, rows: npt.NDArray[np.int64], ids: Sequence[str | None]) -> list[Identification]:
        distinct, index = np.unique(rows, return_inverse=True)
        digests = self._collection.take_sequences(distinct, bases=False).column("digest").to_pylist()
        keys = self._collection.keys[distinct].tolist()
        known = [f"key.{key:016x}" if digest is None else digest for digest, key in zip(digests, keys, strict=True)]
        return [
            self._namer.identify(id, None, SequenceIds(row, (known[at], known[at], None)))
            for id, row, at in zip(ids, rows.tolist(), index.tolist(), strict=True)
        ]


def find_assignments(collection: Collection, workspace: Path, assignments: str | None = None) -> AssignmentSource:
    """Return the requested assignments.

    Args:
        collection: A reference, or runs.
        workspace: Folder that contains the runs of a reference.
        assignments: ``NONE``; a file written by ``ednabed classify``; or a build, or the folder of its reference, whose
            assignments are kept next to the runs. None takes the newest of each run; files that cannot be read are then
            skipped, with a warning.

    Raises:
        InputError: ``assignments`` is none of these.
        StoreError: Assignments of a build are requested, and a file kept next to a run is damaged or of another run.
    """
    if assignments is None:
        newest = kept_names(collection, workspace)
        for fault in newest.faults:
            log.warning("assignments skipped: %s", fault)
        return AssignmentSource(kept=newest)
    if assignments == NONE:
        return AssignmentSource()
    if Path(assignments).is_file():
        return AssignmentSource(file=Path(assignments))
    kept = kept_facts(collection, workspace)
    for build in _builds(assignments, workspace):
        if any(is_by(facts, build) for facts in kept):
            return AssignmentSource(kept=kept_names(collection, workspace, build))
    builds = ", ".join(dict.fromkeys(facts.build for facts in kept)) or "none"
    raise InputError(
        f"{assignments}: no such file, and no run of {collection.name} has assignments from a build of this name "
        f"(existing builds: {builds}); give a file written by 'ednabed classify', one of these builds, or {NONE}"
    )


def assignments_state(collection: Collection, workspace: Path, assignments: str | None = None) -> tuple[str, ...]:
    """Return a state that changes whenever ``find_assignments`` would return other names, without reading them."""
    if assignments == NONE:
        return (NONE,)
    if assignments is not None and Path(assignments).is_file():
        file = Path(assignments).stat()
        return (assignments, str(file.st_mtime_ns), str(file.st_size))
    return (collection.name, assignments or "", *kept_files(collection, workspace))


def _builds(assignments: str, workspace: Path) -> tuple[str, ...]:
    """Return the forms under which ``kept.is_by`` may know a build or the folder of a reference."""
    return (assignments, shown_path(workspace / assignments, workspace), shown_path(Path(assignments), workspace))
