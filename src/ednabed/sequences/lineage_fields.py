"""Split lineages in all their notations into names marked with their rank, or plain names in order.

Marked lineages use the prefixes of QIIME 2, UNITE, Greengenes, GTDB and SILVA (``k__``, ``d__``, ``D_0__``), SINTAX
(``d:…,p:…``, also separated by ``;``), RDP's pairs (``Root;rootrank;Archaea;domain;…``) or the cells of rank columns.
The rank of a plain name cannot be determined from a single lineage: ``lineage_forms`` determines it for a whole file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ednabed.sequences.taxon_names import strip_support

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
CELL = "\x1f"
"""Separates the cells of rank columns when they are joined into one text."""
UNREAD = "\x1e"
"""Precedes a text that looks like a lineage but cannot be parsed."""

_RANK_LETTERS = {"k": 0, "d": 0, "sk": 0, "p": 1, "c": 2, "o": 3, "f": 4, "g": 5, "s": 6}
_RANK_WORDS = {rank: index for index, rank in enumerate(RANKS)} | {"domain": 0, "superkingdom": 0}
_OTHER_RANK_WORDS = frozenset(
    f"{prefix}{rank}" for prefix in ("sub", "super", "infra", "tribe", "") for rank in ("", *RANKS)
) | {"rootrank", "clade", "no rank", "strain"}
_PREFIX = re.compile(r"\s*(?:([a-z]{1,2})__|D_(\d+)__)\s*(.*?)\s*", re.IGNORECASE | re.DOTALL)
_PREFIXED = re.compile(r"(?:^|[;,|>])\s*(?:(?:sk|[kdpcofgs])__|D_\d+__)", re.IGNORECASE)
_BETWEEN_PREFIXED = re.compile(r"\s*;\s*|\s*[,|>]\s*(?=(?:[a-z]{1,2}|D_\d+)__)", re.IGNORECASE)
_LEVEL = re.compile(r"(?:^|[;,|>])\s*D_(?:[7-9]|\d\d)__", re.IGNORECASE)
_SINTAX = re.compile(r"\s*(?:sk|[kdpcofgst]):")
_BETWEEN_SINTAX = re.compile(r"\s*[,;|]\s*(?=[a-z]{1,2}:)")
_TAX = re.compile(r"(?:^|[;\s])tax=\s*")
_BRACKETED_TAIL = re.compile(r"(?:\s+\[[A-Za-z_][\w.]*=[^\]]*\])+\s*$")
_TAXID = re.compile(r"_-?\d+(_(?:kingdom|phylum|class|order|family|genus|species))?$")
_ROOT = re.compile(r"(?:root|life|cellular[ _]?organisms)(?:_-?\d+)?", re.IGNORECASE)
_DOMAINS = frozenset(("eukaryota", "eukarya", "bacteria", "archaea", "viruses", "prokaryota"))


@dataclass(frozen=True)
class Marked:
    """Seven names whose ranks are given in the text itself; empty for ranks that it lacks."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Plain:
    """A text with names in order of rank, or a single name."""

    text: str


def read_fields(text: str) -> Marked | Plain:
    """Split a lineage as far as the text itself gives the ranks."""
    if text.count(CELL) == len(RANKS) - 1:
        return Marked(_without_root(text.split(CELL)))
    tax = _TAX.search(text)
    text = _BRACKETED_TAIL.sub("", text[tax.end() :] if tax is not None else text).strip()
    if _SINTAX.match(text):
        pairs = [part.strip().partition(":") for part in _BETWEEN_SINTAX.split(text.rstrip("; ,"))]
        return Marked(_by_rank([(_RANK_LETTERS.get(key), key, name) for key, _, name in pairs]))
    if _PREFIXED.search(text):
        fields = _BETWEEN_PREFIXED.split(text)
        if _LEVEL.search(text):
            # All levels of SILVA, which are not ranks.
            return Plain(";".join(strip_prefix(field) for field in fields))
        return Marked(_by_rank([_prefixed(field) for field in fields]))
    fields = [field.strip() for field in text.rstrip("; ").split(";")]
    if len(fields) > 2 and _is_pairs(fields):
        pairs_ = zip(fields[::2], fields[1::2], strict=False)
        return Marked(_by_rank([(_RANK_WORDS.get(rank.lower()), rank.lower(), name) for name, rank in pairs_]))
    return Plain(text)


def plain_fields(text: str, separator: str) -> list[str]:
    """Return the fields of a plain lineage, without the root, taxids after names and surrounding white space.

    An empty last field is returned too, because only the whole file shows whether it is a rank or an end mark.
    """
    fields = [strip_support(field.strip()) for field in text.split(separator)]
    roots = 0
    while len(fields) > roots + 1 and _ROOT.fullmatch(fields[roots]) is not None:
        roots += 1
    return _without_taxids(fields[roots:], minimum=1 if roots else 2)


def strip_prefix(cell: str) -> str:
    """Return a cell without a prefix such as ``g__``."""
    match = _PREFIX.fullmatch(cell)
    return cell if match is None else match[3]


def _without_root(cells: Sequence[str]) -> tuple[str, ...]:
    names = [strip_prefix(cell) for cell in cells]
    names[0] = "" if _ROOT.fullmatch(names[0].strip()) else names[0]
    return tuple(_without_taxids(names, minimum=3))


def _without_taxids(names: list[str], *, minimum: int) -> list[str]:
    """Remove taxids if all names have one (``Eukaryota_2759``), so that a single ``Clade_1`` is kept."""
    written = [name for name in names if name]
    if len(written) < minimum or not all(_TAXID.search(name) for name in written):
        return names
    # mkCOInr fills ranks with a higher name and the rank (Polychaeta_6341_order), which is dropped with the fillers.
    return [name if (match := _TAXID.search(name)) is None or match[1] else name[: match.start()] for name in names]


def _prefixed(field: str) -> tuple[int | None, str, str]:
    match = _PREFIX.fullmatch(field)
    if match is None:
        return None, "", field
    letters, number, name = match.groups()
    if number is not None:
        level = int(number)
        return (level if level < len(RANKS) else None), "", name
    return _RANK_LETTERS.get(letters.lower()), letters.lower(), name


def _is_pairs(fields: Sequence[str]) -> bool:
    words = [word.lower() for word in fields[1::2]]
    return words[0] == "rootrank" or all(word in _OTHER_RANK_WORDS and word for word in words)


def _by_rank(parts: Sequence[tuple[int | None, str, str]]) -> tuple[str, ...]:
    """Sort names by rank; the first of several names for one rank is kept.

    ``k`` has priority over ``d`` for the kingdom, unless only ``k`` is a domain, as in PR2's ``k:Eukaryota,d:TSAR``.
    """
    ranks = [""] * len(RANKS)
    for rank, key, name in parts:
        name = name.strip()
        if rank is None or not name:
            continue
        better = key in ("k", "kingdom") and name.lower() not in _DOMAINS
        if not ranks[rank] or better or (rank == 0 and ranks[0].lower() in _DOMAINS and name.lower() not in _DOMAINS):
            ranks[rank] = name
    return tuple(_without_taxids(ranks, minimum=1 if ranks[0] and not any(ranks[1:]) else 2))
