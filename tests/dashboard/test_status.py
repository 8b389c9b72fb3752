"""The state of a workspace: damage is reported, and nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ednabed.dashboard.status import ReferenceState, reference_states, run_states, table_state, versions_fault
from ednabed.errors import StoreError
from ednabed.reference import build_names, layout
from ednabed.reference.manifest import METADATA
from ednabed.reference.opened import open_reference
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS, runs_root
from ednabed.store.versions import register
from ednabed.taxonomy.calibration import FILE as CALIBRATION
from reference_support import DIMENSION, OTHER, SPEC, add_run, consolidate, legacy, reseal, snapshot
from table_support import make, sequences, simple, vector_array


@pytest.fixture
def workspace(tmp_path) -> Path:
    add_run(tmp_path, "lake", "a", range(5))
    add_run(tmp_path, "lake", "b", range(3, 9))
    return tmp_path


def states(workspace: Path) -> dict[str, tuple[str | None, bool | None, bool]]:
    """Return by run its version, whether it is in the reference, and whether it is damaged."""
    return {
        f"{state.info.dataset}/{state.info.run_id}": (state.version, state.in_reference, state.info.fault is not None)
        for state in run_states(workspace)
    }


# -- runs --------------------------------------------------------------------------------------------------------------


def test_an_empty_workspace(tmp_path):
    assert run_states(tmp_path) == reference_states(tmp_path) == []
    assert table_state(tmp_path) is None
    assert versions_fault(tmp_path) is None
    assert run_states(tmp_path / "absent") == reference_states(tmp_path / "absent") == []
    assert list(tmp_path.iterdir()) == []


def test_runs_before_and_after_they_are_in_the_reference(workspace):
    assert states(workspace) == {"lake/a": (None, None, False), "lake/b": (None, None, False)}
    consolidate(workspace)
    add_run(workspace, "sea", "c", [1])
    add_run(workspace, "sea", "other", [1], spec=OTHER)
    register(workspace, "v1", SPEC)
    assert states(workspace) == {
        "lake/a": ("v1", True, False), "lake/b": ("v1", True, False), "sea/c": ("v1", False, False),
        "sea/other": (None, False, False),
    }  # fmt: skip
    order = [(state.info.dataset, state.info.run_id) for state in run_states(workspace)]
    assert order == sorted(order)


def test_a_run_is_identified_by_its_content_in_any_folder(workspace):
    consolidate(workspace)
    root = runs_root(workspace)
    (root / "lake" / "a").rename(root / "moved")
    assert states(workspace)["runs/moved"] == (None, True, False)


def test_a_run_that_was_written_again_is_not_in_the_reference(workspace):
    consolidate(workspace)
    shutil.rmtree(runs_root(workspace) / "lake" / "a")
    add_run(workspace, "lake", "a", [100, 101])
    assert states(workspace)["lake/a"] == (None, False, False)


@pytest.mark.parametrize(
    ("file", "damage"),
    # A folder without a manifest is from an older tool; a folder without vectors is not a run.
    [*((file, damage) for file in (MANIFEST, RECORDS, "embeddings.npy") for damage in ("cut", "other")),
     (RECORDS, "gone")],
)  # fmt: skip
def test_damaged_runs_are_listed_with_the_others(workspace, file, damage):
    consolidate(workspace)
    path = runs_root(workspace) / "lake" / "a" / file
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40] if damage == "cut" else b"\x00" * 50)
    found = states(workspace)
    assert found["lake/a"][1:] == (None, True)
    assert found["lake/b"] == (None, True, False)


def test_a_run_of_an_older_tool(workspace):
    consolidate(workspace)
    legacy(runs_root(workspace) / "old" / "r", np.eye(3, DIMENSION, dtype=np.float32))
    register(workspace, "v1", SPEC)
    assert states(workspace)["old/r"] == (None, None, False)
    [state] = [state for state in run_states(workspace) if state.info.dataset == "old"]
    assert (state.info.records, state.info.dimension, state.info.model) == (3, DIMENSION, None)


@pytest.mark.parametrize("text", ["", "{", '{"schema": "ednabed.versions/9"}', "[]", "\x00", '{"schema": 5}'])
def test_a_damaged_file_of_versions(workspace, text):
    register(workspace, "v1", SPEC)
    assert states(workspace)["lake/a"] == ("v1", None, False)
    (workspace / "data" / "versions.json").write_text(text)
    assert states(workspace)["lake/a"] == (None, None, False)
    assert "versions.json" in versions_fault(workspace)


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "ednabed.reference/9"}'])
def test_whether_a_damaged_reference_contains_a_run_is_unknown(workspace, text):
    consolidate(workspace)
    (workspace / "data" / "reference" / METADATA).write_text(text)
    assert states(workspace)["lake/a"] == (None, None, False)


def test_whether_an_unreadable_reference_contains_a_run_is_unknown(workspace, monkeypatch):
    consolidate(workspace)
    assert states(workspace)["lake/a"] == (None, True, False)

    def refused(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(layout, "open_manifest", refused)
    assert states(workspace) == {"lake/a": (None, None, False), "lake/b": (None, None, False)}


# -- references --------------------------------------------------------------------------------------------------------


def told(found: list[ReferenceState]) -> list[tuple[str, str | None, int | None, bool, bool]]:
    return [
        (s.address, s.name, None if s.manifest is None else s.manifest.counts["records"], s.calibrated,
         s.fault is not None)
        for s in found
    ]  # fmt: skip


def test_references_and_their_named_builds(workspace):
    folder = consolidate(workspace).folder
    layout.name_build(folder, "spring")
    add_run(workspace, "sea", "c", [50, 51], created="2025-01-01T00:00:00+00:00")
    consolidate(workspace)
    layout.name_build(folder, "now")
    for name in ("aaa", "zzz"):
        consolidate(workspace, output=Path("data") / name)
    # Other folders are not references.
    (workspace / "data" / "maps").mkdir()
    (workspace / "data" / METADATA).write_text("{}")
    found = reference_states(workspace)
    assert told(found[:1]) == [("data/reference", None, 13, False, False)]
    assert sorted(told(found[1:3])) == [
        ("data/reference/now", "now", 13, False, False), ("data/reference/spring", "spring", 11, False, False),
    ]  # fmt: skip
    assert told(found[3:]) == [("data/aaa", None, 13, False, False), ("data/zzz", None, 13, False, False)]
    for state in found:
        opened = open_reference(*layout.find_reference(workspace, state.address))
        assert opened.manifest.build == state.manifest.build


def test_which_builds_are_calibrated(workspace):
    folder = consolidate(workspace).folder
    layout.name_build(folder, "old")
    first = layout.open_manifest(folder).build
    (layout.build_folder(folder, first) / CALIBRATION).write_text("{}")
    assert [state.calibrated for state in reference_states(workspace)] == [True, True]
    add_run(workspace, "sea", "c", [50, 51])
    consolidate(workspace)
    assert [(state.name, state.calibrated) for state in reference_states(workspace)] == [(None, False), ("old", True)]


def test_damaged_references_are_listed_with_the_others(workspace):
    folder = consolidate(workspace).folder
    layout.name_build(folder, "old")
    first = layout.open_manifest(folder).build
    add_run(workspace, "sea", "c", [50, 51])
    consolidate(workspace)
    (folder / METADATA).write_text("{")
    one, old = reference_states(workspace)
    assert (one.manifest, one.calibrated, old.fault) == (None, False, None)
    assert f"{METADATA} is damaged" in one.fault
    vectors = layout.build_folder(folder, first) / layout.VECTORS
    vectors.write_bytes(vectors.read_bytes()[:-1])
    assert "does not have the size" in reference_states(workspace)[1].fault
    vectors.unlink()
    assert "is missing" in reference_states(workspace)[1].fault
    shutil.rmtree(layout.build_folder(folder, first))
    _, old = reference_states(workspace)
    assert (old.address, old.name, old.manifest) == ("data/reference/old", "old", None)
    assert "contains no reference" in old.fault


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "ednabed.names/9", "names": {}}',
                                  '{"schema": "ednabed.names/1", "names": {"a": "../../x"}}'])  # fmt: skip
def test_a_damaged_file_of_names_hides_no_reference(workspace, text):
    folder = consolidate(workspace).folder
    consolidate(workspace, output=Path("data") / "other")
    (folder / build_names.NAMES).write_text(text)
    one, names, other = reference_states(workspace)
    assert (one.fault, other.fault) == (None, None)
    assert (names.address, names.name, names.manifest) == ("data/reference/names.json", None, None)
    assert names.fault


def test_a_build_that_no_longer_matches_its_manifest(workspace):
    folder = consolidate(workspace).folder
    reseal(folder, lambda manifest: type(manifest)(**{**vars(manifest), "build": "../../../x"}))
    [state] = reference_states(workspace)
    assert state.manifest is None and state.fault


# -- the table ---------------------------------------------------------------------------------------------------------


def test_a_folder_without_the_table(tmp_path):
    (tmp_path / "data" / "lancedb").mkdir(parents=True)
    assert table_state(tmp_path) is None
    import lancedb
    import pyarrow as pa

    lancedb.connect(str(tmp_path / "data" / "lancedb")).create_table("mine", pa.table({"x": [1]}))
    assert table_state(tmp_path) is None


def test_rows_by_state(tmp_path):
    letters = sequences(6)
    vectors = [np.ones(DIMENSION), None, np.zeros(DIMENSION), np.full(DIMENSION, np.inf), np.ones(DIMENSION), None]
    status = ["embedded", None, None, "embedded", None, "rejected"]
    simple(tmp_path / "data" / "lancedb", letters, vector=vector_array(vectors, DIMENSION), embedding_status=status,
           embedding_fingerprint=["f" * 64, None, None, None, None, None])  # fmt: skip
    before = snapshot(tmp_path)
    found = table_state(tmp_path)
    assert (found.rows, found.embedded, found.pending, found.rejected, found.invalid) == (6, 2, 2, 1, 1)
    assert found.fingerprints == {"f" * 64: 1, "unknown": 1}
    assert found.dimension == DIMENSION
    assert snapshot(tmp_path) == before


def test_a_table_without_vectors_is_pending(tmp_path):
    simple(tmp_path / "data" / "lancedb", sequences(4))
    found = table_state(tmp_path)
    assert (found.rows, found.pending, found.embedded, found.dimension) == (4, 4, 0, None)


def test_tables_that_cannot_be_read(tmp_path):
    make(tmp_path / "data" / "lancedb", {"id": ["a"], "letters": ["ACGT"]})
    with pytest.raises(StoreError):
        table_state(tmp_path)
    for path in (tmp_path / "data" / "lancedb").rglob("*"):
        if path.is_file():
            path.write_bytes(b"x")
    with pytest.raises(StoreError):
        table_state(tmp_path)


def test_looking_writes_nothing(workspace):
    consolidate(workspace)
    register(workspace, "v1", SPEC)
    before = snapshot(workspace)
    for look in (run_states, reference_states, table_state, versions_fault):
        look(workspace)
    assert snapshot(workspace) == before
