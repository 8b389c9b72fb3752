"""How good predictions are: plain counts over queries whose truth is known.

One rule for ties, whatever the method: where the equally best hits bear several names at a rank, the guess counts as
the share of these distinct names that is right. So a method gains nothing by luck in the order of its hits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.errors import UsageError
from ednabed.evaluate.predictions import ByRank, Prediction
from ednabed.evaluate.splits import GROUPS, Query
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.situations import KNOWN
from ednabed.taxonomy.taxa import Taxa

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

CONFIDENT = 0.8
"""Least confidence at which a name counts as given."""

SIGNIFICANT = 0.05
"""Largest p-value at which a query counts as new."""

IDENTITY_BINS = ("100", "99-100", "97-99", "95-97", "90-95", "80-90", "<80", "none")
"""Percent identity with the nearest training sequence, lower edge included; ``none`` where nothing was found."""

_EDGES = (100.0, 99.0, 97.0, 95.0, 90.0, 80.0)
SUPPOSED_SHARES = {GROUPS[0]: KNOWN, **dict.fromkeys(GROUPS[1:], (1 - KNOWN) / len(GROUPS[1:]))}
"""Share of each group among queries, by which the calibration error over all is weighed: that of known species as
calibration supposes it, the others in equal parts, as there (``fitting.level_weights``)."""

# 95 % of a normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Judged:
    """Predictions beside the truth: arrays of n queries, most of them by the seven ranks.

    Attributes:
        groups: Group of each query, str, shape (n,).
        known: Whether the true name is known, bool, shape (n, 7); all counts are over these.
        present: Whether the true taxon is in training, bool, shape (n, 7).
        named: Whether there is a guess, bool, shape (n, 7).
        right: How right the guess is, float64, 0 to 1, shape (n, 7); between only for ties.
        confidence: Confidence in the guess, float64, 1 for methods without any, NaN where there is none, shape (n, 7).
        given: Whether the guess is given, bool, shape (n, 7); see ``Prediction``.
        novelty: Novelty score, float64, NaN where there is none, shape (n, 7).
        p_values: p-values, float64, NaN where there is none, shape (n, 7).
        identity: Percent identity with the nearest training sequence, float64, NaN where there is none, shape (n,).
        stated: Confidence in the guess as the method states it, float64, NaN where it states none or there is no guess,
            shape (n, 7).
        claimed: Number of the broadest rank at which the query's taxon is said to be absent from training, int64, -1
            for no such claim, shape (n,).
    """

    groups: npt.NDArray[np.str_]
    known: Bools
    present: Bools
    named: Bools
    right: Floats
    confidence: Floats
    given: Bools
    novelty: Floats
    p_values: Floats
    identity: Floats
    stated: Floats
    claimed: npt.NDArray[np.int64]

    def select(self, chosen: Bools) -> Judged:
        """Return the chosen queries, bool, shape (n,)."""
        return Judged(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def judge(queries: Sequence[Query], predictions: Sequence[Prediction], taxa: Taxa) -> Judged:
    """Compare predictions with the truth.

    A guess is right where it is the same taxon (``Taxa``). Hits without a name at a rank have no say in a tie there.

    Raises:
        UsageError: The predictions are not of these queries in this order.
    """
    if [query.id for query in queries] != [prediction.id for prediction in predictions]:
        raise UsageError(f"{len(predictions)} predictions do not belong to the {len(queries)} queries in their order")
    known = np.zeros((len(queries), len(RANKS)), bool)
    named, right = known.copy(), known.astype(float)
    for i, (query, prediction) in enumerate(zip(queries, predictions, strict=True)):
        truth = taxa.of(query.lineage)
        guesses = [taxa.of(lineage) for lineage in prediction.tied or (prediction.names,)]
        for rank, true in enumerate(truth):
            names = {guess[rank] for guess in guesses} - {None}
            known[i, rank] = true is not None
            named[i, rank] = bool(names)
            right[i, rank] = (true in names) / len(names) if names else 0.0
    confidence = _by_rank([p.confidences if p.confidences is not None else (1.0,) * len(RANKS) for p in predictions])
    confidence[~named] = np.nan
    given = confidence >= CONFIDENT
    for i, prediction in enumerate(predictions):
        if prediction.given is not None:
            given[i] = prediction.given
    return Judged(
        groups=np.array([query.group for query in queries], dtype=np.str_),
        known=known,
        present=np.array([query.present for query in queries], bool).reshape(known.shape),
        named=named,
        right=right,
        confidence=confidence,
        given=given & named,
        novelty=_by_rank([p.novelty for p in predictions]),
        p_values=_by_rank([p.p_values for p in predictions]),
        identity=np.array([np.nan if p.identity is None else p.identity for p in predictions], float),
        stated=np.where(named, _by_rank([p.confidences for p in predictions]), np.nan),
        claimed=np.array([-1 if p.absent_rank is None else RANKS.index(p.absent_rank) for p in predictions], np.int64),
    )


def _by_rank(rows: Sequence[ByRank | None]) -> Floats:
    empty: ByRank = (None,) * len(RANKS)
    listed = [[np.nan if value is None else value for value in row or empty] for row in rows]
    return np.array(listed, float).reshape(len(rows), len(RANKS))


def measure(judged: Judged, rank: int, chosen: Bools | None = None) -> dict[str, Any]:
    """Measure the guesses at a rank over chosen queries (all, if None) whose true name is known.

    Returns:
        ``queries``, their number; ``present``, those whose true taxon is in training; ``accuracy`` over these, with its
        95 % interval ``accuracy_low`` and ``accuracy_high``; ``given``, names that are given
        (``Judged``); ``precision``, the share of these that is right; ``recall``, right ones among these by
        ``present``; ``over_classified``, the share of the other queries (``absent``) that got such a name;
        ``calibration_error``, in which each group counts by its supposed share (``SUPPOSED_SHARES``), not by its number
        of queries. None where nothing can be counted.
    """
    kept = judged.known[:, rank] if chosen is None else judged.known[:, rank] & chosen
    present, right = judged.present[kept, rank], judged.right[kept, rank]
    confidence = judged.confidence[kept, rank]
    given = judged.given[kept, rank]
    inside, absent = int(present.sum()), int((~present).sum())
    # What is absent cannot be guessed; its taxon is in no lineage of training.
    low, high = wilson(float(right[present].sum()), inside)
    return {
        "queries": int(kept.sum()),
        "present": inside,
        "accuracy": _share(right[present].sum(), inside),
        "accuracy_low": low,
        "accuracy_high": high,
        "given": int(given.sum()),
        "precision": _share(right[given].sum(), int(given.sum())),
        "recall": _share(right[given & present].sum(), inside),
        "absent": absent,
        "over_classified": _share((given & ~present).sum(), absent),
        "calibration_error": calibration_error(confidence, right, _weights(judged.groups[kept], ~np.isnan(confidence))),
    }


def _weights(groups: npt.NDArray[np.str_], guessed: Bools) -> Floats:
    """Return how much each query with a guess counts where groups count as supposed, shape (n,); 0 for the others."""
    weights = np.zeros(len(groups))
    for group, share in SUPPOSED_SHARES.items():
        own = guessed & (groups == group)
        weights[own] = share / max(own.sum(), 1)
    return weights


def measure_novelty(judged: Judged, rank: str) -> dict[str, Any]:
    """Measure how well the queries whose taxon of a rank was held out are told from held-out records.

    Args:
        judged: The predictions.
        rank: ``species``, ``genus`` or ``family``.

    Returns:
        ``novel`` and ``familiar``, queries with a score in the two groups; ``auroc``; ``false_novel``, the share with
        p <= ``SIGNIFICANT`` among queries whose deepest taxon in training is of this rank, for which the p-value is
        made: held-out records at species, held-out species at genus, held-out genera at family;
        ``false_novel_records``, that of held-out records, which are nearer at the upper ranks; and ``found_novel``,
        that of the held-out taxa. None where there is no score or no p-value.
    """
    column = RANKS.index(rank)
    scores = judged.novelty[:, column]
    preceding = GROUPS[GROUPS.index(rank) - 1]
    new, old, inside = (judged.groups == group for group in (rank, "record", preceding))
    scored = ~np.isnan(scores)
    return {
        "novel": int((new & scored).sum()),
        "familiar": int((old & scored).sum()),
        "auroc": auroc(scores[new & scored], scores[old & scored]),
        "false_novel": _significant(judged.p_values[inside, column]),
        "false_novel_records": _significant(judged.p_values[old, column]),
        "found_novel": _significant(judged.p_values[new, column]),
    }


def measure_bins(judged: Judged, bins: npt.NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """Measure the accuracy by identity bin, over the queries of all groups whose true taxon is in training.

    Args:
        judged: The predictions.
        bins: Bin of each query, as ``identity_bins`` gives them, int64, shape (n,).

    Returns:
        By bin and then by rank (family, genus, species): ``present`` and ``accuracy``.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(IDENTITY_BINS):
        found[name] = {}
        for rank in reversed(GROUPS[1:]):
            measured = measure(judged, RANKS.index(rank), bins == place)
            found[name][rank] = {key: measured[key] for key in ("present", "accuracy")}
    return found


def identity_bins(identity: Floats) -> npt.NDArray[np.int64]:
    """Return the place in ``IDENTITY_BINS`` of each identity (percent, NaN for none), int64, same shape."""
    # An identity of 100 computed as a quotient may fall short of it by a rounding error.
    place = len(_EDGES) - np.searchsorted(np.array(_EDGES[::-1]), identity + 1e-9, side="right")
    return np.where(np.isnan(identity), len(IDENTITY_BINS) - 1, place).astype(np.int64)


def auroc(positive: Floats, negative: Floats) -> float | None:
    """Return the chance that a positive scores higher than a negative, ties counting half; None if either is empty."""
    if not len(positive) or not len(negative):
        return None
    _, place, counts = np.unique(np.concatenate([positive, negative]), return_inverse=True, return_counts=True)
    # Mean rank of each value, from 1; the sum over the positives is that of Mann and Whitney.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]
    least = len(positive) * (len(positive) + 1) / 2
    return float((ranks[: len(positive)].sum() - least) / (len(positive) * len(negative)))


def wilson(right: float, total: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a share after Wilson 1927; (None, None) of nothing."""
    if not total:
        return None, None
    share = right / total
    centre = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(max(share * (1 - share), 0.0) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _share(part: float, whole: int) -> float | None:
    return float(part) / whole if whole else None


def _significant(p_values: Floats) -> float | None:
    given = p_values[~np.isnan(p_values)]
    return _share(float((given <= SIGNIFICANT).sum()), len(given))
