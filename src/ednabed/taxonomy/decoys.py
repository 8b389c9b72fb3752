"""How near unrelated sequences come to the reference: its own sequences, scrambled.

Their three-base words are put in random order, so they have the base composition of real sequences but no relatives.
(Reversed sequences would not do, because references contain some by mistake.) They are looked up as queries are: on the
other strand too, and at several lengths, because short sequences come nearer by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from ednabed.base.arrays import FloatArray, Floats, Ints
from ednabed.base.bases import Codes, decode, reverse_complement_codes
from ednabed.engine.embed import Engine
from ednabed.taxonomy.calibration import DIGITS
from ednabed.taxonomy.candidates import Finder
from ednabed.taxonomy.draws import random_piece

LENGTHS = (25, 50, 100, 150, 313, 0)
"""Bases of the scrambled sequences; 0 uses complete sequences."""
LONG = (1_000, 3_000)
"""Bases of several sequences joined, for vectors alone: vectors of long sequences are nearer to all others, while their
bases are no nearer than those of complete sequences."""
_PER_LONG = 4
"""Other decoys per joined one."""
MAX_DECOYS = 100
"""Maximum number of decoys of each length."""
MIN_DECOYS = 20
"""Minimum number of decoys of one length for a limit."""
_WORD = 3
ALPHA = 0.05
"""Share of the decoys that may appear related."""

Limits = list[tuple[int, float]]
"""See ``Group.decoys``."""


def decoy_limits(
    finder: Finder, engine: Engine, among: Ints, count: int, candidates: int, seed: int
) -> dict[bool, Limits]:
    """Return the distance below which at most one in twenty scrambled sequences falls, with and without bases.

    Args:
        finder: Looks them up.
        engine: Embeds them.
        among: Rows from which they are built.
        count: Number of sequences of each length, from ``MIN_DECOYS`` to ``MAX_DECOYS``.
        candidates: Candidates per exponent.
        seed: Seed of the choice.

    Returns:
        Limits with bases compared (True) and by vectors alone (False), in order of length.
    """
    rng = np.random.default_rng([seed, 1])
    count = min(max(count, MIN_DECOYS), MAX_DECOYS)
    found: dict[bool, dict[int, float]] = {True: {}, False: {}}
    for length in (*LENGTHS, *LONG):
        joined = length in LONG
        if joined:
            scrambled = _joined(finder, among, length, max(count // _PER_LONG, MIN_DECOYS), rng)
        else:
            scrambled = _pieces(finder, among, length, count, rng)
        vectors, refused = engine.embed([decode(codes) for codes in scrambled])
        usable = np.array([i for i in range(len(scrambled)) if i not in refused], np.int64)
        if len(usable) < MIN_DECOYS:
            continue
        scrambled, vectors = [scrambled[i] for i in usable.tolist()], vectors[usable]
        turned = [reverse_complement_codes(codes) for codes in scrambled]
        turned_vectors, _ = engine.embed([decode(codes) for codes in turned])
        n_bases = int(np.median([len(codes) for codes in scrambled]))
        for align in (False,) if joined else (True, False):
            look = partial(_nearest_distances, finder, candidates=candidates, align=align)
            nearest = look(scrambled, vectors, thorough=True)
            # As for queries, the other strand is searched thoroughly where it seems to be nearer.
            quick = look(turned, turned_vectors, thorough=False)
            nearer = np.flatnonzero(quick < nearest)
            others = [turned[i] for i in nearer.tolist()]
            nearest[nearer] = np.minimum(nearest[nearer], look(others, turned_vectors[nearer], thorough=True))
            found[align][n_bases] = round(limit_of(nearest), DIGITS)
    return {align: sorted(limits.items()) for align, limits in found.items()}


def _pieces(finder: Finder, among: Ints, length: int, count: int, rng: np.random.Generator) -> list[Codes]:
    """Return scrambled pieces of sequences; fewer than requested if too few sequences are long enough."""
    rows = rng.permutation(among[finder.bases.lengths[among] >= max(length, 1)])[:count]
    return [_scrambled(random_piece(finder.bases.codes(row), length, rng), rng) for row in rows.tolist()]


def _joined(finder: Finder, among: Ints, length: int, count: int, rng: np.random.Generator) -> list[Codes]:
    """Return sequences of the given number of bases, each several sequences joined and scrambled together."""
    rows = among[finder.bases.lengths[among] > 0]
    sequences: list[Codes] = []
    while len(sequences) < count and len(rows) >= MIN_DECOYS:
        parts: list[Codes] = []
        while sum(map(len, parts)) < length:
            parts.append(finder.bases.codes(int(rng.choice(rows))))
        sequences.append(_scrambled(np.concatenate(parts)[:length], rng))
    return sequences


def _scrambled(codes: Codes, rng: np.random.Generator) -> Codes:
    words = rng.permutation(len(codes) // _WORD)[:, None] * _WORD + np.arange(_WORD)
    return np.concatenate([codes[words.reshape(-1)], codes[words.size :]])


def limit_of(distances: Floats) -> float:
    """Return the distance below which another sequence of the same kind falls with a probability of at most ``ALPHA``.

    It is the k-th smallest of n, with k = ALPHA * (n + 1) rounded down: conformal, as p-values are (``Group``).

    Args:
        distances: At least ``MIN_DECOYS`` distances.
    """
    return float(np.sort(distances)[int(ALPHA * (len(distances) + 1)) - 1])


def _nearest_distances(
    finder: Finder, codes: list[Codes], vectors: FloatArray, *, candidates: int, align: bool, thorough: bool
) -> Floats:
    """Return the distance of each sequence to the nearest one, infinite if there is none."""
    if not codes:
        return np.zeros(0)
    found = finder.find(vectors, codes, candidates, align=align, thorough=thorough)
    return np.asarray(found.distances.min(axis=1, initial=np.inf), np.float64)


def min_limits(several: Iterable[Limits]) -> Limits:
    """Return, for each length with a limit, the smallest of its limits."""
    found: dict[int, float] = {}
    for limits in several:
        for n_bases, limit in limits:
            found[n_bases] = min(limit, found.get(n_bases, limit))
    return sorted(found.items())
