"""Tests of assignments in JSON lines that are converted to other formats."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ednabed.errors import StoreError, UsageError
from ednabed.export.assignments import FORMATS, AssignmentWriter, converted
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import Assignment, Status, Withheld

OLD = Path(__file__).resolve().parents[1] / "kept" / "assignments_1" / "assignments.jsonl"
TROUT = ("Animalia", "Chordata", "Actinopteri", "Salmoniformes", "Salmonidae", "Salmo", "Salmo trutta")
ONE = Assignment(
    id="asv1", status="assigned", lineage=(*TROUT[:6], ""), names=TROUT, confidences=(1.0, *[0.9] * 5, 0.1),
    tied=(TROUT, (*TROUT[:6], "Salmo salar")), nearest_id="ref|1", nearest_lineage=TROUT, identity=98.76543,
    coverage=100.0, similarity=0.98765432, strand="-", marker="12S", novel_rank="genus", novel_p=0.5, novel_q=0.6,
    p_values=(0.9,) * 7, q_values=(0.95,) * 7, absences=(0.3,) * 7, withheld="tie", nearest_taxon_id="8032",
    note="back",
)  # fmt: skip

# Any text except lone surrogates, which no file can contain; including separators of names.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", " ", "a\tb", "a\r\nb", '"', "a;b", "a,b", "a|b", "\u2028", "=1", "\x85", "null", "é"]
)
free = st.tuples(*[texts] * 7)
# A lineage as one string cannot contain the separator in its names.
lineages = st.tuples(*[texts.map(lambda text: text.replace(";", ","))] * 7)
shares = st.none() | st.floats(0, 1)
assignments = st.builds(
    Assignment,
    id=texts, status=st.sampled_from(get_args(Status)), lineage=free, names=free,
    withheld=st.none() | st.sampled_from(get_args(Withheld)), nearest_taxon_id=st.none() | texts, novel_q=shares,
    q_values=st.tuples(*[shares] * 7), absences=st.tuples(*[shares] * 7),
    confidences=st.tuples(*[shares] * 7), tied=st.lists(lineages, max_size=3).map(tuple),
    nearest_id=st.none() | texts, nearest_lineage=lineages, identity=st.none() | st.floats(0, 100),
    coverage=st.none() | st.floats(0, 100), similarity=st.none() | st.floats(-1, 1), strand=st.sampled_from("+-"),
    marker=st.none() | texts, novel_rank=st.none() | st.sampled_from(RANKS), novel_p=shares,
    p_values=st.tuples(*[shares] * 7), note=texts,
)  # fmt: skip


def direct(assignments: list[Assignment], format: str) -> str:
    stream = io.StringIO(newline="")
    with AssignmentWriter(stream, format) as writer:
        for one in assignments:
            writer.write(one)
    return stream.getvalue()


@given(assignments)
@example(ONE)
@example(Assignment("x", "rejected", note="letter"))
@example(replace(ONE, tied=(TROUT, ("",) * 7)))
@example(replace(ONE, lineage=("a;b", *[""] * 6), tied=()))
def test_an_assignment_is_read_back(assignment):
    assert Assignment.from_dict(assignment.to_dict()) == assignment
    assert Assignment.from_dict(json.loads(json.dumps(assignment.to_dict()))) == assignment


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(assignments, max_size=4))
def test_a_converted_file_equals_a_file_written_directly(tmp_path_factory, assignments):
    path = tmp_path_factory.mktemp("written") / "a.jsonl"
    with AssignmentWriter(path, "jsonl") as writer:
        for one in assignments:
            writer.write(one)
    for format in FORMATS:
        assert converted(path, format) == direct(assignments, format)
        assert path.exists()


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[]", b"5", b"null", b"", b"{", b'"id"', b"\xff", b"id\tstatus",
        *(json.dumps({**ONE.to_dict(), **change}).encode() for change in (
            {"tied": 5}, {"tied": [5]}, {"tied": ["a;b"]}, {"ranks": []}, {"ranks": {}},
            {"ranks": dict.fromkeys(RANKS, 5)},
            {"nearest_lineage": "a"}, {"nearest_lineage": 7}, {"identity": "high"}, {"similarity": [1]},
            {"id": 5}, {"novel_p": "x"}, {"novel_q": "x"}, {"status": ["assigned"]},
        )),
        json.dumps({key: value for key, value in ONE.to_dict().items() if key != "note"}).encode(),
        b"[" * 100_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", ["tsv", "qiime2"])
def test_a_damaged_line_is_reported(tmp_path, line, format):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(ONE.to_dict()).encode() + b"\n" + line + b"\n")
    with pytest.raises(StoreError, match=r"a\.jsonl, line 2: is not an assignment .*compute the results again"):
        converted(path, format)


def test_objects_of_earlier_versions_are_read():
    """Missing values become None; a p-value without a claim was the p-value of the species."""
    lines = [json.loads(line) for line in OLD.read_text(encoding="utf-8").splitlines()]
    known, absent, unsure, rejected = found = [Assignment.from_dict(line) for line in lines]
    assert [line["status"] for line in lines] == ["assigned", "novel", "unclassified", "rejected"]
    assert [one.status for one in found] == ["assigned", "not_in_reference", "unclassified", "rejected"]
    assert [line["novel_p"] for line in lines] == [0.4, 0.0125, 0.2, None]
    assert [one.novel_p for one in found] == [None, 0.0125, None, None]
    assert [one.species_p for one in found] == [0.4, 0.004, 0.2, None]
    for one in found:
        assert (one.withheld, one.nearest_taxon_id, one.novel_q, one.species_q) == (None,) * 4
        assert one.q_values == one.absences == (None,) * 7
    assert (absent.rank, absent.names, absent.novel_rank, absent.confidence) == ("family", TROUT, "genus", 0.9)
    assert (known.lineage, known.nearest_id, known.identity, known.marker) == (TROUT, "r1", 99.5, "12S")
    assert (rejected.note, unsure.confidences[0]) == ("its vector in the run is all zeros or not finite", 0.4)
    rows = [line.split("\t") for line in converted(OLD, "tsv").splitlines()]
    assert dict(zip(rows[0], rows[2], strict=True))["status"] == "not_in_reference"


def test_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**ONE.to_dict(), "identity": float("nan")}) + "\n")
    with pytest.raises(StoreError, match="has NaN, which is not a JSON number"):
        converted(path, "tsv")


def test_an_unknown_format(tmp_path):
    path: Path = tmp_path / "a.jsonl"
    path.write_text("")
    with pytest.raises(UsageError, match="xlsx"):
        converted(path, "xlsx")
    assert converted(path, "jsonl") == ""
    assert converted(path, "tsv").startswith("id\tstatus\t")
