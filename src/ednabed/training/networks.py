"""The trainable networks: a table of k-mer vectors, or a linear map of another encoder's vectors.

A network turns views into the input of its forward pass (``prepare``, in another thread), computes unit vectors for
them, and provides the contents of the model folder.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ednabed.base.arrays import FloatArray
from ednabed.base.bases import Codes, decode
from ednabed.engine.embed import Engine
from ednabed.errors import InputError
from ednabed.models.barcode.config import BarcodeConfig, EncoderInput
from ednabed.models.barcode.encoder import BarcodeEncoder, MappedEncoder
from ednabed.models.barcode.files import BIAS, MAP, arrays_digest, quantise, table_of
from ednabed.models.barcode.kmers import SpacedKmers
from ednabed.models.base import Embedder, Encoder


class TrainableNetwork(torch.nn.Module):
    """The interface that ``loop`` trains."""

    @abstractmethod
    def prepare(self, views: Sequence[Codes]) -> Any:
        """Turn views (base codes as from ``bases.encode``) into the input of ``forward``."""

    @abstractmethod
    def forward(self, prepared: Any) -> torch.Tensor:
        """Return unit vectors, float32, shape (views, dimension)."""

    @abstractmethod
    def config(self, licence: str) -> BarcodeConfig:
        """Return the configuration of the model as trained so far."""

    @abstractmethod
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights as written to the model folder."""

    @abstractmethod
    def encoder(self, name: str) -> Encoder:
        """Return the encoder that a model folder with these weights would give."""


class KmerNetwork(TrainableNetwork):
    """A learned vector for each canonical k-mer; the vector of a sequence is their normalised sum.

    It starts as a random projection of k-mer counts, so its nearest neighbours are those of k-mers from the first step.

    Args:
        patterns: See ``SpacedKmers``.
        dimension: Length of a vector.
        seed: Seed of the random start.
        table: Vectors to start from instead, float32, shape (columns, dimension).
    """

    def __init__(self, patterns: Sequence[str], dimension: int, seed: int = 0, table: FloatArray | None = None) -> None:
        super().__init__()
        self._kmers = SpacedKmers(patterns)
        self._dimension = dimension
        if table is None:
            table = np.random.default_rng([seed, 1]).standard_normal((self._kmers.columns, dimension), np.float32)
            table /= np.float32(dimension**0.5)
        self.table = torch.nn.Parameter(torch.from_numpy(table.copy()))

    def prepare(self, views: Sequence[Codes]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the k-mer columns of all views and the offset at which each view begins."""
        tokens = self._kmers.tokenize([decode(codes) for codes in views])
        return torch.from_numpy(tokens.ids), torch.from_numpy(tokens.offsets[:-1].astype(np.int32))

    def forward(self, prepared: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return unit vectors; a view without any k-mer gets zeros."""
        columns, offsets = (part.to(self.table.device) for part in prepared)
        return functional.normalize(functional.embedding_bag(columns, self.table, offsets, mode="sum"), dim=1)

    def config(self, licence: str) -> BarcodeConfig:
        """Return the configuration: dimension and patterns."""
        return BarcodeConfig(self._dimension, self._kmers.patterns, None, licence)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the table as integers and scales."""
        return quantise(self.table.detach().cpu().numpy())

    def encoder(self, name: str) -> Encoder:
        """Return the encoder of the table as written."""
        arrays = self.arrays()
        return BarcodeEncoder(self.config(""), table_of(arrays), name=name, weights=arrays_digest(arrays))


class MapNetwork(TrainableNetwork):
    """A learned linear map of another encoder's normalised vectors; the encoder itself stays unchanged.

    Args:
        embedder: The encoder, with a policy for sequences that are too long.
        name: Name, hub id or folder from which the encoder is loaded again.
        dimension: Length of a vector.
        seed: Seed of the random start.
    """

    def __init__(self, embedder: Embedder, name: str, dimension: int, seed: int = 0) -> None:
        super().__init__()
        self._engine = Engine(embedder)
        self._name = name
        base = embedder.spec.dimension
        start = np.random.default_rng([seed, 1]).standard_normal((base, dimension), np.float32) / np.float32(base**0.5)
        self.matrix = torch.nn.Parameter(torch.from_numpy(start))
        self.bias = torch.nn.Parameter(torch.zeros(dimension))

    def prepare(self, views: Sequence[Codes]) -> torch.Tensor:
        """Return the encoder's vectors, normalised, float32, shape (views, dimension of the encoder).

        A view that the encoder refuses, such as a fragment of Ns only, gets zeros.

        Raises:
            InputError: The encoder refuses all of them.
        """
        vectors, refused = self._engine.embed([decode(codes) for codes in views])
        if len(refused) == len(views):
            raise InputError(
                f"{self._name} does not accept sequences such as {decode(views[0])[:30].decode()}… ({refused[0]}); "
                "train on longer ones, or start from another model"
            )
        return functional.normalize(torch.from_numpy(vectors), dim=1)

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        """Return unit vectors."""
        return functional.normalize(prepared.to(self.matrix.device) @ self.matrix + self.bias, dim=1)

    def config(self, licence: str) -> BarcodeConfig:
        """Return the configuration: dimension and the encoder below."""
        spec = self._engine.embedder.spec
        # Encoders without layers do not take a pooling either.
        pooling = None if spec.layer is None else spec.pooling
        return BarcodeConfig(
            self.matrix.shape[1], (), EncoderInput(self._name, spec.weights, spec.layer, pooling), licence
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the matrix and the bias."""
        return {MAP: self.matrix.detach().cpu().numpy(), BIAS: self.bias.detach().cpu().numpy()}

    def encoder(self, name: str) -> Encoder:
        """Return the encoder below with the map on top."""
        arrays = self.arrays()
        base = self._engine.embedder.encoder
        return MappedEncoder(base, self.config(""), arrays[MAP], arrays[BIAS], name=name, weights=arrays_digest(arrays))
