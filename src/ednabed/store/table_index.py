"""An index on the vectors of a LanceDB table: built, measured against exact search, and asked.

The index is LanceDB's IVF_RQ (RaBitQ codes of two bits a dimension; Gao et al., SIGMOD 2024 and 2025), whose candidates
are compared again with the vectors themselves (``refine_factor``). On 104,000 COI barcodes with ``kmer6`` it was as
quick as IVF_SQ and IVF_FLAT at the same recall and a third and a thirteenth of their size. How many lists are visited
and how many candidates are compared is measured once and kept with the vector column.
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

from ednabed.base.stored_json import BadJson, parse_json, require, typed
from ednabed.errors import StoreError
from ednabed.models.base import FloatArray
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
"""Metadata of a vector column: what is known of its index, as JSON."""
SMALL_ROWS = 20_000
"""Up to so many rows one exact pass takes some tenths of a second, and an index gains nothing."""

_SCHEMA = 1
_NEIGHBOURS = 10
_WANTED = 0.99
_SAMPLE = 200
_SEED = 20261122
_ROWS_A_LIST = 2048
_MOST_LISTS = 1024
_QUERIES = 64
# A stranger is a row's vector and twice as much noise: as unlike its nearest as a barcode with a fifth of its letters
# changed. What is new to a table is found by these settings too; those for its own rows alone found 67 %.
_NOISE = 2.0
_WIDTHS = (
    (8, 4), (16, 4), (32, 4), (64, 4), (64, 8), (64, 16), (128, 16), (256, 16), (256, 32), (512, 32), (1024, 64)
)  # fmt: skip
"""Lists visited and candidates compared a row wanted, from quick to thorough."""


@dataclass(frozen=True)
class IndexInfo:
    """An index, or why there is none.

    Attributes:
        address: Where the table is.
        vector_column: Column that is indexed.
        rows: Rows with a vector when it was built.
        built: Whether there is an index; the fields below are None and 0 otherwise.
        name: Its name in LanceDB.
        kind: Its type in LanceDB.
        lists: Inverted lists.
        nprobes: Lists visited by a search.
        refine_factor: Candidates a row wanted that are compared with their vectors.
        recall: Share of the ten nearest others that were found, over a sample; None where there was nothing to measure.
        recall_strangers: The same for queries that are unlike all rows.
        measured_on: Rows in the sample.
        fingerprint: Of the function that made the vectors.
        date: When it was built, UTC, ISO 8601.
        seconds: What it took.
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
        """Whether both recalls are 0.99 at least, as wanted."""
        return all(recall is None or recall >= _WANTED for recall in (self.recall, self.recall_strangers))


def build_index(database: Database, columns: VectorColumns | None = None, *, force: bool = False) -> IndexInfo:
    """Build the index of a vector column, and measure how widely it must be searched.

    The sample are 200 rows at most; what is sought are the ten nearest *others* of each, by exact search, and the ten
    nearest of as many strangers. A hit counts when it is as similar as the tenth, so that ties do not count as errors.

    Args:
        database: Where the table is.
        columns: Vector column and companions; None is ``vector``.
        force: Build it for a small table too.

    Returns:
        The index. ``built`` is False, and nothing was done, for a table of at most ``SMALL_ROWS`` embedded rows without
        ``force``.

    Raises:
        StoreError: As ``spec_of_table``, or another program has made an index on the same column, or another writer was
            at work on the table.
    """
    from lancedb.index import IvfFlat, IvfRq

    columns = VectorColumns() if columns is None else columns
    started = time.monotonic()
    table = database.open()
    spec = spec_of_column(database, table, columns)
    chosen = embedded_rows(database, table, columns, spec)
    info = IndexInfo(database.address, columns.vector, len(chosen), built=False, fingerprint=spec.fingerprint)
    if len(chosen) <= SMALL_ROWS and not force:
        return info
    name = f"{columns.vector}_idx"
    with lance_errors(database.address):
        others = [i.name for i in table.list_indices() if columns.vector in i.columns and i.name != name]
    if others:
        raise StoreError(
            f"{database.address}, table '{TABLE}': column '{columns.vector}' has the index {others[0]!r} of another "
            f"program, and two would answer by turns; drop it in Python by table.drop_index({others[0]!r})"
        )
    # What an index without measured settings answers is not known, so these go first and come last.
    _note(database, table, columns, None)
    lists = int(max(1, min(_MOST_LISTS, 2 ** round(np.log2(max(1, len(chosen) / _ROWS_A_LIST))))))
    settings: dict[str, Any] = {"distance_type": "cosine", "num_partitions": lists, "max_iterations": 20}
    # RaBitQ takes dimensions that are multiples of 8 only.
    config = IvfFlat(**settings) if spec.dimension % 8 else IvfRq(**settings, num_bits=2)
    with lance_errors(database.address):
        table.create_index(columns.vector, config=config, replace=True, name=name)
        kind = table.index_stats(name).index_type
    date = datetime.now(UTC).isoformat(timespec="seconds")
    info = replace(info, built=True, name=name, kind=kind, lists=lists, date=date)
    info = _measure(database, table, columns, info, chosen)
    info = replace(info, seconds=round(time.monotonic() - started, 3))
    _note(database, table, columns, info)
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
    # The row that a query is itself.
    own = np.concatenate([sample, np.full(len(sample), NO_KEY)])
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
    least = np.empty(len(queries), np.float32)
    for i, query in enumerate(queries):
        near = exact.found(i)
        near = near[near != own[i]]
        found = vectors_in(take_rows(database, table, near, [columns.vector]), columns.vector, dimension)
        least[i] = np.sort(cosines(np.broadcast_to(query, found.shape), found))[-k]
    for nprobes, factor in dict.fromkeys((min(nprobes, info.lists), factor) for nprobes, factor in _WIDTHS):
        info = replace(info, nprobes=nprobes, refine_factor=factor)
        part = ask_index(database, table, columns, info, queries, fetched(k), [columns.vector])
        asked = part.column("query_index").to_numpy()
        right = cosines(queries[asked], vectors_in(part, columns.vector, dimension)) >= least[asked] - TIE
        right &= part.column(ROW_ID).to_numpy() != own[asked]
        shares = np.minimum(np.bincount(asked[right], minlength=len(queries)), k) / k
        recall, strangers = (round(float(part.mean()), 4) for part in (shares[: len(sample)], shares[len(sample) :]))
        info = replace(info, recall=recall, recall_strangers=strangers, measured_on=len(sample))
        if info.reached:
            break
    return info


def _note(database: Database, table: Any, columns: VectorColumns, info: IndexInfo | None) -> None:
    """Keep what is known of the index with the vector column, or forget it."""
    known = INDEX_KEY.encode() in (table.schema.field(columns.vector).metadata or {})
    if info is None and not known:
        return
    values = {k: v for k, v in asdict(info).items() if k not in ("address", "built")} if info else {}
    text = json.dumps({"schema": _SCHEMA, **values}, sort_keys=True) if info else None
    with lance_errors(database.address):
        table.update_field_metadata({"path": columns.vector, "metadata": {INDEX_KEY: text}})


def find_index(
    database: Database, table: Any, columns: VectorColumns, spec: Spec
) -> tuple[IndexInfo | None, str | None]:
    """Return the index that can answer for the vectors as they are now, or None and why not (None: there is none)."""
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
        return None, "its index was made by another version of ednabed"
    with lance_errors(database.address):
        stats = table.index_stats(info.name) if info.name in [i.name for i in table.list_indices()] else None
    if stats is None:
        return None, "its index is gone"
    if info.fingerprint != spec.fingerprint:
        return None, "its index was built for vectors of another function"
    if (stats.index_type, stats.distance_type) != (info.kind, "cosine"):
        return None, "its index was replaced by another program"
    if stats.num_unindexed_rows > SMALL_ROWS:
        return None, f"{stats.num_unindexed_rows:,} rows are not in its index yet"
    return info, None


def fetched(k: int) -> int:
    """Return how many rows are asked of an index for ``k`` distinct sequences: repeated ones take places too."""
    return k + max(_NEIGHBOURS, k // 2)


def ask_index(
    database: Database,
    table: Any,
    columns: VectorColumns,
    info: IndexInfo,
    queries: FloatArray,
    limit: int,
    names: Sequence[str],
    where: str | None = None,
) -> pa.Table:
    """Ask the index for the nearest rows of each query; rows that came after it was built are compared too.

    Args:
        database: Where the table is.
        table: The open table.
        columns: Vector column and companions.
        info: The index, and how widely to search it.
        queries: Usable vectors, float32, shape (q, d).
        limit: Rows wanted a query.
        names: Columns to return.
        where: Filter, applied before the search (``read_filter``).

    Returns:
        The columns, ``ROW_ID`` and ``query_index`` (from 0).
    """
    parts = []
    for first in range(0, len(queries), _QUERIES):
        some = list(queries[first : first + _QUERIES])
        with lance_errors(database.address):
            search = table.search(some, vector_column_name=columns.vector).distance_type("cosine")
            search = search.nprobes(info.nprobes).refine_factor(info.refine_factor).limit(limit)
            search = search.select([*names, "_distance"]).with_row_id(True)
            if where is not None:
                search = search.where(where, prefilter=True)
            found = search.to_arrow()
        # LanceDB leaves the column out for one query.
        numbers: npt.NDArray[np.int64] = (
            found.column("query_index").to_numpy() if len(some) > 1 else np.zeros(len(found), np.int64)
        )
        kept = found.select([*names, ROW_ID])
        parts.append(kept.append_column("query_index", pa.array(numbers.astype(np.int64) + first)))
    return pa.concat_tables(parts)
