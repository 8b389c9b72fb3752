"""Show the parameters that messages of the library name as options of the command that is running."""

from __future__ import annotations

import re

import click

_ALIASES = {
    "db_path": "db",
    "exclude_runs": "exclude_run",
    "k": "top_k",
    "model_name": "model",
    "root": "runs_root",
    "storage_options": "storage",
    "use_counts": "no_counts",
}
"""Parameters of the library to parameters of commands, for names that match neither these nor an option."""
_IN_BACKTICKS = re.compile(r"`([A-Za-z_]\w*)(?:=([^`\s]+))?`")


def in_options(text: str, context: click.Context | None = None) -> str:
    """Replace parameters in backticks by the options of a command: `` `seq_idx` `` becomes ``--seq-idx``.

    A parameter that the command and its groups do not have is shown without the backticks.

    Args:
        text: A message of the library.
        context: The click context of the command; None takes the current one, if any.
    """
    context = click.get_current_context(silent=True) if context is None else context

    def shown(found: re.Match[str]) -> str:
        return _option(found[1], found[2], context) or found[0].strip("`")

    return _IN_BACKTICKS.sub(shown, text)


def _option(name: str, value: str | None, context: click.Context | None) -> str | None:
    """Return how a parameter, or a parameter with a value, is typed; None if there is no such option."""
    if context is None:
        return None
    commands = [context.command]
    while context.parent is not None:
        context = context.parent
        commands.append(context.command)
    for command in commands:
        for candidate in (name, f"no_{name}", _ALIASES.get(name)):
            for parameter in command.params:
                if candidate is not None and _is(parameter, candidate):
                    return _typed(parameter, value, negated=candidate != name and candidate.startswith("no_"))
    return None


def _is(parameter: click.Parameter, name: str) -> bool:
    return parameter.name == name or "--" + name.replace("_", "-") in parameter.opts


def _typed(parameter: click.Parameter, value: str | None, *, negated: bool) -> str | None:
    """Return what is typed for a parameter; ``negated``: its flag means the opposite, such as ``--no-resume``."""
    if not isinstance(parameter, click.Option):
        return parameter.human_readable_name.strip("[].")
    option = max(parameter.opts, key=len)
    if not parameter.is_flag:
        return option if value is None else f"{option} {value.strip(chr(34) + chr(39))}"
    if negated:
        return option if value == "False" else None
    if value == "False":
        return max(parameter.secondary_opts, key=len, default=None)
    return option
