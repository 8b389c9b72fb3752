"""Readable alignments: the text contains the bases and numbers of the alignment, no more and no less."""

from __future__ import annotations

import re
from itertools import groupby

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ednabed.search.align import Alignment, align
from ednabed.search.alignment_text import WIDTH, alignment_text

LINE = re.compile(r"(query|hit  ) +(\d+) ([ACGTN-]+) (\d+)")


def flipped(letters: str) -> str:
    return letters[::-1].translate(str.maketrans("ACGTN", "TGCAN"))


def columns_of(query: str, target: str, alignment: Alignment) -> tuple[str, str, str]:
    """The three rows, base by base, from the definition of the CIGAR."""
    one = query[alignment.query_start - 1 : alignment.query_end]
    ends = sorted((alignment.target_start, alignment.target_end))
    other = list(target[ends[0] - 1 : ends[1]])
    left = list(one if alignment.strand == "+" else flipped(one))
    upper = middle = lower = ""
    for count, kind in re.findall(r"(\d+)(.)", alignment.cigar):
        for _ in range(int(count)):
            upper += "-" if kind == "D" else left.pop(0)
            lower += "-" if kind == "I" else other.pop(0)
            middle += "|" if kind == "=" else " "
    assert not left and not other
    return upper, middle, lower


def check(query: str, target: str, alignment: Alignment, width: int) -> None:
    """Read a text back, with the numbers of each line."""
    text = alignment_text(query, target, alignment, width)
    wanted = columns_of(query, target, alignment)
    forward = alignment.strand == "+"
    rows = ["", "", ""]
    at_query = alignment.query_start if forward else alignment.query_end
    at_target = min(alignment.target_start, alignment.target_end)
    blocks = text.split("\n\n")
    for number, block in enumerate(blocks):
        upper, middle, lower = block.split("\n")
        one, other = LINE.fullmatch(upper), LINE.fullmatch(lower)
        assert one and other, block
        assert one.start(3) == other.start(3), "letters stand below letters"
        length = len(one[3])
        assert len(other[3]) == length == (width if number < len(blocks) - 1 else length)
        assert middle[: one.start(3)].strip() == ""
        marks = middle[one.start(3) :]
        assert len(marks) == length
        rows = [row + part for row, part in zip(rows, (one[3], marks, other[3]), strict=True)]
        for match, letters, strand in ((one, query, forward), (other, target, True)):
            begin, end, shown = int(match[2]), int(match[4]), match[3].replace("-", "")
            if not shown:
                # A line with only gaps has the number of the base after it.
                assert begin == end
                continue
            # Bases are numbered from 1 in the sequence as given.
            part = letters[min(begin, end) - 1 : max(begin, end)]
            assert (part if strand else flipped(part)) == shown
            assert (begin <= end) == strand or len(shown) == 1
        begins = int(one[2]), int(other[2])
        assert begins == (at_query, at_target)
        at_query += (1 if forward else -1) * sum(letter != "-" for letter in one[3])
        at_target += sum(letter != "-" for letter in other[3])
    assert tuple(rows) == wanted
    assert rows[1].count("|") == alignment.matches == text.count("|")
    assert len(rows[0]) == alignment.length
    assert rows[0].replace("-", "") == (
        query[alignment.query_start - 1 : alignment.query_end]
        if forward
        else flipped(query[alignment.query_start - 1 : alignment.query_end])
    )


letters = st.text("ACGT", min_size=12, max_size=150)


@st.composite
def pairs(draw):
    """Two relatives: bases changed, deleted, inserted, replaced by N, cut at the ends, and one perhaps reversed."""
    target = draw(letters)
    query = list(target)
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(query) - 1)) if query else 0
        kind = draw(st.sampled_from("XIDN"))
        if kind == "I":
            query[at:at] = draw(st.text("ACGTN", min_size=1, max_size=12))
        elif kind == "D":
            del query[at : at + draw(st.integers(1, 12))]
        elif query:
            query[at] = "N" if kind == "N" else draw(st.sampled_from("ACGT"))
    query = draw(st.text("ACGT", max_size=9)) + "".join(query)[draw(st.integers(0, 9)) :]
    if draw(st.booleans()):
        target = target.replace("GAT", "GNT")
    return (flipped(query) if draw(st.booleans()) else query), target


@settings(max_examples=300)
@given(pairs(), st.sampled_from([1, 2, 7, 50, WIDTH, 10_000]))
@example(("ACGTACGTTTGCAAGTCCAGTA", "ACGTACGTTTGCAAGTCCAGTA"), 60)
@example(("NNNNNNACGTACGTTTGCAAGTCCAGTANNNN", "ACGTACGTTTGCAAGTCCAGTA"), 5)
def test_the_text_contains_the_bases_and_the_numbers(pair, width):
    query, target = pair
    assume(query)
    (alignment,) = align(query, [target])
    assume(alignment is not None)
    check(query, target, alignment, width)


@settings(max_examples=60)
@given(letters, st.text("ACGTN", min_size=1, max_size=90))
def test_pairs_that_have_nothing_in_common(query, target):
    (alignment,) = align(query, [target])
    assume(alignment is not None)
    check(query, target, alignment, 20)


def test_both_strands_and_long_gaps_occur():
    """So that the tests above mean something."""
    target = "ACGTTGCAAGGCTTACCAGTGGATCCTTAAGGACTGACCATGCATTGCAGT" * 2
    inserted = target[:60] + "GATTACAGAT" + target[60:]
    for query in (inserted, flipped(inserted)):
        (alignment,) = align(query, [target])
        assert [kind for kind, _ in groupby(re.sub(r"\d", "", alignment.cigar))] == ["=", "I", "="]
        check(query, target, alignment, 7)
        assert alignment.strand == ("+" if query == inserted else "-")


def test_how_it_looks():
    query, target = "TTACGTTGCAAGGCTTACCAGTGG", "ACGTTGCAAGCTTACNAGTGG"
    alignment = Alignment("+", 20, 90.0, 22, 19, 2, 1, 91.7, 100.0, 3, 24, 1, 21, "10=1I4=1X6=")
    assert alignment_text(query, target, alignment, 12) == (
        "query  3 ACGTTGCAAGGC 14\n"
        "         |||||||||| |\n"
        "hit    1 ACGTTGCAAG-C 11\n"
        "\n"
        "query 15 TTACCAGTGG 24\n"
        "         ||| ||||||\n"
        "hit   12 TTACNAGTGG 21"
    )
    back = Alignment("-", 20, 90.0, 22, 19, 2, 1, 91.7, 100.0, 1, 22, 21, 1, "10=1I4=1X6=")
    assert alignment_text(flipped(query), target, back, 12).split("\n\n") == [
        "query 22 ACGTTGCAAGGC 11\n         |||||||||| |\nhit    1 ACGTTGCAAG-C 11",
        "query 10 TTACCAGTGG 1\n         ||| ||||||\nhit   12 TTACNAGTGG 21",
    ]
