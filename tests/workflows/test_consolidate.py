"""``consolidate`` from Python: the same work as that of the command, which its tests check in detail."""

from __future__ import annotations

import pytest

from ednabed import get_data_manager
from ednabed.reference.build import BuildRequest
from ednabed.store.runs import runs_root
from ednabed.taxonomy.calibration import Calibration
from ednabed.workflows import consolidate as module
from ednabed.workflows.consolidate import Steps, consolidate
from reference_support import add_run, opened


@pytest.fixture
def workspace(tmp_path):
    add_run(tmp_path, "lake", "a", [1, 2, 3])
    add_run(tmp_path, "sea", "b", [3, 4], created="2024-01-02T00:00:00+00:00")
    return tmp_path


@pytest.fixture
def calibrated(monkeypatch):
    """Calibration is replaced by a quick stand-in; returns the references that it got."""
    found = []

    def calibrate(workspace, reference=None, **_):
        found.append((workspace, reference))
        group = type("Group", (), {"draws": {"copy": 3, "species": 4}})
        return None, type("Found", (), {"created": "now", "groups": {"": group}}), "the model is not available"

    monkeypatch.setattr(module, "calibrate_reference", calibrate)
    return found


def test_a_reference_is_built_compressed_and_calibrated(workspace, calibrated):
    done = get_data_manager(workspace).consolidate(compress=True, output="data/mine")
    assert [part.label for part in done.build.added] == ["lake/a", "sea/b"]
    assert [outcome.state for outcome in done.compressed] == ["compressed", "compressed"]
    assert (runs_root(workspace) / "lake" / "a" / "embeddings.npz").is_file()
    found = done.calibration
    assert (found.state, found.created, found.draws, found.reason) == ("made", "now", 7, "the model is not available")
    assert found.seconds is not None
    assert [reference.replace("\\", "/") for _, reference in calibrated] == ["data/mine"]


def test_compression_and_calibration_can_be_skipped(workspace, calibrated):
    done = get_data_manager(workspace).consolidate(calibrate=False)
    assert (done.compressed, done.not_compressed, done.calibration.state) == ([], {}, "skipped")
    assert calibrated == []
    assert opened(workspace).rows == 4


def test_a_reference_without_labels_works_and_the_reason_is_reported(workspace, caplog):
    done = get_data_manager(workspace).consolidate()
    assert done.calibration.state == "none"
    assert "has no record with a lineage" in done.calibration.reason
    assert f"not calibrated: {done.calibration.reason}" in caplog.text
    build = opened(workspace)
    assert Calibration.read(build.build, build.manifest.build) is None


def test_a_run_that_cannot_be_compressed_is_reported(workspace, monkeypatch, caplog):
    real = module.compress_run

    def failing(run, **keywords):
        if run.folder.name == "a":
            raise PermissionError(13, "denied", "some file")
        return real(run, **keywords)

    monkeypatch.setattr(module, "compress_run", failing)
    done = get_data_manager(workspace).consolidate(compress=True, calibrate=False)
    assert list(done.not_compressed) == ["consolidated_data/runs/lake/a"]
    assert len(done.compressed) == 1
    assert "denied" in caplog.text


def test_the_steps_are_called_in_their_order(workspace, calibrated):
    called = []

    class Record(Steps):
        def built(self, build):
            called.append(("built", build.changed))

        def compressed(self, build, done, failed):
            called.append(("compressed", len(done), dict(failed)))

        def calibrating(self, folder):
            called.append(("calibrating", len(calibrated)))

    consolidate(BuildRequest(workspace), compress=True, steps=Record())
    assert called == [("built", True), ("compressed", 2, {}), ("calibrating", 0)]
