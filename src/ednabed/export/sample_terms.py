"""What is known of the samples of an export, by Darwin Core and MIxS term, gathered from the records."""

from __future__ import annotations

from collections.abc import Iterable

from ednabed.export.dwc_terms import ASKED, CORE_TAKEN, VERBATIM, core_columns, dna_columns
from ednabed.export.event_terms import standard_cells, text_of_value
from ednabed.export.features import Feature
from ednabed.export.selection import Sample
from ednabed.sequences.columns import plain

_OF_NAMES = frozenset(
    {
        "scientificNameID", "taxonConceptID", "identificationReferences", "identifiedBy", "dateIdentified",
        "associatedSequences", "catalogNumber",
    }
)  # fmt: skip
"""Terms of the core that are about a sequence or its name, not about its sample."""
_CATEGORY = "sampcategory"
TARGET_GENE = "target_gene"


class SampleTerms:
    """Gathers what the records say of their samples; of several values of a term in one sample the first.

    Args:
        columns: Columns of the records.

    Attributes:
        columns: Those that are read, to be asked of ``features``.
        cells: Sample to term to value, without empty ones; in order of first appearance.
        controls: The samples that FAIRe's ``samp_category`` says are controls or blanks, not samples.
        without: Term of ``ASKED`` to the number of samples (no controls) that lack it, once all are added.
    """

    def __init__(self, columns: Iterable[str]) -> None:
        names = list(columns)
        self._core = {term: column for term, column in core_columns(names).items() if term not in _OF_NAMES}
        self._dna = dna_columns(names)
        self._category = next((name for name in names if plain(name) == _CATEGORY), None)
        known = (*self._core.values(), *self._dna.values(), *((self._category,) if self._category else ()))
        self.columns = tuple(dict.fromkeys(known))
        self.cells: dict[Sample, dict[str, str]] = {}
        self.controls: set[Sample] = set()

    def add(self, feature: Feature) -> None:
        """Take what the records of a feature say."""
        for sample, record in feature.first.items():
            cells = self.cells.setdefault(sample, {})
            core, _ = standard_cells(self._core, record)
            dna = {term: text_of_value(record[column]) for term, column in self._dna.items()}
            for term, value in (*core.items(), *dna.items()):
                if value:
                    cells.setdefault(term, value)
            # FAIRe's words: sample, negative control, positive control, PCR standard, and other: … for what else it is.
            category = text_of_value(record[self._category]).lower() if self._category else ""
            if "control" in category or "blank" in category or category == "pcr standard":
                self.controls.add(sample)

    def terms(self) -> list[str]:
        """Return the terms that at least one sample has, those asked for first, then in the order of Darwin Core."""
        there = {term for cells in self.cells.values() for term in cells}
        order = dict.fromkeys((*ASKED, *CORE_TAKEN, *VERBATIM.values(), *self._dna))
        return [term for term in order if term in there]

    def value(self, term: str) -> str:
        """Return the value that every sample (no controls) has for a term; empty where they differ or one lacks it."""
        values = {cells.get(term, "") for sample, cells in self.cells.items() if sample not in self.controls}
        return values.pop() if len(values) == 1 else ""

    @property
    def without(self) -> dict[str, int]:
        """See the class."""
        samples = [cells for sample, cells in self.cells.items() if sample not in self.controls]
        return {term: sum(term not in cells for cells in samples) for term in ASKED}
