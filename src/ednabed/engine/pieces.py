"""Turn normalised sequences into rows of tokens within the limit: strands, windows, truncation, rejection.

A sequence becomes one piece or several (two strands, windows); its vector is the mean over its pieces. The pieces of
one sequence stay together, so a batch of complete sequences needs no book-keeping across batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Bools, Ints
from ednabed.models.base import Embedder, Tokens
from ednabed.sequences.normalisation import reverse_complement


@dataclass(frozen=True)
class Pieces:
    """The pieces of n sequences, in the order of the sequences.

    Attributes:
        tokens: The rows that contain the pieces; a piece is part of a row.
        starts: First token of each piece in ``tokens.ids``, int64, shape (p,).
        lengths: Number of content tokens of each piece, int64, shape (p,).
        counts: Number of pieces of each sequence, int64, shape (n,); 0 if the sequence was refused.
        truncated: Whether tokens were cut off, bool, shape (n,).
        refused: Maps the position of each refused sequence to the reason.
    """

    tokens: Tokens
    starts: Ints
    lengths: Ints
    counts: Ints
    truncated: Bools
    refused: dict[int, str]


def cut(embedder: Embedder, sequences: Sequence[bytes]) -> Pieces:
    """Tokenise ``sequences`` (upper-case A, C, G, T, N) and cut the rows to the token limit under the policy."""
    spec, encoder = embedder.spec, embedder.encoder
    n = len(sequences)
    both = spec.strand == "both"
    tokens = encoder.tokenize([*sequences, *reverse_complement(sequences)] if both else sequences)
    # Row order: sequence 0 as given, sequence 0 reverse-complemented, sequence 1 as given, ...
    rows = np.arange(len(tokens)).reshape(2, n).T.ravel() if both else np.arange(n)
    starts, lengths = tokens.offsets[rows], tokens.lengths[rows]
    owners = np.repeat(np.arange(n), 2 if both else 1)

    refused = {int(i): encoder.explain_empty() for i in np.unique(owners[lengths == 0])}
    truncated = np.zeros(n, bool)
    if spec.max_tokens is not None:
        limit = spec.max_tokens - encoder.special_tokens
        long = lengths > limit
        if spec.long == "reject":
            for row in np.flatnonzero(long):
                refused[int(owners[row])] = (
                    f"{lengths[row] + encoder.special_tokens} tokens, more than the {spec.max_tokens} allowed"
                )
        elif spec.long == "truncate":
            truncated[owners[long]] = True
            lengths = np.minimum(lengths, limit)
        else:
            starts, lengths, owners = _windows(starts, lengths, owners, limit)
    if refused:
        kept = ~np.isin(owners, list(refused))
        starts, lengths, owners = starts[kept], lengths[kept], owners[kept]
    return Pieces(tokens, starts, lengths, np.bincount(owners, minlength=n), truncated, refused)


def _windows(starts: Ints, lengths: Ints, owners: Ints, limit: int) -> tuple[Ints, Ints, Ints]:
    """Cut each row into the fewest consecutive windows within the limit, equal in length to within one token.

    The windows are equal so that a short tail does not weigh as much as a full window in the mean.
    """
    windows = np.maximum(-(-lengths // limit), 1)
    number = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    row_length, count = np.repeat(lengths, windows), np.repeat(windows, windows)
    first, last = number * row_length // count, (number + 1) * row_length // count
    return np.repeat(starts, windows) + first, last - first, np.repeat(owners, windows)
