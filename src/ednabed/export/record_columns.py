"""The columns of an export as a table, the same for TSV and Parquet, piece by piece.

One row per record: ``RECORD_COLUMNS``, then all other columns that the records have (one whose name is taken gets
``_input`` added). Or one row per distinct sequence: ``DISTINCT_COLUMNS``. Rows are in order of distinct sequence, the
records of one together, in order of dataset, run and number. Null is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa

from ednabed.export.features import features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Identification, Namer, SequenceIds
from ednabed.export.selection import Piece, Selection
from ednabed.reference.columns import text
from ednabed.sequences.lineage import RANKS, format_lineage
from ednabed.sequences.taxon_ids import taxon_id, taxon_id_columns

_TEXT = pa.string()
_LINEAGE = {"lineage": _TEXT, **{rank: _TEXT for rank in RANKS}}
_GIVEN = {"confidence": pa.float64(), "status": _TEXT, "taxon_id": _TEXT}
RECORD_COLUMNS = {
    "id": _TEXT, "dataset": _TEXT, "run_id": _TEXT, "seq_idx": pa.int64(), "sequence": pa.large_string(),
    "digest": _TEXT, "length": pa.int32(), "abundance": pa.int64(), "sample": _TEXT, **_LINEAGE,
}  # fmt: skip
"""First columns of a table of records, with their types; ``confidence``, ``status`` and ``taxon_id`` follow where
assignments were given."""
DISTINCT_COLUMNS = {
    "id": _TEXT, "sequence": pa.large_string(), "digest": _TEXT, "length": pa.int32(), "abundance": pa.int64(),
    "records": pa.int64(), "samples": pa.int64(), "datasets": _TEXT, **_LINEAGE,
    "taxon_id": _TEXT,
}  # fmt: skip
"""Columns of a table of distinct sequences: ``id`` by ``FeatureIds``; ``abundance`` all reads (a record without
abundance is one); ``samples`` the number of known samples; ``datasets`` their names joined by ``;``."""
_FEATURES = 4096
# Columns of records that are made here anew.
_OWN = ("row", "id", "dataset", "run_id", "seq_idx", "length", "abundance", "sample", "lineage")


class RecordTables:
    """A selection as tables of one schema.

    Args:
        selection: What to write.
        names: Where names come from.
        ids: What distinct sequences are called; records keep their ids.
        occurrences: One row per record; else one per distinct sequence.

    Attributes:
        schema: Columns of all tables.
    """

    def __init__(self, selection: Selection, names: Namer, ids: FeatureIds, *, occurrences: bool = True) -> None:
        self._selection = selection
        self._names = names
        self._ids = ids
        self._occurrences = occurrences
        self._taxa: list[str] = []
        columns = {**(RECORD_COLUMNS if occurrences else DISTINCT_COLUMNS), **(_GIVEN if names.given else {})}
        self._others: dict[str, str] = {}
        if occurrences:
            for field in selection.collection.record_schema:
                if field.name in _OWN:
                    continue
                free = field.name
                while free in columns:
                    free += "_input"
                self._others[field.name] = free
                # A column that is null everywhere has no type of its own.
                columns[free] = _TEXT if pa.types.is_null(field.type) else field.type
        self.schema = pa.schema(list(columns.items()))

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the tables in order of row, each of a few thousand rows."""
        if not self._occurrences:
            yield from self._distinct()
            return
        # Without assignments the columns that hold ids of taxa are written as they are, and nothing is made of them.
        self._taxa = taxon_id_columns(self._selection.collection.record_schema.names) if self._names.given else []
        for piece in self._selection.pieces((*_OWN[1:], *self._others)):
            yield self._of_records(piece)

    def _of_records(self, piece: Piece) -> pa.Table:
        records = piece.records
        own = np.repeat(np.arange(len(piece.rows)), np.diff(piece.starts))
        letters = piece.sequences.take(pa.array(own))
        ids, lineages = (records.column(name).to_pylist() for name in ("id", "lineage"))
        known = [
            SequenceIds(row, (digest, self._ids.lab_id(row, digest) if self._names.by_id else digest, ids[begin]))
            for row, digest, begin in zip(piece.rows.tolist(), piece.ids, piece.starts.tolist(), strict=False)
        ]
        pairs = zip(ids, lineages, own.tolist(), strict=True)
        named = [self._names.of(id, lineage, known[place]) for id, lineage, place in pairs]
        columns = {
            **{name: records.column(name) for name in ("id", "dataset", "run_id", "seq_idx", "abundance", "sample")},
            **{name: letters.column(name) for name in ("sequence", "digest", "length")},
            **self._name_columns(self._with_taxon_ids(named, records)),
            **{free: records.column(name) for name, free in self._others.items()},
        }
        return pa.table([_fitted(columns[field.name], field.type) for field in self.schema], schema=self.schema)

    def _with_taxon_ids(self, named: list[Identification], records: pa.Table) -> list[Identification]:
        """Return the names of records; those with a lineage of their own have the taxon id of their own, too."""
        if not self._taxa:
            return named
        rows = zip(*(records.column(name).to_pylist() for name in self._taxa), strict=True)
        return [
            one if one.status or not any(one.lineage) else replace(one, taxon_id=taxon_id(self._taxa, row))
            for one, row in zip(named, rows, strict=True)
        ]

    def _distinct(self) -> Iterator[pa.Table]:
        every = features(self._selection, self._names, self._ids)
        while some := list(islice(every, _FEATURES)):
            columns = {
                "id": [one.id for one in some],
                "sequence": [one.sequence for one in some],
                "digest": [None if one.digest.startswith("key.") else one.digest for one in some],
                "length": [one.length for one in some],
                "abundance": [one.reads for one in some],
                "records": [one.records for one in some],
                "samples": [sum(name is not None for _, name in one.counts) for one in some],
                "datasets": [";".join(dict.fromkeys(dataset for dataset, _ in one.counts)) for one in some],
                **self._name_columns([one.named for one in some]),
            }
            yield pa.table([pa.array(columns[f.name], f.type) for f in self.schema], schema=self.schema)

    def _name_columns(self, named: Sequence[Identification]) -> dict[str, pa.Array]:
        columns = {
            "lineage": [format_lineage(one.lineage) if any(one.lineage) else None for one in named],
            **{rank: [one.lineage[place] or None for one in named] for place, rank in enumerate(RANKS)},
            "confidence": [one.confidence for one in named],
            "status": [one.status or None for one in named],
            "taxon_id": [one.taxon_id or None for one in named],
        }
        types = {**_LINEAGE, **_GIVEN}
        return {name: pa.array(values, types[name]) for name, values in columns.items()}


def _fitted(column: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind:
        return column
    return text(column) if kind == _TEXT else column.cast(kind)
