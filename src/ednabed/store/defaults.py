"""Default locations of the workspace and the database: two environment variables, and one older name."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

log = logging.getLogger("ednabed")

WORKSPACE = "EDNABED_WORKSPACE"
DATABASE = "EDNABED_DB"
OLD_DATABASE = "BIOSCANSCAN_DB_DRIVE"
# Subfolder of a drive or data folder in which the older tool stores its tables.
_SUBFOLDER = "lancedb"


def workspace_folder(given: Path | str | None = None) -> Path:
    """Return the workspace: the given folder, else ``EDNABED_WORKSPACE``, else the current folder."""
    return Path(os.environ.get(WORKSPACE) or ".") if given is None else Path(given)


def database_address(workspace: Path, given: str | None, table: str) -> str:
    """Return the address of the database that contains ``table``.

    This is the given address, else ``EDNABED_DB``, else ``lancedb`` on the drive in ``BIOSCANSCAN_DB_DRIVE`` (which is
    reported as an old name), else ``data/lancedb`` in the workspace. If a folder lacks the table but its subfolder
    ``lancedb`` has it, the subfolder is returned.

    Args:
        workspace: The workspace.
        given: Folder or object-store address; None if none was given.
        table: Name of the table to look for.
    """
    address = given or os.environ.get(DATABASE)
    old = os.environ.get(OLD_DATABASE)
    if address is None and old:
        _report_old_name(old)
        return old if "://" in old or _has_table(Path(old), table) else str(Path(old) / _SUBFOLDER)
    if address is None:
        return str(workspace / "data" / "lancedb")
    subfolder = Path(address) / _SUBFOLDER
    if "://" not in address and not _has_table(Path(address), table) and _has_table(subfolder, table):
        return str(subfolder)
    return address


def _has_table(folder: Path, table: str) -> bool:
    return (folder / f"{table}.lance").is_dir()


@cache
def _report_old_name(value: str) -> None:
    log.warning("%s is the old name of %s; it is used, but set %s=%s instead", OLD_DATABASE, DATABASE, DATABASE, value)
