"""A map of distinct sequences: a place on a page for each, laid out once and kept, so that pictures can be compared.

A map is laid out for *landmarks*, at most so many sequences of a collection, chosen by a rule that gives the same ones
for the same sequences. Every other sequence, also one that comes later or is in no collection, is placed among its
nearest landmarks. So a map stays as it is when a reference grows, and what is placed on it lies where it would have.

Places are for looking at: near on the map is mostly near by vector, far on the map says little. Measured with
``barcode-1`` on 102,940 COI barcodes, of which 50,000 are landmarks: of landmarks, 86 % have one of their genus as
nearest on the map (95 % one of their family); of what was placed among them, 89 % (95 %); by vector, 94 % (98 %).
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.parquet_files import parquet_errors, sound
from ednabed.base.stored_json import BadJson, brief, parse_json, require
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import FloatArray
from ednabed.reference.collection import Collection
from ednabed.reference.topk import lengths, unit
from ednabed.store.files import json_sha256, whole_file
from ednabed.taxonomy.map2d import map_2d
from ednabed.taxonomy.near import near

MOST = 50_000
"""Landmarks at most, where nobody says otherwise."""
AMONG = 5
"""Landmarks among which a sequence is placed."""
SCHEMA = "ednabed.map/1"
_LEAST = 1e-6
"""The least distance (1 - cosine) that is told apart, cosines having six digits."""
_FACTS = b"ednabed.map"
_FACTS_TYPES = {
    "method": str, "seed": int, "most": int, "fingerprint": str, "model": str, "created": str, "rule": str,
    "software": dict[str, str],
}  # fmt: skip
_AGAIN = "lay it out anew with 'ednabed reference map --refit'"
_COLUMNS = pa.schema(
    [("key", pa.uint64()), ("x", pa.float32()), ("y", pa.float32()), ("landmark", pa.bool_()), ("cluster", pa.int32())]
)

Bools = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SequenceMap:
    """Places of sequences on a map.

    Attributes:
        keys: Key of each sequence (``Collection.keys``), uint64, shape (n,), ascending, each once.
        places: x and y, float32, shape (n, 2), finite, in no unit.
        landmark: bool, shape (n,): laid out by the method itself; False: placed among its nearest landmarks.
        clusters: Number of its group of points, int32, shape (n,), from 0 on, largest group first; -1 for none. A
            group is what lies close together in this picture (``point_groups``), not a taxon.
        method: ``UMAP`` or ``PCA``.
        seed: Seed with which it was laid out.
        most: Landmarks at most, as asked for when it was laid out.
        fingerprint: Of the function that made the vectors.
        model: Name of its model.
        created: When it was laid out, UTC, ISO 8601.
        rule: One sentence: which sequences are landmarks, and where the others are.
        software: Versions with which it was laid out.
    """

    keys: Keys
    places: FloatArray
    landmark: Bools
    clusters: Numbers
    method: str
    seed: int
    most: int
    fingerprint: str
    model: str
    created: str
    rule: str
    software: dict[str, str] = field(default_factory=dict)

    @property
    def landmarks(self) -> int:
        """Number of landmarks."""
        return int(self.landmark.sum())

    @property
    def outgrown(self) -> bool:
        """Whether a map laid out anew would have more than twice as many landmarks, so that it would show more."""
        return 2 * self.landmarks < min(self.most, len(self.keys))

    def landmark_vectors(self, collection: Collection) -> FloatArray:
        """Return the vectors of the landmarks, to place many things among them without reading them each time.

        Args:
            collection: Where the landmarks are, or some of them.

        Returns:
            float32, shape (landmarks, dimension), unit length, in order of key; NaN of those that are not there.

        Raises:
            StoreError: The collection has vectors of another function, or none of the landmarks.
        """
        self.check_function(collection)
        keys = self.keys[self.landmark]
        vectors = np.full((len(keys), collection.spec.dimension), np.nan, np.float32)
        if not len(keys):
            return vectors
        rows = _usable_rows(collection)
        at, known = _find(keys, collection.keys[rows])
        if not known.any():
            raise StoreError(f"{collection.name} has none of the {len(keys):,} landmarks of its map; {_AGAIN}")
        vectors[at[known]] = unit(collection.vectors_of(rows[known]))
        return vectors

    def place(
        self, landmarks: Collection | FloatArray, vectors: FloatArray
    ) -> tuple[FloatArray, npt.NDArray[np.float32]]:
        """Place vectors that are not on the map, such as those of novel sequences or of other runs.

        A sequence is placed at the mean of its five nearest landmarks, weighted by 1 / (1 - cosine)^2; one whose
        vector is that of a landmark (cosine 1 to six digits) lies on it. The same vectors have the same places.

        Args:
            landmarks: A collection that has the landmarks, or what ``landmark_vectors`` gave.
            vectors: float32, shape (q, dimension), any length; made by the function of the map.

        Returns:
            Places, float32, shape (q, 2), and the cosine with the nearest landmark, float32, shape (q,), -1 to 1: a
            low one says that the place means little. Both NaN for a vector that is all zeros or not finite.

        Raises:
            StoreError: As ``landmark_vectors``.
            UsageError: The vectors have another dimension than the landmarks, or the map has no landmarks.
        """
        known = self.landmark_vectors(landmarks) if isinstance(landmarks, Collection) else landmarks
        if len(known) != self.landmarks or known.ndim != 2 or vectors.ndim != 2 or known.shape[1] != vectors.shape[1]:
            raise UsageError(
                f"got vectors of shape {vectors.shape} to place among landmarks of shape {known.shape}, wanted "
                f"{self.landmarks:,} landmarks of the same dimension; take vectors and landmarks of one model"
            )
        places, similar, _ = self._among(known, vectors)
        return places, similar

    def of_rows(self, collection: Collection) -> tuple[FloatArray, Bools, Numbers, Bools]:
        """Return what the map says of each row of a collection.

        Returns:
            Places, float32, shape (rows, 2), NaN where it is not on the map; whether it is a landmark, bool, shape
            (rows,); clusters, int32, shape (rows,), -1 for none; and whether it is on the map, bool, shape (rows,).

        Raises:
            StoreError: The collection has vectors of another function.
        """
        self.check_function(collection)
        at, on_map = _find(self.keys, collection.keys)
        places = np.full((collection.rows, 2), np.nan, np.float32)
        landmark = np.zeros(collection.rows, np.bool_)
        clusters = np.full(collection.rows, -1, np.int32)
        places[on_map] = self.places[at[on_map]]
        landmark[on_map] = self.landmark[at[on_map]]
        clusters[on_map] = self.clusters[at[on_map]]
        return places, landmark, clusters, on_map

    def write(self, path: Path) -> None:
        """Write it to one Parquet file, whole or not at all; what was there stays until it is finished."""
        facts = {
            "schema": SCHEMA, "method": self.method, "seed": self.seed, "most": self.most,
            "fingerprint": self.fingerprint, "model": self.model, "created": self.created, "rule": self.rule,
            "software": self.software, "content_sha256": self._content(),
        }  # fmt: skip
        text = json.dumps({**facts, "map_sha256": json_sha256(facts)}, ensure_ascii=False)
        columns = [self.keys, self.places[:, 0], self.places[:, 1], self.landmark, self.clusters]
        table = pa.table([pa.array(np.ascontiguousarray(column)) for column in columns], schema=_COLUMNS)
        with whole_file(path) as temporary:
            pq.write_table(table.replace_schema_metadata({_FACTS: text.encode()}), temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> SequenceMap:
        """Read it.

        Raises:
            FileNotFoundError: There is none.
            StoreError: It is damaged, or of a schema that this version does not know.
        """
        again = f"lay it out anew with 'ednabed reference map --reference {path.parent} --refit'"
        try:
            # The whole file is read and closed, so that it can be replaced at any time.
            with parquet_errors(lambda reason: StoreError(f"{path} cannot be read ({reason}); {again}")):
                table = sound(pq.ParquetFile(pa.BufferReader(path.read_bytes())).read())
            facts = parse_json((table.schema.metadata or {}).get(_FACTS, b"null"))
        except BadJson as error:
            raise StoreError(f"{path} cannot be read ({error}); {again}") from error
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
            schema = facts.get("schema") if isinstance(facts, dict) else None
            raise StoreError(
                f"{path} has schema {brief(schema)}, this ednabed reads {SCHEMA!r}; update ednabed, or {_AGAIN}"
            )
        damaged = StoreError(f"{path} is damaged; {again}")
        told, content = facts.pop("map_sha256", None), facts.get("content_sha256")
        if told != json_sha256(facts) or table.schema.remove_metadata() != _COLUMNS:
            raise damaged
        if any(column.null_count for column in table.columns):
            raise damaged
        key, x, y, landmark, cluster = (column.to_numpy() for column in table.columns)
        places = np.stack([x, y], axis=1)
        try:
            require(facts, _FACTS_TYPES, "the map")
            found = cls(key, places, landmark.astype(np.bool_), cluster, **{name: facts[name] for name in _FACTS_TYPES})
        except BadJson:
            raise damaged from None
        if found._content() != content:
            raise damaged
        return found

    def _content(self) -> str:
        """Return the SHA-256 of all columns, one after the other, little-endian."""
        hashed = hashlib.sha256()
        for column, kind in (
            (self.keys, "<u8"), (self.places[:, 0], "<f4"), (self.places[:, 1], "<f4"), (self.landmark, "u1"),
            (self.clusters, "<i4"),
        ):  # fmt: skip
            hashed.update(np.ascontiguousarray(column, kind).tobytes())
        return hashed.hexdigest()

    def check_function(self, collection: Collection) -> None:
        """Raise StoreError where a collection has vectors of another function than the map."""
        if collection.spec.fingerprint != self.fingerprint:
            raise StoreError(
                f"{collection.name} has vectors of {collection.spec.model} ({collection.spec.fingerprint[:12]}), the "
                f"map is of {self.model} ({self.fingerprint[:12]}): they cannot be compared; {_AGAIN}"
            )

    def _among(
        self, known: FloatArray, vectors: FloatArray, bar: Any = None
    ) -> tuple[FloatArray, npt.NDArray[np.float32], Numbers]:
        """Return places, similarities of the nearest landmark, and its cluster."""
        there = np.flatnonzero(np.isfinite(known[:, 0]))
        if not len(there):
            raise UsageError(f"the map has no landmarks to place anything among; {_AGAIN}")
        if len(there) < len(known):
            known = known[there]
        own_places = self.places[self.landmark][there].astype(np.float64)
        own_clusters = self.clusters[self.landmark][there]
        places = np.full((len(vectors), 2), np.nan, np.float32)
        similar = np.full(len(vectors), np.nan, np.float32)
        clusters = np.full(len(vectors), -1, np.int32)
        norms = lengths(vectors)
        good = np.flatnonzero(np.isfinite(norms) & (norms > 0))
        rows, cosines = near(unit(vectors[good]), known, AMONG, bar)
        if not len(good):
            return places, similar, clusters
        distances = 1 - cosines
        weights = np.maximum(distances, _LEAST) ** -2
        mean = (own_places[rows] * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
        upon = distances[:, 0] < _LEAST / 2
        places[good] = np.where(upon[:, None], own_places[rows[:, 0]], mean)
        similar[good] = cosines[:, 0]
        clusters[good] = own_clusters[rows[:, 0]]
        return places, similar, clusters


def make_map(
    collection: Collection,
    *,
    most: int = MOST,
    seed: int = 0,
    earlier: SequenceMap | None = None,
    show_progress: bool | None = False,
) -> SequenceMap:
    """Lay out a map of a collection, or add to an earlier one what it lacks.

    Landmarks are the ``most`` sequences with the smallest keys. A key is a hash of the letters, so this is a random
    sample without any drawing: the same for the same sequences, in whatever order and in whichever runs they come. Of
    landmarks with one and the same vector the first is laid out, and the others lie on it. A vector that is all zeros
    or not finite has no place.

    The same sequences, vectors, ``most`` and ``seed`` give the same map on the same machine, whatever the number of
    threads. With 512 dimensions 50,000 landmarks take one to two minutes on one core and as many other sequences among
    them another (``docs/decisions.md``); for landmarks the time grows with the square of their number. Memory is 0.6 GB
    and some 10 kB a landmark, whatever the number of the others.

    Args:
        collection: A reference, or runs as they lie.
        most: Landmarks at most, from 1 on.
        seed: Of UMAP's random numbers, 0 to 2**32 - 1.
        earlier: A map of the same function: what is on it keeps its place exactly, also what the collection lacks, and
            what is new is placed among its landmarks; ``most`` and ``seed`` are then those of the earlier one.
        show_progress: True draws bars on standard error, False none, None on a terminal only.

    Raises:
        StoreError: The earlier map is of another function, or the collection has none of its landmarks.
        UsageError: ``most`` is below 1.
    """
    if most < 1:
        raise UsageError(f"got {most} landmarks at most, wanted at least 1; give another number")
    if earlier is not None:
        return _added(collection, earlier, show_progress)
    rows = _usable_rows(collection)
    chosen = rows[:most]
    vectors = unit(collection.vectors_of(chosen))
    kept = _first_of_equals(vectors)
    chosen, vectors = chosen[kept], vectors[kept]
    with progress_bar(len(chosen), show=show_progress, doing="laying out") as bar:
        places, method = map_2d(vectors, seed=seed, bar=bar)
    laid_out = SequenceMap(
        keys=collection.keys[chosen].astype(np.uint64),
        places=places,
        landmark=np.ones(len(chosen), np.bool_),
        clusters=point_groups(places),
        method=method,
        seed=seed,
        most=most,
        fingerprint=collection.spec.fingerprint,
        model=collection.spec.model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rule=_rule(len(rows), most),
        software=_software(),
    )
    return _added(collection, laid_out, show_progress, vectors)


def point_groups(places: FloatArray) -> Numbers:
    """Group points that lie close together on a map, by density, with HDBSCAN (Campello et al. 2013).

    The fewest of a group are 5, or one in a thousand of all points where that is more. 50,000 points take 6 s; the
    time grows with the square of their number.

    Args:
        places: float32, shape (n, 2).

    Returns:
        Number of the group of each, int32, shape (n,), the largest 0; -1 where it is in none.
    """
    from sklearn.cluster import HDBSCAN

    fewest = max(5, len(places) // 1000)
    if len(places) < 2 * fewest:
        return np.full(len(places), -1, np.int32)
    found = HDBSCAN(min_cluster_size=fewest, min_samples=5, copy=True).fit(places.astype(np.float64)).labels_
    inside = found >= 0
    sizes = np.bincount(found[inside])
    number = np.empty(len(sizes), np.int32)
    number[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    clusters = np.full(len(places), -1, np.int32)
    clusters[inside] = number[found[inside]]
    return clusters


def _added(
    collection: Collection, base: SequenceMap, show_progress: bool | None, known: FloatArray | None = None
) -> SequenceMap:
    """Return a map with all sequences of a collection on it; ``known``: vectors of its landmarks, where at hand."""
    base.check_function(collection)
    rows = _usable_rows(collection)
    _, there = _find(base.keys, collection.keys[rows])
    new = rows[~there]
    if not len(new):
        return base
    if known is None:
        known = base.landmark_vectors(collection)
    allowed = np.zeros(collection.rows, np.bool_)
    allowed[new] = True
    parts: list[tuple[Keys, FloatArray, Numbers]] = []
    with progress_bar(len(new), show=show_progress, doing="placing") as bar:
        for found, vectors, _ in collection.blocks(allowed):
            places, _, clusters = base._among(known, np.asarray(vectors, np.float32), bar)
            parts.append((collection.keys[found].astype(np.uint64), places, clusters))
    keys = np.concatenate([base.keys, *(part[0] for part in parts)])
    order = np.argsort(keys, kind="stable")
    return replace(
        base,
        keys=keys[order],
        places=np.concatenate([base.places, *(part[1] for part in parts)])[order],
        landmark=np.concatenate([base.landmark, np.zeros(len(keys) - len(base.keys), np.bool_)])[order],
        clusters=np.concatenate([base.clusters, *(part[2] for part in parts)])[order],
    )


def _usable_rows(collection: Collection) -> npt.NDArray[np.int64]:
    """Return the rows that have a vector, in order of key; of rows with one key (one in 10^19 pairs) the first."""
    good = np.flatnonzero(np.isfinite(collection.norms) & (collection.norms > 0))
    _, first = np.unique(collection.keys[good], return_index=True)
    return np.asarray(good[first], np.int64)


def _find(keys: Keys, wanted: Keys) -> tuple[npt.NDArray[np.int64], Bools]:
    """Return where in ascending ``keys`` others stand, and whether they do at all."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1).astype(np.int64)
    return at, np.asarray(keys[at] == wanted, np.bool_)


def _first_of_equals(vectors: FloatArray) -> npt.NDArray[np.int64]:
    """Return, ascending, the rows before which no row has the same vector."""
    seen: set[bytes] = set()
    kept = []
    for row, vector in enumerate(vectors):
        # Hashes, because the vectors themselves would be in memory twice.
        name = hashlib.sha256(vector.tobytes()).digest()
        if name not in seen:
            seen.add(name)
            kept.append(row)
    return np.array(kept, np.int64)


def _rule(rows: int, most: int) -> str:
    if rows <= most:
        return "All sequences are laid out; of those with one and the same vector the first by key, the others on it."
    return (
        f"Of {rows:,} sequences the {most:,} with the smallest keys (a hash of the letters, so a random sample that is "
        f"the same for the same sequences) are laid out, the others placed among their {AMONG} nearest of these."
    )


def _software() -> dict[str, str]:
    found = {}
    for name in ("ednabed", "umap-learn", "scikit-learn", "numpy"):
        # umap-learn need not be there.
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
