"""Measure predictions by plain counts over queries whose true names are known.

Ties are treated the same for every method: if equally good best hits have several names at a rank, the guess counts as
the share of these distinct names that is right. A method therefore gains nothing from a lucky order of its hits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.errors import UsageError
from ednabed.evaluate.predictions import ByRank, Prediction
from ednabed.evaluate.splits import GROUPS, LabelledQuery
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.situations import KNOWN
from ednabed.taxonomy.taxa import Taxa

CONFIDENT = 0.8
"""Minimum confidence at which a name counts as given."""

SIGNIFICANT = 0.05
"""Maximum p-value at which a query counts as new."""

IDENTITY_BINS = ("100", "99-100", "97-99", "95-97", "90-95", "80-90", "<80", "none")
"""Percent identity with the nearest training sequence, lower edge included; ``none`` if nothing was found."""

_EDGES = (100.0, 99.0, 97.0, 95.0, 90.0, 80.0)
ASSUMED_SHARES = {GROUPS[0]: KNOWN, **dict.fromkeys(GROUPS[1:], (1 - KNOWN) / len(GROUPS[1:]))}
"""Share of each group among queries, by which the overall calibration error is weighted: the share of known species as
assumed in calibration, the other groups in equal parts, also as there (``fitting.level_weights``)."""

# Quantile of the normal distribution for a 95 % interval.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Judged:
    """Predictions compared with the truth: arrays over n queries, most of them also over the seven ranks.

    Attributes:
        groups: Group of each query, str, shape (n,).
        known: Whether the true name is known, bool, shape (n, 7); only these are counted.
        present: Whether the true taxon is in training, bool, shape (n, 7).
        named: Whether there is a guess, bool, shape (n, 7).
        right: Whether the guess is right, float64, 0 or 1, between the two for ties, shape (n, 7).
        confidence: Confidence in the guess, float64, 1 for methods without confidences, NaN without a guess, shape
            (n, 7).
        given: Whether the guess is given, bool, shape (n, 7); see ``Prediction``.
        novelty: Novelty score, float64, NaN if missing, shape (n, 7).
        p_values: p-values, float64, NaN if missing, shape (n, 7).
        identity: Percent identity with the nearest training sequence, float64, NaN if missing, shape (n,).
        stated: Confidence in the guess as stated by the method, float64, NaN if it states none or makes no guess, shape
            (n, 7).
        claimed: Number of the broadest rank at which the method claims that the query's taxon is absent from training,
            int64, -1 without such a claim, shape (n,).
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
    claimed: Ints

    def select(self, chosen: Bools) -> Judged:
        """Return the chosen queries; ``chosen`` is bool, shape (n,)."""
        return Judged(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def judge_predictions(queries: Sequence[LabelledQuery], predictions: Sequence[Prediction], taxa: Taxa) -> Judged:
    """Compare predictions with the truth.

    A guess is right if it is the same taxon (``Taxa``). Hits without a name at a rank are ignored in a tie there.

    Raises:
        UsageError: The predictions do not match these queries in this order.
    """
    if [query.id for query in queries] != [prediction.id for prediction in predictions]:
        raise UsageError(f"{len(predictions)} predictions do not match the {len(queries)} queries and their order")
    known = np.zeros((len(queries), len(RANKS)), bool)
    named, right = known.copy(), known.astype(float)
    for i, (query, prediction) in enumerate(zip(queries, predictions, strict=True)):
        truth = taxa.taxa_of(query.lineage)
        guesses = [taxa.taxa_of(lineage) for lineage in prediction.tied or (prediction.names,)]
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
    """Measure the guesses at a rank over the chosen queries (all if None) whose true name is known.

    Returns:
        ``queries``, the number of queries; ``present``, those whose true taxon is in training; ``accuracy`` over these,
        with its 95 % interval ``accuracy_low`` and ``accuracy_high``; ``given``, the names given (``Judged``);
        ``precision``, the share of these that is right; ``recall``, the number of right names given to ``present``
        queries divided by their number; ``over_classified``, the share of the other queries (``absent``) that were
        given a name; ``calibration_error``, in which each group counts by its assumed share (``ASSUMED_SHARES``), not
        by its number of queries. None if nothing can be counted.
    """
    counted = judged.known[:, rank] if chosen is None else judged.known[:, rank] & chosen
    present, right = judged.present[counted, rank], judged.right[counted, rank]
    confidence = judged.confidence[counted, rank]
    given = judged.given[counted, rank]
    n_present, n_absent = int(present.sum()), int((~present).sum())
    # An absent taxon cannot be guessed, because it is in no lineage of training.
    low, high = wilson(float(right[present].sum()), n_present)
    return {
        "queries": int(counted.sum()),
        "present": n_present,
        "accuracy": _share(right[present].sum(), n_present),
        "accuracy_low": low,
        "accuracy_high": high,
        "given": int(given.sum()),
        "precision": _share(right[given].sum(), int(given.sum())),
        "recall": _share(right[given & present].sum(), n_present),
        "absent": n_absent,
        "over_classified": _share((given & ~present).sum(), n_absent),
        "calibration_error": calibration_error(
            confidence, right, _weights(judged.groups[counted], ~np.isnan(confidence))
        ),
    }


def _weights(groups: npt.NDArray[np.str_], guessed: Bools) -> Floats:
    """Return the weight of each query, by the assumed share of its group, shape (n,); 0 for queries without a guess."""
    weights = np.zeros(len(groups))
    for group, share in ASSUMED_SHARES.items():
        in_group = guessed & (groups == group)
        weights[in_group] = share / max(in_group.sum(), 1)
    return weights


def measure_novelty(judged: Judged, rank: str) -> dict[str, Any]:
    """Measure how well queries whose taxon at a rank was held out are distinguished from held-out records.

    Args:
        judged: The predictions.
        rank: ``species``, ``genus`` or ``family``.

    Returns:
        ``novel`` and ``familiar``, the queries with a score in the two groups; ``auroc``; ``false_novel``, the share
        with p <= ``SIGNIFICANT`` among queries whose deepest taxon in training has this rank, for which the p-value is
        defined: held-out records at species, held-out species at genus, held-out genera at family;
        ``false_novel_records``, the same share among held-out records, which are nearer at the upper ranks; and
        ``found_novel``, the same share among the held-out taxa. None if there is no score or no p-value.
    """
    column = RANKS.index(rank)
    scores = judged.novelty[:, column]
    preceding = GROUPS[GROUPS.index(rank) - 1]
    new, familiar, in_rank = (judged.groups == group for group in (rank, "record", preceding))
    scored = ~np.isnan(scores)
    return {
        "novel": int((new & scored).sum()),
        "familiar": int((familiar & scored).sum()),
        "auroc": auroc(scores[new & scored], scores[familiar & scored]),
        "false_novel": _significant(judged.p_values[in_rank, column]),
        "false_novel_records": _significant(judged.p_values[familiar, column]),
        "found_novel": _significant(judged.p_values[new, column]),
    }


def measure_bins(judged: Judged, bins: Ints) -> dict[str, dict[str, Any]]:
    """Measure the accuracy by identity bin, over the queries of all groups whose true taxon is in training.

    Args:
        judged: The predictions.
        bins: Bin of each query, as returned by ``identity_bins``, int64, shape (n,).

    Returns:
        By bin and then by rank (family, genus, species): ``present`` and ``accuracy``.
    """
    found: dict[str, dict[str, Any]] = {}
    for bin_index, name in enumerate(IDENTITY_BINS):
        found[name] = {}
        for rank in reversed(GROUPS[1:]):
            measured = measure(judged, RANKS.index(rank), bins == bin_index)
            found[name][rank] = {key: measured[key] for key in ("present", "accuracy")}
    return found


def identity_bins(identity: Floats) -> Ints:
    """Return the index in ``IDENTITY_BINS`` of each identity (percent, NaN for none), int64, same shape."""
    # An identity of 100 that is computed as a quotient may be lower by a rounding error.
    bins = len(_EDGES) - np.searchsorted(np.array(_EDGES[::-1]), identity + 1e-9, side="right")
    return np.where(np.isnan(identity), len(IDENTITY_BINS) - 1, bins).astype(np.int64)


def auroc(positive: Floats, negative: Floats) -> float | None:
    """Return the chance that a positive scores higher than a negative, ties counting half; None if either is empty."""
    from scipy.stats import rankdata

    if not len(positive) or not len(negative):
        return None
    # The rank sum of Mann and Whitney.
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    minimum = len(positive) * (len(positive) + 1) / 2
    return float((ranks.sum() - minimum) / (len(positive) * len(negative)))


def wilson(right: float, total: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a share (Wilson 1927); (None, None) if ``total`` is 0."""
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
