"""Which rank each name of a plain lineage has, decided over all lineages of a file.

One lineage does not tell its form: ``Eukaryota;TSAR;…;Protoperidiniaceae`` has seven names, and belongs to PR2's nine
ranks. So lineages of a file are grouped by how they begin (a domain with a kingdom, a domain with a supergroup of PR2,
a domain alone, anything else), and each group has one form, which is found from, in this order:

1. names: a kingdom or a supergroup behind the domain;
2. where species are: a name that begins with the name before it (``Gadus;Gadus morhua``); else where families are;
3. the longest lineage of the group, with empty fields at its end counted.

A lineage that holds its own species behind its genus is read by that, and reported where it differs from its group.
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
"""Kingdoms below a domain, of NCBI, GBIF, BOLD and ICTV, in lower case."""
# Supergroups of PR2 5 (nine ranks), of PR2 4 (eight ranks, without subdivision), and of both.
_PR2_NINE = frozenset(("tsar", "obazoa", "cryptista", "haptista", "provora", "crums"))
_PR2_EIGHT = frozenset(
    ("alveolata", "apusozoa", "hacrobia", "opisthokonta", "protalveolata", "rhizaria", "stramenopiles")
)
_PR2_BOTH = frozenset(("archaeplastida", "amoebozoa", "excavata", "eukaryota_x"))
_OTHERS = 10_000
"""Distinct texts without a semicolon on which another separator is chosen."""
_SILVA = frozenset(("SAR", "Amorphea"))
"""Second names of lineages that only SILVA uses."""
_SEPARATORS = ("|", ">", ",")
_MARK = re.compile(r":(?:plas|mito|nucl|apic|chrom)$")
_FAMILY = re.compile(r"[A-Z][a-z]+(?:idae|aceae)$")
_NO_EPITHET = frozenset(("incertae", "unclassified", "uncultured", "unidentified"))


@dataclass(frozen=True)
class Form:
    """A rank form of plain lineages.

    Attributes:
        name: What to call it in messages.
        places: For each of the seven ranks the place of its name in the lineage; -1 where the form has no such rank.
    """

    name: str
    places: tuple[int, ...]

    @property
    def species(self) -> int:
        """Place of the species; -1 where it has none of its own."""
        return self.places[-1] if self.places else -1


SEVEN = Form("seven ranks", (0, 1, 2, 3, 4, 5, 6))
EIGHT = Form("eight ranks with a domain", (1, 2, 3, 4, 5, 6, 7))
PR2_NINE = Form("PR2's nine ranks", (1, 2, 4, 5, 6, 7, 8))
PR2_EIGHT = Form("PR2's eight ranks", (1, 2, 3, 4, 5, 6, 7))
WITH_SUBFAMILY = Form("eight ranks with a subfamily", (0, 1, 2, 3, 4, 6, 7))
WITH_TRIBE = Form("BOLD's nine ranks", (0, 1, 2, 3, 4, 7, 8))
UNRANKED = Form("any number of ranks", ())
"""Lineages such as SILVA's of eukaryotes, in which only kingdom (or domain), genus and species are read."""


def _right_aligned(ranks: int) -> Form:
    return Form(f"the last {ranks} of seven ranks", (*(-1,) * (7 - ranks), *range(ranks)))


@dataclass
class _Group:
    """What the lineages of one group have in common."""

    species_at: Counter[int] = field(default_factory=Counter)
    organism_at: Counter[int] = field(default_factory=Counter)
    family_at: Counter[int] = field(default_factory=Counter)
    longest: int = 0
    subfamilies: int = 0
    rows: int = 0
    first_record: int = 0

    def add(self, fields: Sequence[str], record: int) -> None:
        place = species_place(fields)
        if place is not None:
            self.species_at[place] += 1
        elif (organism := organism_place(fields)) is not None:
            self.organism_at[organism] += 1
        for at, name in enumerate(fields):
            if _FAMILY.match(name):
                self.family_at[at] += 1
        named = max((at for at, name in enumerate(fields, 1) if name), default=0)
        # Behind a species an empty field is no rank.
        self.longest = max(self.longest, named if place == named - 1 else len(fields))
        self.subfamilies += len(fields) > 5 and (not fields[5] or fields[5].endswith(("inae", "oideae")))
        self.first_record = min(self.first_record or record, record)
        self.rows += 1

    @property
    def ranks(self) -> int:
        """How many ranks down to species; 0 where its lineages disagree."""
        if self.species_at:
            (place, count), *_ = self.species_at.most_common(1)
            return place + 1 if count * 2 > self.species_at.total() else 0
        if self.family_at:
            return self.family_at.most_common(1)[0][0] + 3
        return self.longest


def species_place(fields: Sequence[str]) -> int | None:
    """Return the place of a name that begins with the name before it, as a species does with its genus; else None."""
    for place in range(1, len(fields)):
        genus, name = _MARK.sub("", fields[place - 1]), _MARK.sub("", fields[place])
        if len(genus) > 1 and " " not in genus and name.startswith((f"{genus} ", f"{genus}_")):
            epithet = re.split(r"[ _]", name[len(genus) + 1 :])[0]
            is_epithet = epithet[:1].islower() or epithet[:1] == "×"
            if is_epithet and epithet.lower() not in _NO_EPITHET and not is_unknown(name):
                return place
    return None


def organism_place(fields: Sequence[str]) -> int | None:
    """Return the place of the last name where it is a binomial written with a blank, as in SILVA's headers; else None.

    It says less than ``species_place``: genera of several words and hosts of organelles look like it.
    """
    last = max((place for place, name in enumerate(fields) if name), default=0)
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
        texts: The plain lineages of the file with the number of a record that has each, in any order; repeats are
            harmless.

    Attributes:
        separator: What separates names.
        firsts: First names of lineages of several names, in lower case.
    """

    def __init__(self, texts: Iterable[tuple[str, int]]) -> None:
        self.firsts: set[str] = set()
        self._groups: dict[str, _Group] = {}
        # Without a semicolon anywhere another mark may separate the names.
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
            # PR2 has bacteria too, whose supergroups are not known here.
            if pr2 is not None and name.startswith("domain ") and group.longest == pr2.species + 1:
                self._forms[name] = pr2

    def _add(self, fields: list[str], record: int) -> None:
        if fields[0]:
            self.firsts.add(_plain(fields[0]))
        if any(fields):
            self._groups.setdefault(_group_of(fields), _Group()).add(fields, record)

    def mixture(self) -> list[tuple[str, int]]:
        """Return name and first record of each form, where the file has several; else nothing."""
        found: dict[str, int] = {}
        for name, form in self._forms.items():
            if form is None:
                continue
            record = self._groups[name].first_record
            found[form.name] = min(found.get(form.name, record), record)
        return sorted(found.items(), key=lambda item: item[1]) if len(found) > 1 else []

    def form_of(self, fields: Sequence[str]) -> Form | None:
        """Return the form of a lineage, None where there is none in which it makes sense."""
        group = _group_of(fields)
        form = self._forms.get(group)
        if form is None:
            return None
        own = species_place(fields)
        if own is not None and own != form.species and form is not UNRANKED:
            form = _form(group, _of_one(fields), is_nine=False) or form
        beyond = len(fields) - (form.species + 1 if form is not UNRANKED else len(fields))
        # One field below species, and the empty one behind an end mark.
        return form if beyond <= 1 or not any(fields[form.species + 2 :]) else None


def _of_one(fields: Sequence[str]) -> _Group:
    group = _Group()
    group.add(fields, 0)
    return group


def _form(name: str, group: _Group, *, is_nine: bool) -> Form | None:
    """Choose the form of a group; None where nothing tells what its first name is."""
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
    """Return what separates the names of a file's lineages: ``;``, unless another mark gives a number of ranks."""
    if not any(";" in text for text in texts):
        for mark in _SEPARATORS:
            split = [plain_fields(text, mark) for text in texts if mark in text]
            whole = [fields for fields in split if 7 <= len(fields) <= 9]
            known = [fields for fields in whole if species_place(fields) is not None or _group_of(fields)]
            if known and max(map(len, split)) <= 9:
                return mark
    return ";"
