"""The common part of result writers: write to a stream, or to a file that appears only when it is complete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from ednabed.base.atomic import replacing


class TextWriter(ABC):
    """A context manager that opens its target on entry and puts the complete output in place on successful exit.

    After an exception inside the context there is no new file, and an older one is unchanged.

    Args:
        target: A file, or a text stream, which is not closed. A file that is a pipe or a device is written directly.
        example: An example of a file name, for the message if the target is a folder.

    Raises:
        UsageError: On entry, if the target is a folder.
    """

    _stream: TextIO

    def __init__(self, target: Path | TextIO, example: str) -> None:
        self._target = target
        self._example = example
        self._open = ExitStack()

    def __enter__(self) -> Self:
        target = self._target
        self._stream = (
            self._open.enter_context(replacing(target, self._example)) if isinstance(target, Path) else target
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._finish()
                self._stream.flush()
            except BaseException as failure:
                self._open.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._open.__exit__(kind, error, trace)

    @abstractmethod
    def _finish(self) -> None:
        """Write the text after the last query; called once, unless an exception ended the context."""
