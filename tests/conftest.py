"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test may fail because the machine is slow.
settings.register_profile("ednabed", deadline=None)
settings.load_profile("ednabed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared real data and golden files; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set EDNABED_SHARED)")
    return folder
