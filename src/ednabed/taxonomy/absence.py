"""Control of claims of absence under multiple testing: false discovery rates over the distinct queries of a study."""

from __future__ import annotations

import numpy as np

from ednabed.base.arrays import Bools, Floats
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.labels import SPECIES


def q_values(p_values: Floats, claimable: Bools, known: Floats) -> Floats:
    """Return false discovery rates for p-values of absence.

    A query makes at most one claim, at its deepest rank that has a p-value, or at a rank above. Of the claims whose
    p-value is at most t, m * known * t are expected to come from queries whose species is in the reference after all;
    the rate is that number divided by the number of claims, for the best t that is not less than the p-value (Benjamini
    and Hochberg 1995, with the share of true hypotheses as in Storey 2002). It is the rate of claims in which nothing
    is absent. It does not cover claims in which only the rank is wrong, such as a new genus claimed for a new species;
    the p-value of the rank and the probability that its taxon is absent do.

    Args:
        p_values: p-values of distinct queries at each rank, NaN where unknown, shape (m, 7).
        claimable: Whether a query otherwise qualifies for a claim, shape (m,).
        known: Share of queries whose species is in the reference, as it applies to each query, shape (m,).

    Returns:
        q-values, shape (m, 7), 0 to 1, never less than the p-value, NaN where there is no p-value.
    """
    found = np.full(p_values.shape, np.nan)
    if not len(p_values):
        return found
    first = np.full(len(p_values), np.nan)
    for rank in range(len(RANKS)):
        first = np.where(np.isnan(p_values[:, rank]), first, p_values[:, rank])
    claims = np.sort(first[claimable & ~np.isnan(first)])
    expected = float(known.sum())
    if not len(claims):
        return np.where(np.isnan(p_values), np.nan, 1.0)
    rates = np.minimum.accumulate((expected * claims / np.arange(1, len(claims) + 1))[::-1])[::-1]
    rates = np.append(rates, np.inf)
    for rank in range(SPECIES + 1):
        tested = ~np.isnan(p_values[:, rank])
        p = p_values[tested, rank]
        n_claims = np.searchsorted(claims, p, side="right")
        at_p = np.where(n_claims > 0, expected * p / np.maximum(n_claims, 1), np.inf)
        later = rates[np.searchsorted(claims, p, side="left")]
        found[tested, rank] = np.clip(np.minimum(at_p, later), p, 1.0)
    return found
