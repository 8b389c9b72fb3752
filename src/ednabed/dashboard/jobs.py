"""Long-running work outside the page's process: each job is an ``ednabed`` command line with its own folder.

The state of a job is read from its folder, ``data/jobs/<id>/`` in the workspace, and never kept in this process: a page
that is reloaded, or another server, sees the same. ``docs/formats.md`` describes the files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ednabed.base.atomic import write_atomic
from ednabed.base.files import check_name
from ednabed.base.sealed import Damaged, UnknownSchema
from ednabed.dashboard.job import END, FOLDER, INPUTS, JOB, LOG, SEAL, Job, now, parse_time
from ednabed.errors import StoreError, UsageError

_ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{6}")
_DRAFT = timedelta(days=1)
"""Age at which a folder in which no job was started is removed."""


@dataclass(frozen=True)
class Jobs:
    """All jobs of a workspace.

    Args:
        workspace: Folder that contains ``data``.
    """

    workspace: Path
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        # Absolute, because a job may be read when the current folder is another one.
        object.__setattr__(self, "workspace", Path(self.workspace).absolute())
        object.__setattr__(self, "folder", self.workspace / FOLDER)

    def new_folder(self) -> Path:
        """Create a folder for a new job, with ``inputs`` for uploads; it is removed after a day if no job is started.

        Raises:
            StoreError: It cannot be created.
        """
        job_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:6]}"
        folder = self.folder / job_id
        try:
            (folder / INPUTS).mkdir(parents=True)
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be created: {error.strerror}; check the disk and its permissions"
            ) from error
        self._sweep()
        return folder

    def start(
        self,
        title: str,
        arguments: Sequence[str],
        *,
        about: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> Job:
        """Start ``ednabed --workspace W <arguments>`` in its own process, which outlives this one.

        One job of a workspace runs at a time; the others wait, first come, first served.

        Args:
            title: Title for people.
            arguments: Arguments of the command line; paths should be absolute.
            about: Facts for the page; must be representable as JSON.
            folder: A folder from ``new_folder``; None creates one.

        Raises:
            UsageError: ``about`` is not representable as JSON, or the folder is not from ``new_folder`` or has a job.
            StoreError: The folder cannot be written, or the process cannot be started.
        """
        folder = self.new_folder() if folder is None else folder
        if folder.parent.absolute() != self.folder or not _ID.fullmatch(folder.name) or not folder.is_dir():
            raise UsageError(f"{folder} is not a folder for a job; use one from new_folder()")
        if (folder / JOB).exists():
            raise UsageError(f"{folder} already has a job; use another new_folder()")
        facts = {
            "title": title,
            "arguments": list(arguments),
            "about": dict(about or {}),
            "created": now(),
        }
        try:
            text = SEAL.text(facts)
        except (TypeError, ValueError) as error:
            raise UsageError(f"`about` of a job must be representable as JSON: {error}") from error
        try:
            write_atomic(folder / JOB, text)
            self._spawn(self.folder / folder.name)
        except OSError as error:
            for name in (JOB, LOG):
                (folder / name).unlink(missing_ok=True)
            raise StoreError(f"{folder}: the job cannot be started: {error.strerror or error}") from error
        return self.get(folder.name)

    def list(self) -> list[Job]:
        """Return all jobs, newest first; those with damaged files as broken."""
        return [job for job in map(self._open, self._ids()) if job is not None]

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            UsageError: The id is invalid.
            StoreError: There is no job with this id.
        """
        job = self._open(check_name("job", job_id)) if _ID.fullmatch(check_name("job", job_id)) else None
        if job is None:
            raise StoreError(f"{self.folder} has no job {job_id}; it was removed, or belongs to another workspace")
        return job

    def is_first(self, job_id: str) -> bool:
        """Return whether no earlier job is waiting or running."""
        for other in self._ids():
            if other < job_id and not (self.folder / other / END).exists():
                job = self._open(other)
                if job is not None and job.state in ("waiting", "running"):
                    return False
        return True

    def _ids(self) -> Sequence[str]:
        """Return the names of all job folders, newest first, including those in which no job was started."""
        try:
            entries = [*os.scandir(self.folder)]
        except OSError:
            return []
        names = [e.name for e in entries if _ID.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
        return sorted(names, reverse=True)

    def _open(self, job_id: str) -> Job | None:
        """Return a job, or None if there is none, or none yet."""
        folder = self.folder / job_id
        if not folder.is_dir() or _is_draft(folder):
            return None
        fault = f"{folder / JOB} is damaged or missing; check the files in the folder, then remove the job"
        found: dict[str, Any] = {}
        try:
            found = SEAL.read((folder / JOB).read_bytes())
        except UnknownSchema as schema:
            fault = f"{folder / JOB} has schema {schema}, this version reads {SEAL.schema}; use a newer ednabed"
        except Damaged as error:
            fault = f"{folder / JOB} is damaged ({error}); check the files in the folder, then remove the job"
        except OSError as error:
            fault = f"{folder / JOB} cannot be read ({error.strerror}); check the files in the folder"
        created = parse_time(found.get("created"))
        title, arguments, about = found.get("title"), found.get("arguments"), found.get("about")
        if (
            created is not None
            and isinstance(title, str)
            and isinstance(arguments, list)
            and all(isinstance(word, str) for word in arguments)
            and isinstance(about, dict)
        ):
            return Job(job_id, title, about, arguments, folder, created)
        return Job(job_id, job_id, {}, [], folder, _created(job_id), fault)

    def _sweep(self) -> None:
        """Remove folders in which no job was started within a day, and remains of removed jobs."""
        for job_id in self._ids():
            folder = self.folder / job_id
            if _is_draft(folder) and datetime.now(UTC) - _created(job_id) > _DRAFT:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.folder.glob(".removed-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _spawn(self, folder: Path) -> None:
        """Start the process that starts the command and waits for it."""
        # Without a console and outside this process group, so that Ctrl-C here does not reach it.
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [*python("ednabed.dashboard.runner"), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=flags,
            )
        # So that it does not remain a zombie process while this one lives.
        threading.Thread(target=process.wait, daemon=True).start()


def python(module: str) -> list[str]:
    """Return the command that runs a module with this Python.

    The current folder is not on the path, so that a file there cannot replace a module of Python. Output is UTF-8 on
    every system.
    """
    return [sys.executable, "-P", "-X", "utf8", "-m", module]


def _is_draft(folder: Path) -> bool:
    """Return whether a folder contains nothing but uploads."""
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError:
        return False
    return not {name for name in names if not (name.startswith(f".{JOB}.") and name.endswith((".tmp", ".lock")))} - {
        INPUTS
    }


def _created(job_id: str) -> datetime:
    try:
        return datetime.strptime(job_id.rsplit("-", 1)[0], "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
