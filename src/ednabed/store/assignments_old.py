"""Files of assignments of schema 1, written by earlier versions of ednabed, which are read as schema 2.

Columns that they lack are null, and the status ``novel`` becomes ``not_in_reference``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import current_status

SCHEMA_1 = "ednabed.assignments/1"
_LACKING = ("withheld", "nearest_taxon_id", "novel_q")
_RANK_1 = pa.struct([("given", pa.string()), ("best", pa.string()), ("confidence", pa.float64()), ("p", pa.float64())])


def columns_1(current: pa.Schema) -> pa.Schema:
    """Return the columns of a file of schema 1, given those of the current schema."""
    return pa.schema(
        [
            pa.field("ranks", pa.struct([(rank, _RANK_1) for rank in RANKS])) if column.name == "ranks" else column
            for column in current
            if column.name not in _LACKING
        ]
    )


def upgraded(file: pq.ParquetFile, columns: Sequence[str], current: pa.Schema) -> pa.Table:
    """Return columns of a file of schema 1, converted to the current schema."""
    old = [name for name in current.names if name not in _LACKING]
    # Without a claim, schema 1 stored the p-value of the species here, so novel_rank is needed to distinguish the two.
    needed = {*columns, *(["novel_rank"] if "novel_p" in columns else [])}
    table = file.read([name for name in old if name in needed])
    new = {}
    for name in columns:
        kind = current.field(name).type
        if name not in old:
            new[name] = pa.nulls(table.num_rows, kind)
        elif name == "status":
            new[name] = pa.array([current_status(status) for status in table.column(name).to_pylist()], kind)
        elif name == "novel_p":
            claimed = pc.is_valid(table.column("novel_rank"))
            new[name] = pc.if_else(claimed, table.column(name), pa.scalar(None, kind))
        elif name == "ranks":
            new[name] = _upgraded_ranks(table.column(name).combine_chunks(), kind)
        else:
            new[name] = table.column(name)
    return pa.table(new)


def _upgraded_ranks(ranks: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    """Return the structs of all ranks, with null for the fields that schema 1 lacks."""
    old_names = {column.name for column in _RANK_1}
    parts = []
    for rank in kind:
        old = ranks.field(rank.name)
        new = [
            old.field(column.name) if column.name in old_names else pa.nulls(len(old), column.type)
            for column in rank.type
        ]
        parts.append(pa.StructArray.from_arrays(new, fields=list(rank.type), mask=pc.is_null(old)))
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=pc.is_null(ranks))
