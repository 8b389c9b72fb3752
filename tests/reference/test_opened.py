"""Opened references: verify finds every flipped byte, names of builds, and messages about damaged ones."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.reference import build_names, layout
from ednabed.reference.manifest import METADATA, ReferenceManifest
from ednabed.reference.opened import open_reference
from ednabed.reference.partfile import PartFile, Shelf, gather
from reference_support import add_run, consolidate, content, hits, opened, reseal, snapshot, vector_of


@pytest.fixture(scope="module", params=["flat", "ivf"])
def made(tmp_path_factory, request) -> Path:
    workspace = tmp_path_factory.mktemp("made")
    add_run(workspace, "see", "a", range(30), columns={"marker": ["COI"] * 30})
    add_run(workspace, "see", "b", [3, 40, 3, 41], created="2024-01-02T00:00:00+00:00")
    add_run(workspace, "see", "c", [3], created="2024-01-03T00:00:00+00:00")
    consolidate(workspace, index=request.param)
    return workspace


@pytest.fixture
def folder(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws" / "data" / "reference"


def faults(folder: Path, name: str | None = None) -> list[str]:
    """The faults that verify reports, including an error on opening."""
    try:
        return open_reference(folder, name).verify()
    except EdnabedError as error:
        return [str(error)]


def names_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_every_file_counts(folder):
    """The build's files and the links to them, which are copies here as on a disk without hard links."""
    assert faults(folder) == []
    names = names_of(folder)
    assert len(names) == 14
    rng = random.Random(2)
    for name in names:
        path = folder / name
        raw = path.read_bytes()
        places = {0, 9, 60, 90, 127, len(raw) - 1, *rng.sample(range(len(raw)), 25)} & set(range(len(raw)))
        for place in sorted(places):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << rng.randrange(8))]) + raw[place + 1 :])
            found = faults(folder)
            assert found, (name, place)
            assert path.name in "; ".join(found)
            assert all("\n" not in fault for fault in found)
        path.write_bytes(raw)
    assert faults(folder) == []


def test_every_flipped_byte_of_the_small_arrays_is_reported_or_harmless(folder):
    """A flip in a header never ends in a traceback."""
    build = open_reference(folder).build
    for name in ("consolidated_rows.npy", "consolidated_embeddings.npy", "consolidated_positions.npy"):
        raw = (build / name).read_bytes()
        for place in range(128):
            (build / name).write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
            assert faults(folder)
        (build / name).write_bytes(raw)


def test_every_byte_of_the_metadata_counts(folder):
    path = folder / METADATA
    raw = path.read_bytes()
    for place in range(0, len(raw), 11):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(StoreError):
            open_reference(folder)
    path.write_bytes(raw)


def test_missing_files_are_named(folder):
    for name in names_of(folder):
        if "/" not in name:
            continue
        path = folder / name
        path.rename(folder / "away")
        (found,) = faults(folder)
        assert path.name in found
        assert "missing" in found or "contains no reference" in found
        (folder / "away").rename(path)
    # The hard links may be missing.
    (folder / "consolidated_embeddings.npy").unlink()
    assert faults(folder) == []


def test_files_that_contradict_each_other_are_reported(folder):
    """All checksums are right; the files belong to several builds, or were written by a faulty program."""
    reference = open_reference(folder)
    build = reference.build
    tables = {
        name: pq.read_table(build / name)
        for name in ("records-00000.parquet", "records-00001.parquet", "sequences-00000.parquet")
    }
    arrays = {name: np.load(build / f"consolidated_{name}.npy") for name in ("rows", "positions", "embeddings")}

    def swapped(name: str, column: str, i: int, j: int):
        table = tables[name]
        values = table.column(column).to_pylist()
        values[i], values[j] = values[j], values[i]
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    def changed(name: str, change) -> np.ndarray:
        array = arrays[name].copy()
        change(array)
        return array

    def swap(array, i=2, j=5):
        array[[i, j]] = array[[j, i]]

    def put(field, place, value):
        def change(array):
            array[field][place] = value

        return change

    cases = {
        "records": ("records-00001.parquet", swapped("records-00001.parquet", "row", 0, 1)),
        "digests": ("sequences-00000.parquet", swapped("sequences-00000.parquet", "digest", 0, 1)),
        "positions swapped": ("positions", changed("positions", lambda a: swap(a, 0, 20))),
        "position twice": ("positions", changed("positions", lambda a: a.__setitem__(0, 1))),
        "position outside": ("positions", changed("positions", lambda a: a.__setitem__(0, 99))),
        "position negative": ("positions", changed("positions", lambda a: a.__setitem__(0, -1))),
        "keys": ("rows", changed("rows", lambda a: swap(a["key"]))),
        "norms": ("rows", changed("rows", put("norm", 3, 2))),
        "firsts": ("rows", changed("rows", put("first", 3, 9))),
        "first outside": ("rows", changed("rows", put("first", -1, 99))),
        "first negative": ("rows", changed("rows", put("first", 3, -5))),
        "vectors": ("embeddings", changed("embeddings", swap)),
    }  # fmt: skip
    for case, (name, value) in cases.items():
        path = build / (f"consolidated_{name}.npy" if isinstance(value, np.ndarray) else name)
        raw = path.read_bytes()
        texts = {p: p.read_bytes() for p in (folder / METADATA, build / METADATA)}
        if isinstance(value, np.ndarray):
            np.save(path, value)
        else:
            pq.write_table(value, path)
        reseal(folder, lambda manifest: manifest)
        if name == "embeddings":
            (folder / path.name).write_bytes(path.read_bytes())
        found = faults(folder)
        assert found, case
        assert not any("checksum" in fault for fault in found), (case, found)
        path.write_bytes(raw)
        for place, text in texts.items():
            place.write_bytes(text)
        if name == "embeddings":
            (folder / path.name).write_bytes(raw)
        assert faults(folder) == [], case


def test_wrong_counts_are_reported(folder):
    for change in (
        {"sequences": 31}, {"records": 34}, {"sequences": 33}
    ):  # fmt: skip
        raw = {p: p.read_bytes() for p in folder.rglob(METADATA)}
        reseal(folder, lambda manifest, change=change: replace(manifest, counts={**manifest.counts, **change}))
        with pytest.raises(StoreError, match=r"the metadata state"):
            open_reference(folder)
        for path, text in raw.items():
            path.write_bytes(text)

    def fewer(manifest):
        return replace(manifest, runs=[replace(manifest.runs[0], records=29, sequences=29), *manifest.runs[1:]])

    reseal(folder, fewer)
    with pytest.raises(StoreError, match=r"30 rows, expected 29; ?|30 rows, expected 29"):
        open_reference(folder).take_records(np.array([0]), ["id"])
    assert faults(folder)


def test_a_damaged_records_file_gives_a_message(folder):
    build = open_reference(folder).build
    for name, call in (
        ("records-00000.parquet", lambda r: r.take_records(np.arange(5), ["id", "marker"])),
        ("records-00001.parquet", lambda r: list(r.scan_records(["id"]))),
        ("sequences-00000.parquet", lambda r: r.take_sequences(np.arange(5))),
    ):
        path = build / name
        raw = path.read_bytes()
        rng = random.Random(4)
        told = 0
        for number in range(60):
            damaged = bytearray(raw)
            for _ in range(rng.choice([1, 10, 100])):
                damaged[rng.randrange(len(raw))] ^= rng.randint(1, 255)
            path.write_bytes(damaged if number else b"")
            try:
                call(open_reference(folder))
            except StoreError as error:
                told += 1
                assert name in str(error)
                assert "--rebuild" in str(error)
        assert told > 20
        path.write_bytes(raw)
        call(open_reference(folder))


def test_a_folder_without_metadata_is_not_a_reference(tmp_path):
    with pytest.raises(StoreError, match=r"contains no reference .*'ednabed consolidate' builds one"):
        open_reference(tmp_path)
    (tmp_path / METADATA).write_text('{"total_embeddings": 3}')
    with pytest.raises(StoreError, match="was not written by ednabed"):
        open_reference(tmp_path)
    (tmp_path / METADATA).write_text('{"schema": "ednabed.reference/7"}')
    with pytest.raises(StoreError, match="update ednabed"):
        open_reference(tmp_path)


# -- names of builds -------------------------------------------------------------------------------------------------


def grow(workspace: Path, name: str, numbers, day: int) -> None:
    add_run(workspace, "see", name, numbers, created=f"2025-01-{day:02}T00:00:00+00:00")
    consolidate(workspace, incremental=True)


def test_a_named_build_stays(folder):
    workspace = folder.parents[1]
    first = content(open_reference(folder))
    for _ in range(2):
        assert layout.name_build(folder, "one").build == open_reference(folder).manifest.build
    layout.name_build(folder, "uno")
    grow(workspace, "x", [50], 1)
    second = content(open_reference(folder))
    layout.name_build(folder, "two")
    grow(workspace, "y", [51], 2)
    assert [len(content(open_reference(folder, name))) for name in ("one", "uno", "two", None)] == [32, 32, 33, 34]
    assert content(open_reference(folder, "one")) == first
    assert content(open_reference(folder, "two")) == second
    assert [faults(folder, name) for name in ("one", "two", None)] == [[], [], []]
    assert len(list((folder / "builds").iterdir())) == 3
    with pytest.raises(UsageError, match=r"'one' is already the name of build"):
        layout.name_build(folder, "one")
    # A flip in the metadata of a named build is found where it is opened.
    path = open_reference(folder, "two").build / METADATA
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"records"', b'"recordz"', 1))
    assert "is damaged" in faults(folder, "two")[0]
    path.write_bytes(raw)
    assert layout.remove_name(folder, "one") is False
    assert layout.remove_name(folder, "uno") is True
    # It is the previous build, which is kept until the next one.
    assert layout.remove_name(folder, "two") is False
    assert len(list((folder / "builds").iterdir())) == 2
    for call in (lambda: layout.remove_name(folder, "one"), lambda: open_reference(folder, "one")):
        with pytest.raises(StoreError, match=r"has no build called 'one'; existing names: none"):
            call()
    layout.name_build(folder, "now")
    assert layout.remove_name(folder, "now") is False
    assert faults(folder) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "con", "a b", "x" * 101, "trailing."])
def test_invalid_names(folder, name):
    state = snapshot(folder)
    with pytest.raises(UsageError, match="cannot be a folder"):
        layout.name_build(folder, name)
    assert snapshot(folder) == state


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "x"}', '{"schema": "ednabed.names/1", "names": []}'])
def test_a_damaged_file_of_names(folder, text):
    (folder / "names.json").write_text(text)
    for call in (
        lambda: build_names.read_names(folder),
        lambda: open_reference(folder, "x"),
        lambda: layout.name_build(folder, "x"),
    ):  # fmt: skip
        with pytest.raises(StoreError, match=r"names\.json (is|has|does not contain)"):
            call()
    assert faults(folder) == []


def test_a_name_cannot_lead_out_of_the_folder(folder):
    (folder / "names.json").write_text('{"schema": "ednabed.names/1", "names": {"x": "../../other"}}')
    with pytest.raises(EdnabedError):
        open_reference(folder, "x")


def test_a_reference_is_found_by_folder_name_or_build(folder, monkeypatch, caplog):
    workspace = folder.parents[1]
    monkeypatch.chdir(workspace)
    layout.name_build(folder, "one")
    shutil.copytree(folder, workspace / "refs" / "big")
    shutil.copytree(folder, workspace.parent / "outside")
    find = layout.find_reference
    assert find(workspace, None) == (folder, None)
    assert find(workspace, "one") == (folder, "one")
    assert find(workspace, "data/reference") == (folder, None)
    assert find(workspace, "data/reference/one") == (folder, "one")
    assert find(workspace, "refs/big") == (workspace / "refs/big", None)
    assert find(workspace, "refs/big/one") == (workspace / "refs/big", "one")
    assert find(workspace, str(workspace.parent / "outside")) == (workspace.parent / "outside", None)
    assert find(workspace / "elsewhere", "refs/big/one") == (Path("refs/big"), "one")
    for name in ("", "two", "refs", "refs/big/two", "data/reference/builds"):
        with pytest.raises(StoreError, match=r"there is no reference .*existing build names: one"):
            find(workspace, name)
    # A name of a build of any reference in data, if only one has it.
    fish = workspace / "data" / "fish"
    shutil.copytree(folder, fish)
    with pytest.raises(StoreError, match=r"'one' is the name of a build in 2 references.*data/fish/one or data/ref"):
        find(workspace, "one")
    assert find(workspace, "data/fish/one") == (fish, "one")
    layout.remove_name(fish, "one")
    layout.name_build(fish, "fish_1")
    assert find(workspace, "fish_1") == (fish, "fish_1")
    assert find(workspace, "one") == (folder, "one")
    (workspace / "data" / "fish" / "names.json").write_text("{", encoding="utf-8")
    assert find(workspace, "one") == (folder, "one")
    assert "names.json is damaged" in caplog.text
    # A reference that was copied is a reference.
    assert content(open_reference(workspace.parent / "outside")) == content(open_reference(folder))
    assert faults(workspace.parent / "outside") == []


# -- reading ---------------------------------------------------------------------------------------------------------


def test_opening_reads_next_to_nothing(folder, monkeypatch):
    """Parquet footers, vectors and index are not read until they are needed."""
    monkeypatch.setattr(pq, "ParquetFile", None)
    monkeypatch.setattr(layout, "sha256_file", None, raising=False)
    reference = open_reference(folder)
    assert isinstance(reference.vectors, np.memmap)
    assert len(hits(reference, vector_of(3)[None], 5)) == 5


def test_records_of_a_part_are_cached_when_many_are_requested(tmp_path, monkeypatch):
    pq.write_table(pa.table({"a": range(1000), "sequence": ["x"] * 1000}), tmp_path / "p.parquet", row_group_size=10)
    for opened_, room in ((True, 10**6), (False, 10**6), (False, 10)):
        shelf = Shelf(3, room)
        part = PartFile(tmp_path / "p.parquet", 1000, shelf, "make it again", opened_)
        rng = np.random.default_rng(1)
        for size in (1, 10, 200, 1000, 3):
            rows = rng.integers(0, 1000, size)
            assert part.take(rows, ["a"]).column("a").to_pylist() == rows.tolist()
            assert part.take(rows, ["sequence"]).num_rows == size
        assert list(part._cached) == ([("a",)] if room > 10 else [])
    with pytest.raises(StoreError, match=r"1000 rows, expected 7.*make it again"):
        _ = PartFile(tmp_path / "p.parquet", 7, shelf, "make it again", True).file
    with pytest.raises(FileNotFoundError):
        PartFile(tmp_path / "absent", 7, shelf, "make it again", True)


def test_several_threads_read_the_same_parts(tmp_path):
    """An open Parquet file is not thread-safe; a web page reads from several threads."""
    pq.write_table(pa.table({"a": range(60_000), "b": range(60_000)}), tmp_path / "p.parquet", row_group_size=500)
    shelf = Shelf(3, 0)
    part = PartFile(tmp_path / "p.parquet", 60_000, shelf, "make it again")

    def read(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        right = True
        for column in ("a", "b", "a"):
            rows = rng.integers(0, 60_000, 20_000)
            right &= part.take(rows, [column]).column(column).to_numpy().tolist() == rows.tolist()
            right &= part.read([column]).num_rows == 60_000
        return right

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(12)))


def test_few_files_are_open_at_once(tmp_path):
    shelf = Shelf(3, 0)
    parts = []
    for number in range(9):
        pq.write_table(pa.table({"a": [number]}), tmp_path / f"{number}.parquet")
        parts.append(PartFile(tmp_path / f"{number}.parquet", 1, shelf, "make it again"))
    for number in (*range(9), 0, 8, 4, 4):
        assert parts[number].take(np.array([0]), ["a"]).column("a").to_pylist() == [number]
        assert sum(part._map is not None for part in parts) <= 3


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_rows_of_concatenated_parts(sizes, data):
    starts = np.cumsum([0, *sizes])
    total = int(starts[-1])
    wanted = data.draw(st.lists(st.integers(0, total - 1), max_size=20)) if total else []
    schema = pa.schema([pa.field("place", pa.int64())])

    def take(number: int, rows: np.ndarray) -> pa.Table:
        assert (rows >= 0).all() and (rows < sizes[number]).all()
        return pa.table([pa.array(starts[number] + rows)], schema=schema)

    found = gather(starts[:-1], np.array(wanted, np.int64), take, schema)
    assert found.column("place").to_pylist() == wanted


def test_the_metadata_are_read_as_they_were_written(folder):
    manifest = ReferenceManifest.read(folder)
    assert ReferenceManifest.read(folder / "builds" / manifest.build) == manifest
    assert manifest.to_text().encode() == (folder / METADATA).read_bytes()
    assert set(manifest.files) == {p.name for p in (folder / "builds" / manifest.build).iterdir()} - {METADATA}


def test_nothing_is_pickled(folder):
    for path in folder.rglob("*.npy"):
        np.load(path, allow_pickle=False)


def test_the_dataset_of_each_record(folder):
    reference = open_reference(folder)
    assert [reference.part_datasets[i] for i in reference.parts_of(np.array([0, 33, 34]))] == ["see"] * 3
    assert opened(folder.parents[1]).name == str(folder)


def test_links_to_an_older_build_are_reported_and_repaired(folder):
    """A copied folder has copies instead of hard links; a program may have kept one from being replaced."""
    path = folder / "consolidated_embeddings.npy"
    assert not path.samefile(open_reference(folder).build / path.name)
    np.save(path, np.zeros((2, 8), np.float32))
    (fault,) = faults(folder)
    assert "consolidated_embeddings.npy does not belong to build" in fault
    assert not consolidate(folder.parents[1], incremental=True).changed
    assert faults(folder) == []
    for name in ("consolidated_embeddings.npy", "consolidated_index.faiss"):
        assert (folder / name).samefile(open_reference(folder).build / name)


def test_a_disk_without_hard_links(tmp_path, monkeypatch):
    import os

    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    add_run(tmp_path, "see", "a", [1, 2])
    folder = consolidate(tmp_path).folder
    add_run(tmp_path, "see", "b", [3])
    consolidate(tmp_path, incremental=True)
    assert {path.name for path in folder.iterdir()} - {".lock"} == {"builds", METADATA, build_names.PREVIOUS}
    assert (opened(tmp_path).rows, faults(folder)) == (3, [])


@pytest.mark.parametrize("previous", [None, [], "x", {"a": 1}, {"a": None}])
def test_a_sealed_record_of_previous_builds_with_other_types_is_damaged(tmp_path, previous):
    (tmp_path / build_names.PREVIOUS).write_text(
        build_names._PREVIOUS_SEAL.text({"previous": previous}), encoding="utf-8"
    )
    with pytest.raises(StoreError, match=r"previous\.json is damaged .* the previous build is unknown"):
        build_names.read_previous(tmp_path)
