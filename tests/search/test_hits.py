"""Hits against an oracle in plain Python: from runs directly, from a reference exactly, and from its index."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ednabed import DataManager, get_data_manager
from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.reference.loose import LooseRuns
from ednabed.reference.sources import source_of
from ednabed.search import hits as module
from ednabed.search.align import align
from ednabed.search.hits import Search, SearchOptions
from ednabed.search.queries import Query, QueryBatch, by_run
from ednabed.store.compress import compress_run
from ednabed.store.runs import runs_root
from ednabed.store.versions import register, tag_run
from reference_support import DIMENSION, SPEC, add_run, consolidate, legacy, letters_of, opened

FILLED = {"id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage", "length", "source"}


def vector_of(number: int) -> np.ndarray:
    """The vector of a sequence: small numbers, so that directions repeat and float16 can represent them; any length."""
    rng = np.random.default_rng(number)
    direction = np.zeros(DIMENSION)
    direction[:3] = rng.integers(-1, 2, 3)
    direction[3] = 1
    return (direction * 2.0 ** rng.integers(-3, 4)).astype(np.float32)


def make(workspace: Path, seed: int) -> list[dict]:
    """Write some runs in all forms; return all records with the keys of hits, and the number of each sequence."""
    rng = np.random.default_rng(seed)
    pool = rng.choice(1000, rng.integers(1, 25), replace=False)
    records = []
    names = [("lake", "r1"), ("lake", "r2"), ("sea", "r1"), ("tank", "r0")][: rng.integers(1, 5)]
    for dataset, name in names:
        numbers = rng.choice(pool, rng.integers(1, 13)).tolist()
        n = len(numbers)
        columns = {
            "id": [f"{dataset}{i}" for i in range(n)],
            "sample": [None if rng.random() < 0.3 else f"S{rng.integers(3)}" for _ in range(n)],
            "abundance": [None if rng.random() < 0.3 else int(rng.integers(1, 50)) for _ in range(n)],
            "lineage": [f"Animalia;;;;;;Sp {number}" if rng.random() < 0.5 else None for number in numbers],
            "source": [f"{dataset}.fa"] * n,
        }
        if dataset == "sea":
            columns["depth"] = [float(rng.integers(100)) for _ in range(n)]
        run = add_run(
            workspace, dataset, name, numbers, vectors=np.stack([vector_of(i) for i in numbers]), columns=columns,
            created=f"2024-01-01T00:00:{rng.integers(10, 60)}+00:00",
        )  # fmt: skip
        form = rng.integers(3)
        if form:
            compress_run(run, half=form == 2, delete_original=True)
        file = ("embeddings.npy", "embeddings.npz", "embeddings.f16.npy")[form]
        for i, number in enumerate(numbers):
            records.append(
                {key: values[i] for key, values in columns.items()}
                | {"dataset": dataset, "run_id": name, "seq_idx": i, "length": len(letters_of(number))}
                | {"source_file": f"consolidated_data/runs/{dataset}/{name}/{file}", "number": number}
            )
    return records


def key_of(number: int) -> int:
    return int.from_bytes(hashlib.sha512(letters_of(number).encode()).digest()[:8], "little")


def loose_runs(manager: DataManager) -> LooseRuns:
    """All runs of a workspace that has a reference, as one collection."""
    return manager.loose_runs([info.label for info in manager.list_runs()])


def cosine(one: int, other: int) -> float:
    a, b = vector_of(one).astype(np.float64), vector_of(other).astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def oracle(records: list[dict], query: int, wanted: SearchOptions, passes) -> list[dict]:
    """Return the hits by their definition; ``passes`` is ``wanted.where`` in Python."""
    groups: dict[int, list[dict]] = {}
    for record in records:
        wrong_dataset = wanted.datasets and record["dataset"] not in wanted.datasets
        excluded = f"{record['dataset']}/{record['run_id']}" in wanted.exclude_runs
        if not wrong_dataset and not excluded and passes(record):
            groups.setdefault(record["number"], []).append(record)
    if wanted.exclude_self:
        groups.pop(query, None)
    near = sorted((-round(cosine(query, number), 6), key_of(number), number) for number in groups)
    if wanted.min_similarity is not None:
        near = [entry for entry in near if -entry[0] >= wanted.min_similarity]
    hits = []
    for rank, (_, _, number) in enumerate(near[: wanted.k], start=1):
        own = sorted(groups[number], key=lambda r: (r["dataset"], r["run_id"], r["seq_idx"]))
        for record in own if wanted.occurrences else own[:1]:
            hits.append(
                {key: value for key, value in record.items() if key not in ("number", "depth")}
                | {"rank": rank, "occurrences": len(own), "datasets": dict(Counter(r["dataset"] for r in own))}
                | {"similarity": round(cosine(query, number), 6), "distance": round(1 - cosine(query, number), 6)}
            )
    return hits


def check(found: list[dict], hits: list[dict], wanted: SearchOptions) -> None:
    """Compare hits; their cosines may differ in the last digit, as float32 does."""
    assert [hit["similarity"] for hit in found] == pytest.approx([hit["similarity"] for hit in hits], abs=1.5e-6)
    assert [hit["distance"] for hit in found] == pytest.approx([1 - hit["similarity"] for hit in found], abs=1e-9)
    plain = [{key: hit[key] for key in hit if key not in ("similarity", "distance")} for hit in (*found, *hits)]
    # The vector of a sequence in several runs is read from one of them, but the record shown is the first.
    assert plain[: len(found)] == plain[len(found) :]
    assert all(a["similarity"] >= b["similarity"] for a, b in pairwise(found))
    if wanted.min_similarity is not None:
        assert all(hit["similarity"] >= wanted.min_similarity for hit in found)


FILTERS = {
    None: lambda r: True,
    "abundance >= 20 AND sample != 'S1'": lambda r: (r["abundance"] or 0) >= 20 and r["sample"] not in (None, "S1"),
    "lineage IS NOT NULL OR seq_idx = 0": lambda r: r["lineage"] is not None or r["seq_idx"] == 0,
    "dataset = 'sea' OR run_id LIKE 'r2%'": lambda r: r["dataset"] == "sea" or r["run_id"] == "r2",
    "depth < 50": lambda r: r.get("depth", 99) < 50,
    "abundance > 1000": lambda r: False,
}


@st.composite
def choices(draw):
    return SearchOptions(
        k=draw(st.sampled_from([1, 2, 3, 7, 60])),
        exclude_self=draw(st.booleans()),
        min_similarity=draw(st.sampled_from([None, None, -1.0, 0.0, 0.5, 1.0])),
        where=draw(st.sampled_from(list(FILTERS))),
        occurrences=draw(st.booleans()),
        datasets=draw(st.sampled_from([(), (), ("lake",), ("sea", "lake")])),
        exclude_runs=draw(st.sampled_from([(), (), ("lake/r1",), ("lake/r1", "tank/r0")])),
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.lists(choices(), min_size=4, max_size=8))
@example(
    0,
    [
        SearchOptions(k=60),
        SearchOptions(k=3, exclude_self=True),
        SearchOptions(k=60, occurrences=True),
        SearchOptions(min_similarity=1.0),
    ],
)
def test_hits_are_those_of_the_definition_from_runs_from_a_reference_and_from_its_index(tmp_path_factory, seed, wishes):
    workspace = tmp_path_factory.mktemp("ws")
    records = make(workspace, seed)
    datasets = {record["dataset"] for record in records}
    runs = {f"{record['dataset']}/{record['run_id']}" for record in records}
    consolidate(workspace, output=Path("flat"), index="flat")
    facts = consolidate(workspace, output=Path("ivf"), index="ivf").manifest.index
    rows = len({record["number"] for record in records})
    manager = get_data_manager(workspace)
    rng = np.random.default_rng(seed)
    for wish in wishes:
        query = records[rng.integers(len(records))]
        asked = {"run": f"{query['dataset']}/{query['run_id']}", "seq_idx": query["seq_idx"]}
        unknown = [name for name in wish.datasets if name not in datasets]
        unknown += [name for name in wish.exclude_runs if name not in runs]
        if wish.where == "depth < 50" and "sea" not in datasets:
            unknown.append("depth")
        if unknown:
            for reference in (None, "flat", "ivf"):
                with pytest.raises(EdnabedError, match=unknown[-1] if "depth" in unknown else unknown[0]):
                    manager.search(**asked, reference=reference, options=wish)
            continue
        hits = oracle(records, query["number"], wish, FILTERS[wish.where])
        exact = []
        for reference in (None, "flat", "ivf"):
            collection, answers = manager.search(**asked, reference=reference, options=replace(wish, exact=True))
            [(told, found)] = answers
            assert told.info["id"] == query["id"]
            assert told.info["seq_idx"] == query["seq_idx"]
            check(found, hits, wish)
            exact.append(found)
        # Not one digit depends on whether there is a reference.
        assert exact[0] == exact[1] == exact[2]
        [(_, found)] = manager.search(**asked, reference="flat", options=wish)[1]
        assert found == exact[0]
        if wish.k * facts.factor >= rows and facts.nprobe == facts.lists:
            # All vectors are candidates then, so even the index misses nothing.
            collection, answers = manager.search(**asked, reference="ivf", options=wish)
            [(_, found)] = answers
            check(found, hits, wish)
            assert collection.index_fault is None


# -- one thing at a time ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Two runs of the sequences 0 to 5, some duplicated; the vectors of 0 and 1 have the same direction."""
    folder = tmp_path_factory.mktemp("ws")
    shapes = np.array([[4, 0, 0], [1, 0, 0], [3, 1, 0], [1, 1, 0], [0, 1, 0], [-1, 0, 0]], np.float32)
    vectors = np.concatenate([shapes, np.zeros((6, DIMENSION - 3), np.float32)], axis=1)
    for dataset, numbers in (("a", [0, 1, 2, 0, 5]), ("b", [3, 0, 4, 2])):
        add_run(folder, dataset, "r", numbers, vectors=vectors[numbers])
    consolidate(folder)
    return folder


def ask(workspace: Path, seq_idx: int = 0, run: str = "a/r", **wanted) -> list[dict]:
    [(_, hits)] = get_data_manager(workspace).search(run=run, seq_idx=seq_idx, options=SearchOptions(**wanted))[1]
    return hits


def test_all_keys_of_a_hit(workspace):
    hits = ask(workspace)
    assert list(hits[0]) == [
        "rank", "similarity", "distance", "id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage",
        "occurrences", "datasets", "length", "source", "source_file",
    ]  # fmt: skip
    own = next(hit for hit in hits if hit["id"] == "r-0" and hit["dataset"] == "a")
    assert own == {
        "rank": own["rank"], "similarity": 1.0, "distance": 0.0, "id": "r-0", "dataset": "a", "run_id": "r",
        "seq_idx": 0, "sample": "S0", "abundance": 1, "lineage": None, "occurrences": 3, "datasets": {"a": 2, "b": 1},
        "length": len(letters_of(0)), "source": None, "source_file": "consolidated_data/runs/a/r/embeddings.npy",
    }  # fmt: skip


def test_ties_are_in_order_of_their_digests(workspace):
    assert [hit["similarity"] for hit in ask(workspace)] == [1, 1, 0.948683, 0.707107, 0, -1]
    first = [0, 1] if key_of(0) < key_of(1) else [1, 0]
    for seq_idx in (0, 1):
        assert [hit["seq_idx"] for hit in ask(workspace, seq_idx)[:2]] == first
        # One of the two is cut off, not always the same as in the query.
        assert [hit["seq_idx"] for hit in ask(workspace, seq_idx, k=1)] == first[:1]


def test_excluding_the_query_does_not_reduce_the_number_of_hits(workspace):
    assert [hit["seq_idx"] for hit in ask(workspace, 0, k=2, exclude_self=True)] == [1, 2]
    assert len(ask(workspace, 0, k=60, exclude_self=True)) == 5
    # If the query is not in the collection, nothing is excluded, and there are no more hits than requested.
    assert len(ask(workspace, 4, k=2, exclude_self=True, datasets=("b",))) == 2


def test_the_minimum_similarity_applies_to_the_digits_shown(workspace):
    assert [hit["similarity"] for hit in ask(workspace, 2, min_similarity=1)] == [1]
    assert [hit["similarity"] for hit in ask(workspace, min_similarity=0.707107)] == [1, 1, 0.948683, 0.707107]
    assert [hit["similarity"] for hit in ask(workspace, min_similarity=0.707108)] == [1, 1, 0.948683]


def test_occurrences_have_the_rank_of_their_sequence(workspace):
    hits = ask(workspace, 2, k=1, occurrences=True)
    assert [(hit["rank"], hit["dataset"], hit["seq_idx"], hit["occurrences"]) for hit in hits] == [
        (1, "a", 2, 2),
        (1, "b", 3, 2),
    ]


def test_only_occurrences_that_pass_are_shown_and_counted(workspace):
    [hit] = [hit for hit in ask(workspace, datasets=("b",)) if hit["similarity"] == 1]
    assert (hit["dataset"], hit["seq_idx"], hit["occurrences"], hit["datasets"]) == ("b", 1, 1, {"b": 1})
    [hit] = [hit for hit in ask(workspace, exclude_runs=("b/r",), where="seq_idx > 0") if hit["seq_idx"] == 3]
    assert (hit["dataset"], hit["occurrences"], hit["datasets"]) == ("a", 1, {"a": 1})
    assert ask(workspace, datasets=("a",), exclude_runs=("a/r",)) == []


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"datasets": ("a", "c")}, "no dataset 'c'; it has a, b"),
        ({"exclude_runs": ("a",)}, "no run 'a'; it has a/r, b/r"),
        ({"where": "depth = 3"}, "no column 'depth'"),
        ({"where": "row = 3"}, "no column 'row'"),
        ({"where": "sample ="}, "found the end"),
    ],
)
def test_missing_datasets_runs_and_columns_are_named(workspace, wanted, words):
    with pytest.raises(EdnabedError, match=words):
        ask(workspace, **wanted)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"k": 0}, "`top_k` is 0"),
        ({"k": -3}, "`top_k` is -3"),
        ({"min_similarity": 1.01}, "`min_similarity` is 1.01"),
        ({"min_similarity": float("nan")}, "`min_similarity` is nan"),
    ],
)
def test_invalid_options(wanted, words):
    with pytest.raises(UsageError, match=words):
        SearchOptions(**wanted)


@pytest.mark.parametrize("reference", [True, False])
def test_alignments_are_those_of_the_sequences(workspace, tmp_path, reference):
    manager = get_data_manager(workspace)
    collection = opened(workspace) if reference else loose_runs(manager)
    search = Search(collection, SearchOptions(k=4, align=True))
    [(query, hits)] = search.run(by_run(manager.open_run("b/r"), ("b", "r"), 0, None))
    assert query.sequence == letters_of(3)
    numbers = {("a", 0): 0, ("a", 1): 1, ("a", 2): 2, ("b", 0): 3, ("b", 2): 4}
    targets = [letters_of(numbers[hit.dataset, hit.seq_idx]) for hit in hits]
    assert [hit.alignment for hit in hits] == align(letters_of(3), targets)
    assert hits[0].alignment.cigar == f"{len(letters_of(3))}="
    # A query with unknown bases has hits all the same.
    [(_, hits)] = search.run(QueryBatch([Query({"id": "x"})], [0], np.eye(1, DIMENSION, dtype=np.float32)))
    assert [hit.alignment for hit in hits] == [None] * 4


def test_no_alignment_unless_requested(workspace):
    assert "alignment" not in ask(workspace)[0]


def test_a_run_of_an_older_tool(tmp_path):
    vectors = np.eye(3, DIMENSION, dtype=np.float32)
    add_run(tmp_path, "new", "r", [7], vectors=vectors[:1])
    register(tmp_path, "v1", SPEC)
    manager = get_data_manager(tmp_path)
    folder = legacy(runs_root(tmp_path) / "old" / "r", vectors)
    tag_run(tmp_path, manager.open_run("old/r"), "v1", assume=True)
    for _ in range(2):
        for where, count in ((None, 4), ("length IS NULL", 3), ("id IS NOT NULL", 1)):
            [(query, hits)] = manager.search(run=folder, seq_idx=1, options=SearchOptions(where=where))[1]
            assert len(hits) == count
        assert query.info == {"id": None, "run": "old/r", "dataset": "old", "run_id": "r", "seq_idx": 1}
        # Whether records of an older tool are the same sequence is unknown: each counts as distinct.
        [(_, hits)] = manager.search(run=folder, seq_idx=0, options=SearchOptions(min_similarity=0.5, align=True))[1]
        assert sorted((hit["dataset"], hit["seq_idx"], hit["id"]) for hit in hits) == [
            ("new", 0, "r-0"),
            ("old", 0, None),
        ]
        assert [hit["alignment"] for hit in hits] == [None, None]
        [(_, hits)] = manager.search(
            run=folder, seq_idx=0, options=SearchOptions(min_similarity=0.5, exclude_self=True)
        )[1]
        assert [hit["dataset"] for hit in hits] == ["new"]
        consolidate(tmp_path)


# -- further columns ---------------------------------------------------------------------------------------------------

NUMBERS = {("a", 0): 0, ("a", 1): 1, ("a", 2): 2, ("a", 3): 0, ("a", 4): 5,
           ("b", 0): 3, ("b", 1): 0, ("b", 2): 4, ("b", 3): 2}  # fmt: skip


@pytest.fixture(scope="module")
def located(tmp_path_factory) -> Path:
    """As ``workspace``, and one of the runs has coordinates."""
    folder = tmp_path_factory.mktemp("ws")
    for dataset, numbers in (("a", [0, 1, 2, 0, 5]), ("b", [3, 0, 4, 2])):
        own = {"depth": [float(row) for row in range(4)], "decimalLatitude": ["1.5", None, "x", "3"]}
        vectors = np.stack([vector_of(number) for number in numbers])
        add_run(folder, dataset, "r", numbers, vectors=vectors, columns=own if dataset == "b" else {})
    consolidate(folder)
    return folder


def both_ways(workspace: Path, **wanted) -> list[list[dict]]:
    """Hits of one query in a reference, and in the runs directly."""
    manager = get_data_manager(workspace)
    found = []
    for collection in (opened(workspace), loose_runs(manager)):
        batch = by_run(manager.open_run("a/r"), ("a", "r"), 0, None)
        [(_, hits)] = Search(collection, SearchOptions(k=60, exact=True, **wanted)).run(batch)
        found.append([hit.to_dict() for hit in hits])
    return found


@pytest.mark.parametrize("occurrences", [False, True])
@pytest.mark.parametrize("aligned", [False, True])
def test_bases_are_those_of_each_hit(located, occurrences, aligned):
    for hits in both_ways(located, sequences=True, occurrences=occurrences, align=aligned):
        assert len(hits) == (9 if occurrences else 6)
        for hit in hits:
            assert hit["sequence"] == letters_of(NUMBERS[hit["dataset"], hit["seq_idx"]])
            assert not aligned or hit["alignment"] == align(letters_of(0), [hit["sequence"]])[0]


@pytest.mark.parametrize("occurrences", [False, True])
def test_columns_are_those_of_the_record_of_each_hit(located, occurrences):
    names = ("decimalLatitude", "depth", "length", "sample", "longitude")
    for hits in both_ways(located, columns=names, occurrences=occurrences):
        assert len(hits) == (9 if occurrences else 6)
        for hit in hits:
            row = hit["seq_idx"]
            of_b = hit["dataset"] == "b"
            assert hit["columns"] == {
                "decimalLatitude": ("1.5", None, "x", "3")[row] if of_b else None,
                "depth": float(row) if of_b else None,
                "length": hit["length"],
                "sample": f"S{row % 3}",
                # No record has such a column.
                "longitude": None,
            }
            assert list(hit["columns"]) == list(names)


def test_columns_of_a_chosen_record(located):
    """If the first record is excluded, the columns are those of the record shown."""
    for hits in both_ways(located, columns=("depth",), datasets=("b",)):
        assert {hit["seq_idx"]: hit["columns"] for hit in hits} == {row: {"depth": float(row)} for row in range(4)}


@pytest.mark.parametrize("occurrences", [False, True])
def test_nothing_changes_unless_requested(located, occurrences):
    for more in ({}, {"where": "seq_idx > 0"}, {"exclude_self": True}, {"align": True}):
        bare = both_ways(located, occurrences=occurrences, **more)
        full = both_ways(located, occurrences=occurrences, sequences=True, columns=("depth", "source"), **more)
        assert not any({"sequence", "columns"} & set(hit) for hits in bare for hit in hits)
        left = [[{k: v for k, v in hit.items() if k not in ("sequence", "columns")} for hit in hits] for hits in full]
        assert left == bare
        assert [[list(hit) for hit in hits] for hits in left] == [[list(hit) for hit in hits] for hits in bare]


def test_bases_are_not_read_unless_requested(located, monkeypatch):
    collection = opened(located)
    monkeypatch.setattr(collection, "take_sequences", lambda rows: pytest.fail("read the letters"))
    batch = by_run(get_data_manager(located).open_run("a/r"), ("a", "r"), 0, None)
    assert len(list(Search(collection, SearchOptions(columns=("depth",))).run(batch))) == 1


def test_unknown_bases(tmp_path):
    vectors = np.eye(3, DIMENSION, dtype=np.float32)
    add_run(tmp_path, "new", "r", [7], vectors=vectors[:1])
    register(tmp_path, "v1", SPEC)
    manager = get_data_manager(tmp_path)
    folder = legacy(runs_root(tmp_path) / "old" / "r", vectors)
    tag_run(tmp_path, manager.open_run("old/r"), "v1", assume=True)
    [(_, hits)] = manager.search(
        run=folder, seq_idx=0, options=SearchOptions(sequences=True, columns=("lineage", "depth"))
    )[1]
    assert {(hit["dataset"], hit["seq_idx"]): hit["sequence"] for hit in hits} == {
        ("new", 0): letters_of(7), ("old", 0): None, ("old", 1): None, ("old", 2): None,
    }  # fmt: skip
    assert all(hit["columns"] == {"lineage": None, "depth": None} for hit in hits)


# -- the index -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_index_finds_what_exact_search_finds(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for dataset in ("a", "b", "c"):
        numbers = rng.integers(0, 1000, 300).tolist()
        add_run(tmp_path, dataset, "r", numbers, kinds=900)
    consolidate(tmp_path, index="ivf")
    collection = opened(tmp_path)
    facts = collection.manifest.index
    k = 4
    # All lists, and the maximum number of candidates.
    wide = replace(facts, nprobe=facts.lists, factor=collection.rows // 4 // k)
    collection.manifest = replace(collection.manifest, index=wide)
    queries = rng.standard_normal((50, DIMENSION)).astype(np.float32)
    batch = QueryBatch([Query({"id": i}, i) for i in range(50)], list(range(50)), queries)
    found, exact = (
        list(Search(collection, SearchOptions(k=k, exact=is_exact)).run(batch)) for is_exact in (False, True)
    )
    assert collection._index is not None
    assert collection.index_fault is None
    for (_, hits), (_, right) in zip(found, exact, strict=True):
        assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in right], abs=1.1e-6)
        for key in ("rank", "dataset", "seq_idx", "occurrences", "datasets"):
            assert [hit.value(key) for hit in hits] == [hit.value(key) for hit in right]


# -- many queries ----------------------------------------------------------------------------------------------------


def batch_of(count: int) -> QueryBatch:
    """Some queries; every third cannot be searched."""
    places = [i for i in range(count) if i % 3 != 2]
    queries = [
        Query({"id": i}, key_of(i % 6)) if i in places else Query({"id": i, "rejected": "no"}) for i in range(count)
    ]
    vectors = np.stack([vector_of(place % 6) for place in places])
    return QueryBatch(queries, places, vectors)


@pytest.mark.parametrize("at_once", [1, 7, 20, 10_000])
def test_many_queries_are_answered_as_each_alone_and_in_their_order(workspace, monkeypatch, at_once):
    monkeypatch.setattr(module, "HITS_AT_ONCE", at_once)
    search = Search(opened(workspace), SearchOptions(k=4, exclude_self=True))
    batch = batch_of(40)
    answers = list(search.run(batch))
    assert [query.info["id"] for query, _ in answers] == list(range(40))
    for i, (query, hits) in enumerate(answers):
        assert query is batch.queries[i]
        assert [hits] == [alone for _, alone in search.run(batch.part(i, i + 1))]
        assert len(hits) == (0 if i % 3 == 2 else 4)
    assert list(search.run(QueryBatch([], [], np.zeros((0, DIMENSION), np.float32)))) == []
    rejected = QueryBatch([Query({"id": "x", "rejected": "no"})], [], np.zeros((0, DIMENSION), np.float32))
    assert list(search.run(rejected)) == [(rejected.queries[0], [])]


def test_the_more_hits_are_requested_the_fewer_queries_are_held(workspace, monkeypatch):
    collection = opened(workspace)
    asked = []
    real = collection.search
    monkeypatch.setattr(
        collection, "search", lambda queries, *rest, **more: asked.append(len(queries)) or real(queries, *rest, **more)
    )
    answers = Search(collection, SearchOptions(k=30_000)).run(batch_of(40))
    next(answers)
    assert asked == [2], "three queries at once, one of which is rejected"
    assert len(list(answers)) == 39
    assert max(asked) == 2
    asked.clear()
    assert len(list(Search(collection, SearchOptions(k=10)).run(batch_of(4000)))) == 4000
    assert len(asked) == 1


def test_a_run_outside_the_workspace_can_be_the_query(workspace, tmp_path):
    run = add_run(tmp_path, "c", "r", [9], vectors=np.eye(1, DIMENSION, dtype=np.float32))
    source = source_of(run, runs_root(workspace), workspace)
    [(_, hits)] = Search(opened(workspace), SearchOptions(k=2)).run(
        by_run(run, (source.dataset, source.run_id), 0, None)
    )
    assert [hit.similarity for hit in hits] == [1, 1]


def test_another_function_is_refused(workspace, tmp_path):
    run = add_run(tmp_path, "c", "r", [9], spec=replace(SPEC, model="other", layer=3))
    with pytest.raises(StoreError, match=r"computed by other .*their vectors cannot be compared"):
        get_data_manager(workspace).search(run=run.folder, seq_idx=0)
