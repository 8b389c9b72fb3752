"""A job as described by its folder. Its facts are fixed; its state is read from the folder at every access.

``docs/formats.md`` describes the files; ``jobs`` starts and lists jobs, ``runner`` runs them.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from ednabed.base.sealed import Damaged, Seal, UnknownSchema
from ednabed.base.times import utc_now
from ednabed.engine.progress import SEAL as PROGRESS_SEAL
from ednabed.errors import StoreError

State = Literal["waiting", "running", "done", "failed", "cancelled", "lost", "broken"]

FOLDER = Path("data", "jobs")
"""Folder of the jobs, relative to the workspace."""
JOB, RUNNER, CHILD, END = "job.json", "runner.json", "child.json", "end.json"
PROGRESS, CANCEL, LOCK = "progress.json", "cancel", "lock"
STDOUT, STDERR, LOG = "stdout.txt", "stderr.txt", "runner.log"
INPUTS = "inputs"
SEAL = Seal(2, unsealed=(1, None), ascii_only=True)
"""Seal of all JSON files of a job except the progress. They are ASCII because file names may contain what UTF-8 cannot
represent. Before schema 2 there was no checksum, and only ``job.json`` had a schema."""
_LOCK_TRIES, _LOCK_WAIT = 3, 0.02
_START_LIMIT = timedelta(seconds=60)
"""Time within which the process of a new job must have started."""
_OUTPUT_BYTES = 1_000_000
_NOTICES_BYTES = 64_000
_SENTENCE = re.compile(r"^(?:ednabed|Error): ", re.MULTILINE)
_SAFE = re.compile(r"[\w@+=:,./\\-]+")


@dataclass(frozen=True)
class Progress:
    """The progress of a job in its current stage.

    Attributes:
        doing: Name of the stage.
        done: Number of items done.
        total: Number of items in all; None if unknown.
        unit: What an item is.
        rate: Items per second; None before the first one is done.
        seconds: Seconds since this stage began.
    """

    doing: str
    done: int
    total: int | None
    unit: str
    rate: float | None
    seconds: float


@dataclass(frozen=True)
class Job:
    """A job. The request is fixed; ``state`` and the properties after it are read from the folder at every access.

    Attributes:
        id: Name of its folder; later jobs have greater ids.
        title: Title for people.
        about: Facts stored by the page that started it.
        arguments: Arguments of the command line, after ``--workspace``.
        folder: Its folder, with uploads (``inputs``) and, if its command puts them there, results.
        created: When it was created.
        broken: Why nothing is known about it; None if it is readable.
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
        """The equivalent command line for a terminal, quoted for this operating system."""
        if self.broken is not None:
            return ""
        return command_line(["ednabed", "--workspace", str(workspace_of(self.folder)), *self.arguments])

    @property
    def state(self) -> State:
        """Its state; ``lost`` if its process vanished without a trace, ``broken`` if its files are damaged."""
        if self.broken is not None:
            return "broken"
        end = self._end()
        if end is None and self._alive():
            return "running" if (self.folder / CHILD).exists() else "waiting"
        # It may have ended between the two checks.
        end = self._end() if end is None else end
        if end is None:
            return "lost"
        if end.get("exit_code") == 0:
            return "done"
        return "cancelled" if end.get("cancelled") is True else "failed"

    @property
    def progress(self) -> Progress | None:
        """Its progress, or that at its end; None before anything was counted."""
        found = read_facts(self.folder / PROGRESS, PROGRESS_SEAL)
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
        """Its standard output, up to a megabyte."""
        return _head(self.folder / STDOUT)

    @property
    def notices(self) -> str:
        """The end of its standard error."""
        return _tail(self.folder / STDERR)

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None before its end, and if it never began or vanished."""
        code = (self._end() or {}).get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def error(self) -> str | None:
        """The sentence that explains why it failed; None if it did not fail."""
        state = self.state
        if state == "broken":
            return self.broken
        if state == "lost" and (faults := self.faults()):
            return f"{faults[0]}, so how the job ended is unknown; start it again; computed results are kept"
        if state == "lost":
            return (
                "its process stopped without reporting an end, as when the machine is switched off; start it again; "
                "computed results are kept"
            )
        if state != "failed":
            return None
        # The error is the last message of a command, and may contain line ends from file names.
        notices = self.notices.strip()
        starts = [found.end() for found in _SENTENCE.finditer(notices)]
        message = notices[starts[-1] :] if starts else notices.rpartition("\n")[2]
        return message or f"the command ended with exit code {self.exit_code} and without a message"

    @property
    def seconds(self) -> float | None:
        """Its running time in seconds, without waiting; None if it has not begun or its end is unknown."""
        began, end = parse_time(read_facts(self.folder / CHILD).get("began")), self._end()
        if began is None:
            return None
        if end is None:
            return (datetime.now(UTC) - began).total_seconds() if self._alive() else None
        ended = parse_time(end.get("ended"))
        return None if ended is None else (ended - began).total_seconds()

    def faults(self) -> list[str]:
        """Return one message for each of its JSON files that is damaged or of an unknown schema."""
        found = []
        for name in (JOB, RUNNER, CHILD, END, PROGRESS):
            try:
                (PROGRESS_SEAL if name == PROGRESS else SEAL).read((self.folder / name).read_bytes())
            except FileNotFoundError:
                continue
            except UnknownSchema as schema:
                found.append(f"{self.folder / name} has the unknown schema {schema}")
            except Damaged as error:
                found.append(f"{self.folder / name} is damaged ({error})")
        return found

    def cancel(self) -> None:
        """Ask it to end, which takes up to half a minute; nothing happens if it has ended already."""
        if self.state in ("waiting", "running"):
            (self.folder / CANCEL).touch()

    def remove(self) -> None:
        """Remove its folder with uploads and results.

        Raises:
            StoreError: It is waiting or running.
        """
        if self.state in ("waiting", "running") or self._alive():
            raise StoreError(f"job {self.id} is {self.state}; cancel it before you remove it")
        # Renamed first, so that a half-removed job is never listed.
        removed = self.folder.with_name(f".removed-{self.id}")
        try:
            self.folder.rename(removed)
        except FileNotFoundError:
            return
        except OSError:
            # On Windows, another program has one of its files open.
            removed = self.folder
        shutil.rmtree(removed)

    def _end(self) -> dict[str, Any] | None:
        return read_facts(self.folder / END) or None

    def _alive(self) -> bool:
        """Return whether its process is alive: from its start to its end, it holds the lock."""
        if not (self.folder / RUNNER).exists():
            is_new = abs(datetime.now(UTC) - self.created) < _START_LIMIT
            return is_new and self.broken is None and self.folder.is_dir()
        from filelock import FileLock, Timeout

        for _ in range(_LOCK_TRIES):
            try:
                with FileLock(self.folder / LOCK, timeout=0):
                    return False
            except Timeout:
                # Its own process holds the lock, or, for an instant, another process that also checks it.
                time.sleep(_LOCK_WAIT)
            except PermissionError:
                # The job belongs to another user.
                return True
            except OSError:
                # The folder has been removed meanwhile.
                return False
        return True


def workspace_of(folder: Path) -> Path:
    """Return the workspace of a job's folder."""
    return folder.parents[len(FOLDER.parts)]


def command_line(words: Sequence[str]) -> str:
    """Return words as a command line for the terminal of this operating system."""
    if os.name != "nt":
        return shlex.join(words)
    return " ".join(word if _SAFE.fullmatch(word) else _for_windows(word) for word in words)


def _for_windows(word: str) -> str:
    line = subprocess.list2cmdline([word])
    # list2cmdline quotes because of blanks only, but & and other characters are special to the shells.
    return line if line.startswith('"') else f'"{line}"'


def now() -> str:
    """Return the current time (UTC) in the form used in the files of a job."""
    return utc_now("milliseconds")


def parse_time(text: Any) -> datetime | None:
    """Return the time written by ``now``; None if the text is not a time with a zone."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def read_facts(path: Path, seal: Seal = SEAL) -> dict[str, Any]:
    """Return the content of a JSON file of a job; empty if it is missing or damaged (see ``Job.faults``)."""
    try:
        return seal.read(path.read_bytes())
    except (OSError, Damaged, UnknownSchema):
        return {}


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_OUTPUT_BYTES + 1)
    except OSError:
        return ""
    text = data[:_OUTPUT_BYTES].decode("utf-8", "replace")
    return text if len(data) <= _OUTPUT_BYTES else f"{text}\n... ({path} has the complete output)\n"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _NOTICES_BYTES))
            data = file.read(_NOTICES_BYTES)
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    # The first line may be incomplete.
    return text if size <= _NOTICES_BYTES else "...\n" + text.partition("\n")[2]
