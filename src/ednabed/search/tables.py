"""Search in a LanceDB table: with its index if it has one, else in an exact pass over all vectors.

Both ways return the same hits in the same order: similarities are recomputed from the stored vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from ednabed.base.arrays import Ints
from ednabed.base.topk import lengths, usable
from ednabed.errors import StoreError, UsageError
from ednabed.reference.parts import keys_of
from ednabed.search.hit import Hit
from ednabed.search.hits import HITS_AT_ONCE, Search, SearchOptions
from ednabed.search.queries import Query, QueryBatch
from ednabed.search.where import parse_where
from ednabed.search.where_sql import text_literal
from ednabed.tables.collection import TableCollection, digests_of, found_by_index, normalised
from ednabed.tables.index import SMALL_ROWS, IndexInfo, find_index
from ednabed.tables.provenance import spec_of
from ednabed.tables.table import ID, SEQUENCE, Table, row_ids


class TableSearch:
    """A search in a table with fixed options, like ``Search`` in a reference.

    Args:
        table: The table.
        options: Which hits to return; those that concern runs do not apply.

    Attributes:
        spec: The function that computed the vectors.
        notices: Notices for the user, complete after the last batch.

    Raises:
        UsageError: An option does not apply to tables; or the filter is not valid, or uses a column that the table does
            not have.
        StoreError: As for ``spec_of``.
    """

    def __init__(self, table: Table, options: SearchOptions) -> None:
        for parameter, given in (
            ("datasets", options.datasets),
            ("exclude_runs", options.exclude_runs),
            ("occurrences", options.occurrences),
        ):
            if given:
                raise UsageError(
                    f"`{parameter}` is for runs, which a table does not have; filter its columns with `where`"
                )
        self.spec = spec_of(table)
        self.notices: list[str] = []
        self._table = table
        self._where = None if options.where is None else parse_where(options.where).sql(table.schema)
        self._options = replace(options, where=None)
        searched = table.count(self._where)
        self._index, why = (None, None) if options.exact else find_index(table, self.spec)
        self._notice = None
        if self._index is None and not options.exact and (why is not None or table.count() > SMALL_ROWS):
            self._notice = (
                f"{table.database.address}: exact search over {searched:,} rows, because column "
                f"'{table.columns.vector}' {'has no index' if why is None else 'cannot use its index (' + why + ')'}; "
                "build one with 'ednabed table index'"
            )
        if self._where is not None and searched <= SMALL_ROWS:
            # Comparing few rows is faster than searching the index of all rows.
            self._index = None

    @cached_property
    def _exact(self) -> Search:
        """The search in all rows, which must all be read for it."""
        return Search(TableCollection(self._table, self.spec, self._where), self._options)

    def run(self, batch: QueryBatch) -> Iterator[tuple[Query, list[Hit]]]:
        """Yield each query of a batch with its hits, as ``Search.run`` does, in the order of the batch."""
        if self._notice is not None and batch.searchable and not self.notices:
            self.notices.append(self._notice)
        if self._index is None:
            if batch.searchable:
                yield from self._exact.run(batch)
            else:
                for query in batch.queries:
                    yield query, []
            return
        step = max(1, HITS_AT_ONCE // self._options.k)
        for first in range(0, len(batch.queries), step):
            yield from self._run(batch.part(first, first + step), self._index)

    def _run(self, batch: QueryBatch, index: IndexInfo) -> Iterator[tuple[Query, list[Hit]]]:
        hits: dict[int, list[Hit]] = {}
        uncounted = np.ones(len(batch.searchable), bool)
        k = self._options.k + self._options.exclude_self
        for numbers, rows in found_by_index(self._table, self.spec, index, batch.vectors, k, self._where):
            uncounted[numbers] = False
            hits |= _answered(Search(rows, self._options), batch, numbers)
        if uncounted.any():
            hits |= _answered(self._exact, batch, np.flatnonzero(uncounted))
        for number, query in enumerate(batch.queries):
            yield query, hits.get(number, [])


def _answered(search: Search, batch: QueryBatch, numbers: Ints) -> dict[int, list[Hit]]:
    """Search for some of the searchable queries of a batch; return their hits by index in the batch."""
    indices = [batch.searchable[number] for number in numbers.tolist()]
    part = QueryBatch([batch.queries[i] for i in indices], list(range(len(indices))), batch.vectors[numbers])
    return {index: hits for index, (_, hits) in zip(indices, search.run(part), strict=True)}


def by_row_id(table: Table, record_id: str) -> QueryBatch:
    """Return the row of a table with a given id as a query.

    Raises:
        StoreError: There is no such row, or it has no vector.
    """
    address = table.database.address
    found = [row for batch in table.scan([ID], f"{ID} = {text_literal(record_id)}") for row in row_ids(batch)]
    if not found:
        raise StoreError(f"{address} has no row with {ID} {record_id!r}")
    row = table.take(np.array(found[:1], np.int64), [SEQUENCE, table.columns.vector])
    vectors = table.vectors(row)
    if not usable(lengths(vectors))[0]:
        if not vectors.any():
            raise StoreError(f"{address}: row {record_id!r} has no vector yet; run 'ednabed table embed'")
        raise StoreError(
            f"{address}: the vector of row {record_id!r} is not finite, so nothing is similar to it; run "
            "'ednabed table embed --no-resume'"
        )
    alphabet = spec_of(table).alphabet
    column = row.column(SEQUENCE).combine_chunks()
    sequence = normalised(column[0].as_py(), alphabet)
    info = {"id": record_id, "length": len(sequence or "")}
    key = int(keys_of(digests_of(column, alphabet))[0])
    return QueryBatch([Query(info, key, sequence)], [0], vectors)
