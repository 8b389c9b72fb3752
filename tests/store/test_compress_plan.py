"""Plans show what compressing runs would do and save, without changing them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from compress_support import F16, NPY, NPZ, legacy, make_run, noise
from ednabed.store import compressed_forms
from ednabed.store.compress import compress_run
from ednabed.store.compress_plan import survey_run, survey_runs
from ednabed.store.compressed_forms import estimate_size
from ednabed.store.manifest import MANIFEST


def test_a_small_file_is_measured_whole(tmp_path):
    for number, array in enumerate((noise(), noise(0), noise(2000, 64), np.zeros((500, 64), np.float32))):
        run = make_run(tmp_path / str(number), array)
        size = (run.folder / NPY).stat().st_size
        found = survey_run(run.folder)
        assert (found.state, found.bytes, found.measured_on, found.form) == ("ready", size, size, NPZ)
        assert (found.rows, found.dimension) == array.shape
        compress_run(run)
        assert found.estimated == (run.folder / NPZ).stat().st_size
        np.savez_compressed(tmp_path / "oracle.npz", embeddings=array)
        assert found.estimated == pytest.approx((tmp_path / "oracle.npz").stat().st_size, abs=4)


@pytest.mark.parametrize("kind", ["noise", "zeros first", "zeros last", "stripes"])
def test_a_large_file_is_measured_in_pieces_from_all_over_it(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(compressed_forms, "PIECE_BYTES", 40_000)
    array = noise(20_000, 50)
    if kind == "zeros first":
        array[:10_000] = 0
    elif kind == "zeros last":
        array[10_000:] = 0
    elif kind == "stripes":
        array[:, 25:] = 0
    run = legacy(tmp_path / "old", npy=array)
    found, measured_on = estimate_size(run.vectors())
    assert measured_on == 16 * 40_000
    np.savez_compressed(tmp_path / "oracle.npz", embeddings=array)
    assert found == pytest.approx((tmp_path / "oracle.npz").stat().st_size, rel=0.03)
    if kind == "noise":
        # As expected for float32 noise: about 7 %, not 50 %.
        assert 0.90 < found / (run.folder / NPY).stat().st_size < 0.95


def test_the_size_of_float16_is_known_to_the_byte(tmp_path):
    run = make_run(tmp_path / "run", noise())
    found = survey_run(run.folder, half=True)
    assert (found.state, found.form, found.measured_on) == ("ready", F16, 0)
    compress_run(run, half=True)
    assert found.estimated == (run.folder / F16).stat().st_size


def test_states(tmp_path):
    plain = make_run(tmp_path / "a" / "plain", noise())
    both = make_run(tmp_path / "a" / "both", noise())
    compress_run(both)
    archive = make_run(tmp_path / "a" / "archive", noise())
    compress_run(archive, delete_original=True)
    half = make_run(tmp_path / "a" / "half", noise())
    compress_run(half, half=True, delete_original=True)
    old = legacy(tmp_path / "a" / "old", npy=noise())
    damaged = make_run(tmp_path / "a" / "damaged", noise())
    (damaged.folder / MANIFEST).write_text("{")
    folders = [run.folder for run in (plain, both, archive, half, old, damaged)] + [tmp_path / "none"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def states(**options):
        return [candidate.state for candidate in survey_runs(folders, **options)]

    assert states() == ["ready", "already", "already", "refused", "ready", "refused", "refused"]
    assert states(delete_original=True) == ["ready", "original", "already", "refused", "ready", "refused", "refused"]
    assert states(half=True) == ["ready", "ready", "ready", "already", "refused", "refused", "refused"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for candidate in survey_runs(folders):
        assert str(candidate.folder) in candidate.reason or candidate.state != "refused"
        assert (candidate.reason == "") == (candidate.state == "ready")
    unmeasured = survey_run(plain.folder, measure=False)
    assert (unmeasured.state, unmeasured.estimated, unmeasured.measured_on) == ("ready", None, 0)


NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("created", "days", "state"),
    [
        ("2026-03-01T12:00:00+00:00", 30, "ready"),
        ("2026-03-01T12:00:01+00:00", 30, "young"),
        ("2026-03-01T13:30:00+02:00", 30, "ready"),
        ("2026-03-01T11:30:00-02:00", 30, "young"),
        ("2026-03-01T12:00:00", 30, "ready"),
        ("2026-03-31T12:00:00+00:00", 0, "ready"),
        ("2026-03-01T12:00:00+00:00", None, "ready"),
        ("2026-03-01T12:00:00+00:00", 10**12, "young"),
        ("yesterday", 30, "refused"),
        ("yesterday", None, "ready"),
    ],
)
def test_age_is_that_of_the_manifest(tmp_path, created, days, state):
    run = make_run(tmp_path / "run", noise(), created)
    stamp = (NOW - timedelta(days=1 if state == "ready" else 100)).timestamp()
    os.utime(run.folder / NPY, (stamp, stamp))
    assert survey_run(run.folder, older_than=days, now=NOW).state == state


def test_age_of_an_older_folder_is_that_of_its_vectors(tmp_path):
    run = legacy(tmp_path / "old", npy=noise())
    stamp = (NOW - timedelta(days=10)).timestamp()
    os.utime(run.folder / NPY, (stamp, stamp))
    assert survey_run(run.folder, older_than=10, now=NOW).state == "ready"
    assert survey_run(run.folder, older_than=11, now=NOW).state == "young"
