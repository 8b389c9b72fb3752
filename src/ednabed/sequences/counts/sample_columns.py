"""Which columns of numbers next to ids and sequences are samples, so that a table is not read as one read per sequence.

Both errors cost something: a table of counts that is not recognised loses its reads in silence, and a labelled
reference that is taken for one cannot be read without an answer. Names decide where they can (``seq_length``,
``phylum_taxID``, ``coordinateUncertaintyInMeters``, ``n_records``, ``is_type`` are no samples), else values do: counts
are whole numbers of 0 or more in every row, years are not counts.
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
"""Last words of names of columns that say something of a sequence and are no samples."""
_ENDINGS = (
    "taxid", "taxonid", "taxonomyid", "clusterid", "recordid", "accession", "length", "seqlen", "latitude", "longitude",
    "elevation", "version", "number", "score", "year",
)  # fmt: skip
"""Endings of names without digits, for those who write words together."""
_FIRST_WORDS = frozenset(
    ("n", "nb", "num", "number", "is", "has", "min", "max", "mean", "median", "minimum", "maximum")
)
_NAMES = frozenset(("individualcount", "recordcount", "nrecords", "unnamed1", "rowid", "seqidx", "x"))
_YEARS = range(1700, 2101)
_CLEAR_ROWS = 3
"""Rows that have to be years before a column without such a name is taken for one."""


@dataclass(frozen=True)
class Column:
    """A column: its name, and its cells in some rows."""

    name: str
    cells: Sequence[str]


def hold_counts(columns: Sequence[Column], *, has_reads: bool) -> bool:
    """Return whether columns are, or hold, the samples of a table of counts.

    Args:
        columns: The columns of a table that are not ids, sequences, samples, reads, taxa or words.
        has_reads: Whether the table also has a column of reads, so that without samples no read is lost.
    """
    numbers = [column for column in columns if any(column.cells) and not _is_exempt(column.name)]
    counts = {column.name: found for column in numbers if (found := _counts(column)) is not None}
    if len(counts) < 2:
        return not has_reads and len(counts) == len(numbers) and any(map(_is_sample_or_sum, counts))
    # Next to other numbers of unknown meaning more has to speak for samples than that there are two.
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
    """Return the distinct counts of a column; None where a cell is none, or all look like years."""
    found = {parse_count(cell) for cell in set(column.cells)}
    counts = {count for count in found if count is not None}
    is_year = len(column.cells) >= _CLEAR_ROWS and all(count in _YEARS for count in counts)
    is_year = is_year and not _is_sample_or_sum(column.name)
    return None if len(counts) < len(found) or not counts or is_year else counts
