"""Compressed forms have the same bits (or float16 close enough), and no original is deleted before that is verified."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import tracemalloc
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress_support import F16, NPY, NPZ, legacy, make_run, noise
from ednabed.base.atomic import write_atomic
from ednabed.base.files import sha256_file
from ednabed.base.locks import exclusive
from ednabed.errors import StoreError
from ednabed.store import compress, compressed_forms
from ednabed.store.compress import LOCK, compress_run
from ednabed.store.compress_plan import survey_run
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.runs import Run
from ednabed.store.vectors import VectorFile

OTHERS = {"records.parquet", "rejected.tsv", "run.json"}


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint32)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - OTHERS


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def untouched(folder: Path, before: dict[str, bytes]) -> bool:
    return contents(folder) == before


@pytest.fixture
def array() -> np.ndarray:
    """Values that a careless copy would change: NaN of two kinds, infinities, subnormals, -0.0."""
    odd = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0x7F800000, 0xFF800000, 1, 0x80000000, 0x7FFFFF, 0], np.uint32)
    out = noise()
    out[3, :9] = odd.view(np.float32)
    return out


@pytest.fixture
def run(array, tmp_path) -> Run:
    return make_run(tmp_path / "run", array)


@pytest.fixture
def tame(tmp_path) -> Run:
    """A run that float16 can hold."""
    return make_run(tmp_path / "run", noise())


# -- the forms -------------------------------------------------------------------------------------------------------


def test_lossless_next_to_the_original(run, array):
    original = (run.folder / NPY).read_bytes()
    identity = run.identity
    outcome = compress_run(run)
    assert names(run.folder) == {NPY, NPZ}
    assert (outcome.state, outcome.form, outcome.deleted, outcome.problem) == ("compressed", NPZ, (), None)
    assert outcome.worst_cosine_error is None
    sizes = [(run.folder / name).stat().st_size for name in (NPY, NPZ)]
    assert (outcome.before, outcome.after) == (sizes[0], sum(sizes))
    assert (run.folder / NPY).read_bytes() == original
    with np.load(run.folder / NPZ, allow_pickle=False) as archive:
        assert archive.files == ["embeddings"]
        np.testing.assert_array_equal(bits(archive["embeddings"]), bits(array))
    with zipfile.ZipFile(run.folder / NPZ) as archive:
        assert archive.read(NPY) == original
        assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED
    now = Run.open(run.folder)
    assert now.verify() == []
    assert now.identity == identity
    assert now.manifest.files[NPZ] == {
        "sha256": sha256_file(run.folder / NPZ),
        "bytes": sizes[1],
        "original_sha256": sha256_file(run.folder / NPY),
    }
    assert now.manifest.files[NPY] == run.manifest.files[NPY]


def test_lossless_instead_of_the_original(run, array):
    identity, original = run.identity, run.manifest.files[NPY]["sha256"]
    outcome = compress_run(run, delete_original=True)
    assert names(run.folder) == {NPZ}
    assert outcome.deleted == (NPY,)
    assert outcome.after == (run.folder / NPZ).stat().st_size
    now = Run.open(run.folder)
    assert (now.verify(), now.identity) == ([], identity)
    assert set(now.manifest.files) == {NPZ, "records.parquet", "rejected.tsv"}
    assert now.manifest.files[NPZ]["original_sha256"] == original
    np.testing.assert_array_equal(bits(now.load_embeddings()), bits(array))
    np.testing.assert_array_equal(bits(now.vectors().take(np.array([3, 0, 49]))), bits(array[[3, 0, 49]]))


@pytest.mark.parametrize("delete", [False, True])
def test_float16(tame, delete):
    array, identity = noise(), tame.identity
    outcome = compress_run(tame, half=True, delete_original=delete)
    assert names(tame.folder) == ({F16} if delete else {NPY, F16})
    mapped = np.load(tame.folder / F16, mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, array.astype(np.float16))
    assert (tame.folder / F16).stat().st_size == 128 + array.size * 2
    a, b = array.astype(np.float64), array.astype(np.float16).astype(np.float64)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert outcome.worst_cosine_error == pytest.approx((1 - cosines).max(), abs=1e-12)
    assert 0 < outcome.worst_cosine_error < 1e-6
    now = Run.open(tame.folder)
    assert (now.verify(), now.identity) == ([], identity)
    loaded = now.load_embeddings()
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, array.astype(np.float16).astype(np.float32) if delete else array)


ANY_BITS = hnp.arrays(np.uint32, st.tuples(st.integers(0, 6), st.integers(1, 6)), elements=st.integers(0, 2**32 - 1))


@settings(max_examples=60)
@given(ANY_BITS, st.booleans())
@example(np.array([[0x7F800001, 0xFFFFFFFF, 0x80000000, 1, 0x7F800000]], np.uint32), True)
def test_any_bits_are_preserved(pattern, has_manifest):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        values = pattern.view(np.float32)
        if has_manifest:
            made = make_run(folder, values)
        else:
            folder.mkdir()
            np.save(folder / NPY, values)
            made = Run.open(folder)
        identity = made.identity
        compress_run(made, delete_original=True)
        now = Run.open(folder)
        assert names(folder) == {NPZ}
        assert now.load_embeddings().shape == pattern.shape
        np.testing.assert_array_equal(bits(now.load_embeddings()), pattern)
        assert now.identity == identity
        assert not has_manifest or now.verify() == []


HALVES = hnp.arrays(
    np.float32, (4, 3), elements=st.floats(-70_000, 70_000, width=32) | st.floats(width=32) | st.just(0.0)
)


@settings(max_examples=120)
@given(HALVES)
@example(np.full((4, 3), 1e-7, np.float32))
@example(np.full((4, 3), 65_519, np.float32))
@example(np.full((4, 3), 65_520, np.float32))
@example(np.zeros((4, 3), np.float32))
def test_float16_accepts_only_values_that_it_can_represent(array):
    with np.errstate(all="ignore"):
        half = array.astype(np.float16).astype(np.float64)
        a = array.astype(np.float64)
        cosines = (a * half).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(half, axis=1))
        zero = (a == 0).all(1) & (half == 0).all(1)
        errors = np.where(zero, 0, 1 - cosines)
    near = np.isfinite(half).all(1) & (errors <= 1e-3)
    if (np.isfinite(half).all(1) & (abs(errors - 1e-3) < 1e-9)).any():
        return
    with tempfile.TemporaryDirectory() as place:
        run = make_run(Path(place) / "run", array)
        before = contents(run.folder)
        if near.all():
            compress_run(run, half=True, delete_original=True)
            np.testing.assert_array_equal(Run.open(run.folder).load_embeddings(), half.astype(np.float32))
            assert Run.open(run.folder).verify() == []
            return
        with pytest.raises(StoreError) as refused:
            compress_run(run, half=True, delete_original=True)
        rows = [f"row {i} (from 0)" in str(refused.value) for i in range(4)]
        assert sum(rows) == 1
        assert not near[rows.index(True)]
        assert untouched(run.folder, before)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([70_000, 1, 1], "cannot represent"),
        ([-65_520, 1, 1], "cannot represent"),
        ([np.nan, 1, 1], "cannot represent"),
        ([np.inf, 1, 1], "cannot represent"),
        ([1e-9, 0, 0], "1.0e+00 (1 - cosine)"),
        ([1e-40, 1e-40, 0], "1.0e+00 (1 - cosine)"),
        ([1.4e-7, 1e-7, 0.4e-7], "(1 - cosine) from its original"),
        # 1.2e-3 by float64; 0.9e-3 passes below.
        ([5.364418e-07, 2.682209e-07, 1.6886982e-07], "1.2e-03 (1 - cosine) from its original"),
    ],
)
def test_a_row_that_float16_cannot_hold_refuses_the_run(tmp_path, monkeypatch, row, words):
    monkeypatch.setattr(compressed_forms, "_BLOCK_BYTES", 4 * 3 * 7)
    array = noise(30, 3)
    array[22] = row
    run = make_run(tmp_path / "run", array)
    before = contents(run.folder)
    with pytest.raises(StoreError) as refused:
        compress_run(run, half=True, delete_original=True)
    assert str(run.folder) in str(refused.value)
    assert "row 22 (from 0)" in str(refused.value)
    assert words in str(refused.value)
    assert "without `half=True`" in str(refused.value)
    assert untouched(run.folder, before)
    assert compress_run(run, delete_original=True).deleted == (NPY,)


def test_rows_at_the_edge_of_float16_pass(tmp_path):
    array = noise(5, 3)
    array[1], array[2], array[3] = [65_504, -65_504, 1], 0, [-0.0, 0, 6e-8]
    array[4] = [5.5135296e-07, 2.7567648e-07, 1.7384687e-07]
    run = make_run(tmp_path / "run", array)
    assert 0.9e-3 < compress_run(run, half=True, delete_original=True).worst_cosine_error < 1e-3
    np.testing.assert_array_equal(Run.open(run.folder).load_embeddings(), array.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 14, 15])
def test_any_number_of_blocks(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(compressed_forms, "_BLOCK_BYTES", 4 * 10 * 7)
    array = noise(rows)
    for half in (False, True):
        run = make_run(tmp_path / str(half), array)
        compress_run(run, half=half, delete_original=True)
        wanted = array.astype(np.float16).astype(np.float32) if half else array
        np.testing.assert_array_equal(Run.open(run.folder).load_embeddings(), wanted)
        assert Run.open(run.folder).verify() == []


def test_the_same_run_gives_the_same_files(tmp_path):
    runs = [make_run(tmp_path / name / "run", noise()) for name in "ab"]
    for run in runs:
        compress_run(run)
        compress_run(run, half=True, delete_original=True)
    assert contents(runs[0].folder) == contents(runs[1].folder)


def test_every_order_of_commands_leaves_a_sound_run(tmp_path):
    """A model of three lines predicts which forms must exist after each command."""
    array = noise(20)
    options = list(itertools.product([False, True], repeat=2))
    make_run(tmp_path / "made" / "run", array)
    for number, commands in enumerate(itertools.product(options, repeat=3)):
        folder = shutil.copytree(tmp_path / "made", tmp_path / str(number)) / "run"
        identity = Run.open(folder).identity
        forms = {NPY}
        for half, delete in commands:
            before = contents(folder)
            if forms == {F16} and not half:
                with pytest.raises(StoreError, match="only in float16"):
                    compress_run(Run.open(folder), delete_original=delete)
                assert untouched(folder, before)
                continue
            outcome = compress_run(Run.open(folder), half=half, delete_original=delete)
            goes = {NPY, *([NPZ] if half else [])} if delete else set()
            wanted = (forms | {F16 if half else NPZ}) - goes
            assert names(folder) == wanted
            assert set(outcome.deleted) == forms & goes
            assert outcome.before == sum(len(before[name]) for name in forms)
            assert outcome.after == sum((folder / name).stat().st_size for name in wanted)
            assert (outcome.state == "already") == (wanted == forms)
            forms = wanted
            now = Run.open(folder)
            assert now.verify() == []
            assert now.identity == identity
            assert {name for name in now.manifest.files if name.startswith("embeddings.")} == forms
            for form in forms:
                kept = array.astype(np.float16).astype(np.float32) if form == F16 else array
                np.testing.assert_array_equal(VectorFile.open(folder, form).load(), kept)


# -- nothing is deleted without proof -------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("place", [0, 50, 128, 1000, -1])
def test_an_original_that_differs_from_its_checksum_is_refused(tame, half, place):
    path = tame.folder / NPY
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    before = contents(tame.folder)
    with pytest.raises(StoreError) as refused:
        compress_run(tame, half=half, delete_original=True)
    assert str(path) in str(refused.value)
    assert untouched(tame.folder, before)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_a_damaged_form_is_no_reason_to_delete_the_original(tame, half, place):
    compress_run(tame, half=half)
    path = tame.folder / (F16 if half else NPZ)
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 1
    path.write_bytes(raw)
    before = contents(tame.folder)
    with pytest.raises(StoreError, match=f"{path.name} is damaged, so nothing is deleted; move it away"):
        compress_run(tame, half=half, delete_original=True)
    assert untouched(tame.folder, before)
    path.unlink()
    assert compress_run(tame, half=half, delete_original=True).deleted == (NPY,)
    assert Run.open(tame.folder).verify() == []


@pytest.mark.parametrize("half", [False, True])
def test_a_damaged_original_stays_although_the_other_form_is_sound(tame, half):
    compress_run(tame, half=half)
    path = tame.folder / NPY
    raw = bytearray(path.read_bytes())
    raw[-10] ^= 1
    path.write_bytes(raw)
    before = contents(tame.folder)
    with pytest.raises(StoreError, match=r"embeddings\.npy does not match its checksum .* restore it from a backup"):
        compress_run(tame, half=half, delete_original=True)
    assert untouched(tame.folder, before)


def test_a_damaged_archive_is_not_compressed_further(tame):
    compress_run(tame, delete_original=True)
    path = tame.folder / NPZ
    raw = bytearray(path.read_bytes())
    raw[-10] ^= 1
    path.write_bytes(raw)
    before = contents(tame.folder)
    with pytest.raises(StoreError, match=r"embeddings\.npz"):
        compress_run(tame, half=True, delete_original=True)
    assert untouched(tame.folder, before)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("row", [0, 20, 49])
def test_one_wrong_bit_in_what_was_written_is_found(tame, monkeypatch, half, row):
    """The disk or the writer corrupts one value, even only its last bit, which no cosine shows."""
    real = compress.write_form
    monkeypatch.setattr(compressed_forms, "_BLOCK_BYTES", 4 * 10 * 7)

    def spoilt(source, path):
        real(source, path)
        values = noise()
        if half:
            wrong = values.astype(np.float16)
            wrong.view(np.uint16)[row, 4] ^= 1
            with path.open("wb") as file:
                np.save(file, wrong)
        else:
            values.view(np.uint32)[row, 4] ^= 1
            np.savez_compressed(path, embeddings=values)

    monkeypatch.setattr(compress, "write_form", spoilt)
    before = contents(tame.folder)
    with pytest.raises(StoreError, match=f"row {row} "):
        compress_run(tame, half=half, delete_original=True)
    assert untouched(tame.folder, before)


@pytest.mark.parametrize("other", [noise(49), noise(50, 9), noise(51)])
def test_another_shape_in_what_was_written_is_found(tame, monkeypatch, other):
    monkeypatch.setattr(compress, "write_form", lambda source, path: np.savez_compressed(path, embeddings=other))
    before = contents(tame.folder)
    with pytest.raises(StoreError, match="50 x 10"):
        compress_run(tame, delete_original=True)
    assert untouched(tame.folder, before)


def test_the_last_exact_form_is_never_made_from_float16(tame):
    compress_run(tame, half=True, delete_original=True)
    before = contents(tame.folder)
    with pytest.raises(StoreError, match="has its vectors only in float16") as refused:
        compress_run(tame)
    assert str(tame.folder) in str(refused.value)
    assert untouched(tame.folder, before)


def test_a_run_without_vectors_is_refused(run):
    (run.folder / NPY).unlink()
    with pytest.raises(StoreError, match=r"embeddings\.npy is missing"):
        compress_run(run)


def test_a_manifest_changed_meanwhile_keeps_its_tag(tame, monkeypatch):
    real = compress.write_form

    def tagging(source, path):
        real(source, path)
        tagged = replace(RunManifest.read(tame.folder), version="v1.0")
        write_atomic(tame.folder / MANIFEST, tagged.to_text())

    monkeypatch.setattr(compress, "write_form", tagging)
    compress_run(tame, delete_original=True)
    now = Run.open(tame.folder)
    assert now.manifest.version == "v1.0"
    assert set(now.manifest.files) == {NPZ, "records.parquet", "rejected.tsv"}
    assert now.verify() == []


def test_nothing_is_deleted_if_the_manifest_of_another_run_appears_meanwhile(tame, monkeypatch):
    real = compress.write_form

    def replacing(source, path):
        real(source, path)
        other = replace(RunManifest.read(tame.folder), run_id="another")
        write_atomic(tame.folder / MANIFEST, other.to_text())

    monkeypatch.setattr(compress, "write_form", replacing)
    with pytest.raises(StoreError, match="changed by another program"):
        compress_run(tame, delete_original=True)
    assert NPY in names(tame.folder)
    assert Run.open(tame.folder).verify() == []


# -- leftovers of interrupted commands and people --------------------------------------------------------------------


def leftover(run: Run, name: str) -> bytes:
    """Restore a file that the manifest no longer lists."""
    return (run.folder / name).read_bytes()


def test_an_unlisted_original_is_deleted_only_on_request_and_only_if_it_matches(run):
    raw = leftover(run, NPY)
    compress_run(run, delete_original=True)
    (run.folder / NPY).write_bytes(raw)
    assert compress_run(run).state == "already"
    assert names(run.folder) == {NPY, NPZ}
    outcome = compress_run(run, delete_original=True)
    assert (outcome.state, outcome.deleted) == ("deleted", (NPY,))
    assert names(run.folder) == {NPZ}

    np.save(run.folder / NPY, noise(seed=2))
    before = contents(run.folder)
    with pytest.raises(StoreError, match=r"was not written by 'embed'"):
        compress_run(run, delete_original=True)
    assert untouched(run.folder, before)
    assert Run.open(run.folder).verify() == []


def test_the_listed_form_is_compressed_and_not_an_unlisted_one(tame):
    compress_run(tame, delete_original=True)
    np.save(tame.folder / NPY, noise(seed=2))
    assert compress_run(tame, half=True).state == "compressed"
    np.testing.assert_array_equal(VectorFile.open(tame.folder, F16).load(), noise().astype(np.float16))
    # Of the two listed forms, the exact one is read.
    np.testing.assert_array_equal(Run.open(tame.folder).load_embeddings(), noise())
    with pytest.raises(StoreError, match="was not written by 'embed'"):
        compress_run(tame, half=True, delete_original=True)
    assert names(tame.folder) == {NPY, NPZ, F16}


def test_an_unlisted_archive_is_deleted_only_if_it_matches(tame):
    compress_run(tame, delete_original=True)
    raw = leftover(tame, NPZ)
    compress_run(tame, half=True, delete_original=True)
    assert names(tame.folder) == {F16}
    (tame.folder / NPZ).write_bytes(raw)
    assert compress_run(tame, half=True).state == "already"
    assert compress_run(tame, half=True, delete_original=True).deleted == (NPZ,)
    for other in (noise(seed=2), None):
        if other is None:
            (tame.folder / NPZ).write_bytes(b"PK")
        else:
            np.savez_compressed(tame.folder / NPZ, embeddings=other)
        before = contents(tame.folder)
        with pytest.raises(StoreError, match=r"embeddings\.npz"):
            compress_run(tame, half=True, delete_original=True)
        assert untouched(tame.folder, before)


def test_an_unlisted_form_is_reused_only_if_it_matches(tame, monkeypatch):
    for half, form in ((False, NPZ), (True, F16)):
        folder = shutil.copytree(tame.folder, tame.folder.with_name(form))
        compress_run(Run.open(folder), half=half)
        shutil.copy(tame.folder / MANIFEST, folder / MANIFEST)
        with monkeypatch.context() as patch:
            patch.setattr(compress, "write_form", None)
            outcome = compress_run(Run.open(folder), half=half, delete_original=True)
        assert (outcome.state, outcome.deleted) == ("compressed", (NPY,))
        assert Run.open(folder).verify() == []

        folder = shutil.copytree(tame.folder, tame.folder.with_name("other" + form))
        other = noise(seed=2)
        if half:
            np.save(folder / F16, other.astype(np.float16))
        else:
            np.savez_compressed(folder / NPZ, embeddings=other)
        before = contents(folder)
        with pytest.raises(StoreError, match="row 0 "):
            compress_run(Run.open(folder), half=half, delete_original=True)
        assert untouched(folder, before)


def test_the_last_exact_form_is_reused_although_it_is_not_listed(tame):
    """A command was killed between npz and float16, and npz is then requested again."""
    compress_run(tame, delete_original=True)
    raw = leftover(tame, NPZ)
    compress_run(tame, half=True, delete_original=True)
    (tame.folder / NPZ).write_bytes(raw)
    survey = survey_run(tame.folder)
    assert (survey.state, survey.estimated) == ("ready", len(raw))
    assert compress_run(tame).state == "compressed"
    assert names(tame.folder) == {NPZ, F16}
    assert Run.open(tame.folder).verify() == []


def test_a_lost_form_is_created_again(run):
    compress_run(run)
    (run.folder / NPZ).unlink()
    assert Run.open(run.folder).verify() == [f"{NPZ} is missing"]
    assert compress_run(run).state == "compressed"
    assert Run.open(run.folder).verify() == []


def test_an_original_deleted_by_hand_is_forgotten_with_delete_original(run, array):
    compress_run(run)
    (run.folder / NPY).unlink()
    assert compress_run(run).state == "already"
    assert Run.open(run.folder).verify() == [f"{NPY} is missing"]
    outcome = compress_run(run, delete_original=True)
    assert (outcome.state, outcome.deleted) == ("deleted", ())
    now = Run.open(run.folder)
    assert now.verify() == []
    np.testing.assert_array_equal(bits(now.load_embeddings()), bits(array))


def test_leftovers_of_killed_commands_are_removed(run):
    def litter():
        (run.folder / ".compress").mkdir()
        (run.folder / ".compress" / NPZ).write_bytes(b"half of an archive")
        (run.folder / LOCK).write_bytes(b"")
        for name, age in ((".run.json.0123456789aa.tmp", 0), (".run.json.0123456789bb.tmp", 100_000)):
            (run.folder / name).write_text("{")
            stamp = datetime.now().timestamp() - age
            os.utime(run.folder / name, (stamp, stamp))

    litter()
    compress_run(run)
    # A recent one may belong to a running program of an earlier version.
    assert names(run.folder) == {NPY, NPZ, ".run.json.0123456789aa.tmp"}
    litter()
    assert compress_run(run).state == "already"
    assert names(run.folder) == {NPY, NPZ, ".run.json.0123456789aa.tmp"}
    assert Run.open(run.folder).verify() == []


# -- the system refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_an_original_that_cannot_be_deleted_stays_and_is_listed(tame, monkeypatch, half):
    form, identity, real = F16 if half else NPZ, tame.identity, Path.unlink

    def held(self, missing_ok=False):
        if self.name == NPY:
            raise PermissionError(13, "The process cannot access the file because it is being used", str(self))
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", held)
        for _ in range(2):
            outcome = compress_run(tame, half=half, delete_original=True)
            assert outcome.deleted == ()
            assert str(tame.folder / NPY) in outcome.problem
            assert "the run keeps both forms" in outcome.problem
            assert names(tame.folder) == {NPY, form}
            now = Run.open(tame.folder)
            assert now.verify() == []
            assert now.identity == identity
            assert NPY in now.manifest.files
    assert compress_run(tame, half=half, delete_original=True).deleted == (NPY,)
    assert Run.open(tame.folder).verify() == []


def test_a_lock_file_that_cannot_be_deleted_while_held_is_deleted_afterwards(run, monkeypatch):
    """This happens on Windows."""
    real, tries = Path.unlink, []

    def held(self, missing_ok=False):
        if self.name == LOCK:
            tries.append(self)
            if len(tries) == 1:
                raise PermissionError(13, "in use", str(self))
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    compress_run(run)
    assert len(tries) == 2
    assert names(run.folder) == {NPY, NPZ}


@pytest.mark.parametrize("half", [False, True])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tame, monkeypatch, half):
    before = contents(tame.folder)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left on device") as refused:
            compress_run(tame, half=half, delete_original=True)
    assert str(tame.folder) in str(refused.value)
    assert untouched(tame.folder, before)
    assert compress_run(tame, half=half, delete_original=True).deleted == (NPY,)


def test_ctrl_c_leaves_nothing(tame, monkeypatch):
    before = contents(tame.folder)

    def interrupted(*_):
        raise KeyboardInterrupt

    for place in ("write_form", "compare_forms"):
        with monkeypatch.context() as patch:
            patch.setattr(compress, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                compress_run(tame, delete_original=True)
        assert untouched(tame.folder, before)


def test_another_process_is_compressing_the_same_run(run):
    before = contents(run.folder)
    with (
        exclusive(run.folder / LOCK, "compressing this run"),
        pytest.raises(
            StoreError, match=r"another process is compressing this run \(.*compress.*\); wait until it has finished"
        ) as refused,
    ):
        compress_run(run, delete_original=True)
    assert str(run.folder) in str(refused.value)
    assert names(run.folder) == {NPY, LOCK}
    (run.folder / LOCK).unlink()
    assert untouched(run.folder, before)


def test_a_run_with_nothing_to_do_is_not_touched_at_all(run, monkeypatch):
    """It may be in a read-only folder."""
    compress_run(run, delete_original=True)
    monkeypatch.setattr(compress, "locked_run", None)
    for delete in (False, True):
        assert compress_run(run, delete_original=delete).state == "already"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which files are open")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("spoilt", [False, True])
def test_no_file_is_open_when_it_is_renamed_or_deleted(tame, monkeypatch, half, spoilt):
    """Windows would refuse it."""
    monkeypatch.setattr(compressed_forms, "_BLOCK_BYTES", 4 * 10 * 7)
    # Fixtures of other tests have files open.
    own = str(tame.folder.resolve())
    seen = []

    def watched(real):
        def wrapped(self, *arguments, **keywords):
            held = [str(link.readlink()) for link in list(Path("/proc/self/fd").iterdir()) if link.exists()]
            mapped = Path("/proc/self/maps").read_text()
            seen.append(self.name)
            ours = [path for path in held if path.startswith(own)]
            assert not [path for path in ours if "embeddings." in path or path.endswith(".tmp")]
            assert f"{own}/" not in mapped
            return real(self, *arguments, **keywords)

        return wrapped

    if spoilt:
        real = compress.write_form
        other = noise(seed=2).astype(np.float16 if half else np.float32)

        def wrong(source, path):
            real(source, path)
            if half:
                with path.open("wb") as file:
                    np.save(file, other)
            else:
                np.savez_compressed(path, embeddings=other)

        monkeypatch.setattr(compress, "write_form", wrong)
    monkeypatch.setattr(Path, "replace", watched(Path.replace))
    monkeypatch.setattr(Path, "unlink", watched(Path.unlink))
    if spoilt:
        with pytest.raises(StoreError, match="row 0 "):
            compress_run(tame, half=half, delete_original=True)
        assert LOCK in seen
    else:
        compress_run(tame, half=half, delete_original=True)
        assert {NPY, F16 if half else NPZ} <= set(seen)


# -- folders of older tools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete", [False, True])
def test_an_older_folder_is_compressed_without_loss(tmp_path, array, delete):
    run = legacy(tmp_path / "old", npy=array)
    identity = run.identity
    outcome = compress_run(run, delete_original=delete)
    assert (outcome.state, outcome.deleted) == ("compressed", (NPY,) if delete else ())
    assert {path.name for path in run.folder.iterdir()} == ({NPZ} if delete else {NPY, NPZ})
    np.testing.assert_array_equal(bits(np.load(run.folder / NPZ)["embeddings"]), bits(array))
    assert Run.open(run.folder).identity == identity


def test_an_older_folder_in_column_order_is_compressed_too(tmp_path, array):
    run = legacy(tmp_path / "old", npy=np.asfortranarray(array))
    compress_run(run, delete_original=True)
    np.testing.assert_array_equal(bits(Run.open(run.folder).load_embeddings()), bits(array))


def test_float16_of_an_older_folder_is_refused(tmp_path):
    for forms in ({"npy": noise()}, {"npz": noise()}, {"npy": noise(), "npz": noise()}):
        run = legacy(tmp_path / "-".join(forms), **forms)
        before = contents(run.folder)
        with pytest.raises(StoreError, match="created by an older tool") as refused:
            compress_run(run, half=True, delete_original=True)
        assert str(run.folder) in str(refused.value)
        assert untouched(run.folder, before)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_older_folder_with_both_forms_loses_the_npy_only_when_asked(tmp_path, array, order):
    run = legacy(tmp_path / "old", npy=np.asarray(array, order=order), npz=array)
    before = contents(run.folder)
    assert compress_run(run).state == "already"
    assert untouched(run.folder, before)
    assert compress_run(run, delete_original=True).deleted == (NPY,)
    np.testing.assert_array_equal(bits(Run.open(run.folder).load_embeddings()), bits(array))


@pytest.mark.parametrize("flip", [(3, 0), (3, 6), (49, 9)])
def test_an_older_folder_whose_forms_differ_by_one_bit_keeps_both(tmp_path, array, flip):
    other = array.copy()
    other.view(np.uint32)[flip] ^= 0x80000000 if flip == (3, 6) else 1
    run = legacy(tmp_path / "old", npy=array, npz=other)
    before = contents(run.folder)
    with pytest.raises(StoreError, match=rf"differs from .* in row {flip[0]} "):
        compress_run(run, delete_original=True)
    assert untouched(run.folder, before)


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_an_older_folder_with_a_damaged_archive_keeps_the_original(tmp_path, damage):
    run = legacy(tmp_path / "old", npy=noise(), npz=noise())
    raw = (run.folder / NPZ).read_bytes()
    (run.folder / NPZ).write_bytes(raw[:600] + b"\0" * 50 + raw[650:] if damage is None else damage)
    before = contents(run.folder)
    with pytest.raises(StoreError, match=r"embeddings\.npz (cannot be read|is damaged)"):
        compress_run(run, delete_original=True)
    assert untouched(run.folder, before)


def test_an_older_folder_with_doubles_is_refused(tmp_path):
    run = legacy(tmp_path / "old", npy=noise().astype(np.float64))
    with pytest.raises(StoreError, match="expected a float32 matrix"):
        compress_run(run)


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_memory_does_not_grow_with_the_run(tmp_path, half):
    rows, dimension = 60_000, 256
    run = make_run(tmp_path / "run", np.zeros((1, dimension), np.float32))
    block = noise(200, dimension)
    with (run.folder / NPY).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(rows // 200):
            # The same block is repeated, partly zeros, so that deflate is fast.
            block[:, 20:] = 0
            file.write(block.tobytes())
    path = run.folder / NPY
    entry = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    manifest = replace(run.manifest, files={**run.manifest.files, NPY: entry})
    write_atomic(run.folder / MANIFEST, manifest.to_text())
    tracemalloc.start()
    survey_run(run.folder, half=half)
    compress_run(Run.open(run.folder), half=half, delete_original=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names(run.folder) == {F16 if half else NPZ}
    assert rows * dimension * 4 > 60e6
    assert peak < 30e6


def test_nothing_heavy_is_imported():
    """The store must open without torch and lancedb."""
    import subprocess

    code = "import sys, ednabed.store.compress; print([m for m in ('torch', 'lancedb', 'faiss') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
