"""The methods with which ednabed is compared."""

from __future__ import annotations

import shutil

from ednabed.evaluate.bayes import NaiveBayes
from ednabed.evaluate.consensus import Consensus
from ednabed.evaluate.external import BestHit, Blast, Sintax
from ednabed.evaluate.mmseqs import MMseqs
from ednabed.evaluate.predictions import Method

METHOD_NAMES = ("vsearch", "vsearch-default", "sintax", "consensus", "blastn", "mmseqs2", "naive-bayes")
"""Names of all methods, in the order of the tables."""


def installed() -> tuple[list[Method], list[str]]:
    """Return the methods whose programs are installed, and one sentence for each program that is not."""
    methods: list[Method] = []
    missing = []
    if shutil.which("vsearch"):
        methods += [BestHit(), BestHit(1, 32, "vsearch-default"), Sintax(), Consensus()]
    else:
        missing.append("vsearch is not installed, so it is not compared; install 'vsearch' from conda or Debian")
    if shutil.which("blastn") and shutil.which("makeblastdb"):
        methods.append(Blast())
    else:
        missing.append(
            "blastn and makeblastdb are not installed, so blastn is not compared; install 'blast' from bioconda or "
            "'ncbi-blast+' from Debian"
        )
    if shutil.which("mmseqs"):
        methods.append(MMseqs())
    else:
        missing.append("mmseqs is not installed, so MMseqs2 is not compared; install 'mmseqs2' from bioconda or Debian")
    methods.append(NaiveBayes())
    return methods, missing
