"""Teach a reference what its own answers are worth, with queries drawn from itself whose answer is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

import ednabed
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import Embedder, FloatArray
from ednabed.reference.opened import Reference
from ednabed.search.divergence import Codes, decode, turn
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.calibration import DIGITS, LENGTH_NAMES, Calibration, Group, RankModel, columns, length_classes
from ednabed.taxonomy.candidates import LONGEST, Finder
from ednabed.taxonomy.draws import CROPS, LEVEL_NAMES, LEVELS, PARTS, RECORD, Draws, draw, piece
from ednabed.taxonomy.evidence import FEATURES, TIE, Candidates, weigh
from ednabed.taxonomy.labels import Labels, read_labels
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.shortlist import default_exponents

QUERIES = 6_000
"""Draws for each marker, when nothing else is asked for."""
KNOWN = 0.5
"""Share of queries whose species is supposed to be in the reference."""
_MANY = LONGEST
"""Candidates a draw, among which those that a shorter shortlist would miss are counted."""
_SIZES = (50, 100, 200)
"""Sizes of shortlist that are tried; the first one that finds 0.95 of what ``_MANY`` find is taken."""
_ENOUGH = 0.95
_FEWEST_DRAWS = 300
"""A marker with fewer draws than these is judged with all others."""
_FEWEST_OF_EACH = 20
"""Right answers, and wrong ones, without which nothing can be said of a rank."""
_FAR = RANKS.index("order")
_DISTANT = (1, 2, 3, 4)
_FEWEST_DISTANT = 100
_TEST_SHARE = 0.25
_DECOY_LENGTHS = (25, 50, 100, 150, 313, 0)
"""Letters of sequences written backwards; 0 takes whole ones."""
_DECOYS = 100
"""Of each length."""
_DECOY_QUANTILE = 0.05
_KNOTS = (0.1, 0.25, 0.5, 0.75, 0.9)
_PENALTY = 0.3
_AT_ONCE = 256

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Decoys = list[tuple[int, float]]


@dataclass(frozen=True)
class _Answers:
    """What was answered to some draws of one marker.

    Attributes:
        level: What each draw left out, int64, shape (n,).
        lengths: Its letters, int64, shape (n,).
        remains: See ``Draws``.
        absent: See ``Draws``.
        distance: Its least distance.
        features: See ``Evidence``, shape (n, 7, 8).
        right: Whether the name at each rank is right, shape (n, 7).
        judged: Whether that can be told: there is a name, and the truth is known.
        test: Whether it is kept apart to measure reliability.
    """

    level: Ints
    lengths: Ints
    remains: Ints
    absent: npt.NDArray[np.bool_]
    distance: Floats
    features: Floats
    right: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]
    test: npt.NDArray[np.bool_]


def calibrate(
    reference: Reference,
    embedder: Embedder | None,
    *,
    seed: int = 0,
    queries: int = QUERIES,
    known: float = KNOWN,
    threads: int = 1,
) -> Calibration:
    """Calibrate a reference.

    Args:
        reference: The reference; its records carry lineages.
        embedder: The function that made it, for pieces of sequences; None draws whole sequences only.
        seed: Seed of the draws.
        queries: Most draws a marker.
        known: Share of queries whose species is in the reference, above 0 and below 1. The others are supposed to lack
            their species, genus, family (equally often) or order, class, phylum (a third of that each).
        threads: Threads that compare letters.

    Raises:
        StoreError: No record has a lineage, or too few can be left out to learn anything.
        UsageError: A number is out of its range.
    """
    if not 0 < known < 1:
        raise UsageError(f"known is {known}; it is a share between 0 and 1, such as {KNOWN}")
    if queries < _FEWEST_DRAWS:
        raise UsageError(f"queries is {queries}; fewer than {_FEWEST_DRAWS} draws teach nothing")
    labels = read_labels(reference)
    finder = Finder(reference, labels, default_exponents(reference.spec), threads=threads)
    crops = CROPS if embedder is not None else CROPS[:1]
    count = max(1, queries // (sum(PARTS) * len(crops)))
    engine = None if embedder is None else Engine(embedder)
    rng = np.random.default_rng(seed)
    drawn = {}
    for number, marker in enumerate(labels.markers):
        among = labels.labelled & (labels.marker == number)
        if among.any():
            drawn[marker] = draw(labels, finder.letters, among, count, crops, seed + number)
    if not any(drawn.values()):
        raise StoreError(
            f"{reference.name} cannot be calibrated: no taxon in it has a second sequence or a sister, so nothing can "
            "be left out; add records, and until then confidences are not given"
        )
    sizes, facts = _shortlist_sizes(finder, labels, engine, reference, drawn)
    answers: dict[bool, dict[str, _Answers]] = {}
    decoys: dict[bool, dict[str, Decoys]] = {}
    for align in (True, False):
        finder.align = align
        answers[align] = {}
        decoys[align] = {}
        for marker, parts in drawn.items():
            if parts:
                answers[align][marker] = _ask(finder, labels, engine, reference, parts, sizes, rng)
                among = np.flatnonzero(labels.labelled & (labels.marker == labels.markers.index(marker)))
                decoys[align][marker] = _decoys(finder, engine, among, seed)
    reliability: dict[str, Any] = {}
    groups = {}
    for align in (True, False):
        groups[align], measured = _fit_all(answers[align], decoys[align], known)
        reliability["aligned" if align else "vectors"] = measured
    if not groups[True]:
        total = sum(len(part.rows) for parts in drawn.values() for part in parts)
        # The lengths of the sequences may leave no pieces to draw, so that the number asked for is not reached.
        full = any(len(part.rows) == count * PARTS[LEVELS.index(part.level)] for p in drawn.values() for part in p)
        advice = "ask for more" if full else "add labelled records"
        raise StoreError(
            f"{reference.name} cannot be calibrated: only {total} queries could be drawn from it, wanted "
            f"{_FEWEST_DRAWS}; {advice}, and until then confidences are not given"
        )
    return Calibration(
        build=reference.manifest.build,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        known=known,
        queries=queries,
        exponents=list(finder.exponents),
        candidates=sizes,
        groups=groups[True],
        vector_groups=groups[False],
        shortlist=facts,
        reliability=reliability,
        software={"ednabed": ednabed.__version__, "numpy": np.__version__},
    )


def _vectors(engine: Engine | None, reference: Reference, part: Draws, numbers: Ints) -> FloatArray:
    """Return vectors of some draws: stored ones of whole sequences, computed ones of pieces."""
    if not part.crop:
        return reference.vectors_of(part.rows[numbers])
    assert engine is not None
    vectors, _ = engine.embed([decode(part.codes[i]) for i in numbers.tolist()])
    return vectors


def _groups_left_out(labels: Labels, part: Draws, rows: int) -> tuple[Ints, Ints]:
    """Return the group of each row, and of each draw, so that its own group is left out of its shortlist."""
    if part.level == RECORD:
        return np.arange(rows), part.rows
    main = labels.main
    taxa = np.where(main >= 0, labels.taxa[main, part.level], -1)
    return taxa, taxa[part.rows]


def _found(
    finder: Finder, labels: Labels, engine: Engine | None, reference: Reference, part: Draws, numbers: Ints, k: int
) -> Candidates:
    rows, own = _groups_left_out(labels, part, reference.rows)
    vectors = _vectors(engine, reference, part, numbers)
    return finder.find(vectors, [part.codes[i] for i in numbers.tolist()], k, (rows, own[numbers]))


def _shortlist_sizes(
    finder: Finder, labels: Labels, engine: Engine | None, reference: Reference, drawn: dict[str, list[Draws]]
) -> tuple[list[int], list[dict[str, Any]]]:
    """Choose the size of the shortlist for each class of length, and say how many best candidates it finds.

    Judged by the least distance among ``_MANY`` candidates, on up to 200 draws of each class that leave out their own
    record.
    """
    ranks_of_best: list[list[Ints]] = [[] for _ in LENGTH_NAMES]
    for parts in drawn.values():
        for part in parts:
            if part.level != RECORD:
                continue
            numbers = np.arange(len(part.rows))[:200]
            found = _found(finder, labels, engine, reference, part, numbers, _MANY)
            nearest = found.distances <= found.distances.min(axis=1, keepdims=True) + TIE
            first = np.where(nearest, found.places, _MANY).min(axis=1)
            classes = length_classes(found.lengths)
            for number in range(len(LENGTH_NAMES)):
                ranks_of_best[number].append(first[classes == number])
    sizes, facts = [], []
    for name, parts_ in zip(LENGTH_NAMES, ranks_of_best, strict=True):
        first = np.concatenate(parts_) if parts_ else np.zeros(0, np.int64)
        recall = {size: float((first < size).mean()) if len(first) else 1.0 for size in _SIZES}
        size = next((size for size in _SIZES if recall[size] >= _ENOUGH), _SIZES[-1])
        sizes.append(size)
        facts.append({
            "letters": name, "measured_on": len(first), "candidates": size,
            "recall": {str(size): round(share, 4) for size, share in recall.items()},
        })  # fmt: skip
    return sizes, facts


def _ask(
    finder: Finder,
    labels: Labels,
    engine: Engine | None,
    reference: Reference,
    parts: Sequence[Draws],
    sizes: Sequence[int],
    rng: np.random.Generator,
) -> _Answers:
    main = labels.main
    collected: list[dict[str, Any]] = []
    # A taxon teaches or tests, never both.
    tests = rng.random(int(labels.taxa.max()) + 1) < _TEST_SHARE
    for part in parts:
        lengths = np.fromiter(map(len, part.codes), np.int64, len(part.codes))
        classes = length_classes(lengths)
        for number in np.unique(classes):
            own = np.flatnonzero(classes == number)
            for first in range(0, len(own), _AT_ONCE):
                numbers = own[first : first + _AT_ONCE]
                found = _found(finder, labels, engine, reference, part, numbers, sizes[number])
                truth = labels.taxa[main[part.rows[numbers]]]
                left_out = None if part.level == RECORD else (part.level, truth[:, part.level])
                evidence = weigh(found, labels, left_out)
                named = evidence.lineages >= 0
                chosen = np.stack(
                    [np.where(named[:, r], labels.taxa[evidence.lineages[:, r], r], -1) for r in range(len(RANKS))], 1
                )
                deepest = truth.max(axis=1)
                for rank in range(len(RANKS)):
                    deepest = np.where(truth[:, rank] >= 0, truth[:, rank], deepest)
                collected.append({
                    "level": np.full(len(numbers), part.level),
                    "lengths": found.lengths,
                    "remains": part.remains[numbers],
                    "absent": part.absent[numbers],
                    "distance": evidence.distance,
                    "features": evidence.features,
                    "right": (chosen == truth) & named,
                    "judged": named & (truth >= 0),
                    "test": tests[deepest],
                })  # fmt: skip
    return _Answers(**{key: np.concatenate([some[key] for some in collected]) for key in collected[0]})


def _decoys(finder: Finder, engine: Engine | None, among: Ints, seed: int) -> Decoys:
    """Return, by letters, the distance that one in twenty sequences written backwards stays below.

    Backwards, not turned, a sequence has the letters of a real one and is related to none. The nearer strand counts, as
    it does for queries.
    """
    if engine is None:
        return []
    found = []
    rng = np.random.default_rng([seed, 1])
    for length in _DECOY_LENGTHS:
        whole = finder.letters.lengths[among]
        rows = among[whole >= max(length, 1)]
        rows = rng.permutation(rows)[:_DECOYS].tolist()
        if len(rows) < _FEWEST_OF_EACH:
            continue
        backwards = [np.ascontiguousarray(piece(finder.letters.codes(row), length, rng)[::-1]) for row in rows]
        least = np.minimum(*(_least_distances(finder, engine, codes) for codes in (backwards, [*map(turn, backwards)])))
        letters = int(np.median([len(codes) for codes in backwards]))
        found.append((letters, round(float(np.quantile(least, _DECOY_QUANTILE)), DIGITS)))
    return sorted(dict(found).items())


def _least_distances(finder: Finder, engine: Engine, codes: list[Codes]) -> Floats:
    """Return the distance of each sequence to the nearest, infinite where it cannot be looked up."""
    vectors, refused = engine.embed([decode(own) for own in codes])
    usable = np.array([i for i in range(len(codes)) if i not in refused], np.int64)
    least = np.full(len(codes), np.inf)
    found = finder.find(vectors[usable], [codes[i] for i in usable.tolist()], _SIZES[0])
    least[usable] = found.distances.min(axis=1)
    return least


def _least(decoys: Iterable[Decoys]) -> Decoys:
    """Return the least limit of several for each length that any of them has."""
    found: dict[int, float] = {}
    for own in decoys:
        for letters, limit in own:
            found[letters] = min(limit, found.get(letters, limit))
    return sorted(found.items())


def _fit_all(
    answers: dict[str, _Answers], decoys: dict[str, Decoys], known: float
) -> tuple[dict[str, Group], dict[str, Any]]:
    """Fit a group for each marker with enough draws, and one for all together."""
    groups: dict[str, Group] = {}
    measured: dict[str, Any] = {}
    pooled = None
    for marker, own in answers.items():
        pooled = own if pooled is None else _Answers(
            **{name: np.concatenate([getattr(pooled, name), getattr(own, name)]) for name in _Answers.__annotations__}
        )  # fmt: skip
        if marker and len(own.level) >= _FEWEST_DRAWS:
            groups[marker], measured[marker] = _fit(own, decoys[marker], known)
    if len(groups) == 1 and len(answers) == 1:
        # All together are that one marker.
        return {"": groups.popitem()[1]}, {"all": measured.popitem()[1]}
    if pooled is not None and len(pooled.level) >= _FEWEST_DRAWS:
        groups[""], measured["all"] = _fit(pooled, _least(decoys.values()), known)
    return groups, measured


def level_weights(level: Ints, known: float) -> Floats:
    """Return a weight for each draw so that levels count as supposed: the record's ``known``, the others the rest.

    Of the rest, species, genus and family have 3 parts each, order, class and phylum 1. A level that was not drawn has
    none.
    """
    parts = {RECORD: known, **{lv: (1 - known) * (3 if lv > _FAR else 1) / 12 for lv in LEVELS[1:]}}
    weights = np.zeros(len(level))
    for lv, share in parts.items():
        own = level == lv
        if own.any():
            weights[own] = share / own.sum()
    return np.asarray(weights / max(weights.sum(), 1e-300) * len(level), np.float64)


def _fit(answers: _Answers, decoys: Decoys, known: float) -> tuple[Group, dict[str, Any]]:
    """Measure what part of the draws teaches on the others; then let all of them teach."""
    weights = level_weights(answers.level, known)
    measured = _measure(_teach(answers, ~answers.test, weights, decoys), answers, weights)
    return _teach(answers, np.ones(len(answers.level), bool), weights, decoys), measured


def _teach(answers: _Answers, taught: npt.NDArray[np.bool_], weights: Floats, decoys: Decoys) -> Group:
    ranks = {}
    for r, rank in enumerate(RANKS):
        own = np.flatnonzero(taught & answers.judged[:, r])
        distant = np.isin(answers.level[own], _DISTANT)
        model = _fit_rank(answers.features[own, r], answers.right[own, r], weights[own], distant)
        if model is not None:
            ranks[rank] = model
    nulls = {}
    classes = length_classes(answers.lengths)
    for r in range(len(RANKS)):
        at = taught & (answers.remains == r) & answers.absent & np.isfinite(answers.distance)
        if at.any():
            nulls[RANKS[r]] = [
                [round(d, 6) for d in np.sort(answers.distance[at & (classes == c)]).tolist()]
                for c in range(len(LENGTH_NAMES))
            ]
    draws = {LEVEL_NAMES[lv]: int((answers.level == lv).sum()) for lv in LEVELS if (answers.level == lv).any()}
    return Group(ranks, nulls, decoys, draws)


def _fit_rank(
    features: Floats, right: npt.NDArray[np.bool_], weights: Floats, distant: npt.NDArray[np.bool_]
) -> RankModel | None:
    """Fit the model of a rank; None where the draws say too little.

    Where hardly any answer is wrong, though distant queries were drawn, the share of right ones is all there is to say.
    """
    if (~right).sum() < _FEWEST_OF_EACH and (right & distant).sum() >= _FEWEST_DISTANT:
        share = float((weights[right].sum() + 1) / (weights.sum() + 2))
        size = len(FEATURES)
        odds = float(np.log(share / (1 - share)))
        zeros, ones = [0.0] * size, [1.0] * size
        return RankModel([[] for _ in FEATURES], zeros, zeros, zeros, ones, zeros, odds, len(right))
    if min(right.sum(), (~right).sum()) < _FEWEST_OF_EACH:
        return None
    # 1.2 s to import: only calibration needs it.
    from sklearn.linear_model import LogisticRegression

    knots = [
        [round(k, 6) for k in np.unique(np.quantile(features[:, i], _KNOTS)).tolist()] for i in range(len(FEATURES))
    ]
    table = columns(features, knots)
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale < 1e-9] = 1
    model = LogisticRegression(C=_PENALTY, max_iter=3_000)
    model.fit((table - mean) / scale, right, sample_weight=weights)
    return RankModel(
        knots=knots,
        least=features.min(axis=0).tolist(),
        most=features.max(axis=0).tolist(),
        mean=mean.tolist(),
        scale=scale.tolist(),
        weights=model.coef_[0].tolist(),
        intercept=float(model.intercept_[0]),
        draws=len(right),
    )


def _measure(group: Group, answers: _Answers, weights: Floats) -> dict[str, Any]:
    """Measure on the draws that taught nothing: calibration error, and how often a known taxon seems new at 5 %."""
    facts: dict[str, Any] = {}
    for rank, model in group.ranks.items():
        r = RANKS.index(rank)
        own = answers.test & answers.judged[:, r]
        if not own.any():
            continue
        told = model.predict(answers.features[own, r])
        error = calibration_error(told, answers.right[own, r].astype(np.float64), weights[own])
        facts[rank] = {"measured_on": int(own.sum()), "calibration_error": None if error is None else round(error, 4)}
    for rank in group.nulls:
        r = RANKS.index(rank)
        own = answers.test & (answers.remains == r) & answers.absent & np.isfinite(answers.distance)
        p = group.p_values(rank, answers.distance[own], answers.lengths[own])
        p = p[np.isfinite(p)]
        if len(p):
            facts.setdefault(rank, {}).update(
                {"false_novel_at_5_percent": round(float((p <= 0.05).mean()), 4), "nulls_measured_on": len(p)}
            )
    return facts
