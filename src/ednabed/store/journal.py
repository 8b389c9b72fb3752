"""A journal of computed vectors that survives a killed process: two append-only files in a work folder.

``vectors.f32`` contains rows of little-endian float32; ``digests.bin`` contains one entry of 25 bytes per row: the 24
bytes of the sequence's digest and a flag byte (1: truncated at the token limit). Vectors reach the disk before their
entries, so after a kill or a power failure every complete entry has its vector; incomplete tails are cut off when the
journal is opened.
"""

from __future__ import annotations

import base64
import os
import time
from io import BufferedRandom
from pathlib import Path

import numpy as np

from ednabed.base.arrays import Bools, FloatArray, Ints

_ENTRIES = "digests.bin"
_ENTRY = 25
DIGEST_BYTES = 24
# Maximum bytes held in memory before a flush.
_WAITING_BYTES = 64_000_000


def digest_bytes(digest: str) -> bytes:
    """Return the 24 bytes encoded by a digest ``SQ.…`` (GA4GH refget, sha512t24u)."""
    return base64.urlsafe_b64decode(digest[3:])


def rows_on_disk(folder: Path) -> int:
    """Return the number of complete rows on the disk in the journal of a folder; 0 if there is no journal."""
    try:
        return (folder / _ENTRIES).stat().st_size // _ENTRY
    except FileNotFoundError:
        return 0


class VectorJournal:
    """An append-only store of (digest, vector, truncated) rows.

    Args:
        folder: Work folder; created if missing.
        dimension: Length of a vector.
        flush_seconds: Maximum seconds of work lost if the process is killed.
    """

    def __init__(self, folder: Path, dimension: int, flush_seconds: float = 2.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._row_bytes = dimension * 4
        self._dimension = dimension
        self._flush_seconds = flush_seconds
        self._vectors = _append(folder / "vectors.f32")
        self._entries = _append(folder / _ENTRIES)
        self._rows = 0
        self._waiting_vectors: list[bytes] = []
        self._waiting_entries: list[bytes] = []
        self._waiting_bytes = 0
        self._flushed = time.monotonic()
        self._cut(min(self._vectors.tell() // self._row_bytes, self._entries.tell() // _ENTRY))

    def __enter__(self) -> VectorJournal:
        """Return the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files; appended rows are kept even after an error."""
        self.close()

    def __len__(self) -> int:
        """Return the number of rows, including those not yet on the disk."""
        return self._rows

    @property
    def is_flushed(self) -> bool:
        """Whether every row is on the disk."""
        return not self._waiting_entries

    def entries(self) -> tuple[list[bytes], Bools]:
        """Return the digests (24 bytes each) and truncation flags of all rows."""
        self.flush()
        self._entries.seek(0)
        raw = self._entries.read()
        flags = np.frombuffer(raw, np.uint8).reshape(-1, _ENTRY)[:, DIGEST_BYTES] != 0
        return [raw[i : i + DIGEST_BYTES] for i in range(0, len(raw), _ENTRY)], flags

    def append(self, digests: list[bytes], vectors: FloatArray, truncated: Bools) -> int:
        """Add rows and return the row number of the first. They are on the disk after the next flush."""
        first = self._rows
        self._waiting_vectors.append(np.ascontiguousarray(vectors, "<f4").tobytes())
        self._waiting_entries += [d + (b"\1" if t else b"\0") for d, t in zip(digests, truncated, strict=True)]
        self._waiting_bytes += len(self._waiting_vectors[-1])
        self._rows += len(digests)
        if self._waiting_bytes >= _WAITING_BYTES or time.monotonic() - self._flushed >= self._flush_seconds:
            self.flush()
        return first

    def flush(self) -> None:
        """Write all rows to the disk, vectors first."""
        if self._waiting_entries:
            flushed_rows = self._rows - len(self._waiting_entries)
            for file, size, parts in (
                (self._vectors, self._row_bytes, self._waiting_vectors),
                (self._entries, _ENTRY, self._waiting_entries),
            ):
                # A flush that failed halfway (on a full disk) may have left an incomplete tail.
                file.seek(flushed_rows * size)
                file.truncate()
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            self._waiting_vectors.clear()
            self._waiting_entries.clear()
            self._waiting_bytes = 0
        self._flushed = time.monotonic()

    def reset(self) -> None:
        """Discard all rows because they are stored elsewhere. Rows that are not on the disk yet are not written."""
        self._waiting_vectors.clear()
        self._waiting_entries.clear()
        self._waiting_bytes = 0
        self._cut(0)
        self._flushed = time.monotonic()

    def read(self, rows: Ints) -> FloatArray:
        """Return the vectors of the given rows, float32, shape (len(rows), dimension)."""
        self.flush()
        if not len(rows):
            return np.empty((0, self._dimension), np.float32)
        mapped = np.memmap(self._vectors.name, "<f4", "r", shape=(self._rows, self._dimension))
        try:
            return np.asarray(mapped[rows], np.float32)
        finally:
            # Windows cannot delete a file that is still mapped.
            mapped._mmap.close()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Flush and close the files."""
        if self._vectors.closed:
            return
        try:
            self.flush()
        finally:
            self._vectors.close()
            self._entries.close()

    def _cut(self, rows: int) -> None:
        """Keep the first ``rows`` rows of both files. Entries are cut first, so none is ever without its vector."""
        for file, size in ((self._entries, _ENTRY), (self._vectors, self._row_bytes)):
            file.truncate(rows * size)
        self._rows = rows


def _append(path: Path) -> BufferedRandom:
    path.touch()
    file = path.open("rb+")
    file.seek(0, os.SEEK_END)
    return file
