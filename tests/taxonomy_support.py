"""A small made-up world of taxa with barcodes, and references of it; tables of candidates and labels made by hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.models.base import Embedder
from ednabed.models.spec import Policy
from ednabed.reference.build import BuildRequest, build_reference
from ednabed.reference.opened import Reference, open_reference
from ednabed.search.queries import Query, QueryBatch
from ednabed.sequences.lineage import Lineage, format_lineage
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.taxonomy.evidence import Candidates
from ednabed.taxonomy.labels import RowLabels, number_taxa
from ednabed.workflows.identify import calibrate_reference

DRAWS = 720
"""Draws that calibrate ``shared_world`` in seconds: enough for p-values (50 a rank) when all lengths are taken
together."""
FOREIGN = 10_000
"""First seed of sequences that have nothing to do with ``world``."""
_MADE: list[Path] = []


@dataclass(frozen=True)
class Barcode:
    """A record of the made-up world."""

    id: str
    sequence: str
    lineage: Lineage
    marker: str = ""


def randomly(length: int, seed: int) -> str:
    """Random letters, the same for a seed."""
    return "".join(random.Random(seed).choices("ACGT", k=length))


def substituted(sequence: str, places: int, seed: int = 0) -> str:
    """Another letter at exactly so many places."""
    rng = random.Random(seed)
    letters = list(sequence)
    for i in rng.sample(range(len(letters)), places):
        letters[i] = rng.choice([letter for letter in "ACGT" if letter != letters[i]])
    return "".join(letters)


def reverse_complement(sequence: str) -> str:
    """The other strand, from the definition."""
    return sequence.translate(str.maketrans("ACGTN", "TGCAN"))[::-1]


def lineage_of(genus: int, species: int | None = 0) -> Lineage:
    """The lineage of a species (None: of its genus) of the made-up world: four genera a family, two families an order.

    Even families are of one phylum, odd ones of another, so that there are two of everything.
    """
    family = genus // 4
    order = family // 2
    phylum = order % 2
    return (
        "Animalia", f"Phylum{phylum}", f"Class{phylum}", f"Order{order}", f"Family{family}", f"Genus{genus}",
        "" if species is None else f"Genus{genus} species{species}",
    )  # fmt: skip


def world(
    genera: int = 40,
    species: int = 3,
    records: int | Sequence[int] = 4,
    length: int = 500,
    seed: int = 0,
    marker: str = "",
) -> list[Barcode]:
    """Barcodes that differ by about 1 % in a species, 4 % in a genus, 12 % in a family, 20 % in an order.

    Several numbers of records are taken by turns, a species each.
    """
    sizes = itertools.cycle([records] if isinstance(records, int) else records)
    rng = random.Random(seed)

    def child(sequence: str, share: float) -> str:
        return substituted(sequence, round(share * len(sequence)), rng.randrange(2**31))

    root = randomly(length, seed)
    found: list[Barcode] = []
    orders: dict[str, str] = {}
    families: dict[str, str] = {}
    for g in range(genera):
        _, _, _, order, family, _, _ = lineage_of(g)
        if order not in orders:
            orders[order] = child(root, 0.06)
        if family not in families:
            families[family] = child(orders[order], 0.05)
        genus_letters = child(families[family], 0.04)
        for s in range(species):
            species_letters = child(genus_letters, 0.02)
            for r in range(next(sizes)):
                letters = species_letters if r == 0 else substituted(species_letters, r, rng.randrange(2**31))
                found.append(Barcode(f"{marker}g{g}s{s}r{r}", letters, lineage_of(g, s), marker))
    return found


def shared_world() -> list[Barcode]:
    """Return the barcodes of ``world_workspace``.

    Their species are of several sizes: were they all of four, those whose own record is left out would be told by their
    three, and calibration would learn that four in agreement are wrong.
    """
    return world(records=(4, 2, 6, 3, 5))


def write_table(path: Path, barcodes: Iterable[Barcode]) -> Path:
    """Write records with their labels."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("id\tsequence\tlineage\tmarker\n")
        for one in barcodes:
            lineage = format_lineage(one.lineage) if any(one.lineage) else ""
            file.write(f"{one.id}\t{one.sequence}\t{lineage}\t{one.marker}\n")
    return path


def write_fasta(path: Path, queries: Iterable[tuple[str, str]]) -> Path:
    """Write queries."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f">{name}\n{sequence}\n" for name, sequence in queries)
    return path


def reference_of(workspace: Path, barcodes: Iterable[Barcode], *, strand: str = "given", **more: Any) -> Reference:
    """Embed barcodes by kmer6 and consolidate, as a user would."""
    workspace.mkdir(parents=True, exist_ok=True)
    table = write_table(workspace / "barcodes.tsv", barcodes)
    embedder = open_embedder("kmer6", Policy(strand=strand))  # type: ignore[arg-type]
    embed_to_run(RunRequest(inputs=[table], workspace=workspace, dataset="made-up"), embedder, show_progress=False)
    return open_reference(build_reference(BuildRequest(workspace, **more)).folder)


def world_workspace(folder: Path) -> Path:
    """A workspace with a calibrated reference of ``shared_world``, made once for all tests. Copy it before changing it.

    Args:
        folder: Where it is made if it is not there yet.
    """
    if not _MADE:
        reference_of(folder, shared_world())
        calibrate_reference(folder, queries=DRAWS, threads=1)
        _MADE.append(folder)
    return _MADE[0]


def batch_of(embedder: Embedder, queries: Sequence[tuple[str, str]]) -> QueryBatch:
    """Make queries of names and letters, all of which can be looked up."""
    vectors, refused = Engine(embedder).embed([sequence.encode() for _, sequence in queries])
    assert not refused
    return QueryBatch(
        [Query({"id": name}, sequence=sequence) for name, sequence in queries], list(range(len(queries))), vectors
    )


def labels_of(rows: Sequence[Sequence[tuple[Lineage, int]]], markers: Sequence[str] | None = None) -> RowLabels:
    """Labels of rows by hand: for each its lineages with their numbers of records, most records first."""
    lineages = list(dict.fromkeys(lineage for row in rows for lineage, _ in row))
    names = ["", *sorted(set(markers or []) - {""})]
    return RowLabels(
        lineages=lineages,
        taxa=number_taxa(lineages),
        starts=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        entries=np.array([lineages.index(lineage) for row in rows for lineage, _ in row], np.int64),
        records=np.array([count for row in rows for _, count in row], np.int64),
        markers=names,
        marker=np.array([names.index(m) for m in markers] if markers else [0] * len(rows), np.int64),
    )


def candidates_of(
    rows: Sequence[Sequence[int]],
    distances: Sequence[Sequence[float]],
    *,
    letters: int = 300,
    lengths: int = 300,
    width: float = 0.01,
) -> Candidates:
    """Candidates of queries by hand; short lists are filled up with none."""
    q, k = len(rows), max(map(len, rows), default=0)
    table = np.full((q, k), -1, np.int64)
    far = np.full((q, k), np.inf)
    for i, (own, away) in enumerate(zip(rows, distances, strict=True)):
        table[i, : len(own)] = own
        far[i, : len(own)] = away
    there = table >= 0
    return Candidates(
        rows=table,
        positions=np.broadcast_to(np.arange(k), (q, k)),
        distances=far,
        mismatches=np.where(there, np.minimum(far, 1) * letters, 0.0),
        bases=np.where(there, letters, 0),
        overlaps=np.where(there, letters, -1),
        lacking=np.zeros((q, k)),
        lengths=np.full(q, lengths),
        widths=np.full(q, width),
    )
