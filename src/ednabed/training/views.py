"""Sequences altered as sampling, sequencing and evolution alter them, so that an encoder learns not to mind.

A view is a piece of a sequence (an amplicon of it), with letters changed, inserted and lost, a run of N now and then,
and either strand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ednabed.search.divergence import Codes, turn

_N = 4


@dataclass(frozen=True)
class Alterations:
    """How much is altered; everything 0 gives the sequence itself.

    Attributes:
        crops: Share of views that are a piece of their sequence.
        shortest: Letters of the shortest piece.
        longest: Letters of the longest piece; the logarithm of the length is uniform between the two.
        altered: Share of views with substitutions and indels.
        substitutions: Mean rate of substitutions of these; the rate is exponential, 0.15 at most.
        indels: Insertions and deletions for each substitution.
        runs_of_n: Share of views with a run of 5 to 30 N.
        strands: Share of views that are turned to the other strand.
    """

    crops: float = 0.75
    shortest: int = 100
    longest: int = 700
    altered: float = 0.5
    substitutions: float = 0.004
    indels: float = 0.1
    runs_of_n: float = 0.05
    strands: float = 0.5


MOST_SUBSTITUTIONS = 0.15


def view(codes: Codes, alterations: Alterations, rng: np.random.Generator, *, whole: bool = False) -> Codes:
    """Return an altered copy of a sequence (codes as of ``divergence.encode``); ``whole`` leaves its length alone."""
    a = alterations
    crop, alter, run, strand = rng.random(4)
    if not whole and crop < a.crops and len(codes) > a.shortest:
        longest = min(len(codes), a.longest)
        length = int(math.exp(rng.uniform(math.log(a.shortest), math.log(longest + 1))))
        start = int(rng.integers(0, len(codes) - length + 1))
        codes = codes[start : start + length]
    if alter < a.altered and a.substitutions > 0:
        rate = min(a.substitutions * rng.exponential(), MOST_SUBSTITUTIONS)
        codes = codes.copy()
        places = rng.integers(0, len(codes), rng.binomial(len(codes), rate))
        letters = codes[places]
        codes[places] = np.where(letters < _N, (letters + rng.integers(1, 4, len(places))) % 4, letters)
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
        codes = turn(codes)
    return codes
