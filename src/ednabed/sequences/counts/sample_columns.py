"""Decide which numeric columns next to ids and sequences are samples, so that their counts are not lost.

Both kinds of error matter: an unrecognised count table loses its reads silently, and a labelled reference that is
mistaken for a count table cannot be read without an answer from the user. Names decide where possible (``seq_length``,
``phylum_taxID``, ``coordinateUncertaintyInMeters``, ``n_records``, ``is_type`` are not samples), otherwise values:
counts are whole numbers of 0 or more in every row, and years are not counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ednabed.sequences.columns import plain
from ednabed.sequences.counts.sums import is_sum_name
from ednabed.sequences.numbers import parse_count

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|[0-9]+")
_SAMPLE = re.compile(r".*sample.*|[^\W\d_]{0,12}[-_. ]?[0-9]+(?:[-_. ]?[^\W_]+)*", re.IGNORECASE)
"""``S1``, ``lake_2``, ``D01-03``, ``10``, ``ERR123456``, ``my sample``."""
_LAST_WORDS = frozenset(
    ("id", "ids", "key", "gi", "uid", "number", "num", "no", "code", "voucher", "barcode", "revision", "release",
     "year", "month", "day", "date", "len", "size", "width", "bp", "bases", "nt", "ambiguities", "ambiguous", "gaps",
     "gapopen", "mismatch", "mismatches", "matches", "homopolymer", "start", "end", "stop", "begin", "pos", "position",
     "offset", "frame", "strand", "lat", "lon", "long", "lng", "elev", "altitude", "depth", "meters", "metres",
     "accuracy", "uncertainty", "precision", "error", "evalue", "pident", "identity", "similarity", "distance", "cov",
     "coverage", "qcov", "qcovs", "quality", "phred", "gc", "percent", "confidence", "support", "probability",
     "bootstrap", "rank", "cluster", "swarm", "clade", "bin", "chimera", "spread", "cloud", "records", "occurrences",
     "samples", "datasets", "runs", "haplotypes", "members", "references", "hits", "index", "table", "pubmed", "pmid")
)  # fmt: skip
"""Last words in names of columns that describe a sequence and are not samples."""
_ENDINGS = (
    "taxid", "taxonid", "taxonomyid", "clusterid", "recordid", "accession", "length", "seqlen", "latitude", "longitude",
    "elevation", "version", "number", "score", "year",
)  # fmt: skip
"""Endings of such names written without separators."""
_FIRST_WORDS = frozenset(
    ("n", "nb", "num", "number", "is", "has", "min", "max", "mean", "median", "minimum", "maximum")
)
_NAMES = frozenset(("individualcount", "recordcount", "nrecords", "unnamed1", "rowid", "seqidx", "x"))
_YEARS = range(1700, 2101)
_CLEAR_ROWS = 3
"""Minimum number of rows that must look like years before a column counts as years, whatever its name."""


@dataclass(frozen=True)
class Column:
    """The name of a column, and its cells in some rows."""

    name: str
    cells: Sequence[str]


def hold_counts(columns: Sequence[Column], *, has_reads: bool) -> bool:
    """Return whether columns are, or include, the samples of a count table.

    Args:
        columns: The columns of a table that are not ids, sequences, samples, reads, taxa or words.
        has_reads: Whether the table also has a column of reads, so that no reads are lost without samples.
    """
    numbers = [column for column in columns if any(column.cells) and not _is_exempt(column.name)]
    counts = {column.name: found for column in numbers if (found := _counts(column)) is not None}
    if len(counts) < 2:
        return not has_reads and len(counts) == len(numbers) and any(map(_is_sample_or_sum, counts))
    # Next to other numbers of unknown meaning, two columns of counts alone are not enough evidence for samples.
    named = sum(map(_is_sample_or_sum, counts))
    return len(counts) == len(numbers) or named > 1 or any(0 in found for found in counts.values())


def _is_sample_or_sum(name: str) -> bool:
    return _SAMPLE.fullmatch(name) is not None or is_sum_name(name)


def _is_exempt(name: str) -> bool:
    bare = plain(name)
    words = [word.lower() for word in _WORDS.findall(name)]
    if bare in _NAMES or bare in _LAST_WORDS or bare.endswith(_ENDINGS):
        return True
    return len(words) > 1 and (words[-1] in _LAST_WORDS or words[0] in _FIRST_WORDS)


def _counts(column: Column) -> set[int] | None:
    """Return the distinct counts of a column; None if a cell is not a count, or all look like years."""
    found = {parse_count(cell) for cell in set(column.cells)}
    counts = {count for count in found if count is not None}
    is_year = len(column.cells) >= _CLEAR_ROWS and all(count in _YEARS for count in counts)
    is_year = is_year and not _is_sample_or_sum(column.name)
    return None if len(counts) < len(found) or not counts or is_year else counts
