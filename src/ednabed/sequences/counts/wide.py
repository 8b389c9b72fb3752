"""Tables of features by samples, and of samples by sequences (DADA2), row by row.

The first column holds the ids of the features (or one that is named so, where the first is R's row numbers), every
other column is a sample, except those of sequences and taxa.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import itemgetter

from ednabed.errors import InputError
from ednabed.sequences.columns import listed, shortened
from ednabed.sequences.counts.builder import Builder
from ednabed.sequences.counts.layout import Layout, find_layout, is_sequence_name
from ednabed.sequences.counts.sums import without_sums
from ednabed.sequences.counts.table import CountTable, sequence_id
from ednabed.sequences.numbers import parse_count

MD5_NOTE = "features are named by their sequences, so their ids are the MD5 of these, as QIIME 2 and ampliseq name them"


def read_features(
    columns: Sequence[str], some: Sequence[Sequence[str]], rows: Iterable[Sequence[str]], path: str
) -> CountTable:
    """Read a table of features by samples.

    Args:
        columns: Names of the columns.
        some: The first rows, at least one.
        rows: All rows, the first ones included.
        path: The file, for messages.

    Raises:
        InputError: A row, an id or a count is not as expected, or no column is a sample.
    """
    layout = find_layout(columns, some, path)
    _check_samples(columns, layout, path)
    builder = Builder(path, layout.names)
    pick = _picker(layout.counts)
    blank = [place for place in layout.others if columns[place] == f"unnamed_{place + 1}" and place]
    sequences: list[str] = []
    labels: dict[str, list[str]] = {columns[place]: [] for place in layout.labels}
    for cells in rows:
        if len(cells) != len(columns):
            raise builder.ragged(len(cells), len(columns))
        builder.add(cells[layout.id].strip(), pick(cells))
        if layout.sequence is not None:
            sequences.append(cells[layout.sequence].strip())
        for place in layout.texts:
            if parse_count(cells[place]) is not None:
                raise InputError(
                    f"{path}: row {len(builder)} (below the header), column {shortened(columns[place])!r} holds the "
                    f"count {cells[place].strip()!r}, but words in the first rows; correct it, or remove the column"
                )
        for place in layout.labels:
            labels[columns[place]].append(cells[place].strip())
        for place in blank:
            if cells[place].strip():
                raise builder.bad_count(cells[layout.id].strip(), columns[place], cells[place])
    others = [place for place in layout.others if place not in blank]
    sequence = () if layout.sequence is None else (layout.sequence,)
    table = builder.table([columns[place] for place in sorted({*layout.labels, *layout.texts, *others, *sequence})])
    unused = [columns[place] for place in sorted({*layout.texts, *others})]
    table = replace(
        table,
        labels=labels,
        sequences=tuple(sequences) if layout.sequence is not None else None,
        notes=(f"columns that are not samples are left out: {listed(unused)}",) if unused else (),
    )
    table = without_sums(table)
    if table.sequences is None and all(is_sequence_name(name) for name in table.places):
        return by_sequence(table)
    return table


def _check_samples(columns: Sequence[str], layout: Layout, path: str) -> None:
    """Raises InputError: A sample has no name, or all columns of numbers are named as what is not a sample."""
    nameless = next((place for place in layout.counts if columns[place] == f"unnamed_{place + 1}"), None)
    if nameless is not None:
        raise InputError(
            f"{path}: column {nameless + 1} has counts but no name; name its sample in the header line, or remove it"
        )
    others = [columns[place] for place in layout.others]
    if others and not layout.counts:
        raise InputError(
            f"{path}: has no column of counts, and by their names {listed(others)} are not samples; give one column "
            "per sample, or rename a column that is one"
        )


def read_sequence_table(columns: Sequence[str], rows: Iterable[Sequence[str]], path: str) -> CountTable:
    """Read a table of samples by sequences, as ``makeSequenceTable`` of DADA2 gives it.

    Raises:
        InputError: A row or a count is not as expected, or a column is neither a sequence nor the sum of all others.
    """
    end = len(columns) - 1 if columns[-1] == f"unnamed_{len(columns)}" else len(columns)
    builder = Builder(path, columns[1:end], row_is="sample", column_is="sequence")
    for cells in rows:
        if len(cells) != len(columns) or any(cell.strip() for cell in cells[end:]):
            raise builder.ragged(len(cells), end)
        builder.add(cells[0].strip(), cells[1:end])
    table = without_sums(builder.table())
    other = next((name for name in table.samples if not is_sequence_name(name)), None)
    if other is not None:
        raise InputError(
            f"{path}: most columns are named by sequences, but {shortened(other)!r} is not; remove that column from "
            "the sequence table, or rename it to its sequence"
        )
    return by_sequence(table.transposed())


def by_sequence(table: CountTable) -> CountTable:
    """Return a table whose features are named by their sequences with ids in place of these.

    Raises:
        InputError: A name is no sequence, or two names are one sequence.
    """
    places: dict[str, int] = {}
    for name, place in table.places.items():
        if not is_sequence_name(name):
            raise InputError(
                f"{table.path}: feature {shortened(name)!r} is not a sequence of at least 20 bases, but the features "
                "are named by their sequences; correct it, or give the table a column of ids"
            )
        if places.setdefault(sequence_id(name), place) != place:
            raise InputError(
                f"{table.path}: sequence {shortened(name)!r} is in the table twice; add its counts up or remove one"
            )
    return replace(table, places=places, sequences=table.ids, named_by_sequence=True, notes=(*table.notes, MD5_NOTE))


def _picker(places: Sequence[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Return what takes the cells of some columns out of a row."""
    if not places:
        return lambda cells: ()
    if list(places) == list(range(places[0], places[-1] + 1)):
        part = slice(places[0], places[-1] + 1)
        return lambda cells: cells[part]
    getter = itemgetter(*places)
    return lambda cells: getter(cells)
