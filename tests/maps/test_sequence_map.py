"""A map of distinct sequences: which are laid out, where the others are, and that coordinates stay."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ednabed.base.sealed import json_sha256
from ednabed.errors import StoreError, UsageError
from ednabed.maps import sequence_map
from ednabed.maps.make import make_map, point_groups
from ednabed.maps.sequence_map import SequenceMap
from ednabed.reference.loose import LooseRuns
from ednabed.reference.sources import find_sources
from ednabed.store.runs import runs_root
from reference_support import OTHER, add_run, consolidate, opened, vector_of

needs_umap = pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")


@pytest.fixture
def no_umap(monkeypatch):
    """Principal components take no seconds, and what is tested does not depend on the method."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "umap" else real(name, *more))


def loose(workspace) -> LooseRuns:
    return LooseRuns(find_sources(runs_root(workspace), workspace).sources)


def same(one: SequenceMap, other: SequenceMap) -> bool:
    return one._content() == other._content()


def on(found: SequenceMap) -> dict[int, tuple[float, float]]:
    return {int(key): tuple(place) for key, place in zip(found.keys, found.coordinates.tolist(), strict=True)}


def test_the_smallest_keys_are_laid_out_and_all_are_on_it(tmp_path, no_umap):
    add_run(tmp_path, "lake", "a", range(40))
    runs = loose(tmp_path)
    found = make_map(runs, max_landmarks=15)
    assert (found.keys.dtype, found.coordinates.dtype, found.coordinates.shape) == (np.uint64, np.float32, (40, 2))
    assert (found.landmark.dtype, found.clusters.dtype) == (np.bool_, np.int32)
    assert found.keys.tolist() == sorted(runs.keys.tolist())
    assert found.keys[found.landmark].tolist() == sorted(runs.keys.tolist())[:15]
    assert np.isfinite(found.coordinates).all()
    assert (found.method, found.model, found.fingerprint) == ("PCA", "hand", runs.spec.fingerprint)
    assert "the 15 with the smallest keys" in found.rule
    assert make_map(runs).landmark.all()


def test_it_does_not_depend_on_the_runs_or_their_order(tmp_path, no_umap):
    add_run(tmp_path / "one", "lake", "a", range(30))
    add_run(tmp_path / "two", "sea", "b", [*range(29, 14, -1)])
    add_run(tmp_path / "two", "sea", "c", [*range(20)], created="2024-02-01T00:00:00+00:00")
    consolidate(tmp_path / "two")
    one = make_map(loose(tmp_path / "one"), max_landmarks=12)
    assert same(one, make_map(loose(tmp_path / "two"), max_landmarks=12))
    assert same(one, make_map(opened(tmp_path / "two"), max_landmarks=12))


def test_rows_find_their_coordinates_by_key(tmp_path, no_umap):
    add_run(tmp_path, "lake", "a", range(12))
    found = make_map(loose(tmp_path), max_landmarks=6)
    add_run(tmp_path, "sea", "b", [50, 3, 51])
    runs = loose(tmp_path)
    places, landmark, clusters, on_map = found.of_rows(runs)
    assert (places.shape, places.dtype, clusters.dtype) == ((14, 2), np.float32, np.int32)
    assert on_map.sum() == 12
    assert np.isnan(places[~on_map]).all()
    assert (clusters[~on_map] == -1).all()
    assert landmark.sum() == 6
    coordinates = on(found)
    assert all(coordinates[int(k)] == tuple(p) for k, p in zip(runs.keys[on_map], places[on_map].tolist(), strict=True))


def test_coordinates_stay_when_sequences_are_added(tmp_path, no_umap):
    add_run(tmp_path, "lake", "a", range(30))
    before = make_map(loose(tmp_path), max_landmarks=20)
    add_run(tmp_path, "sea", "b", range(25, 60), created="2024-02-01T00:00:00+00:00")
    runs = loose(tmp_path)
    after = make_map(runs, max_landmarks=5, seed=9, earlier=before)
    coordinates, now = on(before), on(after)
    assert len(now) == 60
    assert all(now[key] == place for key, place in coordinates.items())
    assert after.keys[after.landmark].tolist() == before.keys[before.landmark].tolist()
    assert (np.diff(after.keys.astype(object)) > 0).all()
    assert (after.most, after.seed, after.created) == (20, 0, before.created)
    # New sequences are where `place` puts them, however they were added.
    new = np.flatnonzero(~np.isin(runs.keys, before.keys))
    places, similar = before.coordinates_of(runs, runs.vectors_of(new))
    assert [now[int(key)] for key in runs.keys[new]] == [tuple(place) for place in places.tolist()]
    assert ((similar <= 1) & (similar >= -1)).all()
    assert make_map(runs, earlier=after) is after
    # Sequences that a collection does not have stay on the map.
    (tmp_path / "other").mkdir()
    add_run(tmp_path / "other", "lake", "a", [*range(30), 70])
    assert len(make_map(loose(tmp_path / "other"), earlier=after).keys) == 61


def test_a_vector_of_a_landmark_gets_its_coordinates(tmp_path, no_umap):
    add_run(tmp_path, "lake", "a", range(40), kinds=10)
    runs = loose(tmp_path)
    found = make_map(runs, max_landmarks=40)
    assert found.landmarks == 10, "of equal vectors the first is laid out"
    first: dict[bytes, int] = {}
    for row in np.argsort(runs.keys).tolist():
        first.setdefault(runs.vectors_of(np.array([row])).tobytes(), int(runs.keys[row]))
    assert sorted(first.values()) == found.keys[found.landmark].tolist()
    coordinates = on(found)
    for row in range(runs.rows):
        assert coordinates[int(runs.keys[row])] == coordinates[first[runs.vectors_of(np.array([row])).tobytes()]]
    # The length of a vector does not count.
    places, similar = found.coordinates_of(found.landmark_vectors(runs), 7 * runs.vectors_of(np.arange(10)))
    assert np.array_equal(places, found.of_rows(runs)[0][:10])
    assert similar == pytest.approx(np.ones(10))


def test_the_mean_of_the_nearest(tmp_path, no_umap):
    add_run(tmp_path, "lake", "a", range(30))
    runs = loose(tmp_path)
    found = make_map(runs)
    query = vector_of(99)
    vectors = found.landmark_vectors(runs).astype(np.float64)
    cosines = vectors @ (query / np.linalg.norm(query))
    nearest = np.argsort(-cosines)[:5]
    weights = (1 - cosines[nearest]) ** -2
    expected = (found.coordinates[nearest] * weights[:, None]).sum(axis=0) / weights.sum()
    places, similar = found.coordinates_of(runs, query[None])
    assert places[0] == pytest.approx(expected, abs=1e-4)
    assert similar[0] == pytest.approx(cosines.max(), abs=1e-5)


def test_vectors_without_coordinates(tmp_path, no_umap):
    vectors = np.stack([vector_of(i) for i in range(14)])
    vectors[3] = 0
    vectors[5, 2] = np.nan
    add_run(tmp_path, "lake", "a", range(14), vectors=vectors)
    runs = loose(tmp_path)
    found = make_map(runs)
    assert len(found.keys) == 12
    on_map = found.of_rows(runs)[3]
    assert np.flatnonzero(~on_map).tolist() == [3, 5]
    places, similar = found.coordinates_of(runs, vectors[:6])
    assert np.isnan(places).any(axis=1).tolist() == [False, False, False, True, False, True]
    assert np.isnan(similar).tolist() == [False, False, False, True, False, True]
    none, similar = found.coordinates_of(runs, vectors[:0])
    assert (none.shape, similar.shape) == ((0, 2), (0,))


def test_all_vectors_equal(tmp_path):
    add_run(tmp_path, "lake", "a", range(20), kinds=1)
    found = make_map(loose(tmp_path))
    assert (found.landmarks, len(found.keys)) == (1, 20)
    assert (found.coordinates == 0).all()
    assert (found.clusters == -1).all()


def test_a_few_are_laid_out_by_principal_components(tmp_path):
    add_run(tmp_path, "lake", "a", range(9))
    assert make_map(loose(tmp_path)).method == "PCA"


def test_nothing_to_lay_out(tmp_path):
    add_run(tmp_path, "lake", "a", range(3), vectors=np.zeros((3, 8)))
    runs = loose(tmp_path)
    found = make_map(runs)
    assert (len(found.keys), found.coordinates.shape) == (0, (0, 2))
    assert not found.of_rows(runs)[3].any()
    found.write(tmp_path / "map.parquet")
    assert same(SequenceMap.read(tmp_path / "map.parquet"), found)
    with pytest.raises(UsageError, match="no landmarks"):
        found.coordinates_of(runs, vector_of(1)[None])


@needs_umap
def test_umap_is_reproducible_and_keeps_groups_together(tmp_path):
    vectors = np.concatenate([vector_of(kind) + 0.05 * np.stack([vector_of(i) for i in range(kind, kind + 40)])
                              for kind in (1000, 2000, 3000)])  # fmt: skip
    add_run(tmp_path, "lake", "a", range(120), vectors=vectors)
    runs = loose(tmp_path)
    found = make_map(runs, max_landmarks=90, seed=4)
    assert found.method == "UMAP"
    assert "umap-learn" in found.software
    assert same(found, make_map(runs, max_landmarks=90, seed=4))
    assert not same(found, make_map(runs, max_landmarks=90, seed=5))
    clusters = found.of_rows(runs)[2]
    assert (clusters >= 0).mean() > 0.9
    for number in range(clusters.max() + 1):
        assert len(set((np.flatnonzero(clusters == number) // 40).tolist())) == 1


def test_groups_of_points():
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.normal(at, 0.1, (n, 2)) for at, n in ((0, 30), (5, 60), (10, 45))]).astype(np.float32)
    clusters = point_groups(places)
    assert clusters.dtype == np.int32
    assert set(clusters[:30].tolist()) <= {2, -1}
    assert set(clusters[30:90].tolist()) <= {0, -1}
    assert set(clusters[90:].tolist()) <= {1, -1}
    assert (point_groups(places[:9]) == -1).all()
    assert len(point_groups(places[:0])) == 0


def test_another_function_is_refused(tmp_path, no_umap):
    add_run(tmp_path / "one", "lake", "a", range(12))
    add_run(tmp_path / "two", "lake", "b", range(12), spec=OTHER)
    found, other = make_map(loose(tmp_path / "one")), loose(tmp_path / "two")
    for refused in (
        lambda: make_map(other, earlier=found),
        lambda: found.of_rows(other),
        lambda: found.coordinates_of(other, vector_of(1)[None]),
    ):
        with pytest.raises(StoreError, match=r"cannot be compared; .*reference map --refit"):
            refused()
    with pytest.raises(UsageError, match="same dimension"):
        found.coordinates_of(loose(tmp_path / "one"), np.ones((2, 5), np.float32))


def test_a_collection_without_the_landmarks_is_refused(tmp_path, no_umap):
    add_run(tmp_path / "one", "lake", "a", range(12))
    add_run(tmp_path / "two", "lake", "b", range(20, 40))
    add_run(tmp_path / "three", "lake", "c", range(11, 40))
    found = make_map(loose(tmp_path / "one"))
    with pytest.raises(StoreError, match=r"none of the 12 landmarks .*--refit"):
        make_map(loose(tmp_path / "two"), earlier=found)
    # One remaining landmark is enough, although all new sequences are then placed on it.
    after = make_map(loose(tmp_path / "three"), earlier=found)
    assert len(after.keys) == 40
    assert after.outgrown
    assert not found.outgrown


def test_a_number_of_landmarks_below_one_is_refused(tmp_path):
    add_run(tmp_path, "lake", "a", range(3))
    with pytest.raises(UsageError, match="at least 1"):
        make_map(loose(tmp_path), max_landmarks=0)


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path, no_umap):
    add_run(tmp_path, "lake", "a", range(30))
    found = make_map(loose(tmp_path), max_landmarks=20)
    path = tmp_path / "deep" / "map.parquet"
    found.write(path)
    return path, found


def test_what_is_written_is_read(kept):
    path, found = kept
    again = SequenceMap.read(path)
    for name in ("keys", "coordinates", "landmark", "clusters"):
        one, other = getattr(found, name), getattr(again, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    facts = ("method", "seed", "most", "fingerprint", "model", "created", "rule", "software")
    assert all(getattr(found, name) == getattr(again, name) for name in facts)
    assert [entry.name for entry in path.parent.iterdir()] == ["map.parquet"]


def test_every_flipped_byte_is_detected(kept):
    path, found = kept
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
        try:
            again = SequenceMap.read(path)
        except StoreError as error:
            assert "--refit" in str(error)
        else:
            # Parquet has bytes that contain nothing of the map.
            assert same(again, found)
            assert (again.rule, again.seed) == (found.rule, found.seed)
    for end in (0, 4, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:end])
        with pytest.raises(StoreError, match="--refit"):
            SequenceMap.read(path)


def rewritten(path, change) -> None:
    """Change the facts, with a matching checksum."""
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"ednabed.map"])
    del facts["map_sha256"]
    change(facts)
    text = json.dumps({**facts, "map_sha256": json_sha256(facts)})
    pq.write_table(table.replace_schema_metadata({b"ednabed.map": text.encode()}), path)


def test_another_schema_is_refused(kept):
    path, _ = kept
    rewritten(path, lambda facts: facts.update(schema="ednabed.map/2"))
    with pytest.raises(StoreError, match=r"'ednabed\.map/2', this ednabed reads 'ednabed\.map/1'"):
        SequenceMap.read(path)


def test_other_columns_or_content_are_refused(kept):
    path, found = kept
    table = pq.read_table(path)
    for wrong in (
        table.drop_columns(["cluster"]),
        table.slice(1),
        table.select(["key", "y", "x", "landmark", "cluster"]),
    ):
        pq.write_table(wrong, path)
        with pytest.raises(StoreError, match="is damaged"):
            SequenceMap.read(path)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(StoreError, match="schema None"):
        SequenceMap.read(path)
    found.write(path)
    rewritten(path, lambda facts: facts.update(more=1))
    with pytest.raises(StoreError, match="is damaged"):
        SequenceMap.read(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        SequenceMap.read(tmp_path / "map.parquet")


def test_an_interrupt_leaves_the_old_file(kept, monkeypatch):
    path, found = kept
    before = path.read_bytes()

    def half(table, place, **_):
        place.write_bytes(b"PAR1 and no more")
        raise KeyboardInterrupt

    monkeypatch.setattr(sequence_map.pq, "write_table", half)
    with pytest.raises(KeyboardInterrupt):
        replace(found, seed=3).write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["map.parquet"]


def test_a_map_that_is_being_read_is_replaced_a_little_later(kept, monkeypatch):
    """Windows does not replace a file that another process has open."""
    path, found = kept
    real, tries = Path.replace, []

    def in_use(self, target):
        tries.append(self)
        if len(tries) < 3:
            raise PermissionError(13, "in use", str(target))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", in_use)
    replace(found, seed=3).write(path)
    assert len(tries) == 3 and SequenceMap.read(path).seed == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["map.parquet"]
