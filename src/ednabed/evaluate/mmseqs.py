"""MMseqs2 (Steinegger and Söding 2017, 10.1038/nbt.3988) as a method: best hits of a nucleotide search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ednabed.evaluate.external import DATABASE, HITS, QUERIES, Queries, best_hits, numbered, search
from ednabed.evaluate.predictions import Classify, Prediction
from ednabed.evaluate.splits import Labelled
from ednabed.evaluate.tools import run_tool, scratch, version, write_plain_fasta

_FIELDS = "query,target,bits,nident,alnlen"


@dataclass(frozen=True)
class MMseqs:
    """The best hits of ``mmseqs easy-search`` by bit score times identity.

    k-mers have 13 bases: with the default of 15, the index of any reference takes 8 GB of memory and half a minute to
    set up; shorter k-mers find no fewer relatives.
    """

    name: str = "mmseqs2"

    @property
    def options(self) -> list[str]:
        """Options that affect the result."""
        return ["--search-type", "3", "--strand", "1", "-k", "13", "-a", "1"]

    @property
    def settings(self) -> str:
        """Version and options."""
        return f"{version('mmseqs')}: easy-search {' '.join(self.options)}, best bit score x identity"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Build the MMseqs2 database; every search builds the index again.

        Raises:
            ToolError: mmseqs fails or is not installed.
        """
        with scratch() as folder:
            write_plain_fasta(folder / "training.fasta", numbered(training))
            run_tool(["mmseqs", "createdb", "training.fasta", DATABASE, "--dbtype", "2", "-v", "1"], folder)
            arguments = ["mmseqs", "easy-search", QUERIES, DATABASE, HITS, "temporary", *self.options]
            arguments += ["--threads", str(threads), "--format-output", _FIELDS, "-v", "1"]

            def classify(queries: Queries) -> list[Prediction]:
                return best_hits(queries, training, search(arguments, queries, folder), _score)

            yield classify


def _score(row: list[str]) -> tuple[float, float]:
    """Return bit score times identity, and the identity: the percentage of identical alignment columns."""
    identity = 100 * int(row[3]) / int(row[4])
    return float(row[2]) * identity, identity
