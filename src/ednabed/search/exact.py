"""Exact nearest neighbours by cosine: a blocked matrix product in numpy, the judge of every index.

Several times faster here than a flat FAISS index, because the FAISS wheels bring a slow BLAS.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ednabed.models.base import FloatArray

# Rows of the collection a block: 16,384 x 512 float32 is 32 MB.
_BLOCK_ROWS = 16_384


def nearest(
    queries: FloatArray, collection: FloatArray, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find the ``k`` rows of ``collection`` most similar to each query.

    Args:
        queries: float32, shape (q, d); any scale.
        collection: float32, shape (n, d), possibly memory-mapped; any scale. A zero row is similar to nothing (0).
        k: Neighbours wanted; where the collection is smaller, all of it is returned.

    Returns:
        Row numbers, int64, and cosine similarities, float32 in -1 to 1, both of shape (q, min(k, n)), most similar
        first, ties by row number.
    """
    k = min(k, len(collection))
    queries = _unit(np.asarray(queries, np.float32))
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for first in range(0, len(collection), _BLOCK_ROWS):
        block = _unit(np.asarray(collection[first : first + _BLOCK_ROWS], np.float32))
        block_scores = queries @ block.T
        block_rows = np.broadcast_to(np.arange(first, first + len(block)), block_scores.shape)
        scores = np.concatenate([scores, block_scores], axis=1)
        rows = np.concatenate([rows, block_rows], axis=1)
        if scores.shape[1] > k:
            # A stable sort keeps ties in order of row number, which argpartition does not.
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    best = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(rows, best, 1), np.clip(np.take_along_axis(scores, best, 1), -1, 1)


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return np.asarray(vectors / np.where(norms > 0, norms, 1)[:, None], np.float32)
