"""Sequences that look like the left part of one parent and the right part of another: PCR chimeras.

The idea is that of UCHIME (Edgar et al. 2011, Bioinformatics 27:2194) with less machinery: a query is aligned to each
parent, and of all pairs of parents and all breakpoints, the pair that matches the most bases of the query is taken. It
is reported only if the two parents together explain almost all of the query, and clearly more of it than the best
parent alone. A new species between two known ones is also nearer to one here and to the other there, but no pair of
known species explains all of it.

Measured on pools of some 300 sequences of 60 genera that contain the parents. Chimeras: two parents, in half of them of
one genus; breakpoint at 20 to 80 %; none to three errors. False: 480 real sequences whose own species is not in the
pool, and ("kin there") 480 of which only the sequence itself is not in the pool:

| percent found, by divergence from the nearer parent | below 1.5 | 1.5-3 | 3-10 | above 10 | false | false, kin there |
|---|---|---|---|---|---|---|
| COI, 600-700 bases | 7 | 51 | 77 | 88 | 0 | 0 |
| 18S, 350-450 bases | 8 | 86 | 92 | 84 | 0.2 | 0.4 |
| 12S, 150-200 bases | 0 | 43 | 64 | 51 | 0.2 | 0.4 |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Bools, Ints
from ednabed.base.bases import OTHER, encode
from ednabed.search.align import Alignment, align

MAX_UNEXPLAINED = 1.0
"""Maximum share of the bases, in percent, that the two parents may leave unexplained."""
MIN_GAIN = 0.8
"""Minimum number of bases, in percent of the query, that two parents must match beyond the best single parent
(``mindiv`` of UCHIME)."""
MIN_GAIN_BASES = 3
"""Minimum number of such bases, for short sequences (``mindiffs`` of UCHIME)."""
MIN_PARENT_COVERAGE = 90.0
"""Share of the query, in percent, that a parent must cover; the part outside any of the parents is not compared.
Otherwise two records that begin at different primers would be two parents."""
ABUNDANCE_RATIO = 2
"""How many times as many reads as the query a parent must have, because it existed for more cycles of the PCR."""
# Bases in the words with which likely parents are found, parts of a query that are searched separately, and parents per
# part.
_WORD, _PARTS, _PER_PART = 8, 4, 3


@dataclass(frozen=True, slots=True)
class Chimera:
    """Two parents that explain a sequence.

    Attributes:
        left: Index, in the parents given, of the parent of the first part.
        right: Index of the parent of the second part.
        breakpoint: Number of bases in the first part.
        identity: Bases that the two match, in percent of those compared.
        best_single: Bases that the best single parent matches, in percent of those compared.
    """

    left: int
    right: int
    breakpoint: int
    identity: float
    best_single: float


def find_chimera(sequence: str, parents: Sequence[str]) -> Chimera | None:
    """Return the two parents that make up a sequence, None if no two do.

    Args:
        sequence: Normalised bases, on the strand of the parents.
        parents: Normalised bases of each parent, from ``ParentPool.likely_parents`` and from a reference.
    """
    usable, rows = [], []
    first, stop = 0, len(sequence)
    for i, alignment in enumerate(align(sequence, parents, strand="plus")):
        if alignment is not None and alignment.query_coverage >= MIN_PARENT_COVERAGE:
            usable.append(i)
            rows.append(_matches(alignment, len(sequence)))
            first, stop = max(first, alignment.query_start - 1), min(stop, alignment.query_end)
    if len(usable) < 2:
        return None
    # before[p, b]: number of bases among the first b that parent p matches.
    length = stop - first
    before = np.zeros((len(rows), length + 1), np.int64)
    np.cumsum(np.array(rows)[:, first:stop], axis=1, out=before[:, 1:])
    after = before[:, -1:] - before
    both = before.max(axis=0) + after.max(axis=0)
    # Take the middle of the equally good breakpoints.
    best = np.flatnonzero(both == both.max())
    position = int(best[len(best) // 2])
    left, right = int(before[:, position].argmax()), int(after[:, position].argmax())
    explained, best_single = int(both[position]), int(before[:, -1].max())
    if explained - best_single < max(MIN_GAIN_BASES, length * MIN_GAIN / 100):
        return None
    if explained < length * (1 - MAX_UNEXPLAINED / 100):
        return None
    return Chimera(usable[left], usable[right], first + position, 100 * explained / length, 100 * best_single / length)


class ParentPool:
    """The distinct sequences of a run; likely parents are looked up by the eight-base words that they share.

    Args:
        sequences: Normalised bases of each sequence.
        reads: Reads of each sequence.
    """

    def __init__(self, sequences: Sequence[str], reads: Sequence[int]) -> None:
        self.sequences = list(sequences)
        self._reads = np.array(reads, np.int64)
        # Small integers, because 100,000 sequences have tens of millions of words; an eight-base word fits in 16 bits.
        words = [np.unique(_words(sequence)).astype(np.uint16) for sequence in self.sequences]
        owners = np.repeat(np.arange(len(words), dtype=np.int32), [len(w) for w in words])
        all_words = np.concatenate(words) if words else np.empty(0, np.uint16)
        self._owners = owners[np.argsort(all_words, kind="stable")]
        self._starts = np.concatenate(([0], np.cumsum(np.bincount(all_words, minlength=4**_WORD))))

    def likely_parents(self, sequence: str, reads: int) -> list[str]:
        """Return likely parents: per quarter, the three sequences at least twice as abundant that share most words.

        Args:
            sequence: Normalised bases.
            reads: Its reads.

        Returns:
            At most twelve distinct sequences, best of the first quarter first; equal ones in the order of the pool.
        """
        allowed = self._reads >= ABUNDANCE_RATIO * reads
        found: dict[int, None] = {}
        for part in np.array_split(_words(sequence), _PARTS):
            posts = [self._owners[self._starts[w] : self._starts[w + 1]] for w in np.unique(part).tolist()]
            if not posts:
                continue
            shared = np.bincount(np.concatenate(posts), minlength=len(self.sequences)) * allowed
            top = np.argsort(-shared, kind="stable")[:_PER_PART]
            found.update(dict.fromkeys(top[shared[top] > 0].tolist()))
        return [self.sequences[i] for i in found if self.sequences[i] != sequence]


def _words(sequence: str) -> Ints:
    """Return the words of a sequence as base-4 numbers, in their order; words with N are omitted."""
    codes = encode(sequence.encode())
    if len(codes) < _WORD:
        return np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, _WORD)
    known = (windows < OTHER).all(axis=1)
    words: Ints = (windows @ (4 ** np.arange(_WORD)[::-1]))[known]
    return words


def _matches(alignment: Alignment, length: int) -> Bools:
    """Return for each base of the query, on strand +, whether the target has the same base."""
    matches = np.zeros(length, bool)
    position = alignment.query_start - 1
    for count, operation in re.findall(r"(\d+)([=XID])", alignment.cigar):
        if operation != "D":
            matches[position : position + int(count)] = operation == "="
            position += int(count)
    return matches
