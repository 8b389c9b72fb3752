"""The lock on work in progress."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ednabed.base.locks import exclusive
from ednabed.errors import StoreError


def test_the_lock_is_held_against_another_process_and_freed(tmp_path):
    lock = tmp_path / "work" / "lock"
    code = (
        "import sys\nfrom pathlib import Path\nfrom ednabed.base.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'testing'):\n    print('held')\n"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", code, str(lock)], capture_output=True, text=True, timeout=60, check=False
        )

    with exclusive(lock, "testing"):
        done = other()
        assert done.returncode == 1
        assert "another process is testing; wait until it has finished" in done.stderr
        with pytest.raises(StoreError, match="another process is testing"), exclusive(lock, "testing"):
            pass
    assert other().stdout == "held\n"


def test_the_lock_is_freed_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock", "testing"):
            raise ZeroDivisionError


def test_the_lock_file_is_removed_only_if_asked(tmp_path):
    for remove in (False, True):
        with exclusive(tmp_path / "lock", "testing", remove=remove):
            assert (tmp_path / "lock").exists()
        assert (tmp_path / "lock").exists() is not remove
