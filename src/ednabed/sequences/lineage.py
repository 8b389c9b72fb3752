"""Lineages: seven ranks joined by ``;``, empty where unknown, read from all common notations.

``LineageReader`` reads the lineages of a file, ``parse_lineage`` a single one. ``lineage_fields`` covers the notations,
``lineage_forms`` determines the ranks of plain names, and ``taxon_names`` recognises uninformative names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.lineage_fields import CELL, RANKS, UNREAD, Marked, Plain, plain_fields, read_fields
from ednabed.sequences.lineage_forms import (
    DOMAINS,
    KINGDOMS,
    PR2_NINE,
    UNRANKED,
    Form,
    Forms,
    organism_index,
    species_index,
)
from ednabed.sequences.taxon_names import clean_ranks, is_empty, is_filler, is_unknown, species_of_scientific_name

__all__ = (
    "RANKS", "Lineage", "LineageReader", "LineagesRead", "ReadLineage", "as_lineage", "format_lineage",
    "join_cells", "parse_lineage", "read_lineages", "split_lineage", "tidy_lineage", "tidy_ranks",
)  # fmt: skip
_CACHED = 65_536
"""Maximum number of distinct lineages of a file that are cached, so that memory does not grow with the file."""
Lineage = tuple[str, str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class ReadLineage:
    """The lineage read from one text.

    Attributes:
        ranks: Seven names, empty where unknown; None if nothing is known.
        organelle: The organelle in PR2's suffixes; empty if there is none.
        placeholder: The first placeholder that was dropped; empty if there was none.
        form: Name of the rank form used to read a plain lineage; empty for others.
        is_understood: False if the text contains names whose ranks cannot be determined.
    """

    ranks: Lineage | None
    organelle: str = ""
    placeholder: str = ""
    form: str = ""
    is_understood: bool = True

    @property
    def text(self) -> str | None:
        """The seven names joined by ``;``; None if nothing is known."""
        return None if self.ranks is None else ";".join(self.ranks)


@dataclass
class _Tally:
    """The number of affected records, and the first of them."""

    count: int = 0
    record: int = 0
    example: str = ""

    def add(self, count: int, record: int, example: str) -> None:
        if not self.count:
            self.record, self.example = record, example
        self.count += count


class LineageReader:
    """Read the lineages of one file, and count the issues that the user should know about.

    Args:
        path: The file, for messages.
        census: Returns all lineages of the file, each with a record that has it. Called once, at the first plain
            lineage, because the form of plain lineages depends on the whole file.
        keep_placeholders: Keep names such as ``uncultured bacterium``.
        what: The word for one entry of the file in messages.
    """

    def __init__(
        self,
        path: str,
        census: Callable[[], Iterable[tuple[str, int]]],
        *,
        keep_placeholders: bool = False,
        what: str = "record",
    ) -> None:
        self._path = path
        self._census = census
        self._keep = keep_placeholders
        self._what = what
        self._forms: Forms | None = None
        self._known: dict[str, ReadLineage] = {}
        self._placeholders = _Tally()
        self._not_understood = _Tally()
        self._unranked = _Tally()
        self._organelles = _Tally()

    def read(self, text: str) -> ReadLineage:
        """Read one text, without counting it."""
        found = self._known.get(text)
        if found is None and text.startswith(UNREAD):
            found = self._known[text] = ReadLineage(None, is_understood=False)
        if found is None:
            written = read_fields(text)
            if isinstance(written, Plain) and self._forms is None and written.text:
                self._forms = Forms(_plain_texts(self._census()))
            found = _read(written, self._forms, self._keep)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[text] = found
        return found

    def count(self, text: str, count: int, record: int) -> None:
        """Count a text that ``count`` records have, the first of which is ``record``."""
        found = self.read(text)
        shown = shortened(text.replace(CELL, ";").lstrip(UNREAD))
        if found.placeholder:
            self._placeholders.add(count, record, found.placeholder)
        if found.organelle:
            self._organelles.add(count, record, found.organelle)
        if not found.is_understood:
            self._not_understood.add(count, record, shown)
        if found.form == UNRANKED.name:
            self._unranked.add(count, record, shown)

    def notes(self) -> list[str]:
        """Return one sentence for each type of issue that was counted."""
        path, what = self._path, self._what
        notes = []
        tally = self._not_understood
        if tally.count:
            notes.append(
                f"{path}: {_records(tally.count, what)} no lineage, because the ranks of the names cannot be "
                f"determined (first {what} {tally.record}: {tally.example!r}); write seven names from kingdom to "
                "species joined by ';', or mark the ranks as in k__…;p__…"
            )
        mixture = [] if self._forms is None else self._forms.mixture()
        if mixture:
            listed = ", ".join(f"{name} ({what} {record})" for name, record in mixture)
            notes.append(f"{path}: its lineages are written in several forms, each of which is recognised: {listed}")
        tally = self._unranked
        if tally.count:
            notes.append(
                f"{path}: {_records(tally.count, what)} a lineage with any number of ranks, of which only kingdom, "
                f"genus and species are read (first {what} {tally.record}: {tally.example!r})"
            )
        tally = self._placeholders
        if tally.count:
            notes.append(
                f"{path}: {_records(tally.count, what)} a placeholder in the lineage, treated as unknown (first {what} "
                f"{tally.record}: {tally.example!r}), unless `keep_placeholders` is set"
            )
        tally = self._organelles
        if tally.count:
            notes.append(
                f"{path}: {_records(tally.count, what)} a lineage marked as from an organelle (first {what} "
                f"{tally.record}: {tally.example}), which is given in column 'organelle'"
            )
        return notes


@dataclass(frozen=True)
class LineagesRead:
    """The lineages of a column.

    Attributes:
        values: For each text, the seven names joined by ``;``; None if nothing is known.
        organelles: For each text, the organelle that its lineage is marked with, else None.
        notes: Issues that the user should know about, one sentence each.
    """

    values: list[str | None]
    organelles: list[str | None]
    notes: list[str]


def read_lineages(
    texts: Sequence[str | None], path: str, *, keep_placeholders: bool = False, what: str = "row"
) -> LineagesRead:
    """Read all lineages of a file at once.

    Args:
        texts: The text of each row; None or empty if it has none.
        path: The file, for messages.
        keep_placeholders: Keep names such as ``uncultured bacterium``.
        what: The word for one entry in messages; entries are numbered from 1.
    """
    first: dict[str, int] = {}
    counts: dict[str, int] = {}
    for number, text in enumerate(texts, 1):
        if text:
            first.setdefault(text, number)
            counts[text] = counts.get(text, 0) + 1
    reader = LineageReader(path, first.items, keep_placeholders=keep_placeholders, what=what)
    for text, count in counts.items():
        reader.count(text, count, first[text])
    found = [reader.read(text) if text else None for text in texts]
    return LineagesRead(
        [None if lineage is None else lineage.text for lineage in found],
        [None if lineage is None else lineage.organelle or None for lineage in found],
        reader.notes(),
    )


@lru_cache(maxsize=65_536)
def parse_lineage(text: str) -> Lineage | None:
    """Read a single lineage in any notation; ``read_lineages`` reads the lineages of a file.

    Args:
        text: The lineage as written in a header, a cell or a labels file.

    Returns:
        Seven names, empty where unknown; None if nothing is known.

    Raises:
        InputError: The ranks of its names cannot be determined.
    """
    found = LineageReader("lineage", lambda: [(text, 1)]).read(text)
    if not found.is_understood:
        raise InputError(
            f"the ranks of lineage {shortened(text)!r} cannot be determined; write seven names (kingdom to species) "
            "joined by ';', or mark the ranks as in k__…;p__…"
        )
    return found.ranks


def format_lineage(ranks: Sequence[str]) -> str:
    """Join seven names by ``;``, the standard form of a lineage.

    Raises:
        InputError: There are not seven names, or a name contains a semicolon.
    """
    if len(ranks) != len(RANKS) or any(";" in name for name in ranks):
        raise InputError(f"a lineage has seven names without semicolons ({', '.join(RANKS)}), got {list(ranks)}")
    return ";".join(ranks)


def as_lineage(names: Iterable[str]) -> Lineage:
    """Return seven names as a lineage. Raises ValueError if there are not seven."""
    kingdom, phylum, class_, order, family, genus, species = names
    return kingdom, phylum, class_, order, family, genus, species


def split_lineage(text: str | None) -> Lineage:
    """Return the seven names of a lineage in standard form; names are empty for None and for missing ranks."""
    names = (text or "").split(";")
    return as_lineage((*names, *("",) * (len(RANKS) - len(names)))[: len(RANKS)])


def tidy_lineage(text: str) -> str | None:
    """Return a lineage of any notation in standard form, or None. Raises InputError like ``parse_lineage``."""
    ranks = parse_lineage(text)
    return None if ranks is None else format_lineage(ranks)


@lru_cache(maxsize=65_536)
def tidy_ranks(text: str) -> str | None:
    """Return seven cells of rank columns, joined by ``;``, as a lineage, or None; each cell keeps its rank."""
    return tidy_lineage(join_cells(text.split(";")))


def join_cells(cells: Sequence[str]) -> str:
    """Join the cells of seven rank columns into a text in which each cell keeps its rank."""
    return CELL.join(cells)


def _plain_texts(texts: Iterable[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    for text, record in texts:
        written = Plain("") if text.startswith(UNREAD) else read_fields(text)
        if isinstance(written, Plain) and written.text:
            yield written.text, record


def _read(written: Marked | Plain, forms: Forms | None, keep_placeholders: bool) -> ReadLineage:
    if isinstance(written, Marked):
        return _tidy(written.names, keep_placeholders)
    if forms is None or is_empty(written.text):
        return ReadLineage(None)
    fields = plain_fields(written.text, forms.separator)
    if not any(fields):
        return ReadLineage(None)
    if len(fields) == 1:
        return _read_one_name(fields[0], forms, keep_placeholders)
    form = forms.form_of(fields)
    if form is None:
        return ReadLineage(None, is_understood=False)
    names = _unranked(fields) if form is UNRANKED else _by_form(fields, form)
    return _tidy(names, keep_placeholders, form.name)


def _by_form(fields: list[str], form: Form) -> list[str]:
    if form is PR2_NINE:
        # Fillers such as 'Dinoflagellata_X' may repeat the subdivision, which is not among the seven ranks.
        fields = [*fields[:4], *("" if is_filler(name, fields[3:4]) else name for name in fields[4:])]
    names = [fields[index] if 0 <= index < len(fields) else "" for index in form.indices]
    # A domain without a kingdom below it fills the kingdom.
    if form.indices[0] == 1 and (is_unknown(names[0]) or is_filler(names[0], fields[:1])):
        names[0] = fields[0]
    return names


def _unranked(fields: list[str]) -> list[str]:
    kingdom = next((name for name in fields if name.lower() in KINGDOMS), fields[0])
    index = species_index(fields)
    if index is None:
        index = organism_index(fields)
    species = "" if index is None else fields[index].replace("_", " ")
    return [kingdom, "", "", "", "", species.partition(" ")[0], species]


def _read_one_name(name: str, forms: Forms, keep_placeholders: bool) -> ReadLineage:
    """Read a single name: it must be a kingdom or a species to be understood."""
    lower = name.lower()
    if lower in KINGDOMS or lower in DOMAINS or lower in forms.firsts:
        return _tidy([name, *[""] * 6], keep_placeholders)
    if species := species_of_scientific_name(name):
        return _tidy([*[""] * 6, species], keep_placeholders)
    found = _tidy([*[""] * 5, name, ""], keep_placeholders)
    # A placeholder means that nothing is known, so it counts as understood.
    return ReadLineage(None, placeholder=found.placeholder, is_understood=found.ranks is None)


def _tidy(names: Sequence[str], keep_placeholders: bool, form: str = "") -> ReadLineage:
    safe = [name.replace(";", ",") for name in names]
    ranks, placeholder, organelle = clean_ranks(safe, keep_placeholders=keep_placeholders)
    return ReadLineage(as_lineage(ranks) if any(ranks) else None, organelle, placeholder, form)


def _records(count: int, what: str) -> str:
    return f"{count:,} {what} has" if count == 1 else f"{count:,} {what}s have"
