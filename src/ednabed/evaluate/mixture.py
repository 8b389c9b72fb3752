"""The natural mixture: what a lab meets, half of it known species, of which half are exact copies of the reference.

Measured on published barcodes, about half of the records of a known species have a sequence that the reference holds
already, and the other groups of queries (``splits.GROUPS``) hold none of these. Here they are put together: exact
copies and new haplotypes of known species count a quarter each, and the held-out species, genera and families share the
other half equally, whatever the number of queries in each group. Groups without queries leave their share to the
others of the same half. A method that learns from a study how common known species are is asked studies in which half
of the species are known (``natural_part``); where a group is scarce its share there is less than its weight here.

Recall at equal precision makes methods comparable that give names by different rules: each one's guesses are put into
its own order, and the longest part of it that is right often enough is taken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ednabed.evaluate.metrics import Bools, Floats, Judged, measure
from ednabed.evaluate.splits import COPY, GROUPS, Labelled, Query
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
    """Return the share of each of these groups in the mixture; the shares of one half sum to 0.5.

    Where all groups of a half are absent, the shares sum to 0.5 only.
    """
    there = set(groups)
    found: dict[str, float] = {}
    for half in HALVES:
        present = [group for group in half if group in there]
        found |= {group: 0.5 / len(present) for group in present}
    return found


def weigh(groups: npt.NDArray[np.str_], counted: Bools) -> Floats:
    """Return how much each query counts in the mixture.

    Args:
        groups: Group of each query, shape (n,).
        counted: Which queries count, bool, shape (n,).

    Returns:
        Weights, shape (n,): the share of the group by its number of counted queries, 0 for the others.
    """
    weights = np.zeros(len(groups))
    for group, share in shares(np.unique(groups[counted]).tolist()).items():
        own = counted & (groups == group)
        weights[own] = share / own.sum()
    return weights


def natural_part(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the places of queries of which half are of known species, as in the mixture: the first ones of each group.

    The groups of known species are equal in size. The other groups are as equal in size as possible: a small group is
    taken whole and larger ones make up for it, so that a scarce one does not leave a handful of queries.

    Args:
        groups: Group of each query.

    Returns:
        Ascending; as many as the scarcer half allows, or as the other one where one half has no query.
    """
    kinds = np.array(groups, dtype=np.str_)
    known, absent = ([own for group in half if len(own := np.flatnonzero(kinds == group))] for half in HALVES)
    sizes = [min(map(len, known), default=0) * len(known), sum(map(len, absent))]
    size = min((one for one in sizes if one), default=0)
    size -= size % max(len(known), 1)
    chosen = [np.zeros(0, np.int64), *(own[: size // len(known)] for own in known)]
    for number, own in enumerate(sorted(absent, key=len)):
        part = size // (len(absent) - number)
        chosen.append(own[:part])
        size -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def order_of(judged: Judged, rank: int) -> Floats:
    """Return by what a method orders its guesses at a rank, larger is surer, shape (n,); -inf where it says nothing.

    That is its confidence in the guess; where a method states none, the identity with the nearest sequence, and where
    it has none either, how little new the query looks.
    """
    named = judged.named[:, rank]
    for values in (judged.stated[:, rank], judged.identity, -judged.novelty[:, rank]):
        if not np.isnan(values[named]).all():
            return np.where(np.isnan(values), -np.inf, values)
    return np.full(len(named), -np.inf)


def recall_at_precision(order: Floats, right: Floats, weights: Floats, known: float, precision: float) -> float:
    """Return the largest recall at which the names given are right often enough.

    The guesses from some value of ``order`` on are given; guesses of the same value are given together.

    Args:
        order: Of the guesses, larger is surer, shape (n,).
        right: How right each is, 0 to 1, shape (n,); 0 where the true taxon is not in training.
        weights: How much each counts, shape (n,).
        known: Weight of all queries whose true taxon is in training, with and without a guess; above 0.
        precision: Weighted share of the names given that must be right.

    Returns:
        Weight of the right names given, by ``known``; 0 where the precision is reached nowhere.
    """
    if not len(order):
        return 0.0
    place = np.argsort(-order, kind="stable")
    last = np.append(order[place][1:] != order[place][:-1], True)
    hits, given = np.cumsum((weights * right)[place])[last], np.cumsum(weights[place])[last]
    enough = hits >= precision * given - _ROUNDING
    return float(hits[enough].max() / known) if enough.any() else 0.0


def measure_rank(judged: Judged, rank: int) -> dict[str, Any]:
    """Measure the guesses at a rank on the mixture, over queries whose true name is known.

    Args:
        judged: Predictions of all groups, ``COPY`` among them.
        rank: Number of the rank.

    Returns:
        ``known`` and ``absent``, numbers of queries whose true taxon is in training and is not; ``recall``, the share
        of known ones that are given the right name; ``precision``, the share of all names given that is right;
        ``recall_at_precision``, by precision (``0.95``), see ``recall_at_precision``; ``calibration_error``, None for
        methods without confidences; ``over_classified``, the share of absent ones that are given a name. All shares are
        weighted (``weigh``); None where there is nothing to count.
    """
    counted = judged.known[:, rank]
    weights = weigh(judged.groups, counted)
    present, given = judged.present[:, rank], judged.given[:, rank]
    # A name of what is absent is wrong, as calibration has it.
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
        For each group: ``queries`` and ``claimed``, the share for which any absence is claimed; for the held-out taxa
        also ``right``, the share for which it is claimed of the rank that was held out, ``too_broad``, of a rank above
        (which is wrong), and ``too_narrow``, of a rank below. For copies and held-out records every claim is wrong.
        ``wrong``: of all claims in the mixture, the weighted share whose taxon is in training; claims of a rank at
        which the query has no true name count only where a deeper name of it is in training. ``known``: the weighted
        share that is about known species, which ``novel_q`` bounds. ``claims``: their number.
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
    weights = weigh(judged.groups, np.ones(len(judged.groups), bool))
    wrong = total = 0.0
    for i in np.flatnonzero(judged.claimed >= 0).tolist():
        rank = judged.claimed[i]
        known, there = judged.known[i, rank], judged.present[i, rank]
        deeper = bool(judged.present[i, rank:].any())
        if known or deeper:
            wrong += weights[i] * (there if known else deeper)
            total += weights[i]
    claims = judged.claimed >= 0
    of_known = claims & np.isin(judged.groups, HALVES[0])
    return {
        "groups": found,
        "claims": int(claims.sum()),
        "wrong": _share(wrong, total),
        "known": _share(weights[of_known].sum(), float(weights[claims].sum())),
    }


def measure_copies(judged: Judged, unique: Bools) -> dict[str, Any]:
    """Measure the species given to exact copies of sequences of one species.

    Args:
        judged: Predictions of all groups.
        unique: Whether no other species in training has the sequence (``only_species``), for the queries of group
            ``COPY`` in their order, bool.

    Returns:
        ``queries``; ``given``, the share that is given a species, and ``right``, the share that is given the right one.
    """
    copies = judged.groups == COPY
    given, right = judged.given[copies, _SPECIES][unique], judged.right[copies, _SPECIES][unique]
    return {
        "queries": len(given),
        "given": _share(given.sum(), len(given)),
        "right": _share(right[given].sum(), len(given)),
    }


def measure_mixture(judged: Judged, unique: Bools) -> dict[str, Any]:
    """Measure all that is measured on the mixture.

    Args:
        judged: Predictions of all groups.
        unique: See ``measure_copies``.

    Returns:
        ``ranks``, by rank what ``measure_rank`` returns; ``claims``, see ``measure_claims``; ``copies``, see
        ``measure_copies``; ``haplotypes``, ``queries`` and ``accuracy`` of the best guess of the species for held-out
        records.
    """
    records = measure(judged, _SPECIES, judged.groups == GROUPS[0])
    return {
        "ranks": {rank: measure_rank(judged, RANKS.index(rank)) for rank in MEASURED},
        "claims": measure_claims(judged),
        "copies": measure_copies(judged, unique),
        "haplotypes": {"queries": records["present"], "accuracy": records["accuracy"]},
    }


def only_species(queries: Sequence[Query], training: Sequence[Labelled], taxa: Taxa) -> Bools:
    """Tell which queries are of the only species in training with that sequence, bool, shape (len(queries),).

    A training sequence has it where it contains it, so that a crop that species share is no proof of one of them.
    """
    named = [(record.sequence, key) for record in training if (key := taxa.of(record.lineage)[_SPECIES]) is not None]
    text = "\n".join(sequence for sequence, _ in named)
    ends = np.cumsum([len(sequence) + 1 for sequence, _ in named]).tolist()
    unique = np.ones(len(queries), bool)
    for i, query in enumerate(queries):
        own = taxa.of(query.lineage)[_SPECIES]
        place = text.find(query.sequence)
        while place >= 0:
            row = bisect_right(ends, place)
            if named[row][1] != own:
                unique[i] = False
                break
            # On to the next record.
            place = text.find(query.sequence, ends[row])
    return unique


def _share(part: float, whole: float) -> float | None:
    return float(part) / whole if whole > 0 else None
