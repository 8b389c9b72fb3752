"""Members of zip archives from elsewhere: what damage raises, and which sizes are credible."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

MAGIC = b"PK\x03\x04"
MAX_BYTES = 64 * 10**9
"""Maximum size of the data of a member, decompressed."""
MAX_RATIO = 200
"""Maximum ratio of compression of data above ``SMALL_BYTES``: sequences and counts do not reach it."""
SMALL_BYTES = 100 * 10**6
DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, NotImplementedError,
    ValueError, OverflowError, OSError,
)  # fmt: skip
"""What the zip reader raises for an archive that is cut, damaged, encrypted or compressed in an unknown way."""


def is_credible(member: zipfile.ZipInfo, most: int = MAX_BYTES) -> bool:
    """Return whether a member may be decompressed: not more than ``most`` bytes, and not packed like a bomb."""
    too_dense = member.file_size > SMALL_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1)
    return member.file_size <= most and not too_dense
