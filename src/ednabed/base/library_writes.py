"""The seam to libraries that write a file by themselves: on a full disk each of them raises something else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ednabed.errors import EdnabedError, StoreError


@contextmanager
def library_writes(path: Path) -> Iterator[None]:
    """Turn whatever a library raises while it writes a file into one error, and remove what it wrote of the file.

    Args:
        path: The file that is written in the block, under the name that it has there.

    Raises:
        StoreError: It could not be written whole.
    """
    try:
        yield
    except EdnabedError:
        path.unlink(missing_ok=True)
        raise
    # FAISS raises RuntimeError, safetensors an error that is only an Exception, others OSError without a name.
    except Exception as error:
        path.unlink(missing_ok=True)
        said = str(error).strip().splitlines() or [type(error).__name__]
        # FAISS puts the place in its own source first.
        reason = said[0].split("Error: ")[-1].rstrip(".")[:200]
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        advice = "free space on the disk" if full else "look at the disk and its free space"
        raise StoreError(
            f"{path} could not be written ({reason}); {advice}, then run the same command again"
        ) from error
