"""Computed vectors that survive a kill: two append-only files in a work folder.

``vectors.f32`` holds rows of little-endian float32; ``digests.bin`` one entry of 25 bytes a row: the 24 bytes of the
sequence's digest and a flag byte (1: truncated at the token limit). Vectors reach the disk before their entries do, so
after a kill or a power cut every whole entry has its vector; torn tails are cut off when the journal is opened.
"""

from __future__ import annotations

import base64
import os
import time
from io import BufferedRandom
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ednabed.models.base import FloatArray

_ENTRIES = "digests.bin"
_ENTRY = 25
DIGEST_BYTES = 24
# More than this is not held back in memory.
_WAITING_BYTES = 64_000_000


def digest_bytes(digest: str) -> bytes:
    """Return the 24 bytes behind a digest ``SQ.…`` (GA4GH refget, sha512t24u)."""
    return base64.urlsafe_b64decode(digest[3:])


def rows_on_disk(folder: Path) -> int:
    """Return how many whole rows the journal in a folder has on the disk; 0 where there is none."""
    try:
        return (folder / _ENTRIES).stat().st_size // _ENTRY
    except FileNotFoundError:
        return 0


class VectorJournal:
    """An append-only store of (digest, vector, truncated) rows.

    Args:
        folder: Work folder; made if absent.
        dimension: Length of a vector.
        flush_seconds: Work of so many seconds at most is lost by a kill.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files; what was appended is kept, also after an error."""
        self.close()

    def __len__(self) -> int:
        """Return the number of rows, those not yet on the disk counted."""
        return self._rows

    @property
    def is_flushed(self) -> bool:
        """Whether every row is on the disk."""
        return not self._waiting_entries

    def entries(self) -> tuple[list[bytes], npt.NDArray[np.bool_]]:
        """Return the digests (24 bytes each) and truncation flags of all rows."""
        self.flush()
        self._entries.seek(0)
        raw = self._entries.read()
        flags = np.frombuffer(raw, np.uint8).reshape(-1, _ENTRY)[:, DIGEST_BYTES] != 0
        return [raw[i : i + DIGEST_BYTES] for i in range(0, len(raw), _ENTRY)], flags

    def append(self, digests: list[bytes], vectors: FloatArray, truncated: npt.NDArray[np.bool_]) -> int:
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
        """Bring all rows to the disk, vectors first."""
        if self._waiting_entries:
            done = self._rows - len(self._waiting_entries)
            for file, size, parts in (
                (self._vectors, self._row_bytes, self._waiting_vectors),
                (self._entries, _ENTRY, self._waiting_entries),
            ):
                # A flush that failed half-way (a full disk) may have left a torn tail.
                file.seek(done * size)
                file.truncate()
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            self._waiting_vectors.clear()
            self._waiting_entries.clear()
            self._waiting_bytes = 0
        self._flushed = time.monotonic()

    def reset(self) -> None:
        """Forget all rows: they are safe elsewhere. Rows that never reached the disk do not go there."""
        self._waiting_vectors.clear()
        self._waiting_entries.clear()
        self._waiting_bytes = 0
        self._cut(0)
        self._flushed = time.monotonic()

    def read(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        """Return the vectors of the given rows, float32, shape (len(rows), dimension)."""
        self.flush()
        if not len(rows):
            return np.empty((0, self._dimension), np.float32)
        mapped = np.memmap(self._vectors.name, "<f4", "r", shape=(self._rows, self._dimension))
        try:
            return np.asarray(mapped[rows], np.float32)
        finally:
            # Windows cannot remove a file that is still mapped.
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
        """Keep the first ``rows`` rows of both files. Entries go first, so that none is ever without its vector."""
        for file, size in ((self._entries, _ENTRY), (self._vectors, self._row_bytes)):
            file.truncate(rows * size)
        self._rows = rows


def _append(path: Path) -> BufferedRandom:
    path.touch()
    file = path.open("rb+")
    file.seek(0, os.SEEK_END)
    return file
