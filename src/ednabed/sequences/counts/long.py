"""Tables of one count per row: feature, sample, count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ednabed.errors import InputError
from ednabed.sequences.columns import shortened
from ednabed.sequences.counts.builder import Builder
from ednabed.sequences.counts.layout import is_label, sequence_place
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.numbers import parse_count


def read_long(
    columns: Sequence[str], places: tuple[int, int, int], rows: Iterable[Sequence[str]], path: str
) -> CountTable:
    """Read a table with a feature, a sample and its count in each row.

    Args:
        columns: Names of the columns.
        places: Those of ids, samples and counts.
        rows: The rows.
        path: The file, for messages.

    Raises:
        InputError: A row lacks an id or a sample, a count is not one, or a feature is in a sample twice.
    """
    id_, sample, count = places
    sequence = sequence_place(columns)
    label_places = [place for place, column in enumerate(columns) if is_label(column)]
    features: dict[str, dict[int, int]] = {}
    samples: dict[str, int] = {}
    sequences: list[str] = []
    labels: dict[str, list[str]] = {columns[place]: [] for place in label_places}
    for row, cells in enumerate(rows, 1):
        where = f"{path}: row {row} (below the header)"
        if len(cells) != len(columns):
            raise InputError(
                f"{where} has {len(cells)} cells, the header has {len(columns)}; check that row for a missing or "
                "additional separator, or for a quote that is not closed"
            )
        name, of = cells[id_].strip(), cells[sample].strip()
        if not name or not of:
            raise InputError(f"{where} has no {'id' if not name else 'sample'}; give it one")
        value = parse_count(cells[count])
        if value is None:
            raise InputError(
                f"{where}, id {shortened(name)!r}: the count is {shortened(cells[count])!r}, expected a whole number "
                "of 0 or more; correct it"
            )
        if name not in features:
            if sequence is not None:
                sequences.append(cells[sequence].strip())
            for place in label_places:
                labels[columns[place]].append(cells[place].strip())
        counts = features.setdefault(name, {})
        number = samples.setdefault(of, len(samples))
        if number in counts:
            raise InputError(
                f"{where}: id {shortened(name)!r} is in sample {of!r} twice; add the counts up or remove one row"
            )
        counts[number] = value
    builder = Builder(path, list(samples) or ["none"])
    for name, counts in features.items():
        pairs = np.array(sorted((number, value) for number, value in counts.items() if value), np.int64).reshape(-1, 2)
        builder.add_counts(name, pairs[:, 0], pairs[:, 1])
    used = {*places, *label_places, *(() if sequence is None else (sequence,))}
    table = builder.table([column for place, column in enumerate(columns) if place not in used])
    return replace(table, sequences=None if sequence is None else tuple(sequences), labels=labels)
