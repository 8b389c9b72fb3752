"""Build an index on the vectors of a LanceDB table, measure it against exact search, and query it.

The index is LanceDB's IVF_RQ (RaBitQ codes of two bits per dimension; Gao et al., SIGMOD 2024 and 2025), whose
candidates are compared again using the vectors themselves (``refine_factor``). On 104,000 COI barcodes with ``kmer6``,
it was as fast as IVF_SQ and IVF_FLAT at the same recall, at a third and a thirteenth of their size. The numbers of
lists to visit and candidates to compare are measured once and stored with the vector column.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.recall import NEIGHBOURS, SEED, TABLE_TARGET, Pairs, Trial
from ednabed.base.stored_json import BadJson, parse_json, require, typed
from ednabed.base.times import utc_now
from ednabed.base.topk import cosines, lengths, usable
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.tables.provenance import embedded_filter, spec_of
from ednabed.tables.table import Table, row_ids

INDEX_KEY = "ednabed.index"
"""Metadata key of a vector column for the properties of its index, as JSON."""
SMALL_ROWS = 20_000
"""Up to this number of rows, an exact pass takes a few tenths of a second and an index gains nothing."""

_SCHEMA = 1
_SAMPLE = 200
_ROWS_PER_LIST = 2048
_MAX_LISTS = 1024
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
        pairs = ((self.recall, TABLE_TARGET.members), (self.recall_strangers, TABLE_TARGET.strangers))
        return all(recall is None or recall >= target for recall, target in pairs)


def build_index(table: Table, *, force: bool = False) -> IndexInfo:
    """Build the index of a vector column, and measure how widely it must be searched (``base.recall``).

    Args:
        table: The table and its vector column.
        force: Also build the index for a small table.

    Returns:
        The index. Without ``force``, a table of at most ``SMALL_ROWS`` embedded rows is not indexed, and ``built`` is
        False.

    Raises:
        StoreError: See ``spec_of``; or another program has created an index on the same column, or another writer was
            using the table.
    """
    from lancedb.index import IvfFlat, IvfRq

    started = time.monotonic()
    column = table.columns.vector
    spec = spec_of(table)
    batches = [row_ids(batch) for batch in table.scan([table.columns.fingerprint], embedded_filter(table, spec))]
    rows = np.concatenate([np.zeros(0, np.int64), *batches])
    info = IndexInfo(table.database.address, column, len(rows), built=False, fingerprint=spec.fingerprint)
    if len(rows) <= SMALL_ROWS and not force:
        return info
    name = f"{column}_idx"
    others = [other for other in table.indices() if other != name]
    if others:
        raise StoreError(
            f"{table.column_label} has the index {others[0]!r} of another program, and LanceDB could use either; drop "
            f"it in Python with table.drop_index({others[0]!r})"
        )
    # The recall of an index without measured settings is unknown, so they are removed first and written last.
    table.write_note(INDEX_KEY, None)
    lists = int(max(1, min(_MAX_LISTS, 2 ** round(np.log2(max(1, len(rows) / _ROWS_PER_LIST))))))
    settings: dict[str, Any] = {"distance_type": "cosine", "num_partitions": lists, "max_iterations": 20}
    # RaBitQ supports only dimensions that are multiples of 8.
    config = IvfFlat(**settings) if spec.dimension % 8 else IvfRq(**settings, num_bits=2)
    table.create_index(name, config)
    date = utc_now()
    info = replace(info, built=True, name=name, kind=table.index_stats(name).index_type, lists=lists, date=date)
    info = _measure(table, info, rows)
    info = replace(info, seconds=round(time.monotonic() - started, 3))
    values = {key: value for key, value in asdict(info).items() if key not in ("address", "built")}
    table.write_note(INDEX_KEY, json.dumps({"schema": _SCHEMA, **values}, sort_keys=True))
    return info


def _measure(table: Table, info: IndexInfo, rows: Ints) -> IndexInfo:
    """Find the narrowest search that reaches the target on a sample of ``rows``."""
    column = table.columns.vector
    sample = np.random.default_rng(SEED).choice(rows, min(_SAMPLE, len(rows)), replace=False)
    vectors = table.vectors(table.take(sample, [column]))
    good = usable(lengths(vectors))

    def blocks() -> Iterator[tuple[Ints, FloatArray, Any]]:
        for batch in table.scan([column]):
            block = table.vectors(batch)
            yield row_ids(batch), block, lengths(block)

    trial = Trial(vectors[good], sample[good], blocks(), TABLE_TARGET)

    def search(nprobes: int, factor: int) -> Iterator[Pairs]:
        found = table.search_index(
            trial.queries, rows_to_fetch(trial.k), [column], nprobes=nprobes, refine_factor=factor
        )
        query = found.column("query_index").to_numpy()
        yield query, row_ids(found), cosines(trial.queries[query], table.vectors(found))

    measured = trial.narrowest(_WIDTHS, info.lists, search)
    if measured is None:
        return replace(info, nprobes=info.lists, refine_factor=_WIDTHS[0][1])
    return replace(
        info,
        nprobes=measured.nprobe,
        refine_factor=measured.factor,
        recall=round(measured.recall, 4),
        recall_strangers=round(measured.recall_strangers, 4),
        measured_on=measured.measured_on,
    )


def find_index(table: Table, spec: Spec) -> tuple[IndexInfo | None, str | None]:
    """Return the index that is valid for the current vectors, or None and the reason (None if there is no index)."""
    text = table.note(INDEX_KEY)
    if text is None:
        return None, None
    try:
        values = parse_json(text)
        require(values, {"schema": int}, "the index")
        if values.pop("schema") != _SCHEMA:
            raise BadJson("it has another schema")
        info = typed(IndexInfo, {**values, "address": table.database.address, "built": True}, "the index")
    except BadJson:
        return None, "its index was created by another version of ednabed"
    stats = table.index_stats(str(info.name)) if info.name in table.indices() else None
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
    return k + max(NEIGHBOURS, k // 2)
