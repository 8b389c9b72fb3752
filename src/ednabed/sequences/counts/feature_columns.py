"""Recognise, by their names, numeric columns that describe the features of a count table and so are not samples.

Only names that no lab gives to a sample are included, because the reads of an omitted sample are lost. Every word of a
name must be known (``NCBI_taxid``, ``n_samples``, ``clusterSize``; not ``cluster_lake``, ``S1``, ``12``).
"""

from __future__ import annotations

import re

from ednabed.sequences.columns import SOURCE_RECORD_NAMES, plain

_TAXON = "ncbi|gbif|worms|aphia|itis|bold|silva|unite|accepted|usage|tax|taxon|taxonomy|taxonomic"
_RANK = "rank|species|genus|family|order|class|phylum|kingdom|domain|lca"
_FEATURE = "sequence|seq|read|amplicon|fragment|otu|asv|zotu|esv|motu|feature|swarm|cluster|centroid"
_SEARCH = "best|top|hit|match|query|subject|target|reference|ref|acc|alignment|aln|blastn?|vsearch|usearch|sintax|rdp"
_STATISTIC = "mean|average|avg|median|min|minimum|max|maximum|percentage|percent|perc|pct|per"
_ALONE = (
    "taxids?|staxids?|length|evalues?|bitscores?|scores?|pidents?|nident|percentid|identity|similarity|coverage|qcovs?|"
    "qcovhsp|mismatch|mismatches|gapopens?|gaps|qstart|qend|sstart|send|qlen|slen|confidence|consensus|bootstrap|"
    "posterior|probability|prevalence|occurrences?|occupancy|spread|cloud|cluster|swarm|chimera|quality|rank|amplicon|"
    "mean|median|average|relativeabundance|relabundance|gccontent|latitude|longitude|features|records"
)
"""Words that are sufficient alone."""
_WITH_ANOTHER = "ids?|keys?|numbers?|num|no|nr|index|size|len|count|boot|support|rank|ident|cover|cov|code"
"""Words about a feature only next to another such word (``speciesKey``), because alone they could be a sample."""
_COUNTED = (
    "samples?|sites?|stations?|hits?|seqs?|sequences?|records?|references?|refs?|matches|taxa|species|otus|asvs|"
    "replicates?|pcrs|positives|occurrences?|features?"
)
_READS = "abundances?|reads|counts?|readcounts?"

_ABOUT = f"(?:{_TAXON}|{_RANK}|{_FEATURE}|{_SEARCH}|{_STATISTIC})"
_NAME = re.compile(
    rf"(?:{_ABOUT}|total)*(?:{_ALONE})(?:{_ABOUT}|bp|nt)*"
    rf"|{_ABOUT}+(?:{_WITH_ANOTHER}){_ABOUT}*|boot(?:{_RANK})"
    rf"|(?:n|nb|no|nr|num|number|numberof|total|count)(?:{_COUNTED})|(?:sample|site|station|record)counts?"
    rf"|(?:mean|average|avg|median|min|minimum|max|maximum|relative|rel)(?:{_READS})"
)
_NO_LETTER = re.compile(r"[\W_]")
_MAX_NAME_LENGTH = 60
_SOURCE_RECORDS = frozenset(map(plain, SOURCE_RECORD_NAMES))


def describes_features(column: str) -> bool:
    """Return whether a column's name describes features (``taxid``, ``length``, ``n_samples``) and not a sample."""
    if len(column) > _MAX_NAME_LENGTH:
        return False
    return plain(column) in _SOURCE_RECORDS or _NAME.fullmatch(_NO_LETTER.sub("", plain(column))) is not None
