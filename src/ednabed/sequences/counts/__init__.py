"""Count tables: how many reads each feature (ASV, OTU) has in each sample, from every form that labs have."""

from ednabed.sequences.counts.inspect import find_counts
from ednabed.sequences.counts.lineages import lineages_of
from ednabed.sequences.counts.read import read_count_table
from ednabed.sequences.counts.table import CountTable, no_match

__all__ = ["CountTable", "find_counts", "lineages_of", "no_match", "read_count_table"]
