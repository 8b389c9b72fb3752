"""Code that the commands share: the context, common options, and the rules for the two output streams.

Results go to standard output, notices to standard error; ``--json`` prints one JSON document instead of the readable
form. Nothing heavier than click is imported here, so that ``ednabed --help`` stays fast.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ednabed.base.text import aligned
from ednabed.cli.console import console, log
from ednabed.errors import UsageError
from ednabed.models.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    from ednabed.models.spec import Policy

F = TypeVar("F", bound=Callable[..., Any])
_MAX_NOTICES = 20


class SharedOption(click.Option):
    """An option with the same meaning in every command that has it, so that one default can apply to all of them."""


@dataclass(frozen=True)
class Context:
    """Settings that apply to every command.

    Attributes:
        workspace: Folder that contains ``data`` and ``consolidated_data``.
        debug: Show the traceback of an error.
        quiet: Show neither notices nor progress.
        given: Values of ``output_options`` and ``--threads`` before the command name, each with its source.
        defaults: File from which defaults were read; None if there is none.
    """

    workspace: Path
    debug: bool = False
    quiet: bool = False
    given: Mapping[str, tuple[Any, ParameterSource]] = field(default_factory=dict)
    defaults: Path | None = None


def pass_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a function into a command that gets the context first, and set up output and threads as requested.

    The options for these may precede or follow the command name.
    """

    @_with_hidden_output
    @click.pass_context
    def verb(click_context: click.Context, /, **options_: Any) -> Any:
        from ednabed.engine.threads import cores, limited_threads

        # A command that is called without the group works in the current folder.
        context = click_context.find_object(Context) or Context(Path())
        values = {name: _resolved(click_context, context, name, options_) for name in _RESOLVED}
        quiet, verbose = _verbosity(values)
        path = click_context.command_path.partition(" ")[2]
        console.begin(path, quiet=quiet, verbose=verbose, file=values["log_file"][0], context=click_context)
        threads = values["threads"][0]
        with limited_threads(threads):
            log.debug("workspace: %s, threads: %d", context.workspace.resolve(), cores())
            _log_defaults(click_context, context)
            return click_context.invoke(function, replace(context, quiet=quiet), **options_)

    return update_wrapper(verb, function)


_RESOLVED = ("quiet", "verbose", "log_file", "threads")


def _resolved(
    click_context: click.Context, context: Context, name: str, options_: dict[str, Any]
) -> tuple[Any, ParameterSource]:
    """Remove one of these options and return its value and source.

    An option after the command name takes precedence over one before it, and both over a file of defaults.
    """
    value, source = options_.pop(name, None), click_context.get_parameter_source(name)
    if source is ParameterSource.COMMANDLINE:
        return value, source
    before = context.given.get(name)
    if before is not None and before[1] is not ParameterSource.DEFAULT:
        return before
    return value, source or ParameterSource.DEFAULT


def _verbosity(values: Mapping[str, tuple[Any, ParameterSource]]) -> tuple[bool, bool]:
    """Return whether output is quiet and whether it is verbose."""
    (quiet, from_quiet), (verbose, from_verbose) = values["quiet"], values["verbose"]
    if quiet and verbose:
        if from_quiet is from_verbose:
            raise UsageError("--quiet and --verbose exclude each other; omit one of them")
        quiet, verbose = (from_quiet is ParameterSource.COMMANDLINE), (from_verbose is ParameterSource.COMMANDLINE)
    return quiet, verbose


def _log_defaults(click_context: click.Context, context: Context) -> None:
    """Log which options take their value from a file of defaults."""
    taken = [
        f"{option.opts[-1]} {click_context.params[option.name]}"
        for option in click_context.command.params
        if option.name is not None and click_context.get_parameter_source(option.name) is ParameterSource.DEFAULT_MAP
    ]
    if taken:
        log.debug("defaults from %s: %s", context.defaults, ", ".join(taken))


def notice(text: str) -> None:
    """Write a line that is not part of the result to standard error, unless ``--quiet`` is given."""
    log.info("%s", text)


def problem(text: str) -> None:
    """Write what went wrong with one of several items as a line to standard error, even with ``--quiet``."""
    log.error("%s", text)


class FirstNotices:
    """Writes the first of many similar lines to standard error, and how many more there are; the results list all."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, text: str) -> None:
        """Write a line if it is one of the first 20."""
        from ednabed.engine.progress import without_bars

        self._count += 1
        if self._count <= _MAX_NOTICES:
            with without_bars():
                notice(text)

    def end(self, what: str) -> None:
        """Write how many lines were omitted, if any; ``what`` completes the sentence, such as ``were rejected``."""
        if self._count > _MAX_NOTICES:
            notice(f"... and {self._count - _MAX_NOTICES:,} more {what}")


def emit(text: str) -> None:
    """Print a result on standard output."""
    click.echo(text)


def emit_json(value: Any) -> None:
    """Print one JSON document on standard output, in ASCII, which every terminal and file accepts; refuse NaN."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table for reading, with two spaces between the columns."""
    return "\n".join(aligned([header, *rows]))


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Combine option decorators into one, in the order in which the help shows them."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


output_options = options(
    click.option(
        "--quiet", is_flag=True, cls=SharedOption,
        help="Show only errors and results, without notices or progress.",
    ),
    click.option(
        "--verbose", is_flag=True, cls=SharedOption,
        help="Also show the inputs, the device, the time of each stage, and the defaults taken from ednabed.toml.",
    ),
    click.option(
        "--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), cls=SharedOption,
        help="Also append all messages (standard error) to this file, with times; it gets the notices even with "
        "--quiet.",
    ),
)  # fmt: skip


def _with_hidden_output(function: F) -> F:
    """Add ``output_options``, hidden from the help of the command, because the help of ``ednabed`` shows them."""
    output_options(function)
    # click keeps the options here until it creates the command.
    for option in function.__click_params__:  # type: ignore[attr-defined]
        option.hidden = True
    return function


threads_option = click.option(
    "--threads", type=click.IntRange(min=1), cls=SharedOption,
    help="Maximum number of threads; results do not depend on it. Default: all cores available to the process.",
)  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")

keep_placeholders_option = click.option(
    "--keep-placeholders", is_flag=True, cls=SharedOption,
    help="Keep names such as 'uncultured bacterium' in lineages. Default: treat them as unknown.",
)  # fmt: skip

model_option = click.option(
    "--model",
    cls=SharedOption,
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name from 'ednabed models list', a Hugging Face id of a supported architecture, or a model folder.",
)

policy_options = options(
    click.option(
        "--layer", type=int, cls=SharedOption,
        help="Hidden state to pool, for models with layers: from 0 (token embeddings) to the number of blocks "
        "(default).",
    ),
    click.option(
        "--pooling", cls=SharedOption,
        help="How token vectors become one vector, for models with layers: mean (including the class token), "
        "mean-no-cls (without it) or cls (the class token alone). Default: that of the model.",
    ),
    click.option(
        "--max-tokens", type=int, cls=SharedOption,
        help="Maximum tokens per sequence. Default: the limit of the model, which may not be exceeded.",
    ),
    click.option(
        "--strand", type=click.Choice(["given", "both"]), default="given", show_default=True, cls=SharedOption,
        help="given: use the sequence as it is; both: average its vector and that of its reverse complement. This has "
        "no effect with barcode-1, which gives both the same vector.",
    ),
    click.option(
        "--long", type=click.Choice(["truncate", "window", "reject"]), default="truncate", show_default=True,
        cls=SharedOption,
        help="Treatment of sequences above the token limit. truncate: use the first tokens; window: average over "
        "consecutive windows; reject: reject the record. barcode-1 has no limit.",
    ),
    click.option(
        "--alphabet", type=click.Choice(["iupac", "strict"]), default="iupac", show_default=True, cls=SharedOption,
        help="iupac: ambiguity codes such as R and Y become N; strict: records with such codes are rejected.",
    ),
)  # fmt: skip

device_options = options(
    click.option(
        "--gpu/--cpu", "use_gpu", default=None, cls=SharedOption,
        help="Force the GPU or the CPU. Default: the best device available. barcode-1 always runs on the CPU.",
    ),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
        cls=SharedOption, help="Number format of matrix products; auto: chosen for the device.",
    ),
)  # fmt: skip

assignments_option = click.option(
    "--assignments", metavar="NONE|BUILD|FILE",
    help="Names for records without a lineage of their own. BUILD: assignments that 'classify --run' kept next to "
    "their runs, from this build of a reference ('ednabed runs show' lists them); FILE: a file written by classify "
    "(TSV or .jsonl); NONE: no names. Default: the newest assignments kept next to each run.",
)  # fmt: skip

batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    cls=SharedOption,
    help="Maximum sequences per batch. Default: a batch is limited only by its number of tokens.",
)


def policy_of(options_: dict[str, Any]) -> Policy:
    """Remove the policy options from the keyword arguments of a command, and return them as a policy."""
    from ednabed.models.spec import Policy

    return Policy(
        **{name: options_.pop(name) for name in ("layer", "pooling", "max_tokens", "strand", "long", "alphabet")}
    )


def check_text(*texts: str | None) -> None:
    """Raise UsageError for arguments that are not valid UTF-8, because no name in a store can match them."""
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise UsageError(f"{text!a} is not valid UTF-8; type it again") from None
