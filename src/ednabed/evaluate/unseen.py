"""Read the ids of the records that a model has not been trained on, from which alone queries may be drawn."""

from __future__ import annotations

from pathlib import Path

from ednabed.errors import InputError
from ednabed.sequences.opening import OpenedInput


def read_ids(path: Path) -> frozenset[str]:
    """Return the ids in a file, one per line (plain, gzip or zstd); empty lines are ignored.

    Raises:
        InputError: The file cannot be read, is not UTF-8, or contains no id.
    """
    with OpenedInput(path, None, expected="id") as source:
        chunks = []
        while chunk := source.read(1 << 20):
            chunks.append(chunk)
    try:
        lines = b"".join(chunks).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start + 1} is not UTF-8; save the ids as a text file with one id per line"
        ) from error
    ids = frozenset(line.strip() for line in lines) - {""}
    if not ids:
        raise InputError(f"{path} contains no id; write one id per line")
    return ids
