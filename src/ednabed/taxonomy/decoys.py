"""How near sequences come that have nothing to do with the reference: real ones, scrambled.

Their words of three letters are put in random order, so they have the letters of real ones and are related to none.
(Written backwards they would not do: references hold such records by mistake.) They are looked up as queries are: on
the other strand too, and at several lengths, because short sequences come nearer by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import numpy.typing as npt

from ednabed.engine.embed import Engine
from ednabed.models.base import FloatArray
from ednabed.search.divergence import Codes, decode, turn
from ednabed.taxonomy.calibration import DIGITS
from ednabed.taxonomy.candidates import Finder
from ednabed.taxonomy.draws import piece

LENGTHS = (25, 50, 100, 150, 313, 0)
"""Letters of scrambled sequences; 0 takes whole ones."""
LONG = (1_000, 3_000)
"""Letters of several of them joined, for vectors alone: those of long sequences are nearer to all others, while their
letters are no nearer than those of whole ones."""
_LONG_SHARE = 4
"""One in so many of the others is made."""
MOST = 100
"""Of each length."""
FEWEST = 20
"""Of one length, without which nothing can be said of it."""
_WORD = 3
ALPHA = 0.05
"""Share of them that may seem to be related."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Limits = list[tuple[int, float]]
"""See ``Group.decoys``."""


def decoy_limits(
    finder: Finder, engine: Engine, among: Ints, count: int, candidates: int, seed: int
) -> dict[bool, Limits]:
    """Return, by letters, the distance that at most one in twenty scrambled sequences stays below.

    Args:
        finder: Where they are looked up.
        engine: Embeds them.
        among: Rows of which they are made.
        count: Sequences of each length, from ``FEWEST`` to ``MOST``.
        candidates: Candidates by each exponent.
        seed: Seed of the choice.

    Returns:
        With letters compared (True) and by vectors alone (False), in order of length.
    """
    rng = np.random.default_rng([seed, 1])
    count = min(max(count, FEWEST), MOST)
    found: dict[bool, dict[int, float]] = {True: {}, False: {}}
    for length in (*LENGTHS, *LONG):
        joined = length in LONG
        if joined:
            scrambled = _joined(finder, among, length, max(count // _LONG_SHARE, FEWEST), rng)
        else:
            scrambled = _pieces(finder, among, length, count, rng)
        vectors, refused = engine.embed([decode(codes) for codes in scrambled])
        usable = np.array([i for i in range(len(scrambled)) if i not in refused], np.int64)
        if len(usable) < FEWEST:
            continue
        scrambled, vectors = [scrambled[i] for i in usable.tolist()], vectors[usable]
        turned = [turn(codes) for codes in scrambled]
        turned_vectors, _ = engine.embed([decode(codes) for codes in turned])
        letters = int(np.median([len(codes) for codes in scrambled]))
        for align in (False,) if joined else (True, False):
            look = partial(_least, finder, candidates=candidates, align=align)
            least = look(scrambled, vectors, thorough=True)
            # As queries are: the other strand is looked at closely where it seems to be nearer.
            quick = look(turned, turned_vectors, thorough=False)
            nearer = np.flatnonzero(quick < least)
            others = [turned[i] for i in nearer.tolist()]
            least[nearer] = np.minimum(least[nearer], look(others, turned_vectors[nearer], thorough=True))
            found[align][letters] = round(limit_of(least), DIGITS)
    return {align: sorted(limits.items()) for align, limits in found.items()}


def _pieces(finder: Finder, among: Ints, length: int, count: int, rng: np.random.Generator) -> list[Codes]:
    """Return scrambled pieces of sequences; fewer than asked for where few are long enough."""
    rows = rng.permutation(among[finder.letters.lengths[among] >= max(length, 1)])[:count]
    return [_scrambled(piece(finder.letters.codes(row), length, rng), rng) for row in rows.tolist()]


def _joined(finder: Finder, among: Ints, length: int, count: int, rng: np.random.Generator) -> list[Codes]:
    """Return sequences of so many letters, made of several that are scrambled together."""
    rows = among[finder.letters.lengths[among] > 0]
    made: list[Codes] = []
    while len(made) < count and len(rows) >= FEWEST:
        parts: list[Codes] = []
        while sum(map(len, parts)) < length:
            parts.append(finder.letters.codes(int(rng.choice(rows))))
        made.append(_scrambled(np.concatenate(parts)[:length], rng))
    return made


def _scrambled(codes: Codes, rng: np.random.Generator) -> Codes:
    words = rng.permutation(len(codes) // _WORD)[:, None] * _WORD + np.arange(_WORD)
    return np.concatenate([codes[words.reshape(-1)], codes[words.size :]])


def limit_of(distances: Floats) -> float:
    """Return the distance that another one of the same kind stays below with a probability of ``ALPHA`` at most.

    The k-th least of n is such, with k = ALPHA * (n + 1) rounded down: conformal, as p-values are (``Group``).

    Args:
        distances: At least ``FEWEST``.
    """
    return float(np.sort(distances)[int(ALPHA * (len(distances) + 1)) - 1])


def _least(
    finder: Finder, codes: list[Codes], vectors: FloatArray, *, candidates: int, align: bool, thorough: bool
) -> Floats:
    """Return the distance of each sequence to the nearest, infinite where there is none."""
    if not codes:
        return np.zeros(0)
    found = finder.find(vectors, codes, candidates, align=align, thorough=thorough)
    return np.asarray(found.distances.min(axis=1, initial=np.inf), np.float64)


def least_limits(several: Iterable[Limits]) -> Limits:
    """Return the least limit of several for each length that any of them has."""
    found: dict[int, float] = {}
    for own in several:
        for letters, limit in own:
            found[letters] = min(limit, found.get(letters, limit))
    return sorted(found.items())
