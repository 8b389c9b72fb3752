"""Which assignments name the records of a collection: those kept next to its runs, those of a file, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.errors import InputError
from ednabed.export.names import Names, SequenceIds, names_by_id
from ednabed.reference.collection import Collection
from ednabed.reference.kept import KeptNames, is_by, kept_facts, kept_names
from ednabed.reference.sources import seen_from

NONE = "NONE"
"""In place of a build or file: no assignments."""


@dataclass(frozen=True, eq=False)
class Assigned:
    """Assignments of the records of a collection; at most one of both, and neither where there are none.

    Attributes:
        kept: Those kept next to its runs.
        file: A file that ``ednabed classify`` wrote.
    """

    kept: KeptNames | None = None
    file: Path | None = None

    def __bool__(self) -> bool:
        return self.kept is not None or self.file is not None

    def names(self) -> Names:
        """Return names for an export. Raises InputError where the file cannot be read."""
        return Names(None if self.file is None else names_by_id(self.file), self.kept)

    def notes(self, runs: Sequence[str]) -> list[str]:
        """Return by which assignments some runs (``dataset/run_id``) have their names, and which runs have none."""
        if self.kept is None:
            return []
        shown = dict.fromkeys(
            f"{facts.reference}, build {facts.build}" for run, facts in self.kept.facts.items() if run in runs
        )
        more = f" and {len(shown) - 3} more builds" if len(shown) > 3 else ""
        notes = (
            [f"names of records without a lineage of their own are assignments by {'; '.join(list(shown)[:3])}{more}"]
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


class LineagesOf:
    """Gives lineages to records of a collection that have none of their own, some at a time.

    Args:
        collection: The collection.
        assigned: Where they come from.

    Raises:
        InputError: The file cannot be read.
    """

    def __init__(self, collection: Collection, assigned: Assigned) -> None:
        self._collection = collection
        self._names = assigned.names()

    def __call__(self, rows: npt.NDArray[np.int64], ids: Sequence[str | None]) -> list[str | None]:
        """Return the lineage of each record, None where none is given.

        Args:
            rows: Row of each record, int64, shape (n,).
            ids: Its id; None where it has none.

        Raises:
            InputError: An id of the file is that of several sequences here.
        """
        distinct, place = np.unique(rows, return_inverse=True)
        digests = self._collection.take_sequences(distinct).column("digest").to_pylist()
        keys = self._collection.keys[distinct].tolist()
        known = [
            SequenceIds(row, (f"key.{key:016x}" if digest is None else digest, "", None))
            for row, digest, key in zip(distinct.tolist(), digests, keys, strict=True)
        ]
        found = [self._names.of(id, None, known[at]) for id, at in zip(ids, place.tolist(), strict=True)]
        return [";".join(one.lineage) if any(one.lineage) else None for one in found]


def find_assigned(collection: Collection, workspace: Path, asked: str | None = None) -> Assigned:
    """Return the assignments that are asked for.

    Args:
        collection: A reference, or runs as they lie.
        workspace: Folder in which the runs of a reference are found.
        asked: ``NONE``; a file that ``ednabed classify`` wrote; or a build by which assignments are kept next to the
            runs, or the folder of its reference. None takes the newest of each run.

    Raises:
        InputError: It is none of these.
        StoreError: A file kept next to a run is damaged or of another run.
    """
    if asked is None:
        return Assigned(kept=kept_names(collection, workspace))
    if asked == NONE:
        return Assigned()
    if Path(asked).is_file():
        return Assigned(file=Path(asked))
    kept = kept_facts(collection, workspace)
    for build in (asked, seen_from(workspace / asked, workspace), seen_from(Path(asked), workspace)):
        if any(is_by(facts, build) for facts in kept):
            return Assigned(kept=kept_names(collection, workspace, build))
    builds = ", ".join(dict.fromkeys(facts.build for facts in kept)) or "none"
    raise InputError(
        f"{asked}: no such file, and no run of {collection.name} keeps assignments by a build of this name (builds "
        f"there: {builds}); give a file that 'ednabed classify' wrote, one of these builds, or {NONE}"
    )
