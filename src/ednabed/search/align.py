"""Pairwise alignment of a query against candidates: what says how alike two sequences are in the terms of biologists.

The alignment is an overlap (semi-global) one: gaps are free at both ends of both sequences, so a fragment lies inside a
full barcode and two barcodes of different primers may dovetail. Scores are those of blastn where a match is 2: mismatch
-3, a gap of n letters 5 + 2n; N scores 0 against everything. The scores come from Opal (SIMD; M. Šošić, 2015) through
pyopal, and so do the columns, but those are checked letter by letter, because Opal's search for them has two faults:

- It may stop at the edge of its band. The band is as wide as the best score of any letter asks for, so a letter that
  stands in no sequence, with a high score, closes this one (without it 1.5 % of alignments within COI
  genera are wrong).
- Among the cells of the column where it stops it takes the first with the right score, at the sequence's end or not.
  Where the check finds this (0.8 %), the columns are found here, by dynamic programming in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyopal
from scoring_matrices.lib import ScoringMatrix

from ednabed.errors import InputError
from ednabed.sequences import reverse_complement

LETTERS = "ACGTN"
MATCH, MISMATCH = 2, -3
# A gap of n letters costs GAP_OPEN + (n - 1) * GAP_EXTEND, as Opal counts: blastn's 5 + 2n.
GAP_OPEN, GAP_EXTEND = 7, 2
# Opal takes 12 bytes for each pair of letters within the aligned parts (measured): 1.2 GB.
MOST_CELLS = 100_000_000
# The letter that widens Opal's band.
_WIDE_LETTER, _WIDE_SCORE = "Z", 127
_SCORES = np.where(np.eye(5, dtype=bool), MATCH, MISMATCH).astype(np.int32)
_SCORES[4, :] = _SCORES[:, 4] = 0
_CODES = np.zeros(256, np.uint8)
_CODES[list(LETTERS.encode())] = range(5)
_NO_LETTERS = dict.fromkeys(map(ord, LETTERS))
# Opal writes M and X for pairs, I for letters of the target only, D for letters of the query only.
_OF_OPAL = str.maketrans("XID", "MDI")

Strand = Literal["+", "-"]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a query lies against a target.

    Columns are counted between the free ends. A column with N is a mismatch, also N against N, as in blastn: an unknown
    letter is no evidence of likeness.

    Attributes:
        strand: ``+``, or ``-`` where the reverse complement of the query was aligned.
        score: See the module; always above 0.
        identity: matches / length, in percent (BLAST's pident).
        length: Columns.
        matches: Columns with the same letter of A, C, G and T.
        mismatches: Columns with two letters that are not a match.
        gap_openings: Runs of columns with a gap in one of the two.
        query_coverage: Share of the query's letters inside the aligned part, in percent.
        target_coverage: The same of the target.
        query_start: First aligned letter of the query as given, from 1.
        query_end: Last one, inclusive.
        target_start: Letter of the target, from 1, that lies against ``query_start``. On strand ``-`` it is larger
            than ``target_end``, as blastn prints it.
        target_end: Letter of the target against ``query_end``, inclusive.
        cigar: Operations of SAM: ``=`` match, ``X`` mismatch, ``I`` letters in the query only, ``D`` in the target
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
    """Align a query against each target.

    Args:
        query: Normalised letters (A, C, G, T, N).
        targets: Normalised letters each.
        strand: ``both`` also tries the query's reverse complement, and takes it where it scores higher.

    Returns:
        For each target, in order, its alignment. None where nothing aligns (no overlap scores above 0, or a sequence
        is empty), and where the pair is ``too_long``. Unlike sequences mostly have a small positive score by chance,
        from a few letters at the ends: coverage tells them.

    Raises:
        InputError: A sequence has a letter that is not normalised.
    """
    query_letters = _letters(query, "the query")
    letters = [_letters(target, f"target {i}") for i, target in enumerate(targets)]
    # Opal crashes on an empty query.
    usable = [i for i, t in enumerate(letters) if query and t and not too_long(len(query), len(t))]
    results: list[Alignment | None] = [None] * len(letters)
    if not usable:
        return results
    database = pyopal.Database([letters[i] for i in usable], alphabet=LETTERS)
    own: dict[Strand, bytes] = {"+": query_letters}
    if strand == "both":
        own["-"] = reverse_complement([query_letters])[0]
    scores = {sign: _scores(letters_, database) for sign, letters_ in own.items()}
    best = np.max(list(scores.values()), axis=0)
    left = best > 0
    for sign, turned in own.items():
        chosen = np.flatnonzero(left & (scores[sign] == best))
        left[chosen] = False
        numbers = [usable[place] for place in chosen.tolist()]
        found = _columns(turned, [letters[i] for i in numbers], best[chosen].tolist())
        for i, columns in zip(numbers, found, strict=True):
            results[i] = _describe(sign, turned, letters[i], columns)
    return results


def too_long(query_length: int, target_length: int) -> bool:
    """Tell whether a pair would take more than 1.2 GB of memory to align; ``align`` leaves such pairs out.

    These are two sequences above 10,000 letters each, or one above 7,071 and a far longer one. The aligned part of the
    longer sequence is less than twice the shorter one, because each letter more costs what a match gives.
    """
    shorter, longer = sorted((query_length, target_length))
    return shorter * min(longer, 2 * shorter) > MOST_CELLS


@lru_cache(maxsize=2)
def _aligner(*, wide: bool) -> pyopal.Aligner:
    alphabet = LETTERS + (_WIDE_LETTER if wide else "")
    scores = np.zeros((len(alphabet), len(alphabet)))
    scores[:5, :5] = _SCORES
    if wide:
        scores[5, 5] = _WIDE_SCORE
    matrix = ScoringMatrix(scores.tolist(), alphabet=alphabet)
    return pyopal.Aligner(scoring_matrix=matrix, gap_open=GAP_OPEN, gap_extend=GAP_EXTEND)


def score_aligner() -> pyopal.Aligner:
    """Return the aligner that gives scores; its alphabet is ``LETTERS``."""
    return _aligner(wide=False)


def _letters(sequence: str, which: str) -> bytes:
    alien = sequence.translate(_NO_LETTERS)
    if alien:
        raise InputError(
            f"{which} of an alignment has the letter {alien[0]!r}, wanted A, C, G, T and N; "
            "normalise the sequence first (ednabed.sequences.normalise_one)"
        )
    return sequence.encode()


def _scores(query: bytes, database: pyopal.Database) -> npt.NDArray[np.int64]:
    found = _aligner(wide=False).align(query, database, mode="score", algorithm="ov")
    return np.array([result.score for result in found], np.int64)


@dataclass(frozen=True, slots=True)
class _Columns:
    """An alignment: the places where it begins and stops (from 0, the stop excluded), runs of operations, score."""

    query: tuple[int, int]
    target: tuple[int, int]
    runs: list[tuple[int, str]]
    score: int

    @classmethod
    def of(cls, query: bytes, target: bytes, operations: bytes, query_start: int, target_start: int) -> _Columns:
        """Take operations, ``M`` for any pair, and look at the letters that they put together."""
        columns = np.frombuffer(operations, np.uint8).copy()
        pairs = columns == ord("M")
        in_query, in_target = columns != ord("D"), columns != ord("I")
        query_stop, target_stop = query_start + int(in_query.sum()), target_start + int(in_target.sum())
        one = _CODES[np.frombuffer(query, np.uint8)[query_start:query_stop]][pairs[in_query]]
        other = _CODES[np.frombuffer(target, np.uint8)[target_start:target_stop]][pairs[in_target]]
        columns[pairs] = np.where((one == other) & (one < len(LETTERS) - 1), ord("="), ord("X"))
        firsts = np.flatnonzero(np.diff(columns, prepend=0))
        lengths = np.diff(firsts, append=len(columns)).tolist()
        runs = list(zip(lengths, map(chr, columns[firsts].tolist()), strict=True))
        gaps = sum(GAP_OPEN + (n - 1) * GAP_EXTEND for n, operation in runs if operation in "ID")
        score = int(_SCORES[one, other].sum()) - gaps
        return cls((query_start, query_stop), (target_start, target_stop), runs, score)

    def count(self, operation: str) -> int:
        """Count the columns of one operation."""
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
        operations = result.alignment.translate(_OF_OPAL).encode()
        spans = len(operations) - operations.count(b"D"), len(operations) - operations.count(b"I")
        starts, stops = (result.query_start, result.target_start), (result.query_end + 1, result.target_end + 1)
        columns = None
        if min(starts) == 0 and spans == (stops[0] - starts[0], stops[1] - starts[1]):
            columns = _Columns.of(query, target, operations, *starts)
        if columns is None or columns.score != score:
            columns = _best_columns(query, target, *stops)
        found.append(columns)
    return found


def _best_columns(query: bytes, target: bytes, query_stop: int, target_stop: int) -> _Columns:
    """Find the best columns up to a given end by dynamic programming (Gotoh 1982), a row of the matrix at a time.

    Gaps within a row are a running maximum, because none of them opens at the end of another. The score must be
    positive; see ``too_long`` for why twice the shorter length is enough of the longer.
    """
    first_query, first_target = max(0, query_stop - 2 * target_stop), max(0, target_stop - 2 * query_stop)
    one = _CODES[np.frombuffer(query, np.uint8)[first_query:query_stop]]
    other = _CODES[np.frombuffer(target, np.uint8)[first_target:target_stop]]
    best = np.zeros((len(one) + 1, len(other) + 1), np.int32)
    ramp = GAP_EXTEND * np.arange(len(other) + 1, dtype=np.int32)
    down = np.full(len(other) + 1, -(2**30), np.int32)
    for i, letter in enumerate(one.tolist(), start=1):
        before, row = best[i - 1], best[i]
        down = np.maximum(down - GAP_EXTEND, before - GAP_OPEN)
        np.maximum(before[:-1] + _SCORES[letter][other], down[1:], out=row[1:])
        across = np.maximum.accumulate(row + ramp)[:-1] - ramp[1:] + (GAP_EXTEND - GAP_OPEN)
        np.maximum(row[1:], across, out=row[1:])
    i, j = len(one), len(other)
    operations = bytearray()
    while i and j:
        if best[i, j] == best[i - 1, j - 1] + _SCORES[one[i - 1], other[j - 1]]:
            operations += b"M"
            i, j = i - 1, j - 1
            continue
        # The least gap that gives this score.
        ups = np.flatnonzero(best[:i, j][::-1] - GAP_OPEN - GAP_EXTEND * np.arange(i) == best[i, j])
        if len(ups):
            operations += b"I" * int(ups[0] + 1)
            i -= int(ups[0] + 1)
        else:
            back = np.flatnonzero(best[i, :j][::-1] - GAP_OPEN - GAP_EXTEND * np.arange(j) == best[i, j])
            operations += b"D" * int(back[0] + 1)
            j -= int(back[0] + 1)
    return _Columns.of(query, target, bytes(operations[::-1]), first_query + i, first_target + j)


def _describe(strand: Strand, query: bytes, target: bytes, columns: _Columns) -> Alignment:
    """Write columns in the terms of ``Alignment``; ``query`` is the strand that was aligned."""
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
