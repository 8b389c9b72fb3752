"""Read FASTA into raw record batches, block by block: lines are found by array operations, not one at a time.

Each block is cut at its last ``>`` that begins a line; the rest is kept for the next block, so memory holds one block
or one record, whichever is longer. Any line ends, wrapped lines, blank lines, and comment lines (``#``) before the
first record are accepted. Sequences are returned as written, without line ends; whether they are DNA is not checked
here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import pyarrow as pa

from ednabed.errors import InputError
from ednabed.sequences.header_columns import HeaderColumns
from ednabed.sequences.opening import OpenedInput
from ednabed.sequences.records import MAX_LENGTH, pieces, positions_of
from ednabed.sequences.stream import TextStream

# Half and twice this size were slower (benchmarks/bench_read.py), due to more calls or page faults of large buffers.
BLOCK_BYTES = 1024 * 1024


def read_fasta(source: OpenedInput, batch_size: int, block_bytes: int = BLOCK_BYTES) -> Generator[pa.RecordBatch]:
    """Yield raw batches of at most ``batch_size`` records, in order.

    Args:
        source: The opened file; its first line that is neither blank nor a comment begins with ``>``.
        batch_size: Maximum records per batch.
        block_bytes: Number of bytes read at a time.

    Raises:
        InputError: The file is damaged or binary after its beginning, or one record is too long to handle.
    """
    count = 0
    columns = HeaderColumns(source.head)
    for block in _blocks(TextStream(source, "fasta"), source.path, block_bytes):
        batch = _parse(block, source.name, count + 1, columns)
        # One record may be as large as the file, so its text is released while the caller works on the batch.
        del block
        count += batch.num_rows
        yield from pieces(batch, batch_size)


def _blocks(stream: TextStream, path: str, size: int) -> Iterator[bytes]:
    """Yield text that begins with ``>`` and contains complete records, with plain line ends."""
    parts: list[bytes] = []
    held = 0
    begun = False
    while data := stream.block(size):
        if not begun:
            # Comments may fill several blocks, and '>' need not be the first byte of a block.
            parts = [b"".join([*parts, data])]
            first = 0 if parts[0].startswith(b">") else parts[0].find(b"\n>") + 1
            if first == 0 and not parts[0].startswith(b">"):
                continue
            begun = True
            data, parts = parts[0][first:], []
        elif data.startswith(b">") and parts and parts[-1].endswith(b"\n"):
            yield _joined(parts)
            held = 0
        cut = data.rfind(b"\n>") + 1
        if cut:
            parts.append(data[:cut])
            data = data[cut:]
            yield _joined(parts)
            held = 0
        parts.append(data)
        held += len(data)
        if held > MAX_LENGTH:
            raise InputError(
                f"{path}: one record has more than {MAX_LENGTH:,} bases, too many to handle; cut it into pieces"
            )
    if begun and held:
        yield _joined(parts)


def _joined(parts: list[bytes]) -> bytes:
    """Return all parts as one, and clear the list."""
    joined = b"".join(parts)
    parts.clear()
    return joined


def _parse(text: bytes, source: str, first: int, columns: HeaderColumns) -> pa.RecordBatch:
    """Return complete records, the first at the beginning of ``text``, as one batch."""
    if not text.endswith(b"\n"):
        text += b"\n"
    codes = np.frombuffer(text, np.uint8)
    ends = positions_of(text, b"\n")
    starts = np.concatenate(([0], ends[:-1] + 1))
    headers = np.flatnonzero(codes[starts] == ord(">"))
    begins = starts[headers]
    bodies = ends[headers] + 1
    count = len(headers)

    spans = zip((begins + 1).tolist(), (bodies - 1).tolist(), strict=True)
    written = b"\n".join([text[a:b] for a, b in spans])
    # Each line has one line end, so the length of a record is its number of bytes minus its number of lines.
    lines = np.diff(headers, append=len(ends)) - 1
    stops = np.append(begins[1:], len(text))
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(stops - bodies - lines, out=offsets[1:])
    single = bool((lines == 1).all())
    spans = zip(bodies.tolist(), (stops - 1 if single else stops).tolist(), strict=True)
    data = b"".join([text[a:b] for a, b in spans])
    if not single:
        data = data.replace(b"\n", b"")
    sequences = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    return columns.batch(written, sequences, source, first)
