"""What the verbs share: the context, options written once, and the rules for the two output streams.

Results go to standard output, notices to standard error; ``--json`` prints one JSON document instead of the readable
form. Nothing heavier than click is imported here, so that ``ednabed --help`` stays quick.
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

from ednabed.cli.console import console, log
from ednabed.errors import UsageError
from ednabed.models.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    from ednabed.models.spec import Policy

F = TypeVar("F", bound=Callable[..., Any])


class SharedOption(click.Option):
    """An option that means the same in every verb that has it, so that it can be set for all of them at once."""


@dataclass(frozen=True)
class Context:
    """Settings that hold for every verb.

    Attributes:
        workspace: Folder that holds all relative places of DESIGN's layout (``data``, ``consolidated_data``).
        debug: Show the traceback of an error.
        quiet: Neither notices nor progress.
        given: What the options of ``output_options`` and ``--threads`` are before the verb, and where it is from.
        defaults: The file from which defaults were read; None where there is none.
    """

    workspace: Path
    debug: bool = False
    quiet: bool = False
    given: Mapping[str, tuple[Any, ParameterSource]] = field(default_factory=dict)
    defaults: Path | None = None


def pass_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a verb: give it the context first, with the output and the threads that were asked for.

    The options for these may be before the verb or behind it.
    """

    @_after_the_verb
    @click.pass_context
    def verb(asked: click.Context, /, **options_: Any) -> Any:
        from ednabed.engine.threads import cores, limited_threads

        # A verb that is called by itself, without the group, works in the current folder.
        context = asked.find_object(Context) or Context(Path())
        values = {name: _settled(asked, context, name, options_) for name in _SETTLED}
        quiet, verbose = _how_much(values)
        path = asked.command_path.partition(" ")[2]
        console.begin(path, quiet=quiet, verbose=verbose, file=values["log_file"][0], context=asked)
        threads = values["threads"][0]
        with limited_threads(threads):
            log.debug("workspace: %s, threads: %d", context.workspace.resolve(), cores())
            _tell_defaults(asked, context)
            return asked.invoke(function, replace(context, quiet=quiet), **options_)

    return update_wrapper(verb, function)


_SETTLED = ("quiet", "verbose", "log_file", "threads")


def _settled(
    asked: click.Context, context: Context, name: str, options_: dict[str, Any]
) -> tuple[Any, ParameterSource]:
    """Take one of these options out; what is behind the verb goes before what is before it, and both before a file."""
    value, source = options_.pop(name, None), asked.get_parameter_source(name)
    if source is ParameterSource.COMMANDLINE:
        return value, source
    before = context.given.get(name)
    if before is not None and before[1] is not ParameterSource.DEFAULT:
        return before
    return value, source or ParameterSource.DEFAULT


def _how_much(values: Mapping[str, tuple[Any, ParameterSource]]) -> tuple[bool, bool]:
    """Return whether to be quiet and whether to be verbose."""
    (quiet, from_quiet), (verbose, from_verbose) = values["quiet"], values["verbose"]
    if quiet and verbose:
        if from_quiet is from_verbose:
            raise UsageError("--quiet and --verbose exclude each other; omit one of them")
        quiet, verbose = (from_quiet is ParameterSource.COMMANDLINE), (from_verbose is ParameterSource.COMMANDLINE)
    return quiet, verbose


def _tell_defaults(asked: click.Context, context: Context) -> None:
    """Log which options have the value that a file of defaults gives them."""
    taken = [
        f"{option.opts[-1]} {asked.params[option.name]}"
        for option in asked.command.params
        if option.name is not None and asked.get_parameter_source(option.name) is ParameterSource.DEFAULT_MAP
    ]
    if taken:
        log.debug("defaults from %s: %s", context.defaults, ", ".join(taken))


def notice(text: str) -> None:
    """Tell the person something that is not the result: one line on standard error, unless ``--quiet`` is given."""
    log.info("%s", text)


def problem(text: str) -> None:
    """Tell the person what was wrong with one thing of several: one line on standard error in any case."""
    log.error("%s", text)


def emit(text: str) -> None:
    """Print a result on standard output."""
    click.echo(text)


def emit_json(value: Any) -> None:
    """Print one JSON document on standard output, in ASCII, so that any terminal and file takes it. NaN is refused."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out columns for reading, two blanks between them."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [header, *rows])
    return "\n".join(lines)


def human_bytes(n: int) -> str:
    """Write a size in decimal units: 1.9 GB."""
    from ednabed.store import files

    return files.human_bytes(n)


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Join option decorators into one, in the order in which the help shows them."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


output_options = options(
    click.option("--quiet", is_flag=True, cls=SharedOption, help="Errors and results only: no notices, no progress."),
    click.option(
        "--verbose", is_flag=True, cls=SharedOption,
        help="Also what is read, on which device, how long each stage takes, and which defaults come from a file.",
    ),
    click.option(
        "--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), cls=SharedOption,
        help="Add what goes to standard error to this file too, with times; with --quiet notices as well.",
    ),
)  # fmt: skip


def _after_the_verb(function: F) -> F:
    """Add the options of ``output_options`` without lines in the help of each verb: that of ``ednabed`` has them."""
    output_options(function)
    # click keeps options there until the command is made of them.
    for option in function.__click_params__:  # type: ignore[attr-defined]
        option.hidden = True
    return function


threads_option = click.option(
    "--threads", type=click.IntRange(min=1), cls=SharedOption,
    help="Maximum threads; the result does not depend on it. Default: all cores that the process may use.",
)  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document for programs.")

keep_placeholders_option = click.option(
    "--keep-placeholders", is_flag=True, cls=SharedOption,
    help="Keep names such as 'uncultured bacterium' in lineages; default: they count as unknown.",
)  # fmt: skip

model_option = click.option(
    "--model",
    cls=SharedOption,
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name from 'ednabed models list', a Hugging Face id of these layouts, or a model folder.",
)

policy_options = options(
    click.option(
        "--layer", type=int, cls=SharedOption,
        help="Hidden state to pool: 0 (embeddings) to the number of blocks (default).",
    ),
    click.option(
        "--pooling", cls=SharedOption,
        help="mean (class token included), mean-no-cls or cls; default: the model's own.",
    ),
    click.option("--max-tokens", type=int, cls=SharedOption, help="Lower the model's token limit."),
    click.option(
        "--strand", type=click.Choice(["given", "both"]), default="given", show_default=True, cls=SharedOption,
        help="both: mean of the vectors of the two strands.",
    ),
    click.option(
        "--long", type=click.Choice(["truncate", "window", "reject"]), default="truncate", show_default=True,
        cls=SharedOption,
        help="What to do above the token limit.",
    ),
    click.option(
        "--alphabet", type=click.Choice(["iupac", "strict"]), default="iupac", show_default=True, cls=SharedOption,
        help="iupac: ambiguity codes become N; strict: they reject the record.",
    ),
)  # fmt: skip

device_options = options(
    click.option(
        "--gpu/--cpu", "use_gpu", default=None, cls=SharedOption,
        help="Force the device; default: the best one present.",
    ),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
        cls=SharedOption, help="Precision of the matrix products.",
    ),
)  # fmt: skip

assignments_option = click.option(
    "--assignments", metavar="NONE|BUILD|FILE",
    help="Names for records without a lineage of their own: those that classify kept next to their runs, by this BUILD "
    "of a reference (see 'ednabed runs show'); those of a FILE that it wrote (TSV or .jsonl); or NONE. Default: the "
    "newest kept next to each run.",
)  # fmt: skip

batch_size_option = click.option(
    "--batch-size", type=click.IntRange(min=1), cls=SharedOption, help="Most sequences a batch; default: by tokens."
)


def policy_of(options_: dict[str, Any]) -> Policy:
    """Take the policy options out of a verb's keyword arguments."""
    from ednabed.models.spec import Policy

    return Policy(
        **{name: options_.pop(name) for name in ("layer", "pooling", "max_tokens", "strand", "long", "alphabet")}
    )


def check_letters(*texts: str | None) -> None:
    """Refuse what the shell hands over of bytes that are no UTF-8: nothing in a store can be called so."""
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise UsageError(f"{text!a} has bytes that are no UTF-8; type it again") from None
