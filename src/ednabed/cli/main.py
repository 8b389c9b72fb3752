"""Entry point: the group of verbs, and the one place where errors become a sentence and an exit code.

Exit codes: 0 done, 1 data or I/O, 2 usage, 130 interrupted, 143 terminated. The traceback is shown with ``--debug``
only.
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

from ednabed import __version__
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

_TWICE_SECONDS = 5.0
"""A request to end that is repeated so soon is the same one; it must not cut short what the first one has to clean."""
_GRACE_SECONDS = 30.0
"""Time for a soft end after the program that started this one is gone."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    envvar="EDNABED_WORKSPACE",
    show_envvar=True,
    help="Folder that holds runs, tables and references. Default: the current folder.",
)
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep in this file how far the work is, as JSON, for other programs: doing, done, total, unit, rate, seconds.",
)
@output_options
@threads_option
@click.option("--until-stdin-ends", is_flag=True, hidden=True, help="End when standard input does (see dashboard).")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="ednabed")
@click.pass_context
def cli(
    ctx: click.Context, /, workspace: Path, progress: Path | None, until_stdin_ends: bool, debug: bool, **output: Any
) -> None:
    """Turn environmental-DNA sequences into vectors, keep them in order, and ask them questions.

    --quiet, --verbose, --log and --threads may also be behind the verb. The file ednabed.toml in the workspace sets
    defaults of options.
    """
    given = {name: (value, ctx.get_parameter_source(name) or ParameterSource.DEFAULT) for name, value in output.items()}
    # What fails before a verb begins gets into the log, too.
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
    """End softly, as SIGTERM does, when standard input ends: the program that holds its other end is gone or says so.

    Works on every system, however that program ended.
    """
    # The descriptor gets another number: processes that are started from here, and commands that read standard input,
    # find it empty instead of taking part in the wait.
    told = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        import _thread

        try:
            while os.read(told, 1024):
                pass
        except OSError:
            pass
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        # A long call of compiled code that does not come back; what is on the disk is made for that.
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()


def _ender() -> Callable[..., None]:
    """Return a handler that ends the process as Ctrl-C does, so that what is half written goes."""
    last = float("-inf")

    def end(*_: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _TWICE_SECONDS:
            last = now
            sys.exit(143)

    return end


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and exit with its code. ``arguments`` None takes those of the process."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if threading.current_thread() is threading.main_thread():
        end = _ender()
        signal.signal(signal.SIGTERM, end)
        if hasattr(signal, "SIGBREAK"):
            # Windows has no way to send SIGTERM; this is Ctrl-Break.
            signal.signal(signal.SIGBREAK, end)
    for stream in (sys.stdout, sys.stderr):
        # A console or file in another encoding (Windows) shows letters that it lacks as escapes, instead of failing.
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
    """Run the command line; say what went wrong, and return the exit code. With ``debug`` errors are raised."""
    try:
        result: Any = cli.main(args=arguments, prog_name="ednabed", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        console.failed("interrupted; what was reported as done is kept, run the same command again to finish")
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
            f"ednabed: {name}{error.strerror or error}; look at the disk and its free space, then run the same command "
            "again, what was computed is kept (--debug shows where it failed)"
        )
        return 1
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
