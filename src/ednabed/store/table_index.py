"""Build an index on the vectors of a LanceDB table, measure it against exact search, and query it.

The index is LanceDB's IVF_RQ (RaBitQ codes of two bits per dimension; Gao et al., SIGMOD 2024 and 2025), whose
candidates are compared again using the vectors themselves (``refine_factor``). On 104,000 COI barcodes with ``kmer6``,
it was as fast as IVF_SQ and IVF_FLAT at the same recall, at a third and a thirteenth of their size. The numbers of
lists to visit and candidates to compare are measured once and stored with the vector column.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.arrays import FloatArray
from ednabed.base.stored_json import BadJson, parse_json, require, typed
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.store.table import (
    TABLE,
    Database,
    VectorColumns,
    lance_errors,
    vector_dimension,
)
from ednabed.store.table_nearest import (
    NO_KEY,
    ROW_ID,
    TIE,
    NearestKeys,
    Numbers,
    cosines,
    scan_rows,
    take_rows,
    usable,
    vectors_in,
)
from ednabed.store.table_spec import embedded_rows, spec_of_column

INDEX_KEY = "ednabed.index"
"""Metadata key of a vector column for the properties of its index, as JSON."""
SMALL_ROWS = 20_000
"""Up to this number of rows, an exact pass takes a few tenths of a second and an index gains nothing."""

_SCHEMA = 1
_NEIGHBOURS = 10
_TARGET_RECALL = 0.99
_SAMPLE = 200
_SEED = 20261122
_ROWS_PER_LIST = 2048
_MAX_LISTS = 1024
_QUERIES = 64
# A stranger is a row's vector plus twice as much noise, about as far from its nearest row as a barcode with a fifth of
# its bases changed. Measured settings therefore also suit queries unlike the table; settings for its own rows alone
# found only 67 % for them.
_NOISE = 2.0
_WIDTHS = (
    (8, 4), (16, 4), (32, 4), (64, 4), (64, 8), (64, 16), (128, 16), (256, 16), (256, 32), (512, 32), (1024, 64)
)  # fmt: skip
"""Lists visited, and candidates compared per requested row, from fast to thorough."""


@dataclass(frozen=True)
class IndexInfo:
    """The properties of an index, or the number of rows if none was built.

    Attributes:
        address: Location of the table.
        vector_column: Name of the indexed column.
        rows: Rows with a vector when the index was built.
        built: Whether there is an index; otherwise the fields below are None or 0.
        name: Name of the index in LanceDB.
        kind: Type of the index in LanceDB.
        lists: Number of inverted lists.
        nprobes: Lists visited by a search.
        refine_factor: Candidates per requested row that are compared using their vectors.
        recall: Share of the ten nearest other rows that were found, over a sample; None if there was nothing to
            measure.
        recall_strangers: The same for queries that are unlike all rows.
        measured_on: Rows in the sample.
        fingerprint: Fingerprint of the function that computed the vectors.
        date: Time at which the index was built, UTC, ISO 8601.
        seconds: Time taken to build and measure it.
    """

    address: str
    vector_column: str
    rows: int
    built: bool
    name: str | None = None
    kind: str | None = None
    lists: int = 0
    nprobes: int = 0
    refine_factor: int = 0
    recall: float | None = None
    recall_strangers: float | None = None
    measured_on: int = 0
    fingerprint: str | None = None
    date: str | None = None
    seconds: float = 0.0

    @property
    def reached(self) -> bool:
        """Whether both recalls reach the target of 0.99."""
        return all(recall is None or recall >= _TARGET_RECALL for recall in (self.recall, self.recall_strangers))


def build_index(database: Database, columns: VectorColumns | None = None, *, force: bool = False) -> IndexInfo:
    """Build the index of a vector column, and measure how widely it must be searched.

    The sample contains at most 200 rows. The index is compared with exact search for the ten nearest *other* rows of
    each, and for the ten nearest rows of an equal number of strangers. A hit is correct if it is at least as similar as
    the tenth, so that ties do not count as errors.

    Args:
        database: Location of the table.
        columns: Vector column and companions; None is ``vector``.
        force: Also build the index for a small table.

    Returns:
        The index. Without ``force``, a table of at most ``SMALL_ROWS`` embedded rows is not indexed, and ``built`` is
        False.

    Raises:
        StoreError: See ``spec_of_table``; or another program has created an index on the same column, or another writer
            was using the table.
    """
    from lancedb.index import IvfFlat, IvfRq

    columns = VectorColumns() if columns is None else columns
    started = time.monotonic()
    table = database.open()
    spec = spec_of_column(database, table, columns)
    rows = embedded_rows(database, table, columns, spec)
    info = IndexInfo(database.address, columns.vector, len(rows), built=False, fingerprint=spec.fingerprint)
    if len(rows) <= SMALL_ROWS and not force:
        return info
    name = f"{columns.vector}_idx"
    with lance_errors(database.address):
        others = [i.name for i in table.list_indices() if columns.vector in i.columns and i.name != name]
    if others:
        raise StoreError(
            f"{database.address}, table '{TABLE}': column '{columns.vector}' has the index {others[0]!r} of another "
            f"program, and LanceDB could use either; drop it in Python with table.drop_index({others[0]!r})"
        )
    # The recall of an index without measured settings is unknown, so they are removed first and written last.
    _write_metadata(database, table, columns, None)
    lists = int(max(1, min(_MAX_LISTS, 2 ** round(np.log2(max(1, len(rows) / _ROWS_PER_LIST))))))
    settings: dict[str, Any] = {"distance_type": "cosine", "num_partitions": lists, "max_iterations": 20}
    # RaBitQ supports only dimensions that are multiples of 8.
    config = IvfFlat(**settings) if spec.dimension % 8 else IvfRq(**settings, num_bits=2)
    with lance_errors(database.address):
        table.create_index(columns.vector, config=config, replace=True, name=name)
        kind = table.index_stats(name).index_type
    date = datetime.now(UTC).isoformat(timespec="seconds")
    info = replace(info, built=True, name=name, kind=kind, lists=lists, date=date)
    info = _measure(database, table, columns, info, rows)
    info = replace(info, seconds=round(time.monotonic() - started, 3))
    _write_metadata(database, table, columns, info)
    return info


def _measure(database: Database, table: Any, columns: VectorColumns, info: IndexInfo, rows: Numbers) -> IndexInfo:
    """Find the narrowest search that reaches recall 0.99 on a sample of ``rows``."""
    sample = np.random.default_rng(_SEED).choice(rows, min(_SAMPLE, len(rows)), replace=False)
    dimension = vector_dimension(database, table, columns) or 0
    vectors = vectors_in(take_rows(database, table, sample, [columns.vector]), columns.vector, dimension)
    good = usable(vectors)
    sample, vectors = sample[good], vectors[good]
    noise = np.random.default_rng(_SEED).normal(size=vectors.shape)
    noise *= _NOISE * np.linalg.norm(vectors, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    queries = np.concatenate([vectors, (vectors + noise).astype(np.float32)])
    # The row id of each query itself; a stranger has none.
    query_ids = np.concatenate([sample, np.full(len(sample), NO_KEY)])
    exact = NearestKeys(queries, _NEIGHBOURS + 1)
    count = 0
    for batch in scan_rows(database, table, [columns.vector]):
        block = vectors_in(batch, columns.vector, dimension)
        kept = usable(block)
        exact.add(batch.column(ROW_ID).to_numpy().astype(np.uint64)[kept], block[kept])
        count += int(kept.sum())
    k = min(_NEIGHBOURS, count - 1)
    if k < 1:
        return replace(info, nprobes=info.lists, refine_factor=_WIDTHS[0][1])
    min_cosine = np.empty(len(queries), np.float32)
    for i, query in enumerate(queries):
        nearest = exact.found(i)
        nearest = nearest[nearest != query_ids[i]]
        found = vectors_in(take_rows(database, table, nearest, [columns.vector]), columns.vector, dimension)
        min_cosine[i] = np.sort(cosines(np.broadcast_to(query, found.shape), found))[-k]
    for nprobes, factor in dict.fromkeys((min(nprobes, info.lists), factor) for nprobes, factor in _WIDTHS):
        info = replace(info, nprobes=nprobes, refine_factor=factor)
        part = search_index(database, table, columns, info, queries, rows_to_fetch(k), [columns.vector])
        query_of_hit = part.column("query_index").to_numpy()
        similarities = cosines(queries[query_of_hit], vectors_in(part, columns.vector, dimension))
        correct = similarities >= min_cosine[query_of_hit] - TIE
        correct &= part.column(ROW_ID).to_numpy() != query_ids[query_of_hit]
        shares = np.minimum(np.bincount(query_of_hit[correct], minlength=len(queries)), k) / k
        recall, strangers = (round(float(part.mean()), 4) for part in (shares[: len(sample)], shares[len(sample) :]))
        info = replace(info, recall=recall, recall_strangers=strangers, measured_on=len(sample))
        if info.reached:
            break
    return info


def _write_metadata(database: Database, table: Any, columns: VectorColumns, info: IndexInfo | None) -> None:
    """Store the properties of the index with the vector column; None removes them."""
    exists = INDEX_KEY.encode() in (table.schema.field(columns.vector).metadata or {})
    if info is None and not exists:
        return
    values = {k: v for k, v in asdict(info).items() if k not in ("address", "built")} if info else {}
    text = json.dumps({"schema": _SCHEMA, **values}, sort_keys=True) if info else None
    with lance_errors(database.address):
        table.update_field_metadata({"path": columns.vector, "metadata": {INDEX_KEY: text}})


def find_index(
    database: Database, table: Any, columns: VectorColumns, spec: Spec
) -> tuple[IndexInfo | None, str | None]:
    """Return the index that is valid for the current vectors, or None and the reason (None if there is no index)."""
    text = (table.schema.field(columns.vector).metadata or {}).get(INDEX_KEY.encode())
    if text is None:
        return None, None
    try:
        values = parse_json(text)
        require(values, {"schema": int}, "the index")
        if values.pop("schema") != _SCHEMA:
            raise BadJson("it has another schema")
        info = typed(IndexInfo, {**values, "address": database.address, "built": True}, "the index")
    except BadJson:
        return None, "its index was created by another version of ednabed"
    with lance_errors(database.address):
        stats = table.index_stats(info.name) if info.name in [i.name for i in table.list_indices()] else None
    if stats is None:
        return None, "its index no longer exists"
    if info.fingerprint != spec.fingerprint:
        return None, "its index was built for vectors of another function"
    if (stats.index_type, stats.distance_type) != (info.kind, "cosine"):
        return None, "its index was replaced by another program"
    if stats.num_unindexed_rows > SMALL_ROWS:
        return None, f"{stats.num_unindexed_rows:,} rows are not in its index yet"
    return info, None


def rows_to_fetch(k: int) -> int:
    """Return the number of rows to request from an index for ``k`` distinct sequences, allowing for repeated ones."""
    return k + max(_NEIGHBOURS, k // 2)


def search_index(
    database: Database,
    table: Any,
    columns: VectorColumns,
    info: IndexInfo,
    queries: FloatArray,
    limit: int,
    names: Sequence[str],
    where: str | None = None,
) -> pa.Table:
    """Query the index for the nearest rows of each query; rows added after it was built are also compared.

    Args:
        database: Location of the table.
        table: The open table.
        columns: Vector column and companions.
        info: The index, with its search settings.
        queries: Usable vectors, float32, shape (q, d).
        limit: Requested rows per query.
        names: Columns to return.
        where: Filter, applied before the search (``read_filter``).

    Returns:
        The columns, ``ROW_ID`` and ``query_index`` (from 0).
    """
    parts = []
    for first in range(0, len(queries), _QUERIES):
        block = list(queries[first : first + _QUERIES])
        with lance_errors(database.address):
            search = table.search(block, vector_column_name=columns.vector).distance_type("cosine")
            search = search.nprobes(info.nprobes).refine_factor(info.refine_factor).limit(limit)
            search = search.select([*names, "_distance"]).with_row_id(True)
            if where is not None:
                search = search.where(where, prefilter=True)
            found = search.to_arrow()
        # LanceDB omits the column for a single query.
        numbers: npt.NDArray[np.int64] = (
            found.column("query_index").to_numpy() if len(block) > 1 else np.zeros(len(found), np.int64)
        )
        kept = found.select([*names, ROW_ID])
        parts.append(kept.append_column("query_index", pa.array(numbers.astype(np.int64) + first)))
    return pa.concat_tables(parts)
