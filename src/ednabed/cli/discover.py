"""``ednabed discover``: find sequences that are not in the reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.classify import DISTINCT, TallyReport, check_paths, judging_options, open_from, source_options
from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, table, threads_option

if TYPE_CHECKING:
    from ednabed.taxonomy.candidate_taxon import CandidateTaxon
    from ednabed.workflows.discover import Discovery

# Maximum groups that are shown on standard output; the files contain all of them.
_MAX_SHOWN = 20


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@source_options
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results. Default: discovery in the workspace. Files written there by discover are replaced; "
    "other files are kept.",
)  # fmt: skip
@click.option(
    "--abundance", type=click.Path(path_type=Path),
    help="Count table (features by samples, TSV or CSV). Default: counts in the records, else one read each.",
)  # fmt: skip
@click.option(
    "--identity", type=click.FloatRange(50, 100), default=97.0, show_default=True,
    help="Minimum identity of a sequence to the representative of its group, in percent.",
)  # fmt: skip
@judging_options
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed of the map.")
@threads_option
@json_option
@pass_context
def discover(
    context: Context,
    /,
    inputs: tuple[Path, ...],
    reference: str | None,
    model: str | None,
    identity: float,
    abundance: Path | None,
    seed: int,
    output: Path | None,
    as_json: bool,
    **criteria: Any,
) -> None:
    """Find candidate taxa that a reference lacks.

    INPUT is as for classify. Sequences whose taxon is not in the labelled reference are grouped by identity; identical
    sequences count once. A group is a candidate taxon if its genus, or a broader taxon, is not in the reference. If
    only its species is absent, it is listed but is no candidate, because it may well be a described species. The
    reference must be calibrated, which consolidate does. If several files are read, records without a sample are
    counted under the names of their files.

    The results are report.html (a page with a map; begin here), candidates.tsv (the groups), candidates.fasta (the
    representative sequence of each group) and members.tsv (the records of each group). p is the probability that a
    sequence appears this new although its taxon of the rank shown is in the reference; q is the false discovery rate
    over all distinct sequences. In the table that is printed, 'within' is the next higher taxon, and 'taxa in
    reference' counts the genera and species that the reference has in it.

    \b
    Example:
      ednabed discover asvs.fasta --abundance counts.tsv --output discovery
    """
    from ednabed.export.discovery import FILES, check_folder
    from ednabed.sequences.counts import read_count_table
    from ednabed.workflows.discover import check_calibrated, discover_files

    folder = context.workspace / "discovery" if output is None else output
    check_folder(folder)
    check_paths(inputs, [folder / name for name in FILES], abundance)
    counts = None if abundance is None else read_count_table(abundance)
    for note in () if counts is None else counts.notes:
        notice(f"{abundance}: {note}")
    classifier = open_from(context, reference, model, False, criteria)
    check_calibrated(classifier)
    report = TallyReport(classifier, DISTINCT)
    found = discover_files(
        classifier, inputs, folder, counts=counts, identity=identity, seed=seed, on_result=report.tally.add,
        show_progress=None,
    )  # fmt: skip
    # A sequence and its reverse complement now count as one.
    report.tally.statuses = Counter({**found.sequences, "rejected": found.rejected})
    report.end(None)
    _report_counts(found)
    if as_json:
        emit_json(_facts(found, folder, classifier.criteria.alpha))
    elif found.groups:
        header = [
            "id",
            "candidate",
            "not in the reference",
            "within",
            "taxa in reference",
            "reads",
            "sequences",
            "nearest",
        ]
        emit(table([*header, "identity", "p", "q", "warnings"], [_row(one) for one in found.groups[:_MAX_SHOWN]]))
    count = len(found.groups)
    if count > _MAX_SHOWN and not as_json:
        notice(f"... and {count - _MAX_SHOWN:,} more in {folder / 'candidates.tsv'}")
    notice(
        f"{count:,} {'group' if count == 1 else 'groups'} not in the reference, {found.candidates:,} of them candidate "
        f"{'taxon' if found.candidates == 1 else 'taxa'}; in {folder}, start with report.html"
    )


def _row(one: CandidateTaxon) -> list[str]:
    from ednabed.base.text import clean

    nearest = one.representative.assignment
    cells = [
        one.id,
        "yes" if one.candidate else "no",
        one.claim.rank,
        "" if one.parent is None else one.parent.name,
        "" if one.parent is None else f"{one.parent.genera:,} genera, {one.parent.species:,} species",
        f"{one.reads:,}",
        f"{one.sequences:,}",
        _deepest(nearest.nearest_lineage),
        "" if nearest.identity is None else f"{nearest.identity:.1f}",
        f"{one.claim.p:.2g}",
        f"{one.claim.q:.2g}",
        str(len(one.representative.warnings) or ""),
    ]
    return [clean(cell) for cell in cells]


def _deepest(lineage: tuple[str, ...]) -> str:
    return next((name for name in reversed(lineage) if name), "")


def _facts(found: Discovery, folder: Path, alpha: float) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "records": found.records,
        "rejected": found.rejected,
        "sequences": dict(found.sequences),
        "tested": found.tested,
        "alpha": alpha,
        "groups": len(found.groups),
        "candidates": found.candidates,
        "candidates_with_warnings": sum(one.candidate and bool(one.representative.warnings) for one in found.groups),
        "not_in_counts": found.not_in_counts,
        "repeated_ids": found.repeated,
        "taxa": [_group(one) for one in found.groups],
    }


def _group(one: CandidateTaxon) -> dict[str, Any]:
    found, parent = one.representative.assignment, one.parent
    return {
        "id": one.id,
        "candidate": one.candidate,
        "novel_rank": one.claim.rank,
        "lineage": list(one.lineage),
        "parent": None if parent is None else parent.name,
        "parent_rank": None if parent is None else parent.rank,
        "parent_genera": None if parent is None else parent.genera,
        "parent_species": None if parent is None else parent.species,
        "parent_sequences": None if parent is None else parent.sequences,
        "reads": one.reads,
        "sequences": one.sequences,
        "nearest_id": found.nearest_id,
        "identity": found.identity,
        "p": one.claim.p,
        "q": one.claim.q,
        "species_p": found.species_p,
        "species_q": found.species_q,
        "warnings": list(one.warnings),
    }


def _report_counts(found: Discovery) -> None:
    if found.not_in_counts:
        notice(
            f"{found.not_in_counts:,} records are not in the count table, such as "
            f"{', '.join(map(repr, found.not_in_counts_examples))}; their own counts are used, else one read each"
        )
    if found.repeated:
        notice(f"{found.repeated:,} records have the id of an earlier one, to which the counts belong")
