"""Align a query to candidates, to express the similarity of two sequences in the terms of biologists.

The alignment is an overlap (semi-global) alignment: gaps are free at both ends of both sequences, so a fragment aligns
inside a full barcode, and two barcodes of different primers may dovetail. The scores are those of blastn with a match
of 2: mismatch -3, gap of n bases 5 + 2n; N scores 0 against everything. The scores are computed by Opal (SIMD; M.
Šošić, 2015) through pyopal. The columns are too, but they are checked base by base, because Opal has two faults:

- Its search for columns may stop at the edge of its band. The highest score of any character sets the width of the
  band, so a character with a high score that occurs in no sequence avoids this fault (without it, 1.5 % of alignments
  within COI genera are wrong).
- In the column where it stops, it takes the first cell with the right score, even if this is not at the sequence's end.
  If the check detects this (0.8 %), the columns are found here, by dynamic programming in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pyopal
from scoring_matrices.lib import ScoringMatrix

from ednabed.base.arrays import Ints
from ednabed.base.bases import BASES, OTHER, encode
from ednabed.errors import InputError
from ednabed.sequences import reverse_complement

MATCH, MISMATCH = 2, -3
# A gap of n bases costs GAP_OPEN + (n - 1) * GAP_EXTEND, as Opal counts: blastn's 5 + 2n.
GAP_OPEN, GAP_EXTEND = 7, 2
# Opal takes 12 bytes for each pair of bases within the aligned parts (measured): 1.2 GB.
MAX_CELLS = 100_000_000
# The character that widens Opal's band.
_WIDE_CHARACTER, _WIDE_SCORE = "Z", 127
_SCORES = np.where(np.eye(5, dtype=bool), MATCH, MISMATCH).astype(np.int32)
_SCORES[4, :] = _SCORES[:, 4] = 0
_REMOVE_BASES = dict.fromkeys(map(ord, BASES))
# Opal writes M and X for pairs, I for bases of the target only, D for bases of the query only.
_FROM_OPAL = str.maketrans("XID", "MDI")

Strand = Literal["+", "-"]


@dataclass(frozen=True, slots=True)
class Alignment:
    """An alignment of a query to a target.

    Columns are counted between the free ends. A column with N, even N against N, is a mismatch, as in blastn, because
    an unknown base is no evidence of similarity.

    Attributes:
        strand: ``+``, or ``-`` if the reverse complement of the query was aligned.
        score: See the module; always above 0.
        identity: matches / length, in percent (BLAST's pident).
        length: Number of columns.
        matches: Columns with the same base, one of A, C, G and T.
        mismatches: Columns with two bases that are not a match.
        gap_openings: Runs of columns with a gap in one of the two sequences.
        query_coverage: Share of the query's bases inside the aligned part, in percent.
        target_coverage: The same for the target.
        query_start: First aligned base of the query as given, from 1.
        query_end: Last aligned base of the query, inclusive.
        target_start: Base of the target, from 1, that is aligned to ``query_start``. On strand ``-`` it is larger than
            ``target_end``, as in the output of blastn.
        target_end: Base of the target that is aligned to ``query_end``, inclusive.
        cigar: SAM operations: ``=`` match, ``X`` mismatch, ``I`` bases in the query only, ``D`` bases in the target
            only; from left to right on the target, so on strand ``-`` along the query's reverse complement.
    """

    strand: Strand
    score: int
    identity: float
    length: int
    matches: int
    mismatches: int
    gap_openings: int
    query_coverage: float
    target_coverage: float
    query_start: int
    query_end: int
    target_start: int
    target_end: int
    cigar: str


def align(query: str, targets: Sequence[str], *, strand: Literal["plus", "both"] = "both") -> list[Alignment | None]:
    """Align a query to each target.

    Args:
        query: Normalised sequence (A, C, G, T, N).
        targets: Normalised sequences.
        strand: ``both`` also tries the query's reverse complement, and uses it if it scores higher.

    Returns:
        The alignment for each target, in order. None if nothing aligns (no overlap scores above 0, or a sequence is
        empty) or the pair is ``too_long``. Dissimilar sequences mostly have a small positive score by chance, from a
        few bases at the ends; a low coverage reveals them.

    Raises:
        InputError: A sequence is not normalised.
    """
    query_bases = _checked(query, "the query")
    target_bases = [_checked(target, f"target {i}") for i, target in enumerate(targets)]
    # Opal crashes on an empty query.
    usable = [i for i, t in enumerate(target_bases) if query and t and not too_long(len(query), len(t))]
    results: list[Alignment | None] = [None] * len(target_bases)
    if not usable:
        return results
    database = pyopal.Database([target_bases[i] for i in usable], alphabet=BASES)
    strands: dict[Strand, bytes] = {"+": query_bases}
    if strand == "both":
        strands["-"] = reverse_complement([query_bases])[0]
    scores = {sign: _scores(bases, database) for sign, bases in strands.items()}
    best = np.max(list(scores.values()), axis=0)
    pending = best > 0
    for sign, bases in strands.items():
        chosen = np.flatnonzero(pending & (scores[sign] == best))
        pending[chosen] = False
        numbers = [usable[index] for index in chosen.tolist()]
        found = _columns(bases, [target_bases[i] for i in numbers], best[chosen].tolist())
        for i, columns in zip(numbers, found, strict=True):
            results[i] = _describe(sign, bases, target_bases[i], columns)
    return results


def too_long(query_length: int, target_length: int) -> bool:
    """Return whether aligning a pair would take more than 1.2 GB of memory; ``align`` skips such pairs.

    These are two sequences of more than 10,000 bases each, or one of more than 7,071 bases and a far longer one. The
    aligned part of the longer sequence is less than twice the shorter one, because each further base costs as much as
    a match scores.
    """
    shorter, longer = sorted((query_length, target_length))
    return shorter * min(longer, 2 * shorter) > MAX_CELLS


@lru_cache(maxsize=2)
def _aligner(*, wide: bool) -> pyopal.Aligner:
    alphabet = BASES + (_WIDE_CHARACTER if wide else "")
    scores = np.zeros((len(alphabet), len(alphabet)))
    scores[:5, :5] = _SCORES
    if wide:
        scores[5, 5] = _WIDE_SCORE
    matrix = ScoringMatrix(scores.tolist(), alphabet=alphabet)
    return pyopal.Aligner(scoring_matrix=matrix, gap_open=GAP_OPEN, gap_extend=GAP_EXTEND)


def score_aligner() -> pyopal.Aligner:
    """Return the aligner that computes scores; its alphabet is ``BASES``."""
    return _aligner(wide=False)


def _checked(sequence: str, which: str) -> bytes:
    invalid = sequence.translate(_REMOVE_BASES)
    if invalid:
        raise InputError(
            f"{which} of an alignment contains the character {invalid[0]!r}, expected A, C, G, T and N; "
            "normalise the sequence first (ednabed.sequences.normalise_one)"
        )
    return sequence.encode()


def _scores(query: bytes, database: pyopal.Database) -> Ints:
    found = _aligner(wide=False).align(query, database, mode="score", algorithm="ov")
    return np.array([result.score for result in found], np.int64)


@dataclass(frozen=True, slots=True)
class _Columns:
    """An alignment: start and stop positions (from 0, the stop excluded), runs of operations, and the score."""

    query: tuple[int, int]
    target: tuple[int, int]
    runs: list[tuple[int, str]]
    score: int

    @classmethod
    def from_operations(
        cls, query: bytes, target: bytes, operations: bytes, query_start: int, target_start: int
    ) -> _Columns:
        """Build from operations, where ``M`` is any pair, by comparing the bases that they align."""
        columns = np.frombuffer(operations, np.uint8).copy()
        pairs = columns == ord("M")
        in_query, in_target = columns != ord("D"), columns != ord("I")
        query_stop, target_stop = query_start + int(in_query.sum()), target_start + int(in_target.sum())
        one = encode(query[query_start:query_stop])[pairs[in_query]]
        other = encode(target[target_start:target_stop])[pairs[in_target]]
        columns[pairs] = np.where((one == other) & (one < OTHER), ord("="), ord("X"))
        firsts = np.flatnonzero(np.diff(columns, prepend=0))
        lengths = np.diff(firsts, append=len(columns)).tolist()
        runs = list(zip(lengths, map(chr, columns[firsts].tolist()), strict=True))
        gaps = sum(GAP_OPEN + (n - 1) * GAP_EXTEND for n, operation in runs if operation in "ID")
        score = int(_SCORES[one, other].sum()) - gaps
        return cls((query_start, query_stop), (target_start, target_stop), runs, score)

    def count(self, operation: str) -> int:
        """Return the number of columns with an operation."""
        return sum(n for n, other in self.runs if other == operation)


def _columns(query: bytes, targets: list[bytes], scores: list[int]) -> list[_Columns]:
    """Find the columns of the best alignment of each pair, whose score is known and above 0."""
    if not targets:
        return []
    aligner = _aligner(wide=True)
    database = pyopal.Database(targets, alphabet=aligner.alphabet)
    results = aligner.align(query, database, mode="full", algorithm="ov")
    found = []
    for target, score, result in zip(targets, scores, results, strict=True):
        operations = result.alignment.translate(_FROM_OPAL).encode()
        spans = len(operations) - operations.count(b"D"), len(operations) - operations.count(b"I")
        starts, stops = (result.query_start, result.target_start), (result.query_end + 1, result.target_end + 1)
        columns = None
        if min(starts) == 0 and spans == (stops[0] - starts[0], stops[1] - starts[1]):
            columns = _Columns.from_operations(query, target, operations, *starts)
        if columns is None or columns.score != score:
            columns = _best_columns(query, target, *stops)
        found.append(columns)
    return found


def _best_columns(query: bytes, target: bytes, query_stop: int, target_stop: int) -> _Columns:
    """Find the best columns up to a given end by dynamic programming (Gotoh 1982), one row of the matrix at a time.

    Gaps within a row are a running maximum, because no gap opens at the end of another. The score must be positive;
    ``too_long`` explains why twice the length of the shorter sequence is enough of the longer one.
    """
    first_query, first_target = max(0, query_stop - 2 * target_stop), max(0, target_stop - 2 * query_stop)
    one = encode(query[first_query:query_stop])
    other = encode(target[first_target:target_stop])
    best = np.zeros((len(one) + 1, len(other) + 1), np.int32)
    ramp = GAP_EXTEND * np.arange(len(other) + 1, dtype=np.int32)
    down = np.full(len(other) + 1, -(2**30), np.int32)
    for i, base in enumerate(one.tolist(), start=1):
        before, row = best[i - 1], best[i]
        down = np.maximum(down - GAP_EXTEND, before - GAP_OPEN)
        np.maximum(before[:-1] + _SCORES[base][other], down[1:], out=row[1:])
        across = np.maximum.accumulate(row + ramp)[:-1] - ramp[1:] + (GAP_EXTEND - GAP_OPEN)
        np.maximum(row[1:], across, out=row[1:])
    i, j = len(one), len(other)
    operations = bytearray()
    while i and j:
        if best[i, j] == best[i - 1, j - 1] + _SCORES[one[i - 1], other[j - 1]]:
            operations += b"M"
            i, j = i - 1, j - 1
            continue
        # The shortest gap that gives this score.
        ups = np.flatnonzero(best[:i, j][::-1] - GAP_OPEN - GAP_EXTEND * np.arange(i) == best[i, j])
        if len(ups):
            operations += b"I" * int(ups[0] + 1)
            i -= int(ups[0] + 1)
        else:
            back = np.flatnonzero(best[i, :j][::-1] - GAP_OPEN - GAP_EXTEND * np.arange(j) == best[i, j])
            operations += b"D" * int(back[0] + 1)
            j -= int(back[0] + 1)
    return _Columns.from_operations(query, target, bytes(operations[::-1]), first_query + i, first_target + j)


def _describe(strand: Strand, query: bytes, target: bytes, columns: _Columns) -> Alignment:
    """Return columns as an ``Alignment``; ``query`` is the strand that was aligned."""
    length = sum(n for n, _ in columns.runs)
    matches = columns.count("=")
    (query_start, query_stop), (target_start, target_stop) = columns.query, columns.target
    on_query, on_target = (query_start + 1, query_stop), (target_start + 1, target_stop)
    if strand == "-":
        on_query = len(query) - query_stop + 1, len(query) - query_start
        on_target = target_stop, target_start + 1
    return Alignment(
        strand=strand,
        score=columns.score,
        identity=100 * matches / length,
        length=length,
        matches=matches,
        mismatches=columns.count("X"),
        gap_openings=sum(operation in "ID" for _, operation in columns.runs),
        query_coverage=100 * (query_stop - query_start) / len(query),
        target_coverage=100 * (target_stop - target_start) / len(target),
        query_start=on_query[0],
        query_end=on_query[1],
        target_start=on_target[0],
        target_end=on_target[1],
        cigar="".join(f"{n}{operation}" for n, operation in columns.runs),
    )
