"""Run methods on the same training records and queries, and measure their predictions."""

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

from ednabed.base.arrays import Bools, Ints
from ednabed.base.version import __version__
from ednabed.errors import EdnabedError, UsageError
from ednabed.evaluate.metrics import (
    ASSUMED_SHARES,
    Judged,
    identity_bins,
    judge_predictions,
    measure,
    measure_bins,
    measure_novelty,
)
from ednabed.evaluate.mixture import measure_mixture, natural_part, only_species, shares
from ednabed.evaluate.predictions import Method
from ednabed.evaluate.splits import COPY, CROPS, GROUPS, LabelledQuery, Split
from ednabed.evaluate.vector_quality import Neighbours, measure_neighbours
from ednabed.models.base import Embedder
from ednabed.sequences.lineage import RANKS

log = logging.getLogger("ednabed")


@dataclass(frozen=True)
class MethodFigures:
    """Figures of one method for the queries of one crop.

    Attributes:
        seconds: Time for all queries.
        queries: Number of queries, including copies.
        groups: Figures by group (and ``all``) and rank, see ``metrics.measure``.
        novelty: Figures by rank, see ``metrics.measure_novelty``.
        bins: Figures by identity bin and rank, see ``metrics.measure_bins``.
        mixture: Figures for the natural mixture, including copies, see ``mixture.measure_mixture``.
    """

    seconds: float
    queries: int
    groups: dict[str, dict[str, dict[str, Any]]]
    novelty: dict[str, dict[str, Any]]
    bins: dict[str, dict[str, dict[str, Any]]]
    mixture: dict[str, Any]

    @property
    def rate(self) -> float:
        """Queries per second."""
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
    """Results of one method.

    Attributes:
        name: Name of the method.
        settings: Version and settings of the method.
        prepare_seconds: Time to prepare it from the training records.
        crops: Figures by name of the crop (``full``, ``313``).
    """

    name: str
    settings: str
    prepare_seconds: float
    crops: dict[str, MethodFigures] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation; ``report.to_markdown`` formats it as a report.

    Attributes:
        title: Title of the data.
        command: Command that runs the evaluation again.
        split: Training records and queries.
        crops: Number of queries in each group, by name of the crop.
        copies: Number of copies among the queries, by name of the crop.
        threads: Number of threads of each method.
        results: One for each method that finished, in the order in which the methods were given.
        failures: One sentence for each method that failed, by name.
        identities_from: Method whose identities define the bins; None if no method reports identities.
        machine: System and number of processors.
        neighbours: Accuracy of vectors alone, one for each requested embedder.
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
        """Return counts and settings of the split as JSON values."""
        data_split = self.split
        return {
            "records": data_split.records,
            "unlabelled": data_split.unlabelled,
            "training": len(data_split.training),
            "training_taxa": {
                rank: len(
                    {key for record in data_split.training if (key := data_split.taxa.taxa_of(record.lineage)[i])}
                )
                for i, rank in enumerate(RANKS)
            },
            "taken": data_split.taken,
            "queries": data_split.sizes(),
            "queries_of_crop": self.crops,
            "copies": len(data_split.copies),
            "copies_of_crop": self.copies,
            "copies_counted": data_split.counted,
            "seed": data_split.seed,
            "unseen": data_split.unseen,
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
            "supposed_shares": ASSUMED_SHARES,
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
    """Predictions of a method by crop, before they are measured; ``mixed`` holds those for the natural mixture."""

    result: MethodResult
    judged: dict[str, Judged]
    mixed: dict[str, Judged]
    seconds: dict[str, float]


def evaluate(
    data_split: Split,
    methods: Sequence[Method],
    *,
    crops: Sequence[int | None] = CROPS,
    threads: int = 1,
    identities_from: str | None = None,
    title: str = "",
    command: str = "",
    embedders: Sequence[Embedder] = (),
) -> Evaluation:
    """Measure methods on held-out records.

    Args:
        data_split: The training records and the queries.
        methods: Methods to measure, one after the other; names must differ.
        crops: Lengths of the queries; None is the whole sequence.
        threads: Number of threads of every method.
        identities_from: Method whose identities with the nearest training sequence define the identity bins; None
            takes the first method that reports identities.
        title: Title of the data, for the report.
        command: Command that creates the report again.
        embedders: Embedders whose nearest neighbours are measured too, without alignment (``neighbours``).

    Raises:
        UsageError: There is no method or no crop, two methods have the same name, or ``identities_from`` is not one of
            the methods.
        EdnabedError: Every method failed; the error of the first. If only some fail, the result lists their failures.
    """
    names = [method.name for method in methods]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if not methods or not crops or repeated:
        wrong = f"method {repeated[0]!r} is named twice" if repeated else "there is no method or no crop length"
        raise UsageError(f"{wrong}; name at least one crop length and one or more methods, each once")
    if identities_from is not None and identities_from not in names:
        raise UsageError(f"`identities_from` is {identities_from!r}; choose one of {', '.join(names)}")
    held_out = {"full" if crop is None else str(crop): data_split.crop(crop) for crop in crops}
    copies = {"full" if crop is None else str(crop): data_split.crop_copies(crop) for crop in crops}
    all_queries = {crop: held_out[crop] + copies[crop] for crop in held_out}
    answers: list[_Answer] = []
    failures: dict[str, EdnabedError] = {}
    for method in methods:
        log.info("evaluating %s", method.name)
        try:
            answers.append(_run(method, data_split, all_queries, threads))
        except EdnabedError as error:
            failures[method.name] = error
    if not answers:
        raise next(iter(failures.values()))
    source = _source_of_identities(answers, identities_from)
    unique = {crop: only_species(drawn, data_split.training, data_split.taxa) for crop, drawn in copies.items()}
    for answer in answers:
        for crop, judged in answer.judged.items():
            identity = source.judged[crop].identity if source else np.full(len(judged.groups), np.nan)
            seconds = answer.seconds[crop]
            bins, mixed = identity_bins(identity), answer.mixed[crop]
            # A study contains only the first copies.
            study_unique = unique[crop][: int((mixed.groups == COPY).sum())]
            answer.result.crops[crop] = _measured(judged, seconds, bins, mixed, study_unique)
    return Evaluation(
        title=title,
        command=command,
        split=data_split,
        crops={crop: {g: sum(q.group == g for q in cropped) for g in GROUPS} for crop, cropped in held_out.items()},
        copies={crop: len(cropped) for crop, cropped in copies.items()},
        threads=threads,
        results=[answer.result for answer in answers],
        failures={name: str(error) for name, error in failures.items()},
        identities_from=source.result.name if source else None,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        neighbours=[measure_neighbours(embedder, data_split, held_out) for embedder in embedders],
    )


def _run(method: Method, data_split: Split, all_queries: dict[str, list[LabelledQuery]], threads: int) -> _Answer:
    started = time.perf_counter()
    with method.prepare(data_split.training, threads) as classify:
        seconds = time.perf_counter() - started
        answer = _Answer(MethodResult(method.name, method.settings, seconds), {}, {}, {})
        for crop, queries in all_queries.items():
            pairs = [(query.id, query.sequence) for query in queries]
            started = time.perf_counter()
            predictions = classify(pairs)
            answer.seconds[crop] = time.perf_counter() - started
            answer.judged[crop] = answer.mixed[crop] = judge_predictions(queries, predictions, data_split.taxa)
            together = getattr(classify, "together", None)
            if together is not None:
                study = [queries[row] for row in natural_part([query.group for query in queries])]
                answer.mixed[crop] = judge_predictions(
                    study, together([(q.id, q.sequence) for q in study]), data_split.taxa
                )
    return answer


def _source_of_identities(answers: list[_Answer], name: str | None) -> _Answer | None:
    for answer in answers:
        has_any = any(not np.isnan(judged.identity).all() for judged in answer.judged.values())
        if has_any and name in (None, answer.result.name):
            return answer
    return None


def _measured(judged: Judged, seconds: float, bins: Ints, mixed: Judged, unique: Bools) -> MethodFigures:
    """Measure the held-out groups separately, and the mixture."""
    is_held_out = judged.groups != COPY
    held_out = judged.select(is_held_out)
    chosen = {group: held_out.groups == group for group in GROUPS} | {"all": np.ones(len(held_out.groups), bool)}
    return MethodFigures(
        seconds=seconds,
        queries=len(judged.groups),
        groups={
            group: {rank: measure(held_out, i, mask) for i, rank in enumerate(RANKS)} for group, mask in chosen.items()
        },
        novelty={rank: measure_novelty(held_out, rank) for rank in GROUPS[1:]},
        bins=measure_bins(held_out, bins[is_held_out]),
        mixture=measure_mixture(mixed, unique),
    )
