"""Records from files into the LanceDB table ``sequences``; ids stay unique, importing twice changes nothing.

Where an id comes with a second marker, as a specimen of BOLD may, that record is called ``id|marker``. The whole input
is read and compared with the table before anything is written: a broken file or a changed sequence leaves the table as
it was. Sequences are kept as they are in the file; bases are judged when they are embedded.
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

from ednabed.errors import InputError, StoreError, UsageError
from ednabed.sequences import open_records, read_labels
from ednabed.sequences.records import MARKERS, markers_of
from ednabed.store.distinct import DistinctIndex
from ednabed.store.files import exclusive
from ednabed.store.staging import Input, PartWriter, display_names
from ednabed.store.table import (
    ID,
    SEQUENCE,
    TABLE,
    Database,
    VectorColumns,
    allow_null,
    check_ids,
    lance_errors,
    scan,
)

log = logging.getLogger("ednabed")

_NEW, _CHANGED = "new", "changed"
# Number of the source under which the scratch index binds ids to markers.
_MARKER = 3
_LOCK = ".ednabed-import.lock"
STDIN = Path("-")
# Names that the first vector column and its companions will have.
_TAKEN = {VectorColumns().vector, VectorColumns().status, VectorColumns().reason, VectorColumns().fingerprint}
_RESERVED = frozenset(
    ("_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version", "_distance",
     "_score", "_relevance_score")
)  # fmt: skip
"""Columns that Lance keeps for itself, or that its searches add."""


@dataclass
class ImportResult:
    """What an import did, in records.

    Attributes:
        read: Records in the input.
        added: New rows.
        replaced: Rows whose sequence was changed and whose vectors were cleared.
        unchanged: Records whose id and sequence are in the table already.
        repeated: Records that stand again in the input with the same id and sequence.
        rejected: Refused records: id, reason, source, record.
        with_marker: Records that got their marker behind their id, because another record has the id.
        notes: What a person should know of the inputs, one sentence each.
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
    """Add the records of ``inputs`` to the table, which is made if absent.

    Args:
        database: Where the table is.
        inputs: Sequence files; ``Path("-")`` is standard input.
        labels: TSV or CSV with id and lineage, or None.
        replace: Take a changed sequence under a known id, and clear its vectors.
        keep_placeholders: Keep names such as ``uncultured bacterium`` in lineages, which else are unknown.

    Raises:
        InputError: An input cannot be read, or has a column whose name LanceDB keeps for itself.
        StoreError: A known id comes with another sequence and ``replace`` is False; nothing is written.
    """
    names = display_names(list(inputs))
    for path in inputs:
        if path.is_file():
            # Tells at once whether the file can be read as sequences at all, before a database is made for it.
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
            place = Path(database.address)
            is_new = not place.exists()
            with exclusive(place / _LOCK, "importing into this database ('ednabed table import')"):
                try:
                    return _import(database, sources, labels, replace, folder, index)
                except BaseException:
                    if is_new:
                        # Only what is empty goes; Windows keeps the lock file, which is open.
                        with suppress(OSError):
                            if [entry.name for entry in place.iterdir()] == [_LOCK]:
                                (place / _LOCK).unlink()
                                place.rmdir()
                    raise
        finally:
            index.close()


def _local(path: Path, folder: Path) -> Path:
    """Return the file; standard input is copied into a folder, because it may have to be read twice."""
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
    connection = database.connect()
    table = database.open() if database.holds_table(connection) else None
    known = DistinctIndex(folder / "known.sqlite")
    markers: dict[str, int] = {}
    try:
        if table is not None:
            check_ids(database, table)
            marker = [name for name in MARKERS if name in table.schema.names][:1]
            for batch in scan(database, table, [ID, SEQUENCE, *marker]):
                sequences = [s or "" for s in batch.column(SEQUENCE).to_pylist()]
                ids = batch.column(ID).to_pylist()
                known.claim(0, ids, index.number(_keys(sequences)))
                _with_markers(ids, markers_of(batch), index, markers)
        result, parts = _read(inputs, labels, folder, index, known, markers)
    finally:
        known.close()
    changed = [path for path, kind in parts if kind == _CHANGED]
    if changed and not replace:
        first = pq.read_table(changed[0], columns=[ID]).column(ID)[0].as_py()
        raise StoreError(
            f"{database.address}, table '{TABLE}': {ID} {first!r} is there with another sequence "
            f"({result.replaced} such records in the input); give --replace to take the new sequences and clear "
            "their vectors"
        )
    new = [path for path, kind in parts if kind == _NEW]
    schema = _schema([*new, *changed], table)
    if changed:
        _widen(database, table, schema)
        _replace(database, table, changed)
    if not new:
        return result
    if table is None:
        with lance_errors(database.address):
            connection.create_table(TABLE, data=_rows(new, schema), exist_ok=False)
    else:
        _widen(database, table, schema)
        with lance_errors(database.address):
            # Not add(): on an object store, where there is no lock, two imports at once must not double an id.
            table.merge_insert(ID).when_not_matched_insert_all().execute(_rows(new, schema))
    return result


def _keys(sequences: list[str]) -> list[bytes]:
    """Return a key of the text of each sequence, as it stands."""
    return [hashlib.sha256(s.encode()).digest()[:24] for s in sequences]


def _with_markers(ids: list[str], markers: list[str], index: DistinctIndex, numbers: dict[str, int]) -> list[str]:
    """Bind each id to its first marker; return the ids, with the marker behind where an id is bound to another."""
    with_marker = [i for i, (name, marker) in enumerate(zip(ids, markers, strict=True)) if name and marker]
    given = np.array([numbers.setdefault(markers[i], len(numbers)) for i in with_marker], np.int64)
    clash = index.claim(_MARKER, [ids[i] for i in with_marker], given)
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
    keep = any(source.keep_placeholders for source in inputs)
    lineages = None if labels is None else read_labels(labels, keep_placeholders=keep)
    result.notes += () if lineages is None else lineages.notes
    parts: list[tuple[Path, str]] = []
    for number, source in enumerate(inputs):
        writers = {kind: PartWriter(folder, f"{kind}-{number:04d}") for kind in (_NEW, _CHANGED)}
        try:
            with source.open(lineages) as records:
                for raw in records:
                    _refuse_reserved(raw.schema.names, source.given)
                    place = raw.schema.get_field_index("source")
                    raw = raw.set_column(place, raw.schema.field(place), pa.repeat(source.name, len(raw)))
                    for kind, rows in _sort(raw, number, index, known, markers, result).items():
                        writers[kind].write(rows)
                result.notes += records.notes
        finally:
            for writer in writers.values():
                writer.close()
        parts += [(path, kind) for kind, writer in writers.items() for path in writer.paths]
    if lineages is not None and not lineages.matched:
        log.warning("%s: none of its %d ids stands in the input, so no record got its label", labels, len(lineages))
    if not (result.added or result.replaced or result.unchanged):
        first = f": the first, {result.rejected[0][0]!r}, {result.rejected[0][1]}" if result.rejected else ""
        raise InputError(
            f"{', '.join(source.name for source in inputs)}: none of the {result.read} records can be taken{first}"
        )
    return result, parts


def _refuse_reserved(columns: Sequence[str], path: str) -> None:
    wrong = [name for name in columns if name in _RESERVED or "`" in name]
    if wrong:
        why = "LanceDB keeps for itself" if wrong[0] in _RESERVED else "LanceDB cannot have"
        raise InputError(
            f"{path}: column {wrong[0]!r} has a name that {why}; rename the column in the file, for example to "
            f"{wrong[0].strip('_').replace('`', '')!r}"
        )


def _sort(
    raw: Any, number: int, index: DistinctIndex, known: DistinctIndex, markers: dict[str, int], result: ImportResult
) -> dict[str, Any]:
    """Part a batch into new and changed rows; count the others."""
    sequences = ["".join((s or b"").decode("utf-8", "replace").split()) for s in raw.column("sequence").to_pylist()]
    written, sources, records = (raw.column(c).to_pylist() for c in ("id", "source", "record"))
    ids = _with_markers(written, markers_of(raw), index, markers)
    result.with_marker += sum(own != given for own, given in zip(ids, written, strict=True))
    keys = index.number(_keys(sequences))
    # Ids are unique over all inputs, as they are in the table.
    clash = index.claim(1, ids, keys)
    stored = known.get_ids(0, ids)
    first = index.first_time(2, ids)
    kinds: dict[str, list[int]] = {_NEW: [], _CHANGED: []}
    for i, id_ in enumerate(ids):
        reason = None if id_ else "the record has no id"
        if clash[i] and id_:
            reason = "this id stands earlier in the input with another sequence"
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
    further = [n for n in raw.schema.names if n not in ("id", "sequence", "record")]
    names = [ID, SEQUENCE]
    for name in further:
        # Lance takes no dot in a name.
        own = name.replace(".", "_")
        while own in names or own in _TAKEN or (own != name and own in further):
            own += "_input"
        names.append(own)
    columns = [pa.array(ids), pa.array(sequences), *(raw.column(n) for n in further)]
    rows = pa.record_batch([*columns], names=names)
    return {kind: rows.take(pa.array(chosen)) for kind, chosen in kinds.items() if chosen}


def _rows(parts: list[Path], schema: pa.Schema) -> Any:
    """Stream the rows of several files in one schema, nulls where a file lacks a column: one commit."""

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


def _schema(parts: list[Path], table: Any) -> pa.Schema:
    """Return the schema of all new rows, in the table's own types, when every value fits.

    Raises:
        InputError: A column holds values that the table, or an input before it, has in another type.
    """
    fields: dict[str, pa.Field] = {} if table is None else {f.name: f for f in table.schema}
    schema = pa.schema([])
    for part in parts:
        own = pq.read_schema(part)
        own = pa.schema([pa.field(f.name, fields[f.name].type if f.name in fields else f.type) for f in own])
        try:
            schema = pa.unify_schemas([schema, own], promote_options="permissive")
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
                f"{batch.column('source')[0].as_py()}: column {field.name!r} is {field.type} there and {kind} in the "
                f"table ({error}); rename the column in the input"
            ) from error


def _widen(database: Database, table: Any, schema: pa.Schema) -> None:
    """Add columns that the table lacks, and let vectors be null where it does not."""
    lacking = [f for f in schema if f.name not in table.schema.names]
    if lacking:
        with lance_errors(database.address):
            table.add_columns(pa.schema(lacking))
    for columns in _vectors(table):
        allow_null(database, table, columns.vector)


def _vectors(table: Any) -> list[VectorColumns]:
    """Return the vector columns: ``vector``, and those with a fingerprint beside them. Other lists are the user's."""
    names = table.schema.names
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


def _replace(database: Database, table: Any, parts: list[Path]) -> None:
    """Write changed sequences with all that the input says of them, and clear every vector of the old ones."""
    names = table.schema.names
    vectors = _vectors(table)
    for v in vectors:
        allow_null(database, table, v.vector)
    cleared = [c for v in vectors for c in (v.vector, v.status, v.reason, v.fingerprint) if c in names]
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(10_000):
                rows = {
                    name: batch.column(name).cast(table.schema.field(name).type)
                    for name in batch.schema.names
                    if name in names
                }
                rows |= {name: pa.nulls(len(batch), table.schema.field(name).type) for name in cleared}
                update = table.merge_insert(ID).when_matched_update_all()
                with lance_errors(database.address):
                    done = update.execute(pa.table(rows), on_bad_vectors="null").num_updated_rows
                if done != len(batch):
                    raise StoreError(
                        f"table '{TABLE}': {done} of {len(batch)} rows took their new sequence; run the import again"
                    )
