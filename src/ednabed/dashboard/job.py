"""A job: what its folder tells of it. Its facts are fixed; how it stands is read at every look.

``docs/formats.md`` says what the files are; ``jobs`` starts and lists them, ``runner`` does them.
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
from ednabed.engine.progress import SEAL as PROGRESS_SEAL
from ednabed.errors import StoreError

State = Literal["waiting", "running", "done", "failed", "cancelled", "lost", "broken"]

FOLDER = Path("data", "jobs")
"""Where jobs lie in a workspace."""
JOB, RUNNER, CHILD, END = "job.json", "runner.json", "child.json", "end.json"
PROGRESS, CANCEL, LOCK = "progress.json", "cancel", "lock"
STDOUT, STDERR, LOG = "stdout.txt", "stderr.txt", "runner.log"
INPUTS = "inputs"
SEAL = Seal(2, unsealed=(1, None), ascii_only=True)
"""Of all JSON files of a job but the progress, in ASCII, because names of files may hold what UTF-8 cannot; before
schema 2 there was no checksum, and only ``job.json`` named its schema."""
_LOOKS, _BETWEEN_LOOKS = 3, 0.02
_STARTING = timedelta(seconds=60)
"""Time in which the process of a new job must have come up."""
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
        if state == "lost" and (faults := self.faults()):
            return f"{faults[0]}, so how it ended is unknown; start it again, what was computed is kept"
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
        began, end = moment(read_facts(self.folder / CHILD).get("began")), self._end()
        if began is None:
            return None
        if end is None:
            return (datetime.now(UTC) - began).total_seconds() if self._alive() else None
        ended = moment(end.get("ended"))
        return None if ended is None else (ended - began).total_seconds()

    def faults(self) -> list[str]:
        """Say of each of its JSON files that is not as it was written what is wrong with it."""
        found = []
        for name in (JOB, RUNNER, CHILD, END, PROGRESS):
            try:
                (PROGRESS_SEAL if name == PROGRESS else SEAL).read((self.folder / name).read_bytes())
            except FileNotFoundError:
                continue
            except UnknownSchema as schema:
                found.append(f"{self.folder / name} is of the unknown schema {schema}")
            except Damaged as error:
                found.append(f"{self.folder / name} is damaged ({error})")
        return found

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
        return read_facts(self.folder / END) or None

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


def now() -> str:
    """Return the time as the files of a job have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def moment(text: Any) -> datetime | None:
    """Return the time that a text of ``now`` tells; None where it tells none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def read_facts(path: Path, seal: Seal = SEAL) -> dict[str, Any]:
    """Return what a JSON file of a job says; empty where there is none, or it is damaged (``Job.faults`` tells)."""
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
