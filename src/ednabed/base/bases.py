"""Bases as numbers: A, C, G and T are 0 to 3, and anything else, such as N, is 4."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]
BASES = "ACGTN"
"""The bases in the order of their codes."""
OTHER = 4
"""The code of everything that is not A, C, G or T."""

_BASES = np.frombuffer(BASES.encode(), np.uint8)
_CODES = np.full(256, OTHER, np.uint8)
_CODES[_BASES] = range(5)
_COMPLEMENT = np.array([3, 2, 1, 0, OTHER], np.uint8)


def encode(sequence: bytes) -> Codes:
    """Return bases as codes, uint8, shape (length,)."""
    return _CODES[np.frombuffer(sequence, np.uint8)]


def decode(codes: Codes) -> bytes:
    """Return the bases of codes."""
    return _BASES[codes].tobytes()


def reverse_complement_codes(codes: Codes) -> Codes:
    """Return the reverse complement of codes."""
    return _COMPLEMENT[codes[::-1]]
