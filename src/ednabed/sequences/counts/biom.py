"""Read BIOM tables, HDF5 (2.x) and JSON (1.0), with biom-format."""

from __future__ import annotations

import json
import mmap
import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ednabed.base.text import shortened
from ednabed.errors import InputError
from ednabed.sequences.counts.builder import Builder
from ednabed.sequences.counts.layout import is_label, is_sequence_name
from ednabed.sequences.counts.sums import without_sums
from ednabed.sequences.counts.table import CountTable
from ednabed.sequences.counts.wide import with_sequence_ids
from ednabed.sequences.numbers import MAX_COUNT
from ednabed.sequences.opening import OpenedInput

HDF5_MAGIC = b"\x89HDF"
# Global heaps, with text of variable length (HDF5 File Format Specification, III.E): signature, version and size of a
# heap; index and size of each object in it. The index of free space is 0, and its size includes this header.
_HEAP = struct.Struct("<4sB3xQ")
_HEAP_OBJECT = struct.Struct("<H6xQ")


class _Stream:
    """A source as a read-only file."""

    def __init__(self, source: OpenedInput) -> None:
        self._source = source

    def read(self, size: int = -1) -> bytes:
        if size >= 0:
            return self._source.read(size)
        parts = []
        while block := self._source.read():
            parts.append(block)
        return b"".join(parts)


def read_biom(source: OpenedInput) -> CountTable:
    """Read a BIOM table of observations (features) by samples.

    Raises:
        InputError: It is truncated or damaged, has no observation or no sample, or a value is not a count.
    """
    try:
        table = _load_hdf5(source) if source.head.startswith(HDF5_MAGIC) else _load_json(source)
        matrix = table.matrix_data.tocsr()
        samples = [str(name) for name in table.ids(axis="sample")]
        features = [str(name) for name in table.ids(axis="observation")]
        metadata = table.metadata(axis="observation")
    except (InputError, MemoryError):
        raise
    # biom-format, h5py and the decoders that they use raise many types of errors.
    except Exception as error:
        raise InputError(
            f"{source.path}: is a BIOM table that is truncated, damaged or not valid BIOM 1.0 or 2.1 "
            f"({shortened(str(error).strip() or type(error).__name__, 80)}); copy or download it again, or write it "
            "again with 'biom convert'"
        ) from error
    builder = Builder(source.path, samples)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    for row, name in enumerate(features):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        columns, values = matrix.indices[part], matrix.data[part]
        wrong = ~((values > 0) & (values <= MAX_COUNT) & (values == np.floor(values)))
        if wrong.any():
            bad = int(np.flatnonzero(wrong)[0])
            builder.add_counts(name, *[np.zeros(0, np.int64)] * 2)
            raise builder.bad_count(name, samples[columns[bad]], repr(float(values[bad])))
        builder.add_counts(name, columns.astype(np.int64), values.astype(np.int64))
    read = without_sums(replace(builder.table(), labels=_labels(metadata, len(features))))
    return with_sequence_ids(read) if all(is_sequence_name(name) for name in read.row_of_id) else read


def _load_hdf5(source: OpenedInput) -> Any:
    import h5py
    from biom import Table

    with tempfile.TemporaryFile(prefix="ednabed-") as file:
        # HDF5 must be seekable, but compressed files and standard input are not.
        shutil.copyfileobj(cast(Any, _Stream(source)), file)
        file.seek(0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_heaps(data)
        with h5py.File(file, "r") as opened:
            return Table.from_hdf5(opened)


def _check_heaps(data: mmap.mmap) -> None:
    """Refuse a damaged global heap: libhdf5 2.0 reads one with free space of size 0 forever, and cannot be interrupted.

    Raises:
        ValueError: An object has no size, or does not end in its heap.
    """
    start = data.find(b"GCOL")
    while 0 <= start <= len(data) - _HEAP.size:
        _, version, size = _HEAP.unpack_from(data, start)
        at, end = start + _HEAP.size, start + size
        # Other bytes may look like a signature by chance; then the rest is not a heap.
        while version == 1 and at + _HEAP_OBJECT.size <= min(end, len(data)):
            index, length = _HEAP_OBJECT.unpack_from(data, at)
            needed = _HEAP_OBJECT.size + -(-length // 8) * 8 if index else length
            if not 0 < needed <= end - at:
                raise ValueError(f"an object of {length} bytes in the global heap at byte {start}")
            at += needed
        start = data.find(b"GCOL", start + 4)


def _load_json(source: OpenedInput) -> Any:
    from biom import Table

    return Table.from_json(json.loads(_Stream(source).read().decode("utf-8")))


def _labels(metadata: Sequence[Any] | None, size: int) -> dict[str, list[str]]:
    """Return the metadata that name taxa; the ranks in a list are joined by semicolons."""
    if metadata is None:
        return {}
    entries = [dict(entry) if entry else {} for entry in metadata]
    names = [name for name in dict.fromkeys(key for entry in entries for key in entry) if is_label(str(name))]
    return {str(name): [_text(entry.get(name)) for entry in entries] for name in names} if size else {}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return "; ".join(_text(part).strip() for part in value)
    return str(value)
