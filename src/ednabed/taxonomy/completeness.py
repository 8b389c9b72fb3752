"""How completely a reference covers a taxon: named genera and species, and labelled sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ednabed.base.arrays import Ints
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Parent
from ednabed.taxonomy.labels import GENUS, SPECIES, RowLabels

_PHYLUM = RANKS.index("phylum")
# Rank, name, and phylum (empty for phyla and kingdoms, and where unknown).
_Key = tuple[int, str, str]


def parents_of(groups: Sequence[CandidateTaxon], labels: RowLabels) -> list[Parent | None]:
    """Return the taxon to which each group belongs, with what the reference has of it.

    It is the taxon of the deepest name of the group's lineage. If the reference has markers, only sequences of the
    marker of the representative's nearest relative count: a species that has only sequences of another marker does not
    help to name this group.

    Args:
        groups: The groups.
        labels: Lineages of the reference.

    Returns:
        One for each group; None for a group without a name.
    """
    keys = [_key(one.lineage) for one in groups]
    markers = [one.representative.assignment.marker or "" for one in groups]
    taxa = _taxa([key for key in keys if key is not None], labels)
    row = np.repeat(np.arange(len(labels.starts) - 1), np.diff(labels.starts))
    known: dict[tuple[_Key, str], Parent] = {}
    found: list[Parent | None] = []
    for key, marker in zip(keys, markers, strict=True):
        if key is None:
            found.append(None)
            continue
        if (key, marker) not in known:
            # If the phylum comes from other names of the group, no lineage may have this name with that phylum.
            numbers = taxa[key] or taxa[(*key[:2], "")]
            known[key, marker] = _count(key, numbers, marker, labels, row)
        found.append(known[key, marker])
    return found


def _key(lineage: Lineage) -> _Key | None:
    named = [rank for rank, name in enumerate(lineage) if name]
    if not named:
        return None
    return named[-1], lineage[named[-1]], lineage[_PHYLUM] if named[-1] > _PHYLUM else ""


def _taxa(keys: Iterable[_Key], labels: RowLabels) -> dict[_Key, set[int]]:
    """Return the numbers of the taxa with each name, with and without its phylum."""
    found: dict[_Key, set[int]] = {}
    for rank, name, phylum in keys:
        found[rank, name, phylum], found[rank, name, ""] = set(), set()
    ranks = sorted({rank for rank, _, _ in found})
    for lineage, numbers in zip(labels.lineages, labels.taxa.tolist(), strict=True):
        for rank in ranks:
            phylum = lineage[_PHYLUM] if rank > _PHYLUM else ""
            for key in {(rank, lineage[rank], phylum), (rank, lineage[rank], "")}:
                if key in found:
                    found[key].add(numbers[rank])
    return found


def _count(key: _Key, taxa: set[int], marker: str, labels: RowLabels, row: Ints) -> Parent:
    rank, name, _ = key
    inside = np.isin(labels.taxa[:, rank], sorted(taxa))[labels.entries]
    if marker in labels.markers[1:]:
        inside &= labels.marker[row] == labels.markers.index(marker)
    lineage_taxa = labels.taxa[np.unique(labels.entries[inside])]
    genera, species = (len(np.unique(lineage_taxa[lineage_taxa[:, r] >= 0, r])) for r in (GENUS, SPECIES))
    return Parent(RANKS[rank], name, genera, species, len(np.unique(row[inside])))
