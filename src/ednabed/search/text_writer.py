"""What writers of results share: a stream, or a file that takes its place when all is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from ednabed.store.files import replacing


class TextWriter(ABC):
    """Opens its target when the context begins; when it has ended well, all is written and in its place.

    An exception inside the context leaves no file and an older one as it was.

    Args:
        target: A file, or a stream of text, which is not closed. A file that is a pipe or a device is written directly.
        example: A name such as the file could have, for the message where it is a folder.

    Raises:
        UsageError: When the context begins: the target is a folder.
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
            except BaseException as own:
                self._open.__exit__(type(own), own, own.__traceback__)
                raise
        self._open.__exit__(kind, error, trace)

    @abstractmethod
    def _finish(self) -> None:
        """Write what stands after the last query; called once, where no exception ended the context."""
