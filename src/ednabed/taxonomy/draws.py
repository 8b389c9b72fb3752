"""Queries drawn from the reference itself, whose answer is known and left out: what calibration learns from.

A draw is a record. Nothing is left out (the query is then an exact copy, one more record of a known sequence); or its
sequence; or all of its species, genus, family, order, class or phylum. It is the whole sequence, or a piece as long as
an amplicon. Of the taxa that are left out each counts as one, be it of a thousand records. Copies and new sequences of
a taxon are drawn in proportion to the square root of its records, or sequences, between what reference libraries hold
(some species a thousand times) and one a species.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.search.divergence import Codes, Letters, decode
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import LeftOut
from ednabed.taxonomy.labels import Labels
from ednabed.taxonomy.regions import meets

COPY = len(RANKS) + 1
RECORD = len(RANKS)
"""What is left out: nothing (``COPY``), the sequence (``RECORD``), or the taxon of a rank, its place in ``RANKS``."""
LEVELS = (COPY, RECORD, 6, 5, 4, 3, 2, 1)
PARTS = (2, 3, 2, 2, 1, 1, 1, 1)
"""Draws of each level, in proportion: those of records and species say how far the known may be, in the tail of a
distribution."""
LEVEL_NAMES = {COPY: "copy", RECORD: "record", **{level: RANKS[level] for level in LEVELS[2:]}}
CROPS = (0, 313, 150)
"""Letters of the piece that is drawn; 0 draws the whole sequence."""
COPIES = 0.5
"""Share of exact copies among queries of known taxa where a reference was dereplicated, so that it cannot be counted.
Of the markers of ``docs/accuracy.md`` COI has 0.50, 12S 0.49, ITS 0.26, 16S 0.15, 18S 0.03."""
FEWEST_REPEATED = 50
"""Sequences with several records, with fewer of which a reference counts as dereplicated: a few are chance."""
# A piece must be shorter than its sequence by so much, or it is no other query.
_SHORTER = 20
# Other rows of a taxon that are looked at.
_MOST_KIN = 30
# Least weight of a copy, so that all can be drawn where there are few.
_LEAST_WEIGHT = 1e-3
# A reference without new sequences among its records says little of the next ones.
_MOST_COPIES = 0.95

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """Queries that leave out the same.

    Attributes:
        level: What they leave out; see ``RECORD``.
        crop: See ``CROPS``.
        rows: Their rows, int64, shape (n,), ascending.
        lineages: Their true lineages, by number in ``Labels.lineages``, int64, shape (n,).
        records: Records of that sequence and lineage, int64, shape (n,).
        codes: Their letters.
    """

    level: int
    crop: int
    rows: Ints
    lineages: Ints
    records: Ints
    codes: list[Codes]


def draw(
    labels: Labels, letters: Letters, among: npt.NDArray[np.bool_], count: int, crops: Sequence[int], seed: int
) -> list[Draws]:
    """Draw queries.

    Args:
        labels: Lineages of the reference.
        letters: Its letters.
        among: Rows to draw from, shape (rows,), those of a marker; what remains is judged among them.
        count: Most queries a part (``PARTS``) and crop.
        crops: See ``CROPS``.
        seed: Seed of the draws.

    Returns:
        A part a level and crop, those without a query left away.
    """
    rng = np.random.default_rng(seed)
    every = np.repeat(np.arange(len(labels.starts) - 1), np.diff(labels.starts))
    entries = np.flatnonzero(among[every])
    rows, lineages, records = every[entries], labels.entries[entries], labels.records[entries]
    taxa = labels.taxa[lineages]
    kin = _Kin(rows, taxa, letters, rng)
    # Weight of each entry among the copies, and among the new sequences, of its taxon.
    weights = {COPY: _expected_copies(records), RECORD: np.ones(len(records))}
    parts = []
    for level, share in zip(LEVELS, PARTS, strict=True):
        there = _remaining(rows, taxa, level) >= 0
        for crop in crops:
            lengths = letters.lengths[rows]
            eligible = np.flatnonzero(there & (lengths >= max(crop + _SHORTER, 1) if crop else there & (lengths > 0)))
            codes: dict[int, Codes] = {}
            if level >= RECORD:
                order = _by_weight(deepest(taxa[eligible]), weights[level][eligible], rng)
            else:
                order = _in_turn(taxa[eligible, level], rng)
            for number in eligible[order].tolist():
                if len(codes) == count * share:
                    break
                own = piece(letters.codes(int(rows[number])), crop, rng)
                # A species whose other records are of another region is not known by them.
                if level != RECORD or kin.meets(number, own):
                    codes[number] = own
            if codes:
                chosen = np.array(sorted(codes), np.int64)
                parts.append(
                    Draws(
                        level, crop, rows[chosen], lineages[chosen], records[chosen],
                        [codes[number] for number in chosen.tolist()],
                    )
                )  # fmt: skip
    return parts


def is_dereplicated(records: Ints) -> bool:
    """Tell whether a reference holds nearly each sequence of a taxon once, so it does not say how common copies are.

    Args:
        records: Records of each entry (``Labels``).
    """
    return int((records > 1).sum()) < FEWEST_REPEATED


def copy_share(records: Ints) -> float:
    """Return the share of records that are copies of another one: of the next record of a known taxon, the chance.

    That of a new sequence is the share of records seen once (Good 1953, after Turing), at least 0.05. 0.5 is supposed
    where the reference was dereplicated.

    Args:
        records: Records of each entry (``Labels``), those of a marker.
    """
    if is_dereplicated(records):
        return COPIES
    return min(float(1 - (records == 1).sum() / records.sum()), _MOST_COPIES)


def _expected_copies(records: Ints) -> Floats:
    """Return the relative number of copies to be drawn of each entry, shape (n,).

    As many as it has records, where it has several. Of those with one, many were met by chance, and 2 N(2) / N(1)
    further records of each are to be expected, at most 1, where N(r) entries have r records (Good 1953, after Turing).
    Of those with more the same estimate is not taken: records that were merged from a few databases are counted up to
    their number, and none of the most would be expected again (16S: nearly none of those with two).
    Where a reference was dereplicated all are alike.
    """
    if is_dereplicated(records):
        return np.ones(len(records))
    once, twice = int((records == 1).sum()), int((records == 2).sum())
    single = min(2 * twice / max(once, 1), 1.0)
    return np.where(records == 1, max(single, _LEAST_WEIGHT), records.astype(np.float64))


def left_out(labels: Labels, part: Draws) -> tuple[tuple[Ints, Ints], LeftOut] | None:
    """Say what some draws leave out.

    A sequence that another taxon shares stays, under that taxon's name: so it would be, had the reference lacked the
    records that are left out.

    Returns:
        A group of each row, int64, shape (rows,), and of each draw, shape (n,), such that rows of a draw's own group
        are no candidates of it; and the lineages that do not vote on the others. None for copies, which leave nothing
        out.
    """
    if part.level == COPY:
        return None
    taxa = deepest(labels.taxa) if part.level >= RECORD else labels.taxa[:, part.level]
    own = taxa[part.lineages]
    # The taxon of rows that have no other one.
    alone = np.full(len(labels.starts) - 1, -1, np.int64)
    firsts = labels.starts[:-1][labels.labelled]
    entries = taxa[labels.entries]
    least, most = np.minimum.reduceat(entries, firsts), np.maximum.reduceat(entries, firsts)
    alone[labels.labelled] = np.where(least == most, least, -1)
    if part.level == RECORD:
        groups = np.where(alone >= 0, np.arange(len(alone)), -1), part.rows
        return groups, LeftOut(taxa, own, part.rows, part.records)
    return (alone, own), LeftOut(taxa, own, None)


def deepest(taxa: Ints) -> Ints:
    """Return the deepest taxon of lineages, shape (n,), given their taxa, shape (n, 7); -1 where there is none."""
    found = np.full(len(taxa), -1, np.int64)
    for rank in range(len(RANKS)):
        found = np.where(taxa[:, rank] >= 0, taxa[:, rank], found)
    return found


class _Kin:
    """Tells whether another sequence of a draw's taxon is of the same region, so that it may be known by it."""

    def __init__(self, rows: Ints, taxa: Ints, letters: Letters, rng: np.random.Generator) -> None:
        self._rows = rows
        self._taxa = taxa
        self._letters = letters
        self._rng = rng

    def meets(self, number: int, codes: Codes) -> bool:
        """Compare a piece of an entry with the other rows of its deepest taxon, some of them where they are many."""
        rank = np.flatnonzero(self._taxa[number] >= 0)[-1]
        others = np.unique(self._rows[self._taxa[:, rank] == self._taxa[number, rank]])
        others = others[others != self._rows[number]]
        if len(others) > _MOST_KIN:
            others = self._rng.choice(others, _MOST_KIN, replace=False)
        return meets(decode(codes), map(self._letters.text, others.tolist()))


def _remaining(rows: Ints, taxa: Ints, level: int) -> Ints:
    """Return the deepest rank at which each entry's taxon remains when it is left out; -1 where it cannot be drawn.

    Args:
        rows: Row of each entry, ascending, shape (n,).
        taxa: Its taxa, shape (n, 7).
        level: See ``RECORD``.
    """
    remains = np.full(len(taxa), -1, np.int64)
    if level >= RECORD:
        # The deepest named taxon must have another row, or keep this one (a copy).
        for rank in range(len(RANKS)):
            named = taxa[:, rank] >= 0
            counts = _rows_of(rows[named], taxa[named, rank], int(taxa.max(initial=0)) + 1)
            remains[named] = np.where((counts[taxa[named, rank]] > 1) | (level == COPY), rank, -1)
        return remains
    named = taxa[:, level] >= 0
    above = np.full(len(taxa), -1, np.int64)
    for rank in range(level):
        above = np.where(taxa[:, rank] >= 0, rank, above)
    for rank in range(level):
        own = np.flatnonzero(named & (above == rank))
        if not len(own):
            continue
        # Entries of the parent that are not of the taxon left out.
        every = taxa[:, rank] >= 0
        all_entries = np.bincount(taxa[every, rank], minlength=int(taxa.max()) + 1)
        left_out = np.bincount(taxa[named, level], minlength=int(taxa.max()) + 1)
        kept = all_entries[taxa[own, rank]] - left_out[taxa[own, level]] > 0
        remains[own[kept]] = rank
    return remains


def _rows_of(rows: Ints, taxa: Ints, count: int) -> Ints:
    """Return how many rows each taxon has, shape (count,), given pairs of a row and a taxon, some of them twice."""
    pairs = np.unique(np.stack([rows, taxa], axis=1), axis=0)
    return np.bincount(pairs[:, 1], minlength=count)


def _in_turn(taxa: Ints, rng: np.random.Generator) -> Ints:
    """Return a random order of entries in which each taxon has one, and then each a second one, and so on.

    Args:
        taxa: Taxon of each entry, shape (n,).
        rng: Draws the order.
    """
    order = rng.permutation(len(taxa))
    groups = taxa[order]
    by_group = np.argsort(groups, kind="stable")
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    turn = np.empty(len(groups), np.int64)
    turn[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Taxa in an order of their own: in that of rows, those with most rows would come first.
    return np.asarray(order[np.lexsort((rng.permutation(len(sizes))[place], turn))], np.int64)


def _by_weight(taxa: Ints, weights: Floats, rng: np.random.Generator) -> Ints:
    """Return a random order of entries in which a taxon comes in proportion to the square root of its weight.

    Entries are sorted by u ** (1 / weight), where weight is the entry's weight divided by that root (Efraimidis and
    Spirakis 2006).

    Args:
        taxa: Taxon of each entry, shape (n,).
        weights: Weight of each within its taxon, shape (n,), above 0.
        rng: Draws the order.
    """
    _, place = np.unique(taxa, return_inverse=True)
    roots = np.sqrt(np.bincount(place, weights))
    return np.argsort(rng.exponential(size=len(taxa)) * roots[place] / weights)


def piece(codes: Codes, crop: int, rng: np.random.Generator) -> Codes:
    """Return a piece of so many letters from a random place; 0 returns all."""
    if not crop:
        return codes
    first = int(rng.integers(0, len(codes) - crop + 1))
    return codes[first : first + crop]
