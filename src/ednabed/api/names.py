"""Which assignments name the records of a collection: those kept next to its runs, those of a file, or none."""

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
from ednabed.reference.sources import seen_from
from ednabed.store.assignments import STATUSES

NONE = "NONE"
"""In place of a build or file: no assignments."""

log = logging.getLogger("ednabed")


@dataclass(frozen=True, eq=False)
class AssignmentSource:
    """Where the records of a collection get assignments; at most one of both, and neither where there are none.

    Attributes:
        kept: Those kept next to its runs.
        file: A file that ``ednabed classify`` wrote.
    """

    kept: KeptNames | None = None
    file: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.kept) or self.file is not None

    @cached_property
    def by_id(self) -> dict[str, Identification] | None:
        """The assignments of the file by id, read once; None without a file. Raises InputError where it is no such."""
        return None if self.file is None else names_by_id(self.file)

    def namer(self, collection: Collection) -> Namer:
        """Return names for an export of a collection. Raises InputError where the file cannot be read."""
        return Namer(self.by_id, self.kept.of_keys(collection.keys) if self.kept else None)

    def row_names(self, collection: Collection) -> RowNames | None:
        """Return the assignments of all rows of a collection; None where there are none.

        Raises:
            InputError: The file cannot be read, or an id of it is that of several sequences here.
        """
        if self.kept:
            return self.kept.of_keys(collection.keys)
        if self.file is None:
            return None
        selection = Selection(collection)
        found = [one.named for one in features(selection, self.namer(collection), FeatureIds(selection))]
        lineages = list(dict.fromkeys(";".join(one.lineage) for one in found if any(one.lineage)))
        number = {lineage: place for place, lineage in enumerate(lineages)}
        confidences = [np.nan if one.confidence is None else one.confidence for one in found]
        return RowNames(
            lineages,
            np.array([number.get(";".join(one.lineage), -1) for one in found], np.int32),
            list(STATUSES),
            np.array([STATUSES.index(one.status) if one.status else -1 for one in found], np.int8),
            np.array(confidences, np.float64),
        )

    def references(self, runs: Sequence[str]) -> str:
        """Return by which references some runs (``dataset/run_id``) have their names; empty where unknown."""
        return "; ".join(self._builds_of(runs))

    def _builds_of(self, runs: Sequence[str]) -> list[str]:
        facts = {} if self.kept is None else self.kept.facts
        return list(dict.fromkeys(f"{one.reference}, build {one.build}" for run, one in facts.items() if run in runs))

    def notes(self, runs: Sequence[str]) -> list[str]:
        """Return by which assignments some runs (``dataset/run_id``) have their names, and which runs have none."""
        if not self.kept:
            return []
        shown = self._builds_of(runs)
        more = f" and {len(shown) - 3} more builds" if len(shown) > 3 else ""
        notes = (
            [f"names of records without a lineage of their own are assignments by {'; '.join(shown[:3])}{more}"]
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
    """Gives lineages to records of a collection that have none of their own, some at a time (``LineageLookup``).

    Assignments of a file are found by the id of a record or by digest. Ids with a suffix, which exports give to
    sequences that share an id, are not looked up: they depend on what was exported.

    Args:
        collection: The collection.
        source: Where they come from.

    Raises:
        InputError: The file cannot be read.
    """

    def __init__(self, collection: Collection, source: AssignmentSource) -> None:
        self._collection = collection
        self._kept = source.kept
        self._namer = Namer(source.by_id)

    def __call__(self, rows: npt.NDArray[np.int64], ids: Sequence[str | None]) -> list[str | None]:
        """Return the lineage of each record, None where none is given.

        Args:
            rows: Row of each record, int64, shape (n,).
            ids: Its id; None where it has none.

        Raises:
            InputError: An id of the file is that of several sequences here.
        """
        found = self._by_row(rows) if self._kept else self._by_id(rows, ids)
        return [";".join(one.lineage) if any(one.lineage) else None for one in found]

    def _by_row(self, rows: npt.NDArray[np.int64]) -> list[Identification]:
        assert self._kept is not None
        names = self._kept.of_keys(self._collection.keys[rows])
        found = [names.of(place) for place in range(len(rows))]
        return [NO_NAME if one is None else identification(*one) for one in found]

    def _by_id(self, rows: npt.NDArray[np.int64], ids: Sequence[str | None]) -> list[Identification]:
        distinct, place = np.unique(rows, return_inverse=True)
        digests = self._collection.take_sequences(distinct, bases=False).column("digest").to_pylist()
        keys = self._collection.keys[distinct].tolist()
        known = [f"key.{key:016x}" if digest is None else digest for digest, key in zip(digests, keys, strict=True)]
        return [
            self._namer.of(id, None, SequenceIds(row, (known[at], known[at], None)))
            for id, row, at in zip(ids, rows.tolist(), place.tolist(), strict=True)
        ]


def find_assignments(collection: Collection, workspace: Path, asked: str | None = None) -> AssignmentSource:
    """Return the assignments that are asked for.

    Args:
        collection: A reference, or runs as they lie.
        workspace: Folder in which the runs of a reference are found.
        asked: ``NONE``; a file that ``ednabed classify`` wrote; or a build by which assignments are kept next to the
            runs, or the folder of its reference. None takes the newest of each run; files that cannot be read are then
            skipped, with a warning.

    Raises:
        InputError: It is none of these.
        StoreError: Assignments by a build were asked for, and a file kept next to a run is damaged or of another run.
    """
    if asked is None:
        newest = kept_names(collection, workspace)
        for fault in newest.faults:
            log.warning("assignments skipped: %s", fault)
        return AssignmentSource(kept=newest)
    if asked == NONE:
        return AssignmentSource()
    if Path(asked).is_file():
        return AssignmentSource(file=Path(asked))
    kept = kept_facts(collection, workspace)
    for build in _builds(asked, workspace):
        if any(is_by(facts, build) for facts in kept):
            return AssignmentSource(kept=kept_names(collection, workspace, build))
    builds = ", ".join(dict.fromkeys(facts.build for facts in kept)) or "none"
    raise InputError(
        f"{asked}: no such file, and no run of {collection.name} keeps assignments by a build of this name (builds "
        f"there: {builds}); give a file that 'ednabed classify' wrote, one of these builds, or {NONE}"
    )


def assignments_state(collection: Collection, workspace: Path, asked: str | None = None) -> tuple[str, ...]:
    """Return what changes whenever ``find_assignments`` would give other names; no assignments are read for it."""
    if asked == NONE:
        return (NONE,)
    if asked is not None and Path(asked).is_file():
        file = Path(asked).stat()
        return (asked, str(file.st_mtime_ns), str(file.st_size))
    return (collection.name, asked or "", *kept_files(collection, workspace))


def _builds(asked: str, workspace: Path) -> tuple[str, ...]:
    """Return what ``kept.is_by`` may know a build or the folder of a reference as."""
    return (asked, seen_from(workspace / asked, workspace), seen_from(Path(asked), workspace))
