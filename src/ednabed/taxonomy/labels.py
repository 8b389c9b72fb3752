"""The labels of a collection as numbers: the taxa of every distinct sequence, rank by rank.

A distinct sequence may carry several lineages, if species share it or sources disagree; each is an *entry*. ``taxa``
defines which names are the same taxon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import Bools, Ints
from ednabed.errors import StoreError
from ednabed.reference.collection import Collection
from ednabed.reference.columns import as_text
from ednabed.sequences.lineage import RANKS, Lineage, split_lineage
from ednabed.sequences.records import MARKERS, SOURCE_RECORDS
from ednabed.taxonomy.taxa import Taxa, Taxon

SPECIES = RANKS.index("species")
GENUS = RANKS.index("genus")


@dataclass(frozen=True)
class RowLabels:
    """The lineages of a collection's rows.

    Attributes:
        lineages: Every lineage that occurs.
        taxa: Number of the taxon of each lineage at each rank, int64, shape (len(lineages), 7); -1 where it has no
            name. A taxon has the same number everywhere; numbers differ between ranks.
        starts: Index of the first entry of each row, int64, shape (rows + 1,).
        entries: The lineage of each entry, int64; those of a row start with the one that has the most records.
        records: Records of each entry, int64: the sum of the source records of its occurrences, where an occurrence
            without that number counts as one.
        markers: Names of markers; the first is empty.
        marker: Marker of each row, int64, shape (rows,), by number in ``markers``.
    """

    lineages: list[Lineage]
    taxa: Ints
    starts: Ints
    entries: Ints
    records: Ints
    markers: list[str]
    marker: Ints

    @property
    def labelled(self) -> Bools:
        """Which rows have a lineage, shape (rows,)."""
        return np.diff(self.starts) > 0

    @property
    def main(self) -> Ints:
        """The lineage with the most records of each row, int64, shape (rows,); -1 if the row has none."""
        main = np.full(len(self.starts) - 1, -1, np.int64)
        main[self.labelled] = self.entries[self.starts[:-1][self.labelled]]
        return main

    @cached_property
    def records_of_taxa(self) -> Ints:
        """Records of each taxon, int64, shape (taxa + 1,); the last, for -1, is 0."""
        return self._sum(self.records)

    @cached_property
    def sequences_of_taxa(self) -> Ints:
        """Entries of each taxon, int64, shape (taxa + 1,); the last, for -1, is 0."""
        return self._sum(np.ones(len(self.entries), np.int64))

    def _sum(self, values: Ints) -> Ints:
        taxa = self.taxa[self.entries]
        found = np.zeros(int(self.taxa.max(initial=-1)) + 2, np.int64)
        for rank in range(len(RANKS)):
            named = taxa[:, rank] >= 0
            np.add.at(found, taxa[named, rank], values[named])
        return found

    @cached_property
    def _numbers(self) -> dict[Lineage, int]:
        return {lineage: number for number, lineage in enumerate(self.lineages)}

    def numbers_of(self, texts: Sequence[str | None]) -> list[int]:
        """Return the number of each lineage, given as records contain it; -1 where there is none."""
        return [self._numbers.get(split_lineage(text), -1) if text else -1 for text in texts]

    def entries_of(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return the indices of the entries of rows, and for each the position of its row in ``rows``."""
        sizes = self.starts[rows + 1] - self.starts[rows]
        position = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(position)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(self.starts[rows][position] + within, np.int64), position


def read_row_labels(collection: Collection, *, needed: bool = True) -> RowLabels:
    """Read the lineages and markers of all records of a collection.

    Args:
        collection: The collection.
        needed: Whether at least one record must have a lineage.

    Raises:
        StoreError: No record has a lineage, although one is needed.
    """
    present = collection.record_schema.names
    marker_columns = [name for name in MARKERS if name in present]
    columns = [*marker_columns, *(name for name in ("lineage", SOURCE_RECORDS) if name in present)]
    lineages: dict[str, int] = {}
    markers: dict[str, int] = {"": 0}
    pairs: list[Ints] = []
    counts: list[Ints] = []
    marker = np.zeros(collection.rows, np.int64)
    for _, table in collection.scan_records(columns):
        rows = table.column("row").to_numpy()
        if marker_columns:
            # Runs may have different names for that column.
            texts = pc.coalesce(*(table.column(name).cast(pa.string()) for name in marker_columns))
            numbers = _numbers(texts, markers, 0)
            # A record without a marker does not change the marker of its sequence.
            marker[rows[numbers > 0]] = numbers[numbers > 0]
        if "lineage" in columns:
            lineage_numbers = _numbers(table.column("lineage"), lineages, -1)
            pairs.append(np.stack([rows[lineage_numbers >= 0], lineage_numbers[lineage_numbers >= 0]], axis=1))
            counts.append(_source_records(table)[lineage_numbers >= 0])
    distinct, sums = _summed(pairs, counts)
    if needed and not len(distinct):
        raise StoreError(
            f"{collection.name} has no record with a lineage, so it cannot assign taxonomy; embed labelled records "
            "(with lineage columns, or with 'ednabed embed INPUT --labels FILE'), then consolidate again"
        )
    order = np.lexsort((distinct[:, 1], -sums, distinct[:, 0]))
    row, entries, records = distinct[order, 0], distinct[order, 1], sums[order]
    names = [split_lineage(text) for text in lineages]
    starts = np.searchsorted(row, np.arange(collection.rows + 1))
    return RowLabels(names, number_taxa(names), starts, entries, records, list(markers), marker)


def _source_records(table: pa.Table) -> Ints:
    """Return the number of source records of each record, 1 where unknown."""
    if SOURCE_RECORDS not in table.schema.names:
        return np.ones(table.num_rows, np.int64)
    # A run created under earlier rules may have a column with this name and any type.
    written = as_text(table.column(SOURCE_RECORDS))
    is_count = pc.match_substring_regex(written, r"^[1-9][0-9]{0,12}$")
    return np.asarray(pc.if_else(is_count, written, "1").fill_null("1").cast(pa.int64()).to_numpy(), np.int64)


def _summed(pairs: list[Ints], counts: list[Ints]) -> tuple[Ints, Ints]:
    """Return the distinct pairs of row and lineage, and for each the sum of its counts."""
    distinct, pair_index = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *pairs]), axis=0, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, pair_index.reshape(-1), np.concatenate([np.zeros(0, np.int64), *counts]))
    return distinct, sums


def _numbers(column: pa.ChunkedArray, known: dict[str, int], none: int) -> Ints:
    """Return numbers for texts, adding new texts to ``known``; ``none`` where there is no text."""
    encoded = pa.chunked_array(column).cast(pa.string()).combine_chunks().dictionary_encode()
    numbers = [known.setdefault(text, len(known)) if text else none for text in encoded.dictionary.to_pylist()]
    indices = pc.fill_null(encoded.indices, len(numbers)).to_numpy()
    return np.asarray(np.array([*numbers, none], np.int64)[indices], np.int64)


def number_taxa(lineages: list[Lineage]) -> Ints:
    """Return the number of each lineage's taxon at each rank, int64, shape (n, 7), -1 where it has no name."""
    known = Taxa(lineages)
    numbers: dict[tuple[int, Taxon], int] = {}
    taxa = np.full((len(lineages), len(RANKS)), -1, np.int64)
    for i, lineage in enumerate(lineages):
        for rank, taxon in enumerate(known.taxa_of(lineage)):
            if taxon is not None:
                taxa[i, rank] = numbers.setdefault((rank, taxon), len(numbers))
    return taxa
