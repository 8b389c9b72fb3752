"""The process beside a job: ``python -m ednabed.dashboard.runner JOB_FOLDER`` waits its turn, runs the command, tells.

It holds the job's lock for as long as it lives, so that others see whether it does, and the other end of the command's
standard input, so that the command ends when this process does, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ednabed.dashboard.job import (
    CANCEL,
    CHILD,
    END,
    LOCK,
    PROGRESS,
    RUNNER,
    SEAL,
    STDERR,
    STDOUT,
    Job,
    now,
    workspace_of,
)
from ednabed.dashboard.jobs import Jobs, python
from ednabed.store.files import write_atomic

GRACE_SECONDS = 30.0
"""Time that a cancelled command has to end softly."""
_QUEUE = ".queue.lock"
_POLL_SECONDS = 0.1


def run(folder: Path) -> None:
    """Do what a job asks for, from waiting to ``end.json``.

    Args:
        folder: Of the job, absolute, as ``Jobs`` has it.
    """
    from filelock import FileLock

    jobs = Jobs(workspace_of(folder))
    # Another process takes it for an instant to see whether it is held.
    with FileLock(folder / LOCK, timeout=10):
        job = jobs.get(folder.name)
        if (folder / RUNNER).exists() or job.state == "broken":
            return
        told = _Told(folder)
        write_atomic(folder / RUNNER, SEAL.text({"pid": os.getpid(), "began": now()}))
        queue = FileLock(folder.parent / _QUEUE)
        try:
            code = _run_command(job, told) if _wait_for_turn(jobs, job, queue, told) else None
        finally:
            queue.release()
        write_atomic(folder / END, SEAL.text({"exit_code": code, "cancelled": told.to_end, "ended": now()}))


class _Told:
    """Whether the job is to end: cancelled, or this process was told to end."""

    def __init__(self, folder: Path) -> None:
        self._cancel = folder / CANCEL
        self._signalled = False
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._signal)

    def _signal(self, *_: object) -> None:
        self._signalled = True

    @property
    def to_end(self) -> bool:
        return self._signalled or self._cancel.exists()


def _wait_for_turn(jobs: Jobs, job: Job, queue: Any, told: _Told) -> bool:
    """Wait until no earlier job is there and none is at work; False where the job was cancelled before."""
    from filelock import Timeout

    while not told.to_end:
        if jobs.is_first(job.id):
            try:
                queue.acquire(timeout=0)
                return True
            except Timeout:
                pass
        time.sleep(_POLL_SECONDS)
    return False


def _run_command(job: Job, told: _Told) -> int:
    """Run the command of a job; return its exit code."""
    command = [
        *python("ednabed"), "--workspace", str(workspace_of(job.folder)), "--progress", str(job.folder / PROGRESS),
        "--until-stdin-ends", *job.arguments,
    ]  # fmt: skip
    with (job.folder / STDOUT).open("wb") as out, (job.folder / STDERR).open("wb") as err:
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err)
        except (OSError, ValueError) as error:
            # Such as arguments that are longer than the system takes.
            err.write(f"ednabed: the command cannot be started: {error}\n".encode("utf-8", "replace"))
            return 1
        write_atomic(job.folder / CHILD, SEAL.text({"pid": child.pid, "began": now()}))
        asked: float | None = None
        while True:
            try:
                return child.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if asked is None and told.to_end:
                asked = time.monotonic()
                _ask_to_end(child)
            elif asked is not None and time.monotonic() - asked > GRACE_SECONDS:
                child.kill()


def _ask_to_end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    if os.name != "nt":
        # Wakes it from waiting for the network or another program, which the end of its input does not; on Windows this
        # call would kill it at once.
        child.terminate()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
