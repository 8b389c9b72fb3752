"""Write and strictly read the weights of a trained model: ``model.safetensors`` next to ``config.json``.

The table of a k-mer model contains, for each column of the patterns, a row of ``dimension`` whole numbers from -127 to
127 and one scale, a quarter of the size of float32; the vectors differ from float32 vectors by less than 1e-4 in
cosine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ednabed.base.arrays import FloatArray
from ednabed.errors import ModelError
from ednabed.models.barcode.config import ADVICE, BarcodeConfig

WEIGHTS = "model.safetensors"
TABLE, SCALE = "table.weight", "table.scale"
MAP, BIAS = "map.weight", "map.bias"
_LIMIT = 127

Arrays = Mapping[str, npt.NDArray[Any]]


def quantise(table: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return a float32 table, shape (columns, dimension), as whole numbers and scales, by their names in the file."""
    scale = np.abs(table).max(axis=1) / _LIMIT
    whole = np.rint(table / np.where(scale > 0, scale, 1)[:, None])
    return {TABLE: whole.astype(np.int8), SCALE: scale.astype(np.float32)}


def table_of(arrays: Arrays) -> FloatArray:
    """Return the float32 table of whole numbers and scales."""
    return np.multiply(arrays[TABLE], arrays[SCALE][:, None], dtype=np.float32)


def expected(config: BarcodeConfig, inputs: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and dtype of each array by name; ``inputs`` is the number of columns or of values of the encoder."""
    if config.encoder is None:
        return {TABLE: ((inputs, config.dimension), np.int8), SCALE: ((inputs,), np.float32)}
    return {MAP: ((inputs, config.dimension), np.float32), BIAS: ((config.dimension,), np.float32)}


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays to a safetensors file."""
    # The package's function for writing files would make them readable only by their owner.
    path.write_bytes(save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))


def read_arrays(folder: Path, config: BarcodeConfig, inputs: int) -> dict[str, npt.NDArray[Any]]:
    """Read the weights.

    Raises:
        ModelError: The file is missing or damaged, or an array is missing, unexpected, of another shape or dtype, or
            not finite.
    """
    path = folder / WEIGHTS
    try:
        arrays = load(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; {ADVICE}") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); {ADVICE}") from error
    expected_arrays = expected(config, inputs)
    for name in sorted(expected_arrays.keys() - arrays.keys()):
        raise ModelError(f"{path}: array '{name}' is missing; {ADVICE}")
    for name in sorted(arrays.keys() - expected_arrays.keys()):
        raise ModelError(f"{path}: array '{name}' is not expected; {ADVICE}")
    for name, (shape, kind) in expected_arrays.items():
        values = arrays[name]
        if values.shape != shape or values.dtype != kind:
            raise ModelError(
                f"{path}: '{name}' is {values.dtype} of shape {values.shape}, "
                f"expected {np.dtype(kind)} of shape {shape}; {ADVICE}"
            )
        if not np.isfinite(values).all():
            raise ModelError(f"{path}: '{name}' contains values that are not finite; {ADVICE}")
    return arrays


def arrays_digest(arrays: Arrays) -> str:
    """Return ``sha256:`` and 64 hexadecimal digits over names, dtypes, shapes and values (little-endian, row-major)."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        found.update(f"{name} {values.dtype.name} {'x'.join(map(str, values.shape))}\n".encode())
        found.update(values.tobytes())
    return f"sha256:{found.hexdigest()}"
