"""Comparing two versions: every figure against a plain definition, and no figures without common sequences."""

from __future__ import annotations

import base64
import itertools
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import StoreError, UsageError
from ednabed.evaluate import compare_versions as module
from ednabed.evaluate.compare_versions import (
    accuracy,
    compare_versions,
    cosines_of_pairs,
    neighbours,
    overlap,
    pairs_of,
    spearman,
)
from ednabed.sequences.records import digest
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run, find_run, runs_root
from ednabed.store.versions import register, tag_run
from support import expected, letters

# -- rank correlation ------------------------------------------------------------------------------------------------


def test_correlation_worked_by_hand():
    """Without ties 1 - 6 Σd² / n(n² - 1): Σd² = 194, n = 10, so 1 - 1164/990 = -29/165."""
    hours = [7, 0, 27, 50, 28, 29, 20, 12, 6, 17]
    scores = [106, 86, 100, 101, 99, 103, 97, 113, 112, 110]
    assert spearman(np.array(scores, float), np.array(hours, float)) == pytest.approx(-29 / 165, abs=1e-12)
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: products of deviations 4.5, squares 4.5 and 5.
    tied = spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4]))
    assert tied == pytest.approx(4.5 / (4.5 * 5) ** 0.5, abs=1e-12)


def test_correlation_of_the_same_order_and_of_the_reverse():
    values = np.random.default_rng(0).random(50)
    assert spearman(values, np.exp(values)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)


@pytest.mark.parametrize(("a", "b"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([], []), ([1], [1])])
def test_an_undefined_correlation_is_none(a, b):
    assert spearman(np.array(a, float), np.array(b, float)) is None


def slow_spearman(a, b):
    def ranks(values):
        return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]

    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    below = (sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y)) ** 0.5
    return top / below if below else None


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=25))
def test_correlation_against_its_slow_definition(pairs):
    a, b = (list(column) for column in zip(*pairs, strict=True))
    fast, slow = spearman(np.array(a, float), np.array(b, float)), slow_spearman(a, b)
    assert (fast is None) == (slow is None)
    if slow is not None:
        assert fast == pytest.approx(slow, abs=1e-9)


# -- neighbours, pairs, cosines --------------------------------------------------------------------------------------


def slow_neighbours(vectors, k):
    unit = [v / (np.linalg.norm(v) or 1) for v in vectors.astype(np.float64)]
    rows = []
    for i, one in enumerate(unit):
        order = sorted((-float(one @ other), j) for j, other in enumerate(unit) if j != i)
        rows.append([j for _, j in order[:k]])
    return rows


@pytest.mark.parametrize(("n", "k"), [(2, 1), (11, 10), (40, 10), (300, 10), (600, 3)])
def test_neighbours_against_their_slow_definition(n, k):
    vectors = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
    found = neighbours(vectors, k)
    assert found.shape == (n, k)
    assert found.tolist() == slow_neighbours(vectors, k)


def test_a_row_is_never_its_own_neighbour_even_among_equal_rows():
    vectors = np.ones((30, 4), np.float32)
    vectors[20:] = np.eye(4, dtype=np.float32)[0]
    found = neighbours(vectors, 5)
    for i, row in enumerate(found.tolist()):
        assert i not in row
        assert len(set(row)) == 5
        assert all((j >= 20) == (i >= 20) for j in row)
    assert found[0].tolist() == [1, 2, 3, 4, 5]
    assert found[9].tolist() == [0, 1, 2, 3, 4]


def test_overlap_worked_by_hand():
    first = np.array([[1, 2, 3], [0, 2, 3]])
    assert overlap(first, np.array([[3, 1, 2], [2, 3, 0]])) == 1
    assert overlap(first, np.array([[4, 5, 6], [4, 5, 6]])) == 0
    assert overlap(first, np.array([[3, 9, 8], [0, 3, 7]])) == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_all_pairs_are_returned_if_they_are_few():
    i, j = pairs_of(5, 10, seed=0)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == list(itertools.combinations(range(5), 2))


def test_a_random_sample_of_the_pairs_if_they_are_many():
    i, j = pairs_of(100, 500, seed=3)
    found = list(zip(i.tolist(), j.tolist(), strict=True))
    assert found == sorted(set(found))
    assert set(found) <= set(itertools.combinations(range(100), 2))
    assert 400 < len(found) <= 500
    assert (np.bincount(np.concatenate([i, j]), minlength=100) > 0).all()
    again = pairs_of(100, 500, seed=3)
    assert (again[0].tolist(), again[1].tolist()) == (i.tolist(), j.tolist())
    assert pairs_of(100, 500, seed=4)[0].tolist() != i.tolist()


def test_pairs_are_drawn_evenly():
    counts = np.zeros((6, 6), int)
    for seed in range(3000):
        i, j = pairs_of(6, 3, seed)
        counts[i, j] += 1
    drawn = counts[np.triu_indices(6, 1)]
    assert drawn.min() > 0.8 * drawn.mean()
    assert drawn.max() < 1.2 * drawn.mean()


@pytest.mark.parametrize("maximum", [10**6, 5000])
def test_cosines_against_their_definition(maximum):
    vectors = np.random.default_rng(1).standard_normal((700, 6)).astype(np.float32) * 7
    vectors[3] = 0
    i, j = pairs_of(700, maximum, 0)
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    norms[3] = 1
    defined = np.einsum("nd,nd->n", wide[i], wide[j]) / norms[i] / norms[j]
    np.testing.assert_allclose(cosines_of_pairs(vectors, i, j), defined, atol=1e-7)


def test_rounding_does_not_create_an_order():
    """Cosines of equal, scaled vectors that are 1 except for the last bits are ties, not a correlation of noise."""
    rng = np.random.default_rng(0)
    same = np.outer(rng.random(50) + 0.5, rng.random(16)).astype(np.float32)
    other = rng.random((50, 16)).astype(np.float32)
    i, j = pairs_of(50, 10**6, 0)
    assert spearman(cosines_of_pairs(same, i, j), cosines_of_pairs(other, i, j)) is None


# -- complete comparisons --------------------------------------------------------------------------------------------

# A large salt drowns out the bases, so any two large salts give nearly the same order; 0 and -1 do not.
SALTS = {1: 0, 2: -1, 3: 3}
GENERA = ["Gobius", "Carcinus", "Salmo", ""]


def sequences(count, seed) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("ACGT", weights=[rng.random() + 0.1 for _ in "ACGT"], k=40)) for _ in range(count)]


def lineage(seed) -> str:
    rng = random.Random(seed)
    genus = rng.choice(GENERA)
    return f";;;;;{genus};{genus + ' ' + rng.choice('ab') if genus else ''}"


def embed(workspace, dataset, rows, version) -> Run:
    """Create a run from (sequence, lineage) rows with the embedder of a version."""
    path = workspace / f"{dataset}-{version}.tsv"
    lines = [f"{dataset}{i}\t{s}\t{named}" for i, (s, named) in enumerate(rows)]
    path.write_text("\n".join(["id\tsequence\tlineage", *lines]) + "\n")
    return embed_to_run(RunRequest([path], workspace, dataset=dataset), letters(salt=SALTS[version])).run


def versions_of(workspace, *numbers):
    for number in numbers:
        register(workspace, f"v{number}", letters(salt=SALTS[number]).spec)


def definition(common, names, k=10):
    """Compute overlap, correlation, sequences asked and right names of v1 and v2 by loops; names: sequence to genus."""
    order = sorted(common, key=lambda s: base64.urlsafe_b64decode(digest(s.encode())[3:]))
    both = [np.stack([expected(s, SALTS[version]) for s in order]) for version in (1, 2)]
    k = min(k, len(order) - 1)
    nearest = [slow_neighbours(vectors, k) for vectors in both]
    shared = np.mean([len(set(a) & set(b)) / k for a, b in zip(*nearest, strict=True)])
    lists = []
    for vectors in both:
        unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        lists.append([round(float(unit[i] @ unit[j]), 7) for i, j in itertools.combinations(range(len(order)), 2)])
    given_ = [names[s] for s in order]
    asked = [i for i, name in enumerate(given_) if name and given_.count(name) > 1]
    right = tuple(sum(given_[rows[i][0]] == given_[i] for i in asked) for rows in nearest)
    return shared, slow_spearman(*lists), len(asked), right


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """v1 has lake and sea, v2 has lake (other order, duplicate sequences) and river; 30 sequences are common."""
    workspace = tmp_path_factory.mktemp("compare")
    all_ = sequences(60, 1)
    rows = [(s, lineage(i)) for i, s in enumerate(all_)]
    embed(workspace, "lake", rows[:25], 1)
    embed(workspace, "sea", rows[20:40], 1)
    embed(workspace, "lake", [*reversed(rows[10:30]), rows[10], rows[11]], 2)
    embed(workspace, "river", rows[30:60], 2)
    versions_of(workspace, 1, 2, 3)
    return workspace


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws"


def genera():
    return {s: lineage(i).split(";")[5] for i, s in enumerate(sequences(60, 1))}


def test_a_comparison_matches_its_definition(made):
    found = compare_versions(made, "v1", "v2")
    first, second = found.holdings
    assert (len(first.runs), first.records, first.distinct, first.datasets) == (2, 45, 40, ["lake", "sea"])
    assert (len(second.runs), second.records, second.distinct, second.datasets) == (2, 52, 50, ["lake", "river"])
    common = sequences(60, 1)[10:40]
    assert (found.common, found.sampled, found.neighbours, found.pairs) == (30, 30, 10, 435)
    shared, correlation, asked, right = definition(common, genera())
    assert 0.2 < shared < 0.95, "the test must distinguish the versions"
    assert found.overlap == pytest.approx(shared, abs=1e-12)
    assert found.overlap_by_chance == pytest.approx(10 / 29)
    assert found.correlation == pytest.approx(correlation, abs=1e-3)
    genus, species = found.accuracies
    assert (genus.rank, genus.asked, genus.right) == ("genus", asked, right)
    assert genus.share == (right[0] / asked, right[1] / asked)
    assert species.rank == "species"
    assert 0 < species.asked <= asked


def test_swapping_the_versions_gives_the_same_figures(made):
    one, other = compare_versions(made, "v1", "v2"), compare_versions(made, "v2", "v1")
    assert one.overlap == other.overlap
    assert one.correlation == pytest.approx(other.correlation)
    assert one.accuracies[0].right == other.accuracies[0].right[::-1]


def test_few_common_sequences_have_fewer_neighbours(tmp_path):
    rows = [(s, "") for s in sequences(4, 7)]
    for version in (1, 2):
        embed(tmp_path, "lake", rows, version)
    versions_of(tmp_path, 1, 2)
    found = compare_versions(tmp_path, "v1", "v2")
    assert (found.common, found.neighbours, found.pairs) == (4, 3, 6)
    assert found.overlap == found.overlap_by_chance == 1
    assert [(a.asked, a.right, a.share) for a in found.accuracies] == [(0, None, None)] * 2


@pytest.mark.parametrize(("count", "message"), [(0, "no common sequences"), (1, "one sequence has no neighbours")])
def test_too_few_common_sequences_give_no_figures(tmp_path, count, message):
    rows = [(s, ";;;;;Gobius;") for s in sequences(9, 7)]
    embed(tmp_path, "lake", rows[:4], 1)
    embed(tmp_path, "lake", rows[4 - count :], 2)
    versions_of(tmp_path, 1, 2)
    found = compare_versions(tmp_path, "v1", "v2")
    assert (found.common, found.sampled) == (count, count)
    figures = (found.overlap, found.overlap_by_chance, found.correlation, found.neighbours)
    assert figures == (None,) * 4
    values = found.to_dict()
    assert [values[key] for key in ("overlap", "overlap_by_chance", "spearman", "neighbours")] == [None] * 4
    assert values["pairs"] == 0
    assert all(entry["accuracy"] is None and entry["asked"] == 0 for entry in values["nearest_neighbour"])
    assert message in found.to_text()
    assert "overlap@" not in found.to_text()


def test_a_version_without_runs(made):
    found = compare_versions(made, "v1", "v3")
    assert (found.holdings[1].runs, found.holdings[1].records, found.holdings[1].distinct) == ([], 0, None)
    assert "no common sequences" in found.to_text()


def test_the_sample_is_seeded_and_bounded(made):
    runs = [compare_versions(made, "v1", "v2", sample=12, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert {found.sampled for found in runs} == {12}
    assert {found.common for found in runs} == {30}
    assert {found.neighbours for found in runs} == {10}
    assert runs[0] == runs[1]
    assert len({found.correlation for found in runs}) == 4


def test_the_pairs_are_bounded(made, monkeypatch):
    monkeypatch.setattr(module, "MAX_PAIRS", 100)
    found = compare_versions(made, "v1", "v2")
    assert 70 < found.pairs <= 100
    assert abs(found.correlation - compare_versions(made, "v2", "v1").correlation) < 1e-6


def test_the_order_of_runs_and_records_does_not_matter(made, tmp_path):
    rows = [(s, lineage(i)) for i, s in enumerate(sequences(60, 1))]
    embed(tmp_path, "b", rows[39::-1], 1)
    embed(tmp_path, "a", rows[10:60], 2)
    versions_of(tmp_path, 1, 2)
    one, other = (compare_versions(w, "v1", "v2", sample=20) for w in (made, tmp_path))
    assert (one.overlap, one.correlation, one.accuracies) == (other.overlap, other.correlation, other.accuracies)


def test_names_of_either_version_count_and_contradictions_do_not(tmp_path):
    """Names belong to sequences: v1's run has none, v2's two runs contradict each other once."""
    selected = sequences(7, 3)
    genera = ["A", "A", "B", "B", "B", "", "A"]
    named = [";;;;;A;A x", ";;;;;A;A x", ";;;;;B;B x", ";;;;;B;B x", ";;;;;B;B x", "", ";;;;;A;A y"]
    embed(tmp_path, "bare", [(s, "") for s in selected], 1)
    embed(tmp_path, "lake", list(zip(selected, named, strict=True)), 2)
    embed(tmp_path, "sea", [(selected[0], ";;;;;A;A y"), (selected[4], ";;;;;A;"), (selected[5], "")], 2)
    versions_of(tmp_path, 1, 2)
    found = compare_versions(tmp_path, "v1", "v2", ranks=("species", "genus", "order"))
    species, genus, order = found.accuracies
    # Sequence 0: genus A, species disputed, so "A x" and "A y" occur once. Sequence 4: genus disputed, species "B x".
    assert (genus.asked, species.asked, order.asked) == (5, 3, 0)
    assert (species.conflicting, genus.conflicting, order.conflicting) == (1, 1, 0)
    genera[4] = ""
    assert definition(selected, dict(zip(selected, genera, strict=True)))[2:] == (5, genus.right)


def test_accuracy_worked_by_hand():
    names = np.array(["A", "A", "B", "", "C", "B"])
    nearest = np.array([[1, 5], [3, 5], [5, 0], [0, 1], [0, 1], [4, 2]])
    other = np.array([[1], [0], [5], [0], [0], [2]])
    found = accuracy("genus", names, 3, (nearest, other))
    # Asked: 0, 1, 2, 5. Nearest by the first: A right, "" wrong, B right, C wrong.
    assert (found.conflicting, found.asked, found.right, found.unnamed) == (3, 4, (2, 4), (1, 0))
    assert found.share == (0.5, 1.0)


def test_runs_of_older_tools_are_compared_as_far_as_possible(workspace):
    sea = find_run(workspace, "sea")
    bare, more = (runs_root(workspace) / "old" / name for name in ("bare", "more"))
    for folder, rows in ((bare, 5), (more, 10)):
        folder.mkdir(parents=True)
        np.save(folder / "embeddings.npy", sea.load_embeddings()[-rows:])
    assert len(compare_versions(workspace, "v1", "v2").holdings[0].runs) == 2
    tag_run(workspace, Run.open(bare), "v1", assume=True)
    tag_run(workspace, Run.open(more), "v1", assume=True)
    digests = sea.load_records(["digest"]).slice(10)
    pq.write_table(pa.table({"id": list("abcdefghij")}), more / "records.parquet")
    first = compare_versions(workspace, "v1", "v2").holdings[0]
    assert (len(first.runs), first.assumed, first.records, first.distinct) == (4, 2, 60, 40)
    assert first.unmatched == ["old/bare", "old/more"]
    assert first.datasets == ["lake", "old", "sea"]
    shutil.rmtree(sea.folder)
    shutil.rmtree(find_run(workspace, "lake").folder)
    shutil.rmtree(find_run(workspace, "lake").folder)
    found = compare_versions(workspace, "v1", "v2")
    assert (found.holdings[0].distinct, found.common, found.overlap) == (None, 0, None)
    # With digests next to them, the vectors of an older tool can be matched like any others.
    pq.write_table(digests, more / "records.parquet")
    found = compare_versions(workspace, "v1", "v2")
    assert (found.holdings[0].distinct, found.common, found.holdings[0].unmatched) == (10, 10, ["old/bare"])
    assert found.overlap == pytest.approx(definition(sequences(60, 1)[30:40], genera())[0], abs=1e-12)


def test_a_run_that_exists_twice_counts_once(workspace):
    before = compare_versions(workspace, "v1", "v2")
    shutil.copytree(find_run(workspace, "sea").folder, runs_root(workspace) / "copy" / "r")
    after = compare_versions(workspace, "v1", "v2")
    assert [h.records for h in after.holdings] == [h.records for h in before.holdings]
    assert (after.overlap, after.damaged) == (before.overlap, [])


def test_damaged_runs_are_named_and_omitted(workspace):
    sea, lake = find_run(workspace, "sea").folder, find_run(workspace, "river").folder
    records = pq.read_table(sea / "records.parquet")
    pq.write_table(records.slice(1), sea / "records.parquet")
    (lake / "records.parquet").write_bytes(b"PAR1")
    found = compare_versions(workspace, "v1", "v2")
    assert len(found.damaged) == 2
    assert any(str(sea) in s and "20 vectors and 19 records" in s for s in found.damaged)
    assert any(str(lake) in s and "cannot be read" in s for s in found.damaged)
    assert [len(h.runs) for h in found.holdings] == [1, 1]
    assert found.common == 15


@pytest.mark.parametrize("value", ["SQ.short", "", None, "SQ." + "!" * 32, "XX" + "A" * 34])
def test_invalid_digests_are_found(workspace, value):
    folder = find_run(workspace, "sea").folder
    records = pq.read_table(folder / "records.parquet")
    values = records.column("digest").to_pylist()
    values[7] = value
    column = records.schema.get_field_index("digest")
    pq.write_table(records.set_column(column, "digest", pa.array(values, pa.string())), folder / "records.parquet")
    found = compare_versions(workspace, "v1", "v2")
    assert len(found.damaged) == 1
    assert "column 'digest' contains" in found.damaged[0]


def test_a_vector_that_is_not_finite_is_refused(workspace):
    folder = find_run(workspace, "sea").folder
    vectors = np.load(folder / "embeddings.npy")
    vectors[15, 2] = np.nan
    np.save(folder / "embeddings.npy", vectors)
    with pytest.raises(StoreError, match="not finite"):
        compare_versions(workspace, "v1", "v2")


def test_runs_elsewhere_are_reported(workspace, tmp_path):
    run = find_run(workspace, "sea")
    tag_run(workspace, run, "v1")
    run.folder.rename(workspace / "moved")
    found = compare_versions(workspace, "v1", "v2")
    assert found.holdings[0].elsewhere == [run.label]
    assert found.common == 15
    found = compare_versions(workspace, "v1", "v2", root=Path("moved"))
    assert (found.holdings[0].records, found.holdings[0].elsewhere, found.common) == (20, [], 0)


def test_digests_of_many_runs_are_merged(tmp_path):
    rows = [(s, "") for s in sequences(30, 5)]
    for i in range(10):
        embed(tmp_path, f"a{i}", rows[2 * i : 2 * i + 5], 1)
    embed(tmp_path, "b", rows, 2)
    versions_of(tmp_path, 1, 2)
    found = compare_versions(tmp_path, "v1", "v2")
    assert (found.holdings[0].distinct, found.holdings[0].records, found.common) == (23, 50, 23)
    names = {s: "" for s, _ in rows}
    assert found.overlap == pytest.approx(definition([s for s, _ in rows[:23]], names)[0], abs=1e-12)


def test_invalid_comparisons_are_refused(made):
    with pytest.raises(UsageError, match="named twice"):
        compare_versions(made, "v1", "v1")
    with pytest.raises(StoreError, match=r"no version 'v9'; registered: v1, v2, v3"):
        compare_versions(made, "v1", "v9")
    with pytest.raises(UsageError, match="at least 2 sequences"):
        compare_versions(made, "v1", "v2", sample=1)
    with pytest.raises(UsageError, match="rank 'tribe' is unknown"):
        compare_versions(made, "v1", "v2", ranks=("tribe",))
    with pytest.raises(StoreError, match="is not a folder"):
        compare_versions(made, "v1", "v2", root=Path("none"))
