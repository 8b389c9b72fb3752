"""Calibrate a reference with queries drawn from the reference itself, whose answers are left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.bases import decode
from ednabed.base.times import utc_now
from ednabed.base.version import package_versions
from ednabed.engine.embed import Engine
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.reference.opened import Reference
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.candidates import MAX_CANDIDATES, Finder
from ednabed.taxonomy.decoys import Limits, decoy_limits
from ednabed.taxonomy.draws import (
    COPY,
    CROPS,
    LEVELS,
    PARTS,
    RECORD,
    Draws,
    copy_share,
    deepest,
    draw,
    is_dereplicated,
    left_out,
)
from ednabed.taxonomy.evidence import TIE, Candidates, LeftOut, weigh
from ednabed.taxonomy.fitting import MIN_DRAWS, MIN_SEQUENCES, Answers, fit_all, folds, join
from ednabed.taxonomy.labels import RowLabels, read_row_labels
from ednabed.taxonomy.lengths import LENGTH_NAMES, length_classes
from ednabed.taxonomy.shortlist import default_exponents
from ednabed.taxonomy.situations import KNOWN

QUERIES = 7_800
"""Draws for each marker by default."""
_FULL_SIZE = MAX_CANDIDATES
"""Candidates per draw, against which the candidates missed by a shorter shortlist are counted."""
_SIZES = (50, 100, 200)
"""Shortlist sizes that are tried; the first that finds 0.97 of what ``_FULL_SIZE`` candidates find is used."""
_MIN_RECALL = 0.97
_MAX_TRIED = 200
"""Draws of each marker and crop on which the sizes are tried."""
_DRAWS_PER_DECOY = 10
"""Draws per decoy of each length."""
_BATCH_SIZE = 256


def calibrate(
    reference: Reference,
    embedder: Embedder | None,
    *,
    seed: int = 0,
    queries: int = QUERIES,
    known: float = KNOWN,
    threads: int = 1,
    show_progress: bool | None = False,
) -> Calibration:
    """Calibrate a reference.

    Args:
        reference: The reference; its records carry lineages.
        embedder: The function that computed its vectors, to embed pieces of sequences; None draws complete sequences
            only.
        seed: Seed of the draws.
        queries: Maximum draws per marker.
        known: Share of queries whose species is assumed to be in the reference, above 0 and below 1, for a study that
            is too small to estimate it (``situations.estimate``). The others are assumed to lack their species, genus
            or family (equally often) or order, class or phylum (a ninth of that each).
        threads: Threads that compare bases.
        show_progress: True counts the draws answered on standard error, None on a terminal only.

    Raises:
        StoreError: No record has a lineage, or too few records can be left out to learn anything.
        UsageError: A number is out of range.
    """
    if not 0 < known < 1:
        raise UsageError(f"`known` is {known}; expected a share above 0 and below 1, such as {KNOWN}")
    if queries < MIN_DRAWS:
        raise UsageError(f"`queries` is {queries}; expected at least {MIN_DRAWS}, because fewer do not suffice")
    labels = read_row_labels(reference)
    finder = Finder(reference, labels, default_exponents(reference.spec), threads=threads)
    subject = _Subject(reference, labels, finder, None if embedder is None else Engine(embedder))
    crops = CROPS if embedder is not None else CROPS[:1]
    count = max(1, queries // (sum(PARTS) * len(crops)))
    drawn = _draw_all(subject, count, crops, seed)
    sizes, facts = _shortlist_sizes(subject, drawn.parts)
    answers, decoys = _answer_all(subject, drawn, sizes, queries // _DRAWS_PER_DECOY, seed, show_progress)
    reliability: dict[str, Any] = {}
    groups = {}
    for align in (True, False):
        groups[align], measured = fit_all(answers[align], decoys[align], drawn.sequences, drawn.copies, known)
        reliability["aligned" if align else "vectors"] = measured
    if not groups[True]:
        # The sequences may be too short for pieces to be drawn from them, so that the requested number is not reached.
        full = any(len(part.rows) == count * PARTS[LEVELS.index(part.level)] for part in drawn.all_parts)
        advice = "request more `queries`" if full else "add labelled records"
        raise StoreError(
            f"{reference.name} cannot be calibrated: only {drawn.total} queries could be drawn from it, expected at "
            f"least {MIN_DRAWS}; {advice} (until then, names have no confidences)"
        )
    return Calibration(
        build=reference.manifest.build,
        created=utc_now(),
        seed=seed,
        known=known,
        queries=queries,
        exponents=list(finder.exponents),
        candidates=sizes,
        groups=groups[True],
        vector_groups=groups[False],
        shortlist=facts,
        reliability=reliability,
        copies=drawn.counted,
        software=package_versions("numpy"),
    )


@dataclass(frozen=True)
class _Subject:
    """The reference that is calibrated, and what answers queries by it; ``engine`` is None without an embedder."""

    reference: Reference
    labels: RowLabels
    finder: Finder
    engine: Engine | None


@dataclass
class _Drawn:
    """The draws of a reference.

    Attributes:
        parts: By marker.
        sequences: Number of labelled sequences by marker.
        copies: Share of exact copies among new records by marker; under the empty name that of all.
        counted: The same where it was counted in the records, else None.
    """

    parts: dict[str, list[Draws]]
    sequences: dict[str, int]
    copies: dict[str, float]
    counted: dict[str, float | None]

    @property
    def all_parts(self) -> list[Draws]:
        """The parts of all markers."""
        return [part for parts in self.parts.values() for part in parts]

    @property
    def total(self) -> int:
        """Number of draws."""
        return sum(len(part.rows) for part in self.all_parts)


def _draw_all(subject: _Subject, count: int, crops: Sequence[int], seed: int) -> _Drawn:
    """Draw queries from all markers.

    Raises:
        StoreError: Nothing or too little can be held out.
    """
    labels, name = subject.labels, subject.reference.name
    drawn = _Drawn({}, {}, {"": copy_share(labels.records)}, {"": _counted_copies(labels.records)})
    for number, marker in enumerate(labels.markers):
        among = labels.labelled & (labels.marker == number)
        if among.any():
            drawn.sequences[marker] = int(among.sum())
            records = labels.records[np.repeat(among, np.diff(labels.starts))]
            drawn.copies[marker], drawn.counted[marker] = copy_share(records), _counted_copies(records)
            drawn.parts[marker] = draw(labels, subject.finder.bases, among, count, crops, seed + number)
    if all(part.level == COPY for part in drawn.all_parts):
        raise StoreError(
            f"{name} cannot be calibrated: no taxon in it has a second sequence or a sister taxon, so nothing can be "
            "held out; add records (until then, names have no confidences)"
        )
    if sum(drawn.sequences.values()) < MIN_SEQUENCES:
        raise StoreError(
            f"{name} cannot be calibrated: it has {sum(drawn.sequences.values())} distinct labelled sequences, "
            f"expected at least {MIN_SEQUENCES}; add labelled records (until then, names have no confidences)"
        )
    return drawn


def _counted_copies(records: Ints) -> float | None:
    """Return the share of exact copies counted in the records of a marker; None if the records do not show it."""
    return None if is_dereplicated(records) else round(copy_share(records), 4)


def _usable(subject: _Subject, part: Draws, step: int = 1) -> tuple[Ints, FloatArray]:
    """Return the positions of every n-th draw that has a vector, and these vectors.

    Vectors of complete sequences are stored, those of pieces are computed.
    """
    numbers = np.arange(0, len(part.rows), step)
    if not part.crop:
        return numbers, subject.reference.vectors_of(part.rows[numbers])
    assert subject.engine is not None
    vectors, refused = subject.engine.embed([decode(part.codes[i]) for i in numbers.tolist()])
    usable = np.array([i for i in range(len(numbers)) if i not in refused], np.int64)
    return numbers[usable], vectors[usable]


def _shortlist_sizes(subject: _Subject, drawn: dict[str, list[Draws]]) -> tuple[list[int], list[dict[str, Any]]]:
    """Choose the shortlist size for each length class, and return the recall of the best candidates at each size.

    The best candidate has the minimum distance among ``_FULL_SIZE`` candidates. The sizes are tried on up to
    ``_MAX_TRIED`` draws of each marker and crop that leave out their own record.
    """
    ranks_of_best: list[list[Ints]] = [[] for _ in LENGTH_NAMES]
    for parts in drawn.values():
        for part in parts:
            if part.level != RECORD:
                continue
            numbers, vectors = _usable(subject, part, -(-len(part.rows) // _MAX_TRIED))
            if not len(numbers):
                continue
            excluded = left_out(subject.labels, part)
            assert excluded is not None
            groups, _ = excluded
            codes = [part.codes[i] for i in numbers.tolist()]
            found = subject.finder.find(vectors, codes, _FULL_SIZE, (groups[0], groups[1][numbers]))
            nearest = found.distances <= found.distances.min(axis=1, keepdims=True) + TIE
            first = np.where(nearest, found.positions, _FULL_SIZE).min(axis=1)
            classes = length_classes(found.lengths)
            for number in range(len(LENGTH_NAMES)):
                ranks_of_best[number].append(first[classes == number])
    sizes, facts = [], []
    for name, parts_ in zip(LENGTH_NAMES, ranks_of_best, strict=True):
        first = np.concatenate(parts_) if parts_ else np.zeros(0, np.int64)
        recall = {size: float((first < size).mean()) if len(first) else 1.0 for size in _SIZES}
        size = next((size for size in _SIZES if recall[size] >= _MIN_RECALL), _SIZES[-1])
        sizes.append(size)
        facts.append({
            "letters": name, "measured_on": len(first), "candidates": size,
            "recall": {str(size): round(share, 4) for size, share in recall.items()},
        })  # fmt: skip
    return sizes, facts


def _answer_all(
    subject: _Subject, drawn: _Drawn, sizes: Sequence[int], n_decoys: int, seed: int, show_progress: bool | None
) -> tuple[dict[bool, dict[str, Answers]], dict[bool, dict[str, Limits]]]:
    """Return the answers to all draws by marker, with bases compared (True) and by vectors alone (False).

    In the same form, also return the limits of ``decoy_limits``.
    """
    labels = subject.labels
    answers: dict[bool, dict[str, Answers]] = {True: {}, False: {}}
    decoys: dict[bool, dict[str, Limits]] = {True: {}, False: {}}
    with progress_bar(drawn.total, show=show_progress, doing="calibrating", unit="query") as bar:
        for number, (marker, parts) in enumerate(drawn.parts.items()):
            if not parts:
                continue
            answered = _answer_draws(subject, parts, sizes, np.random.default_rng([seed, 2, number]), bar)
            limits: dict[bool, Limits] = {True: [], False: []}
            if subject.engine is not None:
                among = np.flatnonzero(labels.labelled & (labels.marker == labels.markers.index(marker)))
                limits = decoy_limits(subject.finder, subject.engine, among, n_decoys, _SIZES[0], seed)
            for align in (True, False):
                answers[align][marker], decoys[align][marker] = answered[align], limits[align]
    return answers, decoys


def _answer_draws(
    subject: _Subject, parts: Sequence[Draws], sizes: Sequence[int], rng: np.random.Generator, bar: Any
) -> dict[bool, Answers]:
    """Return the answers to all draws of a marker, with bases compared (True) and by vectors alone (False)."""
    collected: dict[bool, list[Answers]] = {True: [], False: []}
    labels = subject.labels
    fold = folds(int(labels.taxa.max()) + 1, rng)
    for part in parts:
        # Pieces are embedded once for both.
        usable, vectors = _usable(subject, part)
        bar.update(len(part.rows) - len(usable))
        excluded = left_out(labels, part)
        classes = length_classes(np.array([len(part.codes[i]) for i in usable.tolist()], np.int64))
        for number in np.unique(classes):
            same = np.flatnonzero(classes == number)
            for first in range(0, len(same), _BATCH_SIZE):
                batch = same[first : first + _BATCH_SIZE]
                numbers = usable[batch]
                codes = [part.codes[i] for i in numbers.tolist()]
                groups = None if excluded is None else (excluded[0][0], excluded[0][1][numbers])
                non_voting = None if excluded is None else excluded[1].part(numbers)
                for align in (True, False):
                    found = subject.finder.find(vectors[batch], codes, sizes[number], groups, align=align)
                    collected[align].append(_answers(found, labels, part, numbers, non_voting, fold))
                bar.update(len(batch))
    return {align: join(answers) for align, answers in collected.items()}


def _answers(
    found: Candidates, labels: RowLabels, part: Draws, numbers: Ints, non_voting: LeftOut | None, fold: Ints
) -> Answers:
    """Return the answers to some draws of a part.

    Args:
        found: Their candidates.
        labels: Lineages of the reference.
        part: The draws.
        numbers: Positions of the answered draws in the part.
        non_voting: The lineages that do not vote on them; None: all vote.
        fold: Fold of each taxon, by number.
    """
    truth = labels.taxa[part.lineages[numbers]]
    evidence = weigh(found, labels, non_voting)
    named = evidence.lineages >= 0
    chosen = np.where(named, labels.taxa[evidence.lineages, np.arange(len(RANKS))], -1)
    return Answers(
        level=np.full(len(numbers), part.level),
        lengths=found.lengths,
        evidence=evidence,
        right=(chosen == truth) & named,
        truth=truth >= 0,
        fold=fold[deepest(truth)],
    )
