"""``ednabed export``: write stored data in the formats of other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ednabed.cli.common import (
    Context,
    assignments_option,
    check_text,
    emit_json,
    json_option,
    notice,
    pass_context,
    threads_option,
)
from ednabed.errors import UsageError

_FORMATS = (
    "fasta", "tsv", "parquet", "h5ad", "qiime2", "qza", "mdt", "faire", "dwc", "krona", "sintax", "dada2",
)  # fmt: skip


@click.command()
@click.option(
    "--reference",
    help="Folder of a reference, or the name of a build. Default: data/reference in the workspace, or all runs if it "
    "does not exist.",
)
@click.option(
    "--run", "runs", multiple=True,
    help="Export this run instead: dataset/run, a dataset (its newest run) or a folder; may be repeated.",
)  # fmt: skip
@click.option("--dataset", "datasets", multiple=True, help="Export only records of this dataset; may be repeated.")
@click.option("--where", help="Filter on record columns, as in SQL: \"sample = 'S1' AND abundance >= 10\".")
@assignments_option
@click.option("--format", "format_", required=True, type=click.Choice(_FORMATS), help="Format; see above.")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path),
    help="File to write; a folder for qiime2, qza, mdt (unless it ends in .xlsx), faire, dada2, and krona with "
    "--per-sample. An earlier export at this path is replaced.",
)  # fmt: skip
@click.option(
    "--occurrences/--distinct", default=None,
    help="fasta, tsv, parquet: one entry per record, or one per distinct sequence with its reads summed. Default: "
    "distinct for fasta, else occurrences.",
)  # fmt: skip
@click.option(
    "--ids", type=click.Choice(["own", "digest"]), default="own", show_default=True,
    help="Feature ids: own, the id of the first record, with a suffix (_1, _2, …) if several sequences share it; "
    "digest, the digest of the bases.",
)  # fmt: skip
@click.option("--obsm", is_flag=True, help="h5ad: vectors in obsm['X_ednabed'] instead of X.")
@click.option(
    "--by-sample", is_flag=True,
    help="h5ad: samples in obs, sequences in var, reads in X, vectors in varm['X_ednabed'].",
)  # fmt: skip
@click.option(
    "--about", type=click.Path(path_type=Path, dir_okay=False),
    help="dwc: TOML file with title, abstract, license, date and contact of the data set, for eml.xml; "
    "see the example in docs/formats.md.",
)  # fmt: skip
@click.option("--no-biom", is_flag=True, help="qiime2: omit feature-table.biom.")
@click.option("--per-sample", is_flag=True, help="krona: write a folder with one file per sample.")
@threads_option
@json_option
@pass_context
def export(
    context: Context,
    /,
    reference: str | None,
    runs: tuple[str, ...],
    datasets: tuple[str, ...],
    where: str | None,
    assignments: str | None,
    format_: str,
    output: Path,
    occurrences: bool | None,
    ids: str,
    obsm: bool,
    by_sample: bool,
    about: Path | None,
    no_biom: bool,
    per_sample: bool,
    as_json: bool,
) -> None:
    """Export records, names and vectors for other programs.

    fasta: sequences with ;size=, for VSEARCH and others. tsv, parquet: records with all their columns. h5ad: AnnData
    with the vectors, for scanpy. qiime2: a folder with taxonomy, feature table (TSV, BIOM) and sequences; qza: the same
    as artifacts. mdt: tables for GBIF's Metabarcoding Data Toolkit, TSV or .xlsx. faire: tables of FAIR eDNA. dwc: a
    Darwin Core Archive (zip) of occurrences with DNA-derived data, for GBIF and OBIS. krona: reads by lineage, for
    ktImportText. sintax, dada2: named sequences as references for VSEARCH and DADA2.

    Records without a lineage of their own get the names that 'ednabed classify --run' has kept next to their run.

    In tsv, a cell that a spreadsheet would run as a formula is prefixed with an apostrophe; other formats keep names
    unchanged. h5ad, and mdt as .xlsx, require pip install "ednabed[export]".

    \b
    Example:
      ednabed export --format fasta --output sequences.fasta
      ednabed export --run lake_2026 --format qiime2 --output lake_qiime2
      ednabed export --run lake_2026 --assignments taxonomy.tsv --format krona --output lake.txt
      ednabed export --dataset lake_2026 --format dwc --about about.toml --output lake.zip
      ednabed export --dataset lake_2026 --where "marker = '12S'" --format mdt --output lake.xlsx
    """
    from ednabed.api import get_data_manager
    from ednabed.reference.loose import LooseRuns
    from ednabed.search.choice import Choice
    from ednabed.workflows.exports import WITH_NAMES, ExportOptions, export_records
    from ednabed.workflows.names import find_assignments

    if reference is not None and runs:
        raise UsageError("--reference and --run exclude each other; omit one of them")
    check_text(*datasets)
    data = get_data_manager(context.workspace)
    collection = data.loose_runs(runs) if runs else data.collection(reference)
    if isinstance(collection, LooseRuns) and not runs:
        notice(f"there is no reference: exporting from {collection.name}; 'ednabed consolidate' builds a reference")
    assigned = None
    if format_ in WITH_NAMES or assignments is not None:
        assigned = find_assignments(collection, context.workspace, assignments)
    options = ExportOptions(ids, occurrences, obsm, by_sample, not no_biom, per_sample, about)
    choice = Choice(datasets=datasets, where=where)
    done = export_records(collection, output, format_, choice=choice, assigned=assigned, options=options)
    for note in done.notes:
        notice(note)
    if as_json:
        emit_json({**asdict(done), "target": str(done.target)})
        return
    counts = [f"{done.sequences:,} distinct sequences", f"{done.records:,} records"]
    counts += [f"{done.samples:,} samples"] if done.samples is not None else []
    counts += [f"{done.reads:,} reads"] if done.reads is not None else []
    notice(f"{', '.join(counts)}; in {done.target}" + (f" ({', '.join(done.files)})" if done.files else ""))
