"""Whether sequences are of the same region of a marker, so that one may be identified by the other."""

from __future__ import annotations

from collections.abc import Iterable

# Minimum share of a query's ten-base words that another sequence of the same region has.
_WORD = 10
_SHARED = 0.05


def same_region(sequence: bytes, others: Iterable[bytes]) -> bool:
    """Return whether a sequence is of the same region as one of the others; true for sequences that are too short.

    Sequences of one species and region share most of their ten-base words; those of two regions share almost none.
    """
    words = _words(sequence)
    return any(not words or len(words & _words(other)) >= _SHARED * len(words) for other in others)


def _words(sequence: bytes) -> set[bytes]:
    return {sequence[i : i + _WORD] for i in range(len(sequence) - _WORD + 1)}
