"""The interface of all encoders: a tokenizer for complete batches and a function from tokens to vectors.

``Tokens`` is a ragged batch without padding. ``Encoder`` is the network alone; ``Embedder`` is an encoder with a
policy, and therefore with a ``Spec``. Truncation, windows, strands, batching and order belong to ``ednabed.engine``, so
an encoder never deals with them. Third parties add an encoder through the entry-point group ``ednabed.models``
(``docs/adding_a_model.md``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import FloatArray as FloatArray
from ednabed.base.arrays import Ints
from ednabed.errors import UsageError
from ednabed.models.spec import Normalisation, Policy, Spec

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Tokens:
    """A ragged batch of token ids: row i is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: Token ids of all rows, concatenated, any integer dtype, shape (total,), without special tokens.
        offsets: int64, shape (n + 1,), first 0, last ``len(ids)``.
    """

    ids: IntArray
    offsets: Ints

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Number of tokens of each row, shape (n,)."""
        return np.diff(self.offsets)

    def take(self, starts: Ints, lengths: Ints) -> Tokens:
        """Return a new batch whose row i is ``ids[starts[i]:starts[i] + lengths[i]]``."""
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Tokens(self.ids[np.repeat(starts, lengths) + within], offsets)


class Encoder(ABC):
    """A network (or formula) that turns one row of tokens into one vector.

    Subclasses set the attributes and implement the two methods. The vector of a row must not depend on the other rows
    of its batch, except for rounding.

    Attributes:
        name: Name for people.
        dimension: Length of a vector.
        max_tokens: Maximum tokens of a row, including special tokens; None if there is no limit.
        special_tokens: Number of tokens that ``forward`` adds to each row (1 for a class token).
        architecture: See ``Spec``.
        weights: See ``Spec``.
        tokenizer: See ``Spec``.
        layer: See ``Spec``.
        pooling: See ``Spec``.
        normalisation: Normalisation that the engine applies to the finished vector: ``l2`` or ``none``.
        licence: Licence of the weights.
        revision: Revision of the weights, or None.
        device: Device on which ``forward`` runs: ``cpu``, ``cuda`` or ``mps``.
        precision: Precision of the matrix products: ``fp32``, ``bf16`` or ``fp16``.
        token_budget: Tokens per batch that suit this encoder on its device; the engine's default.
        strands_alike: Whether a sequence and its reverse complement have the same vector by construction; the policy
            ``strand`` then has no effect, and the spec always has ``given``.
        prefers_equal_lengths: Whether batches of rows of similar length are faster; if False, the sorting is skipped.
    """

    name: str
    dimension: int
    max_tokens: int | None = None
    special_tokens: int = 0
    architecture: Mapping[str, Any]
    weights: str = "none"
    tokenizer: str
    layer: int | None = None
    pooling: str = "mean"
    normalisation: Normalisation = "none"
    licence: str = ""
    revision: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    token_budget: int = 16_384
    strands_alike: bool = False
    prefers_equal_lengths: bool = True

    @abstractmethod
    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Tokenise normalised sequences (upper-case A, C, G, T, N only), without special tokens and without truncation.

        A row may be empty if nothing in the sequence can be used; the engine then rejects the sequence with the reason
        from ``explain_empty``.
        """

    @abstractmethod
    def forward(self, tokens: Tokens) -> FloatArray:
        """Return the vectors of a batch, float32, shape (len(tokens), dimension). Rows do not exceed ``max_tokens``.

        Raises MemoryError (or torch's out-of-memory error) if the batch does not fit; the engine then halves it.
        """

    def explain_empty(self) -> str:
        """Return in a few words why ``tokenize`` gave an empty row."""
        return "gives no token for this model"


@dataclass(frozen=True)
class Embedder:
    """An encoder with a policy: the complete function from a normalised sequence to a vector."""

    encoder: Encoder
    policy: Policy
    spec: Spec

    @classmethod
    def from_encoder(cls, encoder: Encoder, policy: Policy) -> Embedder:
        """Combine the two. Raises UsageError if the policy asks for more tokens than the encoder accepts."""
        limit = encoder.max_tokens
        if policy.max_tokens is not None:
            if limit is None:
                raise UsageError(
                    f"{encoder.name} has no token limit, so `max_tokens` {policy.max_tokens} has no effect"
                )
            if policy.max_tokens > limit:
                raise UsageError(f"`max_tokens` is {policy.max_tokens}, but {encoder.name} accepts at most {limit}")
            limit = policy.max_tokens
        if limit is not None and limit <= encoder.special_tokens:
            raise UsageError(
                f"`max_tokens` is {limit}, but the special tokens of {encoder.name} alone are {encoder.special_tokens}"
            )
        spec = Spec(
            model=encoder.name,
            architecture=dict(encoder.architecture),
            weights=encoder.weights,
            tokenizer=encoder.tokenizer,
            dimension=encoder.dimension,
            layer=encoder.layer,
            pooling=encoder.pooling,
            max_tokens=limit,
            strand="given" if encoder.strands_alike else policy.strand,
            # Without a limit no sequence is too long, so the setting does not change the function.
            long="truncate" if limit is None else policy.long,
            alphabet=policy.alphabet,
            normalisation=encoder.normalisation,
            licence=encoder.licence,
            revision=encoder.revision,
        )
        return cls(encoder, policy, spec)
