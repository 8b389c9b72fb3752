"""The methods of other programs that ednabed is compared with."""

from __future__ import annotations

import shutil

from ednabed.evaluate.bayes import NaiveBayes
from ednabed.evaluate.consensus import Consensus
from ednabed.evaluate.external import BestHit, Blast, Sintax
from ednabed.evaluate.mmseqs import MMseqs
from ednabed.evaluate.predictions import Method

METHOD_NAMES = ("vsearch", "vsearch-default", "sintax", "consensus", "blastn", "mmseqs2", "naive-bayes")
"""Names of all of them, in the order of the tables."""


def installed() -> tuple[list[Method], list[str]]:
    """Return the methods whose programs are installed, and one sentence for each program that is not."""
    methods: list[Method] = []
    absent = []
    if shutil.which("vsearch"):
        methods += [BestHit(), BestHit(1, 32, "vsearch-default"), Sintax(), Consensus()]
    else:
        absent.append("vsearch is not installed, so it is not among the methods; conda and Debian have it as 'vsearch'")
    if shutil.which("blastn") and shutil.which("makeblastdb"):
        methods.append(Blast())
    else:
        absent.append(
            "blastn and makeblastdb are not installed, so blastn is not among the methods; bioconda has them as "
            "'blast', Debian as 'ncbi-blast+'"
        )
    if shutil.which("mmseqs"):
        methods.append(MMseqs())
    else:
        absent.append(
            "mmseqs is not installed, so MMseqs2 is not among the methods; bioconda and Debian have it as 'mmseqs2'"
        )
    methods.append(NaiveBayes())
    return methods, absent
