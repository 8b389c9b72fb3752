"""Run methods on the same training records and queries, and measure what they say."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed import __version__
from ednabed.errors import EdnabedError, UsageError
from ednabed.evaluate.metrics import (
    SUPPOSED_SHARES,
    Bools,
    Judged,
    identity_bins,
    judge,
    measure,
    measure_bins,
    measure_novelty,
)
from ednabed.evaluate.mixture import measure_mixture, natural_part, only_species, shares
from ednabed.evaluate.neighbours import Neighbours, measure_neighbours
from ednabed.evaluate.predictions import Method
from ednabed.evaluate.splits import COPY, CROPS, GROUPS, Labelled, Query, Split, split
from ednabed.models.base import Embedder
from ednabed.sequences.lineage import RANKS

log = logging.getLogger("ednabed")


@dataclass(frozen=True)
class Measured:
    """What one method did on the queries of one crop.

    Attributes:
        seconds: For all queries.
        queries: Their number, copies included.
        groups: By group (and ``all``) and rank, see ``metrics.measure``.
        novelty: By rank, see ``metrics.measure_novelty``.
        bins: By identity bin and rank, see ``metrics.measure_bins``.
        mixture: On the natural mixture, copies included, see ``mixture.measure_mixture``.
    """

    seconds: float
    queries: int
    groups: dict[str, dict[str, dict[str, Any]]]
    novelty: dict[str, dict[str, Any]]
    bins: dict[str, dict[str, dict[str, Any]]]
    mixture: dict[str, Any]

    @property
    def rate(self) -> float:
        """Queries a second."""
        return self.queries / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "queries": self.queries,
            "seconds": round(self.seconds, 3),
            "queries_a_second": round(self.rate, 1),
            "groups": self.groups,
            "novelty": self.novelty,
            "identity_bins": self.bins,
            "mixture": self.mixture,
        }


@dataclass
class MethodResult:
    """What one method did.

    Attributes:
        name: Its name.
        settings: Its version and settings.
        prepare_seconds: Time for building what it needs from training.
        crops: By name of the crop (``full``, ``313``).
    """

    name: str
    settings: str
    prepare_seconds: float
    crops: dict[str, Measured] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation; ``report.to_markdown`` lays it out for reading.

    Attributes:
        title: Of the data.
        command: That makes it anew.
        split: Training records and queries.
        crops: Names of the crops, with the number of queries of each group.
        copies: Number of copies among the queries of each crop.
        threads: That each method was given.
        results: One a method that came to its end, in the order in which they were given.
        failures: One sentence for each method that did not, by name.
        identities_from: Method whose identities make the bins; None where no method has any.
        machine: System and processors.
        neighbours: What vectors alone are worth, one for each embedder asked for.
    """

    title: str
    command: str
    split: Split
    crops: dict[str, dict[str, int]]
    copies: dict[str, int]
    threads: int
    results: list[MethodResult]
    failures: dict[str, str]
    identities_from: str | None
    machine: str
    neighbours: list[Neighbours] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Say what was split, and how."""
        parted = self.split
        return {
            "records": parted.records,
            "unlabelled": parted.unlabelled,
            "training": len(parted.training),
            "training_taxa": {
                rank: len({key for record in parted.training if (key := parted.taxa.of(record.lineage)[i])})
                for i, rank in enumerate(RANKS)
            },
            "taken": parted.taken,
            "queries": parted.sizes(),
            "queries_of_crop": self.crops,
            "copies": len(parted.copies),
            "copies_of_crop": self.copies,
            "copies_counted": parted.counted,
            "seed": parted.seed,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with null where nothing was measured."""
        return {
            "title": self.title,
            "command": self.command,
            "ednabed": __version__,
            "machine": self.machine,
            "threads": self.threads,
            "split": self.facts(),
            "supposed_shares": SUPPOSED_SHARES,
            "mixture_shares": shares((COPY, *GROUPS)),
            "identities_from": self.identities_from,
            "methods": [
                {
                    "name": result.name,
                    "settings": result.settings,
                    "prepare_seconds": round(result.prepare_seconds, 3),
                    "crops": {crop: measured.to_dict() for crop, measured in result.crops.items()},
                }
                for result in self.results
            ],
            "failures": self.failures,
            "neighbours": [one.to_dict() for one in self.neighbours],
        }


@dataclass
class _Answer:
    """What a method said of each crop, before it is measured; ``mixed`` is of the natural mixture."""

    result: MethodResult
    judged: dict[str, Judged]
    mixed: dict[str, Judged]
    seconds: dict[str, float]


def evaluate(
    records: Sequence[Labelled],
    methods: Sequence[Method],
    *,
    queries: int = 500,
    seed: int = 1,
    crops: Sequence[int | None] = CROPS,
    threads: int = 1,
    identities_from: str | None = None,
    title: str = "",
    command: str = "",
    embedders: Sequence[Embedder] = (),
) -> Evaluation:
    """Measure methods on held-out records.

    Args:
        records: Labelled records, split by ``splits.split``.
        methods: What is measured, one after the other; names must differ.
        queries: Most queries a group.
        seed: Of the split and of the crops.
        crops: Lengths of the queries; None is the whole sequence.
        threads: Given to every method.
        identities_from: Method whose identities with the nearest training sequence make the identity bins; None takes
            the first that has any.
        title: Of the data, for the report.
        command: That makes the report anew.
        embedders: Whose nearest neighbours are measured too, without alignment (``neighbours``).

    Raises:
        UsageError: No method, no crop, two of one name, or ``identities_from`` is none of them.
        InputError: The records allow no split.
        EdnabedError: Every method failed; that of the first. Failures of some are told in the result.
    """
    names = [method.name for method in methods]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not methods or not crops or twice:
        wrong = f"method {twice[0]!r} is named twice" if twice else "there is no method or no crop length"
        raise UsageError(f"{wrong}; name at least one crop length and one or more methods, each once")
    if identities_from is not None and identities_from not in names:
        raise UsageError(f"identities are asked of {identities_from!r}, which is none of {', '.join(names)}")
    parted = split(records, queries=queries, seed=seed)
    held_out = {"full" if crop is None else str(crop): parted.crop(crop) for crop in crops}
    copies = {"full" if crop is None else str(crop): parted.crop_copies(crop) for crop in crops}
    asked = {crop: held_out[crop] + copies[crop] for crop in held_out}
    answers: list[_Answer] = []
    failures: dict[str, EdnabedError] = {}
    for method in methods:
        log.info("evaluating %s", method.name)
        try:
            answers.append(_ask(method, parted, asked, threads))
        except EdnabedError as error:
            failures[method.name] = error
    if not answers:
        raise next(iter(failures.values()))
    source = _source_of_identities(answers, identities_from)
    unique = {crop: only_species(own, parted.training, parted.taxa) for crop, own in copies.items()}
    for answer in answers:
        for crop, judged in answer.judged.items():
            identity = source.judged[crop].identity if source else np.full(len(judged.groups), np.nan)
            seconds = answer.seconds[crop]
            bins, mixed = identity_bins(identity), answer.mixed[crop]
            # A study has the first ones of the copies.
            single = unique[crop][: int((mixed.groups == COPY).sum())]
            answer.result.crops[crop] = _measured(judged, seconds, bins, mixed, single)
    return Evaluation(
        title=title,
        command=command,
        split=parted,
        crops={crop: {g: sum(q.group == g for q in own) for g in GROUPS} for crop, own in held_out.items()},
        copies={crop: len(own) for crop, own in copies.items()},
        threads=threads,
        results=[answer.result for answer in answers],
        failures={name: str(error) for name, error in failures.items()},
        identities_from=source.result.name if source else None,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        neighbours=[measure_neighbours(embedder, parted, held_out) for embedder in embedders],
    )


def _ask(method: Method, parted: Split, asked: dict[str, list[Query]], threads: int) -> _Answer:
    started = time.perf_counter()
    with method.prepare(parted.training, threads) as classify:
        seconds = time.perf_counter() - started
        answer = _Answer(MethodResult(method.name, method.settings, seconds), {}, {}, {})
        for crop, queries in asked.items():
            pairs = [(query.id, query.sequence) for query in queries]
            started = time.perf_counter()
            predictions = classify(pairs)
            answer.seconds[crop] = time.perf_counter() - started
            answer.judged[crop] = answer.mixed[crop] = judge(queries, predictions, parted.taxa)
            together = getattr(classify, "together", None)
            if together is not None:
                study = [queries[place] for place in natural_part([query.group for query in queries])]
                answer.mixed[crop] = judge(study, together([(q.id, q.sequence) for q in study]), parted.taxa)
    return answer


def _source_of_identities(answers: list[_Answer], name: str | None) -> _Answer | None:
    for answer in answers:
        has_any = any(not np.isnan(judged.identity).all() for judged in answer.judged.values())
        if has_any and name in (None, answer.result.name):
            return answer
    return None


def _measured(judged: Judged, seconds: float, bins: npt.NDArray[np.int64], mixed: Judged, unique: Bools) -> Measured:
    """Measure the held-out groups by themselves, and the mixture."""
    held_out = judged.groups != COPY
    held = judged.select(held_out)
    chosen = {group: held.groups == group for group in GROUPS} | {"all": np.ones(len(held.groups), bool)}
    return Measured(
        seconds=seconds,
        queries=len(judged.groups),
        groups={
            group: {rank: measure(held, i, mask) for i, rank in enumerate(RANKS)} for group, mask in chosen.items()
        },
        novelty={rank: measure_novelty(held, rank) for rank in GROUPS[1:]},
        bins=measure_bins(held, bins[held_out]),
        mixture=measure_mixture(mixed, unique),
    )
