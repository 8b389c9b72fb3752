"""Ids of the distinct sequences in an export: the same in all its formats, and in ``classify`` of the same run.

With the rule *own*, the id of a sequence is the id of its first record (by dataset, run and number) in a form that a
FASTA header can contain: white space, a quote and a leading ``#`` become ``_``, and so does a ``;`` before text that
would be read as an annotation (``;size=``). An id that records of several sequences share is ambiguous, so each of
these sequences gets the id with a suffix, ``_1``, ``_2``, … in row order; a suffix that would give the id of another
record is skipped. A sequence without an id gets its digest as id. With the rule *digest*, all sequences do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.text import clean
from ednabed.errors import UsageError

if TYPE_CHECKING:
    from ednabed.export.selection import Selection

RULES = {
    "own": "the id of its first record, with a suffix (_1, _2, …) if several sequences share that id",
    "digest": "the digest of its bases",
}
"""Each rule, mapped to a description of the feature ids that it gives."""
_ANNOTATION = re.compile(r";(?=[A-Za-z_][\w.]*=)")
_SPACE = re.compile(r"\s+")
_NUMBERED = r"_[0-9]+$"


def header_id(id: str) -> str:
    """Return an id in a form that a FASTA header can contain; empty if nothing is left of it."""
    return _ANNOTATION.sub("_", _SPACE.sub("_", clean(id).strip()))


@lru_cache(maxsize=65_536)
def portable_id(id: str) -> str:
    """Return an id in a form that every format can contain; empty if nothing is left of it."""
    name = header_id(id).replace('"', "_")
    return f"_{name[1:]}" if name.startswith("#") else name


@dataclass
class _LabIds:
    """Ids by the rule *own*.

    Attributes:
        ids: Id of each row, by group (a dataset, or empty for all datasets together); empty if the record has no id.
        numbered: Number of rows whose id has a suffix.
        example: One of these ids; empty if there is none.
    """

    ids: dict[str, dict[int, str]]
    numbered: int = 0
    example: str = ""


class FeatureIds:
    """Ids of the distinct sequences of a selection.

    The ids of the records are read when the first id by the rule *own* is requested, and all are kept in memory from
    then on: about 200 bytes per distinct sequence.

    Args:
        selection: The sequences and records to export.
        rule: One of ``RULES``.
        by_dataset: Assign the ids in each dataset separately, so that they do not depend on which other datasets are
            selected.

    Attributes:
        rule: See above.

    Raises:
        UsageError: The rule is unknown.
    """

    def __init__(self, selection: Selection, rule: str = "own", *, by_dataset: bool = False) -> None:
        if rule not in RULES:
            raise UsageError(f"there is no rule {rule!r} for ids; choose one of {', '.join(RULES)}")
        self.rule = rule
        self._selection = selection
        self._by_dataset = by_dataset

    def id_of(self, row: int, digest: str, dataset: str = "") -> str:
        """Return the id of a sequence.

        Args:
            row: Its row in the collection.
            digest: Its digest, or the id that replaces it (``Piece.ids``).
            dataset: Its dataset, if ids are assigned by dataset.
        """
        return digest if self.rule == "digest" else self.lab_id(row, digest, dataset)

    def lab_id(self, row: int, digest: str, dataset: str = "") -> str:
        """Return the id by the rule *own*, regardless of the rule in use; see ``of``."""
        return self._lab_ids.ids[dataset].get(row) or digest

    @property
    def numbered(self) -> int:
        """Number of sequences whose id got a suffix, because another sequence has the same id."""
        return 0 if self.rule == "digest" else self._lab_ids.numbered

    @cached_property
    def _lab_ids(self) -> _LabIds:
        """Find the first id of each sequence, and add a suffix to shared ids."""
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
        """Return the id of the first record of each row, by group, and the number of rows (``row_count``) per id."""
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
        # No sequence is in two pieces, so each pair occurs once.
        return firsts, pa.concat_tables(pairs).group_by(["group", "name"]).aggregate([("row", "count")])

    def notes(self) -> list[str]:
        """Return notes on the ids for readers of the export."""
        notes = [f"the id of each feature is {RULES[self.rule]}"]
        if self.numbered:
            notes.append(
                f"{self.numbered:,} features share their id with another feature and got a suffix, such as "
                f"{self._lab_ids.example}; ids by digest are the same in every export"
            )
        return notes
