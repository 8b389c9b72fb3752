"""Project vectors to two dimensions for display: by UMAP if installed, otherwise to two principal components."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ednabed.base.arrays import FloatArray
from ednabed.base.nearest import nearest_vectors
from ednabed.extras import is_installed

NEIGHBOURS = 15
"""Neighbours that UMAP keeps near (its default), including the vector itself; fewer if there are fewer vectors."""
MIN_VECTORS = 10
"""Minimum number of vectors for UMAP; fewer have no neighbourhoods, and the map shows principal components."""


def map_2d(vectors: FloatArray, *, seed: int = 0, bar: Any = None) -> tuple[FloatArray, str]:
    """Return map coordinates for each vector.

    The same vectors in the same order have the same coordinates on the same machine, whatever the number of threads.
    UMAP (McInnes et al. 2018) comes with ``pip install ednabed[map]``. It is given the exact nearest neighbours by
    cosine and starts from the principal components, which preserves the large-scale structure better than its own
    initialisation (Kobak and Linderman 2021) and takes less time. On one core 2,000 vectors of 512 dimensions take some
    15 s (10 of them once, to compile UMAP), 10,000 some 25 s, 50,000 some 75 s and 0.7 GB, most of it for the
    neighbours.

    Principal components are oriented so that on each axis the vector farthest from the middle (the first of those that
    are equally far) is on the positive side.

    Args:
        vectors: float32, shape (n, dimension), unit length; n may be 0.
        seed: Seed of UMAP's random numbers.
        bar: A progress bar, updated with the number of vectors whose neighbours are known; None for none.

    Returns:
        Coordinates, float32, shape (n, 2), without a unit; and the name of the method, ``UMAP`` or ``PCA``.
    """
    if len(vectors) < MIN_VECTORS or not is_installed("umap"):
        return _principal(vectors), "PCA"
    from umap import UMAP

    rows, distances = _neighbours(vectors, min(NEIGHBOURS, len(vectors) - 1), bar)
    # One thread, because another order of summation would change the result.
    with threadpool_limits(1), warnings.catch_warnings():
        # UMAP warns that it cannot place other vectors, which is not needed here.
        warnings.simplefilter("ignore")
        umap = UMAP(
            n_components=2, n_neighbors=rows.shape[1], metric="cosine", random_state=seed, n_jobs=1,
            init=_principal(vectors), precomputed_knn=(rows, distances), force_approximation_algorithm=True,
        )  # fmt: skip
        coordinates: FloatArray = np.asarray(umap.fit_transform(vectors), np.float32)
    # UMAP does not place a vector that is not a neighbour of any other.
    coordinates[~np.isfinite(coordinates).all(axis=1)] = 0
    return coordinates, "UMAP"


def _neighbours(vectors: FloatArray, k: int, bar: Any) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """Return rows and cosine distances of the ``k`` nearest of each vector, itself first, as UMAP expects them."""
    rows, cosines = nearest_vectors(vectors, vectors, k, bar)
    itself = np.arange(len(vectors))[:, None]
    # If more than k vectors are equal, the vector may not be among its own neighbours.
    rows[(rows != itself).all(axis=1), -1] = itself[(rows != itself).all(axis=1), 0]
    order = np.argsort(rows != itself, axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, axis=1)
    distances = 1 - np.take_along_axis(cosines, order, axis=1)
    distances[:, 0] = 0
    return rows.astype(np.int32), np.ascontiguousarray(distances, np.float32)


def _principal(vectors: FloatArray) -> FloatArray:
    """Return the first two principal components, float32, shape (n, 2)."""
    if not len(vectors):
        return np.zeros((0, 2), np.float32)
    with threadpool_limits(1):
        centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
        # With many vectors, the axes alone cost less than the full decomposition.
        if len(vectors) > vectors.shape[1]:
            _, axes = np.linalg.eigh(centred.T @ centred)
            found = centred @ axes[:, ::-1][:, :2]
        else:
            left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
            found = left[:, :2] * sizes[:2]
    coordinates = np.zeros((len(vectors), 2))
    coordinates[:, : found.shape[1]] = found
    # Rounded, so that equal distances are equal.
    farthest = coordinates[np.abs(coordinates).round(9).argmax(axis=0), [0, 1]]
    return (coordinates * np.where(farthest < 0, -1, 1)).astype(np.float32)
