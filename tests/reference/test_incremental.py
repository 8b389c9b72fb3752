"""A reference is the same whatever the order and the steps in which its runs were added."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.errors import StoreError
from ednabed.reference import index as indexes
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import open_reference
from ednabed.reference.sources import find_sources
from ednabed.store.runs import runs_root
from ednabed.store.versions import register, versions_path
from reference_support import (
    DIMENSION,
    SPEC,
    add_run,
    check_hits,
    consolidate,
    content,
    hits,
    legacy,
    opened,
    snapshot,
    vector_of,
)

QUERIES = np.concatenate(
    [
        np.stack([vector_of(number) for number in range(6)]),
        np.random.default_rng(1).standard_normal((4, DIMENSION)).astype(np.float32),
    ]
)


@st.composite
def histories(draw):
    """Runs (sequences, time of creation, offset of vectors), an order to add them in, and where builds are made."""
    count = draw(st.integers(1, 5))
    runs = [
        (
            draw(st.lists(st.integers(0, 11), min_size=1, max_size=9)),
            draw(st.integers(0, 3)),
            draw(st.sampled_from([0.0, 0.0, 1e-3])),
        )
        for _ in range(count)
    ]
    order = draw(st.permutations(range(count)))
    cuts = sorted(draw(st.sets(st.integers(1, count), max_size=count)) | {count})
    kinds = draw(st.sampled_from([0, 3, 5]))
    return runs, order, cuts, kinds


def put(workspace: Path, number: int, run, kinds: int) -> None:
    numbers, made, off = run
    vectors = np.stack([vector_of(n, kinds) for n in numbers])
    # Another precision: equal digits for the same sequence within a run, different ones in another run.
    vectors *= np.array([1 + off * (((n * 7 + number) % 5) - 2) for n in numbers], np.float32)[:, None]
    vectors[:, 0] += np.array([off * ((n + number) % 3) for n in numbers], np.float32)
    extra = (
        {"depth": [n * 1.5 for n in numbers]} if number % 2 else {"depth": numbers, "marker": ["COI"] * len(numbers)}
    )
    add_run(
        workspace, f"d{number % 2}", f"r{number}", numbers, vectors=vectors,
        created=f"2024-01-0{made + 1}T00:00:00+00:00", columns=extra,
    )  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=histories(), index=st.sampled_from(["flat", "ivf"]))
def test_incremental_after_any_history_equals_from_scratch(tmp_path_factory, history, index):
    runs, order, cuts, kinds = history
    workspace = tmp_path_factory.mktemp("ws")
    at = 0
    for cut in cuts:
        for number in order[at:cut]:
            put(workspace, number, runs[number], kinds)
        result = consolidate(workspace, incremental=True, index=index)
        assert result.changed
        assert sorted(part.label for part in result.added) == sorted(f"d{n % 2}/r{n}" for n in order[at:cut])
        assert result.manifest.counts["runs"] == cut
        at = cut
    grown = opened(workspace)
    assert grown.verify() == []
    before = content(grown)
    scratch = consolidate(workspace, output=Path("other"), index=index)
    made = open_reference(scratch.folder)
    assert made.verify() == []
    assert content(made) == before
    assert set(made.record_schema) == set(grown.record_schema)
    for k in (1, 3, 20):
        found = hits(made, QUERIES, k, exact=True)
        check_hits(made, QUERIES, k, found)
        assert hits(grown, QUERIES, k, exact=True) == found
        every = np.arange(made.rows) % 3 > 0
        keys = set(made.keys[every].tolist())
        allowed = np.isin(grown.keys, list(keys))
        assert hits(made, QUERIES, k, allowed=every) == hits(grown, QUERIES, k, allowed=allowed)
    counts = {name: made.manifest.counts[name] for name in ("sequences", "records", "runs", "datasets", "letters")}
    assert counts == grown.manifest.counts
    assert counts["sequences"] == len({n for numbers, _, _ in runs for n in numbers})
    assert counts["records"] == sum(len(numbers) for numbers, _, _ in runs)
    if index == "ivf":
        for reference in (grown, made):
            found = indexes.open_index(
                reference.build / "consolidated_index.faiss", reference.rows, DIMENSION, reference.manifest.index
            )
            assert found.ntotal == reference.rows
            assert hits(reference, QUERIES, 3) == hits(reference, QUERIES, 3, exact=True) or reference.rows > 8
    # Nothing new: nothing changes.
    state = snapshot(grown.folder)
    again = consolidate(workspace, incremental=True, index=index)
    assert (again.changed, again.added, again.refused) == (False, [], {})
    assert snapshot(grown.folder) == state
    shutil.rmtree(workspace)


def test_runs_searched_directly_give_the_same_as_a_reference(tmp_path):
    for number in range(4):
        put(tmp_path, number, ([number, 3, 5, 3, 7], number, 0.0), 3)
    consolidate(tmp_path)
    loose = LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources)
    reference = opened(tmp_path)
    columns = set(loose.record_schema.names)
    assert columns | {"row"} == set(reference.record_schema.names)
    assert content(loose) == content(reference)
    for k in (1, 4, 50):
        found = hits(reference, QUERIES, k)
        assert hits(loose, QUERIES, k) == found
        check_hits(reference, QUERIES, k, found)


def test_what_is_in_the_reference_is_not_read_again(tmp_path, monkeypatch):
    from ednabed.reference import build

    add_run(tmp_path, "see", "a", [1, 2])
    consolidate(tmp_path, incremental=True)
    add_run(tmp_path, "see", "b", [2, 3])
    read = []
    real = build.examine
    monkeypatch.setattr(build, "examine", lambda source: read.append(source.label) or real(source))
    consolidate(tmp_path, incremental=True)
    assert read == ["see/b"]
    consolidate(tmp_path)
    assert read == ["see/b", "see/a", "see/b"]


@pytest.mark.parametrize("how", ["moved", "copied", "copied twice"])
def test_a_run_is_identified_by_its_content_not_by_its_path(tmp_path, how):
    run = add_run(tmp_path, "see", "a", [1, 2])
    consolidate(tmp_path)
    state = snapshot(tmp_path / "data" / "reference")
    (runs_root(tmp_path) / "deep" / "er").mkdir(parents=True)
    for place in ("x", "y")[: 2 if how == "copied twice" else 1]:
        shutil.copytree(run.folder, runs_root(tmp_path) / "deep" / "er" / place)
    if how == "moved":
        shutil.rmtree(run.folder)
    result = consolidate(tmp_path, incremental=True)
    assert (result.changed, result.vanished, result.changed_runs, result.refused) == (False, [], [], {})
    assert len(result.left_out) == {"moved": 0, "copied": 1, "copied twice": 2}[how]
    assert all("the same run as" in reason for reason in result.left_out.values())
    assert snapshot(tmp_path / "data" / "reference") == state
    assert consolidate(tmp_path).manifest.counts["records"] == 2


def test_a_vanished_run_stays_and_is_named(tmp_path):
    add_run(tmp_path, "see", "a", [1, 2])
    gone = add_run(tmp_path, "see", "b", [2, 3])
    consolidate(tmp_path)
    shutil.rmtree(gone.folder)
    result = consolidate(tmp_path, incremental=True)
    assert (result.changed, result.vanished) == (False, ["see/b"])
    assert opened(tmp_path).rows == 3
    result = consolidate(tmp_path, drop_missing=True)
    assert (result.changed, result.vanished, result.dropped) == (True, ["see/b"], ["see/b"])
    assert opened(tmp_path).rows == 2
    assert consolidate(tmp_path).vanished == []


def test_a_run_whose_content_was_replaced_is_named_and_refused(tmp_path):
    old = add_run(tmp_path, "see", "a", [1, 2])
    add_run(tmp_path, "see", "b", [5])
    consolidate(tmp_path)
    before = content(opened(tmp_path))
    shutil.rmtree(old.folder)
    add_run(tmp_path, "see", "a", [1, 4], created="2025-01-01T00:00:00+00:00")
    add_run(tmp_path, "see", "c", [6])
    result = consolidate(tmp_path, incremental=True)
    assert result.changed_runs == ["see/a"]
    assert list(result.refused) == ["consolidated_data/runs/see/a"]
    assert "--rebuild" in result.refused["consolidated_data/runs/see/a"]
    assert [part.label for part in result.added] == ["see/c"]
    after = content(opened(tmp_path))
    assert {key: after[key] for key in before} == before
    result = consolidate(tmp_path)
    assert (result.changed_runs, result.refused) == (["see/a"], {})
    assert opened(tmp_path).rows == 4


@pytest.mark.parametrize("name", ["embeddings.npy", "records.parquet"])
@pytest.mark.parametrize("damage", ["absent", "shorter"])
def test_a_known_run_that_lost_a_file_is_named(tmp_path, name, damage):
    run = add_run(tmp_path, "see", "a", [1, 2])
    consolidate(tmp_path)
    raw = (run.folder / name).read_bytes()
    (run.folder / name).unlink()
    if damage == "shorter":
        (run.folder / name).write_bytes(raw[:-1])
    result = consolidate(tmp_path, incremental=True)
    assert (result.changed, result.changed_runs) == (False, ["see/a"])
    with pytest.raises(StoreError, match=r"would lose: see/a \(.*"):
        consolidate(tmp_path)
    with pytest.raises(StoreError, match="no run below"):
        consolidate(tmp_path, drop_missing=True)
    assert opened(tmp_path).verify() == []


def test_runs_of_another_folder_can_be_added_and_none_is_missed(tmp_path):
    add_run(tmp_path / "one", "see", "a", [1, 2])
    add_run(tmp_path / "two", "see", "b", [2, 3])
    one, two = (Path(name, "consolidated_data", "runs") for name in ("one", "two"))
    consolidate(tmp_path, runs=one)
    result = consolidate(tmp_path, runs=two, incremental=True)
    assert (result.vanished, [part.label for part in result.added]) == ([], ["see/b"])
    shutil.rmtree(tmp_path / "one")
    assert consolidate(tmp_path, runs=two, incremental=True).vanished == ["see/a"]


def test_a_run_of_an_older_tool_stays_known_without_its_version(tmp_path):
    """A version given once need not be given again."""
    add_run(tmp_path, "see", "a", [1, 2])
    old = legacy(runs_root(tmp_path) / "old" / "deep" / "x", np.stack([vector_of(n) for n in (1, 9)]))
    register(tmp_path, "v1", SPEC)
    assert consolidate(tmp_path, version="v1").manifest.counts == {
        "sequences": 4, "records": 4, "runs": 2, "datasets": 2, "letters": 43
    }  # fmt: skip
    for _ in range(2):
        result = consolidate(tmp_path, incremental=True)
        assert (result.changed, result.vanished, result.left_out, result.changed_runs) == (False, [], {}, [])
        if old.exists():
            old.rename(old.with_name("y"))
    # It was recorded as a tag, which is used from scratch too.
    assert (consolidate(tmp_path).manifest.counts["runs"], opened(tmp_path).verify()) == (2, [])
    # Without the tag the reference still knows it.
    versions_path(tmp_path).unlink()
    result = consolidate(tmp_path, incremental=True)
    assert (result.changed, result.vanished, result.left_out, result.changed_runs) == (False, [], {}, [])
    # From scratch it is unknown again, and this is reported once, not twice.
    with pytest.raises(StoreError, match=r"would lose: old/deep/y \(created by an older tool"):
        consolidate(tmp_path)
    result = consolidate(tmp_path, drop_missing=True)
    assert (result.vanished, list(result.left_out)) == ([], ["consolidated_data/runs/old/deep/y"])


def test_a_damaged_build_is_not_built_upon(tmp_path):
    add_run(tmp_path, "see", "a", [1, 2, 3])
    consolidate(tmp_path)
    add_run(tmp_path, "see", "b", [4])
    build = opened(tmp_path).build
    for path in sorted(build.iterdir()):
        if path.name in ("consolidated_metadata.json", "consolidated_index.faiss"):
            continue
        raw = path.read_bytes()
        state = snapshot(build.parent)
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(StoreError, match=r"does not match its checksum.*--rebuild"):
            consolidate(tmp_path, incremental=True)
        path.unlink()
        with pytest.raises(StoreError, match=r"is missing.*--rebuild"):
            consolidate(tmp_path, incremental=True)
        path.write_bytes(raw)
        assert {k: v[2] for k, v in snapshot(build.parent).items()} == {k: v[2] for k, v in state.items()}
    assert consolidate(tmp_path, incremental=True).changed
    assert opened(tmp_path).verify() == []
