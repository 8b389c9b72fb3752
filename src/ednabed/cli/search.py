"""``ednabed search``: the nearest records of a run, by exact search."""

from __future__ import annotations

from typing import Any

import click

from ednabed.cli.common import Context, emit, emit_json, json_option, pass_context, table
from ednabed.errors import StoreError, UsageError


@click.command()
@click.option("--run", required=True, help="dataset/run, a dataset (its newest run) or a folder.")
@click.option("--seq-idx", type=click.IntRange(min=0), help="Query: the record with this number in the run, from 0.")
@click.option("--id", "record_id", help="Query: the record of the run with this id.")
@click.option("--sequence", help="Query: a pasted sequence; it is embedded with the run's own model.")
@click.option("--model", help="Where the run's model is, for --sequence; default: its name in the run.")
@click.option("--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits wanted.")
@json_option
@pass_context
def search(
    context: Context,
    run: str,
    seq_idx: int | None,
    record_id: str | None,
    sequence: str | None,
    model: str | None,
    top_k: int,
    as_json: bool,
) -> None:
    """Find the records of a run that are most like a record of it, or like a pasted sequence.

    \b
    Example:
      ednabed search --run lake_2026 --seq-idx 0 --top-k 5
    """
    from ednabed.search.runs import search_run
    from ednabed.store.runs import find_run

    if sum(query is not None for query in (seq_idx, record_id, sequence)) != 1:
        raise UsageError("name one query: --seq-idx N, --id ID or --sequence LETTERS")
    found = find_run(context.workspace, run)
    hits = search_run(found, seq_idx=seq_idx, record_id=record_id, sequence=sequence, model=model, k=top_k)
    if as_json:
        emit_json(hits)
        return
    if not hits:
        raise StoreError(f"{found.label} holds no record")
    header = ["rank", "similarity", "occurrences", "id", "sample", "abundance", "lineage"]
    emit(table(header, [[_cell(hit[key]) for key in header] for hit in hits]))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
