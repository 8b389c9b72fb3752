"""Write a sample-by-taxon table: the number of reads of each taxon in each sample.

The table has one row per assigned lineage, and one row for all queries without a name. The reads come from a count
table or, without one, from the records themselves (abundance and sample). Each read of each counted query is in exactly
one row and one column.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ednabed.base.atomic import replacing
from ednabed.base.text import clean
from ednabed.export.assignments import quoted_cell
from ednabed.sequences.counts import CountTable, no_match_error
from ednabed.sequences.lineage import RANKS, Lineage, as_lineage, format_lineage
from ednabed.store.assignment import Assignment

COLUMNS = ("lineage", "named", "rank", *RANKS, "total", "features")
UNASSIGNED = "Unassigned"
"""First cell of the row without a name, so that the cells of the first column can be used as row names in R."""
NO_SAMPLE = "no_sample"
_EXAMPLES = 3


@dataclass(frozen=True)
class SampleTableReport:
    """Counts of what a sample-by-taxon table contains and of what it does not contain.

    Attributes:
        rows: Rows written: one per taxon, and one for queries without a name.
        samples: Columns of samples.
        queries: Queries that were added.
        counted: Queries that are in the table: all without a count table, else those in the count table.
        reads: Reads in the table, the sum of ``total``.
        not_in_counts: Queries that the count table lacks; they are not in the table.
        not_in_counts_examples: Ids of the first of them, at most three.
        repeated: Queries whose id occurred before; their reads are in the row of the first. 0 without a count table.
        not_in_queries: Ids of the count table that no query has; their reads are not in the table.
        not_in_queries_examples: The first of these ids in file order, at most three.
        reads_omitted: The reads of these ids.
        without_abundance: Queries without an abundance, which were counted as one read. 0 with a count table.
    """

    rows: int
    samples: int
    queries: int
    counted: int
    reads: int
    not_in_counts: int
    not_in_counts_examples: tuple[str, ...]
    repeated: int
    not_in_queries: int
    not_in_queries_examples: tuple[str, ...]
    reads_omitted: int
    without_abundance: int


@dataclass
class _Row:
    """Reads by column of the sample (only non-zero counts), and the number of queries that they come from."""

    reads: dict[int, int] = field(default_factory=dict)
    features: int = 0


class SampleTable:
    """Collect assignments and write the table. Memory grows with the taxa and their samples, not with the queries.

    With a count table, the samples are its columns, in its order, and a feature with only zeros still counts as one.
    Without one, the samples are in order of first appearance; records without a sample share a column (``no_sample``).

    Args:
        counts: The reads of each query; None if the records state them.
    """

    def __init__(self, counts: CountTable | None = None) -> None:
        self._counts = counts
        self._samples: dict[str | None, int] = {}
        if counts is not None:
            self._samples = {name: column for column, name in enumerate(counts.samples)}
        self._rows: dict[Lineage, _Row] = {}
        self._seen: set[int] = set()
        self._queries = self._counted = self._repeated = self._without_abundance = self._not_in_counts = 0
        self._not_in_counts_examples: list[str] = []

    def add(self, assignment: Assignment, sample: str | None = None, abundance: int | None = None) -> None:
        """Add a query to the row of its lineage.

        Args:
            assignment: Its assignment.
            sample: The sample it was found in; None if unknown. Ignored with a count table.
            abundance: Number of reads it represents; None means one. Ignored with a count table.

        Raises:
            ValueError: The abundance is negative.
        """
        self._queries += 1
        if self._counts is None:
            if abundance is not None and abundance < 0:
                raise ValueError(f"query {assignment.id!r} has the abundance {abundance}")
            self._without_abundance += abundance is None
            column = self._samples.setdefault(sample, len(self._samples))
            self._put(assignment, {column: 1 if abundance is None else int(abundance)})
        elif (feature := self._counts.find(assignment.id)) is None:
            self._not_in_counts += 1
            if len(self._not_in_counts_examples) < _EXAMPLES:
                self._not_in_counts_examples.append(assignment.id)
        elif feature in self._seen:
            self._repeated += 1
        else:
            self._seen.add(feature)
            self._put(assignment, self._counts.counts_of(assignment.id))

    def add_feature(self, assignment: Assignment, counts: Mapping[str | None, int], *, uncounted: bool = False) -> None:
        """Add a query that occurs in several samples, if there is no count table.

        Args:
            assignment: Its assignment.
            counts: Reads of each sample (None if the sample is unknown).
            uncounted: Whether a record of it has no abundance and was counted as one.
        """
        self._queries += 1
        self._without_abundance += uncounted
        reads = {self._samples.setdefault(sample, len(self._samples)): count for sample, count in counts.items()}
        self._put(assignment, reads)

    def _put(self, assignment: Assignment, reads: dict[int, int]) -> None:
        self._counted += 1
        lineage = as_lineage(clean(name).replace(";", ",") for name in assignment.lineage)
        row = self._rows.setdefault(lineage, _Row())
        row.features += 1
        for column, count in reads.items():
            row.reads[column] = row.reads.get(column, 0) + count

    def check(self) -> None:
        """Raise an error if none of the added queries is in the table.

        Raises:
            InputError: The count table contains none of them.
        """
        if self._counts is not None and self._queries and not self._counted:
            raise no_match_error(self._counts, self._not_in_counts_examples)

    def write(self, target: Path | TextIO) -> SampleTableReport:
        """Write the table as TSV: ``COLUMNS``, then one column per sample.

        Rows are sorted by lineage, so that related taxa are together. The row of queries without a name is last; its
        ``lineage`` is ``Unassigned``, its ``named`` is ``no`` (else ``yes``) and its ``rank`` is empty. ``features`` is
        the number of queries. If the name of a sample is already used by an earlier column, ``_sample`` is added.
        Control characters become blanks, and a semicolon in a name becomes a comma; a cell with a quote is quoted, as R
        and pandas read it.

        Args:
            target: A file, which appears complete or not at all; or a text stream, which is not closed.

        Returns:
            Counts of what is in the table and what is not.

        Raises:
            UsageError: The target is a folder.
        """
        with replacing(target, "taxa.tsv") if isinstance(target, Path) else nullcontext(target) as stream:
            stream.write("\t".join(quoted_cell(name) for name in (*COLUMNS, *self._headings())) + "\n")
            for lineage in sorted(self._rows, key=lambda key: (not any(key), key)):
                row = self._rows[lineage]
                deepest = [rank for rank, name in zip(RANKS, lineage, strict=True) if name][-1:]
                counts = (row.reads.get(column, 0) for column in range(len(self._samples)))
                first_cells = (format_lineage(lineage), "yes", *deepest) if deepest else (UNASSIGNED, "no", "")
                cells = (*first_cells, *lineage, sum(row.reads.values()), row.features, *counts)
                stream.write("\t".join(quoted_cell(str(cell)) for cell in cells) + "\n")
            stream.flush()
        return self._report()

    def _headings(self) -> list[str]:
        taken = set(COLUMNS)
        headings = []
        for sample in self._samples:
            name = NO_SAMPLE if sample is None else clean(sample)
            while name in taken:
                name += "_sample"
            taken.add(name)
            headings.append(name)
        return headings

    def _report(self) -> SampleTableReport:
        unused = (
            [] if self._counts is None else [name for name, i in self._counts.row_of_id.items() if i not in self._seen]
        )
        left_out = 0 if self._counts is None else sum(sum(self._counts.counts_of(name).values()) for name in unused)
        return SampleTableReport(
            rows=len(self._rows),
            samples=len(self._samples),
            queries=self._queries,
            counted=self._counted,
            reads=sum(sum(row.reads.values()) for row in self._rows.values()),
            not_in_counts=self._not_in_counts,
            not_in_counts_examples=tuple(self._not_in_counts_examples),
            repeated=self._repeated,
            not_in_queries=len(unused),
            not_in_queries_examples=tuple(unused[:_EXAMPLES]),
            reads_omitted=left_out,
            without_abundance=self._without_abundance,
        )
