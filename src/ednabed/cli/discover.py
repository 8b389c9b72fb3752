"""``ednabed discover``: what of these sequences is not in the reference?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.classify import Told, check_places, judging_options, open_from
from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, table

if TYPE_CHECKING:
    from ednabed.api.discover import Discovery
    from ednabed.taxonomy.candidate_taxon import CandidateTaxon

# Groups that are shown on standard output; the files have all of them.
_SHOWN = 20


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@judging_options
@click.option(
    "--identity", type=click.FloatRange(50, 100), default=97.0, show_default=True,
    help="Minimum identity of a sequence to the representative of its group, in percent.",
)  # fmt: skip
@click.option(
    "--abundance", type=click.Path(path_type=Path),
    help="Table of counts (features by samples, TSV or CSV); default: what the records say, else one read each.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the map.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results; default: discovery in the workspace. Files that discover wrote there are replaced, "
    "all else stays.",
)  # fmt: skip
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
    """Find candidate taxa: groups of sequences that are not in a labelled reference, each with an error rate.

    INPUT is as for classify. Equal sequences count once. The results are candidates.tsv, candidates.fasta
    (representatives), members.tsv and report.html (a page with a map). A group is a candidate if its genus, or a
    broader taxon, is not in the reference; if only its species is absent, it may be a described one. p is the chance
    that a sequence of a taxon in the reference looks so absent, at the rank shown; q the false discovery rate over all
    distinct sequences. The genera and species that the reference has in the taxon above are counted. The
    reference must be calibrated. If several files are read and records name no sample, each file is a sample; files of
    the same name are distinguished by their folders.

    \b
    Example:
      ednabed discover asvs.fasta --abundance counts.tsv --output discovery
    """
    from ednabed.api.discover import check_calibrated, discover_files
    from ednabed.export.discovery import FILES, check_folder
    from ednabed.sequences.counts import read_count_table

    folder = context.workspace / "discovery" if output is None else output
    check_folder(folder)
    check_places(inputs, [folder / name for name in FILES], abundance)
    counts = None if abundance is None else read_count_table(abundance)
    for note in () if counts is None else counts.notes:
        notice(f"{abundance}: {note}")
    classifier = open_from(context, reference, model, False, criteria)
    check_calibrated(classifier)
    told = Told(classifier, ("distinct sequence", "distinct sequences"))
    found = discover_files(
        classifier, inputs, folder, counts=counts, identity=identity, seed=seed, tell=told.count,
        show_progress=None,
    )  # fmt: skip
    # A sequence and its reverse complement are one now.
    told.counts = Counter({**found.sequences, "rejected": found.rejected})
    told.summary(None)
    _tell_counts(found)
    if as_json:
        emit_json(_facts(found, folder, classifier.criteria.alpha))
    elif found.groups:
        header = [
            "id",
            "candidate",
            "not in the reference",
            "within",
            "reference there",
            "reads",
            "sequences",
            "nearest",
        ]
        emit(table([*header, "identity", "p", "q", "warnings"], [_row(one) for one in found.groups[:_SHOWN]]))
    count = len(found.groups)
    if count > _SHOWN and not as_json:
        notice(f"... and {count - _SHOWN:,} more in {folder / 'candidates.tsv'}")
    notice(
        f"{count:,} {'group' if count == 1 else 'groups'} not in the reference, {found.candidates:,} of them candidate "
        f"{'taxon' if found.candidates == 1 else 'taxa'}; in {folder}, begin with report.html"
    )


def _row(one: CandidateTaxon) -> list[str]:
    from ednabed.store.files import clean

    near = one.representative.assignment
    cells = [
        one.id,
        "yes" if one.candidate else "no",
        one.claim.rank,
        "" if one.parent is None else one.parent.name,
        "" if one.parent is None else f"{one.parent.genera:,} genera, {one.parent.species:,} species",
        f"{one.reads:,}",
        f"{one.sequences:,}",
        _deepest(near.nearest_lineage),
        "" if near.identity is None else f"{near.identity:.1f}",
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


def _tell_counts(found: Discovery) -> None:
    if found.not_in_counts:
        notice(
            f"{found.not_in_counts:,} records are not in the table of counts, such as "
            f"{', '.join(map(repr, found.not_in_counts_examples))}; they have the reads that they say, else one"
        )
    if found.repeated:
        notice(f"{found.repeated:,} records have the id of an earlier one, which has the counts")
