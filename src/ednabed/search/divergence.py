"""The divergence of a query from many candidates: mismatches and bases compared, for thousands of pairs per second.

An alignment with its columns (``align``) takes a millisecond per pair; here a pair takes a few microseconds. Two
barcodes mostly differ by substitutions only, so the diagonal on which they share most 8-mers shows how one aligns to
the other, and the bases on it are compared. If shared 8-mers are also on a second diagonal nearby, bases may have been
inserted or deleted: such pairs get the edit distance (Levenshtein, by rapidfuzz) between the ends given by their
outermost shared 8-mers. Pairs that share hardly any 8-mers count as unrelated, or get the score of the best alignment
(Opal, as in ``align``), converted to mismatches. Gaps at the ends are free, as in ``align``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopal
from rapidfuzz.distance import Levenshtein

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.base.bases import BASES, OTHER, Codes, decode, encode
from ednabed.search.align import MATCH, MISMATCH, score_aligner, too_long

K = 8
_CELLS = 4**K
_NONE = -1
# Only every third 8-mer of the rows is looked up.
_STRIDE = 3
_PADDING = (b"", b"NN", b"N")
# Minimum number of 8-mers on another diagonal to look for a gap: they match 11 to 13 bases there.
_MIN_ELSEWHERE = 2
# A gap is looked for only if the diagonal has more mismatches than this: a gap alone costs as many.
_WORTH_A_GAP = 2
# Diagonals to either side among which a gap is looked for.
_BAND = 60
# With fewer 8-mers than this, the best diagonal may be chance.
_FEW = 4
_GAPPED = -1
# Maximum cells of the table of diagonals (8 bytes each): more rows are compared in several parts.
_MAX_CELLS = 8_000_000
MIN_COVERAGE = 0.5
"""Share of the shorter of two sequences that must be aligned to the other."""
_UNRELATED = 0.4
"""Share of mismatches among bases that are missing from it, as in alignments of unrelated sequences: scrambled ones of
12S and COI (``examples/fish_12s.tsv.gz``, ``examples/canopy_coi.fastq.gz``) differ from others in 0.39 to 0.40."""
RELATED = 0.33
"""From this distance on, two sequences are unrelated or of different regions: scrambled ones are at 0.36, and among 200
sequences of the files above at 0.39 or more."""


class PackedSequences:
    """Sequences in memory, with one byte per base.

    Attributes:
        lengths: Number of bases of each sequence, int64, shape (n,).
        flat: Codes (``encode``) of all sequences, each padded with 0 to 2 codes to a multiple of three, uint8.
        starts: Where each sequence begins in ``flat``, and where the last one ends, int64, shape (n + 1,).
    """

    def __init__(self, flat: Codes, lengths: Ints) -> None:
        self.flat = flat
        self.lengths = lengths
        self.starts = np.concatenate([[0], np.cumsum(-(-lengths // _STRIDE) * _STRIDE)])

    @classmethod
    def from_batches(cls, sequences: Iterable[Sequence[bytes]]) -> PackedSequences:
        """Encode normalised sequences, which are given in batches."""
        flats, lengths = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
        for batch in sequences:
            flats.append(encode(b"".join([text + _PADDING[len(text) % _STRIDE] for text in batch])))
            lengths.append(np.fromiter(map(len, batch), np.int64, len(batch)))
        return cls(np.concatenate(flats), np.concatenate(lengths))

    def codes(self, row: int) -> Codes:
        """Return the codes of one sequence."""
        first = self.starts[row]
        return self.flat[first : first + self.lengths[row]]

    def text(self, row: int) -> bytes:
        """Return the bases of one sequence."""
        return decode(self.codes(row))


@dataclass(frozen=True, slots=True)
class Divergence:
    """The divergence of a query from n candidates.

    Attributes:
        mismatches: Bases that differ; with gaps, bases to substitute, insert or delete; if hardly any 8-mers are
            shared, 0.4 of the bases, or the difference between the alignment score and a perfect score, in units of a
            mismatch. float64, shape (n,).
        n_bases: Bases compared: those of the query that are aligned to the candidate, without N. int64, shape (n,).
        overlap: The same with N, int64, shape (n,); -1 if there may be gaps, because only ``align`` can count then.
        lacking: Bases missing until half of the shorter sequence is aligned to the other, float64, shape (n,).
    """

    mismatches: Floats
    n_bases: Ints
    overlap: Ints
    lacking: Floats

    @property
    def distance(self) -> Floats:
        """Expected share of differing bases, (mismatches + 1 + 0.4 lacking) / (n_bases + 2 + lacking), shape (n,).

        This is Laplace's rule of succession: the posterior mean of the share under a uniform prior. It shows that no
        mismatch in 100 bases is weaker evidence than none in 600, which a percentage of identity hides. And if only the
        ends of two sequences align to each other, they are similar by chance or because of a primer site.
        """
        return np.asarray(
            (self.mismatches + 1 + _UNRELATED * self.lacking) / (self.n_bases + 2 + self.lacking), np.float64
        )


class Comparer:
    """Compares queries with sequences in memory. It is not thread-safe, because it reuses an internal table.

    Args:
        sequences: The sequences that queries are compared with.
    """

    def __init__(self, sequences: PackedSequences) -> None:
        self._sequences = sequences
        self._position_of = np.full(_CELLS, _NONE, np.int32)

    def compare(self, query: Codes, rows: Ints, *, thorough: bool = True) -> Divergence:
        """Compare a query with the sequences of some rows.

        Args:
            query: Codes of the query, on the same strand as the rows.
            rows: Numbers of the rows, int64, shape (n,).
            thorough: Align pairs that share hardly any 8-mers, which takes a hundred times as long; False counts them
                as unrelated. These are barcodes of 650 bases that agree in less than 60 %, or of 150 bases that agree
                in less than 75 %.
        """
        mismatches = np.zeros(len(rows))
        compared, overlap = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        covered = np.zeros(len(rows), np.int64)
        lengths = self._sequences.lengths[rows]
        for part in _parts(lengths, len(query)):
            mismatches[part], compared[part], overlap[part], covered[part] = self._compare(query, rows[part], thorough)
        lacking = np.maximum(MIN_COVERAGE * np.minimum(lengths, len(query)) - covered, 0)
        return Divergence(mismatches, compared, overlap, lacking)

    def _compare(self, query: Codes, rows: Ints, thorough: bool) -> tuple[Floats, Ints, Ints, Ints]:
        """Return mismatches, bases compared, overlap as in ``Divergence``, and bases covered."""
        sequences = self._sequences
        lengths = sequences.lengths[rows]
        bounds = zip(sequences.starts[rows].tolist(), sequences.starts[rows + 1].tolist(), strict=True)
        codes = np.concatenate([sequences.flat[first:last] for first, last in bounds])
        sizes = sequences.starts[rows + 1] - sequences.starts[rows]
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
                mismatches[i], compared[i] = edits, last - first - np.count_nonzero(query[first:last] == OTHER)
                covered[i], overlap[i] = last - first, _GAPPED
        # How these pairs align is unknown, so all bases of the shorter sequence are counted.
        compared[few] = covered[few] = np.minimum(len(query), lengths[few])
        mismatches[few] = _UNRELATED * compared[few]
        overlap[few] = _GAPPED
        if thorough:
            unsure = np.flatnonzero(few & (lengths > 0))
            for i, score in zip(unsure.tolist(), _scores(query, sequences, rows[unsure]), strict=True):
                if score is not None:
                    mismatches[i] = max((MATCH * compared[i] - score) / (MATCH - MISMATCH), 0.0)
        return mismatches, compared, overlap, covered

    def _diagonals(self, query: Codes, codes: Codes, firsts: Ints, lengths: Ints) -> _Diagonals:
        """Find the diagonals of the 8-mers that a query shares with each row.

        Only every third 8-mer of the rows is looked up: this finds enough of them, in a third of the time.

        Args:
            query: Codes of the query.
            codes: Concatenated codes of the rows.
            firsts: Where each row begins, multiples of three.
            lengths: Number of bases of each row.
        """
        n = len(lengths)
        all_rows = np.arange(n)
        query_kmers = _kmers(query, 1)
        # The first of equal 8-mers is kept: the last one written wins in numpy, so they are written backwards.
        self._position_of[query_kmers[::-1]] = np.arange(len(query_kmers) - 1, -1, -1, dtype=np.int32)
        found = self._position_of[_kmers(codes, _STRIDE)]
        self._position_of[query_kmers] = _NONE
        hits = np.flatnonzero(found >= 0)
        row = np.repeat(all_rows, np.diff(firsts, append=len(codes)) // _STRIDE)[hits]
        position = hits * _STRIDE - firsts[row]
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
        nearby = (np.abs(offset) <= _BAND) & (table[cell] >= _MIN_ELSEWHERE)
        gapped = np.zeros(n, bool)
        gapped[row[nearby & (offset != 0)]] = True
        row, diagonal = row[nearby], diagonal[nearby]
        left, right = best.copy(), best.copy()
        # Hits are in order of row and position, so the last one written is the last hit, or backwards the first.
        right[row], left[row[::-1]] = diagonal, diagonal[::-1]
        return _Diagonals(best, votes, gapped, left, right)


@dataclass(frozen=True, slots=True)
class _Diagonals:
    """How each of n rows aligns to a query. A diagonal is the position in the row minus the position in the query.

    Attributes:
        best: The diagonal with the most shared 8-mers, int64, shape (n,); 0 if there are none.
        votes: Number of shared 8-mers on the best diagonal.
        gapped: Whether there are also shared 8-mers on another diagonal nearby.
        left: The nearby diagonal of the first shared 8-mers.
        right: The nearby diagonal of the last shared 8-mers.
    """

    best: Ints
    votes: Ints
    gapped: Bools
    left: Ints
    right: Ints


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


def _edits(one: Codes, other: Codes, cutoff: int) -> int:
    """Return the edit distance of two pieces, where an N costs nothing; any value above ``cutoff`` if it is larger."""
    if max(one.max(), other.max()) < OTHER:
        return int(Levenshtein.distance(one.tobytes(), other.tobytes(), score_cutoff=cutoff))
    # An N must not match an N, or a path through them would be as good as one through bases.
    texts = one.tolist(), np.where(other == OTHER, OTHER + 1, other).tolist()
    edits = 0
    for step in Levenshtein.editops(*texts):
        from_n = step.tag != "insert" and one[step.src_pos] == OTHER
        to_n = step.tag != "delete" and other[step.dest_pos] == OTHER
        edits += not (from_n or to_n)
    return edits


def _kmers(codes: Codes, stride: int) -> npt.NDArray[np.uint16]:
    """Return every ``stride``-th 8-mer, uint16; an N counts as A, so some of these match by chance."""
    last = len(codes) - K + 1
    kmers = np.zeros(max(-(-last // stride), 0), np.uint16)
    for i in range(K if last > 0 else 0):
        kmers <<= 2
        kmers |= codes[i : last + i : stride] & 3
    return kmers


def _on_diagonal(query: Codes, codes: Codes, firsts: Ints, lengths: Ints, diagonal: Ints) -> tuple[Floats, Ints, Ints]:
    """Count the differing bases, the compared bases, and the overlap with N, of each row on its diagonal."""
    first = np.maximum(0, -diagonal)
    last = np.minimum(len(query), lengths - diagonal)
    overlap = last - first
    mismatches, compared = np.zeros(len(lengths)), np.zeros(len(lengths), np.int64)
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


def _scores(query: Codes, sequences: PackedSequences, rows: Ints) -> list[int | None]:
    """Return the score of the best alignment with each row; None if the pair is too long to align."""
    text = decode(query)
    usable = [i for i, row in enumerate(rows.tolist()) if not too_long(len(text), int(sequences.lengths[row]))]
    scores: list[int | None] = [None] * len(rows)
    if usable and text:
        database: Any = pyopal.Database([sequences.text(int(rows[i])) for i in usable], alphabet=BASES)
        found = score_aligner().align(text, database, mode="score", algorithm="ov")
        for i, result in zip(usable, found, strict=True):
            scores[i] = int(result.score)
    return scores
