"""The FAISS index: right results whatever its state, measured recall, growth and training again."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ednabed.base.topk import lengths, unit
from ednabed.errors import UsageError
from ednabed.reference import index as indexes
from ednabed.reference.opened import open_reference
from ednabed.store.runs import runs_root
from reference_support import DIMENSION, SPEC, add_run, check_hits, consolidate, hits, opened, vector_of

COUNT = 1500


def clustered(count: int, seed: int, copies: int = 1) -> np.ndarray:
    """Vectors in families, as barcodes are; ``copies`` of each are the same."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, DIMENSION)) * 3
    distinct = -(-count // copies)
    vectors = centres[rng.integers(0, 40, distinct)] + rng.standard_normal((distinct, DIMENSION))
    return np.repeat(vectors, copies, axis=0)[:count].astype(np.float32)


def add_many(workspace: Path, name: str, first: int, count: int = COUNT, copies: int = 1):
    day = 1 + len(list(runs_root(workspace).glob("see/*")))
    return add_run(
        workspace, "see", name, range(first, first + count), vectors=clustered(count, first, copies),
        created=f"2024-01-{day:02}T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    workspace = tmp_path_factory.mktemp("ivf")
    add_many(workspace, "a", 0)
    result = consolidate(workspace, index="ivf")
    assert result.retrained
    return workspace


@pytest.fixture
def copy(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws"


def recall(reference, queries: np.ndarray, k: int = 10) -> float:
    """Share of the ``k`` best scores that the index reaches, from the definition."""
    exact, found = (hits(reference, queries, k, exact=exact) for exact in (True, False))
    reached = 0
    for q in range(len(queries)):
        last = min(score for place, _, score in exact if place == q)
        reached += min(k, sum(place == q and score >= last - 1e-5 for place, _, score in found))
    return reached / (k * len(queries))


# -- what is built ---------------------------------------------------------------------------------------------------


def test_the_kind_is_chosen_by_size(monkeypatch):
    assert [indexes.choose_kind(n, "auto") for n in (1, 20_000, 20_001)] == ["flat", "flat", "ivf"]
    assert [indexes.choose_kind(n, "ivf") for n in (1, 10**6)] == ["ivf", "ivf"]
    assert [indexes.choose_kind(n, "flat") for n in (1, 10**6)] == ["flat", "flat"]
    with pytest.raises(UsageError):
        indexes.choose_kind(1, "hnsw")
    for rows in (1, 3, 4, 100, 10**4, 10**6, 10**8):
        lists = indexes.list_count(rows)
        assert 1 <= lists <= min(1024, max(1, rows // 4))


def test_recall_is_measured_and_stored(made):
    reference = opened(made)
    facts = reference.manifest.index
    assert facts.kind == "ivf"
    assert facts.lists == indexes.list_count(COUNT)
    assert facts.trained_on == COUNT
    assert facts.measured_on == 256
    assert facts.reached and 0.99 <= facts.recall <= 1
    assert reference.verify() == []
    # The search is one of those tried, and on vectors of its own kind it does what was measured.
    assert (facts.nprobe, facts.factor) in [(min(n, facts.lists), f) for n, f in indexes._WIDTHS]
    assert recall(reference, clustered(100, 7)) > 0.97
    assert recall(reference, np.asarray(reference.vectors[::20])) >= 0.985


def test_other_programs_search_the_file_as_widely_as_was_measured(made):
    import faiss

    reference = opened(made)
    facts = reference.manifest.index
    index = faiss.read_index(str(reference.folder / "consolidated_index.faiss"))
    assert index.nprobe == facts.nprobe > 1
    queries = unit(np.asarray(reference.vectors[::20]))
    _, wide = index.search(queries, 10)
    index.nprobe = facts.lists
    _, all_lists = index.search(queries, 10)
    assert (wide == all_lists).mean() > 0.95


def test_a_search_with_too_low_recall_is_widened(copy, monkeypatch):
    monkeypatch.setattr(indexes, "_WIDTHS", ((1, 1), (2, 1), (2, 4), (64, 32)))
    facts = consolidate(copy, index="ivf").manifest.index
    assert facts.nprobe > 1
    assert facts.reached
    monkeypatch.setattr(indexes, "_WIDTHS", ((1, 1),))
    facts = consolidate(copy, index="ivf").manifest.index
    assert (facts.nprobe, facts.factor, facts.reached) == (1, 1, False)
    assert facts.recall < 0.99
    reference = opened(copy)
    assert facts.recall == pytest.approx(recall_of_others(reference), abs=0.06)
    assert facts.recall_strangers < 0.95


def recall_of_others(reference) -> float:
    """The ten nearest others of all vectors, found by the index alone; from the definition."""
    import faiss

    vectors = unit(np.asarray(reference.vectors))
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -9)
    last = -np.sort(-scores, axis=1)[:, 9]
    facts = reference.manifest.index
    index = faiss.read_index(str(reference.build / "consolidated_index.faiss"))
    index.nprobe = facts.nprobe
    _, ids = index.search(vectors, 11 * facts.factor)
    near = np.take_along_axis(scores, np.maximum(ids, 0), axis=1)
    found = ((ids >= 0) & (near >= last[:, None] - 1e-6)).sum(axis=1)
    return float(np.minimum(found, 10).mean() / 10)


def test_the_index_has_all_rows(made):
    import faiss

    reference = opened(made)
    index = faiss.read_index(str(reference.build / "consolidated_index.faiss"))
    lists = faiss.extract_index_ivf(index).invlists
    ids = np.concatenate(
        [
            faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).copy()
            for i in range(lists.nlist)
            if lists.list_size(i)
        ]
    )
    assert np.array_equal(np.sort(ids), np.arange(COUNT))


def test_scores_are_exact_and_order_is_that_of_exact_search(made):
    reference = opened(made)
    queries = np.concatenate([clustered(30, 5), np.asarray(reference.vectors[:30])])
    for some in (queries, queries[:1], queries[:4], queries[:5]):
        found = {(q, key): score for q, key, score in hits(reference, some, 5)}
        exact = hits(reference, some, 5, exact=True)
        assert sum(found.get((q, key)) == score for q, key, score in exact) >= 0.97 * len(exact) - 1
        for q in range(len(some)):
            scores = [score for (place, _), score in found.items() if place == q]
            assert len(scores) == 5
            assert scores == sorted(scores, reverse=True)
    check_hits(reference, queries, 5, hits(reference, queries, 5, exact=True))


def test_ties_are_in_order_of_key_with_an_index_too(tmp_path):
    add_many(tmp_path, "a", 0, 900, copies=3)
    consolidate(tmp_path, index="ivf")
    reference = opened(tmp_path)
    queries = np.asarray(reference.vectors[::30])
    found = hits(reference, queries, 3)
    assert found == hits(reference, queries, 3, exact=True)
    assert all(score == 1 for _, _, score in found)
    # If fewer hits than ties are requested, the first by key are returned.
    assert [key for _, key, _ in hits(reference, queries, 1)] == [key for _, key, _ in found[::3]]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 20])
def test_an_index_of_few_vectors(tmp_path, count):
    add_run(tmp_path, "see", "a", range(count))
    result = consolidate(tmp_path, index="ivf")
    assert result.manifest.index.kind == "ivf"
    reference = opened(tmp_path)
    assert reference.verify() == []
    for k in (1, 3, 50):
        assert hits(reference, vector_of(0)[None], k) == hits(reference, vector_of(0)[None], k, exact=True)
    add_run(tmp_path, "see", "b", [count, 0], created="2024-02-01T00:00:00+00:00")
    consolidate(tmp_path, index="ivf", incremental=True)
    assert opened(tmp_path).rows == count + 1
    assert len(hits(opened(tmp_path), vector_of(0)[None], 50)) == count + 1


def test_nothing_is_printed(tmp_path, capfd):
    """FAISS warns on standard error about few training vectors."""
    add_run(tmp_path, "see", "a", range(200))
    consolidate(tmp_path, index="ivf")
    hits(opened(tmp_path), vector_of(0)[None], 5)
    assert capfd.readouterr() == ("", "")


def test_excluded_rows_are_excluded_exactly(made):
    reference = opened(made)
    allowed = np.arange(reference.rows) % 7 == 3
    query = clustered(4, 3)
    found = hits(reference, query, 20, allowed=allowed)
    assert found == hits(reference, query, 20, allowed=allowed, exact=True)
    assert {key for _, key, _ in found} <= set(reference.keys[allowed].tolist())


# -- grown -----------------------------------------------------------------------------------------------------------


def test_an_incremental_build_adds_and_trains_again_when_outgrown(copy, monkeypatch):
    trained = []
    real = indexes.train_index
    monkeypatch.setattr(indexes, "train_index", lambda vectors: trained.append(vectors.rows) or real(vectors))
    add_many(copy, "b", COUNT, 700)
    result = consolidate(copy, index="ivf", incremental=True)
    assert (result.retrained, trained) == (False, [])
    facts = result.manifest.index
    assert (facts.trained_on, facts.reached) == (COUNT, True)
    grown = opened(copy)
    assert grown.verify() == []
    queries = clustered(60, 8)
    consolidate(copy, index="ivf", output=Path("other"))
    made = open_reference(copy / "other")
    for k in (1, 10):
        assert hits(grown, queries, k, exact=True) == hits(made, queries, k, exact=True)
    # What was added is found.
    own = grown.vectors[COUNT:][::10]
    assert [key for _, key, _ in hits(grown, own, 1)] == [key for _, key, _ in hits(grown, own, 1, exact=True)]
    trained.clear()
    add_many(copy, "c", COUNT + 700, 900)
    result = consolidate(copy, index="ivf", incremental=True)
    assert (result.retrained, trained, result.manifest.index.trained_on) == (True, [3100], 3100)
    assert opened(copy).verify() == []


def test_an_index_whose_recall_fell_is_trained_again(copy, monkeypatch):
    facts = opened(copy).manifest.index
    real, asked = indexes.measure_recall, []

    def measure(index, known, *rest):
        asked.append(known.trained_on)
        return replace(real(index, known, *rest), reached=len(asked) > 1)

    monkeypatch.setattr(indexes, "measure_recall", measure)
    add_many(copy, "b", COUNT, 200)
    assert consolidate(copy, index="ivf", incremental=True).retrained
    assert asked == [facts.trained_on, COUNT + 200]


def test_a_reference_that_grows_beyond_flat_gets_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "FLAT_ROWS", 300)
    add_many(tmp_path, "a", 0, 250)
    assert consolidate(tmp_path).manifest.index.kind == "flat"
    add_many(tmp_path, "b", 250, 250)
    result = consolidate(tmp_path, incremental=True)
    assert (result.manifest.index.kind, result.retrained) == ("ivf", True)
    result = consolidate(tmp_path, index="flat")
    assert result.manifest.index.kind == "flat"
    # A flat index of this size would be a second copy of the vectors, which ednabed does not read.
    assert not (result.folder / "consolidated_index.faiss").exists()
    reference = opened(tmp_path)
    assert (reference.verify(), reference.index_fault) == ([], None)


# -- damaged ---------------------------------------------------------------------------------------------------------


def damage(name: str, path: Path) -> None:
    import faiss

    raw = path.read_bytes()
    path.unlink()
    if name == "garbage":
        path.write_bytes(np.random.default_rng(1).bytes(len(raw)))
    elif name == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif name == "longer":
        path.write_bytes(raw + b"\0")
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "folder":
        path.mkdir()
    elif name == "foreign":
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(clustered(COUNT, 1))
        faiss.write_index(index, str(path))
    elif name == "flipped":
        path.write_bytes(raw[:60] + bytes([raw[60] ^ 255]) + raw[61:])


DAMAGES = ["absent", "garbage", "cut", "longer", "empty", "folder", "foreign", "flipped"]


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_index_makes_search_exact_and_is_reported(copy, name):
    reference = opened(copy)
    queries = clustered(8, 4)
    exact = hits(reference, queries, 10, exact=True)
    damage(name, reference.build / "consolidated_index.faiss")
    reference = opened(copy)
    assert hits(reference, queries, 10) == exact
    assert "consolidated_index.faiss" in reference.index_fault
    assert "\n" not in reference.index_fault
    assert reference.verify() != []
    # A build that extends it trains again, and is intact.
    add_many(copy, "b", COUNT, 100)
    result = consolidate(copy, incremental=True, index="ivf")
    assert result.retrained
    assert opened(copy).verify() == []
    assert opened(copy).rows == COUNT + 100


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_flat_index_does_not_matter(tmp_path, name):
    add_run(tmp_path, "see", "a", range(50))
    consolidate(tmp_path)
    reference = opened(tmp_path)
    exact = hits(reference, vector_of(3)[None], 10)
    damage(name, reference.build / "consolidated_index.faiss")
    reference = opened(tmp_path)
    assert hits(reference, vector_of(3)[None], 10) == exact
    assert reference.verify() != []
    add_run(tmp_path, "see", "b", [70])
    assert consolidate(tmp_path, incremental=True).changed
    assert opened(tmp_path).verify() == []


FLIPS = """
import json, random, sys
from pathlib import Path
import numpy as np
from ednabed.reference import index as indexes
from ednabed.reference.manifest import IndexFacts
from ednabed.base.topk import lengths, unit

settings = json.loads(sys.argv[1])
indexes._SMALL, indexes._PAGES, indexes._PAGE = settings["small"], 4, 16
source, path = Path(settings["index"]), Path(settings["work"])
raw = source.read_bytes()
facts = IndexFacts(**settings["facts"])
facts = IndexFacts(**{**settings["facts"], "seal": indexes.seal(source, facts.structure)})
vectors = np.load(settings["vectors"], mmap_mode="r")
norms = lengths(vectors)
queries = unit(np.array(vectors[:60]))
exact = queries @ unit(np.array(vectors)).T
rng = random.Random(settings["seed"])
damaged = 0
for number in range(settings["count"]):
    changed = bytearray(raw)
    first = facts.structure if number % 3 else 0
    for _ in range(rng.choice([1, 1, 8, 200])):
        changed[rng.randrange(first, len(raw))] ^= rng.randint(1, 255)
    path.unlink(missing_ok=True)
    path.write_bytes(changed)
    try:
        index = indexes.open_index(path, len(vectors), vectors.shape[1], facts)
        for some in (queries, queries[:2]):
            query, row, score = indexes.refine(index, some, vectors, norms, 10, facts.nprobe, facts.factor)
            assert len(set(zip(query.tolist(), row.tolist()))) == len(query), "a row is named once"
            assert np.allclose(score, exact[query, row], atol=1e-5)
        del index
    except indexes.DamagedIndex:
        damaged += 1
print(json.dumps(damaged))
"""


@pytest.mark.parametrize(("small", "count"), [(10**9, 100), (0, 250)])
def test_flipped_bytes_never_crash_and_scores_stay_exact(made, tmp_path, small, count):
    """Large files are not read completely at opening, so the contents of their lists are not trusted."""
    reference = opened(made)
    settings = {
        "index": str(reference.build / "consolidated_index.faiss"), "work": str(tmp_path / "x.faiss"),
        "vectors": str(reference.build / "consolidated_embeddings.npy"), "facts": vars(reference.manifest.index),
        "seed": 3, "count": count, "small": small,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, json.dumps(settings)], capture_output=True, timeout=120, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-500:]
    damaged = json.loads(done.stdout)
    assert damaged == count if small else count // 4 < damaged < count


def test_the_seal_covers_the_structure_of_the_file(made, tmp_path, monkeypatch):
    reference = opened(made)
    path = reference.build / "consolidated_index.faiss"
    facts = reference.manifest.index
    size = path.stat().st_size
    assert 0 < facts.structure < size
    assert facts.seal == indexes.seal(path, facts.structure)
    monkeypatch.setattr(indexes, "_SMALL", 0)
    monkeypatch.setattr(indexes, "_PAGES", 3)
    monkeypatch.setattr(indexes, "_PAGE", 300)
    sealed = indexes.seal(path, facts.structure)
    raw = path.read_bytes()
    rng = random.Random(1)
    places = [*rng.sample(range(facts.structure), 60), *range(size - 300, size, 10)]
    for place in places:
        (tmp_path / "x").write_bytes(raw[:place] + b"%c" % (raw[place] ^ 1) + raw[place + 1 :])
        assert indexes.seal(tmp_path / "x", facts.structure) != sealed
    (tmp_path / "x").write_bytes(raw[:-1])
    assert indexes.seal(tmp_path / "x", facts.structure) != sealed


def test_a_large_index_is_checked_quickly(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(b"x" * 2_200_000)
        file.truncate(150_000_000)
    begin = time.perf_counter()
    indexes.seal(path, 2_200_000)
    assert time.perf_counter() - begin < 0.2


def test_an_index_that_returns_missing_rows_is_not_trusted(made, monkeypatch):
    reference = opened(made)
    queries = clustered(3, 4)
    exact = hits(reference, queries, 5, exact=True)
    real = indexes.open_index

    class Liar:
        def __init__(self, index, number):
            self.index, self.number = index, number
            self.nlist = index.nlist

        def search(self, *arguments, **keywords):
            scores, ids = self.index.search(*arguments, **keywords)
            ids[0, 0] = self.number
            return scores, ids

    for number in (COUNT, -2, 2**62):
        reference = opened(made)
        monkeypatch.setattr(indexes, "open_index", lambda *a, number=number: Liar(real(*a), number))
        assert hits(reference, queries, 5) == exact
        assert reference.index_fault == "the index returns vectors that do not exist"


def test_refine_by_hand():
    """Two lists, all visited: candidates in any order, -1 left out, a duplicated row, ties with the last kept."""

    class Fixed:
        nlist = 2

        def search(self, queries, wide, params):
            return None, np.array([[0, 2, -1, 0, 3]])[:, :wide].repeat(len(queries), 0)

    vectors = np.array([[2, 0], [0, 3], [1, 0], [-1, 0]], np.float32)
    for count in (1, 6):
        queries = np.array([[1, 0]] * count, np.float32)
        query, row, score = indexes.refine(Fixed(), queries, vectors, lengths(vectors), 1, 2, 5)
        assert query.tolist() == np.repeat(np.arange(count), 2).tolist()
        assert sorted(row[query == 0].tolist()) == [0, 2]
        assert score.tolist() == [1.0] * (2 * count)


def test_specs_of_any_dimension(tmp_path):
    for dimension in (1, 3, 130):
        spec = replace(SPEC, dimension=dimension)
        vectors = np.random.default_rng(1).standard_normal((60, dimension)).astype(np.float32)
        add_run(tmp_path, f"d{dimension}", "a", range(60), vectors=vectors, spec=spec)
        runs = Path("consolidated_data", "runs", f"d{dimension}")
        result = consolidate(tmp_path, runs=runs, index="ivf", output=Path(f"ref{dimension}"))
        reference = open_reference(result.folder)
        assert reference.verify() == []
        found = hits(reference, vectors[:5], 3, exact=True)
        check_hits(reference, vectors[:5], 3, found)
        assert len(hits(reference, vectors[:5], 3)) == 15


def test_damage_that_opening_does_not_detect_is_not_built_upon(copy, monkeypatch):
    monkeypatch.setattr(indexes, "_SMALL", 0)
    monkeypatch.setattr(indexes, "_PAGES", 2)
    monkeypatch.setattr(indexes, "_PAGE", 16)
    facts = consolidate(copy, index="ivf").manifest.index
    path = opened(copy).build / "consolidated_index.faiss"
    raw = path.read_bytes()
    place = (facts.structure + len(raw)) // 2
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    reference = opened(copy)
    assert len(hits(reference, clustered(3, 4), 10)) == 30
    assert reference.index_fault is None
    assert "consolidated_index.faiss does not match its checksum" in reference.verify()[0]
    add_many(copy, "b", COUNT, 100)
    assert consolidate(copy, incremental=True, index="ivf").retrained
    assert opened(copy).verify() == []
