"""How good an encoder is on records, species, genera and families that training did not see, beside ``kmer6``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ednabed.engine.embed import Engine
from ednabed.errors import InputError
from ednabed.evaluate.neighbours import QUESTIONS, Figures, nearest_names
from ednabed.evaluate.splits import GROUPS, Labelled, Query, Split, split
from ednabed.models.base import Embedder, Encoder
from ednabed.models.spec import Policy
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.taxa import Taxa

CROP = 150
"""Letters of the pieces that are asked beside whole sequences."""
YARDSTICK = "kmer6"


@dataclass(frozen=True)
class Kept:
    """What of one marker is kept from training.

    Attributes:
        marker: Its name.
        split: Training records, and the queries that were held out.
    """

    marker: str
    split: Split

    def sample(self, references: int, queries: int, seed: int) -> Kept:
        """Return a part: so many queries of each group, and so many training records, relatives of each group first."""
        rng = np.random.default_rng(seed)
        chosen: list[Query] = []
        for group in GROUPS:
            own = [query for query in self.split.queries if query.group == group]
            chosen += [own[i] for i in np.sort(rng.permutation(len(own))[:queries])]
        training = self.split.training
        places = rng.permutation(len(training))
        taken: dict[int, None] = {}
        for group, rank in QUESTIONS:
            place = RANKS.index(rank)
            names = {query.lineage[place] for query in chosen if query.group == group} - {""}
            related = [i for i in places.tolist() if training[i].lineage[place] in names]
            taken.update(dict.fromkeys(related[: references // len(QUESTIONS)]))
        taken.update(dict.fromkeys(places.tolist()[:references]))
        training = [training[i] for i in sorted(list(taken)[:references])]
        parted = self.split
        return Kept(self.marker, Split(training, chosen, parted.taxa, seed, parted.records, 0, parted.taken))


def hold_out(records: Sequence[Labelled], queries: int, seed: int) -> list[Kept]:
    """Hold out records, species, genera and families of each marker, for validation.

    Args:
        records: Labelled records.
        queries: Most queries a marker and group; 0 holds nothing out.
        seed: Of the draw.

    Raises:
        InputError: Of no marker anything can be held out.
    """
    kept = []
    reasons = []
    for marker in sorted({record.marker for record in records}):
        own = [record for record in records if record.marker == marker]
        parted = Split(own, [], Taxa(one.lineage for one in own), seed, len(own), 0, dict.fromkeys(GROUPS, 0))
        if queries:
            try:
                parted = split(own, queries=queries, seed=seed)
            except InputError as error:
                reasons.append(str(error))
        kept.append(Kept(marker, parted))
    if queries and not any(one.split.queries for one in kept):
        raise InputError(
            f"{reasons[0]}; give more records, or --validation 0 to train without knowing how good it gets"
        )
    return kept


def judge(encoder: Encoder, kept: Iterable[Kept], policy: Policy | None = None) -> dict[str, dict[str, Figures]]:
    """Return the figures of ``nearest_names`` by marker and crop (``whole``, ``150``)."""
    engine = Engine(Embedder.of(encoder, policy or Policy()))
    found = {}
    for one in kept:
        parted = one.split
        if parted.queries:
            references, _ = engine.embed([record.sequence.encode() for record in parted.training])
            found[one.marker] = {
                name: nearest_names(engine, references, parted.training, parted.crop(length), parted.taxa)
                for name, length in (("whole", None), (str(CROP), CROP))
            }
    return found


def means(found: dict[str, dict[str, Figures]]) -> dict[str, float]:
    """Return the mean of each figure over markers, by ``crop, figure``; what no marker has is left out."""
    values: dict[str, list[float]] = {}
    for of_marker in found.values():
        for crop, figures in of_marker.items():
            for name, value in figures.items():
                if value is not None:
                    values.setdefault(f"{crop}, {name}", []).append(value)
    return {name: round(float(np.mean(given)), 4) for name, given in values.items()}


def facts(kept: Iterable[Kept]) -> list[dict[str, Any]]:
    """Say what was held out of each marker."""
    return [
        {
            "marker": one.marker,
            "records": one.split.records,
            "training": len(one.split.training),
            "held_out": one.split.taken,
            "queries": one.split.sizes(),
            "seed": one.split.seed,
        }
        for one in kept
    ]
