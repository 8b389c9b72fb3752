"""The settings that the page was started with. The server sets them once; the pages, in the same process, read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UPLOAD_MB = 200
"""Default maximum size of an upload, in MiB."""


@dataclass(frozen=True)
class Settings:
    """The settings that the page was started with.

    Attributes:
        workspace: Folder that contains ``data`` and ``consolidated_data``.
        upload_mb: Maximum size of an upload, in MiB.
    """

    workspace: Path
    upload_mb: int = UPLOAD_MB


_current: list[Settings] = []


def set_settings(settings: Settings) -> None:
    """Set the settings of the pages of this process."""
    _current[:] = [settings]


def settings() -> Settings:
    """Return the settings of the pages of this process.

    Raises:
        RuntimeError: The page was not started by ``server.serve``.
    """
    if not _current:
        raise RuntimeError("the page has no workspace; start it with 'ednabed dashboard'")
    return _current[0]
