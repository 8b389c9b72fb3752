"""Trained models as encoders (``ednabed.models.base``): load a model folder and compute unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.errors import ModelError
from ednabed.models.barcode.config import BarcodeConfig
from ednabed.models.barcode.files import BIAS, MAP, arrays_digest, read_arrays, table_of
from ednabed.models.barcode.kmers import SpacedKmers
from ednabed.models.base import Encoder, Tokens

# Rows summed together: the intermediate arrays stay small.
_ROWS_AT_ONCE = 256


class BarcodeEncoder(Encoder):
    """Sum the learned vectors of the k-mers of a sequence; both strands of a sequence give the same vector.

    Args:
        config: Settings; ``patterns`` is set.
        table: float32, shape (columns of the patterns, dimension).
        name: Name for people.
        weights: Hash of the weights (``files.arrays_digest``).

    Attributes:
        table: As given; further training starts from it.
        patterns: Patterns of the k-mers.
    """

    def __init__(self, config: BarcodeConfig, table: FloatArray, *, name: str, weights: str) -> None:
        self._kmers = SpacedKmers(config.patterns)
        self.table = table
        self.patterns = config.patterns
        self.name = name
        self.dimension = config.dimension
        self.architecture = {"family": "kmer-map", "version": 1, "patterns": " ".join(config.patterns)}
        self.weights = weights
        self.tokenizer = "canonical-spaced-kmers"
        self.pooling = "sum"
        self.normalisation = "l2"
        self.licence = config.licence
        self.strands_alike = True
        self.prefers_equal_lengths = False
        self.token_budget = 4_000_000

    @classmethod
    def load(cls, folder: Path, config: BarcodeConfig, *, name: str) -> BarcodeEncoder:
        """Load the weights of a folder. Raises ModelError if they are incomplete or damaged."""
        arrays = read_arrays(folder, config, SpacedKmers(config.patterns).columns)
        return cls(config, table_of(arrays), name=name, weights=arrays_digest(arrays))

    def explain_empty(self) -> str:
        """Return why a row is empty."""
        return f"has no {self._kmers.shortest} consecutive bases without N, which {self.name} needs"

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Return the columns of each sequence; see ``SpacedKmers.tokenize``."""
        return self._kmers.tokenize(sequences)

    def forward(self, tokens: Tokens) -> FloatArray:
        """Return the sums, float32, shape (n, dimension); the engine scales them to length 1."""
        from scipy.sparse import csr_array

        out = np.empty((len(tokens), self.dimension), np.float32)
        for first in range(0, len(tokens), _ROWS_AT_ONCE):
            offsets = tokens.offsets[first : first + _ROWS_AT_ONCE + 1]
            ids = tokens.ids[offsets[0] : offsets[-1]]
            counts = csr_array(
                (np.ones(len(ids), np.float32), ids, offsets - offsets[0]),
                shape=(len(offsets) - 1, len(self.table)),
            )
            out[first : first + _ROWS_AT_ONCE] = counts @ self.table
        return out


class MappedEncoder(Encoder):
    """Map the vector of another encoder: its direction times a matrix, plus a bias.

    Args:
        base: The base encoder; its strands, windows and limits apply.
        config: Settings; ``encoder`` is set and agrees with ``base``.
        matrix: float32, shape (base.dimension, dimension).
        bias: float32, shape (dimension,).
        name: Name for people.
        weights: Hash of matrix and bias.
    """

    def __init__(
        self, base: Encoder, config: BarcodeConfig, matrix: FloatArray, bias: FloatArray, *, name: str, weights: str
    ) -> None:
        self._base = base
        self._matrix = matrix
        self._bias = bias
        self.name = name
        self.dimension = config.dimension
        self.max_tokens = base.max_tokens
        self.special_tokens = base.special_tokens
        self.architecture = {
            "family": "mapped", "version": 1, "base_weights": base.weights,
            **{f"base_{key}": value for key, value in base.architecture.items()},
        }  # fmt: skip
        self.weights = weights
        self.tokenizer = base.tokenizer
        self.layer = base.layer
        self.pooling = base.pooling
        self.normalisation = "l2"
        self.licence = config.licence or base.licence
        self.device = base.device
        self.precision = base.precision
        self.token_budget = base.token_budget
        self.prefers_equal_lengths = base.prefers_equal_lengths
        self.strands_alike = base.strands_alike

    @classmethod
    def load(cls, folder: Path, config: BarcodeConfig, base: Encoder, *, name: str) -> MappedEncoder:
        """Load the weights of a folder. Raises ModelError if they or the base encoder are not the expected ones."""
        assert config.encoder is not None
        if base.weights != config.encoder.weights:
            raise ModelError(
                f"{folder}: the model maps vectors of {config.encoder.model} with weights "
                f"{config.encoder.weights[:19]}…, but the weights on this machine are {base.weights[:19]}…; "
                "install the same weights, or train the model again"
            )
        arrays = read_arrays(folder, config, base.dimension)
        return cls(base, config, arrays[MAP], arrays[BIAS], name=name, weights=arrays_digest(arrays))

    def explain_empty(self) -> str:
        """Return why a row is empty."""
        return self._base.explain_empty()

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Return the tokens of the base encoder."""
        return self._base.tokenize(sequences)

    def forward(self, tokens: Tokens) -> FloatArray:
        """Return the mapped vectors, float32, shape (n, dimension); the engine scales them to length 1."""
        return map_vectors(self._base.forward(tokens), self._matrix, self._bias)


def map_vectors(vectors: FloatArray, matrix: FloatArray, bias: FloatArray) -> FloatArray:
    """Return the directions of vectors, shape (n, d), times a matrix, plus a bias; float32, shape (n, dimension)."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(vectors / lengths @ matrix + bias, np.float32)
