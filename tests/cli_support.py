"""The command line in this process, for tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from ednabed.cli.main import main


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run a command; return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def call_in(capsys: pytest.CaptureFixture[str], workspace: Path, *arguments: object) -> tuple[int, str, str]:
    """Run a command in a workspace; see ``call``."""
    return call(capsys, "--workspace", workspace, *arguments)
