"""Signs of artefacts: tested against definitions base by base, on simulated artefacts and on real records."""

from __future__ import annotations

import csv
import gzip
import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.sequences.lineage import Lineage
from ednabed.store.assignment import UNKNOWN
from ednabed.taxonomy.artefacts import MAX_DUST, UsualLength, dust, has_stops, warnings_of
from ednabed.taxonomy.chimeras import ParentPool, find_chimera
from ednabed.taxonomy.genetic_codes import STOPS, codes_of, stops_of

# NCBI's tables (gc.prt): amino acids of the codons in the order TTT, TTC, TTA, TTG, TCT, …
NCBI = {
    1: "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
    2: "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIMMTTTTNNKKSS**VVVVAAAADDEEGGGG",
    3: "FFLLSSSSYY**CCWWTTTTPPPPHHQQRRRRIIMMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
    4: "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
    5: "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIMMTTTTNNKKSSSSVVVVAAAADDEEGGGG",
    9: "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIIMTTTTNNNKSSSSVVVVAAAADDEEGGGG",
    11: "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
    13: "FFLLSSSSYY**CCWWLLLLPPPPHHQQRRRRIIMMTTTTNNKKSSGGVVVVAAAADDEEGGGG",
    16: "FFLLSSSSYY*LCC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
}
CODONS = ["".join(letters) for letters in itertools.product("TCAG", repeat=3)]


def lineage(kingdom: str = "", phylum: str = "", class_: str = "") -> Lineage:
    return kingdom, phylum, class_, "", "", "", ""


def randomly(length: int, seed: int) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=length))


def changed(sequence: str, places: int, seed: int) -> str:
    letters = list(sequence)
    for i in random.Random(seed).sample(range(len(letters)), places):
        letters[i] = {"A": "C", "C": "G", "G": "T", "T": "A"}[letters[i]]
    return "".join(letters)


# -- stop codons -------------------------------------------------------------------------------------------------------


def test_the_stop_codons_are_those_of_ncbi():
    assert {n: {c for c, a in zip(CODONS, table, strict=True) if a == "*"} for n, table in NCBI.items()} == STOPS


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (lineage("Animalia", "Chordata", "Aves"), (2,)),
        (lineage("", "Chordata", "Ascidiacea"), (13,)),
        (lineage("Animalia", "Chordata"), (2, 5, 13)),
        (lineage("Animalia", "Arthropoda", "Insecta"), (5,)),
        (lineage("Animalia", "Echinodermata", "Holothuroidea"), (9,)),
        (lineage("Animalia", "Platyhelminthes"), (9,)),
        (lineage("Animalia", "Cnidaria"), (4,)),
        (lineage("Plantae", "Rhodophyta"), (4,)),
        (lineage("Plantae", "Streptophyta"), (1,)),
        (lineage("Bacteria", "Proteobacteria"), (11,)),
        (UNKNOWN, (1, 2, 4, 5, 9, 11, 13)),
        (lineage("Unheard", "of", "it"), (1, 2, 4, 5, 9, 11, 13)),
    ],
)
def test_the_code_follows_the_lineage(names, codes):
    assert codes_of(names) == codes


def test_a_stop_counts_where_every_possible_code_has_it():
    assert stops_of(lineage("Animalia", "Chordata", "Mammalia")) == {"TAA", "TAG", "AGA", "AGG"}
    assert stops_of(lineage("Animalia", "Chordata")) == {"TAA", "TAG"}
    assert stops_of(UNKNOWN) == {"TAA", "TAG"}


BIRD, FLY, GERM = lineage("", "Chordata", "Aves"), lineage("", "Arthropoda"), lineage("Bacteria", "Proteobacteria")


@pytest.mark.parametrize(
    ("codons", "birds", "flies", "germs"),
    [
        ("TAA", True, True, True),
        ("AGA", True, False, False),
        ("TGA", False, False, True),
        ("CAA", False, False, False),
    ],
)
def test_stop_codons_per_genetic_code(codons, birds, flies, germs):
    """The codon is in each of three frames, between bases that form no stop in any frame."""
    sequence = "CCC" * 5 + codons + "C" + codons + "C" + codons + "CCC" * 5
    assert [has_stops(sequence, names) for names in (BIRD, FLY, GERM)] == [birds, flies, germs]


def test_one_open_frame_is_enough_and_genes_end_with_a_stop():
    assert not has_stops("CCC" * 5 + "TAAC" + "TAA" + "CCC" * 5, FLY)
    open_frame = "CCC" * 4 + "CTAACTAAC" + "CCC" * 4 + "TAA"
    assert not has_stops(open_frame, FLY)
    assert has_stops(open_frame + "CCC", FLY)
    for few in ("", "T", "TA", "TAA", "TAATAA"):
        assert not has_stops(few, FLY)


@given(st.text("ACGTN", max_size=60), st.sampled_from([BIRD, FLY, GERM, UNKNOWN]))
def test_stops_by_the_definition(sequence, names):
    frames = [[sequence[i : i + 3] for i in range(f, len(sequence) - 2, 3)] for f in range(3)]
    common = set(CODONS)
    for number in codes_of(names):
        common &= {c for c, a in zip(CODONS, NCBI[number], strict=True) if a == "*"}
    assert has_stops(sequence, names) == all(any(c in common for c in frame[:-1]) for frame in frames)


# -- low complexity ----------------------------------------------------------------------------------------------------


def slow_dust(sequence: str) -> float:
    best = 0.0
    for start in range(max(1, len(sequence) - 63)):
        window = sequence[start : start + 64]
        triplets = [window[i : i + 3] for i in range(len(window) - 2)]
        counts = Counter(t for t in triplets if "N" not in t)
        if len(triplets) > 2:
            best = max(best, sum(c * (c - 1) / 2 for c in counts.values()) / (len(triplets) - 1))
    return best


@given(st.text("ACGTN", max_size=90) | st.text("AT", max_size=90) | st.text("NA", max_size=70))
def test_dust_by_the_definition(sequence):
    assert dust(sequence) == pytest.approx(slow_dust(sequence), abs=1e-9)


@pytest.mark.parametrize(
    ("sequence", "low"),
    [
        (randomly(300, 1), False),
        (randomly(150, 2) + "A" * 40 + randomly(150, 3), True),
        (randomly(100, 4) + "AT" * 25, True),
        (randomly(100, 5) + "GATA" * 16, True),
        (randomly(100, 6) + "N" * 100, False),
        (randomly(100, 7) + "A" * 8 + randomly(100, 8), False),
    ],
)
def test_repeats_have_low_complexity(sequence, low):
    assert (dust(sequence) > MAX_DUST) == low


# -- length ------------------------------------------------------------------------------------------------------------


def test_lengths_of_an_amplicon():
    lengths = [313] * 50 + [310] * 10 + [150, 600]
    usual = UsualLength.from_lengths(lengths)
    assert usual is not None
    assert usual.median == 313
    assert (usual.minimum, usual.maximum) == pytest.approx((313 * 0.9, 313 * 1.1))


def test_lengths_that_vary():
    """Deviations 0, 10, 10, 20, 20 have the median 10: six times 1.4826 times 10 is more than a tenth of 100."""
    usual = UsualLength.from_lengths([80, 90, 100, 110, 120])
    assert usual is not None
    assert (usual.minimum, usual.maximum) == pytest.approx((100 - 88.956, 100 + 88.956))
    assert UsualLength.from_lengths([100] * 4) is None
    assert UsualLength.from_lengths([]) is None


# -- chimeras ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [60, 150, 240])
def test_two_halves_have_two_parents(place):
    ancestor = randomly(300, 1)
    one, other = changed(ancestor, 20, 1), changed(ancestor, 20, 2)
    far = [randomly(300, 10 + i) for i in range(5)]
    chimera = find_chimera(one[:place] + other[place:], [far[0], other, *far[1:], one])
    assert chimera is not None
    assert (chimera.left, chimera.right) == (6, 1)
    assert chimera.identity == 100 > chimera.best_single
    # The breakpoint is between the last base that only the first half matches and the next one of the other.
    differ = [i for i in range(300) if one[i] != other[i]]
    assert max([i for i in differ if i < place]) < chimera.breakpoint <= min(i for i in differ if i >= place)


def test_the_breakpoint_counts_bases_of_the_query():
    """Parents that begin 20 bases later than the query are compared from there on."""
    ancestor = randomly(300, 1)
    one, other = changed(ancestor, 20, 1), changed(ancestor, 20, 2)
    differ = [i for i in range(300) if one[i] != other[i]]
    chimera = find_chimera(one[:150] + other[150:], [one[20:], other[20:]])
    assert chimera is not None
    assert max([i for i in differ if i < 150]) < chimera.breakpoint <= min(i for i in differ if i >= 150)


def test_sequences_that_are_not_chimeras():
    ancestor = randomly(300, 1)
    one, other = changed(ancestor, 20, 1), changed(ancestor, 20, 2)
    half = one[:150] + other[150:]
    assert find_chimera(one, [one, other]) is None
    assert find_chimera(changed(one, 3, 5), [one, other]) is None
    assert find_chimera(half, [one]) is None
    assert find_chimera(half, []) is None
    # Only partly explained, as a new relative would be.
    assert find_chimera(changed(half, 12, 5), [one, other]) is None
    # Two records of one taxon from different primers.
    assert find_chimera(one, [one[:160], one[140:]]) is None
    assert find_chimera(one, [one[:290], one[10:]]) is None


def test_parents_are_more_abundant():
    ancestor = randomly(300, 1)
    one, other = changed(ancestor, 20, 1), changed(ancestor, 20, 2)
    half = one[:150] + other[150:]
    pool = ParentPool([one, other, half, randomly(300, 9)], [10, 8, 4, 99])
    assert {one, other} <= set(pool.likely_parents(half, 4)) <= {one, other, randomly(300, 9)}
    assert other not in pool.likely_parents(half, 5)
    assert half not in pool.likely_parents(half, 1)
    assert ParentPool([], []).likely_parents(half, 1) == []
    assert pool.likely_parents("ACGT", 1) == []
    assert pool.likely_parents("N" * 50, 1) == []


def test_parents_share_words_with_some_part():
    """The best three of each quarter by shared eight-base words, counted one by one."""
    sequences = [randomly(200, i) for i in range(30)]
    query = sequences[3][:50] + sequences[7][50:100] + sequences[11][100:150] + sequences[19][150:]
    pool = ParentPool(sequences, [2] * 30)
    words = [query[i : i + 8] for i in range(len(query) - 7)]
    expected = set()
    for part in np.array_split(np.array(words), 4):
        shared = [len({*part.tolist()} & {s[i : i + 8] for i in range(193)}) for s in sequences]
        expected |= {sequences[i] for i in sorted(range(30), key=lambda i: -shared[i])[:3] if shared[i]}
    assert {sequences[i] for i in (3, 7, 11, 19)} <= expected
    assert set(pool.likely_parents(query, 1)) == expected


# -- all of them -------------------------------------------------------------------------------------------------------


def test_warnings_are_sentences_in_a_fixed_order():
    stops = "CCC" * 5 + "TAACTAACTAA" + "CCC" * 40
    assert warnings_of(randomly(300, 1), marker="12S", lineage=UNKNOWN) == ()
    found = warnings_of(stops, marker="COI-5P", lineage=FLY, usual=UsualLength.from_lengths([300] * 9))
    assert found == (
        "stop codons in all three frames under genetic code 5",
        f"low complexity (DUST score {dust(stops):.1f}, usually at most 4)",
        "length 146, where 300 is usual",
    )
    assert warnings_of(stops, marker="cox1", lineage=UNKNOWN)[0].endswith("under every possible genetic code")
    for marker in ("ITS", None):
        assert "stop" not in "".join(warnings_of(stops, marker=marker, lineage=FLY))


def test_a_chimera_of_the_run_and_of_the_reference_is_reported():
    ancestor = randomly(300, 1)
    one, other = changed(ancestor, 20, 1), changed(ancestor, 20, 2)
    half = one[:150] + other[150:]
    pool = ParentPool([one, other, half], [10, 8, 4])
    for more in ({"pool": pool, "reads": 4}, {"references": [one, other]}, {"references": [half, one, other]}):
        (found,) = warnings_of(half, marker=None, lineage=UNKNOWN, **more)
        assert found.startswith("possible chimera: two parents joined at base 1")
        assert "explain 100.0 % of it, the best single parent 9" in found
    assert warnings_of(half, marker=None, lineage=UNKNOWN, pool=pool, reads=6) == ()


# -- real sequences ----------------------------------------------------------------------------------------------------


def records(shared: Path, marker: str) -> list[dict[str, str]]:
    with gzip.open(shared / "data" / f"{marker}.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_real_barcodes_have_no_warnings_and_their_chimeras_do(shared: Path):
    """Insects from one source that curates its records; the chimeras combine two families."""
    chance = random.Random(3)
    rows = [
        row
        for row in records(shared, "coi")
        if row["source"] == "matteodegobbi/InsectClassification"
        and 640 <= len(row["sequence"]) <= 660
        and not set(row["sequence"]) - set("ACGT")
    ]
    rows = chance.sample(rows, 150)
    sequences = [row["sequence"] for row in rows]
    usual = UsualLength.from_lengths(map(len, sequences))
    loud = 0
    for row in rows:
        names = tuple(row[rank] for rank in ("kingdom", "phylum", "class", "order", "family", "genus", "species"))
        others = [other["sequence"] for other in rows if other["species"] != row["species"]]
        pool = ParentPool(others, [9] * len(others))
        loud += bool(warnings_of(row["sequence"], marker="COI", lineage=names, usual=usual, pool=pool))
    assert loud <= 2
    pool = ParentPool(sequences, [9] * len(sequences))
    detected, lost = 0, 0
    for _ in range(50):
        one, other = chance.sample(rows, 2)
        place = chance.randrange(150, 500)
        chimera = one["sequence"][:place] + other["sequence"][place:]
        detected += find_chimera(chimera, pool.likely_parents(chimera, 1)) is not None
        # One base is deleted: the frame shifts.
        broken = one["sequence"][:place] + one["sequence"][place + 1 :]
        lost += has_stops(broken, FLY)
    assert detected >= 40
    assert lost >= 40
