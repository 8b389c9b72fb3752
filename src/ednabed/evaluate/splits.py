"""One training set and four groups of queries: held-out records, species, genera and families.

Each group asks another question. A held-out *record* has its species in training, under another sequence; a held-out
*species* has only its genus there, a held-out *genus* only its family, a held-out *family* only its order. Training
loses only what is held out. A sequence that another remaining taxon shares stays: that is what real references hold.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ednabed.errors import InputError, UsageError
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.store.files import clean, replacing
from ednabed.taxonomy.regions import meets
from ednabed.taxonomy.taxa import Taxa, Taxon

GROUPS = ("record", "species", "genus", "family")
"""What is held out; the last three are ranks."""

CROPS = (None, 313, 150)
"""Lengths of the queries, in letters: None is the whole sequence, 313 and 150 are common amplicons."""

_SPECIES = RANKS.index("species")
# Queries from one held-out taxon, and from one species within it.
_MOST_A_TAXON = 5
_MOST_A_SPECIES = 2
_ROUNDS = 3
# Share of all records that the held-out taxa of one rank may take from training.
_MOST_TAKEN = 0.1


class Labelled(NamedTuple):
    """A record with its names.

    Attributes:
        id: As in the data.
        sequence: Normalised: upper case A, C, G, T and N.
        lineage: Its names, empty where unknown.
        marker: Empty where unknown.
    """

    id: str
    sequence: str
    lineage: Lineage
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A record that was held out.

    Attributes:
        id: As in the data.
        sequence: Its letters, cropped or whole.
        lineage: Its true names, empty where unknown.
        group: What was held out, one of ``GROUPS``.
        present: By rank, whether its taxon is in training; False where it has no name.
    """

    id: str
    sequence: str
    lineage: Lineage
    group: str
    present: tuple[bool, ...]


@dataclass(frozen=True)
class Split:
    """Training records and queries.

    Attributes:
        training: What may be learned from, in the order of the data.
        queries: The four groups, in the order of ``GROUPS``; a group may be empty where the data give none.
        taxa: Which names are the same taxon.
        seed: Of the draw.
        records: Number of labelled records that were split.
        unlabelled: Records without any name that were left out.
        taken: By group, the number of records that left training for it.
    """

    training: list[Labelled]
    queries: list[Query]
    taxa: Taxa
    seed: int
    records: int
    unlabelled: int
    taken: dict[str, int]

    def sizes(self) -> dict[str, int]:
        """Return the number of queries in each group."""
        counts = Counter(query.group for query in self.queries)
        return {group: counts[group] for group in GROUPS}

    def crop(self, length: int | None) -> list[Query]:
        """Return the queries cut to a random window of ``length`` letters.

        The window depends on the seed, the length and the place of the query alone. Shorter queries are left out; None
        gives the whole queries.

        Raises:
            UsageError: The length is less than 1.
        """
        if length is None:
            return list(self.queries)
        if length < 1:
            raise UsageError(f"the crop length is {length}; it must be at least 1 letter")
        places = np.random.default_rng([self.seed, length]).random(len(self.queries))
        cropped = []
        for query, place in zip(self.queries, places.tolist(), strict=True):
            spare = len(query.sequence) - length
            if spare >= 0:
                start = int(place * (spare + 1))
                cropped.append(replace(query, sequence=query.sequence[start : start + length]))
        return cropped


def split(records: Sequence[Labelled], *, queries: int = 500, seed: int = 1) -> Split:
    """Divide labelled records.

    Families are drawn first, then genera, species and records from what is left. Taxa are drawn at random, each with
    the same chance whatever its number of records, and give at most 5 queries with at most 2 of one species; the
    record group takes at most one of a species as long as there are enough species, and at most 3, each with another
    sequence of the same region in its species (not ITS1 where only ITS2 is left). A taxon is held out only where its
    parent keeps another child of the same rank, and the taxa of one rank together take at most a tenth of all records.

    Args:
        records: The data. Records without any name are left out; those without a name at some rank stay in training
            but are never queries of the groups that need it.
        queries: Most queries a group.
        seed: Of the draw; the same seed and records give the same split.

    Raises:
        UsageError: ``queries`` is less than 1.
        InputError: Nothing can be held out: fewer than two named taxa, or no species with two sequences.
    """
    if queries < 1:
        raise UsageError(f"queries is {queries}; it must be at least 1")
    named = [record for record in records if any(record.lineage)]
    draw = _Draw(named, np.random.default_rng(seed))
    for group in reversed(GROUPS[1:]):
        draw.hold_out_taxa(group, queries)
    draw.hold_out_records(queries)
    found = draw.queries()
    if not found:
        raise InputError(
            f"{len(named)} labelled records give nothing to hold out; accuracy can be measured where a species has two "
            "different sequences, or a genus two species, in the reference"
        )
    training = [record for record, left in zip(named, draw.left, strict=True) if left]
    return Split(training, found, draw.taxa, seed, len(named), len(records) - len(named), dict(draw.taken))


def write_records(path: Path, records: Iterable[Labelled]) -> None:
    """Write records as TSV (id, marker, sequence, seven ranks), which every reader of ednabed takes."""
    with replacing(path, "training.tsv") as file:
        file.write("\t".join(("id", "marker", "sequence", *RANKS)) + "\n")
        for record in records:
            cells = (record.id, record.marker, record.sequence, *record.lineage)
            file.write("\t".join(map(clean, cells)) + "\n")


class _Draw:
    """What is left in training while groups are drawn."""

    def __init__(self, records: Sequence[Labelled], random: np.random.Generator) -> None:
        self.records = records
        self.random = random
        self.taxa = Taxa(record.lineage for record in records)
        self.keys = [self.taxa.of(record.lineage) for record in records]
        self.left = [True] * len(records)
        self.taken = dict.fromkeys(GROUPS, 0)
        self.drawn: dict[str, list[int]] = {group: [] for group in GROUPS}
        # By rank and parent, how many records each child has left.
        self.children: dict[tuple[int, Taxon], Counter[Taxon]] = defaultdict(Counter)
        for keys in self.keys:
            for rank, parent, child in _pairs(keys):
                self.children[rank, parent][child] += 1

    def hold_out_taxa(self, group: str, most: int) -> None:
        """Hold out whole taxa of a rank until they give ``most`` queries."""
        rank = RANKS.index(group)
        budget = int(_MOST_TAKEN * len(self.records))
        for taxon, members in self._shuffled(lambda keys: keys[rank]):
            if len(self.drawn[group]) >= most:
                return
            parents = {parent for i in members if (parent := self.keys[i][rank - 1]) is not None}
            chosen = self._choose([i for i in members if self.keys[i][rank - 1] is not None])
            if not chosen or self.taken[group] + len(members) > budget:
                continue
            if all(any(n and child != taxon for child, n in self.children[rank, p].items()) for p in parents):
                self.drawn[group] += chosen[: most - len(self.drawn[group])]
                self._remove(members, group)

    def hold_out_records(self, most: int) -> None:
        """Hold out single sequences of species that keep another one, a species at a time, in rounds."""
        order = [members for _, members in self._shuffled(lambda keys: keys[_SPECIES])]
        for _ in range(_ROUNDS):
            for members in order:
                if len(self.drawn["record"]) >= most:
                    return
                of_sequence: dict[str, list[int]] = {}
                for i in members:
                    if self.left[i]:
                        of_sequence.setdefault(self.records[i].sequence, []).append(i)
                sequences = list(of_sequence)
                letters = [sequence.encode() for sequence in sequences]
                for place in self.random.permutation(len(sequences)).tolist():
                    if meets(letters[place], letters[:place] + letters[place + 1 :]):
                        # The same sequence under the same species would give the answer away.
                        own = of_sequence[sequences[place]]
                        self.drawn["record"].append(own[0])
                        self._remove(own, "record")
                        break

    def queries(self) -> list[Query]:
        """Return the queries of all groups, by group and then in the order of the data.

        Lineages with gaps or of mixed conventions can leave a query whose parent has gone after all; it is dropped.
        """
        there: list[set[Taxon | None]] = [set() for _ in RANKS]
        for keys, left in zip(self.keys, self.left, strict=True):
            if left:
                for rank, taxon in enumerate(keys):
                    there[rank].add(taxon)
        found = []
        for group in GROUPS:
            kept = _SPECIES if group == "record" else RANKS.index(group) - 1
            for i in sorted(self.drawn[group]):
                present = tuple(taxon is not None and taxon in there[rank] for rank, taxon in enumerate(self.keys[i]))
                if present[kept] and not (group != "record" and present[kept + 1]):
                    record = self.records[i]
                    found.append(Query(record.id, record.sequence, record.lineage, group, present))
        return found

    def _shuffled(self, key: Callable[[tuple[Taxon | None, ...]], Taxon | None]) -> list[tuple[Taxon, list[int]]]:
        """Return the taxa that are left with their records, in random order."""
        members: dict[Taxon, list[int]] = {}
        for i, (keys, left) in enumerate(zip(self.keys, self.left, strict=True)):
            taxon = key(keys)
            if left and taxon is not None:
                members.setdefault(taxon, []).append(i)
        listed = list(members.items())
        return [listed[i] for i in self.random.permutation(len(listed)).tolist()]

    def _choose(self, members: list[int]) -> list[int]:
        """Choose a taxon's queries: different sequences, few of a species."""
        chosen: list[int] = []
        species: Counter[Taxon | None] = Counter()
        sequences: set[str] = set()
        for place in self.random.permutation(len(members)).tolist():
            i = members[place]
            own, letters = self.keys[i][_SPECIES], self.records[i].sequence
            if species[own] < _MOST_A_SPECIES and letters not in sequences and len(chosen) < _MOST_A_TAXON:
                chosen.append(i)
                species[own] += 1
                sequences.add(letters)
        return chosen

    def _remove(self, members: list[int], group: str) -> None:
        for i in members:
            self.left[i] = False
            for rank, parent, child in _pairs(self.keys[i]):
                self.children[rank, parent][child] -= 1
        self.taken[group] += len(members)


def _pairs(keys: tuple[Taxon | None, ...]) -> list[tuple[int, Taxon, Taxon]]:
    """Return rank, parent and child for the ranks that can be held out, where both have names."""
    found = []
    for group in GROUPS[1:]:
        rank = RANKS.index(group)
        parent, child = keys[rank - 1], keys[rank]
        if parent is not None and child is not None:
            found.append((rank, parent, child))
    return found
