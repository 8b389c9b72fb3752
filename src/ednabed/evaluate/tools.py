"""Run other programs in a scratch folder, without a shell, and report failures in one sentence."""

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
    """Another program is missing or failed."""


def write_plain_fasta(path: Path, records: Iterable[tuple[str, str]]) -> None:
    """Write records (name, sequence) as FASTA, one line per sequence."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(f">{name}\n{sequence}\n" for name, sequence in records)


@contextmanager
def scratch() -> Iterator[Path]:
    """Create a temporary folder that exists within the block."""
    # A file that a virus scanner still holds open must not make the measurement fail.
    with tempfile.TemporaryDirectory(prefix="ednabed-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run_tool(arguments: list[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run a tool until it exits and return its output.

    Args:
        arguments: The name of the program, which is searched on the PATH, and its arguments.
        folder: Its working folder; None uses the working folder of this process.

    Raises:
        ToolError: The program is not installed or fails.
    """
    # The full path, so that a program of the same name in the working folder is never run instead.
    program = shutil.which(arguments[0])
    if program is None:
        raise ToolError(f"{arguments[0]} is not installed or not on the PATH; install it or omit the method")
    try:
        done = subprocess.run(
            [str(Path(program).absolute()), *arguments[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            # Otherwise BLAST sends a usage report of every search.
            env={**os.environ, "BLAST_USAGE_REPORT": "false"},
            check=False,
        )
    except OSError as error:
        raise ToolError(f"{program} cannot be started ({error}); fix this, or omit the method") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else "no error message"
        raise ToolError(
            f"{arguments[0]} failed with exit code {done.returncode} ({last}); fix this, or omit the method"
        )
    return done


def version(tool: str) -> str:
    """Return the name and version that a tool prints, such as ``vsearch v2.22.1_linux_x86_64``."""
    option = {"vsearch": "--version", "mmseqs": "version"}.get(tool, "-version")
    done = run_tool([tool, option], None)
    if tool == "mmseqs":
        # It prints only the version.
        return f"mmseqs {done.stdout.strip()}"
    # vsearch prints it to standard error, blastn to standard output.
    lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.startswith(tool)]
    return lines[0].partition(",")[0].replace(": ", " ").strip() if lines else tool
