"""The natural mixture of queries in a lab: half are known species, half of these exact copies of reference sequences.

In published barcodes, about half of the records of a known species have a sequence that the reference already
contains; the other groups of queries (``splits.GROUPS``) contain no such copies. This module combines them: exact
copies and new haplotypes of known species count a quarter each, and the held-out species, genera and families share the
other half equally, whatever the number of queries in each group. The share of groups without queries is given to the
other groups of the same half. A method that estimates from a study how common known species are classifies studies in
which half of the queries are known species (``natural_part``); the share of a scarce group there is less than its
weight here.

Recall at equal precision makes methods comparable that give names by different rules: the guesses of each method are
sorted in its own order, and the longest prefix that reaches the precision is taken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.evaluate.metrics import Judged, measure
from ednabed.evaluate.splits import COPY, GROUPS, Labelled, LabelledQuery
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.metrics import calibration_error
from ednabed.taxonomy.taxa import Taxa

HALVES = ((COPY, GROUPS[0]), GROUPS[1:])
"""Groups of known species, and those whose species is not in training; each half counts 0.5."""

PRECISIONS = (0.95, 0.90, 0.80)
"""Precisions at which the recall is measured."""

MEASURED = ("species", "genus", "family")
"""Ranks at which the mixture is measured."""

_SPECIES = RANKS.index("species")
# Sums of weights differ by rounding.
_ROUNDING = 1e-9


def shares(groups: Iterable[str]) -> dict[str, float]:
    """Return the share of each of these groups in the mixture; the shares of each half sum to 0.5.

    If all groups of one half are missing, the shares of the other half sum to 0.5 only.
    """
    given = set(groups)
    found: dict[str, float] = {}
    for half in HALVES:
        present = [group for group in half if group in given]
        found |= {group: 0.5 / len(present) for group in present}
    return found


def mixture_weights(groups: npt.NDArray[np.str_], counted: Bools) -> Floats:
    """Return the weight of each query in the mixture.

    Args:
        groups: Group of each query, shape (n,).
        counted: Whether each query is counted, bool, shape (n,).

    Returns:
        Weights, shape (n,): the share of the group divided by its number of counted queries, 0 for the others.
    """
    weights = np.zeros(len(groups))
    for group, share in shares(np.unique(groups[counted]).tolist()).items():
        in_group = counted & (groups == group)
        weights[in_group] = share / in_group.sum()
    return weights


def natural_part(groups: Sequence[str]) -> Ints:
    """Return the rows of a study in which half of the queries are known species, as in the mixture.

    The first queries of each group are taken. The groups of known species are equal in size. The other groups are as
    equal in size as possible: a small group is taken completely and larger ones make up for it, so that a scarce group
    does not limit the study to a few queries.

    Args:
        groups: Group of each query.

    Returns:
        Row numbers, ascending; as many as the smaller half allows, or the other half if one has no query.
    """
    all_groups = np.array(groups, dtype=np.str_)
    known, absent = ([rows for group in half if len(rows := np.flatnonzero(all_groups == group))] for half in HALVES)
    sizes = [min(map(len, known), default=0) * len(known), sum(map(len, absent))]
    size = min((one for one in sizes if one), default=0)
    size -= size % max(len(known), 1)
    chosen = [np.zeros(0, np.int64), *(rows[: size // len(known)] for rows in known)]
    for number, rows in enumerate(sorted(absent, key=len)):
        part = size // (len(absent) - number)
        chosen.append(rows[:part])
        size -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def order_of(judged: Judged, rank: int) -> Floats:
    """Return the scores by which a method orders its guesses at a rank, higher is surer, shape (n,); -inf if missing.

    The score is the confidence in the guess. If a method states none, it is the identity with the nearest sequence, and
    if that is missing too, the negative novelty score.
    """
    named = judged.named[:, rank]
    for values in (judged.stated[:, rank], judged.identity, -judged.novelty[:, rank]):
        if not np.isnan(values[named]).all():
            return np.where(np.isnan(values), -np.inf, values)
    return np.full(len(named), -np.inf)


def recall_at_precision(order: Floats, right: Floats, weights: Floats, known: float, precision: float) -> float:
    """Return the largest recall at which the names given reach a precision.

    All guesses at or above a cutoff of ``order`` are given; guesses with the same value are given together.

    Args:
        order: Score of each guess, higher is surer, shape (n,).
        right: Whether each guess is right, 0 to 1, shape (n,); 0 if the true taxon is not in training.
        weights: Weight of each guess, shape (n,).
        known: Weight of all queries whose true taxon is in training, with and without a guess; above 0.
        precision: Weighted share of the names given that must be right.

    Returns:
        Weight of the right names given, divided by ``known``; 0 if no cutoff reaches the precision.
    """
    if not len(order):
        return 0.0
    rows = np.argsort(-order, kind="stable")
    last = np.append(order[rows][1:] != order[rows][:-1], True)
    hits, given = np.cumsum((weights * right)[rows])[last], np.cumsum(weights[rows])[last]
    precise = hits >= precision * given - _ROUNDING
    return float(hits[precise].max() / known) if precise.any() else 0.0


def measure_rank(judged: Judged, rank: int) -> dict[str, Any]:
    """Measure the guesses at a rank on the mixture, over queries whose true name is known.

    Args:
        judged: Predictions for all groups, including ``COPY``.
        rank: Number of the rank.

    Returns:
        ``known`` and ``absent``, the numbers of queries whose true taxon is in training and is not in training;
        ``recall``, the share of known queries that are given the right name; ``precision``, the share of all names
        given that is right; ``recall_at_precision``, by precision (``0.95``), see ``recall_at_precision``;
        ``calibration_error``, None for methods without confidences; ``over_classified``, the share of absent queries
        that are given a name. All shares are weighted (``mixture_weights``); None if there is nothing to count.
    """
    counted = judged.known[:, rank]
    weights = mixture_weights(judged.groups, counted)
    present, given = judged.present[:, rank], judged.given[:, rank]
    # A name given to a query whose taxon is absent is wrong, as in calibration.
    right = judged.right[:, rank] * present
    known = float(weights[present].sum())
    guessed = judged.named[:, rank] & counted
    order = order_of(judged, rank)
    return {
        "known": int((counted & present).sum()),
        "absent": int((counted & ~present).sum()),
        "recall": _share((weights * right)[given & present].sum(), known),
        "precision": _share((weights * right)[given].sum(), float(weights[given].sum())),
        "recall_at_precision": {
            f"{precision:.2f}": recall_at_precision(
                order[guessed], right[guessed], weights[guessed], known, precision
            ) if known > 0 else None
            for precision in PRECISIONS
        },
        "calibration_error": calibration_error(judged.stated[:, rank], right, weights),
        "over_classified": _share(weights[given & ~present].sum(), float(weights[~present].sum())),
    }  # fmt: skip


def measure_claims(judged: Judged) -> dict[str, Any]:
    """Measure the claims that a taxon is not in training.

    Returns:
        ``groups``, by group: ``queries`` and ``claimed``, the share for which any absence is claimed; for the held-out
        taxa also ``right``, the share for which it is claimed at the rank that was held out, ``too_broad``, at a rank
        above (which is wrong), and ``too_narrow``, at a rank below. For copies and held-out records every claim is
        wrong. ``wrong``: the weighted share of all claims in the mixture whose taxon is in training; claims at a rank
        at which the query has no true name count only if a deeper name of the query is in training. ``known``: the
        weighted share that concerns known species, which ``novel_q`` bounds. ``claims``: the number of claims.
    """
    found: dict[str, Any] = {}
    for group in (COPY, *GROUPS):
        claimed = judged.claimed[judged.groups == group]
        figures: dict[str, Any] = {"queries": len(claimed), "claimed": _share((claimed >= 0).sum(), len(claimed))}
        if group in RANKS:
            true = RANKS.index(group)
            figures["right"] = _share((claimed == true).sum(), len(claimed))
            figures["too_broad"] = _share(((claimed >= 0) & (claimed < true)).sum(), len(claimed))
            figures["too_narrow"] = _share((claimed > true).sum(), len(claimed))
        found[group] = figures
    weights = mixture_weights(judged.groups, np.ones(len(judged.groups), bool))
    wrong = total = 0.0
    for i in np.flatnonzero(judged.claimed >= 0).tolist():
        rank = judged.claimed[i]
        known, present = judged.known[i, rank], judged.present[i, rank]
        deeper = bool(judged.present[i, rank:].any())
        if known or deeper:
            wrong += weights[i] * (present if known else deeper)
            total += weights[i]
    claims = judged.claimed >= 0
    claims_known = claims & np.isin(judged.groups, HALVES[0])
    return {
        "groups": found,
        "claims": int(claims.sum()),
        "wrong": _share(wrong, total),
        "known": _share(weights[claims_known].sum(), float(weights[claims].sum())),
    }


def measure_copies(judged: Judged, unique: Bools) -> dict[str, Any]:
    """Measure the species given to exact copies of sequences that occur in one species only.

    Args:
        judged: Predictions for all groups.
        unique: Whether no other species in training has the sequence (``only_species``), for the queries of group
            ``COPY`` in their order, bool.

    Returns:
        ``queries``; ``given``, the share that is given a species; and ``right``, the share given the right one.
    """
    copies = judged.groups == COPY
    given, right = judged.given[copies, _SPECIES][unique], judged.right[copies, _SPECIES][unique]
    return {
        "queries": len(given),
        "given": _share(given.sum(), len(given)),
        "right": _share(right[given].sum(), len(given)),
    }


def measure_mixture(judged: Judged, unique: Bools) -> dict[str, Any]:
    """Compute all figures of the mixture.

    Args:
        judged: Predictions for all groups.
        unique: See ``measure_copies``.

    Returns:
        ``ranks``, the result of ``measure_rank`` by rank; ``claims``, see ``measure_claims``; ``copies``, see
        ``measure_copies``; ``haplotypes``, the ``queries`` and ``accuracy`` of the best species guess for held-out
        records.
    """
    records = measure(judged, _SPECIES, judged.groups == GROUPS[0])
    return {
        "ranks": {rank: measure_rank(judged, RANKS.index(rank)) for rank in MEASURED},
        "claims": measure_claims(judged),
        "copies": measure_copies(judged, unique),
        "haplotypes": {"queries": records["present"], "accuracy": records["accuracy"]},
    }


def only_species(queries: Sequence[LabelledQuery], training: Sequence[Labelled], taxa: Taxa) -> Bools:
    """Return whether the species of each query is the only one in training with its sequence, bool, shape (n,).

    A training sequence counts if it contains the query, because a crop that species share does not identify one.
    """
    named = [
        (record.sequence, key) for record in training if (key := taxa.taxa_of(record.lineage)[_SPECIES]) is not None
    ]
    text = "\n".join(sequence for sequence, _ in named)
    ends = np.cumsum([len(sequence) + 1 for sequence, _ in named]).tolist()
    unique = np.ones(len(queries), bool)
    for i, query in enumerate(queries):
        species = taxa.taxa_of(query.lineage)[_SPECIES]
        position = text.find(query.sequence)
        while position >= 0:
            row = bisect_right(ends, position)
            if named[row][1] != species:
                unique[i] = False
                break
            # Continue with the next record.
            position = text.find(query.sequence, ends[row])
    return unique


def _share(part: float, whole: float) -> float | None:
    return float(part) / whole if whole > 0 else None
