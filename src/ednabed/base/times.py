"""Times in UTC, as they are stored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path


def utc_now(timespec: str = "seconds") -> str:
    """Return the current time in UTC as ISO 8601, to the second, or to another ``timespec`` of ``isoformat``."""
    return datetime.now(UTC).isoformat(timespec=timespec)


def utc_changed(path: Path) -> datetime:
    """Return the time at which a file was last written, in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
