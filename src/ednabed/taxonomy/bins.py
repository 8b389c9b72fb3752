"""BOLD BINs shared by records of several species: the species share a barcode, or one of them is misidentified."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.reference.collection import Collection
from ednabed.sequences.columns import plain
from ednabed.sequences.taxon_ids import database_of

_COLUMN = "binuri"
_SHOWN = 3


def conflicts(collection: Collection, ids: Iterable[str | None]) -> dict[str, str]:
    """Return the taxon ids that are BINs of several species in a collection, with a remark on each.

    Only the columns of BINs and lineages are read, and no column if no id is a BIN.

    Args:
        collection: The collection.
        ids: Taxon ids (``sequences.taxon_ids``); None and ids of other databases are ignored.

    Returns:
        Mapping from BIN to remark.
    """
    bin_ids = sorted({id for id in ids if id and database_of(id) == "BOLD"})
    column = next((name for name in collection.record_schema.names if plain(name) == _COLUMN), None)
    if not bin_ids or column is None:
        return {}
    species: dict[str, set[str]] = {bin_: set() for bin_ in bin_ids}
    for _, table in collection.scan_records([column, "lineage"]):
        bins = pc.utf8_trim_whitespace(table.column(column).cast(pa.string()))
        found = table.filter(pc.is_in(bins, value_set=pa.array(bin_ids))).select([column, "lineage"]).to_pylist()
        for row in found:
            name = (row["lineage"] or "").rpartition(";")[2]
            if name:
                species[row[column].strip()].add(name)
    return {bin_: _remark(bin_, sorted(names)) for bin_, names in species.items() if len(names) > 1}


def _remark(bin_: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"conflict: records of {bin_} are of {len(names)} species: {', '.join(names[:_SHOWN])}{more}"
