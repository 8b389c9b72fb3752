"""Whether sequences are of the same region of a marker, so that one may be known by the other."""

from __future__ import annotations

from collections.abc import Iterable

# Least share of a query's words of ten letters that another sequence has.
_WORD = 10
_SHARED = 0.05


def meets(sequence: bytes, others: Iterable[bytes]) -> bool:
    """Tell whether a sequence is of the same region as one of the others; too short ones count as such.

    Sequences of one species and region share most of their 10-letter words; those of two regions share next to none.
    """
    words = _words(sequence)
    return any(not words or len(words & _words(other)) >= _SHARED * len(words) for other in others)


def _words(sequence: bytes) -> set[bytes]:
    return {sequence[i : i + _WORD] for i in range(len(sequence) - _WORD + 1)}
