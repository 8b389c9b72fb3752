"""``ednabed embed`` with count tables, from the command line to the records of the run."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import biom
import numpy as np
import pytest

from ednabed.sequences.counts import read_count_table
from ednabed.store.runs import Run
from support import ednabed

A, B, C = "GATTACAGATTACAGATTACAGATTACA", "CCCCGGGGTTTTAAAACCCCGGGG", "ACGTTGCAACGTTGCAACGTTGCAAC"
FASTA = f">a;size=9\n{A}\n>b\n{B}\n>c;sample=old;size=4\n{C}\n"
TABLE = "#OTU ID\tS1\tS2\ttotal\na;size=9\t3\t0\t3\nb\t1\t5\t6\nc\t0\t2\t2\n"


def embed(folder: Path, *arguments: str | Path, code: int = 0, stdin: bytes | None = None) -> tuple[Run | None, str]:
    """Embed in the folder; return the run and standard error."""
    done = ednabed("embed", *arguments, "--model", "kmer6", "--json", cwd=folder, stdin=stdin)
    assert done.returncode == code, done.stderr.decode()
    if code:
        assert not (folder / "consolidated_data").exists(), "nothing may be left behind"
        return None, done.stderr.decode()
    return Run.open(folder / json.loads(done.stdout)["run"]), done.stderr.decode()


def rows(run: Run, *columns: str) -> list[tuple]:
    table = run.load_records(list(columns or ("id", "sample", "abundance")))
    return list(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))


def write(folder: Path, **files: str | bytes) -> list[Path]:
    """Write files; ``a_b`` is called ``a.b``."""
    paths = []
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


WANTED = [("a", "S1", 3), ("b", "S1", 1), ("b", "S2", 5), ("c", "S2", 2)]


def test_one_record_for_each_feature_and_sample(tmp_path):
    write(tmp_path, a_fasta=FASTA, t_tsv=TABLE, s_tsv="sample\tlake\nS1\tx\nS2\ty\n", l_tsv="id\ttaxon\nb\tk__Fungi\n")
    run, told = embed(tmp_path, "a.fasta", "--abundance", "t.tsv", "--samples", "s.tsv", "--labels", "l.tsv")
    assert rows(run) == WANTED
    assert rows(run, "source", "record", "sequence", "lake", "lineage") == [
        ("a.fasta", 1, A, "x", None), ("a.fasta", 2, B, "x", "Fungi;;;;;;"), ("a.fasta", 2, B, "y", "Fungi;;;;;;"),
        ("a.fasta", 3, C, "y", None),
    ]  # fmt: skip
    assert "column 'total' is the sum of all other columns, so it is not a sample and is omitted" in told
    counts = run.manifest.counts
    assert {key: counts[key] for key in ("read", "embedded", "rejected", "distinct", "samples", "reads")} == {
        "read": 4, "embedded": 4, "rejected": 0, "distinct": 3, "samples": 2, "reads": 11,
    }  # fmt: skip
    assert run.manifest.inputs[0]["read"] == run.manifest.inputs[0]["accepted"] == 3
    assert run.manifest.options["abundance"] == [
        {"name": "t.tsv", "sha256": hashlib.sha256(TABLE.encode()).hexdigest()}
    ]
    assert run.verify() == []
    again, told = embed(tmp_path, "a.fasta", "--abundance", "t.tsv", "--samples", "s.tsv", "--labels", "l.tsv")
    assert again.folder == run.folder and "nothing was done" not in told
    # Another table, or none, gives another run.
    (tmp_path / "t.tsv").write_text(TABLE.replace("\t5\t6", "\t4\t5"))
    assert embed(tmp_path, "a.fasta", "--abundance", "t.tsv")[0].folder != run.folder
    plain, _ = embed(tmp_path, "a.fasta")
    assert rows(plain) == [("a", None, 9), ("b", None, None), ("c", "old", 4)]
    assert "abundance" not in plain.manifest.options and "reads" not in plain.manifest.counts


def test_features_without_reads_and_without_sequence_are_reported_and_counted(tmp_path):
    table = TABLE + "zero\t0\t0\t0\nx1\t7\t0\t7\nx2\t40\t2\t42\nshort\t1\t1\t2\n"
    write(tmp_path, a_fasta=f">zero\n{A}T\n>absent\n{A}TT\n>short\nACGT\n" + FASTA, t_tsv=table)
    run, told = embed(tmp_path, "a.fasta", "--abundance", "t.tsv")
    assert rows(run) == WANTED
    with (run.folder / "rejected.tsv").open() as file:
        rejected = {row["id"]: row["reason"] for row in csv.DictReader(file, delimiter="\t")}
    assert rejected["zero"] == "has no reads in any sample of the count table"
    assert rejected["absent"] == "is not in the count table"
    assert set(rejected) == {"zero", "absent", "short"}
    assert "t.tsv: 2 records have no reads in any sample; rejected.tsv lists them" in told
    assert "t.tsv: 2 features have no sequence in the input and 49 reads, such as 'x2'" in told
    counts = run.manifest.counts
    assert (counts["features_without_reads"], counts["features_without_sequence"]) == (2, 2)
    assert (counts["reads"], counts["reads_without_sequence"], counts["reads_rejected"]) == (11, 49, 2)
    assert (counts["read"], counts["embedded"], counts["rejected"]) == (7, 4, 3)
    assert (run.manifest.inputs[0]["read"], run.manifest.inputs[0]["accepted"]) == (6, 3)


def test_reads_of_what_the_model_refuses(tmp_path):
    write(tmp_path, a_fasta=FASTA, t_tsv=TABLE)
    done = ednabed("embed", "a.fasta", "--abundance", "t.tsv", "--min-length", "25", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["counts"]
    assert (counts["reads"], counts["reads_rejected"], counts["embedded"], counts["rejected"]) == (5, 6, 2, 1)


def test_several_tables(tmp_path):
    one = "id\tS1\tS2\na\t3\t0\nb\t1\t0\n"
    write(tmp_path, a_fasta=FASTA, one_tsv=one, two_csv="id,S2,S3\nb,5,0\nc,2,9\n")
    run, _ = embed(tmp_path, "a.fasta", "--abundance", "one.tsv", "--abundance", "two.csv")
    assert rows(run) == [("a", "S1", 3), ("b", "S1", 1), ("b", "S2", 5), ("c", "S2", 2), ("c", "S3", 9)]
    assert [entry["name"] for entry in run.manifest.options["abundance"]] == ["one.tsv", "two.csv"]


def test_one_sample_and_feature_in_two_tables_is_refused(tmp_path):
    write(tmp_path, a_fasta=FASTA, one_tsv="id\tS1\nb\t1\n", two_csv="id,S1\nb,5\n")
    _, told = embed(tmp_path, "a.fasta", "--abundance", "one.tsv", "--abundance", "two.csv", code=1)
    assert "two.csv: has reads of 'b' in sample 'S1', and one.tsv has reads of 'b', the same sequence" in told


def test_markers_with_tables_of_their_own(tmp_path):
    """Two markers in the same samples; ids that both use for different sequences would get each other's reads."""
    write(tmp_path, m1_fasta=f">x1\n{A}\n", m2_fasta=f">y1\n{B}\n", t1_tsv="id\tS1\nx1\t3\n", t2_tsv="id\tS1\ny1\t4\n")
    tables = ("--abundance", "t1.tsv", "--abundance", "t2.tsv")
    assert rows(embed(tmp_path, "m1.fasta", "m2.fasta", *tables)[0]) == [("x1", "S1", 3), ("y1", "S1", 4)]
    folder = tmp_path / "same"
    folder.mkdir()
    write(folder, m1_fasta=f">x1\n{A}\n", m2_fasta=f">x1\n{B}\n", t1_tsv="id\tS1\nx1\t3\n", t2_tsv="id\tS2\nx1\t4\n")
    _, told = embed(folder, "m1.fasta", "m2.fasta", *tables, code=1)
    assert "id 'x1' has different sequences in m1.fasta (record 1) and m2.fasta (record 1)" in told


def test_a_feature_twice_in_the_input_is_counted_once(tmp_path):
    write(tmp_path, a_fasta=FASTA + f">b\n{B}\n", b_fasta=f">b\n{B}\n", t_tsv=TABLE)
    run, _ = embed(tmp_path, "a.fasta", "b.fasta", "--abundance", "t.tsv")
    assert rows(run) == WANTED
    text = (run.folder / "rejected.tsv").read_text()
    assert text.count("the counts of this id belong to record 2 of a.fasta") == 2


def test_a_transposed_table_is_read_where_the_ids_tell(tmp_path):
    write(tmp_path, a_fasta=FASTA, t_csv="sample,a,b,c\nS1,3,1,0\nS2,0,5,2\n")
    run, told = embed(tmp_path, "a.fasta", "--abundance", "t.csv")
    assert rows(run) == WANTED
    assert "t.csv: its column names are sequence ids, so its rows are read as samples" in told


def test_nothing_matches(tmp_path):
    write(tmp_path, a_fasta=FASTA, t_tsv=TABLE.replace("a;", "n1;").replace("b\t", "n2\t").replace("c\t", "n3\t"))
    _, told = embed(tmp_path, "a.fasta", "--abundance", "t.tsv", code=1)
    assert "t.tsv: none of the sequences, such as 'a', is in this count table, whose first feature is" in told
    assert len(told.splitlines()) == 1


SEQTAB = f'"","{A}","{B}"\n"S1",3,1\n"S2",0,5\n'


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.parametrize("arguments", [("s.csv",), ("--abundance", "s.csv"), ("s.csv", "--abundance", "s.csv")])
def test_a_sequence_table_alone(tmp_path, arguments):
    write(tmp_path, s_csv=SEQTAB)
    run, told = embed(tmp_path, *arguments)
    assert rows(run) == [(md5(A), "S1", 3), (md5(B), "S1", 1), (md5(B), "S2", 5)]
    assert rows(run, "source", "record", "sequence") == [("s.csv", 1, A), ("s.csv", 2, B), ("s.csv", 2, B)]
    assert "features are named by their sequences, so their ids are the MD5 of the sequences" in told
    # All three ways are the same run.
    for others in (("s.csv",), ("--abundance", "s.csv"), ("s.csv", "--abundance", "s.csv")):
        assert embed(tmp_path, *others)[0].folder == run.folder


def test_a_sequence_table_from_standard_input_and_without_counts(tmp_path):
    assert rows(embed(tmp_path, "-", stdin=SEQTAB.encode())[0])[1] == (md5(B), "S1", 1)
    write(tmp_path, s_csv=SEQTAB)
    assert rows(embed(tmp_path, "s.csv", "--no-counts")[0]) == [(md5(A), None, None), (md5(B), None, None)]


def test_a_sequence_table_for_sequences_with_other_ids(tmp_path):
    write(tmp_path, a_fasta=f">ASV1\n{A}\n>ASV2\n{B.lower()}\n", s_csv=SEQTAB)
    run, _ = embed(tmp_path, "a.fasta", "--abundance", "s.csv")
    assert rows(run) == [("ASV1", "S1", 3), ("ASV2", "S1", 1), ("ASV2", "S2", 5)]


def test_several_sequence_tables(tmp_path):
    """Two sequencing runs of one study: each has its samples, and sequences that the other has too."""
    write(tmp_path, s_csv=SEQTAB, t_csv=f'"","{B}","{C}"\n"S3",8,0\n"S4",0,9\n')
    run, _ = embed(tmp_path, "s.csv", "t.csv")
    assert rows(run) == [(md5(A), "S1", 3), (md5(B), "S1", 1), (md5(B), "S2", 5), (md5(B), "S3", 8), (md5(C), "S4", 9)]
    assert run.manifest.counts["distinct"] == 3
    (tmp_path / "t.csv").write_text(f'"","{B}","{C}"\n"S1",8,0\n"S4",0,9\n')
    done = ednabed("embed", "s.csv", "t.csv", "--model", "kmer6", cwd=tmp_path)
    assert done.returncode == 1 and b"in sample 'S1', and s.csv has reads of" in done.stderr


AMPLISEQ = (
    "ASV_ID\tS1\tS2\tKingdom\tPhylum\tsequence\n"
    f"a\t3\t0\tAnimalia\tChordata\t{A}\nb\t1\t5\tFungi\t\t{B}\nc\t0\t2\t\t\t{C}\n"
)


def test_a_table_of_sequences_and_counts_is_asked_about(tmp_path):
    write(tmp_path, t_tsv=AMPLISEQ)
    _, told = embed(tmp_path, "t.tsv", code=1)
    assert "use it as a count table too, or use only its sequences (--abundance t.tsv or --no-counts)" in told
    for arguments in (("--abundance", "t.tsv"), ("t.tsv", "--abundance", "t.tsv")):
        run, _ = embed(tmp_path, *arguments)
        assert rows(run) == WANTED
        names = rows(run, "lineage")
        assert names == [("Animalia;Chordata;;;;;",), ("Fungi;;;;;;",), ("Fungi;;;;;;",), (None,)]
        assert "S1" not in run.load_records().column_names
    plain, _ = embed(tmp_path, "t.tsv", "--no-counts")
    assert rows(plain, "id", "abundance", "S1") == [("a", None, "3"), ("b", None, "1"), ("c", None, "0")]


@pytest.mark.parametrize(
    "table",
    [f"id\tsequence\tlength\nx\t{A}\t{len(A)}\n", f"id\tsequence\ttaxid\tyear\nx\t{A}\t7955\t2020\n",
     f"id\tsequence\tsite\nx\t{A}\tlake\n", f"id\tsequence\tsize\tS1\nx\t{A}\t3\t3\n", f"id\tsequence\nx\t{A}\n"],
)  # fmt: skip
def test_other_tables_are_not_asked_about(tmp_path, table):
    write(tmp_path, t_tsv=table)
    assert rows(embed(tmp_path, "t.tsv")[0], "id") == [("x",)]


def test_taxonomy_of_a_count_table_names_what_has_no_name(tmp_path):
    table = "#OTU ID\tS1\ttaxonomy\na\t3\tk__Animalia; p__Chordata\nb\t1\tk__Fungi\n"
    write(tmp_path, a_fasta=f">a tax=k:Plantae\n{A}\n>b\n{B}\n", t_tsv=table)
    assert rows(embed(tmp_path, "a.fasta", "--abundance", "t.tsv")[0], "id", "lineage")[1] == ("b", "Fungi;;;;;;")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a.fasta", "--abundance", "t.tsv", "--no-counts"), 2, "--abundance and --no-counts exclude each other"),
        ((), 2, "no input was given"),
        (("--abundance", "t.tsv"), 1, "contains counts but no sequences; give the file of sequences as input"),
        (("a.fasta", "--abundance", "gone.tsv"), 1, "gone.tsv: no such file"),
        (("a.fasta", "--abundance", "bad.tsv"), 1, "the count is '-1', expected a whole number"),
        (("a.fasta", "--abundance", "zero.tsv"), 1, "none of the 3 records has reads in zero.tsv (the first, 'a', is"),
        (("a.fasta", "--abundance", "a.fasta"), 1, "is not a count table"),
        (("s.csv", "--abundance", "s.csv", "--abundance", "t.tsv"), 2, "cannot be joined to any input"),
        (("-", "--abundance", "-"), 1, "standard input: is not a count table"),
        (("x.biom",), 1, "such as a BIOM count table; give its sequences as input"),
    ],
)  # fmt: skip
def test_impossible_requests(tmp_path, arguments, code, message):
    write(tmp_path, a_fasta=FASTA, t_tsv=TABLE, bad_tsv="id\tS1\na\t-1\n", zero_tsv="id\tS1\na\t0\n")
    write(tmp_path, s_csv=SEQTAB, x_biom=b"\x89HDF\r\n\x1a\n")
    _, told = embed(tmp_path, *arguments, code=code, stdin=FASTA.encode() if "-" in arguments else None)
    assert message in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("marker", ["12s", "18sv9"])
def test_a_study_keeps_the_reads_of_every_sample(tmp_path, shared, marker):
    samples = shared / "data" / "samples"
    table = samples / f"okex2301_{marker}_counts.tsv.gz"
    run, _ = embed(tmp_path, samples / f"okex2301_{marker}_asv.fasta.gz", "--abundance", table)
    with gzip.open(table, "rt", newline="") as file:
        head, *lines = csv.reader(file, delimiter="\t")
    wanted: Counter = Counter()
    for line in lines:
        for sample, cell in zip(head[1:], line[1:], strict=True):
            if int(cell):
                wanted[line[0], sample] += int(cell)
    assert {(name, sample): reads for name, sample, reads in rows(run)} == dict(wanted)
    assert len(rows(run)) == len(wanted) == run.manifest.counts["embedded"]
    assert run.manifest.counts["reads"] == wanted.total()


def test_artifacts_of_qiime_2(tmp_path):
    """Sequences, feature table and taxonomy read directly from three artifacts."""
    table = biom.Table(np.array([[3, 0], [1, 5]]), ["a", "b"], ["S1", "S2"])
    hdf5 = io.BytesIO()
    with pytest.importorskip("h5py").File(hdf5, "w") as file:
        table.to_hdf5(file, generated_by="test")
    members = {
        "seqs": ("FeatureData[Sequence]", "dna-sequences.fasta", f">a\n{A}\n>b\n{B}\n".encode()),
        "taxa": ("FeatureData[Taxonomy]", "taxonomy.tsv", b"Feature ID\tTaxon\na\tk__Fungi\n"),
        "table": ("FeatureTable[Frequency]", "feature-table.biom", hdf5.getvalue()),
    }
    root = "0a1b2c3d-0000-4000-8000-00000000abcd"
    for name, (type_, member, content) in members.items():
        with zipfile.ZipFile(tmp_path / f"{name}.qza", "w") as archive:
            archive.writestr(f"{root}/VERSION", "QIIME 2\n")
            archive.writestr(f"{root}/metadata.yaml", f"uuid: {root}\ntype: {type_}\nformat: X\n")
            archive.writestr(f"{root}/data/{member}", content)
    run, _ = embed(tmp_path, "seqs.qza", "--abundance", "table.qza", "--labels", "taxa.qza")
    assert rows(run) == [("a", "S1", 3), ("b", "S1", 1), ("b", "S2", 5)]
    assert rows(run, "lineage", "source")[0] == ("Fungi;;;;;;", "seqs.qza")
    for arguments, message in (
        (("table.qza",), "give it as a count table (--abundance)"),
        (("seqs.qza", "--abundance", "taxa.qza"), "give it as labels (--labels)"),
        (("seqs.qza", "--labels", "table.qza"), "give it as a count table (--abundance)"),
    ):
        done = ednabed("embed", *arguments, "--model", "kmer6", cwd=tmp_path)
        assert done.returncode == 1 and message in done.stderr.decode()


def reads_of(counts, sample: str) -> int:
    return int(counts.counts[counts.columns == counts.samples.index(sample)].sum())


def test_counts_come_back_from_the_export(tmp_path, shared):
    """From sequences and counts to a BIOM table, with the reads of each sample equal to the input's."""
    samples = shared / "data" / "samples"
    table = samples / "okex2301_12s_counts.tsv.gz"
    embed(tmp_path, samples / "okex2301_12s_asv.fasta.gz", "--abundance", table, "--dataset", "o")
    done = ednabed("export", "--run", "o", "--format", "qiime2", "--output", "q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    given = read_count_table(table)
    for name in ("feature-table.tsv", "feature-table.biom"):
        got = read_count_table(tmp_path / "q" / name)
        for sample in got.samples:
            assert reads_of(got, sample) == reads_of(given, sample)
        assert got.reads == given.reads


FOUR = [
    ("asv1", "S1", 12),
    ("asv2", "S1", 1),
    ("asv2", "S2", 5),
    ("asv3", "S2", 1),
    ("asv4", "S1", 1),
    ("asv4", "S2", 1),
]


@pytest.mark.parametrize(
    ("sequences", "table"),
    [("30_asvs.fasta", "32_mothur.count_table"), ("30_asvs.fasta", "32b_mothur_c.count_table"),
     ("35_size.fasta", "35b_otutab.txt"), ("30_asvs.fasta", "34_seqtab.csv")],
)  # fmt: skip
def test_files_of_the_field(tmp_path, shared, sequences, table):
    run, _ = embed(tmp_path, shared / "field" / sequences, "--abundance", shared / "field" / table)
    assert rows(run) == FOUR


def test_a_biom_text_of_the_field(tmp_path, shared):
    run, _ = embed(tmp_path, shared / "field" / "30_asvs.fasta", "--abundance", shared / "field" / "30_biom.tsv")
    reads: Counter = Counter()
    for _, sample, count in rows(run):
        reads[sample] += count
    assert reads == {"S1": 15, "S 2": 7, "S3": 100_005}
