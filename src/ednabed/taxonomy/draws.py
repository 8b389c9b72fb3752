"""Queries drawn from the reference itself, whose answer is known and left out: what calibration learns from.

A draw leaves out its own record, or all of its species, genus, family, order, class or phylum, by turns; it is the
whole sequence, or a piece as long as an amplicon. Of the taxa that are left out each counts as one, be it of a thousand
records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.search.divergence import Codes, Letters, decode
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import LeftOut
from ednabed.taxonomy.labels import SPECIES, Labels
from ednabed.taxonomy.regions import meets

RECORD = len(RANKS)
"""What is left out: the record itself; less is a rank, by its place in ``RANKS``."""
LEVELS = (RECORD, 6, 5, 4, 3, 2, 1)
PARTS = (3, 1, 1, 1, 1, 1, 1)
"""Draws of each level, in proportion: those of records say how far the known may be, in the tail of a distribution."""
LEVEL_NAMES = {RECORD: "record", **{level: RANKS[level] for level in LEVELS[1:]}}
CROPS = (0, 313, 150)
"""Letters of the piece that is drawn; 0 draws the whole sequence."""
# A piece must be shorter than its sequence by so much, or it is no other query.
_SHORTER = 20
# Other rows of a taxon that are looked at.
_MOST_KIN = 30

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """Queries that leave out the same.

    Attributes:
        level: What they leave out; see ``RECORD``.
        crop: See ``CROPS``.
        rows: Their rows, int64, shape (n,), each once.
        codes: Their letters.
        remains: Deepest rank at which their taxon is still in the reference, int64, shape (n,).
        absent: Whether the rank below that is named, so that its taxon is known to be absent, bool, shape (n,); at
            species True, as there is no rank below.
    """

    level: int
    crop: int
    rows: Ints
    codes: list[Codes]
    remains: Ints
    absent: npt.NDArray[np.bool_]


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
    taxa = np.where((labels.main >= 0)[:, None] & among[:, None], labels.taxa[labels.main], -1)
    kin = _Kin(taxa, letters, rng)
    parts = []
    for level, share in zip(LEVELS, PARTS, strict=True):
        remains = _remaining(taxa, level)
        absent = (remains == SPECIES) | (taxa[np.arange(len(taxa)), np.minimum(remains + 1, SPECIES)] >= 0)
        for crop in crops:
            long_enough = letters.lengths >= max(crop + _SHORTER, 1) if crop else letters.lengths > 0
            eligible = np.flatnonzero(among & long_enough & (remains >= 0))
            codes: dict[int, Codes] = {}
            for row in _one_a_taxon(taxa, level, eligible, rng).tolist():
                if len(codes) == count * share:
                    break
                own = piece(letters.codes(row), crop, rng)
                # A species whose other records are of another region is not known by them.
                if level != RECORD or kin.meets(row, own):
                    codes[row] = own
            if codes:
                rows = np.array(sorted(codes), np.int64)
                parts.append(
                    Draws(level, crop, rows, [codes[row] for row in rows.tolist()], remains[rows], absent[rows])
                )
    return parts


def left_out(labels: Labels, part: Draws) -> tuple[tuple[Ints, Ints], LeftOut]:
    """Say what some draws leave out.

    A sequence that another taxon shares stays, under that taxon's name: so it would be, had the reference lacked the
    records that are left out.

    Returns:
        A group of each row, int64, shape (rows,), and of each draw, shape (n,), such that rows of a draw's own group
        are no candidates of it; and the lineages that do not vote on the others.
    """
    taxa = deepest(labels.taxa) if part.level == RECORD else labels.taxa[:, part.level]
    own = taxa[labels.main[part.rows]]
    # The taxon of rows that have no other one.
    alone = np.full(len(labels.starts) - 1, -1, np.int64)
    firsts = labels.starts[:-1][labels.labelled]
    entries = taxa[labels.entries]
    least, most = np.minimum.reduceat(entries, firsts), np.maximum.reduceat(entries, firsts)
    alone[labels.labelled] = np.where(least == most, least, -1)
    if part.level == RECORD:
        groups = np.where(alone >= 0, np.arange(len(alone)), -1), part.rows
        return groups, LeftOut(taxa, own, part.rows)
    return (alone, own), LeftOut(taxa, own, None)


def deepest(taxa: Ints) -> Ints:
    """Return the deepest taxon of lineages, shape (n,), given their taxa, shape (n, 7); -1 where there is none."""
    found = np.full(len(taxa), -1, np.int64)
    for rank in range(len(RANKS)):
        found = np.where(taxa[:, rank] >= 0, taxa[:, rank], found)
    return found


class _Kin:
    """Tells whether another record of a draw's taxon is of the same region, so that it may be known by it."""

    def __init__(self, taxa: Ints, letters: Letters, rng: np.random.Generator) -> None:
        self._taxa = taxa
        self._letters = letters
        self._rng = rng

    def meets(self, row: int, codes: Codes) -> bool:
        """Compare a piece of a row with the other rows of its deepest taxon, some of them where they are many."""
        rank = np.flatnonzero(self._taxa[row] >= 0)[-1]
        others = np.flatnonzero(self._taxa[:, rank] == self._taxa[row, rank])
        others = others[others != row]
        if len(others) > _MOST_KIN:
            others = self._rng.choice(others, _MOST_KIN, replace=False)
        return meets(decode(codes), map(self._letters.text, others.tolist()))


def _remaining(taxa: Ints, level: int) -> Ints:
    """Return the deepest rank at which each row's taxon remains when it is left out; -1 where it cannot be drawn."""
    remains = np.full(len(taxa), -1, np.int64)
    if level == RECORD:
        # The deepest named taxon must have another row.
        for rank in range(len(RANKS)):
            named = taxa[:, rank] >= 0
            counts = np.bincount(taxa[named, rank]) if named.any() else np.zeros(1, np.int64)
            remains[named] = np.where(counts[taxa[named, rank]] > 1, rank, -1)
        return remains
    named = taxa[:, level] >= 0
    above = np.full(len(taxa), -1, np.int64)
    for rank in range(level):
        above = np.where(taxa[:, rank] >= 0, rank, above)
    for rank in range(level):
        own = np.flatnonzero(named & (above == rank))
        if not len(own):
            continue
        # Rows of the parent that are not of the taxon left out.
        every = taxa[:, rank] >= 0
        all_rows = np.bincount(taxa[every, rank], minlength=int(taxa.max()) + 1)
        left_out = np.bincount(taxa[named, level], minlength=int(taxa.max()) + 1)
        kept = all_rows[taxa[own, rank]] - left_out[taxa[own, level]] > 0
        remains[own[kept]] = rank
    return remains


def _one_a_taxon(taxa: Ints, level: int, eligible: Ints, rng: np.random.Generator) -> Ints:
    """Return rows in random order: a row of each taxon that is left out, then a second one of each, and so on.

    Where records are left out, of each deepest taxon.
    """
    own = deepest(taxa[eligible]) if level == RECORD else taxa[eligible, level]
    order = rng.permutation(len(eligible))
    groups = own[order]
    by_group = np.argsort(groups, kind="stable")
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    turn = np.empty(len(groups), np.int64)
    turn[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Taxa in an order of their own: in that of rows, those with most rows would come first.
    return eligible[order[np.lexsort((rng.permutation(len(sizes))[place], turn))]]


def piece(codes: Codes, crop: int, rng: np.random.Generator) -> Codes:
    """Return a piece of so many letters from a random place; 0 returns all."""
    if not crop:
        return codes
    first = int(rng.integers(0, len(codes) - crop + 1))
    return codes[first : first + crop]
