"""What calibration predicts for queries, before it is known how common known species are among them."""

from __future__ import annotations

from dataclasses import dataclass

from ednabed.base.arrays import Floats, Ints


@dataclass(frozen=True)
class Outlook:
    """Predictions of a calibration for some queries.

    Attributes:
        situations: Probability of each of ``situations.SITUATIONS`` under the shares of the draws, float64, shape
            (q, 6); None from calibrations of schema 1, which do not have it.
        right: Probability that the name at each rank is right if its taxon is in the reference, float64, shape (q, 7);
            NaN where nothing was learned. From calibrations of schema 1, the probability that it is right.
        p_values: From calibrations of schema 1, the p-values at each rank, shape (q, 7); otherwise None.
        classes: Length class of each query, int64, shape (q,).
    """

    situations: Floats | None
    right: Floats
    p_values: Floats | None
    classes: Ints
