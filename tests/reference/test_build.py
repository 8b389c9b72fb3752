"""Which runs are added to a reference, which are refused and why, and where a reference may be written."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ednabed.base.files import sha256_file
from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.reference import build as building
from ednabed.reference import index as indexes
from ednabed.reference import parts as parts_module
from ednabed.reference.build import BuildRequest
from ednabed.reference.loose import LooseRuns
from ednabed.reference.sources import find_sources
from ednabed.store import vectors as vector_files
from ednabed.store.compress import compress_run
from ednabed.store.manifest import MANIFEST
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run, runs_root
from ednabed.store.versions import register, tag_run
from reference_support import (
    DIMENSION,
    OTHER,
    SPEC,
    add_run,
    consolidate,
    content,
    hits,
    legacy,
    letters_of,
    opened,
    snapshot,
    vector_of,
    visible,
    write_run,
)
from support import expected, letters


def records(reference, columns=None):
    names = columns or [name for name in reference.record_schema.names if name != "row"]
    return reference.take_records(np.arange(len(reference.positions)), names).to_pylist()


# -- what is stored --------------------------------------------------------------------------------------------------


def test_through_the_real_writer(tmp_path):
    a, b, c = letters_of(1), letters_of(2), letters_of(3)
    (tmp_path / "a.fa").write_text(f">a1;size=4;sample=S1\n{a}\n>b1\n{b}\n>a2\n{a}\n")
    (tmp_path / "b.fa").write_text(f">c1\n{c}\n>a3\n{a}\n")
    for name, dataset in (("a.fa", "lake"), ("b.fa", "sea")):
        embed_to_run(RunRequest([tmp_path / name], tmp_path, dataset=dataset), letters())
    result = consolidate(tmp_path)
    reference = opened(tmp_path)
    assert reference.verify() == []
    assert result.manifest.counts == {
        "sequences": 3, "records": 5, "runs": 2, "datasets": 2, "letters": len(a + b + c)
    }  # fmt: skip
    by_letters = {entry["sequence"]: entry for entry in content(reference).values()}
    assert set(by_letters) == {a, b, c}
    for sequence, entry in by_letters.items():
        np.testing.assert_allclose(np.frombuffer(entry["vector"], np.float32), expected(sequence), atol=1e-6)
        assert entry["length"] == len(sequence)
    lake, sea = (part.run_id for part in sorted(result.manifest.runs, key=lambda part: part.dataset))
    found = [
        (r["dataset"], r["run_id"], r["seq_idx"], r["id"], r["sample"], r["abundance"])
        for r in by_letters[a]["records"]
    ]
    assert found == [
        ("lake", lake, 0, "a1", "S1", 4), ("lake", lake, 2, "a2", None, None), ("sea", sea, 1, "a3", None, None)
    ]  # fmt: skip
    assert by_letters[a]["records"][0]["source_file"] == f"consolidated_data/runs/lake/{lake}/embeddings.npy"
    assert all("sequence" not in record and "digest" not in record for record in by_letters[a]["records"])
    assert visible(reference.folder) == {
        "builds", "consolidated_metadata.json", "consolidated_embeddings.npy", "consolidated_index.faiss"
    }  # fmt: skip
    assert (reference.folder / "consolidated_embeddings.npy").samefile(reference.build / "consolidated_embeddings.npy")
    np.testing.assert_array_equal(np.load(reference.folder / "consolidated_embeddings.npy"), reference.vectors)


@pytest.mark.parametrize(("show", "terminal", "shown"), [
    ("as given", True, False), (None, True, True), (None, False, False), (False, True, False), (True, False, True),
])  # fmt: skip
def test_progress_bars_are_shown_on_request(tmp_path, monkeypatch, show, terminal, shown):
    """The library itself writes nothing, even on a terminal."""
    add_run(tmp_path, "see", "a", [1, 2])
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("sys.stderr", screen)
    building.build_reference(BuildRequest(tmp_path), **({} if show == "as given" else {"show_progress": show}))
    text = screen.getvalue()
    assert ("reading runs" in text, "writing the reference" in text) == (shown, shown)
    assert shown or not text


def test_the_flat_index_gives_other_programs_the_same_hits(tmp_path):
    import faiss

    add_run(tmp_path, "see", "a", range(30))
    consolidate(tmp_path)
    reference = opened(tmp_path)
    index = faiss.read_index(str(reference.folder / "consolidated_index.faiss"))
    query = vector_of(77)[None]
    scores, rows = index.search(query / np.linalg.norm(query), 5)
    found = hits(reference, query, 5)
    assert [int(reference.keys[row]) for row in rows[0]] == [key for _, key, _ in found]
    np.testing.assert_allclose(scores[0], [score for _, _, score in found], atol=2e-5)


@pytest.mark.parametrize("numbers", [[5], [5, 5, 5], [5, 6, 5, 6, 7]])
def test_small_runs_and_repeats(tmp_path, numbers):
    add_run(tmp_path, "see", "a", numbers)
    consolidate(tmp_path)
    reference = opened(tmp_path)
    assert reference.verify() == []
    assert reference.rows == len(set(numbers))
    assert [record["id"] for record in records(reference)] == [f"a-{i}" for i in range(len(numbers))]
    assert len(hits(reference, vector_of(5)[None], 10)) == len(set(numbers))


@pytest.mark.parametrize("incremental", [True, False])
def test_a_run_that_adds_nothing_new(tmp_path, incremental):
    add_run(tmp_path, "see", "a", [1, 2, 3])
    add_run(tmp_path, "see", "b", [3, 1], created="2024-02-01T00:00:00+00:00")
    add_run(tmp_path, "see", "c", [4, 1], created="2024-03-01T00:00:00+00:00")
    if incremental:
        for name in ("b", "c"):
            (runs_root(tmp_path) / "see" / name).rename(tmp_path / name)
        consolidate(tmp_path)
        for name in ("b", "c"):
            (tmp_path / name).rename(runs_root(tmp_path) / "see" / name)
            consolidate(tmp_path, incremental=True)
    else:
        consolidate(tmp_path)
    reference = opened(tmp_path)
    assert [part.sequences for part in reference.manifest.runs] == [3, 0, 1]
    assert reference.verify() == []
    rows = np.array([3, 0, 2, 1, 3])
    table = reference.take_sequences(rows).to_pylist()
    assert [entry["sequence"] for entry in table] == [letters_of(n) for n in (4, 1, 3, 2, 4)]
    assert [len(reference.positions_of(row)) for row in range(4)] == [3, 1, 2, 1]


def test_a_large_run_with_mostly_known_sequences(tmp_path, monkeypatch):
    """Pieces that add nothing or little give row groups of many sizes; every sequence is still found."""
    monkeypatch.setattr(parts_module, "_BATCH", 40)
    monkeypatch.setattr(parts_module, "_ROW_GROUP", 8)
    add_run(tmp_path, "see", "a", range(100))
    rng = np.random.default_rng(3)
    numbers = [
        *rng.integers(0, 100, 60).tolist(),
        *range(100, 103),
        *rng.integers(0, 103, 100).tolist(),
        *range(103, 160),
    ]
    add_run(tmp_path, "see", "b", numbers, created="2024-02-01T00:00:00+00:00")
    consolidate(tmp_path)
    reference = opened(tmp_path)
    assert reference.verify() == []
    assert reference.rows == 160
    for rows in (np.arange(160), rng.permutation(160), rng.integers(0, 160, 40), np.array([159]), np.array([100, 0])):
        found = opened(tmp_path).take_sequences(rows).to_pylist()
        for row, entry in zip(rows.tolist(), found, strict=True):
            number = row
            assert entry["sequence"] == letters_of(number)
            assert reference.vectors[row].tobytes() == vector_of(number).tobytes()
    for _ in range(3):
        places = rng.permutation(len(reference.positions))
        found = reference.take_records(places, ["id", "row"]).to_pylist()
        wanted = [f"a-{p}" if p < 100 else f"b-{p - 100}" for p in places.tolist()]
        assert [entry["id"] for entry in found] == wanted
        assert [entry["row"] for entry in found] == [p if p < 100 else numbers[p - 100] for p in places.tolist()]


def test_both_forms_of_a_run_count_once(tmp_path):
    run = add_run(tmp_path, "see", "a", range(6))
    compress_run(run)
    assert {"embeddings.npy", "embeddings.npz"} <= {path.name for path in run.folder.iterdir()}
    old = legacy(runs_root(tmp_path) / "old" / "x", np.stack([vector_of(n) for n in (1, 50)]))
    legacy(old, np.stack([vector_of(n) for n in (1, 50)]), "npz")
    register(tmp_path, "v1", SPEC)
    result = consolidate(tmp_path, version="v1")
    assert (result.manifest.counts["records"], result.manifest.counts["runs"]) == (8, 2)
    assert (result.refused, result.left_out) == ({}, {})


def test_memory_does_not_grow_with_the_vectors(tmp_path, monkeypatch):
    import tracemalloc

    for module in (vector_files, indexes):
        monkeypatch.setattr(module, "BLOCK_BYTES", 500_000)
    monkeypatch.setattr(indexes, "list_count", lambda rows: 8)
    monkeypatch.setattr(indexes, "_WIDTHS", ((8, 4),))
    spec = replace(SPEC, dimension=500)
    rng = np.random.default_rng(2)
    for number in range(5):
        vectors = rng.standard_normal((2000, 500)).astype(np.float32)
        add_run(tmp_path, "see", f"r{number}", range(number * 2000, number * 2000 + 2000), vectors=vectors, spec=spec)
    hidden = runs_root(tmp_path) / "see" / "r4"
    hidden.rename(tmp_path / "r4")
    consolidate(tmp_path)
    (tmp_path / "r4").rename(hidden)
    for incremental in (True, False):
        tracemalloc.start()
        consolidate(tmp_path, incremental=incremental, index="ivf")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The vectors are 20 MB; memory holds 512 of them for training, 256 for measuring, and some blocks.
        assert peak < 10_000_000, peak


# -- what is refused -------------------------------------------------------------------------------------------------


def spoil(name: str, folder: Path) -> None:
    """Damage a run of six sequences, with or without matching checksums in its manifest."""
    path = folder / "embeddings.npy"
    vectors = np.load(path)
    fitting = True
    if name == "nan":
        vectors[3, 2] = np.nan
    elif name == "inf":
        vectors[4, 0] = -np.inf
    elif name == "zeros":
        vectors[2] = 0
    elif name == "tiny":
        vectors[2] *= np.float32(1e-35)
    elif name == "huge":
        vectors[2] *= np.float32(1e33)
    elif name == "float64":
        vectors = vectors.astype(np.float64)
    elif name == "dimension":
        vectors = vectors[:, :5]
    elif name == "one-dimensional":
        vectors = vectors.ravel()
    elif name == "empty":
        vectors = vectors[:0]
    elif name == "fewer":
        vectors = vectors[:4]
    np.save(path, vectors)
    if name == "pickle":
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.array([{"a": 1}], object), allow_pickle=True)
        path.write_bytes(stream.getvalue())
    elif name == "bare pickle":
        path.write_bytes(pickle.dumps([1, 2, 3]))
    elif name == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    elif name == "header":
        path.write_bytes(path.read_bytes().replace(b"{'descr'", b"['descr'"))
    elif name == "header without an end":
        path.write_bytes(path.read_bytes().replace(b"), }", b"),  "))
    elif name == "garbage":
        path.write_bytes(os.urandom(500))
    elif name == "nothing":
        path.write_bytes(b"")
    elif name == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"\x17")
        fitting = False
    elif name == "absent":
        path.unlink()
        return
    elif name == "records flipped":
        raw = (folder / "records.parquet").read_bytes()
        (folder / "records.parquet").write_bytes(raw[:200] + bytes([raw[200] ^ 1]) + raw[201:])
        fitting = False
    elif name == "no records":
        (folder / "records.parquet").unlink()
        return
    elif name == "manifest":
        text = (folder / MANIFEST).read_text()
        (folder / MANIFEST).write_text(text.replace('"records.parquet"', '"records.parque"'))
        return
    elif name == "manifest cut":
        (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:-30])
        return
    elif name == "newer manifest":
        (folder / MANIFEST).write_text('{"schema": "ednabed.run/9"}\n')
        return
    if fitting:
        run = Run.open(folder)
        files = {
            n: {"sha256": sha256_file(folder / n), "bytes": (folder / n).stat().st_size} for n in run.manifest.files
        }
        (folder / MANIFEST).write_text(replace(run.manifest, files=files).to_text(), encoding="utf-8", newline="\n")


FAULTS = {
    "nan": r"vector 3 is not finite", "inf": r"vector 4 is not finite", "zeros": "vector 2 is all zeros",
    "tiny": "vector 2 is too short or too long", "huge": "vector 2 is too short or too long",
    "float64": "contains float64", "dimension": "vectors of 5 dimensions, but hand produces 8",
    "one-dimensional": "of shape",
    "empty": "contains no vectors", "fewer": "4 vectors but 6 records", "pickle": "pickle",
    "bare pickle": "cannot be read", "truncated": "cannot be read", "header": "cannot be read|contains",
    "header without an end": "", "garbage": "cannot be read",
    "nothing": "cannot be read", "flipped": "does not match its checksum", "absent": "absent|missing",
    "records flipped": "records.parquet does not match its checksum", "no records": "records.parquet is missing",
    "manifest": "run.json is damaged", "manifest cut": "run.json is damaged", "newer manifest": "update ednabed",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("incremental", [True, False])
def test_an_unusable_run_is_refused_by_name_and_the_others_are_added(tmp_path, fault, incremental):
    add_run(tmp_path, "see", "a", [1, 2])
    if incremental:
        consolidate(tmp_path)
    bad = add_run(tmp_path, "see", "b", [3, 4, 5, 6, 7, 8], created="2024-01-02T00:00:00+00:00")
    spoil(fault, bad.folder)
    add_run(tmp_path, "see", "c", [2, 9], created="2024-01-03T00:00:00+00:00")
    result = consolidate(tmp_path, incremental=incremental)
    assert list(result.refused) == ["consolidated_data/runs/see/b"]
    import re

    reason = result.refused["consolidated_data/runs/see/b"]
    assert re.search(FAULTS[fault], reason), reason
    assert "\n" not in reason
    assert [part.label for part in result.manifest.runs] == ["see/a", "see/c"]
    reference = opened(tmp_path)
    assert reference.verify() == []
    assert reference.rows == 3


def test_every_flipped_byte_of_a_header_gives_a_message(tmp_path):
    """numpy does not catch the errors of its parser."""
    version = register(tmp_path, "v1", SPEC).version
    good = add_run(tmp_path, "see", "a", [1, 2])
    folder = legacy(runs_root(tmp_path) / "old" / "x", np.stack([vector_of(3)]))
    raw = (folder / "embeddings.npy").read_bytes()
    taken = 0
    for place in range(128):
        (folder / "embeddings.npy").write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        found = find_sources(runs_root(tmp_path), tmp_path, version)
        assert good in [source.run for source in found.sources]
        assert len(found.sources) + len(found.refused) == 2
        taken += len(found.sources) - 1
        if place % 8 == 0:
            built = consolidate(tmp_path, version="v1")
            assert len(built.refused) + len(built.manifest.runs) == 2
    assert taken < 10, "only flips that change nothing can be taken"


def test_without_usable_runs_there_is_an_error_and_no_output(tmp_path):
    bad = add_run(tmp_path, "see", "b", range(6))
    spoil("zeros", bad.folder)
    with pytest.raises(StoreError, match=r"no run below .* can be added to a reference: .*see/b.*all zeros"):
        consolidate(tmp_path)
    assert not (tmp_path / "data").exists()
    shutil.rmtree(bad.folder)
    with pytest.raises(StoreError, match=r"contains no run; create one with 'ednabed embed FILE'"):
        consolidate(tmp_path)
    assert not (tmp_path / "data").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="contains no run"):
        consolidate(tmp_path, output=Path("empty"))
    assert list((tmp_path / "empty").iterdir()) == []


def test_from_scratch_with_only_refused_runs_the_old_reference_stays(tmp_path):
    run = add_run(tmp_path, "see", "a", range(6))
    consolidate(tmp_path)
    state = snapshot(tmp_path / "data")
    spoil("nan", run.folder)
    with pytest.raises(StoreError, match="not finite"):
        consolidate(tmp_path)
    assert snapshot(tmp_path / "data") == state


# -- one function ----------------------------------------------------------------------------------------------------


def test_two_functions_are_refused_with_the_names_of_both(tmp_path):
    add_run(tmp_path, "see", "a", [1])
    add_run(tmp_path, "see", "b", [1], spec=OTHER)
    with pytest.raises(StoreError) as caught:
        consolidate(tmp_path)
    for words in ("2 functions", f"hand ({SPEC.fingerprint[:12]}): see/a", f"other ({OTHER.fingerprint[:12]}): see/b"):
        assert words in str(caught.value)
    assert "`version`" in str(caught.value)
    assert not (tmp_path / "data").exists()
    register(tmp_path, "v2", OTHER)
    result = consolidate(tmp_path, version="v2")
    assert [part.label for part in result.manifest.runs] == ["see/b"]
    assert (result.manifest.version, result.manifest.spec) == ("v2", OTHER)
    assert "not with version v2" in result.left_out["consolidated_data/runs/see/a"]
    assert result.refused == {}


def test_a_second_function_is_refused_by_an_incremental_build(tmp_path):
    add_run(tmp_path, "see", "a", [1])
    consolidate(tmp_path)
    add_run(tmp_path, "see", "b", [1], spec=OTHER)
    add_run(tmp_path, "see", "c", [2])
    result = consolidate(tmp_path, incremental=True)
    reason = result.refused["consolidated_data/runs/see/b"]
    hand = f"with hand ({SPEC.fingerprint[:12]}; runs see/a)"
    for words in ("see/b was created with other", OTHER.fingerprint[:12], hand):
        assert words in reason
    assert [part.label for part in result.added] == ["see/c"]
    register(tmp_path, "v2", OTHER)
    with pytest.raises(StoreError, match=r"was built with hand .*version v2 is other .*give another `output`"):
        consolidate(tmp_path, incremental=True, version="v2")
    assert consolidate(tmp_path, version="v2", output=Path("refs/two")).folder == tmp_path / "refs" / "two"
    assert opened(tmp_path).rows == 2


def test_an_unknown_version_and_an_unknown_index(tmp_path):
    add_run(tmp_path, "see", "a", [1])
    with pytest.raises(StoreError, match="no version 'v7'"):
        consolidate(tmp_path, version="v7")
    with pytest.raises(UsageError, match="'hnsw' is unknown"):
        consolidate(tmp_path, index="hnsw")
    assert not (tmp_path / "data" / "reference").exists()


# -- folders of older tools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npy", "npz"])
@pytest.mark.parametrize("place", ["My_Data/2024-12-01_10-00-00", "a/b/c/d", "flat"])
def test_folders_of_older_tools_are_added_when_their_version_is_given(tmp_path, form, place):
    vectors = np.stack([vector_of(n) for n in (1, 2, 2)])
    folder = legacy(runs_root(tmp_path) / place, vectors, form)
    add_run(tmp_path, "see", "a", [1])
    register(tmp_path, "v1", SPEC)
    name = f"consolidated_data/runs/{place}"
    result = consolidate(tmp_path)
    assert "created by an older tool" in result.left_out[name]
    assert "--version V" in result.left_out[name]
    result = consolidate(tmp_path, version="v1")
    assert result.left_out == {}
    (part,) = [part for part in result.manifest.runs if part.assumed]
    dataset, _, run_id = place.partition("/")
    assert (part.dataset, part.run_id) == ((dataset, run_id) if run_id else ("runs", "flat"))
    assert (part.records, part.sequences, part.source_file) == (3, 3, f"embeddings.{form}")
    reference = opened(tmp_path)
    # Their sequences are unknown, so each row counts as distinct, even if vectors are equal.
    assert reference.rows == 4
    told = [r for r in records(reference) if r["dataset"] == part.dataset and r["run_id"] == part.run_id]
    assert [(r["seq_idx"], r["id"], r["source_file"]) for r in told] == [
        (i, None, f"{name}/embeddings.{form}") for i in range(3)
    ]
    assert reference.verify() == []
    # A tag does the same without --version.
    tag_run(tmp_path, Run.open(folder), "v1", assume=True)
    before = content(reference)
    assert consolidate(tmp_path).manifest.counts["records"] == 4
    assert content(opened(tmp_path)) == before


def test_a_tag_of_another_version_counts(tmp_path):
    folder = legacy(runs_root(tmp_path) / "old" / "x", np.stack([vector_of(1)]))
    add_run(tmp_path, "see", "a", [1])
    register(tmp_path, "v1", SPEC)
    register(tmp_path, "v2", OTHER)
    tag_run(tmp_path, Run.open(folder), "v2", assume=True)
    result = consolidate(tmp_path, version="v1")
    assert result.left_out == {"consolidated_data/runs/old/x": "tagged as version v2, not v1"}


def test_a_folder_of_another_dimension_is_refused(tmp_path):
    legacy(runs_root(tmp_path) / "old" / "x", np.ones((3, 5), np.float32))
    add_run(tmp_path, "see", "a", [1])
    register(tmp_path, "v1", SPEC)
    result = consolidate(tmp_path, version="v1")
    assert "vectors of 5 dimensions, but hand produces 8" in result.refused["consolidated_data/runs/old/x"]


def test_the_same_vectors_in_two_folders_are_one_run(tmp_path):
    for name in ("x", "y"):
        legacy(runs_root(tmp_path) / "old" / name, np.stack([vector_of(1)]))
    legacy(runs_root(tmp_path) / "old" / "z", np.stack([vector_of(1)]), "npz")
    register(tmp_path, "v1", SPEC)
    result = consolidate(tmp_path, version="v1")
    assert result.manifest.counts["records"] == 1
    assert len(result.left_out) == 2


# -- columns ---------------------------------------------------------------------------------------------------------


def test_user_columns_with_reserved_names(tmp_path):
    own = {name: [f"{name}-{i}" for i in range(2)] for name in ("row", "dataset", "run_id", "seq_idx", "source_file")}
    add_run(tmp_path, "see", "a", [1, 2], columns={**own, "dataset_input": ["x", "y"]})
    add_run(tmp_path, "see", "b", [2], columns={"row": [9]})
    consolidate(tmp_path)
    reference = opened(tmp_path)
    loose = LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources)
    for collection in (reference, loose):
        found = records(collection)
        by_id = {record["id"]: record for record in found}
        a = by_id["a-1"]
        assert (a["dataset"], a["run_id"], a["seq_idx"]) == ("see", "a", 1)
        assert a["source_file"] == "consolidated_data/runs/see/a/embeddings.npy"
        assert (a["row_input"], a["run_id_input"], a["seq_idx_input"]) == ("row-1", "run_id-1", "seq_idx-1")
        assert (a["dataset_input"], a["dataset_input_input"], a["source_file_input"]) == (
            "y",
            "dataset-1",
            "source_file-1",
        )
        assert by_id["b-0"]["row_input"] == "9"
        pieces = list(collection.scan_records(["row_input"]))
        assert [first for first, _ in pieces] == [0, 2]
        rows = np.concatenate([table.column("row").to_numpy() for _, table in pieces])
        assert rows.tolist() == [0, 1, 1]
    assert reference.verify() == []


TYPES = {
    "whole": ([1, 2], [3, 4], pa.int64(), [1, 2, 3, 4]),
    "sizes": (pa.array([1, 2], pa.int8()), pa.array([3, 4], pa.int32()), pa.int64(), [1, 2, 3, 4]),
    "fractions": ([1, 2], [3.5, None], pa.float64(), [1.0, 2.0, 3.5, None]),
    "text": ([1, 2], ["a", None], pa.string(), ["1", "2", "a", None]),
    "nothing": (pa.nulls(2), [3, 4], pa.int64(), [None, None, 3, 4]),
    "nothing later": ([3.5, 4.5], pa.nulls(2), pa.float64(), [3.5, 4.5, None, None]),
    "never": (pa.nulls(2), pa.nulls(2), pa.null(), [None] * 4),
    "truth": ([True, False], ["a", "b"], pa.string(), ["true", "false", "a", "b"]),
    "long text": (pa.array(["a", "b"], pa.large_string()), ["c", "d"], pa.string(), ["a", "b", "c", "d"]),
    "coded": (
        pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "d"]).dictionary_encode(), pa.string(), list("abcd"),
    ),
    "lists": ([[1], None], ["x", "y"], pa.string(), ["[1]", None, "x", "y"]),
    "lists only": ([[1], None], [[2, 3], []], pa.list_(pa.int64()), [[1], None, [2, 3], []]),
    "structs": ([{"a": 1}, None], [1, 2], pa.string(), ["{'a': 1}", None, "1", "2"]),
    "bytes": (pa.array([b"\xff", b"a"]), ["x", "y"], pa.string(), [str(b"\xff"), str(b"a"), "x", "y"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("swapped", [False, True])
def test_columns_of_several_types(tmp_path, name, swapped):
    one, other, wanted_type, wanted = TYPES[name]
    times = ["2024-01-01T00:00:00+00:00", "2024-01-02T00:00:00+00:00"]
    add_run(tmp_path, "see", "a", [1, 2], columns={"extra": one}, created=times[swapped])
    add_run(tmp_path, "see", "b", [3, 1], columns={"extra": other}, created=times[not swapped])
    add_run(tmp_path, "see", "c", [4])
    consolidate(tmp_path)
    for collection in (opened(tmp_path), LooseRuns(find_sources(runs_root(tmp_path), tmp_path).sources)):
        assert collection.record_schema.field("extra").type == wanted_type
        found = {record["id"]: record["extra"] for record in records(collection, ["id", "extra"])}
        assert [found[i] for i in ("a-0", "a-1", "b-0", "b-1")] == wanted
        assert found["c-0"] is None
        scanned = {}
        for _, table in collection.scan_records(["id", "extra"]):
            scanned |= {r["id"]: r["extra"] for r in table.select(["id", "extra"]).to_pylist()}
        assert scanned == found


def test_markers_are_counted(tmp_path):
    add_run(tmp_path, "see", "a", [1, 2, 3], columns={"marker": ["COI", "COI", None]})
    add_run(tmp_path, "see", "b", [4], columns={"target_gene": pa.array(["12S"]).dictionary_encode()})
    add_run(tmp_path, "see", "c", [5])
    found = {part.run_id: part.markers for part in consolidate(tmp_path).manifest.runs}
    assert found == {"a": {"": 1, "COI": 2}, "b": {"12S": 1}, "c": {}}


# -- names and paths -------------------------------------------------------------------------------------------------


ODD = ["Übersee 2024", "with blank", "emoji-🐟", "line\nend", 'quote"s', "semi;colon", os.fsdecode(b"not-utf8-\xff")]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_names_with_odd_characters(tmp_path, name):
    root = tmp_path / "runs here"
    write_run(root / "see" / "a", [1])
    legacy(root / name / "x", np.stack([vector_of(2)]))
    write_run(tmp_path / "y", [3])
    (tmp_path / "y").rename(root / name / "y")
    register(tmp_path, "v1", SPEC)
    result = consolidate(tmp_path, runs=root, version="v1")
    # pyarrow cannot open a path that is not UTF-8.
    refused = name.isascii() is False and not name.isprintable()
    assert len(result.refused) == refused
    assert result.manifest.counts["runs"] == 3 - refused
    reference = opened(tmp_path)
    assert reference.verify() == []
    for part in result.manifest.runs:
        assert "\n" not in part.label
        part.folder.encode()
    assert {r["dataset"] for r in records(reference)} == {"see", result.manifest.runs[-1].dataset}
    again = consolidate(tmp_path, runs=root, version="v1", incremental=True)
    assert (again.changed, again.vanished, again.changed_runs) == (False, [], [])


@pytest.mark.parametrize("output", ["refs", "refs/deep/er", "absolute"])
def test_paths_for_a_reference(tmp_path, output):
    workspace = tmp_path / "ws"
    add_run(workspace, "see", "a", [1])
    place = tmp_path / "elsewhere" / "ref" if output == "absolute" else Path(output)
    for _ in range(2):
        result = consolidate(workspace, output=place)
        assert result.folder == workspace / place
        assert (result.folder / "consolidated_metadata.json").is_file()
    assert not (workspace / "data").exists()


def test_a_foreign_folder_is_refused_and_untouched(tmp_path):
    add_run(tmp_path, "see", "a", [1])
    foreign = {
        "files": ["notes.txt"],
        "other_builds": ["builds/debug/main.o", "builds/.cache/x", "builds/release/main.o"],
        "hidden_and_more": [".git/config", "src/main.c"],
        "older": ["consolidated_embeddings.npy", "consolidated_index.faiss"],
        "older_metadata": ["consolidated_metadata.json", "consolidated_embeddings.npy"],
        "newer_metadata": ["consolidated_metadata.json"],
    }
    for name, files in foreign.items():
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"schema": "ednabed.reference/9"}' if name.startswith("newer") else '{"total": 3}')
        state = snapshot(tmp_path / name)
        for incremental in (False, True):
            with pytest.raises(StoreError, match=r"something other|not written by ednabed|update ednabed"):
                consolidate(tmp_path, output=Path(name), incremental=incremental)
        assert snapshot(tmp_path / name) == state
        assert not (tmp_path / name / ".lock").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        consolidate(tmp_path, output=Path("file"))
    with pytest.raises(StoreError, match="something other"):
        consolidate(tmp_path, output=Path())
    assert (tmp_path / "file").read_text() == "x"


def test_foreign_files_next_to_builds_are_not_touched(tmp_path):
    add_run(tmp_path, "see", "a", [1])
    folder = consolidate(tmp_path).folder
    for name in ("builds/.mine/x", "builds/keep/x", "notes.txt", "builds/.nfs0001"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    for _ in range(2):
        consolidate(tmp_path)
    for name in ("builds/.mine/x", "builds/keep/x", "notes.txt", "builds/.nfs0001"):
        assert (folder / name).read_text() == "mine"


def test_the_folder_of_runs(tmp_path, monkeypatch):
    workspace = tmp_path / "ws"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_run(workspace / "my" / "runs" / "see" / "a", [1])
    write_run(tmp_path / "here" / "others" / "see" / "b", [2])
    with pytest.raises(
        StoreError, match=r"is not a folder; create runs with 'ednabed embed FILE', or give another `runs_root`"
    ):
        consolidate(workspace)
    for runs, wanted in ((Path("my/runs"), "see/a"), (Path("others"), "see/b"), (workspace / "my", "runs/see/a")):
        result = consolidate(workspace, runs=runs, output=Path("ref", runs.name))
        assert [part.label for part in result.manifest.runs] == [wanted]
    (workspace / "file").write_text("x")
    for runs in (Path("file"), Path("absent"), workspace / "absent"):
        with pytest.raises(StoreError, match="is not a folder"):
            consolidate(workspace, runs=runs)


def test_damaged_metadata_do_not_prevent_a_rebuild(tmp_path):
    add_run(tmp_path, "see", "a", [1])
    folder = consolidate(tmp_path).folder
    before = content(opened(tmp_path))
    raw = (folder / "consolidated_metadata.json").read_bytes()
    for damaged in (b"", raw[:-40], raw.replace(b'"records": 1', b'"records": 2')):
        (folder / "consolidated_metadata.json").write_bytes(damaged)
        with pytest.raises(StoreError, match=r"is damaged.*--rebuild"):
            consolidate(tmp_path, incremental=True)
        assert consolidate(tmp_path).changed
        assert content(opened(tmp_path)) == before
        assert len(list((folder / "builds").iterdir())) == 2, "the newest sound one is the one before"


def test_damaged_names_are_reported_before_the_work(tmp_path, monkeypatch):
    from ednabed.reference import build

    add_run(tmp_path, "see", "a", [1])
    folder = consolidate(tmp_path).folder
    (folder / "names.json").write_text("{")
    state = snapshot(folder)
    monkeypatch.setattr(build, "find_sources", None)
    with pytest.raises(StoreError, match=r"names.json is damaged"):
        consolidate(tmp_path)
    assert snapshot(folder) == state


def test_the_source_of_one_run(tmp_path):
    from ednabed.reference.sources import source_of

    inside = add_run(tmp_path, "see", "a", [1])
    outside = write_run(tmp_path / "out" / "b", [2])
    assert source_of(inside, runs_root(tmp_path), tmp_path).label == "see/a"
    assert source_of(outside, runs_root(tmp_path), tmp_path).label == "out/b"
    with pytest.raises(EdnabedError, match="older tool"):
        source_of(Run.open(legacy(tmp_path / "old", np.ones((1, 8), np.float32))), runs_root(tmp_path), tmp_path)


def test_a_search_with_nothing_to_find(tmp_path):
    add_run(tmp_path, "see", "a", [1, 2])
    consolidate(tmp_path)
    reference = opened(tmp_path)
    query = vector_of(1)[None]
    assert hits(reference, query[:0], 3) == []
    assert hits(reference, query, 0) == []
    assert hits(reference, query, 5, allowed=np.zeros(2, bool)) == []
    assert len(hits(reference, query * 1e30, 5)) == len(hits(reference, query * 1e-30, 5)) == 2
    assert reference.vectors.shape[1] == DIMENSION
    assert pq.ParquetFile(reference.build / "records-00000.parquet").metadata.num_rows == 2
