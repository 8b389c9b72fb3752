"""The text of an input as parsers expect it: no byte order mark, no NUL, plain line ends.

dnaio reads FASTQ in ASCII only, but headers contain names of people and locations. Every non-ASCII byte is therefore
passed to dnaio as an escape of three ASCII characters and restored by ``unescape``. Text is UTF-8, else Latin-1.
"""

from __future__ import annotations

import io
import re
from typing import Literal

from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.sniffing import UTF8_BOM, binary_error

BLOCK_BYTES = 256 * 1024
_NOT_ASCII = re.compile(rb"[\x10\x80-\xff]")
_ESCAPED = re.compile(rb"\x10([0-9a-f]{2})")


class TextStream(io.RawIOBase):
    """A readable binary stream over a source.

    Attributes:
        escaped: True once an escape has been written, so that callers can skip ``unescape`` before.
    """

    def __init__(self, source: OpenedInput, kind: Literal["fasta", "fastq", "table"]) -> None:
        self._source = source
        self._kind = kind
        self._pending = b""
        self._held = b""
        self._lines = 0
        self._ended = False
        self.escaped = False
        begin = source.head.removeprefix(UTF8_BOM)
        if kind != "table":
            begin = begin.lstrip()
        source.read(len(source.head) - len(begin))

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill the buffer. Raises InputError if the source is damaged or turns out to be binary."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._pending and not self._ended:
            self._pending = self._next(BLOCK_BYTES)
        data = self._pending[: len(view)]
        self._pending = self._pending[len(view) :]
        view[: len(data)] = data
        return len(data)

    def block(self, size: int) -> bytes:
        """Return about ``size`` bytes, empty at the end; for parsers that accept blocks of any size."""
        data = b""
        while not data and not self._ended:
            data = self._next(size)
        return data

    def _next(self, size: int) -> bytes:
        data = self._source.read(size)
        if b"\0" in data:
            raise binary_error(self._source.path)
        if not data:
            self._ended = True
            return self._last()
        if self._kind != "fastq":
            return self._plain_ends(data)
        if not data.isascii() or b"\x10" in data:
            self.escaped = True
            data = _NOT_ASCII.sub(lambda match: b"\x10%02x" % match[0][0], data)
        return self._without_tail(data)

    def _plain_ends(self, data: bytes) -> bytes:
        """Convert Windows and old Mac line ends into plain ones."""
        data, self._held = self._held + data, b""
        if data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data

    def _without_tail(self, data: bytes) -> bytes:
        """Hold back line ends until something follows: dnaio treats blank lines at the end as a truncated record."""
        body = data.rstrip(b"\r\n")
        if not body:
            self._held += data
            return b""
        out = self._held + body
        self._lines += out.count(b"\n")
        self._held = data[len(body) :]
        return out

    def _last(self) -> bytes:
        if self._kind != "fastq":
            return b"\n" if self._held else b""
        # After a '+' line (the third of four), a blank line is an empty quality, so the record has no bases.
        keep = 2 if self._lines % 4 == 2 else 1
        return b"\n" * min(keep, self._held.count(b"\n"))


def unescape(data: bytes) -> bytes:
    """Reverse the escapes of ``TextStream``."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), data)


def decode_text(data: bytes) -> str:
    """Decode UTF-8, or Latin-1 if the data are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
