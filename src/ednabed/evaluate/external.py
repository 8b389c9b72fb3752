"""Other tools as methods, if they are installed: vsearch (best hit and SINTAX) and blastn.

Each tool gets the same training FASTA and queries as every other method, in a temporary folder that is its working
folder, so that no user path (with spaces or special characters) ever occurs in its arguments. Records and queries are
replaced by numbers and taxa by codes, which are translated back in the tool's output, so that any name survives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ednabed.evaluate.predictions import Classify, Prediction
from ednabed.evaluate.splits import Labelled
from ednabed.evaluate.tools import run_tool, scratch, version, write_plain_fasta
from ednabed.sequences.lineage import RANKS, Lineage, as_lineage
from ednabed.taxonomy.taxa import Taxa

_RANK_PREFIXES = "dpcofgs"
DATABASE, QUERIES, HITS = "db", "queries.fasta", "hits.tsv"
"""File names in the temporary folder."""

Queries = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class BestHit:
    """The best hit of vsearch by global alignment.

    Candidates are aligned in the order of shared 8-mers. The search ends after ``accepts`` alignments with at least
    50 % identity or ``rejects`` others, and the hits with the highest identity (ignoring terminal gaps) are taken.

    Attributes:
        accepts: ``--maxaccepts``.
        rejects: ``--maxrejects``.
        name: Name for tables.
    """

    accepts: int = 30
    rejects: int = 100
    name: str = "vsearch"

    @property
    def options(self) -> list[str]:
        """Options that affect the result."""
        limits = ["--maxaccepts", str(self.accepts), "--maxrejects", str(self.rejects)]
        return ["--id", "0.5", *limits, "--top_hits_only", "--strand", "plus"]

    @property
    def settings(self) -> str:
        """Version and options."""
        return f"{version('vsearch')}: --usearch_global {' '.join(self.options)}"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Build the vsearch database.

        Raises:
            ToolError: vsearch fails or is not installed.
        """
        with scratch() as folder:
            write_plain_fasta(folder / "training.fasta", numbered(training))
            run_tool(["vsearch", "--makeudb_usearch", "training.fasta", "--output", DATABASE], folder)
            arguments = ["vsearch", "--usearch_global", QUERIES, "--db", DATABASE, *self.options, "--threads"]
            arguments += [str(threads), "--userout", HITS, "--userfields", VSEARCH_FIELDS]

            def classify(queries: Queries) -> list[Prediction]:
                return best_hits(queries, training, search(arguments, queries, folder), vsearch_score)

            yield classify


@dataclass(frozen=True)
class Blast:
    """The best hit of blastn's default search (megablast) by bit score."""

    name: str = "blastn"

    @property
    def options(self) -> list[str]:
        """Options that affect the result."""
        return ["-task", "megablast", "-max_target_seqs", "10", "-evalue", "1e-5", "-strand", "plus"]

    @property
    def settings(self) -> str:
        """Version and options."""
        return f"{version('blastn')}: {' '.join(self.options)}"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Build the BLAST database.

        Raises:
            ToolError: makeblastdb or blastn fails or is not installed.
        """
        with scratch() as folder:
            write_plain_fasta(folder / "training.fasta", numbered(training))
            run_tool(["makeblastdb", "-in", "training.fasta", "-dbtype", "nucl", "-out", DATABASE], folder)
            fields = "6 qseqid sseqid bitscore pident"
            arguments = ["blastn", "-query", QUERIES, "-db", DATABASE, *self.options, "-num_threads", str(threads)]
            arguments += ["-outfmt", fields, "-out", HITS]

            def classify(queries: Queries) -> list[Prediction]:
                return best_hits(queries, training, search(arguments, queries, folder), _blast_score)

            yield classify


@dataclass(frozen=True)
class Sintax:
    """SINTAX in vsearch: the names of the sequences that share most 8-mers, with bootstrap support as confidence.

    It reports nothing for queries that share too few 8-mers with any sequence. With more than one thread its random
    numbers are not assigned to queries reproducibly, so repeated runs differ by a few tenths of a percent.
    """

    name: str = "sintax"

    @property
    def options(self) -> list[str]:
        """Options that affect the result."""
        return ["--sintax_cutoff", "0", "--strand", "plus", "--randseed", "1"]

    @property
    def settings(self) -> str:
        """Version and options."""
        return f"{version('vsearch')}: --sintax {' '.join(self.options)}"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Build the vsearch database.

        Raises:
            ToolError: vsearch fails or is not installed.
        """
        codes = _Codes(training)
        with scratch() as folder:
            named = ((f"{i};tax={codes.encode(r.lineage)};", r.sequence) for i, r in enumerate(training))
            write_plain_fasta(folder / "training.fasta", named)
            run_tool(["vsearch", "--makeudb_usearch", "training.fasta", "--output", DATABASE], folder)
            arguments = ["vsearch", "--sintax", QUERIES, "--db", DATABASE, *self.options, "--threads", str(threads)]
            arguments += ["--tabbedout", HITS]

            def classify(queries: Queries) -> list[Prediction]:
                given = {int(row[0]): row[1] for row in search(arguments, queries, folder)}
                return [codes.decode(query, given.get(i, "")) for i, (query, _) in enumerate(queries)]

            yield classify


class _Codes:
    """Plain ASCII codes for taxa, one for each taxon at each rank."""

    def __init__(self, training: Sequence[Labelled]) -> None:
        self._taxa = Taxa(record.lineage for record in training)
        self._codes: dict[tuple[int, tuple[str, str]], str] = {}
        self._names: dict[str, str] = {}

    def encode(self, lineage: Lineage) -> str:
        """Encode a lineage as a SINTAX taxonomy field."""
        fields = []
        for rank, taxon in enumerate(self._taxa.taxa_of(lineage)):
            if taxon is not None:
                code = self._codes.setdefault((rank, taxon), f"t{len(self._codes)}")
                self._names[code] = taxon[0]
                fields.append(f"{_RANK_PREFIXES[rank]}:{code}")
        return ",".join(fields)

    def decode(self, query: str, text: str) -> Prediction:
        """Decode a field with support values, such as ``d:t0(1.00),p:t4(0.98)``; empty if nothing was found."""
        names = [""] * len(RANKS)
        support: list[float | None] = [None] * len(RANKS)
        for prefix, code, number in re.findall(r"([a-z]):(\w+)\(([\d.]+)\)", text):
            rank = _RANK_PREFIXES.index(prefix)
            names[rank], support[rank] = self._names[code], float(number)
        novelty = tuple(1 - (s or 0.0) for s in support)
        return Prediction(query, as_lineage(names), confidences=tuple(support), novelty=novelty)


VSEARCH_FIELDS = "query+target+ids+mism+gaps+id"
"""Fields that ``vsearch_score`` reads."""


def vsearch_score(row: list[str]) -> tuple[float, float]:
    """Return score and identity, both the share of matches, because vsearch writes its identity with one decimal."""
    matches, mismatches, gaps, written = int(row[2]), int(row[3]), int(row[4]), float(row[5])
    columns = matches + mismatches + gaps
    exact = 100 * matches / columns if columns else 0.0
    # If vsearch counted other columns than those counted here, its own identity is used.
    identity = exact if abs(exact - written) <= 0.051 else written
    return identity, identity


def _blast_score(row: list[str]) -> tuple[float, float]:
    return float(row[2]), float(row[3])


def best_hits(
    queries: Queries,
    training: Sequence[Labelled],
    rows: list[list[str]],
    score: Callable[[list[str]], tuple[float, float]],
) -> list[Prediction]:
    """Turn rows that start with the numbers of query and training record into predictions."""
    best: dict[int, tuple[float, float, dict[int, None]]] = {}
    for row in rows:
        query, target = int(row[0]), int(row[1])
        value, identity = score(row)
        if query not in best or value > best[query][0]:
            best[query] = (value, identity, {target: None})
        elif value == best[query][0]:
            best[query][2][target] = None
    predictions = []
    for i, (name, _) in enumerate(queries):
        if i not in best:
            predictions.append(Prediction(name, novelty=(100.0,) * len(RANKS)))
            continue
        _, identity, targets = best[i]
        lineages = list(dict.fromkeys(training[target].lineage for target in targets))
        tied = tuple(lineages) if len(lineages) > 1 else ()
        novelty = (100 - identity,) * len(RANKS)
        predictions.append(Prediction(name, lineages[0], tied, identity=identity, novelty=novelty))
    return predictions


def search(arguments: list[str], queries: Queries, folder: Path) -> list[list[str]]:
    """Run a tool on the queries and return the lines of its output, split into cells."""
    if not queries:
        return []
    write_plain_fasta(folder / QUERIES, ((str(i), sequence) for i, (_, sequence) in enumerate(queries)))
    run_tool(arguments, folder)
    with (folder / HITS).open(encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def numbered(training: Sequence[Labelled]) -> Iterator[tuple[str, str]]:
    """Return training records under their numbers, as ``best_hits`` expects them in the tool's output."""
    return ((str(i), record.sequence) for i, record in enumerate(training))
