"""Distinct sequences in samples as a Darwin Core Archive: Occurrence core with the DNA-derived-data extension.

A zip of ``meta.xml``, ``occurrence.txt`` and ``dnaderiveddata.txt`` (UTF-8, tabs, nothing quoted). One occurrence is a
sequence in a sample in which it has reads. ``dwc_terms`` says which terms there are, from which source, and which
columns of the records fill them; names stand unchanged. What is not known is empty, and nothing is made up: there is no
``eml.xml``, because title, creators and licence of a dataset are its publisher's to say (GBIF's IPT asks for them).

- ``occurrenceID`` is ``dataset:sample:feature``, ``eventID`` ``dataset:sample``: the same in every export of a
  collection, whatever else was chosen, because the ids of features (``ids``) are decided in each dataset as a whole.
- ``organismQuantity`` counts reads; empty where a record does not say them. ``sampleSizeValue`` is all reads of the
  sample in the collection, also of what was not chosen.
- ``scientificName`` is the deepest name, ``incertae sedis`` where there is none (as OBIS asks).
- ``taxonID`` is ``ASV:`` and the MD5 of the letters, as the guide of GBIF advises.
- A latitude, longitude or date that is not one by the standard goes to the ``verbatim…`` term.
"""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import quoteattr

from ednabed.export.assignments import cut
from ednabed.export.dwc_terms import (
    CORE_MADE,
    DNA_DERIVED,
    DNA_MADE,
    DNA_TAKEN,
    OCCURRENCE,
    core_address,
    core_columns,
    dna_columns,
)  # fmt: skip
from ednabed.export.features import NO_SAMPLE, Feature, features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import whole_target
from ednabed.export.report import Written
from ednabed.export.selection import Sample, Selection
from ednabed.sequences.lineage import RANKS, format_lineage
from ednabed.sequences.samples import to_coordinates
from ednabed.store.files import clean

META, CORE, EXTENSION = "meta.xml", "occurrence.txt", "dnaderiveddata.txt"
READS = "DNA sequence reads"
NO_NAME = "incertae sedis"
_VERBATIM = {
    "decimalLatitude": "verbatimLatitude",
    "decimalLongitude": "verbatimLongitude",
    "eventDate": "verbatimEventDate",
}
# ISO 8601: a year, month, day or moment.
_MOMENT = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?)?)?")
_OUR_TOOL = "ednabed classify"


def write_dwc(selection: Selection, names: Namer, rule: str, target: Path) -> Written:
    """Write the archive, which appears whole or not at all.

    Args:
        selection: What to write.
        names: Where names come from.
        rule: What features are called (``export.ids.RULES``), decided in each dataset as a whole.
        target: The zip file.

    Raises:
        UsageError: The target is a folder, a pipe or a device, or lies in a run or a reference.
    """
    with (
        whole_target(target, "archive.zip") as work,
        tempfile.TemporaryDirectory(dir=work.parent, prefix=".export.") as folder,
    ):
        place = Path(folder)
        archive = _Archive(selection, names, rule)
        with (
            (place / CORE).open("w", encoding="utf-8", newline="\n") as core,
            (place / EXTENSION).open("w", encoding="utf-8", newline="\n") as extension,
        ):
            written = archive.write(core, extension)
        (place / META).write_text(meta(archive.core_terms, archive.dna_terms), encoding="utf-8", newline="\n")
        with zipfile.ZipFile(work, "w", zipfile.ZIP_DEFLATED) as file:
            for name in (META, CORE, EXTENSION):
                file.write(place / name, name)
    return written


class _Archive:
    """The tables of one archive.

    Attributes:
        core_terms: Terms of the core, in the order of the columns.
        dna_terms: Terms of the extension, in the order of the columns, which follow the id of the core.
    """

    def __init__(self, selection: Selection, names: Namer, rule: str) -> None:
        columns = [field.name for field in selection.collection.record_schema]
        self._selection = selection
        self._names = names
        whole = selection if rule == "digest" else selection.of_whole_datasets()
        self._ids = FeatureIds(whole, rule, by_dataset=True)
        self._core = core_columns(columns)
        self._dna = dna_columns(columns)
        verbatim = [other for term, other in _VERBATIM.items() if term in self._core and other not in self._core]
        self.core_terms = (*CORE_MADE, *self._core, *verbatim)
        appraised = ("otu_seq_comp_appr",) if names.given and "otu_seq_comp_appr" not in self._dna else ()
        self.dna_terms = (*DNA_MADE, *self._dna, *appraised)
        self._not_standard = {term: 0 for term in _VERBATIM}
        self._without = {term: 0 for term in _VERBATIM}

    def write(self, core: TextIO, extension: TextIO) -> Written:
        """Write both tables."""
        sizes = self._selection.samples()
        core.write("\t".join(self.core_terms) + "\n")
        extension.write("\t".join(("occurrenceID", *self.dna_terms)) + "\n")
        records = reads = occurrences = uncounted = 0
        wanted = tuple(dict.fromkeys((*self._core.values(), *self._dna.values())))
        # Ids in the selection as a whole serve nothing here but to find assignments of a file.
        for feature in features(self._selection, self._names, FeatureIds(self._selection, "digest"), wanted):
            records += feature.records
            for sample, count in feature.counts.items():
                if not count:
                    continue
                name = clean(sample[1] or "").strip()
                called = self._ids.of(feature.row, feature.digest, sample[0])
                id = f"{clean(sample[0])}:{name or NO_SAMPLE}:{called}"
                event = f"{clean(sample[0])}:{name}" if name else ""
                size = None if sample[1] is None else sizes[sample]
                made = self._made(feature, sample, id, event, size)
                _line(core, [made.get(term, "") for term in self.core_terms])
                _line(extension, [id, *self._of_dna(feature, sample, name)])
                occurrences, reads = occurrences + 1, reads + count
                uncounted += sample in feature.unknown
        known = sum(name is not None for _, name in sizes)
        return Written(len(self._selection), records, known, reads, tuple(self._notes(uncounted, occurrences)))

    def _made(self, feature: Feature, sample: Sample, id: str, event: str, size: int | None) -> dict[str, str]:
        """Return the cells of an occurrence by term."""
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
            "identificationRemarks": _remarks(named.status, named.confidence),
        }
        record = feature.first[sample]
        for term in self._without:
            self._without[term] += not (term in self._core and _text(record[self._core[term]]))
        for term, column in self._core.items():
            value = _text(record[column])
            if value and not _is_standard(term, value):
                self._not_standard[term] += 1
                cells.setdefault(_VERBATIM[term], value)
                value = ""
            if value:
                cells[term] = value
        return cells

    def _of_dna(self, feature: Feature, sample: Sample, name: str) -> list[str]:
        record = feature.first[sample]
        cells = {"DNA_sequence": feature.sequence or "", "samp_name": name}
        cells |= {term: _text(record[column]) for term, column in self._dna.items()}
        if feature.named.status and not cells.get("otu_seq_comp_appr"):
            cells["otu_seq_comp_appr"] = _OUR_TOOL
        return [cells.get(term, "") for term in self.dna_terms]

    def _notes(self, uncounted: int, occurrences: int) -> list[str]:
        notes = self._ids.notes()
        for counts in sorted(set(self._without.values()) - {0}, reverse=True):
            terms = [term for term, count in self._without.items() if count == counts]
            which = "no occurrence has" if counts == occurrences else f"{counts:,} of {occurrences:,} occurrences lack"
            notes.append(
                f"{which} {', '.join(terms)}, which GBIF and OBIS ask for; embed the input again with a table of its "
                "samples ('ednabed embed FILE --samples samples.tsv'), or complete occurrence.txt before publishing"
            )
        for term, count in self._not_standard.items():
            if count:
                notes.append(f"{count:,} values are no {term} by the standard and stand in {_VERBATIM[term]}")
        if uncounted:
            notes.append(f"{uncounted:,} of {occurrences:,} occurrences do not say how many reads they are")
        notes.append("there is no eml.xml: title, creators and licence are the publisher's to say (IPT asks for them)")
        return notes


def meta(core: Sequence[str], dna: Sequence[str]) -> str:
    """Return ``meta.xml``: what the columns of both tables are, by the addresses of their terms.

    Args:
        core: Terms of ``occurrence.txt``, by column.
        dna: Terms of ``dnaderiveddata.txt``, by column from the second on; the first is the id of the occurrence.
    """
    addresses: Mapping[str, str] = {**DNA_MADE, **DNA_TAKEN}
    how = 'encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1"'
    core_fields = "".join(_field(place, core_address(term)) for place, term in enumerate(core))
    dna_fields = "".join(_field(place, addresses[term]) for place, term in enumerate(dna, 1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<archive xmlns="http://rs.tdwg.org/dwc/text/">\n'
        f'  <core {how} rowType="{OCCURRENCE}">\n    <files><location>{CORE}</location></files>\n'
        f'    <id index="0"/>\n{core_fields}  </core>\n'
        f'  <extension {how} rowType="{DNA_DERIVED}">\n    <files><location>{EXTENSION}</location></files>\n'
        f'    <coreid index="0"/>\n{dna_fields}  </extension>\n'
        "</archive>\n"
    )


def _field(place: int, address: str) -> str:
    return f'    <field index="{place}" term={quoteattr(address)}/>\n'


def _line(stream: TextIO, cells: list[str]) -> None:
    stream.write("\t".join(map(clean, cells)) + "\n")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value.isoformat() if isinstance(value, date) else str(value).strip()


def _is_standard(term: str, value: str) -> bool:
    if term == "eventDate":
        halves = value.split("/")
        return len(halves) <= 2 and all(map(_is_moment, halves))
    if term == "decimalLatitude":
        return isinstance(to_coordinates(value, 0), tuple)
    if term == "decimalLongitude":
        return isinstance(to_coordinates(0, value), tuple)
    return True


def _is_moment(text: str) -> bool:
    """Return whether a text is a year, month, day or moment that there is."""
    if _MOMENT.fullmatch(text) is None:
        return False
    try:
        # Only the whole form is read here; what lacks is the first.
        datetime.fromisoformat(text if len(text) >= len("2026-11-28") else f"{text}{'-01-01'[-(10 - len(text)) :]}")
    except ValueError:
        return False
    return True


def _asv(sequence: str) -> str:
    return "ASV:" + hashlib.md5(sequence.encode(), usedforsecurity=False).hexdigest()


def _remarks(status: str, confidence: float | None) -> str:
    if not status:
        return ""
    # The record keeps its deepest name; that the reference lacks a taxon below it is no claim of a new one.
    return f"{_OUR_TOOL}: {status.replace('_', ' ')}" + (
        "" if confidence is None else f", confidence {cut(confidence, 4)}"
    )
