"""The state of a progress bar that another process reads from a file."""

from __future__ import annotations

import json

import pytest

from ednabed.base.sealed import Damaged, UnknownSchema
from ednabed.engine import progress
from ednabed.engine.progress import progress_bar, reported_to


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that the test controls."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_states_are_written_at_the_beginning_twice_a_second_and_at_the_end(tmp_path, clock, capsys):
    path = tmp_path / "p é.json"

    def state():
        return progress.SEAL.read(path.read_bytes())

    with reported_to(path), progress_bar(10, done=2, show=False, doing="counting", unit="thing") as bar:
        assert state() == {"doing": "counting", "done": 2, "total": 10, "unit": "thing", "rate": None, "seconds": 0.0}
        clock.now += 0.4
        bar.update(3)
        assert state()["done"] == 2
        clock.now += 0.2
        bar.update()
        assert (state()["done"], state()["seconds"]) == (6, pytest.approx(0.6))
        assert state()["rate"] == pytest.approx(4 / 0.6)
        clock.now += 0.1
        bar.update(4)
        bar.set_postfix({"loss": 1.0})
        assert state()["done"] == 6
    assert state()["done"] == 10
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert capsys.readouterr().err == ""


def test_the_last_state_is_written_when_the_work_fails(tmp_path):
    with pytest.raises(KeyError), reported_to(tmp_path / "p.json"), progress_bar(None, doing="x") as bar:
        bar.update(1)
        raise KeyError
    assert json.loads((tmp_path / "p.json").read_text())["done"] == 1


def test_a_flipped_byte_is_detected_and_unsealed_files_are_read(tmp_path):
    path = tmp_path / "p.json"
    with reported_to(path), progress_bar(3, show=False, doing="x") as bar:
        bar.update(3)
    raw = path.read_bytes()
    state = progress.SEAL.read(raw)
    for at in range(len(raw)):
        with pytest.raises((Damaged, UnknownSchema)):
            progress.SEAL.read(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    assert progress.SEAL.read(json.dumps(state).encode()) == state


def test_nothing_is_written_after_the_block(tmp_path):
    path = tmp_path / "p.json"
    with reported_to(path):
        pass
    with progress_bar(1) as bar:
        bar.update(1)
    assert not path.exists()


def test_a_file_that_cannot_be_written_does_not_stop_the_work(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    for path in (tmp_path / "absent" / "p.json", tmp_path / "folder"):
        with reported_to(path), progress_bar(3) as bar:
            bar.update(3)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_exit_during_a_write_is_not_suppressed(tmp_path, monkeypatch):
    def ended(*_):
        raise SystemExit(143)

    monkeypatch.setattr(progress.Path, "replace", ended)
    with pytest.raises(SystemExit), reported_to(tmp_path / "p.json"):
        progress_bar(3)
    assert list(tmp_path.iterdir()) == []
