"""Error handling around libraries that write files themselves; on a full disk each raises a different error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ednabed.errors import EdnabedError, StoreError


@contextmanager
def library_writes(path: Path) -> Iterator[None]:
    """Turn whatever a library raises while it writes a file into one error, and remove the partial file.

    Args:
        path: The file that is written in the block, under the name used there.

    Raises:
        StoreError: The file could not be written completely.
    """
    try:
        yield
    except EdnabedError:
        path.unlink(missing_ok=True)
        raise
    # FAISS raises RuntimeError, safetensors a plain Exception, and others an OSError without a file name.
    except Exception as error:
        path.unlink(missing_ok=True)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # FAISS puts the location in its own source code first.
        reason = lines[0].split("Error: ")[-1].rstrip(".")[:200]
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        advice = "free space on the disk" if full else "check the disk and its free space"
        raise StoreError(
            f"{path} could not be written ({reason}); {advice}, then run the same command again"
        ) from error
