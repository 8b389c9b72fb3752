"""Results of ``classify`` and ``discover`` are read back completely, and damage is reported."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.cli import main as entry
from ednabed.dashboard.results import (
    UNNAMED,
    SampleReads,
    read_assignments,
    read_candidates,
    read_members,
    read_representatives,
    read_sample_table,
)
from ednabed.errors import StoreError
from ednabed.export.assignments import AssignmentWriter
from ednabed.export.discovery import CANDIDATE_COLUMNS, MEMBER_COLUMNS
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import Assignment, Status, Withheld

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PARTS = ("given", "best", "confidence")


def done(*arguments) -> None:
    with pytest.raises(SystemExit) as ended:
        entry.main([str(a) for a in arguments])
    assert not ended.value.code


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The results of classify and discover for the examples."""
    folder = tmp_path_factory.mktemp("results")
    workspace = ("--workspace", folder / "ws")
    done(*workspace, "embed", EXAMPLES / "fish_12s.tsv.gz", "--dataset", "fish", "--model", "kmer6", "--strand", "both")
    done(*workspace, "consolidate", "--no-calibrate")
    done(*workspace, "reference", "calibrate", "--queries", "1500")
    queries = folder / "queries.fasta"
    queries.write_text((EXAMPLES / "unknown_12s.fasta").read_text(encoding="utf-8") + ">bad;sample=D01-01\nAC!GT\n")
    done(*workspace, "classify", queries, "--output", folder / "a.jsonl", "--taxon-table", folder / "taxa.tsv")
    done(*workspace, "classify", queries, "--output", folder / "a.tsv")
    done(*workspace, "discover", queries, "--output", folder / "found")
    return folder


# -- assignments -------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict]:
    """Read the file with a JSON reader, and return it in the form of the table."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        ranks = row.pop("ranks")
        row |= {f"{rank}_{part}": ranks[rank][part] for rank in RANKS for part in PARTS}
        rows.append(row)
    return rows


def test_assignments_of_the_example(results):
    table = read_assignments(results / "a.jsonl")
    rows = table.to_pylist()
    assert rows == rows_of(results / "a.jsonl")
    assert [row["status"] for row in rows].count("rejected") == 1
    assert {"assigned", "not_in_reference"} <= {row["status"] for row in rows}
    with (results / "a.tsv").open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(row["id"], row["status"], row["lineage"] or "") for row in rows] == [
        (row["id"], row["status"], row["lineage"]) for row in told
    ]
    for row, other in zip(rows, told, strict=True):
        for rank in RANKS:
            assert (row[f"{rank}_given"] or "") == other[rank]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.tuples(*[texts.map(lambda text: text.replace(";", ",")) | st.just("")] * 7)
shares = st.none() | st.floats(0, 1)
assignments = st.builds(
    Assignment,
    id=texts, status=st.sampled_from(get_args(Status)), lineage=names, names=names,
    withheld=st.none() | st.sampled_from(get_args(Withheld)), nearest_taxon_id=st.none() | texts,
    q_values=st.tuples(*[shares] * 7), absences=st.tuples(*[shares] * 7),
    confidences=st.tuples(*[shares] * 7), tied=st.lists(names, max_size=3).map(tuple), nearest_id=st.none() | texts,
    nearest_lineage=names, identity=st.none() | st.floats(0, 100), coverage=st.none() | st.floats(0, 100),
    similarity=st.none() | st.floats(-1, 1), strand=st.sampled_from("+-"), marker=st.none() | texts,
    p_values=st.tuples(*[shares] * 7), note=texts,
)  # fmt: skip
# There are a p-value and a false discovery rate of a claim where there is a claim.
claims = st.builds(dict, novel_rank=st.sampled_from(RANKS), novel_p=shares, novel_q=shares) | st.just({})
assignments = st.builds(lambda one, claim: replace(one, **claim), assignments, claims)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(assignments, max_size=4))
def test_any_assignments_are_read_back(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    with AssignmentWriter(path, "jsonl") as writer:
        for one in written:
            writer.write(one)
    table = read_assignments(path)
    found, wanted = table.to_pylist(), rows_of(path)
    assert [row["id"] for row in found] == [one.id for one in written]
    assert all(math.isclose(row[key], value, rel_tol=1e-15) if isinstance(value := other[key], float) else
               row[key] == value for row, other in zip(found, wanted, strict=True) for key in other)  # fmt: skip
    assert set(table.schema.names) == {
        "id", "status", "rank", "lineage", "confidence", "withheld", "nearest_id", "nearest_lineage",
        "nearest_taxon_id", "identity", "coverage", "similarity", "novel_rank", "novel_p", "novel_q", "tied", "strand",
        "marker", "note",
        *(f"{rank}_{part}" for rank in RANKS for part in PARTS),
    }  # fmt: skip


def test_assignments_of_earlier_versions():
    old = EXAMPLES.parent / "tests" / "kept" / "assignments_1" / "assignments.jsonl"
    table = read_assignments(old)
    assert table.column("status").to_pylist() == ["assigned", "not_in_reference", "unclassified", "rejected"]
    assert table.column("novel_p").to_pylist() == [None, 0.0125, None, None]
    assert table.column("genus_best").to_pylist() == ["Salmo", "Salmo", None, None]
    for name in ("withheld", "nearest_taxon_id", "novel_q"):
        assert table.column(name).to_pylist() == [None] * 4


def test_long_lines_and_cells_are_read(tmp_path):
    """Many tied species, and a candidate in thousands of samples."""
    tied = tuple(("k", "p", "c", "o", "f", "g", f"Genus species{number:06d}") for number in range(60_000))
    with AssignmentWriter(tmp_path / "a.jsonl", "jsonl") as writer:
        writer.write(Assignment("x", "assigned", tied=tied))
        writer.write(Assignment("y", "assigned"))
    assert (tmp_path / "a.jsonl").stat().st_size > 1_500_000
    assert read_assignments(tmp_path / "a.jsonl").column("id").to_pylist() == ["x", "y"]
    cells = dict.fromkeys(CANDIDATE_COLUMNS, "1") | {"sample_reads": ";".join(f"sample{i}=1" for i in range(20_000))}
    text = "".join("\t".join(row) + "\n" for row in (CANDIDATE_COLUMNS, cells.values()))
    (tmp_path / "candidates.tsv").write_text(text)
    assert read_candidates(tmp_path) == [cells]


def test_many_assignments_keep_their_order(tmp_path):
    """More rows than a reader takes at once."""
    path = tmp_path / "a.jsonl"
    lineage = ("Animalia", *["x" * 40] * 6)
    with AssignmentWriter(path, "jsonl") as writer:
        for i in range(4000):
            writer.write(Assignment(f"q{i}", "assigned", lineage=lineage, tied=(lineage,) * (i % 3)))
    table = read_assignments(path)
    assert table.column("id").to_pylist() == [f"q{i}" for i in range(4000)]
    assert [len(tied) for tied in table.column("tied").to_pylist()] == [i % 3 for i in range(4000)]
    assert set(table.column("species_given").to_pylist()) == {"x" * 40}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"status"', '"state"', 1),
        lambda text: text.replace('"id": "', '"id": 5, "x": "', 1),
        lambda text: text.replace('"identity": ', '"identity": "9", "i": ', 1),
        lambda text: "{}\n" + text,
        lambda text: text + "{}\n",
        lambda text: "\n",
        lambda text: "[]\n",
        lambda text: "id\tstatus\nq\tassigned\n",
        lambda text: "\x00" * 100,
    ],
)
def test_damaged_assignments(results, tmp_path, change):
    path = tmp_path / "a.jsonl"
    path.write_text(change((results / "a.jsonl").read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(StoreError, match=r"a\.jsonl cannot be read as assignments .*compute the results again"):
        read_assignments(path)


def test_files_that_are_not_assignments(tmp_path):
    (tmp_path / "bytes.jsonl").write_bytes(b'{"id": "\xff\xfe"}\n')
    for name in ("none.jsonl", "bytes.jsonl", "."):
        with pytest.raises(StoreError, match="cannot be read as assignments"):
            read_assignments(tmp_path / name)


def test_no_queries(tmp_path):
    with AssignmentWriter(tmp_path / "a.jsonl", "jsonl"):
        pass
    table = read_assignments(tmp_path / "a.jsonl")
    assert table.num_rows == 0
    assert {"id", "status", "species_given", "kingdom_best", "genus_confidence"} <= set(table.schema.names)


# -- samples -----------------------------------------------------------------------------------------------------------


def test_the_sample_table_of_the_example(results):
    found = read_sample_table(results / "taxa.tsv")
    with (results / "taxa.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(found.names) == len(rows) > 3
    assert {"D01-01"} <= set(found.samples)
    for i, row in enumerate(rows):
        assert found.names[i] == tuple(row[rank] for rank in RANKS)
        assert [str(n) for n in found.reads[i].tolist()] == [row[sample] for sample in found.samples]
        assert found.reads[i].sum() == int(row["total"])
    labels, reads = found.by_rank("family")
    assert reads.sum() == found.reads.sum()
    assert labels[-1] == UNNAMED


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[1:],
        lambda text: text.rpartition("\t")[0],
        lambda text: text + "x\n",
        lambda text: text.replace("\tnamed\t", "\tstate\t"),
        lambda text: text.rstrip("\n") + "x\n",
        lambda text: text.rstrip("\n") + "9" * 30 + "\n",
        lambda text: text.rstrip("\n") + ".5\n",
        lambda text: "\x00" * 50,
    ],
)
def test_damaged_sample_tables(results, tmp_path, change):
    path = tmp_path / "taxa.tsv"
    path.write_text(change((results / "taxa.tsv").read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(StoreError, match=r"taxa\.tsv.*compute the results again"):
        read_sample_table(path)


def test_files_that_are_not_a_sample_table(tmp_path):
    (tmp_path / "bytes.tsv").write_bytes(b"lineage\t\xff\n")
    for name in ("none.tsv", "bytes.tsv", "."):
        with pytest.raises(StoreError, match="compute the results again"):
            read_sample_table(tmp_path / name)


def test_a_table_without_rows(results, tmp_path):
    head = (results / "taxa.tsv").read_text(encoding="utf-8").split("\n")[0]
    (tmp_path / "t.tsv").write_text(head + "\n", encoding="utf-8")
    found = read_sample_table(tmp_path / "t.tsv")
    assert found.reads.shape == (0, len(found.samples))
    labels, reads = found.by_rank("genus")
    assert labels == [] and reads.shape == (0, len(found.samples))


cells = st.sampled_from(["", "", "a", "b", "Morus", "c"])


@settings(max_examples=80)
@given(st.lists(st.tuples(*[cells] * 7), max_size=12), st.integers(0, 3), st.sampled_from(RANKS), st.randoms())
def test_sums_by_rank_are_those_of_plain_python(names, samples, rank, rng):
    reads = np.array([[rng.randint(0, 5) for _ in range(samples)] for _ in names], np.int64).reshape(
        len(names), samples
    )
    found = SampleReads([f"s{i}" for i in range(samples)], names, reads)
    place = RANKS.index(rank)
    sums: dict[tuple, list[int]] = defaultdict(lambda: [0] * samples)
    nameless = [0] * samples
    for name, row in zip(names, reads.tolist(), strict=True):
        target = sums[name[: place + 1]] if name[place] else nameless
        target[:] = [a + b for a, b in zip(target, row, strict=True)]
    labels, by = found.by_rank(rank)
    assert by.dtype == np.int64 and by.shape == (len(labels), samples)
    assert len(set(labels)) == len(labels), "no two taxa of one name"
    assert (labels[-1:] == [UNNAMED]) == any(nameless)
    if any(nameless):
        assert by[-1].tolist() == nameless
    own = by[: len(sums)]
    assert len(labels) == len(sums) + any(nameless)
    assert sorted(map(tuple, own.tolist())) == sorted(map(tuple, sums.values()))
    totals = own.sum(axis=1).tolist()
    assert totals == sorted(totals, reverse=True)
    count = Counter(key[-1] for key in sums)
    for label, row in zip(labels, own.tolist(), strict=False):
        # A unique name is the label; otherwise the label shows by its parents which taxon is meant.
        fitting = [key for key in sums if label == key[-1] or label.startswith(f"{key[-1]} (")]
        assert any(sums[key] == row for key in fitting)
        if count[fitting[0][-1]] == 1:
            assert label == fitting[0][-1]
    # A row of zeros counts as a taxon, one that has no name anywhere does not.
    assert by.sum() == reads.sum()


def test_taxa_of_the_same_name_are_distinguished_by_their_parents():
    def sums(*names: tuple[str, ...], rank="genus") -> dict[str, int]:
        reads = np.arange(1, len(names) + 1)[:, None]
        labels, by = SampleReads(["s"], list(names), reads).by_rank(rank)
        return dict(zip(labels, by[:, 0].tolist(), strict=True))

    plant = ("Plantae", "", "", "Rosales", "Moraceae", "Morus", "Morus alba")
    bird = ("Animalia", "Chordata", "Aves", "Suliformes", "Sulidae", "Morus", "Morus bassanus")
    assert sums(plant, bird) == {"Morus (Moraceae)": 1, "Morus (Sulidae)": 2}
    assert sums(plant, bird, rank="species") == {"Morus alba": 1, "Morus bassanus": 2}
    # Taxa with missing parent names are distinguished by higher ranks.
    assert sums((*plant[:3], "", "", *plant[5:]), (*bird[:4], "", *bird[5:])) == {
        "Morus (Plantae)": 1, "Morus (Suliformes)": 2,
    }  # fmt: skip
    # The same parent is not enough if it occurs in different taxa itself, or if names in between are missing.
    assert sums(bird, (*bird[:3], "", *bird[4:])) == {
        "Morus (Animalia;Chordata;Aves;Suliformes;Sulidae)": 1, "Morus (Animalia;Chordata;Aves;;Sulidae)": 2,
    }  # fmt: skip
    # A name without any parent.
    assert sums(("",) * 5 + ("Morus", ""), bird) == {"Morus": 1, "Morus (Sulidae)": 2}


def test_the_order_does_not_depend_on_the_order_of_the_rows():
    names = [("K", "P", "", "", f"F{i % 5}", "", "") for i in range(20)]
    reads = np.ones((20, 2), np.int64)
    order = random.Random(1).sample(range(20), 20)
    one = SampleReads(["a", "b"], names, reads).by_rank("family")[0]
    other = SampleReads(["a", "b"], [names[i] for i in order], reads).by_rank("family")[0]
    assert one == other == [f"F{i}" for i in range(5)]


# -- candidates --------------------------------------------------------------------------------------------------------


def test_the_discovery_of_the_example(results):
    folder = results / "found"
    candidates, members, letters = read_candidates(folder), read_members(folder), read_representatives(folder)
    assert candidates and [one["id"] for one in candidates] == list(letters)
    lines = (folder / "candidates.tsv").read_text(encoding="utf-8").splitlines()
    for one, line in zip(candidates, lines[1:], strict=True):
        assert list(one) == list(CANDIDATE_COLUMNS)
        assert "\t".join(one.values()) == line
        own = [member for member in members if member["candidate"] == one["id"]]
        assert len(own) == int(one["records"])
        assert next(m["id"] for m in own if m["representative"] == "yes") == one["representative"]
        assert len(letters[one["id"]]) == int(one["length"])
        assert set(letters[one["id"]]) <= set("ACGTN")
        assert float(one["p"]) <= 0.05 and float(one["q"]) <= 0.05
        assert one["candidate"] == ("no" if one["novel_rank"] == "species" else "yes")
        below = RANKS.index(one["novel_rank"])
        names = one["lineage"].split(";")
        assert not any(names[below:]) and names[RANKS.index(one["parent_rank"])] == one["parent"]
        # One of the two groups is assigned to the phylum, which is the complete reference.
        assert 0 < int(one["parent_genera"]) <= int(one["parent_species"]) <= 1231
        assert (int(one["parent_species"]) == 1231) == (one["parent_rank"] in ("kingdom", "phylum"))
    assert all(list(member) == list(MEMBER_COLUMNS) for member in members)


def test_a_discovery_of_nothing(tmp_path):
    for name, columns in (("candidates.tsv", CANDIDATE_COLUMNS), ("members.tsv", MEMBER_COLUMNS)):
        (tmp_path / name).write_text("\t".join(columns) + "\n", encoding="utf-8")
    (tmp_path / "candidates.fasta").write_text("", encoding="utf-8")
    assert read_candidates(tmp_path) == read_members(tmp_path) == []
    assert read_representatives(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "reader"),
    [("candidates.tsv", read_candidates), ("members.tsv", read_members), ("candidates.fasta", read_representatives)],
)
def test_damaged_discoveries(results, tmp_path, name, reader):
    folder = Path(shutil.copytree(results / "found", tmp_path / "found"))
    content = (folder / name).read_bytes()
    changes = [b"\xff\xfe" + content]
    if name.endswith(".tsv"):
        changes += [b"", content[1:], content.rpartition(b"\t")[0], content + b"\n\nx", content.replace(b"\t", b",")]
    for changed in changes:
        (folder / name).write_bytes(changed)
        with pytest.raises(StoreError, match=rf"{name.replace('.', '[.]')}.*compute the results again"):
            reader(folder)
    (folder / name).unlink()
    with pytest.raises(StoreError, match="compute the results again"):
        reader(folder)
