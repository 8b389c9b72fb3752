"""A hit of a search, and the columns that it has in results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ednabed.search.align import Alignment

RECORD_COLUMNS = (
    *("id", "dataset", "run_id", "seq_idx", "sample", "abundance", "lineage"),
    *("length", "source", "source_file"),
)
"""Columns of a hit that are those of its record."""
ALIGNMENT_COLUMNS: Mapping[str, str] = {
    "identity": "identity",
    "query_coverage": "query_coverage",
    "target_coverage": "target_coverage",
    "strand": "strand",
    "cigar": "cigar",
    "query_start": "query_start",
    "query_end": "query_end",
    "target_start": "target_start",
    "target_end": "target_end",
    "alignment_length": "length",
    "matches": "matches",
    "mismatches": "mismatches",
    "gap_openings": "gap_openings",
    "alignment_score": "score",
}
"""Columns of a hit that describe its alignment, and the attribute of the alignment for each."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A distinct sequence that is similar to a query, described by one of its records.

    The attributes are the columns of results, in their order.

    Attributes:
        rank: Rank of the sequence, from 1; the records of one sequence have the same rank.
        similarity: Cosine with the query, -1 to 1.
        distance: 1 - similarity.
        id: Id of the record; None if it has none, as in the following.
        dataset: Dataset of the record; None in a table, as in the next two.
        run_id: Its run.
        seq_idx: Its number in the run, from 0.
        sample: Its sample.
        abundance: Its number of reads.
        lineage: Its lineage, or the lineage of its assignment.
        occurrences: Number of records with this sequence.
        datasets: Number of these records by dataset; empty in a table.
        length: Length of the sequence, in bases.
        source: Input file of the record.
        source_file: File of its vector; in a table, the address of the table.
        columns: Further columns of the record.
        lineage_from: ``record`` or ``assignment``; None if it has no lineage.
        alignment: Alignment of the query to the sequence; None if nothing aligned.
        sequence: The sequence; None if unknown.
        requested: Which of the last four attributes were requested; the others are None and are not written.
    """

    rank: int
    similarity: float
    distance: float
    id: str | None
    dataset: str | None
    run_id: str | None
    seq_idx: int | None
    sample: Any
    abundance: Any
    lineage: str | None
    occurrences: int
    datasets: dict[str, int]
    length: int | None
    source: str | None
    source_file: str | None
    columns: dict[str, Any] | None = None
    lineage_from: str | None = None
    alignment: Alignment | None = None
    sequence: str | None = None
    requested: tuple[str, ...] = ()

    @property
    def reads(self) -> int:
        """Number of reads of the record; 1 if it is unknown."""
        return 1 if self.abundance is None else int(self.abundance)

    def to_dict(self) -> dict[str, Any]:
        """Return the columns by name, without those that were not requested."""
        return {name: getattr(self, name) for name in (*COLUMNS, *(n for n in _OPTIONAL if n in self.requested))}

    def flat(self, *, aligned: bool) -> dict[str, Any]:
        """Return the columns by name, with ``ALIGNMENT_COLUMNS`` (if ``aligned``) instead of the alignment."""
        found = self.to_dict()
        found.pop("alignment", None)
        return {**found, **({name: self.value(name) for name in ALIGNMENT_COLUMNS} if aligned else {})}

    def value(self, column: str) -> Any:
        """Return the value of one column; None for a column of ``ALIGNMENT_COLUMNS`` if nothing aligned."""
        attribute = ALIGNMENT_COLUMNS.get(column)
        if attribute is None:
            return getattr(self, column)
        return None if self.alignment is None else getattr(self.alignment, attribute)

    def plain(self) -> Hit:
        """Return the hit without its sequence and further columns, as if they had not been requested."""
        kept = tuple(name for name in self.requested if name not in ("columns", "sequence"))
        return replace(self, columns=None, sequence=None, requested=kept)


_OPTIONAL = ("columns", "lineage_from", "alignment", "sequence")
COLUMNS = tuple(field.name for field in fields(Hit) if field.name not in (*_OPTIONAL, "requested"))
"""Columns of every hit."""
TSV_COLUMNS = COLUMNS[: COLUMNS.index("datasets")]
"""Columns of the TSV format."""
TSV_ALIGNMENT_COLUMNS = tuple(ALIGNMENT_COLUMNS)[:5]
"""Further columns of the TSV format if there are alignments."""
