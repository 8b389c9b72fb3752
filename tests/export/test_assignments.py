"""Tests of assignments as files: exact lines, read back by other means, complete or absent."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import StoreError, UsageError
from ednabed.export.assignments import (
    FORMATS,
    SUMMARY_COLUMNS,
    TSV_COLUMNS,
    AssignmentWriter,
    assignment_format,
    summary,
)
from ednabed.sequences.lineage import RANKS, parse_lineage
from ednabed.store.assignment import Assignment, Status, Withheld

TROUT = ("Animalia", "Chordata", "Actinopteri", "Salmoniformes", "Salmonidae", "Salmo", "Salmo trutta")
SALMON = (*TROUT[:6], "Salmo salar")
GENUS = (*TROUT[:6], "")
SKIPPED = ("Animalia", "Chordata", "", "", "Salmonidae", "", "")

KNOWN = Assignment(
    id="asv1",
    status="assigned",
    lineage=GENUS,
    names=TROUT,
    confidences=(1.0, 0.99999, 0.99, 0.98, 0.97, 0.96, 0.79999),
    tied=(TROUT, SALMON),
    nearest_id="ref|1",
    nearest_lineage=TROUT,
    identity=98.76543,
    coverage=100.0,
    similarity=0.98765432,
    strand="-",
    marker="12S",
    withheld="tie",
    nearest_taxon_id="8032",
    p_values=(None, None, None, 0.9, 0.8, 0.7, 0.51234),
    q_values=(None, None, None, 1.0, 1.0, 0.99999, 0.7),
    absences=(None, None, None, 0.01, 0.02, 0.03, 0.25),
    note="reverse complement",
)
ABSENT = Assignment(
    id="asv2",
    status="not_in_reference",
    lineage=SKIPPED,
    names=(*SKIPPED[:5], "Salmo", ""),
    confidences=(0.9, 0.9, None, None, 0.85, 0.3, None),
    nearest_id="ref2",
    nearest_lineage=TROUT,
    identity=85.0,
    coverage=99.5,
    similarity=-0.0,
    novel_rank="genus",
    novel_p=0.00123456,
    novel_q=0.0123456,
    withheld="confidence",
    p_values=(None, None, None, None, 0.4, 0.00123456, 0.0005),
    q_values=(None, None, None, None, 0.9, 0.0123456, 0.0049),
    absences=(None, None, None, None, 0.2, 0.9, 0.98),
)
UNSURE = Assignment("asv3", "unclassified", names=("Animalia", *[""] * 6), confidences=(0.4, *[None] * 6))
REJECTED = Assignment("asv4", "rejected", note="letter 'E' at 3")
UNCALIBRATED = Assignment("asv5", "assigned", lineage=GENUS, names=TROUT, nearest_id="r", nearest_lineage=TROUT)
ALL = [KNOWN, ABSENT, UNSURE, REJECTED, UNCALIBRATED]


STATUSES = get_args(Status)


def text_of(assignments: list[Assignment], format: str) -> str:
    stream = io.StringIO(newline="")
    with AssignmentWriter(stream, format) as writer:
        for one in assignments:
            writer.write(one)
    assert not stream.closed
    return stream.getvalue()


def rows_of(text: str) -> list[dict[str, str]]:
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def plain(text: str) -> str:
    """Return the text that must be read back, character by character, from the definition."""
    ends = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return "".join(
        " " if ord(c) < 32 or 127 <= ord(c) < 160 or c in ends else "\ufffd" if 0xD800 <= ord(c) < 0xE000 else c
        for c in text
    )


ODD = st.text(st.characters(), max_size=6) | st.sampled_from(
    [
        "",
        " ",
        "a\tb",
        "a\r\nb",
        '"',
        '"a',
        "a;b",
        "a,b",
        "a|b",
        "a(0.5)",
        "#a",
        "s:x,g:y",
        "\u2028",
        "\ud800",
        "=1",
        "é",
    ]
)
odd_lineages = st.tuples(*[ODD] * 7)
shares = st.none() | st.floats(0, 1)
odd = st.builds(
    Assignment,
    id=ODD, status=st.sampled_from(STATUSES), withheld=st.none() | st.sampled_from(get_args(Withheld)),
    nearest_taxon_id=st.none() | ODD, novel_q=shares, q_values=st.tuples(*[shares] * 7),
    absences=st.tuples(*[shares] * 7),
    lineage=odd_lineages, names=odd_lineages, confidences=st.tuples(*[shares] * 7),
    tied=st.lists(odd_lineages, max_size=3).map(tuple), nearest_id=st.none() | ODD, nearest_lineage=odd_lineages,
    identity=st.none() | st.floats(0, 100), coverage=st.none() | st.floats(0, 100),
    similarity=st.none() | st.floats(-1, 1), strand=st.sampled_from("+-"), marker=st.none() | ODD,
    novel_rank=st.none() | st.sampled_from(RANKS), novel_p=shares, p_values=st.tuples(*[shares] * 7), note=ODD,
)  # fmt: skip
odds = st.lists(odd, max_size=3)


# -- tsv ---------------------------------------------------------------------------------------------------------------


def test_the_columns_of_tsv():
    assert text_of([], "tsv") == (
        "id\tstatus\trank\tlineage\tconfidence\t"
        "kingdom\tkingdom_guess\tkingdom_confidence\tphylum\tphylum_guess\tphylum_confidence\t"
        "class\tclass_guess\tclass_confidence\torder\torder_guess\torder_confidence\t"
        "family\tfamily_guess\tfamily_confidence\tgenus\tgenus_guess\tgenus_confidence\t"
        "species\tspecies_guess\tspecies_confidence\twithheld\tnearest_id\tnearest_lineage\tnearest_taxon_id\t"
        "identity\tcoverage\tsimilarity\tnovel_rank\tnovel_p\tnovel_q\tspecies_p\tspecies_q\t"
        "tied_species\tstrand\tmarker\tnote\n"
    )


def test_the_rows_of_tsv():
    lines = text_of(ALL, "tsv").split("\n")[1:]
    whole = "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;Salmo trutta"
    assert lines == [
        "asv1\tassigned\tgenus\tAnimalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;\t0.9600\t"
        "Animalia\tAnimalia\t1.0000\tChordata\tChordata\t0.9999\tActinopteri\tActinopteri\t0.9900\t"
        "Salmoniformes\tSalmoniformes\t0.9800\tSalmonidae\tSalmonidae\t0.9700\tSalmo\tSalmo\t0.9600\t"
        f"\tSalmo trutta\t0.7999\ttie\tref|1\t{whole}\t8032\t98.77\t100.00\t0.987654\t\t\t\t0.512\t0.7\t"
        "Salmo trutta|Salmo salar\t-\t12S\treverse complement",
        "asv2\tnot_in_reference\tfamily\tAnimalia;Chordata;;;Salmonidae;;\t0.8500\t"
        "Animalia\tAnimalia\t0.9000\tChordata\tChordata\t0.9000\t\t\t\t\t\t\tSalmonidae\tSalmonidae\t0.8500\t"
        f"\tSalmo\t0.3000\t\t\t\tconfidence\tref2\t{whole}\t\t85.00\t99.50\t0.000000\tgenus\t0.00123\t0.0123\t"
        "0.0005\t0.0049\t\t+\t\t",
        "asv3\tunclassified\t\t\t\t\tAnimalia\t0.4000" + "\t" * 32 + "+\t\t",
        "asv4\trejected" + "\t" * 38 + "+\t\tletter 'E' at 3",
        "asv5\tassigned\tgenus\tAnimalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;\t\t"
        "Animalia\tAnimalia\t\tChordata\tChordata\t\tActinopteri\tActinopteri\t\t"
        "Salmoniformes\tSalmoniformes\t\tSalmonidae\tSalmonidae\t\tSalmo\tSalmo\t\t\tSalmo trutta\t\t\t"
        f"r\t{whole}" + "\t" * 11 + "+\t\t",
        "",
    ]


@given(odds)
def test_tsv_preserves_all_text_except_separators(assignments):
    text = text_of(assignments, "tsv")
    text.encode()
    # Other programs end a line at any of these.
    assert len(text.splitlines()) == len(assignments) + 1
    for row, one in zip(rows_of(text), assignments, strict=True):
        assert tuple(row) == TSV_COLUMNS
        assert row["id"] == plain(one.id)
        assert (row["status"], row["rank"], row["strand"]) == (one.status, one.rank or "", one.strand)
        names = [plain(name.replace(";", ",")) for name in one.lineage]
        assert [row[rank] for rank in RANKS] == names
        assert [row[f"{rank}_guess"] for rank in RANKS] == [plain(name.replace(";", ",")) for name in one.names]
        assert row["lineage"] == (";".join(names) if any(one.lineage) else "")
        tied = dict.fromkeys(lineage[-1].replace("|", "_") for lineage in one.tied if lineage[-1])
        assert row["tied_species"].split("|") == (list(map(plain, tied)) or [""])
        for rank, confidence in zip(RANKS, one.confidences, strict=True):
            cell = row[f"{rank}_confidence"]
            assert (cell == "") == (confidence is None)
            assert confidence is None or 0 <= confidence - float(cell) < 1e-4 + 1e-12
        for key, digits in (("identity", 0.005), ("coverage", 0.005), ("similarity", 5e-7)):
            value = getattr(one, key)
            assert (row[key] == "") == (value is None)
            assert value is None or float(row[key]) == pytest.approx(value, abs=digits * 1.001)
        for key in ("novel_p", "novel_q", "species_p", "species_q"):
            value = getattr(one, key)
            assert (row[key] == "") == (value is None)
            assert value is None or float(row[key]) == pytest.approx(value, rel=0.0051)
        for key in ("nearest_id", "nearest_taxon_id", "withheld", "novel_rank", "marker", "note"):
            assert row[key] == plain(getattr(one, key) or "")


@given(st.integers(0, 10_000))
def test_a_value_below_the_cutoff_never_appears_to_reach_it(cutoff):
    """Test every cutoff of four digits, and the number just below."""
    expected = cutoff / 10_000
    below = float(np.nextafter(expected, -1))
    for confidence, reaches in ((expected, True), (max(below, 0.0), below < 0)):
        one = replace(KNOWN, confidences=(confidence, *[None] * 6))
        assert (float(rows_of(text_of([one], "tsv"))[0]["kingdom_confidence"]) >= expected) == reaches
        shown = re.search(r"d:Animalia\((.*?)\)", text_of([one], "sintax"))[1]
        assert (float(shown) >= expected) == (reaches and cutoff % 100 == 0)


# -- qiime2 ------------------------------------------------------------------------------------------------------------


def test_the_rows_of_qiime2():
    assert text_of(ALL, "qiime2") == (
        "Feature ID\tTaxon\tConfidence\n"
        "asv1\tk__Animalia; p__Chordata; c__Actinopteri; o__Salmoniformes; f__Salmonidae; g__Salmo\t0.9600\n"
        "asv2\tk__Animalia; p__Chordata; c__; o__; f__Salmonidae\t0.8500\n"
        "asv3\tUnassigned\t0.6000\n"
        "asv4\tUnassigned\t\n"
        "asv5\tk__Animalia; p__Chordata; c__Actinopteri; o__Salmoniformes; f__Salmonidae; g__Salmo\t\n"
    )
    assert text_of([], "qiime2") == "Feature ID\tTaxon\tConfidence\n"
    assert text_of([replace(KNOWN, lineage=TROUT)], "qiime2").splitlines()[1].endswith("; s__Salmo trutta\t0.7999")
    almost = replace(UNSURE, confidences=(0.9, *[None] * 6))
    assert text_of([almost], "qiime2").endswith("Unassigned\t0.1000\n")


def test_quotes_are_written_in_the_style_of_pandas():
    one = replace(UNCALIBRATED, id='"a', lineage=('x"y;z', *[""] * 6))
    assert text_of([one, UNSURE], "qiime2").splitlines()[1:] == ['"""a"\t"k__x""y,z"\t', "asv3\tUnassigned\t0.6000"]


@pytest.mark.parametrize("lineage", [TROUT, SALMON, GENUS, SKIPPED, ("", "", "", "", "Salmonidae", "", "")])
def test_ednabed_reads_the_lineage_back(lineage):
    one = replace(UNCALIBRATED, names=lineage, lineage=lineage)
    assert parse_lineage(text_of([one], "qiime2").splitlines()[1].split("\t")[1]) == lineage
    assert parse_lineage(text_of([one], "sintax").split("\t")[3]) == lineage


@given(odds)
def test_qiime2_is_read_back_as_qiime2_reads_it(assignments):
    text = text_of(assignments, "qiime2")
    text.encode()
    # QIIME 2 checks the number of cells in each unparsed line, then reads with pandas, which knows quotes.
    assert {len(line.split("\t")) for line in text.splitlines()} == {3}
    head, *rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    assert head == ["Feature ID", "Taxon", "Confidence"]
    assert len(rows) == len(assignments)
    for (name, taxon, sure), one in zip(rows, assignments, strict=True):
        assert name == plain(one.id)
        if one.rank is None:
            assert taxon == "Unassigned"
            continue
        assert sure == "" or 0 <= float(sure) <= 1
        assert (sure == "") == (one.confidence is None)
        fields = taxon.split(";")
        assert len(fields) == RANKS.index(one.rank) + 1
        for field, letter, expected in zip(fields, "kpcofgs", one.lineage, strict=False):
            assert field.removeprefix(" ") == f"{letter}__{plain(expected.replace(';', ','))}"


# -- sintax ------------------------------------------------------------------------------------------------------------


def test_the_rows_of_sintax():
    assert text_of(ALL, "sintax") == (
        "asv1\td:Animalia(1.00),p:Chordata(0.99),c:Actinopteri(0.99),o:Salmoniformes(0.98),f:Salmonidae(0.97),"
        "g:Salmo(0.96),s:Salmo trutta(0.79)\t-\t"
        "d:Animalia,p:Chordata,c:Actinopteri,o:Salmoniformes,f:Salmonidae,g:Salmo\n"
        "asv2\td:Animalia(0.90),p:Chordata(0.90),f:Salmonidae(0.85),g:Salmo(0.30)\t+\t"
        "d:Animalia,p:Chordata,f:Salmonidae\n"
        "asv3\td:Animalia(0.40)\t+\t\n"
        "asv4\t\t\t\n"
        "asv5\td:Animalia,p:Chordata,c:Actinopteri,o:Salmoniformes,f:Salmonidae,g:Salmo,s:Salmo trutta\t+\t"
        "d:Animalia,p:Chordata,c:Actinopteri,o:Salmoniformes,f:Salmonidae,g:Salmo\n"
    )
    assert text_of([], "sintax") == ""


@given(odds)
def test_sintax_is_read_back(assignments):
    text = text_of(assignments, "sintax")
    text.encode()
    assert len(text.splitlines()) == len(assignments)
    for line, one in zip(text.splitlines(), assignments, strict=True):
        name, guesses, strand, found = line.split("\t")
        assert name == plain(one.id)
        assert strand == (one.strand if any(one.names) else "")
        expected = [
            (letter, plain(best.replace(",", "_").replace(";", "_")), sure)
            for letter, best, sure in zip("dpcofgs", one.names, one.confidences, strict=True)
            if best
        ]
        assert len(guesses.split(",")) == max(len(expected), 1)
        for guess, (letter, best, sure) in zip(guesses.split(","), expected, strict=False):
            assert guess.startswith(f"{letter}:{best}")
            bracket = guess[len(letter) + 1 + len(best) :]
            assert (bracket == "") == (sure is None)
            assert sure is None or (
                re.fullmatch(r"\(\d\.\d\d\)", bracket) and 0 <= sure - float(bracket[1:-1]) < 0.0101
            )
        assert found == ",".join(
            f"{letter}:{plain(name.replace(',', '_').replace(';', '_'))}"
            for letter, name in zip("dpcofgs", one.lineage, strict=True)
            if name
        )


# -- json lines --------------------------------------------------------------------------------------------------------


def cells_of_a_rank(given=None, best=None, confidence=None, absence=None, p=None, q=None) -> dict:
    return {"given": given, "best": best, "confidence": confidence, "absence": absence, "p": p, "q": q}


def test_a_line_of_json():
    assert json.loads(text_of([ABSENT], "jsonl")) == {
        "id": "asv2", "status": "not_in_reference", "rank": "family", "lineage": "Animalia;Chordata;;;Salmonidae;;",
        "confidence": 0.85,
        "ranks": {
            "kingdom": cells_of_a_rank("Animalia", "Animalia", 0.9),
            "phylum": cells_of_a_rank("Chordata", "Chordata", 0.9),
            "class": cells_of_a_rank(),
            "order": cells_of_a_rank(),
            "family": cells_of_a_rank("Salmonidae", "Salmonidae", 0.85, 0.2, 0.4, 0.9),
            "genus": cells_of_a_rank(None, "Salmo", 0.3, 0.9, 0.00123456, 0.0123456),
            "species": cells_of_a_rank(None, None, None, 0.98, 0.0005, 0.0049),
        },
        "withheld": "confidence", "nearest_id": "ref2", "nearest_lineage": ";".join(TROUT), "nearest_taxon_id": None,
        "identity": 85.0, "coverage": 99.5, "similarity": 0.0, "novel_rank": "genus", "novel_p": 0.00123456,
        "novel_q": 0.0123456, "tied": [], "strand": "+", "marker": None, "note": "",
    }  # fmt: skip
    lines = [json.loads(line) for line in text_of(ALL, "jsonl").splitlines()]
    assert len({tuple(line) for line in lines}) == 1, "every line has the same keys in the same order"
    assert [line["lineage"] for line in lines[2:4]] == [None, None]
    assert lines[0]["tied"] == [";".join(TROUT), ";".join(SALMON)]
    assert text_of([], "jsonl") == ""


@given(odds)
def test_json_loses_nothing(assignments):
    text = text_of(assignments, "jsonl")
    assert text.isascii()
    assert len(text.splitlines()) == len(assignments)
    for line, one in zip(text.splitlines(), assignments, strict=True):
        found = json.loads(line)
        ranks = list(found["ranks"].values())
        assert list(found["ranks"]) == list(RANKS)
        assert tuple(rank["given"] or "" for rank in ranks) == one.lineage
        assert tuple(rank["best"] or "" for rank in ranks) == one.names
        assert tuple(rank["confidence"] for rank in ranks) == one.confidences
        assert tuple(rank["p"] for rank in ranks) == one.p_values
        assert tuple(rank["q"] for rank in ranks) == one.q_values
        assert tuple(rank["absence"] for rank in ranks) == one.absences
        assert len(found["tied"]) == len(one.tied)
        for key in ("id", "status", "rank", "confidence", "nearest_id", "identity", "coverage", "similarity", "strand",
                    "marker", "novel_rank", "novel_p", "novel_q", "withheld", "nearest_taxon_id", "note"):  # fmt: skip
            assert found[key] == getattr(one, key)


def test_numbers_of_numpy_are_written_like_plain_ones():
    half = np.float32(0.5)
    numpy = replace(
        KNOWN,
        confidences=(half,) * 7,
        p_values=(half,) * 7,
        q_values=(half,) * 7,
        absences=(half,) * 7,
        novel_q=half,
        identity=half,
        coverage=half,
        similarity=half,
        novel_p=half,
    )
    same = replace(KNOWN, confidences=(0.5,) * 7, p_values=(0.5,) * 7, q_values=(0.5,) * 7,
                   absences=(0.5,) * 7, novel_q=0.5, identity=0.5, coverage=0.5, similarity=0.5,
                   novel_p=0.5)  # fmt: skip
    for format in FORMATS:
        assert text_of([numpy], format) == text_of([same], format)


# -- the row for a terminal --------------------------------------------------------------------------------------------


def test_summaries():
    assert SUMMARY_COLUMNS == ("id", "status", "rank", "name", "confidence", "identity", "not in reference")
    assert list(map(summary, ALL)) == [
        ("asv1", "assigned", "genus", "Salmo [Salmo trutta 0.79]", "0.96", "98.8", ""),
        ("asv2", "not_in_reference", "family", "Salmonidae [Salmo 0.30]", "0.85", "85.0", "genus (q 0.0123)"),
        ("asv3", "unclassified", "", "[Animalia 0.40]", "", "", ""),
        ("asv4", "rejected", "", "", "", "", ""),
        ("asv5", "assigned", "genus", "Salmo [Salmo trutta]", "", "", ""),
    ]
    assert summary(replace(ABSENT, novel_q=None))[-1] == "genus"
    # A guess that is not deeper than the name is not repeated.
    assert summary(replace(KNOWN, lineage=TROUT))[3] == "Salmo trutta"
    assert summary(replace(KNOWN, names=(*TROUT[:4], "", "", "")))[3] == "Salmo"
    assert summary(replace(KNOWN, id="a\x1b[2J\n"))[0] == "a [2J "


# -- formats and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "asked", "format"),
    [
        (None, None, "tsv"),
        (Path("a.jsonl"), None, "jsonl"),
        (Path("a.JSONL"), None, "jsonl"),
        (Path("a.tsv"), None, "tsv"),
        (Path("a"), None, "tsv"),
        (Path("a.jsonl"), "sintax", "sintax"),
        (None, "qiime2", "qiime2"),
    ],
)
def test_the_choice_of_the_format(path, asked, format):
    assert assignment_format(path, asked) == format


def test_an_unknown_format_is_refused():
    message = r"no format 'xlsx' for assignments; choose one of tsv, qiime2, sintax, jsonl$"
    with pytest.raises(UsageError, match=message):
        assignment_format(None, "xlsx")
    with pytest.raises(UsageError, match=message):
        AssignmentWriter(io.StringIO(), "xlsx")


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_has_the_bytes_of_the_stream(tmp_path, format):
    path = tmp_path / "new" / "taxa.x"
    with AssignmentWriter(path, format) as writer:
        for one in ALL:
            writer.write(replace(one, id="Zürich " + one.id))
        assert not path.exists()
    assert path.read_bytes() == text_of([replace(one, id="Zürich " + one.id) for one in ALL], format).encode()
    assert list(path.parent.iterdir()) == [path]


class Killed(BaseException):
    """Represents a signal: ``except Exception`` does not catch it."""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("error", [RuntimeError, Killed])
@pytest.mark.parametrize("old", [None, b"old\n"])
def test_an_interrupted_writer_changes_nothing(tmp_path, format, error, old):
    path = tmp_path / "taxa"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error), AssignmentWriter(path, format) as writer:
        for _ in range(2000):
            writer.write(KNOWN)
        raise error
    assert [(p, p.read_bytes()) for p in tmp_path.iterdir()] == ([] if old is None else [(path, old)])


def test_a_failure_at_the_very_end_changes_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"), AssignmentWriter(tmp_path / "a.tsv", "tsv") as writer:
        writer.write(KNOWN)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_stream_is_raised(tmp_path):
    class Full(io.StringIO):
        def flush(self):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"), AssignmentWriter(Full(), "tsv") as writer:
        writer.write(KNOWN)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is a folder, expected a file"), AssignmentWriter(tmp_path, "tsv"):
        pytest.fail("the context must not begin")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "change",
    [
        {"similarity": float("nan")},
        {"novel_p": float("inf")},
        {"confidences": (float("nan"), *[None] * 6)},
        {"p_values": (*[None] * 6, float("-inf"))},
        {"novel_q": float("nan")},
        {"q_values": (*[None] * 6, float("nan"))},
        {"absences": (float("inf"), *[None] * 6)},
    ],
)
def test_numbers_that_are_not_finite_are_refused(tmp_path, format, change):
    with (
        pytest.raises(
            StoreError,
            match=r"query asv1: .*number that is not finite.*ednabed reference verify",
        ),
        AssignmentWriter(tmp_path / "x", format) as writer,
    ):
        writer.write(replace(KNOWN, **change))
    assert list(tmp_path.iterdir()) == []
