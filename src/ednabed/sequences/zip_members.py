"""Members of untrusted zip archives: the errors that damage raises, and which sizes are credible."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

MAGIC = b"PK\x03\x04"
MAX_BYTES = 64 * 10**9
"""Maximum decompressed size of a member."""
MAX_RATIO = 200
"""Maximum compression ratio of data above ``SMALL_BYTES``: sequences and counts do not reach it."""
SMALL_BYTES = 100 * 10**6
DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, NotImplementedError,
    ValueError, OverflowError, OSError,
)  # fmt: skip
"""Errors of the zip reader for an archive that is truncated, damaged, encrypted or of an unknown compression."""


def is_credible(member: zipfile.ZipInfo, max_bytes: int = MAX_BYTES) -> bool:
    """Return whether a member may be decompressed: at most ``max_bytes`` bytes, and not a zip bomb."""
    too_dense = member.file_size > SMALL_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1)
    return member.file_size <= max_bytes and not too_dense
