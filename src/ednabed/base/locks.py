"""Lock files: the system releases a lock when its process dies, so a killed command never blocks the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ednabed.errors import StoreError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_TRIES = 100


@contextmanager
def exclusive(path: Path, doing: str, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock file during the block.

    Args:
        path: The lock file; its parent folders are created.
        doing: The work in progress, with the commands that do it in brackets, for the error message.
        remove: Delete the lock file at the end.

    Raises:
        StoreError: Another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(f"{path.parent}: another process is {doing}; wait until it has finished") from None
        except FileNotFoundError:
            # The process that held it has just finished and removed the folder.
            continue
        if path.exists():
            break
        lock.release()
    else:
        raise StoreError(f"{path} cannot be locked: it disappears as soon as it is created; check its folder")
    try:
        yield
    finally:
        release(lock, path, remove=remove)


def release(lock: BaseFileLock, path: Path, *, remove: bool) -> None:
    """Release a lock and, if ``remove`` is set, delete its file unless another process has it open."""
    gone = not remove
    try:
        # Done while the lock is held, so that no other process loses a lock file it has just acquired.
        gone = gone or _unlinked(path)
    finally:
        lock.release()
    if not gone:
        # Windows cannot delete an open file, so it is deleted only now.
        _unlinked(path)


def _unlinked(path: Path) -> bool:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        return True
    return False
