"""How far a query is from each of many candidates: mismatches, and letters compared, at thousands of pairs a second.

An alignment with its columns (``align``) takes a millisecond a pair; here a pair takes some microseconds. Two barcodes
mostly differ by letters alone, so the diagonal on which they share most 8-mers says where one lies on the other, and
the letters there are compared. Where 8-mers in common lie on a second diagonal nearby, letters may have been inserted
or lost: such pairs, and those that hardly share 8-mers, get the score of the best alignment (Opal, as in ``align``),
which is told in mismatches. Gaps at the ends are free, as in ``align``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopal

from ednabed.search.align import LETTERS, MATCH, MISMATCH, score_aligner, too_long

K = 8
_CELLS = 4**K
_NONE = -1
_OTHER = 4
_CODES = np.full(256, _OTHER, np.uint8)
for _i, _letter in enumerate(b"ACGT"):
    _CODES[_letter] = _i
_BACK = np.frombuffer(b"ACGTN", np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)
# Of the rows' 8-mers one in so many is looked up.
_STRIDE = 3
# 8-mers on one other diagonal from which on a gap is looked for: a stretch of 11 to 13 letters that fits there.
_ELSEWHERE = 2
# Diagonals to either side among which a gap is looked for.
_BAND = 60
# 8-mers on the best diagonal below which it may be chance.
_FEW = 4
_GAPPED = -1

Codes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def encode(letters: bytes) -> Codes:
    """Return letters as codes: A, C, G, T are 0 to 3, anything else is 4. uint8, shape (length,)."""
    return _CODES[np.frombuffer(letters, np.uint8)]


def decode(codes: Codes) -> bytes:
    """Return the letters of codes."""
    return _BACK[codes].tobytes()


def turn(codes: Codes) -> Codes:
    """Return the reverse complement of codes."""
    return _COMPLEMENT[codes[::-1]]


class Letters:
    """Sequences in memory, a byte a letter.

    Attributes:
        flat: Codes (``encode``) of all sequences, one after the other, uint8.
        starts: Where each begins, int64, shape (n + 1,).
    """

    def __init__(self, flat: Codes, starts: Ints) -> None:
        self.flat = flat
        self.starts = starts
        self.lengths = np.diff(starts)

    @classmethod
    def of(cls, sequences: Sequence[bytes]) -> Letters:
        """Take normalised sequences."""
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        return cls(encode(b"".join(sequences)), np.concatenate([[0], np.cumsum(lengths)]))

    def codes(self, row: int) -> Codes:
        """Return the codes of one sequence."""
        return self.flat[self.starts[row] : self.starts[row + 1]]

    def text(self, row: int) -> bytes:
        """Return the letters of one sequence."""
        return decode(self.codes(row))


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a query is from some candidates.

    Attributes:
        mismatches: Letters that differ; where there are gaps, what the score of the alignment lacks of a perfect one,
            in units of a mismatch. float64, shape (n,).
        letters: Letters compared: those of the query that lie against the candidate, without N. int64, shape (n,).
        overlap: The same with N, int64, shape (n,); -1 where there may be gaps, so that only ``align`` knows.
    """

    mismatches: npt.NDArray[np.float64]
    letters: Ints
    overlap: Ints

    @property
    def distance(self) -> npt.NDArray[np.float64]:
        """Expected share of differing letters, (mismatches + 1) / (letters + 2), shape (n,).

        Laplace's rule of succession: the mean of what the share may be after these letters, when nothing was known
        before. So no mismatch in 100 letters says less than none in 600, which a percentage of identity hides.
        """
        return np.asarray((self.mismatches + 1) / (self.letters + 2), np.float64)


class Comparer:
    """Compares queries with sequences in memory. Not for two threads at once: it has a table of its own.

    Args:
        letters: What queries are compared with.
    """

    def __init__(self, letters: Letters) -> None:
        self._letters = letters
        self._place = np.full(_CELLS, _NONE, np.int32)

    def compare(self, query: Codes, rows: Ints) -> Divergence:
        """Compare a query with the sequences of some rows.

        Args:
            query: Its codes, on the strand that the rows are on.
            rows: int64, shape (n,).
        """
        if not len(rows):
            return Divergence(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
        letters = self._letters
        lengths = letters.lengths[rows]
        codes = np.concatenate([letters.codes(row) for row in rows.tolist()])
        diagonal, votes, elsewhere = self._diagonals(query, codes, lengths)
        # Rows that share no 8-mer lie on no diagonal.
        diagonal = np.where(votes > 0, diagonal, 0)
        mismatches, compared, overlap = _on_diagonal(query, codes, lengths, diagonal)
        unsure = np.flatnonzero((elsewhere >= _ELSEWHERE) | (votes < _FEW))
        if len(unsure):
            scores = _scores(query, letters, rows[unsure])
            for i, score in zip(unsure.tolist(), scores, strict=True):
                if score is None:
                    continue
                # Where the diagonal may be chance, the score says at least how many letters there must be.
                most = int(min(len(query), lengths[i]))
                least = -(-score // MATCH)
                aligned = max(int(compared[i]), least) if votes[i] >= _FEW else most
                lacking = (MATCH * aligned - score) / (MATCH - MISMATCH)
                if votes[i] < _FEW or lacking < mismatches[i]:
                    mismatches[i], compared[i], overlap[i] = max(lacking, 0.0), aligned, _GAPPED
        return Divergence(mismatches, compared, overlap)

    def _diagonals(self, query: Codes, codes: Codes, lengths: Ints) -> tuple[Ints, Ints, Ints]:
        """Return for each row the diagonal with most 8-mers in common, their number, and that on the next best one.

        A diagonal is the place in the row minus the place in the query. Every third 8-mer of the rows is looked up:
        that leaves enough of them, in a third of the time.

        Args:
            query: Codes of the query.
            codes: Codes of the rows, one after the other.
            lengths: Letters of each row.
        """
        n = len(lengths)
        own = _kmers(query, 1)
        # The first of equal 8-mers is kept: numpy writes the last one, so they are written backwards.
        self._place[own[::-1]] = np.arange(len(own) - 1, -1, -1, dtype=np.int32)
        found = self._place[_kmers(codes, _STRIDE)]
        self._place[own] = _NONE
        hits = np.flatnonzero(found >= 0)
        firsts = np.cumsum(lengths) - lengths
        places = hits * _STRIDE
        row = np.searchsorted(firsts, places, side="right") - 1
        width = int(lengths.max()) + len(query)
        cell = row * width + places - firsts[row] - found[hits] + len(query)
        votes = np.bincount(cell, minlength=n * width)[: n * width].reshape(n, width)
        best = votes.argmax(axis=1)
        every = np.arange(n)
        most = votes[every, best]
        near = best[:, None] + np.arange(-_BAND, _BAND + 1)
        beside = np.where((near >= 0) & (near < width), votes[every[:, None], np.clip(near, 0, width - 1)], 0)
        beside[:, _BAND] = 0
        return best - len(query), most, beside.max(axis=1)


def _kmers(codes: Codes, stride: int) -> npt.NDArray[np.uint16]:
    """Return every ``stride``-th 8-mer, uint16; an N counts as A, which makes some of them chance."""
    last = len(codes) - K + 1
    kmers = np.zeros(max(-(-last // stride), 0), np.uint16)
    for i in range(K if last > 0 else 0):
        kmers <<= 2
        kmers |= codes[i : last + i : stride] & 3
    return kmers


def _on_diagonal(
    query: Codes, codes: Codes, lengths: Ints, diagonal: Ints
) -> tuple[npt.NDArray[np.float64], Ints, Ints]:
    """Count letters that differ, letters compared, and these with N, where each row lies on its diagonal."""
    first = np.maximum(0, -diagonal)
    last = np.minimum(len(query), lengths - diagonal)
    # A row of nothing would fool reduceat; no row that shares an 8-mer with the query is one.
    places = zip(first.tolist(), last.tolist(), (np.cumsum(lengths) - lengths + diagonal).tolist(), strict=True)
    pairs = [(query[a:b], codes[a + shift : b + shift]) for a, b, shift in places]
    one = np.concatenate([pair[0] for pair in pairs])
    other = np.concatenate([pair[1] for pair in pairs])
    overlap = last - first
    begins = np.cumsum(overlap) - overlap
    differ = one != other
    if max(one.max(), other.max()) < _OTHER:
        return np.add.reduceat(differ, begins, dtype=np.int64).astype(np.float64), overlap.copy(), overlap
    known = (one < _OTHER) & (other < _OTHER)
    compared = np.add.reduceat(known, begins, dtype=np.int64)
    return np.add.reduceat(differ & known, begins, dtype=np.int64).astype(np.float64), compared, overlap


def _scores(query: Codes, letters: Letters, rows: Ints) -> list[int | None]:
    """Return the score of the best alignment with each row; None where the pair is too long to align."""
    text = decode(query)
    usable = [i for i, row in enumerate(rows.tolist()) if not too_long(len(text), int(letters.lengths[row]))]
    scores: list[int | None] = [None] * len(rows)
    if usable and text:
        database: Any = pyopal.Database([letters.text(int(rows[i])) for i in usable], alphabet=LETTERS)
        found = score_aligner().align(text, database, mode="score", algorithm="ov")
        for i, result in zip(usable, found, strict=True):
            scores[i] = int(result.score)
    return scores
