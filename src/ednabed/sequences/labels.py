"""Lineages given in a file of their own, joined to records by id.

A labels file is a TSV or CSV with an id column and either rank columns or one column of lineages, or QIIME 2's table
without header line (id, tab, lineage). Names of columns are those of ``columns``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from ednabed.errors import InputError
from ednabed.sequences.columns import LINEAGE, Roles, find_roles, listed
from ednabed.sequences.delimited import Dialect, find_dialect, read_delimited
from ednabed.sequences.lineage import parse_lineage
from ednabed.sequences.opening import Source
from ednabed.sequences.sniffing import sniff
from ednabed.sequences.tables import lineages_of, text_of


class Labels(Mapping[str, str]):
    """Lineages by id, in the one form used everywhere.

    Attributes:
        path: The file they came from, for messages.
        matched: How many records got a label from ``apply`` so far.
    """

    def __init__(self, lineages: Mapping[str, str], path: str = "labels") -> None:
        self._lineages = dict(lineages)
        self.path = path
        self.matched = 0

    def __getitem__(self, key: str) -> str:
        return self._lineages[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lineages)

    def __len__(self) -> int:
        return len(self._lineages)

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the lineages of its labelled records replaced; counts them in ``matched``."""
        given = self._lineages
        found = [given.get(name) for name in batch.column("id").to_pylist()]
        count = len(found) - found.count(None)
        if not count:
            return batch
        self.matched += count
        place = batch.schema.get_field_index("lineage")
        known = batch.column(place).to_pylist()
        values = [old if new is None else new for new, old in zip(found, known, strict=True)]
        return batch.set_column(place, batch.schema.field(place), pa.array(values, pa.string()))


def read_labels(path: str | Path, *, stdin: BinaryIO | None = None) -> Labels:
    """Read a labels file (TSV or CSV, plain, .gz or .zst).

    An id may stand twice with the same lineage. One whose lineage says nothing (``Unassigned``) gives no label, so a
    record keeps what its own file says.

    Args:
        path: The file; ``-`` is ``stdin``.
        stdin: What ``-`` reads; None is the standard input of the process.

    Raises:
        InputError: The file cannot be read, lacks ids or lineages, or gives one id two lineages.
    """
    with Source(path, stdin, use="labels") as source:
        if sniff(source.head, source.path) != "table":
            raise InputError(f"{source.path}: holds sequences, not labels; give a TSV or CSV with an id and a lineage")
        dialect, roles = _layout(source)
        assert roles.id is not None
        lineages: dict[str, str] = {}
        row = 1
        for batch in read_delimited(source, dialect):
            ids = text_of(batch.column(roles.id), roles.id, source.path).to_pylist()
            for name, lineage in zip(ids, lineages_of(batch, roles, source.path, row).to_pylist(), strict=True):
                _add(lineages, name.strip(), lineage, source.path)
            row += batch.num_rows
        if row == 1:
            raise InputError(f"{source.path}: has a header line but no row; give at least one id with its lineage")
        return Labels(lineages, source.path)


def _add(lineages: dict[str, str], name: str, lineage: str | None, path: str) -> None:
    if lineage is None or not name:
        return
    if lineages.setdefault(name, lineage) != lineage:
        raise InputError(
            f"{path}: id {name!r} has two lineages, {lineages[name]!r} and {lineage!r}; keep the one that is right"
        )


def _layout(source: Source) -> tuple[Dialect, Roles]:
    dialect = find_dialect(source)
    roles = find_roles(dialect.columns, source.path)
    if roles.id and (roles.lineage or roles.ranks or roles.binomial):
        return dialect, roles
    if len(dialect.columns) == 2 and dialect.delimiter == "\t" and not roles.id and _is_lineage(dialect.columns[1]):
        bare = replace(dialect, columns=("id", "taxonomy"), header_lines=dialect.header_lines - 1)
        return bare, Roles(id="id", sequence=None, lineage="taxonomy")
    lacking = "lineage" if roles.id else "id"
    wanted = f"ranks (kingdom … species) or one of {', '.join(LINEAGE)}" if roles.id else "a column 'id'"
    raise InputError(
        f"{source.path}: no {lacking} column among {listed(dialect.columns)}; labels need {wanted} "
        "(without header line: id, tab, lineage)"
    )


def _is_lineage(text: str) -> bool:
    if ";" not in text and "__" not in text and ":" not in text:
        return False
    try:
        return parse_lineage(text) is not None
    except InputError:
        return False
