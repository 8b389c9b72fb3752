"""Distance limits: which distances unrelated sequences exceed, at every length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ednabed.base.bases import encode
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.taxonomy import decoys as module
from ednabed.taxonomy.candidates import Finder
from ednabed.taxonomy.decoys import LENGTHS, LONG, MAX_DECOYS, MIN_DECOYS, decoy_limits, limit_of, min_limits
from ednabed.taxonomy.labels import read_row_labels
from taxonomy_support import Barcode, randomly, reference_of, world


@pytest.fixture(scope="module")
def engine():
    return Engine(open_embedder("kmer6"))


def finder_of(folder, barcodes):
    reference = reference_of(folder, barcodes)
    return Finder(reference, read_row_labels(reference), (0.0, 0.25))


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    return finder_of(tmp_path_factory.mktemp("decoys"), world(20, length=400))


@pytest.fixture(scope="module")
def limits(finder, engine):
    return decoy_limits(finder, engine, np.arange(240), MAX_DECOYS, 50, 0)


def test_the_limit_by_its_definition():
    """The share of another such sequence below the k-th of n is k / (n + 1): the largest that is at most 5 %."""
    rng = np.random.default_rng(1)
    for n in range(MIN_DECOYS, 200):
        distances = rng.permutation(n) / 1_000
        below = round(limit_of(distances) * 1_000) + 1
        assert below / (n + 1) <= 0.05 < (below + 1) / (n + 1)


def test_one_in_twenty_is_below_on_average():
    rng = np.random.default_rng(2)
    for n in (20, 50, 100):
        shares = [(rng.random(200) < limit_of(rng.random(n))).mean() for _ in range(400)]
        assert np.mean(shares) == pytest.approx(int(0.05 * (n + 1)) / (n + 1), abs=0.008)


def test_a_limit_for_every_length(limits):
    whole = [400 if length == 0 else length for length in LENGTHS]
    assert [letters for letters, _ in limits[True]] == sorted(whole)
    assert [letters for letters, _ in limits[False]] == sorted([*whole, *LONG])
    # Short sequences come nearer by chance; by vectors long ones too.
    aligned = [limit for _, limit in limits[True]]
    assert all(one < other + 0.005 for one, other in itertools.pairwise(aligned))
    assert aligned[0] < aligned[-1] - 0.05
    assert all(0.25 < limit < 0.42 for _, limit in limits[True])
    by_vectors = dict(limits[False])
    assert by_vectors[3_000] < by_vectors[1_000] < by_vectors[400]
    assert by_vectors[25] < by_vectors[400]


@pytest.mark.parametrize("align", [True, False])
def test_random_sequences_stay_above(finder, engine, limits, align):
    """Of random sequences, which are unrelated too, at most one in twenty is nearer, within chance."""
    for letters, limit in limits[align]:
        texts = [randomly(letters, 5_000 + i) for i in range(60)]
        vectors, _ = engine.embed([text.encode() for text in texts])
        found = finder.find(vectors, [encode(text.encode()) for text in texts], 50, align=align)
        below = (found.distances[:, 0] < limit).sum()
        # From 100 or 25 decoys, the limit itself varies by chance.
        assert below <= 60 * 0.05 + 3 * (60 * 0.05 * 0.95) ** 0.5 + (2 if letters in LONG else 0)


def test_a_seed_gives_the_same_and_the_number_is_bounded(finder, engine, monkeypatch):
    asked = []
    embed = engine.embed
    monkeypatch.setattr(engine, "embed", lambda texts: asked.append(list(texts)) or embed(texts))
    first = decoy_limits(finder, engine, np.arange(240), 3, 50, 1)
    assert {len(texts) for texts in asked} == {MIN_DECOYS}
    assert {len(text) for texts in asked for text in texts} == {400, *LENGTHS, *LONG} - {0}
    assert decoy_limits(finder, engine, np.arange(240), 3, 50, 1) == first
    assert decoy_limits(finder, engine, np.arange(240), 3, 50, 2) != first
    asked.clear()
    monkeypatch.setattr(module, "MAX_DECOYS", 24)
    decoy_limits(finder, engine, np.arange(240), 10**6, 50, 1)
    assert {len(texts) for texts in asked} == {24, MIN_DECOYS}


def test_they_have_the_bases_of_real_sequences_in_another_order(finder, engine, monkeypatch):
    asked = []
    embed = engine.embed
    monkeypatch.setattr(engine, "embed", lambda texts: asked.append(list(texts)) or embed(texts))
    monkeypatch.setattr(module, "LENGTHS", (0,))
    monkeypatch.setattr(module, "LONG", ())
    decoy_limits(finder, engine, np.arange(240), MIN_DECOYS, 50, 1)
    forward, turned = asked
    real = {finder.bases.text(row) for row in range(240)}
    letters = {bytes(sorted(text)) for text in real}
    words = {tuple(sorted(text[i : i + 3] for i in range(0, 399, 3))) for text in real}
    for text, other in zip(forward, turned, strict=True):
        assert text not in real and bytes(sorted(text)) in letters
        assert tuple(sorted(text[i : i + 3] for i in range(0, 399, 3))) in words
        assert other == text[::-1].translate(bytes.maketrans(b"ACGT", b"TGCA"))


def test_reversed_records_in_the_reference_do_not_lower_a_limit(tmp_path, engine, limits):
    """References contain such records by mistake."""
    some = world(20, length=400)
    backwards = [Barcode(f"b{b.id}", b.sequence[::-1], b.lineage) for b in some[::4]]
    finder = finder_of(tmp_path, [*some, *backwards])
    found = decoy_limits(finder, engine, np.arange(300), MAX_DECOYS, 50, 0)
    for (letters, limit), (_, other) in zip(found[True], limits[True], strict=True):
        assert limit == pytest.approx(other, abs=0.03 if letters > 25 else 0.08)


def test_only_from_the_given_rows_and_only_with_enough_of_them(tmp_path, finder, engine, monkeypatch):
    assert decoy_limits(finder, engine, np.arange(MIN_DECOYS - 1), MAX_DECOYS, 50, 0) == {True: [], False: []}
    assert decoy_limits(finder, engine, np.zeros(0, np.int64), MAX_DECOYS, 50, 0) == {True: [], False: []}
    # Sequences of 120 bases give no pieces of 150; those of N alone give nothing at all.
    lineage = world(1)[0].lineage
    texts = [randomly(120, i) for i in range(22)] + ["ACGTACGTACGTACGTACGTACGT" + "N" * (500 + i) for i in range(40)]
    short = finder_of(tmp_path, [Barcode(f"r{i}", text, lineage) for i, text in enumerate(texts)])
    among = np.flatnonzero(short.bases.lengths == 120)
    assert len(among) == 22
    assert [letters for letters, _ in decoy_limits(short, engine, among, MAX_DECOYS, 50, 0)[True]] == [25, 50, 100, 120]
    unknown = np.flatnonzero(short.bases.lengths > 120)
    found = decoy_limits(short, engine, unknown, MAX_DECOYS, 50, 0)
    assert all(np.isfinite(limit) for limits in found.values() for _, limit in limits)


def test_the_minimum_of_several():
    several = [[(25, 0.3), (100, 0.4)], [], [(25, 0.31), (150, 0.2)], [(100, 0.39)]]
    for order in itertools.permutations(several):
        assert min_limits(order) == [(25, 0.3), (100, 0.39), (150, 0.2)]
    assert min_limits([]) == []
