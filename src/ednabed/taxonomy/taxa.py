"""Which names are the same taxon: a name in two phyla is two taxa, and a gap in a lineage is not a taxon."""

from __future__ import annotations

from collections.abc import Iterable

from ednabed.sequences.lineage import RANKS, Lineage

Taxon = tuple[str, str]
"""A name with its phylum; the phylum is empty for kingdoms and phyla, and where it is unknown."""

_PHYLUM = RANKS.index("phylum")


class Taxa:
    """Distinguishes taxa by rank, name and phylum.

    Ranks between the phylum and the name do not count, because sources omit or disagree on orders and families of the
    same genus. A name without a phylum belongs to the phylum in which the name occurs, if there is only one.

    Args:
        lineages: All lineages that are to be compared.
    """

    def __init__(self, lineages: Iterable[Lineage]) -> None:
        phyla: dict[tuple[int, str], set[str]] = {}
        for lineage in set(lineages):
            for rank in range(_PHYLUM + 1, len(RANKS)):
                if lineage[rank] and lineage[_PHYLUM]:
                    phyla.setdefault((rank, lineage[rank]), set()).add(lineage[_PHYLUM])
        self._only = {key: next(iter(names)) for key, names in phyla.items() if len(names) == 1}
        self._known: dict[Lineage, tuple[Taxon | None, ...]] = {}

    def taxa_of(self, lineage: Lineage) -> tuple[Taxon | None, ...]:
        """Return the taxon of each rank, None where the lineage has no name."""
        found = self._known.get(lineage)
        if found is None:
            found = tuple(self._taxon(rank, name, lineage[_PHYLUM]) for rank, name in enumerate(lineage))
            self._known[lineage] = found
        return found

    def _taxon(self, rank: int, name: str, phylum: str) -> Taxon | None:
        if not name:
            return None
        if rank <= _PHYLUM:
            return name, ""
        return name, phylum or self._only.get((rank, name), "")
