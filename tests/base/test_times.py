"""Times in UTC."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from ednabed.base.times import utc_changed, utc_now


def test_the_current_time_is_in_utc():
    before = datetime.now(UTC)
    for timespec, length in (("seconds", 25), ("milliseconds", 29), ("microseconds", 32)):
        text = utc_now(timespec)
        assert len(text) == length and text.endswith("+00:00")
        assert abs(datetime.fromisoformat(text) - before) < timedelta(minutes=1)
    assert len(utc_now()) == 25


def test_the_time_of_a_file(tmp_path):
    path = tmp_path / "x"
    path.touch()
    os.utime(path, (0, 86_400))
    assert utc_changed(path) == datetime(1970, 1, 2, tzinfo=UTC)
