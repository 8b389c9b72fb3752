"""``ednabed versions compare``, and code that the commands of the group share."""

from __future__ import annotations

from pathlib import Path

import click

from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, threads_option

runs_root_option = click.option(
    "--runs-root",
    type=click.Path(path_type=Path),
    help="Folder of the runs, relative to the workspace or absolute. Default: the runs of the workspace.",
)
_RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def report_damaged(damaged: list[str]) -> None:
    """Report the runs that were omitted because they are damaged, one per line."""
    for sentence in damaged:
        notice(f"damaged: {sentence}")


@click.command()
@click.argument("first")
@click.argument("second")
@runs_root_option
@click.option(
    "--sample", type=click.IntRange(min=2), default=2000, show_default=True, help="Maximum common sequences to measure."
)
@click.option(
    "--rank",
    "ranks",
    type=click.Choice(_RANKS),
    multiple=True,
    default=["genus", "species"],
    show_default=True,
    help="Rank at which names of nearest neighbours are compared; may be repeated.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed of the sampling.")
@threads_option
@json_option
@pass_context
def compare(
    context: Context,
    first: str,
    second: str,
    runs_root: Path | None,
    sample: int,
    ranks: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Compare two versions on the sequences that both have embedded.

    The runs of each version are shown, and how far the versions agree. Overlap: share of the 10 nearest neighbours of a
    sequence that both versions have in common. Rank correlation: Spearman's, of the cosines of pairs. 1-NN accuracy:
    how often the nearest other sequence has the same name, among sequences whose name occurs at least twice.

    \b
    Example:
      ednabed versions compare v1.0 v2.0
    """
    from ednabed.evaluate.compare_versions import compare_versions
    from ednabed.store.version_runs import find_root

    found = compare_versions(
        context.workspace, first, second, root=runs_root, sample=sample, ranks=tuple(dict.fromkeys(ranks)), seed=seed
    )
    report_damaged(found.damaged)
    root = find_root(context.workspace, runs_root)
    for holding in found.holdings:
        name = holding.version.name
        if holding.unmatched:
            notice(
                f"{name}: runs without records, whose sequences cannot be matched: "
                f"{', '.join(holding.unmatched)}; embed their input again"
            )
        if holding.elsewhere:
            notice(
                f"{name}: tagged runs that are not in {root} and were omitted: {', '.join(holding.elsewhere)}; "
                "give their folder with --runs-root DIR"
            )
        if not holding.runs:
            notice(f"{name}: no runs in {root}; 'ednabed embed' with its model creates one")
    if as_json:
        emit_json(found.to_dict())
    else:
        emit(found.to_text())
