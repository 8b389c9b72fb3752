"""``ednabed search``: find similar sequences and where else they occur."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import Context, assignments_option, check_text, notice, pass_context, threads_option
from ednabed.cli.table import database_of, db_options, vector_column_option
from ednabed.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ednabed.search.hits import SearchOptions
    from ednabed.search.queries import Query
    from ednabed.tables.table import Database

_QUERY = "Query: "
# Maximum rejected queries that are named on standard error; the results list all of them.
_MAX_SHOWN = 20


@click.command()
@click.option("--run", help="Run that contains the query: dataset/run, a dataset (its newest run) or a folder.")
@click.option(
    "--seq-idx", type=click.IntRange(min=0), help=_QUERY + "the record with this number in --run, counted from 0."
)
@click.option("--id", "record_id", help=_QUERY + "the record with this id, in --run or in the searched collection.")
@click.option("--sequence", help=_QUERY + "a pasted sequence, embedded with the model of the searched collection.")
@click.option(
    "--fasta", "files", multiple=True, type=click.Path(path_type=Path),
    help=_QUERY + "all records of a sequence file (FASTA, FASTQ, TSV, CSV, Parquet; - is standard input); "
    "may be repeated.",
)  # fmt: skip
@click.option(
    "--reference",
    help="Folder of a reference, or the name of a build. Default: data/reference in the workspace, or all runs if it "
    "does not exist.",
)
@click.option("--table", "in_table", is_flag=True, help="Search the LanceDB table instead of a reference.")
@db_options
@vector_column_option
@click.option(
    "--model",
    help="Model that embeds the query, by name or folder. Default: the model named in the searched collection.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="Maximum hits per query.")
@click.option("--exclude-self", is_flag=True, help="Exclude the sequence of the query itself.")
@click.option("--exclude-run", multiple=True, metavar="DATASET/RUN", help="Exclude a run; may be repeated.")
@click.option("--dataset", "datasets", multiple=True, help="Search only this dataset; may be repeated.")
@click.option("--min-similarity", type=float, help="Minimum similarity (cosine, -1 to 1).")
@click.option("--where", help="Filter on record columns, as in SQL: \"sample = 'S1' AND abundance >= 10\".")
@assignments_option
@click.option("--occurrences", is_flag=True, help="Show one line per record of a hit, not one per distinct sequence.")
@click.option("--align", is_flag=True, help="Align the query to each hit: % identity, coverage, CIGAR.")
@click.option("--exact", is_flag=True, help="Compare with every vector, even if there is an index.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file; its extension determines the format: .json, .tsv, .b6 (BLAST tabular).",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["table", "json", "tsv", "blast6"]),
    help="Format. Default: by the extension of --output, else a readable table. blast6 (outfmt 6) requires --align.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
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

    The query is a record, a pasted sequence, or every record of a file.

    \b
    Example:
      ednabed search --run lake_2026 --seq-idx 0 --top-k 5
      ednabed search --fasta unknown.fasta --align --output hits.tsv
    """
    from ednabed.api.names import NONE
    from ednabed.reference.layout import check_outside
    from ednabed.search.hits import SearchOptions
    from ednabed.search.output import HitWriter, check_format, format_of
    from ednabed.store.files import check_file

    if as_json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_} exclude each other; omit one of them")
    kind = format_of(output, "json" if as_json else format_)
    options = SearchOptions(
        k=choice["top_k"],
        exact=choice["exact"],
        exclude_self=choice["exclude_self"],
        exclude_runs=choice["exclude_run"],
        datasets=choice["datasets"],
        min_similarity=choice["min_similarity"],
        where=choice["where"],
        occurrences=choice["occurrences"],
        align=choice["align"],
    )
    check_format(kind, options.align)
    if output is not None and output.resolve() in [path.resolve() for path in files]:
        raise UsageError(f"--output {output} is one of the query files; give another")
    if output is not None:
        check_file(output, "hits.tsv")
        check_outside(output)
    query_arguments = {"run": run, "seq_idx": seq_idx, "record_id": record_id, "sequence": sequence, "files": files}
    check_text(record_id, sequence, *options.exclude_runs, *options.datasets)
    if files.count(Path("-")) > 1:
        raise UsageError("standard input (-) can be given only once")
    if in_table and reference is not None:
        raise UsageError("--table and --reference exclude each other; omit one of them")
    if in_table and assignments is not None:
        raise UsageError("--table and --assignments exclude each other: a table keeps no assignments; omit one of them")
    if in_table:
        database = database_of(context, db, storage)
        answers = _in_table(context, database, vector_column, options, model, query_arguments)
    else:
        answers = _in_collection(context, options, model, query_arguments, reference, assignments)
    # Errors that concern the search as a whole are raised before any file or folder is created.
    first = next(answers, None)
    target = sys.stdout if output is None else output
    without_hits = rejected = assigned = unnamed = 0
    with HitWriter(target, kind, single=not files, aligned=options.align) as writer:
        for query, hits in chain([] if first is None else [first], answers):
            writer.write(query.info, hits)
            if "rejected" in query.info:
                rejected += 1
                if rejected <= _MAX_SHOWN:
                    notice(f"not searched: {query.info['id']!r}: {query.info['rejected']}")
            else:
                without_hits += not hits
                assigned += sum(hit.get("lineage_from") == "assignment" for hit in hits)
                unnamed += sum(hit["lineage"] is None for hit in hits)
    if rejected > _MAX_SHOWN:
        notice(f"... and {rejected - _MAX_SHOWN:,} more were not searched")
    if assigned:
        notice(
            f"{assigned:,} hits have no lineage of their own; the lineage shown is their assignment by 'ednabed "
            "classify' (--assignments NONE omits it)"
        )
    elif unnamed and assignments not in (None, NONE):
        notice(
            f"{assignments} names none of the {unnamed:,} hits without a lineage of their own; assignments in a file "
            "are looked up by record ids and digests, not by the ids with a suffix (_1, _2, …) that exports give to "
            "sequences that share an id"
        )
    if without_hits and (files or kind != "table"):
        notice(
            "no hit" if not files else f"{without_hits:,} {'query has' if without_hits == 1 else 'queries have'} no hit"
        )


def _in_collection(
    context: Context,
    options: SearchOptions,
    model: str | None,
    query_arguments: dict[str, Any],
    reference: str | None,
    assignments: str | None,
) -> Iterator[tuple[Query, list[dict[str, Any]]]]:
    from ednabed.api import get_data_manager
    from ednabed.reference.loose import LooseRuns
    from ednabed.reference.opened import Reference

    collection, answers = get_data_manager(context.workspace).search(
        **query_arguments, reference=reference, model=model, options=options, assignments=assignments
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
    vector_column: str,
    options: SearchOptions,
    model: str | None,
    query_arguments: dict[str, Any],
) -> Iterator[tuple[Query, list[dict[str, Any]]]]:
    from ednabed.api import get_data_manager

    notices, answers = get_data_manager(context.workspace).search_table(
        database, **query_arguments, vector_column=vector_column, model=model, options=options
    )
    yield from answers
    for text in notices:
        notice(text)
