"""The vectors of a run in any form (float32, float16 or a compressed archive), read block by block.

``embed`` writes ``embeddings.npy``. ``compress`` writes ``embeddings.npz`` (the same float32 values, deflated) or
``embeddings.f16.npy`` (float16, half the size). All are read as float32, and no form is loaded completely unless
requested. Pickles are never read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import FloatArray, Ints
from ednabed.errors import StoreError

EMBEDDINGS = "embeddings.npy"
HALF = "embeddings.f16.npy"
COMPRESSED = "embeddings.npz"
FORMS = (EMBEDDINGS, COMPRESSED, HALF)
"""Names of the forms in order of preference, the exact ones first."""

_MEMBER = "embeddings.npy"
# numpy raises the last two for some damaged headers.
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError, TokenError,
)  # fmt: skip
BLOCK_BYTES = 32_000_000
"""Approximate bytes of a block of vectors as float32."""


@dataclass(frozen=True)
class VectorFile:
    """One file of vectors.

    Attributes:
        path: Path of the file.
        rows: Number of vectors.
        dimension: Length of a vector.
        dtype: Data type of the file: float32 or float16.
    """

    path: Path
    rows: int
    dimension: int
    dtype: np.dtype[Any]

    @classmethod
    def open(cls, folder: Path, name: str | None = None) -> VectorFile:
        """Read the header of the vectors of a run folder.

        Args:
            folder: Run folder.
            name: File name of the form; None takes the preferred one of those that exist.

        Raises:
            StoreError: There is no file, or its header is damaged, needs a pickle, or does not describe a matrix of the
                type of this form.
        """
        if name is None:
            name = next((form for form in FORMS if (folder / form).exists()), EMBEDDINGS)
        path = folder / name
        try:
            if name == COMPRESSED:
                with zipfile.ZipFile(path) as archive, archive.open(_MEMBER) as member:
                    shape, _, dtype = _header(member)
            else:
                with path.open("rb") as file:
                    shape, _, dtype = _header(file)
                    size = path.stat().st_size - file.tell()
                expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                if size != expected and not dtype.hasobject:
                    raise ValueError(f"it has {size} bytes of values, but its header states {expected}")
            if dtype.hasobject:
                raise ValueError("it contains Python objects, which would need a pickle")
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error
        expected_type = np.float16 if name == HALF else np.float32
        if len(shape) != 2 or dtype != expected_type:
            raise StoreError(
                f"{path} contains {dtype} values of shape {shape}; expected a {np.dtype(expected_type).name} matrix, "
                "one row per record"
            )
        return cls(path, shape[0], shape[1], dtype)

    @property
    def mapped(self) -> npt.NDArray[Any] | None:
        """The file as a memory map in its own type, shape (rows, dimension); None if it cannot be mapped (npz)."""
        if self.path.name == COMPRESSED:
            return None
        try:
            array: npt.NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        return array

    def blocks(self, rows: int | None = None) -> Iterator[FloatArray]:
        """Yield the vectors in order as float32 blocks of shape (at most ``rows``, dimension); None means about 32 MB.

        Nothing is mapped, so memory use stays at one block. Raises StoreError if the file is damaged.
        """
        rows = max(1, BLOCK_BYTES // (4 * max(1, self.dimension))) if rows is None else rows
        try:
            if self.path.name == COMPRESSED:
                with zipfile.ZipFile(self.path) as archive, archive.open(_MEMBER) as member:
                    yield from self._blocks(member, rows)
            else:
                with self.path.open("rb") as file:
                    yield from self._blocks(file, rows)
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from error

    def _blocks(self, file: Any, rows: int) -> Iterator[FloatArray]:
        _, fortran, _ = _header(file)
        if fortran and min(self.rows, self.dimension) > 1:
            # Column order cannot be read by rows; only tools other than ednabed write it.
            values = np.frombuffer(_read(file, self.rows * self.dimension, self.dtype), self.dtype)
            by_row = values.reshape(self.dimension, self.rows).T
            for first in range(0, self.rows, rows):
                yield np.ascontiguousarray(by_row[first : first + rows], np.float32)
            return
        for first in range(0, self.rows, rows):
            count = min(rows, self.rows - first)
            block = np.frombuffer(_read(file, count * self.dimension, self.dtype), self.dtype)
            yield np.asarray(block.reshape(count, self.dimension), np.float32)
        if file.read(1):
            raise ValueError("it has more values than its header states")

    def take(self, rows: Ints) -> FloatArray:
        """Return the vectors of the given rows, float32, shape (len(rows), dimension).

        Rows are read one by one from their position in the file. They are not mapped, because the system would map
        64 kB around each row. An archive is read from beginning to end.
        """
        out = np.empty((len(rows), self.dimension), np.float32)
        if self.path.name == COMPRESSED:
            first = 0
            for block in self.blocks():
                in_block = np.flatnonzero((rows >= first) & (rows < first + len(block)))
                out[in_block] = block[rows[in_block] - first]
                first += len(block)
            return out
        try:
            with self.path.open("rb") as file:
                _, fortran, _ = _header(file)
                if fortran and min(self.rows, self.dimension) > 1:
                    return self.load()[rows]
                begin = file.tell()
                size = self.dimension * self.dtype.itemsize
                for i, row in enumerate(rows.tolist()):
                    file.seek(begin + row * size)
                    out[i] = np.frombuffer(_read(file, self.dimension, self.dtype), self.dtype)
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        return out

    def load(self) -> FloatArray:
        """Return all vectors, float32, in memory."""
        return np.concatenate([np.empty((0, self.dimension), np.float32), *self.blocks()])


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _read(file: Any, values: int, dtype: np.dtype[Any]) -> bytes:
    expected = values * dtype.itemsize
    data: bytes = file.read(expected)
    if len(data) != expected:
        raise EOFError(f"it ends after {len(data)} of {expected} bytes")
    return data


def _unreadable(path: Path, error: BaseException) -> StoreError:
    if isinstance(error, StoreError):
        return error
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path} is missing; restore it from a backup or embed the input again")
    return StoreError(f"{path} cannot be read as an array ({error}); restore it from a backup or embed the input again")
