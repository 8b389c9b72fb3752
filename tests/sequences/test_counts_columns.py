"""Numeric columns of count tables that are not samples are omitted by name or refused, never counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ednabed.errors import InputError
from ednabed.sequences.counts import CountTable, read_count_table
from ednabed.sequences.counts.feature_columns import describes_features

ROWS = [["a", 10, 5, 0], ["b", 0, 7, 0], ["c", 1, 0, 3], ["d", 0, 0, 100], ["e", 2, 0, 0]]


def read(folder: Path, head: list[str], rows: list[list[object]], separator: str = "\t") -> CountTable:
    path = folder / "counts.tsv"
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in [head, *rows]), encoding="utf-8")
    return read_count_table(path)


@pytest.mark.parametrize(
    "name",
    ["taxid", "TaxID", "tax_id", "staxid", "NCBI_taxid", "AphiaID", "gbifID", "usageKey", "speciesKey", "bitscore",
     "Bit score", "score", "mismatch", "qcovs", "prevalence", "n_occurrences", "Occurrence", "spread", "cloud",
     "cluster", "clusterSize", "OTU_number", "rank_id", "n_samples", "sample_count", "length", "seq.length",
     "Length (bp)", "E-value", "pident", "% identity", "max_pident", "Per. ident", "Total Score", "best_hit_taxid",
     "n_records", "Record Count", "source_records",
     "LCA rank", "genus_bootstrap", "boot.Genus", "mean", "mean_abundance"],
)  # fmt: skip
def test_numbers_that_are_not_counts_are_omitted_by_name_and_reported(tmp_path, name):
    rows = [[*row[:3], number, row[3]] for row, number in zip(ROWS, (8049, "1e-50", 98.5, "", "NA"), strict=True)]
    got = read(tmp_path, ["id", "S1", "S2", name, "S3"], rows)
    assert (got.samples, got.reads, got.omitted) == (("S1", "S2", "S3"), 128, (name,))
    assert got.notes == (f"columns that are not samples are omitted: {name!r}",)


SAMPLES = [
    *(
        "S1",
        "12",
        "cluster_lake",
        "BLK-03",
        "cluster_1",
        "score1",
        "Keys",
        "Madrid",
        "DNA",
        "N",
        "Start",
        "Day",
        "Depth",
    ),
    *("Boise_ID", "control_id", "lake_score", "Top", "Reference", "index", "cover", "Class", "min", "n", "long", "X"),
]


def test_samples_with_similar_names_are_kept(tmp_path):
    rows = [[f"f{row}", *range(row, row + len(SAMPLES))] for row in range(3)]
    got = read(tmp_path, ["id", *SAMPLES], rows)
    assert (got.samples, got.notes) == (tuple(SAMPLES), ())


def test_a_name_of_any_length_is_decided_at_once():
    for text in ("best" * 5_000, "cluster" * 5_000 + "!x", "seqsequence" * 9, "n" * 60, "rank" * 14 + "zz"):
        assert not describes_features(text)


def test_a_total_next_to_other_columns_is_found(tmp_path):
    rows = [[*row, sum(row[1:]), sum(cell > 0 for cell in row[1:]), 170] for row in ROWS]
    got = read(tmp_path, ["id", "S1", "S2", "S3", "total", "n_samples", "length"], rows)
    assert (got.samples, got.reads, got.omitted) == (("S1", "S2", "S3"), 128, ("n_samples", "length", "total"))


@pytest.mark.parametrize("name", ["total", "Sum", "row_sums", "Total reads", "sum of counts", "size", "n_reads"])
def test_a_total_that_does_not_add_up_is_refused(tmp_path, name):
    rows = [[*row, sum(row[1:])] for row in ROWS]
    rows[1][4] = 9
    with pytest.raises(InputError) as error:
        read(tmp_path, ["id", "S1", "S2", "S3", name], rows)
    assert str(error.value) == (
        f"{tmp_path / 'counts.tsv'}: column {name!r} is named as a sum, but has 9 for 'b', where the other columns add "
        "up to 7; remove it, or rename it if it is a sample"
    )


def test_a_total_of_all_columns_but_one_names_that_one(tmp_path):
    rows = [[*row, 170 + place, sum(row[1:])] for place, row in enumerate(ROWS)]
    with pytest.raises(
        InputError, match="'total' is the sum of all other columns except 'bases'; remove 'bases' if it is"
    ):
        read(tmp_path, ["id", "S1", "S2", "S3", "bases", "total"], rows)


def test_a_second_total_is_omitted_if_one_adds_up(tmp_path):
    got = read(tmp_path, ["id", "S1", "S2", "S3", "total", "abundance"], [[*row, sum(row[1:]), 8] for row in ROWS])
    assert (got.samples, got.reads, got.omitted) == (("S1", "S2", "S3"), 128, ("total", "abundance"))
    assert "'abundance' is named as a sum, but 'total' is the sum" in got.notes[1]


def test_a_table_of_totals_only_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"all its columns of counts are named as sums \('total', 'Sum'\)"):
        read(tmp_path, ["id", "total", "Sum"], [["a", 3, 4], ["b", 0, 0]])


def test_a_sample_named_like_a_sum_next_to_the_sum_of_all(tmp_path):
    rows = [[*row, sum(row[1:])] for row in ROWS]
    got = read(tmp_path, ["id", "lake total", "lake small", "S3", "total"], rows)
    assert (got.samples, got.reads) == (("lake total", "lake small", "S3"), 128)


def test_a_single_column_named_like_a_sum_is_a_sample_and_reported(tmp_path):
    got = read(tmp_path, ["Representative_Sequence", "total"], [["a", 3], ["b", 4]])
    assert (got.samples, got.reads) == (("total",), 7)
    assert got.notes == ("has no samples except 'total', which is read as one sample of that name",)


@pytest.mark.parametrize(("others", "kept"), [(2, True), (3, False)])
def test_a_sum_without_such_a_name_needs_three_samples(tmp_path, others, kept):
    samples = ["S1", "S2", "S3"][:others]
    rows = [[f"f{row}", *range(row, row + others), sum(range(row, row + others))] for row in range(4)]
    got = read(tmp_path, ["id", *samples, "S12"], rows)
    assert ("S12" in got.samples) == kept
    assert len(got.notes) == 1 and "'S12' is the sum of" in got.notes[0]


def test_a_sample_without_a_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="column 3 has counts but no name; name its sample in the header line"):
        read(tmp_path, ["id", "S1", "", "S3"], ROWS)


def test_a_table_of_such_numbers_only_is_refused(tmp_path):
    with pytest.raises(InputError, match="no column of counts, and by their names 'taxid', 'length' are not samples"):
        read(tmp_path, ["id", "taxid", "length"], [["a", 8049, 170]])


def test_the_row_numbers_of_pandas_are_not_ids(tmp_path):
    got = read(tmp_path, ["Unnamed: 0", "ASV_ID", "S1"], [[0, "a", 3], [1, "b", 4]], ",")
    assert (list(got.row_of_id), got.samples) == (["a", "b"], ("S1",))


@pytest.mark.parametrize("separator", [" ", "   "])
@pytest.mark.parametrize("head", [["id", "S1", "S2", "S3"], ["S1", "S2", "S3"], ['"my id"', '"S1"', '"S2"', '"S3"']])
def test_a_table_separated_by_spaces_is_reported(tmp_path, head, separator):
    with pytest.raises(InputError, match=r"is separated by spaces, expected tabs or commas; .* sep = '\\t'"):
        read(tmp_path, head, ROWS, separator)
