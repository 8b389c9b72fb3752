"""Nearest neighbours among vectors in memory, by exact comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Floats, Ints
from ednabed.base.topk import DIGITS, exact_candidates, lengths, unit

# Rows of the collection per block: 16,384 x 512 float32 is 32 MB.
_BLOCK_ROWS = 16_384
_SPARE = 4
"""Candidates beyond those requested, because the float32 product may misorder vectors of almost equal similarity."""
_QUERIES, _PAIRS = 4_096, 16_384
"""Queries, and pairs of vectors in float64, that are processed at once; 150 MB in all at 512 dimensions."""


def nearest(queries: FloatArray, collection: FloatArray, k: int) -> tuple[Ints, FloatArray]:
    """Find the ``k`` rows of ``collection`` most similar to each query.

    Args:
        queries: float32, shape (q, d); any scale.
        collection: float32, shape (n, d), possibly memory-mapped; any scale. A zero row has similarity 0.
        k: Number of neighbours; if the collection is smaller, all its rows are returned.

    Returns:
        Row numbers, int64, and cosine similarities, float32 in -1 to 1, both of shape (q, min(k, n)), most similar
        first, ties by row number.
    """
    k = min(k, len(collection))
    out_rows, out_scores = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    if not k or not len(queries):
        return out_rows, out_scores
    query, row, score = exact_candidates(unit(np.asarray(queries, np.float32)), _blocks(collection), k)
    order = np.lexsort((row, -score, query))
    query, row, score = query[order], row[order], score[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    kept = rank < k
    out_rows[query[kept], rank[kept]] = row[kept]
    out_scores[query[kept], rank[kept]] = score[kept]
    return out_rows, np.clip(out_scores, -1, 1)


def _blocks(collection: FloatArray) -> Iterator[tuple[Ints, FloatArray, FloatArray]]:
    for first in range(0, len(collection), _BLOCK_ROWS):
        block = np.asarray(collection[first : first + _BLOCK_ROWS], np.float32)
        norms = lengths(block)
        # Zero rows get length 1, so that they are included with similarity 0.
        yield np.arange(first, first + len(block)), block, np.where(norms > 0, norms, 1).astype(np.float32)


def nearest_vectors(queries: FloatArray, among: FloatArray, k: int, bar: Any = None) -> tuple[Ints, Floats]:
    """Find the ``k`` most similar vectors for each query.

    Their order does not depend on the rounding of matrix products. 50,000 queries of 512 dimensions among as many
    vectors take 40 s on one core, nearly all of it a matrix product.

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
