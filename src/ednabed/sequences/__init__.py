"""Read sequences from files into normalised record batches: formats, bases, digests, lineages and labels."""

from ednabed.sequences.labels import Labels, read_labels
from ednabed.sequences.lineage import RANKS, format_lineage, parse_lineage, tidy_lineage
from ednabed.sequences.normalisation import Alphabet, normalise, normalise_one, reverse_complement
from ednabed.sequences.readers import Records, open_records
from ednabed.sequences.records import (
    NORMALISED_SCHEMA,
    RAW_SCHEMA,
    REJECTED_SCHEMA,
    digest,
    digest_array,
    free_name,
    raw_records,
)
from ednabed.sequences.samples import Samples, read_samples

__all__ = [
    "Alphabet",
    "Labels",
    "NORMALISED_SCHEMA",
    "RANKS",
    "RAW_SCHEMA",
    "REJECTED_SCHEMA",
    "Records",
    "Samples",
    "digest",
    "digest_array",
    "format_lineage",
    "free_name",
    "normalise",
    "normalise_one",
    "open_records",
    "parse_lineage",
    "raw_records",
    "read_labels",
    "read_samples",
    "reverse_complement",
    "tidy_lineage",
]
