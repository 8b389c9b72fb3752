"""Canonical k-mers, contiguous and spaced, as columns of one long table.

A pattern is a string of 1 and 0, such as ``1111111`` or ``11011011011``: the bases at its ones form the k-mer, and the
bases at its zeros may be anything (spaced seeds: Ma, Tromp and Li 2002, doi:10.1093/bioinformatics/18.3.440). Patterns
are palindromic, so the reverse complement of a sequence has the reverse complements of its k-mers; a k-mer and its
reverse complement share a column, so both strands of a sequence have the same counts. k-mers that span an N are
omitted, even if the N is at a zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Ints
from ednabed.base.bases import OTHER, encode
from ednabed.errors import UsageError
from ednabed.models.base import Tokens

MAX_BASES = 9
"""Maximum bases of a k-mer: 131,072 columns."""
MAX_SPAN = 32
_PATTERN = re.compile(r"1(?:[01]*1)?")
# Bases that are processed together: the intermediate arrays stay in the second-level cache.
_BATCH_BASES = 65_536


class SpacedKmers:
    """Turn sequences into columns, one for each position at which a pattern fits.

    Args:
        patterns: Palindromic strings of 1 and 0 that begin and end with 1, with up to 9 ones and 32 characters; no
            duplicates.

    Attributes:
        patterns: As given.
        columns: Number of columns: k-mers of all patterns, where a k-mer and its reverse complement count as one.

    Raises:
        UsageError: A pattern is invalid.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        check_patterns(patterns)
        self.patterns = tuple(patterns)
        self._offsets = [[i for i, character in enumerate(pattern) if character == "1"] for pattern in patterns]
        tables = []
        first = 0
        for offsets in self._offsets:
            table, count = _canonical(len(offsets))
            tables.append((table + first).astype(np.int32))
            first += count
        self._tables = tables
        self.columns = first

    @property
    def shortest(self) -> int:
        """Number of consecutive bases without an N that a sequence needs for at least one pattern to fit."""
        return min(map(len, self.patterns))

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Return the columns of each sequence, by position and then by pattern, int32."""
        parts: list[npt.NDArray[np.int32]] = []
        counts: list[Ints] = []
        first = 0
        while first < len(sequences):
            last, n_bases = first, 0
            while last < len(sequences) and (last == first or n_bases + len(sequences[last]) <= _BATCH_BASES):
                n_bases += len(sequences[last]) + 1
                last += 1
            ids, lengths = self._columns_of(sequences[first:last])
            parts.append(ids)
            counts.append(lengths)
            first = last
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))])
        return Tokens(np.concatenate([np.zeros(0, np.int32), *parts]), offsets.astype(np.int64))

    def _columns_of(self, sequences: Sequence[bytes]) -> tuple[npt.NDArray[np.int32], Ints]:
        # The separator is not a base, so no k-mer extends beyond the end of a row.
        longest = max(map(len, self.patterns))
        codes = encode(b"\n".join(sequences) + b"\n" * longest)
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        n_positions = len(codes) - longest + 1
        other = codes == OTHER
        bases = codes.astype(np.int32) & 3
        columns = np.empty((n_positions, len(self.patterns)), np.int32)
        fits = np.empty((n_positions, len(self.patterns)), bool)
        # Number of bases from each position to the next character that is not a base.
        others = np.flatnonzero(other)
        reach = others[np.searchsorted(others, np.arange(n_positions))] - np.arange(n_positions)
        for i, (offsets, table) in enumerate(zip(self._offsets, self._tables, strict=True)):
            number = np.zeros(n_positions, np.int32)
            for offset in offsets:
                number <<= 2
                number |= bases[offset : offset + n_positions]
            columns[:, i] = table[number]
            fits[:, i] = reach >= len(self.patterns[i])
        starts = np.concatenate([[0], np.cumsum(lengths + 1)])[:-1]
        ends = np.minimum(starts + lengths, n_positions)
        before = np.concatenate([[0], np.cumsum(fits.sum(axis=1))])
        return columns[fits], before[ends] - before[starts]


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise UsageError, which states what is expected, if a list of patterns cannot be used."""
    for pattern in patterns:
        wrong = (
            "a pattern is a string of 1 and 0 that begins and ends with 1"
            if not _PATTERN.fullmatch(pattern)
            else "it must read the same from both ends"
            if pattern != pattern[::-1]
            else f"it may have at most {MAX_BASES} ones and {MAX_SPAN} characters"
            if pattern.count("1") > MAX_BASES or len(pattern) > MAX_SPAN
            else "it is duplicated"
            if list(patterns).count(pattern) > 1
            else ""
        )
        if wrong:
            raise UsageError(
                f"pattern {pattern!r} cannot be used: {wrong}; examples of valid patterns are 1111111 and 11011011011"
            )
    if not patterns:
        raise UsageError("there is no pattern; give one or more, such as 1111111")


def _canonical(k: int) -> tuple[Ints, int]:
    """Return the column of each k-mer (A, C, G, T are 0 to 3, first base highest), and the number of columns."""
    kmers = np.arange(4**k, dtype=np.int64)
    rest, complements = kmers.copy(), np.zeros(4**k, np.int64)
    for _ in range(k):
        complements = complements * 4 + (3 - (rest & 3))
        rest >>= 2
    canonical, column = np.unique(np.minimum(kmers, complements), return_inverse=True)
    return column.astype(np.int64), len(canonical)
