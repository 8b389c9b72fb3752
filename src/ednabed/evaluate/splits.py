"""Split records into training and queries: held-out records, species, genera and families, and exact copies.

Each group tests a different case. A held-out *record* has its species in training, under another sequence; a held-out
*species* has only its genus in training, a held-out *genus* only its family, a held-out *family* only its order. Only
what is held out is removed from training. A sequence that another remaining taxon shares stays, as in real references.

*Copies* are queries whose sequence stays in training under the same species, as in half of the sequences that a lab
obtains from known species. They are drawn after all other groups, with separate random numbers, so they do not change
these groups.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ednabed.base.atomic import replacing
from ednabed.base.text import tsv_line
from ednabed.errors import InputError, UsageError
from ednabed.sequences.lineage import RANKS, Lineage
from ednabed.taxonomy.regions import same_region
from ednabed.taxonomy.taxa import Taxa, Taxon

GROUPS = ("record", "species", "genus", "family")
"""The groups of held-out queries; the last three are ranks."""

CROPS = (None, 313, 150)
"""Lengths of the queries, in bases: None is the whole sequence, 313 and 150 are common amplicon lengths."""

COPY = "copy"
"""Group of the queries whose sequence stays in training."""

_SPECIES = RANKS.index("species")
# Appended to the seed for the copies; crops use (seed, length) with a length of at least 1.
_COPY_STREAM = (0, 1)
_COPY_CROP_STREAM = 1
# Maximum queries from one held-out taxon, and from one species within it.
_MAX_PER_TAXON = 5
_MAX_PER_SPECIES = 2
_ROUNDS = 3
# Maximum share of all records that the held-out taxa of one rank may remove from training.
_MAX_TAKEN = 0.1


class Labelled(NamedTuple):
    """A record with its names.

    Attributes:
        id: Id as in the data.
        sequence: Normalised sequence: upper-case A, C, G, T and N.
        lineage: Names, empty if unknown.
        marker: Marker, empty if unknown.
        records: Number of source records with this sequence and lineage, at least 1.
    """

    id: str
    sequence: str
    lineage: Lineage
    marker: str = ""
    records: int = 1


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A record that was held out, or a copy of one that stays.

    Attributes:
        id: Id as in the data.
        sequence: The sequence, cropped or whole.
        lineage: True names, empty if unknown.
        group: The group that was held out, one of ``GROUPS``, or ``COPY``.
        present: By rank, whether the taxon is in training; False if it has no name.
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
        training: Training records, in the order of the data; one source record fewer for each copy.
        queries: Queries of the four groups, in the order of ``GROUPS``; a group is empty if the data allow none.
        taxa: Defines which names are the same taxon.
        seed: Seed of the draw.
        records: Number of labelled records that were split.
        unlabelled: Number of records without any name, which were omitted.
        taken: By group, the number of records that were removed from training.
        copies: Queries whose sequence stays in training, in the order of the data.
        counted: Whether copies were drawn in proportion to their numbers of source records; False if every sequence has
            one record, in which case rows with a species were drawn at random.
        unseen: Number of labelled records from which alone queries were drawn; None: from all.
    """

    training: list[Labelled]
    queries: list[LabelledQuery]
    taxa: Taxa
    seed: int
    records: int
    unlabelled: int
    taken: dict[str, int]
    copies: list[LabelledQuery] = field(default_factory=list)
    counted: bool = True
    unseen: int | None = None

    def sizes(self) -> dict[str, int]:
        """Return the number of queries in each group."""
        counts = Counter(query.group for query in self.queries)
        return {group: counts[group] for group in GROUPS}

    def crop(self, length: int | None) -> list[LabelledQuery]:
        """Return the queries of the four groups cut to a random window of ``length`` bases.

        The window depends only on the seed, the length and the index of the query. Shorter queries are omitted; None
        returns the whole queries.

        Raises:
            UsageError: The length is less than 1.
        """
        return _crop(self.queries, length, self.seed)

    def crop_copies(self, length: int | None) -> list[LabelledQuery]:
        """Return the copies, cut like the other queries by ``crop`` but at other random positions.

        Raises:
            UsageError: The length is less than 1.
        """
        return _crop(self.copies, length, self.seed, _COPY_CROP_STREAM)


def _crop(queries: Sequence[LabelledQuery], length: int | None, seed: int, *stream: int) -> list[LabelledQuery]:
    """Cut queries at positions drawn with the seed, the length and ``stream``."""
    if length is None:
        return list(queries)
    if length < 1:
        raise UsageError(f"the crop length is {length}; it must be at least 1 base")
    fractions = np.random.default_rng([seed, length, *stream]).random(len(queries))
    cropped = []
    for query, fraction in zip(queries, fractions.tolist(), strict=True):
        spare = len(query.sequence) - length
        if spare >= 0:
            start = int(fraction * (spare + 1))
            cropped.append(replace(query, sequence=query.sequence[start : start + length]))
    return cropped


def split(
    records: Sequence[Labelled], *, queries: int = 500, seed: int = 1, unseen: Collection[str] | None = None
) -> Split:
    """Split labelled records into training records and queries.

    Families are drawn first, then genera, species and records from the remaining data. Taxa are drawn at random, all
    with the same probability whatever their number of records, and give at most 5 queries with at most 2 of one
    species. The record group takes at most one query per species as long as there are enough species, and at most 3;
    another sequence of the same region must remain in the species (not only ITS2 for an ITS1 query). A taxon is held
    out only if its parent keeps another child of the same rank, and the taxa of one rank together remove at most a
    tenth of all records.

    Copies are drawn last from the remaining data: rows with a species and at least two source records, with a
    probability proportional to the number of source records, without replacement. Such a row stays in training with one
    record fewer. If no remaining row has two records (the reference was dereplicated), rows with a species are drawn at
    random and stay unchanged.

    Args:
        records: The data. Records without any name are omitted; those without a name at some rank stay in training but
            are never queries of the groups that need it.
        queries: Maximum queries per group.
        seed: Seed of the draw; the same seed and records give the same split.
        unseen: Ids of the records from which alone the queries of the four groups are drawn, such as those that a model
            was not trained on: a taxon is held out only if all its records are among them. Copies are drawn from all
            records, because their sequence is in the reference in any case. None: all records.

    Raises:
        UsageError: ``queries`` is less than 1.
        InputError: Nothing can be held out: there are fewer than two named taxa, or no species with two sequences, or
            too few of them in ``unseen``.
    """
    if queries < 1:
        raise UsageError(f"`queries` is {queries}; it must be at least 1")
    named = [record for record in records if any(record.lineage)]
    eligible = [unseen is None or record.id in unseen for record in named]
    draw = _Draw(named, np.random.default_rng(seed), eligible)
    for group in reversed(GROUPS[1:]):
        draw.hold_out_taxa(group, queries)
    draw.hold_out_records(queries)
    found = draw.queries()
    if not found:
        if named and not all(eligible):
            raise InputError(
                f"of {len(named):,} labelled records {sum(eligible):,} have an id in `unseen`, which give nothing to "
                "hold out; check that the ids are those of this reference, and that complete taxa are among them"
            )
        raise InputError(
            f"{len(named)} labelled records give nothing to hold out; to measure accuracy, the reference needs a "
            "species with two different sequences or a genus with two species"
        )
    drawn, counted = draw.copies(queries, np.random.default_rng([seed, *_COPY_STREAM]))
    copies = [draw.query(i, COPY) for i in drawn]
    if counted:
        for i in drawn:
            named[i] = named[i]._replace(records=named[i].records - 1)
    training = [record for record, remains in zip(named, draw.remaining, strict=True) if remains]
    taken = dict(draw.taken)
    listed = None if unseen is None else sum(eligible)
    return Split(
        training, found, draw.taxa, seed, len(named), len(records) - len(named), taken, copies, counted, listed
    )


def write_records(path: Path, records: Iterable[Labelled]) -> None:
    """Write records as TSV (id, marker, sequence, seven ranks), which every reader of ednabed accepts."""
    with replacing(path, "training.tsv") as file:
        file.write("\t".join(("id", "marker", "sequence", *RANKS)) + "\n")
        for record in records:
            cells = (record.id, record.marker, record.sequence, *record.lineage)
            file.write(tsv_line(cells))


class _Draw:
    """The records that remain in training while groups are drawn."""

    def __init__(self, records: Sequence[Labelled], random: np.random.Generator, eligible: Sequence[bool]) -> None:
        self.records = records
        self.eligible = eligible
        self.random = random
        self.taxa = Taxa(record.lineage for record in records)
        self.keys = [self.taxa.taxa_of(record.lineage) for record in records]
        self.remaining = [True] * len(records)
        self.taken = dict.fromkeys(GROUPS, 0)
        self.drawn: dict[str, list[int]] = {group: [] for group in GROUPS}
        # By rank, the taxa that remain in training after all draws.
        self.present_taxa: list[set[Taxon | None]] = [set() for _ in RANKS]
        # By rank and parent, the number of remaining records of each child.
        self.children: dict[tuple[int, Taxon], Counter[Taxon]] = defaultdict(Counter)
        for keys in self.keys:
            for rank, parent, child in _pairs(keys):
                self.children[rank, parent][child] += 1

    def hold_out_taxa(self, group: str, maximum: int) -> None:
        """Hold out complete taxa of a rank until they give ``maximum`` queries."""
        rank = RANKS.index(group)
        budget = int(_MAX_TAKEN * len(self.records))
        for taxon, members in self._shuffled(lambda keys: keys[rank]):
            if len(self.drawn[group]) >= maximum:
                return
            parents = {parent for i in members if (parent := self.keys[i][rank - 1]) is not None}
            chosen = self._choose([i for i in members if self.keys[i][rank - 1] is not None])
            if not chosen or self.taken[group] + len(members) > budget or not all(self.eligible[i] for i in members):
                continue
            if all(any(n and child != taxon for child, n in self.children[rank, p].items()) for p in parents):
                self.drawn[group] += chosen[: maximum - len(self.drawn[group])]
                self._remove(members, group)

    def hold_out_records(self, maximum: int) -> None:
        """Hold out single sequences of species that keep another sequence, one per species in each round."""
        order = [members for _, members in self._shuffled(lambda keys: keys[_SPECIES])]
        for _ in range(_ROUNDS):
            for members in order:
                if len(self.drawn["record"]) >= maximum:
                    return
                rows_by_sequence: dict[str, list[int]] = {}
                for i in members:
                    if self.remaining[i]:
                        rows_by_sequence.setdefault(self.records[i].sequence, []).append(i)
                sequences = list(rows_by_sequence)
                encoded = [sequence.encode() for sequence in sequences]
                for i in self.random.permutation(len(sequences)).tolist():
                    # The same sequence under the same species would give the answer away, so all its rows go.
                    rows = rows_by_sequence[sequences[i]]
                    if all(self.eligible[row] for row in rows) and same_region(
                        encoded[i], encoded[:i] + encoded[i + 1 :]
                    ):
                        self.drawn["record"].append(rows[0])
                        self._remove(rows, "record")
                        break

    def queries(self) -> list[LabelledQuery]:
        """Return the queries of all groups, by group and then in the order of the data.

        Lineages with gaps or of mixed conventions can yield a query whose parent is no longer in training; it is
        dropped.
        """
        self.present_taxa = [set() for _ in RANKS]
        for keys, remains in zip(self.keys, self.remaining, strict=True):
            if remains:
                for rank, taxon in enumerate(keys):
                    self.present_taxa[rank].add(taxon)
        found = []
        for group in GROUPS:
            deepest = _SPECIES if group == "record" else RANKS.index(group) - 1
            for i in sorted(self.drawn[group]):
                query = self.query(i, group)
                if query.present[deepest] and not (group != "record" and query.present[deepest + 1]):
                    found.append(query)
        return found

    def query(self, i: int, group: str) -> LabelledQuery:
        """Create a query from a record, after ``queries`` has collected the taxa that remain."""
        record = self.records[i]
        present = tuple(
            taxon is not None and taxon in self.present_taxa[rank] for rank, taxon in enumerate(self.keys[i])
        )
        return LabelledQuery(record.id, record.sequence, record.lineage, group, present)

    def copies(self, maximum: int, random: np.random.Generator) -> tuple[list[int], bool]:
        """Draw rows to copy as queries; return them and whether they were drawn by numbers of records."""
        rows = [i for i, keys in enumerate(self.keys) if self.remaining[i] and keys[_SPECIES] is not None]
        several = [i for i in rows if self.records[i].records > 1]
        rows = several or rows
        if not rows:
            return [], bool(several)
        weights = np.array([self.records[i].records if several else 1 for i in rows], float)
        chosen = random.choice(len(rows), min(maximum, len(rows)), replace=False, p=weights / weights.sum())
        return sorted(rows[i] for i in chosen.tolist()), bool(several)

    def _shuffled(self, key: Callable[[tuple[Taxon | None, ...]], Taxon | None]) -> list[tuple[Taxon, list[int]]]:
        """Return the remaining taxa and the rows of their records, in random order."""
        members: dict[Taxon, list[int]] = {}
        for i, (keys, remains) in enumerate(zip(self.keys, self.remaining, strict=True)):
            taxon = key(keys)
            if remains and taxon is not None:
                members.setdefault(taxon, []).append(i)
        listed = list(members.items())
        return [listed[i] for i in self.random.permutation(len(listed)).tolist()]

    def _choose(self, members: list[int]) -> list[int]:
        """Choose the queries of a taxon: different sequences, few of each species."""
        chosen: list[int] = []
        per_species: Counter[Taxon | None] = Counter()
        sequences: set[str] = set()
        for member in self.random.permutation(len(members)).tolist():
            i = members[member]
            species, sequence = self.keys[i][_SPECIES], self.records[i].sequence
            if per_species[species] < _MAX_PER_SPECIES and sequence not in sequences and len(chosen) < _MAX_PER_TAXON:
                chosen.append(i)
                per_species[species] += 1
                sequences.add(sequence)
        return chosen

    def _remove(self, members: list[int], group: str) -> None:
        for i in members:
            self.remaining[i] = False
            for rank, parent, child in _pairs(self.keys[i]):
                self.children[rank, parent][child] -= 1
        self.taken[group] += len(members)


def _pairs(keys: tuple[Taxon | None, ...]) -> list[tuple[int, Taxon, Taxon]]:
    """Return rank, parent and child for the ranks that can be held out, if both have names."""
    found = []
    for group in GROUPS[1:]:
        rank = RANKS.index(group)
        parent, child = keys[rank - 1], keys[rank]
        if parent is not None and child is not None:
            found.append((rank, parent, child))
    return found
