"""Alignments against the definition: plain dynamic programming for scores, and CIGARs that spell the sequences."""

from __future__ import annotations

import csv
import gzip
import itertools
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ednabed.search.align as module
from ednabed.errors import InputError
from ednabed.search.align import Alignment, align, too_long

FAR = -(10**9)


def pair_score(a: str, b: str) -> int:
    return 0 if "N" in (a, b) else 2 if a == b else -3


def turned(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def best_score(query: str, target: str) -> int:
    """The best overlap score by Gotoh's recurrences, base by base; gaps at the ends of both are free."""
    row, down, best = [0] * (len(target) + 1), [FAR] * (len(target) + 1), FAR
    for i, q in enumerate(query, start=1):
        diagonal, row[0], across = row[0], 0, FAR
        for j, t in enumerate(target, start=1):
            across = max(across - 2, row[j - 1] - 7)
            down[j] = max(down[j] - 2, row[j] - 7)
            here = max(diagonal + pair_score(q, t), across, down[j])
            diagonal, row[j] = row[j], here
            if i == len(query) or j == len(target):
                best = max(best, here)
    return best


def check(query: str, target: str, a: Alignment) -> None:
    """Every number of an alignment follows from its CIGAR, which spells both aligned parts and has the score."""
    own = query if a.strand == "+" else turned(query)
    low, high = (a.target_start, a.target_end) if a.strand == "+" else (a.target_end, a.target_start)
    first = a.query_start - 1 if a.strand == "+" else len(query) - a.query_end
    i, j, score = first, low - 1, 0
    counts = dict.fromkeys("=XID", 0)
    runs = re.findall(r"(\d+)([=XID])", a.cigar)
    assert "".join(n + op for n, op in runs) == a.cigar
    assert all(this[1] != that[1] for this, that in itertools.pairwise(runs))
    for n, op in ((int(n), op) for n, op in runs):
        counts[op] += n
        if op in "ID":
            score -= 5 + 2 * n
        else:
            for k in range(n):
                assert (op == "=") == (own[i + k] == target[j + k] and own[i + k] in "ACGT")
                score += pair_score(own[i + k], target[j + k])
        i += n * (op != "D")
        j += n * (op != "I")
    assert score == a.score
    assert (i - first, j) == (a.query_end - a.query_start + 1, high)
    assert first == 0 or low == 1, "it begins at the end of one of the two"
    assert i == len(query) or j == len(target), "it stops at the end of one of the two"
    assert (a.matches, a.mismatches) == (counts["="], counts["X"])
    assert a.length == sum(counts.values())
    assert a.gap_openings == sum(op in "ID" for _, op in runs)
    assert a.identity == pytest.approx(100 * counts["="] / a.length)
    assert a.query_coverage == pytest.approx(100 * (i - first) / len(query))
    assert a.target_coverage == pytest.approx(100 * (j - low + 1) / len(target))


def one(query: str, target: str, **settings: str) -> Alignment:
    (found,) = align(query, [target], **settings)
    assert found is not None
    check(query, target, found)
    return found


def placed(a: Alignment) -> tuple[int, int, int, int]:
    return a.query_start, a.query_end, a.target_start, a.target_end


def random_letters(n: int, seed: int) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=n))


words = st.one_of(*(st.text(alphabet, min_size=1, max_size=40) for alphabet in ("ACGT", "AC", "ACGTN", "AN")))


@st.composite
def relatives(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A query, and targets that are unrelated, or copies of it with changes, cuts and the other strand."""
    query = draw(words)
    targets = []
    for _ in range(draw(st.integers(1, 6))):
        target = draw(st.one_of(words, st.just(query), st.just(turned(query))))
        for _ in range(draw(st.integers(0, 4))):
            place = draw(st.integers(0, len(target)))
            target = target[:place] + draw(st.text("ACGTN", max_size=6)) + target[place + draw(st.integers(0, 6)) :]
        targets.append(target or "A")
    return query, targets


def compare(query: str, targets: Sequence[str], strand: str) -> None:
    for target, found in zip(targets, align(query, targets, strand=strand), strict=True):
        plus = best_score(query, target)
        best = max(plus, best_score(turned(query), target)) if strand == "both" else plus
        assert (0 if found is None else found.score) == max(best, 0)
        if found is not None:
            check(query, target, found)
            assert (found.strand == "+") == (plus == best)


@settings(max_examples=400)
@given(relatives(), st.sampled_from(["plus", "both"]))
# Cases in which Opal's own columns are wrong: at the edge of its band, and next to the end of a sequence.
@example(("AAAA", ["CAAAC", "ACAAACAACAACC"]), "plus")
@example(("ACT", ["AGTGT"]), "plus")
@example(("ATCGTGGGCAAGGTCTTCCATTCT", ["GACTGTC"]), "plus")
def test_scores_are_the_best_and_columns_have_them(pair: tuple[str, list[str]], strand: str) -> None:
    compare(*pair, strand)


@settings(max_examples=200)
@given(relatives())
def test_columns_found_here_are_as_good_as_those_of_opal(pair: tuple[str, list[str]]) -> None:
    """Opal's columns are discarded, so numpy finds all columns."""
    query, targets = pair
    with pytest.MonkeyPatch.context() as patch:
        found_here = []
        original = module._best_columns

        def counted(*arguments: object) -> object:
            found_here.append(arguments)
            return original(*arguments)

        patch.setattr(module, "_best_columns", counted)
        patch.setattr(module, "_FROM_OPAL", str.maketrans("MXID", "IIII"))
        compare(query, targets, "both")
        assert found_here or not any(align(query, targets))


def test_opals_columns_are_mostly_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow way is the exception, even for bases that differ near the ends, where a narrow band is wrong."""
    query = random_letters(300, 1)
    other = str.maketrans("ACGT", "CATG")
    changes = [*range(20), *range(20, 280, 13), *range(280, 300)]
    targets = [query[:k] + query[k].translate(other) + query[k + 1 :] for k in changes]
    monkeypatch.setattr(module, "_best_columns", None)
    assert all(a is not None and a.identity > 99 for a in align(query, targets))


def test_columns_with_another_score_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the meaning of Opal's operations is swapped, as many bases are aligned, but the wrong ones."""
    left, middle, right = random_letters(50, 20), random_letters(50, 21), random_letters(50, 22)
    query, target = left + "ACA" + middle + right, left + middle + "GTG" + right
    found = one(query, target)
    assert found.gap_openings == 2
    monkeypatch.setattr(module, "_FROM_OPAL", str.maketrans("X", "M"))
    assert one(query, target).score == found.score


def test_identical_sequences() -> None:
    query = random_letters(650, 2)
    found = one(query, query)
    assert found == Alignment("+", 1300, 100.0, 650, 650, 0, 0, 100.0, 100.0, 1, 650, 1, 650, "650=")


def test_a_fragment_aligns_inside_the_full_sequence_and_vice_versa() -> None:
    whole = random_letters(650, 3)
    fragment = whole[100:200] + ("A" if whole[200] != "A" else "C") + whole[201:313]
    found = one(fragment, whole)
    assert placed(found) == (1, 213, 101, 313)
    assert (found.cigar, found.matches, found.mismatches) == ("100=1X112=", 212, 1)
    assert found.identity == pytest.approx(100 * 212 / 213)
    assert (found.query_coverage, found.target_coverage) == (100.0, pytest.approx(100 * 213 / 650))
    assert placed(one(whole, fragment)) == (101, 313, 1, 213)


def test_a_dovetail_aligns_where_the_two_overlap() -> None:
    whole = random_letters(650, 4)
    left, right = whole[:400], whole[250:]
    found = one(left, right)
    assert placed(found) == (251, 400, 1, 150)
    assert (found.identity, found.query_coverage, found.target_coverage) == (100.0, 37.5, 37.5)
    assert placed(one(right, left)) == (1, 150, 251, 400)


def test_gaps_are_named_as_in_sam() -> None:
    left, right = random_letters(60, 5) + "C", "G" + random_letters(60, 6)
    longer, shorter = left + "AAT" + right, left + right
    found = one(longer, shorter)
    assert (found.cigar, found.score, found.gap_openings) == ("61=3I61=", 2 * 122 - 5 - 2 * 3, 1)
    found = one(shorter, longer)
    assert (found.cigar, found.length, found.mismatches) == ("61=3D61=", 125, 0)
    assert found.identity == pytest.approx(100 * 122 / 125)


def test_the_other_strand_has_coordinates_as_blastn_prints_them() -> None:
    whole = random_letters(300, 7)
    # 5 unrelated bases in front, then the reverse complement of bases 101 to 180, without 121 and 122.
    query = turned(whole[100:120] + whole[122:180])
    found = one(query, whole)
    assert found.strand == "-"
    assert placed(found) == (1, 78, 180, 101)
    # From left to right on the target.
    assert found.cigar == "20=2D58="
    assert align(query, [whole], strand="plus")[0] != found
    dovetail = one("ACACA" + turned(whole)[:50], whole[200:])
    assert (dovetail.strand, placed(dovetail)) == ("-", (6, 55, 100, 51))


def test_the_given_strand_wins_a_tie() -> None:
    half = random_letters(30, 8)
    palindrome = half + turned(half)
    assert one(palindrome, palindrome).strand == "+"


def test_unknown_bases_cost_nothing_and_count_as_mismatches() -> None:
    query = random_letters(100, 9)
    masked = query[:40] + "N" * 20 + query[60:]
    found = one(query, masked)
    assert (found.score, found.cigar) == (160, "40=20X40=")
    assert (found.identity, found.length, found.mismatches) == (80.0, 100, 20)
    found = one(masked, masked)
    assert (found.cigar, found.identity) == ("40=20X40=", 80.0)


def test_nothing_to_align_is_none_and_the_others_keep_their_order() -> None:
    whole = random_letters(50, 10)
    found = align(whole, ["", whole, "N" * 20, "", whole[10:30]])
    assert [a is None for a in found] == [True, False, True, True, False]
    assert align("AAAA", ["CCCC"]) == [None]
    assert align("AAAA", ["TTTT"], strand="plus") == [None]
    assert align("", [whole]) == [None]
    assert align("NNNN", [whole]) == [None]
    assert align(whole, []) == []


@pytest.mark.parametrize(
    ("query", "target", "said"), [("ACRT", "ACGT", "the query .*'R'"), ("A", "a", "target 0 .*'a'")]
)
def test_sequences_that_are_not_normalised_are_refused(query: str, target: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        align(query, [target])


def test_pairs_that_would_fill_the_memory_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not too_long(10_000, 10_000) and too_long(10_001, 10_000) and too_long(30_000, 30_000)
    assert not too_long(650, 250_000_000) and not too_long(250_000_000, 650) and too_long(8_000, 16_000)
    monkeypatch.setattr(module, "MAX_CELLS", 100 * 200)
    query = random_letters(100, 11)
    far = random_letters(500, 12)
    inside, longer = align(query, [far + query + far, query * 2]), align(query + "A", [far + query + far, query])
    assert inside[0] is not None and placed(inside[0]) == (1, 100, 501, 600)
    assert inside[1] is not None
    assert longer[0] is None and longer[1] is not None


@pytest.mark.parametrize("length", [70, 20_000])
def test_scores_that_need_more_than_one_or_two_bytes(length: int) -> None:
    """Opal counts in 8, 16 and 32 bits in turn. Single bases are changed, far from the ends."""
    query = random_letters(length, 13)
    targets = [query, query[:30] + query[31:], query[:30] + "N" + query[31:]]
    database = module.pyopal.Database([t.encode() for t in targets], alphabet="ACGTN")
    scores = module._scores(query.encode(), database)
    assert scores.tolist() == [2 * length, 2 * (length - 1) - 7, 2 * (length - 1)]


def test_a_long_gap_in_a_long_pair_is_found_by_numpy_too() -> None:
    left, right = random_letters(900, 14), random_letters(900, 15)
    query, target = (left + right).encode(), ("TT" + left + random_letters(700, 16) + right + "GG").encode()
    columns = module._best_columns(query, target, 1800, len(target) - 2)
    assert columns.score == 2 * 1800 - 5 - 2 * 700
    assert (columns.query, columns.target) == ((0, 1800), (2, 2502))


def barcodes(shared: Path) -> dict[str, list[str]]:
    by_genus: dict[str, list[str]] = {}
    with gzip.open(shared / "data" / "coi.tsv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            by_genus.setdefault(row["genus"], []).append(re.sub("[^ACGT]", "N", row["sequence"]))
    return by_genus


def test_real_barcodes(shared: Path) -> None:
    """Within a genus, complete, cut on both sides, and reverse-complemented; plain scores for a few."""
    groups = [group for group in barcodes(shared).values() if len(group) >= 20]
    chance = random.Random(0)
    for number in range(60):
        group = chance.choice(groups)
        query, targets = chance.choice(group), chance.sample(group, 10)
        found = align(query, targets)
        cut = align(turned(query[60:-60]), targets)
        for target, whole, part in zip(targets, found, cut, strict=True):
            assert whole is not None and part is not None
            check(query, target, whole)
            check(turned(query[60:-60]), target, part)
        if number < 2:
            assert [a.score for a in found[:2] if a] == [
                max(best_score(query, t), best_score(turned(query), t)) for t in targets[:2]
            ]
