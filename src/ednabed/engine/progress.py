"""A progress bar with rate and remaining time, on a terminal only, and the same state in a file for another process.

Each bar is a stage of the work; when it ends, its duration is logged at debug level.
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
"""Seal of the file; files written before it existed do not name a schema."""
_MIN_INTERVAL = 0.5
"""Minimum seconds between two states in the file."""
_report: ProgressFile | None = None
_shown = True


class ProgressFile:
    """A file that holds the state of the current bar as JSON: doing, done, total, unit, rate, seconds.

    The file is replaced atomically, at most twice a second while a bar moves, and again when a bar begins or ends. A
    state that cannot be written is skipped, so that the work does not stop.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = float("-inf")

    def write_state(self, state: dict[str, Any], *, now: bool) -> None:
        """Write a state; if ``now`` is False, only when the last one is old enough."""
        if not now and time.monotonic() - self._written < _MIN_INTERVAL:
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
    """A bar that also writes its state to a report, whether it is shown or not, and logs how long it took."""

    def __init__(
        self, bar: Any, report: ProgressFile | None, total: int | None, done: int, doing: str, unit: str
    ) -> None:
        self._bar = bar
        self._report = report
        self._began = time.monotonic()
        self._first = self._done = done
        self._facts = {"doing": doing, "total": total, "unit": unit}
        self._write_state(now=True)

    def update(self, n: int = 1) -> None:
        self._bar.update(n)
        self._done += n
        self._write_state(now=False)

    def set_postfix(self, figures: dict[str, Any]) -> None:
        self._bar.set_postfix(figures)

    def _write_state(self, *, now: bool) -> None:
        if self._report is None:
            return
        seconds = time.monotonic() - self._began
        moved = self._done - self._first
        rate = moved / seconds if moved and seconds > 0 else None
        self._report.write_state({**self._facts, "done": self._done, "rate": rate, "seconds": seconds}, now=now)

    def __enter__(self) -> _Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._write_state(now=True)
        facts, seconds = self._facts, time.monotonic() - self._began
        log.debug("%s: %s %s in %.1f s", facts["doing"], f"{self._done - self._first:,}", facts["unit"], seconds)


@contextmanager
def reported_to(path: Path) -> Iterator[None]:
    """Also write the state of every bar in the block to a file; see ``ProgressFile``. One file at a time."""
    global _report
    _report = ProgressFile(path)
    try:
        yield
    finally:
        _report = None


def progress_bar(
    total: int | None, *, done: int = 0, show: bool | None = None, doing: str = "embedding", unit: str = "seq"
) -> Any:
    """Return a progress bar with the ``update`` and ``set_postfix`` methods of tqdm.

    Args:
        total: Total number of units; None if unknown, in which case no remaining time is shown.
        done: Units done earlier; they do not count towards the rate.
        show: True always draws the bar, False never, None on a terminal only. ``reported_to`` ignores it.
        doing: The activity, such as ``embedding``.
        unit: The unit that is counted.
    """
    from tqdm import tqdm

    hidden = True if not _shown else None if show is None else not show
    bar = tqdm(total=total, initial=done, unit=unit, desc=doing, disable=hidden)
    return _Stage(bar, _report, total, done, doing, unit)


def show_bars(shown: bool) -> None:
    """Allow progress bars in this process (True), or draw none whatever ``progress_bar`` requests (False)."""
    global _shown
    _shown = shown


def without_bars() -> AbstractContextManager[Any]:
    """Return a context manager that hides bars within its block, so that a line can be printed to the terminal."""
    from tqdm import tqdm

    block: AbstractContextManager[Any] = tqdm.external_write_mode()
    return block
