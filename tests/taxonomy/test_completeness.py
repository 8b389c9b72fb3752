"""How completely a reference covers a taxon, counted by hand on ten rows."""

from __future__ import annotations

import numpy as np
import pytest

from ednabed.store.assignment import UNKNOWN, Assignment
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Claim, Member, Novel, Parent
from ednabed.taxonomy.completeness import parents_of
from ednabed.taxonomy.labels import RowLabels, number_taxa

FISH = ("Animalia", "Chordata", "Actinopteri", "Gadiformes", "Gadidae")
LINEAGES = [
    (*FISH, "Gadus", "Gadus morhua"),
    (*FISH, "Gadus", "Gadus ogac"),
    (*FISH, "Pollachius", ""),
    # Of a family without a genus, and of a source that omits the family.
    (*FISH, "", ""),
    (*FISH[:4], "", "Gadus", "Gadus morhua"),
    ("Animalia", "Chordata", "Actinopteri", "Perciformes", "Sebastidae", "Sebastes", "Sebastes marinus"),
    # A homonym of the genus.
    ("Plantae", "Tracheophyta", "", "", "", "Gadus", "Gadus viridis"),
]
# The lineages of each row; the last has none, and one has two.
ROWS = [[0], [0], [1], [2], [3], [4], [5], [6], [0, 1], []]
MARKERS = ["12S", "12S", "COI", "12S", "12S", "12S", "12S", "12S", "COI", "12S"]


def labels(markers: list[str] | None = None) -> RowLabels:
    names = ["", *sorted(set(markers or ()))]
    own = [0] * len(ROWS) if markers is None else [names.index(one) for one in markers]
    return RowLabels(
        LINEAGES,
        number_taxa(LINEAGES),
        np.cumsum([0, *map(len, ROWS)]),
        np.array([entry for row in ROWS for entry in row]),
        np.ones(sum(map(len, ROWS)), np.int64),
        names,
        np.array(own),
    )


def group(lineage: tuple[str, ...], marker: str | None = None) -> CandidateTaxon:
    vector = np.ones(1, np.float32)
    one = Novel("ACGT", vector, Assignment("q", "not_in_reference", marker=marker), ("q",))
    given = (*lineage, *UNKNOWN[len(lineage) :])
    return CandidateTaxon("novel_1", (Member(one, 100.0, 0.0),), Claim("species", 0.01, 0.02), given)


@pytest.mark.parametrize(
    ("lineage", "parent"),
    [
        (FISH[:1], Parent("kingdom", "Animalia", 3, 3, 8)),
        (FISH[:4], Parent("order", "Gadiformes", 2, 2, 7)),
        # The row whose lineage omits the family is not counted in it.
        (FISH, Parent("family", "Gadidae", 2, 2, 6)),
        ((*FISH, "Gadus"), Parent("genus", "Gadus", 1, 2, 5)),
        ((*FISH, "Pollachius"), Parent("genus", "Pollachius", 1, 0, 1)),
        (("Plantae", "Tracheophyta", "", "", "", "Gadus"), Parent("genus", "Gadus", 1, 1, 1)),
        # Without a phylum, homonyms cannot be distinguished.
        (("", "", "", "", "", "Gadus"), Parent("genus", "Gadus", 2, 3, 6)),
        # A phylum that no lineage of this name has.
        (("", "Arthropoda", "", "", "Sebastidae"), Parent("family", "Sebastidae", 1, 1, 1)),
        ((), None),
    ],
)
def test_genera_species_and_sequences_are_counted(lineage, parent):
    assert parents_of([group(lineage)], labels()) == [parent]


def test_sequences_of_the_same_marker_count():
    some = [group(FISH, marker) for marker in ("12S", "COI", None, "16S")]
    assert parents_of(some, labels(MARKERS)) == [
        Parent("family", "Gadidae", 2, 1, 4),
        Parent("family", "Gadidae", 1, 2, 2),
        Parent("family", "Gadidae", 2, 2, 6),
        # A marker that the reference does not have is ignored.
        Parent("family", "Gadidae", 2, 2, 6),
    ]


def test_nothing_has_no_parents():
    assert parents_of([], labels()) == []
