"""Candidates with distances: the nearest labelled sequences, by bases and by vectors, whatever the other queries."""

from __future__ import annotations

import numpy as np
import pytest

from ednabed.base.bases import encode
from ednabed.engine.open import open_embedder
from ednabed.search.divergence import Comparer
from ednabed.taxonomy import candidates as module
from ednabed.taxonomy.candidates import Finder, read_bases
from ednabed.taxonomy.labels import read_row_labels
from ednabed.taxonomy.shortlist import default_exponents
from taxonomy_support import Barcode, batch_of, randomly, reference_of, substituted, world


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Twelve genera, in which every fifth record has no label."""
    barcodes = [
        Barcode(b.id, b.sequence, b.lineage if i % 5 else ("",) * 7) for i, b in enumerate(world(12, length=400))
    ]
    return reference_of(tmp_path_factory.mktemp("candidates"), barcodes)


@pytest.fixture(scope="module")
def queries():
    texts = [substituted(b.sequence, 3 + i % 40, i) for i, b in enumerate(world(12, length=400))][::3]
    texts += [text[80:230] for text in texts[:8]] + [randomly(300, 77_777)]
    return batch_of(open_embedder("kmer6"), [(str(i), text) for i, text in enumerate(texts)])


def find(reference, queries, k=20, left_out=None, some=slice(None), threads=1, **more):
    finder = Finder(reference, read_row_labels(reference), default_exponents(reference.spec), threads=threads)
    codes = [encode(query.sequence.encode()) for query in queries.queries[some]]
    return finder.find(queries.vectors[some], codes, k, left_out, **more)


def lines(found):
    names = ("rows", "distances", "bases", "overlaps", "widths", "lengths")
    return list(zip(*(getattr(found, name).tolist() for name in names), strict=True))


def test_bases_are_those_of_the_collection(reference):
    letters = read_bases(reference)
    texts = reference.take_sequences(np.arange(reference.rows)).column("sequence").to_pylist()
    assert [letters.text(row).decode() for row in range(reference.rows)] == texts


def counted(divergence, length):
    """The distance that counts: the divergence, raised if only a part of the query was compared."""
    covered = np.clip(divergence.n_bases / length, 0.01, 1)
    return divergence.distance / covered**module.COVERAGE_POWER


def test_distances_match_those_of_the_bases(reference, queries):
    found = find(reference, queries)
    comparer = Comparer(read_bases(reference))
    labelled = read_row_labels(reference).labelled
    aligned = 0
    for i, query in enumerate(queries.queries):
        there = found.rows[i] >= 0
        rows = found.rows[i, there]
        assert len(set(rows.tolist())) == len(rows), "a row occurs once"
        assert labelled[rows].all()
        assert (np.diff(found.distances[i, there]) >= 0).all(), "the nearest first"
        assert np.isinf(found.distances[i, ~there]).all()
        measured = [tuple(getattr(found, name)[i, there]) for name in ("distances", "mismatches", "bases", "overlaps")]
        quick, thorough = (
            [
                tuple(values)
                for values in zip(
                    counted(exact, len(query.sequence)), exact.mismatches, exact.n_bases, exact.overlap, strict=True
                )
            ]
            for exact in (
                comparer.compare(encode(query.sequence.encode()), rows, thorough=thorough) for thorough in (False, True)
            )
        )
        for own, one, other in zip(zip(*measured, strict=True), quick, thorough, strict=True):
            # Pairs that hardly share words are aligned only if no pair does.
            assert own == one or (own == other and found.distances[i, 0] > 0.2)
            aligned += own != one
        covered = np.clip(found.bases[i, 0] / len(query.sequence), 0.01, 1) ** module.COVERAGE_POWER
        assert found.widths[i] == pytest.approx(0.5 / (found.bases[i, 0] + 2) / covered)
    assert aligned, "the random one"


def test_the_nearest_is_the_nearest_of_all_labelled_sequences(reference, queries):
    found = find(reference, queries, k=50)
    comparer = Comparer(read_bases(reference))
    rows = np.flatnonzero(read_row_labels(reference).labelled)
    for i, query in enumerate(queries.queries[:-1]):
        least = counted(comparer.compare(encode(query.sequence.encode()), rows), len(query.sequence)).min()
        assert found.distances[i, 0] == least


def test_bases_without_a_partner_do_not_break_a_near_tie(tmp_path):
    """Half a mismatch is half a mismatch, whatever is at the ends of the query."""
    text = randomly(200, 1)
    lineage = world(1)[0].lineage
    reference = reference_of(tmp_path, [Barcode("near", text, lineage), Barcode("next", substituted(text, 1), lineage)])
    queries = [("q", text), ("ends", randomly(40, 2) + text + randomly(40, 3))]
    found = find(reference, batch_of(open_embedder("kmer6"), queries))
    apart = (found.distances[:, 1] - found.distances[:, 0]) / found.widths
    assert apart.tolist() == pytest.approx([2, 2])


def test_a_match_to_a_part_of_the_query_counts_less(tmp_path):
    """Two records without mismatches, one aligned to all of the query, one to a fifth of it."""
    text = randomly(500, 1)
    lineage = world(1)[0].lineage
    barcodes = [Barcode("part", text[:100], lineage), Barcode("whole", text, lineage), Barcode("x", "A" * 500, lineage)]
    reference = reference_of(tmp_path, barcodes)
    found = find(reference, batch_of(open_embedder("kmer6"), [("q", text)]))
    assert found.bases[0, :2].tolist() == [500, 100]
    expected = [1 / 502, 1 / 102 * 5**module.COVERAGE_POWER]
    assert found.distances[0, :2].tolist() == pytest.approx(expected)
    # The other way round, all of the query is covered.
    found = find(reference, batch_of(open_embedder("kmer6"), [("q", text[:100])]))
    assert found.distances[0, :2].tolist() == pytest.approx([1 / 102] * 2)


def test_rows_left_out_are_not_candidates(reference, queries):
    labels = read_row_labels(reference)
    main = labels.main
    genus = np.where(main >= 0, labels.taxa[main, 5], -1)
    own = genus[find(reference, queries).rows[:, 0]]
    found = find(reference, queries, left_out=(genus, own))
    assert (np.where(found.rows >= 0, genus[found.rows], -2) != own[:, None]).all()
    assert (found.rows >= 0).any(axis=1).all()


@pytest.mark.parametrize("align", [True, False])
def test_neither_other_queries_nor_threads_matter(reference, queries, align):
    together = find(reference, queries, align=align)
    assert lines(find(reference, queries, align=align, threads=3)) == lines(together)
    whole = lines(together)
    for some in (slice(0, 1), slice(5, 12), slice(40, None)):
        for one, other in zip(lines(find(reference, queries, some=some, align=align)), whole[some], strict=True):
            assert one[0] == other[0]
            for a, b in zip(one[1:], other[1:], strict=True):
                assert a == pytest.approx(b, rel=1e-3)


def cosines_of(reference, vector, rows):
    """Compute cosines by their definition, in float64."""
    vectors, query = reference.vectors_of(rows).astype(np.float64), vector.astype(np.float64)
    return vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def test_by_vectors_the_distance_is_one_minus_the_similarity_scaled_by_lengths(reference, queries):
    found = find(reference, queries, align=False)
    lengths = read_bases(reference).lengths
    for i in range(len(queries.queries)):
        there = found.rows[i] >= 0
        own = len(queries.queries[i].sequence)
        theirs = lengths[found.rows[i, there]]
        ratio = np.maximum(own, theirs) / np.minimum(own, theirs)
        cosines = cosines_of(reference, queries.vectors[i], found.rows[i, there])
        expected = np.maximum(1 - cosines * ratio**0.25, 1e-4)
        assert found.distances[i, there].tolist() == pytest.approx(expected.tolist(), abs=1e-9)
        assert (np.diff(found.distances[i, there]) >= 0).all(), "the nearest first"
        assert not found.mismatches[i].any() and not found.lacking[i].any()
        assert (found.overlaps[i] == -1).all()


def test_cosines_do_not_depend_on_other_queries(reference, queries):
    """To the last digit, so that no table changes with the number of queries."""
    finder = Finder(reference, read_row_labels(reference), (0.0,))
    rows = np.random.default_rng(3).integers(-1, reference.rows, (len(queries.vectors), 7))
    found = finder.cosines(queries.vectors, rows)
    assert found.dtype == np.float64
    for i, own in enumerate(rows):
        there = own >= 0
        assert found[i, there].tolist() == pytest.approx(
            cosines_of(reference, queries.vectors[i], own[there]).tolist(), abs=1e-12
        )
        assert finder.cosines(queries.vectors[i : i + 1], rows[i : i + 1]).tolist() == found[i : i + 1].tolist()
    assert finder.cosines(np.zeros((1, queries.vectors.shape[1]), np.float32), rows[:1]).tolist() == [[0.0] * 7]


def test_a_query_far_from_all_rows_gets_a_longer_list(monkeypatch, reference, queries):
    """Queries with near rows need none, and relatives of unrelated queries are not searched."""
    monkeypatch.setattr(module, "MAX_CANDIDATES", 60)
    quick = find(reference, queries, k=3, thorough=False)
    found = find(reference, queries, k=3)
    # At most three of each of two lists, and as many of the longer list.
    assert ((quick.rows >= 0).sum(axis=1) <= 6).all()
    sizes = (found.rows >= 0).sum(axis=1)
    near = quick.distances[:, 0] <= module.FAR_BY_BASES
    # If all near rows are equally near, there may be more of them.
    finite = np.where(np.isfinite(quick.distances), quick.distances, quick.distances[:, :1])
    crowded = near & (finite.max(axis=1) <= finite.min(axis=1) + 1e-9)
    near &= ~crowded
    assert (sizes[crowded] > 6).all()
    far = ~near & ~crowded & (quick.distances[:, 0] < 0.2)
    assert min(near.sum(), far.sum()) > 5
    assert (sizes[near] <= 6).all()
    assert (sizes[far] > 6).all()
    assert (found.distances[far, 0] <= quick.distances[far, 0]).all()
    # Unrelated sequences agree at a quarter of the positions, and at more if one may choose among many offsets.
    assert found.distances[-1, 0] > 0.33
    assert sizes[-1] <= 6, "the random one is related to nothing"


def test_positions_are_those_of_the_shortlist(reference, queries):
    """The position in its list that each candidate came from, whatever the order of distances."""
    labels = read_row_labels(reference)
    finder = Finder(reference, labels, (0.0, 0.25))
    codes = [encode(query.sequence.encode()) for query in queries.queries]
    found = finder.find(queries.vectors, codes, 20, thorough=False)
    own = np.array([len(query.sequence) for query in queries.queries])
    lengths = read_bases(reference).lengths
    rows = np.flatnonzero(labels.labelled)
    for i in range(len(codes)):
        cosines = cosines_of(reference, queries.vectors[i], rows)
        ratio = np.maximum(own[i], lengths[rows]) / np.minimum(own[i], lengths[rows])
        lists = [rows[np.argsort(-cosines * ratio**e, kind="stable")].tolist() for e in (0.0, 0.25)]
        for row, place in zip(found.rows[i].tolist(), found.positions[i].tolist(), strict=True):
            # Rows of one length have the same order in both lists; if cosines tie in float32, neighbours may swap.
            assert row < 0 or min(abs(one.index(row) - place) for one in lists) <= 1


def test_thorough_and_quick_distances_of_relatives_agree(reference, queries):
    """Only distant pairs are aligned; a quick search counts them as unrelated."""
    quick, found = (find(reference, queries, thorough=thorough) for thorough in (False, True))
    related = found.distances[:, 0] < module.FAR_BY_BASES
    assert 5 < related.sum() < len(related)
    assert quick.distances[related, 0].tolist() == found.distances[related, 0].tolist()
    assert (quick.distances[~related, 0] >= found.distances[~related, 0]).all()
