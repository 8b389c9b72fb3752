"""Draw batches by taxon: families with several genera, genera with several species, species with several records.

The most instructive negatives belong to the same family or genus, and rare taxa have to occur too, so taxa are drawn
rather than records. A batch contains one marker and depends only on the seed and its number, so that training that was
killed continues with exactly the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ednabed.base.arrays import Floats, Ints
from ednabed.base.bases import Codes
from ednabed.training.records import TAUGHT_RANKS, Pool
from ednabed.training.views import Alterations, view

T = TypeVar("T")

# Genera drawn from one family, species from one genus, records from one species.
_GENERA, _SPECIES, _RECORDS = 3, 2, 2


@dataclass(frozen=True)
class Batch:
    """Two views of each of n records.

    Attributes:
        views: The first views of all records, then the second views; 2n of them.
        records: Record number of each view, shape (2n,).
        taxa: By rank of ``TAUGHT_RANKS``, the taxon of each view, -1 if unknown, shape (2n,).
    """

    views: list[Codes]
    records: Ints
    taxa: dict[str, Ints]


class Sampler:
    """Draws batches.

    Args:
        pools: Records by marker; each pool is drawn in proportion to the square root of its number of genera.
        size: Views per batch, an even number.
        alterations: How views are altered.
        seed: Seed of all draws.
    """

    def __init__(self, pools: Sequence[Pool], size: int, alterations: Alterations, seed: int) -> None:
        self._pools = list(pools)
        self._size = size
        self._alterations = alterations
        self._seed = seed
        weights = np.array([sum(map(len, pool.families)) for pool in pools], np.float64) ** 0.5
        self._pool_shares = weights / weights.sum()
        self._family_cumulative = []
        for pool in self._pools:
            # In proportion to the square root of the number of genera: large families teach more, but not everything.
            family_weights = np.array([len(family) for family in pool.families], np.float64) ** 0.5
            self._family_cumulative.append(np.cumsum(family_weights / family_weights.sum()))

    def batch(self, number: int) -> Batch:
        """Return a batch by its number."""
        rng = np.random.default_rng([self._seed, number])
        pool_number = int(rng.choice(len(self._pools), p=self._pool_shares))
        pool = self._pools[pool_number]
        chosen = self._records(pool, self._family_cumulative[pool_number], rng)
        # Fragments have to be compared with whole sequences: most pairs contain one fragment or two.
        views = [view(pool.codes[i], self._alterations, rng, whole=rng.random() < 0.5) for i in chosen]
        views += [view(pool.codes[i], self._alterations, rng) for i in chosen]
        rows = np.array(chosen + chosen, np.int64)
        return Batch(views, rows, {rank: pool.taxa[rank][rows] for rank in TAUGHT_RANKS})

    def _records(self, pool: Pool, families: Floats, rng: np.random.Generator) -> list[int]:
        n_records = self._size // 2
        chosen: dict[int, None] = {}
        # A small pool may contain fewer records.
        for _ in range(20 * n_records):
            family = pool.families[min(int(np.searchsorted(families, rng.random())), len(pool.families) - 1)]
            for genus in _draw(family, _GENERA, rng):
                for species in _draw(genus, _SPECIES, rng):
                    chosen.update(dict.fromkeys(_draw(species, _RECORDS, rng)))
            if len(chosen) >= min(n_records, len(pool)):
                break
        return list(chosen)[:n_records]


def _draw(values: Sequence[T], maximum: int, rng: np.random.Generator) -> list[T]:
    """Return at most ``maximum`` of the values, without repetition, in random order."""
    if len(values) == 1:
        return list(values)
    return [values[i] for i in rng.choice(len(values), min(maximum, len(values)), replace=False).tolist()]
