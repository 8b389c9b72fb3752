"""Measure an encoder on records, species, genera and families that training did not see, compared with ``kmer6``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ednabed.engine.embed import Engine
from ednabed.errors import InputError
from ednabed.evaluate.splits import GROUPS, Labelled, LabelledQuery, Split, split
from ednabed.evaluate.vector_quality import QUESTIONS, Figures, nearest_names
from ednabed.models.base import Embedder, Encoder
from ednabed.models.spec import Policy
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.taxa import Taxa

CROP = 150
"""Length of the fragments, in bases, with which the encoder is tested in addition to whole sequences."""
BASELINE = "kmer6"


@dataclass(frozen=True)
class HeldOut:
    """The split of one marker.

    Attributes:
        marker: Name of the marker.
        split: Training records, and the queries that were held out.
    """

    marker: str
    split: Split

    def sample(self, references: int, queries: int, seed: int) -> HeldOut:
        """Return a sample of the split.

        Args:
            references: Maximum training records; relatives of the queries of each group are taken first.
            queries: Maximum queries per group.
            seed: Seed of the draw.
        """
        rng = np.random.default_rng(seed)
        chosen: list[LabelledQuery] = []
        for group in GROUPS:
            in_group = [query for query in self.split.queries if query.group == group]
            chosen += [in_group[i] for i in np.sort(rng.permutation(len(in_group))[:queries])]
        training = self.split.training
        order = rng.permutation(len(training))
        taken: dict[int, None] = {}
        for group, rank in QUESTIONS:
            column = RANKS.index(rank)
            names = {query.lineage[column] for query in chosen if query.group == group} - {""}
            related = [i for i in order.tolist() if training[i].lineage[column] in names]
            taken.update(dict.fromkeys(related[: references // len(QUESTIONS)]))
        taken.update(dict.fromkeys(order.tolist()[:references]))
        training = [training[i] for i in sorted(list(taken)[:references])]
        whole = self.split
        return HeldOut(self.marker, Split(training, chosen, whole.taxa, seed, whole.records, 0, whole.taken))


def hold_out(records: Sequence[Labelled], queries: int, seed: int) -> list[HeldOut]:
    """Hold out records, species, genera and families of each marker, for validation.

    Args:
        records: Labelled records.
        queries: Maximum queries per marker and group; 0 holds nothing out.
        seed: Seed of the draw.

    Raises:
        InputError: Nothing can be held out from any marker.
    """
    held_out = []
    reasons = []
    for marker in sorted({record.marker for record in records}):
        selected = [record for record in records if record.marker == marker]
        taxa = Taxa(record.lineage for record in selected)
        data_split = Split(selected, [], taxa, seed, len(selected), 0, dict.fromkeys(GROUPS, 0))
        if queries:
            try:
                data_split = split(selected, queries=queries, seed=seed)
            except InputError as error:
                reasons.append(str(error))
        held_out.append(HeldOut(marker, data_split))
    if queries and not any(one.split.queries for one in held_out):
        raise InputError(f"{reasons[0]}; give more records, or set `validation=0` to train without validation")
    return held_out


def measure_encoder(
    encoder: Encoder, held_out: Iterable[HeldOut], policy: Policy | None = None
) -> dict[str, dict[str, Figures]]:
    """Return the figures of ``nearest_names`` by marker and crop (``whole``, ``150``)."""
    engine = Engine(Embedder.from_encoder(encoder, policy or Policy()))
    found = {}
    for one in held_out:
        data_split = one.split
        if data_split.queries:
            references, _ = engine.embed([record.sequence.encode() for record in data_split.training])
            found[one.marker] = {
                name: nearest_names(engine, references, data_split.training, data_split.crop(length), data_split.taxa)
                for name, length in (("whole", None), (str(CROP), CROP))
            }
    return found


def means(found: dict[str, dict[str, Figures]]) -> dict[str, float]:
    """Return the mean of each figure over markers, by ``crop, figure``; figures that no marker has are omitted."""
    values: dict[str, list[float]] = {}
    for by_crop in found.values():
        for crop, figures in by_crop.items():
            for name, value in figures.items():
                if value is not None:
                    values.setdefault(f"{crop}, {name}", []).append(value)
    return {name: round(float(np.mean(given)), 4) for name, given in values.items()}


def summarise(held_out: Iterable[HeldOut]) -> list[dict[str, Any]]:
    """Return the counts of the split of each marker, as JSON values."""
    return [
        {
            "marker": one.marker,
            "records": one.split.records,
            "training": len(one.split.training),
            "held_out": one.split.taken,
            "queries": one.split.sizes(),
            "seed": one.split.seed,
        }
        for one in held_out
    ]
