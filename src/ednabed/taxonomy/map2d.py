"""Vectors to places on a page, for looking at: UMAP where it is installed, else the two first principal components."""

from __future__ import annotations

import importlib.util

import numpy as np

from ednabed.models.base import FloatArray

NEIGHBOURS = 15
"""Neighbours that UMAP keeps near (its own default), fewer where there are fewer vectors."""
FEWEST = 10
"""Vectors below which the map is of principal components: so few have no neighbourhoods."""


def map_2d(vectors: FloatArray, *, seed: int = 0) -> tuple[FloatArray, str]:
    """Give each vector a place on a map.

    The same vectors in the same order have the same places on the same machine. 2,000 vectors of 512 take
    some 15 s (10 of them once, to compile UMAP), 10,000 a minute. UMAP (McInnes et al. 2018) comes with
    ``pip install ednabed[map]``. Principal components are turned so that on each axis the vector farthest from the
    middle (the first of those that are equally far) is on the positive side.

    Args:
        vectors: float32, shape (n, dimension), unit length; n may be 0.
        seed: Of UMAP's random numbers.

    Returns:
        Coordinates, float32, shape (n, 2), in no unit; and the name of the method, ``UMAP`` or ``PCA``.
    """
    if len(vectors) < FEWEST or importlib.util.find_spec("umap") is None:
        return _principal(vectors), "PCA"
    from umap import UMAP

    neighbours = min(NEIGHBOURS, len(vectors) - 1)
    umap = UMAP(n_components=2, n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    places: FloatArray = np.asarray(umap.fit_transform(vectors), np.float32)
    # A vector that is a neighbour of none has no place.
    places[~np.isfinite(places).all(axis=1)] = 0
    return places, "UMAP"


def _principal(vectors: FloatArray) -> FloatArray:
    if not len(vectors):
        return np.zeros((0, 2), np.float32)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    found = left[:, :2] * sizes[:2]
    places = np.zeros((len(vectors), 2))
    places[:, : found.shape[1]] = found
    # Rounded, so that equal distances are equal.
    farthest = places[np.abs(places).round(9).argmax(axis=0), [0, 1]]
    return (places * np.where(farthest < 0, -1, 1)).astype(np.float32)
