"""Export what a collection holds in a format of other programs: one function for command line and dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed import __version__
from ednabed.api.names import AssignmentSource
from ednabed.errors import InputError, UsageError
from ednabed.export.dwc import write_dwc
from ednabed.export.fasta import write_fasta
from ednabed.export.h5ad import write_h5ad
from ednabed.export.ids import RULES, FeatureIds
from ednabed.export.krona import write_krona
from ednabed.export.missing import missing
from ednabed.export.names import Namer
from ednabed.export.place import check_target_file, check_target_folder, files_of
from ednabed.export.qiime2 import write_qiime2
from ednabed.export.record_parquet import write_parquet
from ednabed.export.record_tsv import write_tsv
from ednabed.export.report import ExportReport, Written
from ednabed.export.selection import Selection
from ednabed.reference.collection import Collection
from ednabed.reference.layout import check_outside
from ednabed.reference.opened import Reference
from ednabed.search.choice import Choice
from ednabed.store.files import check_file

FORMATS: Mapping[str, tuple[str, str]] = {
    "fasta": (".fasta", "sequences for VSEARCH, BLAST and others, with ;size="),
    "tsv": (".tsv", "records with all their columns, safe to open in a spreadsheet"),
    "parquet": (".parquet", "the same with types, names unchanged: for R, Python and DuckDB"),
    "h5ad": (".h5ad", "AnnData for scanpy: vectors, names in obs; needs anndata"),
    "qiime2": ("", "a folder that QIIME 2 imports: taxonomy, feature table (TSV and BIOM), sequences"),
    "dwc": (".zip", "Darwin Core Archive for GBIF and OBIS: occurrences with DNA-derived data"),
    "krona": (".txt", "reads by lineage for ktImportText"),
}
"""Format to the ending of its file (empty: a folder) and what it is, in one line."""
BY_RECORD = ("fasta", "tsv", "parquet")
"""Formats that can have one entry per record as well as one per distinct sequence."""
WITH_NAMES = ("tsv", "parquet", "h5ad", "qiime2", "dwc", "krona")
"""Formats that hold names, and so take assignments."""
WITH_IDS = ("fasta", "tsv", "parquet", "h5ad", "qiime2", "dwc")
"""Formats in which features have ids."""
_TEXT = ("fasta", "tsv", "krona")


def export_records(
    collection: Collection,
    target: Path,
    format: str,
    *,
    rows: npt.NDArray[np.int64] | None = None,
    wanted: Choice | None = None,
    assigned: AssignmentSource | None = None,
    ids: str = "own",
    occurrences: bool | None = None,
    obsm: bool = False,
    biom: bool = True,
    per_sample: bool = False,
) -> ExportReport:
    """Write distinct sequences of a collection, with their records, in a format of other programs.

    What is written appears whole or not at all, and replaces what was there when it is finished. Vectors and bases are
    read in pieces; ids of features and names are held for all distinct sequences.

    Args:
        collection: An opened reference, or runs as they lie.
        target: A file; for ``qiime2``, and for ``krona`` with ``per_sample``, a folder.
        format: One of ``FORMATS``.
        rows: Distinct sequences to write, int64, numbers of rows of the collection; None takes all.
        wanted: Which records of them; None takes all.
        assigned: Names for records without a lineage of their own (``names.find_assignments``); None for none.
        ids: What features are called: one of ``export.ids.RULES``.
        occurrences: One entry per record, not per distinct sequence (``BY_RECORD``); None is the format's own: False
            for ``fasta``, True for ``tsv`` and ``parquet``.
        obsm: ``h5ad``: vectors in ``obsm["X_ednabed"]`` instead of ``X``.
        biom: ``qiime2``: write ``feature-table.biom`` too, which needs biom-format.
        per_sample: ``krona``: one file a sample.

    Returns:
        What was written, and what a reader should know.

    Raises:
        UsageError: There is no such format, an option is not one of it, a package that it needs is not installed, or
            nothing may be written at the target.
        StoreError: Nothing is left to export, or a dataset or run that was named is not there.
        InputError: The assignments cannot be read, name nothing of what is exported, or name an id that stands for
            several sequences.
    """
    assigned = assigned or AssignmentSource()
    _check(target, format, assigned, ids, occurrences, obsm, biom, per_sample)
    selection = Selection(collection, rows, wanted)
    called = FeatureIds(selection, ids)
    names = assigned.namer(collection)
    if assigned.file is not None:
        _check_names(names, selection, called, assigned.file)
    by_record = format in BY_RECORD and (format != "fasta" if occurrences is None else occurrences)
    has_ids = format in WITH_IDS and not by_record
    about = {**_about(collection), **({"ids": f"{ids}: {RULES[ids]}"} if has_ids else {})}
    writers: dict[str, Callable[[], Written]] = {
        "fasta": lambda: write_fasta(selection, called, target, occurrences=by_record),
        "tsv": lambda: write_tsv(selection, names, called, target, occurrences=by_record),
        "parquet": lambda: write_parquet(selection, names, called, target, occurrences=by_record),
        "h5ad": lambda: write_h5ad(selection, names, called, target, obsm=obsm, about=about),
        "qiime2": lambda: write_qiime2(selection, names, called, target, biom=biom, about=about),
        "dwc": lambda: write_dwc(selection, names, ids, target),
        "krona": lambda: write_krona(selection, names, called, target, per_sample=per_sample, about=about),
    }
    written = writers[format]()
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
            # Those of an archive are decided in each dataset, and noted by it.
            *(called.notes() if has_ids and format != "dwc" else []),
            *(_names_notes(names, assigned, selection) if format in WITH_NAMES else []),
            *missing(selection, format, names, per_sample=per_sample),
            *_runs_notes(selection),
        ),
    )


def _check(
    target: Path,
    format: str,
    assigned: AssignmentSource,
    ids: str,
    occurrences: bool | None,
    obsm: bool,
    biom: bool,
    per_sample: bool,
) -> None:
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r} of exports; take one of {', '.join(FORMATS)}")
    only = (
        (occurrences is not None, "one entry per record or per distinct sequence", BY_RECORD),
        (obsm, "vectors in obsm", ("h5ad",)),
        (not biom, "to leave BIOM out", ("qiime2",)),
        (per_sample, "a file a sample", ("krona",)),
        (bool(assigned), "names from assignments", WITH_NAMES),
    )
    for asked, what, formats in only:
        if asked and format not in formats:
            raise UsageError(f"{what} is a choice of {', '.join(formats)}, not of {format}; omit it")
    if ids != "own" and (format not in WITH_IDS or (occurrences is not False and format in ("tsv", "parquet"))):
        raise UsageError(f"ids by {ids} are ids of features, which this export as {format} does not have; omit --ids")
    if assigned.file is not None and assigned.file.resolve() == target.resolve():
        raise UsageError(f"{target} is named twice, as assignments and for the export; name another")
    example = f"export{FORMATS[format][0]}"
    if format == "qiime2" or per_sample:
        check_target_folder(target, format)
    elif format in _TEXT:
        # These may go to a pipe.
        check_file(target, example)
        check_outside(target)
    else:
        check_target_file(target, example)


def _check_names(names: Namer, selection: Selection, called: FeatureIds, assignments: Path) -> None:
    """Raise InputError where the assignments are those of something else."""
    for piece in selection.pieces(("id",), bases=False):
        lab_ids = [called.lab_id(row, digest) for row, digest in zip(piece.rows.tolist(), piece.ids, strict=True)]
        if any(names.fit(ids) for ids in (piece.ids, lab_ids, piece.records.column("id").to_pylist())):
            return
    raise InputError(
        f"{assignments}: none of its ids is one of the records to export; give what 'ednabed classify' wrote of these"
    )


def _about(collection: Collection) -> dict[str, Any]:
    """Return what made the vectors, and where they come from."""
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
    notes = assigned.notes(selection.runs()) if names.named < names.asked or names.assigned else []
    if names.divided:
        notes.append(
            f"{names.divided:,} sequences have records of different lineages; each has the one that most of them say"
        )
    if not assigned:
        return notes
    whence = "these assignments" if assigned.file is None else str(assigned.file)
    without = f"; the assignments of {names.nameless:,} more give no name" if names.nameless else ""
    notes += [f"{names.assigned:,} records took their names from {whence}{without}"]
    if names.kept:
        notes.append(f"{names.kept:,} records that have an assignment too kept the lineage of their own")
    return notes


def _runs_notes(selection: Selection) -> list[str]:
    several = {name: runs for name, runs in selection.runs_of_datasets().items() if runs > 1}
    return [
        f"dataset {name} has {runs} runs here, whose reads are added up; where these are runs of one input, choose one"
        for name, runs in several.items()
    ]
