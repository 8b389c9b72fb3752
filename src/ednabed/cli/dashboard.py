"""``ednabed dashboard``: the page for people who do not use a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ednabed.cli.common import Context, emit, notice, pass_context


@click.command()
@click.option(
    "--workspace", type=click.Path(file_okay=False, path_type=Path), help="As before the verb: the folder to look at."
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8501, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Address to listen on; one that other machines reach needs --token.",
)  # fmt: skip
@click.option(
    "--token", envvar="EDNABED_TOKEN", show_envvar=True,
    help="Ask whoever opens the page for this; 12 letters or more. In the variable other users do not see it.",
)  # fmt: skip
@click.option(
    "--max-upload", type=click.IntRange(1, 10_000), default=200, show_default=True, metavar="MIB",
    help="Largest file that the page takes.",
)  # fmt: skip
@click.option("--browser/--no-browser", default=None, help="Open a browser; default: where this is a terminal.")
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
    """Open a local page: the studies, the map, search, identify and discover. Ctrl-C ends it.

    It needs no internet, and other machines cannot reach it. Long work goes on when the page is closed.

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
        notice("Ctrl-C ends it; work that was begun goes on")
        sys.stdout.flush()
        if browser or (browser is None and sys.stdout.isatty()):
            import webbrowser

            webbrowser.open(address)

    serve(Settings(folder, max_upload), host, port, token=token, ready=ready)
