"""Tables of one count per row: feature, sample, count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.columns import listed
from ednabed.sequences.counts.builder import Builder
from ednabed.sequences.counts.layout import is_label, sequence_column
from ednabed.sequences.counts.sums import without_sums
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.counts.wide import with_sequence_ids
from ednabed.sequences.numbers import parse_count


def read_long(
    columns: Sequence[str], roles: tuple[int, int, int], rows: Iterable[Sequence[str]], path: str
) -> CountTable:
    """Read a table with a feature, a sample and its count in each row.

    Args:
        columns: Names of the columns.
        roles: Indices of the columns of ids, samples and counts.
        rows: The rows.
        path: The file, for messages.

    Raises:
        InputError: A row lacks an id or a sample, a count is invalid, or a feature is in a sample twice or has two
            sequences or taxa.
    """
    id_, sample, count = roles
    sequence = sequence_column(columns)
    descriptive = [
        index for index, column in enumerate(columns) if index != id_ and (index == sequence or is_label(column))
    ]
    features: dict[str, dict[int, int]] = {}
    samples: dict[str, int] = {}
    descriptions: dict[str, list[tuple[str, int]]] = {}
    for row, cells in enumerate(rows, 1):
        where = f"{path}: row {row} (below the header)"
        if len(cells) != len(columns):
            raise InputError(
                f"{where} has {len(cells)} cells, the header has {len(columns)}; check that row for a missing or "
                "additional separator, or for a quote that is not closed"
            )
        name, sample_name = cells[id_].strip(), cells[sample].strip()
        if not name or not sample_name:
            raise InputError(f"{where} has no {'id' if not name else 'sample'}; give it one")
        value = parse_count(cells[count])
        if value is None:
            raise InputError(
                f"{where}, id {shortened(name)!r}: the count is {shortened(cells[count])!r}, expected a whole number "
                "of 0 or more; correct it"
            )
        known = descriptions.setdefault(name, [("", row)] * len(descriptive))
        for number, index in enumerate(descriptive):
            cell, (first, first_row) = cells[index].strip(), known[number]
            if cell and not first:
                known[number] = (cell, row)
            elif cell and cell.lower() != first.lower():
                raise InputError(
                    f"{where}: id {shortened(name)!r} has {shortened(columns[index])!r} {shortened(cell)!r}, but "
                    f"{shortened(first)!r} in row {first_row}; expected one per id, correct one of the rows"
                )
        counts = features.setdefault(name, {})
        number = samples.setdefault(sample_name, len(samples))
        if number in counts:
            raise InputError(
                f"{where}: id {shortened(name)!r} is in sample {sample_name!r} twice; add the counts up or remove one "
                "row"
            )
        counts[number] = value
    builder = Builder(path, list(samples) or ["none"])
    for name, counts in features.items():
        pairs = np.array(sorted((number, value) for number, value in counts.items() if value), np.int64).reshape(-1, 2)
        builder.add_counts(name, pairs[:, 0], pairs[:, 1])
    unused = [column for index, column in enumerate(columns) if index not in (*roles, *descriptive)]
    texts = {index: [cells[number][0] for cells in descriptions.values()] for number, index in enumerate(descriptive)}
    table = replace(
        builder.table(unused),
        sequences=tuple(texts.pop(sequence)) if sequence in texts else None,
        labels={columns[index]: cells for index, cells in texts.items()},
        notes=(f"unused columns are omitted: {listed(unused)}",) if unused else (),
    )
    return without_sums(with_sequence_ids(table) if sequence == id_ else table)
