"""Entry point: the command group, and the one place where errors become a sentence and an exit code.

Exit codes: 0 done, 1 data or I/O, 2 usage, 130 interrupted, 143 terminated. The traceback is shown only with
``--debug``.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ednabed.base.version import __version__
from ednabed.cli.classify import classify
from ednabed.cli.common import Context, output_options, threads_option
from ednabed.cli.compress import compress
from ednabed.cli.console import console
from ednabed.cli.consolidate import consolidate
from ednabed.cli.dashboard import dashboard
from ednabed.cli.defaults import find_defaults
from ednabed.cli.discover import discover
from ednabed.cli.embed import embed
from ednabed.cli.evaluate import evaluate
from ednabed.cli.export import export
from ednabed.cli.hints import hint_for
from ednabed.cli.models import models
from ednabed.cli.reference import reference_group
from ednabed.cli.runs import runs
from ednabed.cli.search import search
from ednabed.cli.table import table_group
from ednabed.cli.train import train
from ednabed.cli.validate import validate
from ednabed.cli.versions import versions
from ednabed.errors import EdnabedError

_SAME_REQUEST_SECONDS = 5.0
"""A second request to end within this time counts as the same one, so that it does not interrupt the clean-up."""
_GRACE_SECONDS = 30.0
"""Time for a clean exit after the program that started this one has ended."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    envvar="EDNABED_WORKSPACE",
    show_envvar=True,
    help="Folder that contains the runs, references and tables. Default: the current folder.",
)
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the progress to this file for other programs, as JSON with the keys doing, done, total, unit, rate and "
    "seconds.",
)
@output_options
@threads_option
@click.option("--until-stdin-ends", is_flag=True, hidden=True, help="End when standard input ends (see dashboard).")
@click.option("--debug", is_flag=True, help="Show the Python traceback if an error occurs.")
@click.version_option(__version__, prog_name="ednabed")
@click.pass_context
def cli(
    ctx: click.Context, /, workspace: Path, progress: Path | None, until_stdin_ends: bool, debug: bool, **output: Any
) -> None:
    """Turn environmental-DNA (eDNA) sequences into vectors; store, search and classify them.

    The usual order: 'embed' stores the sequences of a file, with their vectors, as a run; 'consolidate' builds a
    searchable reference from runs; 'search' finds the most similar sequences in it. 'classify' and 'discover' need a
    labelled reference, that is, one whose records have lineages.

    'ednabed COMMAND -h' explains a command. --quiet, --verbose, --log and --threads may also follow the command name.
    The file ednabed.toml in the workspace sets defaults for options.
    """
    given = {name: (value, ctx.get_parameter_source(name) or ParameterSource.DEFAULT) for name, value in output.items()}
    # Errors before a command begins are logged, too.
    console.begin(
        str(ctx.invoked_subcommand),
        quiet=output["quiet"],
        verbose=output["verbose"],
        file=output["log_file"],
        context=ctx,
    )
    defaults = find_defaults(workspace, cli)
    if defaults is not None:
        ctx.default_map = defaults.values
    ctx.obj = Context(
        workspace=workspace, debug=debug, given=given, defaults=None if defaults is None else defaults.file
    )
    if until_stdin_ends:
        _end_with_stdin()
    if progress is not None:
        from ednabed.engine.progress import reported_to

        ctx.with_resource(reported_to(progress))


for _verb in (
    embed, table_group, validate, consolidate, reference_group, search, classify, discover, export, evaluate, runs,
    compress, models, versions, train, dashboard,
):  # fmt: skip
    cli.add_command(_verb)


def _end_with_stdin() -> None:
    """Exit cleanly, as on SIGTERM, when standard input ends: the program at its other end has ended or closed it.

    This works on every system, however that program ended.
    """
    # Standard input moves to another descriptor, so that child processes, and commands that read standard input, find
    # it empty instead of competing with the wait.
    parent_end = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)

    def wait() -> None:
        import _thread

        try:
            while os.read(parent_end, 1024):
                pass
        except OSError:
            pass
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        # A long call of compiled code does not return; the files on disk are safe in that case.
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()


def _exit_handler() -> Callable[..., None]:
    """Return a handler that ends the process as Ctrl-C does, so that partial files are removed."""
    last = float("-inf")

    def end(*_: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _SAME_REQUEST_SECONDS:
            last = now
            sys.exit(143)

    return end


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and exit with its code.

    Args:
        arguments: The arguments; None takes those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if threading.current_thread() is threading.main_thread():
        end = _exit_handler()
        signal.signal(signal.SIGTERM, end)
        if hasattr(signal, "SIGBREAK"):
            # SIGTERM cannot be sent on Windows; this is Ctrl-Break.
            signal.signal(signal.SIGBREAK, end)
    for stream in (sys.stdout, sys.stderr):
        # A console or file in another encoding (Windows) shows characters that it lacks as escapes, instead of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = 1
    try:
        code = _run(arguments, debug)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        raise
    except BaseException:
        console.shown(traceback.format_exc().rstrip())
        raise
    finally:
        console.end(code)
    sys.exit(code)


def _run(arguments: list[str], debug: bool) -> int:
    """Run the command line, report any error, and return the exit code. With ``debug``, errors are raised."""
    try:
        result: Any = cli.main(args=arguments, prog_name="ednabed", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        console.failed("interrupted; work reported as done is kept; run the same command again to finish")
        return 130
    except click.ClickException as error:
        error.show()
        hint = hint_for(error, arguments)
        if hint is not None:
            click.echo(hint, err=True)
        console.shown(error.format_message())
        return 2
    except EdnabedError as error:
        if debug:
            raise
        console.failed(f"ednabed: {error}")
        return error.exit_code
    except OSError as error:
        if debug:
            raise
        name = f"{error.filename}: " if error.filename else ""
        console.failed(
            f"ednabed: {name}{error.strerror or error}; check the disk and its free space, then run the same command "
            "again; computed results are kept (--debug shows where it failed)"
        )
        return 1
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
