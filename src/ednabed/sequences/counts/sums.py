"""Sums in a count table: a column (or a row) that adds up all others is neither a sample nor a feature.

Such a column would double every read. It is found by adding up, whatever its name is; but a name such as ``total``
decides where the figures cannot: of two equal columns, and in a table of very few rows. A column named so that adds up
to nothing is refused, since it is not known what it is.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from ednabed.errors import InputError
from ednabed.sequences.columns import ABUNDANCE, listed, plain, shortened
from ednabed.sequences.counts.table import CountTable

_ABUNDANCE = frozenset(map(plain, ABUNDANCE))
_OF = (
    "grand|overall|global|all|rows?|cols?|columns?|n|number|raw|reads?|counts?|seqs?|sequences?|abundances?|samples?|"
    "of|in|per|across|the"
)
_SUM = re.compile(rf"(?:{_OF})*(?:totals?|sums?)(?:{_OF})*|readcounts?|numreads|numberofreads")
"""Names (``plain``) that only a sum has."""
_HAS_SUM = re.compile(
    r"(?:^|[^a-z])(?:(?:grand|row|rows|col|column|reads?|counts?|all)[ _.-]*)?(?:totals?|sums?)(?:[^a-z]|$)",
    re.IGNORECASE,
)
"""Names that a sum has, or a sample (``lake 1 total``)."""
_POOL = re.compile(r"(?:^|[^a-z])(?:pool(?:ed)?|merged|combined|overall|all)(?:[^a-z]|$)", re.IGNORECASE)
_CLEAR_ROWS = 3
"""Rows with reads that have to add up before a column without such a name is taken for a sum."""
_CLEAR_SAMPLES = 3
"""Samples that it has to add up; two where it is called a pool."""


def is_sum_name(name: str) -> bool:
    """Return whether a name is one that people give to sums."""
    return bool(_HAS_SUM.search(name)) or _is_sum_alone(name)


def _is_sum_alone(name: str) -> bool:
    return plain(name) in _ABUNDANCE or _SUM.fullmatch(plain(name)) is not None


def without_sums(table: CountTable) -> CountTable:
    """Return the table without the columns and rows that are the sums of all others, with a note for each.

    Raises:
        InputError: A column is named as a sum and is none, so that it may double the reads.
    """
    return _without_sum_rows(_without_sum_columns(table))


def _without_sum_columns(table: CountTable) -> CountTable:
    if not len(table.counts):
        return table
    if len(table.samples) == 1:
        note = f"has no samples but {table.samples[0]!r}, which is read as one sample of that name"
        return replace(table, notes=(*table.notes, note)) if _is_sum_alone(table.samples[0]) else table
    rows = np.repeat(np.arange(len(table)), np.diff(table.starts))
    named = np.array([is_sum_name(name) for name in table.samples])
    alone = np.array([_is_sum_alone(name) for name in table.samples])
    sums = _named_sums(table, rows, named, alone)
    stale = [place for place in np.flatnonzero(alone).tolist() if place not in sums]
    if stale and not sums:
        raise _not_a_sum(table, rows, stale[0], ~alone)
    notes = []
    if not sums and (unnamed := _unnamed_sum(table, rows)) is not None:
        name = table.samples[unnamed]
        if len(table.samples) > _CLEAR_SAMPLES or _POOL.search(name):
            sums = [unnamed]
        else:
            notes.append(f"column {name!r} is the sum of the two others; remove it if it is not a sample of its own")
    notes += [
        f"column {table.samples[place]!r} is the sum of all other columns, so it is not a sample and is left out"
        for place in sums
    ] + [
        f"column {table.samples[place]!r} is named as a sum, but {table.samples[sums[0]]!r} is the sum of all other "
        "columns, so it is left out"
        for place in stale
    ]
    left_out = sorted((*sums, *stale))
    samples = [table.samples[place] for place in np.flatnonzero(named).tolist() if place not in left_out]
    if samples:
        notes.append(f"not the sum of the other columns, so read as samples: {listed(samples)}")
    kept = np.ones(len(table.samples), bool)
    kept[left_out] = False
    return replace(
        _select_columns(table, rows, kept),
        left_out=(*table.left_out, *(table.samples[place] for place in left_out)),
        notes=(*table.notes, *notes),
    )


def _named_sums(
    table: CountTable, rows: npt.NDArray[np.int64], named: npt.NDArray[np.bool_], alone: npt.NDArray[np.bool_]
) -> list[int]:
    """Return the columns that are named as sums and are the sum of those that are not.

    Args:
        table: The table.
        rows: Row of each count.
        named: Which columns have names that sums have.
        alone: Which of them have names that only sums have.

    Raises:
        InputError: All columns have such names.
    """
    if alone.all():
        raise InputError(
            f"{table.path}: all its columns of counts are named as sums ({listed(table.samples)}); keep one of them, "
            "or rename them if they are samples"
        )
    totals = _totals(table.columns, table.counts, len(table.samples))
    sums: set[int] = set()
    for candidates in (named, alone):
        # Few columns have the right total, so the time is linear in the cells.
        whole = sum(compress(totals, ~candidates))
        fitting = [place for place in np.flatnonzero(candidates).tolist() if totals[place] == whole]
        sums |= {place for place in fitting if _adds_up(table, rows, place, ~candidates)}
    return sorted(sums)


def _not_a_sum(table: CountTable, rows: npt.NDArray[np.int64], place: int, others: npt.NDArray[np.bool_]) -> InputError:
    """Return the error for a column that is named as a sum of ``others`` and is not that."""
    name = table.samples[place]
    mine, theirs = table.columns == place, others[table.columns]
    left = _totals(rows[mine], table.counts[mine], len(table))
    right = _totals(rows[theirs], table.counts[theirs], len(table))
    rest = [whole - part for whole, part in zip(right, left, strict=True)]
    missing = sum(rest)
    totals = _totals(table.columns, table.counts, len(table.samples))
    for other in np.flatnonzero(others).tolist():
        here = table.columns == other if totals[other] == missing else None
        if here is not None and _totals(rows[here], table.counts[here], len(table)) == rest:
            return InputError(
                f"{table.path}: column {name!r} is the sum of all other columns but {table.samples[other]!r}; remove "
                f"{table.samples[other]!r} if it is not a sample, else remove {name!r}"
            )
    wrong = next(row for row, difference in enumerate(rest) if difference)
    return InputError(
        f"{table.path}: column {name!r} is named as a sum, but has {left[wrong]:,} for "
        f"{shortened(table.ids[wrong])!r}, where the other columns add up to {right[wrong]:,}; remove it, or rename it "
        "if it is a sample"
    )


def _adds_up(table: CountTable, rows: npt.NDArray[np.int64], place: int, others: npt.NDArray[np.bool_]) -> bool:
    """Return whether in every row the count of a column is the sum of those of ``others``, and some row has reads."""
    mine, theirs = table.columns == place, others[table.columns]
    left = _totals(rows[mine], table.counts[mine], len(table))
    right = _totals(rows[theirs], table.counts[theirs], len(table))
    return bool(mine.any() and theirs.any()) and left == right


def _unnamed_sum(table: CountTable, rows: npt.NDArray[np.int64]) -> int | None:
    """Return the one column that is the sum of all others, if there is exactly one and enough rows show it."""
    totals = _totals(table.columns, table.counts, len(table.samples))
    whole = sum(totals)
    fitting = [place for place, total in enumerate(totals) if 2 * total == whole]
    if len(fitting) != 1 or len(table.samples) < _CLEAR_SAMPLES:
        return None
    others = np.ones(len(table.samples), bool)
    others[fitting[0]] = False
    enough = np.count_nonzero(table.columns == fitting[0]) >= _CLEAR_ROWS
    return fitting[0] if enough and _adds_up(table, rows, fitting[0], others) else None


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
    named = [place for place, name in enumerate(table.places) if _HAS_SUM.search(name)]
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
