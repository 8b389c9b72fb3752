"""``diagonals.find_diagonals``, compiled: row by row, as the loops that numpy has to avoid."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Ints
from ednabed.base.bases import OTHER, Codes
from ednabed.base.compiled import compiled, readonly, writable
from ednabed.search.diagonals import BAND, MIN_ELSEWHERE, STRIDE, Diagonals, K, PositionTable, kmers

_CODES, _INTS = readonly(numba.uint8), readonly(numba.int64)
_POSITIONS, _FOUND = writable(numba.int32), writable(numba.int64, 2)
_MASK = 4**K - 1


def find_diagonals_compiled(
    query: Codes, flat: Codes, starts: Ints, lengths: Ints, rows: Ints, position_of: PositionTable
) -> Diagonals:
    """Find how a query aligns to some rows: see ``diagonals.find_diagonals``, whose result is equal."""
    query, rows = np.ascontiguousarray(query), np.ascontiguousarray(rows, np.int64)
    query_kmers = kmers(query, 1)
    position_of[query_kmers[::-1]] = np.arange(len(query_kmers) - 1, -1, -1, dtype=np.int32)
    votes_of = np.zeros(len(query) + int(lengths[rows].max(initial=0)) + 1, np.int32)
    found = np.empty((8, len(rows)), np.int64)
    _find(query, flat, starts, lengths, rows, position_of, votes_of, found)
    position_of[query_kmers] = -1
    best, votes, gapped, left, right, mismatches, n_bases, overlap = found
    return Diagonals(best, votes, gapped.astype(bool), left, right, mismatches, n_bases, overlap)


@compiled(_CODES, _CODES)
def _count(one: Codes, other: Codes) -> tuple[np.int64, np.int64]:
    """Return the number of differing bases, and of compared bases, of two pieces of equal length."""
    differing = numba.uint32(0)
    compared = numba.uint32(0)
    for i in range(len(one)):
        # Without branches, so that many bases are compared at once.
        known = (one[i] < OTHER) & (other[i] < OTHER)
        compared += numba.uint32(known)
        differing += numba.uint32(known & (one[i] != other[i]))
    return np.int64(differing), np.int64(compared)


@compiled(_CODES, _CODES, _INTS, _INTS, _INTS, _POSITIONS, _POSITIONS, _FOUND)
def _find(
    query: Codes,
    flat: Codes,
    starts: Ints,
    lengths: Ints,
    rows: Ints,
    position_of: PositionTable,
    votes_of: PositionTable,
    found: npt.NDArray[np.int64],
) -> None:
    """Fill ``found``, one column for each row; ``votes_of`` counts the shared 8-mers of each diagonal."""
    size = len(query)
    # Diagonals are counted from the first possible one, so that they are positions in ``votes_of``.
    hits = np.empty(len(votes_of), np.int64)
    for j in range(len(rows)):
        length = lengths[rows[j]]
        codes = flat[starts[rows[j]] : starts[rows[j]] + length]
        n_hits, best, votes, kmer = 0, size, 0, 0
        if length >= K:
            for i in range(K - STRIDE):
                kmer = (kmer << 2) | (codes[i] & 3)
        for i in range(0, length - K + 1, STRIDE):
            for new in range(i + K - STRIDE, i + K):
                kmer = (kmer << 2) | (codes[new] & 3)
            kmer &= _MASK
            position = position_of[kmer]
            if position >= 0:
                diagonal = i - position + size
                votes_of[diagonal] += 1
                hits[n_hits] = diagonal
                n_hits += 1
                if votes_of[diagonal] > votes or (votes_of[diagonal] == votes and diagonal < best):
                    best, votes = diagonal, votes_of[diagonal]
        left, right, gapped, any_nearby = best, best, False, False
        # Otherwise all shared 8-mers are on the best diagonal.
        if n_hits > votes:
            for diagonal in hits[:n_hits]:
                if abs(diagonal - best) <= BAND and votes_of[diagonal] >= MIN_ELSEWHERE:
                    gapped |= diagonal != best
                    if not any_nearby:
                        left, any_nearby = diagonal, True
                    right = diagonal
        for diagonal in hits[:n_hits]:
            votes_of[diagonal] = 0
        shift = best - size
        first, last = max(0, -shift), min(size, length - shift)
        differing, compared = np.int64(0), np.int64(0)
        if last > first:
            differing, compared = _count(query[first:last], codes[first + shift : last + shift])
        found[0, j], found[1, j], found[2, j] = shift, votes, gapped
        found[3, j], found[4, j] = left - size, right - size
        found[5, j], found[6, j], found[7, j] = differing, compared, max(last - first, 0)
