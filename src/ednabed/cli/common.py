"""What the verbs share: the context, options written once, and the rules for the two output streams.

Results go to standard output, notices to standard error; ``--json`` prints one JSON document instead of the readable
form. Nothing heavier than click is imported here, so that ``ednabed --help`` stays quick.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ednabed.errors import UsageError
from ednabed.models.catalog import DEFAULT_MODEL

if TYPE_CHECKING:
    from ednabed.models.spec import Policy

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Context:
    """Settings that hold for every verb.

    Attributes:
        workspace: Folder that holds all relative places of DESIGN's layout (``data``, ``consolidated_data``).
        debug: Show the traceback of an error.
    """

    workspace: Path
    debug: bool = False


pass_context = click.make_pass_decorator(Context)


def notice(text: str) -> None:
    """Tell the person something that is not the result: one line on standard error."""
    click.echo(text, err=True)


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


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document for programs.")

keep_placeholders_option = click.option(
    "--keep-placeholders", is_flag=True,
    help="Keep names such as 'uncultured bacterium' in lineages; default: they count as unknown.",
)  # fmt: skip

model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name from 'ednabed models list', a Hugging Face id of these layouts, or a model folder.",
)

policy_options = options(
    click.option("--layer", type=int, help="Hidden state to pool: 0 (embeddings) to the number of blocks (default)."),
    click.option("--pooling", help="mean (class token included), mean-no-cls or cls; default: the model's own."),
    click.option("--max-tokens", type=int, help="Lower the model's token limit."),
    click.option(
        "--strand", type=click.Choice(["given", "both"]), default="given", show_default=True,
        help="both: mean of the vectors of the two strands.",
    ),
    click.option(
        "--long", type=click.Choice(["truncate", "window", "reject"]), default="truncate", show_default=True,
        help="What to do above the token limit.",
    ),
    click.option(
        "--alphabet", type=click.Choice(["iupac", "strict"]), default="iupac", show_default=True,
        help="iupac: ambiguity codes become N; strict: they reject the record.",
    ),
)  # fmt: skip

device_options = options(
    click.option("--gpu/--cpu", "use_gpu", default=None, help="Force the device; default: the best one present."),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
        help="Precision of the matrix products.",
    ),
)  # fmt: skip

assignments_option = click.option(
    "--assignments", metavar="NONE|BUILD|FILE",
    help="Names for records without a lineage of their own: those that classify kept next to their runs, by this BUILD "
    "of a reference (see 'ednabed runs show'); those of a FILE that it wrote (TSV or .jsonl); or NONE. Default: the "
    "newest kept next to each run.",
)  # fmt: skip

batch_size_option = click.option(
    "--batch-size", type=click.IntRange(min=1), help="Most sequences a batch; default: by tokens."
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
