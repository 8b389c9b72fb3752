"""Which names an export gives: those that the records have, else those that ``ednabed classify`` gave.

A lineage that a record has of its own (a label) stays. A record without one takes the names of its assignment. These
are kept next to its run and go by sequence; or they come from a file and go by id: that of the record, else one that an
export of distinct sequences gives it (digest, feature id, or the id of the first record of its sequence). Of a record
whose taxon is not in the reference these are the names above that taxon; ``unclassified`` and ``rejected`` ones have
none. Best guesses that were not given are no names here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ednabed.base.stored_json import BadJson, parse_json, require
from ednabed.errors import InputError
from ednabed.reference.kept import NEAREST, RowNames
from ednabed.sequences.delimited import find_dialect, read_delimited
from ednabed.sequences.lineage import RANKS, Lineage, parse_lineage
from ednabed.sequences.opening import Source
from ednabed.sequences.stream import decode
from ednabed.sequences.tables import text_of
from ednabed.store.assignments import STATUSES, current_status
from ednabed.store.files import clean
from ednabed.taxonomy.assignment import UNKNOWN

_COLUMNS = ("id", "status", "lineage", "confidence")
_LINE = {
    **{"id": str, "status": str, "lineage": str | None, "confidence": float | None},
    **dict.fromkeys(("nearest_id", "nearest_lineage", "nearest_taxon_id"), str | None),
    **dict.fromkeys(("identity", "coverage"), float | None),
}
_ADVICE = "give what 'ednabed classify --output taxonomy.tsv' (or .jsonl) wrote"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest sequence of the reference by which a name was assigned.

    Attributes:
        id: Id of its record; empty where unknown.
        identity: Percent of the columns of the alignment; None where unknown.
        coverage: Percent of the query inside that alignment; None where unknown.
    """

    id: str = ""
    identity: float | None = None
    coverage: float | None = None


NO_NEAREST = Nearest()


@dataclass(frozen=True, slots=True)
class Identification:
    """The names of a record or of a distinct sequence.

    Attributes:
        lineage: Seven names, empty where unknown.
        confidence: Of the deepest name, 0 to 1, where an assignment gave it; else None.
        status: Status of the assignment that was taken; empty where none was.
        taxon_id: Id of the deepest name in a database of taxa (``sequences.taxon_ids``); empty where unknown.
        nearest: By what an assignment was given.
    """

    lineage: Lineage = UNKNOWN
    confidence: float | None = None
    status: str = ""
    taxon_id: str = ""
    nearest: Nearest = NO_NEAREST

    @property
    def rank(self) -> str:
        """Deepest rank with a name; empty where none has."""
        return next((rank for rank, name in zip(reversed(RANKS), reversed(self.lineage), strict=True) if name), "")

    @property
    def name(self) -> str:
        """The deepest name; empty where there is none."""
        return next((name for name in reversed(self.lineage) if name), "")


NO_NAME = Identification()


@dataclass(frozen=True, slots=True)
class SequenceIds:
    """The distinct sequence that a record has.

    Attributes:
        row: Its row in the collection.
        ids: What it may have been classified as: its digest (``Piece.ids``), the id that an export gives it (needed
            where ``Namer.by_id``, else the digest again), and the id of its first record.
    """

    row: int
    ids: tuple[str, str, str | None]


class Namer:
    """Gives each record its names, and counts from where.

    Args:
        assignments: Id (as ``classify`` wrote it, ``clean``) to assignment; None where there are none.
        kept: The names kept next to the runs, of all rows of the collection; None where there are none. At most one of
            both is given.

    Attributes:
        given: Whether there are assignments at all.
        by_id: Whether they are found by id.
        asked: Records of which the names were asked for.
        named: Those of them that have a name.
        assigned: Records that took the names of an assignment.
        nameless: Records whose assignment gives no name.
        kept: Records that have an assignment and kept the lineage of their own.
        divided: Distinct sequences whose records have several lineages of their own; counted by ``features``.
    """

    def __init__(self, assignments: dict[str, Identification] | None = None, kept: RowNames | None = None) -> None:
        self.given = assignments is not None or kept is not None
        self.by_id = assignments is not None
        self._assignments = assignments or {}
        self._kept = kept
        self._sequence_of: dict[str, str | None] = {}
        self.asked = self.named = self.assigned = self.nameless = self.kept = self.divided = 0

    def fit(self, ids: Iterable[str | None]) -> bool:
        """Return whether there is an assignment for one of some ids."""
        return any(id is not None and clean(id) in self._assignments for id in ids)

    def of(self, id: str | None, lineage: str | None, sequence: SequenceIds) -> Identification:
        """Return the names of a record.

        Args:
            id: Its id; None where it has none.
            lineage: What it says itself; None where nothing is known.
            sequence: The distinct sequence that it has.

        Raises:
            InputError: The id that its assignment goes by is that of another distinct sequence too.
        """
        own = NO_NAME if lineage is None else _labelled(lineage)
        found = self._by_id(id, sequence) if self._kept is None else self._by_row(sequence.row)
        if found is not None and any(own.lineage):
            self.kept += 1
        elif found is not None:
            own = found
            if any(own.lineage):
                self.assigned += 1
            else:
                self.nameless += 1
        self.asked += 1
        self.named += any(own.lineage)
        return own

    def _by_row(self, row: int) -> Identification | None:
        assert self._kept is not None
        found = self._kept.of(row)
        return None if found is None else identification(*found, self._kept.nearest_of(row))

    def _by_id(self, id: str | None, sequence: SequenceIds) -> Identification | None:
        for name in (id, *sequence.ids) if self._assignments else ():
            found = None if name is None else self._assignments.get(clean(name))
            if found is None or name is None:
                continue
            digest = sequence.ids[0]
            if self._sequence_of.setdefault(clean(name), digest) != digest:
                raise InputError(
                    f"id {name!r} is that of several sequences here, so its assignment names none of them for sure; "
                    "export one dataset or run, or classify the run itself ('ednabed classify --run RUN'), whose "
                    "assignments go by sequence"
                )
            return found
        return None


@lru_cache(maxsize=65_536)
def _labelled(text: str) -> Identification:
    fields = text.split(";")
    if len(fields) == len(RANKS):
        kingdom, phylum, class_, order, family, genus, species = fields
        return Identification((kingdom, phylum, class_, order, family, genus, species))
    return Identification(parse_lineage(text) or UNKNOWN)


def names_by_id(path: Path) -> dict[str, Identification]:
    """Read what ``ednabed classify`` wrote, as TSV or JSON lines (plain, .gz or .zst).

    Returns:
        Id to names. Its size is that of the file.

    Raises:
        InputError: The file cannot be read, is something else, or says two things of one id.
    """
    found: dict[str, Identification] = {}
    with Source(path, wanted="assignment") as source:
        lines = _json_lines(source) if source.head.lstrip().startswith(b"{") else _table(source)
        for number, (id, status, lineage, confidence, nearest) in enumerate(lines, 1):
            where = f"{source.path}: assignment {number} (id {id!r})"
            status = current_status(status)
            if status not in STATUSES:
                raise InputError(f"{where} has the status {status!r}, expected one of {', '.join(STATUSES)}; {_ADVICE}")
            named = _assigned(where, status, lineage, confidence, nearest)
            if found.setdefault(clean(id), named) != named:
                raise InputError(
                    f"{where} says something else than an earlier one of this id; keep the one that is meant, or "
                    "classify and export one file at a time"
                )
    return found


def _assigned(
    where: str, status: str, lineage: str, confidence: str | float | None, nearest: Mapping[str, Any]
) -> Identification:
    sure = _number(confidence)
    if sure is not None and not 0 <= sure <= 1:
        raise InputError(f"{where} has the confidence {confidence!r}, expected a number from 0 to 1; {_ADVICE}")
    on = dict(nearest)
    for name in ("identity", "coverage"):
        on[name] = percent = _number(on.get(name))
        if percent is not None and not 0 <= percent <= 100:
            raise InputError(f"{where} has the {name} {nearest[name]!r}, expected a number from 0 to 100; {_ADVICE}")
    return identification(status, lineage, sure, on)


def _number(cell: str | float | None) -> float | None:
    """Return a number; None where the cell is empty, NaN where it is none."""
    try:
        return None if cell in (None, "") else float(cell or 0)
    except (TypeError, ValueError):
        return math.nan


def identification(
    status: str, lineage: str | None, confidence: float | None, nearest: Mapping[str, Any] | None = None
) -> Identification:
    """Return the names that an assignment gives, none where it has no lineage or its status is not of a name.

    The taxon id of the nearest record is that of the name given only where both are named alike down to the deepest
    name: a genus that was given has not the id of the species that is nearest.

    Args:
        status: Its status.
        lineage: The names given; None or empty where there are none.
        confidence: Of the deepest name; None where unknown.
        nearest: What it rests on, by column (``reference.kept.NEAREST``); None where nothing of that is known.
    """
    on = nearest or {}
    by = Nearest(on.get("nearest_id") or "", on.get("identity"), on.get("coverage"))
    if status in ("unclassified", "rejected"):
        return Identification(status=status, nearest=by)
    names = _labelled(lineage).lineage if lineage else UNKNOWN
    # What was written as text has a comma for a semicolon in a name.
    same = any(names) and _labelled(on.get("nearest_lineage") or "").lineage == names
    return Identification(names, confidence, status, (on.get("nearest_taxon_id") or "") if same else "", by)


def _table(source: Source) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    dialect = find_dialect(source)
    lacking = [name for name in _COLUMNS if name not in dialect.columns]
    if lacking:
        raise InputError(f"{source.path}: has no column {lacking[0]!r}; {_ADVICE}")
    there = [name for name in NEAREST if name in dialect.columns]
    for batch in read_delimited(source, dialect):
        cells = [text_of(batch.column(name), name, source.path).to_pylist() for name in (*_COLUMNS, *there)]
        for id, status, lineage, confidence, *nearest in zip(*cells, strict=True):
            yield id, status, lineage, confidence, dict(zip(there, nearest, strict=True))


def _json_lines(source: Source) -> Iterator[tuple[str, str, str, float | None, dict[str, Any]]]:
    for number, line in enumerate(_lines(source), 1):
        if not line.strip():
            continue
        try:
            body: Any = parse_json(decode(line))
            if isinstance(body, dict):
                body = {**dict.fromkeys(NEAREST), **body}
            require(body, _LINE, "it")
            nearest = {name: body[name] for name in NEAREST}
            yield body["id"], body["status"], body["lineage"] or "", body["confidence"], nearest
        except BadJson as error:
            raise InputError(f"{source.path}: line {number} is no assignment ({error}); {_ADVICE}") from error


def _lines(source: Source) -> Iterator[bytes]:
    held = b""
    while data := source.read(1 << 20):
        *lines, held = (held + data).split(b"\n")
        yield from lines
    yield held
