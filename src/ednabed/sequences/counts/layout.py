"""Find the roles of the columns of a count table: ids, samples, sequences, taxa and others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.columns import (
    ABUNDANCE,
    ID,
    LINEAGE,
    OTHER_SAMPLES,
    QUANTITY,
    RANK_NAMES,
    SAMPLE,
    SEQUENCE,
    UNNAMED_FIRST,
    listed,
    plain,
)
from ednabed.sequences.counts.feature_columns import describes_features
from ednabed.sequences.numbers import parse_count

ROW_NAMES = "#row names"
"""The name given to the column of row names if R omitted it from the header."""
_PREFIX = re.compile(r"(?:merged_)?sample:", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]")
_NO_NUMBER = frozenset(("", "na", "n/a", "nan", "null", "none", "inf", "-inf", "-", "."))
_BASES = re.compile(r"[ACGTURYSWKMBDHVN]+", re.IGNORECASE)
_NAME = re.compile(r"[ACGTN]{20,}|[ACGTURYSWKMBDHVN]{30,}", re.IGNORECASE)
"""A name that is a sequence and so cannot be a sample."""
_CELL_BASES = 10


def _plain(*groups: Sequence[str]) -> frozenset[str]:
    return frozenset(plain(name) for group in groups for name in group)


_IDS = _plain(ID)
_SEQUENCES = _plain(SEQUENCE)
_LINEAGES = _plain(LINEAGE)
_RANKS = _plain(*RANK_NAMES.values(), ("superkingdom", "domain", "supergroup", "division", "subdivision"))
_SAMPLES = (_plain(SAMPLE), _plain(("sample name", "samp_name", "samples", "sample names"), OTHER_SAMPLES))
_COUNTS = (
    _plain(ABUNDANCE),
    _plain(("read count", "read counts", "num reads", "number of reads", "frequency", "value", QUANTITY)),
)
"""Names of the columns of a table of one count per row; the second group is used if no column is in the first."""


@dataclass(frozen=True)
class Layout:
    """The roles of columns, by index.

    Attributes:
        id: The column of feature ids.
        counts: The columns of samples.
        sequence: The column of feature sequences, or None.
        labels: The columns of lineages or ranks.
        texts: Columns of words, which are omitted; a count in one is an error.
        others: All other columns, which are omitted.
        names: Names of the samples.
        by_prefix: Whether the samples are the columns named ``sample:…`` (OBITools).
    """

    id: int
    counts: tuple[int, ...]
    sequence: int | None
    labels: tuple[int, ...]
    texts: tuple[int, ...]
    others: tuple[int, ...]
    names: tuple[str, ...]
    by_prefix: bool


def is_sequence_name(name: str) -> bool:
    """Return whether the name of a feature is its sequence, as in DADA2 tables."""
    return _NAME.fullmatch(name) is not None


def is_sequence_table(columns: Sequence[str]) -> bool:
    """Return whether a table is samples by sequences: most columns after the first are named by sequences."""
    named = sum(map(is_sequence_name, columns[1:]))
    return named > 0 and 2 * named >= len(columns) - 1


def is_label(column: str) -> bool:
    """Return whether a column contains lineages or one of their ranks."""
    return plain(column) in _LINEAGES | _RANKS


def with_row_names(columns: Sequence[str], first: Sequence[str]) -> tuple[str, ...]:
    """Return the columns, with one added if the first row has one cell more than the header.

    R omits the column of row names from the header; other programs end each row with a separator.
    """
    if len(first) != len(columns) + 1:
        return tuple(columns)
    return (*columns, f"unnamed_{len(first)}") if not first[-1].strip() else (ROW_NAMES, *columns)


def find_layout(columns: Sequence[str], rows: Sequence[Sequence[str]], path: str) -> Layout:
    """Find the role of each column in a table of features by samples.

    If some columns are named ``sample:…`` (OBITools), only these are samples.

    Args:
        columns: Names of the columns.
        rows: The first rows, at least one.
        path: The file, for messages.

    Raises:
        InputError: Two columns have the same name, or the first line contains counts instead of names.
    """
    _refuse_no_header(columns, path)
    duplicate = next((name for name, count in Counter(columns).items() if count > 1), None)
    if duplicate is not None:
        raise InputError(f"{path}: two columns are named {shortened(duplicate)!r}; rename one of them")
    id_ = _id_column(columns)
    first = rows[0]
    counts: list[int] = []
    labels: list[int] = []
    texts: list[int] = []
    others: list[int] = []
    sequence = None
    prefixed = any(_PREFIX.match(column) for column in columns)
    for index, (column, cell) in enumerate(zip(columns, first, strict=False)):
        name = plain(column)
        if index == id_:
            continue
        if name in _SEQUENCES and sequence is None and len(cell) >= _CELL_BASES and _BASES.fullmatch(cell.strip()):
            sequence = index
        elif name in _LINEAGES or (name in _RANKS and parse_count(cell) is None):
            labels.append(index)
        elif describes_features(column) or _is_blank(columns, first, index) or (index == 0 and _is_row_names(column)):
            others.append(index)
        elif prefixed:
            (counts if _PREFIX.match(column) else others).append(index)
        elif _is_text([row[index] for row in rows if index < len(row)]):
            texts.append(index)
        else:
            counts.append(index)
    names = tuple(_PREFIX.sub("", columns[index]) for index in counts)
    return Layout(id_, tuple(counts), sequence, tuple(labels), tuple(texts), tuple(others), names, prefixed)


def long_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], path: str) -> tuple[int, int, int] | None:
    """Return the indices of the columns of ids, samples and counts of a table of one count per row; else None.

    The ids are in the first column with a name for ids, else in the column of sequences, else in the first column that
    is neither a lineage nor R's row numbers.

    Args:
        columns: Names of the columns.
        rows: The first rows, at least one.
        path: The file, for messages.

    Raises:
        InputError: The table has a column of samples, but the columns of ids or of counts are unknown.
    """
    samples, counts = (_named(columns, names) for names in (_SAMPLES, _COUNTS))
    if not samples or any(_PREFIX.match(column) for column in columns):
        return None
    others = [index for index in range(len(columns)) if index not in (*samples, *counts)]
    if samples == [0] and (not counts or _is_row_per_sample(rows, others)):
        return None
    if samples != [0] and len(columns) == 2 and _are_counts(rows, samples):
        # A single sample, which is named 'sample'.
        return None
    free = [index for index in others if not is_label(columns[index]) and not _is_row_names(columns[index])]
    named = [index for index in free if plain(columns[index]) in _IDS]
    named += [index for index in free if plain(columns[index]) in _SEQUENCES]
    ids = [*named, *free]
    if len(samples) != 1 or len(counts) != 1 or not ids:
        raise InputError(
            f"{path}: has a column of samples ({shortened(columns[samples[0]])!r}), like a table of one count per row, "
            f"but not exactly one column each of samples, ids and counts among {listed(columns)}; name those three "
            "'sample', 'id' and 'count', and no other columns, or write a table of features by samples"
        )
    return ids[0], samples[0], counts[0]


def _named(columns: Sequence[str], names: tuple[frozenset[str], frozenset[str]]) -> list[int]:
    """Return the columns named in the first group, else the columns named in the second."""
    first, second = ([index for index, column in enumerate(columns) if plain(column) in group] for group in names)
    return first or second


def _is_row_per_sample(rows: Sequence[Sequence[str]], others: Sequence[int]) -> bool:
    """Return whether a table is transposed: each sample has one row, and all other columns are counts."""
    samples = [row[0] for row in rows]
    return len(set(samples)) == len(samples) and _are_counts(rows, others)


def _are_counts(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> bool:
    return all(parse_count(row[index]) is not None for row in rows for index in columns if index < len(row))


def sequence_column(columns: Sequence[str]) -> int | None:
    """Return the index of the column that is named as sequences; None if there is none."""
    return next((index for index, column in enumerate(columns) if plain(column) in _SEQUENCES), None)


def _id_column(columns: Sequence[str]) -> int:
    """Return the column of ids: the first, unless its name is not one for ids and exactly one other column's is."""
    first = plain(columns[0])
    if first in _IDS or not (_is_row_names(columns[0]) or first in _SEQUENCES | _LINEAGES | _RANKS):
        return 0
    named = [index for index, column in enumerate(columns) if plain(column) in _IDS]
    return named[0] if len(named) == 1 else 0


def _is_text(cells: Sequence[str]) -> bool:
    """Return whether a column contains words: at least one cell begins with a letter, and none is a number."""
    informative = [cell.strip() for cell in cells if cell.strip().lower() not in _NO_NUMBER]
    return bool(informative) and all(_WORD.match(cell) for cell in informative)


def _is_row_names(column: str) -> bool:
    return column in (ROW_NAMES, UNNAMED_FIRST, "Unnamed: 0")


def _is_blank(columns: Sequence[str], first: Sequence[str], index: int) -> bool:
    """Return whether a column is the empty one after a separator that ends each line."""
    return index == len(columns) - 1 > 0 and columns[index] == f"unnamed_{index + 1}" and not first[index].strip()


def _refuse_no_header(columns: Sequence[str], path: str) -> None:
    names = columns[1:]
    if (
        names
        and all(parse_count(name) is not None for name in names)
        and (len(set(names)) < len(names) or any(parse_count(name) == 0 for name in names))
    ):
        raise InputError(
            f"{path}: has no header line, its first line is {shortened(columns[0])!r} and counts; "
            "add a first line that names the column of ids and the samples"
        )
