"""Versions: one name per function, one version per run; no loss by two writers or a kill, no guessing after damage."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.base.sealed import json_sha256
from ednabed.errors import StoreError, UsageError
from ednabed.models.spec import Policy
from ednabed.store import version_file
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run, find_run, runs_root
from ednabed.store.versions import Versions, auto_tag, register, remove, tag_run, versions_path
from support import letters

TESTS = Path(__file__).resolve().parents[1]
ONE, TWO, THREE = (letters(salt=salt).spec for salt in (1, 2, 3))
FASTA = "".join(f">r{i}\n{'ACGT' * 5}{'ACGTN'[i % 4] * (i % 7)}\n" for i in range(12))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with runs: lake and sea by function 1, river by 2, pond by 3; never changed by a test."""
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "in.fa").write_text(FASTA)
    for dataset, salt in (("lake", 1), ("sea", 1), ("river", 2), ("pond", 3)):
        embed_to_run(RunRequest([workspace / "in.fa"], workspace, dataset=dataset), letters(salt=salt))
    return workspace


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws"


def legacy(workspace, name="My_Dataset/2024-12-01", dimension=10, seed=1) -> Run:
    """A run of an older tool, with vectors and nothing else."""
    folder = runs_root(workspace) / name
    folder.mkdir(parents=True)
    np.save(folder / "embeddings.npy", np.random.default_rng(seed).random((5, dimension), np.float32))
    return Run.open(folder)


def run_of(workspace, dataset) -> Run:
    return find_run(workspace, dataset)


def address(workspace, dataset) -> str:
    return f"{dataset}/{run_of(workspace, dataset).folder.name}"


def text(workspace) -> str:
    return versions_path(workspace).read_text(encoding="utf-8")


# -- registering -----------------------------------------------------------------------------------------------------


def test_a_workspace_without_versions(tmp_path):
    versions = Versions.read(tmp_path)
    assert (versions.versions, versions.tags) == ({}, {})
    assert versions.of_fingerprint(ONE.fingerprint) is None
    with pytest.raises(StoreError, match=r"no version 'v1\.0'; registered: none yet; 'ednabed versions register'"):
        versions.get("v1.0")
    assert list(tmp_path.iterdir()) == []


def test_a_registered_version_is_read_back(tmp_path):
    done = register(tmp_path, "v1.0", ONE, "Initial\nbaseline ü")
    assert (done.is_new, done.is_changed) == (True, False)
    register(tmp_path, "v2.0", TWO)
    versions = Versions.read(tmp_path)
    assert list(versions.versions) == ["v1.0", "v2.0"]
    version = versions.get("v1.0")
    assert (version.name, version.spec, version.description) == ("v1.0", ONE, "Initial baseline ü")
    assert version.fingerprint == ONE.fingerprint
    assert versions.of_fingerprint(TWO.fingerprint) == versions.get("v2.0")
    with pytest.raises(StoreError, match=r"no version 'v9'; registered: v1\.0, v2\.0"):
        versions.get("v9")


def test_the_file_is_json_that_people_can_read(tmp_path):
    register(tmp_path, "v1.0", ONE, "Initial")
    body = json.loads(text(tmp_path))
    told = body.pop("versions_sha256")
    assert told == json_sha256(body)
    created = body["versions"]["v1.0"].pop("created")
    assert body == {
        "schema": "ednabed.versions/2",
        "versions": {"v1.0": {"fingerprint": ONE.fingerprint, "spec": ONE.to_dict(), "description": "Initial"}},
        "tags": {},
    }
    assert created.endswith("+00:00")
    assert text(tmp_path).startswith('{\n  "schema": "ednabed.versions/2",\n  "versions": {\n    "v1.0": {\n')
    assert text(tmp_path) == Versions.read(tmp_path).to_text()
    others = [p.name for p in versions_path(tmp_path).parent.iterdir() if p.name != "versions.json"]
    assert all(name.startswith(".") for name in others)


def test_repeating_a_registration_is_allowed_and_can_change_the_description(tmp_path):
    register(tmp_path, "v1.0", ONE, "first")
    before = text(tmp_path)
    for description in (None, "first"):
        done = register(tmp_path, "v1.0", ONE, description)
        assert (done.is_new, done.is_changed, done.version.description) == (False, False, "first")
        assert text(tmp_path) == before
    for description in ("second", ""):
        done = register(tmp_path, "v1.0", ONE, description)
        assert (done.is_new, done.is_changed) == (False, True)
        assert Versions.read(tmp_path).get("v1.0").description == description
        assert done.version.created in before


def test_the_same_function_under_another_model_name_is_the_same(tmp_path):
    """The name of a model is not part of the fingerprint."""
    register(tmp_path, "v1.0", ONE)
    assert not register(tmp_path, "v1.0", replace(ONE, model="renamed")).is_new


def test_a_name_is_bound_to_one_function(tmp_path):
    register(tmp_path, "v1.0", ONE)
    before = text(tmp_path)
    with pytest.raises(StoreError) as refused:
        register(tmp_path, "v1.0", TWO, "other")
    for words in ("'v1.0'", "letters-1", "letters-2", ONE.fingerprint[:12], TWO.fingerprint[:12], "another name"):
        assert words in str(refused.value)
    assert text(tmp_path) == before


def test_the_error_states_how_two_functions_of_one_model_differ(tmp_path):
    register(tmp_path, "v1.0", ONE)
    both = letters(Policy(strand="both"), salt=1).spec
    with pytest.raises(StoreError, match=r"\(they differ in strand\)"):
        register(tmp_path, "v1.0", both)


def test_a_function_has_one_name(tmp_path):
    register(tmp_path, "v1.0", ONE)
    before = text(tmp_path)
    with pytest.raises(StoreError, match=r"is already version 'v1\.0', and a run must have one version; use that name"):
        register(tmp_path, "v1.1", ONE)
    assert text(tmp_path) == before


@pytest.mark.parametrize("name", ["", "a b", "../v1", "v/1", "con", ".v1", "v1.", "x" * 101, "v1\n"])
def test_invalid_names(tmp_path, name):
    with pytest.raises(UsageError, match="version name"):
        register(tmp_path, name, ONE)
    assert list(tmp_path.iterdir()) == []


def test_a_description_that_utf8_cannot_encode(tmp_path):
    register(tmp_path, "v1.0", ONE, "caf\udce9")
    assert Versions.read(tmp_path).get("v1.0").description == "caf\\udce9"


# -- the file damaged ------------------------------------------------------------------------------------------------


@pytest.fixture
def tagged(workspace) -> Path:
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    auto_tag(workspace)
    tag_run(workspace, legacy(workspace), "v1.0", assume=True)
    return workspace


def every_use(workspace):
    yield lambda: Versions.read(workspace)
    yield lambda: register(workspace, "v3.0", THREE)
    yield lambda: tag_run(workspace, run_of(workspace, "lake"), "v1.0")
    yield lambda: auto_tag(workspace)
    yield lambda: remove(workspace, "v1.0", force=True)


def test_an_unknown_schema_is_refused(tagged):
    path = versions_path(tagged)
    path.write_text(text(tagged).replace("ednabed.versions/2", "ednabed.versions/3"), encoding="utf-8")
    before = path.read_bytes()
    for use in every_use(tagged):
        with pytest.raises(StoreError, match=r"schema 'ednabed\.versions/3', .* and 'ednabed\.versions/2'; update"):
            use()
    assert path.read_bytes() == before


def test_a_file_cut_anywhere_is_refused_and_stays(tagged):
    path = versions_path(tagged)
    raw = path.read_bytes()
    for length in range(0, len(raw) - 1, 11):
        path.write_bytes(raw[:length])
        with pytest.raises(StoreError, match=r"versions\.json is damaged"):
            Versions.read(tagged)
    for use in every_use(tagged):
        with pytest.raises(StoreError, match="is damaged"):
            use()
    assert path.read_bytes() == raw[:length]


def unsealed(workspace) -> dict:
    """The contents in the first form of the file, without a checksum, which people may have changed."""
    body = json.loads(text(workspace))
    del body["versions_sha256"]
    return {**body, "schema": "ednabed.versions/1"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_changed_byte_shows(tagged, data):
    path = versions_path(tagged)
    raw = path.read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    bit = data.draw(st.integers(0, 7))
    try:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :])
        with pytest.raises(StoreError, match=r"versions\.json (is damaged|has schema)"):
            Versions.read(tagged)
    finally:
        path.write_bytes(raw)


def test_the_first_form_is_read_and_sealed_at_the_next_write(tagged):
    before = Versions.read(tagged)
    versions_path(tagged).write_text(json.dumps(unsealed(tagged)), encoding="utf-8")
    assert Versions.read(tagged) == before
    register(tagged, "v3.0", THREE)
    assert json.loads(text(tagged))["schema"] == "ednabed.versions/2"
    assert text(tagged) == Versions.read(tagged).to_text()
    assert Versions.read(tagged).tags == before.tags


def damages():
    identity = "0" * 64
    tag = {"version": "v1.0", "run": "x", "assumed": False, "tagged": "t"}

    def change(place, value):
        def apply(body):
            for key in place[:-1]:
                body = body[key]
            if value is None:
                del body[place[-1]]
            else:
                body[place[-1]] = value

        return apply

    v1 = ("versions", "v1.0")
    return {
        "no schema": change(("schema",), None),
        "no tags": change(("tags",), None),
        "strange field": change(("more",), 1),
        "versions no object": change(("versions",), []),
        "tags no object": change(("tags",), []),
        "version no object": change(v1, "x"),
        "spec no object": change((*v1, "spec"), "x"),
        "spec lacks a field": change((*v1, "spec", "weights"), None),
        "spec of another schema": change((*v1, "spec", "schema"), 2),
        "spec changed": change((*v1, "spec", "dimension"), 11),
        "fingerprint changed": change((*v1, "fingerprint"), "0" * 64),
        "fingerprint no text": change((*v1, "fingerprint"), 5),
        "no description": change((*v1, "description"), None),
        "created no text": change((*v1, "created"), 5),
        "tag of no version": change(("tags", identity), {**tag, "version": "v7"}),
        "tag lacks a field": change(("tags", identity), {"version": "v1.0"}),
        "tag with a strange field": change(("tags", identity), {**tag, "more": 1}),
        "assumed no bool": change(("tags", identity), {**tag, "assumed": "no"}),
        "tag no object": change(("tags", identity), "v1.0"),
    }


@pytest.mark.parametrize("name", damages())
def test_inconsistent_contents_are_refused(tagged, name):
    body = unsealed(tagged)
    damages()[name](body)
    versions_path(tagged).write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(StoreError, match=r"versions\.json is damaged \(.+\); restore it from a backup, or, if"):
        Versions.read(tagged)


def test_two_names_of_one_function_in_the_file_are_refused(tagged):
    body = unsealed(tagged)
    body["versions"]["v9"] = body["versions"]["v1.0"]
    versions_path(tagged).write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(StoreError, match=r"versions 'v1\.0' and 'v9' have the same fingerprint"):
        Versions.read(tagged)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"schema": []}', b"NaN"])
def test_a_file_of_another_kind_is_refused(tmp_path, raw):
    versions_path(tmp_path).parent.mkdir()
    versions_path(tmp_path).write_bytes(raw)
    with pytest.raises(StoreError):
        Versions.read(tmp_path)


def test_a_duplicate_key_is_refused(tagged):
    """This can happen after a merge by hand; JSON readers silently keep the last one."""
    raw = text(tagged).replace('"v2.0": {', '"v1.0": {')
    versions_path(tagged).write_text(raw, encoding="utf-8")
    with pytest.raises(StoreError, match=r"'v1\.0' is duplicated"):
        Versions.read(tagged)


def test_a_description_corrected_by_hand_is_accepted(tagged):
    body = unsealed(tagged)
    body["versions"]["v1.0"]["description"] = "by hand"
    versions_path(tagged).write_text(json.dumps(body), encoding="utf-8")
    assert Versions.read(tagged).get("v1.0").description == "by hand"


# -- tagging one run -------------------------------------------------------------------------------------------------


def test_a_run_of_the_function_is_tagged(workspace):
    register(workspace, "v1.0", ONE)
    run = run_of(workspace, "lake")
    done = tag_run(workspace, run, "v1.0")
    assert (done.is_new, done.previous) == (True, None)
    assert Versions.read(workspace).tags == {run.identity: done.tag}
    assert (done.tag.version, done.tag.run, done.tag.assumed) == ("v1.0", run.label, False)
    before = text(workspace)
    again = tag_run(workspace, run, "v1.0", assume=True)
    assert (again.is_new, again.tag) == (False, done.tag)
    assert text(workspace) == before


@pytest.mark.parametrize("assume", [False, True])
def test_a_tag_that_the_fingerprint_contradicts_is_refused(workspace, assume):
    register(workspace, "v1.0", ONE)
    with pytest.raises(StoreError) as refused:
        tag_run(workspace, run_of(workspace, "river"), "v1.0", assume=assume)
    place = address(workspace, "river")
    for words in (place, "letters-2", TWO.fingerprint[:12], "letters-1", ONE.fingerprint[:12],
                  f"register --version NAME --run {place}"):  # fmt: skip
        assert words in str(refused.value)
    register(workspace, "v2.0", TWO)
    with pytest.raises(StoreError, match=r"its version is 'v2\.0'"):
        tag_run(workspace, run_of(workspace, "river"), "v1.0", assume=assume)
    assert Versions.read(workspace).tags == {}


def test_an_unknown_version_leaves_nothing_behind(workspace):
    with pytest.raises(StoreError, match="no version 'v1'"):
        tag_run(workspace, run_of(workspace, "lake"), "v1")
    with pytest.raises(StoreError, match="no version 'v1'"):
        auto_tag(workspace, version="v1")
    with pytest.raises(StoreError, match="no version 'v1'"):
        remove(workspace, "v1")
    assert not (workspace / "data").exists()


def test_a_run_of_unknown_origin_is_tagged_only_on_a_persons_word(workspace):
    register(workspace, "v1.0", ONE)
    run = legacy(workspace)
    assert Versions.read(workspace).of_run(run) is None
    with pytest.raises(StoreError, match=r"My_Dataset/2024-12-01 was created by an older tool .* set `assume=True`"):
        tag_run(workspace, run, "v1.0")
    assert Versions.read(workspace).of_run(run) is None
    done = tag_run(workspace, run, "v1.0", assume=True)
    assert done.tag.assumed
    assert json.loads(text(workspace))["tags"][run.identity]["assumed"] is True
    assert done.tag.run == "My_Dataset/2024-12-01"
    versions = Versions.read(workspace)
    assert versions.of_run(run) == (versions.get("v1.0"), True)
    assert versions.of_run(legacy(workspace, "other/x", seed=2)) is None
    assert versions.of_run(legacy(workspace, "other/y", dimension=11)) is None


@pytest.mark.parametrize("assume", [False, True])
def test_vectors_of_another_length_are_never_assumed(workspace, assume):
    register(workspace, "v1.0", ONE)
    with pytest.raises(StoreError, match=r"vectors of length 11, but version 'v1\.0' \(letters-1\) produces 10"):
        tag_run(workspace, legacy(workspace, dimension=11), "v1.0", assume=assume)
    assert Versions.read(workspace).tags == {}


def test_a_wrong_assumption_can_be_corrected(workspace):
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    run = legacy(workspace)
    tag_run(workspace, run, "v1.0", assume=True)
    with pytest.raises(StoreError, match="`assume=True`"):
        tag_run(workspace, run, "v2.0")
    done = tag_run(workspace, run, "v2.0", assume=True)
    assert (done.is_new, done.previous) == (True, "v1.0")
    versions = Versions.read(workspace)
    assert len(versions.tags) == 1
    assert versions.of_run(run) == (versions.get("v2.0"), True)


def test_a_tag_stays_when_the_run_is_moved_or_compressed(workspace, tmp_path):
    register(workspace, "v1.0", ONE)
    run = legacy(workspace)
    tag_run(workspace, run, "v1.0", assume=True)
    run.folder.rename(tmp_path / "moved")
    moved = Run.open(tmp_path / "moved")
    versions = Versions.read(workspace)
    assert versions.of_run(moved) == (versions.get("v1.0"), True)
    np.savez_compressed(moved.folder / "embeddings.npz", embeddings=np.load(moved.folder / "embeddings.npy"))
    (moved.folder / "embeddings.npy").unlink()
    assert versions.of_run(Run.open(moved.folder)) == (versions.get("v1.0"), True)
    done = tag_run(workspace, moved, "v1.0", assume=True)
    assert (done.is_new, done.previous) == (False, None)
    assert done.tag.run == str(moved.folder)
    assert [tag.run for tag in Versions.read(workspace).tags.values()] == [str(moved.folder)]
    np.savez_compressed(moved.folder / "embeddings.npz", embeddings=np.zeros((5, 10), np.float32))
    assert versions.of_run(Run.open(moved.folder)) is None


def test_a_run_with_a_manifest_has_the_version_of_its_fingerprint_without_a_tag(workspace):
    register(workspace, "v1.0", ONE)
    versions = Versions.read(workspace)
    assert versions.of_run(run_of(workspace, "lake")) == (versions.get("v1.0"), False)
    assert versions.of_run(run_of(workspace, "river")) is None


def test_no_tag_in_the_file_overrules_a_fingerprint(workspace):
    """This also holds if somebody wrote one by hand; tagging corrects it."""
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    run = run_of(workspace, "lake")
    tag_run(workspace, run, "v1.0")
    body = unsealed(workspace)
    body["tags"][run.identity]["version"] = "v2.0"
    versions_path(workspace).write_text(json.dumps(body), encoding="utf-8")
    versions = Versions.read(workspace)
    assert versions.of_run(run) == (versions.get("v1.0"), False)
    done = auto_tag(workspace, version="v1.0")
    assert address(workspace, "lake") in done.tagged["v1.0"]
    assert Versions.read(workspace).tags[run.identity].version == "v1.0"


# -- tagging all -----------------------------------------------------------------------------------------------------


def test_every_run_of_a_registered_function_is_tagged(workspace):
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    tag_run(workspace, run_of(workspace, "sea"), "v1.0")
    tag_run(workspace, legacy(workspace), "v2.0", assume=True)
    legacy(workspace, "old/b", seed=2)
    lake, sea, river, pond = (address(workspace, name) for name in ("lake", "sea", "river", "pond"))
    done = auto_tag(workspace)
    assert done.tagged == {"v1.0": [lake], "v2.0": [river]}
    assert done.already == {"v1.0": [sea], "v2.0": []}
    assert done.assumed == {"v1.0": [], "v2.0": ["My_Dataset/2024-12-01"]}
    assert done.unregistered == {THREE.fingerprint: ("letters-3", [pond])}
    assert (done.unknown, done.damaged) == (["old/b"], [])
    versions = Versions.read(workspace)
    found = {tag.run: (tag.version, tag.assumed) for tag in versions.tags.values()}
    assert found == {
        lake: ("v1.0", False),
        sea: ("v1.0", False),
        river: ("v2.0", False),
        "My_Dataset/2024-12-01": ("v2.0", True),
    }
    before = text(workspace)
    again = auto_tag(workspace)
    assert again.tagged == {"v1.0": [], "v2.0": []}
    assert again.already == {"v1.0": [lake, sea], "v2.0": [river]}
    assert text(workspace) == before


def test_only_runs_of_the_named_version_are_tagged(workspace):
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    done = auto_tag(workspace, version="v2.0")
    assert done.tagged == {"v2.0": [address(workspace, "river")]}
    assert {tag.version for tag in Versions.read(workspace).tags.values()} == {"v2.0"}


def test_without_versions_every_run_is_named(workspace):
    done = auto_tag(workspace)
    assert done.tagged == {}
    runs = {model: len(places) for model, places in done.unregistered.values()}
    assert runs == {"letters-1": 2, "letters-2": 1, "letters-3": 1}
    assert not (workspace / "data").exists()


def test_a_damaged_run_does_not_stop_the_others(workspace):
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    tag_run(workspace, legacy(workspace), "v1.0", assume=True)
    lake, river = (run_of(workspace, name).folder for name in ("lake", "river"))
    (lake / "run.json").write_text("{")
    np.save(river / "embeddings.npy", np.zeros((12, 3), np.float32))
    cut = legacy(workspace, "old/cut", seed=5).folder / "embeddings.npy"
    cut.write_bytes(cut.read_bytes()[:-1])
    done = auto_tag(workspace)
    assert done.tagged == {"v1.0": [address(workspace, "sea")], "v2.0": []}
    assert len(done.damaged) == 3
    for folder in (lake, river, cut.parent):
        assert sum(str(folder) in sentence for sentence in done.damaged) == 1, done.damaged


def test_a_run_in_two_folders_has_one_tag(workspace):
    register(workspace, "v1.0", ONE)
    folder = run_of(workspace, "lake").folder
    shutil.copytree(folder, runs_root(workspace) / "copy" / folder.name)
    done = auto_tag(workspace)
    assert len(done.tagged["v1.0"]) == 2
    assert len(done.already["v1.0"]) == 1
    assert len(Versions.read(workspace).tags) == 2


def test_runs_of_another_folder(workspace, tmp_path):
    register(workspace, "v1.0", ONE)
    (workspace / "deep" / "er").mkdir(parents=True)
    run_of(workspace, "lake").folder.rename(workspace / "deep" / "er" / "r1")
    for root in (Path("deep"), workspace / "deep"):
        done = auto_tag(workspace, root=root)
        assert len(done.tagged["v1.0"] + done.already["v1.0"]) == 1
        assert done.unregistered == {}
    with pytest.raises(StoreError, match="none is not a folder in"):
        auto_tag(workspace, root=Path("none"))


# -- removing --------------------------------------------------------------------------------------------------------


def test_a_version_without_tags_is_removed(workspace):
    register(workspace, "v1.0", ONE)
    register(workspace, "v2.0", TWO)
    assert remove(workspace, "v1.0") == 0
    assert list(Versions.read(workspace).versions) == ["v2.0"]
    assert register(workspace, "v9", ONE).is_new


def test_a_version_with_tags_is_removed_only_by_force_and_together_with_its_tags(tagged):
    before = text(tagged)
    message = r"3 runs are tagged with version 'v1\.0' \(1 of them assumed\); `force=True` removes"
    with pytest.raises(StoreError, match=message):
        remove(tagged, "v1.0")
    assert text(tagged) == before
    assert remove(tagged, "v1.0", force=True) == 3
    versions = Versions.read(tagged)
    assert list(versions.versions) == ["v2.0"]
    assert {tag.version for tag in versions.tags.values()} == {"v2.0"}
    assert run_of(tagged, "lake").verify() == []


# -- two writers, kills ----------------------------------------------------------------------------------------------


def start(code: str, *arguments) -> subprocess.Popen:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


WRITER = """
import sys
from pathlib import Path
from ednabed.store.runs import Run
from ednabed.store.versions import register, tag_run
from support import letters
workspace, first, count, folder = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
go = workspace / "go"
while not go.exists():
    pass
for salt in range(first, first + count):
    register(workspace, f"v{salt}", letters(salt=salt).spec, f"by {first}")
    if folder and salt == first + 3:
        tag_run(workspace, Run.open(Path(folder)), f"v{salt}", assume=True)
    print(salt, flush=True)
"""


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    runs = [legacy(tmp_path, f"old/r{seed}", seed=seed) for seed in range(4)]
    writers = [start(WRITER, tmp_path, 1 + 20 * i, 20, run.folder) for i, run in enumerate(runs)]
    time.sleep(0.5)
    (tmp_path / "go").touch()
    for writer in writers:
        _, error = writer.communicate(timeout=120)
        assert writer.returncode == 0, error
    versions = Versions.read(tmp_path)
    assert sorted(int(name[1:]) for name in versions.versions) == list(range(1, 81))
    for salt in (1, 40, 80):
        assert versions.get(f"v{salt}").spec == letters(salt=salt).spec
    assert {versions.of_run(run)[0].name for run in runs} == {"v4", "v24", "v44", "v64"}


def test_readers_see_a_complete_file_while_others_write(tmp_path):
    register(tmp_path, "v0", letters().spec)
    writer = start(WRITER, tmp_path, 1, 60, "")
    (tmp_path / "go").touch()
    seen = []
    while writer.poll() is None:
        seen.append(len(Versions.read(tmp_path).versions))
    writer.communicate()
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def test_a_kill_at_any_moment_keeps_everything_that_was_reported(tmp_path):
    rng = random.Random(3)
    (tmp_path / "go").touch()
    reported: set[str] = set()
    for first in range(1, 1000, 200):
        writer = start(WRITER, tmp_path, first, 200, "")
        for _ in range(rng.randint(1, 12)):
            reported.add(f"v{int(writer.stdout.readline())}")
        time.sleep(rng.random() * 0.01)
        writer.kill()
        out, _ = writer.communicate()
        reported |= {f"v{int(line)}" for line in out.split()}
        versions = Versions.read(tmp_path)
        assert reported <= set(versions.versions)
    assert register(tmp_path, "last", letters(salt=5000).spec).is_new


STALLED = """
import os, sys, time
from pathlib import Path
from ednabed.store.versions import register
from support import letters
def stall(descriptor):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = stall
register(Path(sys.argv[1]), "v2.0", letters(salt=2).spec)
"""


def test_a_kill_during_a_write_keeps_the_old_file_and_frees_the_lock(tmp_path):
    register(tmp_path, "v1.0", ONE)
    before = text(tmp_path)
    writer = start(STALLED, tmp_path)
    assert writer.stdout.readline() == "writing\n"
    assert text(tmp_path) == before
    assert list(Versions.read(tmp_path).versions) == ["v1.0"]
    writer.kill()
    writer.communicate()
    folder = versions_path(tmp_path).parent
    assert len(list(folder.glob("*.tmp"))) + len(list(folder.glob(".*.tmp"))) > 0
    assert register(tmp_path, "v2.0", TWO).is_new
    assert {p.name for p in folder.iterdir()} <= {"versions.json", ".versions.json.lock"}
    assert list(Versions.read(tmp_path).versions) == ["v1.0", "v2.0"]


def test_a_writer_waits_for_another_one_and_gives_up_in_time(tmp_path, monkeypatch):
    register(tmp_path, "v1.0", ONE)
    lock = FileLock(versions_path(tmp_path).with_name(".versions.json.lock"))
    monkeypatch.setattr(version_file, "LOCK_SECONDS", 0.2)
    with lock, pytest.raises(StoreError, match=r"versions\.json was locked by another .* for 0\.2 seconds"):
        register(tmp_path, "v2.0", TWO)
    assert list(Versions.read(tmp_path).versions) == ["v1.0"]
    monkeypatch.setattr(version_file, "LOCK_SECONDS", 60)
    done = []
    with lock:
        other = threading.Thread(target=lambda: done.append(register(tmp_path, "v2.0", TWO)))
        other.start()
        time.sleep(0.3)
        assert done == []
        assert list(Versions.read(tmp_path).versions) == ["v1.0"]
    other.join(60)
    assert done[0].is_new
    assert list(Versions.read(tmp_path).versions) == ["v1.0", "v2.0"]
