"""Print the command reference, generated from the commands: ``python -m ednabed.cli.docs > docs/commands.md``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ednabed.cli.main import cli

_INTRODUCTION = """# Commands

Generated from the commands by `make docs`; a test fails when this page is out of date.

Results go to standard output, notices and progress to standard error. `--json` prints one JSON document. Exit codes:
0 done, 1 data or input/output, 2 usage, 130 interrupted. Relative paths of runs and tables are resolved in the
workspace (`--workspace`, or `EDNABED_WORKSPACE`; default: the current folder).
"""


def pages(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the help text of a command and of all its subcommands, each with a heading."""
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context).strip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            if verb is not None:
                yield from pages(verb, click.Context(verb, info_name=name, parent=context, terminal_width=100))


def reference() -> str:
    """Return the complete page, which is the same on every machine."""
    context = click.Context(cli, info_name="ednabed", terminal_width=100, **cli.context_settings)
    return "\n".join([_INTRODUCTION, *pages(cli, context)])


if __name__ == "__main__":
    click.echo(reference(), nl=False)
