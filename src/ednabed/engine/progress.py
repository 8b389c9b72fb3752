"""A progress bar with rate and time left, on a terminal only."""

from __future__ import annotations

from typing import Any


def progress_bar(
    total: int, *, done: int = 0, show: bool | None = None, doing: str = "embedding", unit: str = "seq"
) -> Any:
    """Return a tqdm bar.

    Args:
        total: Things in all.
        done: Things done earlier; they do not count for the rate.
        show: True draws always, False never, None on a terminal only.
        doing: What is being done.
        unit: What is counted.
    """
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit=unit, desc=doing, disable=None if show is None else not show)
