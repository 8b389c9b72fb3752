"""Canonical k-mers, contiguous and spaced, as columns of one long table.

A pattern is a word of 1 and 0, such as ``1111111`` or ``11011011011``: the letters under its ones make the k-mer, those
under its zeros may be anything (spaced seeds: Ma, Tromp and Li 2002, doi:10.1093/bioinformatics/18.3.440). Patterns
read the same from both ends, so the reverse complement of a sequence has the reverse complements of its k-mers; a k-mer
and its reverse complement share a column, so both strands of a sequence have the same counts. k-mers over an N are left
out, also where the N lies under a zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ednabed.errors import UsageError
from ednabed.models.base import Tokens

_OTHER = 4
_CODES = np.full(256, _OTHER, np.uint8)
for _i, _letter in enumerate(b"ACGT"):
    _CODES[_letter] = _i
MOST_LETTERS = 9
"""Letters of a k-mer, at most: 131,072 columns."""
MOST_SPAN = 32
_PATTERN = re.compile(r"1(?:[01]*1)?")
# Letters that are looked at together: what is made of them stays in the second-level cache.
_AT_ONCE = 65_536


class SpacedKmers:
    """Turns sequences into columns, one for each place where a pattern fits.

    Args:
        patterns: Words of 1 and 0 that begin and end with 1 and read the same from both ends, of up to 9 ones and 32
            letters; no two alike.

    Attributes:
        patterns: As given.
        columns: Number of columns: k-mers of all patterns, a k-mer and its reverse complement being one.

    Raises:
        UsageError: A pattern is none of these.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        check_patterns(patterns)
        self.patterns = tuple(patterns)
        self._places = [[i for i, letter in enumerate(pattern) if letter == "1"] for pattern in patterns]
        tables = []
        first = 0
        for places in self._places:
            table, count = _canonical(len(places))
            tables.append((table + first).astype(np.int32))
            first += count
        self._tables = tables
        self.columns = first

    @property
    def shortest(self) -> int:
        """Letters without an N that a sequence needs, so that one pattern fits."""
        return min(map(len, self.patterns))

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Return the columns of each sequence, by place and then by pattern, int32."""
        parts: list[npt.NDArray[np.int32]] = []
        counts: list[npt.NDArray[np.int64]] = []
        first = 0
        while first < len(sequences):
            last, letters = first, 0
            while last < len(sequences) and (last == first or letters + len(sequences[last]) <= _AT_ONCE):
                letters += len(sequences[last]) + 1
                last += 1
            ids, lengths = self._columns_of(sequences[first:last])
            parts.append(ids)
            counts.append(lengths)
            first = last
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))])
        return Tokens(np.concatenate([np.zeros(0, np.int32), *parts]), offsets.astype(np.int64))

    def _columns_of(self, sequences: Sequence[bytes]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        # The separator is no base, so no k-mer reaches over the end of a row.
        longest = max(map(len, self.patterns))
        codes = _CODES[np.frombuffer(b"\n".join(sequences) + b"\n" * longest, np.uint8)]
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        places = len(codes) - longest + 1
        other = codes == _OTHER
        letters = codes.astype(np.int32) & 3
        columns = np.empty((places, len(self.patterns)), np.int32)
        fits = np.empty((places, len(self.patterns)), bool)
        # Letters from each place on until the next that is no base.
        free = np.flatnonzero(other)
        reach = free[np.searchsorted(free, np.arange(places))] - np.arange(places)
        for i, (own, table) in enumerate(zip(self._places, self._tables, strict=True)):
            number = np.zeros(places, np.int32)
            for place in own:
                number <<= 2
                number |= letters[place : place + places]
            columns[:, i] = table[number]
            fits[:, i] = reach >= len(self.patterns[i])
        starts = np.concatenate([[0], np.cumsum(lengths + 1)])[:-1]
        ends = np.minimum(starts + lengths, places)
        before = np.concatenate([[0], np.cumsum(fits.sum(axis=1))])
        return columns[fits], before[ends] - before[starts]


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise UsageError, with what is wanted, where a list of patterns cannot be used."""
    for pattern in patterns:
        wrong = (
            "a pattern is a word of 1 and 0 that begins and ends with 1"
            if not _PATTERN.fullmatch(pattern)
            else "it has to read the same from both ends"
            if pattern != pattern[::-1]
            else f"it may have {MOST_LETTERS} ones and {MOST_SPAN} letters at most"
            if pattern.count("1") > MOST_LETTERS or len(pattern) > MOST_SPAN
            else "it stands twice"
            if list(patterns).count(pattern) > 1
            else ""
        )
        if wrong:
            raise UsageError(f"pattern {pattern!r} cannot be used: {wrong}; such are 1111111 and 11011011011")
    if not patterns:
        raise UsageError("there is no pattern; name one or more, such as 1111111")


def _canonical(k: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return the column of each k-mer (A, C, G, T are 0 to 3, first letter highest), and the number of columns."""
    own = np.arange(4**k, dtype=np.int64)
    rest, other = own.copy(), np.zeros(4**k, np.int64)
    for _ in range(k):
        other = other * 4 + (3 - (rest & 3))
        rest >>= 2
    kept, column = np.unique(np.minimum(own, other), return_inverse=True)
    return column.astype(np.int64), len(kept)
