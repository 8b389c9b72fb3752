"""A progress bar with rate and time left, on a terminal only."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def progress_bar(
    total: int | None, *, done: int = 0, show: bool | None = None, doing: str = "embedding", unit: str = "seq"
) -> Any:
    """Return a tqdm bar.

    Args:
        total: Things in all; None where nobody knows, then there is no time left.
        done: Things done earlier; they do not count for the rate.
        show: True draws always, False never, None on a terminal only.
        doing: What is being done.
        unit: What is counted.
    """
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit=unit, desc=doing, disable=None if show is None else not show)


def without_bars() -> AbstractContextManager[Any]:
    """Return a block in which no bar is on the terminal, so that a line can be written there; it comes back after."""
    from tqdm import tqdm

    block: AbstractContextManager[Any] = tqdm.external_write_mode()
    return block
