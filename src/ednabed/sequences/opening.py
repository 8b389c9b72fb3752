"""Open the user's input: a file or standard input, plain, gzip, zstd or a QIIME 2 artifact, recognised by its first
bytes and never by its name.

``OpenedInput`` is the decompressed stream with its first part already read (``head``), so that the format can be
recognised before anything is consumed. Any problem with the file itself (missing, a directory, not readable, empty,
truncated, damaged) is raised here as an ``InputError``, also in the middle of reading.
"""

from __future__ import annotations

import difflib
import gzip
import importlib
import io
import shutil
import sys
import tempfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

from xopen import xopen

from ednabed.errors import InputError
from ednabed.sequences import zip_members
from ednabed.sequences.artifact import Artifact, Use, open_artifact

HEAD_BYTES = 256 * 1024
_BLOCK = 256 * 1024
_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_COMPRESSION = {"gz": "gzip", "zst": "zstd"}


def _decoder_errors() -> tuple[type[Exception], ...]:
    """Return the error types of the decoders that xopen uses; which ones are installed differs by platform."""
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
    """A stream whose first bytes were already read and are returned again. Closing it leaves the stream open."""

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


class OpenedInput:
    """An opened input, decompressed.

    Attributes:
        path: The name used in messages: the path as the user gave it, ``standard input`` for ``-``.
        name: The base name, for the column ``source``; ``stdin`` for ``-``.
        compression: ``gz``, ``zst`` or None.
        artifact: Type of the QIIME 2 artifact that contains the data, or None.
        head: The first bytes of the decompressed stream, up to 256 KB, more after ``extend_head``. ``read`` returns
            them again.
    """

    def __init__(
        self,
        path: str | Path,
        stdin: BinaryIO | None = None,
        *,
        expected: str = "sequence",
        use: Use = "sequences",
        shown: str | None = None,
    ) -> None:
        """Open ``path``; ``-`` is ``stdin``, or the standard input of the process if that is None.

        Args:
            path: The file.
            stdin: The stream that ``-`` reads.
            expected: The thing of which the file needs at least one, for the message about an empty file.
            use: The purpose of reading; an artifact of another type is refused.
            shown: The name used in messages, for copies of the user's file; None uses the path.

        Raises:
            InputError: The file is missing, a directory, not readable, empty, damaged at its beginning, or an artifact
                with other contents.
        """
        self._stack = ExitStack()
        self._standard = standard = str(path) == "-"
        self.path = ("standard input" if standard else str(path)) if shown is None else shown
        # A name that is not UTF-8 cannot be written to a table.
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
            self._artifact: Artifact | None = None
            if self.compression:
                self._stream = stack.enter_context(xopen(self._stream, "rb", threads=0, format=self.compression))
            elif magic == zip_members.MAGIC:
                self._open_zip(stack, use)
            self.artifact = None if self._artifact is None else self._artifact.type
            self._head_only = True
            self.head = self._fill(HEAD_BYTES)
            self._given = 0
            if not self.head.strip():
                what = "is empty" if not self.head else "contains only blank lines"
                raise InputError(f"{self.path}: {what}; give a file with at least one {expected}")
            self._stack = stack.pop_all()

    def _open_zip(self, stack: ExitStack, use: Use) -> None:
        """Make the data of an artifact the stream; any other zip stays as it is."""
        file: BinaryIO
        if not self._standard and self._raw.seekable():
            file = self._raw
        else:
            # A zip has its directory at its end, so standard input is copied to a file.
            copy = stack.enter_context(tempfile.TemporaryFile(prefix="ednabed-"))  # noqa: SIM115 (the stack closes it)
            shutil.copyfileobj(self._stream, copy)
            file = copy
        self._artifact = open_artifact(file, self.path, use)
        if self._artifact is not None:
            stack.callback(self._artifact.close)
        else:
            file.seek(0)
            self._stream = file

    def extend_head(self) -> bool:
        """Double ``head`` by reading more; return False if there is no more.

        Call it only before the first ``read``, which returns bytes of the head.
        """
        assert self._head_only, "the head can grow only before anything is read"
        more = self._fill(max(len(self.head), HEAD_BYTES))
        self.head += more
        return bool(more)

    def _fill(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (part := self._decode(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _decode(self, size: int) -> bytes:
        if self._artifact is not None:
            return self._artifact.read(size)
        try:
            return self._stream.read(size)
        except EOFError as error:
            kind = _COMPRESSION[self.compression or "gz"]
            raise InputError(
                f"{self.path}: the {kind} data end too early, the file was truncated or has stray bytes at its end; "
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
        """Return up to ``size`` decompressed bytes, empty at the end. Raises InputError if the file is damaged."""
        self._head_only = False
        if self._given < len(self.head):
            data = self.head[self._given : self._given + size]
            self._given += len(data)
            return data
        return self._decode(size)

    def seekable_file(self) -> BinaryIO | None:
        """Return the uncompressed file, at its beginning, if it is seekable; else None."""
        if self.compression or self.artifact or not self._raw.seekable() or self._standard:
            return None
        self._raw.seek(0)
        return self._raw

    def close(self) -> None:
        """Close everything opened here; a stream passed in and standard input stay open."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the sequence files in it")
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file{_suggest(path)}") from error
    except PermissionError as error:
        raise InputError(
            f"{path}: permission denied; make the file readable or copy it to a folder that you own"
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
    similar = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    similar += [name for name in names if name.startswith(path.stem) and name not in similar][: 3 - len(similar)]
    if not similar:
        return f"; {folder.absolute()} has no file with a similar name, check the path"
    return f"; did you mean {' or '.join(similar)}?"
