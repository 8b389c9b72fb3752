"""What is asked of vectors: views of a record together, then its species, its genus, its family.

For each of four questions a view has positives and negatives in its batch, and the loss is
``-log(P / (P + N))`` with P and N the sums of exp(cosine / temperature) over them. In P the nearest positive counts
most, as in the search for a nearest neighbour; a family need not be one cluster (soft nearest neighbours: Frosst,
Papernot and Hinton 2019, arXiv:1902.01889; supervised contrast: Khosla et al. 2020, arXiv:2004.11362).

======== ============================================== ==============================
question positives                                      negatives
======== ============================================== ==============================
record   the other view of the record                   other species
species  other records of the species                   other species
genus    other species of the genus                     other genera
family   other genera of the family                     other families
======== ============================================== ==============================

What has no name at a rank is neither at that rank. A lower taxon is never a positive of a higher one, so that each
question teaches what the one before does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ednabed.training.records import Ints


def losses(
    vectors: torch.Tensor, records: Ints, taxa: Mapping[str, Ints], temperature: float
) -> dict[str, torch.Tensor]:
    """Return the loss of each question, a scalar each; 0 where no view of the batch has positives and negatives.

    Args:
        vectors: Unit vectors, shape (n, d).
        records: Record of each view, shape (n,).
        taxa: By rank (``records.TAUGHT``), the taxon of each view, -1 where unknown, shape (n,).
        temperature: At least 0.03, so that nothing underflows; the smaller, the more the nearest count.
    """
    device = vectors.device
    # A common factor cancels out, and brings the largest to 1.
    weights = torch.exp((vectors @ vectors.T - 1) / temperature)
    record = torch.from_numpy(records).to(device)
    same_record = record[:, None] == record
    other_view = same_record & ~torch.eye(len(record), dtype=torch.bool, device=device)
    same, known = {}, {}
    for rank, numbers in taxa.items():
        own = torch.from_numpy(np.ascontiguousarray(numbers)).to(device)
        known[rank] = (own[:, None] >= 0) & (own >= 0)
        same[rank] = (own[:, None] == own) & known[rank]
    species, genus, family = (same[rank] for rank in ("species", "genus", "family"))
    return {
        "record": _nearest(weights, other_view, ~same_record & ~species),
        "species": _nearest(weights, species & ~same_record, known["species"] & ~species),
        "genus": _nearest(weights, genus & ~species & ~same_record, known["genus"] & ~genus),
        "family": _nearest(weights, family & ~genus, known["family"] & ~family),
    }


def _nearest(weights: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Return the mean of log((P + N) / P) over the views that have both."""
    asked = positives.any(dim=1) & negatives.any(dim=1)
    near, far = ((weights * mask).sum(dim=1) for mask in (positives, negatives))
    # Views that are not asked get a ratio of 0, so no gradient comes from them.
    ratio = torch.where(asked, far, 0) / torch.where(asked, near, 1)
    return torch.log1p(ratio).sum() / asked.sum().clamp(min=1)
