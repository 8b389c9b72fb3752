"""Write distinct sequences as the files that QIIME 2 imports: taxonomy, feature table and representative sequences.

- ``taxonomy.tsv``: ``TSVTaxonomyFormat`` (``FeatureData[Taxonomy]``): ``Feature ID``, ``Taxon`` (``k__…; p__…`` down to
  the deepest name, with a bare prefix for an intermediate rank without a name; ``Unassigned`` if there is none), and
  ``Confidence`` if assignments were given, truncated to four digits, empty if unknown.
- ``feature-table.tsv``: BIOM's text format (``biom convert`` reads it): a comment line, ``#OTU ID`` and the samples,
  then one line per feature with its reads, whole numbers.
- ``feature-table.biom``: the same table as BIOM 2.1 (HDF5), ``BIOMV210Format`` (``FeatureTable[Frequency]``).
- ``sequences.fasta``: ``FeatureData[Sequence]``; omitted if no bases are known.

A feature has the same id in all files (``ids``). QIIME 2 accepts any id without blanks; an MD5 is only a convention of
its plugins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.version import __version__
from ednabed.export.assignments import qiime2_taxon, truncated
from ednabed.export.features import features, sample_names
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_folder, check_target_folder
from ednabed.export.report import Written
from ednabed.export.selection import Sample, Selection

TAXONOMY = "taxonomy.tsv"
TABLE_TSV = "feature-table.tsv"
TABLE_BIOM = "feature-table.biom"
SEQUENCES = "sequences.fasta"


def write_qiime2(
    selection: Selection,
    names: Namer,
    ids: FeatureIds,
    target: Path,
    *,
    biom: bool = True,
    about: dict[str, Any] | None = None,
) -> Written:
    """Write the folder, which appears complete or not at all; see ``place.atomic_folder`` for an existing folder.

    Memory grows with the pairs of feature and sample (about 100 bytes each).

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the features.
        target: The folder.
        biom: Also write ``feature-table.biom``.
        about: Further content of ``export.json``.

    Raises:
        UsageError: The folder is a file, is in a run or a reference, or contains something else.
    """
    check_target_folder(target, "qiime2")
    with atomic_folder(target, "qiime2", dict(about or {})) as work:
        return write_files(selection, names, ids, work, biom=biom)


def write_files(selection: Selection, names: Namer, ids: FeatureIds, folder: Path, *, biom: bool = True) -> Written:
    """Write the files into an existing folder; see ``write_qiime2``."""
    samples = sample_names(selection.samples())
    feature_ids: list[str] = []
    pairs: list[tuple[int, int, int]] = []
    column_of = {sample: column for column, sample in enumerate(samples)}
    records = reads = with_bases = 0
    with (
        (folder / TAXONOMY).open("w", encoding="utf-8", newline="\n") as taxonomy,
        (folder / TABLE_TSV).open("w", encoding="utf-8", newline="\n") as table,
        (folder / SEQUENCES).open("w", encoding="utf-8", newline="\n") as fasta,
    ):
        taxonomy.write("Feature ID\tTaxon" + ("\tConfidence" if names.has_assignments else "") + "\n")
        table.write("# Constructed from biom file\n" + "\t".join(["#OTU ID", *samples.values()]) + "\n")
        for feature in features(selection, names, ids):
            confidence = f"\t{truncated(feature.named.confidence, 4)}" if names.has_assignments else ""
            taxonomy.write(f"{feature.id}\t{qiime2_taxon(feature.named.lineage)}{confidence}\n")
            table.write("\t".join((feature.id, *_counts(feature.counts, column_of))) + "\n")
            if feature.sequence is not None:
                fasta.write(f">{feature.id}\n{feature.sequence}\n")
                with_bases += 1
            if biom:
                pairs += [(len(feature_ids), column_of[s], n) for s, n in feature.counts.items() if n]
            feature_ids.append(feature.id)
            records, reads = records + feature.records, reads + feature.reads
    if not with_bases:
        (folder / SEQUENCES).unlink()
    if biom:
        _write_biom(folder / TABLE_BIOM, feature_ids, list(samples.values()), pairs)
    notes = []
    if with_bases < len(feature_ids):
        notes.append(f"{SEQUENCES} lacks {len(feature_ids) - with_bases:,} features whose bases are unknown")
    return Written(len(feature_ids), records, len(samples), reads, tuple(notes))


def _counts(counts: Mapping[Sample, int], column_of: Mapping[Sample, int]) -> list[str]:
    cells = ["0"] * len(column_of)
    for sample, reads in counts.items():
        cells[column_of[sample]] = str(reads)
    return cells


def _write_biom(path: Path, ids: Sequence[str], samples: Sequence[str], pairs: list[tuple[int, int, int]]) -> None:
    import h5py
    from biom import Table
    from scipy.sparse import csr_matrix

    triples = np.array(pairs, np.int64).reshape(-1, 3)
    shape = (len(ids), len(samples))
    counts = csr_matrix((triples[:, 2].astype(np.float64), (triples[:, 0], triples[:, 1])), shape=shape)
    table = Table(counts, list(ids), list(samples), type="OTU table")
    with h5py.File(path, "w") as file:
        table.to_hdf5(file, generated_by=f"ednabed {__version__}")
