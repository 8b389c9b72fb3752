"""The lineages of the features in a count table, read like those of any other file."""

from __future__ import annotations

import pyarrow as pa

from ednabed.sequences.columns import find_roles
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.lineage import LineagesRead, read_lineages
from ednabed.sequences.tables import written_lineages


def lineages_of(table: CountTable, *, keep_placeholders: bool = False) -> LineagesRead:
    """Return the lineage of each feature, by row; None where the table has none.

    Args:
        table: The count table.
        keep_placeholders: Keep names such as ``uncultured bacterium``, which otherwise count as unknown.
    """
    columns = list(table.labels)
    if not columns:
        return LineagesRead([None] * len(table), [None] * len(table), [])
    cells = pa.record_batch([pa.array(list(table.labels[name]), pa.string()) for name in columns], names=columns)
    texts = written_lineages(cells, find_roles(columns, table.path), table.path).to_pylist()
    return read_lineages(texts, table.path, keep_placeholders=keep_placeholders)
