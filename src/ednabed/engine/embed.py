"""The embedding loop: fill batches to a token budget, back off when memory runs out, restore the order.

A batch holds complete sequences of nearly equal length in tokens; encoders get ragged rows, so nothing is padded. A
batch that does not fit into memory is halved, and the budget stays at the lower value. Every vector is checked to be
finite: a failure is an error that names the record, never a zero vector.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ednabed.base.arrays import Bools, FloatArray, Ints
from ednabed.engine.pieces import Pieces, cut
from ednabed.errors import EmbeddingError, UsageError
from ednabed.models.base import Embedder, Tokens

log = logging.getLogger("ednabed")

# Bases that callers pass at once: about 12,000 barcodes, enough to sort by length and few enough to hold in memory (a
# k-mer profile takes about 20 bytes per base while it is computed).
WINDOW_BASES = 8_000_000


@dataclass(frozen=True)
class Embedded:
    """A finished batch.

    Attributes:
        index: Positions in the given sequences, int64, shape (m,).
        vectors: float32, shape (m, dimension); row i belongs to ``index[i]``.
        truncated: Whether the sequence was cut at the token limit, bool, shape (m,).
    """

    index: Ints
    vectors: FloatArray
    truncated: Bools


class Engine:
    """Embeds sequences with one embedder.

    Args:
        embedder: The embedding function.
        batch_size: Maximum sequences per batch; None applies only the token budget.
        token_budget: Maximum tokens per batch; None takes the encoder's default.

    Raises:
        UsageError: ``batch_size`` is less than 1.
    """

    def __init__(self, embedder: Embedder, batch_size: int | None = None, token_budget: int | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"`batch_size` is {batch_size}; it must be at least 1")
        self.embedder = embedder
        self.batch_size = batch_size
        self.token_budget = embedder.encoder.token_budget if token_budget is None else token_budget

    def stream(
        self, sequences: Sequence[bytes], names: Sequence[str] | None = None
    ) -> tuple[dict[int, str], Iterator[Embedded]]:
        """Start embedding ``sequences`` (normalised; pass each one once to save time).

        Args:
            sequences: Upper-case A, C, G, T, N.
            names: Record ids for error messages; None uses positions.

        Returns:
            The refused sequences (position to reason), complete once the iterator is exhausted, and an iterator over
            finished batches, which together hold every other position exactly once, in no particular order.

        Raises (while iterating):
            EmbeddingError: One sequence alone does not fit into memory, or a vector is not finite.
        """
        pieces = cut(self.embedder, sequences)
        return pieces.refused, self._batches(pieces, names)

    def embed(self, sequences: Sequence[bytes]) -> tuple[FloatArray, dict[int, str]]:
        """Embed ``sequences`` and return their vectors in order, and the refusals (position to reason).

        The vectors are float32, shape (n, dimension), with zero rows for refused sequences.
        """
        vectors = np.zeros((len(sequences), self.embedder.spec.dimension), np.float32)
        distinct: dict[bytes, int] = {}
        distinct_rows = [distinct.setdefault(s, len(distinct)) for s in sequences]
        unique = np.zeros((len(distinct), vectors.shape[1]), np.float32)
        refused, batches = self.stream(list(distinct))
        for batch in batches:
            unique[batch.index] = batch.vectors
        if distinct_rows:
            vectors[:] = unique[distinct_rows]
        return vectors, {i: refused[d] for i, d in enumerate(distinct_rows) if d in refused}

    def _batches(self, pieces: Pieces, names: Sequence[str] | None) -> Iterator[Embedded]:
        order = np.flatnonzero(pieces.counts)
        first_piece = np.cumsum(pieces.counts) - pieces.counts
        special = self.embedder.encoder.special_tokens
        tokens = np.concatenate(([0], np.cumsum(pieces.lengths + special)))
        cost = tokens[first_piece + pieces.counts] - tokens[first_piece]
        if self.embedder.encoder.prefers_equal_lengths:
            # Longest first: if memory runs out, it runs out at the start.
            order = order[np.argsort(-cost[order], kind="stable")]
        position = 0
        while position < len(order):
            # At least one sequence, then as many as the budget allows, which may have been lowered in the meantime.
            size = max(
                1,
                int(np.searchsorted(np.cumsum(cost[order[position : position + 65_536]]), self.token_budget, "right")),
            )
            if self.batch_size is not None:
                size = min(size, self.batch_size)
            index = order[position : position + size]
            position += size
            vectors = self._one_batch(pieces, index, first_piece, names)
            nonzero = vectors.any(axis=1)
            if not nonzero.all():
                # Everywhere else an all-zero vector means that there is no vector, and it has no similarity to others.
                reason = f"{self.embedder.spec.model} gives it a vector of zeros"
                pieces.refused.update((i, reason) for i in index[~nonzero].tolist())
                index, vectors = index[nonzero], vectors[nonzero]
            yield Embedded(index, vectors, pieces.truncated[index])

    def _one_batch(
        self,
        pieces: Pieces,
        index: Ints,
        first_piece: Ints,
        names: Sequence[str] | None,
    ) -> FloatArray:
        counts = pieces.counts[index]
        ends = np.cumsum(counts)
        rows = np.repeat(first_piece[index] - ends + counts, counts) + np.arange(ends[-1])
        owner = np.repeat(index, counts)
        starts, lengths = pieces.starts[rows], pieces.lengths[rows]
        vectors = self._forward(pieces.tokens, starts, lengths, owner, names)
        if len(rows) > len(index):
            vectors = np.add.reduceat(vectors, ends - counts, axis=0)
            vectors /= counts[:, None].astype(np.float32)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise EmbeddingError(
                f"record {_name(int(index[finite.argmin()]), names)}: {self.embedder.spec.model} returned a vector "
                f"that is not finite in {self.embedder.encoder.precision}; run again with `precision='fp32'`"
            )
        if self.embedder.spec.normalisation == "l2":
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.ascontiguousarray(vectors, np.float32)

    def _forward(
        self,
        tokens: Tokens,
        starts: Ints,
        lengths: Ints,
        owner: Ints,
        names: Sequence[str] | None,
    ) -> FloatArray:
        """Run the encoder on pieces; when memory runs out, halve the batch and lower the budget permanently."""
        budget = max(1, self.token_budget)
        total = int(lengths.sum()) + len(lengths) * self.embedder.encoder.special_tokens
        if len(lengths) > 1 and total > 2 * budget:
            # Many windows of one long sequence are more than a batch.
            return self._halves(tokens, starts, lengths, owner, names)
        try:
            vectors = self.embedder.encoder.forward(tokens.take(starts, lengths))
        # Broad on purpose: third-party code may run here, and its failure has to name the records.
        except Exception as error:
            if not _is_out_of_memory(error):
                first = _name(int(owner[0]), names)
                others = f" and {len(set(owner.tolist())) - 1} others" if len(set(owner.tolist())) > 1 else ""
                raise EmbeddingError(
                    f"record {first}{others}: {self.embedder.spec.model} failed ({type(error).__name__}: {error}); "
                    "vectors computed so far are kept; remove the record or report the fault"
                ) from error
            if len(lengths) == 1:
                raise EmbeddingError(
                    f"record {_name(int(owner[0]), names)}: {total} tokens alone do not fit into the memory of "
                    f"{self.embedder.encoder.device}; lower `max_tokens` or use the CPU"
                ) from error
            self.token_budget = min(budget, max(1, total // 2))
            log.warning("out of memory at %d tokens per batch; continuing with %d", total, self.token_budget)
        else:
            if vectors.shape != (len(lengths), self.embedder.spec.dimension):
                raise EmbeddingError(
                    f"{self.embedder.spec.model} returned an array of shape {vectors.shape}; expected "
                    f"({len(lengths)}, {self.embedder.spec.dimension}): the encoder is faulty"
                )
            # An encoder may return another dtype, or a read-only view.
            return np.require(vectors, np.float32, ["W"])
        # Outside the except clause, because the error keeps the tensors of the failed batch alive.
        _free_memory(self.embedder.encoder.device)
        return self._halves(tokens, starts, lengths, owner, names)

    def _halves(
        self,
        tokens: Tokens,
        starts: Ints,
        lengths: Ints,
        owner: Ints,
        names: Sequence[str] | None,
    ) -> FloatArray:
        middle = len(lengths) // 2
        return np.concatenate(
            [
                self._forward(tokens, starts[part], lengths[part], owner[part], names)
                for part in (slice(None, middle), slice(middle, None))
            ]
        )


def _name(index: int, names: Sequence[str] | None) -> str:
    return f"{index + 1} of the batch" if names is None else repr(names[index])


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    torch raises RuntimeError with these words on CUDA, MPS and the CPU.
    """
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "alloc_failed", "invalid buffer size")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in text for word in words))


def _free_memory(device: str) -> None:
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None:
        return
    torch.cuda.empty_cache() if device == "cuda" else torch.mps.empty_cache()
