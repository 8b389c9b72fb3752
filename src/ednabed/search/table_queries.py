"""Queries against a LanceDB table, with the same options and results as a search in a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ednabed.errors import StoreError, UsageError
from ednabed.models.spec import Spec
from ednabed.search.align import align
from ednabed.search.hits import SearchOptions
from ednabed.search.queries import Query, QueryBatch
from ednabed.search.table import search_table
from ednabed.sequences import digest, normalise_one
from ednabed.store.table import ID, SEQUENCE, Database, VectorColumns
from ednabed.store.table_nearest import ROW_ID, scan_rows, take_rows, vectors_in


def by_table_id(database: Database, columns: VectorColumns, spec: Spec, record_id: str) -> QueryBatch:
    """Return the row of a table with a given id as a query.

    Raises:
        StoreError: There is no such row, or it has no vector.
    """
    table = database.open()
    found: list[int] = []
    for batch in scan_rows(database, table, [ID]):
        found += batch.filter(pc.equal(batch.column(ID), record_id)).column(ROW_ID).to_pylist()
    if not found:
        raise StoreError(f"{database.address} has no row with {ID} {record_id!r}")
    row = take_rows(database, table, np.array(found[:1], np.uint64), [ID, SEQUENCE, columns.vector])
    vectors = vectors_in(row, columns.vector, spec.dimension)
    if not vectors.any():
        raise StoreError(f"{database.address}: row {record_id!r} has no vector yet; run 'ednabed table embed'")
    sequence = normalise_one(row.column(SEQUENCE)[0].as_py(), spec.alphabet).decode()
    return QueryBatch([Query({"id": record_id, "length": len(sequence)}, None, sequence)], [0], vectors)


def check_options(options: SearchOptions) -> None:
    """Raise UsageError if an option is set that a table does not support."""
    for parameter, given in (
        ("datasets", options.datasets),
        ("exclude_runs", options.exclude_runs),
        ("occurrences", options.occurrences),
    ):
        if given:
            raise UsageError(f"`{parameter}` is for runs, which a table does not have; filter its columns with `where`")


def answer(
    database: Database,
    columns: VectorColumns,
    batches: Iterator[QueryBatch],
    options: SearchOptions,
    notices: list[str],
) -> Iterator[tuple[Query, list[dict[str, Any]]]]:
    """Yield each query with its hits (``search_table``), in order; notices for the user are added to ``notices``."""
    for batch in batches:
        sequences = [batch.queries[index].sequence for index in batch.searchable]
        exclude: Sequence[str | None] | None = None
        if options.exclude_self:
            exclude = [None if sequence is None else digest(sequence.encode()) for sequence in sequences]
        hits, notice = search_table(
            database,
            batch.vectors,
            options.k,
            columns=columns,
            exact=options.exact,
            exclude=exclude,
            where=options.where,
            min_similarity=options.min_similarity,
        )
        if notice is not None and notice not in notices:
            notices.append(notice)
        found = dict(zip(batch.searchable, hits, strict=True))
        for index, query in enumerate(batch.queries):
            yield query, _with_alignments(query, found.get(index, []), options.align)


def _with_alignments(query: Query, hits: list[dict[str, Any]], aligned: bool) -> list[dict[str, Any]]:
    sequences = [hit.pop("sequence") for hit in hits]
    if aligned:
        alignments = align(query.sequence, sequences) if query.sequence is not None else [None] * len(hits)
        for hit, alignment in zip(hits, alignments, strict=True):
            hit["alignment"] = alignment
    return hits
