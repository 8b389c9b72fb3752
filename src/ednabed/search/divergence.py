"""The divergence of a query from many candidates: mismatches and bases compared, for thousands of pairs per second.

An alignment with its columns (``align``) takes a millisecond per pair; here a pair takes a few microseconds. Two
barcodes mostly differ by substitutions only, so the diagonal on which they share most 8-mers shows how one aligns to
the other, and the bases on it are compared. If shared 8-mers are also on a second diagonal nearby, bases may have been
inserted or deleted: such pairs get the edit distance (Levenshtein, by rapidfuzz) between the ends given by their
outermost shared 8-mers. Pairs that share hardly any 8-mers count as unrelated, or get the score of the best alignment
(Opal, as in ``align``), converted to mismatches. Gaps at the ends are free, as in ``align``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyopal
from rapidfuzz.distance import Levenshtein

from ednabed.base.arrays import Floats, Ints
from ednabed.base.bases import BASES, OTHER, Codes, decode, encode
from ednabed.search.align import MATCH, MISMATCH, score_aligner, too_long
from ednabed.search.diagonals import STRIDE, Diagonals, find_diagonals, position_table

_PADDING = (b"", b"NN", b"N")
# A gap is looked for only if the diagonal has more mismatches than this: a gap alone costs as many.
_WORTH_A_GAP = 2
# With fewer 8-mers than this, the best diagonal may be chance.
_FEW = 4
_GAPPED = -1
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
        self.starts = np.concatenate([[0], np.cumsum(-(-lengths // STRIDE) * STRIDE)])

    @classmethod
    def from_batches(cls, sequences: Iterable[Sequence[bytes]]) -> PackedSequences:
        """Encode normalised sequences, which are given in batches."""
        flats, lengths = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
        for batch in sequences:
            flats.append(encode(b"".join([text + _PADDING[len(text) % STRIDE] for text in batch])))
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
        self._position_of = position_table()
        self._find_diagonals = _fastest()

    def compare(self, query: Codes, rows: Ints, *, thorough: bool = True) -> Divergence:
        """Compare a query with the sequences of some rows.

        Args:
            query: Codes of the query, on the same strand as the rows.
            rows: Numbers of the rows, int64, shape (n,).
            thorough: Align pairs that share hardly any 8-mers, which takes a hundred times as long; False counts them
                as unrelated. These are barcodes of 650 bases that agree in less than 60 %, or of 150 bases that agree
                in less than 75 %.
        """
        lengths = self._sequences.lengths[rows]
        mismatches, compared, overlap, covered = self._compare(query, rows, thorough)
        lacking = np.maximum(MIN_COVERAGE * np.minimum(lengths, len(query)) - covered, 0)
        return Divergence(mismatches, compared, overlap, lacking)

    def _compare(self, query: Codes, rows: Ints, thorough: bool) -> tuple[Floats, Ints, Ints, Ints]:
        """Return mismatches, bases compared, overlap as in ``Divergence``, and bases covered."""
        sequences = self._sequences
        lengths = sequences.lengths[rows]
        diagonals = self._find_diagonals(
            query, sequences.flat, sequences.starts, sequences.lengths, rows, self._position_of
        )
        mismatches, compared, overlap = diagonals.mismatches.astype(np.float64), diagonals.n_bases, diagonals.overlap
        covered = overlap.copy()
        few = diagonals.votes < _FEW
        for i in np.flatnonzero(diagonals.gapped & ~few & (mismatches > _WORTH_A_GAP)).tolist():
            left, right = int(diagonals.left[i]), int(diagonals.right[i])
            first, last = max(0, -left), min(len(query), int(lengths[i]) - right)
            if last <= first:
                continue
            start = sequences.starts[rows[i]]
            other = sequences.flat[start + first + left : start + last + right]
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


def _fastest() -> Callable[..., Diagonals]:
    """Return the compiled ``find_diagonals``, or the one in numpy where numba is not installed."""
    try:
        from ednabed.search.diagonals_compiled import find_diagonals_compiled
    except ImportError:
        return find_diagonals
    return find_diagonals_compiled


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
