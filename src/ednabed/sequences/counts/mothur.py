"""Read mothur's count_table in its sparse format, and its shared file.

The full count_table (``Representative_Sequence``, ``total``, one column per group) is read like any other table of
features by samples; ``total`` is recognised as a sum. See https://mothur.org/wiki/count_file and shared_file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.counts.builder import Builder
from ednabed.sequences.counts.sums import without_sums
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.numbers import parse_count

SPARSE_MARK = b"#Compressed Format:"
_SHARED = ("label", "group", "numotus")
_PAIR = re.compile(r"\s*([0-9]{1,9}),(.*?)\s*", re.DOTALL)


def is_shared(columns: Sequence[str]) -> bool:
    """Return whether the first three columns are those of a shared file."""
    return tuple(column.lower() for column in columns[:3]) == _SHARED


def read_shared(columns: Sequence[str], rows: Iterable[Sequence[str]], path: str) -> CountTable:
    """Read a shared file: one row per sample, one column per OTU.

    Raises:
        InputError: A row or a count is not as expected, or the file contains several distances.
    """
    end = len(columns) - 1 if columns[-1] == f"unnamed_{len(columns)}" else len(columns)
    builder = Builder(path, columns[3:end], row_is="sample", column_is="feature")
    label: str | None = None
    for cells in rows:
        if not end <= len(cells) <= end + 1 or any(cell.strip() for cell in cells[end:]):
            raise builder.ragged(len(cells), end)
        if label is None:
            label = cells[0]
        elif cells[0] != label:
            raise InputError(
                f"{path}: row {len(builder) + 1} (below the header) has the label {cells[0]!r}, but the rows before it "
                f"have {label!r}, expected one distance; keep the rows of one label (mothur: get.label)"
            )
        builder.add(cells[1].strip(), cells[3:end])
    return without_sums(builder.table().transposed())


def read_sparse(rows: Iterable[Sequence[str]], path: str) -> CountTable:
    """Read a sparse count_table: group and count joined by a comma, groups numbered in the line before the header.

    Args:
        rows: The rows after the first line.
        path: The file, for messages.

    Raises:
        InputError: The groups are not listed, a pair is not as expected, or the total of a row is not its sum.
    """
    lines = iter(rows)
    groups: list[str] = []
    numbers: dict[str, int] = {}
    for cell in next(lines, []):
        pair = _PAIR.fullmatch(cell.lstrip("#"))
        if pair is not None:
            numbers[pair[1]] = len(groups)
            groups.append(pair[2])
    header = [cell.strip() for cell in next(lines, [])]
    if not groups or header[:1] != ["Representative_Sequence"]:
        raise InputError(
            f"{path}: is a mothur count table in the sparse format, but its second line does not list the groups "
            "(#1,first group) or its third is not the header; write it again with mothur"
        )
    builder = Builder(path, groups)
    for cells in lines:
        name = cells[0].strip()
        counts: dict[int, int] = {}
        for cell in cells[2:]:
            if not cell.strip():
                continue
            pair = _PAIR.fullmatch(cell)
            count = None if pair is None else parse_count(pair[2])
            if pair is None or count is None or pair[1] not in numbers or numbers[pair[1]] in counts:
                raise InputError(
                    f"{path}: row {len(builder) + 1} (below the header, id {shortened(name)!r}) has the cell "
                    f"{shortened(cell)!r}, expected the number of a group, a comma and a count, with each group once; "
                    "write the table again with mothur"
                )
            counts[numbers[pair[1]]] = count
        total = parse_count(cells[1]) if len(cells) > 1 else None
        if total != sum(counts.values()):
            raise InputError(
                f"{path}: row {len(builder) + 1} (below the header, id {shortened(name)!r}) has the total "
                f"{shortened(cells[1]) if len(cells) > 1 else ''!r}, but its counts add up to "
                f"{sum(counts.values())}; the row was truncated or edited, write the table again with mothur"
            )
        pairs = sorted((group, count) for group, count in counts.items() if count)
        table = np.array(pairs, np.int64).reshape(-1, 2)
        builder.add_counts(name, table[:, 0], table[:, 1])
    return builder.table()
