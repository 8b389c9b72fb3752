"""Facts about each distinct sequence of a collection as columns, for maps, tables and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.reference.collection import Collection
from ednabed.reference.kept import RowNames
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.taxonomy.labels import read_row_labels

SEVERAL = "several"
"""The dataset shown for a sequence that occurs in several datasets."""


@dataclass(frozen=True)
class RowFacts:
    """Facts about the rows of a collection; arrays have shape (rows,) unless stated otherwise.

    Attributes:
        lineages: Every lineage that occurs.
        lineage: Number of the lineage of most records, int64; if no record has one, of the lineage of its assignment;
            -1 if there is none either.
        markers: Names of markers; the first is empty.
        marker: Number of the marker, int64; 0 if unknown.
        datasets: Names of datasets; the last is ``SEVERAL``.
        dataset: Number of the dataset, int64.
        runs: Labels of the runs (``dataset/run_id``).
        pairs: int64, shape (n, 2): row and run number for each occurrence of a sequence in a run, each pair once.
        records: Number of records, int64.
        reads: Sum of their abundances, int64; records without an abundance count as 1.
    """

    lineages: list[Lineage]
    lineage: npt.NDArray[np.int64]
    markers: list[str]
    marker: npt.NDArray[np.int64]
    datasets: list[str]
    dataset: npt.NDArray[np.int64]
    runs: list[str]
    pairs: npt.NDArray[np.int64]
    records: npt.NDArray[np.int64]
    reads: npt.NDArray[np.int64]

    def in_runs(self, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return whether each row is in one of the given runs, bool, shape (rows,)."""
        run_numbers = [self.runs.index(label) for label in labels]
        found = np.zeros(len(self.records), np.bool_)
        found[self.pairs[np.isin(self.pairs[:, 1], run_numbers), 0]] = True
        return found

    @property
    def named(self) -> int:
        """Number of rows that have a name."""
        return sum(any(self.lineages[number]) for number in self.lineage.tolist() if number >= 0)

    def names(self, rank: str) -> list[str]:
        """Return the name of each row at a rank; empty if unknown."""
        level = RANKS.index(rank)
        of_lineage = [lineage[level] for lineage in self.lineages]
        return [of_lineage[number] if number >= 0 else "" for number in self.lineage.tolist()]


def row_facts(collection: Collection, assigned: RowNames | None = None) -> RowFacts:
    """Read the facts about all rows; the records are read once or twice, with a few columns at a time.

    Args:
        collection: A reference, or runs.
        assigned: Assignments of all rows, for rows whose records have no lineage
            (``names.AssignmentSource.row_names``); None for none.
    """
    present = collection.record_schema.names
    labels = read_row_labels(collection, needed=False)
    columns = ["dataset", "run_id", *(["abundance"] if "abundance" in present else [])]
    runs: dict[str, int] = {}
    pieces: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    reads = np.zeros(collection.rows, np.int64)
    datasets: dict[str, int] = {}
    of_run: list[int] = []
    for _, table in collection.scan_records(columns):
        rows = table.column("row").to_numpy().astype(np.int64)
        counts = np.ones(len(rows), np.int64)
        if "abundance" in columns:
            # If all runs are of older tools, this column has no type.
            counts = pc.fill_null(table.column("abundance").cast(pa.int64()), 1).to_numpy()
        np.add.at(reads, rows, counts)
        label = pc.binary_join_element_wise(table.column("dataset"), table.column("run_id"), "/")
        coded = label.combine_chunks().dictionary_encode()
        numbers = []
        for text in coded.dictionary.to_pylist():
            if text not in runs:
                runs[text] = len(runs)
                of_run.append(datasets.setdefault(text.partition("/")[0], len(datasets)))
            numbers.append(runs[text])
        pieces.append((rows, np.array(numbers, np.int64)[coded.indices.to_numpy()]))
    pairs = _distinct([np.stack(piece, axis=1) for piece in pieces])
    row, dataset = _distinct([np.stack([pairs[:, 0], np.array(of_run, np.int64)[pairs[:, 1]]], axis=1)]).T
    dataset_of = np.zeros(collection.rows, np.int64)
    dataset_of[row] = dataset
    dataset_of[np.bincount(row, minlength=collection.rows) > 1] = len(datasets)
    lineages, lineage = _named(labels.lineages, labels.main, assigned)
    return RowFacts(
        lineages=lineages,
        lineage=lineage,
        markers=labels.markers,
        marker=labels.marker,
        datasets=[*datasets, SEVERAL],
        dataset=dataset_of,
        runs=list(runs),
        pairs=pairs,
        records=np.diff(collection.starts).astype(np.int64),
        reads=reads,
    )


def _named(
    lineages: list[Lineage], main: npt.NDArray[np.int64], assigned: RowNames | None
) -> tuple[list[Lineage], npt.NDArray[np.int64]]:
    """Return the lineages and the lineage number of each row; assignments are used for rows without a lineage."""
    if assigned is None:
        return lineages, main
    numbers = {lineage: number for number, lineage in enumerate(lineages)}
    added = []
    for text in assigned.lineages:
        kingdom, phylum, class_, order, family, genus, species = text.split(";")
        lineage = (kingdom, phylum, class_, order, family, genus, species)
        added.append(numbers.setdefault(lineage, len(numbers)))
    # The last item is for rows without a name.
    of_row = np.array([*added, -1], np.int64)[assigned.lineage]
    return list(numbers), np.where(main < 0, of_row, main)


def _distinct(pairs: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return each pair of numbers once, in ascending order, int64, shape (n, 2)."""
    return np.unique(np.concatenate([np.zeros((0, 2), np.int64), *pairs]), axis=0)


def first_ids(collection: Collection, rows: npt.NDArray[np.int64]) -> list[str]:
    """Return the id of the first record of each row; empty if it has none (folders of older tools)."""
    if "id" not in collection.record_schema.names:
        return [""] * len(rows)
    positions = np.asarray(collection.positions[collection.starts[rows]], np.int64)
    ids: Sequence[str | None] = collection.take_records(positions, ["id"]).column("id").to_pylist()
    return [name or "" for name in ids]
