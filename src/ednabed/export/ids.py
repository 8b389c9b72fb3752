"""What each distinct sequence is called in an export: the same in all its formats, and in ``classify`` of the same run.

By the rule *own* that is the id of its first record (by dataset, run and number), as a FASTA header can hold it: white
space, a quote and a leading ``#`` become ``_``, and so does a ``;`` before what would read as an annotation
(``;size=``). An id that records of several sequences share names none of them for sure, so each of these sequences gets
it with a suffix, ``_1``, ``_2``, … in order of row; a suffix that would give the id of another record is skipped. A
sequence without an id is called by its digest. By the rule *digest* all are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import UsageError
from ednabed.store.files import clean

if TYPE_CHECKING:
    from ednabed.export.selection import Selection

RULES = {
    "own": "the id of its first record, with a suffix (_1, _2, …) where several sequences share that id",
    "digest": "the digest of its bases",
}
"""Rule to what a feature is called by it."""
_ANNOTATION = re.compile(r";(?=[A-Za-z_][\w.]*=)")
_SPACE = re.compile(r"\s+")
_NUMBERED = r"_[0-9]+$"


def header_id(id: str) -> str:
    """Return an id as it can be in a FASTA header; empty where nothing is left of it."""
    return _ANNOTATION.sub("_", _SPACE.sub("_", clean(id).strip()))


@lru_cache(maxsize=65_536)
def portable_id(id: str) -> str:
    """Return an id as every format can hold it; empty where nothing is left of it."""
    name = header_id(id).replace('"', "_")
    return f"_{name[1:]}" if name.startswith("#") else name


@dataclass
class _LabIds:
    """Ids by the rule *own*.

    Attributes:
        ids: Group (a dataset, or empty for all together) to row to id; empty where its record has none.
        numbered: Rows whose id has a suffix.
        example: One of these ids; empty where there is none.
    """

    ids: dict[str, dict[int, str]]
    numbered: int = 0
    example: str = ""


class FeatureIds:
    """Ids of the distinct sequences of a selection.

    The ids of the records are read when the first id by the rule *own* is asked for, and all are held from then on:
    about 200 bytes per distinct sequence.

    Args:
        selection: What is exported.
        rule: One of ``RULES``.
        by_dataset: Decide in each dataset by itself: an id of one dataset does not change with what else is chosen.

    Attributes:
        rule: See above.

    Raises:
        UsageError: There is no such rule.
    """

    def __init__(self, selection: Selection, rule: str = "own", *, by_dataset: bool = False) -> None:
        if rule not in RULES:
            raise UsageError(f"there is no rule {rule!r} for ids; choose one of {', '.join(RULES)}")
        self.rule = rule
        self._selection = selection
        self._by_dataset = by_dataset

    def of(self, row: int, digest: str, dataset: str = "") -> str:
        """Return the id of a sequence.

        Args:
            row: Its row in the collection.
            digest: Its digest, or what stands for it (``Piece.ids``).
            dataset: Its dataset, where ids are decided by dataset.
        """
        return digest if self.rule == "digest" else self.lab_id(row, digest, dataset)

    def lab_id(self, row: int, digest: str, dataset: str = "") -> str:
        """Return the id by the rule *own*, whatever the rule is; see ``of``."""
        return self._lab_ids.ids[dataset].get(row) or digest

    @property
    def numbered(self) -> int:
        """Sequences that got a suffix, because another sequence has their id too."""
        return 0 if self.rule == "digest" else self._lab_ids.numbered

    @cached_property
    def _lab_ids(self) -> _LabIds:
        """Find the first id of each sequence, and give a suffix to those that are shared."""
        firsts, counts = self._first_ids()
        several = counts.filter(pc.greater(counts.column("row_count"), 1))
        shared = set(zip(several.column("group").to_pylist(), several.column("name").to_pylist(), strict=True))
        like_numbered = counts.filter(pc.match_substring_regex(counts.column("name"), _NUMBERED))
        taken = set(zip(*(like_numbered.column(name).to_pylist() for name in ("group", "name")), strict=True))
        found = _LabIds(firsts)
        last: dict[tuple[str, str], int] = {}
        for group, ids in firsts.items():
            for row, name in ids.items():
                if not name or (group, name) not in shared:
                    continue
                number = last.get((group, name), 0) + 1
                while (group, f"{name}_{number}") in taken:
                    number += 1
                last[group, name] = number
                ids[row] = f"{name}_{number}"
                found.numbered += 1
                found.example = found.example or ids[row]
        return found

    def _first_ids(self) -> tuple[dict[str, dict[int, str]], pa.Table]:
        """Return group to row to the id of its first record, and how many rows (``row_count``) each id names."""
        firsts: dict[str, dict[int, str]] = {}
        pairs = []
        for piece in self._selection.pieces(("id", "dataset"), bases=False):
            names = [portable_id(id or "") for id in piece.records.column("id").cast(pa.string()).to_pylist()]
            groups = piece.records.column("dataset").to_pylist() if self._by_dataset else [""] * len(names)
            found: dict[tuple[str, str, int], None] = {}
            for row, (begin, end) in zip(piece.rows.tolist(), pairwise(piece.starts.tolist()), strict=True):
                for group, name in zip(groups[begin:end], names[begin:end], strict=True):
                    firsts.setdefault(group, {}).setdefault(row, name)
                    found[group, name, row] = None
            columns = zip(*found, strict=True)
            pairs.append(pa.table(dict(zip(("group", "name", "row"), map(list, columns), strict=True))))
        # No sequence is in two pieces, so each pair is there once.
        return firsts, pa.concat_tables(pairs).group_by(["group", "name"]).aggregate([("row", "count")])

    def notes(self) -> list[str]:
        """Return what a reader of the export should know of its ids."""
        notes = [f"each feature is called by {RULES[self.rule]}"]
        if self.numbered:
            notes.append(
                f"{self.numbered:,} features share their id with another and got a suffix, such as "
                f"{self._lab_ids.example}; ids by digest are the same in every export"
            )
        return notes
