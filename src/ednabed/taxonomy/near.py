"""Nearest neighbours among vectors in memory, in an order that does not depend on the rounding of matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Floats, Ints
from ednabed.reference.topk import DIGITS
from ednabed.search.exact import nearest

_SPARE = 4
"""Candidates beyond those requested, because the float32 product may misorder vectors of almost equal similarity."""
_QUERIES, _PAIRS = 4_096, 16_384
"""Queries, and pairs of vectors in float64, that are processed at once; 150 MB in all at 512 dimensions."""


def nearest_vectors(queries: FloatArray, among: FloatArray, k: int, bar: Any = None) -> tuple[Ints, Floats]:
    """Find the ``k`` most similar vectors for each query.

    50,000 queries of 512 dimensions among as many vectors take 40 s on one core, nearly all of it a matrix product.

    Args:
        queries: Unit vectors, float32, shape (q, d).
        among: Unit vectors, float32, shape (n, d).
        k: Number of vectors per query; fewer if ``among`` has fewer.
        bar: A progress bar, updated with the number of queries done; None for none.

    Returns:
        Rows of ``among``, int64, and cosines, float64, -1 to 1, of six digits; both of shape (q, min(k, n)), most
        similar first, equal ones in order of row.
    """
    k = min(k, len(among))
    rows, cosines = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k))
    for first in range(0, len(queries), _QUERIES):
        batch = queries[first : first + _QUERIES]
        found, _ = nearest(batch, among, k + _SPARE)
        if not found.size:
            continue
        exact = np.empty(found.shape)
        step = max(1, _PAIRS // found.shape[1])
        for begin in range(0, len(batch), step):
            part = slice(begin, begin + step)
            exact[part] = np.einsum("qkd,qd->qk", among[found[part]], batch[part], dtype=np.float64)
        exact = np.clip(np.round(exact, DIGITS), -1, 1)
        order = np.lexsort((found, -exact), axis=1)[:, :k]
        rows[first : first + len(batch)] = np.take_along_axis(found, order, axis=1)
        cosines[first : first + len(batch)] = np.take_along_axis(exact, order, axis=1)
        if bar is not None:
            bar.update(len(batch))
    return rows, cosines
