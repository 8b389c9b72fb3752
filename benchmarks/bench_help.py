"""Start-up time of the command line: ``ednabed --help`` in a new process, compared with bare Python; best of 7."""

from __future__ import annotations

import subprocess
import sys
import time


def best(command: list[str]) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


bare = best([sys.executable, "-c", "pass"])
ours = best([sys.executable, "-m", "ednabed.cli.main", "--help"])
print(f"python -c pass  {bare:.3f} s")
print(f"ednabed --help  {ours:.3f} s (aim: under 0.3 s)")
