"""The training objective: bring the views of a record together, then those of its species, genus and family.

For each of four questions a view has positives and negatives in its batch, and the loss is
``-log(P / (P + N))`` with P and N the sums of exp(cosine / temperature) over them. In P the nearest positive counts
most, as in a nearest-neighbour search; a family need not be one cluster (soft nearest neighbours: Frosst,
Papernot and Hinton 2019, arXiv:1902.01889; supervised contrast: Khosla et al. 2020, arXiv:2004.11362).

======== ============================================== ==============================
question positives                                      negatives
======== ============================================== ==============================
record   the other view of the record                   other species
species  other records of the species                   other species
genus    other species of the genus                     other genera
family   other genera of the family                     other families
======== ============================================== ==============================

A view without a name at a rank is neither a positive nor a negative at that rank. Members of the same lower taxon are
never positives at a higher rank, so each question teaches something that the one before does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ednabed.base.arrays import Ints


def losses(
    vectors: torch.Tensor, records: Ints, taxa: Mapping[str, Ints], temperature: float
) -> dict[str, torch.Tensor]:
    """Return the loss of each question, a scalar each; 0 if no view of the batch has both positives and negatives.

    Args:
        vectors: Unit vectors, shape (n, d).
        records: Record of each view, shape (n,).
        taxa: By rank (``records.TAUGHT_RANKS``), the taxon of each view, -1 if unknown, shape (n,).
        temperature: At least 0.03, so that nothing underflows; the smaller it is, the more the nearest views count.
    """
    device = vectors.device
    # Subtracting 1 from the cosines is a common factor, which cancels out and keeps the weights at 1 or below.
    weights = torch.exp((vectors @ vectors.T - 1) / temperature)
    record = torch.from_numpy(records).to(device)
    same_record = record[:, None] == record
    other_view = same_record & ~torch.eye(len(record), dtype=torch.bool, device=device)
    same, known = {}, {}
    for rank, numbers in taxa.items():
        taxon = torch.from_numpy(np.ascontiguousarray(numbers)).to(device)
        known[rank] = (taxon[:, None] >= 0) & (taxon >= 0)
        same[rank] = (taxon[:, None] == taxon) & known[rank]
    species, genus, family = (same[rank] for rank in ("species", "genus", "family"))
    return {
        "record": _mean_loss(weights, other_view, ~same_record & ~species),
        "species": _mean_loss(weights, species & ~same_record, known["species"] & ~species),
        "genus": _mean_loss(weights, genus & ~species & ~same_record, known["genus"] & ~genus),
        "family": _mean_loss(weights, family & ~genus, known["family"] & ~family),
    }


def _mean_loss(weights: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Return the mean of log((P + N) / P) over the views that have both positives and negatives."""
    counted = positives.any(dim=1) & negatives.any(dim=1)
    positive_sum, negative_sum = ((weights * mask).sum(dim=1) for mask in (positives, negatives))
    # Views that are not counted get a ratio of 0 and so contribute no gradient.
    ratio = torch.where(counted, negative_sum, 0) / torch.where(counted, positive_sum, 1)
    return torch.log1p(ratio).sum() / counted.sum().clamp(min=1)
