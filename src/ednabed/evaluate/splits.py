"""One training set and four groups of queries: held-out records, species, genera and families; and exact copies.

Each group asks another question. A held-out *record* has its species in training, under another sequence; a held-out
*species* has only its genus there, a held-out *genus* only its family, a held-out *family* only its order. Training
loses only what is held out. A sequence that another remaining taxon shares stays: that is what real references hold.

*Copies* are queries whose sequence stays in training under the same species, as in half of what a lab sequences of a
known species. They are drawn after all other groups, by random numbers of their own, so they move none of these.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
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

COPY = "copy"
"""Group of the queries whose sequence stays in training."""

_SPECIES = RANKS.index("species")
# Behind the seed, for the copies: crops use (seed, length) with a length of at least 1.
_COPY_STREAM = (0, 1)
_COPY_CROP_STREAM = 1
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
        records: Number of source records with this sequence and lineage, at least 1.
    """

    id: str
    sequence: str
    lineage: Lineage
    marker: str = ""
    records: int = 1


@dataclass(frozen=True, slots=True)
class Query:
    """A record that was held out, or a copy of one that stays.

    Attributes:
        id: As in the data.
        sequence: Its letters, cropped or whole.
        lineage: Its true names, empty where unknown.
        group: What was held out, one of ``GROUPS``, or ``COPY``.
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
        training: What may be learned from, in the order of the data; one record fewer for each copy.
        queries: The four groups, in the order of ``GROUPS``; a group may be empty where the data give none.
        taxa: Which names are the same taxon.
        seed: Of the draw.
        records: Number of labelled records that were split.
        unlabelled: Records without any name that were left out.
        taken: By group, the number of records that left training for it.
        copies: Queries whose sequence stays in training, in the order of the data.
        counted: Whether copies were drawn by numbers of source records; False where every sequence has one record, so
            that rows with a species were taken at random.
    """

    training: list[Labelled]
    queries: list[Query]
    taxa: Taxa
    seed: int
    records: int
    unlabelled: int
    taken: dict[str, int]
    copies: list[Query] = field(default_factory=list)
    counted: bool = True

    def sizes(self) -> dict[str, int]:
        """Return the number of queries in each group."""
        counts = Counter(query.group for query in self.queries)
        return {group: counts[group] for group in GROUPS}

    def crop(self, length: int | None) -> list[Query]:
        """Return the queries of the four groups cut to a random window of ``length`` letters.

        The window depends on the seed, the length and the place of the query alone. Shorter queries are left out; None
        gives the whole queries.

        Raises:
            UsageError: The length is less than 1.
        """
        return _crop(self.queries, length, self.seed)

    def crop_copies(self, length: int | None) -> list[Query]:
        """Return the copies cut as ``crop`` cuts the other queries, at other random places.

        Raises:
            UsageError: The length is less than 1.
        """
        return _crop(self.copies, length, self.seed, _COPY_CROP_STREAM)


def _crop(queries: Sequence[Query], length: int | None, seed: int, *stream: int) -> list[Query]:
    """Cut queries at places drawn by seed, length and ``stream``."""
    if length is None:
        return list(queries)
    if length < 1:
        raise UsageError(f"the crop length is {length}; it must be at least 1 letter")
    places = np.random.default_rng([seed, length, *stream]).random(len(queries))
    cropped = []
    for query, place in zip(queries, places.tolist(), strict=True):
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

    Copies come last, from what is left: rows with a species and at least two source records, each with a chance
    proportional to these, without replacement. Such a row stays in training with one record fewer. Where no row that is
    left has two records (a reference that was dereplicated), rows with a species are drawn at random and stay as they
    are.

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
    drawn, counted = draw.copies(queries, np.random.default_rng([seed, *_COPY_STREAM]))
    copies = [draw.query(i, COPY) for i in drawn]
    if counted:
        for i in drawn:
            named[i] = named[i]._replace(records=named[i].records - 1)
    training = [record for record, left in zip(named, draw.left, strict=True) if left]
    taken = dict(draw.taken)
    return Split(training, found, draw.taxa, seed, len(named), len(records) - len(named), taken, copies, counted)


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
        # By rank, the taxa that are left when all is drawn.
        self.there: list[set[Taxon | None]] = [set() for _ in RANKS]
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
        self.there = [set() for _ in RANKS]
        for keys, left in zip(self.keys, self.left, strict=True):
            if left:
                for rank, taxon in enumerate(keys):
                    self.there[rank].add(taxon)
        found = []
        for group in GROUPS:
            kept = _SPECIES if group == "record" else RANKS.index(group) - 1
            for i in sorted(self.drawn[group]):
                query = self.query(i, group)
                if query.present[kept] and not (group != "record" and query.present[kept + 1]):
                    found.append(query)
        return found

    def query(self, i: int, group: str) -> Query:
        """Make a query of a record, once ``queries`` has looked at what is left."""
        record = self.records[i]
        present = tuple(taxon is not None and taxon in self.there[rank] for rank, taxon in enumerate(self.keys[i]))
        return Query(record.id, record.sequence, record.lineage, group, present)

    def copies(self, most: int, random: np.random.Generator) -> tuple[list[int], bool]:
        """Draw rows of which a further record is a query, and tell whether they were drawn by numbers of records."""
        rows = [i for i, keys in enumerate(self.keys) if self.left[i] and keys[_SPECIES] is not None]
        several = [i for i in rows if self.records[i].records > 1]
        rows = several or rows
        if not rows:
            return [], bool(several)
        weights = np.array([self.records[i].records if several else 1 for i in rows], float)
        chosen = random.choice(len(rows), min(most, len(rows)), replace=False, p=weights / weights.sum())
        return sorted(rows[place] for place in chosen.tolist()), bool(several)

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
