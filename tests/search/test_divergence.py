"""Divergence compared with bases counted one by one, and with an alignment by plain dynamic programming."""

from __future__ import annotations

import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ednabed.base.bases import encode
from ednabed.search.align import GAP_EXTEND, GAP_OPEN, MATCH, MISMATCH
from ednabed.search.divergence import Comparer, Divergence, PackedSequences
from taxonomy_support import randomly, substituted

dna = st.text("ACGTN", max_size=60)


def compare(query: str, *rows: str) -> Divergence:
    comparer = Comparer(PackedSequences.from_batches([[row.encode() for row in rows]]))
    return comparer.compare(encode(query.encode()), np.arange(len(rows)))


def figures(found: Divergence) -> list[tuple[float, int, int]]:
    return list(zip(found.mismatches.tolist(), found.n_bases.tolist(), found.overlap.tolist(), strict=True))


def counted(one: str, other: str) -> tuple[float, int, int]:
    """Mismatches, bases compared and overlap of two texts of equal length, base by base."""
    known = [(a, b) for a, b in zip(one, other, strict=True) if "N" not in (a, b)]
    return float(sum(a != b for a, b in known)), len(known), len(one)


def overlap_score(one: str, other: str) -> int:
    """Score of the best overlap alignment (Gotoh), cell by cell."""
    low = -(10**6)
    best = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    up = [[low] * (len(other) + 1) for _ in range(len(one) + 1)]
    left = [[low] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            a, b = one[i - 1], other[j - 1]
            pair = 0 if "N" in (a, b) else MATCH if a == b else MISMATCH
            up[i][j] = max(best[i - 1][j] - GAP_OPEN, up[i - 1][j] - GAP_EXTEND)
            left[i][j] = max(best[i][j - 1] - GAP_OPEN, left[i][j - 1] - GAP_EXTEND)
            best[i][j] = max(best[i - 1][j - 1] + pair, up[i][j], left[i][j])
    return max(max(row[-1] for row in best), max(best[-1]))


# -- sequences in memory ----------------------------------------------------------------------------------------------


@given(st.lists(dna, max_size=6))
def test_each_sequence_is_kept(texts):
    held = PackedSequences.from_batches([[text.encode()] for text in texts])
    assert [held.text(i).decode() for i in range(len(texts))] == texts
    assert held.lengths.tolist() == [len(text) for text in texts]


# -- on one diagonal -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [0, 1, 5, 20, 40])
def test_substitutions_are_counted(places):
    whole = randomly(400, 1)
    row = substituted(whole, places, 2)
    assert figures(compare(whole, row)) == [(places, 400, 400)]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(60, 300), st.integers(0, 15), st.data())
def test_fragments_dovetails_and_inserts_are_compared_where_they_overlap(seed, length, percent, data):
    """Both are pieces of one region with bases changed, so the overlap is known."""
    region = randomly(length, seed)
    first = data.draw(st.integers(0, length - 60)), data.draw(st.integers(0, length - 60))
    last = [data.draw(st.integers(max(first) + 60, length)) for _ in range(2)]
    changed = substituted(region, length * percent // 100, seed + 1)
    query, row = region[first[0] : last[0]], changed[first[1] : last[1]]
    common = slice(max(first), min(last))
    wanted = counted(region[common], changed[common])
    (mismatches, letters, overlap), distance = figures(compare(query, row))[0], compare(query, row).distance[0]
    if overlap == -1:
        # Gaps may explain more bases than they cost, and a few bases may fit in several positions.
        assert 2 * letters - 5 * mismatches == overlap_score(query, row)
    else:
        assert (mismatches, letters, overlap) == wanted
        # Bases missing until half of the shorter one is aligned count as unrelated.
        lacking = max(0.0, min(len(query), len(row)) / 2 - wanted[2])
        assert distance == pytest.approx((wanted[0] + 1 + 0.4 * lacking) / (wanted[1] + 2 + lacking))


def test_n_is_neither_match_nor_mismatch():
    whole = randomly(300, 3)
    with_n = whole[:50] + "N" * 20 + whole[70:]
    changed = substituted(whole, 6, 4)
    assert figures(compare(with_n, whole)) == [(0, 280, 300)]
    assert figures(compare(whole, with_n)) == [(0, 280, 300)]
    assert figures(compare(with_n, changed)) == [counted(with_n, changed)]
    both = whole[:60] + "N" * 20 + whole[80:]
    assert figures(compare(with_n, both)) == [(0, 270, 300)]


def test_fewer_bases_are_weaker_evidence():
    whole = randomly(600, 5)
    found = compare(whole, whole, whole[:100], substituted(whole, 1, 6))
    assert found.distance.tolist() == pytest.approx([1 / 602, 1 / 102, 2 / 602])


def test_no_rows():
    found = Comparer(PackedSequences.from_batches([[b"ACGT"]])).compare(encode(b"ACGTACGT"), np.zeros(0, np.int64))
    assert (len(found.mismatches), len(found.n_bases), len(found.overlap)) == (0, 0, 0)


# -- gaps, and nothing in common -------------------------------------------------------------------------------------


def with_gaps(text: str, seed: int) -> str:
    """A few bases deleted and a few inserted."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(30, len(text) - 30)
        size = rng.randint(1, 7)
        text = text[:at] + text[at + size :] if rng.random() < 0.5 else text[:at] + randomly(size, seed) + text[at:]
    return text


def edit_distance(one: str, other: str) -> int:
    """Bases to substitute, insert or delete, cell by cell."""
    before = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        row = [i]
        for j, b in enumerate(other, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
        before = row
    return before[-1]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 8))
def test_gaps_are_counted_in_bases(seed, percent):
    """Both ends of the two are the same region, so all bases of both count."""
    whole = randomly(150, seed)
    row = with_gaps(substituted(whole, 150 * percent // 100, seed + 1), seed)
    mismatches, letters, overlap = figures(compare(whole, row))[0]
    least = edit_distance(whole, row)
    if overlap == -1:
        assert letters <= len(whole)
        assert mismatches >= least - abs(len(whole) - letters)
        if not percent:
            assert mismatches <= least
    else:
        # Counted as substitutions alone, if these are as few or the other stretch is too short to be detected.
        assert mismatches <= letters
        assert mismatches <= max(least, 2 * 30 + 150 * percent // 100)


@pytest.mark.parametrize("ends", [(0, 300), (40, 300), (0, 250), (40, 250)])
def test_a_lost_codon_in_the_middle_is_three_bases(ends):
    """Even if one of the two is a piece, or if they dovetail."""
    whole = randomly(300, 7)
    lost = whole[:150] + whole[153:]
    piece = whole[slice(*ends)]
    # If only the ends of one of the two are free, this number of bases is aligned to the other.
    for query, row, letters in ((piece, lost, len(piece)), (lost, piece, len(piece) - 3)):
        assert figures(compare(query, row)) == [(3, letters, -1)]
    assert figures(compare(whole[40:], lost[:250])) == [(3, 253 - 40, -1)]


def test_n_in_a_sequence_with_gaps_is_neither():
    whole = randomly(300, 7)
    lost = whole[:150] + whole[153:]
    with_n = whole[:60] + "NN" + whole[62:]
    assert figures(compare(with_n, lost)) == [(3, 298, -1)]
    assert figures(compare(whole, lost[:60] + "NN" + lost[62:]))[0][0] == 3


def test_n_in_both_does_not_hide_what_differs():
    """Joined reads and masked records have N at the same positions."""
    whole = randomly(300, 7)
    changed = substituted(whole[:150] + whole[153:], 10, 3)
    mismatches = figures(compare(whole, changed))[0][0]
    assert 11 <= mismatches <= 13
    with_n = whole[:50] + "N" * 10 + whole[60:]
    found = figures(compare(with_n, changed[:50] + "N" * 10 + changed[60:]))[0][0]
    hidden = sum(a != b for a, b in zip(whole[50:60], changed[50:60], strict=True))
    assert mismatches - hidden - 1 <= found <= mismatches - hidden


def test_a_gap_of_one_base_near_an_end_does_not_hide_the_bases_before_it():
    whole = randomly(300, 7)
    for at in (20, 280):
        lost = whole[:at] + whole[at + 1 :]
        assert figures(compare(whole, lost))[0][0] <= 1 + 1
        assert figures(compare(lost, whole))[0][0] <= 1 + 1


@pytest.mark.parametrize("covered", [10, 30, 60, 100, 149, 150, 200])
def test_similar_ends_alone_are_not_near(covered):
    """Less than half of the shorter one is aligned to the other: the missing bases count as unrelated."""
    query, row = randomly(300, 31), randomly(300, 32)
    found = compare(query, query[-covered:] + row[covered:])
    lacking = max(150 - covered, 0)
    if covered > 30:
        assert found.n_bases[0] == covered
        assert found.distance[0] == pytest.approx((1 + 0.4 * lacking) / (covered + 2 + lacking))
    else:
        assert found.distance[0] > 0.25


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(60, 400), st.integers(60, 400), st.integers(40, 400), st.integers(0, 12))
def test_bases_missing_to_half_of_the_shorter_one_count_as_unrelated(seed, one, other, common, percent):
    """The end of one is the beginning of the other, with bases changed."""
    common = min(common, one, other)
    middle = randomly(common, seed)
    changed = substituted(middle, common * percent // 100, seed + 1)
    query, row = randomly(one - common, seed + 2) + middle, changed + randomly(other - common, seed + 3)
    for found in (compare(query, row), compare(row, query)):
        mismatches, letters, overlap = figures(found)[0]
        if overlap == -1:
            # Hardly a shared word, or bases that match by chance: how they align is unknown.
            assert found.lacking[0] <= max(min(one, other) / 2 - letters, 0) + 1e-9
            continue
        assert (letters, overlap) == (common, common)
        lacking = max(min(one, other) / 2 - common, 0)
        assert found.lacking[0] == lacking
        assert found.distance[0] == pytest.approx((mismatches + 1 + 0.4 * lacking) / (common + 2 + lacking))


def test_a_quick_comparison_counts_pairs_without_shared_words_as_unrelated():
    query = randomly(300, 1)
    rows = [randomly(300, 2), randomly(100, 3), substituted(query, 120, 4), substituted(query, 9, 5)]
    comparer = Comparer(PackedSequences.from_batches([[row.encode() for row in rows]]))
    quick = comparer.compare(encode(query.encode()), np.arange(4), thorough=False)
    assert figures(quick) == [(120, 300, -1), (40, 100, -1), (120, 300, -1), (9, 300, 300)]
    assert not quick.lacking.any()
    thorough = comparer.compare(encode(query.encode()), np.arange(4))
    # 180 matches and 120 mismatches score no better than a stretch of them; similar pairs do not change.
    assert (thorough.mismatches[:3] < quick.mismatches[:3]).all()
    assert figures(thorough)[3] == figures(quick)[3]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_unrelated_sequences_are_far(one, other):
    query, row = randomly(120, one), randomly(140, other + 10**7)
    found = compare(query, row)
    mismatches, letters, _ = figures(found)[0]
    assert letters == 120
    # An alignment that must have a column may score below an empty one.
    assert max(round(2 * letters - 5 * mismatches), 0) == overlap_score(query, row)
    assert found.distance[0] > 0.25


@pytest.mark.parametrize("query", ["A", "ACG", "ACGTACG", "NNNNNNNNNNNNNNNNNNNNNN", "ACGTACGT"])
def test_queries_shorter_than_a_word_or_without_bases(query):
    rows = [randomly(100, 8), "ACGTACGTAA", "A", "N" * 30]
    found = compare(query, *rows)
    assert np.isfinite(found.distance).all() and (found.distance > 0).all()
    for row, (mismatches, letters, overlap) in zip(rows, figures(found), strict=True):
        if overlap == -1:
            assert 2 * letters - 5 * mismatches == overlap_score(query, row)


def test_unknown_bases_are_no_similarity():
    """A query of N alone is no nearer to anything than a query without known bases can be."""
    found = compare("N" * 200, randomly(200, 9), "N" * 200)
    assert found.distance.min() >= 0.4


def test_a_thousand_unknown_bases_in_the_middle():
    """N counts as A when words are looked up, so many of them are one meaningless word."""
    whole = randomly(600, 9)
    query = whole[:300] + "N" * 1_000 + whole[300:]
    found = compare(query, whole, whole[:300], "A" * 900, "N" * 1_000)
    assert np.isfinite(found.distance).all()
    # Half of it is on another diagonal, and the gap between is longer than any that is looked for.
    assert figures(found)[1] == (0, 300, 300)
    assert found.distance[1] == pytest.approx(1 / 302)
    assert found.mismatches[0] == 0 and found.n_bases[0] == 300
    assert found.distance[2:].min() >= 0.25


def test_a_record_of_a_million_bases_does_not_enlarge_the_memory_of_others():
    """A table of a hundred rows by a million diagonals would be 800 MB."""
    long, query = randomly(1_000_000, 14), randomly(300, 12)
    rows = [substituted(query, 2 * i, i) for i in range(99)] + [long]
    comparer = Comparer(PackedSequences.from_batches([[row.encode() for row in rows]]))
    asked = [encode(query.encode()), encode(long[700_000:700_300].encode())]
    tracemalloc.start()
    found = [comparer.compare(one, np.arange(100)) for one in asked]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert figures(found[0])[:20] == [(2 * i, 300, 300) for i in range(20)]
    assert figures(found[1])[99] == (0, 300, 300)
    assert found[0].distance[99] > 0.25


def test_pairs_too_long_to_align_have_a_distance():
    whole = randomly(12_000, 10)
    found = compare(whole, whole, whole[:6_000] + whole[6_005:], randomly(12_000, 11))
    assert figures(found)[0] == (0, 12_000, 12_000)
    assert np.isfinite(found.distance).all()
    assert found.distance[2] >= 0.4


# -- batches --------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 25), st.data())
def test_a_distance_does_not_depend_on_the_other_rows(seed, percent, data):
    whole = randomly(200, seed)
    rows = [
        with_gaps(substituted(whole, 2 * percent, seed + i), seed + i) if i % 2 else substituted(whole, 2 * i, seed + i)
        for i in range(8)
    ]
    rows += [whole[20:90], randomly(77, seed + 10**7)]
    comparer = Comparer(PackedSequences.from_batches([[row.encode() for row in rows]]))
    query = encode(whole.encode())
    order = data.draw(st.permutations(range(len(rows))))
    together = figures(comparer.compare(query, np.array(order)))
    alone = [figures(comparer.compare(query, np.array([row])))[0] for row in order]
    assert together == alone


def test_threads_have_comparers_of_their_own():
    rows = [with_gaps(substituted(randomly(200, 12), 10 * (i % 5), i), i) for i in range(60)]
    held = PackedSequences.from_batches([[row.encode() for row in rows]])
    queries = [encode(row.encode()) for row in rows]
    one = Comparer(held)
    wanted = [figures(one.compare(query, np.arange(60))) for query in queries]
    comparers = [Comparer(held) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda i: [figures(comparers[i].compare(q, np.arange(60))) for q in queries[i::4]], range(4))
        for start, part in enumerate(parts):
            assert part == wanted[start::4]
