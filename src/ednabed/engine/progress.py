"""A progress bar with rate and time left, on a terminal only."""

from __future__ import annotations

from typing import Any


def progress_bar(total: int, *, done: int = 0, show: bool | None = None) -> Any:
    """Return a tqdm bar in sequences.

    Args:
        total: Sequences in all.
        done: Sequences computed earlier; they do not count for the rate.
        show: True draws always, False never, None on a terminal only.
    """
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="seq", desc="embedding", disable=None if show is None else not show)
