"""Lineages: seven ranks joined by ``;``, empty where unknown, read from the ways in which people write them.

``LineageReader`` reads the lineages of a file, ``parse_lineage`` one alone. ``lineage_fields`` says which ways of
writing there are, ``lineage_forms`` how the ranks of plain names are found, ``taxon_names`` which names say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ednabed.errors import InputError
from ednabed.sequences.columns import shortened
from ednabed.sequences.lineage_fields import CELL, RANKS, UNREAD, Marked, Plain, plain_fields, read_fields
from ednabed.sequences.lineage_forms import (
    DOMAINS,
    KINGDOMS,
    PR2_NINE,
    UNRANKED,
    Form,
    Forms,
    organism_place,
    species_place,
)
from ednabed.sequences.taxon_names import clean_ranks, is_empty, is_filler, is_unknown, species_of_scientific_name

__all__ = (
    "RANKS", "Lineage", "LineageReader", "LineagesRead", "ReadLineage", "format_lineage", "join_cells",
    "parse_lineage", "read_lineages", "split_lineage", "tidy_lineage", "tidy_ranks",
)  # fmt: skip
_REMEMBERED = 65_536
"""Distinct lineages of a file that are remembered, so that memory does not grow with it."""
Lineage = tuple[str, str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class ReadLineage:
    """What one text says.

    Attributes:
        ranks: Seven names, empty where unknown; None where nothing is known.
        organelle: The organelle that PR2's marks name; empty where there is none.
        placeholder: The first placeholder that was dropped; empty where none was.
        form: Name of the rank form by which a plain lineage was read; empty for others.
        is_understood: False where the text holds names whose ranks cannot be determined.
    """

    ranks: Lineage | None
    organelle: str = ""
    placeholder: str = ""
    form: str = ""
    is_understood: bool = True

    @property
    def text(self) -> str | None:
        """The seven names joined by ``;``; None where nothing is known."""
        return None if self.ranks is None else ";".join(self.ranks)


@dataclass
class _Seen:
    """How many records something holds for, and the first of them."""

    count: int = 0
    record: int = 0
    example: str = ""

    def add(self, count: int, record: int, example: str) -> None:
        if not self.count:
            self.record, self.example = record, example
        self.count += count


class LineageReader:
    """Reads the lineages of one file, and counts what a person should know about them.

    Args:
        path: The file, for messages.
        census: Gives all lineages of the file with a record that has each; asked once, when the first plain lineage
            comes, whose form the whole file decides.
        keep_placeholders: Keep names such as ``uncultured bacterium``.
        what: What one entry of the file is called in messages.
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
        self._placeholders = _Seen()
        self._not_understood = _Seen()
        self._unranked = _Seen()
        self._organelles = _Seen()

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
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[text] = found
        return found

    def count(self, text: str, count: int, record: int) -> None:
        """Count a text that some records have, the first of them ``record``."""
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
        """Return one sentence for each kind of thing that a person should know about what was counted."""
        path, what = self._path, self._what
        notes = []
        seen = self._not_understood
        if seen.count:
            notes.append(
                f"{path}: {_records(seen.count, what)} no lineage, because the ranks of the names cannot be determined "
                f"(first {what} {seen.record}: {seen.example!r}); write seven names from kingdom to species joined by "
                "';', or mark the ranks as in k__…;p__…"
            )
        mixture = [] if self._forms is None else self._forms.mixture()
        if mixture:
            listed = ", ".join(f"{name} ({what} {record})" for name, record in mixture)
            notes.append(f"{path}: its lineages are written in several forms, each read as such: {listed}")
        seen = self._unranked
        if seen.count:
            notes.append(
                f"{path}: {_records(seen.count, what)} a lineage with any number of ranks, of which only kingdom, "
                f"genus and species are read (first {what} {seen.record}: {seen.example!r})"
            )
        seen = self._placeholders
        if seen.count:
            notes.append(
                f"{path}: {_records(seen.count, what)} a placeholder in the lineage, taken as unknown (first {what} "
                f"{seen.record}: {seen.example!r}), unless the option keep-placeholders is given"
            )
        seen = self._organelles
        if seen.count:
            notes.append(
                f"{path}: {_records(seen.count, what)} a lineage marked as of an organelle (first {what} {seen.record}"
                f": {seen.example}), which column 'organelle' names"
            )
        return notes


@dataclass(frozen=True)
class LineagesRead:
    """The lineages of a column.

    Attributes:
        values: For each text the seven names joined by ``;``; None where nothing is known.
        organelles: For each text the organelle that its lineage is marked with, else None.
        notes: What a person should know, one sentence each.
    """

    values: list[str | None]
    organelles: list[str | None]
    notes: list[str]


def read_lineages(
    texts: Sequence[str | None], path: str, *, keep_placeholders: bool = False, what: str = "row"
) -> LineagesRead:
    """Read all lineages of a file at once.

    Args:
        texts: What is written for each row; None and empty where nothing is.
        path: The file, for messages.
        keep_placeholders: Keep names such as ``uncultured bacterium``.
        what: What one entry is called in messages; they are numbered from 1.
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
        [None if one is None else one.text for one in found],
        [None if one is None else one.organelle or None for one in found],
        reader.notes(),
    )


@lru_cache(maxsize=65_536)
def parse_lineage(text: str) -> Lineage | None:
    """Read one lineage, however it is written, by itself; ``read_lineages`` reads those of a file.

    Args:
        text: What a header, a cell or a labels file holds.

    Returns:
        Seven names, empty where unknown; None when nothing is known.

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
    """Join seven names by ``;``, as lineages are written everywhere.

    Raises:
        InputError: There are not seven, or a name holds a semicolon.
    """
    if len(ranks) != len(RANKS) or any(";" in name for name in ranks):
        raise InputError(f"a lineage has seven names without semicolons ({', '.join(RANKS)}), got {list(ranks)}")
    return ";".join(ranks)


def split_lineage(text: str | None) -> Lineage:
    """Return the seven names of a lineage in the one form used everywhere; None and shorter ones have empty names."""
    names = (text or "").split(";")
    kingdom, phylum, class_, order, family, genus, species = (*names, *("",) * (len(RANKS) - len(names)))[: len(RANKS)]
    return kingdom, phylum, class_, order, family, genus, species


def tidy_lineage(text: str) -> str | None:
    """Return a lineage of any form in the one form used everywhere, or None. Raises InputError as ``parse_lineage``."""
    ranks = parse_lineage(text)
    return None if ranks is None else format_lineage(ranks)


@lru_cache(maxsize=65_536)
def tidy_ranks(text: str) -> str | None:
    """Return seven cells of rank columns, joined by ``;``, as a lineage, or None: each is that rank and no other."""
    return tidy_lineage(join_cells(text.split(";")))


def join_cells(cells: Sequence[str]) -> str:
    """Join the cells of seven rank columns to a text that is read as such: each is that rank and no other."""
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
    names = [fields[place] if 0 <= place < len(fields) else "" for place in form.places]
    # A domain without a kingdom below it fills the kingdom.
    if form.places[0] == 1 and (is_unknown(names[0]) or is_filler(names[0], fields[:1])):
        names[0] = fields[0]
    return names


def _unranked(fields: list[str]) -> list[str]:
    kingdom = next((name for name in fields if name.lower() in KINGDOMS), fields[0])
    own = species_place(fields)
    place = organism_place(fields) if own is None else own
    species = "" if place is None else fields[place].replace("_", " ")
    return [kingdom, "", "", "", "", species.partition(" ")[0], species]


def _read_one_name(name: str, forms: Forms, keep_placeholders: bool) -> ReadLineage:
    """Read a single name: a kingdom or a species where it is one, else it is not understood."""
    lower = name.lower()
    if lower in KINGDOMS or lower in DOMAINS or lower in forms.firsts:
        return _tidy([name, *[""] * 6], keep_placeholders)
    if species := species_of_scientific_name(name):
        return _tidy([*[""] * 6, species], keep_placeholders)
    found = _tidy([*[""] * 5, name, ""], keep_placeholders)
    # A placeholder says that nothing is known, which is understood.
    return ReadLineage(None, placeholder=found.placeholder, is_understood=found.ranks is None)


def _tidy(names: Sequence[str], keep_placeholders: bool, form: str = "") -> ReadLineage:
    safe = [name.replace(";", ",") for name in names]
    ranks, placeholder, organelle = clean_ranks(safe, keep_placeholders=keep_placeholders)
    kingdom, phylum, class_, order, family, genus, species = ranks
    lineage = (kingdom, phylum, class_, order, family, genus, species) if any(ranks) else None
    return ReadLineage(lineage, organelle, placeholder, form)


def _records(count: int, what: str) -> str:
    return f"{count:,} {what} has" if count == 1 else f"{count:,} {what}s have"
