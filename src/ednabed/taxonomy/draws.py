"""Queries drawn from the reference itself, whose answer is known and left out: the training data of calibration.

A draw is a record. What is left out is nothing (the query is then an exact copy, one more record of a known sequence);
or its sequence; or all of its species, genus, family, order, class or phylum. The query is the complete sequence, or a
piece as long as an amplicon. Each taxon that is left out counts as one, even one with a thousand records. Copies and
new sequences of a taxon are drawn in proportion to the square root of its records, or sequences: a compromise between
the contents of reference libraries (a thousand records of some species) and one draw per species.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.base.bases import Codes, decode
from ednabed.search.divergence import PackedSequences
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import LeftOut
from ednabed.taxonomy.labels import RowLabels
from ednabed.taxonomy.regions import same_region

COPY = len(RANKS) + 1
RECORD = len(RANKS)
"""What is left out: nothing (``COPY``), the sequence (``RECORD``), or the taxon of a rank (its index in ``RANKS``)."""
LEVELS = (COPY, RECORD, 6, 5, 4, 3, 2, 1)
PARTS = (2, 3, 2, 2, 1, 1, 1, 1)
"""Draws of each level, in proportion: those of records and species show how far known taxa may be, in the tail of a
distribution."""
LEVEL_NAMES = {COPY: "copy", RECORD: "record", **{level: RANKS[level] for level in LEVELS[2:]}}
CROPS = (0, 313, 150)
"""Bases of the piece that is drawn; 0 draws the complete sequence."""
COPIES = 0.5
"""Share of exact copies among queries of known taxa that is assumed for a dereplicated reference, where copies cannot
be counted. Of the markers of ``docs/accuracy.md`` COI has 0.50, 12S 0.49, ITS 0.26, 16S 0.15, 18S 0.03."""
MIN_REPEATED = 50
"""A reference with fewer sequences with several records counts as dereplicated: a few such sequences are chance."""
# A piece must be shorter than its sequence by at least this many bases; otherwise it is not a different query.
_MIN_SHORTER = 20
# Maximum number of other rows of a taxon that are compared.
_MAX_KIN = 30
# Minimum weight of a copy, so that all can be drawn if there are few.
_MIN_WEIGHT = 1e-3
# A reference without new sequences among its records says little about future ones.
_MAX_COPIES = 0.95


@dataclass(frozen=True)
class Draws:
    """Queries for which the same level is left out.

    Attributes:
        level: What is left out; see ``RECORD``.
        crop: See ``CROPS``.
        rows: Their rows, int64, shape (n,), ascending.
        lineages: Their true lineages, by number in ``Labels.lineages``, int64, shape (n,).
        records: Records of that sequence and lineage, int64, shape (n,).
        codes: Their bases.
    """

    level: int
    crop: int
    rows: Ints
    lineages: Ints
    records: Ints
    codes: list[Codes]


def draw(
    labels: RowLabels, sequences: PackedSequences, among: Bools, count: int, crops: Sequence[int], seed: int
) -> list[Draws]:
    """Draw queries.

    Args:
        labels: Lineages of the reference.
        sequences: The bases of its rows.
        among: Rows to draw from, shape (rows,), those of a marker; queries are judged against what remains of them.
        count: Maximum queries per part (``PARTS``) and crop.
        crops: See ``CROPS``.
        seed: Seed of the draws.

    Returns:
        One part for each level and crop, without parts that have no query.
    """
    rng = np.random.default_rng(seed)
    row_of_entry = np.repeat(np.arange(len(labels.starts) - 1), np.diff(labels.starts))
    entries = np.flatnonzero(among[row_of_entry])
    rows, lineages, records = row_of_entry[entries], labels.entries[entries], labels.records[entries]
    taxa = labels.taxa[lineages]
    relatives = _Relatives(rows, taxa, sequences, rng)
    # Weight of each entry among the copies of its taxon, and among the new sequences of its taxon.
    weights = {COPY: _expected_copies(records), RECORD: np.ones(len(records))}
    parts = []
    for level, share in zip(LEVELS, PARTS, strict=True):
        drawable = _remaining(rows, taxa, level) >= 0
        for crop in crops:
            lengths = sequences.lengths[rows]
            eligible = np.flatnonzero(
                drawable & (lengths >= max(crop + _MIN_SHORTER, 1) if crop else drawable & (lengths > 0))
            )
            codes: dict[int, Codes] = {}
            if level >= RECORD:
                order = _by_weight(deepest(taxa[eligible]), weights[level][eligible], rng)
            else:
                order = _in_turn(taxa[eligible, level], rng)
            for number in eligible[order].tolist():
                if len(codes) == count * share:
                    break
                piece = random_piece(sequences.codes(int(rows[number])), crop, rng)
                # If the other records of a species are of another region, the query is not known from them.
                if level != RECORD or relatives.same_region(number, piece):
                    codes[number] = piece
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
    """Return whether a reference has nearly every sequence of a taxon only once, so that copies cannot be counted.

    Args:
        records: Records of each entry (``RowLabels``).
    """
    return int((records > 1).sum()) < MIN_REPEATED


def copy_share(records: Ints) -> float:
    """Return the share of records that are copies: the probability that a new record of a known taxon is a copy.

    The probability of a new sequence is the share of records seen once (Good 1953, after Turing), at least 0.05. For a
    dereplicated reference, 0.5 is assumed.

    Args:
        records: Records of each entry (``RowLabels``), those of a marker.
    """
    if is_dereplicated(records):
        return COPIES
    return min(float(1 - (records == 1).sum() / records.sum()), _MAX_COPIES)


def _expected_copies(records: Ints) -> Floats:
    """Return the relative number of copies to draw of each entry, shape (n,).

    An entry with several records is drawn as often as it has records. Entries with one record include many found by
    chance; 2 N(2) / N(1) further records of each are expected, at most 1, where N(r) entries have r records (Good 1953,
    after Turing). The same estimate is not used for entries with more records: the counts of records merged from a few
    databases reach only up to the number of databases, so for the largest counts no further record would be expected
    (16S: almost none for entries with two). In a dereplicated reference all entries are equal.
    """
    if is_dereplicated(records):
        return np.ones(len(records))
    once, twice = int((records == 1).sum()), int((records == 2).sum())
    single = min(2 * twice / max(once, 1), 1.0)
    return np.where(records == 1, max(single, _MIN_WEIGHT), records.astype(np.float64))


def left_out(labels: RowLabels, part: Draws) -> tuple[tuple[Ints, Ints], LeftOut] | None:
    """Return what is left out for some draws.

    A sequence that another taxon shares stays, under that taxon's name, as it would if the reference did not have the
    records that are left out.

    Returns:
        A group of each row, int64, shape (rows,), and of each draw, shape (n,), such that rows of a draw's own group
        are not candidates for it; and the lineages that do not vote on the other rows. None for copies, for which
        nothing is left out.
    """
    if part.level == COPY:
        return None
    taxa = deepest(labels.taxa) if part.level >= RECORD else labels.taxa[:, part.level]
    query_taxa = taxa[part.lineages]
    # The taxon of rows that have only one.
    only_taxon = np.full(len(labels.starts) - 1, -1, np.int64)
    firsts = labels.starts[:-1][labels.labelled]
    entries = taxa[labels.entries]
    lowest, highest = np.minimum.reduceat(entries, firsts), np.maximum.reduceat(entries, firsts)
    only_taxon[labels.labelled] = np.where(lowest == highest, lowest, -1)
    if part.level == RECORD:
        groups = np.where(only_taxon >= 0, np.arange(len(only_taxon)), -1), part.rows
        return groups, LeftOut(taxa, query_taxa, part.rows, part.records)
    return (only_taxon, query_taxa), LeftOut(taxa, query_taxa, None)


def deepest(taxa: Ints) -> Ints:
    """Return the deepest taxon of lineages, shape (n,), from their taxa, shape (n, 7); -1 where there is none."""
    found = np.full(len(taxa), -1, np.int64)
    for rank in range(len(RANKS)):
        found = np.where(taxa[:, rank] >= 0, taxa[:, rank], found)
    return found


class _Relatives:
    """Compares draws with other sequences of their taxon: only those of the same region can identify a draw."""

    def __init__(self, rows: Ints, taxa: Ints, sequences: PackedSequences, rng: np.random.Generator) -> None:
        self._rows = rows
        self._taxa = taxa
        self._sequences = sequences
        self._rng = rng

    def same_region(self, number: int, codes: Codes) -> bool:
        """Return whether a piece of an entry is of the same region as a row (of up to 30) of its deepest taxon."""
        rank = np.flatnonzero(self._taxa[number] >= 0)[-1]
        others = np.unique(self._rows[self._taxa[:, rank] == self._taxa[number, rank]])
        others = others[others != self._rows[number]]
        if len(others) > _MAX_KIN:
            others = self._rng.choice(others, _MAX_KIN, replace=False)
        return same_region(decode(codes), map(self._sequences.text, others.tolist()))


def _remaining(rows: Ints, taxa: Ints, level: int) -> Ints:
    """Return the deepest rank at which each entry's taxon remains after leaving out; -1 if it cannot be drawn.

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
            counts = _row_counts(rows[named], taxa[named, rank], int(taxa.max(initial=0)) + 1)
            remains[named] = np.where((counts[taxa[named, rank]] > 1) | (level == COPY), rank, -1)
        return remains
    named = taxa[:, level] >= 0
    above = np.full(len(taxa), -1, np.int64)
    for rank in range(level):
        above = np.where(taxa[:, rank] >= 0, rank, above)
    for rank in range(level):
        with_parent = np.flatnonzero(named & (above == rank))
        if not len(with_parent):
            continue
        # Entries of the parent that are not of the taxon that is left out.
        in_rank = taxa[:, rank] >= 0
        all_entries = np.bincount(taxa[in_rank, rank], minlength=int(taxa.max()) + 1)
        left_out = np.bincount(taxa[named, level], minlength=int(taxa.max()) + 1)
        kept = all_entries[taxa[with_parent, rank]] - left_out[taxa[with_parent, level]] > 0
        remains[with_parent[kept]] = rank
    return remains


def _row_counts(rows: Ints, taxa: Ints, count: int) -> Ints:
    """Return how many rows each taxon has, shape (count,), from pairs of row and taxon, which may repeat."""
    pairs = np.unique(np.stack([rows, taxa], axis=1), axis=0)
    return np.bincount(pairs[:, 1], minlength=count)


def _in_turn(taxa: Ints, rng: np.random.Generator) -> Ints:
    """Return a random order of entries that takes one entry of each taxon, then a second of each, and so on.

    Args:
        taxa: Taxon of each entry, shape (n,).
        rng: Draws the order.
    """
    order = rng.permutation(len(taxa))
    groups = taxa[order]
    by_group = np.argsort(groups, kind="stable")
    _, taxon_index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    turn = np.empty(len(groups), np.int64)
    turn[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Taxa are in a random order; in that of the rows, those with most rows would come first.
    return np.asarray(order[np.lexsort((rng.permutation(len(sizes))[taxon_index], turn))], np.int64)


def _by_weight(taxa: Ints, weights: Floats, rng: np.random.Generator) -> Ints:
    """Return a random order of entries in which a taxon occurs in proportion to the square root of its weight.

    Entries are sorted by u ** (1 / weight), where weight is the entry's weight divided by that root (Efraimidis and
    Spirakis 2006).

    Args:
        taxa: Taxon of each entry, shape (n,).
        weights: Weight of each entry within its taxon, shape (n,), above 0.
        rng: Draws the order.
    """
    _, taxon_index = np.unique(taxa, return_inverse=True)
    roots = np.sqrt(np.bincount(taxon_index, weights))
    return np.argsort(rng.exponential(size=len(taxa)) * roots[taxon_index] / weights)


def random_piece(codes: Codes, crop: int, rng: np.random.Generator) -> Codes:
    """Return a piece of ``crop`` bases from a random position; 0 returns all bases."""
    if not crop:
        return codes
    first = int(rng.integers(0, len(codes) - crop + 1))
    return codes[first : first + crop]
