"""What tests of killed commands share: each state that a folder is in while something is done, and real kills."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path


def snapshots(folder: Path, action: Callable[[], object], place: Path, watched: Collection[str]) -> list[Path]:
    """Copies of ``folder``, one for each state in which it was while ``action`` ran.

    A kill leaves the files as they are at that instant. So one undisturbed call is watched line by line in the modules
    named by their files, and each copy is what a kill there would have left.
    """
    seen: set[tuple] = set()
    out: list[Path] = []

    def look() -> None:
        state = []
        for path in sorted(folder.rglob("*")):
            status = path.stat()
            state.append((path.name, status.st_size if path.is_file() else 0, status.st_ino))
        if tuple(state) not in seen:
            seen.add(tuple(state))
            out.append(shutil.copytree(folder, place / f"{len(out):03d}"))

    def watch(frame, event, _):
        if frame.f_code.co_filename not in watched:
            return None
        if event in ("line", "return"):
            sys.settrace(None)
            look()
            sys.settrace(watch)
        return watch

    sys.settrace(watch)
    try:
        action()
    finally:
        sys.settrace(None)
    look()
    return out


def command(workspace: Path, *arguments: str | Path) -> list[str]:
    """The words of a command line of its own process."""
    return [sys.executable, "-m", "ednabed.cli.main", "--workspace", str(workspace), *map(str, arguments)]


def killed_at_random(
    words: Sequence[str],
    kills: int,
    seed: int,
    check: Callable[[], object],
    fresh: Callable[[], object] = lambda: None,
    codes: Collection[int] = (0,),
) -> int:
    """Run a command, kill it at random moments, and look at what is left after each kill; then let it end.

    Args:
        words: The command.
        kills: How often it is killed.
        seed: Seed of the moments, which are spread over the time that an undisturbed call takes.
        check: Called after each kill.
        fresh: Called before each call but the last, which finishes what the kill before it left.
        codes: Exit codes that the last call may have.

    Returns:
        How many calls were killed before they ended.
    """
    chance = random.Random(seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def whole(codes: Collection[int] = (0,)) -> float:
        began = time.monotonic()
        done = subprocess.run(words, capture_output=True, env=environment, timeout=300, check=False)
        assert done.returncode in codes, done.stderr.decode()
        return time.monotonic() - began

    # The first call may compile code and fill caches, which makes it many times slower than the others.
    for _ in range(2):
        fresh()
        seconds = whole()
    killed = 0
    for _ in range(kills):
        fresh()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        try:
            # The first part of the time goes into imports, when nothing is written.
            process.wait(timeout=seconds * chance.uniform(0.3, 1))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
        check()
    whole(codes)
    check()
    return killed
