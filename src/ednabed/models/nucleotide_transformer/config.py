"""Settings of a Nucleotide Transformer checkpoint, read from ``config.json``; unknown values are refused.

The file is treated as data: ``auto_map`` and other pointers to code are ignored. Every setting that changes the
computation is read here, and any value that the forward pass of this package does not implement is an error, because a
network that runs with another computation gives vectors that look right but are wrong. The tokenizer follows from the
number of embedding rows; a ``vocab.txt`` next to the file must agree with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ednabed.errors import ModelError
from ednabed.models.fields import Fields, read_json_object
from ednabed.models.nucleotide_transformer.tokenizer import LAYOUTS, MASK_ID, PAD_ID, KmerTokenizer

Position = Literal["absolute", "rotary"]

ROTARY_BASE = 10_000.0
ADVICE = "use a checkpoint of Nucleotide Transformer v1, v2 or AgroNT"


@dataclass(frozen=True)
class NTConfig:
    """The settings of one network.

    Attributes:
        vocab_size: Rows of the embedding: 4105 (v1, AgroNT), 4107 (v2) or 75 (v2, 3-mers).
        hidden: Width of the residual stream.
        layers: Number of blocks.
        heads: Attention heads; each has ``hidden / heads`` values.
        ffn: Width of the feed-forward part, after the gate if there is one.
        gated: Whether the feed-forward part is SwiGLU (v2) instead of GELU with the error function (v1, AgroNT).
        ffn_bias: Whether the feed-forward layers have a bias.
        position: ``absolute`` adds learned positions to the embedding, ``rotary`` rotates queries and keys.
        max_positions: Rows of the position table, two more than the token limit.
        eps: Epsilon of the layer norms.
        token_dropout: Whether embeddings are scaled as under masking in training (by 0.88 if nothing is masked).
    """

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    ffn: int
    gated: bool
    ffn_bias: bool
    position: Position
    max_positions: int
    eps: float
    token_dropout: bool

    @property
    def max_tokens(self) -> int:
        """Maximum tokens of a row, including CLS."""
        return self.max_positions - PAD_ID - 1

    @property
    def head_dim(self) -> int:
        """Number of values of one attention head."""
        return self.hidden // self.heads

    @property
    def tokenizer(self) -> KmerTokenizer:
        """The tokenizer that belongs to the embedding."""
        return LAYOUTS[self.vocab_size]


def read_nt_config(folder: Path) -> NTConfig:
    """Read ``config.json`` of a checkpoint folder and check ``vocab.txt`` if it exists.

    Raises:
        ModelError: A file is missing or not readable, a key is missing or has a value that is not supported, or the
            vocabulary does not match.
    """
    path = folder / "config.json"
    fields = Fields(path, read_json_object(path, ADVICE), ADVICE)
    fields.require("model_type", (None, "esm"))
    fields.require("is_folding_model", (None, False))
    fields.require("esmfold_config", (None,))
    fields.require("emb_layer_norm_before", (None, False))
    fields.require("is_decoder", (None, False))
    fields.require("add_cross_attention", (None, False))
    fields.require("hidden_act", (None, "gelu"))
    fields.require("pad_token_id", (PAD_ID,))
    fields.require("position_embedding_type", ("absolute", "rotary"))
    fields.require("vocab_size", tuple(LAYOUTS))
    # Only InstaDeep's v2 code uses this key, and its feed-forward part is always gated.
    fields.require("add_bias_fnn", (None, False, True))
    add_bias_fnn = fields.values.get("add_bias_fnn")
    token_dropout = fields.boolean("token_dropout")
    if token_dropout:
        fields.require("mask_token_id", (MASK_ID,))
    config = NTConfig(
        vocab_size=fields.integer("vocab_size", 1, 1_000_000),
        hidden=fields.integer("hidden_size", 1, 1_000_000),
        layers=fields.integer("num_hidden_layers", 1, 1_000),
        heads=fields.integer("num_attention_heads", 1, 1_000_000),
        ffn=fields.integer("intermediate_size", 1, 1_000_000),
        gated=add_bias_fnn is not None,
        ffn_bias=add_bias_fnn is not False,
        position=cast(Position, fields.values["position_embedding_type"]),
        max_positions=fields.integer("max_position_embeddings", 4, 1_000_000),
        eps=fields.positive("layer_norm_eps"),
        token_dropout=token_dropout,
    )
    if config.hidden % config.heads:
        fields.refuse("num_attention_heads", f"a divisor of hidden_size, which is {config.hidden}")
    if config.position == "rotary":
        if config.head_dim % 2:
            fields.refuse("num_attention_heads", f"an even head width (hidden_size {config.hidden} / heads)")
        fields.require("rope_theta", (None, ROTARY_BASE))
        fields.require("rope_scaling", (None,))
        fields.require("rope_parameters", (None, {"rope_theta": ROTARY_BASE, "rope_type": "default"}))
    _check_vocabulary(folder / "vocab.txt", config.tokenizer)
    return config


def _check_vocabulary(path: Path, tokenizer: KmerTokenizer) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the file again or remove it") from error
    expected = list(tokenizer.vocabulary)
    if "<eos>" not in expected and len(lines) > len(expected):
        # The v1 files list two more tokens, which have no embedding row.
        expected += ["<eos>", "<bos>"]
    if lines == expected:
        return
    if len(lines) != len(expected):
        difference = f"has {len(lines)} lines, expected {len(expected)}"
    else:
        index = next(i for i, (found, token) in enumerate(zip(lines, expected, strict=True)) if found != token)
        difference = f"line {index + 1} is {lines[index]!r}, expected {expected[index]!r}"
    raise ModelError(
        f"{path}: {difference}, because {len(tokenizer.vocabulary)} embedding rows mean {tokenizer.name}; {ADVICE}"
    )
