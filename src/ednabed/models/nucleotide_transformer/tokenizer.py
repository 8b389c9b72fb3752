"""The k-mer tokenizers of the Nucleotide Transformer family, for complete batches.

The ids are defined in code, not read from files: there are three layouts, distinguished by the number of embedding
rows. A sequence is split at every N; each run between them is cut from its left end into non-overlapping k-mers, the
rest (fewer than k bases) becomes single nucleotides, and each N is one token. K-mers are numbered in the order of
``product("ATCG", repeat=k)``.

All sequences are joined in one buffer and all arithmetic is done on it, so no Python loop visits each sequence. In a
batch without N, the rows are the runs; a batch with N is first cut into runs, each with the N that ends it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Ints
from ednabed.models.base import Tokens

PAD_ID = 1
MASK_ID = 2
CLS_ID = 3

_BASES = b"ATCGN"
_CODES = bytes.maketrans(_BASES, bytes(range(len(_BASES))))
_SPECIALS = ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>")


@dataclass(frozen=True)
class KmerTokenizer:
    """Non-overlapping k-mers of one id layout.

    Attributes:
        k: Number of bases of a k-mer, 1 to 6.
        first_kmer: Id of the k-mer of k times A. The ids below it are special tokens.
        first_single: Id of the single nucleotide A; T, C, G and N follow.
        name: Short name of the layout, for people.
    """

    k: int
    first_kmer: int
    first_single: int
    name: str

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in the order of their ids, one per embedding row."""
        kmers = ("".join(bases) for bases in product("ATCG", repeat=self.k))
        return (*_SPECIALS[: self.first_kmer], *kmers, *"ATCGN")

    @cached_property
    def identity(self) -> str:
        """``name`` and the SHA-256 of the vocabulary joined by line feeds: the value of ``Encoder.tokenizer``."""
        return f"{self.name}:sha256:{hashlib.sha256(chr(10).join(self.vocabulary).encode()).hexdigest()}"

    def __call__(self, sequences: Sequence[bytes]) -> Tokens:
        """Tokenise a batch.

        Args:
            sequences: Upper-case A, C, G, T and N only, any length including 0.

        Returns:
            Content tokens without CLS and without truncation, ids int16, one row per sequence; an empty sequence gives
            an empty row.

        Raises:
            ValueError: A sequence contains another byte; the message states the row and the position, both from 0.
        """
        joined = b"".join(sequences)
        if joined.translate(None, _BASES):
            raise ValueError(_describe_invalid(sequences))
        codes = np.frombuffer(joined.translate(_CODES), np.uint8)
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        ends = np.cumsum(lengths)
        starts = ends - lengths
        if b"N" not in joined:
            ids, counts = self._encode(codes, starts, lengths, np.zeros(0, np.int64))
            return Tokens(ids, _offsets(counts))
        stops = np.flatnonzero(codes == _BASES.index(b"N"))
        rows = np.searchsorted(ends, stops, side="right")
        ending = np.arange(len(stops)) + rows
        tails = np.cumsum(np.bincount(rows, minlength=len(sequences))) + np.arange(len(sequences))
        run_ends = np.empty(len(stops) + len(sequences), np.int64)
        run_ends[ending] = stops
        run_ends[tails] = ends
        # A run begins where its predecessor ended, or one position later if the predecessor ended with an N.
        run_starts = np.empty_like(run_ends)
        run_starts[1:] = run_ends[:-1]
        run_starts[0] = 0
        run_starts[ending + 1] += 1
        ids, counts = self._encode(codes, run_starts, run_ends - run_starts, ending)
        return Tokens(ids, _offsets(counts)[np.concatenate(([0], tails + 1))])

    def _encode(
        self, codes: npt.NDArray[np.uint8], starts: Ints, lengths: Ints, ending: Ints
    ) -> tuple[npt.NDArray[np.int16], Ints]:
        """Return the ids of runs without N, an N after each run whose index is in ``ending``, and the counts."""
        kmers, singles = np.divmod(lengths, self.k)
        counts = kmers + singles
        counts[ending] += 1
        begins = np.cumsum(counts) - counts
        ids = np.empty(int(counts.sum()), np.int16)

        within = _within(kmers)
        positions = np.repeat(starts, kmers) + within * self.k
        number = codes[positions].astype(np.int16)
        for _ in range(self.k - 1):
            positions += 1
            number *= 4
            number += codes[positions]
        number += self.first_kmer
        ids[np.repeat(begins, kmers) + within] = number

        within = _within(singles)
        ids[np.repeat(begins + kmers, singles) + within] = (
            codes[np.repeat(starts + kmers * self.k, singles) + within].astype(np.int16) + self.first_single
        )
        ids[begins[ending] + counts[ending] - 1] = self.first_single + _BASES.index(b"N")
        return ids, counts


LAYOUTS: Mapping[int, KmerTokenizer] = {
    4105: KmerTokenizer(k=6, first_kmer=4, first_single=4100, name="nt-6mer-v1"),
    4107: KmerTokenizer(k=6, first_kmer=6, first_single=4102, name="nt-6mer-v2"),
    75: KmerTokenizer(k=3, first_kmer=6, first_single=70, name="nt-3mer-v2"),
}
"""The tokenizer for each number of embedding rows in the family."""


def _offsets(counts: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def _within(counts: Ints) -> Ints:
    """Return 0, 1, ... count-1 for each count, concatenated."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _describe_invalid(sequences: Sequence[bytes]) -> str:
    for row, sequence in enumerate(sequences):
        invalid = sequence.translate(None, _BASES)
        if invalid:
            return (
                f"row {row} contains {invalid[:1]!r} at position {sequence.index(invalid[:1])}; the tokenizer accepts "
                "only upper-case A, C, G, T and N, so normalise the sequences first"
            )
    raise AssertionError("called without an invalid byte")
