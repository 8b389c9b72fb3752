"""Long work outside the page's process: each job is an ``ednabed`` command line with a folder of its own.

A job is found again by what lies in its folder, ``data/jobs/<id>/`` of the workspace, never by what this process
remembers: a page that is loaded anew, or another server, sees the same. ``docs/formats.md`` says what the files are.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from ednabed.errors import StoreError, UsageError
from ednabed.store.files import check_name, write_atomic

State = Literal["waiting", "running", "done", "failed", "cancelled", "lost", "broken"]

FOLDER = Path("data", "jobs")
"""Where jobs lie in a workspace."""
JOB, RUNNER, CHILD, END = "job.json", "runner.json", "child.json", "end.json"
PROGRESS, CANCEL, LOCK = "progress.json", "cancel", "lock"
STDOUT, STDERR, LOG = "stdout.txt", "stderr.txt", "runner.log"
INPUTS = "inputs"
SCHEMA = 1
_ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{6}")
_LOOKS, _BETWEEN_LOOKS = 3, 0.02
_STARTING = timedelta(seconds=60)
"""Time in which the process of a new job must have come up."""
_DRAFT = timedelta(days=1)
"""Age at which a folder that was never started goes."""
_OUTPUT_BYTES = 1_000_000
_NOTICES_BYTES = 64_000
_SENTENCE = re.compile(r"^(?:ednabed|Error): ", re.MULTILINE)
_SAFE = re.compile(r"[\w@+=:,./\\-]+")


@dataclass(frozen=True)
class Progress:
    """How far a job is in what it does now.

    Attributes:
        doing: What is being done.
        done: Things done.
        total: Things in all, None where nobody knows.
        unit: What is counted.
        rate: Things a second, None where there was none yet.
        seconds: Since this part of the work began.
    """

    doing: str
    done: int
    total: int | None
    unit: str
    rate: float | None
    seconds: float


@dataclass(frozen=True)
class Job:
    """A job. What was asked for is fixed; ``state`` and what follows it are read from the folder at every use.

    Attributes:
        id: Name of its folder; later jobs have greater ones.
        title: What a person calls it.
        about: Facts of the page that started it.
        arguments: Those of the command line, behind ``--workspace``.
        folder: Where it lies, with uploads (``inputs``) and, where its command says so, results.
        created: When.
        broken: Why nothing is known of it, else None.
    """

    id: str
    title: str
    about: dict[str, Any]
    arguments: list[str]
    folder: Path
    created: datetime
    broken: str | None = None

    @property
    def command(self) -> str:
        """The command line that does the same in a terminal, quoted as this system does it."""
        if self.broken is not None:
            return ""
        return quoted(["ednabed", "--workspace", str(workspace_of(self.folder)), *self.arguments])

    @property
    def state(self) -> State:
        """Where it stands; ``lost`` is one whose process vanished without telling, ``broken`` one of damaged files."""
        if self.broken is not None:
            return "broken"
        end = self._end()
        if end is None and self._alive():
            return "running" if (self.folder / CHILD).exists() else "waiting"
        # It may have ended between the two looks.
        end = self._end() if end is None else end
        if end is None:
            return "lost"
        if end.get("exit_code") == 0:
            return "done"
        return "cancelled" if end.get("cancelled") is True else "failed"

    @property
    def progress(self) -> Progress | None:
        """How far it is, or was at its end; None before anything was counted."""
        found = _read(self.folder / PROGRESS)
        try:
            total, rate = found["total"], found["rate"]
            return Progress(
                doing=str(found["doing"]),
                done=int(found["done"]),
                total=None if total is None else int(total),
                unit=str(found["unit"]),
                rate=None if rate is None else float(rate),
                seconds=float(found["seconds"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def output(self) -> str:
        """What it wrote to standard output, up to a megabyte."""
        return _head(self.folder / STDOUT)

    @property
    def notices(self) -> str:
        """The last of what it wrote to standard error."""
        return _tail(self.folder / STDERR)

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while there is none, and where it never began or vanished."""
        code = (self._end() or {}).get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def error(self) -> str | None:
        """The sentence that says why it failed; None where it did not."""
        state = self.state
        if state == "broken":
            return self.broken
        if state == "lost":
            return (
                "its process ended without telling, as when the machine was switched off; start it again, what was "
                "computed is kept"
            )
        if state != "failed":
            return None
        # It is the last that a command says, and may have line ends in it, from names of files.
        notices = self.notices.strip()
        starts = [found.end() for found in _SENTENCE.finditer(notices)]
        said = notices[starts[-1] :] if starts else notices.rpartition("\n")[2]
        return said or f"ended with exit code {self.exit_code}, and said nothing"

    @property
    def seconds(self) -> float | None:
        """How long it has been at work, waiting not counted; None where it has not begun or its end is unknown."""
        began, end = _time(_read(self.folder / CHILD).get("began")), self._end()
        if began is None:
            return None
        if end is None:
            return (datetime.now(UTC) - began).total_seconds() if self._alive() else None
        ended = _time(end.get("ended"))
        return None if ended is None else (ended - began).total_seconds()

    def cancel(self) -> None:
        """Ask it to end; it does within half a minute. One that has ended is left as it is."""
        if self.state in ("waiting", "running"):
            (self.folder / CANCEL).touch()

    def remove(self) -> None:
        """Remove its folder with uploads and results.

        Raises:
            StoreError: It is waiting or running.
        """
        if self.state in ("waiting", "running") or self._alive():
            raise StoreError(f"job {self.id} is {self.state}; cancel it before it is removed")
        # Under another name first, so that a half removed job is never listed.
        gone = self.folder.with_name(f".removed-{self.id}")
        try:
            self.folder.rename(gone)
        except FileNotFoundError:
            return
        except OSError:
            # Windows, where somebody has one of its files open.
            gone = self.folder
        shutil.rmtree(gone)

    def _end(self) -> dict[str, Any] | None:
        return _read(self.folder / END) or None

    def _alive(self) -> bool:
        """Say whether its process is there: from when it came up, it holds the lock for as long as it lives."""
        if not (self.folder / RUNNER).exists():
            young = abs(datetime.now(UTC) - self.created) < _STARTING
            return young and self.broken is None and self.folder.is_dir()
        from filelock import FileLock, Timeout

        for _ in range(_LOOKS):
            try:
                with FileLock(self.folder / LOCK, timeout=0):
                    return False
            except Timeout:
                # Its own process has it, or for an instant another one that looks too.
                time.sleep(_BETWEEN_LOOKS)
            except PermissionError:
                # The job of another user.
                return True
            except OSError:
                # The folder was removed meanwhile.
                return False
        return True


@dataclass(frozen=True)
class Jobs:
    """All jobs of a workspace.

    Args:
        workspace: Folder that holds ``data``.
    """

    workspace: Path
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        # Absolute, because a job may be looked at from another current folder.
        object.__setattr__(self, "workspace", Path(self.workspace).absolute())
        object.__setattr__(self, "folder", self.workspace / FOLDER)

    def new_folder(self) -> Path:
        """Make a folder for a job to come, with ``inputs`` for uploads; those that were never started go after a day.

        Raises:
            StoreError: It cannot be made.
        """
        job_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:6]}"
        folder = self.folder / job_id
        try:
            (folder / INPUTS).mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{folder} cannot be made: {error.strerror}; look at the disk and its rights") from error
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
        """Start ``ednabed --workspace W <arguments>`` in a process of its own, which outlives this one.

        One job of a workspace runs at a time; the others wait, first come, first served.

        Args:
            title: What a person calls it.
            arguments: Those of the command line; paths in them are best absolute.
            about: Facts for the page, as JSON can hold them.
            folder: One of ``new_folder``; None makes one.

        Raises:
            UsageError: ``about`` is nothing that JSON holds, or the folder is none of ``new_folder`` or was used.
            StoreError: The folder cannot be written, or no process can be started.
        """
        folder = self.new_folder() if folder is None else folder
        if folder.parent.absolute() != self.folder or not _ID.fullmatch(folder.name) or not folder.is_dir():
            raise UsageError(f"{folder} is no folder for a job; take one of new_folder()")
        if (folder / JOB).exists():
            raise UsageError(f"{folder} has a job already; take another new_folder()")
        facts = {
            "schema": SCHEMA,
            "title": title,
            "arguments": list(arguments),
            "about": dict(about or {}),
            "created": now(),
        }
        try:
            # In ASCII, because names of files may hold what UTF-8 cannot.
            text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise UsageError(f"what is told about a job must be JSON: {error}") from error
        try:
            write_atomic(folder / JOB, text)
            self._spawn(self.folder / folder.name)
        except OSError as error:
            for name in (JOB, LOG):
                (folder / name).unlink(missing_ok=True)
            raise StoreError(f"{folder}: the job cannot be started: {error.strerror or error}") from error
        return self.get(folder.name)

    def list(self) -> list[Job]:
        """Return all jobs, newest first; those of damaged files as broken."""
        return [job for job in map(self._open, self._ids()) if job is not None]

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            UsageError: The id cannot be one.
            StoreError: There is none of this id.
        """
        job = self._open(check_name("job", job_id)) if _ID.fullmatch(check_name("job", job_id)) else None
        if job is None:
            raise StoreError(f"{self.folder} has no job {job_id}; it was removed, or is of another workspace")
        return job

    def is_first(self, job_id: str) -> bool:
        """Say whether no earlier job is waiting or running."""
        for other in self._ids():
            if other < job_id and not (self.folder / other / END).exists():
                job = self._open(other)
                if job is not None and job.state in ("waiting", "running"):
                    return False
        return True

    def _ids(self) -> Sequence[str]:
        """Return the names of all job folders, newest first; those that no job was started in are among them."""
        try:
            entries = [*os.scandir(self.folder)]
        except OSError:
            return []
        names = [e.name for e in entries if _ID.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
        return sorted(names, reverse=True)

    def _open(self, job_id: str) -> Job | None:
        """Return a job, or None where there is none, or not yet."""
        folder = self.folder / job_id
        if not folder.is_dir() or _is_draft(folder):
            return None
        found = _read(folder / JOB)
        created = _time(found.get("created"))
        title, arguments, about = found.get("title"), found.get("arguments"), found.get("about")
        if (
            found.get("schema") == SCHEMA
            and created is not None
            and isinstance(title, str)
            and isinstance(arguments, list)
            and all(isinstance(word, str) for word in arguments)
            and isinstance(about, dict)
        ):
            return Job(job_id, title, about, arguments, folder, created)
        if "schema" in found and found["schema"] != SCHEMA:
            why = f"{folder / JOB} is of schema {found['schema']!r}, this version reads {SCHEMA}; use a newer ednabed"
        else:
            why = f"{folder / JOB} is damaged or missing; look at the files in the folder, then remove the job"
        return Job(job_id, job_id, {}, [], folder, _created(job_id), why)

    def _sweep(self) -> None:
        """Remove folders in which no job was started for a day, and what is left of removed ones."""
        for job_id in self._ids():
            folder = self.folder / job_id
            if _is_draft(folder) and datetime.now(UTC) - _created(job_id) > _DRAFT:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.folder.glob(".removed-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _spawn(self, folder: Path) -> None:
        """Start the process that starts the command and waits for it."""
        # No console and no group of this process, so that Ctrl-C here is not for it.
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
        # So that it does not stay as a dead entry among the processes while this one lives.
        threading.Thread(target=process.wait, daemon=True).start()


def python(module: str) -> list[str]:
    """Return the words that run a module in a process like this one.

    Without the current folder on the path: a file there must not stand in for one of Python's. What is written is
    UTF-8 on every system.
    """
    return [sys.executable, "-P", "-X", "utf8", "-m", module]


def workspace_of(folder: Path) -> Path:
    """Return the workspace of a job's folder."""
    return folder.parents[len(FOLDER.parts)]


def quoted(words: Sequence[str]) -> str:
    """Return words as a line for the terminal of this system."""
    if os.name != "nt":
        return shlex.join(words)
    return " ".join(word if _SAFE.fullmatch(word) else _for_windows(word) for word in words)


def _for_windows(word: str) -> str:
    line = subprocess.list2cmdline([word])
    # It quotes for blanks only, but the shells take & and others for their own.
    return line if line.startswith('"') else f'"{line}"'


def _is_draft(folder: Path) -> bool:
    """Say whether nothing but uploads is in a folder."""
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError:
        return False
    return not {name for name in names if not (name.startswith(f".{JOB}.") and name.endswith(".tmp"))} - {INPUTS}


def now() -> str:
    """Return the time as the files of a job have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _created(job_id: str) -> datetime:
    try:
        return datetime.strptime(job_id.rsplit("-", 1)[0], "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def _read(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; empty where there is none, or it is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_OUTPUT_BYTES + 1)
    except OSError:
        return ""
    text = data[:_OUTPUT_BYTES].decode("utf-8", "replace")
    return text if len(data) <= _OUTPUT_BYTES else f"{text}\n... ({path} has all of it)\n"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _NOTICES_BYTES))
            data = file.read(_NOTICES_BYTES)
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    # The first line is cut somewhere.
    return text if size <= _NOTICES_BYTES else "...\n" + text.partition("\n")[2]
