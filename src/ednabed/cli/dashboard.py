"""``ednabed dashboard``: serve the page for people who do not use a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ednabed.cli.common import Context, emit, notice, pass_context


@click.command()
@click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to show; the same as --workspace before the command name.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8501,
    show_default=True,
    help="Port to listen on; 0 chooses a free one.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Address to listen on; an address that other machines can reach requires --token.",
)  # fmt: skip
@click.option(
    "--token", envvar="EDNABED_TOKEN", show_envvar=True,
    help="Token required to open the page, at least 12 characters. Set it in the variable to hide it from other users.",
)  # fmt: skip
@click.option(
    "--max-upload", type=click.IntRange(1, 10_000), default=200, show_default=True, metavar="MIB",
    help="Maximum size of an uploaded file.",
)  # fmt: skip
@click.option("--browser/--no-browser", default=None, help="Open a browser. Default: only on a terminal.")
@pass_context
def dashboard(
    context: Context,
    workspace: Path | None,
    port: int,
    host: str,
    token: str | None,
    max_upload: int,
    browser: bool | None,
) -> None:
    """Serve a local page for people who do not use a terminal.

    It shows studies, maps, searches, names and candidate taxa, and Ctrl-C stops it. The page does not need the
    internet, and other machines cannot reach it by default. Jobs continue when the page is closed.

    \b
    Example:
      ednabed dashboard --workspace my_study
      EDNABED_TOKEN=... ednabed dashboard --workspace /data/edna --host 0.0.0.0
    """
    from ednabed.dashboard.server import serve
    from ednabed.dashboard.settings import Settings

    folder = (context.workspace if workspace is None else workspace).resolve()

    def ready(address: str) -> None:
        emit(f"dashboard of {folder}: {address}")
        notice("Ctrl-C stops it; jobs that have been started continue")
        sys.stdout.flush()
        if browser or (browser is None and sys.stdout.isatty()):
            import webbrowser

            webbrowser.open(address)

    serve(Settings(folder, max_upload), host, port, token=token, ready=ready)
