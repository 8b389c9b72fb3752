"""``ednabed validate``: check that related sequences are nearer than unrelated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ednabed.cli.common import (
    Context,
    device_options,
    emit,
    emit_json,
    json_option,
    model_option,
    pass_context,
    policy_of,
    policy_options,
    threads_option,
)
from ednabed.errors import EmbeddingError, UsageError


@click.command()
@click.option(
    "--fasta",
    type=click.Path(path_type=Path),
    help="Labelled sequences, at most 200. Default: three built-in sequences.",
)
@click.option(
    "--labels", type=click.Path(path_type=Path), help="TSV or CSV with ids and lineages, for a file without lineages."
)
@model_option
@device_options
@policy_options
@threads_option
@json_option
@pass_context
def validate(
    context: Context,
    /,
    fasta: Path | None,
    labels: Path | None,
    model: str,
    use_gpu: bool | None,
    precision: str,
    as_json: bool,
    **policy: Any,
) -> None:
    """Check that related sequences are nearer than unrelated ones.

    The cosine matrix of labelled sequences is printed. The exit code is 1 if a related sequence is not nearer than an
    unrelated one.

    \b
    Example:
      ednabed validate --model nt-v2-50m
    """
    from ednabed.engine.open import open_embedder
    from ednabed.evaluate.validation import validate as run
    from ednabed.sequences import read_labels

    if labels is not None and fasta is None:
        raise UsageError("--labels gives lineages for the sequences of --fasta; give that file too")
    embedder = open_embedder(model, policy_of(policy), use_gpu=use_gpu, precision=precision)
    result = run(embedder, fasta, None if labels is None else read_labels(labels))
    if as_json:
        emit_json(
            {
                "model": embedder.spec.model,
                "fingerprint": embedder.spec.fingerprint,
                "ids": result.ids,
                "lineages": result.lineages,
                "similarity": [[round(float(v), 6) for v in row] for row in result.similarity],
                "checked": result.checked,
                "failures": result.failures,
            }
        )
    else:
        emit(result.to_text())
    if not result.passed:
        raise EmbeddingError(
            f"{embedder.spec.model} failed the check for {len(result.failures)} of {result.checked} sequences"
        )
