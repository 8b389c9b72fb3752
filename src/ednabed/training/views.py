"""Alter sequences as sampling, sequencing and evolution alter them, so that an encoder learns to be robust to that.

A view is a fragment of a sequence (such as an amplicon), with bases substituted, inserted and deleted, occasionally a
run of N, and on either strand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ednabed.base.bases import Codes, reverse_complement_codes

_N = 4


@dataclass(frozen=True)
class Alterations:
    """How much views are altered; if all shares are 0, a view is the sequence itself.

    Attributes:
        crops: Share of views that are a fragment of their sequence.
        shortest: Length of the shortest fragment, in bases.
        longest: Length of the longest fragment, in bases; the logarithm of the length is uniform between the two.
        altered: Share of views with substitutions and indels.
        substitutions: Mean substitution rate of these views; the rate is exponentially distributed, 0.15 at most.
        indels: Number of insertions and deletions per substitution.
        runs_of_n: Share of views with a run of 5 to 30 N.
        strands: Share of views that are reverse-complemented.
    """

    crops: float = 0.75
    shortest: int = 100
    longest: int = 700
    altered: float = 0.5
    substitutions: float = 0.004
    indels: float = 0.1
    runs_of_n: float = 0.05
    strands: float = 0.5


MAX_SUBSTITUTION_RATE = 0.15


def view(codes: Codes, alterations: Alterations, rng: np.random.Generator, *, whole: bool = False) -> Codes:
    """Return an altered copy of a sequence (base codes as from ``bases.encode``); ``whole`` means uncropped."""
    a = alterations
    crop, alter, run, strand = rng.random(4)
    if not whole and crop < a.crops and len(codes) > a.shortest:
        longest = min(len(codes), a.longest)
        length = int(math.exp(rng.uniform(math.log(a.shortest), math.log(longest + 1))))
        start = int(rng.integers(0, len(codes) - length + 1))
        codes = codes[start : start + length]
    if alter < a.altered and a.substitutions > 0:
        rate = min(a.substitutions * rng.exponential(), MAX_SUBSTITUTION_RATE)
        codes = codes.copy()
        positions = rng.integers(0, len(codes), rng.binomial(len(codes), rate))
        bases = codes[positions]
        codes[positions] = np.where(bases < _N, (bases + rng.integers(1, 4, len(positions))) % 4, bases)
        lost, gained = rng.binomial(len(codes), [rate * a.indels / 2] * 2)
        if lost:
            codes = np.delete(codes, rng.integers(0, len(codes), lost))
        if gained:
            codes = np.insert(codes, rng.integers(0, len(codes), gained), rng.integers(0, 4, gained).astype(np.uint8))
    if run < a.runs_of_n and len(codes) > a.shortest:
        codes = codes.copy()
        start = int(rng.integers(0, len(codes)))
        codes[start : start + int(rng.integers(5, 31))] = _N
    if strand < a.strands:
        codes = reverse_complement_codes(codes)
    return codes
