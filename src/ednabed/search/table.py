"""Search in a LanceDB table: by its index where it has one, else by one exact pass over all vectors.

A hit is a distinct sequence, whatever the number of rows that hold it. Both ways give the same hits in the same order:
similarities are computed again from the stored vectors, and ties stand in the order of the sequences' digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ednabed.errors import UsageError
from ednabed.models.base import FloatArray
from ednabed.reference.topk import DIGITS
from ednabed.search.table_hits import Found, Hits, OpenedTable, digest_keys, digest_texts, digests_of, hits_of
from ednabed.store.table import ID, SEQUENCE, Database, VectorColumns, lance_errors, vector_dimension
from ednabed.store.table_index import SMALL_ROWS, IndexInfo, ask_index, fetched, find_index
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

# More rows of few sequences than these are counted by an exact pass.
_MOST_FETCHED = 4096
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
        database: Where the table is.
        queries: Vectors by the function of the column (``spec_of_table``), float32, shape (q, d), of any length.
        k: Hits wanted a query; a smaller table gives all it has.
        columns: Vector column and companions; None is ``vector``.
        exact: Leave the index aside.
        exclude: For each query the digest of a sequence that is no hit of it, or None.
        where: Condition in Lance's SQL on the columns of the table; only rows that fulfil it are searched.
        min_similarity: Least cosine of a hit.

    Returns:
        For each query its hits, most similar first, one a distinct sequence: rank (from 1), similarity (cosine),
        distance (1 - similarity), id (of the first row of the sequence, by id), dataset, run_id and seq_idx (None),
        sample, abundance, lineage (of that row; None where the table has no such column), occurrences (rows with this
        sequence among those searched), length (of the normalised sequence), source, source_file (the address),
        sequence (normalised letters; none where they cannot be normalised any more).

        And a notice where exact search stood in for an index that a table of this size should have, else None.

    Raises:
        UsageError: The queries do not fit the column, are zero or not finite, or ``k`` is below 1.
        StoreError: As ``spec_of_table``, or the filter is no condition on the columns of the table.
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
            f"{queries.shape} with {len(excluded)} sequences to leave out, wanted (q, {dimension}) and q"
        )
    if k < 1:
        raise UsageError(f"{k} hits are wanted a query; ask for at least 1")
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
            f"{'has no index' if why is None else 'cannot use its index (' + why + ')'}; build one by "
            "'ednabed table index'"
        )
    room = k + any(excluded)
    # Few rows are compared sooner than found by an index of all.
    if info is None or (condition is not None and searched <= SMALL_ROWS):
        found = _exact(opened, queries, room)
    else:
        found = _by_index(opened, info, queries, room)
    chosen = [
        [
            f
            for f in own
            if f.digest != left_out and (min_similarity is None or round(f.similarity, DIGITS) >= min_similarity)
        ][:k]
        for own, left_out in zip(found, excluded, strict=True)
    ]
    return hits_of(opened, chosen), notice


def _exact(opened: OpenedTable, queries: FloatArray, k: int) -> list[list[Found]]:
    """Return the ``k`` most similar sequences of each query, or some more, by one pass over all vectors."""
    nearest = NearestKeys(queries, k)
    all_keys, all_rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for batch in scan_rows(opened.database, opened.table, [SEQUENCE, opened.columns.vector], opened.where):
        vectors = opened.vectors(batch)
        good = usable(vectors)
        keys = digest_keys(digests_of(batch.column(SEQUENCE), opened.alphabet))[good]
        nearest.add(keys, vectors[good])
        all_keys.append(keys)
        all_rows.append(batch.column(ROW_ID).to_numpy().astype(np.uint64)[good])
    own = [nearest.found(i) for i in range(len(queries))]
    first, counts = _first_rows(opened, np.concatenate(all_keys), np.concatenate(all_rows), np.concatenate(own))
    found = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = own[start : start + _QUERIES_AT_ONCE]
        numbers = np.unique(np.concatenate(some))
        rows = np.array([first[key] for key in numbers.tolist()], np.uint64)
        part = take_rows(opened.database, opened.table, rows, [SEQUENCE, opened.columns.vector])
        vectors, digests = opened.vectors(part), digest_texts(part.column(SEQUENCE), opened.alphabet)
        for query, keys in zip(queries[start : start + _QUERIES_AT_ONCE], some, strict=True):
            places = np.searchsorted(numbers, keys)
            scores = cosines(np.broadcast_to(query, (len(keys), len(query))), vectors[places])
            listed = [
                Found(digests[p], s, counts[key], first[key])
                for p, s, key in zip(places.tolist(), scores.tolist(), keys.tolist(), strict=True)
            ]
            found.append(sorted(listed, key=lambda f: f.order))
    return found


def _first_rows(
    opened: OpenedTable, keys: Numbers, rows: Numbers, wanted: Numbers
) -> tuple[dict[int, int], dict[int, int]]:
    """Return, for each of the wanted sequences, its first row by id and the number of its rows."""
    inside = np.isin(keys, wanted)
    keys, rows = keys[inside], rows[inside]
    names, numbers = np.unique(keys, return_counts=True)
    order = np.argsort(rows)
    keys, rows = keys[order], rows[order]
    first: dict[int, tuple[str, int]] = {}
    for batch in scan_rows(opened.database, opened.table, [ID]) if len(rows) else ():
        own = batch.column(ROW_ID).to_numpy().astype(np.uint64)
        places = np.minimum(np.searchsorted(rows, own), len(rows) - 1)
        here = np.flatnonzero(rows[places] == own)
        for key, id_, row in zip(
            keys[places[here]].tolist(),
            batch.column(ID).take(pa.array(here)).to_pylist(),
            own[here].tolist(),
            strict=True,
        ):
            first[key] = min(first.get(key, (id_, row)), (id_, row))
    return {key: row for key, (_, row) in first.items()}, dict(zip(names.tolist(), numbers.tolist(), strict=True))


def _by_index(opened: OpenedTable, info: IndexInfo, queries: FloatArray, k: int) -> list[list[Found]]:
    """Return the ``k`` most similar sequences of each query, or some more, by the index."""
    found: dict[int, list[Found]] = {}
    pending = np.arange(len(queries))
    limit = fetched(k)
    # Settings were measured for ten hits; a list holds only so many.
    info = replace(info, nprobes=min(info.lists, int(np.ceil(info.nprobes * max(1.0, k / 10)))))
    if opened.where is not None:
        # What fulfils a filter may lie in any list, far from the query: with the lists near it alone, a filter for
        # insects found 72 % of what it should.
        info = replace(info, nprobes=info.lists, refine_factor=4 * info.refine_factor)
    while len(pending) and limit <= _MOST_FETCHED:
        step = max(1, min(_QUERIES_AT_ONCE, _FETCHED_AT_ONCE // limit))
        for start in range(0, len(pending), step):
            some = pending[start : start + step]
            names = [ID, SEQUENCE, opened.columns.vector]
            part = ask_index(
                opened.database, opened.table, opened.columns, info, queries[some], limit, names, opened.where
            )
            asked = np.bincount(part.column("query_index").to_numpy(), minlength=len(some))
            part = part.filter(pa.array(usable(opened.vectors(part))))
            vectors = opened.vectors(part)
            digests, ids = digest_texts(part.column(SEQUENCE), opened.alphabet), part.column(ID).to_pylist()
            numbers, own = part.column(ROW_ID).to_pylist(), part.column("query_index").to_numpy()
            scores = cosines(queries[some][own], vectors)
            for i, query in enumerate(some.tolist()):
                here = np.flatnonzero(own == i)
                all_of_it = asked[i] < limit and info.nprobes == info.lists
                # What is as near as the last row may have more rows beyond it.
                edge = -np.inf if all_of_it or not len(here) else float(scores[here].min()) + TIE
                groups: dict[str, list[int]] = {}
                for place in here.tolist():
                    groups.setdefault(digests[place], []).append(place)
                listed = []
                for name, places in groups.items():
                    best = min(places, key=lambda p: (ids[p], numbers[p]))
                    if scores[best] > edge:
                        listed.append(Found(name, float(scores[best]), len(places), numbers[best]))
                if len(listed) >= k or all_of_it:
                    found[query] = sorted(listed, key=lambda f: f.order)
        pending = np.array([i for i in pending.tolist() if i not in found], np.int64)
        limit *= 4
        info = replace(info, nprobes=min(info.lists, 4 * info.nprobes))
    for query, own_found in zip(
        pending.tolist(), _exact(opened, queries[pending], k) if len(pending) else [], strict=True
    ):
        found[query] = own_found
    return [found[i] for i in range(len(queries))]
