"""Count tables: how many reads each feature (ASV, OTU) has in each sample, from every form that labs have."""

from ednabed.sequences.counts.read import read_count_table
from ednabed.sequences.counts.table import CountTable, no_match

__all__ = ["CountTable", "no_match", "read_count_table"]
