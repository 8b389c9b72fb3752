"""Sequences that look like the left part of one parent and the right part of another: PCR chimeras.

The idea is that of UCHIME (Edgar et al. 2011, Bioinformatics 27:2194) with less machinery: a query is aligned to each
parent, and of all pairs of parents and all breakpoints the pair is taken that has the most letters of the query right.
It is told only where the two together explain the query nearly without a rest, and clearly more of it than the best
parent alone. A new species between two known ones is also nearer to one here and to the other there, but no pair of
them explains all of it.

Measured (pools of some 300 sequences of 60 genera, parents among them; chimeras of two of them, half of them of one
genus, breakpoint at 20 to 80 %, none to three errors; 480 real sequences each whose own species is not in the pool, and
whose own sequence is not):

| percent found, by divergence from the nearer parent | below 1.5 | 1.5-3 | 3-10 | above 10 | false | false, kin there |
|---|---|---|---|---|---|---|
| COI, 600-700 letters | 7 | 51 | 77 | 88 | 0 | 0 |
| 18S, 350-450 letters | 8 | 86 | 92 | 84 | 0.2 | 0.4 |
| 12S, 150-200 letters | 0 | 43 | 64 | 51 | 0.2 | 0.4 |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.search.align import Alignment, align

MOST_REST = 1.0
"""Most letters, in percent, that the two parents may leave unexplained."""
LEAST_GAIN = 0.8
"""Fewest letters, in percent of the query, that two parents must have right beyond the best single one
(``mindiv`` of UCHIME)."""
LEAST_LETTERS = 3
"""And fewest such letters, for short sequences (``mindiffs`` of UCHIME)."""
LEAST_COVERAGE = 90.0
"""Share of the query, in percent, that a parent must cover; what lies outside of any of them is not compared. Else two
records that begin at different primers would be two parents."""
MORE_ABUNDANT = 2
"""How many times the reads of the query a parent must have: it was there for more cycles of the PCR."""
# Letters of the words by which likely parents are found, parts of a query that each look for their own, and parents a
# part.
_WORD, _PARTS, _A_PART = 8, 4, 3
_CODES = np.full(256, -1, np.int64)
_CODES[list(b"ACGT")] = range(4)

Words = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chimera:
    """Two parents that explain a sequence.

    Attributes:
        left: Position, in the parents given, of the one that is like the first part.
        right: The same for the second part.
        breakpoint: Letters of the first part.
        identity: Letters that the two have right, in percent of those compared.
        alone: The same of the best single parent.
    """

    left: int
    right: int
    breakpoint: int
    identity: float
    alone: float


def find_chimera(sequence: str, parents: Sequence[str]) -> Chimera | None:
    """Tell which two parents make up a sequence, None where no two do.

    Args:
        sequence: Normalised letters, on the strand of the parents.
        parents: Normalised letters each; those of ``ParentPool.near`` and sequences of a reference.
    """
    usable, rows = [], []
    first, stop = 0, len(sequence)
    for i, alignment in enumerate(align(sequence, parents, strand="plus")):
        if alignment is not None and alignment.query_coverage >= LEAST_COVERAGE:
            usable.append(i)
            rows.append(_right_letters(alignment, len(sequence)))
            first, stop = max(first, alignment.query_start - 1), min(stop, alignment.query_end)
    if len(usable) < 2:
        return None
    # before[p, b]: letters that parent p has right among the first b.
    length = stop - first
    before = np.zeros((len(rows), length + 1), np.int64)
    np.cumsum(np.array(rows)[:, first:stop], axis=1, out=before[:, 1:])
    after = before[:, -1:] - before
    both = before.max(axis=0) + after.max(axis=0)
    # The middle of the breakpoints that are equally good.
    best = np.flatnonzero(both == both.max())
    place = int(best[len(best) // 2])
    one, other = int(before[:, place].argmax()), int(after[:, place].argmax())
    explained, alone = int(both[place]), int(before[:, -1].max())
    if explained - alone < max(LEAST_LETTERS, length * LEAST_GAIN / 100):
        return None
    if explained < length * (1 - MOST_REST / 100):
        return None
    return Chimera(usable[one], usable[other], first + place, 100 * explained / length, 100 * alone / length)


class ParentPool:
    """The distinct sequences of a run; likely parents are looked up by the words of eight letters that they share.

    Args:
        sequences: Normalised letters each.
        reads: Reads of each.
    """

    def __init__(self, sequences: Sequence[str], reads: Sequence[int]) -> None:
        self.sequences = list(sequences)
        self._reads = np.array(reads, np.int64)
        # Small numbers: 100,000 sequences have tens of millions of words. A word of eight letters fits into 16 bits.
        words = [np.unique(_words(sequence)).astype(np.uint16) for sequence in self.sequences]
        owners = np.repeat(np.arange(len(words), dtype=np.int32), [len(w) for w in words])
        every = np.concatenate(words) if words else np.empty(0, np.uint16)
        self._owners = owners[np.argsort(every, kind="stable")]
        self._starts = np.concatenate(([0], np.cumsum(np.bincount(every, minlength=4**_WORD))))

    def near(self, sequence: str, reads: int) -> list[str]:
        """Return likely parents: those at least twice as abundant that share most words with a quarter, three each.

        Args:
            sequence: Normalised letters.
            reads: Its reads.

        Returns:
            At most twelve distinct sequences, best of the first quarter first; equal ones in the order of the pool.
        """
        allowed = self._reads >= MORE_ABUNDANT * reads
        found: dict[int, None] = {}
        for part in np.array_split(_words(sequence), _PARTS):
            posts = [self._owners[self._starts[w] : self._starts[w + 1]] for w in np.unique(part).tolist()]
            if not posts:
                continue
            shared = np.bincount(np.concatenate(posts), minlength=len(self.sequences)) * allowed
            top = np.argsort(-shared, kind="stable")[:_A_PART]
            found.update(dict.fromkeys(top[shared[top] > 0].tolist()))
        return [self.sequences[i] for i in found if self.sequences[i] != sequence]


def _words(sequence: str) -> Words:
    """Return the words of a sequence as numbers of base 4, in their order; those with N are left out."""
    codes = _CODES[np.frombuffer(sequence.encode(), np.uint8)]
    if len(codes) < _WORD:
        return np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, _WORD)
    known = (windows >= 0).all(axis=1)
    words: Words = (windows @ (4 ** np.arange(_WORD)[::-1]))[known]
    return words


def _right_letters(alignment: Alignment, length: int) -> npt.NDArray[np.bool_]:
    """Tell for each letter of the query, on strand +, whether the target has the same."""
    right = np.zeros(length, bool)
    place = alignment.query_start - 1
    for count, operation in re.findall(r"(\d+)([=XID])", alignment.cigar):
        if operation != "D":
            right[place : place + int(count)] = operation == "="
            place += int(count)
    return right
