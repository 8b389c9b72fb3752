"""Running other programs: in a scratch folder, without a shell, with a sentence when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ednabed.errors import EdnabedError


class ToolError(EdnabedError):
    """Another program is not there or failed."""


def write_fasta(path: Path, records: Iterable[tuple[str, str]]) -> None:
    """Write records (name, sequence) as FASTA, a line a sequence."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(f">{name}\n{sequence}\n" for name, sequence in records)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder for the time of the block."""
    # A file that a scanner for viruses still holds must not spoil the measurement.
    with tempfile.TemporaryDirectory(prefix="ednabed-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run(arguments: list[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end and return what it wrote.

    Args:
        arguments: The name of the program, looked up on the PATH, and its arguments.
        folder: Its working folder; None for that of this process.

    Raises:
        ToolError: It is not installed or fails.
    """
    # The full path, so that a program of the same name in the working folder is never taken instead.
    program = shutil.which(arguments[0])
    if program is None:
        raise ToolError(f"{arguments[0]} is not installed or not on the PATH; install it or leave the method out")
    try:
        done = subprocess.run(
            [str(Path(program).absolute()), *arguments[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            # BLAST otherwise tells its makers of every search.
            env={**os.environ, "BLAST_USAGE_REPORT": "false"},
            check=False,
        )
    except OSError as error:
        raise ToolError(f"{program} cannot be started ({error}); mend that, or leave the method out") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else "it said nothing"
        raise ToolError(
            f"{arguments[0]} failed with exit code {done.returncode} ({last}); mend that, or leave the method out"
        )
    return done


def version(tool: str) -> str:
    """Return a tool's name and version as it tells them, such as ``vsearch v2.22.1_linux_x86_64``."""
    option = {"vsearch": "--version", "mmseqs": "version"}.get(tool, "-version")
    done = run([tool, option], None)
    if tool == "mmseqs":
        # It writes the version alone.
        return f"mmseqs {done.stdout.strip()}"
    # vsearch writes it to standard error, blastn to standard output.
    lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.startswith(tool)]
    return lines[0].partition(",")[0].replace(": ", " ").strip() if lines else tool
