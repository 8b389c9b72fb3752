"""Search in a LanceDB table: with its index if it has one, else in one exact pass over all vectors.

A hit is a distinct sequence, regardless of the number of rows that contain it. Both ways return the same hits in the
same order: similarities are recomputed from the stored vectors, and ties are in the order of the sequences' digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ednabed.base.arrays import FloatArray
from ednabed.base.topk import DIGITS
from ednabed.errors import UsageError
from ednabed.search.table_hits import Found, Hits, OpenedTable, digest_keys, digest_texts, digests_of, hits_of
from ednabed.store.table import ID, SEQUENCE, Database, VectorColumns, lance_errors, vector_dimension
from ednabed.store.table_index import SMALL_ROWS, IndexInfo, find_index, rows_to_fetch, search_index
from ednabed.store.table_nearest import (
    ROW_ID,
    TIE,
    NearestKeys,
    Numbers,
    cosines,
    read_filter,
    scan_rows,
    take_rows,
    usable,
)
from ednabed.store.table_spec import spec_of_column, spec_of_table

__all__ = ["search_table", "spec_of_table"]

# If more rows than this belong to few sequences, they are counted in an exact pass.
_MAX_FETCHED = 4096
_FETCHED_AT_ONCE = 65_536
_QUERIES_AT_ONCE = 256


def search_table(
    database: Database,
    queries: FloatArray,
    k: int,
    *,
    columns: VectorColumns | None = None,
    exact: bool = False,
    exclude: Sequence[str | None] | None = None,
    where: str | None = None,
    min_similarity: float | None = None,
) -> tuple[list[Hits], str | None]:
    """Find the sequences of a table that are most similar to each query.

    Args:
        database: Database that contains the table.
        queries: Vectors by the function of the column (``spec_of_table``), float32, shape (q, d), of any length.
        k: Number of hits per query; a smaller table returns all its sequences.
        columns: Vector column and its companion columns; None is ``vector``.
        exact: Do not use the index.
        exclude: For each query, the digest of a sequence that is excluded from its hits, or None.
        where: Condition in Lance's SQL on the columns of the table; only rows that fulfil it are searched.
        min_similarity: Minimum cosine of a hit.

    Returns:
        The hits of each query, most similar first, one per distinct sequence: rank (from 1), similarity (cosine),
        distance (1 - similarity), id (of the first row of the sequence, by id), dataset, run_id and seq_idx (None),
        sample, abundance, lineage (of that row; None if the table has no such column), occurrences (number of searched
        rows with this sequence), length (of the normalised sequence), source, source_file (the address), sequence
        (normalised; empty if it can no longer be normalised).

        Also a notice if exact search replaced an index that a table of this size should have, else None.

    Raises:
        UsageError: The queries do not fit the column, are zero or not finite, or ``k`` is below 1.
        StoreError: As for ``spec_of_table``, or the filter is not a condition on the columns of the table.
    """
    columns = VectorColumns() if columns is None else columns
    table = database.open()
    spec = spec_of_column(database, table, columns)
    dimension = vector_dimension(database, table, columns) or 0
    queries = np.asarray(queries, np.float32)
    excluded = list(exclude) if exclude is not None else [None] * len(queries)
    if queries.ndim != 2 or queries.shape[1] != dimension or len(excluded) != len(queries):
        raise UsageError(
            f"{database.address}, column '{columns.vector}' has {dimension} dimensions; the queries have shape "
            f"{queries.shape} with {len(excluded)} sequences to exclude, expected (q, {dimension}) and q"
        )
    if k < 1:
        raise UsageError(f"{k} hits per query were requested; request at least 1")
    bad = np.flatnonzero(~usable(queries))
    if len(bad):
        raise UsageError(f"query vector {bad[0]} is zero or not finite, so nothing is similar to it; embed it again")
    if not len(queries):
        return [], None
    with lance_errors(database.address):
        rows = searched = table.count_rows()
    condition = None
    if where is not None:
        condition, searched = read_filter(database, table, where)
    opened = OpenedTable(database, table, columns, dimension, spec.alphabet, condition)
    info, why = (None, None) if exact else find_index(database, table, columns, spec)
    notice = None
    if info is None and not exact and (why is not None or rows > SMALL_ROWS):
        notice = (
            f"{database.address}: exact search over {searched:,} rows, because column '{columns.vector}' "
            f"{'has no index' if why is None else 'cannot use its index (' + why + ')'}; build one with "
            "'ednabed table index'"
        )
    needed = k + any(excluded)
    # Comparing few rows is faster than searching the index of all rows.
    if info is None or (condition is not None and searched <= SMALL_ROWS):
        found = _exact(opened, queries, needed)
    else:
        found = _by_index(opened, info, queries, needed)
    chosen = [
        [
            f
            for f in of_query
            if f.digest != left_out and (min_similarity is None or round(f.similarity, DIGITS) >= min_similarity)
        ][:k]
        for of_query, left_out in zip(found, excluded, strict=True)
    ]
    return hits_of(opened, chosen), notice


def _exact(opened: OpenedTable, queries: FloatArray, k: int) -> list[list[Found]]:
    """Return at least the ``k`` most similar sequences of each query, in one pass over all vectors."""
    nearest = NearestKeys(queries, k)
    all_keys, all_rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for batch in scan_rows(opened.database, opened.table, [SEQUENCE, opened.columns.vector], opened.where):
        vectors = opened.vectors(batch)
        good = usable(vectors)
        keys = digest_keys(digests_of(batch.column(SEQUENCE), opened.alphabet))[good]
        nearest.add(keys, vectors[good])
        all_keys.append(keys)
        all_rows.append(batch.column(ROW_ID).to_numpy().astype(np.uint64)[good])
    keys_of_query = [nearest.found(i) for i in range(len(queries))]
    first, counts = _first_rows(
        opened, np.concatenate(all_keys), np.concatenate(all_rows), np.concatenate(keys_of_query)
    )
    found = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        batch_keys = keys_of_query[start : start + _QUERIES_AT_ONCE]
        distinct = np.unique(np.concatenate(batch_keys))
        rows = np.array([first[key] for key in distinct.tolist()], np.uint64)
        part = take_rows(opened.database, opened.table, rows, [SEQUENCE, opened.columns.vector])
        vectors, digests = opened.vectors(part), digest_texts(part.column(SEQUENCE), opened.alphabet)
        for query, keys in zip(queries[start : start + _QUERIES_AT_ONCE], batch_keys, strict=True):
            indices = np.searchsorted(distinct, keys)
            scores = cosines(np.broadcast_to(query, (len(keys), len(query))), vectors[indices])
            listed = [
                Found(digests[i], score, counts[key], first[key])
                for i, score, key in zip(indices.tolist(), scores.tolist(), keys.tolist(), strict=True)
            ]
            found.append(sorted(listed, key=lambda f: f.order))
    return found


def _first_rows(
    opened: OpenedTable, keys: Numbers, rows: Numbers, requested: Numbers
) -> tuple[dict[int, int], dict[int, int]]:
    """Return, for each of the requested sequences, its first row by id and the number of its rows."""
    inside = np.isin(keys, requested)
    keys, rows = keys[inside], rows[inside]
    distinct, counts = np.unique(keys, return_counts=True)
    order = np.argsort(rows)
    keys, rows = keys[order], rows[order]
    first: dict[int, tuple[str, int]] = {}
    for batch in scan_rows(opened.database, opened.table, [ID]) if len(rows) else ():
        batch_rows = batch.column(ROW_ID).to_numpy().astype(np.uint64)
        indices = np.minimum(np.searchsorted(rows, batch_rows), len(rows) - 1)
        matches = np.flatnonzero(rows[indices] == batch_rows)
        for key, id_, row in zip(
            keys[indices[matches]].tolist(),
            batch.column(ID).take(pa.array(matches)).to_pylist(),
            batch_rows[matches].tolist(),
            strict=True,
        ):
            first[key] = min(first.get(key, (id_, row)), (id_, row))
    return {key: row for key, (_, row) in first.items()}, dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def _by_index(opened: OpenedTable, info: IndexInfo, queries: FloatArray, k: int) -> list[list[Found]]:
    """Return at least the ``k`` most similar sequences of each query, using the index."""
    found: dict[int, list[Found]] = {}
    pending = np.arange(len(queries))
    limit = rows_to_fetch(k)
    # The settings were measured for ten hits; more hits are spread over more lists.
    info = replace(info, nprobes=min(info.lists, int(np.ceil(info.nprobes * max(1.0, k / 10)))))
    if opened.where is not None:
        # Rows that fulfil a filter may be in any list, far from the query: searching only the lists near the query, a
        # filter for insects found 72 % of its hits.
        info = replace(info, nprobes=info.lists, refine_factor=4 * info.refine_factor)
    while len(pending) and limit <= _MAX_FETCHED:
        step = max(1, min(_QUERIES_AT_ONCE, _FETCHED_AT_ONCE // limit))
        for start in range(0, len(pending), step):
            selected = pending[start : start + step]
            names = [ID, SEQUENCE, opened.columns.vector]
            part = search_index(
                opened.database, opened.table, opened.columns, info, queries[selected], limit, names, opened.where
            )
            fetched_rows = np.bincount(part.column("query_index").to_numpy(), minlength=len(selected))
            part = part.filter(pa.array(usable(opened.vectors(part))))
            vectors = opened.vectors(part)
            digests, ids = digest_texts(part.column(SEQUENCE), opened.alphabet), part.column(ID).to_pylist()
            rows, query_of = part.column(ROW_ID).to_pylist(), part.column("query_index").to_numpy()
            scores = cosines(queries[selected][query_of], vectors)
            for i, query in enumerate(selected.tolist()):
                of_query = np.flatnonzero(query_of == i)
                complete = fetched_rows[i] < limit and info.nprobes == info.lists
                # A sequence as near as the last row may have more rows beyond it.
                edge = -np.inf if complete or not len(of_query) else float(scores[of_query].min()) + TIE
                groups: dict[str, list[int]] = {}
                for index in of_query.tolist():
                    groups.setdefault(digests[index], []).append(index)
                listed = []
                for name, indices in groups.items():
                    best = min(indices, key=lambda j: (ids[j], rows[j]))
                    if scores[best] > edge:
                        listed.append(Found(name, float(scores[best]), len(indices), rows[best]))
                if len(listed) >= k or complete:
                    found[query] = sorted(listed, key=lambda f: f.order)
        pending = np.array([i for i in pending.tolist() if i not in found], np.int64)
        limit *= 4
        info = replace(info, nprobes=min(info.lists, 4 * info.nprobes))
    for query, listed in zip(
        pending.tolist(), _exact(opened, queries[pending], k) if len(pending) else [], strict=True
    ):
        found[query] = listed
    return [found[i] for i in range(len(queries))]
