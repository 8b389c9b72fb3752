"""Estimate and write the compressed forms of vectors, and compare them value by value with their original."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.base.files import fsync_file
from ednabed.errors import StoreError
from ednabed.store.vectors import COMPRESSED, HALF, VectorFile

WORST_COSINE_ERROR = 1e-3
"""Maximum 1 - cosine between a float16 vector and its original; 4e-8 is typical, 7e-5 has been observed."""
PIECES = 16
PIECE_BYTES = 1_000_000
"""An estimate deflates ``PIECES`` evenly spaced pieces of ``PIECE_BYTES`` each; a smaller file is deflated whole."""

_MEMBER = "embeddings.npy"
_CHUNK = 1 << 20
_BLOCK_BYTES = 4_000_000


def estimate_size(vectors: VectorFile, *, half: bool = False) -> tuple[int, int]:
    """Estimate the size of a compressed form by deflating pieces of the file itself.

    Args:
        vectors: The file to compress.
        half: Float16 instead of the lossless form; its size is known.

    Returns:
        Bytes of the compressed form, and bytes of the file on which the estimate is based (0 for float16, whose size is
        known).

    Raises:
        OSError: The file cannot be read.
    """
    if half:
        return len(_half_header(vectors)) + 2 * vectors.rows * vectors.dimension, 0
    size = vectors.path.stat().st_size
    if vectors.path.name == COMPRESSED:
        return size, size
    whole = size <= PIECES * PIECE_BYTES
    measured = packed = 0
    with vectors.path.open("rb") as file:
        if whole:
            deflate = zlib.compressobj(wbits=-15)
            while piece := file.read(_CHUNK):
                measured += len(piece)
                packed += len(deflate.compress(piece))
            packed += len(deflate.flush())
        else:
            for number in range(PIECES):
                # Start at a multiple of four bytes, so that deflate sees the values aligned as in the whole file.
                file.seek(round(number * (size - PIECE_BYTES) / (PIECES - 1)) // 4 * 4)
                piece = file.read(PIECE_BYTES)
                measured += len(piece)
                packed += len(zlib.compress(piece, wbits=-15))
    return round(packed / max(1, measured) * size) + _archive_overhead(), measured


def write_form(source: VectorFile, path: Path) -> None:
    """Write a compressed form of ``source`` and force it to the disk."""
    if path.name == COMPRESSED:
        # The member has exactly the bytes of the file, as with np.savez_compressed, so its SHA-256 is the original's.
        with (
            source.path.open("rb") as file,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(_MEMBER, "w", force_zip64=True) as member,
        ):
            shutil.copyfileobj(file, member, _CHUNK)
    else:
        with path.open("wb") as file, closing(_blocks(source)) as blocks:
            file.write(_half_header(source))
            first = 0
            for block in blocks:
                half = _to_half(block)
                # Fail here already, before the rest is written.
                _cosine_error(source, first, block, half.astype(np.float32))
                file.write(half.astype("<f2", copy=False).tobytes())
                first += len(block)
    fsync_file(path)


def compare_forms(old: VectorFile, new: VectorFile) -> float | None:
    """Compare every value of a compressed form with its original.

    Returns:
        For float16, the largest 1 - cosine of a row; None for the lossless form, whose bits are equal.

    Raises:
        StoreError: They differ by more than the form allows, or one of them cannot be read.
    """
    if (old.rows, old.dimension) != (new.rows, new.dimension):
        raise StoreError(
            f"{new.path} contains {new.rows} x {new.dimension} values, {old.path} {old.rows} x {old.dimension}: they "
            "are not forms of the same vectors, so nothing is deleted; move the wrong one away"
        )
    worst, first = 0.0, 0
    with closing(_blocks(old)) as originals, closing(_blocks(new)) as compressed:
        for block, other in zip(originals, compressed, strict=True):
            expected = _to_half(block).astype(np.float32) if new.path.name == HALF else block
            # Compare bits, so that NaN equals itself and -0.0 differs from 0.0.
            same = np.asarray(expected.view(np.uint32) == other.view(np.uint32)).all(axis=1)
            if not same.all():
                row = first + int(np.argmin(same))
                raise StoreError(
                    f"{new.path} differs from {old.path} in row {row} (from 0), so nothing is deleted; move the wrong "
                    "one of the two away and run the same command again"
                )
            if new.path.name == HALF:
                worst = max(worst, _cosine_error(old, first, block, other))
            first += len(block)
    return worst if new.path.name == HALF else None


def _to_half(block: FloatArray) -> np.ndarray[Any, np.dtype[np.float16]]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return block.astype(np.float16)


def _cosine_error(source: VectorFile, first: int, block: FloatArray, half: FloatArray) -> float:
    """Return the largest 1 - cosine of a row; ``half`` has float16 values as float32, in the shape of ``block``.

    Raises:
        StoreError: A row is not finite in float16, or too far from its original. Rows are counted from ``first``.
    """
    if not block.size:
        return 0.0
    finite = np.isfinite(half).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise StoreError(
            f"{source.path}: row {row} (from 0) has a value that float16 cannot represent (above 65,504, or not "
            "finite); nothing is deleted; compress without `half=True`"
        )
    # In float64, the squares of float32 values neither overflow nor underflow.
    dot, old, new = (
        np.einsum("ij,ij->i", a, b, dtype=np.float64) for a, b in ((block, half), (block, block), (half, half))
    )
    lost = (old > 0) & (new == 0)
    norms = np.sqrt(old) * np.sqrt(new)
    errors = np.where(lost, 1.0, 1.0 - dot / np.where(norms > 0, norms, 1.0))
    errors[(old == 0) & (new == 0)] = 0.0
    row = int(np.argmax(errors))
    if not errors[row] <= WORST_COSINE_ERROR:
        raise StoreError(
            f"{source.path}: row {first + row} (from 0) would be {errors[row]:.1e} (1 - cosine) from its original in "
            f"float16, more than {WORST_COSINE_ERROR:g}; nothing is deleted; compress without `half=True`"
        )
    return float(max(errors[row], 0.0))


def _blocks(vectors: VectorFile) -> Generator[FloatArray, None, None]:
    """Yield the vectors in blocks of about 4 MB. Close the generator to close the file, for Windows to delete it."""
    yield from vectors.blocks(max(1, _BLOCK_BYTES // (4 * max(1, vectors.dimension))))


def _half_header(vectors: VectorFile) -> bytes:
    buffer = BytesIO()
    header = {"descr": "<f2", "fortran_order": False, "shape": (vectors.rows, vectors.dimension)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _archive_overhead() -> int:
    """Return the bytes that an archive of one member takes in addition to the member's data."""
    buffer = BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive,
        archive.open(_MEMBER, "w", force_zip64=True) as member,
    ):
        member.write(b"")
    return len(buffer.getvalue())
