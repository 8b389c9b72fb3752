"""Sums in a count table: a column (or a row) that is the sum of all others is neither a sample nor a feature.

Such a column would double all reads. It is found by addition, whatever its name is; but a name such as ``total``
decides where the numbers cannot: between two equal columns, and in a table with very few rows. A column with such a
name that is not a sum is refused, because its meaning is unknown.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import compress

import numpy as np

from ednabed.base.arrays import Bools, Ints
from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.columns import ABUNDANCE, listed, plain
from ednabed.sequences.counts.table import CountTable

_ABUNDANCE = frozenset(map(plain, ABUNDANCE))
_OF = (
    "grand|overall|global|all|rows?|cols?|columns?|n|number|raw|reads?|counts?|seqs?|sequences?|abundances?|samples?|"
    "of|in|per|across|the"
)
_SUM = re.compile(rf"(?:{_OF})*(?:totals?|sums?)(?:{_OF})*|readcounts?|numreads|numberofreads")
"""Names (as returned by ``plain``) that only sums have."""
_HAS_SUM = re.compile(
    r"(?:^|[^a-z])(?:(?:grand|row|rows|col|column|reads?|counts?|all)[ _.-]*)?(?:totals?|sums?)(?:[^a-z]|$)",
    re.IGNORECASE,
)
"""Names that sums have, but also samples (``lake 1 total``)."""
_POOL = re.compile(r"(?:^|[^a-z])(?:pool(?:ed)?|merged|combined|overall|all)(?:[^a-z]|$)", re.IGNORECASE)
_CLEAR_ROWS = 3
"""Minimum number of rows with reads that must add up before a column without such a name counts as a sum."""
_CLEAR_SAMPLES = 3
"""Minimum number of samples in such a sum; two if its name is that of a pool."""


def is_sum_name(name: str) -> bool:
    """Return whether a name is a usual name for sums."""
    return bool(_HAS_SUM.search(name)) or _is_sum_alone(name)


def _is_sum_alone(name: str) -> bool:
    return plain(name) in _ABUNDANCE or _SUM.fullmatch(plain(name)) is not None


def without_sums(table: CountTable) -> CountTable:
    """Return the table without the columns and rows that are the sums of all others, with a note for each.

    Raises:
        InputError: A column is named as a sum but is not one, so it may double the reads.
    """
    return _without_sum_rows(_without_sum_columns(table))


def _without_sum_columns(table: CountTable) -> CountTable:
    if not len(table.counts):
        return table
    if len(table.samples) == 1:
        note = f"has no samples except {table.samples[0]!r}, which is read as one sample of that name"
        return replace(table, notes=(*table.notes, note)) if _is_sum_alone(table.samples[0]) else table
    rows = np.repeat(np.arange(len(table)), np.diff(table.starts))
    named = np.array([is_sum_name(name) for name in table.samples])
    alone = np.array([_is_sum_alone(name) for name in table.samples])
    sums = _named_sums(table, rows, named, alone)
    stale = [column for column in np.flatnonzero(alone).tolist() if column not in sums]
    if stale and not sums:
        raise _not_a_sum(table, rows, stale[0], ~alone)
    notes = []
    if not sums and (unnamed := _unnamed_sum(table, rows)) is not None:
        name = table.samples[unnamed]
        if len(table.samples) > _CLEAR_SAMPLES or _POOL.search(name):
            sums = [unnamed]
        else:
            notes.append(f"column {name!r} is the sum of the two others; remove it if it is not a separate sample")
    notes += [
        f"column {table.samples[column]!r} is the sum of all other columns, so it is not a sample and is omitted"
        for column in sums
    ] + [
        f"column {table.samples[column]!r} is named as a sum, but {table.samples[sums[0]]!r} is the sum of all other "
        "columns, so it is omitted"
        for column in stale
    ]
    omitted = sorted((*sums, *stale))
    samples = [table.samples[column] for column in np.flatnonzero(named).tolist() if column not in omitted]
    if samples:
        notes.append(f"not the sum of the other columns, so read as samples: {listed(samples)}")
    kept = np.ones(len(table.samples), bool)
    kept[omitted] = False
    return replace(
        _select_columns(table, rows, kept),
        omitted=(*table.omitted, *(table.samples[column] for column in omitted)),
        notes=(*table.notes, *notes),
    )


def _named_sums(table: CountTable, rows: Ints, named: Bools, alone: Bools) -> list[int]:
    """Return the columns that are named as sums and are the sum of the columns that are not.

    Args:
        table: The table.
        rows: Row of each count.
        named: Mask of the columns with names that sums have.
        alone: Mask of the columns with names that only sums have.

    Raises:
        InputError: All columns have names that only sums have.
    """
    if alone.all():
        raise InputError(
            f"{table.path}: all its columns of counts are named as sums ({listed(table.samples)}); keep one of them, "
            "or rename them if they are samples"
        )
    totals = _totals(table.columns, table.counts, len(table.samples))
    sums: set[int] = set()
    for candidates in (named, alone):
        # Few columns have the right total, so the time is linear in the number of cells.
        total = sum(compress(totals, ~candidates))
        matches = [column for column in np.flatnonzero(candidates).tolist() if totals[column] == total]
        sums |= {column for column in matches if _adds_up(table, rows, column, ~candidates)}
    return sorted(sums)


def _not_a_sum(table: CountTable, rows: Ints, column: int, others: Bools) -> InputError:
    """Return the error for a column that is named as a sum but is not the sum of ``others``."""
    name = table.samples[column]
    in_column, in_others = table.columns == column, others[table.columns]
    found = _totals(rows[in_column], table.counts[in_column], len(table))
    expected = _totals(rows[in_others], table.counts[in_others], len(table))
    differences = [total - part for total, part in zip(expected, found, strict=True)]
    missing = sum(differences)
    totals = _totals(table.columns, table.counts, len(table.samples))
    for other in np.flatnonzero(others).tolist():
        in_other = table.columns == other if totals[other] == missing else None
        if in_other is not None and _totals(rows[in_other], table.counts[in_other], len(table)) == differences:
            return InputError(
                f"{table.path}: column {name!r} is the sum of all other columns except {table.samples[other]!r}; "
                f"remove {table.samples[other]!r} if it is not a sample, else remove {name!r}"
            )
    wrong = next(row for row, difference in enumerate(differences) if difference)
    return InputError(
        f"{table.path}: column {name!r} is named as a sum, but has {found[wrong]:,} for "
        f"{shortened(table.ids[wrong])!r}, where the other columns add up to {expected[wrong]:,}; remove it, or rename "
        "it if it is a sample"
    )


def _adds_up(table: CountTable, rows: Ints, column: int, others: Bools) -> bool:
    """Return whether a column has reads and equals the sum of ``others`` in every row."""
    in_column, in_others = table.columns == column, others[table.columns]
    found = _totals(rows[in_column], table.counts[in_column], len(table))
    expected = _totals(rows[in_others], table.counts[in_others], len(table))
    return bool(in_column.any() and in_others.any()) and found == expected


def _unnamed_sum(table: CountTable, rows: Ints) -> int | None:
    """Return the one column that is the sum of all others, if there is exactly one and enough rows show it."""
    totals = _totals(table.columns, table.counts, len(table.samples))
    all_reads = sum(totals)
    matches = [column for column, total in enumerate(totals) if 2 * total == all_reads]
    if len(matches) != 1 or len(table.samples) < _CLEAR_SAMPLES:
        return None
    others = np.ones(len(table.samples), bool)
    others[matches[0]] = False
    enough = np.count_nonzero(table.columns == matches[0]) >= _CLEAR_ROWS
    return matches[0] if enough and _adds_up(table, rows, matches[0], others) else None


def _totals(groups: Ints, counts: Ints, size: int) -> list[int]:
    """Return the sum of counts by group, in Python integers if 64 bits might not be enough for a sum."""
    if len(counts) and int(counts.max()) > (2**63 - 1) // len(counts):
        exact = [0] * size
        for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
            exact[group] += count
        return exact
    found = np.zeros(size, np.int64)
    np.add.at(found, groups, counts)
    return [int(value) for value in found]


def _select_columns(table: CountTable, rows: Ints, kept: Bools) -> CountTable:
    if kept.all():
        return table
    new_column = np.cumsum(kept) - 1
    is_kept = kept[table.columns]
    return replace(
        table,
        samples=tuple(name for name, keep in zip(table.samples, kept.tolist(), strict=True) if keep),
        starts=_starts(rows[is_kept], len(table)),
        columns=new_column[table.columns[is_kept]].astype(np.int64),
        counts=table.counts[is_kept],
    )


def _without_sum_rows(table: CountTable) -> CountTable:
    """Omit the rows that are named as sums and are the sum of all rows that are not."""
    named = [row for row, name in enumerate(table.row_of_id) if _HAS_SUM.search(name)]
    if not named or len(named) == len(table):
        return table
    rows = np.repeat(np.arange(len(table)), np.diff(table.starts))
    others = ~np.isin(rows, named)
    sums = _totals(table.columns[others], table.counts[others], len(table.samples))
    omitted = []
    for row in named:
        columns, counts = table.row(row)
        if len(counts) and _totals(columns, counts, len(table.samples)) == sums:
            omitted.append(row)
    if not omitted:
        return table
    is_kept = ~np.isin(rows, omitted)
    keep = np.setdiff1d(np.arange(len(table)), omitted)
    new_row = np.full(len(table), -1)
    new_row[keep] = np.arange(len(keep))
    ids = table.ids
    kept = [int(row) for row in keep]
    return replace(
        table,
        row_of_id={ids[row]: new for new, row in enumerate(kept)},
        starts=_starts(new_row[rows[is_kept]], len(keep)),
        columns=table.columns[is_kept],
        counts=table.counts[is_kept],
        sequences=None if table.sequences is None else tuple(table.sequences[row] for row in kept),
        labels={column: [cells[row] for row in kept] for column, cells in table.labels.items()},
        notes=(
            *table.notes,
            *(
                f"row {ids[row]!r} is the sum of all other rows, so it is not a feature and is omitted"
                for row in omitted
            ),
        ),
    )


def _starts(rows: Ints, size: int) -> Ints:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=size)))).astype(np.int64)
