"""k-mer profiles: the encoder without weights, and the baseline for all others.

The vector of a sequence contains the square roots of the frequencies of its overlapping k-mers (a vector of length 1;
the inner product of two such vectors is the Bhattacharyya coefficient of the profiles). If fewer dimensions are
requested, each k-mer is added with its own sign to one of ``dimension`` buckets (feature hashing: Weinberger et al.
2009, doi:10.1145/1553374.1553516), here with buckets of equal size. This is a random projection with one entry per
column: it preserves inner products in expectation with a variance of about 1/dimension, like a dense Gaussian
projection, with a fortieth of the arithmetic. Buckets and signs are derived from the SHA-256 of the k-mer's bases, so
they are the same on every machine and in every version. k-mers that contain an N are omitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import FloatArray
from ednabed.base.bases import OTHER, encode
from ednabed.errors import UsageError
from ednabed.models.base import Encoder, Tokens

# Rows counted together: their counts (2 MB for 6-mers) stay in the second-level cache, which doubles the speed.
_ROWS_AT_ONCE = 64


class KmerEncoder(Encoder):
    """Square-root k-mer frequencies, projected to ``dimension`` if that is smaller than ``4**k``.

    Args:
        k: Length of the k-mers, 1 to 8.
        dimension: A power of two up to ``4**k``; None for the full profile.
        name: Name for people.

    Raises:
        UsageError: ``k`` or ``dimension`` is out of range.
    """

    def __init__(self, k: int = 6, dimension: int | None = 512, name: str = "kmer6") -> None:
        full = 4**k
        dimension = full if dimension is None else dimension
        if not 1 <= k <= 8:
            raise UsageError(f"k is {k}; k-mer profiles need a k from 1 to 8")
        if not 1 <= dimension <= full or dimension & (dimension - 1):
            raise UsageError(f"dimension is {dimension}; expected a power of two up to {full} for k = {k}")
        self.name = name
        self.dimension = dimension
        self.k = k
        self._folds = full // dimension
        self._column, self._signs = _projection(k, dimension)
        self.architecture = {
            "family": "kmer",
            "k": k,
            "transform": "sqrt-frequency",
            "projection": "none" if dimension == full else "sha256-sign-hash-1",
        }
        self.tokenizer = f"overlapping-{k}mer"
        self.normalisation = "l2"
        self.pooling = "histogram"
        self.prefers_equal_lengths = False
        self.licence = "Apache-2.0"
        self.token_budget = 4_000_000

    def explain_empty(self) -> str:
        """Return why a row is empty."""
        return f"has no {self.k} consecutive bases without N, which {self.name} needs"

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Return the column of each k-mer (uint16), in order, without those that contain an N."""
        k = self.k
        # The separator is not a base, so no k-mer extends beyond the end of a row.
        flat = encode(b"\n".join(sequences) + b"\n" * k)
        lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
        windows = max(int(lengths.sum()) + len(sequences) - 1, 0)
        other = flat == OTHER
        codes = flat.astype(np.uint16)
        ids = np.zeros(windows, np.uint16)
        has_other = np.zeros(windows, bool)
        for i in range(k):
            ids <<= 2
            ids |= codes[i : i + windows]
            has_other |= other[i : i + windows]
        usable = np.flatnonzero(~has_other)
        starts = np.concatenate(([0], np.cumsum(lengths + 1)))
        return Tokens(self._column[ids[usable]], np.searchsorted(usable, starts).astype(np.int64))

    def forward(self, tokens: Tokens) -> FloatArray:
        """Return the projected profiles, float32, shape (n, dimension)."""
        out = np.empty((len(tokens), self.dimension), np.float32)
        full = self.dimension * self._folds
        lengths = tokens.lengths
        for first in range(0, len(tokens), _ROWS_AT_ONCE):
            last = min(first + _ROWS_AT_ONCE, len(tokens))
            n = last - first
            ids = tokens.ids[tokens.offsets[first] : tokens.offsets[last]]
            cells = np.repeat(np.arange(n) * full, lengths[first:last])
            cells += ids
            counts = np.bincount(cells, minlength=n * full)
            roots = np.sqrt(counts, dtype=np.float32).reshape(n, self._folds, self.dimension)
            if self._folds == 1:
                out[first:last] = roots[:, 0]
            else:
                np.einsum("nfd,fd->nd", roots, self._signs, out=out[first:last])
        out /= np.sqrt(np.maximum(lengths, 1), dtype=np.float32)[:, None]
        return out


def _projection(k: int, dimension: int) -> tuple[npt.NDArray[np.uint16], FloatArray]:
    """Return the column of each k-mer (fold x dimension + bucket) and the signs, shape (folds, dimension)."""
    full = 4**k
    if dimension == full:
        return np.arange(full, dtype=np.uint16), np.ones((1, dimension), np.float32)
    hashes = [hashlib.sha256(("ednabed " + "".join(kmer)).encode()).digest() for kmer in product("ACGT", repeat=k)]
    column = np.empty(full, np.uint16)
    column[np.array(sorted(range(full), key=hashes.__getitem__))] = np.arange(full)
    signs = np.empty(full, np.float32)
    signs[column] = [1.0 if h[-1] & 1 else -1.0 for h in hashes]
    return column, signs.reshape(full // dimension, dimension)
