"""``ednabed embed``: turn sequence files into a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import (
    Context,
    batch_size_option,
    device_options,
    emit,
    emit_json,
    json_option,
    keep_placeholders_option,
    model_option,
    notice,
    pass_context,
    policy_of,
    policy_options,
    threads_option,
)
from ednabed.errors import InputError, UsageError

if TYPE_CHECKING:
    from ednabed.store.run_writer import RunResult


@click.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "--dataset",
    help="Name of the study; the run becomes a folder in it, named after the date and time. Default: a study named "
    "'default'.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the run, relative to the workspace or absolute, instead of one in a --dataset.",
)
@click.option(
    "--labels", type=click.Path(path_type=Path),
    help="Lineages (taxonomy) of the records, joined by id: TSV, CSV or .qza.",
)  # fmt: skip
@click.option(
    "--abundance", type=click.Path(path_type=Path), multiple=True, metavar="TABLE",
    help="Count table (reads per feature and sample), joined by id: TSV, CSV, BIOM, .qza, mothur or DADA2; may be "
    "repeated.",
)  # fmt: skip
@click.option(
    "--no-counts", is_flag=True, help="If an INPUT also has counts per sample, ignore them and read only its sequences."
)
@click.option(
    "--samples", type=click.Path(path_type=Path),
    help="Sample metadata (latitude, longitude, date, …), joined by the name of the sample: TSV or CSV.",
)  # fmt: skip
@keep_placeholders_option
@click.option(
    "--max-sequences", type=click.IntRange(min=1), help="Stop after this number of accepted records. Default: no limit."
)
@click.option(
    "--min-length", type=click.IntRange(min=1), default=20, show_default=True, help="Minimum sequence length, in bases."
)
@click.option(
    "--no-resume", is_flag=True,
    help="Discard the work of an interrupted command, and create a new run even if the same input already has one.",
)  # fmt: skip
@model_option
@device_options
@batch_size_option
@policy_options
@threads_option
@json_option
@pass_context
def embed(
    context: Context,
    /,
    inputs: tuple[str, ...],
    dataset: str | None,
    output: Path | None,
    labels: Path | None,
    abundance: tuple[Path, ...],
    no_counts: bool,
    samples: Path | None,
    keep_placeholders: bool,
    max_sequences: int | None,
    min_length: int,
    no_resume: bool,
    model: str,
    use_gpu: bool | None,
    precision: str,
    batch_size: int | None,
    as_json: bool,
    **policy: Any,
) -> None:
    """Compute the vectors of sequences, and store them as a run.

    INPUT is FASTA, FASTQ, TSV, CSV or Parquet (also .gz, .zst), a QIIME 2 artifact, or - for standard input. A run is a
    folder with the records, one vector per record, the rejected records with reasons, and the provenance (model,
    settings, inputs). A vector is the list of numbers that the model computes from a sequence; similar sequences have
    similar vectors. If the command is interrupted, run it again: it computes only what is missing.

    With --abundance, the run has one record for each feature (ASV, OTU) in each sample where it has reads. A table that
    also contains the sequences (a DADA2 sequence table, an nf-core/ampliseq table) needs no INPUT. If its features are
    named by their sequences, the MD5 sums of the sequences become the ids.

    \b
    Example:
      ednabed embed asvs.fasta.gz --dataset lake_2026
      ednabed embed rep-seqs.qza --abundance table.qza --labels taxonomy.qza --samples samples.tsv --dataset lake_2026
      ednabed embed --abundance seqtab.csv --dataset lake_2026
    """
    from ednabed.engine.open import open_embedder
    from ednabed.store.count_inputs import UndecidedCounts
    from ednabed.store.run_writer import RunRequest, embed_to_run

    if dataset is not None and output is not None:
        raise UsageError("--dataset and --output exclude each other; give a study or a folder, not both")
    if abundance and no_counts:
        raise UsageError("--abundance and --no-counts exclude each other; omit one of them")
    started = time.monotonic()
    request = RunRequest(
        inputs=[Path(name) for name in inputs],
        workspace=context.workspace,
        dataset=dataset,
        output=None if output is None else Path(output),
        labels=labels,
        samples=samples,
        abundance=abundance,
        use_counts=not no_counts,
        min_length=min_length,
        max_sequences=max_sequences,
        batch_size=batch_size,
        keep_placeholders=keep_placeholders,
        resume=not no_resume,
    )
    embedder = open_embedder(model, policy_of(policy), use_gpu=use_gpu, precision=precision)
    try:
        result = embed_to_run(request, embedder)
    except UndecidedCounts as error:
        raise InputError(f"{error} (--abundance {error.given} or --no-counts)") from error
    seconds = time.monotonic() - started
    if as_json:
        emit_json(_facts(result, seconds))
        return
    if result.existed:
        notice(
            "the same input has already been embedded by this model; nothing was done (--no-resume creates a new run)"
        )
    _print(result, seconds, has_labels=labels is not None)


def _facts(result: RunResult, seconds: float) -> dict[str, Any]:
    manifest = result.run.manifest
    assert manifest is not None
    return {
        "run": str(result.run.folder),
        "dataset": manifest.dataset,
        "run_id": manifest.run_id,
        "existed": result.existed,
        "model": manifest.spec.model,
        "fingerprint": manifest.spec.fingerprint,
        "dimension": manifest.spec.dimension,
        "counts": manifest.counts,
        "computed": result.computed,
        "taken_up": result.taken_up,
        "compute": manifest.compute,
        "seconds": round(seconds, 2),
    }


def _print(result: RunResult, seconds: float, *, has_labels: bool) -> None:
    manifest = result.run.manifest
    assert manifest is not None
    counts, spec = manifest.counts, manifest.spec
    how = ", ".join(sorted({f"{c['device']} {c['precision']}" for c in manifest.compute})) or "nothing was computed"
    emit(f"run        {result.run.folder}")
    emit(f"model      {spec.model}, {spec.dimension} dimensions, fingerprint {spec.fingerprint[:12]} ({how})")
    emit(
        f"records    {counts['embedded']:,} embedded of {counts['read']:,} read, "
        f"{counts['distinct']:,} distinct sequences"
    )
    if counts["rejected"]:
        emit(f"rejected   {counts['rejected']:,}, reasons in {result.run.folder / 'rejected.tsv'}")
    for key, text in (("truncated", "cut at the token limit"), ("ambiguous", "contain an N")):
        if counts[key]:
            emit(f"{key:<10} {counts[key]:,} records {text}")
    if "reads" in counts:
        emit(f"reads      {counts['reads']:,} in {counts['samples']:,} samples")
    if has_labels or counts["labelled"]:
        emit(f"labelled   {counts['labelled']:,} records have a lineage")
    if not result.existed:
        taken_up = f", {result.taken_up:,} reused from an interrupted attempt" if result.taken_up else ""
        emit(f"computed   {result.computed:,} sequences{taken_up}, {seconds:.1f} s in total")
