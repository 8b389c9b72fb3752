"""Open what the user names: a file or standard input, plain, gzip or zstd, told by its first bytes and never its name.

``Source`` is the decompressed stream with its first part already at hand (``head``), so that the format can be told
before anything is consumed. Whatever can be wrong with the file itself (absent, a directory, not readable, empty, cut,
damaged) is an ``InputError`` raised here, also in the middle of reading.
"""

from __future__ import annotations

import difflib
import gzip
import importlib
import io
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from xopen import xopen

from ednabed.errors import InputError

HEAD_BYTES = 256 * 1024
_BLOCK = 256 * 1024
_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_COMPRESSION = {"gz": "gzip", "zst": "zstd"}


def _decoder_errors() -> tuple[type[Exception], ...]:
    """Collect the errors of whichever decoders xopen uses here; which ones are installed differs by platform."""
    errors: list[type[Exception]] = [EOFError, zlib.error, gzip.BadGzipFile]
    for module, name in (
        ("isal.isal_zlib", "error"),
        ("zlib_ng.zlib_ng", "error"),
        ("compression.zstd", "ZstdError"),
        ("backports.zstd", "ZstdError"),
    ):
        try:
            errors.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(errors)


class _Replayed(io.RawIOBase):
    """A stream whose first bytes were read already and are given once more. Closing it leaves the stream open."""

    def __init__(self, first: bytes, stream: BinaryIO) -> None:
        self._first = first
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._first or self._stream.read(len(view))
        self._first = data[len(view) :]
        data = data[: len(view)]
        view[: len(data)] = data
        return len(data)


class Source:
    """An opened input, decompressed.

    Attributes:
        path: As the user gave it, for messages; ``standard input`` for ``-``.
        name: The base name alone, for the column ``source``; ``stdin`` for ``-``.
        compression: ``gz``, ``zst`` or None.
        head: The first bytes of the decompressed stream, up to 256 KB. ``read`` gives them again.
    """

    def __init__(self, path: str | Path, stdin: BinaryIO | None = None, *, wanted: str = "sequence") -> None:
        """Open ``path``; ``-`` is ``stdin``, or the standard input of the process where that is None.

        ``wanted`` is what at least one of should be in it, for the message where it is empty.

        Raises:
            InputError: It is absent, a directory, not readable, empty or damaged at its beginning.
        """
        self._stack = ExitStack()
        self._standard = standard = str(path) == "-"
        self.path = "standard input" if standard else str(path)
        # A name of bytes that are no UTF-8 can stand in no table.
        name = Path(path).name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self.name = "stdin" if standard else name
        self._errors = _decoder_errors()
        with ExitStack() as stack:
            if standard:
                self._raw: BinaryIO = stdin if stdin is not None else sys.stdin.buffer
            else:
                self._raw = stack.enter_context(_open(Path(path)))
            magic = self._raw.read(4)
            self.compression = next((kind for start, kind in _MAGIC.items() if magic.startswith(start)), None)
            self._stream: BinaryIO = io.BufferedReader(_Replayed(magic, self._raw), _BLOCK)
            if self.compression:
                self._stream = stack.enter_context(xopen(self._stream, "rb", threads=0, format=self.compression))
            self.head = b""
            self.head = self._fill(HEAD_BYTES)
            self._pending = self.head
            if not self.head.strip():
                what = "is empty" if not self.head else "holds only blank lines"
                raise InputError(f"{self.path}: {what}; give a file with at least one {wanted}")
            self._stack = stack.pop_all()

    def _fill(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (part := self._decode(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _decode(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError as error:
            kind = _COMPRESSION[self.compression or "gz"]
            raise InputError(
                f"{self.path}: the {kind} data end too early, the file was cut or has stray bytes at its end; "
                "copy or download it again"
            ) from error
        except self._errors as error:
            kind = _COMPRESSION[self.compression or "gz"]
            raise InputError(
                f"{self.path}: the {kind} data are damaged ({error}); copy or download the file again"
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be read ({error.strerror or error}); check the disk and try again"
            ) from error

    def read(self, size: int = _BLOCK) -> bytes:
        """Return up to ``size`` decompressed bytes, empty at the end. Raises InputError when the file is damaged."""
        if self._pending:
            data, self._pending = self._pending[:size], self._pending[size:]
            return data
        return self._decode(size)

    def seekable_file(self) -> BinaryIO | None:
        """Return the plain file at its beginning, where it is one that can be sought; else None."""
        if self.compression or not self._raw.seekable() or self._standard:
            return None
        self._raw.seek(0)
        return self._raw

    def close(self) -> None:
        """Close what was opened here; a given or standard input stays open."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the sequence files in it")
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file{_suggest(path)}") from error
    except PermissionError as error:
        raise InputError(
            f"{path}: permission denied; make the file readable or copy it to a folder of yours"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error}); check the name") from error


def _suggest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f", nor a folder {folder}; check the path"
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    near += [name for name in names if name.startswith(path.stem) and name not in near][: 3 - len(near)]
    if not near:
        return f"; no name in {folder.absolute()} is like it, check the path"
    return f"; did you mean {' or '.join(near)}?"
