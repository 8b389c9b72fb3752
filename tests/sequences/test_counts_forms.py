"""Each format of count table, written here and read back; errors in each format are refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.sequences import delimited, open_records, read_labels
from ednabed.sequences.counts import CountTable, find_counts, read_count_table

ROOT = "0a1b2c3d-0000-4000-8000-00000000abcd"
BASES = ["ACGT" * 10, "GATTACA" * 6 + "G", "TTTTCCCCAAAAGGGG" * 3]


def md5(sequence: str) -> str:
    return hashlib.md5(sequence.encode()).hexdigest()


def read(folder: Path, data: str | bytes, name: str = "counts") -> CountTable:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_count_table(path)


def dense(counts: CountTable) -> dict[str, list[int]]:
    """Return all counts by id, in the order of the samples."""
    return {
        name: [counts.counts_of(name).get(place, 0) for place in range(len(counts.samples))]
        for name in counts.row_of_id
    }


# -- writers of each format, independent of the readers ----------------------------------------------------------------


def as_text(head: list[str], rows: list[list[object]], delimiter: str = "\t", quoting: int = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    writer.writerows([head, *rows])
    return out.getvalue()


def features(table: dict[str, list[int]]) -> list[list[object]]:
    return [[name, *counts] for name, counts in table.items()]


def biom_table(samples: list[str], table: dict[str, list[int]], metadata=None):
    from biom import Table

    return Table(np.array(list(table.values())), list(table), samples, observation_metadata=metadata)


def biom_hdf5(samples, table, metadata=None) -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        biom_table(samples, table, metadata).to_hdf5(file, generated_by="test")
    return out.getvalue()


def biom_json(samples, table, metadata=None) -> bytes:
    return biom_table(samples, table, metadata).to_json("test").encode()


def artifact(
    type_: str, name: str, data: bytes, *, root: str = ROOT, more: tuple[tuple[str, bytes], ...] = ()
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{root}/VERSION", "QIIME 2\narchive: 5\nframework: 2024.2.0\n")
        file.writestr(f"{root}/metadata.yaml", f"uuid: {root}\ntype: {type_}\nformat: X\n")
        file.writestr(f"{root}/data/{name}", data)
        file.writestr(f"{root}/provenance/VERSION", "x")
        for member, content in more:
            file.writestr(member, content)
    return out.getvalue()


def shared_file(samples, table) -> str:
    rows = [["0.03", sample, len(table), *(counts[i] for counts in table.values())] for i, sample in enumerate(samples)]
    return as_text(["label", "Group", "numOtus", *table], rows)


def sparse(samples, table) -> str:
    lines = ["#Compressed Format: groupIndex,abundance. For example 1,6 would mean ... group S.",
             "\t".join(f"#{i},{sample}" for i, sample in enumerate(samples, 1)),
             "\t".join(["Representative_Sequence", "total", *samples])]  # fmt: skip
    for name, counts in table.items():
        pairs = [f"{i},{count}" for i, count in enumerate(counts, 1) if count]
        lines.append("\t".join([name, str(sum(counts)), *pairs]))
    return "\n".join(lines) + "\n"


FORMS = {
    "tsv": lambda s, t: as_text(["#OTU ID", *s], features(t)),
    "csv": lambda s, t: as_text(["", *s], features(t), ",", csv.QUOTE_NONNUMERIC),
    "semicolon": lambda s, t: as_text(["id", *s], features(t), ";"),
    "R": lambda s, t: as_text(s, features(t)),
    "R, quoted": lambda s, t: as_text(s, features(t), quoting=csv.QUOTE_NONNUMERIC),
    "biom text": lambda s, t: (
        "# Constructed from biom file\n"
        + as_text(["#OTU ID", *s], [[name, *map(float, counts)] for name, counts in t.items()])
    ),
    "separator at the end": lambda s, t: as_text(["id", *s], features(t)).replace("\n", "\t\n"),
    "count_table": lambda s, t: as_text(
        ["Representative_Sequence", "total", *s], [[name, sum(counts), *counts] for name, counts in t.items()]
    ),
    "sparse count_table": sparse,
    "shared": shared_file,
    "ampliseq": lambda s, t: as_text(
        ["ASV_ID", *s, "sequence"], [[name, *counts, "ACGT" * 20] for name, counts in t.items()]
    ),
    "long": lambda s, t: as_text(
        ["feature_id", "sample", "count"],
        [[name, sample, count] for name, counts in t.items() for sample, count in zip(s, counts, strict=True)],
    ).replace("feature_id", "feature-id"),
    "BIOM 2.1": biom_hdf5,
    "BIOM 1.0": biom_json,
    "qza": lambda s, t: artifact("FeatureTable[Frequency]", "feature-table.biom", biom_hdf5(s, t)),
}

counts_ = st.integers(0, 40) | st.sampled_from([0, 0, 0, 10**9])
tables = st.integers(2, 5).flatmap(
    lambda width: st.lists(st.lists(counts_, min_size=width, max_size=width), min_size=1, max_size=6)
)


def is_sum_free(rows: list[list[int]]) -> bool:
    """Return whether no column happens to be the sum of all others."""
    return not any(all(2 * row[i] == sum(row) for row in rows) for i in range(len(rows[0])))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tables.filter(is_sum_free))
def test_a_table_written_in_any_form_is_read_back(tmp_path, form, rows):
    samples = ["S1", "lake 2", "µ-3", "10", "Sample.Five"][: len(rows[0])]
    table = {f"asv{i}": row for i, row in enumerate(rows)}
    got = read(tmp_path, FORMS[form](samples, table))
    assert got.samples == tuple(samples)
    assert dense(got) == table
    assert got.reads == sum(map(sum, rows))


@pytest.mark.parametrize("form", ["csv", "tsv", "no corner", "names in rows"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(counts_, min_size=3, max_size=3), min_size=1, max_size=4))
def test_sequence_tables(tmp_path, form, rows):
    samples = [f"S{i}" for i in range(len(rows))]
    by_sequence = {sequence: [row[i] for row in rows] for i, sequence in enumerate(BASES)}
    if form == "names in rows":
        if not is_sum_free(list(by_sequence.values())):
            return
        text = as_text(["", *samples], features(by_sequence), ",", csv.QUOTE_NONNUMERIC)
    else:
        head = BASES if form == "no corner" else ["", *BASES]
        body = [[name, *row] for name, row in zip(samples, rows, strict=True)]
        text = as_text(head, body, "," if form == "csv" else "\t", csv.QUOTE_NONNUMERIC)
    got = read(tmp_path, text)
    assert got.samples == tuple(samples)
    assert dense(got) == {md5(sequence): counts for sequence, counts in by_sequence.items()}
    assert got.sequences == tuple(BASES)
    assert got.named_by_sequence
    assert any("MD5" in note for note in got.notes)


# -- sums --------------------------------------------------------------------------------------------------------------

ROWS = [["a", 12, 12, 0], ["b", 6, 1, 5], ["c", 1, 0, 1], ["d", 2, 1, 1]]


@pytest.mark.parametrize("name", ["total", "Sum", "Row total", "row_sum", "Total.reads", "size", "pool"])
@pytest.mark.parametrize("last", [False, True])
def test_the_sum_of_all_other_columns_is_omitted_and_reported(tmp_path, name, last):
    order = [0, 2, 3, 1] if last else [0, 1, 2, 3]
    head = ["id", name, "S1", "S2"]
    got = read(tmp_path, as_text([head[i] for i in order], [[row[i] for i in order] for row in ROWS]))
    assert got.samples == ("S1", "S2")
    assert got.reads == 21
    assert got.omitted == (name,)
    assert got.notes == (f"column {name!r} is the sum of all other columns, so it is not a sample and is omitted",)


def test_two_sums_are_omitted(tmp_path):
    got = read(tmp_path, as_text(["id", "total", "S1", "S2", "Sum"], [[*row, row[1]] for row in ROWS]))
    assert (got.samples, got.reads, got.omitted) == (("S1", "S2"), 21, ("total", "Sum"))


@pytest.mark.parametrize(
    ("samples", "rows", "kept"),
    [
        (["total"], [[5], [7]], ["total"]),
        (["A", "B"], [[5, 5], [7, 7], [1, 1], [2, 2]], ["A", "B"]),
        (["A", "B", "blank"], [[5, 5, 0], [7, 7, 0], [1, 1, 0], [9, 9, 0]], ["A", "B", "blank"]),
        (["A", "total"], [[5, 5], [7, 7]], ["A"]),
        (["A", "total", "blank"], [[5, 5, 0], [7, 7, 0]], ["A", "blank"]),
        (["A", "B", "blank"], [[5, 1, 0], [7, 2, 0]], ["A", "B", "blank"]),
        (["A", "B", "C"], [[5, 3, 2]], ["A", "B", "C"]),
        (["A", "B", "sum"], [[3, 2, 5]], ["A", "B"]),
        (["A", "lake total", "B"], [[5, 3, 1], [1, 1, 1]], ["A", "lake total", "B"]),
        (["A", "B", "total"], [[0, 0, 0]], ["A", "B", "total"]),
    ],
)
def test_what_is_a_sum_and_what_is_not(tmp_path, samples, rows, kept):
    got = read(tmp_path, as_text(["id", *samples], [[f"f{i}", *row] for i, row in enumerate(rows)]))
    assert list(got.samples) == kept
    # A sample named like a sum is reported.
    assert any("not the sum of the other" in note for note in got.notes) == ("lake total" in samples)
    assert any("no samples except" in note for note in got.notes) == (samples == ["total"])


def test_a_row_that_is_the_sum_is_omitted(tmp_path):
    got = read(tmp_path, as_text(["id", "S1", "S2", "total"], [*[[r[0], r[2], r[3], r[1]] for r in ROWS],
                                                               ["TOTAL", 14, 7, 21]]))  # fmt: skip
    assert (list(got.row_of_id), got.samples, got.reads) == (["a", "b", "c", "d"], ("S1", "S2"), 21)
    assert len(got.notes) == 2
    got = read(tmp_path, as_text(["id", "S1"], [["a", 1], ["total eclipse", 2], ["Sum 4", 3]]))
    assert list(got.row_of_id) == ["a", "total eclipse", "Sum 4"]


# -- ids, cells, columns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "asked"),
    [("asv1;size=10", "asv1"), ("asv1", "asv1;size=10;"), ("asv1;size=10;", "asv1;size=12"), ("asv1", "asv1"),
     ("asv1;tax=d:A,p:B;size=3", "asv1")],
)  # fmt: skip
def test_ids_match_with_and_without_annotations(tmp_path, written, asked):
    got = read(tmp_path, f"id\tS1\tS2\n{written}\t3\t4\nother;size=1\t1\t1\n")
    assert asked in got and got.counts_of(asked) == {0: 3, 1: 4}
    assert "nobody;size=3" not in got
    assert next(iter(got.row_of_id)) == written


def test_an_id_that_matches_two_features_matches_none(tmp_path):
    got = read(tmp_path, "id\tS1\nasv1;size=1\t3\nasv1;size=2\t4\n")
    assert "asv1" not in got
    assert got.counts_of("asv1;size=2") == {0: 4}


@pytest.mark.parametrize(
    ("cell", "value"), [("12", 12), ("12.0", 12), ("1e3", 1000), ("1E+05", 100000), ('"1,200"', 1200), (" 7 ", 7),
                        ('"1,234,567.0"', 1234567)],
)  # fmt: skip
def test_notations_of_a_count(tmp_path, cell, value):
    assert dense(read(tmp_path, f"id,A,B\na,{cell},1\n")) == {"a": [value, 1]}


@pytest.mark.parametrize("cell", ["1,20", "0,000", "1,2000", ",200", "1,200,", "12,34,567"])
def test_a_comma_that_may_be_a_decimal_comma_is_refused(tmp_path, cell):
    with pytest.raises(InputError, match="expected a whole number"):
        read(tmp_path, f"id\tA\tB\na\t{cell}\t1\n")


def test_taxa_and_sequences_next_to_the_counts(tmp_path):
    head = ["", "ASV_ID", "S1", "S2", "Kingdom", "Species", "confidence", "sequence"]
    got = read(tmp_path, as_text(head, [["1", "x", 3, 4, "Animalia", "Gadus morhua", "0.9", BASES[0]],
                                        ["2", "y", 0, 1, "", "NA", "0.2", BASES[1]]]))  # fmt: skip
    assert (got.samples, dense(got)) == (("S1", "S2"), {"x": [3, 4], "y": [0, 1]})
    assert got.sequences == (BASES[0], BASES[1])
    assert got.labels == {"Kingdom": ["Animalia", ""], "Species": ["Gadus morhua", "NA"]}
    assert got.omitted == ("unnamed_1", "Kingdom", "Species", "confidence", "sequence")
    assert got.notes == ("columns that are not samples are omitted: 'unnamed_1', 'confidence'",)
    got = read(tmp_path, "#OTU ID\tS1\ttaxonomy\nx\t3\tk__A; p__B\n")
    assert (got.samples, got.labels) == (("S1",), {"taxonomy": ["k__A; p__B"]})


def test_columns_of_words_are_omitted_and_reported(tmp_path):
    head = ["ASV_ID", "S1", "Species_exact", "BLAST hit", "S2", "sequence"]
    body = [["x", 3, "NA", "Gadus morhua 99%", 4, BASES[0]], ["y", 0, "trutta", "", 1, BASES[1]]]
    got = read(tmp_path, as_text(head, body))
    assert (got.samples, dense(got)) == (("S1", "S2"), {"x": [3, 4], "y": [0, 1]})
    assert got.notes == ("columns that are not samples are omitted: 'Species_exact', 'BLAST hit'",)
    rows = [[f"f{i}", *body[i % 2][1:]] for i in range(60)]
    with pytest.raises(InputError, match="contains the count '7', but words in the first rows"):
        read(tmp_path, as_text(head, [*rows, ["z", 1, 7, "", 1, ""]]))
    for cells in (["NA", "NA"], ["", ""], ["x", "3"], ["-1", "x"]):
        with pytest.raises(InputError, match="expected a whole number"):
            read(tmp_path, as_text(["id", "S1", "S2"], [[f"f{i}", 1, cell] for i, cell in enumerate(cells)]))


def test_obitools_tables(tmp_path):
    head = ["id", "count", "MERGED_sample:S1", "sample:lake 2", "seq_length", "sequence"]
    got = read(tmp_path, as_text(head, [["x", 7, 3, 4, 40, BASES[0]], ["y", 1, 0, 1, 43, BASES[1]]]))
    assert (got.samples, dense(got)) == (("S1", "lake 2"), {"x": [3, 4], "y": [0, 1]})
    assert got.sequences == (BASES[0], BASES[1])


def test_samples_may_be_named_like_ranks_and_molecules(tmp_path):
    got = read(tmp_path, "id\tDNA\tClass\tdomain\na\t1\t2\t4\n")
    assert got.samples == ("DNA", "Class", "domain")


def test_taxonomy_of_biom(tmp_path):
    metadata = [{"taxonomy": ["k__A", "p__B"], "x": 1}, {"taxonomy": "k__C"}, None]
    table = {"a": [1, 0], "b": [0, 2], "c": [3, 4]}
    for data in (biom_hdf5(["S1", "S2"], table, [{"taxonomy": ["k__A", "p__B"]}] * 3),
                 biom_json(["S1", "S2"], table, metadata)):  # fmt: skip
        assert read(tmp_path, data).labels["taxonomy"][0] == "k__A; p__B"
    assert read(tmp_path, data).labels["taxonomy"][1:] == ["k__C", ""]


def test_a_long_header_keeps_all_names(tmp_path):
    samples = [f"{'a_sample_with_a_long_name' * 4}_{i:06d}" for i in range(3_000)]
    assert len("\t".join(samples)) > 300_000
    got = read(tmp_path, as_text(["id", *samples], [["a", *[1] * 3_000], ["b", *[0] * 2_999, 7]]))
    assert got.samples == tuple(samples)
    assert got.counts_of("b") == {2_999: 7}
    path = tmp_path / "wide.tsv"
    path.write_text(as_text(["id", *samples, "sequence"], [["a", *[1] * 3_000, "ACGT"]]))
    with open_records(path) as records:
        assert next(records).column("sequence").to_pylist() == [b"ACGT"]


def test_wide_and_long_tables_are_read_line_by_line(tmp_path, monkeypatch):
    """Each line is split only once, whatever the number of columns and rows: time is linear in cells."""
    split: list[int] = []
    original = delimited.split_line

    def count(line, *more):
        split.append(len(line))
        return original(line, *more)

    monkeypatch.setattr(delimited, "split_line", count)
    for rows, columns in ((8, 20_000), (20_000, 8)):
        split.clear()
        text = as_text(
            ["id", *(f"s{i}" for i in range(columns))], [[f"f{i}", *["0"] * (columns - 1), i % 7] for i in range(rows)]
        )
        assert len(read(tmp_path, text)) == rows
        assert sum(split) == len(text) - (rows + 1)


@pytest.mark.parametrize(
    "head",
    ["feature,sample,count", "ASV ID,Sample ID,read count", ",OTU,Sample,Abundance,SampleType", "sample,feature,reads",
     "otu,sample_name,frequency", "x,marker,taxonomy,sample,count", "taxonomy,seqs,eventID,organismQuantity",
     "sample,asv,count", "id,asv,sample,count"],
)  # fmt: skip
def test_long_tables_by_their_columns(tmp_path, head):
    """Exactly one column of samples and one of counts make a long table, whatever its ids are named."""
    rows = [("A", "S1", 3), ("B", "S2", 4), ("A", "S2", 0)]
    names = head.split(",")
    sample, count = (
        next(place for place, name in enumerate(names) if re.search(word, name, re.IGNORECASE))
        for word in ("sample|eventID", "count|abundance|reads|frequency|quantity")
    )
    id_ = next(
        place for place, name in enumerate(names) if place not in (sample, count) and name not in ("", "taxonomy")
    )
    cells = []
    for number, (name, of, reads) in enumerate(rows):
        row = [f"t{number}" if column != "taxonomy" else "" for column in names]
        row[sample], row[count], row[id_] = of, reads, name
        cells.append(row)
    got = read(tmp_path, as_text(names, cells))
    assert (got.samples, dense(got)) == (("S1", "S2"), {"A": [3, 0], "B": [0, 4]})
    unused = [name or "unnamed_1" for place, name in enumerate(names) if place not in (sample, count, id_)]
    unused.remove("taxonomy") if "taxonomy" in unused else None
    assert got.omitted == tuple(unused)
    assert len(got.notes) == bool(unused) and all(repr(name) in got.notes[0] for name in unused)


def test_long_tables_named_by_sequences(tmp_path):
    rows = [[BASES[0], "S1", 3], [BASES[1], "S2", 4], [BASES[0], "S2", 1]]
    path = tmp_path / "counts"
    got = read(tmp_path, as_text(["sequence", "sample", "count"], rows))
    assert dense(got) == {md5(BASES[0]): [3, 1], md5(BASES[1]): [0, 4]}
    assert got.named_by_sequence and got.sequences == tuple(BASES[:2])
    assert find_counts(path) == "sequence table"
    with pytest.raises(InputError, match="feature 'ACGT' is not a sequence of at least 20 bases"):
        read(tmp_path, as_text(["sequence", "sample", "count"], [["ACGT", "S1", 3]]))


def test_wide_tables_with_samples_in_the_first_column(tmp_path):
    """Transposed tables, also with the total reads of each sample; each sample has one row."""
    got = read(tmp_path, "sample\ta\tb\treads\nS1\t1\t2\t3\nS2\t0\t4\t4\n")
    assert (got.samples, dense(got)) == (("a", "b"), {"S1": [1, 2], "S2": [0, 4]})
    assert read(tmp_path, "id\tsample\na\t3\n").samples == ("sample",)


def test_a_long_table_describes_each_feature_consistently(tmp_path):
    head = "id\tsample\tcount\tsequence\ttaxonomy\n"
    got = read(tmp_path, head + f"a\tS1\t3\t\tk__A\na\tS2\t4\t{BASES[0]}\tk__a\n")
    assert (got.sequences, got.labels) == ((BASES[0],), {"taxonomy": ["k__A"]})
    for second, message in (
        (f"{BASES[1]}\tk__A", "row 3 .*: id 'a' has 'sequence' 'GATTACA.*', but 'ACGT.*' in row 1"),
        (f"{BASES[0]}\tk__B", "row 3 .*: id 'a' has 'taxonomy' 'k__B', but 'k__A' in row 1"),
    ):
        with pytest.raises(InputError, match=message):
            read(tmp_path, head + f"a\tS1\t3\t{BASES[0]}\tk__A\nb\tS1\t1\t\t\na\tS2\t4\t{second}\n")


@pytest.mark.parametrize(
    "text",
    ["id\tsample\tS1\tS2\na\tx\t1\t2\n", "id\tsample\tcount\treads\na\tS1\t1\t1\n",
     "id\tsample\tsample_id\tcount\na\tS1\tS1\t1\n", "taxonomy\tsample\tcount\nk__A\tS1\t3\n",
     "id\tsample\tn\na\tS1\t3\n"],
)  # fmt: skip
def test_other_tables_with_a_column_of_samples_are_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"has a column of samples .'sample'.*name those three 'sample', 'id' and"):
        read(tmp_path, text)


def test_a_damaged_count_table_is_reported_as_damaged(tmp_path):
    header = "id\t" + "\t".join(md5(str(i)) for i in range(30_000))
    row = "a" + "\t1" * 30_000
    data = gzip.compress(f"{header}\n{row}\n".encode())
    with pytest.raises(InputError, match="the gzip data end too early"):
        read(tmp_path, data[: len(data) // 2])
    with pytest.raises(InputError, match=r"is not a count table \(is a PDF; .*\); give a TSV"):
        read(tmp_path, "%PDF-1.4\n")
    with pytest.raises(InputError, match=r"is not a count table .it is FASTQ.; give a TSV"):
        read(tmp_path, "@a\nACGT\n+\nIIII\n")


def test_a_transposed_table(tmp_path):
    got = read(tmp_path, "sample\ta\tb\nS1\t1\t2\nS2\t0\t4\n").transposed()
    assert (got.samples, dense(got)) == (("S1", "S2"), {"a": [1, 0], "b": [2, 4]})
    assert dense(got.transposed()) == {"S1": [1, 2], "S2": [0, 4]}


# -- refused tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asv1\t3\t0\nasv2\t1\t2\n", "has no header line"),
        ("asv1\t3\t3\nasv2\t1\t2\n", "has no header line"),
        (as_text(["", *BASES, "site"], [["S1", 1, 2, 3, "lake"]]), "sequence 'site': the count is 'lake'"),
        (as_text(["", *BASES, "age"], [["S1", 1, 2, 3, 9]]), "most columns are named by sequences, but 'age' is not"),
        (as_text(["", BASES[0], BASES[0]], [["S1", 1, 2]]), f"two columns are named '{BASES[0]}'"),
        (as_text(["", *BASES], [["S1", 1, "x", 3]]), f"sequence '{BASES[1][:39]}…': the count is 'x'"),
        (shared_file(["S1", "S2"], {"a": [1, 2], "b": [3, 4]}).replace("0.03\tS2", "0.05\tS2"), "has the label '0.05'"),
        (sparse(["S1"], {"a": [4]}).replace("a\t4", "a\t5"), "has the total '5', but its counts add up to 4"),
        (sparse(["S1"], {"a": [4]}).replace("1,4", "2,4"), "has the cell '2,4', expected the number of a group"),
        (sparse(["S1"], {"a": [4]}).replace("#1,S1\n", "\n"), "second line does not list the groups"),
        ("Representative_Sequence\ttotal\tA\tB\na\t5\t1\t1\n", "column 'total' is named as a sum, but has 5 for 'a'"),
        ("id\tsample\tcount\na\tS1\t3\na\tS1\t4\n", "row 2 .*: id 'a' is in sample 'S1' twice"),
        ("id\tsample\tcount\na\tS1\tx\n", "the count is 'x'"),
        ("id\tsample\tcount\na\t\t1\n", "row 1 .* has no sample"),
        ('id,S1\n"a,1\nb,2\n', "cannot be split into cells"),
        ("{", "is a BIOM table that is truncated, damaged"),
        ('{"id": 1}', "is a BIOM table that is truncated, damaged"),
    ],
)  # fmt: skip
def test_one_sentence_that_describes_the_problem(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'counts'}: ")
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, "'-1.0'"), (0.25, "'0.25', expected a whole number of 0 or more .relative"), (float("nan"), "'nan'")],
)
def test_biom_values_that_are_not_counts(tmp_path, value, message):
    from biom import Table

    body = json.loads(Table(np.array([[1.5, 2.0]]), ["a"], ["S1", "S2"]).to_json("test"))
    body["data"][0][2] = value
    with pytest.raises(InputError, match=f"sample 'S1': the count is {message}"):
        read(tmp_path, json.dumps(body))


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_biom_table(tmp_path, keep):
    for data in (biom_hdf5(["S1"], {f"f{i}": [i] for i in range(1, 99)}), biom_json(["S1"], {"a": [4]})):
        with pytest.raises(InputError, match=r"is a BIOM table that is truncated, damaged|is not a count table"):
            read(tmp_path, data[: int(len(data) * keep)])


# -- QIIME 2 artifacts -------------------------------------------------------------------------------------------------

FASTA = b">asv1\nACGTACGT\n>asv2\nGGGGCCCC\n"
TAXA = b"Feature ID\tTaxon\tConfidence\nasv1\tk__Animalia; p__Chordata\t0.9\n"
TABLE = {"asv1": [3, 0], "asv2": [1, 5]}


def biom_artifact() -> bytes:
    return artifact("FeatureTable[Frequency]", "feature-table.biom", biom_hdf5(["S1", "S2"], TABLE))


def ids_of(records) -> list[str]:
    return [name for batch in records for name in batch.column("id").to_pylist()]


def test_sequences_and_labels_in_artifacts(tmp_path):
    path = tmp_path / "rep-seqs.qza"
    path.write_bytes(artifact("FeatureData[Sequence]", "dna-sequences.fasta", FASTA))
    with open_records(path) as records:
        assert records.format == "fasta" and records.source == "rep-seqs.qza"
        assert ids_of(records) == ["asv1", "asv2"]
    with open_records("-", stdin=io.BytesIO(path.read_bytes())) as records:
        assert ids_of(records) == ["asv1", "asv2"]
    path.write_bytes(artifact("FeatureData[Taxonomy]", "taxonomy.tsv", TAXA))
    assert dict(read_labels(path)) == {"asv1": "Animalia;Chordata;;;;;"}
    got = read(tmp_path, artifact("FeatureTable[Frequency % Properties('x')]", "feature-table.biom",
                                  biom_hdf5(["S1", "S2"], TABLE)))  # fmt: skip
    assert dense(got) == TABLE


@pytest.mark.parametrize(
    ("type_", "name", "reader", "message"),
    [
        ("FeatureTable[Frequency]", "feature-table.biom", open_records, r"give it as a count table \(`abundance`\)"),
        ("FeatureData[Taxonomy]", "taxonomy.tsv", open_records, r"give it as labels \(`labels`\)"),
        ("FeatureData[Sequence]", "dna-sequences.fasta", read_count_table, "give it as an input"),
        ("FeatureData[Sequence]", "dna-sequences.fasta", read_labels, r"expected FeatureData\[Taxonomy\]"),
        ("Visualization", "index.html", read_count_table, "is a QIIME 2 visualization"),
        ("Phylogeny[Rooted]", "tree.nwk", open_records, r"of type Phylogeny\[Rooted\]; give one of these types"),
        ("FeatureTable[RelativeFrequency]", "feature-table.biom", read_count_table, "give one of these types"),
        ("FeatureData[Sequence]", "other.fasta", open_records, "has no data/dna-sequences.fasta"),
    ],
)  # fmt: skip
def test_artifacts_of_another_type(tmp_path, type_, name, reader, message):
    path = tmp_path / "x.qza"
    path.write_bytes(artifact(type_, name, FASTA))
    with pytest.raises(InputError, match=message):
        reader(path)


@pytest.mark.parametrize(
    "member", ["../evil", f"{ROOT}/../../evil", "/etc/evil", f"{ROOT}\\..\\evil", "C:evil", f"{ROOT}/a/./b"]
)
def test_members_outside_of_the_folder_are_refused(tmp_path, member):
    with pytest.raises(InputError, match=r"leaves the folder of the artifact|has 2 top folders"):
        read(tmp_path, artifact("FeatureTable[Frequency]", "feature-table.biom", b"x", more=((member, b"x"),)))
    assert [path.name for path in tmp_path.iterdir()] == ["counts"]


def test_two_top_folders_are_refused(tmp_path):
    more = ((f"{ROOT[:-1]}e/metadata.yaml", b"type: x\n"),)
    with pytest.raises(InputError, match="has 2 top folders"):
        read(tmp_path, artifact("FeatureTable[Frequency]", "feature-table.biom", b"x", more=more))


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(InputError, match="would take 150,000,000 bytes, decompressed"):
        read(tmp_path, artifact("FeatureTable[Frequency]", "feature-table.biom", bytes(150_000_000)))


def test_damaged_artifacts(tmp_path):
    whole = biom_artifact()
    for data in (whole[:-30], whole[: len(whole) // 2]):
        with pytest.raises(InputError, match="is a QIIME 2 artifact that is truncated or damaged"):
            read(tmp_path, data)
    middle = whole.index(b"feature-table.biom") + 400
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path, whole[:middle] + bytes(200) + whole[middle + 200 :])


# -- files of the field ------------------------------------------------------------------------------------------------

FIVE = {"asv1": [12, 0], "asv2": [1, 5], "asv3": [0, 1], "asv4": [1, 1]}


@pytest.mark.parametrize("name", ["32_mothur.count_table", "32b_mothur_c.count_table"])
def test_mothur_of_the_field(shared, name):
    got = read_count_table(shared / "field" / name)
    assert (got.samples, dense(got), got.reads) == (("S1", "S2"), FIVE, 21)


def test_other_tables_of_the_field(shared):
    got = read_count_table(shared / "field" / "30_biom.tsv")
    assert got.samples == ("S1", "S 2", "S3") and got.counts_of("asv3") == {2: 100_000}
    got = read_count_table(shared / "field" / "35b_otutab.txt")
    assert got.counts_of("asv1") == {0: 12}
    with (shared / "field" / "34_seqtab.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    got = read_count_table(shared / "field" / "34_seqtab.csv")
    assert got.samples == tuple(row[0] for row in rows)
    assert dense(got) == {md5(s): [int(row[i]) for row in rows] for i, s in enumerate(head) if i}


@pytest.mark.parametrize("length", [0, 2**63, 2**64 - 16])
def test_a_damaged_heap_of_hdf5_is_refused_and_not_read_forever(tmp_path, length):
    data = bytearray(biom_hdf5(["S1", "S2"], {"f1": [1, 2], "f2": [3, 0]}))
    heap = data.index(b"GCOL")
    end = heap + int.from_bytes(data[heap + 8 : heap + 16], "little")
    at = heap + 16
    while int.from_bytes(data[at : at + 2], "little"):
        at += 16 + -(-int.from_bytes(data[at + 8 : at + 16], "little") // 8) * 8
    assert at + int.from_bytes(data[at + 8 : at + 16], "little") == end, "the rest of the heap is free"
    data[at + 8 : at + 16] = length.to_bytes(8, "little")
    path = tmp_path / "x.biom"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"x.biom: .* damaged .*an object of {length} bytes in the global heap at "):
        read_count_table(path)


def test_text_that_looks_like_a_heap_of_hdf5_is_text(tmp_path):
    path = tmp_path / "x.biom"
    path.write_bytes(biom_hdf5(["GCOL", "S2"], {"GCOL" * 5: [1, 2], "GCOL\x01": [3, 0]}))
    assert list(read_count_table(path).samples) == ["GCOL", "S2"]
