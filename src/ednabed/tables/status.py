"""Count the rows of a table by state and by the function that computed their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ednabed.base.stored_json import BadJson, parse_json
from ednabed.errors import StoreError
from ednabed.tables.provenance import SPEC_KEY
from ednabed.tables.table import REJECTED, Table


@dataclass
class TableStatus:
    """Contents of a table.

    Attributes:
        address: Location of the table.
        rows: Number of all rows.
        embedded: Number of rows with a usable vector.
        pending: Number of rows whose vector is null or all zeros and that were not rejected.
        rejected: Number of rows that were rejected, with the reason in the table.
        invalid: Number of rows whose vector is not finite.
        fingerprints: Number of embedded rows by fingerprint; ``unknown`` for vectors of unknown origin.
        dimension: Dimension of the vector column, or None if it does not exist yet.
        bytes_on_disk: Size of the data, or None if the store does not report it.
        versions: Number of stored table versions.
        vector_column: Name of the vector column.
        spec: The function that last wrote to the vector column (``Spec.to_dict``), or None if it is not recorded.
    """

    address: str
    rows: int
    embedded: int
    pending: int
    rejected: int
    invalid: int
    fingerprints: dict[str, int]
    dimension: int | None
    bytes_on_disk: int | None
    versions: int
    vector_column: str
    spec: dict[str, Any] | None = None


def survey(table: Table) -> TableStatus:
    """Count the rows of a table by state. Every vector is read once.

    Raises:
        StoreError: The table cannot be read, or its vector column is of another type.
    """
    columns, dimension, rows = table.columns, table.dimension, table.count()
    versions, size = table.size()
    status = TableStatus(table.database.address, rows, 0, 0, 0, 0, {}, dimension, size, versions, columns.vector)
    if dimension is None:
        status.pending = status.rows
        return status
    text = table.note(SPEC_KEY)
    try:
        status.spec = None if text is None else parse_json(text)
    except BadJson as error:
        raise StoreError(
            f"{table.column_label} has a damaged '{SPEC_KEY}' ({error}); "
            "embed again with 'ednabed table embed --no-resume'"
        ) from error
    selected = [name for name in (columns.vector, columns.status, columns.fingerprint) if name in table.names]
    for batch in table.scan(selected):
        # One sum per row distinguishes all-zero from not-finite rows; float64 cannot overflow here.
        sums = np.abs(table.vectors(batch)).sum(axis=1, dtype=np.float64)
        empty = sums == 0
        names = batch.schema.names
        marks = np.array(batch.column(columns.status).to_pylist() if columns.status in names else [None] * len(batch))
        prints = batch.column(columns.fingerprint).to_pylist() if columns.fingerprint in names else [None] * len(batch)
        refused = empty & (marks == REJECTED)
        finite = np.isfinite(sums)
        good = ~empty & finite
        status.rejected += int(refused.sum())
        status.pending += int((empty & ~refused).sum())
        status.invalid += int((~finite).sum())
        status.embedded += int(good.sum())
        for i in np.flatnonzero(good).tolist():
            name = prints[i] or "unknown"
            status.fingerprints[name] = status.fingerprints.get(name, 0) + 1
    return status
