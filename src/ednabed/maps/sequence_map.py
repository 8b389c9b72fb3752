"""A map of distinct sequences: coordinates for each, computed once and kept, so that pictures can be compared.

A map is laid out for *landmarks*, a limited number of sequences of a collection, chosen by a rule that gives the same
landmarks for the same sequences. Every other sequence, even one that is added later or is in no collection, is placed
among its nearest landmarks. Thus a map stays as it is when a reference grows, and what is placed on it later gets the
coordinates that it would have had before.

Coordinates are for display: sequences that are near on the map mostly have near vectors, but a large distance on the
map means little. Measured with ``barcode-1`` on 102,940 COI barcodes, of which 50,000 are landmarks: for 86 % of the
landmarks, the nearest point on the map is of the same genus (95 % of the same family); for the sequences placed among
them, 89 % (95 %); by vector, 94 % (98 %).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ednabed.base.arrays import Bools, FloatArray, Ints
from ednabed.base.atomic import whole_file
from ednabed.base.nearest import nearest_vectors
from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.base.sealed import json_sha256
from ednabed.base.stored_json import BadJson, brief, parse_json, require
from ednabed.base.topk import lengths, unit
from ednabed.errors import StoreError, UsageError
from ednabed.reference.collection import Collection

N_NEAREST = 5
"""Number of landmarks among which a sequence is placed."""
SCHEMA = "ednabed.map/1"
_MIN_DISTANCE = 1e-6
"""Minimum distance (1 - cosine) that can be resolved, because cosines have six digits."""
_FACTS = b"ednabed.map"
_FACTS_TYPES = {
    "method": str, "seed": int, "most": int, "fingerprint": str, "model": str, "created": str, "rule": str,
    "software": dict[str, str],
}  # fmt: skip
_AGAIN = "lay it out again with 'ednabed reference map --refit'"
_COLUMNS = pa.schema(
    [("key", pa.uint64()), ("x", pa.float32()), ("y", pa.float32()), ("landmark", pa.bool_()), ("cluster", pa.int32())]
)

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SequenceMap:
    """Coordinates of sequences on a map.

    Attributes:
        keys: Key of each sequence (``Collection.keys``), uint64, shape (n,), ascending, each once.
        coordinates: x and y, float32, shape (n, 2), finite, without a unit.
        landmark: bool, shape (n,): laid out by the method itself; False: placed among its nearest landmarks.
        clusters: Number of its group of points, int32, shape (n,), from 0, largest group first; -1 for none. A group
            consists of points that are close together in this picture (``point_groups``); it is not a taxon.
        method: ``UMAP`` or ``PCA``.
        seed: Seed with which it was laid out.
        most: Maximum number of landmarks, as requested when it was laid out.
        fingerprint: Fingerprint of the function that computed the vectors.
        model: Name of its model.
        created: Time at which it was laid out, UTC, ISO 8601.
        rule: One sentence: which sequences are landmarks, and where the others are.
        software: Versions with which it was laid out.
    """

    keys: Keys
    coordinates: FloatArray
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
        """Whether a new layout would have more than twice as many landmarks, and would therefore show more."""
        return 2 * self.landmarks < min(self.most, len(self.keys))

    def landmark_vectors(self, collection: Collection) -> FloatArray:
        """Return the vectors of the landmarks, for placing many sequences among them without repeated reading.

        Args:
            collection: The collection that has the landmarks, or some of them.

        Returns:
            float32, shape (landmarks, dimension), unit length, in order of key; NaN for landmarks that are missing.

        Raises:
            StoreError: The collection has vectors of another function, or none of the landmarks.
        """
        self.check_function(collection)
        keys = self.keys[self.landmark]
        vectors = np.full((len(keys), collection.spec.dimension), np.nan, np.float32)
        if not len(keys):
            return vectors
        rows = usable_rows(collection)
        at, known = find_keys(keys, collection.keys[rows])
        if not known.any():
            raise StoreError(f"{collection.name} has none of the {len(keys):,} landmarks of its map; {_AGAIN}")
        vectors[at[known]] = unit(collection.vectors_of(rows[known]))
        return vectors

    def coordinates_of(self, landmarks: Collection | FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Place vectors that are not on the map, such as those of novel sequences or of other runs.

        A sequence is placed at the mean of its five nearest landmarks, weighted by 1 / (1 - cosine)^2; a sequence whose
        vector equals that of a landmark (cosine 1 to six digits) gets its coordinates. The same vectors get the same
        coordinates.

        Args:
            landmarks: A collection that has the landmarks, or the result of ``landmark_vectors``.
            vectors: float32, shape (q, dimension), any length; computed by the function of the map.

        Returns:
            Coordinates, float32, shape (q, 2), and the cosine with the nearest landmark, float32, shape (q,), -1 to 1;
            with a low cosine the coordinates mean little. Both NaN for a vector that is all zeros or not finite.

        Raises:
            StoreError: As for ``landmark_vectors``.
            UsageError: The vectors have another dimension than the landmarks, or the map has no landmarks.
        """
        known = self.landmark_vectors(landmarks) if isinstance(landmarks, Collection) else landmarks
        if len(known) != self.landmarks or known.ndim != 2 or vectors.ndim != 2 or known.shape[1] != vectors.shape[1]:
            raise UsageError(
                f"got vectors of shape {vectors.shape} to place among landmarks of shape {known.shape}, expected "
                f"{self.landmarks:,} landmarks of the same dimension; use vectors and landmarks of one model"
            )
        coordinates, similar, _ = self.place_among(known, vectors)
        return coordinates, similar

    def of_rows(self, collection: Collection) -> tuple[FloatArray, Bools, Numbers, Bools]:
        """Return the map data of each row of a collection.

        Returns:
            Coordinates, float32, shape (rows, 2), NaN for rows that are not on the map; whether a row is a landmark,
            bool, shape (rows,); clusters, int32, shape (rows,), -1 for none; and whether it is on the map, bool, shape
            (rows,).

        Raises:
            StoreError: The collection has vectors of another function.
        """
        self.check_function(collection)
        at, on_map = find_keys(self.keys, collection.keys)
        coordinates = np.full((collection.rows, 2), np.nan, np.float32)
        landmark = np.zeros(collection.rows, np.bool_)
        clusters = np.full(collection.rows, -1, np.int32)
        coordinates[on_map] = self.coordinates[at[on_map]]
        landmark[on_map] = self.landmark[at[on_map]]
        clusters[on_map] = self.clusters[at[on_map]]
        return coordinates, landmark, clusters, on_map

    def write(self, path: Path) -> None:
        """Write the map to one Parquet file, completely or not at all; an earlier file stays until it is finished."""
        facts = {
            "schema": SCHEMA, "method": self.method, "seed": self.seed, "most": self.most,
            "fingerprint": self.fingerprint, "model": self.model, "created": self.created, "rule": self.rule,
            "software": self.software, "content_sha256": self._content(),
        }  # fmt: skip
        text = json.dumps({**facts, "map_sha256": json_sha256(facts)}, ensure_ascii=False)
        columns = [self.keys, self.coordinates[:, 0], self.coordinates[:, 1], self.landmark, self.clusters]
        table = pa.table([pa.array(np.ascontiguousarray(column)) for column in columns], schema=_COLUMNS)
        with whole_file(path) as temporary:
            pq.write_table(table.replace_schema_metadata({_FACTS: text.encode()}), temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> SequenceMap:
        """Read a map.

        Raises:
            FileNotFoundError: The file does not exist.
            StoreError: It is damaged, or of a schema that this version does not know.
        """
        again = f"lay it out again with 'ednabed reference map --reference {path.parent} --refit'"
        try:
            # The complete file is read and closed, so that it can be replaced at any time.
            with parquet_errors(lambda reason: StoreError(f"{path} cannot be read ({reason}); {again}")):
                table = checked_text(pq.ParquetFile(pa.BufferReader(path.read_bytes())).read())
            facts = parse_json((table.schema.metadata or {}).get(_FACTS, b"null"))
        except BadJson as error:
            raise StoreError(f"{path} cannot be read ({error}); {again}") from error
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
            schema = facts.get("schema") if isinstance(facts, dict) else None
            raise StoreError(
                f"{path} has schema {brief(schema)}, this ednabed reads {SCHEMA!r}; update ednabed, or {_AGAIN}"
            )
        damaged = StoreError(f"{path} is damaged; {again}")
        checksum, content = facts.pop("map_sha256", None), facts.get("content_sha256")
        if checksum != json_sha256(facts) or table.schema.remove_metadata() != _COLUMNS:
            raise damaged
        if any(column.null_count for column in table.columns):
            raise damaged
        key, x, y, landmark, cluster = (column.to_numpy() for column in table.columns)
        coordinates = np.stack([x, y], axis=1)
        try:
            require(facts, _FACTS_TYPES, "the map")
            if facts.keys() != {*_FACTS_TYPES, "schema", "content_sha256"}:
                raise damaged
            found = cls(
                key, coordinates, landmark.astype(np.bool_), cluster, **{name: facts[name] for name in _FACTS_TYPES}
            )
        except BadJson:
            raise damaged from None
        if found._content() != content:
            raise damaged
        return found

    def _content(self) -> str:
        """Return the SHA-256 of all columns, one after another, little-endian."""
        hashed = hashlib.sha256()
        for column, kind in (
            (self.keys, "<u8"), (self.coordinates[:, 0], "<f4"), (self.coordinates[:, 1], "<f4"), (self.landmark, "u1"),
            (self.clusters, "<i4"),
        ):  # fmt: skip
            hashed.update(np.ascontiguousarray(column, kind).tobytes())
        return hashed.hexdigest()

    def check_function(self, collection: Collection) -> None:
        """Raise StoreError if a collection has vectors of another function than the map."""
        if collection.spec.fingerprint != self.fingerprint:
            raise StoreError(
                f"{collection.name} has vectors of {collection.spec.model} ({collection.spec.fingerprint[:12]}), the "
                f"map is of {self.model} ({self.fingerprint[:12]}): they cannot be compared; {_AGAIN}"
            )

    def place_among(
        self, known: FloatArray, vectors: FloatArray, bar: Any = None
    ) -> tuple[FloatArray, FloatArray, Numbers]:
        """Place vectors as ``coordinates_of`` does.

        Args:
            known: Result of ``landmark_vectors``.
            vectors: float32, shape (q, dimension).
            bar: A progress bar, updated with the number of vectors placed; None for none.

        Returns:
            As ``coordinates_of``, and the cluster of the nearest landmark, int32, shape (q,), -1 for none.

        Raises:
            UsageError: The map has no landmarks.
        """
        present = np.flatnonzero(np.isfinite(known[:, 0]))
        if not len(present):
            raise UsageError(f"the map has no landmarks to place sequences among; {_AGAIN}")
        if len(present) < len(known):
            known = known[present]
        landmark_coordinates = self.coordinates[self.landmark][present].astype(np.float64)
        landmark_clusters = self.clusters[self.landmark][present]
        coordinates = np.full((len(vectors), 2), np.nan, np.float32)
        similar = np.full(len(vectors), np.nan, np.float32)
        clusters = np.full(len(vectors), -1, np.int32)
        norms = lengths(vectors)
        good = np.flatnonzero(np.isfinite(norms) & (norms > 0))
        rows, cosines = nearest_vectors(unit(vectors[good]), known, N_NEAREST, bar)
        if not len(good):
            return coordinates, similar, clusters
        distances = 1 - cosines
        weights = np.maximum(distances, _MIN_DISTANCE) ** -2
        mean = (landmark_coordinates[rows] * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
        upon = distances[:, 0] < _MIN_DISTANCE / 2
        coordinates[good] = np.where(upon[:, None], landmark_coordinates[rows[:, 0]], mean)
        similar[good] = cosines[:, 0]
        clusters[good] = landmark_clusters[rows[:, 0]]
        return coordinates, similar, clusters


def usable_rows(collection: Collection) -> Ints:
    """Return the rows that have a vector, in order of key; of rows with equal keys (one in 10^19 pairs) the first."""
    good = np.flatnonzero(np.isfinite(collection.norms) & (collection.norms > 0))
    _, first = np.unique(collection.keys[good], return_index=True)
    return np.asarray(good[first], np.int64)


def find_keys(keys: Keys, others: Keys) -> tuple[Ints, Bools]:
    """Return the positions of other keys in the ascending ``keys``, and whether they are in it at all."""
    if not len(keys):
        return np.zeros(len(others), np.int64), np.zeros(len(others), np.bool_)
    at = np.minimum(np.searchsorted(keys, others), len(keys) - 1).astype(np.int64)
    return at, np.asarray(keys[at] == others, np.bool_)
