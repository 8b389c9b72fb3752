"""Batches by taxon: families with several genera, genera with several species, species with several records.

Negatives that teach are those of the same family or genus, and rare taxa have to be met too, so taxa are drawn, not
records. A batch is of one marker and depends on the seed and its number alone, so that training that was killed goes on
with the very batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ednabed.search.divergence import Codes
from ednabed.training.records import TAUGHT, Ints, Pool
from ednabed.training.views import Alterations, view

T = TypeVar("T")

# From one family, one genus and one species.
_GENERA, _SPECIES, _RECORDS = 3, 2, 2


@dataclass(frozen=True)
class Batch:
    """Two views of each of some records.

    Attributes:
        views: The first views of all records, then the second views; 2n of them.
        records: Number of the record of each view, shape (2n,).
        taxa: By rank of ``TAUGHT``, the taxon of each view, -1 where unknown, shape (2n,).
    """

    views: list[Codes]
    records: Ints
    taxa: dict[str, Ints]


class Sampler:
    """Draws batches.

    Args:
        pools: Records by marker; each is drawn in proportion to the root of its number of genera.
        size: Views a batch, an even number.
        alterations: What views look like.
        seed: Of all draws.
    """

    def __init__(self, pools: Sequence[Pool], size: int, alterations: Alterations, seed: int) -> None:
        self._pools = list(pools)
        self._size = size
        self._alterations = alterations
        self._seed = seed
        weights = np.array([sum(map(len, pool.families)) for pool in pools], np.float64) ** 0.5
        self._of_pool = weights / weights.sum()
        self._of_family = []
        for pool in self._pools:
            # In proportion to the root of its genera: large families have more to teach, but not everything.
            own = np.array([len(family) for family in pool.families], np.float64) ** 0.5
            self._of_family.append(np.cumsum(own / own.sum()))

    def batch(self, number: int) -> Batch:
        """Return a batch by its number."""
        rng = np.random.default_rng([self._seed, number])
        which = int(rng.choice(len(self._pools), p=self._of_pool))
        pool = self._pools[which]
        chosen = self._records(pool, self._of_family[which], rng)
        # Pieces and whole sequences have to meet: most pairs are of a whole one and a piece, or of two pieces.
        views = [view(pool.codes[i], self._alterations, rng, whole=rng.random() < 0.5) for i in chosen]
        views += [view(pool.codes[i], self._alterations, rng) for i in chosen]
        rows = np.array(chosen + chosen, np.int64)
        return Batch(views, rows, {rank: pool.taxa[rank][rows] for rank in TAUGHT})

    def _records(self, pool: Pool, families: npt.NDArray[np.float64], rng: np.random.Generator) -> list[int]:
        wanted = self._size // 2
        chosen: dict[int, None] = {}
        # A small pool may not hold so many records.
        for _ in range(20 * wanted):
            family = pool.families[min(int(np.searchsorted(families, rng.random())), len(pool.families) - 1)]
            for genus in _some(family, _GENERA, rng):
                for species in _some(genus, _SPECIES, rng):
                    chosen.update(dict.fromkeys(_some(species, _RECORDS, rng)))
            if len(chosen) >= min(wanted, len(pool)):
                break
        return list(chosen)[:wanted]


def _some(values: Sequence[T], most: int, rng: np.random.Generator) -> list[T]:
    """Return some of the values, without repetition, in random order."""
    if len(values) == 1:
        return list(values)
    return [values[i] for i in rng.choice(len(values), min(most, len(values)), replace=False).tolist()]
