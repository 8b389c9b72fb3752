"""From queries to hits: search a collection, leave out what was not asked for, and say what each hit is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import StoreError, UsageError
from ednabed.reference.collection import Collection
from ednabed.search.align import align
from ednabed.search.queries import Query, QueryBatch
from ednabed.search.where import parse_where

RECORD_KEYS = ("id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage")
"""What is told of the record behind a hit."""


@dataclass(frozen=True)
class Wanted:
    """What hits are wanted.

    Attributes:
        k: Most hits a query, counted in distinct sequences.
        exact: Compare with every vector, even where there is an index.
        exclude_self: Leave out the query's own sequence.
        exclude_runs: Leave out the records of these runs (``dataset/run_id``); a sequence that occurs elsewhere too
            stays, with its other records.
        datasets: Take the records of these datasets only; empty takes all.
        min_similarity: Least cosine; None takes all.
        where: Filter on the columns of the records (``search.where``); None takes all.
        occurrences: One hit a record instead of one a distinct sequence.
        align: Add the alignment of the query with each hit.
    """

    k: int = 10
    exact: bool = False
    exclude_self: bool = False
    exclude_runs: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    min_similarity: float | None = None
    where: str | None = None
    occurrences: bool = False
    align: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.k < 1:
            raise UsageError(f"top-k is {self.k}; it must be at least 1")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise UsageError(f"min-similarity is {self.min_similarity}; a cosine lies between -1 and 1")


class Search:
    """A collection with a choice of hits.

    Args:
        collection: Where to search.
        wanted: What hits.

    Raises:
        UsageError: The filter is not one, or names a column that no record has.
        StoreError: A dataset or run that was named is not there.
    """

    def __init__(self, collection: Collection, wanted: Wanted) -> None:
        self.collection = collection
        self.wanted = wanted
        self._chosen = _chosen_records(collection, wanted)
        self._allowed: npt.NDArray[np.bool_] | None = None
        if self._chosen is not None:
            per_row = np.concatenate([[0], np.cumsum(self._chosen[collection.positions])])
            self._counts = np.diff(per_row[collection.starts])
            self._allowed = self._counts > 0
        else:
            self._counts = np.diff(collection.starts)
        schema = collection.record_schema
        self._columns = [name for name in (*RECORD_KEYS, "length", "source", "source_file") if name in schema.names]

    def run(self, batch: QueryBatch) -> Iterator[tuple[Query, list[dict[str, Any]]]]:
        """Yield each query of a batch with its hits, in the order of the batch.

        A hit is a dict: rank (from 1), similarity (cosine), distance (1 - similarity), the keys of ``RECORD_KEYS`` of
        its first record (by dataset, run and number), occurrences (records with this sequence), datasets (name to
        number of records), length, source (input file) and source_file (file of its vector); with ``align`` also
        alignment, an ``Alignment`` or None. With ``occurrences`` each record of a hit is one, all with the rank of
        their sequence.
        """
        wanted = self.wanted
        k = wanted.k + (1 if wanted.exclude_self else 0)
        found: dict[int, list[tuple[int, float]]] = {}
        for query, row, score in self.collection.search(batch.vectors, k, allowed=self._allowed, exact=wanted.exact):
            own = np.array([batch.queries[batch.places[q]].key or 0 for q in query.tolist()], np.uint64)
            kept = np.ones(len(query), bool)
            if wanted.exclude_self:
                kept &= self.collection.keys[row] != own
            if wanted.min_similarity is not None:
                kept &= score >= wanted.min_similarity
            for q, r, s in zip(query[kept].tolist(), row[kept].tolist(), score[kept].tolist(), strict=True):
                hits = found.setdefault(batch.places[q], [])
                if len(hits) < wanted.k:
                    hits.append((r, s))
        details = self._details(sorted({r for hits in found.values() for r, _ in hits}))
        sequences = self._letters(list(details)) if wanted.align else {}
        for place, query_ in enumerate(batch.queries):
            yield query_, list(self._hits(query_, found.get(place, []), details, sequences))

    def _hits(
        self,
        query: Query,
        rows: list[tuple[int, float]],
        details: dict[int, list[dict[str, Any]]],
        sequences: dict[int, str | None],
    ) -> Iterator[dict[str, Any]]:
        alignments: list[Any] = [None] * len(rows)
        if self.wanted.align and query.sequence is not None:
            known = [i for i, (row, _) in enumerate(rows) if sequences[row] is not None]
            found = align(query.sequence, [str(sequences[rows[i][0]]) for i in known])
            for i, alignment in zip(known, found, strict=True):
                alignments[i] = alignment
        for rank, ((row, score), alignment) in enumerate(zip(rows, alignments, strict=True), start=1):
            for record in details[row]:
                hit = {"rank": rank, "similarity": score, "distance": 1 - score, **record}
                yield {**hit, "alignment": alignment} if self.wanted.align else hit

    def _details(self, rows: list[int]) -> dict[int, list[dict[str, Any]]]:
        """Return what is told of each row: its first record, or all of them."""
        collection = self.collection
        positions: list[npt.NDArray[np.int64]] = []
        for row in rows:
            own = collection.positions_of(row)
            if self._chosen is not None:
                own = own[self._chosen[own]]
            positions.append(own)
        shown = positions if self.wanted.occurrences else [own[:1] for own in positions]
        table = collection.take_records(np.concatenate([np.zeros(0, np.int64), *shown]), self._columns)
        records = iter(table.to_pylist())
        details: dict[int, list[dict[str, Any]]] = {}
        for row, own, some in zip(rows, positions, shown, strict=True):
            names, counts = np.unique(collection.datasets_of(own), return_counts=True)
            datasets = dict(zip(names.tolist(), counts.tolist(), strict=True))
            details[row] = []
            for _ in range(len(some)):
                record = next(records)
                details[row].append(
                    {key: record.get(key) for key in RECORD_KEYS}
                    | {"occurrences": int(self._counts[row]), "datasets": datasets}
                    | {key: record.get(key) for key in ("length", "source", "source_file")}
                )
        return details

    def _letters(self, rows: list[int]) -> dict[int, str | None]:
        table = self.collection.take_sequences(np.array(rows, np.int64))
        return dict(zip(rows, table.column("sequence").to_pylist(), strict=True))


def _chosen_records(collection: Collection, wanted: Wanted) -> npt.NDArray[np.bool_] | None:
    """Return which records are searched, bool, one a position; None for all."""
    if not (wanted.datasets or wanted.exclude_runs or wanted.where):
        return None
    where = None if wanted.where is None else parse_where(wanted.where)
    schema = collection.record_schema
    expression = None if where is None else where.expression(schema)
    columns = ["dataset", "run_id", *(sorted(where.columns) if where is not None else ())]
    chosen = np.zeros(len(collection.positions), bool)
    datasets: set[str] = set()
    runs: set[str] = set()
    for first, table in collection.scan_records(list(dict.fromkeys(columns))):
        kept = np.ones(table.num_rows, bool)
        names = table.column("dataset")
        labels = pc.binary_join_element_wise(names, table.column("run_id"), "/")
        datasets |= set(names.unique().to_pylist())
        runs |= set(labels.unique().to_pylist())
        if wanted.datasets:
            kept &= pc.is_in(names, pa.array(wanted.datasets, pa.string())).to_numpy()
        if wanted.exclude_runs:
            kept &= ~pc.is_in(labels, pa.array(wanted.exclude_runs, pa.string())).to_numpy()
        if expression is not None:
            numbered = table.append_column("__place", [np.arange(table.num_rows)])
            passed = np.zeros(table.num_rows, bool)
            passed[numbered.filter(expression).column("__place").to_numpy()] = True
            kept &= passed
        chosen[first : first + table.num_rows] = kept
    for kind, asked, there in (("dataset", wanted.datasets, datasets), ("run", wanted.exclude_runs, runs)):
        for name in asked:
            if name not in there:
                raise StoreError(
                    f"{collection.name} has no {kind} {name!r}; there are {', '.join(sorted(there)[:10])}"
                    + (" and more" if len(there) > 10 else "")
                )
    return chosen
