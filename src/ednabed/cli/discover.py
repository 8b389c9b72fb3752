"""``ednabed discover``: what is new among these sequences?"""

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

# Candidate taxa that are shown on standard output; the files have all of them.
_SHOWN = 20


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@judging_options
@click.option(
    "--identity", type=click.FloatRange(50, 100), default=97.0, show_default=True,
    help="Least identity of a sequence to the representative of its candidate taxon, in percent.",
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
    threads: int | None,
    identity: float,
    abundance: Path | None,
    seed: int,
    output: Path | None,
    as_json: bool,
    **criteria: Any,
) -> None:
    """Find candidate taxa: what a labelled reference does not know, clustered, with the chance of being wrong.

    INPUT is as for classify. Equal sequences count once. Written are candidates.tsv, candidates.fasta (their
    representatives), members.tsv and report.html (a page with a map). p is the chance of a known species that looks so
    new, q the same corrected for all sequences tested. The reference must be calibrated. Where several files are read
    and records name no sample, each file is a sample; files of one name are told apart by their folders.

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
    classifier = open_from(context, reference, model, False, threads, criteria)
    check_calibrated(classifier)
    told = Told(classifier, ("distinct sequence", "distinct sequences"))
    found = discover_files(
        classifier, inputs, folder, counts=counts, identity=identity, seed=seed, threads=threads, tell=told.count,
        show_progress=None,
    )  # fmt: skip
    # Those that are the reverse complement of another are one with it now.
    told.counts = Counter({**found.sequences, "rejected": found.rejected})
    told.summary(None)
    _tell_counts(found)
    alpha = classifier.criteria.alpha
    if as_json:
        emit_json(_facts(found, folder, alpha))
    elif found.candidates:
        header = ["id", "new", "belongs to", "reads", "sequences", "nearest", "identity", "q", "warnings"]
        emit(table(header, [_row(one) for one in found.candidates[:_SHOWN]]))
    count = len(found.candidates)
    if count > _SHOWN and not as_json:
        notice(f"... and {count - _SHOWN:,} more in {folder / 'candidates.tsv'}")
    sure = f", {found.sure:,} of them with q up to {alpha:g}" if count else ": nothing was judged novel"
    notice(f"{count:,} candidate {'taxon' if count == 1 else 'taxa'}{sure}; in {folder}, begin with report.html")


def _row(one: CandidateTaxon) -> list[str]:
    from ednabed.store.files import clean

    near = one.representative.assignment
    cells = [
        one.id,
        one.novel_rank or "",
        _deepest(one.lineage),
        f"{one.reads:,}",
        f"{one.sequences:,}",
        _deepest(near.nearest_lineage),
        "" if near.identity is None else f"{near.identity:.1f}",
        "" if one.q is None else f"{one.q:.2g}",
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
        "candidates": len(found.candidates),
        "candidates_with_q_up_to_alpha": found.sure,
        "candidates_with_warnings": sum(bool(one.representative.warnings) for one in found.candidates),
        "not_in_counts": found.not_in_counts,
        "repeated_ids": found.repeated,
    }


def _tell_counts(found: Discovery) -> None:
    if found.not_in_counts:
        notice(
            f"{found.not_in_counts:,} records are not in the table of counts, such as "
            f"{', '.join(map(repr, found.not_in_counts_examples))}; they have the reads that they say, else one"
        )
    if found.repeated:
        notice(f"{found.repeated:,} records have the id of an earlier one, which has the counts")
