"""Sums in a count table: a column (or a row) that adds up all others is neither a sample nor a feature.

Such a column would double every read. It is found by adding up, whatever its name is; but a name such as ``total``
decides where the figures cannot: of two equal columns, and in a table of very few rows.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ednabed.sequences.columns import ABUNDANCE, plain
from ednabed.sequences.counts.table import CountTable

_NAME = re.compile(
    r"(?:^|[^a-z])(?:(?:grand|row|rows|col|column|reads?|counts?|all)[ _.-]*)?(?:totals?|sums?)(?:[^a-z]|$)",
    re.IGNORECASE,
)
_CLEAR_ROWS = 3
"""Rows with reads that have to add up before a column without such a name is taken for a sum."""


def is_sum_name(name: str) -> bool:
    """Return whether a name is one that people give to sums."""
    return bool(_NAME.search(name)) or plain(name) in {"rowsum", "rowsums", "colsum", "colsums", *map(plain, ABUNDANCE)}


def without_sums(table: CountTable) -> CountTable:
    """Return the table without the columns and rows that are the sums of all others, with a note for each."""
    return _without_sum_rows(_without_sum_columns(table))


def _without_sum_columns(table: CountTable) -> CountTable:
    if len(table.samples) < 2 or not len(table.counts):
        return table
    named = np.array([is_sum_name(name) for name in table.samples])
    rows = np.repeat(np.arange(len(table)), np.diff(table.starts))
    sums = [place for place in np.flatnonzero(named).tolist() if _adds_up(table, rows, place, ~named)]
    if not sums:
        sums = _unnamed_sum(table, rows)
    notes = [
        f"column {table.samples[place]!r} is the sum of all other columns, so it is not a sample and is left out"
        for place in sums
    ] + [
        f"column {name!r} is not the sum of the other columns, so it is read as a sample"
        for place, name in enumerate(table.samples)
        if _NAME.search(name) and place not in sums
    ]
    kept = np.ones(len(table.samples), bool)
    kept[sums] = False
    return replace(
        _select_columns(table, rows, kept),
        left_out=(*table.left_out, *(table.samples[place] for place in sums)),
        notes=(*table.notes, *notes),
    )


def _adds_up(table: CountTable, rows: npt.NDArray[np.int64], place: int, others: npt.NDArray[np.bool_]) -> bool:
    """Return whether in every row the count of a column is the sum of those of ``others``, and some row has reads."""
    mine, theirs = table.columns == place, others[table.columns]
    left = _totals(rows[mine], table.counts[mine], len(table))
    right = _totals(rows[theirs], table.counts[theirs], len(table))
    return bool(mine.any() and theirs.any()) and left == right


def _unnamed_sum(table: CountTable, rows: npt.NDArray[np.int64]) -> list[int]:
    """Return the one column that is the sum of all others, if there is exactly one and enough rows show it."""
    totals = _totals(table.columns, table.counts, len(table.samples))
    whole = sum(totals)
    fitting = [place for place, total in enumerate(totals) if 2 * total == whole]
    if len(fitting) != 1 or len(table.samples) < 3:
        return []
    others = np.ones(len(table.samples), bool)
    others[fitting[0]] = False
    enough = np.count_nonzero(table.columns == fitting[0]) >= _CLEAR_ROWS
    return fitting if enough and _adds_up(table, rows, fitting[0], others) else []


def _totals(groups: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], size: int) -> list[int]:
    """Add up counts by group. Python's whole numbers where 64 bits might not hold a sum."""
    if len(counts) and int(counts.max()) > (2**63 - 1) // len(counts):
        exact = [0] * size
        for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
            exact[group] += count
        return exact
    found = np.zeros(size, np.int64)
    np.add.at(found, groups, counts)
    return [int(value) for value in found]


def _select_columns(table: CountTable, rows: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> CountTable:
    if kept.all():
        return table
    number = np.cumsum(kept) - 1
    stay = kept[table.columns]
    return replace(
        table,
        samples=tuple(name for name, keep in zip(table.samples, kept.tolist(), strict=True) if keep),
        starts=_starts(rows[stay], len(table)),
        columns=number[table.columns[stay]].astype(np.int64),
        counts=table.counts[stay],
    )


def _without_sum_rows(table: CountTable) -> CountTable:
    """Leave out the rows named as sums that are the sum of all rows that are not."""
    named = [place for place, name in enumerate(table.places) if _NAME.search(name)]
    if not named or len(named) == len(table):
        return table
    rows = np.repeat(np.arange(len(table)), np.diff(table.starts))
    others = ~np.isin(rows, named)
    sums = _totals(table.columns[others], table.counts[others], len(table.samples))
    bad = []
    for place in named:
        columns, counts = table.row(place)
        if len(counts) and _totals(columns, counts, len(table.samples)) == sums:
            bad.append(place)
    if not bad:
        return table
    stay = ~np.isin(rows, bad)
    keep = np.setdiff1d(np.arange(len(table)), bad)
    number = np.full(len(table), -1)
    number[keep] = np.arange(len(keep))
    ids = table.ids
    pick = [int(place) for place in keep]
    return replace(
        table,
        places={ids[place]: new for new, place in enumerate(pick)},
        starts=_starts(number[rows[stay]], len(keep)),
        columns=table.columns[stay],
        counts=table.counts[stay],
        sequences=None if table.sequences is None else tuple(table.sequences[place] for place in pick),
        labels={column: [cells[place] for place in pick] for column, cells in table.labels.items()},
        notes=(
            *table.notes,
            *(
                f"row {ids[place]!r} is the sum of all other rows, so it is not a feature and is left out"
                for place in bad
            ),
        ),
    )


def _starts(rows: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=size)))).astype(np.int64)
