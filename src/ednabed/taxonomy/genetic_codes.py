"""Stop codons by NCBI genetic code number, and which codes the COI of a lineage can have.

The stop codons are those of the NCBI tables (https://www.ncbi.nlm.nih.gov/Taxonomy/Utils/wprintgc.cgi).
"""

from __future__ import annotations

from ednabed.sequences.lineage import Lineage

STOPS: dict[int, frozenset[str]] = {
    1: frozenset(("TAA", "TAG", "TGA")),  # standard
    2: frozenset(("TAA", "TAG", "AGA", "AGG")),  # vertebrate mitochondrial
    3: frozenset(("TAA", "TAG")),  # yeast mitochondrial
    4: frozenset(("TAA", "TAG")),  # mold, protozoan and coelenterate mitochondrial, Mycoplasma
    5: frozenset(("TAA", "TAG")),  # invertebrate mitochondrial
    9: frozenset(("TAA", "TAG")),  # echinoderm and flatworm mitochondrial
    11: frozenset(("TAA", "TAG", "TGA")),  # bacterial, archaeal and plant plastid
    13: frozenset(("TAA", "TAG")),  # ascidian mitochondrial
    16: frozenset(("TAA", "TGA")),  # chlorophycean mitochondrial
}

_VERTEBRATES = (
    "Mammalia", "Aves", "Reptilia", "Lepidosauria", "Squamata", "Testudines", "Crocodylia", "Amphibia", "Actinopteri",
    "Actinopterygii", "Teleostei", "Cladistia", "Holostei", "Chondrostei", "Sarcopterygii", "Dipnoi", "Dipneusti",
    "Ceratodontoidei", "Coelacanthi", "Coelacanthimorpha", "Actinistia", "Elasmobranchii", "Holocephali",
    "Chondrichthyes", "Hyperoartia", "Petromyzonti", "Myxini", "Cephalaspidomorphi",
)  # fmt: skip
# Codes by rank and name; if several names of a lineage are listed, the lowest rank counts.
_CODES: dict[tuple[str, str], tuple[int, ...]] = {
    ("kingdom", "Animalia"): (2, 4, 5, 9, 13),
    ("kingdom", "Metazoa"): (2, 4, 5, 9, 13),
    ("kingdom", "Fungi"): (1, 3, 4, 16),
    ("kingdom", "Plantae"): (1, 4, 16),
    ("kingdom", "Viridiplantae"): (1, 16),
    ("kingdom", "Bacteria"): (4, 11),
    ("kingdom", "Archaea"): (11,),
    ("phylum", "Chordata"): (2, 5, 13),
    ("phylum", "Echinodermata"): (9,),
    ("phylum", "Hemichordata"): (5, 9),
    ("phylum", "Platyhelminthes"): (9,),
    ("phylum", "Porifera"): (4, 5),
    **{("phylum", name): (4,) for name in ("Cnidaria", "Ctenophora", "Placozoa", "Ciliophora", "Rhodophyta")},
    **{
        ("phylum", name): (5,)
        for name in ("Arthropoda", "Annelida", "Mollusca", "Nematoda", "Bryozoa", "Nemertea", "Rotifera", "Tardigrada",
                     "Chaetognatha", "Brachiopoda", "Sipuncula", "Onychophora")
    },
    **{("phylum", name): (3, 4) for name in ("Ascomycota", "Basidiomycota")},
    **{("phylum", name): (1,) for name in ("Streptophyta", "Tracheophyta", "Bryophyta")},
    **{("phylum", name): (11,) for name in ("Proteobacteria", "Pseudomonadota", "Actinobacteria", "Actinomycetota")},
    **{("class", name): (2,) for name in _VERTEBRATES},
    **{("class", name): (13,) for name in ("Ascidiacea", "Thaliacea", "Appendicularia")},
    ("class", "Leptocardii"): (5,),
}  # fmt: skip
_ANY = (1, 2, 4, 5, 9, 11, 13)
_RANKS = ("kingdom", "phylum", "class")


def codes_of(lineage: Lineage) -> tuple[int, ...]:
    """Return the NCBI numbers of the codes that the COI of a lineage can have, by its kingdom, phylum and class.

    The deepest of these names that is known decides. Red algae, ciliates and fungi have TGA for tryptophan in their
    mitochondria. A lineage without a known name can have any code (1, 2, 4, 5, 9, 11, 13).
    """
    found: tuple[int, ...] = _ANY
    for rank, name in zip(_RANKS, lineage, strict=False):
        found = _CODES.get((rank, name), found)
    return found


def stops_of(lineage: Lineage) -> frozenset[str]:
    """Return the codons that are stops in every code that a lineage can have."""
    return frozenset.intersection(*(STOPS[number] for number in codes_of(lineage)))
