"""The forward pass of the Nucleotide Transformer on packed rows, which need no padding and therefore no mask.

Linear and norm steps see all tokens of the batch as one long row; attention sees each block of equally long rows as a
batch. The residual stream, the norms, the rotation and the pooling are float32; matrix products and attention run in
the requested precision. The steps are small functions with one task each, so that one of them can be replaced by a
faster one for a device.

It is a pre-norm encoder: ``x += attention(norm(x))``, then ``x += feed_forward(norm(x))``, and one norm after the last
block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ednabed.errors import UsageError
from ednabed.models.nucleotide_transformer.config import NTConfig
from ednabed.models.nucleotide_transformer.packing import LengthGroup, Packed
from ednabed.models.nucleotide_transformer.tokenizer import MASK_ID, PAD_ID
from ednabed.models.nucleotide_transformer.weights import rotary_frequencies

PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# In training, 15 % of the tokens were selected, and 80 % of these were masked.
_TRAINED_MASK_RATIO = 0.15 * 0.8

# Maximum length of rows whose attention is computed by plain matrix products on a CPU (see ``_attend_short``).
_SHORT = 256


class Linear:
    """A matrix product, optionally followed by a GELU: weight (out, in) and bias (out,) or None.

    On a CPU, the weight is reordered once into the layout of oneDNN's kernels, if this torch supports it. This avoids
    a reordering at each call, lets the GELU run while its input is in the cache, and in float32 uses oneDNN's kernels
    instead of MKL's (2.3 times as fast on an AMD EPYC). These are torch's own operators, which its compiler emits, but
    they have no public name; without them, ``F.linear`` computes the same product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, with_gelu: bool = False) -> None:
        self._bias = bias
        self._dtype = weight.dtype
        self._with_gelu = with_gelu
        self._packed = _pack(weight)
        self._weight = weight if self._packed is None else None

    def __call__(self, x: Tensor) -> Tensor:
        """Map (total, in) of any float dtype to (total, out) in the compute precision."""
        x = x.to(self._dtype)
        if self._packed is not None:
            name, algorithm = ("gelu", "none") if self._with_gelu else ("none", "")
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, name, [], algorithm)
            return out
        assert self._weight is not None
        out = F.linear(x, self._weight, self._bias)
        return F.gelu(out) if self._with_gelu else out


def _pack(weight: Tensor) -> Tensor | None:
    """Return the weight in oneDNN's own layout, None if that is not possible.

    It is not possible on a GPU, with a torch that lacks the operators, or in bf16 on a CPU for which oneDNN refuses it.
    """
    operators = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if weight.device.type != "cpu" or weight.dtype == torch.float16 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if not all(hasattr(operators, name) for name in names):
        return None
    if weight.dtype == torch.bfloat16 and not operators._is_mkldnn_bf16_supported():
        return None
    # The argument is a hint, here a typical number of tokens; any number works.
    packed: Tensor = operators._reorder_linear_weight(weight.contiguous(), 512)
    return packed


@dataclass(frozen=True)
class Norm:
    """A layer norm in float32: weight and bias (hidden,)."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Map (total, hidden) float32 to the same shape and dtype."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Rotation:
    """Cosine and sine of each token's angles, float32, shape (total, 1, head_dim / 2)."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate the pairs (i, i + head_dim / 2) of (total, heads, head_dim); same shape and dtype."""
        a, b = x.float().chunk(2, dim=-1)
        return torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-1).to(x.dtype)


@dataclass(frozen=True)
class Block:
    """One layer; query, key and value are computed by one product."""

    attention_norm: Norm
    qkv: Linear
    out: Linear
    ffn_norm: Norm
    up: Linear
    down: Linear


def swiglu(x: Tensor) -> Tensor:
    """Map (total, 2 * ffn) to (total, ffn); the first half is the gate."""
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


def attend(qkv: Tensor, heads: int, groups: tuple[LengthGroup, ...], rotation: Rotation | None) -> Tensor:
    """Compute self-attention within each row.

    Args:
        qkv: Query, key and value side by side, shape (total, 3 * hidden).
        heads: Attention heads.
        groups: Blocks of rows of equal length.
        rotation: Rotation of query and key, or None.

    Returns:
        Shape (total, hidden), dtype of ``qkv``.
    """
    total, width = qkv.shape
    split = qkv.view(total, 3 * heads, width // (3 * heads))
    query_key, value = split[:, : 2 * heads], split[:, 2 * heads :]
    if rotation is not None:
        query_key = rotation(query_key)
    query, key = query_key[:, :heads], query_key[:, heads:]
    parts = []
    for group in groups:
        shape = (group.rows, group.length, heads, width // (3 * heads))
        q, k, v = (x[group.start : group.stop].view(shape).transpose(1, 2) for x in (query, key, value))
        short = q.device.type == "cpu" and q.dtype == torch.bfloat16 and group.length <= _SHORT
        mixed = _attend_short(q, k, v) if short else F.scaled_dot_product_attention(q, k, v)
        parts.append(mixed.transpose(1, 2).reshape(-1, width // 3))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_short(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention with two batched products, shapes (rows, heads, length, head_dim).

    torch's fused kernel for CPUs cuts rows into blocks, which does not pay off for a barcode: in bf16, these products
    are 1.8 times as fast at 54 to 250 tokens, and no faster from 500 tokens on.
    """
    rows, heads, length, width = q.shape
    q, k, v = (x.reshape(rows * heads, length, width) for x in (q, k, v))
    empty = torch.empty(1, dtype=q.dtype).expand(rows * heads, length, length)
    scores = torch.baddbmm(empty, q, k.transpose(1, 2), beta=0, alpha=width**-0.5)
    return torch.bmm(torch.softmax(scores, dim=-1), v).view(rows, heads, length, width)


def check_device(device: str) -> None:
    """Raise UsageError if torch cannot compute on this device here."""
    kind, _, number = device.partition(":")
    index = int(number) if number.isdecimal() else 0
    if number and not number.isdecimal():
        raise UsageError(f"device '{device}' is unknown; write {kind}, or {kind}:0 for the first one")
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise UsageError(
            f"device '{device}' is not available: torch finds {torch.cuda.device_count()} CUDA devices; use cpu"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not available: torch finds no Apple GPU; use cpu")


class Network:
    """The encoder up to one layer, on one device in one precision.

    Attributes:
        config: The settings.
        layer: The hidden state that ``vectors`` pools, 0 to ``config.layers``; later blocks are not kept.
        device: The device of the tensors.
    """

    def __init__(self, config: NTConfig, tensors: dict[str, Tensor], layer: int, device: str, precision: str) -> None:
        """Build from the tensors of ``load_tensors``, which are removed from the dictionary to free memory early."""
        self.config = config
        self.layer = layer
        self.device = torch.device(device)
        self._dtype = PRECISIONS[precision]
        self._words = self._move(tensors.pop("embeddings.word_embeddings.weight"))
        self._positions: Tensor | None = None
        self._rotary: tuple[Tensor, Tensor] | None = None
        if config.position == "absolute":
            self._positions = self._move(tensors.pop("embeddings.position_embeddings.weight"))
        else:
            # In float32, the angle of a late token would already be off by 1e-4, so only cosine and sine are rounded.
            angles = np.arange(config.max_tokens)[:, None] * rotary_frequencies(config.head_dim)
            self._rotary = (
                self._move(torch.from_numpy(np.cos(angles).astype(np.float32))),
                self._move(torch.from_numpy(np.sin(angles).astype(np.float32))),
            )
        self._blocks = [self._block(tensors, f"encoder.layer.{i}.") for i in range(layer)]
        self._final_norm = self._norm(tensors, "encoder.emb_layer_norm_after") if layer == config.layers else None
        tensors.clear()

    @torch.inference_mode()
    def vectors(self, batch: Packed, pooling: str) -> Tensor:
        """Return the pooled vectors of the rows in packed order, float32, on the device, shape (n, hidden).

        Args:
            batch: At least one row; with ``mean-no-cls`` each has at least two tokens.
            pooling: ``mean`` over all tokens, ``mean-no-cls`` over the tokens after CLS, or ``cls``.
        """
        *_, x = self._states(batch)
        parts = []
        for group in batch.groups:
            rows = x[group.start : group.stop].view(group.rows, group.length, -1)
            if pooling == "cls":
                parts.append(rows[:, 0])
            else:
                parts.append(rows[:, 1 if pooling == "mean-no-cls" else 0 :].mean(dim=1))
        return torch.cat(parts)

    @torch.inference_mode()
    def hidden_states(self, batch: Packed) -> Tensor:
        """Return every hidden state up to ``layer``, float32, on the device, shape (layer + 1, total, hidden).

        Index 0 contains the embeddings (scaled, with positions) and index i the residual stream after block i; for the
        last layer, the final norm is applied.
        """
        return torch.stack([x.clone() for x in self._states(batch)])

    def _states(self, batch: Packed) -> Iterator[Tensor]:
        """Yield the hidden states in order; each one except the last is overwritten by the next."""
        positions = torch.from_numpy(batch.positions).to(self.device)
        x = self._embed(batch, positions)
        rotation = None
        if self._rotary is not None:
            cos, sin = self._rotary
            rotation = Rotation(cos[positions].unsqueeze(1), sin[positions].unsqueeze(1))
        if self.layer == 0:
            yield x
            return
        for i, block in enumerate(self._blocks, start=1):
            yield x
            x += block.out(attend(block.qkv(block.attention_norm(x)), self.config.heads, batch.groups, rotation))
            up = block.up(block.ffn_norm(x))
            x += block.down(swiglu(up) if self.config.gated else up)
            if i == self.layer:
                yield x if self._final_norm is None else self._final_norm(x)

    def _embed(self, batch: Packed, positions: Tensor) -> Tensor:
        ids = torch.from_numpy(batch.ids).to(self.device)
        x = self._words[ids]
        if self.config.token_dropout:
            if batch.mask_ratio is None:
                x *= 1 - _TRAINED_MASK_RATIO
            else:
                ratio = torch.from_numpy(batch.mask_ratio).to(self.device).unsqueeze(1)
                x.masked_fill_((ids == MASK_ID).unsqueeze(1), 0.0)
                x *= (1 - _TRAINED_MASK_RATIO) / (1 - ratio)
        if self._positions is not None:
            # The table's rows up to the padding row are not used: the first token, CLS, has the row after it.
            x += self._positions[positions + (PAD_ID + 1)]
        return x

    def _block(self, tensors: dict[str, Tensor], layer: str) -> Block:
        parts = [f"{layer}attention.self.{part}" for part in ("query", "key", "value")]
        weight = torch.cat([tensors.pop(f"{part}.weight") for part in parts])
        bias = torch.cat([tensors.pop(f"{part}.bias") for part in parts])
        return Block(
            attention_norm=self._norm(tensors, f"{layer}attention.LayerNorm"),
            qkv=Linear(self._move(weight, self._dtype), self._move(bias, self._dtype)),
            out=self._linear(tensors, f"{layer}attention.output.dense"),
            ffn_norm=self._norm(tensors, f"{layer}LayerNorm"),
            up=self._linear(tensors, f"{layer}intermediate.dense", with_gelu=not self.config.gated),
            down=self._linear(tensors, f"{layer}output.dense"),
        )

    def _linear(self, tensors: dict[str, Tensor], name: str, with_gelu: bool = False) -> Linear:
        bias = tensors.pop(f"{name}.bias", None)
        return Linear(
            self._move(tensors.pop(f"{name}.weight"), self._dtype),
            None if bias is None else self._move(bias, self._dtype),
            with_gelu,
        )

    def _norm(self, tensors: dict[str, Tensor], name: str) -> Norm:
        return Norm(self._move(tensors.pop(f"{name}.weight")), self._move(tensors.pop(f"{name}.bias")), self.config.eps)

    def _move(self, tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return tensor.to(self.device, dtype)
