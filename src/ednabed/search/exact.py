"""Exact nearest neighbours among vectors in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.reference.topk import exact_candidates, lengths, unit

# Rows of the collection per block: 16,384 x 512 float32 is 32 MB.
_BLOCK_ROWS = 16_384


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


def _blocks(
    collection: FloatArray,
) -> Iterator[tuple[Ints, FloatArray, FloatArray]]:
    for first in range(0, len(collection), _BLOCK_ROWS):
        block = np.asarray(collection[first : first + _BLOCK_ROWS], np.float32)
        norms = lengths(block)
        # Zero rows get length 1, so that they are included with similarity 0.
        yield np.arange(first, first + len(block)), block, np.where(norms > 0, norms, 1).astype(np.float32)
