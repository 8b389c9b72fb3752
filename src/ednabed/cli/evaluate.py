"""``ednabed evaluate``: measure the accuracy of classification, compared with other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ednabed.cli.classify import check_paths
from ednabed.cli.common import Context, emit, emit_json, notice, pass_context, threads_option
from ednabed.cli.reference import reference_option
from ednabed.errors import InputError, UsageError

if TYPE_CHECKING:
    from ednabed.evaluate.predictions import Method
    from ednabed.models.base import Embedder
    from ednabed.reference.opened import Reference


# ``evaluate.methods.METHOD_NAMES``, which takes long to import.
_OTHERS = ("vsearch", "vsearch-default", "sintax", "consensus", "blastn", "mmseqs2", "naive-bayes")


@click.command()
@reference_option
@click.option("--marker", help="Use only records of this marker, if the reference has several.")
@click.option(
    "--model", "models", multiple=True,
    help="Model to evaluate; may be repeated. Default: the model of the reference, and kmer6.",
)  # fmt: skip
@click.option(
    "--queries", type=click.IntRange(min=1), default=500, show_default=True, help="Maximum queries per group."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=1,
    show_default=True,
    help="Random seed for held-out records and cuts.",
)
@click.option(
    "--crop", "crops", multiple=True, type=click.IntRange(min=20),
    help="Also use queries cut to this many bases; may be repeated. Default: 313 and 150.",
)  # fmt: skip
@click.option("--no-crops", is_flag=True, help="Use only full-length queries.")
@click.option("--no-others", is_flag=True, help="Evaluate ednabed alone, without other programs.")
@click.option(
    "--without", multiple=True, type=click.Choice(_OTHERS),
    help="Omit one of the other methods; may be repeated.",
)  # fmt: skip
@click.option("--vectors-only", is_flag=True, help="Also evaluate every model without alignment.")
@threads_option
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file; the extension .json gives JSON, any other Markdown.",
)  # fmt: skip
@click.option(
    "--training-to", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the training records to a TSV file and stop; train models on them that are to be evaluated here.",
)  # fmt: skip
@click.option(
    "--unseen", type=click.Path(path_type=Path, dir_okay=False),
    help="Draw queries only from records whose ids are in this file, one per line, such as those that the model was "
    "not trained on; a taxon is held out only if all its records are.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
@pass_context
def evaluate(
    context: Context,
    /,
    reference: str | None,
    marker: str | None,
    models: tuple[str, ...],
    queries: int,
    seed: int,
    crops: tuple[int, ...],
    no_crops: bool,
    no_others: bool,
    without: tuple[str, ...],
    vectors_only: bool,
    output: Path | None,
    training_to: Path | None,
    unseen: Path | None,
    as_json: bool,
) -> None:
    """Measure the accuracy of classification on held-out records.

    The accuracy of names, confidences and claims of absence is measured on records of a labelled reference. Records,
    species, genera and families are held out in turn, and exact copies of the remaining records are queried too. The
    remaining records form a new reference. vsearch, SINTAX, blastn and MMseqs2, if installed, and a naive Bayes
    classifier classify the same queries with the same number of threads. Every model embeds all records again, which
    takes long for large models.

    \b
    Example:
      ednabed evaluate --queries 500 --output accuracy.md
    """
    from threadpoolctl import threadpool_limits

    from ednabed.base.atomic import write_atomic
    from ednabed.base.sealed import to_json
    from ednabed.engine.threads import cores
    from ednabed.evaluate.accuracy import evaluate as run
    from ednabed.evaluate.ednabed_method import labelled_records
    from ednabed.evaluate.report import to_markdown
    from ednabed.evaluate.splits import split, write_records
    from ednabed.evaluate.unseen import read_ids
    from ednabed.reference import layout
    from ednabed.reference.opened import open_reference

    if no_crops and crops:
        raise UsageError("--crop and --no-crops exclude each other; omit one of them")
    check_paths(() if unseen is None else (unseen,), [output, training_to])
    unseen_ids = None if unseen is None else read_ids(unseen)
    opened = open_reference(*layout.find_reference(context.workspace, reference))
    records = labelled_records(opened, marker)
    if not records:
        markers = ", ".join(sorted({name for run in opened.manifest.runs for name in run.markers if name})) or "none"
        raise InputError(f"{opened.name} has no labelled record of marker {marker!r}; its markers are: {markers}")
    parted = split(records, queries=queries, seed=seed, unseen=unseen_ids)
    if training_to is not None:
        write_records(training_to, parted.training)
        emit(f"{len(parted.training):,} of {parted.records:,} records, seed {seed}, {queries} queries: {training_to}")
        return
    embedders = _embedders(opened, models)
    methods = [*_ednabed_methods(embedders, opened.name, vectors_only), *([] if no_others else _other_methods(without))]
    threads = cores()
    chosen = (None,) if no_crops else (None, *(crops or (313, 150)))
    with threadpool_limits(threads):
        result = run(
            parted, methods, crops=chosen, threads=threads, title=marker or opened.name, command=_command(),
            embedders=embedders,
        )  # fmt: skip
    for name, reason in result.failures.items():
        notice(f"{name} is omitted: {reason}")
    if output is not None:
        write_atomic(output, to_json(result.to_dict()) if output.suffix == ".json" else to_markdown(result))
    if as_json:
        emit_json(result.to_dict())
    elif output is None:
        emit(to_markdown(result))


def _embedders(reference: Reference, models: tuple[str, ...]) -> list[Embedder]:
    """Return the requested models; without a request, that of the reference, and kmer6."""
    from ednabed.engine.open import open_embedder
    from ednabed.search.queries import embedder_for

    if models:
        return [open_embedder(name) for name in dict.fromkeys(models)]
    embedder = embedder_for(reference.spec, reference.name)
    return [embedder] if reference.spec.model == "kmer6" else [embedder, open_embedder("kmer6")]


def _ednabed_methods(embedders: list[Embedder], name: str, vectors_only: bool) -> list[Method]:
    from ednabed.evaluate.ednabed_method import EdnabedMethod

    ways = (True, False) if vectors_only else (True,)
    return [EdnabedMethod(embedder, align=align, reference_name=name) for embedder in embedders for align in ways]


def _other_methods(without: tuple[str, ...]) -> list[Method]:
    """Return the installed programs, and report those that are not installed."""
    from ednabed.evaluate.methods import installed

    others, absent = installed()
    for sentence in absent:
        notice(sentence)
    return [method for method in others if method.name not in without]


def _command() -> str:
    return " ".join(["ednabed", *sys.argv[1:]])
