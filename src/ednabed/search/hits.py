"""Search a collection for the hits of queries, filter them, and describe each hit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.topk import DIGITS
from ednabed.errors import UsageError
from ednabed.reference.collection import Collection
from ednabed.search.align import align, too_long
from ednabed.search.choice import Choice, chosen_records, rows_with
from ednabed.search.hit import RECORD_COLUMNS, Hit
from ednabed.search.queries import Query, QueryBatch

LineageLookup = Callable[[npt.NDArray[np.int64], Sequence[str | None]], list[str | None]]
"""Returns lineages for records without a lineage, by row and id; None where unknown."""

log = logging.getLogger("ednabed")

HITS_AT_ONCE = 100_000
"""Maximum number of hits in memory at once."""


@dataclass(frozen=True)
class SearchOptions:
    """Which hits are requested, and their content.

    Attributes:
        k: Maximum hits per query, counted in distinct sequences.
        exact: Compare with every vector, even if there is an index.
        exclude_self: Exclude the query's own sequence.
        exclude_runs: Exclude the records of these runs (``dataset/run_id``); a sequence that also occurs elsewhere is
            kept, with its other records.
        datasets: Use only the records of these datasets; empty uses all.
        min_similarity: Minimum cosine; None accepts all.
        where: Filter on the columns of the records (``search.where``); None accepts all.
        occurrences: One hit per record instead of one per distinct sequence.
        max_records: With ``occurrences``, the maximum number of records per sequence; None takes all.
        align: Add the alignment of the query to each hit.
        sequences: Add the sequence of each hit.
        columns: Further columns of the records to add to each hit, such as coordinates.
    """

    k: int = 10
    exact: bool = False
    exclude_self: bool = False
    exclude_runs: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    min_similarity: float | None = None
    where: str | None = None
    occurrences: bool = False
    max_records: int | None = None
    align: bool = False
    sequences: bool = False
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if self.k < 1:
            raise UsageError(f"`top_k` is {self.k}; it must be at least 1")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise UsageError(f"`min_similarity` is {self.min_similarity}; a cosine is between -1 and 1")


class Search:
    """A search in a collection with fixed options.

    Args:
        collection: The collection to search.
        options: Which hits to return.
        lineages_of: Lineages for records without a lineage; None for no such lookup.

    Raises:
        UsageError: The filter is not valid, or uses a column that no record has.
        StoreError: A given dataset or run does not exist.
    """

    def __init__(
        self, collection: Collection, options: SearchOptions, lineages_of: LineageLookup | None = None
    ) -> None:
        self.collection = collection
        self.options = options
        self._lineages_of = lineages_of
        choice = Choice(datasets=options.datasets, exclude_runs=options.exclude_runs, where=options.where)
        self._chosen = chosen_records(collection, choice)
        self._allowed = None if self._chosen is None else rows_with(collection, self._chosen)
        schema = collection.record_schema
        self._warned = False
        columns = dict.fromkeys((*RECORD_COLUMNS, *options.columns))
        self._columns = [name for name in columns if name in schema.names]
        requested = {
            "columns": bool(options.columns),
            "lineage_from": lineages_of is not None,
            "alignment": options.align,
            "sequence": options.sequences,
        }
        self._requested = tuple(name for name, is_requested in requested.items() if is_requested)

    def run(self, batch: QueryBatch) -> Iterator[tuple[Query, list[Hit]]]:
        """Yield each query of a batch with its hits, most similar first, in the order of the batch.

        A hit is described by the first record of its sequence, by dataset, run and number. With ``lineages_of``, a
        record without a lineage gets one from there. With ``occurrences``, each record of a distinct sequence is a hit,
        all with the rank of the sequence.
        """
        # The more hits per query, the fewer queries are held at once.
        step = max(1, HITS_AT_ONCE // self.options.k)
        for first in range(0, len(batch.queries), step):
            yield from self._run(batch.part(first, first + step))

    def _run(self, batch: QueryBatch) -> Iterator[tuple[Query, list[Hit]]]:
        query, row, score = self._found(batch)
        rows, inverse = np.unique(row, return_inverse=True)
        details = self._details(rows)
        sequences: list[str | None] = []
        if self.options.align or self.options.sequences:
            sequences = self.collection.take_sequences(rows).column("sequence").to_pylist()
        bounds = np.searchsorted(query, np.arange(len(batch.queries) + 1)).tolist()
        indices, scores = inverse.tolist(), score.tolist()
        for number, asked in enumerate(batch.queries):
            part = slice(bounds[number], bounds[number + 1])
            yield asked, self._hits(asked, indices[part], scores[part], details, sequences)

    def _found(self, batch: QueryBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return indices in the batch, rows and cosines of all hits, in order of query and then rank.

        Cosines are rounded to the number of digits at which two of them count as equal, so they never increase from one
        rank to the next, and the cosine of a sequence with itself is 1.
        """
        options = self.options
        k = options.k + (1 if options.exclude_self else 0)
        searchable = np.array(batch.searchable, np.int64)
        query_keys = np.array([batch.queries[index].key or 0 for index in batch.searchable], np.uint64)
        parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        for query, row, score in self.collection.search(batch.vectors, k, allowed=self._allowed, exact=options.exact):
            cosine = np.asarray(np.round(score.astype(np.float64), DIGITS), np.float64)
            kept = np.ones(len(query), bool)
            if options.exclude_self:
                kept &= self.collection.keys[row] != query_keys[query]
            if options.min_similarity is not None:
                kept &= cosine >= options.min_similarity
            query, row, cosine = query[kept], row[kept], cosine[kept]
            first = np.arange(len(query)) - np.searchsorted(query, query) < options.k
            parts.append((searchable[query[first]], row[first], cosine[first]))
        query, row, cosine = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return query, row, cosine

    def _hits(
        self,
        query: Query,
        indices: list[int],
        scores: list[float],
        details: list[list[dict[str, Any]]],
        sequences: list[str | None],
    ) -> list[Hit]:
        """Return the hits of one query; ``indices`` are the indices of its rows in ``details`` and ``sequences``."""
        alignments: list[Any] = [None] * len(indices)
        if self.options.align and query.sequence is not None:
            known = [(i, target) for i, index in enumerate(indices) if (target := sequences[index]) is not None]
            found = align(query.sequence, [target for _, target in known])
            for (i, target), alignment in zip(known, found, strict=True):
                alignments[i] = alignment
                if alignment is None and too_long(len(query.sequence), len(target)) and not self._warned:
                    self._warned = True
                    log.warning(
                        "%s: its sequence and the sequence of a hit are too long to align (over 1.2 GB of memory), so "
                        "such hits have no identity",
                        query.info.get("id"),
                    )
        hits = []
        for rank, (index, score, alignment) in enumerate(zip(indices, scores, alignments, strict=True), start=1):
            sequence = sequences[index] if self.options.sequences else None
            for record in details[index]:
                hits.append(
                    Hit(
                        rank, score, round(1 - score, DIGITS), **record,
                        alignment=alignment, sequence=sequence, requested=self._requested,
                    )
                )  # fmt: skip
        return hits

    def _details(self, rows: npt.NDArray[np.int64]) -> list[list[dict[str, Any]]]:
        """Return the attributes that describe each row in a hit: of its first record, or of all its records."""
        collection = self.collection
        sizes = collection.starts[rows + 1] - collection.starts[rows]
        index_of = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(index_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        positions = np.asarray(collection.positions[np.repeat(collection.starts[rows], sizes) + within], np.int64)
        if self._chosen is not None:
            index_of, positions = index_of[self._chosen[positions]], positions[self._chosen[positions]]
        counts = np.bincount(index_of, minlength=len(rows)).tolist()
        datasets: list[dict[str, int]] = [{} for _ in rows]
        names, of_part = np.unique(np.array(collection.part_datasets, object), return_inverse=True)
        codes = of_part[collection.parts_of(positions)]
        pairs, sums = np.unique(index_of * len(names) + codes, return_counts=True)
        for pair, total in zip(pairs.tolist(), sums.tolist(), strict=True):
            if names[pair % len(names)]:
                datasets[pair // len(names)][names[pair % len(names)]] = total
        limit = self.options.max_records if self.options.occurrences else 1
        if limit is not None:
            shown = np.arange(len(index_of)) - np.searchsorted(index_of, index_of) < limit
            index_of, positions = index_of[shown], positions[shown]
        details: list[list[dict[str, Any]]] = [[] for _ in rows]
        table = collection.take_records(positions, self._columns)
        for index, record in zip(index_of.tolist(), table.to_pylist(), strict=True):
            found = {key: record.get(key) for key in RECORD_COLUMNS}
            found |= {"occurrences": counts[index], "datasets": datasets[index]}
            if self.options.columns:
                found["columns"] = {key: record.get(key) for key in self.options.columns}
            details[index].append(found)
        if self._lineages_of is not None:
            self._name([record for records in details for record in records], rows[index_of], self._lineages_of)
        return details

    def _name(self, records: list[dict[str, Any]], rows: npt.NDArray[np.int64], lineages_of: LineageLookup) -> None:
        """Look up lineages for records without one."""
        for record in records:
            record["lineage_from"] = None if record["lineage"] is None else "record"
        nameless = [index for index, record in enumerate(records) if record["lineage"] is None]
        found = lineages_of(rows[nameless], [records[index]["id"] for index in nameless]) if nameless else []
        for index, lineage in zip(nameless, found, strict=True):
            if lineage is not None:
                records[index] |= {"lineage": lineage, "lineage_from": "assignment"}
