"""Measure vectors alone: nearest neighbours of held-out sequences, without alignment or calibration.

Queries and training records come from ``splits``. The nearest training sequence is right if it has the deepest name
that the query shares with training: the species of a held-out record, the genus of a held-out species, the family of a
held-out genus. For held-out records it is also measured whether the right species is among the 50 nearest. Equally near
neighbours count as the share of their names that is right. A further figure shows how often two fragments of one
sequence with little overlap are nearer to each other than fragments of two families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.topk import unit
from ednabed.engine.embed import Engine
from ednabed.evaluate.metrics import auroc
from ednabed.evaluate.splits import Labelled, LabelledQuery, Split
from ednabed.models.base import Embedder
from ednabed.sequences.lineage import RANKS
from ednabed.sequences.normalisation import reverse_complement
from ednabed.taxonomy.taxa import Taxa, Taxon

AMONG = 50
"""Number of nearest neighbours that may contain the right species."""
QUESTIONS = (("record", "species"), ("species", "genus"), ("genus", "family"))
"""The group that was held out, and the rank at which the name of the nearest neighbour is compared."""
FRAGMENT, MAX_OVERLAP = 150, 30
"""Length of a fragment in bases, and the maximum overlap of two fragments of one sequence."""

_TIE = 1e-6
_BLOCK_QUERIES = 256
_DRAWS = 2_000

Figures = dict[str, float | None]


def nearest_names(
    engine: Engine, references: FloatArray, training: Sequence[Labelled], queries: Sequence[LabelledQuery], taxa: Taxa
) -> Figures:
    """Measure the names of the nearest neighbours of queries.

    Args:
        engine: Engine with the encoder.
        references: Vectors of the training records, float32, shape (records, d); an all-zero row is never a neighbour.
        training: The training records.
        queries: Held-out records, whole or cropped; those that the encoder refuses count as wrong.
        taxa: Defines which names are the same taxon.

    Returns:
        Under ``record → species``, ``record → species among 50``, ``species → genus``, ``genus → family``: the share
        that is right, 0 to 1. Under ``new genera told``: the probability that the nearest neighbour of a held-out genus
        is farther than that of a held-out record (AUROC). None if there is no such query.
    """
    keys = [taxa.taxa_of(record.lineage) for record in training]
    columns = {rank: _numbers([key[RANKS.index(rank)] for key in keys]) for _, rank in QUESTIONS}
    chosen = [query for query in queries if query.group in dict(QUESTIONS)]
    vectors, _ = engine.embed([query.sequence.encode() for query in chosen])
    vectors = unit(vectors)
    references = unit(references)
    usable = references.any(axis=1)
    right: dict[str, list[float]] = {}
    distances: dict[str, list[float]] = {}
    for first in range(0, len(chosen), _BLOCK_QUERIES):
        block = vectors[first : first + _BLOCK_QUERIES]
        similar = block @ references.T
        similar[:, ~usable] = -np.inf
        count = min(AMONG, similar.shape[1])
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        for i, query in enumerate(chosen[first : first + _BLOCK_QUERIES]):
            rank = dict(QUESTIONS)[query.group]
            numbers, known = columns[rank]
            true = known.get(taxa.taxa_of(query.lineage)[RANKS.index(rank)])
            found = similar[i, nearest[i]]
            best = nearest[i][found >= found.max() - _TIE]
            distances.setdefault(query.group, []).append(1 - float(found.max()))
            names = {int(numbers[row]) for row in best} if block[i].any() else set()
            right.setdefault(f"{query.group} → {rank}", []).append((true in names) / len(names) if names else 0.0)
            if rank == "species":
                among = true is not None and true in numbers[nearest[i]] and bool(block[i].any())
                right.setdefault(f"record → species among {AMONG}", []).append(float(among))
    keys_in_order = [f"{QUESTIONS[0][0]} → species", f"record → species among {AMONG}"]
    keys_in_order += [f"{group} → {rank}" for group, rank in QUESTIONS[1:]]
    figures = {name: float(np.mean(right[name])) if name in right else None for name in keys_in_order}
    new_genera = auroc(*(np.array(distances.get(group, []), np.float64) for group in ("genus", "record")))
    return {**figures, "new genera told": new_genera}


def reversed_queries(queries: Sequence[LabelledQuery]) -> list[LabelledQuery]:
    """Return the reverse complements of queries."""
    reversed_bases = reverse_complement([query.sequence.encode() for query in queries])
    return [replace(query, sequence=bases.decode()) for query, bases in zip(queries, reversed_bases, strict=True)]


def fragments_together(
    engine: Engine, records: Sequence[Labelled], taxa: Taxa, *, draws: int, seed: int
) -> float | None:
    """Return how often two fragments of one sequence are nearer than one of them and a fragment of another family.

    Each draw takes a sequence, two of its fragments of 150 bases that overlap by at most 30, and a fragment of 150
    bases from any position of a sequence of another family. Equal similarities count half.

    Args:
        engine: Engine with the encoder.
        records: Sequences with a family; sequences shorter than 270 bases are ignored.
        taxa: Defines which names are the same taxon.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        The share, 0 to 1; None if no sequence is long enough or there is only one family.
    """
    rng = np.random.default_rng(seed)
    family = RANKS.index("family")
    long = [r for r in records if len(r.sequence) >= 2 * FRAGMENT - MAX_OVERLAP and r.lineage[family]]
    keys = [taxa.taxa_of(record.lineage)[family] for record in long]
    if len(set(keys)) < 2:
        return None
    parts: list[bytes] = []
    for _ in range(draws):
        i = int(rng.integers(len(long)))
        j = int(rng.integers(len(long)))
        while keys[j] == keys[i]:
            j = int(rng.integers(len(long)))
        one, other = long[i].sequence, long[j].sequence
        spare = len(one) - (2 * FRAGMENT - MAX_OVERLAP)
        first = int(rng.integers(0, spare + 1))
        second = int(rng.integers(first + FRAGMENT - MAX_OVERLAP, len(one) - FRAGMENT + 1))
        third = int(rng.integers(0, len(other) - FRAGMENT + 1))
        parts += [t[s : s + FRAGMENT].encode() for t, s in ((one, first), (one, second), (other, third))]
    vectors = unit(engine.embed(parts)[0]).reshape(draws, 3, -1)
    same, different = ((vectors[:, 0] * vectors[:, i]).sum(axis=1) for i in (1, 2))
    return float(np.mean((same > different) + 0.5 * (same == different)))


def _numbers(keys: Sequence[Taxon | None]) -> tuple[Ints, dict[Taxon | None, int]]:
    """Return the number of each key's taxon, -1 for None, and the numbers by taxon."""
    known: dict[Taxon | None, int] = {}
    return np.array([-1 if key is None else known.setdefault(key, len(known)) for key in keys], np.int64), known


@dataclass(frozen=True)
class Neighbours:
    """Accuracy of the vectors of one encoder.

    Attributes:
        model: Name of the model.
        figures: Results of ``nearest_names`` by queries (``full``, ``full, other strand``, ``313``, …).
        fragments: Result of ``fragments_together``.
    """

    model: str
    figures: dict[str, Figures]
    fragments: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def measure_neighbours(
    embedder: Embedder, data_split: Split, crops: Mapping[str, Sequence[LabelledQuery]]
) -> Neighbours:
    """Measure an encoder on a split; ``crops`` holds the queries by name of the crop, including ``full``."""
    engine = Engine(embedder)
    references, _ = engine.embed([record.sequence.encode() for record in data_split.training])
    both_strands: dict[str, Sequence[LabelledQuery]] = {}
    for name, queries in crops.items():
        both_strands |= {name: queries, f"{name}, other strand": reversed_queries(queries)}
    figures = {
        name: nearest_names(engine, references, data_split.training, queries, data_split.taxa)
        for name, queries in both_strands.items()
    }
    held_out = [Labelled(query.id, query.sequence, query.lineage) for query in data_split.queries]
    fragments = fragments_together(engine, held_out, data_split.taxa, draws=_DRAWS, seed=data_split.seed)
    return Neighbours(embedder.spec.model, figures, fragments)
