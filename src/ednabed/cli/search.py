"""``ednabed search``: find similar sequences and where else they occur."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import (
    Context,
    FirstNotices,
    assignments_option,
    check_text,
    notice,
    pass_context,
    threads_option,
)
from ednabed.cli.table import chosen_database, db_options, vector_column_option
from ednabed.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ednabed.search.hits import SearchOptions
    from ednabed.tables.table import Database
    from ednabed.workflows.search import Answer, QueryInput, SearchReport

_QUERY = "Query: "


@click.command()
@click.option(
    "--run",
    help="Run that contains the query, with --seq-idx or --id: dataset/run, a dataset (its newest run) or a folder.",
)
@click.option(
    "--seq-idx", type=click.IntRange(min=0), help=_QUERY + "the record with this number in --run, counted from 0."
)
@click.option(
    "--id", "record_id",
    help=_QUERY + "the record with this id, in --run or, without --run, among the sequences that are searched.",
)  # fmt: skip
@click.option("--sequence", help=_QUERY + "a pasted sequence.")
@click.option(
    "--fasta", "files", multiple=True, type=click.Path(path_type=Path),
    help=_QUERY + "every record of a sequence file (FASTA, FASTQ, TSV, CSV, Parquet; - is standard input); "
    "may be repeated.",
)  # fmt: skip
@click.option(
    "--reference",
    help="Folder of a reference, or the name that 'ednabed reference tag' gave to a build. Default: data/reference in "
    "the workspace, or all runs if it does not exist.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="Maximum hits per query.")
@click.option("--min-similarity", type=float, help="Minimum similarity of a hit (cosine, -1 to 1). Default: none.")
@click.option("--exclude-self", is_flag=True, help="Exclude the sequence of the query itself from its hits.")
@click.option(
    "--exclude-run", multiple=True, metavar="DATASET/RUN", help="Exclude the records of a run; may be repeated."
)
@click.option("--dataset", "datasets", multiple=True, help="Search only this dataset; may be repeated.")
@click.option(
    "--where",
    help="Search only records that meet this condition on their columns, written as in SQL: \"sample = 'S1' AND "
    'abundance >= 10".',
)
@click.option("--align", is_flag=True, help="Align the query to each hit, and add % identity, coverage and CIGAR.")
@click.option("--occurrences", is_flag=True, help="Show one line per record of a hit, not one per distinct sequence.")
@assignments_option
@click.option("--exact", is_flag=True, help="Compare with every vector, even if there is an (approximate) index.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the hits to this file; its extension determines the format: .json, .tsv, .b6 (BLAST tabular).",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["table", "json", "tsv", "blast6"]),
    help="Default: by the extension of --output; without --output, a readable table. blast6 (BLAST outfmt 6) requires "
    "--align.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.option(
    "--model",
    help="Model that embeds --sequence or --fasta, by name or folder. Default: the model of the sequences that are "
    "searched.",
)
@click.option("--table", "in_table", is_flag=True, help="Search the LanceDB table in --db instead of a reference.")
@db_options
@vector_column_option
@threads_option
@pass_context
def search(
    context: Context,
    /,
    run: str | None,
    seq_idx: int | None,
    record_id: str | None,
    sequence: str | None,
    files: tuple[Path, ...],
    reference: str | None,
    in_table: bool,
    db: str | None,
    storage: tuple[str, ...],
    vector_column: str,
    model: str | None,
    assignments: str | None,
    output: Path | None,
    format_: str | None,
    as_json: bool,
    **choice: Any,
) -> None:
    """Find the most similar sequences, and where they occur.

    The query is a record of a run (--run with --seq-idx or --id), a record of the reference (--id), a pasted sequence
    (--sequence) or every record of a file (--fasta). It is compared by vectors with the distinct sequences of a
    reference. The hits are those with the highest similarity (cosine), each with its occurrences.

    \b
    Example:
      ednabed search --run lake_2026 --seq-idx 0 --top-k 5
      ednabed search --fasta unknown.fasta --align --output hits.tsv
    """
    from ednabed.search.output import check_format, format_of
    from ednabed.workflows.search import QueryInput, write_answers

    if as_json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_} exclude each other; omit one of them")
    kind = format_of(output, "json" if as_json else format_)
    options = _options(choice)
    check_format(kind, options.align)
    _check_output(output, files)
    check_text(record_id, sequence, *options.exclude_runs, *options.datasets)
    if files.count(Path("-")) > 1:
        raise UsageError("standard input (-) can be given only once")
    if in_table and reference is not None:
        raise UsageError("--table and --reference exclude each other; omit one of them")
    if in_table and assignments is not None:
        raise UsageError("--table and --assignments exclude each other: a table keeps no assignments; omit one of them")
    database = chosen_database(context, db, storage) if in_table else None
    query = QueryInput(run, seq_idx, record_id, sequence, files)
    if database is not None:
        answers = _in_table(context, database, query, vector_column, model, options)
    else:
        answers = _in_collection(context, query, reference, model, options, assignments)
    target = sys.stdout if output is None else output
    rejected = FirstNotices()
    report = write_answers(
        answers, target, kind, single=not files, aligned=options.align,
        on_rejected=lambda one: rejected.add(f"not searched: {one.info['id']!r}: {one.info['rejected']}"),
    )  # fmt: skip
    rejected.end("were not searched")
    _report(report, assignments, many=bool(files), readable=kind == "table")


def _options(choice: dict[str, Any]) -> SearchOptions:
    from ednabed.search.hits import SearchOptions

    names = {"k": "top_k", "exclude_runs": "exclude_run"}
    same = ("exact", "exclude_self", "datasets", "min_similarity", "where", "occurrences", "align")
    return SearchOptions(**{name: choice[names.get(name, name)] for name in (*names, *same)})


def _check_output(output: Path | None, files: tuple[Path, ...]) -> None:
    """Refuse a file that is also read, and a path at which no results may be written."""
    from ednabed.base.files import check_file
    from ednabed.reference.layout import check_outside

    if output is not None and output.resolve() in [path.resolve() for path in files]:
        raise UsageError(f"--output {output} is one of the query files; give another")
    if output is not None:
        check_file(output, "hits.tsv")
        check_outside(output)


def _report(report: SearchReport, assignments: str | None, *, many: bool, readable: bool) -> None:
    """Report the totals on standard error."""
    from ednabed.workflows.names import NONE

    if report.assigned:
        notice(
            f"{report.assigned:,} hits have no lineage of their own; the lineage shown is their assignment by 'ednabed "
            "classify' (--assignments NONE omits it)"
        )
    elif report.unnamed and assignments not in (None, NONE):
        notice(
            f"{assignments} names none of the {report.unnamed:,} hits without a lineage of their own; assignments in a "
            "file are looked up by record ids and digests, not by the ids with a suffix (_1, _2, …) that exports give "
            "to sequences that share an id"
        )
    if report.without_hits and (many or not readable):
        have = "query has" if report.without_hits == 1 else "queries have"
        notice(f"{report.without_hits:,} {have} no hit" if many else "no hit")


def _in_collection(
    context: Context,
    query: QueryInput,
    reference: str | None,
    model: str | None,
    options: SearchOptions,
    assignments: str | None,
) -> Iterator[Answer]:
    from ednabed.reference.loose import LooseRuns
    from ednabed.reference.opened import Reference
    from ednabed.workflows.search import Searcher

    collection, answers = Searcher(context.workspace).search(
        query, reference=reference, model=model, options=options, assignments=assignments
    )
    if isinstance(collection, LooseRuns):
        notice(
            f"there is no reference: searched exactly in {collection.name}; 'ednabed consolidate' builds a reference"
        )
    yield from answers
    if isinstance(collection, Reference) and collection.index_fault is not None and not options.exact:
        notice(
            f"searched exactly, because {collection.index_fault}; 'ednabed consolidate --rebuild' builds the index "
            "again"
        )


def _in_table(
    context: Context,
    database: Database,
    query: QueryInput,
    vector_column: str,
    model: str | None,
    options: SearchOptions,
) -> Iterator[Answer]:
    from ednabed.workflows.search import Searcher

    notices, answers = Searcher(context.workspace).search_table(
        database, query, vector_column=vector_column, model=model, options=options
    )
    yield from answers
    for text in notices:
        notice(text)
