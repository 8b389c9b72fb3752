"""Standard error, and the ``--log`` file that receives the same lines with times and without secrets.

The library logs under ``ednabed``, the command line under ``ednabed.cli``, and both have the same handlers. With
``--quiet`` only errors reach the terminal. The log file always gets notices.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from ednabed.base.version import __version__
from ednabed.cli.words import in_options
from ednabed.errors import UsageError

log = logging.getLogger("ednabed.cli")
# Lines for the user are already shown; they are not events of the library.
log.propagate = False

_LOGGERS = ("ednabed", log.name, "py.warnings")
_HIDDEN = "***"
_SECRET_NAME = re.compile(r"(?i)token|secret|password|passphrase|credential|api_?key|access_?key|account_?key|sas_")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
# Hiding shorter values would remove parts of words.
_SHORTEST_SECRET = 6
_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")


class _Terminal(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


class _InOptions(logging.Formatter):
    """Shows parameters in backticks as options of the running command."""

    def __init__(self, shown_by: Console, form: str = "%(message)s") -> None:
        super().__init__(form)
        self._console = shown_by

    def format(self, record: logging.LogRecord) -> str:
        return in_options(super().format(record), self._console.context)


class _WithTime(_InOptions):
    """Prefixes a line with the time (UTC) and the level, and hides secrets."""

    def __init__(self, shown_by: Console, secrets: list[str]) -> None:
        super().__init__(shown_by, "%(asctime)s %(levelname)s %(message)s")
        self._secrets = secrets

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time in UTC, to the second."""
        return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def format(self, record: logging.LogRecord) -> str:
        text = _IN_ADDRESS.sub(_HIDDEN, super().format(record))
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


class Console:
    """Standard error and the log file of one command. ``begin`` may be called again when more is known.

    Attributes:
        context: The click context of the running command; None before it is known.
    """

    def __init__(self) -> None:
        self.context: click.Context | None = None
        self._terminal = _Terminal()
        self._terminal.setFormatter(_InOptions(self))
        self._file: logging.FileHandler | None = None
        self._began = time.monotonic()

    def begin(
        self, command: str, *, quiet: bool, verbose: bool, file: Path | None, context: click.Context | None = None
    ) -> None:
        """Send log records to standard error, and to a file if one is given.

        Args:
            command: Name of the command, for the log.
            quiet: Show errors only, and no progress.
            verbose: Also show details.
            file: Log file to append to.
            context: The click context of the command, whose options are shown for parameters in messages. It is kept,
                because errors are shown after click has left it.

        Raises:
            UsageError: The file cannot be written, or is not a log of ednabed.
        """
        from ednabed.engine.progress import show_bars

        self.context = context
        for logger in (logging.getLogger("ednabed"), log):
            logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        self._terminal.setLevel(logging.ERROR if quiet else logging.NOTSET)
        self._add(self._terminal)
        show_bars(not quiet)
        if file is not None and self._file is None:
            self._file = _opened(file)
            self._file.setFormatter(_WithTime(self, _secrets()))
            self._add(self._file)
            self._note(logging.INFO, f"ednabed {__version__}: {command} begins, process {os.getpid()}")
        if quiet or file is not None:
            # Warnings of other packages would otherwise bypass the handlers.
            logging.captureWarnings(True)

    def failed(self, text: str) -> None:
        """Write an error."""
        log.error("%s", text)

    def shown(self, text: str) -> None:
        """Write to the log file what is already on standard error, such as a traceback."""
        self._note(logging.ERROR, text)

    def end(self, code: int) -> None:
        """Close the log file and restore the loggers."""
        self._note(logging.INFO, f"exit code {code} after {time.monotonic() - self._began:.1f} s")
        logging.captureWarnings(False)
        for name in _LOGGERS:
            for handler in (self._terminal, self._file):
                if handler is not None:
                    logging.getLogger(name).removeHandler(handler)
        if self._file is not None:
            self._file.close()
            self._file = None
        self.context = None
        self._began = time.monotonic()

    def _add(self, handler: logging.Handler) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(handler)

    def _note(self, level: int, text: str) -> None:
        if self._file is not None:
            self._file.handle(logging.LogRecord(log.name, level, "", 0, text, None, None))


console = Console()
"""The console of this process."""


def _opened(path: Path) -> logging.FileHandler:
    """Open a log file for appending."""
    try:
        if path.is_file() and path.stat().st_size:
            with path.open(encoding="utf-8", errors="replace") as file:
                if not _LINE.match(file.readline(100)):
                    raise UsageError(
                        f"--log {path}: its first line does not begin with a time, expected a log of ednabed; give "
                        "another file"
                    )
        return logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"--log {path}: {error.strerror or error}; give a writable file") from None


def _secrets() -> list[str]:
    """Return the secrets that must not be written: values of variables and options with such names, longest first."""
    found = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    for before, word in zip(["", *sys.argv[1:]], sys.argv[1:], strict=False):
        # --token VALUE, --token=VALUE, --storage-option aws_secret_access_key=VALUE
        name, equals, value = word.removeprefix("--storage-option=").partition("=")
        if equals and _SECRET_NAME.search(name):
            found.append(value)
        elif before.startswith("--") and "=" not in before and _SECRET_NAME.search(before):
            found.append(word)
    return sorted({value for value in found if len(value) >= _SHORTEST_SECRET}, key=len, reverse=True)
