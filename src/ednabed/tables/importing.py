"""Import records from files into the LanceDB table ``sequences``; ids stay unique, importing twice changes nothing.

If an id occurs with a second marker, as with some BOLD specimens, the second record is called ``id|marker``. The entire
input is read and compared with the table before anything is written, so a broken file or a changed sequence leaves the
table unchanged. Sequences are stored as they are in the file; their bases are checked when they are embedded.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.locks import exclusive
from ednabed.errors import InputError, StoreError, UsageError
from ednabed.sequences import open_records, read_labels
from ednabed.sequences.records import MARKERS, markers_of
from ednabed.store.distinct import DistinctIndex
from ednabed.store.staging import Input, PartWriter, display_names
from ednabed.tables.table import ID, SEQUENCE, TABLE, Database, Table, VectorColumns

log = logging.getLogger("ednabed")

_NEW, _CHANGED = "new", "changed"
# Source number under which the temporary index binds ids to markers.
_MARKER_SOURCE = 3
_LOCK = ".ednabed-import.lock"
STDIN = Path("-")
# Names of the default vector column and its companions.
_COLUMN_NAMES = {VectorColumns().vector, VectorColumns().status, VectorColumns().reason, VectorColumns().fingerprint}
_RESERVED = frozenset(
    ("_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version", "_distance",
     "_score", "_relevance_score")
)  # fmt: skip
"""Columns that Lance reserves, or that its searches add."""


@dataclass
class ImportResult:
    """Outcome of an import, in numbers of records.

    Attributes:
        read: Records in the input.
        added: New rows.
        replaced: Rows whose sequence was changed and whose vectors were cleared.
        unchanged: Records whose id and sequence were already in the table.
        repeated: Records that occur again in the input with the same id and sequence.
        rejected: Rejected records: id, reason, source, record.
        with_marker: Records whose marker was appended to their id, because another record has the id.
        notes: Remarks about the inputs for the user, one sentence each.
    """

    read: int
    added: int
    replaced: int
    unchanged: int
    repeated: int
    rejected: list[tuple[str, str, str, int]]
    with_marker: int = 0
    notes: list[str] = field(default_factory=list)


def import_records(
    database: Database,
    inputs: Sequence[Path],
    *,
    labels: Path | None = None,
    replace: bool = False,
    keep_placeholders: bool = False,
) -> ImportResult:
    """Add the records of ``inputs`` to the table, which is created if missing.

    Args:
        database: Location of the table.
        inputs: Sequence files; ``Path("-")`` is standard input.
        labels: TSV or CSV with id and lineage, or None.
        replace: Accept a changed sequence under a known id, and clear its vectors.
        keep_placeholders: Keep names such as ``uncultured bacterium`` in lineages instead of treating them as unknown.

    Raises:
        InputError: An input cannot be read, or has a column whose name LanceDB reserves.
        StoreError: A known id has another sequence and ``replace`` is False; nothing is written.
    """
    names = display_names(list(inputs))
    for path in inputs:
        if path.is_file():
            # Fail at once if the file cannot be read as sequences, before a database is created for it.
            with open_records(path):
                pass
    with tempfile.TemporaryDirectory(prefix="ednabed-") as scratch:
        folder = Path(scratch)
        sources = [
            Input(str(path), _local(path, folder), name, keep_placeholders, by_sample=False)
            for path, name in zip(inputs, names, strict=True)
        ]
        index = DistinctIndex(folder / "index.sqlite")
        try:
            if not database.is_local:
                return _import(database, sources, labels, replace, folder, index)
            database_folder = Path(database.address)
            is_new = not database_folder.exists()
            with exclusive(database_folder / _LOCK, "importing into this database ('ednabed table import')"):
                try:
                    return _import(database, sources, labels, replace, folder, index)
                except BaseException:
                    if is_new:
                        # Remove the folder only if it is empty. Windows cannot delete the lock file, which is open.
                        with suppress(OSError):
                            if [entry.name for entry in database_folder.iterdir()] == [_LOCK]:
                                (database_folder / _LOCK).unlink()
                                database_folder.rmdir()
                    raise
        finally:
            index.close()


def _local(path: Path, folder: Path) -> Path:
    """Return the path of the file; standard input is copied into ``folder``, because it may have to be read twice."""
    if path != STDIN:
        return path
    with (folder / "stdin").open("wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return folder / "stdin"


def _import(
    database: Database,
    inputs: Sequence[Input],
    labels: Path | None,
    replace: bool,
    folder: Path,
    index: DistinctIndex,
) -> ImportResult:
    table = database.open() if database.holds_table() else None
    known = DistinctIndex(folder / "known.sqlite")
    markers: dict[str, int] = {}
    try:
        if table is not None:
            table.check_ids()
            marker = [name for name in MARKERS if name in table.names][:1]
            for batch in table.scan([ID, SEQUENCE, *marker]):
                sequences = [s or "" for s in batch.column(SEQUENCE).to_pylist()]
                ids = batch.column(ID).to_pylist()
                known.claim(0, ids, index.number(_sequence_keys(sequences)))
                _with_markers(ids, markers_of(batch), index, markers)
        result, parts = _read(inputs, labels, folder, index, known, markers)
    finally:
        known.close()
    changed = [path for path, kind in parts if kind == _CHANGED]
    if changed and not replace:
        first = pq.read_table(changed[0], columns=[ID]).column(ID)[0].as_py()
        raise StoreError(
            f"{database.address}, table '{TABLE}': {ID} {first!r} is already in the table with another sequence "
            f"({result.replaced} such records in the input); set `replace=True` to accept the new sequences and clear "
            "their vectors"
        )
    new = [path for path, kind in parts if kind == _NEW]
    schema = _schema([*new, *changed], table)
    if table is None:
        # Without a table, no record has changed.
        database.create(_rows(new, schema))
        return result
    if new or changed:
        _widen(table, schema)
    _replace(table, changed)
    if new:
        table.insert(_rows(new, schema))
    return result


def _sequence_keys(sequences: list[str]) -> list[bytes]:
    """Return a key of the text of each sequence, without normalisation."""
    return [hashlib.sha256(s.encode()).digest()[:24] for s in sequences]


def _with_markers(ids: list[str], markers: list[str], index: DistinctIndex, numbers: dict[str, int]) -> list[str]:
    """Bind each id to its first marker; return the ids, with the marker appended if an id is bound to another one."""
    with_marker = [i for i, (name, marker) in enumerate(zip(ids, markers, strict=True)) if name and marker]
    marker_numbers = np.array([numbers.setdefault(markers[i], len(numbers)) for i in with_marker], np.int64)
    clash = index.claim(_MARKER_SOURCE, [ids[i] for i in with_marker], marker_numbers)
    renamed = list(ids)
    for i in np.array(with_marker, np.int64)[clash].tolist():
        renamed[i] = f"{ids[i]}|{markers[i]}"
    return renamed


def _read(
    inputs: Sequence[Input],
    labels: Path | None,
    folder: Path,
    index: DistinctIndex,
    known: DistinctIndex,
    markers: dict[str, int],
) -> tuple[ImportResult, list[tuple[Path, str]]]:
    """Read all inputs into Parquet files of new and of changed rows."""
    result = ImportResult(0, 0, 0, 0, 0, [])
    keep_placeholders = any(source.keep_placeholders for source in inputs)
    lineages = None if labels is None else read_labels(labels, keep_placeholders=keep_placeholders)
    result.notes += () if lineages is None else lineages.notes
    parts: list[tuple[Path, str]] = []
    for number, source in enumerate(inputs):
        writers = {kind: PartWriter(folder, f"{kind}-{number:04d}") for kind in (_NEW, _CHANGED)}
        try:
            with source.open(lineages) as records:
                for raw in records:
                    _refuse_reserved(raw.schema.names, source.given)
                    column = raw.schema.get_field_index("source")
                    raw = raw.set_column(column, raw.schema.field(column), pa.repeat(source.name, len(raw)))
                    for kind, rows in _sort(raw, number, index, known, markers, result).items():
                        writers[kind].write(rows)
                result.notes += records.notes
        finally:
            for writer in writers.values():
                writer.close()
        parts += [(path, kind) for kind, writer in writers.items() for path in writer.paths]
    if lineages is not None and not lineages.matched:
        log.warning("%s: none of its %d ids is in the input, so no record was labelled", labels, len(lineages))
    if not (result.added or result.replaced or result.unchanged):
        first = f": the first, {result.rejected[0][0]!r}, {result.rejected[0][1]}" if result.rejected else ""
        raise InputError(
            f"{', '.join(source.name for source in inputs)}: none of the {result.read} records can be imported{first}"
        )
    return result, parts


def _refuse_reserved(columns: Sequence[str], path: str) -> None:
    invalid = [name for name in columns if name in _RESERVED or "`" in name]
    if invalid:
        why = "LanceDB reserves" if invalid[0] in _RESERVED else "LanceDB does not allow"
        raise InputError(
            f"{path}: column {invalid[0]!r} has a name that {why}; rename the column in the file, for example to "
            f"{invalid[0].strip('_').replace('`', '')!r}"
        )


def _sort(
    raw: Any, number: int, index: DistinctIndex, known: DistinctIndex, markers: dict[str, int], result: ImportResult
) -> dict[str, Any]:
    """Split a batch into new and changed rows; count the others."""
    sequences = ["".join((s or b"").decode("utf-8", "replace").split()) for s in raw.column("sequence").to_pylist()]
    original_ids, sources, records = (raw.column(c).to_pylist() for c in ("id", "source", "record"))
    ids = _with_markers(original_ids, markers_of(raw), index, markers)
    result.with_marker += sum(id_ != original for id_, original in zip(ids, original_ids, strict=True))
    keys = index.number(_sequence_keys(sequences))
    # Ids are unique across all inputs, as in the table.
    clash = index.claim(1, ids, keys)
    stored = known.get_ids(0, ids)
    first = index.first_time(2, ids)
    kinds: dict[str, list[int]] = {_NEW: [], _CHANGED: []}
    for i, id_ in enumerate(ids):
        reason = None if id_ else "the record has no id"
        if clash[i] and id_:
            reason = "this id occurs earlier in the input with another sequence"
        if reason is not None:
            result.rejected.append((id_, reason, sources[i], records[i]))
        elif not first[i]:
            result.repeated += 1
        elif stored[i] < 0:
            kinds[_NEW].append(i)
        elif stored[i] == keys[i]:
            result.unchanged += 1
        else:
            kinds[_CHANGED].append(i)
    result.read += len(ids)
    result.added += len(kinds[_NEW])
    result.replaced += len(kinds[_CHANGED])
    other_names = [n for n in raw.schema.names if n not in ("id", "sequence", "record")]
    names = [ID, SEQUENCE]
    for name in other_names:
        # Lance does not allow a dot in a name.
        new = name.replace(".", "_")
        while new in names or new in _COLUMN_NAMES or (new != name and new in other_names):
            new += "_input"
        names.append(new)
    columns = [pa.array(ids), pa.array(sequences), *(raw.column(n) for n in other_names)]
    rows = pa.record_batch([*columns], names=names)
    return {kind: rows.take(pa.array(chosen)) for kind, chosen in kinds.items() if chosen}


def _rows(parts: list[Path], schema: pa.Schema) -> Any:
    """Stream the rows of several files in one schema for a single commit; a missing column becomes null."""

    def batches() -> Iterator[Any]:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches():
                    names = batch.schema.names
                    yield pa.record_batch(
                        [
                            batch.column(f.name).cast(f.type) if f.name in names else pa.nulls(len(batch), f.type)
                            for f in schema
                        ],
                        schema=schema,
                    )

    return pa.RecordBatchReader.from_batches(schema, batches())


def _schema(parts: list[Path], table: Table | None) -> pa.Schema:
    """Return the schema of all new rows, using the types of the table, after checking that every value fits.

    Raises:
        InputError: A column has values that do not fit its type in the table or in an earlier input.
    """
    fields: dict[str, pa.Field] = {} if table is None else {f.name: f for f in table.schema}
    schema = pa.schema([])
    for part in parts:
        part_schema = pq.read_schema(part)
        part_schema = pa.schema(
            [pa.field(f.name, fields[f.name].type if f.name in fields else f.type) for f in part_schema]
        )
        try:
            schema = pa.unify_schemas([schema, part_schema], promote_options="permissive")
        except pa.ArrowTypeError as error:
            raise InputError(f"the inputs differ in a column: {error}; rename it in one of them") from error
    for part in parts:
        with pq.ParquetFile(part) as file:
            for f in file.schema_arrow:
                if f.type != schema.field(f.name).type:
                    _try_cast(file, f, schema.field(f.name).type)
    return schema


def _try_cast(file: Any, field: pa.Field, kind: pa.DataType) -> None:
    for batch in file.iter_batches(columns=[field.name, "source"]):
        try:
            batch.column(field.name).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"{batch.column('source')[0].as_py()}: column {field.name!r} is {field.type}, but {kind} in the "
                f"table ({error}); rename the column in the input"
            ) from error


def _widen(table: Table, schema: pa.Schema) -> None:
    """Add the columns that the table lacks, and make its vector columns nullable."""
    missing = [f for f in schema if f.name not in table.names]
    if missing:
        table.add_columns(missing)
    for columns in _vector_columns(table):
        table.allow_null(columns.vector)


def _vector_columns(table: Table) -> list[VectorColumns]:
    """Return the vector columns: ``vector``, and lists with a fingerprint column. Other lists belong to the user."""
    names = table.names
    found = []
    for f in table.schema:
        if pa.types.is_fixed_size_list(f.type) or pa.types.is_list(f.type):
            try:
                columns = VectorColumns(f.name)
            except UsageError:
                continue
            if f.name == VectorColumns().vector or columns.fingerprint in names:
                found.append(columns)
    return found


def _replace(table: Table, parts: list[Path]) -> None:
    """Write changed sequences with all their columns from the input, and clear every vector of the old ones."""
    names = table.names
    cleared = [c for v in _vector_columns(table) for c in (v.vector, v.status, v.reason, v.fingerprint) if c in names]
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(10_000):
                rows = {
                    name: batch.column(name).cast(table.schema.field(name).type)
                    for name in batch.schema.names
                    if name in names
                }
                rows |= {name: pa.nulls(len(batch), table.schema.field(name).type) for name in cleared}
                done = table.merge(pa.table(rows))
                if done != len(batch):
                    raise StoreError(
                        f"table '{TABLE}': only {done} of {len(batch)} rows were updated with their new sequence; run "
                        "the import again"
                    )
