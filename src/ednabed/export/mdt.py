"""Write distinct sequences in samples as tables for GBIF's Metabarcoding Data Toolkit (https://mdt.gbif.org).

There are four tables: ``OTU_table`` (feature ids by sample ids, reads, 0 if none; its first cell is empty),
``Taxonomy``, ``Samples`` and ``Study`` (``term``, ``value``: values that are the same for all samples). They are
written as ``.tsv`` files in a folder, or as the sheets of one ``.xlsx``. The toolkit accepts one marker per dataset,
named in its own vocabulary, and omits entries of ``OTU_table`` that are not in ``Samples`` or not in ``Taxonomy``; for
this reason, controls are only in ``OTU_table``.

The layout follows the toolkit's reader (gbif/metabarcoding-data-toolkit-backend, commit 0ec9bef of 2025-11-14:
``enum/requiredDwcterms.js``, ``enum/defaultValueterms.js``, ``validation/filenames.js``). It takes a quote in a cell
for the beginning of a quoted cell, so ``"`` becomes ``'``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from ednabed.base.text import clean
from ednabed.errors import StoreError
from ednabed.export.features import features, sample_names
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_folder, atomic_target
from ednabed.export.report import Written
from ednabed.export.sample_terms import TARGET_GENE, SampleTerms
from ednabed.export.selection import Sample, Selection
from ednabed.export.target_genes import is_known, target_gene
from ednabed.export.taxon_terms import name_terms, remarks, taxon_id_terms
from ednabed.export.workbook import write_workbook
from ednabed.sequences.lineage import format_lineage

OTU_TABLE, TAXONOMY, SAMPLES, STUDY = "OTU_table", "Taxonomy", "Samples", "Study"
TAXONOMY_COLUMNS = (
    "id", "DNA_sequence", "scientificName", "kingdom", "phylum", "class", "order", "family", "genus",
    "specificEpithet", "taxonRank", "scientificNameID", "taxonConceptID", "verbatimIdentification",
    "identificationRemarks",
)  # fmt: skip
_REQUIRED_SAMPLE_TERMS = ("eventDate", "decimalLatitude", "decimalLongitude", TARGET_GENE, "otu_db", "materialSampleID")


def write_mdt(
    selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, otu_db: str = "", about: dict[str, Any]
) -> Written:
    """Write the tables, which appear complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the features.
        target: A folder, or a file that ends in ``.xlsx``.
        otu_db: The reference that the names were assigned from; empty if unknown. A column ``otu_db`` takes precedence.
        about: Further content of ``export.json``, for a folder.

    Raises:
        StoreError: No record names its sample, the records are of several markers, or a table does not fit a sheet.
        UsageError: The target must not be written to.
        MissingPackage: XlsxWriter, which ``.xlsx`` needs, is not installed.
    """
    if is_workbook(target):
        with atomic_target(target, "mdt.xlsx") as work, TemporaryDirectory(dir=work.parent, prefix=".export.") as parts:
            folder = Path(parts)
            written = _write_tables(selection, names, ids, folder, otu_db)
            tables = {name: folder / f"{name}.tsv" for name in (OTU_TABLE, TAXONOMY, SAMPLES, STUDY)}
            write_workbook(work, tables, lambda sheet, row, column: sheet == OTU_TABLE and min(row, column) > 0)
        return written
    with atomic_folder(target, "mdt", about) as work:
        return _write_tables(selection, names, ids, work, otu_db)


def is_workbook(target: Path) -> bool:
    """Return whether a target is one file and not a folder, by its file extension."""
    return target.suffix.lower() == ".xlsx"


def _write_tables(selection: Selection, names: Namer, ids: FeatureIds, folder: Path, otu_db: str) -> Written:
    samples = sample_names(selection.samples())
    if all(name is None for _, name in samples):
        raise StoreError(
            f"{selection.collection.name}: no record names its sample, expected samples with their location and date; "
            "embed the input again with its count table and its table of samples"
        )
    terms = SampleTerms(selection.collection.record_schema.names)
    records = reads = sequences = 0
    with _table(folder, OTU_TABLE) as table, _table(folder, TAXONOMY) as taxonomy:
        _line(table, ["", *samples.values()])
        _line(taxonomy, TAXONOMY_COLUMNS)
        for feature in features(selection, names, ids, terms.columns):
            terms.add(feature)
            if feature.sequence is None:
                continue
            _line(table, [feature.id, *(str(feature.counts.get(sample, 0)) for sample in samples)])
            cells = {
                "id": feature.id,
                "DNA_sequence": feature.sequence,
                **name_terms(feature.named),
                **taxon_id_terms(feature.named.taxon_id),
                "verbatimIdentification": format_lineage(feature.named.lineage) if feature.named.rank else "",
                "identificationRemarks": remarks(feature.named),
            }
            _line(taxonomy, [cells.get(column, "") for column in TAXONOMY_COLUMNS])
            sequences, records, reads = sequences + 1, records + feature.records, reads + feature.reads
    if not sequences:
        raise StoreError(
            f"{selection.collection.name} has no bases of these sequences, because an older tool stored only vectors; "
            "embed the input again"
        )
    gene = _one_gene(terms, selection.collection.name)
    _write_samples(folder, samples, terms, gene, otu_db)
    notes = list(_notes(terms, samples, gene, len(selection) - sequences))
    return Written(sequences, records, len([name for _, name in samples if name is not None]), reads, tuple(notes))


def _one_gene(terms: SampleTerms, source: str) -> str:
    """Return the marker of all samples in the toolkit's vocabulary; empty if none is known."""
    genes = {target_gene(cells[TARGET_GENE]) for cells in terms.cells.values() if TARGET_GENE in cells}
    if len(genes) > 1:
        raise StoreError(
            f"{source}: the records are of {len(genes)} markers ({', '.join(sorted(genes))}), expected one, because "
            "GBIF's Metabarcoding Data Toolkit accepts one marker per dataset; export each marker separately by "
            "selecting its records"
        )
    return genes.pop() if genes else ""


def _write_samples(folder: Path, samples: Mapping[Sample, str], terms: SampleTerms, gene: str, otu_db: str) -> None:
    defaults = {TARGET_GENE: gene, "otu_db": otu_db}
    known = [term for term in terms.terms() if term not in _REQUIRED_SAMPLE_TERMS]
    # Values that are the same for all samples are in Study, except those that the toolkit requires for each sample.
    study = {term: value for term in known if (value := terms.value(term))}
    columns = ("id", *_REQUIRED_SAMPLE_TERMS, *(term for term in known if term not in study))
    with _table(folder, SAMPLES) as table:
        _line(table, columns)
        for sample, name in samples.items():
            if sample[1] is not None and sample not in terms.controls:
                cells = {**defaults, **terms.cells.get(sample, {}), "id": name, **({TARGET_GENE: gene} if gene else {})}
                _line(table, [cells.get(column, "") for column in columns])
    with _table(folder, STUDY) as table:
        _line(table, ("term", "value"))
        databases = terms.value("otu_db") or otu_db
        for term, value in {TARGET_GENE: gene, "otu_db": databases, **study}.items():
            if value:
                _line(table, (term, value))


def _notes(terms: SampleTerms, samples: Mapping[Sample, str], gene: str, without_bases: int) -> Iterable[str]:
    if without_bases:
        yield f"{without_bases:,} features are omitted, because their bases are unknown and the toolkit requires them"
    if terms.controls:
        yield (
            f"{len(terms.controls):,} controls (samp_category) are in {OTU_TABLE} but not in {SAMPLES}, so the toolkit "
            "omits them"
        )
    if any(name is None for _, name in samples):
        yield f"records without a sample are in {OTU_TABLE} but not in {SAMPLES}, so the toolkit omits them"
    for term, count in terms.without.items():
        if count:
            yield (
                f"{count:,} samples lack {term}, which the toolkit requires; embed the input again with a table of its "
                "samples ('ednabed embed FILE --samples samples.tsv')"
            )
    if not gene:
        yield f"{TARGET_GENE}, which the toolkit requires, is unknown; add it to {STUDY} ({TARGET_GENE}, COI)"
    elif not is_known(gene):
        yield f"{TARGET_GENE} is {gene}, which is not in the toolkit's vocabulary; choose a term of it for the upload"


def _table(folder: Path, name: str) -> TextIO:
    return (folder / f"{name}.tsv").open("w", encoding="utf-8", newline="\n")


def _line(stream: TextIO, cells: Iterable[str]) -> None:
    stream.write("\t".join(clean(cell).replace('"', "'") for cell in cells) + "\n")
