"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of several test processes computes with one thread: more than one per core spin, and take many times longer.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C in what it runs in the background, and programs inherit that; the tests interrupt programs.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test may fail because the machine is slow.
settings.register_profile("ednabed", deadline=None)
settings.load_profile("ednabed")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Return the name of the parameter for bytes: the bytes of an archive made at collection contain the time, so that
    two test processes would collect different tests."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared real data and golden files; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set EDNABED_SHARED)")
    return folder
