"""Tests of candidate taxa as files: read back by other means, complete or absent, and safe for any names."""

from __future__ import annotations

import csv
import io
import random
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.export import discovery, discovery_page
from ednabed.export.discovery import CANDIDATE_COLUMNS, FILES, MEMBER_COLUMNS, write_discovery
from ednabed.export.discovery_page import Neighbour
from ednabed.sequences import digest
from ednabed.store.assignment import Assignment
from ednabed.taxonomy.candidate_taxon import CandidateTaxon, Claim, Member, Novel, Parent

NAMES = ("Animalia", "Arthropoda", "Insecta", "", "", "", "")
SPECIES = Claim("species", 0.0123456, 0.05)


def unit(seed: int, dimension: int = 8) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


def novel(number: int, *, ids: tuple[str, ...] | None = None, **more) -> Novel:
    assignment = Assignment(
        f"q{number}", "not_in_reference", lineage=NAMES, nearest_id=more.pop("nearest", "ref 1"), nearest_lineage=NAMES,
        identity=88.12345, coverage=100.0, similarity=0.7654321, novel_rank="order", novel_p=0.00123456, novel_q=0.04,
        p_values=(None,) * 6 + (more.pop("species_p", 0.0001),), q_values=(None,) * 6 + (0.0123456,),
    )  # fmt: skip
    sequence = "".join(random.Random(number).choices("ACGT", k=50))
    return Novel(sequence, unit(number), assignment, ids or (f"q{number}",), **more)


def candidates() -> list[CandidateTaxon]:
    first = novel(1, ids=("a", "b"), reads=9, samples={"lake": 5, "pond;1": 4})
    other = novel(2, reads=3, samples={"lake": 3}, warnings=("low complexity (DUST score 5.0)",))
    alone = novel(3, species_p=None)
    return [
        CandidateTaxon(
            "novel_1", (Member(first, 100.0, 0.0), Member(other, 98.5, 0.0123)), Claim("order", 0.00123456, 0.04),
            NAMES, Parent("class", "Insecta", 1200, 34, 5),
        ),
        CandidateTaxon("novel_2", (Member(alone, 100.0, 0.0),), SPECIES),
    ]  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode()
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    # Other programs end a line at any of these.
    assert len(text.splitlines()) == len(lines)
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


class Page(HTMLParser):
    """Collects the elements that must be closed, in order, the texts, and all attributes."""

    VOID = frozenset(("meta", "br"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and "tr" in self.open:
            self.cells[-1][-1] += data

    def titles(self, text: str) -> list[str]:
        svg = re.search(r"<svg.*</svg>", text, re.DOTALL)
        return [] if svg is None else [t.text or "" for t in ElementTree.fromstring(svg[0]).iter("title")]


# -- tables ------------------------------------------------------------------------------------------------------------


def test_there_is_one_row_per_candidate(tmp_path):
    write_discovery(tmp_path / "out", candidates())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    one, two = rows_of(tmp_path / "out" / "candidates.tsv")
    assert list(one) == list(CANDIDATE_COLUMNS)
    assert one == {
        "id": "novel_1", "sequences": "2", "records": "3", "reads": "12", "samples": "2",
        "sample_reads": "lake=8;pond_1=4", "representative": "a", "length": "50", "candidate": "yes",
        "novel_rank": "order", "lineage": "Animalia;Arthropoda;Insecta;;;;", "parent": "Insecta",
        "parent_rank": "class", "parent_genera": "1200", "parent_species": "34", "parent_sequences": "5",
        "nearest_id": "ref 1",
        "nearest_lineage": "Animalia;Arthropoda;Insecta;;;;", "identity": "88.123", "coverage": "100.000",
        "similarity": "0.765432", "mean_difference": "1.500", "largest_difference": "1.500",
        "mean_distance": "0.012300", "largest_distance": "0.012300", "p": "0.001235", "q": "0.04",
        "species_p": "0.0001", "species_q": "0.01235",
        "warnings": "1 of 1 other sequences have warnings",
    }  # fmt: skip
    assert (two["p"], two["q"], two["species_p"], two["samples"]) == ("0.01235", "0.05", "", "")
    assert (two["lineage"], two["novel_rank"], two["candidate"]) == (";;;;;;", "species", "no")
    assert [two[name] for name in two if name.startswith("parent")] == [""] * 5
    assert two["mean_difference"] == "0.000"


def test_there_is_one_row_per_member_record(tmp_path):
    write_discovery(tmp_path, candidates())
    rows = rows_of(tmp_path / "members.tsv")
    assert list(rows[0]) == list(MEMBER_COLUMNS)
    keys = ("id", "candidate", "representative", "identity", "sequence_reads")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("a", "novel_1", "yes", "100.000", "9"),
        ("b", "novel_1", "yes", "100.000", "9"),
        ("q2", "novel_1", "no", "98.500", "3"),
        ("q3", "novel_2", "yes", "100.000", "1"),
    ]
    assert rows[2]["warnings"] == "low complexity (DUST score 5.0)"
    assert rows[2]["digest"] == digest(candidates()[0].members[1].novel.sequence.encode())


def test_representatives_are_fasta(tmp_path):
    write_discovery(tmp_path, candidates())
    one, two = candidates()
    assert (tmp_path / "candidates.fasta").read_bytes().decode() == (
        f">novel_1;size=12\n{one.representative.sequence}\n>novel_2;size=1\n{two.representative.sequence}\n"
    )


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_has_summary_map_and_table(tmp_path):
    neighbours = [Neighbour("ref 1", NAMES, unit(7))]
    write_discovery(
        tmp_path, candidates(), neighbours=neighbours, summary={"reference": "alps <2026>", "tested": "1,000"}
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    words = " ".join(found.texts)
    for word in (
        "alps <2026>",
        "1,000",
        "computed by PCA",
        "distances on the map are not measurements",
        "this page only",
    ):
        assert word in words
    assert found.titles(text) == [
        "novel_1: a, 9 reads, representative",
        "novel_1: q2, 3 reads",
        "novel_2: q3, 1 read, representative",
        "reference: ref 1, Animalia › Arthropoda › Insecta",
    ]
    head, one, two = found.cells
    assert len(head) == len(one) == len(two)
    cells = dict(zip(head, one, strict=True))
    assert cells["nearest named relative"] == "ref 1, Animalia › Arthropoda › Insecta"
    assert (cells["reads"], cells["p"], cells["q"], cells["identity"]) == ("12", "0.00123", "0.04", "88.1")
    assert (cells["candidate"], cells["not in the reference"]) == ("yes", "order")
    assert cells["known in the reference"] == "Insecta: 1,200 genera, 34 species, 5 sequences"
    assert "2, with 3 sequences and 13 reads" in words
    assert "1 (genus or a broader rank is not in the reference)" in words
    assert (dict(zip(head, two, strict=True))["candidate"], two[2]) == ("no", "species")
    assert cells["samples"] == "lake (8), pond;1 (4)"
    assert cells["spread (mean, maximum)"] == "1.5, 1.5"


def test_the_page_is_self_contained_and_runs_nothing(tmp_path):
    write_discovery(tmp_path, candidates())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(found.tags)
    assert not {"src", "href", "srcset", "action"} & {name for name, _ in found.attributes}
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


def test_points_are_inside_the_map(tmp_path):
    taxa = [CandidateTaxon(f"novel_{i}", (Member(novel(i), 100.0, 0.0),), SPECIES) for i in range(1, 9)]
    write_discovery(tmp_path, taxa)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    points = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)"', text)]
    assert len(set(points)) == 8
    assert all(16 <= round(x) <= 744 and 16 <= round(y) <= 464 for x, y in points)
    # The map fills the page in at least one direction.
    xs, ys = zip(*points, strict=True)
    assert max(xs) - min(xs) == pytest.approx(728, abs=1) or max(ys) - min(ys) == pytest.approx(448, abs=1)


def test_a_long_page_is_shortened_and_states_it(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery_page, "MAX_ROWS", 2)
    monkeypatch.setattr(discovery_page, "MAX_POINTS", 3)
    first = [novel(i, reads=20 - i, nearest="near") for i in range(1, 4)]
    taxa = [
        CandidateTaxon("novel_1", (Member(first[0], 100.0, 0.0), Member(first[2], 99.0, 0.01)), SPECIES),
        CandidateTaxon("novel_2", (Member(first[1], 100.0, 0.0), Member(novel(4), 99.0, 0.01)), SPECIES),
        CandidateTaxon("novel_3", (Member(novel(5, nearest="far"), 100.0, 0.0),), SPECIES),
    ]
    neighbours = [Neighbour("near", NAMES, unit(7)), Neighbour("far", NAMES, unit(8))]
    write_discovery(tmp_path, taxa, neighbours=neighbours)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert [title.split(",")[0] for title in found.titles(text)] == [
        "novel_1: q1", "novel_1: q3", "novel_2: q2", "reference: near",
    ]  # fmt: skip
    assert [cells[0] for cells in found.cells[1:]] == ["novel_1", "novel_2"]
    words = " ".join(found.texts)
    assert "shows the 2 groups with the most reads; candidates.tsv contains all 3" in words
    assert "1 sequences with fewer reads are not shown" in words
    assert len(rows_of(tmp_path / "candidates.tsv")) == 3
    assert len(rows_of(tmp_path / "members.tsv")) == 5


def test_many_samples_are_summed_up_on_the_page(tmp_path):
    one = novel(1, reads=36, samples={f"s{i}": i for i in range(1, 9)})
    write_discovery(tmp_path, [CandidateTaxon("novel_1", (Member(one, 100.0, 0.0),), SPECIES)])
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert found.cells[1][7] == "s8 (8), s7 (7), s6 (6), s5 (5), s4 (4) and 3 more"
    assert rows_of(tmp_path / "candidates.tsv")[0]["sample_reads"].count("=") == 8


def test_the_absence_of_candidates_is_stated(tmp_path):
    write_discovery(tmp_path, [], neighbours=[Neighbour("x", NAMES, unit(1))], summary={"tested": "3"})
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "No sequence was found to be absent from the reference" in " ".join(found.texts)
    assert "svg" not in found.tags
    assert rows_of(tmp_path / "candidates.tsv") == rows_of(tmp_path / "members.tsv") == []
    assert (tmp_path / "candidates.fasta").read_bytes() == b""


def test_the_same_candidates_give_the_same_files(tmp_path):
    for name in "ab":
        write_discovery(tmp_path / name, candidates(), seed=3)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# -- names from users --------------------------------------------------------------------------------------------------

ODD = st.text(st.characters(), min_size=1, max_size=10) | st.sampled_from(
    ["a\tb", "a\nb", "a\r\n", "<script>alert(1)</script>", '"><b>', "]]>", "&amp;", "=1+1", "@x", "\x00",
     "\u2028", "\ud800"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(ODD, ODD, ODD, ODD)
def test_any_name_is_one_cell_and_plain_text(tmp_path, id, sample, nearest, name):
    one = novel(1, ids=(id, "b"), reads=2, samples={sample: 2}, nearest=nearest, warnings=(name,))
    parent = Parent("class", name, 1, 2, 3)
    taxon = CandidateTaxon("novel_1", (Member(one, 100.0, 0.0),), Claim("order", 0.5, 0.5), NAMES, parent)
    neighbours = [Neighbour(name, ("", "", "", "", "", name.replace(";", ""), ""), unit(5))]
    write_discovery(tmp_path, [taxon], neighbours=neighbours, summary={name: sample})
    (row,) = rows_of(tmp_path / "candidates.tsv")
    keep = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
    if not keep.search(id + nearest):
        assert (row["representative"], row["nearest_id"]) == (id, nearest)
    assert [r["id"] for r in rows_of(tmp_path / "members.tsv")] == [row["representative"], "b"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert found.tags.count("circle") == 2
    assert not {"script", "b"} & set(found.tags)
    assert len(found.titles(text)) == 2
    assert {len(cells) for cells in found.cells} == {14}
    if not keep.search(nearest):
        assert found.cells[1][8].startswith(f"{nearest}, Animalia")


def test_a_formula_is_not_changed(tmp_path):
    one = CandidateTaxon("novel_1", (Member(novel(1, ids=("=cmd()",)), 100.0, 0.0),), SPECIES)
    write_discovery(tmp_path, [one])
    assert rows_of(tmp_path / "members.tsv")[0]["id"] == "=cmd()"


# -- complete or absent ------------------------------------------------------------------------------------------------


def test_other_files_in_the_folder_are_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "deep").mkdir()
    write_discovery(tmp_path, [])
    write_discovery(tmp_path, candidates())
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert len(rows_of(tmp_path / "candidates.tsv")) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "notes.txt", "deep"])


@pytest.mark.parametrize("name", FILES)
def test_a_foreign_file_is_not_replaced(tmp_path, name):
    write_discovery(tmp_path, candidates())
    (tmp_path / name).write_text("mine", encoding="utf-8")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=f"{name} was not written by 'ednabed discover'"):
        write_discovery(tmp_path, candidates()[:1])
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_changes_nothing(tmp_path, monkeypatch, old, error):
    folder = tmp_path / "out"
    if old:
        write_discovery(folder, candidates()[:1])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(*_):
        raise error("stop")

    monkeypatch.setattr(discovery, "page", fail)
    with pytest.raises(error, match="stop"):
        write_discovery(folder, candidates())
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if old else [])


def test_an_open_file_leaves_the_table_unchanged(tmp_path, monkeypatch):
    write_discovery(tmp_path, candidates()[:1])
    before = (tmp_path / "candidates.tsv").read_bytes()
    real = Path.replace

    def held(self, target):
        if Path(target).name == "members.tsv":
            raise PermissionError("held by another program")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", held)
    with pytest.raises(PermissionError, match="held"):
        write_discovery(tmp_path, candidates())
    assert (tmp_path / "candidates.tsv").read_bytes() == before


def test_a_new_folder_appears_complete(tmp_path, monkeypatch):
    folder = tmp_path / "new" / "out"
    real = discovery.page

    def look(*arguments):
        assert not folder.exists()
        return real(*arguments)

    monkeypatch.setattr(discovery, "page", look)
    write_discovery(folder, candidates())
    assert len(list(folder.iterdir())) == 4


def test_a_file_is_not_a_folder(tmp_path):
    path = tmp_path / "out"
    path.write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file, expected a folder"):
        write_discovery(path, candidates())
    assert path.read_text(encoding="utf-8") == "x"
