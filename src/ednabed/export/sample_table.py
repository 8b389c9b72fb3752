"""A sample-by-taxon table: how many reads of each taxon every sample has.

One row for each lineage given, and one for all that has no name. The reads come from a count table, or, without one,
from the records themselves (abundance and sample). Each read of each query that was counted is in exactly one row and
one column.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ednabed.export.assignments import quoted
from ednabed.sequences.counts import CountTable, no_match
from ednabed.sequences.lineage import RANKS, Lineage, format_lineage
from ednabed.store.files import clean, replacing
from ednabed.taxonomy.assignment import Assignment

COLUMNS = ("lineage", "named", "rank", *RANKS, "total", "features")
UNASSIGNED = "Unassigned"
"""In the first column of the row that has no name, so that its cells can be the names of the rows in R."""
NO_SAMPLE = "no_sample"
_EXAMPLES = 3


@dataclass(frozen=True)
class SampleTableReport:
    """What a sample-by-taxon table holds, and what it could not hold.

    Attributes:
        rows: Rows written, one a taxon, and one for what has no name.
        samples: Columns of samples.
        queries: Queries that were added.
        counted: Those of them that stand in the table: all without a count table, else those it has.
        reads: Reads in the table, the sum of ``total``.
        not_in_counts: Queries that the count table lacks; they stand nowhere in the table.
        not_in_counts_examples: Ids of the first of them, at most three.
        repeated: Queries whose id had come before; their reads stand where the first one's do. 0 without a count table.
        not_in_queries: Ids of the count table that no query has; their reads stand nowhere in the table.
        not_in_queries_examples: The first of them in the order of the file, at most three.
        reads_left_out: The reads of those.
        without_abundance: Queries that say no abundance and were counted as one read. 0 with a count table.
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
    reads_left_out: int
    without_abundance: int


@dataclass
class _Row:
    """Reads by number of sample (those that are not 0), and how many queries brought them."""

    reads: dict[int, int] = field(default_factory=dict)
    features: int = 0


class SampleTable:
    """Collects assignments and writes the table. Memory grows with the taxa and their samples, not with the queries.

    With a count table, samples are its columns, in its order, and a feature that has only zeros still counts as one.
    Without one, samples come in the order in which they first appear; records without a sample share a column
    (``no_sample``).

    Args:
        counts: The reads of each query; None where the records say them.
    """

    def __init__(self, counts: CountTable | None = None) -> None:
        self._counts = counts
        self._samples: dict[str | None, int] = {}
        if counts is not None:
            self._samples = {name: place for place, name in enumerate(counts.samples)}
        self._rows: dict[Lineage, _Row] = {}
        self._seen: set[int] = set()
        self._queries = self._counted = self._repeated = self._without_abundance = self._not_in_counts = 0
        self._not_in_counts_examples: list[str] = []

    def add(self, assignment: Assignment, sample: str | None = None, abundance: int | None = None) -> None:
        """Add a query to the row of its lineage.

        Args:
            assignment: What it is.
            sample: Where it was found; None where unknown. Of no account where there is a count table.
            abundance: Reads it stands for; None is one. Of no account where there is a count table.

        Raises:
            ValueError: The abundance is negative.
        """
        self._queries += 1
        if self._counts is None:
            if abundance is not None and abundance < 0:
                raise ValueError(f"query {assignment.id!r} has the abundance {abundance}")
            self._without_abundance += abundance is None
            place = self._samples.setdefault(sample, len(self._samples))
            self._put(assignment, {place: 1 if abundance is None else int(abundance)})
        elif (feature := self._counts.find(assignment.id)) is None:
            self._not_in_counts += 1
            if len(self._not_in_counts_examples) < _EXAMPLES:
                self._not_in_counts_examples.append(assignment.id)
        elif feature in self._seen:
            self._repeated += 1
        else:
            self._seen.add(feature)
            self._put(assignment, self._counts.of(assignment.id))

    def add_feature(self, assignment: Assignment, counts: Mapping[str | None, int], *, uncounted: bool = False) -> None:
        """Add a query that occurs in several samples, where there is no count table.

        Args:
            assignment: What it is.
            counts: Sample (None where unknown) to reads.
            uncounted: Some record of it says no abundance and was counted as one.
        """
        self._queries += 1
        self._without_abundance += uncounted
        reads = {self._samples.setdefault(sample, len(self._samples)): count for sample, count in counts.items()}
        self._put(assignment, reads)

    def _put(self, assignment: Assignment, reads: dict[int, int]) -> None:
        self._counted += 1
        kingdom, phylum, class_, order, family, genus, species = (
            clean(name).replace(";", ",") for name in assignment.lineage
        )
        lineage = (kingdom, phylum, class_, order, family, genus, species)
        row = self._rows.setdefault(lineage, _Row())
        row.features += 1
        for place, count in reads.items():
            row.reads[place] = row.reads.get(place, 0) + count

    def check(self) -> None:
        """Refuse a table without any of the queries that were added.

        Raises:
            InputError: The count table has none of them.
        """
        if self._counts is not None and self._queries and not self._counted:
            raise no_match(self._counts, self._not_in_counts_examples)

    def write(self, target: Path | TextIO) -> SampleTableReport:
        """Write the table as TSV: ``COLUMNS``, then one column a sample.

        Rows are in order of lineage, so that relatives are together; that of all without a name is last, its
        ``lineage`` is ``Unassigned``, ``named`` is ``no`` (else ``yes``) and ``rank`` is empty. ``features`` is the
        number of queries. A sample whose name is taken by a column before it gets ``_sample`` added. Control characters
        become blanks, a semicolon in a name a comma; a cell with a quote is quoted, as R and pandas read it.

        Args:
            target: A file, which appears whole or not at all; or a stream of text, which is not closed.

        Returns:
            What stands in the table and what does not.

        Raises:
            UsageError: The target is a folder.
        """
        with replacing(target, "taxa.tsv") if isinstance(target, Path) else nullcontext(target) as stream:
            stream.write("\t".join(quoted(name) for name in (*COLUMNS, *self._headings())) + "\n")
            for lineage in sorted(self._rows, key=lambda key: (not any(key), key)):
                row = self._rows[lineage]
                deepest = [rank for rank, name in zip(RANKS, lineage, strict=True) if name][-1:]
                counts = (row.reads.get(place, 0) for place in range(len(self._samples)))
                written = (format_lineage(lineage), "yes", *deepest) if deepest else (UNASSIGNED, "no", "")
                cells = (*written, *lineage, sum(row.reads.values()), row.features, *counts)
                stream.write("\t".join(quoted(str(cell)) for cell in cells) + "\n")
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
            [] if self._counts is None else [n for n, place in self._counts.places.items() if place not in self._seen]
        )
        left_out = 0 if self._counts is None else sum(sum(self._counts.of(name).values()) for name in unused)
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
            reads_left_out=left_out,
            without_abundance=self._without_abundance,
        )
