"""How far a query is from each of many candidates: mismatches, and letters compared, at thousands of pairs a second.

An alignment with its columns (``align``) takes a millisecond a pair; here a pair takes some microseconds. Two barcodes
mostly differ by letters alone, so the diagonal on which they share most 8-mers says where one lies on the other, and
the letters there are compared. Where 8-mers in common lie on a second diagonal nearby, letters may have been inserted
or lost: such pairs get the edit distance (Levenshtein, by rapidfuzz) between the ends that their outermost 8-mers in
common tell. Pairs that hardly share 8-mers count as unrelated, or get the score of the best alignment (Opal, as in
``align``), told in mismatches. Gaps at the ends are free, as in ``align``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopal
from rapidfuzz.distance import Levenshtein

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
_FILLING = (b"", b"NN", b"N")
# 8-mers on one other diagonal from which on a gap is looked for: a stretch of 11 to 13 letters that fits there.
_ELSEWHERE = 2
# Mismatches on the diagonal above which it is looked for: a gap alone costs as many.
_WORTH_A_GAP = 2
# Diagonals to either side among which a gap is looked for.
_BAND = 60
# 8-mers on the best diagonal below which it may be chance.
_FEW = 4
_GAPPED = -1
# Cells of the table of diagonals (8 bytes each): more rows are compared part by part.
_MOST_CELLS = 8_000_000
LEAST_COVER = 0.5
"""Share of the shorter of two sequences that must lie against the other."""
# Of letters that lack to it, so many mismatch, as those of unrelated sequences do where they are aligned.
_UNRELATED = 0.4
RELATED = 0.33
"""Distance from which on two sequences are unrelated, or of two regions: scrambled ones are at 0.36."""

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
        lengths: Letters of each sequence, int64, shape (n,).
        flat: Codes (``encode``) of all sequences, each followed by 0 to 2 codes that fill it up to a multiple of three,
            uint8.
        starts: Where each begins in ``flat``, and where the last one ends, int64, shape (n + 1,).
    """

    def __init__(self, flat: Codes, lengths: Ints) -> None:
        self.flat = flat
        self.lengths = lengths
        self.starts = np.concatenate([[0], np.cumsum(-(-lengths // _STRIDE) * _STRIDE)])

    @classmethod
    def of(cls, sequences: Iterable[Sequence[bytes]]) -> Letters:
        """Take normalised sequences, some at a time."""
        flats, lengths = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
        for some in sequences:
            flats.append(encode(b"".join([text + _FILLING[len(text) % _STRIDE] for text in some])))
            lengths.append(np.fromiter(map(len, some), np.int64, len(some)))
        return cls(np.concatenate(flats), np.concatenate(lengths))

    def codes(self, row: int) -> Codes:
        """Return the codes of one sequence."""
        first = self.starts[row]
        return self.flat[first : first + self.lengths[row]]

    def text(self, row: int) -> bytes:
        """Return the letters of one sequence."""
        return decode(self.codes(row))


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a query is from some candidates.

    Attributes:
        mismatches: Letters that differ; where there are gaps, letters to change, insert or take away; where hardly any
            8-mer is shared, 0.4 of the letters, or what the score of the alignment lacks of a perfect one, in units of
            a mismatch. float64, shape (n,).
        letters: Letters compared: those of the query that lie against the candidate, without N. int64, shape (n,).
        overlap: The same with N, int64, shape (n,); where there may be gaps, -1: only ``align`` knows.
        lacking: Letters that the two lack to half of the shorter one lying against the other, float64, shape (n,).
    """

    mismatches: npt.NDArray[np.float64]
    letters: Ints
    overlap: Ints
    lacking: npt.NDArray[np.float64]

    @property
    def distance(self) -> npt.NDArray[np.float64]:
        """Expected share of differing letters, (mismatches + 1 + 0.4 lacking) / (letters + 2 + lacking), shape (n,).

        Laplace's rule of succession: the mean of what the share may be after these letters, when nothing was known
        before. So no mismatch in 100 letters says less than none in 600, which a percentage of identity hides. And two
        sequences of which only the ends lie against each other are near by chance, or by a primer site.
        """
        return np.asarray(
            (self.mismatches + 1 + _UNRELATED * self.lacking) / (self.letters + 2 + self.lacking), np.float64
        )


class Comparer:
    """Compares queries with sequences in memory. Not for two threads at once: it has a table of its own.

    Args:
        letters: What queries are compared with.
    """

    def __init__(self, letters: Letters) -> None:
        self._letters = letters
        self._place = np.full(_CELLS, _NONE, np.int32)

    def compare(self, query: Codes, rows: Ints, *, thorough: bool = True) -> Divergence:
        """Compare a query with the sequences of some rows.

        Args:
            query: Its codes, on the strand that the rows are on.
            rows: int64, shape (n,).
            thorough: Align pairs that hardly share 8-mers, which takes a hundred times as long; False counts them as
                unrelated. Barcodes of 650 letters are such that agree in less than 60 %, of 150 letters in less than
                75 %.
        """
        mismatches = np.zeros(len(rows))
        letters, overlap = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        covered = np.zeros(len(rows), np.int64)
        lengths = self._letters.lengths[rows]
        for part in _parts(lengths, len(query)):
            mismatches[part], letters[part], overlap[part], covered[part] = self._compare(query, rows[part], thorough)
        lacking = np.maximum(LEAST_COVER * np.minimum(lengths, len(query)) - covered, 0)
        return Divergence(mismatches, letters, overlap, lacking)

    def _compare(self, query: Codes, rows: Ints, thorough: bool) -> tuple[npt.NDArray[np.float64], Ints, Ints, Ints]:
        """Return mismatches, letters compared, overlap as ``Divergence`` tells it, and letters covered."""
        letters = self._letters
        lengths = letters.lengths[rows]
        bounds = zip(letters.starts[rows].tolist(), letters.starts[rows + 1].tolist(), strict=True)
        codes = np.concatenate([letters.flat[first:last] for first, last in bounds])
        sizes = letters.starts[rows + 1] - letters.starts[rows]
        firsts = np.cumsum(sizes) - sizes
        diagonals = self._diagonals(query, codes, firsts, lengths)
        mismatches, compared, overlap = _on_diagonal(query, codes, firsts, lengths, diagonals.best)
        covered = overlap.copy()
        few = diagonals.votes < _FEW
        for i in np.flatnonzero(diagonals.gapped & ~few & (mismatches > _WORTH_A_GAP)).tolist():
            left, right = int(diagonals.left[i]), int(diagonals.right[i])
            first, last = max(0, -left), min(len(query), int(lengths[i]) - right)
            if last <= first:
                continue
            other = codes[firsts[i] + first + left : firsts[i] + last + right]
            edits = _edits(query[first:last], other, int(mismatches[i]))
            if edits < mismatches[i]:
                mismatches[i], compared[i] = edits, last - first - np.count_nonzero(query[first:last] == _OTHER)
                covered[i], overlap[i] = last - first, _GAPPED
        # Where they lie on each other is not known: all letters of the shorter one are counted.
        compared[few] = covered[few] = np.minimum(len(query), lengths[few])
        mismatches[few] = _UNRELATED * compared[few]
        overlap[few] = _GAPPED
        if thorough:
            unsure = np.flatnonzero(few & (lengths > 0))
            for i, score in zip(unsure.tolist(), _scores(query, letters, rows[unsure]), strict=True):
                if score is not None:
                    mismatches[i] = max((MATCH * compared[i] - score) / (MATCH - MISMATCH), 0.0)
        return mismatches, compared, overlap, covered

    def _diagonals(self, query: Codes, codes: Codes, firsts: Ints, lengths: Ints) -> _Diagonals:
        """Find on which diagonals the 8-mers lie that a query and each row have in common.

        Every third 8-mer of the rows is looked up: that leaves enough of them, in a third of the time.

        Args:
            query: Codes of the query.
            codes: Codes of the rows, one after the other.
            firsts: Where each row begins, multiples of three.
            lengths: Letters of each row.
        """
        n = len(lengths)
        every = np.arange(n)
        own = _kmers(query, 1)
        # The first of equal 8-mers is kept: numpy writes the last one, so they are written backwards.
        self._place[own[::-1]] = np.arange(len(own) - 1, -1, -1, dtype=np.int32)
        found = self._place[_kmers(codes, _STRIDE)]
        self._place[own] = _NONE
        hits = np.flatnonzero(found >= 0)
        row = np.repeat(every, np.diff(firsts, append=len(codes)) // _STRIDE)[hits]
        place = hits * _STRIDE - firsts[row]
        # Some begin in one row and end in the next.
        inside = place + K <= lengths[row]
        row, diagonal = row[inside], (place - found[hits])[inside]
        width = int(lengths.max()) + len(query) + 1
        cell = row * width + diagonal + len(query)
        table = np.bincount(cell, minlength=n * width)
        best = table.reshape(n, width).argmax(axis=1)
        votes = table[every * width + best]
        # Rows that share no 8-mer lie on no diagonal.
        best = np.where(votes > 0, best - len(query), 0)
        beside = diagonal - best[row]
        near = (np.abs(beside) <= _BAND) & (table[cell] >= _ELSEWHERE)
        gapped = np.zeros(n, bool)
        gapped[row[near & (beside != 0)]] = True
        row, diagonal = row[near], diagonal[near]
        left, right = best.copy(), best.copy()
        # Hits stand in order of rows and places: the last one written is the last one, or backwards the first one.
        right[row], left[row[::-1]] = diagonal, diagonal[::-1]
        return _Diagonals(best, votes, gapped, left, right)


@dataclass(frozen=True, slots=True)
class _Diagonals:
    """Where each of n rows lies against a query. A diagonal is the place in the row minus the place in the query.

    Attributes:
        best: The one with most 8-mers in common, int64, shape (n,); 0 where there is none.
        votes: Their number.
        gapped: Whether some lie on another one nearby.
        left: The diagonal, nearby, of the first 8-mers in common.
        right: That of the last.
    """

    best: Ints
    votes: Ints
    gapped: npt.NDArray[np.bool_]
    left: Ints
    right: Ints


def _parts(lengths: Ints, query_length: int) -> Iterator[Ints]:
    """Share out rows so that the table of diagonals of each part is of bounded size, with long rows apart."""
    if not len(lengths):
        return
    if len(lengths) * (int(lengths.max()) + query_length) <= _MOST_CELLS:
        yield np.arange(len(lengths))
        return
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        # Rows stand in order of length, so the last one taken is the longest.
        cells = np.arange(1, len(order) - first + 1) * (lengths[order[first:]] + query_length)
        last = first + max(int(np.searchsorted(cells, _MOST_CELLS, side="right")), 1)
        yield order[first:last]
        first = last


def _edits(one: Codes, other: Codes, most: int) -> int:
    """Return the edit distance of two pieces, where an N costs nothing; anything above ``most`` where it is more."""
    if max(one.max(), other.max()) < _OTHER:
        return int(Levenshtein.distance(one.tobytes(), other.tobytes(), score_cutoff=most))
    # An N must not fit an N, or a path through them would be as good as one through letters.
    texts = one.tolist(), np.where(other == _OTHER, _OTHER + 1, other).tolist()
    edits = 0
    for step in Levenshtein.editops(*texts):
        from_n = step.tag != "insert" and one[step.src_pos] == _OTHER
        to_n = step.tag != "delete" and other[step.dest_pos] == _OTHER
        edits += not (from_n or to_n)
    return edits


def _kmers(codes: Codes, stride: int) -> npt.NDArray[np.uint16]:
    """Return every ``stride``-th 8-mer, uint16; an N counts as A, which makes some of them chance."""
    last = len(codes) - K + 1
    kmers = np.zeros(max(-(-last // stride), 0), np.uint16)
    for i in range(K if last > 0 else 0):
        kmers <<= 2
        kmers |= codes[i : last + i : stride] & 3
    return kmers


def _on_diagonal(
    query: Codes, codes: Codes, firsts: Ints, lengths: Ints, diagonal: Ints
) -> tuple[npt.NDArray[np.float64], Ints, Ints]:
    """Count letters that differ, letters compared, and these with N, where each row lies on its diagonal."""
    first = np.maximum(0, -diagonal)
    last = np.minimum(len(query), lengths - diagonal)
    overlap = last - first
    mismatches, compared = np.zeros(len(lengths)), np.zeros(len(lengths), np.int64)
    # reduceat takes no row of nothing.
    some = np.flatnonzero(overlap > 0)
    if not len(some):
        return mismatches, compared, np.zeros(len(lengths), np.int64)
    places = zip(first[some].tolist(), last[some].tolist(), (firsts + diagonal)[some].tolist(), strict=True)
    pairs = [(query[a:b], codes[a + shift : b + shift]) for a, b, shift in places]
    one = np.concatenate([pair[0] for pair in pairs])
    other = np.concatenate([pair[1] for pair in pairs])
    begins = np.cumsum(overlap[some]) - overlap[some]
    differ = one != other
    if max(one.max(), other.max()) < _OTHER:
        compared[some] = overlap[some]
    else:
        known = (one < _OTHER) & (other < _OTHER)
        compared[some] = np.add.reduceat(known, begins, dtype=np.int64)
        differ &= known
    mismatches[some] = np.add.reduceat(differ, begins, dtype=np.int64)
    return mismatches, compared, np.maximum(overlap, 0)


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
