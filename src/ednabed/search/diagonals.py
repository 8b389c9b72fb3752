"""The diagonals on which a query aligns to sequences without gaps, by the 8-mers that they share.

``diagonals_compiled`` has the same function compiled, which is several times faster; this one needs only numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Bools, Ints
from ednabed.base.bases import OTHER, Codes

K = 8
STRIDE = 3
"""Only every third 8-mer of the rows is looked up: this finds enough of them, in a third of the time."""
BAND = 60
"""Diagonals to either side of the best one among which a gap is looked for."""
MIN_ELSEWHERE = 2
"""Minimum number of 8-mers on another diagonal to look for a gap: they match 11 to 13 bases there."""
_CELLS = 4**K
_NONE = -1
# Maximum cells of the table of diagonals (8 bytes each): more rows are compared in several parts.
_MAX_CELLS = 8_000_000

PositionTable = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Diagonals:
    """How a query aligns to each of n rows without gaps. A diagonal is the position in the row minus that in the query.

    Attributes:
        best: The diagonal with the most shared 8-mers, the lowest of several; 0 if there are none. int64, shape (n,),
            as are all others but ``gapped``.
        votes: Number of shared 8-mers on the best diagonal.
        gapped: Whether there are also shared 8-mers on another diagonal nearby. Bool.
        left: The nearby diagonal of the first shared 8-mers.
        right: The nearby diagonal of the last shared 8-mers.
        mismatches: Bases that differ on the best diagonal.
        n_bases: Bases compared on it, without N.
        overlap: The same with N.
    """

    best: Ints
    votes: Ints
    gapped: Bools
    left: Ints
    right: Ints
    mismatches: Ints
    n_bases: Ints
    overlap: Ints

    @classmethod
    def empty(cls, n: int) -> Diagonals:
        """Return arrays for n rows, not yet filled."""
        return cls(*(np.empty(n, bool if field.name == "gapped" else np.int64) for field in fields(cls)))


def position_table() -> PositionTable:
    """Return a table with the position of each possible 8-mer in a query, int32, shape (65536,): -1, for none."""
    return np.full(_CELLS, _NONE, np.int32)


def find_diagonals(
    query: Codes, flat: Codes, starts: Ints, lengths: Ints, rows: Ints, position_of: PositionTable
) -> Diagonals:
    """Find how a query aligns to some rows.

    Args:
        query: Codes of the query.
        flat: Codes of all sequences; each begins at a multiple of three.
        starts: Where each sequence begins, int64.
        lengths: Number of bases of each sequence, int64.
        rows: Numbers of the rows to compare, int64, shape (n,).
        position_of: A ``position_table``, which is left as it was.
    """
    found = Diagonals.empty(len(rows))
    for part in _parts(lengths[rows], len(query)):
        part_rows = rows[part]
        bounds = zip(starts[part_rows].tolist(), starts[part_rows + 1].tolist(), strict=True)
        codes = np.concatenate([flat[first:last] for first, last in bounds])
        sizes = starts[part_rows + 1] - starts[part_rows]
        firsts = np.cumsum(sizes) - sizes
        nearest = _nearest_diagonals(query, codes, firsts, lengths[part_rows], position_of)
        counts = _on_diagonal(query, codes, firsts, lengths[part_rows], nearest[0])
        for field, values in zip(fields(Diagonals), nearest + counts, strict=True):
            getattr(found, field.name)[part] = values
    return found


def _nearest_diagonals(
    query: Codes, codes: Codes, firsts: Ints, lengths: Ints, position_of: PositionTable
) -> tuple[Ints, Ints, Bools, Ints, Ints]:
    """Return the first five arrays of ``Diagonals`` for concatenated rows, each of which begins at ``firsts``."""
    n = len(lengths)
    all_rows = np.arange(n)
    query_kmers = kmers(query, 1)
    # The first of equal 8-mers is kept: the last one written wins in numpy, so they are written backwards.
    position_of[query_kmers[::-1]] = np.arange(len(query_kmers) - 1, -1, -1, dtype=np.int32)
    found = position_of[kmers(codes, STRIDE)]
    position_of[query_kmers] = _NONE
    hits = np.flatnonzero(found >= 0)
    row = np.repeat(all_rows, np.diff(firsts, append=len(codes)) // STRIDE)[hits]
    position = hits * STRIDE - firsts[row]
    # Some hits begin in one row and end in the next.
    inside = position + K <= lengths[row]
    row, diagonal = row[inside], (position - found[hits])[inside]
    width = int(lengths.max()) + len(query) + 1
    cell = row * width + diagonal + len(query)
    table = np.bincount(cell, minlength=n * width)
    best = table.reshape(n, width).argmax(axis=1)
    votes = table[all_rows * width + best]
    # Rows that share no 8-mer have no diagonal.
    best = np.where(votes > 0, best - len(query), 0)
    offset = diagonal - best[row]
    nearby = (np.abs(offset) <= BAND) & (table[cell] >= MIN_ELSEWHERE)
    gapped = np.zeros(n, bool)
    gapped[row[nearby & (offset != 0)]] = True
    row, diagonal = row[nearby], diagonal[nearby]
    left, right = best.copy(), best.copy()
    # Hits are in order of row and position, so the last one written is the last hit, or backwards the first.
    right[row], left[row[::-1]] = diagonal, diagonal[::-1]
    return best, votes, gapped, left, right


def _on_diagonal(query: Codes, codes: Codes, firsts: Ints, lengths: Ints, diagonal: Ints) -> tuple[Ints, Ints, Ints]:
    """Count the differing bases, the compared bases, and the overlap with N, of each row on its diagonal."""
    first = np.maximum(0, -diagonal)
    last = np.minimum(len(query), lengths - diagonal)
    overlap = last - first
    mismatches, compared = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    # reduceat cannot handle empty rows.
    rows = np.flatnonzero(overlap > 0)
    if not len(rows):
        return mismatches, compared, np.zeros(len(lengths), np.int64)
    spans = zip(first[rows].tolist(), last[rows].tolist(), (firsts + diagonal)[rows].tolist(), strict=True)
    pairs = [(query[a:b], codes[a + shift : b + shift]) for a, b, shift in spans]
    one = np.concatenate([pair[0] for pair in pairs])
    other = np.concatenate([pair[1] for pair in pairs])
    begins = np.cumsum(overlap[rows]) - overlap[rows]
    differ = one != other
    if max(one.max(), other.max()) < OTHER:
        compared[rows] = overlap[rows]
    else:
        known = (one < OTHER) & (other < OTHER)
        compared[rows] = np.add.reduceat(known, begins, dtype=np.int64)
        differ &= known
    mismatches[rows] = np.add.reduceat(differ, begins, dtype=np.int64)
    return mismatches, compared, np.maximum(overlap, 0)


def _parts(lengths: Ints, query_length: int) -> Iterator[Ints]:
    """Divide the rows into parts whose tables of diagonals have a bounded size, with long rows apart."""
    if not len(lengths):
        return
    if len(lengths) * (int(lengths.max()) + query_length) <= _MAX_CELLS:
        yield np.arange(len(lengths))
        return
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        # Rows are in order of length, so the last one taken is the longest.
        cells = np.arange(1, len(order) - first + 1) * (lengths[order[first:]] + query_length)
        last = first + max(int(np.searchsorted(cells, _MAX_CELLS, side="right")), 1)
        yield order[first:last]
        first = last


def kmers(codes: Codes, stride: int) -> npt.NDArray[np.uint16]:
    """Return every ``stride``-th 8-mer, uint16; an N counts as A, so some of these match by chance."""
    last = len(codes) - K + 1
    kmers = np.zeros(max(-(-last // stride), 0), np.uint16)
    for i in range(K if last > 0 else 0):
        kmers <<= 2
        kmers |= codes[i : last + i : stride] & 3
    return kmers
