"""How well predicted probabilities match what is observed."""

from __future__ import annotations

import numpy as np

from ednabed.base.arrays import Floats

_BINS = 10


def calibration_error(confidence: Floats, right: Floats, weights: Floats | None = None) -> float | None:
    """Return the expected calibration error: the mean of |confidence - share right| over ten bins of equal width.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3. Every guess counts; a guess for a query whose
    taxon is not in the reference is wrong.

    Args:
        confidence: 0 to 1, NaN for queries without a guess, which are omitted; shape (n,). An edge of two bins belongs
            to the bin above it, 1 to the last.
        right: 0 to 1, shape (n,).
        weights: How much each query counts, shape (n,); None: all count the same.

    Returns:
        0 to 1; None if there is no guess.
    """
    guessed = ~np.isnan(confidence)
    weights = np.ones(len(confidence)) if weights is None else weights
    confidence, right, weights = confidence[guessed], right[guessed], weights[guessed]
    if not weights.sum() > 0:
        return None
    bin_index = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(bin_index, weights * (confidence - right), _BINS)
    return float(np.abs(gap).sum() / weights.sum())
