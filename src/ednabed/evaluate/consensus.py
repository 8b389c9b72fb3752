"""The consensus of vsearch's top hits as a method, following QIIME 2's ``classify-consensus-vsearch``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from ednabed.evaluate.external import (
    DATABASE,
    HITS,
    QUERIES,
    VSEARCH_FIELDS,
    Queries,
    numbered,
    search,
    vsearch_score,
)
from ednabed.evaluate.predictions import Classify, Prediction
from ednabed.evaluate.splits import Labelled
from ednabed.evaluate.tools import run_tool, scratch, version, write_plain_fasta
from ednabed.sequences.lineage import RANKS, Lineage, as_lineage
from ednabed.store.assignment import UNKNOWN
from ednabed.taxonomy.assign import IDENTITIES
from ednabed.taxonomy.taxa import Taxa

MARGIN = 1.0
"""Percentage points below the best identity within which hits vote."""

MAJORITY = 0.51
"""Share of the votes that a name needs."""

# Tolerance for comparing two quotients.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Consensus:
    """The names shared by the majority of vsearch's top hits, given if the identity is high enough for the rank.

    Hits within ``MARGIN`` of the best identity vote, 30 at most. The deepest rank at which a share of ``MAJORITY`` of
    the hits have the same name is assigned, with the names above it; as in QIIME 2 a hit without a name counts against
    it. QIIME 2 compares complete lineages; here taxa are compared (``Taxa``), so that hits whose sources disagree about
    an order still agree about the genus. A name is given if the best identity reaches ``taxonomy.assign.IDENTITIES``
    for its rank.
    """

    name: str = "consensus"

    @property
    def options(self) -> list[str]:
        """Options that affect the result."""
        return ["--id", "0.5", "--maxaccepts", "30", "--maxrejects", "100", "--strand", "plus"]

    @property
    def settings(self) -> str:
        """Version and options."""
        return (
            f"{version('vsearch')}: --usearch_global {' '.join(self.options)}, majority of {MAJORITY} of the hits "
            f"within {MARGIN:g} % of the best, species given from {100 * IDENTITIES[-1]:g} %, genus from "
            f"{100 * IDENTITIES[-2]:g} %, family from {100 * IDENTITIES[-3]:g} %"
        )

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Build the vsearch database.

        Raises:
            ToolError: vsearch fails or is not installed.
        """
        taxa = Taxa(record.lineage for record in training)
        with scratch() as folder:
            write_plain_fasta(folder / "training.fasta", numbered(training))
            run_tool(["vsearch", "--makeudb_usearch", "training.fasta", "--output", DATABASE], folder)
            arguments = ["vsearch", "--usearch_global", QUERIES, "--db", DATABASE, *self.options, "--threads"]
            arguments += [str(threads), "--userout", HITS, "--userfields", VSEARCH_FIELDS]

            def classify(queries: Queries) -> list[Prediction]:
                hits: dict[int, list[tuple[float, Lineage]]] = {}
                for row in search(arguments, queries, folder):
                    lineage = training[int(row[1])].lineage
                    hits.setdefault(int(row[0]), []).append((vsearch_score(row)[1], lineage))
                return [_prediction(name, hits.get(i, []), taxa) for i, (name, _) in enumerate(queries)]

            yield classify


def _prediction(name: str, hits: list[tuple[float, Lineage]], taxa: Taxa) -> Prediction:
    if not hits:
        return Prediction(name, novelty=(100.0,) * len(RANKS))
    identity = max(found for found, _ in hits)
    names = agreed([lineage for found, lineage in hits if found >= identity - MARGIN - _ROUNDING], taxa)
    given = tuple(identity >= 100 * minimum - _ROUNDING for minimum in IDENTITIES)
    return Prediction(name, names, given=given, identity=identity, novelty=(100 - identity,) * len(RANKS))


def agreed(lineages: Sequence[Lineage], taxa: Taxa) -> Lineage:
    """Return the names down to the deepest rank at which enough lineages belong to one taxon, empty below it.

    Args:
        lineages: One for each vote, at least one.
        taxa: Defines which names are the same taxon.
    """
    minimum_votes = ceil(len(lineages) * MAJORITY)
    for rank in reversed(range(len(RANKS))):
        votes = Counter(key for lineage in lineages if (key := taxa.taxa_of(lineage)[rank]) is not None)
        taxon, count = next(iter(votes.most_common(1)), (None, 0))
        if count >= minimum_votes:
            voters = Counter(lineage for lineage in lineages if taxa.taxa_of(lineage)[rank] == taxon)
            return as_lineage(text if r <= rank else "" for r, text in enumerate(voters.most_common(1)[0][0]))
    return UNKNOWN
