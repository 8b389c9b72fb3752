"""Read tables of features by samples, and of samples by sequences (DADA2), row by row.

The first column contains the feature ids (or a column named as ids does, if the first contains R's row numbers). Every
other column is a sample, except those of sequences and taxa.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import itemgetter

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.columns import listed
from ednabed.sequences.counts.builder import Builder
from ednabed.sequences.counts.layout import Layout, find_layout, is_sequence_name
from ednabed.sequences.counts.sums import without_sums
from ednabed.sequences.counts.table import CountTable, sequence_id
from ednabed.sequences.numbers import parse_count

MD5_NOTE = (
    "features are named by their sequences, so their ids are the MD5 of the sequences, as in QIIME 2 and ampliseq"
)


def read_features(
    columns: Sequence[str], first_rows: Sequence[Sequence[str]], rows: Iterable[Sequence[str]], path: str
) -> CountTable:
    """Read a table of features by samples.

    Args:
        columns: Names of the columns.
        first_rows: The first rows, at least one.
        rows: All rows, including the first ones.
        path: The file, for messages.

    Raises:
        InputError: A row, an id or a count is not as expected, or no column is a sample.
    """
    layout = find_layout(columns, first_rows, path)
    _check_samples(columns, layout, path)
    builder = Builder(path, layout.names)
    pick = _picker(layout.counts)
    blank = [index for index in layout.others if columns[index] == f"unnamed_{index + 1}" and index]
    sequences: list[str] = []
    labels: dict[str, list[str]] = {columns[index]: [] for index in layout.labels}
    for cells in rows:
        if len(cells) != len(columns):
            raise builder.ragged(len(cells), len(columns))
        builder.add(cells[layout.id].strip(), pick(cells))
        if layout.sequence is not None:
            sequences.append(cells[layout.sequence].strip())
        for index in layout.texts:
            if parse_count(cells[index]) is not None:
                raise InputError(
                    f"{path}: row {len(builder)} (below the header), column {shortened(columns[index])!r} contains the "
                    f"count {cells[index].strip()!r}, but words in the first rows; correct it, or remove the column"
                )
        for index in layout.labels:
            labels[columns[index]].append(cells[index].strip())
        for index in blank:
            if cells[index].strip():
                raise builder.bad_count(cells[layout.id].strip(), columns[index], cells[index])
    others = [index for index in layout.others if index not in blank]
    sequence = () if layout.sequence is None else (layout.sequence,)
    table = builder.table([columns[index] for index in sorted({*layout.labels, *layout.texts, *others, *sequence})])
    unused = [columns[index] for index in sorted({*layout.texts, *others})]
    table = replace(
        table,
        labels=labels,
        sequences=tuple(sequences) if layout.sequence is not None else None,
        notes=(f"columns that are not samples are omitted: {listed(unused)}",) if unused else (),
    )
    table = without_sums(table)
    if table.sequences is None and all(is_sequence_name(name) for name in table.row_of_id):
        return with_sequence_ids(table)
    return table


def _check_samples(columns: Sequence[str], layout: Layout, path: str) -> None:
    """Raise InputError if a sample has no name, or if the names of all numeric columns rule out samples."""
    nameless = next((index for index in layout.counts if columns[index] == f"unnamed_{index + 1}"), None)
    if nameless is not None:
        raise InputError(
            f"{path}: column {nameless + 1} has counts but no name; name its sample in the header line, or remove it"
        )
    others = [columns[index] for index in layout.others]
    if others and not layout.counts:
        raise InputError(
            f"{path}: has no column of counts, and by their names {listed(others)} are not samples; give one column "
            "per sample, or rename a column that is a sample"
        )


def read_sequence_table(columns: Sequence[str], rows: Iterable[Sequence[str]], path: str) -> CountTable:
    """Read a table of samples by sequences, as returned by DADA2's ``makeSequenceTable``.

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
            "the sequence table, or rename it to the sequence"
        )
    return with_sequence_ids(table.transposed())


def with_sequence_ids(table: CountTable) -> CountTable:
    """Return a table whose features are named by their sequences with ids in place of the sequences.

    Raises:
        InputError: A name is not a sequence, or two names are the same sequence.
    """
    row_of_id: dict[str, int] = {}
    for name, row in table.row_of_id.items():
        if not is_sequence_name(name):
            raise InputError(
                f"{table.path}: feature {shortened(name)!r} is not a sequence of at least 20 bases, but the features "
                "are named by their sequences; correct it, or give the table a column of ids"
            )
        if row_of_id.setdefault(sequence_id(name), row) != row:
            raise InputError(
                f"{table.path}: sequence {shortened(name)!r} is in the table twice; add its counts up or remove one"
            )
    return replace(
        table, row_of_id=row_of_id, sequences=table.ids, named_by_sequence=True, notes=(*table.notes, MD5_NOTE)
    )


def _picker(columns: Sequence[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Return a function that selects the cells of the given columns from a row."""
    if not columns:
        return lambda cells: ()
    if list(columns) == list(range(columns[0], columns[-1] + 1)):
        part = slice(columns[0], columns[-1] + 1)
        return lambda cells: cells[part]
    getter = itemgetter(*columns)
    return lambda cells: getter(cells)
