"""Count tables: the number of reads of each feature (ASV, OTU) in each sample, in all formats that labs use."""

from ednabed.sequences.counts.inspect import find_counts
from ednabed.sequences.counts.lineages import lineages_of
from ednabed.sequences.counts.read import read_count_table
from ednabed.sequences.counts.table import CountTable, no_match_error

__all__ = ["CountTable", "find_counts", "lineages_of", "no_match_error", "read_count_table"]
