"""The seam to pyarrow's Parquet reader: whatever it raises for a damaged file becomes one of our errors.

pyarrow raises its own errors, those of the system, and plain Python ones (a name of a column that is not UTF-8), and
it hands over text without looking whether it is UTF-8, which fails only where the text is used.
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
    """Turn what reading Parquet raises into one of our errors.

    Args:
        damaged: Makes the error of a short reason, without a full stop.

    Raises:
        FileNotFoundError: The file is absent; what that means only the caller knows.
        EdnabedError: What ``damaged`` makes, or one that was raised in the block.
    """
    import pyarrow as pa

    try:
        yield
    except (EdnabedError, FileNotFoundError):
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, ArithmeticError, TypeError, MemoryError) as error:
        raise damaged(_reason(error)) from error


def sound(data: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
    """Return rows that were read, once it is known that their text is UTF-8; only in a block of ``parquet_errors``."""
    data.validate(full=True)
    return data


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeError):
        return "it holds text that is not UTF-8"
    lines = str(error).splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
