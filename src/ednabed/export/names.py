"""Choose the names in an export: the names that the records have, else the names that ``ednabed classify`` assigned.

If a record has its own lineage (a label), this is kept. A record without a label takes the names of its assignment.
Assignments are either kept next to the run and found by sequence, or read from a file and found by id: the id of the
record, else an id that an export of distinct sequences gives it (digest, feature id, or the id of the first record of
its sequence). If the taxon of a record is not in the reference, the record takes the names above it; ``unclassified``
and ``rejected`` records have none. Best guesses that were not assigned are not used as names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ednabed.base.stored_json import BadJson, parse_json, require
from ednabed.base.text import clean
from ednabed.errors import InputError
from ednabed.reference.kept import NEAREST, RowNames
from ednabed.sequences.delimited import find_dialect, read_delimited
from ednabed.sequences.lineage import RANKS, Lineage, as_lineage, parse_lineage
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.stream import decode_text
from ednabed.sequences.tables import text_of
from ednabed.store.assignment import STATUSES, UNKNOWN, current_status

_COLUMNS = ("id", "status", "lineage", "confidence")
_LINE = {
    **{"id": str, "status": str, "lineage": str | None, "confidence": float | None},
    **dict.fromkeys(("nearest_id", "nearest_lineage", "nearest_taxon_id"), str | None),
    **dict.fromkeys(("identity", "coverage"), float | None),
}
_ADVICE = "give a file that 'ednabed classify --output taxonomy.tsv' (or .jsonl) wrote"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest sequence of the reference, from which a name was assigned.

    Attributes:
        id: Id of its record; empty if unknown.
        identity: Percent identity over the columns of the alignment; None if unknown.
        coverage: Percent of the query inside that alignment; None if unknown.
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
        confidence: Confidence of the deepest name, 0 to 1, if it comes from an assignment; else None.
        status: Status of the assignment that was used; empty if none was.
        taxon_id: Id of the deepest name in a taxonomic database (``sequences.taxon_ids``); empty if unknown.
        nearest: The nearest sequence, from which the names were assigned.
    """

    lineage: Lineage = UNKNOWN
    confidence: float | None = None
    status: str = ""
    taxon_id: str = ""
    nearest: Nearest = NO_NEAREST

    @property
    def rank(self) -> str:
        """Deepest rank with a name; empty if there is none."""
        return next((rank for rank, name in zip(reversed(RANKS), reversed(self.lineage), strict=True) if name), "")

    @property
    def name(self) -> str:
        """The deepest name; empty if there is none."""
        return next((name for name in reversed(self.lineage) if name), "")


NO_NAME = Identification()


@dataclass(frozen=True, slots=True)
class SequenceIds:
    """The distinct sequence of a record.

    Attributes:
        row: Its row in the collection.
        ids: Ids under which it may have been classified: its digest (``Piece.ids``), the id that an export gives it
            (needed if ``Namer.by_id``, else the digest again), and the id of its first record.
    """

    row: int
    ids: tuple[str, str, str | None]


class Namer:
    """Choose the names of each record, and count their sources.

    Args:
        assignments: Assignments by id (as ``classify`` wrote it, ``clean``); None if there are none.
        kept: The names kept next to the runs, for all rows of the collection; None if there are none. At most one of
            the two is given.

    Attributes:
        has_assignments: Whether there are any assignments.
        by_id: Whether assignments are found by id.
        requested: Number of records whose names were requested.
        named: Number of these records that have a name.
        assigned: Number of records that took the names of an assignment.
        nameless: Number of records whose assignment gives no name.
        kept: Number of records that have an assignment and kept their own lineage.
        divided: Number of distinct sequences whose records have different own lineages; counted by ``features``.
    """

    def __init__(self, assignments: dict[str, Identification] | None = None, kept: RowNames | None = None) -> None:
        self.has_assignments = assignments is not None or kept is not None
        self.by_id = assignments is not None
        self._assignments = assignments or {}
        self._kept = kept
        self._sequence_of: dict[str, str | None] = {}
        self.requested = self.named = self.assigned = self.nameless = self.kept = self.divided = 0

    def fit(self, ids: Iterable[str | None]) -> bool:
        """Return whether any of the ids has an assignment."""
        return any(id is not None and clean(id) in self._assignments for id in ids)

    def identify(self, id: str | None, lineage: str | None, sequence: SequenceIds) -> Identification:
        """Return the names of a record.

        Args:
            id: Its id; None if it has none.
            lineage: Its own lineage; None if unknown.
            sequence: Its distinct sequence.

        Raises:
            InputError: The id that its assignment is found by is also the id of another distinct sequence.
        """
        named = NO_NAME if lineage is None else _labelled(lineage)
        found = self._by_id(id, sequence) if self._kept is None else self._by_row(sequence.row)
        if found is not None and any(named.lineage):
            self.kept += 1
        elif found is not None:
            named = found
            if any(named.lineage):
                self.assigned += 1
            else:
                self.nameless += 1
        self.requested += 1
        self.named += any(named.lineage)
        return named

    def _by_row(self, row: int) -> Identification | None:
        assert self._kept is not None
        found = self._kept.assignment_of(row)
        return None if found is None else identification(*found, self._kept.nearest_of(row))

    def _by_id(self, id: str | None, sequence: SequenceIds) -> Identification | None:
        for name in (id, *sequence.ids) if self._assignments else ():
            found = None if name is None else self._assignments.get(clean(name))
            if found is None or name is None:
                continue
            digest = sequence.ids[0]
            if self._sequence_of.setdefault(clean(name), digest) != digest:
                raise InputError(
                    f"id {name!r} belongs to several sequences here, so its assignment is ambiguous; "
                    "export one dataset or run, or classify the run itself ('ednabed classify --run RUN'), whose "
                    "assignments are stored by sequence"
                )
            return found
        return None


@lru_cache(maxsize=65_536)
def _labelled(text: str) -> Identification:
    fields = text.split(";")
    if len(fields) == len(RANKS):
        return Identification(as_lineage(fields))
    return Identification(parse_lineage(text) or UNKNOWN)


def names_by_id(path: Path) -> dict[str, Identification]:
    """Read the output of ``ednabed classify``, as TSV or JSON lines (plain, .gz or .zst).

    Returns:
        Names by id. The size in memory is about the size of the file.

    Raises:
        InputError: The file cannot be read, is of another kind, or has contradictory assignments of one id.
    """
    found: dict[str, Identification] = {}
    with OpenedInput(path, expected="assignment") as source:
        lines = _json_lines(source) if source.head.lstrip().startswith(b"{") else _table(source)
        for number, (id, status, lineage, confidence, nearest) in enumerate(lines, 1):
            where = f"{source.path}: assignment {number} (id {id!r})"
            status = current_status(status)
            if status not in STATUSES:
                raise InputError(f"{where} has the status {status!r}, expected one of {', '.join(STATUSES)}; {_ADVICE}")
            named = _assigned(where, status, lineage, confidence, nearest)
            if found.setdefault(clean(id), named) != named:
                raise InputError(
                    f"{where} contradicts an earlier assignment of this id; keep the correct one, or "
                    "classify and export one file at a time"
                )
    return found


def _assigned(
    where: str, status: str, lineage: str, confidence: str | float | None, nearest: Mapping[str, Any]
) -> Identification:
    probability = _number(confidence)
    if probability is not None and not 0 <= probability <= 1:
        raise InputError(f"{where} has the confidence {confidence!r}, expected a number from 0 to 1; {_ADVICE}")
    values = dict(nearest)
    for name in ("identity", "coverage"):
        values[name] = percent = _number(values.get(name))
        if percent is not None and not 0 <= percent <= 100:
            raise InputError(f"{where} has the {name} {nearest[name]!r}, expected a number from 0 to 100; {_ADVICE}")
    return identification(status, lineage, probability, values)


def _number(cell: str | float | None) -> float | None:
    """Return a number; None if the cell is empty, NaN if it is not a number."""
    try:
        return None if cell in (None, "") else float(cell or 0)
    except (TypeError, ValueError):
        return math.nan


def identification(
    status: str, lineage: str | None, confidence: float | None, nearest: Mapping[str, Any] | None = None
) -> Identification:
    """Return the names of an assignment, which are unknown if it has no lineage or its status does not give a name.

    The taxon id of the nearest record is used only if both lineages are the same down to the deepest name: an assigned
    genus does not have the id of the nearest species.

    Args:
        status: Status of the assignment.
        lineage: The assigned names; None or empty if there are none.
        confidence: Confidence of the deepest name; None if unknown.
        nearest: Facts about the nearest sequence, by column (``reference.kept.NEAREST``); None if unknown.
    """
    facts = nearest or {}
    nearest_sequence = Nearest(facts.get("nearest_id") or "", facts.get("identity"), facts.get("coverage"))
    if status in ("unclassified", "rejected"):
        return Identification(status=status, nearest=nearest_sequence)
    names = _labelled(lineage).lineage if lineage else UNKNOWN
    # In a lineage that was written as text, a semicolon in a name is a comma.
    same = any(names) and _labelled(facts.get("nearest_lineage") or "").lineage == names
    taxon_id = (facts.get("nearest_taxon_id") or "") if same else ""
    return Identification(names, confidence, status, taxon_id, nearest_sequence)


def _table(source: OpenedInput) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    dialect = find_dialect(source)
    missing = [name for name in _COLUMNS if name not in dialect.columns]
    if missing:
        raise InputError(f"{source.path}: has no column {missing[0]!r}; {_ADVICE}")
    present = [name for name in NEAREST if name in dialect.columns]
    for batch in read_delimited(source, dialect):
        cells = [text_of(batch.column(name), name, source.path).to_pylist() for name in (*_COLUMNS, *present)]
        for id, status, lineage, confidence, *nearest in zip(*cells, strict=True):
            yield id, status, lineage, confidence, dict(zip(present, nearest, strict=True))


def _json_lines(source: OpenedInput) -> Iterator[tuple[str, str, str, float | None, dict[str, Any]]]:
    for number, line in enumerate(_lines(source), 1):
        if not line.strip():
            continue
        try:
            body: Any = parse_json(decode_text(line))
            if isinstance(body, dict):
                body = {**dict.fromkeys(NEAREST), **body}
            require(body, _LINE, "it")
            nearest = {name: body[name] for name in NEAREST}
            yield body["id"], body["status"], body["lineage"] or "", body["confidence"], nearest
        except BadJson as error:
            raise InputError(f"{source.path}: line {number} is not an assignment ({error}); {_ADVICE}") from error


def _lines(source: OpenedInput) -> Iterator[bytes]:
    rest = b""
    while data := source.read(1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    yield rest
