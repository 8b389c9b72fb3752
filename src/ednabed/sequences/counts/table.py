"""A count table after reading: counts by feature and sample, and other information about features."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ednabed.base.arrays import Ints
from ednabed.base.text import shortened
from ednabed.errors import InputError

_ANNOTATION = re.compile(r";\s*[A-Za-z_][\w.]*=[^;]*")


@dataclass(frozen=True)
class CountTable:
    """Counts by feature and sample; only counts above 0 are stored.

    Attributes:
        path: The file, for messages.
        samples: Names of the samples, in the order of the file.
        omitted: Columns that are not samples (lineages, sequences, sums).
        row_of_id: Maps feature ids to rows, in the order of the file.
        starts: int64 (features + 1): the counts of feature i are at ``starts[i]`` up to, but not including,
            ``starts[i + 1]``.
        columns: int64: index of the sample of each count.
        counts: int64, 1 to 10**18.
        sequences: The sequence of each feature as written, by row; None if the table has none.
        named_by_sequence: Whether the features are named by their sequences (DADA2); ids are then ``sequence_id``.
        labels: Columns that name the taxon of each feature, as written: one with complete lineages, or one per rank.
        notes: Omissions and decisions made while reading, one sentence each.
    """

    path: str
    samples: tuple[str, ...]
    omitted: tuple[str, ...]
    row_of_id: dict[str, int]
    starts: Ints
    columns: Ints
    counts: Ints
    sequences: tuple[str, ...] | None = None
    named_by_sequence: bool = False
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row_of_id)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the features, by row."""
        return tuple(self.row_of_id)

    @property
    def reads(self) -> int:
        """Sum of all counts."""
        return sum(self.counts.tolist())

    @cached_property
    def _bare(self) -> dict[str, int]:
        """Maps ids without annotations to rows; -1 if two features share one."""
        found: dict[str, int] = {}
        for name, row in self.row_of_id.items():
            bare = without_annotations(name)
            found[bare] = row if bare not in found else -1
        return found

    def find(self, name: str) -> int | None:
        """Return the row of a feature, None if there is none with that name.

        Annotations (``;size=12``) on either side are ignored if this is unambiguous.
        """
        row = self.row_of_id.get(name)
        if row is None:
            row = self._bare.get(without_annotations(name), -1)
        return None if row < 0 else row

    def counts_of(self, name: str) -> dict[int, int]:
        """Return the counts of a feature by sample index; empty if all are 0. Raises KeyError for an unknown id."""
        row = self.find(name)
        if row is None:
            raise KeyError(name)
        columns, counts = self.row(row)
        return dict(zip(columns.tolist(), counts.tolist(), strict=True))

    def row(self, row: int) -> tuple[Ints, Ints]:
        """Return the sample indices and the counts of the feature in a row."""
        part = slice(self.starts[row], self.starts[row + 1])
        return self.columns[part], self.counts[part]

    def reads_of(self, rows: Iterable[int]) -> int:
        """Return the sum of the counts in the given rows."""
        return sum(sum(self.row(row)[1].tolist()) for row in rows)

    def transposed(self) -> CountTable:
        """Return the table with features and samples exchanged.

        Raises:
            InputError: The table describes its rows (sequences, taxa) in a way that cannot apply to samples.
        """
        if self.sequences is not None or self.labels:
            raise InputError(
                f"{self.path}: has samples in rows and features in columns, and also columns of sequences or taxa; "
                "write it with features in rows"
            )
        rows = np.repeat(np.arange(len(self)), np.diff(self.starts))
        order = np.argsort(self.columns, kind="stable")
        sizes = np.bincount(self.columns, minlength=len(self.samples))
        return replace(
            self,
            samples=self.ids,
            row_of_id={name: row for row, name in enumerate(self.samples)},
            starts=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            columns=rows[order].astype(np.int64),
            counts=self.counts[order],
        )


def without_annotations(name: str) -> str:
    """Return an id without annotations such as ``;size=12;``."""
    return _ANNOTATION.sub("", name).rstrip("; ") if ";" in name else name


def sequence_id(sequence: str) -> str:
    """Return the id of a feature named by its sequence: the MD5 of the sequence, as in QIIME 2 and ampliseq."""
    return hashlib.md5(sequence.upper().encode(), usedforsecurity=False).hexdigest()


def no_match_error(table: CountTable, names: Sequence[str]) -> InputError:
    """Return the error for the case that none of the sequences is in a count table.

    Args:
        table: The table.
        names: Ids of some sequences, at least one.
    """
    first = next(iter(table.row_of_id))
    example = names[0]
    column = next((name for name in names if name in table.samples), None)
    if column is not None:
        return InputError(
            f"{table.path}: is transposed, its column names are the ids of the sequences (such as "
            f"{shortened(column)!r}) and its rows are samples (such as {shortened(first)!r}); write it with features "
            "in rows and samples in columns"
        )
    return InputError(
        f"{table.path}: none of the sequences, such as {shortened(example)!r}, is in this count table, whose first "
        f"feature is {shortened(first)!r}{', the MD5 of its sequence' if table.named_by_sequence else ''}; the ids in "
        "its first column must match the ids of the sequences (features in rows, samples in columns)"
    )
