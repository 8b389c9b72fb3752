"""Error handling around pyarrow's Parquet reader: whatever it raises for a damaged file becomes one of our errors.

pyarrow raises its own errors, errors of the operating system and plain Python errors (if a column name is not UTF-8).
It also returns text without checking that it is UTF-8, which fails only when the text is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ednabed.errors import EdnabedError

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def parquet_errors(damaged: Callable[[str], EdnabedError]) -> Iterator[None]:
    """Turn errors raised while reading Parquet into one of our errors.

    Args:
        damaged: Builds the error from a short reason, which has no full stop.

    Raises:
        FileNotFoundError: The file does not exist; only the caller knows what that means.
        EdnabedError: The error built by ``damaged``, or one that was raised in the block.
    """
    import pyarrow as pa

    try:
        yield
    except (EdnabedError, FileNotFoundError):
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, ArithmeticError, TypeError, MemoryError) as error:
        raise damaged(_reason(error)) from error


def checked_text(data: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
    """Check that the text of rows is UTF-8, and return the rows; call it only in a block of ``parquet_errors``."""
    data.validate(full=True)
    return data


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeError):
        return "it contains text that is not UTF-8"
    lines = str(error).splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
