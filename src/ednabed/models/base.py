"""The seam that every encoder fits: a tokenizer on whole batches and a function from tokens to vectors.

``Tokens`` is a ragged batch without padding. ``Encoder`` is the network alone; ``Embedder`` is an encoder with a
policy, hence with a ``Spec``. Truncation, windows, strands, batching and order belong to ``ednabed.engine``, so an
encoder never sees them. Third parties add an encoder through the entry-point group ``ednabed.models``
(``docs/adding_a_model.md``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.errors import UsageError
from ednabed.models.spec import Normalisation, Policy, Spec

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Tokens:
    """A ragged batch of token ids: row i is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: Token ids of all rows one after another, any integer dtype, shape (total,). Special tokens are not in it.
        offsets: int64, shape (n + 1,), first 0, last ``len(ids)``.
    """

    ids: IntArray
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row, shape (n,)."""
        return np.diff(self.offsets)

    def take(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Tokens:
        """Return a new batch whose row i is ``ids[starts[i]:starts[i] + lengths[i]]``."""
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Tokens(self.ids[np.repeat(starts, lengths) + within], offsets)


class Encoder(ABC):
    """A network (or formula) from one row of tokens to one vector.

    Subclasses set the attributes and implement the two methods. A row's vector must not depend on the other rows of
    its batch beyond rounding.

    Attributes:
        name: Name shown to people.
        dimension: Length of a vector.
        max_tokens: Most tokens a row may have, special tokens counted; None where there is no limit.
        special_tokens: Tokens that ``forward`` adds to each row (1 for a class token).
        architecture: See ``Spec``.
        weights: See ``Spec``.
        tokenizer: See ``Spec``.
        layer: See ``Spec``.
        pooling: See ``Spec``.
        normalisation: What the engine does to the finished vector: ``l2`` or ``none``.
        licence: Licence of the weights.
        revision: Revision of the weights, or None.
        device: Where ``forward`` runs: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, ``bf16`` or ``fp16``, as used in the matrix products.
        token_budget: Tokens a batch that suit this encoder on its device; the engine's default.
        strands_alike: Whether a sequence and its reverse complement have the same vector by construction; the policy
            ``strand`` then changes nothing, and the spec says ``given`` whatever it is.
        prefers_equal_lengths: Whether batches of rows of near-equal length are faster; False spares the sorting.
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

        A row may come out empty when nothing in it can be used; the engine then rejects that sequence with
        ``explain_empty``.
        """

    @abstractmethod
    def forward(self, tokens: Tokens) -> FloatArray:
        """Return the vectors of a batch, float32, shape (len(tokens), dimension). Rows are within ``max_tokens``.

        Raises MemoryError (or torch's out-of-memory error) when the batch does not fit; the engine halves it.
        """

    def explain_empty(self) -> str:
        """Say in a few words why ``tokenize`` gave an empty row."""
        return "gives no token for this model"


@dataclass(frozen=True)
class Embedder:
    """An encoder with a policy: the complete function from a normalised sequence to a vector."""

    encoder: Encoder
    policy: Policy
    spec: Spec

    @classmethod
    def of(cls, encoder: Encoder, policy: Policy) -> Embedder:
        """Join the two. Raises UsageError when the policy asks for more tokens than the encoder takes."""
        limit = encoder.max_tokens
        if policy.max_tokens is not None:
            if limit is None:
                raise UsageError(f"{encoder.name} has no token limit, so max_tokens {policy.max_tokens} has no meaning")
            if policy.max_tokens > limit:
                raise UsageError(f"max_tokens is {policy.max_tokens}, {encoder.name} takes at most {limit}")
            limit = policy.max_tokens
        if limit is not None and limit <= encoder.special_tokens:
            raise UsageError(
                f"max_tokens is {limit}, and {encoder.name} needs {encoder.special_tokens} for its special tokens alone"
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
            # Without a limit nothing is long, and the function is the same whatever the word.
            long="truncate" if limit is None else policy.long,
            alphabet=policy.alphabet,
            normalisation=encoder.normalisation,
            licence=encoder.licence,
            revision=encoder.revision,
        )
        return cls(encoder, policy, spec)
