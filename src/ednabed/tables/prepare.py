"""Prepare a table for embedding: check that it can hold the vectors, and add the columns for them."""

from __future__ import annotations

import logging
import time

import pyarrow as pa

from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.tables.provenance import check_functions, holds_vectors, write_spec
from ednabed.tables.table import Table

log = logging.getLogger("ednabed")

_TRIES = 5


def check_table(table: Table, spec: Spec, *, resume: bool) -> None:
    """Raise StoreError if a table cannot hold the vectors of a function."""
    columns = table.columns
    table.check_ids()
    for name in (columns.status, columns.reason, columns.fingerprint):
        if name in table.names:
            table.require_text(name)
    dimension = table.dimension
    if dimension is None:
        return
    if dimension != spec.dimension:
        # A column in which every row is still pending is replaced by ``make_room``.
        if not holds_vectors(table):
            return
        raise StoreError(
            f"{table.column_label} contains vectors of {dimension} dimensions, but {spec.model} produces "
            f"{spec.dimension}; use another `vector_column` to keep both"
        )
    if resume:
        check_functions(table, spec)


def make_room(table: Table, spec: Spec) -> None:
    """Drop a vector column of another dimension in which every row is pending; ``add_columns`` adds it again.

    Raises:
        StoreError: Another program wrote vectors to it meanwhile; they are kept.
    """
    where = table.column_label
    for attempt in range(_TRIES):
        table.refresh()
        dimension = table.dimension
        if dimension is None or dimension == spec.dimension:
            return
        if holds_vectors(table):
            raise StoreError(f"{where} received vectors of {dimension} dimensions meanwhile; run the command again")
        try:
            alone = table.drop_vectors()
        except StoreError:
            # Another process may have just dropped it; check again.
            if attempt == _TRIES - 1:
                raise
            continue
        if alone:
            log.warning(
                "%s had %d dimensions and no vector in any row; it is replaced by one of %d dimensions for %s",
                where, dimension, spec.dimension, spec.model,
            )  # fmt: skip
            return
        # Lance drops a column even if another program has written to it or recreated it since the check.
        table.step_back()
        now = table.dimension
        if now is not None and (now == spec.dimension or holds_vectors(table)):
            table.restore()
    raise StoreError(f"{where} is constantly changed by other programs; run the command again when they have finished")


def add_columns(table: Table, spec: Spec) -> None:
    """Add the vector column and its companions if they are missing; another process may do the same."""
    columns = table.columns
    required = [pa.field(columns.vector, pa.list_(pa.float32(), spec.dimension))]
    required += [pa.field(name, pa.string()) for name in (columns.status, columns.reason, columns.fingerprint)]
    for attempt in range(_TRIES):
        missing = [f for f in required if f.name not in table.names]
        try:
            if missing:
                table.add_columns(missing)
            for f in required:
                table.allow_null(f.name)
            write_spec(table, spec)
            return
        except StoreError:
            # Lance lets one of two writers win; the other checks again.
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.2 * (attempt + 1))
        table.refresh()
