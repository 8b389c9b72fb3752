"""What makes two vectors comparable: the specification of the function that made them, and its fingerprint.

``Policy`` is what a user chooses around a network; ``Spec`` is the whole function: network, weights, tokenizer, policy.
Device, precision and batch size are left out on purpose: they are recorded with a run but do not name the function.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ednabed.base.stored_json import brief, require, typed
from ednabed.errors import UsageError

Strand = Literal["given", "both"]
Long = Literal["truncate", "window", "reject"]
Alphabet = Literal["iupac", "strict"]
Normalisation = Literal["none", "l2"]

SPEC_SCHEMA = 1
EXTERNAL = "external"
"""Family of a function that only its maker knows: its vectors can be compared with each other, none can be added."""
WITHOUT_CHOICE = ("kmer", "kmer-map", "mapped", EXTERNAL)
"""Families of networks whose layer and pooling nobody chooses."""


@dataclass(frozen=True)
class Policy:
    """What is done to a sequence before and after the network.

    Attributes:
        layer: Hidden state to pool, counted from 0 (the embeddings) to the number of blocks (the final one, after the
            last layer norm). None takes the final one. Encoders without layers accept only None.
        pooling: ``mean`` (over all tokens with the class token, as the model cards do), ``mean-no-cls`` or ``cls``;
            None takes the encoder's own.
        max_tokens: Lowers the token limit of the model; special tokens are counted. None keeps the model's own limit.
        strand: ``given``, or ``both`` for the mean of the vectors of the two strands.
        long: What happens to a sequence above the token limit: ``truncate`` keeps its first tokens, ``window`` is the
            mean over near-equal consecutive windows, ``reject`` rejects the record.
        alphabet: ``iupac`` turns ambiguity codes into N; ``strict`` rejects all letters but A, C, G, T (U) and N.
    """

    layer: int | None = None
    pooling: str | None = None
    max_tokens: int | None = None
    strand: Strand = "given"
    long: Long = "truncate"
    alphabet: Alphabet = "iupac"

    def __post_init__(self) -> None:
        """Refuse words that are not among the choices."""
        for name, choices in (("strand", Strand), ("long", Long), ("alphabet", Alphabet)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise UsageError(f"{name} '{value}' is unknown; choose one of {', '.join(get_args(choices))}")
        if self.max_tokens is not None and self.max_tokens < 2:
            raise UsageError(f"max_tokens is {self.max_tokens}; it must be at least 2")


@dataclass(frozen=True)
class Spec:
    """The function from a sequence to a vector, complete.

    Attributes:
        model: Name shown to people. Not part of the fingerprint: the same weights under two names are one function.
        architecture: Family and every setting of the network that moves a vector (JSON scalars only).
        weights: ``sha256:`` over the tensors that the encoder uses, or ``none`` where there are none.
        tokenizer: Name and hash of the tokenizer.
        dimension: Length of a vector.
        layer: Hidden state that is pooled; None for encoders without layers.
        pooling: How token vectors become one vector.
        max_tokens: Token limit in force, special tokens counted; None where there is none.
        strand: See ``Policy``.
        long: See ``Policy``.
        alphabet: See ``Policy``.
        normalisation: ``l2`` for unit vectors, ``none`` as the network gives them.
        licence: Licence of the weights. Not part of the fingerprint.
        revision: Revision of the weights where they came from a hub. Not part of the fingerprint (``weights`` is).
    """

    model: str
    architecture: Mapping[str, Any]
    weights: str
    tokenizer: str
    dimension: int
    layer: int | None
    pooling: str
    max_tokens: int | None
    strand: Strand
    long: Long
    alphabet: Alphabet
    normalisation: Normalisation
    licence: str = ""
    revision: str | None = field(default=None)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (64 hexadecimal digits) of the canonical JSON of everything that moves a vector."""
        function = {k: v for k, v in self.to_dict().items() if k not in ("model", "licence", "revision")}
        return hashlib.sha256(json.dumps(function, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def of_external(cls, name: str, dimension: int) -> Spec:
        """Return the spec of an unknown function with vectors of a length; no two of them have one fingerprint.

        Args:
            name: Name of its version, for people.
            dimension: Length of its vectors.

        Raises:
            UsageError: The dimension is not positive.
        """
        if dimension < 1:
            raise UsageError(f"dimension is {dimension}; it must be at least 1")
        return cls(
            model=f"{EXTERNAL}:{name}",
            architecture={"family": EXTERNAL, "id": secrets.token_hex(16)},
            weights="unknown",
            tokenizer="unknown",
            dimension=dimension,
            layer=None,
            pooling="unknown",
            max_tokens=None,
            strand="given",
            long="truncate",
            alphabet="iupac",
            normalisation="none",
        )

    @property
    def is_external(self) -> bool:
        """Whether nobody but its maker knows the function."""
        return self.architecture.get("family") == EXTERNAL

    @property
    def policy(self) -> Policy:
        """The policy with which a model gives this function again."""
        chosen = self.architecture.get("family") not in WITHOUT_CHOICE
        return Policy(
            layer=self.layer if chosen else None,
            pooling=self.pooling if chosen else None,
            max_tokens=self.max_tokens,
            strand=self.strand,
            long=self.long,
            alphabet=self.alphabet,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the schema number."""
        return {"schema": SPEC_SCHEMA, **asdict(self), "architecture": dict(self.architecture)}

    @classmethod
    def from_dict(cls, values: Any) -> Spec:
        """Read what ``to_dict`` wrote. Raises ValueError on an unknown schema, a missing or a strange field."""
        require(values, {}, "the spec")
        values = dict(values)
        schema = values.pop("schema", None)
        if schema != SPEC_SCHEMA:
            raise ValueError(f"spec schema {brief(schema)}, this version reads {SPEC_SCHEMA}")
        spec = typed(cls, values, "the spec")
        if not 0 < spec.dimension < 2**31:
            raise ValueError(f"dimension of the spec is {spec.dimension}, expected at least 1")
        return spec
