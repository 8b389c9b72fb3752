"""Count tables in all formats that labs use: compared with independent readers, and refused in one sentence."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import InputError
from ednabed.sequences.counts import read_count_table


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


# -- reading counts ----------------------------------------------------------------------------------------------------

RELATIVE = ("2.5", "1e-2")
PLAIN = {"asv1": [0, 12, 3], "asv2": [0, 0, 0], "asv3": [100000, 0, 1]}


@pytest.mark.parametrize(
    "text",
    [
        "asv\tA\tB\tC\nasv1\t0\t12\t3\nasv2\t0\t0\t0\nasv3\t100000\t0\t1\n",
        "asv\tA\tB\tC\r\nasv1\t0\t12\t3\r\nasv2\t0\t0\t0\r\nasv3\t100000\t0\t1",
        "\ufeffasv,A,B,C\nasv1,0,12,3\nasv2,0,0,0\nasv3,100000,0,1\n",
        "# Constructed from biom file\n#OTU ID\tA\tB\tC\nasv1\t0.0\t12.0\t3.0\nasv2\t0.0\t0\t0\nasv3\t1e5\t0.0\t1.\n",
        "#OTU ID\tA\tB\tC\ttaxonomy\nasv1\t0\t12\t3\tk__A; p__B\nasv2\t0\t0\t0\tNA\nasv3\t100000\t0\t1\t\n",
        "A\tB\tC\nasv1\t0\t12\t3\nasv2\t0\t0\t0\nasv3\t1e+05\t0\t1\n",
        '"A"\t"B"\t"C"\n"asv1"\t0\t12\t3\n"asv2"\t0\t0\t0\n"asv3"\t1e+05\t0\t1\n',
        '"","A","B","C"\n"asv1",0,12,3\n"asv2",0,0,0\n"asv3",1e+05,0,1\n',
        "id;A;B;C\nasv1; 0;12 ;3\nasv2;0;0;0\nasv3;100000;00;1\n",
        "feature-id\tA\tB\tC\n#q2:types\tnumeric\t\t\n asv1 \t0\t12\t3\nasv2\t0\t0\t0\nasv3\t100000\t0\t1\n",
    ],
    ids=["tsv", "windows", "csv", "biom", "taxonomy", "R", "R quoted", "R csv", "semicolon", "qiime2"],
)
def test_all_notations_of_counts(tmp_path, text):
    counts = counts_of(tmp_path, text)
    assert counts.samples == ("A", "B", "C")
    assert dense(counts) == PLAIN
    assert len(counts) == 3
    assert counts.omitted == (("taxonomy",) if "taxonomy" in text else ())
    assert counts.counts.dtype == np.int64
    with pytest.raises(KeyError):
        counts.counts_of("nobody")


def test_compressed_counts(tmp_path):
    xopen = pytest.importorskip("xopen")
    text = b"asv\tA\tB\tC\nasv1\t0\t12\t3\nasv2\t0\t0\t0\nasv3\t100000\t0\t1\n"
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(text))
    with xopen.xopen(tmp_path / "a.tsv.zst", "wb", threads=0) as file:
        file.write(text)
    for path in tmp_path.iterdir():
        assert dense(read_count_table(path)) == PLAIN
    assert dense(read_count_table("-", stdin=io.BytesIO(text))) == PLAIN


@pytest.mark.parametrize("cell", ["-1", "2.5", "x", "", "NA", "nan", "inf", "1,5", "1_0", "1e-2", "0x1f", "٣", "1e19",
                                  "1000000000000000001"])  # fmt: skip
def test_bad_counts_name_file_row_sample_and_expected_value(tmp_path, cell):
    with pytest.raises(InputError) as error:
        counts_of(tmp_path, f"asv\tA\tlake 2\nasv1\t0\t1\nasv2\t3\t{cell}\n")
    assert str(error.value) == (
        f"{tmp_path / 'counts.tsv'}: row 2 (below the header, id 'asv2'), sample 'lake 2': the count is {cell!r}, "
        f"expected a whole number of 0 or more{' (relative abundances are not read counts)' * (cell in RELATIVE)}; "
        "correct it, or remove the column if it is not a sample"
    )


def test_the_row_of_a_bad_count_is_right_in_a_later_block(tmp_path):
    lines = "".join(f"asv{place}\t1\t{'2' * 100}\n".replace("2" * 100, "2" + " " * 99) for place in range(40_000))
    assert len(lines) > 2 * 2 * 1024 * 1024
    with pytest.raises(InputError, match=r"row 40001 \(below the header, id 'bad'\), sample 'A': the count is 'one'"):
        counts_of(tmp_path, f"asv\tA\tB\n{lines}bad\tone\t1\n")
    assert counts_of(tmp_path, f"asv\tA\tB\n{lines}good\t1\t1\n").counts.sum() == 40_000 * 3 + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "asv\tA\nx\t1\ny\t2\n x\t3\n",
            r"id 'x' is in row 1 and in row 3 \(below the header\).*add them up or rename",
        ),
        ("asv\tA\nx\t1\n\t2\n", r"row 2 \(below the header\) has no id in its first column"),
        ("asv\tA\tA\nx\t1\t2\n", r"two columns are named 'A'; rename one"),
        ("asv\ttaxonomy\nx\tk__A\n", r"has no column of counts; give ids"),
        ("asv\tA\n", r"has a header line but no rows"),
        ("asv\tA\nx\t1\t2\t3\n", r"row 1 \(below the header\) has 4 cells, the header has 2"),
        (">asv1\nACGT\n", r"is not a count table \(it is FASTA\); give a TSV or CSV"),
        ("asv1\nasv2\n", r"is not a count table \(its first line has one cell\); give a TSV or CSV"),
        (b"\x89HDF\r\n", r"is a BIOM table that is truncated, damaged or not valid BIOM 1.0 or 2.1"),
        ("", r"is empty"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=r"counts\.tsv: " + message):
        counts_of(tmp_path, text)


def test_a_missing_count_table(tmp_path):
    with pytest.raises(InputError, match=r"no such file"):
        read_count_table(tmp_path / "counts.tsv")


def is_bare(name: str) -> bool:
    """Return whether a cell is a name as it is; a fully quoted cell is the name within the quotes."""
    return bool(name) and re.fullmatch(r'"(?:[^"]|"")*"', name) is None


names = st.text(
    st.characters(blacklist_characters="\t\r\n\0", blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=6
)
distinct_ids = st.lists(names.map(str.strip).filter(is_bare), min_size=1, max_size=6, unique=True)


@given(distinct_ids, st.data())
def test_any_ids_and_counts_are_read_back(tmp_path_factory, ids, data):
    samples = ["s1", "µ;2", "a,b"][: data.draw(st.integers(1, 3))]
    rows = [[data.draw(st.integers(0, 10**18)) for _ in samples] for _ in ids]
    text = "\t".join(["asv", *samples]) + "\n"
    text += "".join("\t".join([name, *map(str, row)]) + "\n" for name, row in zip(ids, rows, strict=True))
    counts = counts_of(tmp_path_factory.mktemp("counts"), text)
    assert counts.samples == tuple(samples)
    assert dense(counts) == dict(zip(ids, rows, strict=True))
