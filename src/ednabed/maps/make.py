"""Lay out a map of a collection, or add sequences to an earlier one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.times import utc_now
from ednabed.base.topk import unit
from ednabed.base.version import package_versions
from ednabed.engine.progress import progress_bar
from ednabed.errors import UsageError
from ednabed.maps.map2d import map_2d
from ednabed.maps.sequence_map import N_NEAREST, Keys, Numbers, SequenceMap, find_keys, usable_rows
from ednabed.reference.collection import Collection

DEFAULT_LANDMARKS = 50_000
"""Maximum number of landmarks by default."""


def make_map(
    collection: Collection,
    *,
    max_landmarks: int = DEFAULT_LANDMARKS,
    seed: int = 0,
    earlier: SequenceMap | None = None,
    show_progress: bool | None = False,
) -> SequenceMap:
    """Lay out a map of a collection, or add missing sequences to an earlier map.

    Landmarks are the ``max_landmarks`` sequences with the smallest keys. A key is a hash of the bases, so this is a
    random sample without random numbers: the same for the same sequences, whatever their order and their runs. Of
    landmarks with equal vectors the first is laid out, and the others get its coordinates. A vector that is all zeros
    or not finite has no coordinates.

    The same sequences, vectors, ``max_landmarks`` and ``seed`` give the same map on the same machine, whatever the
    number of threads. With 512 dimensions 50,000 landmarks take one to two minutes on one core, and as many other
    sequences take another minute (``docs/decisions.md``); for landmarks the time grows with the square of their number.
    Memory is 0.6 GB plus some 10 kB per landmark, whatever the number of the others.

    Args:
        collection: A reference, or runs that are not consolidated.
        max_landmarks: Maximum number of landmarks, at least 1.
        seed: Seed of UMAP's random numbers, 0 to 2**32 - 1.
        earlier: A map of the same function: its sequences keep their exact coordinates, including those that are not in
            the collection, and new sequences are placed among its landmarks; ``max_landmarks`` and ``seed`` are then
            those of this map.
        show_progress: True draws bars on standard error, False none, None on a terminal only.

    Raises:
        StoreError: The earlier map is of another function, or the collection has none of its landmarks.
        UsageError: ``max_landmarks`` is below 1.
    """
    if max_landmarks < 1:
        raise UsageError(
            f"the maximum number of landmarks is {max_landmarks}, expected at least 1; give another `max_landmarks`"
        )
    if earlier is not None:
        return _with_all(collection, earlier, show_progress)
    rows = usable_rows(collection)
    chosen = rows[:max_landmarks]
    vectors = unit(collection.vectors_of(chosen))
    kept = _first_of_equals(vectors)
    chosen, vectors = chosen[kept], vectors[kept]
    with progress_bar(len(chosen), show=show_progress, doing="laying out") as bar:
        coordinates, method = map_2d(vectors, seed=seed, bar=bar)
    laid_out = SequenceMap(
        keys=collection.keys[chosen].astype(np.uint64),
        coordinates=coordinates,
        landmark=np.ones(len(chosen), np.bool_),
        clusters=point_groups(coordinates),
        method=method,
        seed=seed,
        most=max_landmarks,
        fingerprint=collection.spec.fingerprint,
        model=collection.spec.model,
        created=utc_now(),
        rule=_rule(len(rows), max_landmarks),
        software=package_versions("umap-learn", "scikit-learn", "numpy"),
    )
    return _with_all(collection, laid_out, show_progress, vectors)


def point_groups(coordinates: FloatArray) -> Numbers:
    """Group points that are close together on a map, by density, with HDBSCAN (Campello et al. 2013).

    A group has at least 5 points, or one in a thousand of all points if that is more. 50,000 points take 6 s; the time
    grows with the square of their number.

    Args:
        coordinates: float32, shape (n, 2).

    Returns:
        Group number of each point, int32, shape (n,), the largest group 0; -1 if it is in none.
    """
    from sklearn.cluster import HDBSCAN

    fewest = max(5, len(coordinates) // 1000)
    if len(coordinates) < 2 * fewest:
        return np.full(len(coordinates), -1, np.int32)
    found = HDBSCAN(min_cluster_size=fewest, min_samples=5, copy=True).fit(coordinates.astype(np.float64)).labels_
    inside = found >= 0
    sizes = np.bincount(found[inside])
    number = np.empty(len(sizes), np.int32)
    number[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    clusters = np.full(len(coordinates), -1, np.int32)
    clusters[inside] = number[found[inside]]
    return clusters


def _with_all(
    collection: Collection, base: SequenceMap, show_progress: bool | None, known: FloatArray | None = None
) -> SequenceMap:
    """Return a map with all sequences of a collection; ``known``: vectors of its landmarks, if already read."""
    base.check_function(collection)
    rows = usable_rows(collection)
    _, on_map = find_keys(base.keys, collection.keys[rows])
    new = rows[~on_map]
    if not len(new):
        return base
    if known is None:
        known = base.landmark_vectors(collection)
    allowed = np.zeros(collection.rows, np.bool_)
    allowed[new] = True
    parts: list[tuple[Keys, FloatArray, Numbers]] = []
    with progress_bar(len(new), show=show_progress, doing="placing") as bar:
        for found, vectors, _ in collection.blocks(allowed):
            coordinates, _, clusters = base.place_among(known, np.asarray(vectors, np.float32), bar)
            parts.append((collection.keys[found].astype(np.uint64), coordinates, clusters))
    keys = np.concatenate([base.keys, *(part[0] for part in parts)])
    order = np.argsort(keys, kind="stable")
    return replace(
        base,
        keys=keys[order],
        coordinates=np.concatenate([base.coordinates, *(part[1] for part in parts)])[order],
        landmark=np.concatenate([base.landmark, np.zeros(len(keys) - len(base.keys), np.bool_)])[order],
        clusters=np.concatenate([base.clusters, *(part[2] for part in parts)])[order],
    )


def _first_of_equals(vectors: FloatArray) -> Ints:
    """Return, ascending, the rows whose vector is in no earlier row."""
    seen: set[bytes] = set()
    kept = []
    for row, vector in enumerate(vectors):
        # Hashes, because a second copy of the vectors would take too much memory.
        name = hashlib.sha256(vector.tobytes()).digest()
        if name not in seen:
            seen.add(name)
            kept.append(row)
    return np.array(kept, np.int64)


def _rule(rows: int, max_landmarks: int) -> str:
    if rows <= max_landmarks:
        return "All sequences are laid out; of those with equal vectors only the first by key, the others placed on it."
    return (
        f"Of {rows:,} sequences, the {max_landmarks:,} with the smallest keys (a hash of the bases, so a random sample "
        "that is the same for the same sequences) are laid out, and the others placed among the "
        f"{N_NEAREST} nearest of these."
    )
