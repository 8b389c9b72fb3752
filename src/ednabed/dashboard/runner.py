"""The process of a job: ``python -m ednabed.dashboard.runner JOB_FOLDER`` waits its turn and runs the command.

It holds the job's lock for as long as it lives, so that other processes can see whether it does, and the other end of
the command's standard input, so that the command ends when this process does, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ednabed.base.atomic import write_atomic
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

GRACE_SECONDS = 30.0
"""Time in seconds that a cancelled command has to end by itself before it is killed."""
_QUEUE = ".queue.lock"
_POLL_SECONDS = 0.1


def run_job(folder: Path) -> None:
    """Run a job, from waiting for its turn to writing ``end.json``.

    Args:
        folder: Folder of the job, absolute, as in ``Jobs``.
    """
    from filelock import FileLock

    jobs = Jobs(workspace_of(folder))
    # Another process may hold the lock for an instant, to check whether it is held.
    with FileLock(folder / LOCK, timeout=10):
        job = jobs.get(folder.name)
        if (folder / RUNNER).exists() or job.state == "broken":
            return
        end_request = _EndRequest(folder)
        write_atomic(folder / RUNNER, SEAL.text({"pid": os.getpid(), "began": now()}))
        queue = FileLock(folder.parent / _QUEUE)
        try:
            code = _run_command(job, end_request) if _wait_for_turn(jobs, job, queue, end_request) else None
        finally:
            queue.release()
        write_atomic(folder / END, SEAL.text({"exit_code": code, "cancelled": end_request.to_end, "ended": now()}))


class _EndRequest:
    """Whether the job has to end, because it was cancelled or this process received a signal to end."""

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


def _wait_for_turn(jobs: Jobs, job: Job, queue: Any, end_request: _EndRequest) -> bool:
    """Wait until no other job is earlier or running; return False if the job was cancelled before that."""
    from filelock import Timeout

    while not end_request.to_end:
        if jobs.is_first(job.id):
            try:
                queue.acquire(timeout=0)
                return True
            except Timeout:
                pass
        time.sleep(_POLL_SECONDS)
    return False


def _run_command(job: Job, end_request: _EndRequest) -> int:
    """Run the command of a job and return its exit code."""
    command = [
        *python("ednabed"), "--workspace", str(workspace_of(job.folder)), "--progress", str(job.folder / PROGRESS),
        "--until-stdin-ends", *job.arguments,
    ]  # fmt: skip
    with (job.folder / STDOUT).open("wb") as out, (job.folder / STDERR).open("wb") as err:
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err)
        except (OSError, ValueError) as error:
            # For example, the arguments are longer than the operating system allows.
            err.write(f"ednabed: the command cannot be started: {error}\n".encode("utf-8", "replace"))
            return 1
        write_atomic(job.folder / CHILD, SEAL.text({"pid": child.pid, "began": now()}))
        requested: float | None = None
        while True:
            try:
                return child.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if requested is None and end_request.to_end:
                requested = time.monotonic()
                _ask_to_end(child)
            elif requested is not None and time.monotonic() - requested > GRACE_SECONDS:
                child.kill()


def _ask_to_end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    if os.name != "nt":
        # This interrupts waiting for the network or another program, which the end of its input does not. On Windows,
        # this call would kill it at once.
        child.terminate()


if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
