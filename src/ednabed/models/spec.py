"""The condition for comparable vectors: the specification of the function that computes them, and its fingerprint.

``Policy`` contains the user's choices around a network; ``Spec`` is the complete function: network, weights, tokenizer
and policy. Device, precision and batch size are omitted on purpose: they are recorded with a run but do not identify
the function.
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
"""Family of an external function: its vectors can be compared with each other, but ednabed cannot compute new ones."""
WITHOUT_CHOICE = ("kmer", "kmer-map", "mapped", EXTERNAL)
"""Families of networks without a choice of layer and pooling."""


@dataclass(frozen=True)
class Policy:
    """The treatment of a sequence before and after the network.

    Attributes:
        layer: Hidden state to pool, counted from 0 (the embeddings) to the number of blocks (the final one, after the
            last layer norm). None takes the final state. Encoders without layers accept only None.
        pooling: ``mean`` (over all tokens with the class token, as the model cards do), ``mean-no-cls`` or ``cls``;
            None takes the encoder's default.
        max_tokens: A lower token limit than the model's, including special tokens. None keeps the model's own limit.
        strand: ``given``, or ``both`` for the mean of the vectors of the two strands.
        long: Treatment of a sequence above the token limit: ``truncate`` keeps its first tokens, ``window`` takes the
            mean over consecutive windows of nearly equal length, ``reject`` rejects the record.
        alphabet: ``iupac`` turns ambiguity codes into N; ``strict`` rejects all characters except A, C, G, T (U) and N.
    """

    layer: int | None = None
    pooling: str | None = None
    max_tokens: int | None = None
    strand: Strand = "given"
    long: Long = "truncate"
    alphabet: Alphabet = "iupac"

    def __post_init__(self) -> None:
        """Refuse values that are not among the choices."""
        for name, choices in (("strand", Strand), ("long", Long), ("alphabet", Alphabet)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise UsageError(f"{name} '{value}' is unknown; choose one of {', '.join(get_args(choices))}")
        if self.max_tokens is not None and self.max_tokens < 2:
            raise UsageError(f"`max_tokens` is {self.max_tokens}; it must be at least 2")


@dataclass(frozen=True)
class Spec:
    """The complete function from a sequence to a vector.

    Attributes:
        model: Name for people. Not part of the fingerprint: the same weights under two names are one function.
        architecture: Family and every setting of the network that affects a vector (JSON scalars only).
        weights: ``sha256:`` over the tensors that the encoder uses, or ``none`` if there are none.
        tokenizer: Name and hash of the tokenizer.
        dimension: Length of a vector.
        layer: Hidden state that is pooled; None for encoders without layers.
        pooling: How token vectors become one vector.
        max_tokens: Effective token limit, including special tokens; None if there is none.
        strand: See ``Policy``.
        long: See ``Policy``.
        alphabet: See ``Policy``.
        normalisation: ``l2`` for unit vectors, ``none`` for vectors as the network computes them.
        licence: Licence of the weights. Not part of the fingerprint.
        revision: Revision of the weights if they came from a hub. Not part of the fingerprint (``weights`` is).
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
        """SHA-256 (64 hexadecimal digits) of the canonical JSON of everything that affects a vector."""
        function = {k: v for k, v in self.to_dict().items() if k not in ("model", "licence", "revision")}
        return hashlib.sha256(json.dumps(function, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def of_external(cls, name: str, dimension: int) -> Spec:
        """Return the spec of an unknown function with vectors of a given length; each has a different fingerprint.

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
        """Whether the function is external, so that ednabed cannot compute it."""
        return self.architecture.get("family") == EXTERNAL

    @property
    def policy(self) -> Policy:
        """The policy that reproduces this function with its model."""
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
        """Read the output of ``to_dict``. Raises ValueError for an unknown schema or a missing or unexpected field."""
        require(values, {}, "the spec")
        values = dict(values)
        schema = values.pop("schema", None)
        if schema != SPEC_SCHEMA:
            raise ValueError(f"the spec has schema {brief(schema)}, but this version reads {SPEC_SCHEMA}")
        spec = typed(cls, values, "the spec")
        if not 0 < spec.dimension < 2**31:
            raise ValueError(f"the dimension of the spec is {spec.dimension}, expected at least 1")
        return spec
