"""Load the tensors of a checkpoint strictly, and compute the hash that identifies them.

Safetensors files are preferred; a ``.bin`` file is read with ``weights_only``, so that nothing in it can run. Both may
be in shards with an index. A tensor that is missing, unknown, of another shape or kind, or not finite is an error that
names file and key, because a network with random or shuffled weights gives vectors that look right but are wrong.

Names here do not have the ``esm.`` prefix. All tensors are copied, so that no file stays open or mapped after loading.
The hash covers the tensors that the encoder uses, in one canonical form that does not depend on the format of the
files.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ednabed.errors import ModelError
from ednabed.models.fields import read_json_object
from ednabed.models.nucleotide_transformer.config import ADVICE, ROTARY_BASE, NTConfig

log = logging.getLogger("ednabed")

Shape = tuple[int, ...]

_PREFIX = "esm."
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FETCH = "fetch the checkpoint again"

# Tensors for the heads and the training; they do not affect the hidden states.
_UNUSED = re.compile(r"lm_head\..+|contact_head\..+|pooler\.dense\.(weight|bias)|embeddings\.position_ids")
# Heads written by Hugging Face's classes for fine-tuned models, always without the encoder's prefix.
_HEADS = re.compile(r"(classifier|score|cls)\..+")
_INV_FREQ = re.compile(r"(encoder\.layer\.\d+\.attention\.self\.)?rotary_embeddings\.inv_freq")
# With rotary positions, the learned table is still in the file but not used.
_ROTARY = re.compile(rf"embeddings\.position_embeddings\.weight|{_INV_FREQ.pattern}")
# transformers 5 writes the layer norms of a saved model under the names that TensorFlow gave them.
_LAYER_NORM_ALIAS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

# Errors that torch raises for damaged or malicious files: in the archive, its pickle or the records that it names.
_BIN_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
)


@dataclass(frozen=True)
class _File:
    """An open weights file: the keys in it, and a function that reads one tensor."""

    path: Path
    keys: tuple[str, ...]
    read: Callable[[str], torch.Tensor]


def expected_shapes(config: NTConfig) -> dict[str, Shape]:
    """Return the name (without prefix) and shape of every tensor that the encoder uses."""
    hidden, ffn = config.hidden, config.ffn
    shapes: dict[str, Shape] = {"embeddings.word_embeddings.weight": (config.vocab_size, hidden)}
    if config.position == "absolute":
        shapes["embeddings.position_embeddings.weight"] = (config.max_positions, hidden)
    up = 2 * ffn if config.gated else ffn
    for i in range(config.layers):
        layer = f"encoder.layer.{i}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes[f"{layer}{part}.weight"] = (hidden, hidden)
            shapes[f"{layer}{part}.bias"] = (hidden,)
        for norm in ("attention.LayerNorm", "LayerNorm"):
            shapes[f"{layer}{norm}.weight"] = shapes[f"{layer}{norm}.bias"] = (hidden,)
        shapes[f"{layer}intermediate.dense.weight"] = (up, hidden)
        shapes[f"{layer}output.dense.weight"] = (hidden, ffn)
        if config.ffn_bias:
            shapes[f"{layer}intermediate.dense.bias"] = (up,)
            shapes[f"{layer}output.dense.bias"] = (hidden,)
    for part in ("weight", "bias"):
        shapes[f"encoder.emb_layer_norm_after.{part}"] = (hidden,)
    return shapes


def load_tensors(folder: Path, config: NTConfig) -> dict[str, torch.Tensor]:
    """Load the tensors that the encoder uses.

    Tensors of the heads that fine-tuning adds (``classifier.*``, ``score.*``, ``cls.*``) are omitted, with a warning.

    The function reads the first file that exists of ``model.safetensors``, ``model.safetensors.index.json``,
    ``pytorch_model.bin`` and ``pytorch_model.bin.index.json``, in this order.

    Returns:
        float32 tensors on the CPU, contiguous, by the names of ``expected_shapes``. float16, bfloat16 and float64
        weights are converted.

    Raises:
        ModelError: There are no weights, a file is damaged or contains code, or a tensor is missing, unexpected, of
            another shape or kind, in two files, or not finite.
    """
    source, shards = _find(folder)
    expected = expected_shapes(config)
    tensors: dict[str, torch.Tensor] = {}
    origin: dict[str, Path] = {}
    prefixed: tuple[bool, str] | None = None
    heads: list[str] = []
    for path, listed in shards.items():
        with _open(path) as file:
            _check_listing(file, listed, source, shards)
            for key in file.keys:
                if _HEADS.fullmatch(key):
                    heads.append(key)
                    continue
                name = _canonical(key)
                _check_known(path, key, name, expected, config)
                if not key.startswith("lm_head."):
                    prefixed = prefixed or (key.startswith(_PREFIX), key)
                    if key.startswith(_PREFIX) != prefixed[0]:
                        raise ModelError(
                            f"{path}: '{key}' and '{prefixed[1]}' differ in the prefix '{_PREFIX}'; {_FETCH}"
                        )
                if name in origin:
                    where = "in the file twice" if origin[name] == path else f"also in {origin[name].name}"
                    raise ModelError(f"{path}: the tensor of '{key}' is {where}; {_FETCH}")
                origin[name] = path
                if name in expected:
                    tensors[name] = _take(file, key, expected[name])
                elif _INV_FREQ.fullmatch(name):
                    _check_inv_freq(file, key, config)
    missing = [name for name in expected if name not in tensors]
    if missing:
        prefix = _PREFIX if prefixed is not None and prefixed[0] else ""
        raise ModelError(
            f"{source}: tensor '{prefix}{missing[0]}' is missing ({len(missing)} of the {len(expected)} tensors of the "
            f"network are); {_FETCH}"
        )
    if heads:
        # lm_head is not reported, because every published checkpoint has it.
        log.warning(
            "%s: these tensors are not used, because they belong to a head on top of the encoder: %s",
            source,
            ", ".join(heads),
        )
    return tensors


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return ``sha256:`` and 64 hexadecimal digits over names, shapes and values.

    The hash covers, for each name in sorted order, the line ``name 4x3`` (the sizes joined by x) with a line feed, then
    the values as little-endian float32 in row-major order. Files in other formats with the same values have the same
    hash.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {'x'.join(map(str, values.shape))}\n".encode())
        digest.update(np.ascontiguousarray(values.numpy(), "<f4").reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def _canonical(key: str) -> str:
    name = key.removeprefix(_PREFIX)
    for alias, canonical in _LAYER_NORM_ALIAS.items():
        if name.endswith(alias):
            return name.removesuffix(alias) + canonical
    return name


def _check_known(path: Path, key: str, name: str, expected: Mapping[str, Shape], config: NTConfig) -> None:
    if name in expected or _UNUSED.fullmatch(name):
        return
    if config.position == "rotary" and _ROTARY.fullmatch(name):
        return
    raise ModelError(
        f"{path}: tensor '{key}' is unexpected in a network of {config.layers} layers with {config.position} "
        "positions; check that weights and config.json belong together"
    )


def _find(folder: Path) -> tuple[Path, dict[Path, frozenset[str] | None]]:
    """Return the main weights file, and the files to read with the keys that an index lists for each of them."""
    names = (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    )
    for name in names:
        path = folder / name
        if path.is_file():
            return path, _read_index(path) if path.suffix == ".json" else {path: None}
    raise ModelError(f"{folder} has no weights, expected one of {', '.join(names)}; fetch the checkpoint")


def _read_index(index: Path) -> dict[Path, frozenset[str] | None]:
    weight_map = read_json_object(index, ADVICE).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index}: weight_map is not an object of keys and file names; {_FETCH}")
    suffix = index.name.removesuffix(".index.json").rpartition(".")[2]
    listed: dict[str, set[str]] = {}
    for key, name in weight_map.items():
        if not isinstance(name, str) or not _is_plain(name) or not name.endswith(f".{suffix}"):
            raise ModelError(
                f"{index}: the file of '{key}' is {name!r}, expected the plain name of a .{suffix} file next to the "
                f"index; {_FETCH}"
            )
        listed.setdefault(name, set()).add(key)
    shards: dict[Path, frozenset[str] | None] = {}
    for name in sorted(listed):
        path = index.parent / name
        if not path.is_file():
            raise ModelError(f"{path} is missing, but {index.name} lists {len(listed[name])} tensors in it; {_FETCH}")
        shards[path] = frozenset(listed[name])
    return shards


def _is_plain(name: str) -> bool:
    """Return whether a name stays in its folder on every system (a drive or a backslash is a path on Windows)."""
    return PurePosixPath(name).name == name and PureWindowsPath(name).name == name and "\0" not in name


def _check_listing(
    file: _File, listed: frozenset[str] | None, index: Path, shards: Mapping[Path, frozenset[str] | None]
) -> None:
    if listed is None:
        return
    for key in file.keys:
        if key not in listed:
            others = [path.name for path, keys in shards.items() if keys is not None and key in keys]
            listing = f"lists it in {others[0]}" if others else "does not list it"
            raise ModelError(f"{file.path}: tensor '{key}' is in this file, but {index.name} {listing}; {_FETCH}")
    for key in sorted(listed.difference(file.keys)):
        raise ModelError(f"{file.path}: tensor '{key}' is missing, but {index.name} lists it in this file; {_FETCH}")


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    if path.suffix != ".safetensors":
        values = _load_bin(path)
        yield _File(path, tuple(values), values.__getitem__)
        return
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a complete safetensors file ({_first_line(error)}); {_FETCH}") from error
    with file as opened:

        def read(key: str) -> torch.Tensor:
            try:
                tensor: torch.Tensor = opened.get_tensor(key)
            except (SafetensorError, AttributeError) as error:
                # AttributeError: this torch lacks the number format.
                raise ModelError(f"{path}: tensor '{key}' cannot be read ({_first_line(error)}); {_FETCH}") from error
            return tensor

        yield _File(path, tuple(opened.keys()), read)


def _load_bin(path: Path) -> dict[str, torch.Tensor]:
    try:
        # Only the archive format can be mapped; files from torch before 1.6 are read completely.
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _BIN_ERRORS as error:
        raise ModelError(
            f"{path} is damaged or contains more than tensors ({_first_line(error)}), and nothing in it was run; "
            f"{_FETCH}, as safetensors if there is a choice"
        ) from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} contains a {type(values).__name__}, expected a dictionary of tensors; {_FETCH}")
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"{path}: entry {key!r} is a {type(value).__name__}, expected a tensor; {_FETCH}")
    return values


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _take(file: _File, key: str, shape: Shape) -> torch.Tensor:
    tensor = file.read(key)
    if tuple(tensor.shape) != shape:
        raise ModelError(
            f"{file.path}: tensor '{key}' has shape {list(tensor.shape)}, but config.json requires {list(shape)}; "
            "check that weights and config.json belong together"
        )
    if tensor.dtype not in _FLOATS or tensor.layout != torch.strided or tensor.device.type != "cpu":
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device.type}"
        raise ModelError(
            f"{file.path}: tensor '{key}' is of the kind {kind}, expected dense float16, bfloat16, float32 or float64; "
            "use a checkpoint that is not quantised"
        )
    values = torch.empty(shape, dtype=torch.float32)
    values.copy_(tensor.detach())
    if not bool(torch.isfinite(values).all()):
        raise ModelError(f"{file.path}: tensor '{key}' contains values that are not finite in float32; {_FETCH}")
    return values


def _check_inv_freq(file: _File, key: str, config: NTConfig) -> None:
    """Refuse a stored rotary table that differs from the computed one, beyond the coarse rounding of half precision."""
    half = config.head_dim // 2
    expected = torch.from_numpy(rotary_frequencies(config.head_dim)).to(torch.float32)
    stored = _take(file, key, (half,))
    if not torch.allclose(stored, expected, rtol=1e-2, atol=0.0):
        raise ModelError(
            f"{file.path}: tensor '{key}' is not the rotary table of base {ROTARY_BASE:.0f}, and other tables are not "
            "supported; use a checkpoint whose positions are not rescaled"
        )


def rotary_frequencies(head_dim: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the rotation of each pair of values per token, in radians, float64, shape (head_dim / 2,)."""
    return np.asarray(ROTARY_BASE ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim))
