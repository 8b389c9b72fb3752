"""``ednabed classify``: assign taxonomy to sequences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import (
    Context,
    FirstNotices,
    check_text,
    emit,
    notice,
    options,
    pass_context,
    table,
    threads_option,
)
from ednabed.cli.reference import reference_option
from ednabed.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ednabed.export.sample_table import SampleTable
    from ednabed.reference.loose import LooseRuns
    from ednabed.taxonomy.classify import Classified, Classifier
    from ednabed.workflows.identify import Tally
    from ednabed.workflows.identify_runs import Keeper

DISTINCT = ("distinct sequence", "distinct sequences")
"""Words for one query and for several, if equal sequences count once."""

source_options = options(
    reference_option,
    click.option(
        "--model",
        help="Model of the reference, by name or folder. Default: the model that is recorded in the reference.",
    ),
)

judging_options = options(
    click.option(
        "--min-confidence", type=float, default=0.8, show_default=True,
        help="Minimum confidence of a name, 0 to 1. It also sets the minimum probability for reporting a taxon as not "
        "in the reference: the same for a species, 0.1 lower for a genus, halfway to 1 for a family or above (0.8, 0.7 "
        "and 0.9 by default).",
    ),
    click.option(
        "--alpha", type=float, default=0.05, show_default=True,
        help="Maximum p-value, and maximum false discovery rate (q-value), for reporting a taxon as not in the "
        "reference.",
    ),
    click.option(
        "--novel-coverage", type=float, default=80.0, show_default=True,
        help="Minimum share of the query inside the alignment, in percent, for reporting a taxon as not in the "
        "reference.",
    ),
    click.option(
        "--known", type=float,
        help="Share of queries whose species is in the reference, above 0 and below 1, on which confidences depend; "
        "other shares (exact copies, absent genera, absent families, …) are then taken from the calibration. Default: "
        "all shares are estimated from the queries, or taken from the calibration if fewer than 50 queries "
        "are distinct.",
    ),
)  # fmt: skip

classifier_options = options(
    judging_options,
    click.option(
        "--min-identity", type=float, default=0.0, show_default=True,
        help="Minimum identity to the nearest sequence, in percent; no name is given below it. Each rank also has a "
        "fixed minimum (with a calibrated reference, 93 % for a species).",
    ),
    click.option(
        "--min-coverage", type=float, default=0.0, show_default=True,
        help="Minimum share of the query that aligns to the nearest sequence, in percent; no name is given below it.",
    ),
    click.option(
        "--precision", type=float,
        help="Instead of --min-confidence, require the confidence at which names reached this precision in "
        "calibration, separately for each marker and rank; above 0 and below 1.",
    ),
    click.option(
        "--consensus", is_flag=True,
        help="Assign names by consensus of the best hits and fixed identity thresholds (species 97 %, genus 95 %, "
        "family 90 %), without confidences.",
    ),
    click.option(
        "--margin", type=float, default=1.0, show_default=True,
        help="With --consensus: include hits up to this many percentage points of identity below the best hit.",
    ),
    click.option(
        "--no-align", is_flag=True,
        help="Classify by vectors alone, without alignments; requires a calibrated reference.",
    ),
)  # fmt: skip


@click.command()
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path), metavar="[INPUT]...")
@click.option(
    "--run", "runs", multiple=True,
    help="Instead of INPUT: classify the distinct sequences of this run, and keep their names next to it. Give "
    "dataset/run, a dataset (its newest run) or a folder; may be repeated.",
)  # fmt: skip
@source_options
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the assignments to this file; the extension .jsonl gives JSON lines, any other TSV.",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["tsv", "qiime2", "sintax", "jsonl", "table"]),
    help="qiime2: taxonomy for QIIME 2; sintax: as 'vsearch --sintax' writes it. Default: by the extension of "
    "--output; without --output, a readable table (with --run, nothing).",
)  # fmt: skip
@click.option(
    "--taxon-table", type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a table of the reads of each taxon in each sample (TSV). If several files are read, records "
    "without a sample are counted under the names of their files.",
)  # fmt: skip
@click.option(
    "--abundance", type=click.Path(path_type=Path),
    help="Count table (features by samples, TSV or CSV) for --taxon-table. Default: counts in the records.",
)  # fmt: skip
@classifier_options
@threads_option
@pass_context
def classify(
    context: Context,
    /,
    inputs: tuple[Path, ...],
    runs: tuple[str, ...],
    reference: str | None,
    model: str | None,
    no_align: bool,
    output: Path | None,
    format_: str | None,
    abundance: Path | None,
    taxon_table: Path | None,
    **criteria: Any,
) -> None:
    """Assign taxonomy to sequences using a labelled reference.

    INPUT is FASTA, FASTQ, TSV, CSV or Parquet, plain, .gz or .zst; - is standard input. Each query gets a name at every
    rank at which the name is confident enough. If several species share its sequence, it usually gets their genus, and
    the column tied_species lists them. 'ednabed reference calibrate' measures how reliable the names from a reference
    are.

    With --run, the distinct sequences of a run are classified, and their names are kept next to the run ('ednabed runs
    show' lists them). From then on, export, search, 'runs map' and the dashboard use these names. If the run was
    embedded with the same model and settings as the reference, its stored vectors are used; otherwise its sequences are
    embedded again.

    \b
    Example:
      ednabed classify asvs.fasta --output taxonomy.tsv
      ednabed classify --run lake_2026 --reference data/fish
      ednabed classify asvs.fasta --output taxonomy.tsv --abundance counts.tsv --taxon-table taxa.tsv
    """
    from ednabed.export.assignments import SUMMARY_COLUMNS, summary
    from ednabed.workflows.identify import classify_files, write_assignments

    kind = _kind(inputs, runs, output, format_, abundance, taxon_table)
    about = about_path(output) if output is not None else None
    check_paths(inputs, [output, taxon_table, about], abundance)
    samples = None if taxon_table is None else _sample_table(abundance)
    collection = _loose(context, runs) if runs else None
    classifier = open_from(context, reference, model, no_align, criteria)
    report = TallyReport(classifier, ("query", "queries") if collection is None else DISTINCT)
    keeper: Keeper | None = None
    if collection is None:
        answers = classify_files(classifier, inputs, samples=samples, show_progress=None)
    else:
        answers, keeper = _of_runs(context, classifier, collection, not no_align, samples)
    assignments = report.tally.each(answers)
    if kind == "table":
        rows = [list(summary(one)) for one in assignments]
        emit(table([name.replace("_", " ") for name in SUMMARY_COLUMNS], rows))
    else:
        target = sys.stdout if output is None and format_ is not None else output
        write_assignments(assignments, target, kind)
    report.end(output)
    if output is not None:
        _write_about(classifier, output, report.tally, not no_align)
    if keeper is not None:
        _keep(keeper)
    if taxon_table is not None and samples is not None:
        _write_samples(samples, taxon_table)


def _kind(
    inputs: tuple[Path, ...],
    runs: tuple[str, ...],
    output: Path | None,
    format_: str | None,
    abundance: Path | None,
    taxon_table: Path | None,
) -> str:
    """Return the format of the results. Raises UsageError if options contradict each other."""
    from ednabed.export.assignments import assignment_format

    if bool(inputs) == bool(runs):
        raise UsageError("give either files (INPUT) or runs (--run), not both")
    if runs and abundance is not None:
        raise UsageError("--abundance is for files; a run has read counts in its records; omit --abundance")
    readable = format_ == "table" or (format_ is None and output is None and not runs)
    kind = "table" if readable else assignment_format(output, format_)
    if output is not None and kind == "table":
        raise UsageError("--format table is for reading on a terminal; omit --output or --format table")
    if abundance is not None and taxon_table is None:
        raise UsageError("--abundance is for the sample-by-taxon table; name the file to write with --taxon-table")
    return kind


def _sample_table(abundance: Path | None) -> SampleTable:
    """Return an empty sample-by-taxon table, with the counts of a file if one is given."""
    from ednabed.export.sample_table import SampleTable
    from ednabed.sequences.counts import read_count_table

    counts = None if abundance is None else read_count_table(abundance)
    for note in () if counts is None else counts.notes:
        notice(f"{abundance}: {note}")
    return SampleTable(counts)


def _loose(context: Context, runs: tuple[str, ...]) -> LooseRuns:
    from ednabed.api import get_data_manager

    check_text(*runs)
    return get_data_manager(context.workspace).loose_runs(runs)


def _of_runs(
    context: Context,
    classifier: Classifier,
    runs: LooseRuns,
    align: bool,
    samples: SampleTable | None,
) -> tuple[Iterator[Classified], Keeper]:
    """Return the classified distinct sequences of runs, and what keeps the results next to the runs."""
    from ednabed.workflows.identify_runs import Keeper, classify_runs, embeds_again

    if embeds_again(classifier, runs):
        notice(
            f"{runs.name} was embedded by {runs.spec.model} ({runs.spec.fingerprint[:12]}), the reference by "
            f"{classifier.collection.spec.model} ({classifier.collection.spec.fingerprint[:12]}), so the bases of its "
            f"{runs.rows:,} distinct sequences are embedded again with the latter; the run does not change"
        )
    keeper = Keeper(classifier, runs, context.workspace, align=align)
    return classify_runs(classifier, runs, keeper, samples=samples, show_progress=None), keeper


def _keep(keeper: Keeper) -> None:
    for kept in keeper.keep():
        notice(
            f"kept next to {kept.facts.label} in {kept.path}: names from {kept.facts.reference}, build "
            f"{kept.facts.build}"
        )


def check_paths(inputs: tuple[Path, ...], outputs: list[Path | None], abundance: Path | None = None) -> None:
    """Check files: none is both read and written or written twice, and outputs are at paths that are allowed.

    Raises:
        UsageError: A file may not be used.
    """
    from ednabed.base.files import check_file
    from ednabed.reference.layout import check_outside

    if (*inputs, abundance).count(Path("-")) > 1:
        raise UsageError("standard input (-) can be given only once")
    taken = {path.resolve() for path in inputs if path != Path("-")}
    for path in (abundance, *outputs):
        if path is None:
            continue
        if path.resolve() in taken:
            raise UsageError(f"{path} is given twice, as input and for results; give another")
        taken.add(path.resolve())
    for path in outputs:
        if path is not None:
            check_file(path, "results.tsv")
            check_outside(path)


def open_from(context: Context, reference: str | None, model: str | None, no_align: bool, criteria: Any) -> Classifier:
    """Open the classifier that ``classifier_options`` describe."""
    from ednabed.taxonomy.assign import Criteria
    from ednabed.workflows.identify import open_classifier

    return open_classifier(
        context.workspace,
        reference,
        model=model,
        criteria=Criteria(**criteria),
        align=not no_align,
    )


class TallyReport:
    """Reports on standard error how queries were classified.

    Args:
        classifier: The classifier.
        things: The words for one query and for several.

    Attributes:
        tally: Counts the queries.
    """

    def __init__(self, classifier: Classifier, things: tuple[str, str]) -> None:
        from ednabed.taxonomy.calibration import SCHEMA
        from ednabed.workflows.identify import Tally

        self._things = things
        self._classifier = classifier
        self._rejected = FirstNotices()
        self.tally = Tally(lambda one: self._rejected.add(f"rejected: {one.id!r}: {one.note}"))
        calibration = classifier.calibration
        if calibration is not None and calibration.schema != SCHEMA:
            notice(
                f"{classifier.collection.name} has a calibration of an earlier version ({calibration.created}), which "
                "ignores exact copies and assumes the same share of known species in every study; "
                "'ednabed reference calibrate' updates it"
            )
        if calibration is None and not classifier.criteria.consensus:
            notice(
                f"{classifier.collection.name} is not calibrated, so names are given by fixed identity thresholds "
                "(species 97 %, genus 95 %, family 90 %), without confidences, and no taxon is reported as absent; "
                "'ednabed reference calibrate' calibrates it"
            )

    def end(self, output: Path | None) -> None:
        """Report the totals; ``output`` is the file with the results, None if there is none."""
        from ednabed.store.assignment import STATUSES

        self._rejected.end("were rejected")
        tally = self.tally
        total = tally.statuses.total()
        parts = ", ".join(f"{tally.statuses[status]:,} {status}" for status in STATUSES)
        notice(f"{total:,} {self._things[total != 1]}: {parts}" + (f"; in {output}" if output else ""))
        self._shares()
        if tally.reversed:
            column = " (column strand)" if output else ""
            notice(f"{tally.reversed:,} are on the opposite strand to the reference{column}")
        if tally.unrelated:
            markers = [name for name in self._classifier.labels.markers if name]
            held = f" ({', '.join(markers)})" if markers else ""
            notice(
                f"{tally.unrelated:,} have no related sequence in the reference{held}; if they are of another marker, "
                "use a reference that contains it"
            )

    def _shares(self) -> None:
        """Report the share of known species that was used, and where the requested precision was not reached."""
        for marker, shares in self._classifier.shares.items():
            kind = f" {marker}" if marker else ""
            why = {
                "estimated": f"estimated from these {shares.queries:,} distinct{kind} queries",
                "fixed": "as requested",
                "default": f"assumed, because {shares.queries:,} distinct{kind} queries are not enough to estimate it",
            }[shares.source]
            notice(f"known species: {shares.known:.2f}, {why}")
        precision = self._classifier.criteria.precision
        for marker, ranks in self._classifier.unreached.items():
            scope = f" of {marker}" if marker else ""
            notice(
                f"no confidence reached precision {precision:g} in calibration at {', '.join(ranks)}{scope}, so no "
                "name is given there"
            )


def _write_about(classifier: Classifier, output: Path, tally: Tally, align: bool) -> None:
    """Write a file next to the results that records how they were obtained."""
    from ednabed.base.atomic import write_atomic
    from ednabed.base.sealed import to_json
    from ednabed.workflows.identify import about

    # There is no file next to a pipe or a device.
    if output.is_file():
        write_atomic(about_path(output), to_json(about(classifier, tally.statuses, align=align)))


def about_path(output: Path) -> Path:
    """Return the path of the file next to results that records how they were obtained."""
    return output.with_name(f"{output.name}.about.json")


def _write_samples(samples: SampleTable, path: Path) -> None:
    report = samples.write(path)
    notice(f"{report.rows:,} taxa in {report.samples:,} samples, {report.reads:,} reads; in {path}")
    if report.not_in_counts:
        notice(
            f"{report.not_in_counts:,} queries are not in the count table, such as "
            f"{', '.join(map(repr, report.not_in_counts_examples))}"
        )
    if report.not_in_queries:
        notice(
            f"{report.not_in_queries:,} features of the count table ({report.reads_omitted:,} reads) are not "
            f"among the queries, such as {', '.join(map(repr, report.not_in_queries_examples))}"
        )
    if report.repeated:
        notice(f"{report.repeated:,} queries have the id of an earlier one, to which the counts belong")
    if report.without_abundance:
        notice(f"{report.without_abundance:,} queries do not state their number of reads; each counts as one")
