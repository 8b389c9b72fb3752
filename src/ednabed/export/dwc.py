"""Write distinct sequences in samples as a Darwin Core Archive: Occurrence core with the DNA-derived-data extension.

The archive is a zip file of ``meta.xml``, ``occurrence.txt`` and ``dnaderiveddata.txt`` (UTF-8, tabs, no quoting), and
of ``eml.xml`` if title, licence and contact are given (``about``). One occurrence is a sequence in a sample in which it
has reads. ``dwc_terms`` lists the terms, their sources and the columns of the records that fill them; names are written
unchanged. Unknown values are empty, and no value is invented.

- ``occurrenceID`` is ``dataset:sample:feature`` and ``eventID`` is ``dataset:sample``. Both are the same in every
  export of a collection, whatever else is selected, because the feature ids (``ids``) are assigned over each complete
  dataset.
- ``organismQuantity`` counts reads; it is empty if a record does not state its reads. ``sampleSizeValue`` is the number
  of all reads of the sample in the collection, including those of records that are not selected.
- ``scientificName`` is the deepest name, or ``incertae sedis`` if there is none (as OBIS asks).
- ``taxonID`` is ``ASV:`` and the MD5 of the bases, as GBIF's guide recommends.
- A latitude, longitude, date or depth that does not follow the standard goes into the ``verbatim…`` term.
- ``scientificNameID`` (an LSID, such as WoRMS uses) or ``taxonConceptID`` (NCBI, BIN) is the taxon id of the name.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import quoteattr

from ednabed.base.text import clean, tsv_line
from ednabed.export.about import DatasetAbout
from ednabed.export.dwc_terms import (
    CORE_GENERATED,
    DNA_DERIVED,
    DNA_FROM_COLUMNS,
    DNA_GENERATED,
    OCCURRENCE,
    REQUESTED,
    TAXON_IDS,
    VERBATIM,
    core_address,
    core_columns,
    dna_columns,
)  # fmt: skip
from ednabed.export.eml import EML, eml
from ednabed.export.event_terms import standard_cells, text_of_value
from ednabed.export.features import NO_SAMPLE, Feature, features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_target
from ednabed.export.report import Written
from ednabed.export.selection import Sample, Selection
from ednabed.export.taxon_terms import OUR_TOOL, remarks, taxon_id_terms
from ednabed.sequences.lineage import RANKS, format_lineage

META, CORE, EXTENSION = "meta.xml", "occurrence.txt", "dnaderiveddata.txt"
READS = "DNA sequence reads"
_NO_EML = (
    "the archive has no eml.xml, which IPT asks for: the publisher states title, creators and licence in a small file "
    "('ednabed export --about about.toml')"
)
NO_NAME = "incertae sedis"


def write_dwc(
    selection: Selection, names: Namer, rule: str, target: Path, dataset: DatasetAbout | None = None
) -> Written:
    """Write the archive, which appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        rule: Rule for the feature ids (``export.ids.RULES``), applied to each complete dataset.
        target: The zip file.
        dataset: Metadata for ``eml.xml``; None omits the file.

    Raises:
        UsageError: The target is a folder, a pipe or a device, or is in a run or a reference.
    """
    with (
        atomic_target(target, "archive.zip") as work,
        tempfile.TemporaryDirectory(dir=work.parent, prefix=".export.") as folder,
    ):
        parts = Path(folder)
        archive = _Archive(selection, names, rule)
        with (
            (parts / CORE).open("w", encoding="utf-8", newline="\n") as core,
            (parts / EXTENSION).open("w", encoding="utf-8", newline="\n") as extension,
        ):
            written = archive.write(core, extension)
        text = meta(archive.core_terms, archive.dna_terms, EML if dataset is not None else None)
        (parts / META).write_text(text, encoding="utf-8", newline="\n")
        if dataset is not None:
            (parts / EML).write_text(eml(dataset), encoding="utf-8", newline="\n")
        with zipfile.ZipFile(work, "w", zipfile.ZIP_DEFLATED) as file:
            for name in (META, CORE, EXTENSION, *([] if dataset is None else [EML])):
                file.write(parts / name, name)
    if dataset is not None:
        return written
    return replace(written, notes=(*written.notes, _NO_EML))


class _Archive:
    """The tables of one archive.

    Attributes:
        core_terms: Terms of the core, in column order.
        dna_terms: Terms of the extension, in column order, after the column that refers to the core.
    """

    def __init__(self, selection: Selection, names: Namer, rule: str) -> None:
        columns = [field.name for field in selection.collection.record_schema]
        self._selection = selection
        self._names = names
        complete = selection if rule == "digest" else selection.with_complete_datasets()
        self._ids = FeatureIds(complete, rule, by_dataset=True)
        self._core = core_columns(columns)
        self._dna = dna_columns(columns)
        verbatim = {other: None for term, other in VERBATIM.items() if term in self._core and other not in self._core}
        ids = [term for term in TAXON_IDS if term not in self._core]
        self.core_terms = (*CORE_GENERATED, *ids, *self._core, *verbatim)
        appraised = ("otu_seq_comp_appr",) if names.has_assignments and "otu_seq_comp_appr" not in self._dna else ()
        self.dna_terms = (*DNA_GENERATED, *self._dna, *appraised)
        self._nonstandard = {term: 0 for term in VERBATIM}
        self._without = {term: 0 for term in REQUESTED}
        self._without_name_id = 0

    def write(self, core: TextIO, extension: TextIO) -> Written:
        """Write both tables."""
        sizes = self._selection.samples()
        core.write("\t".join(self.core_terms) + "\n")
        extension.write("\t".join(("occurrenceID", *self.dna_terms)) + "\n")
        records = reads = occurrences = uncounted = 0
        columns = tuple(dict.fromkeys((*self._core.values(), *self._dna.values())))
        # Ids over the complete selection are used here only to find assignments that were read from a file.
        for feature in features(self._selection, self._names, FeatureIds(self._selection, "digest"), columns):
            records += feature.records
            for sample, count in feature.counts.items():
                if not count:
                    continue
                name = clean(sample[1] or "").strip()
                feature_id = self._ids.id_of(feature.row, feature.digest, sample[0])
                id = f"{clean(sample[0])}:{name or NO_SAMPLE}:{feature_id}"
                event = f"{clean(sample[0])}:{name}" if name else ""
                size = None if sample[1] is None else sizes[sample]
                cells = self._core_cells(feature, sample, id, event, size)
                core.write(tsv_line(cells.get(term, "") for term in self.core_terms))
                extension.write(tsv_line([id, *self._dna_cells(feature, sample, name)]))
                occurrences, reads = occurrences + 1, reads + count
                uncounted += sample in feature.unknown
        known = sum(name is not None for _, name in sizes)
        return Written(len(self._selection), records, known, reads, tuple(self._notes(uncounted, occurrences)))

    def _core_cells(self, feature: Feature, sample: Sample, id: str, event: str, size: int | None) -> dict[str, str]:
        """Return the cells of an occurrence, by term."""
        named = feature.named
        count = "" if sample in feature.unknown else str(feature.counts[sample])
        cells = {
            "occurrenceID": id,
            "basisOfRecord": "MaterialSample",
            "occurrenceStatus": "present",
            "datasetName": sample[0],
            "eventID": event,
            "organismQuantity": count,
            "organismQuantityType": READS if count else "",
            "sampleSizeValue": "" if size is None else str(size),
            "sampleSizeUnit": "" if size is None else READS,
            "taxonID": "" if feature.sequence is None else _asv(feature.sequence),
            "scientificName": named.name or NO_NAME,
            "taxonRank": named.rank,
            **dict(zip(RANKS[:6], named.lineage[:6], strict=True)),
            "verbatimIdentification": format_lineage(named.lineage) if named.rank else "",
            "identificationRemarks": remarks(named),
            **taxon_id_terms(named.taxon_id),
        }
        standard, nonstandard = standard_cells(self._core, feature.first[sample])
        for term in nonstandard:
            self._nonstandard[term] += 1
        cells |= standard
        for term in REQUESTED:
            self._without[term] += term not in standard and term not in nonstandard
        self._without_name_id += not cells.get("scientificNameID")
        return cells

    def _dna_cells(self, feature: Feature, sample: Sample, name: str) -> list[str]:
        record = feature.first[sample]
        cells = {"DNA_sequence": feature.sequence or "", "samp_name": name}
        cells |= {term: text_of_value(record[column]) for term, column in self._dna.items()}
        if feature.named.status and not cells.get("otu_seq_comp_appr"):
            cells["otu_seq_comp_appr"] = OUR_TOOL
        return [cells.get(term, "") for term in self.dna_terms]

    def _notes(self, uncounted: int, occurrences: int) -> list[str]:
        notes = self._ids.notes()
        for counts in sorted(set(self._without.values()) - {0}, reverse=True):
            terms = [term for term, count in self._without.items() if count == counts]
            which = "no occurrence has" if counts == occurrences else f"{counts:,} of {occurrences:,} occurrences lack"
            notes.append(
                f"{which} {', '.join(terms)}, which GBIF and OBIS ask for; embed the input again with a table of its "
                "samples ('ednabed embed FILE --samples samples.tsv'), or add the values to occurrence.txt before "
                "publishing"
            )
        for term, count in self._nonstandard.items():
            if count:
                notes.append(
                    f"{count:,} values of {term} do not follow the standard and were written to {VERBATIM[term]}"
                )
        if self._without_name_id:
            notes.append(
                f"{self._without_name_id:,} of {occurrences:,} occurrences have no scientificNameID, the id of the "
                "name in WoRMS, which OBIS asks for (GBIF does not); it is taken from the column AphiaID or "
                "scientificNameID of the reference if the assigned name is the name of the nearest record"
            )
        if uncounted:
            notes.append(f"{uncounted:,} of {occurrences:,} occurrences do not state their number of reads")
        return notes


def meta(core: Sequence[str], dna: Sequence[str], metadata: str | None = None) -> str:
    """Return ``meta.xml``, which describes the columns of both tables by the addresses of their terms.

    Args:
        core: Terms of ``occurrence.txt``, by column.
        dna: Terms of ``dnaderiveddata.txt``, by column from the second on; the first is the id of the occurrence.
        metadata: Name of the file with the metadata of the data set; None if there is none.
    """
    addresses: Mapping[str, str] = {**DNA_GENERATED, **DNA_FROM_COLUMNS}
    how = 'encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"'
    described = "" if metadata is None else f" metadata={quoteattr(metadata)}"
    core_fields = "".join(_field(index, core_address(term)) for index, term in enumerate(core))
    dna_fields = "".join(_field(index, addresses[term]) for index, term in enumerate(dna, 1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<archive xmlns="http://rs.tdwg.org/dwc/text/"{described}>\n'
        f'  <core {how} rowType="{OCCURRENCE}">\n    <files><location>{CORE}</location></files>\n'
        f'    <id index="0"/>\n{core_fields}  </core>\n'
        f'  <extension {how} rowType="{DNA_DERIVED}">\n    <files><location>{EXTENSION}</location></files>\n'
        f'    <coreid index="0"/>\n{dna_fields}  </extension>\n'
        "</archive>\n"
    )


def _field(index: int, address: str) -> str:
    return f'    <field index="{index}" term={quoteattr(address)}/>\n'


def _asv(sequence: str) -> str:
    return "ASV:" + hashlib.md5(sequence.encode(), usedforsecurity=False).hexdigest()
