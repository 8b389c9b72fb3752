"""Lineages from a separate file, joined to records by id.

A labels file is a TSV or CSV with an id column and either rank columns or one column of lineages. It may have no header
line, as in QIIME 2's and mothur's files (id, lineage) and in tables of an id and seven ranks. Column names are matched
as in ``columns``. If the file has a column of markers, an id may have one lineage per marker, like a BOLD specimen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import InputError
from ednabed.sequences.columns import LINEAGE, Roles, find_roles, listed, plain
from ednabed.sequences.delimited import Dialect, find_dialect, read_delimited
from ednabed.sequences.headerless import SEQUENCE, with_header, with_label_header
from ednabed.sequences.headers import bare_id
from ednabed.sequences.lineage import read_lineages
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.records import MARKERS, ORGANELLE, markers_of
from ednabed.sequences.sniffing import sniff
from ednabed.sequences.tables import text_of, written_lineages

Key = tuple[str, str]
"""An id and a marker; the marker is empty if the file does not name one."""


class Labels(Mapping[str, str]):
    """Lineages by id, in standard form.

    Args:
        lineages: Maps ids to lineages.
        path: The file that they were read from, for messages.
        by_marker: Maps ids and markers to lineages, for ids whose markers have different lineages.
        organelles: Maps ids to the organelles that their lineages are marked with.
        by_sequence: Maps sequences, in upper case, to lineages, if the ids of the file are sequences (DADA2).
        notes: Issues with the file that the user should know about, one sentence each.

    Attributes:
        path: The file that they were read from.
        notes: See above.
        matched: Number of records that have received a label from ``apply`` so far.
    """

    def __init__(
        self,
        lineages: Mapping[str, str],
        path: str = "labels",
        *,
        by_marker: Mapping[Key, str] | None = None,
        organelles: Mapping[str, str] | None = None,
        by_sequence: Mapping[bytes, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._lineages = dict(lineages)
        self._by_marker = dict(by_marker or {})
        self._organelles = dict(organelles or {})
        self._by_sequence = dict(by_sequence or {})
        self.path = path
        self.notes = notes
        self.matched = 0

    def __getitem__(self, key: str) -> str:
        return self._lineages[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lineages)

    def __len__(self) -> int:
        return len(self._lineages)

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the lineages of its labelled records replaced, and count these in ``matched``.

        A column ``organelle`` is added if a label is marked as from an organelle.
        """
        ids = [bare_id(name) for name in batch.column("id").to_pylist()]
        found = [self._lineages.get(name) for name in ids]
        if self._by_marker:
            keys = zip(ids, markers_of(batch), strict=True)
            found = [self._by_marker.get(key, lineage) for key, lineage in zip(keys, found, strict=True)]
        if self._by_sequence:
            sequences = batch.column("sequence").to_pylist()
            found = [
                self._by_sequence.get((sequence or b"").upper()) if lineage is None else lineage
                for lineage, sequence in zip(found, sequences, strict=True)
            ]
        if self._organelles:
            batch = self._with_organelles(batch, ids)
        count = len(found) - found.count(None)
        if not count:
            return batch
        self.matched += count
        index = batch.schema.get_field_index("lineage")
        known = batch.column(index).to_pylist()
        values = [old if new is None else new for new, old in zip(found, known, strict=True)]
        return batch.set_column(index, batch.schema.field(index), pa.array(values, pa.string()))

    def _with_organelles(self, batch: pa.RecordBatch, ids: list[str]) -> pa.RecordBatch:
        column = pa.array([self._organelles.get(name) for name in ids], pa.string())
        index = batch.schema.get_field_index(ORGANELLE)
        if index < 0:
            return batch.append_column(ORGANELLE, column)
        return batch.set_column(index, ORGANELLE, pc.coalesce(column, batch.column(index)))


def read_labels(path: str | Path, *, stdin: BinaryIO | None = None, keep_placeholders: bool = False) -> Labels:
    """Read a labels file (TSV or CSV, plain, .gz or .zst, or a QIIME 2 taxonomy artifact).

    An id may occur twice with the same lineage. An uninformative lineage (``Unassigned``) gives no label, so the record
    keeps the lineage in its own file.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: The stream that ``-`` reads; None is the standard input of the process.
        keep_placeholders: Keep names such as ``uncultured bacterium``, which otherwise count as unknown.

    Raises:
        InputError: The file cannot be read, lacks ids or lineages, gives one id two lineages, or none of its lineages
            is understood.
    """
    with OpenedInput(path, stdin, expected="id with its lineage", use="labels") as source:
        if sniff(source.head, source.path) != "table":
            raise InputError(
                f"{source.path}: contains sequences, not labels; give a TSV or CSV with an id and a lineage"
            )
        dialect, roles = _layout(source)
        assert roles.id is not None
        ids: list[str] = []
        texts: list[str | None] = []
        markers: list[str] = []
        for batch in read_delimited(source, dialect):
            ids += [
                bare_id(name.strip()) for name in text_of(batch.column(roles.id), roles.id, source.path).to_pylist()
            ]
            texts += written_lineages(batch, roles, source.path).to_pylist()
            markers += _markers(batch, source.path)
        if not ids:
            raise InputError(f"{source.path}: has a header line but no rows; give at least one id with its lineage")
    read = read_lineages(texts, source.path, keep_placeholders=keep_placeholders)
    if not any(read.values) and any(texts) and read.notes:
        raise InputError(read.notes[0])
    by_key: dict[Key, str] = {}
    for name, marker, lineage in zip(ids, markers, read.values, strict=True):
        if name and lineage is not None and by_key.setdefault((name, marker), lineage) != lineage:
            raise InputError(
                f"{source.path}: id {name!r} has two lineages, {by_key[name, marker]!r} and {lineage!r}; keep the "
                "correct one"
            )
    by_id: dict[str, set[str]] = {}
    for (name, _), lineage in by_key.items():
        by_id.setdefault(name, set()).add(lineage)
    organelles = {
        name: organelle for name, organelle in zip(ids, read.organelles, strict=True) if organelle is not None
    }
    return Labels(
        {name: min(lineages) for name, lineages in by_id.items() if len(lineages) == 1},
        source.path,
        by_marker={key: lineage for key, lineage in by_key.items() if len(by_id[key[0]]) > 1},
        organelles=organelles,
        by_sequence={
            name.upper().encode(): min(lineages)
            for name, lineages in by_id.items()
            if len(lineages) == 1 and SEQUENCE.fullmatch(name)
        },
        notes=tuple(read.notes),
    )


def _markers(batch: pa.RecordBatch, path: str) -> list[str]:
    """Return the marker of each row, empty where the table does not name one."""
    accepted = [plain(name) for name in MARKERS]
    found = sorted((accepted.index(plain(name)), name) for name in batch.schema.names if plain(name) in accepted)
    if not found:
        return [""] * len(batch)
    column = found[0][1]
    return [(marker or "").strip() for marker in text_of(batch.column(column), column, path).to_pylist()]


def _layout(source: OpenedInput) -> tuple[Dialect, Roles]:
    dialect = with_label_header(with_header(find_dialect(source), source.path))
    roles = find_roles(dialect.columns, source.path)
    if roles.id and (roles.lineage or roles.ranks or roles.domain or roles.scientific_name):
        return dialect, roles
    missing = "lineage" if roles.id else "id"
    expected = f"ranks (kingdom … species) or one of {', '.join(LINEAGE)}" if roles.id else "a column 'id'"
    raise InputError(
        f"{source.path}: no {missing} column among {listed(dialect.columns)}; labels need {expected} "
        "(without a header line: id, tab, lineage)"
    )
