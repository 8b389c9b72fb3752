"""What vectors alone are worth: nearest neighbours of held-out sequences, without any alignment or calibration.

Queries and training records are those of ``splits``. Asked is whether the nearest training sequence has the name that
the query shares with training at best: the species of a held-out record, the genus of a held-out species, the family of
a held-out genus; and whether the right species is among the 50 nearest. Equally near ones count by the share of their
names that is right. And: are two fragments of one sequence that overlap little nearer than fragments of two families?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.engine.embed import Engine
from ednabed.evaluate.metrics import auroc
from ednabed.evaluate.splits import Labelled, Query, Split
from ednabed.models.base import Embedder, FloatArray
from ednabed.reference.topk import unit
from ednabed.sequences.letters import reverse_complement
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.taxa import Taxa, Taxon

AMONG = 50
"""Neighbours among which the right species is looked for."""
QUESTIONS = (("record", "species"), ("species", "genus"), ("genus", "family"))
"""What was held out, and the rank at which the nearest neighbour is asked."""
FRAGMENT, MOST_OVERLAP = 150, 30
"""Letters of a fragment, and of the overlap of two of one sequence, at most."""

_TIE = 1e-6
_AT_ONCE = 256
_DRAWS = 2_000

Figures = dict[str, float | None]


def nearest_names(
    engine: Engine, references: FloatArray, training: Sequence[Labelled], queries: Sequence[Query], taxa: Taxa
) -> Figures:
    """Ask for the nearest neighbours of queries.

    Args:
        engine: Of the encoder.
        references: Vectors of the training records, float32, shape (records, d); a row of zeros is never a neighbour.
        training: The records.
        queries: Held-out records, whole or cropped; those that the encoder does not take count as wrong.
        taxa: Which names are the same taxon.

    Returns:
        By ``record → species``, ``record → species among 50``, ``species → genus``, ``genus → family``: the share that
        is right, 0 to 1. By ``new genera told``: the chance that the nearest neighbour of a held-out genus is farther
        than that of a held-out record (AUROC). None where there is no such query.
    """
    keys = [taxa.of(record.lineage) for record in training]
    columns = {rank: _numbers([key[RANKS.index(rank)] for key in keys]) for _, rank in QUESTIONS}
    chosen = [query for query in queries if query.group in dict(QUESTIONS)]
    vectors, _ = engine.embed([query.sequence.encode() for query in chosen])
    vectors = unit(vectors)
    references = unit(references)
    usable = references.any(axis=1)
    right: dict[str, list[float]] = {}
    farness: dict[str, list[float]] = {}
    for first in range(0, len(chosen), _AT_ONCE):
        block = vectors[first : first + _AT_ONCE]
        similar = block @ references.T
        similar[:, ~usable] = -np.inf
        most = min(AMONG, similar.shape[1])
        near = np.argpartition(-similar, most - 1, axis=1)[:, :most]
        for i, query in enumerate(chosen[first : first + _AT_ONCE]):
            rank = dict(QUESTIONS)[query.group]
            numbers, known = columns[rank]
            own = known.get(taxa.of(query.lineage)[RANKS.index(rank)])
            found = similar[i, near[i]]
            best = near[i][found >= found.max() - _TIE]
            farness.setdefault(query.group, []).append(1 - float(found.max()))
            names = {int(numbers[row]) for row in best} if block[i].any() else set()
            right.setdefault(f"{query.group} → {rank}", []).append((own in names) / len(names) if names else 0.0)
            if rank == "species":
                among = own is not None and own in numbers[near[i]] and bool(block[i].any())
                right.setdefault(f"record → species among {AMONG}", []).append(float(among))
    wanted = [f"{QUESTIONS[0][0]} → species", f"record → species among {AMONG}"]
    wanted += [f"{group} → {rank}" for group, rank in QUESTIONS[1:]]
    figures = {name: float(np.mean(right[name])) if name in right else None for name in wanted}
    told = auroc(*(np.array(farness.get(group, []), np.float64) for group in ("genus", "record")))
    return {**figures, "new genera told": told}


def reversed_queries(queries: Sequence[Query]) -> list[Query]:
    """Return queries as the other strand has them."""
    turned = reverse_complement([query.sequence.encode() for query in queries])
    return [replace(query, sequence=letters.decode()) for query, letters in zip(queries, turned, strict=True)]


def fragments_together(
    engine: Engine, records: Sequence[Labelled], taxa: Taxa, *, draws: int, seed: int
) -> float | None:
    """Tell how often two fragments of one sequence are nearer than one of them and a fragment of another family.

    Each draw takes a sequence, two of its fragments of 150 letters that overlap by at most 30, and a fragment of 150
    letters from any place of a sequence of another family. Equal similarities count half.

    Args:
        engine: Of the encoder.
        records: Sequences with a family; shorter ones than 270 letters give no pair.
        taxa: Which names are the same taxon.
        draws: Draws, at most.
        seed: Of the draws.

    Returns:
        The share, 0 to 1; None where no sequence is long enough or there is one family only.
    """
    rng = np.random.default_rng(seed)
    family = RANKS.index("family")
    long = [r for r in records if len(r.sequence) >= 2 * FRAGMENT - MOST_OVERLAP and r.lineage[family]]
    keys = [taxa.of(record.lineage)[family] for record in long]
    if len(set(keys)) < 2:
        return None
    parts: list[bytes] = []
    for _ in range(draws):
        i = int(rng.integers(len(long)))
        j = int(rng.integers(len(long)))
        while keys[j] == keys[i]:
            j = int(rng.integers(len(long)))
        own, other = long[i].sequence, long[j].sequence
        spare = len(own) - (2 * FRAGMENT - MOST_OVERLAP)
        first = int(rng.integers(0, spare + 1))
        second = int(rng.integers(first + FRAGMENT - MOST_OVERLAP, len(own) - FRAGMENT + 1))
        third = int(rng.integers(0, len(other) - FRAGMENT + 1))
        parts += [t[s : s + FRAGMENT].encode() for t, s in ((own, first), (own, second), (other, third))]
    vectors = unit(engine.embed(parts)[0]).reshape(draws, 3, -1)
    same, different = ((vectors[:, 0] * vectors[:, i]).sum(axis=1) for i in (1, 2))
    return float(np.mean((same > different) + 0.5 * (same == different)))


def _numbers(keys: Sequence[Taxon | None]) -> tuple[npt.NDArray[np.int64], dict[Taxon | None, int]]:
    """Return a number for each taxon, -1 for none."""
    known: dict[Taxon | None, int] = {}
    return np.array([-1 if key is None else known.setdefault(key, len(known)) for key in keys], np.int64), known


@dataclass(frozen=True)
class Neighbours:
    """What the vectors of one encoder are worth.

    Attributes:
        model: Its name.
        figures: By queries (``full``, ``full, other strand``, ``313``, …) what ``nearest_names`` returned.
        fragments: What ``fragments_together`` returned.
    """

    model: str
    figures: dict[str, Figures]
    fragments: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def measure_neighbours(embedder: Embedder, parted: Split, crops: Mapping[str, Sequence[Query]]) -> Neighbours:
    """Measure an encoder on a split; ``crops`` are the queries by name (``full`` among them)."""
    engine = Engine(embedder)
    references, _ = engine.embed([record.sequence.encode() for record in parted.training])
    asked: dict[str, Sequence[Query]] = {}
    for name, queries in crops.items():
        asked |= {name: queries, f"{name}, other strand": reversed_queries(queries)}
    figures = {
        name: nearest_names(engine, references, parted.training, queries, parted.taxa)
        for name, queries in asked.items()
    }
    held_out = [Labelled(query.id, query.sequence, query.lineage) for query in parted.queries]
    fragments = fragments_together(engine, held_out, parted.taxa, draws=_DRAWS, seed=parted.seed)
    return Neighbours(embedder.spec.model, figures, fragments)
