"""Records as one Parquet file, with the types that they have; names stand in it unchanged."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import whole_target
from ednabed.export.record_columns import RecordTables
from ednabed.export.report import Written
from ednabed.export.selection import Selection


def write_parquet(
    selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, occurrences: bool = True
) -> Written:
    """Write a Parquet file (zstd), which appears whole or not at all; see ``record_columns`` for its columns.

    Args:
        selection: What to write.
        names: Where names come from.
        ids: What distinct sequences are called.
        target: The file.
        occurrences: One row per record; else one per distinct sequence.

    Raises:
        UsageError: The target is a folder, a pipe or a device, or lies in a run or a reference.
    """
    tables = RecordTables(selection, names, ids, occurrences=occurrences)
    rows = 0
    with (
        whole_target(target, "records.parquet") as work,
        pq.ParquetWriter(work, tables.schema, compression="zstd") as to,
    ):
        for table in tables:
            to.write_table(table)
            rows += table.num_rows
    return Written(len(selection), rows)
