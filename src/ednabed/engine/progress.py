"""A progress bar with rate and time left, on a terminal only; and the same in a file, for another process to read.

Each bar is a stage of the work: when it ends, its time is logged as a detail.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ednabed.base.sealed import Seal

log = logging.getLogger("ednabed")

SEAL = Seal("ednabed.progress/1", unsealed=(None,), ascii_only=True)
"""Of the file; before it had one, it named no schema."""
_EVERY = 0.5
"""Least seconds between two states in the file."""
_report: Report | None = None
_shown = True


class Report:
    """A file that holds the state of the bar at work as JSON: doing, done, total, unit, rate, seconds.

    It is replaced as a whole, at most twice a second while a bar moves, and once more where one begins or ends. What
    cannot be written is left out: work does not stop for it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = float("-inf")

    def tell(self, state: dict[str, Any], *, now: bool) -> None:
        """Write a state, where ``now`` is False only if the last one is old enough."""
        if not now and time.monotonic() - self._written < _EVERY:
            return
        self._written = time.monotonic()
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            temporary.write_text(SEAL.text(state), encoding="utf-8", newline="\n")
            temporary.replace(self.path)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise


class _Stage:
    """A bar that also tells a report how far it is, shown or not, and logs how long it took."""

    def __init__(self, bar: Any, report: Report | None, total: int | None, done: int, doing: str, unit: str) -> None:
        self._bar = bar
        self._report = report
        self._began = time.monotonic()
        self._first = self._done = done
        self._facts = {"doing": doing, "total": total, "unit": unit}
        self._tell(now=True)

    def update(self, n: int = 1) -> None:
        self._bar.update(n)
        self._done += n
        self._tell(now=False)

    def set_postfix(self, figures: dict[str, Any]) -> None:
        self._bar.set_postfix(figures)

    def _tell(self, *, now: bool) -> None:
        if self._report is None:
            return
        seconds = time.monotonic() - self._began
        moved = self._done - self._first
        rate = moved / seconds if moved and seconds > 0 else None
        self._report.tell({**self._facts, "done": self._done, "rate": rate, "seconds": seconds}, now=now)

    def __enter__(self) -> _Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._tell(now=True)
        facts, seconds = self._facts, time.monotonic() - self._began
        log.debug("%s: %s %s in %.1f s", facts["doing"], f"{self._done - self._first:,}", facts["unit"], seconds)


@contextmanager
def reported_to(path: Path) -> Iterator[None]:
    """Write the state of every bar of the block to a file as well; see ``Report``. One file at a time."""
    global _report
    _report = Report(path)
    try:
        yield
    finally:
        _report = None


def progress_bar(
    total: int | None, *, done: int = 0, show: bool | None = None, doing: str = "embedding", unit: str = "seq"
) -> Any:
    """Return a tqdm bar, or what has its ``update`` and ``set_postfix``.

    Args:
        total: Things in all; None where nobody knows, then there is no time left.
        done: Things done earlier; they do not count for the rate.
        show: True draws always, False never, None on a terminal only. What ``reported_to`` writes does not ask for it.
        doing: What is being done.
        unit: What is counted.
    """
    from tqdm import tqdm

    hidden = True if not _shown else None if show is None else not show
    bar = tqdm(total=total, initial=done, unit=unit, desc=doing, disable=hidden)
    return _Stage(bar, _report, total, done, doing, unit)


def show_bars(shown: bool) -> None:
    """Let bars be drawn where ``progress_bar`` is asked for them, or (False) nowhere in this process."""
    global _shown
    _shown = shown


def without_bars() -> AbstractContextManager[Any]:
    """Return a block in which no bar is on the terminal, so that a line can be written there; it comes back after."""
    from tqdm import tqdm

    block: AbstractContextManager[Any] = tqdm.external_write_mode()
    return block
