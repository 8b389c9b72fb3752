"""Write distinct sequences in samples as FAIR eDNA tables (FAIRe, checklist 1.0): ``taxaFinal`` and ``otuFinal``.

The result is a folder of two tab-separated files, named according to FAIRe's guidelines
(https://fair-edna.github.io/guidelines.html): ``otuFinal_<project_id>_<assay_name>_<seq_run_id>``, with the parts that
are known from columns of these names, the dataset and the marker.

- ``otuFinal``: ``seq_id``, then one column per sample (``samp_name``) with its reads. Controls (``samp_category``) are
  omitted, as FAIRe asks of curated tables.
- ``taxaFinal``: ``COLUMNS``, one line per feature: all terms of the checklist's section OTU/ASV except the authorship.
  Features without a name are included without one. ``dna_sequence`` is mandatory: unknown bases are written as
  ``missing: not provided``.

A feature that occurs only in controls is in neither table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ednabed.base.text import clean, tsv_line
from ednabed.errors import StoreError
from ednabed.export.assignments import truncated
from ednabed.export.features import features, sample_names
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_folder
from ednabed.export.report import Written
from ednabed.export.sample_terms import TARGET_GENE, SampleTerms
from ednabed.export.selection import Selection
from ednabed.export.target_genes import target_gene
from ednabed.export.taxon_terms import name_terms, remarks
from ednabed.sequences.columns import plain
from ednabed.sequences.lineage import format_lineage
from ednabed.sequences.taxon_ids import database_of

COLUMNS = (
    "seq_id", "dna_sequence", "kingdom", "phylum", "class", "order", "family", "genus", "specificEpithet",
    "scientificName", "taxonRank", "taxonID", "taxonID_db", "verbatimIdentification", "accession_id",
    "accession_id_ref_db", "percent_match", "percent_query_cover", "confidence_score", "identificationRemarks",
)  # fmt: skip
_NO_BASES = "missing: not provided"
_NAME_PARTS = ("project_id", "assay_name", "seq_run_id")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


def write_faire(
    selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, otu_db: str = "", about: dict[str, Any]
) -> Written:
    """Write the folder, which appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the features.
        target: The folder.
        otu_db: The reference that the names were assigned from; empty if unknown.
        about: Further content of ``export.json``.

    Raises:
        StoreError: No record names its sample, or all samples are controls.
        UsageError: The folder is a file, is in a run or a reference, or contains something else.
    """
    samples = sample_names(selection.samples())
    columns = selection.collection.record_schema.names
    terms = SampleTerms(columns)
    parts = {part: next((name for name in columns if plain(name) == plain(part)), None) for part in _NAME_PARTS}
    named = {part: column for part, column in parts.items() if column is not None}
    # Names are requested only once, below, because the requests are counted.
    for feature in features(selection, Namer(), FeatureIds(selection, "digest"), terms.columns):
        terms.add(feature)
    kept = {sample: name for sample, name in samples.items() if sample[1] is not None and sample not in terms.controls}
    if not kept:
        raise StoreError(
            f"{selection.collection.name}: no record names its sample, or all samples are controls, expected samples; "
            "embed the input again with its count table"
        )
    found: dict[str, dict[str, None]] = {part: {} for part in named}
    sequences = records = reads = nameless = 0
    with atomic_folder(target, "faire", about) as work:
        table_file, taxa_file = work / "otuFinal.tsv", work / "taxaFinal.tsv"
        with (
            table_file.open("w", encoding="utf-8", newline="\n") as table,
            taxa_file.open("w", encoding="utf-8", newline="\n") as taxa,
        ):
            table.write(tsv_line(["seq_id", *kept.values()]))
            taxa.write(tsv_line(COLUMNS))
            for feature in features(selection, names, ids, tuple(named.values())):
                counts = {sample: feature.counts.get(sample, 0) for sample in kept}
                for part, column in named.items():
                    found[part] |= {
                        clean(str(r[column])): None for r in feature.first.values() if r[column] is not None
                    }
                if not any(counts.values()):
                    continue
                table.write(tsv_line([feature.id, *map(str, counts.values())]))
                identified, nearest = feature.named, feature.named.nearest
                cells = {
                    "seq_id": feature.id,
                    "dna_sequence": feature.sequence or _NO_BASES,
                    **name_terms(identified),
                    "taxonID": identified.taxon_id,
                    "taxonID_db": database_of(identified.taxon_id),
                    "verbatimIdentification": format_lineage(identified.lineage) if identified.rank else "",
                    "accession_id": nearest.id,
                    "accession_id_ref_db": otu_db if nearest.id else "",
                    "percent_match": _percent(nearest.identity),
                    "percent_query_cover": _percent(nearest.coverage),
                    "confidence_score": truncated(identified.confidence, 4),
                    "identificationRemarks": remarks(identified),
                }
                taxa.write(tsv_line(cells[column] for column in COLUMNS))
                sequences, records = sequences + 1, records + feature.records
                reads, nameless = reads + sum(counts.values()), nameless + (not identified.rank)
        datasets = list(dict.fromkeys(dataset for dataset, _ in kept))
        gene = terms.value(TARGET_GENE)
        title = {
            "project_id": _only_value(found.get("project_id")) or (datasets[0] if len(datasets) == 1 else ""),
            "assay_name": _only_value(found.get("assay_name")) or target_gene(gene),
            "seq_run_id": _only_value(found.get("seq_run_id")),
        }
        ending = "".join(f"_{_UNSAFE.sub('-', part).strip('-')}" for part in title.values() if part)
        for file in (table_file, taxa_file):
            file.rename(file.with_name(f"{file.stem}{ending}.tsv"))
    return Written(sequences, records, len(kept), reads, tuple(_notes(title, terms, nameless)))


def _notes(title: dict[str, str], terms: SampleTerms, nameless: int) -> Iterable[str]:
    unknown = [part for part, value in title.items() if not value]
    if unknown:
        yield f"the file names lack {', '.join(unknown)} (unknown), which FAIRe asks for; rename the files"
    if terms.controls:
        yield f"{len(terms.controls):,} controls (samp_category) are omitted, as FAIRe asks of curated tables"
    if nameless:
        yield f"{nameless:,} features have no name and are included without one, as FAIRe asks"


def _only_value(values: Iterable[str] | None) -> str:
    known = list(values or ())
    return known[0] if len(known) == 1 else ""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{round(value, 2) + 0.0:.2f}"
