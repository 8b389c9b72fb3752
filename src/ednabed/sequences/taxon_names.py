"""Taxon names as files spell them: which names are uninformative, and how an epithet is joined to its genus.

Public databases fill unknown ranks with *placeholders*. Placeholders for everything from a rank downwards
(``uncultured bacterium``, ``Gadidae_unclassified``, ``marine metagenome``) empty that rank and all ranks below it.
Placeholders that only fill a gap (``incertae sedis``, UNITE's ``Fungi_phy_Incertae_sedis``, MIDORI's
``class_Crocodylia``, mkCOInr's ``undef_Eukaryota``, PR2's ``Chlorophyta_X``) empty only their own rank. Interim names
(``sp. 1``, ``cf. riparius``, ``BOLD:AAA1234``) name a species within its genus and are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIES = 6

EMPTY = (
    r"(?:n/?a|nan|none|null|unassigned|not[ _]assigned|no[ _](?:blast[ _]|significant[ _])?(?:hits?|match)|root"
    r"|[-*?._]+)?"
)
"""A case-insensitive pattern of cells that mean "unknown" by convention."""
_EMPTY = re.compile(EMPTY, re.IGNORECASE)
_UNKNOWN_BELOW = re.compile(
    r"(?:uncultured|unidentified|unclassified|unknown|undetermined|environmental[ _]samples?)(?:[ _<(,.].*)?"
    r"|ambiguous[ _]taxa|multiple[ _]taxa|low[ _]confidence|.+[ _]environmental[ _]samples?"
    r"|(?:.*[ _])?metagenome"
    r"|.+[ _](?:unclassified|uncultured|unidentified)",
    re.IGNORECASE | re.DOTALL,
)
_GAP = re.compile(
    r"(?:.*[ _])?incertae[ _-]+sedis(?:[ _](?:\(.*\)|[IVX]+))?"
    r"|(?:undef_)+.+"
    r"|(?:kingdom|phylum|class|order|family|genus|species)_(?=[^\W\d_]).+"
    r"|.+_-?\d+_(?:kingdom|phylum|class|order|family|genus|species)",
    re.IGNORECASE | re.DOTALL,
)
_UNNAMED_SPECIES = re.compile(
    r"(?:.*[ _])?spp?\.?(?:[ _]*(?:nov\.?|n\.|indet\.?))?|(?:.*[ _])?indet\.?", re.IGNORECASE | re.DOTALL
)
# Organism names that SILVA and GenBank use in place of a species.
_NO_SPECIES = re.compile(
    r"(?:[^\W\d_]+[ _])?(?:NA|bacterium|archaeon|eukaryote|fungus|alga|organism|metagenome)"
    r"|(?:bacterium|archaeon|eukaryote|fungus|organism|clone|human|mouse|gut|soil|marine|freshwater|sediment)[ _].+",
    re.DOTALL,
)
_PR2_GAP = re.compile(r"(.+?)_X+")
_SUPPORT = re.compile(r"\s*(?:\(\d+(?:\.\d+)?%?\)|\[\d+(?:\.\d+)?%?\])$")
_SPECIES_HYPOTHESIS = re.compile(r"([^\W\d_]+ [^\W\d_A-Z][\w-]+) SH\d+\.\d+FU")
"""A species with its UNITE species hypothesis."""
_ORGANELLE = re.compile(r"(.*):(plas|mito|nucl|apic|chrom)", re.DOTALL)
_EPITHET = r"[^\W\d_A-Z][\w-]+"
_AUTHORED = re.compile(rf"((?:[^\W\d_]+ )?{_EPITHET}(?: {_EPITHET})?) (?:\(?[A-Z][^()]*,? \d{{4}}\)?|\(?L\.\)?)")
"""A species with its author and year: ``Gadus morhua Linnaeus, 1758``, ``Salmo trutta (Linnaeus, 1758)``."""
ORGANELLES = {
    "plas": "plastid", "mito": "mitochondrion", "nucl": "nucleomorph", "apic": "apicoplast", "chrom": "chromatophore",
}  # fmt: skip
"""PR2's suffixes of a name (``Navicula:plas``) and the organelles that they mean."""
_CROSS = ("×", "x", "X")
_QUALIFIERS = frozenset(
    ("cf", "cf.", "aff", "aff.", "nr", "nr.", "near", "gr.", "sp", "sp.", "spp", "spp.", "ssp.", "subsp.", "var.",
     "f.", "fo.", "forma", "bv.", "pv.", "×", "x", "x.", "cv.", "group", "complex")
)  # fmt: skip
_BELOW_SPECIES = frozenset(("subsp.", "ssp.", "subspecies", "var.", "variety", "f.", "fo.", "forma", "cv."))
# Words that do not form a species name with the capitalised word before them.
_NO_EPITHETS = frozenset(
    ("hit", "hits", "blast", "taxa", "confidence", "match", "division", "group", "clade", "sedis", "incertae", "sample",
     "samples", "order", "class", "family", "genus", "subgroup", "lineage", "cluster", "bacterium", "archaeon",
     "eukaryote", "fungus", "virus", "phage", "metagenome")
)  # fmt: skip
_PARTICLES = frozenset(("de", "van", "von", "der", "den", "du", "la", "le", "et", "ex", "in", "and", "dos", "da", "di"))


def clean_ranks(names: Sequence[str], *, keep_placeholders: bool = False) -> tuple[list[str], str, str]:
    """Clean seven names, from kingdom to species.

    Args:
        names: Seven names as written.
        keep_placeholders: Keep placeholders as they are; only cells that are empty by convention (``NA``) are dropped.

    Returns:
        The seven names, empty where unknown; the first placeholder that was dropped, empty if there was none; and the
        organelle in PR2's suffixes (``plastid``, …), empty if there is none.
    """
    placeholder = organelle = ""
    cleaned: list[str] = []
    unknown = False
    for rank, written in enumerate(names):
        name = strip_support(written.strip())
        # RDP quotes names that are not validly published.
        name = name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' and name.count('"') == 2 else name
        mark = _ORGANELLE.fullmatch(name)
        if mark is not None:
            name, organelle = mark[1], ORGANELLES[mark[2]]
        if _EMPTY.fullmatch(name):
            name = ""
        elif not keep_placeholders and (unknown or _is_placeholder(name, rank, cleaned)):
            placeholder = placeholder or name
            unknown = unknown or _UNKNOWN_BELOW.fullmatch(name) is not None
            name = ""
        cleaned.append(name)
    cleaned[SPECIES] = join_species(cleaned[SPECIES], cleaned[SPECIES - 1])
    return cleaned, placeholder, organelle


def is_empty(name: str) -> bool:
    """Return whether a cell means "unknown" by convention (``NA``, ``Unassigned``, ``-``)."""
    return _EMPTY.fullmatch(name.strip()) is not None


def _is_placeholder(name: str, rank: int, above: Sequence[str]) -> bool:
    if _is_uninformative(name):
        return True
    if rank == SPECIES:
        return _NO_SPECIES.fullmatch(name) is not None
    # An organism name after the last known rank, as in SILVA's headers, is not a genus or family.
    is_organism = name.count(" ") == 1 and species_of_scientific_name(name) == name
    return is_organism or is_filler(name, above)


def _is_uninformative(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (_UNKNOWN_BELOW, _GAP, _UNNAMED_SPECIES))


def strip_support(name: str) -> str:
    """Remove the support value of mothur, SINTAX and IDTAXA (``(100)`` or ``[100%]``) from the end of a name."""
    return _SUPPORT.sub("", name)


def is_unknown(name: str) -> bool:
    """Return whether a name is empty or a placeholder at any rank except species."""
    return is_empty(name) or _is_uninformative(name.strip())


def is_filler(name: str, above: Sequence[str]) -> bool:
    """Return whether a name repeats a taxon above it, as PR2's fillers do (``Dinophyceae_X`` in ``Dinophyceae``)."""
    gap = _PR2_GAP.fullmatch(name)
    return gap is not None and gap[1] in above


def join_species(name: str, genus: str) -> str:
    """Return the name of a species including its genus.

    Underscores become spaces. A name that does not begin with a genus is an epithet, whatever it contains (``morhua``,
    ``sp. 1``, ``×siegelii``, ``coli K-12``, ``BOLD:AAA1234``), and is joined to ``genus``; ``G. morhua`` is expanded.
    A binomial of another genus, as in sources with synonyms, is kept as it is. A genus alone is not a species. Author
    and year after the name are dropped.
    """
    if " " not in name:
        # A GTDB genus keeps its underscore (Bacillus_A).
        begin = genus if genus and name.startswith(f"{genus}_") else ""
        name = begin + name[len(begin) :].replace("_", " ")
    name = " ".join(name.split())
    for pattern in (_AUTHORED, _SPECIES_HYPOTHESIS):
        match = pattern.fullmatch(name)
        name = match[1] if match is not None and match[1].split()[-1] not in _QUALIFIERS else name
    if not genus or not name:
        return name
    first, _, rest = name.partition(" ")
    # GTDB and Greengenes2 add suffixes to a genus (Bacillus_A, Escherichia_710834), but not always in the species.
    if first in (genus, genus.split("_")[0]) or name.startswith(f"{genus} "):
        return name if rest else ""
    if len(first) == 2 and first[1] == "." and first[0] == genus[0] and rest:
        return f"{genus} {rest}"
    if first == "Candidatus" or (_is_genus(first) and rest and _is_epithet(rest.split()[0])):
        return name
    return f"{genus} {name}"


def _is_genus(word: str) -> bool:
    word = word.strip("[]'\"")
    return len(word) > 1 and word[0].isupper() and word.replace("-", "").isalpha() and word[1:].islower()


def _is_epithet(word: str) -> bool:
    return word in _QUALIFIERS or word[0] == "×" or (word[0].islower() and word.replace("-", "").isalpha())


def species_of_scientific_name(name: str) -> str:
    """Return the species in a scientific name, without authors and years; empty if it does not name one.

    ``Gadus morhua Linnaeus, 1758``, ``Gadus morhua callarias`` and ``Gadus (Gadus) morhua`` give ``Gadus morhua``;
    ``Salix × capreola Andersson`` gives ``Salix × capreola``; interim names and hybrid formulas are kept
    (``Chironomus sp. 1``, ``Salmo trutta x Salvelinus fontinalis``); a genus (``Gadus Linnaeus, 1758``), a family or
    ``incertae sedis`` gives an empty text.
    """
    words = name.replace("_", " ").split()
    if words and words[0] in _CROSS:
        words = words[1:]
    if len(words) > 1 and words[0].startswith("×"):
        words[0] = words[0][1:]
    if len(words) > 2 and words[1].startswith("(") and words[1].endswith(")") and _is_epithet(words[2]):
        del words[1]
    if len(words) < 2 or not _is_genus(words[0]) or is_unknown(name) or _UNNAMED_SPECIES.fullmatch(" ".join(words[1:])):
        return ""
    genus, epithet, rest = words[0], words[1], words[2:]
    if epithet in ("sp.", "sp", "spp.", "spp"):
        return " ".join(words)
    if epithet in ("cf.", "cf", "aff.", "aff", "nr.", "nr", "gr."):
        return f"{genus} {epithet} {rest[0]}" if rest else ""
    if epithet in _CROSS:
        return f"{genus} {epithet} {rest[0]}" if rest and rest[0][0].islower() else ""
    if epithet in _PARTICLES | _NO_EPITHETS | _BELOW_SPECIES or not (epithet[0].islower() or epithet[0] == "×"):
        return ""
    if not epithet.lstrip("×").replace("-", "").isalpha():
        return ""
    if rest and rest[0] in _CROSS and len(rest) > 1 and (_is_genus(rest[1]) or rest[1][0].islower()):
        return " ".join(words)
    return f"{genus} {epithet}"
