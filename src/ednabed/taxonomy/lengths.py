"""Classes of query length, and limits that depend on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ednabed.base.arrays import Floats, Ints
from ednabed.base.stored_json import BadJson

LENGTH_EDGES = (220, 450)
"""Queries of up to 220 bases, of up to 450, and longer ones are judged separately: the edges are halfway (in
proportion) between the lengths that calibration draws, 150, 313 and full."""
LENGTH_NAMES = ("up to 220", "221 to 450", "above 450")


def length_classes(lengths: Ints) -> Ints:
    """Return the class of each length: 0 up to 220 bases, 1 up to 450, 2 above."""
    return np.asarray(np.searchsorted(LENGTH_EDGES, lengths, side="left"), np.int64)


def check_limits(limits: Sequence[tuple[int, float]]) -> None:
    """Raise BadJson unless the limits read from a file are in order of length, from 1."""
    lengths = [n_bases for n_bases, _ in limits]
    if lengths != sorted(lengths) or (lengths and lengths[0] < 1):
        raise BadJson("decoys of a group are not in order of length")


def limit_at(limits: Sequence[tuple[int, float]], lengths: Ints) -> Floats:
    """Return the limit at each length, shape (n,); infinite if there are no limits.

    Between two lengths with a limit it is interpolated on the logarithm of the length; beyond them it is constant.

    Args:
        limits: Pairs, in order of length: number of bases, and limit.
        lengths: Lengths in bases, at least 1, shape (n,).
    """
    if not limits:
        return np.full(len(lengths), np.inf)
    n_bases, values = (np.array(column, np.float64) for column in zip(*limits, strict=True))
    return np.asarray(np.interp(np.log(np.maximum(lengths, 1)), np.log(n_bases), values), np.float64)
