"""Tests of sample-by-taxon tables: read back by other means, and every read in exactly one cell."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.export.sample_table import COLUMNS, SampleTable, SampleTableReport
from ednabed.sequences.counts import read_count_table
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignment import UNKNOWN, Assignment

TROUT = ("Animalia", "Chordata", "Actinopteri", "Salmoniformes", "Salmonidae", "Salmo", "Salmo trutta")
FAMILY = (*TROUT[:5], "", "")
COD = ("Animalia", "Chordata", "Actinopteri", "Gadiformes", "Gadidae", "Gadus", "Gadus morhua")


def assignment(name: str, lineage=TROUT, status="assigned") -> Assignment:
    return Assignment(name, status, lineage)


def counts_of(tmp_path: Path, text: str | bytes):
    path = tmp_path / "counts.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_count_table(path)


def dense(counts) -> dict[str, list[int]]:
    """Return all counts by id, in the order of the samples."""
    return {
        name: [counts.counts_of(name).get(place, 0) for place in range(len(counts.samples))]
        for name in counts.row_of_id
    }


def written(table: SampleTable) -> tuple[list[str], list[dict[str, str]], SampleTableReport]:
    stream = io.StringIO(newline="")
    report = table.write(stream)
    assert not stream.closed
    assert len(stream.getvalue().splitlines()) == report.rows + 1
    lines = list(csv.reader(io.StringIO(stream.getvalue(), newline=""), delimiter="\t", strict=True))
    assert len({line[0] for line in lines}) == len(lines), "names of rows, as in R's row.names = 1"
    return lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[1:]], report


# -- the table ---------------------------------------------------------------------------------------------------------

COUNTS = "asv\tlake\triver\tblank\na1\t5\t0\t0\na2\t1\t2\t0\na3\t0\t7\t0\na4\t0\t0\t9\na5\t0\t0\t0\nother\t1\t1\t1\n"


def test_the_rows_with_a_count_table(tmp_path):
    table = SampleTable(counts_of(tmp_path, COUNTS))
    for one in [
        assignment("a4", UNKNOWN, "unclassified"),
        assignment("a1"),
        assignment("a3", FAMILY, "not_in_reference"),
        assignment("a2"),
        assignment("a5", COD),
        assignment("a1", COD),
        *(assignment(f"gone{place}") for place in range(5)),
    ]:
        # The values of the records are ignored here.
        table.add(one, "ocean", 1000)
    path = tmp_path / "new" / "taxa.tsv"
    report = table.write(path)
    assert path.read_bytes().decode() == (
        "lineage\tnamed\trank\tkingdom\tphylum\tclass\torder\tfamily\tgenus\tspecies\ttotal\tfeatures\t"
        "lake\triver\tblank\n"
        "Animalia;Chordata;Actinopteri;Gadiformes;Gadidae;Gadus;Gadus morhua\tyes\tspecies\tAnimalia\tChordata\t"
        "Actinopteri\tGadiformes\tGadidae\tGadus\tGadus morhua\t0\t1\t0\t0\t0\n"
        "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;;\tyes\tfamily\tAnimalia\tChordata\t"
        "Actinopteri\tSalmoniformes\tSalmonidae\t\t\t7\t1\t0\t7\t0\n"
        "Animalia;Chordata;Actinopteri;Salmoniformes;Salmonidae;Salmo;Salmo trutta\tyes\tspecies\tAnimalia\t"
        "Chordata\tActinopteri\tSalmoniformes\tSalmonidae\tSalmo\tSalmo trutta\t8\t2\t6\t2\t0\n"
        "Unassigned\tno\t\t\t\t\t\t\t\t\t9\t1\t0\t0\t9\n"
    )
    assert list(path.parent.iterdir()) == [path]
    assert report == SampleTableReport(
        rows=4, samples=3, queries=11, counted=5, reads=24, not_in_counts=5,
        not_in_counts_examples=("gone0", "gone1", "gone2"), repeated=1, not_in_queries=1,
        not_in_queries_examples=("other",), reads_omitted=3, without_abundance=0,
    )  # fmt: skip


def test_the_rows_without_a_count_table():
    table = SampleTable()
    for one, sample, abundance in [
        (assignment("a"), "river", 5),
        (assignment("b", UNKNOWN, "rejected"), None, None),
        (assignment("a"), "lake", 2**62),
        (assignment("c"), "lake", 2**62),
        (assignment("d", UNKNOWN, "not_in_reference"), "total", 0),
        (assignment("e", FAMILY), "no_sample", 1),
        (assignment("f", FAMILY, "not_in_reference"), "no_sample", None),
    ]:
        table.add(one, sample, abundance)
    heads, rows, report = written(table)
    assert heads[len(COLUMNS) :] == ["river", "no_sample", "lake", "total_sample", "no_sample_sample"]
    assert [[row[key] for key in ("rank", "named", "total", "features", *heads[len(COLUMNS) :])] for row in rows] == [
        ["family", "yes", "2", "2", "0", "0", "0", "0", "2"],
        ["species", "yes", str(5 + 2**63), "3", "5", "0", str(2**63), "0", "0"],
        ["", "no", "1", "2", "0", "1", "0", "0", "0"],
    ]
    assert (report.queries, report.counted, report.reads) == (7, 7, 8 + 2**63)
    assert (report.without_abundance, report.repeated, report.not_in_counts, report.not_in_queries) == (2, 0, 0, 0)


def test_a_negative_abundance_is_refused():
    with pytest.raises(ValueError, match="'a' has the abundance -1"):
        SampleTable().add(assignment("a"), "lake", -1)


def test_an_empty_table(tmp_path):
    assert written(SampleTable())[:2] == (list(COLUMNS), [])
    heads, rows, report = written(SampleTable(counts_of(tmp_path, COUNTS)))
    assert (heads, rows) == ([*COLUMNS, "lake", "river", "blank"], [])
    assert (report.not_in_queries, report.reads_omitted) == (6, 27)


ODD = st.sampled_from(["", "A", "B", "a\tb", "a b", "a;b", '"', "é", "\n", "\ud800", "Salmo trutta"])
odd_lineages = st.tuples(*[ODD] * 7)
odd_queries = st.lists(
    st.tuples(
        st.builds(assignment, st.sampled_from("abcdefgh"), odd_lineages,
                  st.sampled_from(["assigned", "not_in_reference", "unclassified", "rejected"])),
        st.none() | st.sampled_from(["s1", "s2", "a\tb", "a b", "total", "species", "no_sample", "é"]),
        st.none() | st.integers(0, 2**63 - 1),
    ),
    max_size=12,
)  # fmt: skip


def shown(name: str) -> str:
    return name.replace(";", ",").replace("\t", " ").replace("\n", " ").replace("\ud800", "\ufffd")


@given(odd_queries)
def test_every_read_of_the_records_is_in_one_cell(queries):
    table = SampleTable()
    by_taxon: Counter = Counter()
    by_sample: Counter = Counter()
    features: Counter = Counter()
    for one, sample, abundance in queries:
        table.add(one, sample, abundance)
        key = tuple(map(shown, one.lineage))
        by_taxon[key] += 1 if abundance is None else abundance
        by_sample[sample] += 1 if abundance is None else abundance
        features[key] += 1
    heads, rows, report = written(table)
    assert len(set(heads)) == len(heads)
    found = {tuple(row[rank] for rank in RANKS): row for row in rows}
    assert len(found) == len(rows)
    assert {key: int(row["total"]) for key, row in found.items()} == dict(by_taxon)
    assert {key: int(row["features"]) for key, row in found.items()} == dict(features)
    samples = heads[len(COLUMNS) :]
    for row in rows:
        assert int(row["total"]) == sum(int(row[name]) for name in samples)
        parts = [row[rank] for rank in RANKS]
        assert row["lineage"] == (";".join(parts) if any(parts) else "Unassigned")
        assert row["named"] == ("yes" if any(parts) else "no")
        assert row["rank"] == next((rank for rank in reversed(RANKS) if row[rank]), "")
    # Columns are in order of first appearance.
    order = list(dict.fromkeys(sample for _, sample, _ in queries))
    assert [sum(int(row[name]) for row in rows) for name in samples] == [by_sample[sample] for sample in order]
    assert report.reads == sum(by_taxon.values())
    assert [report.rows, report.samples, report.queries] == [len(rows), len(order), len(queries)]


@given(odd_queries, st.lists(st.lists(st.integers(0, 10**18), min_size=2, max_size=2), min_size=5, max_size=5))
def test_every_read_of_a_count_table_is_in_one_cell_or_reported(tmp_path_factory, queries, numbers):
    reads = dict(zip(["a", "b", "c", "d", "x"], numbers, strict=True))
    text = "id\ts1\ts2\n" + "".join(f"{name}\t{one}\t{two}\n" for name, (one, two) in reads.items())
    table = SampleTable(counts_of(tmp_path_factory.mktemp("counts"), text))
    firsts = {}
    for one, sample, abundance in queries:
        table.add(one, sample, abundance)
        firsts.setdefault(one.id, one)
    _, rows, report = written(table)
    expected: dict = {}
    for name, one in firsts.items():
        if name in reads:
            key = tuple(map(shown, one.lineage))
            expected[key] = [a + b for a, b in zip(expected.get(key, [0, 0]), reads[name], strict=True)]
    found = {tuple(row[r] for r in RANKS): [int(row["s1"]), int(row["s2"])] for row in rows}
    assert found == expected
    assert all(int(row["total"]) == int(row["s1"]) + int(row["s2"]) for row in rows)
    assert report.reads + report.reads_omitted == sum(map(sum, numbers))
    assert report.reads == sum(map(sum, expected.values()))
    assert report.counted + report.repeated + report.not_in_counts == report.queries == len(queries)
    assert report.not_in_counts == sum(one.id not in reads for one, _, _ in queries)
    assert report.not_in_queries == len(reads) - len(firsts.keys() & reads.keys())


def test_the_order_of_the_queries_does_not_change_rows(tmp_path):
    counts = counts_of(tmp_path, COUNTS)
    queries = [
        assignment("a1"), assignment("a2", COD), assignment("a3", FAMILY), assignment("a4", FAMILY, "not_in_reference"),
        assignment("a5", UNKNOWN, "unclassified"), assignment("other", UNKNOWN, "not_in_reference"),
    ]  # fmt: skip
    texts = set()
    for order in (queries, queries[::-1], queries[3:] + queries[:3]):
        table = SampleTable(counts)
        for one in order:
            table.add(one)
        stream = io.StringIO()
        table.write(stream)
        texts.add(stream.getvalue())
    assert len(texts) == 1


def test_an_interrupted_table_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "taxa.tsv"
    path.write_bytes(b"old\n")
    table = SampleTable()
    table.add(assignment("a"), "lake", 3)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        table.write(path)
    monkeypatch.undo()
    assert [(p, p.read_bytes()) for p in tmp_path.iterdir()] == [(path, b"old\n")]
    table.write(path)
    assert path.read_text(encoding="utf-8").startswith("lineage\t")
    with pytest.raises(UsageError, match="is a folder, expected a file for the results; add a file name such as"):
        table.write(tmp_path)


# -- real counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["12s", "18sv9"])
def test_real_counts_with_the_authors_own_assignments(shared, marker):
    samples = shared / "data" / "samples"
    path = samples / f"okex2301_{marker}_counts.tsv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file, delimiter="\t")
    with gzip.open(
        samples / f"okex2301_{marker}_author_assignments.tsv.gz", "rt", encoding="utf-8", newline=""
    ) as file:
        named = list(csv.DictReader(file, delimiter="\t"))
    counts = read_count_table(path)
    table = SampleTable(counts)
    expected: dict[tuple, np.ndarray] = {}
    reads = {line[0]: np.array([int(cell) for cell in line[1:]]) for line in lines}
    assert len(reads) == len(lines) == len(counts)
    queries = 0
    for row in named:
        lineage = tuple((row.get(rank) or "").replace(";", ",") for rank in RANKS)
        if row["featureid"] in reads:
            expected[lineage] = expected.get(lineage, 0) + reads[row["featureid"]]
        table.add(replace(assignment(row["featureid"]), lineage=lineage))
        queries += 1
    heads, rows, report = written(table)
    assert heads[len(COLUMNS) :] == head[1:]
    assert len(rows) == len(expected) > 20
    for row in rows:
        got = [int(row[name]) for name in head[1:]]
        assert got == expected[tuple(row[rank] for rank in RANKS)].tolist()
        assert sum(got) == int(row["total"])
    assert report.queries == queries == report.counted + report.not_in_counts
    assert report.reads + report.reads_omitted == sum(int(row.sum()) for row in reads.values())
