"""Lay out a ragged batch for the network: no padding, rows of equal length side by side, CLS in front of each row.

The network's linear and norm steps take all tokens as one long row; only attention needs to know where rows end. If
rows are sorted by length, the rows of each length are one contiguous block that attention can view as (rows, length,
...), so nothing is gathered or scattered between the layers, whatever the input order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.models.base import Tokens
from ednabed.models.nucleotide_transformer.tokenizer import CLS_ID, MASK_ID


@dataclass(frozen=True)
class LengthGroup:
    """Rows of one length: tokens ``start`` to ``start + rows * length`` of a packed batch."""

    start: int
    rows: int
    length: int

    @property
    def stop(self) -> int:
        """Index after the last token."""
        return self.start + self.rows * self.length


@dataclass(frozen=True)
class Packed:
    """Rows sorted by length (stable), CLS included.

    Attributes:
        ids: Token ids, int64, shape (total,).
        positions: Position of each token in its row, CLS at 0, int64, shape (total,).
        groups: The blocks of equal length, in order; together they cover all tokens.
        order: Packed row j is row ``order[j]`` of the batch, int64, shape (n,).
        mask_ratio: Share of ``<mask>`` ids in each token's row, float32, shape (total,); None if no id is a mask.
    """

    ids: Ints
    positions: Ints
    groups: tuple[LengthGroup, ...]
    order: Ints
    mask_ratio: FloatArray | None


def pack(tokens: Tokens, vocab_size: int, max_tokens: int) -> Packed:
    """Add CLS to each row and sort the rows by length.

    Args:
        tokens: Content tokens; empty rows are allowed.
        vocab_size: Rows of the embedding.
        max_tokens: Maximum tokens of a row, including CLS.

    Raises:
        ValueError: An id is outside the embedding or a row is too long. On a GPU, either would destroy the device
            context of the process instead of raising an error.
    """
    lengths = tokens.lengths + 1
    if len(lengths) and int(lengths.max()) > max_tokens:
        row = int(lengths.argmax())
        raise ValueError(f"row {row} has {lengths[row]} tokens with CLS, but the model accepts at most {max_tokens}")
    if len(tokens.ids) and not 0 <= int(tokens.ids.min()) <= int(tokens.ids.max()) < vocab_size:
        raise ValueError(
            f"token ids are {tokens.ids.min()} to {tokens.ids.max()}, but the model has ids 0 to {vocab_size - 1}"
        )
    order = np.argsort(lengths, kind="stable")
    lengths = lengths[order]
    content = tokens.take(tokens.offsets[:-1][order], lengths - 1)
    starts = np.cumsum(lengths) - lengths
    positions = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    ids = np.full(len(positions), CLS_ID, np.int64)
    ids[positions > 0] = content.ids
    distinct, first, rows = np.unique(lengths, return_index=True, return_counts=True)
    groups = tuple(
        LengthGroup(int(starts[i]), int(n), int(length)) for length, i, n in zip(distinct, first, rows, strict=True)
    )
    masks = ids == MASK_ID
    ratio = None
    if masks.any():
        ratio = np.repeat((np.add.reduceat(masks, starts, dtype=np.int64) / lengths).astype(np.float32), lengths)
    return Packed(ids, positions, groups, order, ratio)
