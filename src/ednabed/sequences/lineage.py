"""Lineages: seven ranks joined by ``;``, empty where unknown, read from the ways in which people write them.

Understood are plain lists by semicolon (also with ``root`` or a domain in front, MIDORI's ``_taxid`` endings and
mothur's ``(100)``), QIIME 2, UNITE, Greengenes and SILVA prefixes (``k__``, ``d__``, ``D_0__``) and SINTAX
(``d:…,p:…``). The rules that are choices are told at ``parse_lineage``. Lineages repeat, so results are cached.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ednabed.errors import InputError

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
Lineage = tuple[str, str, str, str, str, str, str]

_LETTERS = {"k": 0, "d": 0, "sk": 0, "p": 1, "c": 2, "o": 3, "f": 4, "g": 5, "s": 6}
_PREFIX = re.compile(r"\s*(?:(sk|[a-z])__|D_(\d+)__)\s*(.*?)\s*$", re.IGNORECASE | re.DOTALL)
_SINTAX = re.compile(r"\s*(?:tax=)?\s*[dkpcofgs]:[^,;]*(?:,\s*[dkpcofgs]:[^,;]*)*,?\s*;?\s*$")
_SUPPORT = re.compile(r"\s*\(\d+(?:\.\d+)?%?\)$")
_TAXID = re.compile(r"_\d+$")
_ROOT = re.compile(r"(?:root|life|cellular organisms)(?:_\d+)?$", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:eukaryota|eukarya|bacteria|archaea|viruses|prokaryota)(?:_\d+)?$", re.IGNORECASE)
_MIDORI_EMPTY = re.compile(r"(?:kingdom|phylum|class|order|family|genus|species)_(?=[A-Z])")
_UNKNOWN = re.compile(
    r"(?:n/?a|nan|none|null|unassigned|unknown|unidentified|no[ _]hit|[-*?.]|unclassified.*)?$",
    re.IGNORECASE | re.DOTALL,
)


@lru_cache(maxsize=65_536)
def parse_lineage(text: str) -> Lineage | None:
    """Read a lineage, however it is written.

    - A plain list by semicolon gives the ranks from kingdom on; fewer than seven fields are the first ranks. ``root``
      (``Life``, ``cellular organisms``) in front is dropped, and then MIDORI's ``_taxid`` endings too. Of eight
      fields, the first is dropped when it is a domain (``Eukaryota;Metazoa;Chordata;…``), else the eighth (below
      species). Nine fields with a domain in front are PR2's (domain, supergroup, division, subdivision, class, …):
      supergroup and division become kingdom and phylum.
    - With prefixes the order does not matter; ``d__`` fills the kingdom where ``k__`` does not; other ranks are
      dropped.
    - Empty, ``NA``, ``unassigned``, ``unidentified``, ``unknown`` and ``unclassified…`` are unknown.
    - In species, underscores are spaces, and an epithet alone (``sapiens``) is joined to its genus. All other names
      stay as written.

    Args:
        text: What stands in a header, a cell or a labels file.

    Returns:
        Seven names, empty where unknown; None when nothing is known.

    Raises:
        InputError: There are more fields than any of these forms has, so the ranks cannot be told.
    """
    if _SINTAX.match(text):
        pairs = [field.strip().partition(":") for field in _strip_tax(text).strip().rstrip(";").split(",")]
        ranks = _by_letter([(key, name) for key, _, name in pairs if key])
    else:
        fields = text.strip().rstrip(";").split(";")
        if any(_PREFIX.match(field) for field in fields):
            ranks = _by_letter([_prefixed(field) for field in fields])
        else:
            ranks = _by_position(fields, text)
    return _tidy(ranks)


def format_lineage(ranks: Sequence[str]) -> str:
    """Join seven names by ``;``, as lineages are written everywhere.

    Raises:
        InputError: There are not seven, or a name holds a semicolon.
    """
    if len(ranks) != len(RANKS) or any(";" in name for name in ranks):
        raise InputError(f"a lineage has seven names without semicolons ({', '.join(RANKS)}), got {list(ranks)}")
    return ";".join(ranks)


@lru_cache(maxsize=65_536)
def tidy_lineage(text: str) -> str | None:
    """Return a lineage of any form in the one form used everywhere, or None. Raises InputError as ``parse_lineage``."""
    ranks = parse_lineage(text)
    return None if ranks is None else format_lineage(ranks)


@lru_cache(maxsize=65_536)
def tidy_ranks(text: str) -> str | None:
    """Return seven cells of rank columns, joined by ``;``, as a lineage, or None.

    Each cell is that rank and no other, whatever stands in it; a prefix (``g__``) is taken off, and a root as kingdom
    is unknown.
    """
    names = [_prefixed(cell)[1] for cell in text.split(";")]
    names[0] = "" if _ROOT.match(names[0].strip()) else names[0]
    ranks = _tidy(names)
    return None if ranks is None else format_lineage(ranks)


def _tidy(ranks: list[str]) -> Lineage | None:
    """Clean seven names; None when nothing is known."""
    ranks = [_clean(name) for name in ranks]
    ranks[6] = _species(ranks[6], ranks[5])
    if not any(ranks):
        return None
    kingdom, phylum, class_, order, family, genus, species = ranks
    return kingdom, phylum, class_, order, family, genus, species


def _strip_tax(text: str) -> str:
    return text.strip().removeprefix("tax=")


def _prefixed(field: str) -> tuple[str, str]:
    match = _PREFIX.match(field)
    if match is None:
        return "", field
    letter, number, name = match.groups()
    if number is not None:
        place = int(number)
        return ("kpcofgs"[place] if place < len(RANKS) else ""), name
    return letter.lower(), name


def _by_letter(pairs: list[tuple[str, str]]) -> list[str]:
    ranks = [""] * len(RANKS)
    for letter, name in pairs:
        place = _LETTERS.get(letter)
        if place is not None and (letter == "k" or not ranks[place]) and _clean(name):
            ranks[place] = name.replace(";", ",")
    return ranks


def _by_position(fields: list[str], text: str) -> list[str]:
    names = [field.strip() for field in fields]
    if _ROOT.match(names[0]):
        names = [_TAXID.sub("", name) for name in names[1:]]
        names = ["" if _MIDORI_EMPTY.match(name) else name for name in names]
    if len(names) == 9 and _DOMAIN.match(names[0]):
        names = [*names[1:3], *names[4:]]
    elif len(names) == 8:
        names = names[1:] if _DOMAIN.match(names[0]) else names[:7]
    if len(names) > len(RANKS):
        raise InputError(
            f"lineage {_shorten(text)!r} has {len(names)} fields and its ranks cannot be told; "
            "write seven (kingdom to species) or mark the ranks as in k__…;p__…"
        )
    return names + [""] * (len(RANKS) - len(names))


def _clean(name: str) -> str:
    name = _SUPPORT.sub("", name.strip())
    return "" if _UNKNOWN.match(name) else name


def _species(name: str, genus: str) -> str:
    name = name.replace("_", " ").strip()
    if genus and name and name[0].islower() and " " not in name:
        return f"{genus} {name}"
    return name


def _shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
