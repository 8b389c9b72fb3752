"""``ednabed train``: train an encoder on labelled barcodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ednabed.cli.common import (
    Context,
    SharedOption,
    emit,
    emit_json,
    json_option,
    notice,
    pass_context,
    table,
    threads_option,
)


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path),
    help="Folder of the model, relative to the workspace or absolute; must not exist.",
)  # fmt: skip
@click.option("--labels", type=click.Path(path_type=Path), help="TSV or CSV with ids and lineages, joined by id.")
@click.option(
    "--init",
    help="Initial model: a trained one is trained further, any other gets a learned projection on top. Default: none.",
)
@click.option(
    "--pattern", "patterns", multiple=True,
    help="k-mers to count, 1 for a base that counts: 1111111, 110111011; may be repeated.",
)  # fmt: skip
@click.option(
    "--dimension", type=click.IntRange(2, 65_536), help="Length of a vector. Default: that of --init, or 512."
)
@click.option("--steps", type=click.IntRange(min=1), default=2000, show_default=True, help="Number of batches.")
@click.option("--batch", type=click.IntRange(min=8), default=768, show_default=True, help="Views per batch.")
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Learning rate.")
@click.option(
    "--shortest",
    type=click.IntRange(min=20),
    default=100,
    show_default=True,
    help="Minimum length of a fragment, and of an input sequence, in bases.",
)
@click.option(
    "--validation", type=click.IntRange(min=0), default=200, show_default=True,
    help="Held-out queries per marker and group, to measure the accuracy of the model; 0: none.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed.")
@click.option("--licence", default="", help="Licence of the weights, stored with them and with every run.")
@click.option(
    "--gpu/--cpu", "use_gpu", default=None, cls=SharedOption, help="Force the device. Default: the best one available."
)
@click.option("--no-resume", is_flag=True, help="Discard the checkpoint of an interrupted training.")
@threads_option
@json_option
@pass_context
def train(
    context: Context,
    /,
    inputs: tuple[Path, ...],
    output: Path,
    patterns: tuple[str, ...],
    shortest: int,
    no_resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train an encoder on labelled barcodes.

    INPUT is FASTA, FASTQ, TSV, CSV or Parquet with lineages. The result is a model folder for --model. Records of a
    file belong to one marker unless a column 'marker' states otherwise. Some records, species, genera and families are
    held out to measure the accuracy of the model compared with kmer6. Run the same command again after an interruption
    to continue. Requires pip install "ednabed[train]".

    \b
    Example:
      ednabed train barcodes.tsv.gz --output models/my_barcodes --licence CC0-1.0
    """
    from ednabed.errors import UsageError
    from ednabed.training.train import PATTERNS, TrainRequest, train_model
    from ednabed.training.views import Alterations

    if patterns and settings["init"] is not None:
        raise UsageError(
            f"--pattern is for a model trained from scratch, not for --init {settings['init']}; omit one of them"
        )
    folder = context.workspace / output
    request = TrainRequest(
        inputs=inputs,
        output=folder,
        patterns=patterns or PATTERNS,
        alterations=Alterations(shortest=shortest),
        min_length=shortest,
        resume=not no_resume,
        **settings,
    )
    report = train_model(request)
    if as_json:
        emit_json(report)
        return
    for one in report["inputs"]:
        left = ", ".join(f"{one[what]:,} {what}" for what in ("rejected", "unlabelled") if one[what])
        notice(f"{one['name']}: {one['taken']:,} of {one['records']:,} records" + (f" ({left})" if left else ""))
    emit(f"model      {folder}, fingerprint {report['fingerprint'][:12]}")
    emit(f"trained    {request.steps:,} steps on {report['device']} in {report['seconds']:.0f} s")
    if request.validation:
        emit(_validation(report["validation"]))


def _validation(validated: dict[str, Any]) -> str:
    """Return a table of nearest-neighbour accuracy for held-out sequences, with a column per model."""
    names = list(validated)
    rows = []
    for marker, crops in validated[names[0]].items():
        for crop, figures in crops.items():
            for what, value in figures.items():
                if value is not None:
                    others = [validated[name][marker][crop][what] for name in names]
                    rows.append([marker, crop, what, *(f"{other:.3f}" for other in others)])
    return "\n" + table(["MARKER", "QUERIES", "NEAREST NEIGHBOUR", *names], rows)
