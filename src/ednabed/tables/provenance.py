"""Whose vectors a column holds: only those of one known function can be compared, so no other is searched or added.

The metadata of the vector column contain the spec of the function that last wrote to it, and each row the fingerprint
of the function that computed its vector.
"""

from __future__ import annotations

import json

from ednabed.base.stored_json import parse_json
from ednabed.base.topk import lengths, usable
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.tables.table import REJECTED, Table, quoted

SPEC_KEY = "ednabed.spec"
"""Metadata key of a vector column for the spec of the last function that wrote to it, as JSON."""


def write_spec(table: Table, spec: Spec) -> None:
    """Write the function into the metadata of the vector column."""
    table.write_note(SPEC_KEY, json.dumps(spec.to_dict(), sort_keys=True))


def spec_of(table: Table) -> Spec:
    """Return the function that computed the vectors of a column.

    Raises:
        StoreError: There is no such column, it has no vector, or its vectors were computed by several functions or by
            an unknown one.
    """
    where = table.column_label
    if table.dimension is None:
        raise StoreError(f"{where} does not exist; compute its vectors with 'ednabed table embed'")
    text = table.note(SPEC_KEY)
    try:
        spec = None if text is None else Spec.from_dict(parse_json(text))
    except ValueError as error:
        raise StoreError(
            f"{where} has a '{SPEC_KEY}' that no version of ednabed writes ({error}); embed again with "
            "'ednabed table embed --no-resume'"
        ) from error
    if spec is not None and _is_only_one(table, spec):
        return spec
    prints = _fingerprints(table)
    others = sorted(prints - {spec.fingerprint} if spec else prints, key=str)
    if others:
        # Rejected rows and cleared vectors keep their fingerprint, so the vectors themselves must be checked now.
        others = _other_fingerprints(table, spec)
    if spec is None or others:
        names = [other[:12] if other else "an unknown one" for other in others]
        names += [spec.fingerprint[:12]] if spec and spec.fingerprint in prints else []
        if not names:
            raise StoreError(f"{where} has no vectors; compute them with 'ednabed table embed'")
        which = f"by {len(names)} functions ({', '.join(names)})" if len(names) > 1 else "by an unknown function"
        raise StoreError(
            f"{where} contains vectors computed {which}, expected one known function, because only vectors of the same "
            "function can be compared; replace them all with 'ednabed table embed --no-resume', or use another "
            "`vector_column`"
        )
    if spec.fingerprint not in prints:
        raise StoreError(f"{where} has no vectors; compute them with 'ednabed table embed'")
    return spec


def embedded_filter(table: Table, spec: Spec) -> str:
    """Return the filter for rows with a vector computed by this function."""
    columns = table.columns
    where = f"{quoted(columns.fingerprint)} = '{spec.fingerprint}'"
    if columns.status in table.names:
        where += f" AND ({quoted(columns.status)} IS NULL OR {quoted(columns.status)} != '{REJECTED}')"
    return where


def check_functions(table: Table, spec: Spec) -> None:
    """Raise StoreError if the column contains vectors computed by another or an unknown function."""
    other = _other_function(table, spec)
    if other is not None:
        raise StoreError(
            f"{table.column_label} contains vectors computed by {other}, but {spec.model} is {spec.fingerprint[:12]}; "
            "they cannot be mixed: replace them all with `resume=False` (without `max_sequences`), or use another "
            "`vector_column` to keep both"
        )


def holds_vectors(table: Table, where: str = "") -> bool:
    """Return whether any row, of those that fulfil a filter, has a vector that is not all zeros."""
    vector = table.columns.vector
    parts = table.scan([vector], f"{quoted(vector)} IS NOT NULL{where and f' AND {where}'}")
    return any(table.vectors(batch).any() for batch in parts)


def _is_only_one(table: Table, spec: Spec) -> bool:
    """Return quickly whether all rows have the fingerprint of ``spec``, as in a completely embedded table."""
    if table.columns.fingerprint not in table.names:
        return False
    return not table.count(_of_others(table, spec)) and bool(table.count(embedded_filter(table, spec)))


def _of_others(table: Table, spec: Spec) -> str:
    fingerprint = quoted(table.columns.fingerprint)
    return f"{fingerprint} IS NULL OR {fingerprint} != '{spec.fingerprint}'"


def _fingerprints(table: Table) -> set[str | None]:
    """Return the fingerprints of all rows except rejected ones, without reading the vectors."""
    import pyarrow.compute as pc

    columns = table.columns
    names = [name for name in (columns.fingerprint, columns.status) if name in table.names]
    if columns.fingerprint not in names:
        return {None}
    found: set[str | None] = set()
    for batch in table.scan(names):
        prints = batch.column(columns.fingerprint)
        if columns.status in names:
            prints = prints.filter(pc.fill_null(pc.not_equal(batch.column(columns.status), REJECTED), True))
        found.update(prints.unique().to_pylist())
    return found


def _other_fingerprints(table: Table, spec: Spec | None) -> list[str | None]:
    """Return the fingerprints of usable vectors, except that of ``spec``; None stands for a missing fingerprint."""
    names = [name for name in (table.columns.fingerprint,) if name in table.names]
    found: set[str | None] = set()
    for batch in table.scan([table.columns.vector, *names], _of_others(table, spec) if names and spec else None):
        good = usable(lengths(table.vectors(batch)))
        prints = batch.column(names[0]).to_pylist() if names else [None] * len(batch)
        found.update(name for name, is_good in zip(prints, good.tolist(), strict=True) if is_good)
    return sorted(found, key=str)


def _other_function(table: Table, spec: Spec) -> str | None:
    """Return a description of the function of any foreign vectors, or None if there are none."""
    vector, fingerprint = quoted(table.columns.vector), quoted(table.columns.fingerprint)
    unknown = ""
    if table.columns.fingerprint in table.names:
        named = f"{vector} IS NOT NULL AND {fingerprint} IS NOT NULL AND {fingerprint} != '{spec.fingerprint}'"
        for batch in table.scan([table.columns.fingerprint], named):
            if len(batch):
                return f"another function ({batch.column(table.columns.fingerprint)[0].as_py()[:12]})"
        unknown = f"{fingerprint} IS NULL"
    return "an unknown function (no fingerprint)" if holds_vectors(table, unknown) else None
