"""Fit probabilities and p-values to draws and their answers, and measure how well they hold on taxa not fitted to."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import numpy as np

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.calibration import ALL_LENGTHS, CUTOFFS, SCORE_DIGITS, Group, Model, Reached, outlook_by
from ednabed.taxonomy.decoys import Limits, min_limits
from ednabed.taxonomy.draws import COPY, LEVEL_NAMES, LEVELS, RECORD
from ednabed.taxonomy.evidence import RANK_SIZE, Evidence
from ednabed.taxonomy.labels import SPECIES
from ednabed.taxonomy.lengths import LENGTH_NAMES, length_classes
from ednabed.taxonomy.logistic import Logistic, constant, fit
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.outlook import Outlook
from ednabed.taxonomy.situations import ABSENT_RANKS, SITUATIONS, absence_score, n_present, situation_of

MIN_DRAWS = 300
"""A marker with fewer draws is judged together with all others."""
MIN_SEQUENCES = 200
"""So is a marker with fewer distinct labelled sequences: draws are pieces of them, and a few sequences remain few, even
if drawn many times. With 60 to 150 fishes the calibration error at genus was up to 0.18, with 300 at most 0.10."""
TRIED = ((0.1, 0.3, 0.5, 0.7, 0.9), (0.1, 0.5, 0.9), (0.0, 0.3, 0.6, 0.9))
"""Shares for which the precision of names is stored: of known species; of exact copies among these; of queries with a
known genus among those of unknown species."""
_MIN_CLASS_DRAWS = 600
"""Minimum draws of a length class; a class with fewer is judged by the model of all lengths."""
_MIN_EACH = 20
"""Minimum number of right answers, and of wrong ones, for a model of a rank."""
_FAR = RANKS.index("order")
_DISTANT = (1, 2, 3, 4)
_MIN_DISTANT = 100
_FOLDS = 4
_EVEN = 0.5
"""Share of known species among the draws for fitting, and of copies among these."""
_SITUATION_PENALTY = 0.03
_RANK_PENALTY = 0.3


@dataclass(frozen=True)
class Answers:
    """The answers to some draws of one marker.

    Attributes:
        level: What each draw left out, int64, shape (n,).
        lengths: Its length in bases, int64, shape (n,).
        evidence: Its evidence.
        right: Whether the name at each rank is right, shape (n, 7).
        truth: Whether the true name of each rank is known, shape (n, 7).
        fold: Which of ``_FOLDS`` parts its deepest taxon is in, int64, shape (n,).
    """

    level: Ints
    lengths: Ints
    evidence: Evidence
    right: Bools
    truth: Bools
    fold: Ints

    def __len__(self) -> int:
        """Return the number of draws."""
        return len(self.level)

    @property
    def judged(self) -> Bools:
        """Whether a name can be judged: there is one, and the truth is known, shape (n, 7)."""
        return (self.evidence.lineages >= 0) & self.truth

    def part(self, chosen: Ints) -> Answers:
        """Return the selected answers."""
        return Answers(
            self.level[chosen], self.lengths[chosen], self.evidence.part(chosen), self.right[chosen],
            self.truth[chosen], self.fold[chosen],
        )  # fmt: skip


def join(several: list[Answers]) -> Answers:
    """Join the answers of several lists."""
    evidence = Evidence(
        **{
            one.name: np.concatenate([getattr(part.evidence, one.name) for part in several])
            for one in fields(Evidence)
            if one.name != "tied"
        },
        tied=[tied for part in several for tied in part.evidence.tied],
    )
    names = [one.name for one in fields(Answers) if one.name != "evidence"]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in several]) for name in names}
    return Answers(evidence=evidence, **arrays)


def folds(count: int, rng: np.random.Generator) -> Ints:
    """Return the fold of each of ``count`` taxa: a taxon is used either for fitting or for testing, never both."""
    return rng.integers(0, _FOLDS, count)


def fit_all(
    answers: dict[str, Answers],
    decoys: dict[str, Limits],
    sequences: dict[str, int],
    copies: dict[str, float],
    known: float,
) -> tuple[dict[str, Group], dict[str, Any]]:
    """Fit a group for each marker with enough draws, and one for all together.

    Args:
        answers: Mapping from marker to its answers.
        decoys: Mapping from marker to its limits (``decoys``).
        sequences: Mapping from marker to its number of distinct labelled sequences.
        copies: Mapping from marker to the share of exact copies among queries of known species; the empty name is all
            markers together.
        known: Share of queries whose species is assumed to be in the reference.

    Returns:
        Groups, and what was measured, by marker; all markers together have the empty name among the groups, and the
        name ``all`` among the measurements.
    """
    groups: dict[str, Group] = {}
    measured: dict[str, Any] = {}
    for marker, marker_answers in answers.items():
        if marker and len(marker_answers) >= MIN_DRAWS and sequences[marker] >= MIN_SEQUENCES:
            groups[marker], measured[marker] = _fit_group(marker_answers, decoys[marker], copies[marker], known)
    if len(groups) == 1 and len(answers) == 1:
        # This marker is also all markers together.
        return {"": groups.popitem()[1]}, {"all": measured.popitem()[1]}
    n_sequences = sum(sequences[marker] for marker in answers)
    if sum(map(len, answers.values())) >= MIN_DRAWS and n_sequences >= MIN_SEQUENCES:
        pooled = join(list(answers.values()))
        groups[""], measured["all"] = _fit_group(pooled, min_limits(decoys.values()), copies[""], known)
    return groups, measured


def level_weights(level: Ints, known: float = _EVEN, copies: float = _EVEN, genus_known: float | None = None) -> Floats:
    """Return a weight for each draw, 1 on average, such that levels count in the given proportions.

    Of the draws whose species is not in the reference, those without their species, genus and family have 3 parts each,
    those without their order, class or phylum 1 together; levels that were not drawn have none, and if known species
    have no copies, or nothing but copies, the other level of known species takes their share.

    Args:
        level: What each draw left out, shape (n,).
        known: Share of draws whose species is in the reference.
        copies: Share of exact copies among these.
        genus_known: Share of draws that lack only their species, among those whose species is absent, below 1; None:
            the proportions above.
    """
    drawn_levels = set(level.tolist())
    far = [lv for lv in LEVELS if lv <= _FAR and lv in drawn_levels]
    parts = {lv: 3 if lv > _FAR else 1 / len(far) for lv in LEVELS if lv < RECORD and lv in drawn_levels}
    further = sum(part for lv, part in parts.items() if lv != SPECIES)
    if genus_known is not None and SPECIES in parts and further > 0:
        parts[SPECIES] = further * genus_known / (1 - genus_known)
    shares = {COPY: known * copies, RECORD: known * (1 - copies)}
    drawn = sum(share for lv, share in shares.items() if lv in drawn_levels)
    shares = {lv: share * known / drawn if drawn > 0 else 0.0 for lv, share in shares.items()}
    weights = np.zeros(len(level))
    for lv in drawn_levels:
        share = shares[lv] if lv in shares else (1 - known) * parts[lv] / sum(parts.values())
        weights[level == lv] = share / np.count_nonzero(level == lv)
    return weights / weights.mean() if weights.sum() > 0 else weights


def _fit_group(answers: Answers, decoys: Limits, copies: float, known: float) -> tuple[Group, dict[str, Any]]:
    """Fit to all draws; nulls and measurements come from models that were not fitted to the taxon of a draw."""
    weights = level_weights(answers.level)
    fitted = _shares(answers.level, weights)
    supposed = _shares(answers.level, level_weights(answers.level, known, copies))
    held_out = _held_out(answers)
    draws = {LEVEL_NAMES[lv]: int((answers.level == lv).sum()) for lv in LEVELS if (answers.level == lv).any()}
    bare = Group(_fit_models(answers), fitted.tolist(), supposed.tolist(), {}, {}, decoys, draws)
    precision: dict[str, list[Reached]] = {}
    for tried in product(*TRIED):
        weights = level_weights(answers.level, *tried)
        confidences = bare.confidences(held_out, _shares(answers.level, weights))
        for r, rank in enumerate(RANKS):
            if any(rank in model.ranks for model in bare.models.values()):
                reached = _precisions(answers, confidences[:, r], r, weights)
                precision.setdefault(rank, []).append((*tried, reached))
    group = replace(bare, nulls=_nulls(answers, held_out, np.ones(len(answers), bool)), precision=precision)
    return group, _measure(group, answers, held_out, known, copies)


def _shares(level: Ints, weights: Floats) -> Floats:
    found = np.bincount(situation_of(level), weights, len(SITUATIONS))
    return np.asarray(found / found.sum(), np.float64)


def _fit_models(answers: Answers) -> dict[str, Model]:
    """Fit a model for each length class with enough draws, and one for all lengths if a class has too few."""
    classes = length_classes(answers.lengths)
    models = {}
    for number, name in enumerate(LENGTH_NAMES):
        in_class = np.flatnonzero(classes == number)
        if len(in_class) >= _MIN_CLASS_DRAWS and len(np.unique(situation_of(answers.level[in_class]))) == len(
            SITUATIONS
        ):
            models[name] = _model(answers.part(in_class))
    if len(models) < len(LENGTH_NAMES):
        models[ALL_LENGTHS] = _model(answers)
    return models


def _model(answers: Answers) -> Model:
    weights = level_weights(answers.level)
    situations = fit(
        answers.evidence.of_query(), situation_of(answers.level), len(SITUATIONS), weights, _SITUATION_PENALTY
    )
    ranks = {}
    for r, rank in enumerate(RANKS):
        model = _rank_model(answers, r)
        if model is not None:
            ranks[rank] = model
    return Model(situations, ranks)


def _rank_model(answers: Answers, rank: int) -> Logistic | None:
    """Fit the probability that a name is right if its taxon is in the reference; None if there are too few draws.

    If hardly any answer is wrong, although distant queries were drawn, the model is the share of right answers.
    """
    judged = answers.judged[:, rank]
    new = judged & (answers.level == RECORD)
    if rank == SPECIES and new.sum() < _MIN_EACH:
        # With one sequence per species, nothing shows how far other sequences of it may be.
        return None
    absent = judged & (situation_of(answers.level) >= n_present(rank))
    selected = np.flatnonzero(judged & ~absent)
    right = answers.right[selected, rank]
    distant = np.isin(answers.level[selected], _DISTANT)
    wrong = absent.sum() + (~right).sum()
    if wrong < _MIN_EACH and (right & distant).sum() < _MIN_DISTANT:
        return None
    weights = level_weights(answers.level[selected])
    if (~right).sum() < _MIN_EACH <= right.sum():
        share = float((weights[right].sum() + 1) / (weights.sum() + 2))
        return constant([1 - share, share], RANK_SIZE, len(selected))
    if right.sum() < _MIN_EACH:
        return None
    features = answers.evidence.of_rank(rank)[selected]
    return fit(features, right.astype(np.int64), 2, weights, _RANK_PENALTY)


def _held_out(answers: Answers) -> Outlook:
    """Return predictions for each draw from models that were not fitted to its taxon."""
    n = len(answers)
    situations, right = np.zeros((n, len(SITUATIONS))), np.full((n, len(RANKS)), np.nan)
    for number in range(_FOLDS):
        tested = np.flatnonzero(answers.fold == number)
        if not len(tested):
            continue
        teachers = np.flatnonzero(answers.fold != number)
        models = _fit_models(answers.part(teachers if len(teachers) else tested))
        part = answers.part(tested)
        predicted = outlook_by(models, part.evidence, part.lengths)
        assert predicted.situations is not None
        situations[tested], right[tested] = predicted.situations, predicted.right
    return Outlook(situations, right, None, length_classes(answers.lengths))


def _nulls(answers: Answers, held_out: Outlook, chosen: Bools) -> dict[str, list[list[list[float]]]]:
    """Return ``Group.nulls`` of the selected draws."""
    assert held_out.situations is not None
    situation = situation_of(answers.level)
    found = {}
    for rank in ABSENT_RANKS:
        present = (
            chosen & answers.truth[:, rank] & (situation < n_present(rank)) & np.isfinite(answers.evidence.distance)
        )
        if not present.any() or not (situation >= n_present(rank)).any():
            continue
        scores = np.round(absence_score(held_out.situations, rank), SCORE_DIGITS)
        found[RANKS[rank]] = [
            [
                np.sort(scores[present & (held_out.classes == c) & (situation == s)]).tolist()
                for s in range(len(SITUATIONS))
            ]
            for c in range(len(LENGTH_NAMES))
        ]
    return found


def _precisions(answers: Answers, confidence: Floats, rank: int, weights: Floats) -> list[float | None]:
    """Return the precision of the names with at least each confidence of ``CUTOFFS``; None where there are no names."""
    judged = answers.judged[:, rank] & ~np.isnan(confidence)
    weight = weights[judged]
    step = np.searchsorted(CUTOFFS, confidence[judged], side="right") - 1
    given = np.cumsum(np.bincount(step, weight, len(CUTOFFS))[::-1])[::-1]
    right = np.cumsum(np.bincount(step, weight * answers.right[judged, rank], len(CUTOFFS))[::-1])[::-1]
    return [round(float(r / g), 4) if g > 1e-12 else None for r, g in zip(right, given, strict=True)]


def _measure(group: Group, answers: Answers, held_out: Outlook, known: float, copies: float) -> dict[str, Any]:
    """Measure the calibration error, and how often a present taxon seems absent at 5 %, at the assumed shares."""
    facts: dict[str, dict[str, Any]] = {}
    shares = np.array(group.shares)
    confidences = group.confidences(held_out, shares)
    weights = level_weights(answers.level, known, copies)
    for r, rank in enumerate(RANKS):
        judged = answers.judged[:, r] & ~np.isnan(confidences[:, r])
        error = calibration_error(confidences[judged, r], answers.right[judged, r].astype(np.float64), weights[judged])
        if error is not None:
            facts[rank] = {"measured_on": int(judged.sum()), "calibration_error": round(error, 4)}
    situation = situation_of(answers.level)
    # Half of the folds provide the nulls, the other half is tested.
    for_nulls = answers.fold < _FOLDS // 2
    half = replace(group, nulls=_nulls(answers, held_out, for_nulls))
    p_values = half.p_values(held_out, shares)
    for r in ABSENT_RANKS:
        tested = (
            ~for_nulls & answers.truth[:, r] & (situation >= (1 if r == SPECIES else 0)) & (situation < n_present(r))
        )
        tested &= ~np.isnan(p_values[:, r])
        share = np.where(tested, shares[situation], 0)
        counts = np.bincount(situation[tested], minlength=len(SITUATIONS))
        share = np.where(tested, share / np.maximum(counts[situation], 1), 0)
        if share.sum() > 0:
            wrong = float((share * (p_values[:, r] <= 0.05)).sum() / share.sum())
            facts.setdefault(RANKS[r], {}).update(
                {"falsely_absent_at_5_percent": round(wrong, 4), "absence_measured_on": int(tested.sum())}
            )
    return facts
