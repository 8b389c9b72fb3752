"""Names by the consensus of the best hits, as most labs assign them: no model, fixed identity limits by rank.

The hits whose identity is within a margin of the best vote; at each rank, from kingdom down, the name is taken that
more than half of those with a name have, with one vote for each distinct sequence (as ``classify-consensus-vsearch`` of
QIIME 2 does, Bokulich et al. 2018). The identity limits by rank are ``assign.IDENTITIES``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.evidence import FEATURES, Candidates, Evidence
from ednabed.taxonomy.labels import RowLabels

MAJORITY = 0.5
"""A name needs more than this share of the votes."""
_AGREEMENT = FEATURES.index("agreement")


def consensus(evidence: Evidence, candidates: Candidates, labels: RowLabels, margin: float) -> Evidence:
    """Return the evidence with the names of the consensus, and without ties, because the vote settles them.

    Args:
        evidence: Evidence of q queries.
        candidates: Candidates of these queries, with bases compared.
        labels: Lineages of the collection.
        margin: How far the identity of a hit may be below the best, in percentage points.
    """
    q = len(candidates.rows)
    if not candidates.rows.size:
        return evidence
    lineages = np.full((q, len(RANKS)), -1, np.int64)
    features = evidence.features.copy()
    features[:, :, _AGREEMENT] = 0
    compared = np.maximum(candidates.bases, 1)
    identity = 100 * (1 - (candidates.mismatches + candidates.lacking) / compared)
    identity[(candidates.rows < 0) | (candidates.bases == 0)] = -np.inf
    best = identity.max(axis=1)
    for i in np.flatnonzero(evidence.nearest >= 0).tolist():
        hits = candidates.rows[i, identity[i] >= best[i] - margin]
        entries, position = labels.entries_of(hits)
        hit_lineages = labels.entries[entries]
        records = labels.records[entries].astype(np.float64)
        votes = records / np.bincount(position, records, minlength=len(hits))[position]
        agreeing = np.ones(len(hit_lineages), bool)
        for rank in range(len(RANKS)):
            taxa = labels.taxa[hit_lineages, rank]
            named = agreeing & (taxa >= 0)
            if not named.any():
                continue
            chosen, number = np.unique(taxa[named], return_inverse=True)
            sums = np.bincount(number, votes[named])
            winner = int(sums.argmax())
            share = float(sums[winner] / sums.sum())
            if share <= MAJORITY:
                break
            winning = named & (taxa == chosen[winner])
            lineages[i, rank] = hit_lineages[winning][0]
            features[i, rank, _AGREEMENT] = share
            agreeing &= winning | (taxa < 0)
    return replace(evidence, lineages=lineages, features=features, tied=[()] * q)
