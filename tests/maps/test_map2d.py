"""Coordinates on a map: properties for any number of vectors, and near vectors stay near."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from ednabed.maps.map2d import map_2d

needs_umap = pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")


def blobs(per: int, groups: int = 3, dimension: int = 40) -> np.ndarray:
    rng = np.random.default_rng(5)
    points = np.repeat(rng.normal(size=(groups, dimension)), per, axis=0) + 0.05 * rng.normal(
        size=(groups * per, dimension)
    )
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def no_umap(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "umap" else real(name, *more))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_few_vectors_have_coordinates(count):
    vectors = blobs(3)[:count]
    places, method = map_2d(vectors)
    assert (places.shape, places.dtype, method) == ((count, 2), np.float32, "PCA")
    assert np.isfinite(places).all()


def test_principal_components_keep_most_of_the_distances(no_umap):
    vectors = blobs(20)
    places, method = map_2d(vectors)
    assert method == "PCA"
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    assert (places.astype(np.float64) ** 2).sum(axis=0) == pytest.approx(values[:2], rel=1e-4)
    # Each coordinate is a projection onto a direction.
    for axis in places.astype(np.float64).T:
        direction = centred.T @ axis
        direction /= np.linalg.norm(direction)
        assert centred @ direction == pytest.approx(axis, abs=1e-5)


def test_the_sign_is_fixed(no_umap):
    vectors = blobs(20)
    places, _ = map_2d(vectors)
    for axis in places.T:
        assert axis[np.abs(axis).argmax()] > 0
    again, _ = map_2d(vectors[::-1].copy())
    assert again[::-1] == pytest.approx(places, abs=1e-5)


def test_equal_vectors_have_equal_coordinates(no_umap):
    places, _ = map_2d(np.repeat(blobs(1)[:1], 12, axis=0))
    assert places == pytest.approx(np.zeros((12, 2)), abs=1e-6)


@needs_umap
@pytest.mark.parametrize("count", [10, 12, 60])
def test_umap_is_used_if_installed_and_is_reproducible(count):
    vectors = blobs(20)[:count]
    places, method = map_2d(vectors, seed=3)
    assert (places.shape, places.dtype, method) == ((count, 2), np.float32, "UMAP")
    assert np.isfinite(places).all()
    assert np.array_equal(map_2d(vectors, seed=3)[0], places)


@needs_umap
def test_umap_accepts_copies_of_one_vector():
    places, _ = map_2d(np.repeat(blobs(1)[:2], 10, axis=0))
    assert np.isfinite(places).all()


@needs_umap
def test_the_nearest_on_the_map_are_of_the_same_group():
    places, _ = map_2d(blobs(20))
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert (far.argmin(axis=1) // 20 == np.arange(60) // 20).all()
