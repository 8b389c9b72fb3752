"""Write records as one Parquet file, with their types; names are written unchanged."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_target
from ednabed.export.record_columns import RecordTables
from ednabed.export.report import Written
from ednabed.export.selection import Selection


def write_parquet(
    selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, occurrences: bool = True
) -> Written:
    """Write a Parquet file (zstd), which appears complete or not at all; see ``record_columns`` for its columns.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the distinct sequences.
        target: The file.
        occurrences: Write one row per record, else one per distinct sequence.

    Raises:
        UsageError: The target is a folder, a pipe or a device, or is in a run or a reference.
    """
    tables = RecordTables(selection, names, ids, occurrences=occurrences)
    rows = 0
    with (
        atomic_target(target, "records.parquet") as work,
        pq.ParquetWriter(work, tables.schema, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return Written(len(selection), rows)
