"""``ednabed table``: import, embed and index sequences in a LanceDB table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ednabed.base.text import human_bytes
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
    options,
    pass_context,
    policy_of,
    policy_options,
    threads_option,
)
from ednabed.errors import UsageError

db_options = options(
    click.option(
        "--db", envvar="EDNABED_DB", show_envvar=True,
        help="LanceDB database: a folder (relative to the current folder) or an object-store address; its subfolder "
        "lancedb is also searched. Default: data/lancedb in the workspace.",
    ),
    click.option(
        "--storage-option", "storage", multiple=True, metavar="KEY=VALUE",
        help="LanceDB option for an object store; may be repeated.",
    ),
)  # fmt: skip

vector_column_option = click.option(
    "--vector-column", default="vector", show_default=True, help="Column of the table that contains the vectors."
)


@click.group("table")
def table_group() -> None:
    """Import sequences into a LanceDB table and embed them.

    Requires pip install "ednabed[table]".
    """


def chosen_database(context: Context, db: str | None, storage: tuple[str, ...]) -> Any:
    """Return the database that the options name. Raises UsageError for a storage option that is not KEY=VALUE."""
    from ednabed.tables.table import Database

    pairs = [option.partition("=") for option in storage]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise UsageError(f"--storage-option {key!r} is not KEY=VALUE")
    return Database.at(context.workspace, db, {key: value for key, _, value in pairs})


@table_group.command("import")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@db_options
@click.option("--labels", type=click.Path(path_type=Path), help="TSV or CSV with ids and lineages, joined by id.")
@keep_placeholders_option
@click.option(
    "--replace",
    is_flag=True,
    help="Accept changed sequences under known ids, replace all their columns, and clear their vectors.",
)
@json_option
@pass_context
def import_(
    context: Context,
    inputs: tuple[str, ...],
    db: str | None,
    storage: tuple[str, ...],
    labels: Path | None,
    keep_placeholders: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Add the records of sequence files to the table.

    Ids stay unique, and importing a file twice changes nothing.

    \b
    Example:
      ednabed table import barcodes.tsv.gz
    """
    from ednabed.tables.importing import import_records

    database = chosen_database(context, db, storage)
    result = import_records(
        database,
        [Path(name) for name in inputs],
        labels=labels,
        replace=replace,
        keep_placeholders=keep_placeholders,
    )
    if as_json:
        emit_json({"db": database.address, **asdict(result)})
        return
    emit(f"table      {database.address}")
    emit(f"records    {result.added:,} added of {result.read:,} read")
    for name in ("replaced", "unchanged", "repeated"):
        if getattr(result, name):
            emit(f"{name:<10} {getattr(result, name):,}")
    for note in result.notes:
        notice(note)
    if result.with_marker:
        notice(
            f"{result.with_marker:,} records are named id|marker, because a record of another marker has the same id"
        )
    if result.repeated:
        notice("repeated: the id is duplicated in the input; only its first record is in the table")
    if result.unchanged:
        notice("unchanged: other columns of known ids, including lineages, keep their values in the table")
    if result.rejected:
        emit(f"rejected   {len(result.rejected):,}")
        for id_, reason, source, record in result.rejected[:20]:
            notice(f"rejected: {source}, record {record}, id {id_!r}: {reason}")
        if len(result.rejected) > 20:
            notice(f"... and {len(result.rejected) - 20:,} more; --json lists all of them")


@table_group.command("embed")
@db_options
@vector_column_option
@click.option("--max-sequences", type=click.IntRange(min=1), help="Maximum rows to embed in this call.")
@click.option(
    "--min-length", type=click.IntRange(min=1), default=20, show_default=True, help="Minimum sequence length, in bases."
)
@click.option(
    "--no-resume", is_flag=True, help="Also replace vectors computed by another function, and retry rejected rows."
)
@model_option
@device_options
@batch_size_option
@policy_options
@threads_option
@json_option
@pass_context
def embed_(
    context: Context,
    /,
    db: str | None,
    storage: tuple[str, ...],
    vector_column: str,
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
    """Embed every pending row of the table. Run the same command again after an interruption to continue.

    \b
    Example:
      ednabed table embed --batch-size 64
    """
    from ednabed.engine.open import open_embedder
    from ednabed.tables.fill import embed_table
    from ednabed.tables.table import VectorColumns

    table = chosen_database(context, db, storage).open(VectorColumns(vector_column))
    embedder = open_embedder(model, policy_of(policy), use_gpu=use_gpu, precision=precision)
    stats = embed_table(
        table,
        embedder,
        context.workspace,
        batch_size=batch_size,
        max_sequences=max_sequences,
        min_length=min_length,
        resume=not no_resume,
    )
    if as_json:
        emit_json({"db": table.database.address, **asdict(stats)})
        return
    emit(f"table      {table.database.address}, {stats.rows:,} rows")
    emit(f"model      {stats.model}, fingerprint {stats.fingerprint[:12]} ({stats.device} {stats.precision})")
    emit(f"embedded   {stats.embedded:,} rows; {stats.pending:,} were pending")
    if stats.rejected:
        emit(f"rejected   {stats.rejected:,}, reasons in column '{table.columns.reason}'")
    if stats.left:
        emit(f"remaining  {stats.left:,} pending rows")
    taken_up = f", {stats.taken_up:,} reused from an interrupted attempt" if stats.taken_up else ""
    emit(f"computed   {stats.computed:,} distinct sequences{taken_up}, {stats.seconds:.1f} s in total")


@table_group.command("index")
@db_options
@vector_column_option
@click.option("--force", is_flag=True, help="Also build it for a small table, which exact search handles quickly.")
@threads_option
@json_option
@pass_context
def index_(
    context: Context, db: str | None, storage: tuple[str, ...], vector_column: str, force: bool, as_json: bool
) -> None:
    """Build an index on the table for faster search, and measure its recall.

    Rows added later are searched without the index; build it again when there are many.

    \b
    Example:
      ednabed table index
    """
    from ednabed.tables.index import build_index
    from ednabed.tables.table import VectorColumns

    table = chosen_database(context, db, storage).open(VectorColumns(vector_column))
    info = build_index(table, force=force)
    if as_json:
        emit_json({**asdict(info), "reached": info.reached})
        return
    emit(f"table      {info.address}, column '{info.vector_column}', {info.rows:,} rows with a vector")
    if not info.built:
        emit("index      none: a table of this size is searched exactly within tenths of a second (--force builds one)")
        return
    emit(f"index      {info.name}, {info.kind} of {info.lists:,} lists, built and measured in {info.seconds:.1f} s")
    emit(f"search     {info.nprobes:,} lists visited, {info.refine_factor} candidates compared for each row requested")
    if info.recall is not None and info.recall_strangers is not None:
        emit(f"recall     {info.recall:.2%} of the ten nearest, {info.recall_strangers:.2%} for queries unlike any row")
    if not info.reached:
        notice("no setting reaches the target recall of 99 %; exact search finds everything")


@table_group.command("status")
@db_options
@vector_column_option
@json_option
@pass_context
def status_(context: Context, db: str | None, storage: tuple[str, ...], vector_column: str, as_json: bool) -> None:
    """Count the rows of the table by state (pending, embedded, rejected) and fingerprint.

    Vectors that an interrupted or running 'table embed' has computed but not yet written count as waiting.

    \b
    Example:
      ednabed table status
    """
    from ednabed.models.spec import Spec
    from ednabed.tables.journals import rows_waiting
    from ednabed.tables.status import survey
    from ednabed.tables.table import VectorColumns

    table = chosen_database(context, db, storage).open(VectorColumns(vector_column))
    status = survey(table)
    fingerprint = None if status.spec is None else Spec.from_dict(status.spec).fingerprint
    waiting = 0 if fingerprint is None else rows_waiting(context.workspace, table, fingerprint)
    if as_json:
        emit_json({**asdict(status), "waiting": waiting})
        return
    emit(f"table      {status.address}, column '{status.vector_column}'")
    emit(f"rows       {status.rows:,}")
    emit(f"embedded   {status.embedded:,}")
    emit(f"pending    {status.pending:,}")
    if waiting:
        emit(f"waiting    {waiting:,} computed sequences, which 'ednabed table embed' writes to the table")
    emit(f"rejected   {status.rejected:,}")
    emit(f"invalid    {status.invalid:,}")
    if status.spec is not None:
        spec = {key: status.spec[key] for key in ("layer", "pooling", "max_tokens", "strand", "long", "alphabet")}
        policy = ", ".join(f"{key} {value}" for key, value in spec.items() if value is not None)
        emit(f"model      {status.spec['model']} ({policy})")
    for fingerprint, count in status.fingerprints.items():
        emit(f"  {fingerprint[:12]:<12} {count:,} vectors of {status.dimension} dimensions")
    if status.bytes_on_disk is not None:
        emit(f"size       {human_bytes(status.bytes_on_disk)}, {status.versions} versions kept")
