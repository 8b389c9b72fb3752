"""Export a collection in the formats of other programs, for the command line and the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.files import check_file
from ednabed.base.version import __version__
from ednabed.errors import InputError, UsageError
from ednabed.export.about import DatasetAbout, read_about
from ednabed.export.dwc import write_dwc
from ednabed.export.faire import write_faire
from ednabed.export.fasta import write_fasta
from ednabed.export.h5ad import write_h5ad
from ednabed.export.h5ad_samples import write_h5ad_samples
from ednabed.export.ids import RULES, FeatureIds
from ednabed.export.krona import write_krona
from ednabed.export.mdt import is_workbook, write_mdt
from ednabed.export.missing import missing
from ednabed.export.names import Namer
from ednabed.export.place import check_target_file, check_target_folder, files_of
from ednabed.export.qiime2 import write_qiime2
from ednabed.export.qza import write_qza
from ednabed.export.record_parquet import write_parquet
from ednabed.export.record_tsv import write_tsv
from ednabed.export.report import ExportReport, Written
from ednabed.export.selection import Selection
from ednabed.export.training_sets import write_dada2, write_sintax
from ednabed.reference.collection import Collection
from ednabed.reference.layout import check_outside
from ednabed.reference.opened import Reference
from ednabed.search.choice import Choice
from ednabed.workflows.names import AssignmentSource

FORMATS: Mapping[str, tuple[str, str]] = {
    "fasta": (".fasta", "sequences for VSEARCH, BLAST and others, with ;size="),
    "tsv": (".tsv", "records with all their columns, safe to open in a spreadsheet"),
    "parquet": (".parquet", "the same with types and unchanged names, for R, Python and DuckDB"),
    "h5ad": (".h5ad", "AnnData for scanpy: vectors, names in obs; requires anndata"),
    "qiime2": ("", "a folder that QIIME 2 imports: taxonomy, feature table (TSV and BIOM), sequences"),
    "qza": ("", "a folder of QIIME 2 artifacts (.qza): taxonomy, feature table, sequences; without provenance"),
    "mdt": ("", "tables for GBIF's Metabarcoding Data Toolkit, as TSV in a folder or as one .xlsx"),
    "faire": ("", "a folder of FAIR eDNA (FAIRe) tables: taxaFinal, otuFinal"),
    "dwc": (".zip", "Darwin Core Archive for GBIF and OBIS: occurrences with DNA-derived data"),
    "krona": (".txt", "reads by lineage for ktImportText"),
    "sintax": (".fasta", "named sequences as a reference for VSEARCH and USEARCH, with ;tax="),
    "dada2": ("", "a folder of references for DADA2: assignTaxonomy, addSpecies"),
}
"""Maps each format to its file extension (empty: a folder) and its description in one line."""
BY_RECORD = ("fasta", "tsv", "parquet")
"""Formats with one entry per record or one per distinct sequence."""
WITH_NAMES = tuple(format for format in FORMATS if format != "fasta")
"""Formats that contain names, and therefore accept assignments."""
WITH_IDS = tuple(format for format in FORMATS if format != "krona")
"""Formats in which features have ids."""
_TEXT = ("fasta", "tsv", "krona", "sintax")


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export; most of them apply to some formats only.

    Attributes:
        ids: Rule for feature ids, one of ``export.ids.RULES``.
        occurrences: One entry per record, not per distinct sequence (``BY_RECORD``); None takes the default of the
            format: False for ``fasta``, True for ``tsv`` and ``parquet``.
        obsm: ``h5ad``: vectors in ``obsm["X_ednabed"]`` instead of ``X``.
        by_sample: ``h5ad``: samples by features, reads as ``X`` and vectors in ``varm["X_ednabed"]``.
        biom: ``qiime2``: also write ``feature-table.biom``, which requires biom-format.
        per_sample: ``krona``: one file per sample.
        dataset: ``dwc``: a TOML file with title, licence and contact of the data set (``export.about``).
    """

    ids: str = "own"
    occurrences: bool | None = None
    obsm: bool = False
    by_sample: bool = False
    biom: bool = True
    per_sample: bool = False
    dataset: Path | None = None


def export_records(
    collection: Collection,
    target: Path,
    format: str,
    *,
    rows: npt.NDArray[np.int64] | None = None,
    choice: Choice | None = None,
    assigned: AssignmentSource | None = None,
    options: ExportOptions | None = None,
) -> ExportReport:
    """Write distinct sequences of a collection, with their records, in a format of another program.

    The output appears complete or not at all, and replaces an earlier one when it is finished. Vectors and bases are
    read in pieces; feature ids and names are kept in memory for all distinct sequences.

    Args:
        collection: An opened reference, or runs.
        target: A file; a folder for ``qiime2``, ``qza``, ``faire``, ``dada2``, ``mdt`` (unless the name ends in
            ``.xlsx``), and ``krona`` with ``per_sample``.
        format: One of ``FORMATS``.
        rows: Distinct sequences to write, as int64 row numbers of the collection; None takes all.
        choice: Selection of their records; None takes all.
        assigned: Names for records without a lineage of their own (``names.find_assignments``); None for none.
        options: Further options; None takes the defaults.

    Returns:
        What was written, with notes for the user.

    Raises:
        UsageError: The format is unknown, an option does not apply to it, or the target must not be written.
        MissingPackage: A package that the format requires is not installed.
        StoreError: There is nothing to export, or a given dataset or run does not exist.
        InputError: The assignments cannot be read, name none of the exported records, or name an id of several
            sequences.
    """
    assigned = assigned or AssignmentSource()
    options = options or ExportOptions()
    _check(target, format, assigned, options)
    published = None if options.dataset is None else read_about(options.dataset)
    selection = Selection(collection, rows, choice)
    feature_ids = FeatureIds(selection, options.ids)
    names = assigned.namer(collection)
    if assigned.file is not None:
        _check_names(names, selection, feature_ids, assigned.file)
    by_record = format in BY_RECORD and (format != "fasta" if options.occurrences is None else options.occurrences)
    has_ids = format in WITH_IDS and not by_record
    about = {**_about(collection), **({"ids": f"{options.ids}: {RULES[options.ids]}"} if has_ids else {})}
    otu_db = assigned.references(selection.runs())
    written = _WRITERS[format](
        _Export(selection, names, feature_ids, target, options, by_record, published, otu_db, about)
    )
    return ExportReport(
        format=format,
        target=target,
        files=files_of(target) if target.is_dir() else (),
        sequences=written.sequences,
        records=written.records,
        samples=written.samples,
        reads=written.reads,
        notes=(
            *written.notes,
            # Ids in an archive are chosen within each dataset, which adds its own notes.
            *(feature_ids.notes() if has_ids and format != "dwc" else []),
            *(_names_notes(names, assigned, selection) if format in WITH_NAMES else []),
            *missing(selection, format, names, per_sample=options.per_sample),
            *_runs_notes(selection),
        ),
    )


@dataclass(frozen=True)
class _Export:
    """What the writers of the formats need."""

    selection: Selection
    names: Namer
    ids: FeatureIds
    target: Path
    options: ExportOptions
    by_record: bool
    published: DatasetAbout | None
    otu_db: str
    about: dict[str, Any]


def _write_h5ad(e: _Export) -> Written:
    if e.options.by_sample:
        return write_h5ad_samples(e.selection, e.names, e.ids, e.target, about=e.about)
    return write_h5ad(e.selection, e.names, e.ids, e.target, obsm=e.options.obsm, about=e.about)


_WRITERS: Mapping[str, Callable[[_Export], Written]] = {
    "fasta": lambda e: write_fasta(e.selection, e.ids, e.target, occurrences=e.by_record),
    "tsv": lambda e: write_tsv(e.selection, e.names, e.ids, e.target, occurrences=e.by_record),
    "parquet": lambda e: write_parquet(e.selection, e.names, e.ids, e.target, occurrences=e.by_record),
    "h5ad": _write_h5ad,
    "qiime2": lambda e: write_qiime2(e.selection, e.names, e.ids, e.target, biom=e.options.biom, about=e.about),
    "qza": lambda e: write_qza(e.selection, e.names, e.ids, e.target, about=e.about),
    "mdt": lambda e: write_mdt(e.selection, e.names, e.ids, e.target, otu_db=e.otu_db, about=e.about),
    "faire": lambda e: write_faire(e.selection, e.names, e.ids, e.target, otu_db=e.otu_db, about=e.about),
    "dwc": lambda e: write_dwc(e.selection, e.names, e.options.ids, e.target, e.published),
    "krona": lambda e: write_krona(
        e.selection, e.names, e.ids, e.target, per_sample=e.options.per_sample, about=e.about
    ),
    "sintax": lambda e: write_sintax(e.selection, e.names, e.ids, e.target),
    "dada2": lambda e: write_dada2(e.selection, e.names, e.ids, e.target, about=e.about),
}


def _check(target: Path, format: str, assigned: AssignmentSource, options: ExportOptions) -> None:
    if format not in FORMATS:
        raise UsageError(f"export format {format!r} is unknown; use one of {', '.join(FORMATS)}")
    restricted = (
        (options.occurrences is not None, "one entry per record or per distinct sequence", BY_RECORD),
        (options.obsm, "vectors in obsm", ("h5ad",)),
        (options.by_sample, "samples by features", ("h5ad",)),
        (options.dataset is not None, "a file about the data set", ("dwc",)),
        (not options.biom, "omitting BIOM", ("qiime2",)),
        (options.per_sample, "one file per sample", ("krona",)),
        (bool(assigned), "names from assignments", WITH_NAMES),
    )
    for requested, what, formats in restricted:
        if requested and format not in formats:
            raise UsageError(f"{what} is an option for {', '.join(formats)}, not for {format}; omit it")
    if options.obsm and options.by_sample:
        raise UsageError("`obsm` and `by_sample` exclude each other, because samples have no vectors; omit one of them")
    is_by_record = options.occurrences is not False and format in ("tsv", "parquet")
    if options.ids != "own" and (format not in WITH_IDS or is_by_record):
        raise UsageError(
            f"feature ids ({options.ids}) do not apply to this {format} export, which has none; omit `ids`"
        )
    if assigned.file is not None and assigned.file.resolve() == target.resolve():
        raise UsageError(f"{target} is given twice, as assignments and for the export; give another")
    example = f"export{FORMATS[format][0]}"
    if options.per_sample or (not FORMATS[format][0] and not (format == "mdt" and is_workbook(target))):
        check_target_folder(target, format)
    elif format in _TEXT:
        # These may be written to a pipe.
        check_file(target, example)
        check_outside(target)
    else:
        check_target_file(target, example)


def _check_names(names: Namer, selection: Selection, feature_ids: FeatureIds, assignments: Path) -> None:
    """Raise InputError if the assignments match none of the records."""
    for piece in selection.pieces(("id",), bases=False):
        lab_ids = [feature_ids.lab_id(row, digest) for row, digest in zip(piece.rows.tolist(), piece.ids, strict=True)]
        if any(names.fit(ids) for ids in (piece.ids, lab_ids, piece.records.column("id").to_pylist())):
            return
    raise InputError(
        f"{assignments}: none of its ids matches a record to export; give the output of 'ednabed classify' for these"
    )


def _about(collection: Collection) -> dict[str, Any]:
    """Return the provenance of the vectors."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": f"ednabed {__version__}",
        "source": collection.name,
        "build": collection.manifest.build if isinstance(collection, Reference) else "",
        "model": collection.spec.model,
        "fingerprint": collection.spec.fingerprint,
        "licence": collection.spec.licence or "",
    }


def _names_notes(names: Namer, assigned: AssignmentSource, selection: Selection) -> list[str]:
    notes = assigned.notes(selection.runs()) if names.named < names.requested or names.assigned else []
    if names.divided:
        notes.append(f"{names.divided:,} sequences have records of different lineages; each gets the most frequent one")
    if not assigned:
        return notes
    source = "these assignments" if assigned.file is None else str(assigned.file)
    without = f"; the assignments of {names.nameless:,} more have no name" if names.nameless else ""
    notes += [f"{names.assigned:,} records get their names from {source}{without}"]
    if names.kept:
        notes.append(f"{names.kept:,} records that also have an assignment keep their own lineage")
    return notes


def _runs_notes(selection: Selection) -> list[str]:
    several = {name: runs for name, runs in selection.runs_of_datasets().items() if runs > 1}
    return [
        f"dataset {name} has {runs} runs, whose reads are summed; if they are runs of the same input, choose one"
        for name, runs in several.items()
    ]
