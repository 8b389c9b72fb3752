"""Which columns of a count table are what: ids, samples, sequences, taxa, and what is none of these."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

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
    shortened,
)
from ednabed.sequences.counts.feature_columns import describes_features
from ednabed.sequences.numbers import parse_count

ROW_NAMES = "#row names"
"""What the column of row names is called where R left it out of the header."""
_PREFIX = re.compile(r"(?:merged_)?sample:", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]")
_NO_NUMBER = frozenset(("", "na", "n/a", "nan", "null", "none", "inf", "-inf", "-", "."))
_BASES = re.compile(r"[ACGTURYSWKMBDHVN]+", re.IGNORECASE)
_NAME = re.compile(r"[ACGTN]{20,}|[ACGTURYSWKMBDHVN]{30,}", re.IGNORECASE)
"""A name that is a sequence: no sample is called so."""
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
"""Names of the columns of a table of one count per row; the second ones count where there is none of the first."""


@dataclass(frozen=True)
class Layout:
    """Columns by number.

    Attributes:
        id: The ids of the features.
        counts: The samples.
        sequence: The sequences of the features, or None.
        labels: Lineages or ranks.
        texts: Columns of words, which are left out; a count in one is an error.
        others: What is none of these and is left out.
        names: Names of the samples.
        by_prefix: Whether the samples are those columns that are called ``sample:…`` (OBITools).
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
    """Return whether the name of a feature is its sequence, as in the tables of DADA2."""
    return _NAME.fullmatch(name) is not None


def is_sequence_table(columns: Sequence[str]) -> bool:
    """Recognise a table of samples by sequences: most of its columns behind the first are named by sequences."""
    named = sum(map(is_sequence_name, columns[1:]))
    return named > 0 and 2 * named >= len(columns) - 1


def is_label(column: str) -> bool:
    """Return whether a column holds lineages or one rank of them."""
    return plain(column) in _LINEAGES | _RANKS


def with_row_names(columns: Sequence[str], first: Sequence[str]) -> tuple[str, ...]:
    """Return the columns, completed where the first row has one cell more than the header.

    R leaves the column of row names out of the header; other programs end each row with a separator.
    """
    if len(first) != len(columns) + 1:
        return tuple(columns)
    return (*columns, f"unnamed_{len(first)}") if not first[-1].strip() else (ROW_NAMES, *columns)


def find_layout(columns: Sequence[str], rows: Sequence[Sequence[str]], path: str) -> Layout:
    """Find what each column of a table of features by samples is.

    Where some columns are called ``sample:…`` (OBITools), these are the samples and no others.

    Args:
        columns: Their names.
        rows: The first rows, at least one.
        path: The file, for messages.

    Raises:
        InputError: Two columns have one name, or the first line holds counts in place of names.
    """
    _refuse_no_header(columns, path)
    twice = next((name for name, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are named {shortened(twice)!r}; rename one of them")
    id_ = _id_place(columns)
    first = rows[0]
    counts: list[int] = []
    labels: list[int] = []
    texts: list[int] = []
    others: list[int] = []
    sequence = None
    prefixed = any(_PREFIX.match(column) for column in columns)
    for place, (column, cell) in enumerate(zip(columns, first, strict=False)):
        name = plain(column)
        if place == id_:
            continue
        if name in _SEQUENCES and sequence is None and len(cell) >= _CELL_BASES and _BASES.fullmatch(cell.strip()):
            sequence = place
        elif name in _LINEAGES or (name in _RANKS and parse_count(cell) is None):
            labels.append(place)
        elif describes_features(column) or _is_blank(columns, first, place) or (place == 0 and _is_row_names(column)):
            others.append(place)
        elif prefixed:
            (counts if _PREFIX.match(column) else others).append(place)
        elif _is_text([row[place] for row in rows if place < len(row)]):
            texts.append(place)
        else:
            counts.append(place)
    names = tuple(_PREFIX.sub("", columns[place]) for place in counts)
    return Layout(id_, tuple(counts), sequence, tuple(labels), tuple(texts), tuple(others), names, prefixed)


def long_places(columns: Sequence[str], rows: Sequence[Sequence[str]], path: str) -> tuple[int, int, int] | None:
    """Return the columns of ids, samples and counts of a table of one count per row; None where it is not one.

    The ids are in the first column that is named so, else in that of the sequences, else in the first one that is
    neither a lineage nor R's row numbers.

    Args:
        columns: Their names.
        rows: The first rows, at least one.
        path: The file, for messages.

    Raises:
        InputError: It has a column of samples, but the columns of ids or of counts are unknown.
    """
    samples, counts = (_named(columns, names) for names in (_SAMPLES, _COUNTS))
    if not samples or any(_PREFIX.match(column) for column in columns):
        return None
    others = [place for place in range(len(columns)) if place not in (*samples, *counts)]
    if samples == [0] and (not counts or _is_row_per_sample(rows, others)):
        return None
    if samples != [0] and len(columns) == 2 and _are_counts(rows, samples):
        # One sample, which is called 'sample'.
        return None
    free = [place for place in others if not is_label(columns[place]) and not _is_row_names(columns[place])]
    named = [place for place in free if plain(columns[place]) in _IDS]
    named += [place for place in free if plain(columns[place]) in _SEQUENCES]
    ids = [*named, *free]
    if len(samples) != 1 or len(counts) != 1 or not ids:
        raise InputError(
            f"{path}: has a column of samples ({shortened(columns[samples[0]])!r}), as a table of one count per row "
            f"has, but not one column each of samples, ids and counts among {listed(columns)}; name those three "
            "'sample', 'id' and 'count' and no others so, or write a table of features by samples"
        )
    return ids[0], samples[0], counts[0]


def _named(columns: Sequence[str], names: tuple[frozenset[str], frozenset[str]]) -> list[int]:
    """Return the columns of the first names, else those of the second ones."""
    first, second = ([place for place, column in enumerate(columns) if plain(column) in group] for group in names)
    return first or second


def _is_row_per_sample(rows: Sequence[Sequence[str]], others: Sequence[int]) -> bool:
    """Recognise a transposed table: each sample has one row, and all other columns are counts."""
    samples = [row[0] for row in rows]
    return len(set(samples)) == len(samples) and _are_counts(rows, others)


def _are_counts(rows: Sequence[Sequence[str]], places: Sequence[int]) -> bool:
    return all(parse_count(row[place]) is not None for row in rows for place in places if place < len(row))


def sequence_place(columns: Sequence[str]) -> int | None:
    """Return the column of sequences by its name, None where there is none."""
    return next((place for place, column in enumerate(columns) if plain(column) in _SEQUENCES), None)


def _id_place(columns: Sequence[str]) -> int:
    """Return the column of ids: the first, unless that is named otherwise and exactly one other is named so."""
    first = plain(columns[0])
    if first in _IDS or not (_is_row_names(columns[0]) or first in _SEQUENCES | _LINEAGES | _RANKS):
        return 0
    named = [place for place, column in enumerate(columns) if plain(column) in _IDS]
    return named[0] if len(named) == 1 else 0


def _is_text(cells: Sequence[str]) -> bool:
    """Recognise a column of words: at least one cell begins with a letter, and none is a number."""
    said = [cell.strip() for cell in cells if cell.strip().lower() not in _NO_NUMBER]
    return bool(said) and all(_WORD.match(cell) for cell in said)


def _is_row_names(column: str) -> bool:
    return column in (ROW_NAMES, UNNAMED_FIRST, "Unnamed: 0")


def _is_blank(columns: Sequence[str], first: Sequence[str], place: int) -> bool:
    """Recognise the empty column after a separator that ends each line."""
    return place == len(columns) - 1 > 0 and columns[place] == f"unnamed_{place + 1}" and not first[place].strip()


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
