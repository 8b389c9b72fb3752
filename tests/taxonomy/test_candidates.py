"""Candidates with distances: the nearest labelled sequences, whoever asks beside, by letters and by vectors."""

from __future__ import annotations

import numpy as np
import pytest

from ednabed.engine.open import open_embedder
from ednabed.search.divergence import Comparer, encode
from ednabed.taxonomy import candidates as module
from ednabed.taxonomy.candidates import Finder, read_letters
from ednabed.taxonomy.labels import read_labels
from ednabed.taxonomy.shortlist import default_exponents
from taxonomy_support import Barcode, batch_of, randomly, reference_of, substituted, world


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Twelve genera, of which every fifth record has no label."""
    barcodes = [
        Barcode(b.id, b.sequence, b.lineage if i % 5 else ("",) * 7) for i, b in enumerate(world(12, length=400))
    ]
    return reference_of(tmp_path_factory.mktemp("candidates"), barcodes)


@pytest.fixture(scope="module")
def queries():
    texts = [substituted(b.sequence, 3 + i % 40, i) for i, b in enumerate(world(12, length=400))][::3]
    texts += [text[80:230] for text in texts[:8]] + [randomly(300, 77_777)]
    return batch_of(open_embedder("kmer6"), [(str(i), text) for i, text in enumerate(texts)])


def find(reference, queries, k=20, left_out=None, some=slice(None), **more):
    finder = Finder(reference, read_labels(reference), default_exponents(reference.spec), **more)
    codes = [encode(query.sequence.encode()) for query in queries.queries[some]]
    return finder.find(queries.vectors[some], codes, k, left_out)


def lines(found):
    names = ("rows", "distances", "letters", "overlaps", "widths", "lengths")
    return list(zip(*(getattr(found, name).tolist() for name in names), strict=True))


def test_letters_are_those_of_the_collection(reference):
    letters = read_letters(reference)
    texts = reference.take_sequences(np.arange(reference.rows)).column("sequence").to_pylist()
    assert [letters.text(row).decode() for row in range(reference.rows)] == texts


def test_distances_are_those_of_the_letters(reference, queries):
    found = find(reference, queries)
    comparer = Comparer(read_letters(reference))
    labelled = read_labels(reference).labelled
    for i, query in enumerate(queries.queries):
        there = found.rows[i] >= 0
        rows = found.rows[i, there]
        assert len(set(rows.tolist())) == len(rows), "a row stands once"
        assert labelled[rows].all()
        assert (np.diff(found.distances[i, there]) >= 0).all(), "the nearest first"
        assert np.isinf(found.distances[i, ~there]).all()
        exact = comparer.compare(encode(query.sequence.encode()), rows)
        assert found.distances[i, there].tolist() == pytest.approx(exact.distance.tolist(), rel=0.05)
        assert found.widths[i] == pytest.approx(0.5 / (len(query.sequence) + 2))


def test_the_nearest_is_that_of_all_labelled_sequences(reference, queries):
    found = find(reference, queries, k=50)
    comparer = Comparer(read_letters(reference))
    rows = np.flatnonzero(read_labels(reference).labelled)
    for i, query in enumerate(queries.queries[:-1]):
        least = comparer.compare(encode(query.sequence.encode()), rows).distance.min()
        assert found.distances[i, 0] == pytest.approx(least, rel=0.05)


def test_what_is_left_out_is_no_candidate(reference, queries):
    labels = read_labels(reference)
    main = labels.main
    genus = np.where(main >= 0, labels.taxa[main, 5], -1)
    own = genus[find(reference, queries).rows[:, 0]]
    found = find(reference, queries, left_out=(genus, own))
    assert (np.where(found.rows >= 0, genus[found.rows], -2) != own[:, None]).all()
    assert (found.rows >= 0).any(axis=1).all()


@pytest.mark.parametrize("align", [True, False])
def test_neither_company_nor_threads_matter(reference, queries, align):
    together = find(reference, queries, align=align)
    assert lines(find(reference, queries, align=align, threads=3)) == lines(together)
    whole = lines(together)
    for some in (slice(0, 1), slice(5, 12), slice(40, None)):
        for one, other in zip(lines(find(reference, queries, some=some, align=align)), whole[some], strict=True):
            assert one[0] == other[0]
            for a, b in zip(one[1:], other[1:], strict=True):
                assert a == pytest.approx(b, rel=1e-3)


def test_by_vectors_the_distance_is_one_minus_the_similarity_in_proportion_to_the_lengths(reference, queries):
    found = find(reference, queries, align=False)
    lengths = read_letters(reference).lengths
    for i in range(len(queries.queries)):
        there = found.rows[i] >= 0
        own = len(queries.queries[i].sequence)
        theirs = lengths[found.rows[i, there]]
        ratio = np.maximum(own, theirs) / np.minimum(own, theirs)
        wanted = np.maximum(1 - found.cosines[i, there] * ratio**0.25, 1e-4)
        assert found.distances[i, there].tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
        vectors = reference.vectors_of(found.rows[i, there]).astype(np.float64)
        query = queries.vectors[i].astype(np.float64)
        cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        assert found.cosines[i, there].tolist() == pytest.approx(cosines.tolist(), abs=1e-5)


def test_who_is_far_from_all_near_ones_gets_a_longer_list(monkeypatch, reference, queries):
    monkeypatch.setattr(module, "LONGEST", 60)
    found = find(reference, queries, k=3)
    sizes = (found.rows >= 0).sum(axis=1)
    near = found.distances[:, 0] < 0.02
    assert near.sum() > 5
    # At most three of each of two lists, and as many of the longer one.
    assert (sizes[near] <= 6).all()
    assert sizes[-1] > 6, "the random one is far from all"
