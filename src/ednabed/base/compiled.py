"""Functions compiled by numba. Importing this module takes half a second, and fails where numba is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*arguments: Any) -> Callable[[Function], Function]:
    """Compile a function when its module is imported, and keep the result on disk for the next import.

    The compiled function releases the global interpreter lock, and does not check the bounds of arrays. numba keeps the
    result next to Python's own compiled modules, or in a folder of the user, and trusts it as Python trusts those.

    Args:
        arguments: numba types of the arguments; arrays as given by ``readonly`` and ``writable``.
    """

    def decorate(function: Function) -> Function:
        try:
            made: Any = numba.njit(arguments, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):
            # numba found no folder in which it may keep the result, or the disk is full.
            made = numba.njit(arguments, nogil=True)(function)
        return made  # type: ignore[no-any-return]

    return decorate


def readonly(scalar: Any) -> Any:
    """Return the type of a contiguous array of one dimension that is only read; arrays that are writable fit, too."""
    return numba.types.Array(scalar, 1, "C", readonly=True)


def writable(scalar: Any, dimensions: int = 1) -> Any:
    """Return the type of a contiguous array that is changed."""
    return numba.types.Array(scalar, dimensions, "C")
