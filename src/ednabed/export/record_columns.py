"""Build the columns of an export as a table, the same for TSV and Parquet, piece by piece.

The table has either one row per record, with ``RECORD_COLUMNS`` and then all other columns of the records (``_input``
is added to a name that is already in use), or one row per distinct sequence, with ``DISTINCT_COLUMNS``. Rows are in the
order of the distinct sequences; the records of one sequence are together, in order of dataset, run and number. Null
means unknown.
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
from ednabed.reference.columns import as_text
from ednabed.sequences.lineage import RANKS, format_lineage
from ednabed.sequences.taxon_ids import taxon_id, taxon_id_columns

_TEXT = pa.string()
_LINEAGE = {"lineage": _TEXT, **{rank: _TEXT for rank in RANKS}}
_GIVEN = {"confidence": pa.float64(), "status": _TEXT, "taxon_id": _TEXT}
RECORD_COLUMNS = {
    "id": _TEXT, "dataset": _TEXT, "run_id": _TEXT, "seq_idx": pa.int64(), "sequence": pa.large_string(),
    "digest": _TEXT, "length": pa.int32(), "abundance": pa.int64(), "sample": _TEXT, **_LINEAGE,
}  # fmt: skip
"""First columns of a table of records, with their types; ``confidence``, ``status`` and ``taxon_id`` follow if
assignments were given."""
DISTINCT_COLUMNS = {
    "id": _TEXT, "sequence": pa.large_string(), "digest": _TEXT, "length": pa.int32(), "abundance": pa.int64(),
    "records": pa.int64(), "samples": pa.int64(), "datasets": _TEXT, **_LINEAGE,
    "taxon_id": _TEXT,
}  # fmt: skip
"""Columns of a table of distinct sequences: ``id`` from ``FeatureIds``; ``abundance`` the total number of reads (a
record without abundance counts as one); ``samples`` the number of known samples; ``datasets`` the names of the
datasets, joined by ``;``."""
_BATCH_FEATURES = 4096
# Columns of the records that are built again here.
_REBUILT = ("row", "id", "dataset", "run_id", "seq_idx", "length", "abundance", "sample", "lineage")


class RecordTables:
    """A selection as tables with the same schema.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the distinct sequences; records keep their ids.
        occurrences: Whether the tables have one row per record, else one per distinct sequence.

    Attributes:
        schema: Columns of all tables.
    """

    def __init__(self, selection: Selection, names: Namer, ids: FeatureIds, *, occurrences: bool = True) -> None:
        self._selection = selection
        self._names = names
        self._ids = ids
        self._occurrences = occurrences
        self._taxa: list[str] = []
        columns = {**(RECORD_COLUMNS if occurrences else DISTINCT_COLUMNS), **(_GIVEN if names.has_assignments else {})}
        self._others: dict[str, str] = {}
        if occurrences:
            for field in selection.collection.record_schema:
                if field.name in _REBUILT:
                    continue
                name = field.name
                while name in columns:
                    name += "_input"
                self._others[field.name] = name
                # A column that contains only nulls has no type of its own.
                columns[name] = _TEXT if pa.types.is_null(field.type) else field.type
        self.schema = pa.schema(list(columns.items()))

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the tables in row order, each with a few thousand rows."""
        if not self._occurrences:
            yield from self._distinct()
            return
        # Without assignments, columns with taxon ids are written unchanged and not evaluated.
        columns = self._selection.collection.record_schema.names
        self._taxa = taxon_id_columns(columns) if self._names.has_assignments else []
        for piece in self._selection.pieces((*_REBUILT[1:], *self._others)):
            yield self._record_table(piece)

    def _record_table(self, piece: Piece) -> pa.Table:
        records = piece.records
        sequence_of = np.repeat(np.arange(len(piece.rows)), np.diff(piece.starts))
        sequences = piece.sequences.take(pa.array(sequence_of))
        ids, lineages = (records.column(name).to_pylist() for name in ("id", "lineage"))
        known = [
            SequenceIds(row, (digest, self._ids.lab_id(row, digest) if self._names.by_id else digest, ids[begin]))
            for row, digest, begin in zip(piece.rows.tolist(), piece.ids, piece.starts.tolist(), strict=False)
        ]
        rows = zip(ids, lineages, sequence_of.tolist(), strict=True)
        named = [self._names.identify(id, lineage, known[sequence]) for id, lineage, sequence in rows]
        columns = {
            **{name: records.column(name) for name in ("id", "dataset", "run_id", "seq_idx", "abundance", "sample")},
            **{name: sequences.column(name) for name in ("sequence", "digest", "length")},
            **self._name_columns(self._with_taxon_ids(named, records)),
            **{new_name: records.column(name) for name, new_name in self._others.items()},
        }
        return pa.table([_fitted(columns[field.name], field.type) for field in self.schema], schema=self.schema)

    def _with_taxon_ids(self, named: list[Identification], records: pa.Table) -> list[Identification]:
        """Return the names of records; records with their own lineage also get their own taxon id."""
        if not self._taxa:
            return named
        rows = zip(*(records.column(name).to_pylist() for name in self._taxa), strict=True)
        return [
            one if one.status or not any(one.lineage) else replace(one, taxon_id=taxon_id(self._taxa, row))
            for one, row in zip(named, rows, strict=True)
        ]

    def _distinct(self) -> Iterator[pa.Table]:
        all_features = features(self._selection, self._names, self._ids)
        while batch := list(islice(all_features, _BATCH_FEATURES)):
            columns = {
                "id": [one.id for one in batch],
                "sequence": [one.sequence for one in batch],
                "digest": [None if one.digest.startswith("key.") else one.digest for one in batch],
                "length": [one.length for one in batch],
                "abundance": [one.reads for one in batch],
                "records": [one.records for one in batch],
                "samples": [sum(name is not None for _, name in one.counts) for one in batch],
                "datasets": [";".join(dict.fromkeys(dataset for dataset, _ in one.counts)) for one in batch],
                **self._name_columns([one.named for one in batch]),
            }
            yield pa.table([pa.array(columns[f.name], f.type) for f in self.schema], schema=self.schema)

    def _name_columns(self, named: Sequence[Identification]) -> dict[str, pa.Array]:
        columns = {
            "lineage": [format_lineage(one.lineage) if any(one.lineage) else None for one in named],
            **{rank: [one.lineage[index] or None for one in named] for index, rank in enumerate(RANKS)},
            "confidence": [one.confidence for one in named],
            "status": [one.status or None for one in named],
            "taxon_id": [one.taxon_id or None for one in named],
        }
        types = {**_LINEAGE, **_GIVEN}
        return {name: pa.array(values, types[name]) for name, values in columns.items()}


def _fitted(column: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind:
        return column
    return as_text(column) if kind == _TEXT else column.cast(kind)
