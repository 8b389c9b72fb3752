"""The embedding loop: batches filled to a token budget, back-off when memory runs out, order restored.

A batch holds whole sequences of near-equal length, by tokens; encoders get ragged rows, so nothing is padded. When a
batch does not fit into memory it is halved, and the budget stays lowered. Every vector is checked to be finite: a
failure is an error on a named record, never a zero vector.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.engine.pieces import Pieces, cut
from ednabed.errors import EmbeddingError, UsageError
from ednabed.models.base import Embedder, FloatArray, Tokens

log = logging.getLogger("ednabed")

# Letters that callers give at once: some 12,000 barcodes, enough to sort by length, little enough to hold (a k-mer
# profile takes some 20 bytes a letter while it is made).
WINDOW_LETTERS = 8_000_000


@dataclass(frozen=True)
class Embedded:
    """A finished batch.

    Attributes:
        index: Positions in the sequences given, int64, shape (m,).
        vectors: float32, shape (m, dimension), row i for ``index[i]``.
        truncated: Whether the sequence was cut at the token limit, bool, shape (m,).
    """

    index: npt.NDArray[np.int64]
    vectors: FloatArray
    truncated: npt.NDArray[np.bool_]


class Engine:
    """Embeds sequences with one embedder.

    Args:
        embedder: The function.
        batch_size: Most sequences a batch; None leaves only the token budget.
        token_budget: Most tokens a batch; None takes the encoder's own.
    """

    def __init__(self, embedder: Embedder, batch_size: int | None = None, token_budget: int | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
        self.embedder = embedder
        self.batch_size = batch_size
        self.token_budget = embedder.encoder.token_budget if token_budget is None else token_budget

    def stream(
        self, sequences: Sequence[bytes], names: Sequence[str] | None = None
    ) -> tuple[dict[int, str], Iterator[Embedded]]:
        """Start embedding ``sequences`` (normalised, distinct ones for economy).

        Args:
            sequences: Upper-case A, C, G, T, N.
            names: Record ids for error messages; None uses positions.

        Returns:
            The refused sequences (position to reason), complete when the iterator has ended, and an iterator over
            finished batches, which together hold every other position exactly once, in no particular order.

        Raises (while iterating):
            EmbeddingError: One sequence alone does not fit into memory, or a vector is not finite.
        """
        pieces = cut(self.embedder, sequences)
        return pieces.refused, self._batches(pieces, names)

    def embed(self, sequences: Sequence[bytes]) -> tuple[FloatArray, dict[int, str]]:
        """Embed ``sequences`` in order: float32 (n, dimension) with zero rows for the refused, and the refusals."""
        vectors = np.zeros((len(sequences), self.embedder.spec.dimension), np.float32)
        distinct: dict[bytes, int] = {}
        number = [distinct.setdefault(s, len(distinct)) for s in sequences]
        unique = np.zeros((len(distinct), vectors.shape[1]), np.float32)
        refused, batches = self.stream(list(distinct))
        for batch in batches:
            unique[batch.index] = batch.vectors
        if number:
            vectors[:] = unique[number]
        return vectors, {i: refused[d] for i, d in enumerate(number) if d in refused}

    def _batches(self, pieces: Pieces, names: Sequence[str] | None) -> Iterator[Embedded]:
        order = np.flatnonzero(pieces.counts)
        first_piece = np.cumsum(pieces.counts) - pieces.counts
        special = self.embedder.encoder.special_tokens
        tokens = np.concatenate(([0], np.cumsum(pieces.lengths + special)))
        cost = tokens[first_piece + pieces.counts] - tokens[first_piece]
        if self.embedder.encoder.prefers_equal_lengths:
            # Longest first: if memory runs out, it does so at the start.
            order = order[np.argsort(-cost[order], kind="stable")]
        position = 0
        while position < len(order):
            # At least one sequence, then as many as the budget takes; it may have been lowered meanwhile.
            size = max(
                1,
                int(np.searchsorted(np.cumsum(cost[order[position : position + 65_536]]), self.token_budget, "right")),
            )
            if self.batch_size is not None:
                size = min(size, self.batch_size)
            index = order[position : position + size]
            position += size
            vectors = self._one_batch(pieces, index, first_piece, names)
            some = vectors.any(axis=1)
            if not some.all():
                # Everywhere else a vector of zeros means that there is none, and it is similar to nothing.
                reason = f"{self.embedder.spec.model} gives it a vector of zeros"
                pieces.refused.update((i, reason) for i in index[~some].tolist())
                index, vectors = index[some], vectors[some]
            yield Embedded(index, vectors, pieces.truncated[index])

    def _one_batch(
        self,
        pieces: Pieces,
        index: npt.NDArray[np.int64],
        first_piece: npt.NDArray[np.int64],
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
                f"record {_name(int(index[finite.argmin()]), names)}: {self.embedder.spec.model} gave a vector that is "
                f"not finite in {self.embedder.encoder.precision}; run again with precision fp32"
            )
        if self.embedder.spec.normalisation == "l2":
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.ascontiguousarray(vectors, np.float32)

    def _forward(
        self,
        tokens: Tokens,
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        owner: npt.NDArray[np.int64],
        names: Sequence[str] | None,
    ) -> FloatArray:
        """Run the encoder on pieces; halve the batch, and lower the budget for good, when memory runs out."""
        budget = max(1, self.token_budget)
        total = int(lengths.sum()) + len(lengths) * self.embedder.encoder.special_tokens
        if len(lengths) > 1 and total > 2 * budget:
            # Many windows of one long sequence: more than a batch.
            return self._halves(tokens, starts, lengths, owner, names)
        try:
            vectors = self.embedder.encoder.forward(tokens.take(starts, lengths))
        # Broad on purpose: here code runs that may not be ours, and its failure has to name the records.
        except Exception as error:
            if not _is_out_of_memory(error):
                first = _name(int(owner[0]), names)
                others = f" and {len(set(owner.tolist())) - 1} others" if len(set(owner.tolist())) > 1 else ""
                raise EmbeddingError(
                    f"record {first}{others}: {self.embedder.spec.model} failed ({type(error).__name__}: {error}); "
                    "what was computed before is kept, take the record out or report the fault"
                ) from error
            if len(lengths) == 1:
                raise EmbeddingError(
                    f"record {_name(int(owner[0]), names)}: {total} tokens alone do not fit into the memory of "
                    f"{self.embedder.encoder.device}; lower max_tokens or use the CPU"
                ) from error
            self.token_budget = min(budget, max(1, total // 2))
            log.warning("out of memory at %d tokens a batch; going on with %d", total, self.token_budget)
        else:
            if vectors.shape != (len(lengths), self.embedder.spec.dimension):
                raise EmbeddingError(
                    f"{self.embedder.spec.model} gave an array of shape {vectors.shape}; wanted "
                    f"({len(lengths)}, {self.embedder.spec.dimension}): the encoder is faulty"
                )
            # What comes from an encoder may be of another type, or a view that may not be written to.
            return np.require(vectors, np.float32, ["W"])
        # Behind the except clause, because the error keeps the tensors of the failed batch alive.
        _free_memory(self.embedder.encoder.device)
        return self._halves(tokens, starts, lengths, owner, names)

    def _halves(
        self,
        tokens: Tokens,
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        owner: npt.NDArray[np.int64],
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
    """Tell memory errors from faults: torch raises RuntimeError with these words on CUDA, MPS and the CPU."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "alloc_failed", "invalid buffer size")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in text for word in words))


def _free_memory(device: str) -> None:
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None:
        return
    torch.cuda.empty_cache() if device == "cuda" else torch.mps.empty_cache()
