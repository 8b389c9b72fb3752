"""The Nucleotide Transformer as an encoder (``ednabed.models.base``): load a checkpoint folder and compute vectors.

``load`` combines the parts: settings and tokenizer, strictly loaded weights with their hash, and the network up to the
requested layer. torch is imported when a network is loaded, not with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.errors import ModelError, UsageError
from ednabed.models.base import Encoder, Tokens
from ednabed.models.nucleotide_transformer.config import NTConfig, read_nt_config
from ednabed.models.nucleotide_transformer.packing import pack

if TYPE_CHECKING:
    from ednabed.models.nucleotide_transformer.network import Network

POOLINGS = ("mean", "mean-no-cls", "cls")
# On a CPU the speed is constant from 500 to 2,000 tokens (benchmarks/bench_nt.py); more tokens only need more memory.
TOKEN_BUDGETS = {"cpu": 1_024, "cuda": 65_536, "mps": 8_192}


class NucleotideTransformer(Encoder):
    """A Nucleotide Transformer: tokens to a float32 vector of ``dimension`` values, not normalised."""

    special_tokens = 1

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        weights: str,
        pooling: str = "mean",
        device: str = "cpu",
        precision: str = "fp32",
        licence: str = "",
        revision: str | None = None,
    ) -> None:
        """Wrap a network; normally called by ``load``."""
        config = network.config
        self._network = network
        self._tokenizer = config.tokenizer
        self.name = name
        self.dimension = config.hidden
        self.max_tokens = config.max_tokens
        self.architecture = architecture(config)
        self.weights = weights
        self.tokenizer = config.tokenizer.identity
        self.layer = network.layer
        self.pooling = pooling
        self.licence = licence
        self.revision = revision
        self.device = device
        self.precision = precision
        self.token_budget = TOKEN_BUDGETS[device.partition(":")[0]]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        layer: int | None = None,
        pooling: str | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        licence: str = "",
        revision: str | None = None,
    ) -> NucleotideTransformer:
        """Load a checkpoint folder in the Hugging Face file layout.

        Args:
            folder: Folder with ``config.json`` and the weights (see ``weights.load_tensors``); ``vocab.txt`` is
                optional.
            name: Name for people.
            layer: Hidden state to pool, 0 (the embeddings) to the number of blocks (after the final norm); later blocks
                are not run. None takes the last state.
            pooling: ``mean`` over all tokens with CLS, ``mean-no-cls`` or ``cls``. None takes ``mean``.
            device: ``cpu``, ``cuda`` (or ``cuda:1``) or ``mps``.
            precision: Precision of the matrix products: ``fp32``, ``bf16`` or ``fp16``; all else is float32.
            licence: Licence of the weights.
            revision: Revision of the weights, or None.

        Raises:
            UsageError: Layer, pooling or precision is not among the choices, or the device does not exist.
            ModelError: The folder is not a complete checkpoint of a supported layout.
        """
        pooling = "mean" if pooling is None else pooling
        _choose("pooling", pooling, POOLINGS)
        _choose("device", device.partition(":")[0], tuple(TOKEN_BUDGETS))
        config = read_nt_config(folder)
        layer = config.layers if layer is None else layer
        if not 0 <= layer <= config.layers:
            raise UsageError(f"layer {layer} does not exist in {name}; choose one from 0 to {config.layers}")

        from ednabed.models.nucleotide_transformer.network import PRECISIONS, Network, check_device
        from ednabed.models.nucleotide_transformer.weights import load_tensors, weights_digest

        _choose("precision", precision, tuple(PRECISIONS))
        check_device(device)
        tensors = load_tensors(folder, config)
        digest = weights_digest(tensors)
        return cls(
            Network(config, tensors, layer, device, precision),
            name=name,
            weights=digest,
            pooling=pooling,
            device=device,
            precision=precision,
            licence=licence,
            revision=revision,
        )

    def tokenize(self, sequences: Sequence[bytes]) -> Tokens:
        """Tokenise upper-case A, C, G, T and N; see ``KmerTokenizer``. Raises ValueError on any other byte."""
        return self._tokenizer(sequences)

    def forward(self, tokens: Tokens) -> FloatArray:
        """Add CLS to each row and return the vectors of a batch; float32, shape (len(tokens), dimension).

        Raises:
            ModelError: A row has no token other than CLS and the pooling is ``mean-no-cls``.
            ValueError: A row is longer than ``max_tokens``, or the model does not have a token id.
        """
        vectors = np.empty((len(tokens), self.dimension), np.float32)
        if not len(tokens):
            return vectors
        if self.pooling == "mean-no-cls" and not tokens.lengths.all():
            raise ModelError(
                f"{self.name}: row {int(tokens.lengths.argmin())} has no token, so pooling mean-no-cls has nothing to "
                "average; reject empty sequences or choose the pooling mean"
            )
        batch = pack(tokens, self._network.config.vocab_size, self.max_tokens or 0)
        vectors[batch.order] = self._network.vectors(batch, self.pooling).cpu().numpy()
        return vectors

    def hidden_states(self, tokens: Tokens) -> list[FloatArray]:
        """Return every hidden state up to ``layer`` of each row, CLS first, in the order of the rows.

        Returns:
            One float32 array per row, shape (layer + 1, tokens with CLS, dimension); index 0 contains the embeddings,
            index i the residual stream after block i, or for the last layer the state after the final norm.
        """
        states: list[FloatArray] = [np.empty(0, np.float32)] * len(tokens)
        if not len(tokens):
            return states
        batch = pack(tokens, self._network.config.vocab_size, self.max_tokens or 0)
        packed: FloatArray = self._network.hidden_states(batch).cpu().numpy()
        ends = np.cumsum(tokens.lengths[batch.order] + 1)
        for row, part in zip(batch.order, np.split(packed, ends[:-1], axis=1), strict=True):
            states[row] = part
        return states


def architecture(config: NTConfig) -> dict[str, Any]:
    """Return the settings that affect a vector, as JSON scalars; hashes identify weights and tokenizer."""
    return {
        "family": "nucleotide-transformer",
        "hidden": config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "ffn": config.ffn,
        "activation": "swiglu" if config.gated else "gelu",
        "ffn_bias": config.ffn_bias,
        "position": config.position,
        "eps": config.eps,
        "token_dropout": config.token_dropout,
    }


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} '{value}' is unknown; choose one of {', '.join(choices)}")
