"""What the page was started with. The server sets it once; the pages, which run in the same process, read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UPLOAD_MB = 200
"""Largest upload, in MiB, where nothing else is asked for."""


@dataclass(frozen=True)
class Settings:
    """What the page was started with.

    Attributes:
        workspace: Folder that holds ``data`` and ``consolidated_data``.
        upload_mb: Largest upload, in MiB.
    """

    workspace: Path
    upload_mb: int = UPLOAD_MB


_current: list[Settings] = []


def set_settings(settings: Settings) -> None:
    """Say what the pages of this process work on."""
    _current[:] = [settings]


def settings() -> Settings:
    """Return what the pages of this process work on.

    Raises:
        RuntimeError: The page was not started by ``server.serve``.
    """
    if not _current:
        raise RuntimeError("the page has no workspace; start it with 'ednabed dashboard'")
    return _current[0]
