"""Determine the rank of each name in a plain lineage, from all lineages of a file.

A single lineage does not reveal its form: ``Eukaryota;TSAR;…;Protoperidiniaceae`` has seven names but uses PR2's nine
ranks. The lineages of a file are therefore grouped by their beginning (a domain and a kingdom, a domain and a PR2
supergroup, a domain alone, anything else). Each group has one form, which is determined from these, in this order:

1. names: a kingdom or a supergroup after the domain;
2. the position of species: a name that begins with the name before it (``Gadus;Gadus morhua``); else of families;
3. the longest lineage of the group, including empty fields at its end.

A lineage with a species after its genus is read by that species, and reported if it differs from its group.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ednabed.sequences.lineage_fields import plain_fields
from ednabed.sequences.taxon_names import is_unknown, species_of_scientific_name

DOMAINS = frozenset(("eukaryota", "eukarya", "bacteria", "archaea", "viruses", "prokaryota"))
KINGDOMS = frozenset(
    (
        *("animalia", "metazoa", "fungi", "plantae", "viridiplantae", "chromista", "protista", "protozoa"),
        *("orthornavirae", "pararnavirae", "shotokuvirae", "bamfordvirae", "heunggongvirae", "loebvirae"),
        *("sangervirae", "trapavirae", "zilligvirae", "helvetiavirae"),
        *("bacillati", "pseudomonadati", "fusobacteriati", "thermotogati", "methanobacteriati", "nanobdellati"),
        *("promethearchaeati", "thermoproteati"),
    )
)
"""Kingdoms below a domain in NCBI, GBIF, BOLD and ICTV, in lower case."""
# Supergroups of PR2 5 (nine ranks), of PR2 4 (eight ranks, without subdivision), and of both.
_PR2_NINE = frozenset(("tsar", "obazoa", "cryptista", "haptista", "provora", "crums"))
_PR2_EIGHT = frozenset(
    ("alveolata", "apusozoa", "hacrobia", "opisthokonta", "protalveolata", "rhizaria", "stramenopiles")
)
_PR2_BOTH = frozenset(("archaeplastida", "amoebozoa", "excavata", "eukaryota_x"))
_OTHERS = 10_000
"""Maximum number of distinct texts without a semicolon that are used to choose another separator."""
_SILVA = frozenset(("SAR", "Amorphea"))
"""Second names in lineages that only SILVA uses."""
_SEPARATORS = ("|", ">", ",")
_MARK = re.compile(r":(?:plas|mito|nucl|apic|chrom)$")
_FAMILY = re.compile(r"[A-Z][a-z]+(?:idae|aceae)$")
_NO_EPITHET = frozenset(("incertae", "unclassified", "uncultured", "unidentified"))


@dataclass(frozen=True)
class Form:
    """The ranks that the fields of plain lineages have.

    Attributes:
        name: Name of the form in messages.
        indices: For each of the seven ranks, the index of its name in the lineage; -1 if the form lacks that rank.
    """

    name: str
    indices: tuple[int, ...]

    @property
    def species(self) -> int:
        """Index of the species; -1 if the form has no fixed one."""
        return self.indices[-1] if self.indices else -1


SEVEN = Form("seven ranks", (0, 1, 2, 3, 4, 5, 6))
EIGHT = Form("eight ranks with a domain", (1, 2, 3, 4, 5, 6, 7))
PR2_NINE = Form("PR2's nine ranks", (1, 2, 4, 5, 6, 7, 8))
PR2_EIGHT = Form("PR2's eight ranks", (1, 2, 3, 4, 5, 6, 7))
WITH_SUBFAMILY = Form("eight ranks with a subfamily", (0, 1, 2, 3, 4, 6, 7))
WITH_TRIBE = Form("BOLD's nine ranks", (0, 1, 2, 3, 4, 7, 8))
UNRANKED = Form("any number of ranks", ())
"""Lineages such as those of eukaryotes in SILVA, in which only kingdom (or domain), genus and species are read."""


def _right_aligned(ranks: int) -> Form:
    return Form(f"the last {ranks} of seven ranks", (*(-1,) * (7 - ranks), *range(ranks)))


@dataclass
class _Group:
    """Statistics of the lineages of one group."""

    species_at: Counter[int] = field(default_factory=Counter)
    organism_at: Counter[int] = field(default_factory=Counter)
    family_at: Counter[int] = field(default_factory=Counter)
    longest: int = 0
    subfamilies: int = 0
    rows: int = 0
    first_record: int = 0

    def add(self, fields: Sequence[str], record: int) -> None:
        species = species_index(fields)
        if species is not None:
            self.species_at[species] += 1
        elif (organism := organism_index(fields)) is not None:
            self.organism_at[organism] += 1
        for index, name in enumerate(fields):
            if _FAMILY.match(name):
                self.family_at[index] += 1
        named = max((number for number, name in enumerate(fields, 1) if name), default=0)
        # An empty field after a species is not a rank.
        self.longest = max(self.longest, named if species == named - 1 else len(fields))
        self.subfamilies += len(fields) > 5 and (not fields[5] or fields[5].endswith(("inae", "oideae")))
        self.first_record = min(self.first_record or record, record)
        self.rows += 1

    @property
    def ranks(self) -> int:
        """Number of ranks down to species; 0 if the lineages disagree."""
        if self.species_at:
            (index, count), *_ = self.species_at.most_common(1)
            return index + 1 if count * 2 > self.species_at.total() else 0
        if self.family_at:
            return self.family_at.most_common(1)[0][0] + 3
        return self.longest


def species_index(fields: Sequence[str]) -> int | None:
    """Return the index of a name that begins with the name before it, as a species does with its genus; else None."""
    for index in range(1, len(fields)):
        genus, name = _MARK.sub("", fields[index - 1]), _MARK.sub("", fields[index])
        if len(genus) > 1 and " " not in genus and name.startswith((f"{genus} ", f"{genus}_")):
            epithet = re.split(r"[ _]", name[len(genus) + 1 :])[0]
            is_epithet = epithet[:1].islower() or epithet[:1] == "×"
            if is_epithet and epithet.lower() not in _NO_EPITHET and not is_unknown(name):
                return index
    return None


def organism_index(fields: Sequence[str]) -> int | None:
    """Return the index of the last name if it is a binomial with a space, as in SILVA's headers; else None.

    This is weaker evidence than ``species_index``: genera of several words and hosts of organelles look the same.
    """
    last = max((index for index, name in enumerate(fields) if name), default=0)
    name = fields[last]
    return last if last and name.count(" ") == 1 and species_of_scientific_name(name) == name else None


def _plain(name: str) -> str:
    return _MARK.sub("", name).lower()


def _group_of(fields: Sequence[str]) -> str:
    first = _plain(fields[0])
    if first not in DOMAINS:
        return "kingdom first" if first in KINGDOMS else ""
    second = _plain(fields[1]) if len(fields) > 1 else ""
    if second in KINGDOMS:
        return "domain, kingdom"
    if second in _PR2_NINE:
        return "PR2 nine"
    if second in _PR2_EIGHT:
        return "PR2 eight"
    if second in _PR2_BOTH:
        return "PR2"
    if len(fields) > 1 and fields[1] in _SILVA:
        return "SILVA"
    return f"domain {first}"


class Forms:
    """The rank forms of the plain lineages of a file.

    Args:
        texts: The plain lineages of the file, each with the number of a record that has it, in any order; duplicates
            are allowed.

    Attributes:
        separator: The separator between names.
        firsts: First names of lineages with several names, in lower case.
    """

    def __init__(self, texts: Iterable[tuple[str, int]]) -> None:
        self.firsts: set[str] = set()
        self._groups: dict[str, _Group] = {}
        # If no lineage has a semicolon, another mark may separate the names.
        others: dict[str, int] = {}
        for text, record in texts:
            if ";" in text:
                self._add(plain_fields(text, ";"), record)
            elif len(others) < _OTHERS:
                others.setdefault(text, record)
        self.separator = ";" if self._groups else _separator(list(others))
        for text, record in others.items():
            if self.separator in text:
                self._add(plain_fields(text, self.separator), record)
        is_nine = "PR2 nine" in self._groups
        self._forms = {name: _form(name, group, is_nine=is_nine) for name, group in self._groups.items()}
        pr2 = next((form for form in self._forms.values() if form in (PR2_NINE, PR2_EIGHT)), None)
        for name, group in self._groups.items():
            # PR2 has bacteria too, whose supergroups are not listed here.
            if pr2 is not None and name.startswith("domain ") and group.longest == pr2.species + 1:
                self._forms[name] = pr2

    def _add(self, fields: list[str], record: int) -> None:
        if fields[0]:
            self.firsts.add(_plain(fields[0]))
        if any(fields):
            self._groups.setdefault(_group_of(fields), _Group()).add(fields, record)

    def mixture(self) -> list[tuple[str, int]]:
        """Return the name and first record of each form if the file has several; else an empty list."""
        found: dict[str, int] = {}
        for name, form in self._forms.items():
            if form is None:
                continue
            record = self._groups[name].first_record
            found[form.name] = min(found.get(form.name, record), record)
        return sorted(found.items(), key=lambda item: item[1]) if len(found) > 1 else []

    def form_of(self, fields: Sequence[str]) -> Form | None:
        """Return the form of a lineage; None if it does not fit any form."""
        group = _group_of(fields)
        form = self._forms.get(group)
        if form is None:
            return None
        species = species_index(fields)
        if species is not None and species != form.species and form is not UNRANKED:
            form = _form(group, _single_group(fields), is_nine=False) or form
        beyond = len(fields) - (form.species + 1 if form is not UNRANKED else len(fields))
        # Allow one field below species, and the empty one after an end mark.
        return form if beyond <= 1 or not any(fields[form.species + 2 :]) else None


def _single_group(fields: Sequence[str]) -> _Group:
    group = _Group()
    group.add(fields, 0)
    return group


def _form(name: str, group: _Group, *, is_nine: bool) -> Form | None:
    """Return the form of a group; None if the rank of its first name cannot be determined."""
    if name == "SILVA":
        return UNRANKED
    ranks = group.ranks
    has_species = bool(group.species_at)
    if name == "domain, kingdom":
        return UNRANKED if has_species and ranks != 8 else EIGHT
    if name.startswith("PR2"):
        nine = name == "PR2 nine" or (name == "PR2" and (is_nine or ranks >= 9) and ranks != 8)
        form = PR2_NINE if nine else PR2_EIGHT
        has_organisms = bool(group.organism_at) and not has_species
        return UNRANKED if (has_species and ranks != form.species + 1) or has_organisms else form
    if name.startswith("domain"):
        if has_species or group.family_at:
            return {7: SEVEN, 8: EIGHT, 9: PR2_NINE}.get(ranks, UNRANKED)
        eukaryote = name.startswith("domain euk")
        if eukaryote and set(group.organism_at) - {6, 7}:
            return UNRANKED
        return SEVEN if ranks <= 7 or (ranks == 8 and not eukaryote) else EIGHT if ranks == 8 else UNRANKED
    if has_species:
        if ranks == 8 and group.subfamilies * 2 > group.rows:
            return WITH_SUBFAMILY
        if ranks < 7 and ranks and not name:
            return _right_aligned(ranks)
        return {7: SEVEN, 9: WITH_TRIBE}.get(ranks, UNRANKED)
    if name or group.longest >= 7:
        return SEVEN
    return _right_aligned(ranks) if group.family_at and 3 <= ranks <= 7 else None


def _separator(texts: Sequence[str]) -> str:
    """Return the separator of the names of a file's lineages: ``;``, unless another mark gives plausible ranks."""
    if not any(";" in text for text in texts):
        for mark in _SEPARATORS:
            split = [plain_fields(text, mark) for text in texts if mark in text]
            complete = [fields for fields in split if 7 <= len(fields) <= 9]
            known = [fields for fields in complete if species_index(fields) is not None or _group_of(fields)]
            if known and max(map(len, split)) <= 9:
                return mark
    return ";"
