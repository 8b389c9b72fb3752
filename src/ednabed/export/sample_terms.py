"""Collect the metadata of the samples of an export from the records, by Darwin Core and MIxS term."""

from __future__ import annotations

from collections.abc import Iterable

from ednabed.export.dwc_terms import CORE_FROM_COLUMNS, REQUESTED, VERBATIM, core_columns, dna_columns
from ednabed.export.event_terms import standard_cells, text_of_value
from ednabed.export.features import Feature
from ednabed.export.selection import Sample
from ednabed.sequences.columns import plain

_NAME_TERMS = frozenset(
    {
        "scientificNameID", "taxonConceptID", "identificationReferences", "identifiedBy", "dateIdentified",
        "associatedSequences", "catalogNumber",
    }
)  # fmt: skip
"""Terms of the core that are about a sequence or its name, not about its sample."""
_CATEGORY = "sampcategory"
TARGET_GENE = "target_gene"


class SampleTerms:
    """Collect the metadata of samples from their records; if a sample has several values of a term, use the first.

    Args:
        columns: Columns of the records.

    Attributes:
        columns: The columns that are read, to be requested from ``features``.
        cells: Values of each sample, by term, without empty values; in order of first appearance.
        controls: The samples that are controls or blanks according to FAIRe's ``samp_category``.
        without: Number of samples (without controls) that lack each term of ``REQUESTED``, once all are added.
    """

    def __init__(self, columns: Iterable[str]) -> None:
        names = list(columns)
        self._core = {term: column for term, column in core_columns(names).items() if term not in _NAME_TERMS}
        self._dna = dna_columns(names)
        self._category = next((name for name in names if plain(name) == _CATEGORY), None)
        known = (*self._core.values(), *self._dna.values(), *((self._category,) if self._category else ()))
        self.columns = tuple(dict.fromkeys(known))
        self.cells: dict[Sample, dict[str, str]] = {}
        self.controls: set[Sample] = set()

    def add(self, feature: Feature) -> None:
        """Add the metadata in the records of a feature."""
        for sample, record in feature.first.items():
            cells = self.cells.setdefault(sample, {})
            core, _ = standard_cells(self._core, record)
            dna = {term: text_of_value(record[column]) for term, column in self._dna.items()}
            for term, value in (*core.items(), *dna.items()):
                if value:
                    cells.setdefault(term, value)
            # FAIRe's terms: sample, negative control, positive control, PCR standard, and other: … for anything else.
            category = text_of_value(record[self._category]).lower() if self._category else ""
            if "control" in category or "blank" in category or category == "pcr standard":
                self.controls.add(sample)

    def terms(self) -> list[str]:
        """Return the terms that at least one sample has: first ``REQUESTED``, then in the order of Darwin Core."""
        present = {term for cells in self.cells.values() for term in cells}
        order = dict.fromkeys((*REQUESTED, *CORE_FROM_COLUMNS, *VERBATIM.values(), *self._dna))
        return [term for term in order if term in present]

    def value(self, term: str) -> str:
        """Return the value that all samples (without controls) share for a term; empty if they differ or lack it."""
        values = {cells.get(term, "") for sample, cells in self.cells.items() if sample not in self.controls}
        return values.pop() if len(values) == 1 else ""

    @property
    def without(self) -> dict[str, int]:
        """See the class."""
        samples = [cells for sample, cells in self.cells.items() if sample not in self.controls]
        return {term: sum(term not in cells for cells in samples) for term in REQUESTED}
