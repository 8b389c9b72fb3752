"""A count table that has been read: counts by feature and sample, and what else it says of features."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ednabed.errors import InputError
from ednabed.sequences.columns import shortened

Ints = npt.NDArray[np.int64]

_ANNOTATION = re.compile(r";\s*[A-Za-z_][\w.]*=[^;]*")


@dataclass(frozen=True)
class CountTable:
    """Counts by feature and sample; only those above 0 are held.

    Attributes:
        path: The file, for messages.
        samples: Names of the samples, in the order of the file.
        left_out: Columns that are not samples (lineages, sequences, sums).
        places: Id of a feature to its number, in the order of the file.
        starts: int64 (features + 1): the counts of feature i are those from ``starts[i]`` to before ``starts[i + 1]``.
        columns: int64: number of the sample of each count.
        counts: int64, 1 to 10**18.
        sequences: The sequence of each feature as written, by number; None where the table has none.
        named_by_sequence: Whether the features are named by their sequences (DADA2); ids are then ``sequence_id``.
        labels: Columns that name the taxon of each feature, as written: one of whole lineages, or one per rank.
        notes: What was left out or decided while reading, one sentence each.
    """

    path: str
    samples: tuple[str, ...]
    left_out: tuple[str, ...]
    places: dict[str, int]
    starts: Ints
    columns: Ints
    counts: Ints
    sequences: tuple[str, ...] | None = None
    named_by_sequence: bool = False
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the features by number."""
        return tuple(self.places)

    @property
    def reads(self) -> int:
        """Sum of all counts."""
        return sum(self.counts.tolist())

    @cached_property
    def _bare(self) -> dict[str, int]:
        """Ids without annotations to numbers; -1 where two features share one."""
        found: dict[str, int] = {}
        for name, place in self.places.items():
            bare = bare_id(name)
            found[bare] = place if bare not in found else -1
        return found

    def find(self, name: str) -> int | None:
        """Return the number of a feature, None where there is none of that name.

        Annotations (``;size=12``) on either side do not count where this is unambiguous.
        """
        place = self.places.get(name)
        if place is None:
            place = self._bare.get(bare_id(name), -1)
        return None if place < 0 else place

    def of(self, name: str) -> dict[int, int]:
        """Return the counts of a feature by number of sample; empty where all are 0. Raises KeyError: no such id."""
        place = self.find(name)
        if place is None:
            raise KeyError(name)
        columns, counts = self.row(place)
        return dict(zip(columns.tolist(), counts.tolist(), strict=True))

    def row(self, place: int) -> tuple[Ints, Ints]:
        """Return numbers of samples and counts of the feature of a number."""
        part = slice(self.starts[place], self.starts[place + 1])
        return self.columns[part], self.counts[part]

    def reads_of(self, places: Iterable[int]) -> int:
        """Return the sum of the counts of features by their numbers."""
        return sum(sum(self.row(place)[1].tolist()) for place in places)

    def transposed(self) -> CountTable:
        """Return the table with features and samples exchanged.

        Raises:
            InputError: The table says something of its rows (sequences, taxa) that cannot be true of samples.
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
            places={name: place for place, name in enumerate(self.samples)},
            starts=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            columns=rows[order].astype(np.int64),
            counts=self.counts[order],
        )


def bare_id(name: str) -> str:
    """Return an id without annotations such as ``;size=12;``."""
    return _ANNOTATION.sub("", name).rstrip("; ") if ";" in name else name


def sequence_id(sequence: str) -> str:
    """Return the id of a feature named by its sequence: the MD5 of that, as in QIIME 2 and ampliseq."""
    return hashlib.md5(sequence.upper().encode(), usedforsecurity=False).hexdigest()


def no_match(table: CountTable, names: Sequence[str]) -> InputError:
    """Return the error for sequences none of which is in a count table.

    Args:
        table: The table.
        names: Ids of some of the sequences, at least one.
    """
    first = next(iter(table.places))
    example = names[0]
    column = next((name for name in names if name in table.samples), None)
    if column is not None:
        return InputError(
            f"{table.path}: is transposed, its column names are the ids of the sequences (such as "
            f"{shortened(column)!r}) and its rows are samples (such as {shortened(first)!r}); write it with features "
            "in rows and samples in columns"
        )
    return InputError(
        f"{table.path}: none of the sequences, such as {shortened(example)!r}, is in this table of counts, whose first "
        f"feature is {shortened(first)!r}{', the MD5 of its sequence' if table.named_by_sequence else ''}; the ids of "
        "its first column must be those of the sequences (features in rows, samples in columns)"
    )
