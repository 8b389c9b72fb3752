"""Select records by dataset, run and a filter on their columns, in the same way for search and export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Bools
from ednabed.errors import StoreError
from ednabed.reference.collection import Collection
from ednabed.search.where import parse_where


@dataclass(frozen=True)
class Choice:
    """A selection of records; by default all records.

    Attributes:
        datasets: Select only records of these datasets; empty selects all.
        runs: Select only records of these runs (``dataset/run_id``); empty selects all.
        exclude_runs: Exclude the records of these runs.
        where: Filter on the columns of the records (``search.where``); None selects all.
    """

    datasets: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    exclude_runs: tuple[str, ...] = ()
    where: str | None = None


def chosen_records(collection: Collection, choice: Choice) -> Bools | None:
    """Return which records are selected, bool, one per position; None for all.

    Raises:
        UsageError: The filter is not valid, or uses a column that no record has.
        StoreError: A given dataset or run does not exist.
    """
    named_runs = (*choice.runs, *choice.exclude_runs)
    if not (choice.datasets or named_runs or choice.where):
        return None
    where = None if choice.where is None else parse_where(choice.where)
    # The number of a record's vector means nothing to users.
    schema = pa.schema([field for field in collection.record_schema if field.name != "row"])
    expression = None if where is None else where.expression(schema)
    columns = ["dataset", "run_id", *(sorted(where.columns) if where is not None else ())]
    chosen = np.zeros(len(collection.positions), bool)
    datasets: set[str] = set()
    runs: set[str] = set()
    for first, table in collection.scan_records(list(dict.fromkeys(columns))):
        kept = np.ones(table.num_rows, bool)
        if choice.datasets:
            names = table.column("dataset")
            datasets |= set(names.unique().to_pylist())
            kept &= pc.is_in(names, pa.array(choice.datasets, pa.string())).to_numpy()
        if named_runs:
            labels = pc.binary_join_element_wise(table.column("dataset"), table.column("run_id"), "/")
            runs |= set(labels.unique().to_pylist())
            if choice.runs:
                kept &= pc.is_in(labels, pa.array(choice.runs, pa.string())).to_numpy()
            kept &= ~pc.is_in(labels, pa.array(choice.exclude_runs, pa.string())).to_numpy()
        if expression is not None:
            numbered = table.append_column("__position", [np.arange(table.num_rows)])
            passed = np.zeros(table.num_rows, bool)
            passed[numbered.filter(expression).column("__position").to_numpy()] = True
            kept &= passed
        chosen[first : first + table.num_rows] = kept
    for kind, requested, existing in (("dataset", choice.datasets, datasets), ("run", named_runs, runs)):
        for name in requested:
            if name not in existing:
                raise StoreError(
                    f"{collection.name} has no {kind} {name!r}; it has {', '.join(sorted(existing)[:10])}"
                    + (" and more" if len(existing) > 10 else "")
                )
    return chosen


def rows_with(collection: Collection, chosen: Bools) -> Bools:
    """Return which distinct sequences have a ``chosen`` record, bool, shape (rows,)."""
    per_row = np.concatenate([[0], np.cumsum(chosen[collection.positions])])
    return np.asarray(np.diff(per_row[collection.starts]) > 0)
