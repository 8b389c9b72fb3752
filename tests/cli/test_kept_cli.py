"""``classify --run``: names that are kept with a run, and exports, search and tables that use them."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import biom
import pyarrow.parquet as pq
import pytest

from cli_support import call_in
from ednabed.engine.embed import Engine
from ednabed.sequences.counts import read_count_table
from ednabed.store.assignments import folder_of, list_kept
from ednabed.store.runs import find_run
from ednabed.taxonomy.calibration import FILE as CALIBRATION
from reference_support import snapshot
from support import ednabed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLE, FISHES = EXAMPLES / "okex2301_12s.fasta.gz", EXAMPLES / "fish_12s.tsv.gz"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The example of real samples, without names, and a reference of fishes by the same function."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "pond.fa").write_text(">p1;size=3;sample=P\nACGTTGCATGCATGCATTGACCAGTCAAGG\n")
    for arguments in (
        ("embed", SAMPLE, "--dataset", "okex2301", "--model", "kmer6"),
        ("embed", "pond.fa", "--dataset", "pond", "--model", "kmer6"),
        ("embed", FISHES, "--output", "labelled/fish_12s", "--model", "kmer6"),
        ("consolidate", "--runs-root", "labelled", "--output", "data/fish", "--no-calibrate"),
    ):
        done = ednabed(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "ws"))


@pytest.fixture(scope="module")
def named(made, tmp_path_factory) -> Path:
    """The same, with the run classified."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("named") / "ws"))
    done = ednabed("classify", "--run", "okex2301", "--reference", "data/fish", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    return folder


def classify(capsys, workspace, *more) -> str:
    code, _, err = call_in(
        capsys, workspace, "classify", "--run", "okex2301", "--reference", workspace / "data/fish", *more
    )
    assert code == 0, err
    return err


# -- keeping -----------------------------------------------------------------------------------------------------------


def test_names_are_kept_next_to_an_unchanged_run(capsys, workspace, monkeypatch):
    run = find_run(workspace, "okex2301")
    before, embedded = snapshot(run.folder), []
    real = Engine.embed

    def embed(self, sequences, *arguments, **more):
        embedded.extend(sequences)
        return real(self, sequences, *arguments, **more)

    monkeypatch.setattr(Engine, "embed", embed)
    err = classify(capsys, workspace)
    assert "143 distinct sequences: " in err
    assert f"kept next to {run.label}" in err
    assert snapshot(run.folder) == before
    # Looked up only on the other strand.
    own = set(run.load_records(["sequence"]).column("sequence").to_pylist())
    assert not own & {sequence.decode() for sequence in embedded}
    (kept,) = list_kept(run.folder, run.identity)
    assert sum(kept.facts.statuses.values()) == 143
    code, out, _ = call_in(capsys, workspace, "runs", "show", "okex2301")
    assert code == 0
    assert f"build {kept.facts.build}" in out and f"{kept.facts.statuses['assigned']} assigned" in out
    told = json.loads(call_in(capsys, workspace, "runs", "show", "okex2301", "--json")[1])["assignments"]
    assert [(one["build"], one["statuses"]) for one in told] == [(kept.facts.build, kept.facts.statuses)]
    assert call_in(capsys, workspace, "runs", "verify")[0] == 0
    assert len(json.loads(call_in(capsys, workspace, "runs", "list", "--json")[1])) == 2


def test_again_replaces_and_other_criteria_do_not(capsys, workspace):
    run = find_run(workspace, "okex2301")
    for _ in range(2):
        classify(capsys, workspace)
    assert len(list_kept(run.folder, run.identity)) == 1
    classify(capsys, workspace, "--min-identity", 99)
    assert [one.facts.criteria["min_identity"] for one in list_kept(run.folder, run.identity)] == [99, 0]


def test_a_compressed_run_keeps_its_names_and_gets_the_same_ones(capsys, workspace):
    classify(capsys, workspace)
    run = find_run(workspace, "okex2301")
    first = list_kept(run.folder, run.identity)[0].read()
    assert call_in(capsys, workspace, "compress", "--execute", "--delete-original")[0] == 0
    run = find_run(workspace, "okex2301")
    assert not (run.folder / "embeddings.npy").exists()
    assert list_kept(run.folder, run.identity)[0].read() == first
    classify(capsys, workspace)
    assert list_kept(run.folder, run.identity)[0].read() == first


def test_several_runs_are_classified_together_and_kept_apart(capsys, workspace):
    classify(capsys, workspace, "--run", "pond")
    for name, count in (("okex2301", 143), ("pond", 1)):
        run = find_run(workspace, name)
        assert sum(list_kept(run.folder, run.identity)[0].facts.statuses.values()) == count


def test_a_run_of_another_function_is_embedded_again_by_the_function_of_the_reference(capsys, workspace, tmp_path):
    assert call_in(capsys, workspace, "embed", SAMPLE, "--dataset", "other", "--model", "barcode-1")[0] == 0
    code, _, err = call_in(
        capsys, workspace, "classify", "--run", "other", "--reference", workspace / "data/fish", "--output",
        tmp_path / "a.tsv",
    )  # fmt: skip
    assert code == 0
    assert "143 distinct sequences are embedded again with the latter; the run does not change" in err
    classify(capsys, workspace, "--output", tmp_path / "b.tsv")
    assert (tmp_path / "a.tsv").read_text() == (tmp_path / "b.tsv").read_text()


def test_a_run_is_classified_like_its_file(capsys, workspace, tmp_path):
    """Stored vectors give the same results as the embedded file; records of one sequence share its line."""
    call_in(
        capsys, workspace, "classify", SAMPLE, "--reference", workspace / "data/fish", "--output", tmp_path / "f.tsv"
    )
    classify(capsys, workspace, "--output", tmp_path / "r.tsv")
    of_file = {row["id"]: row for row in rows_of(tmp_path / "f.tsv")}
    of_run = rows_of(tmp_path / "r.tsv")
    assert len(of_run) == 143
    assert all(row == of_file[row["id"]] for row in of_run)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--run", "okex2301", SAMPLE), 2, "give either files (INPUT) or runs (--run), not both"),
        ((), 2, "give either files (INPUT) or runs (--run), not both"),
        (("--run", "nobody"), 1, "there is no run 'nobody'"),
        (("--run", "okex2301", "--abundance", "x.tsv", "--taxon-table", "t.tsv"), 2, "--abundance is for files"),
        (("--run", "old"), 1, "created by an older tool"),
        (("--run", "\udcff"), 2, "is not valid UTF-8"),
    ],
)
def test_runs_that_cannot_be_classified(capsys, workspace, arguments, code, message):
    folder = workspace / "consolidated_data" / "runs" / "old" / "2020"
    folder.mkdir(parents=True)
    shutil.copy(find_run(workspace, "pond").folder / "embeddings.npy", folder)
    found, out, err = call_in(capsys, workspace, "classify", *arguments, "--reference", workspace / "data/fish")
    assert (found, out) == (code, "")
    assert message in err
    assert not list(workspace.glob("consolidated_data/runs/*/*.assignments"))


def test_an_unwritable_path_is_reported_before_anything_is_classified(capsys, workspace):
    folder = folder_of(find_run(workspace, "okex2301").folder)
    folder.write_text("a file")
    code, out, err = call_in(capsys, workspace, "classify", "--run", "okex2301", "--reference", workspace / "data/fish")
    assert (code, out) == (1, "")
    assert f"{folder}: the assignments of run okex2301/" in err and "distinct sequences:" not in err


def test_a_table_of_taxa_has_the_reads_of_the_run(capsys, workspace, tmp_path):
    classify(capsys, workspace, "--taxon-table", tmp_path / "taxa.tsv")
    rows = rows_of(tmp_path / "taxa.tsv")
    records = find_run(workspace, "okex2301").load_records(["sample", "abundance"]).to_pylist()
    wanted: Counter[str] = Counter()
    for record in records:
        wanted[record["sample"]] += record["abundance"]
    assert {sample: sum(int(row[sample]) for row in rows) for sample in wanted} == dict(wanted)
    assert len({row["lineage"] for row in rows}) == len(rows)
    assert [row["named"] for row in rows].count("no") == 1
    assert sum(int(row["features"]) for row in rows) == 143


# -- taking ------------------------------------------------------------------------------------------------------------


def test_ids_and_names_agree_in_all_exports_and_in_classify(capsys, named, tmp_path):
    anndata = pytest.importorskip("anndata")
    for format, target in (
        ("qiime2", "q"), ("h5ad", "x.h5ad"), ("fasta", "x.fasta"), ("dwc", "x.zip"), ("krona", "x.txt"),
    ):  # fmt: skip
        code, _, err = call_in(
            capsys, named, "export", "--run", "okex2301", "--format", format, "--output", tmp_path / target
        )
        assert code == 0
        assert "no record has a name" not in err
    for format in ("tsv", "parquet"):
        call_in(
            capsys,
            named,
            "export",
            "--run",
            "okex2301",
            "--format",
            format,
            "--distinct",
            "--output",
            tmp_path / format,
        )
    call_in(
        capsys, named, "classify", "--run", "okex2301", "--reference", named / "data/fish", "--format", "qiime2",
        "--output", tmp_path / "own.tsv",
    )  # fmt: skip
    taxa = rows_of(tmp_path / "q" / "taxonomy.tsv")
    names = {row["Feature ID"]: row["Taxon"] for row in taxa}
    assert len(names) == len(taxa) == 143
    assert {row["Feature ID"]: row["Taxon"] for row in rows_of(tmp_path / "own.tsv")} == names
    assert any("s__" in name for name in names.values())
    ids = list(names)
    heads = [line[1:].partition(";")[0] for line in (tmp_path / "x.fasta").read_text().splitlines()[::2]]
    assert heads == ids
    assert [line[1:] for line in (tmp_path / "q" / "sequences.fasta").read_text().splitlines()[::2]] == ids
    assert list(read_count_table(tmp_path / "q" / "feature-table.tsv").row_of_id) == ids
    assert list(biom.load_table(str(tmp_path / "q" / "feature-table.biom")).ids("observation")) == ids
    assert list(anndata.read_h5ad(tmp_path / "x.h5ad").obs_names) == ids
    assert [row["id"] for row in rows_of(tmp_path / "tsv")] == ids
    table = pq.read_table(tmp_path / "parquet")
    assert table.column("id").to_pylist() == ids
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        core = list(csv.DictReader(archive.read("occurrence.txt").decode().splitlines(), delimiter="\t"))
    assert {row["occurrenceID"].rpartition(":")[2] for row in core} == set(ids)
    assert "Unassigned" not in {row["scientificName"] for row in core}
    assert sum(row["scientificName"] != "incertae sedis" for row in core) > 100
    # They are the ids of the embedded file.
    records = find_run(named, "okex2301").load_records(["id"]).column("id").to_pylist()
    assert set(ids) <= set(records)


def test_ids_by_digest(capsys, named, tmp_path):
    for format, target in (("qiime2", "q"), ("dwc", "x.zip"), ("fasta", "x.fasta")):
        code, _, err = call_in(
            capsys, named, "export", "--run", "okex2301", "--format", format, "--ids", "digest", "--output",
            tmp_path / target, *(["--no-biom"] if format == "qiime2" else []),
        )  # fmt: skip
        assert code == 0
        assert "the id of each feature is the digest of its bases" in err
    digests = set(find_run(named, "okex2301").load_records(["digest"]).column("digest").to_pylist())
    assert {row["Feature ID"] for row in rows_of(tmp_path / "q" / "taxonomy.tsv")} == digests
    assert json.loads((tmp_path / "q" / "export.json").read_text(encoding="utf-8"))["ids"].startswith("digest: ")
    code, _, err = call_in(
        capsys, named, "export", "--run", "okex2301", "--format", "krona", "--ids", "digest", "--output", tmp_path / "k"
    )
    assert code == 2 and "feature ids" in err


def named_records(path: Path) -> int:
    return sum(bool(row["lineage"]) for row in rows_of(path))


def test_none_a_build_and_a_file(capsys, named, tmp_path):
    run = find_run(named, "okex2301")
    build = list_kept(run.folder, run.identity)[0].facts.build
    call_in(capsys, named, "classify", SAMPLE, "--reference", named / "data/fish", "--output", tmp_path / "f.jsonl")

    def export(*more) -> tuple[int, str]:
        arguments = ("--run", "okex2301", "--format", "tsv", "--output", tmp_path / "x.tsv")
        code, _, err = call_in(capsys, named, "export", *arguments, *more)
        return code, err

    code, err = export()
    count = named_records(tmp_path / "x.tsv")
    assert code == 0 and count > 100
    assert f"are assignments from data/fish, build {build}" in err.replace("\\", "/")
    for asked in (build, "data/fish", tmp_path / "f.jsonl"):
        assert export("--assignments", asked)[0] == 0
        assert named_records(tmp_path / "x.tsv") == count
    code, err = export("--assignments", "NONE")
    assert code == 0 and named_records(tmp_path / "x.tsv") == 0
    assert "no record has a name" in err and f"'ednabed classify --run {run.label} --reference DIR'" in err
    code, err = export("--assignments", "2020-01-01_00-00-00-abcdef")
    assert code == 1 and f"(existing builds: {build})" in err
    # A file of another study.
    (tmp_path / "other.fa").write_text(">q1\n" + "ACGTTGCATGCATGCATTGACCAGTC" * 3 + "\n")
    call_in(
        capsys, named, "classify", tmp_path / "other.fa", "--reference", named / "data/fish", "--output",
        tmp_path / "other.tsv",
    )  # fmt: skip
    code, err = export("--assignments", tmp_path / "other.tsv")
    assert code == 1 and "none of its ids matches a record to export" in err


def test_a_reference_of_studies_takes_the_names_of_its_runs_wherever_these_are(capsys, workspace, tmp_path):
    classify(capsys, workspace)
    assert call_in(capsys, workspace, "consolidate", "--no-calibrate")[0] == 0
    arguments = ("export", "--format", "tsv", "--output", tmp_path / "x.tsv")
    code, _, err = call_in(capsys, workspace, *arguments)
    assert code == 0 and named_records(tmp_path / "x.tsv") > 100
    assert "1 of the runs have no assignments, such as pond/" in err
    folder = find_run(workspace, "okex2301").folder
    (new := folder.parent.with_name("moved")).mkdir()
    folder_of(folder).rename(folder_of(new / folder.name))
    folder.rename(new / folder.name)
    assert call_in(capsys, workspace, *arguments)[0] == 0
    assert named_records(tmp_path / "x.tsv") > 100
    # Assignments are not labels: they are not used for calibration and not added to a reference.
    code, _, err = call_in(capsys, workspace, "reference", "calibrate")
    assert code == 1 and "no record with a lineage" in err
    assert not list(workspace.glob(f"data/reference/builds/*/{CALIBRATION}"))


def test_labels_of_records_win(capsys, workspace, tmp_path):
    labels = EXAMPLES / "okex2301_12s_taxonomy.tsv"
    assert (
        call_in(capsys, workspace, "embed", SAMPLE, "--labels", labels, "--dataset", "lab", "--model", "kmer6")[0] == 0
    )
    call_in(capsys, workspace, "classify", "--run", "lab", "--reference", workspace / "data/fish")
    found = {}
    for asked in ((), ("--assignments", "NONE")):
        call_in(capsys, workspace, "export", "--run", "lab", "--format", "tsv", "--output", tmp_path / "x.tsv", *asked)
        found[asked] = {row["id"]: row["lineage"] for row in rows_of(tmp_path / "x.tsv")}
    own = found["--assignments", "NONE"]
    assert any(own.values())
    assert all(found[()][id] == lineage for id, lineage in own.items() if lineage)


def test_search_shows_the_names_and_their_source(capsys, named):
    arguments = ("search", "--run", "okex2301", "--seq-idx", "0", "--top-k", "5", "--json")
    code, out, err = call_in(capsys, named, *arguments)
    assert code == 0 and "the lineage shown is their assignment" in err
    hits = json.loads(out)["results"]
    assert all(hit["lineage_from"] == "assignment" for hit in hits if hit["lineage"])
    assert any(hit["lineage"] for hit in hits)
    code, out, err = call_in(capsys, named, *arguments, "--assignments", "NONE")
    assert [hit["lineage"] for hit in json.loads(out)["results"]] == [None] * 5
    assert "lineage_from" not in json.loads(out)["results"][0]
    code, _, err = call_in(capsys, named, *arguments, "--table", "--assignments", "NONE")
    assert code == 2 and "--table and --assignments exclude each other" in err


def test_search_reports_a_file_without_matching_names(capsys, named, tmp_path):
    (tmp_path / "f.tsv").write_text("id\tstatus\tlineage\tconfidence\nASV1_1\tunclassified\t\t\n", encoding="utf-8")
    arguments = ("search", "--run", "okex2301", "--seq-idx", "0", "--top-k", "5", "--assignments", tmp_path / "f.tsv")
    code, _, err = call_in(capsys, named, *arguments)
    assert code == 0
    assert f"{tmp_path / 'f.tsv'} names none of the 5 hits without a lineage of their own" in err
    call_in(capsys, named, "classify", SAMPLE, "--reference", named / "data/fish", "--output", tmp_path / "f.tsv")
    code, _, err = call_in(capsys, named, *arguments)
    assert code == 0 and "names none" not in err and "the lineage shown is their assignment" in err


def test_a_map_of_runs_reports_the_names(capsys, named, tmp_path):
    build = list_kept(find_run(named, "okex2301").folder, find_run(named, "okex2301").identity)[0].facts.build
    call_in(capsys, named, "classify", SAMPLE, "--reference", named / "data/fish", "--output", tmp_path / "f.tsv")
    exported = call_in(
        capsys, named, "export", "--run", "okex2301", "--format", "tsv", "--distinct", "--output", tmp_path / "x.tsv"
    )
    assert exported[0] == 0
    classes = Counter(row["class"] for row in rows_of(tmp_path / "x.tsv") if row["class"])
    count = named_records(tmp_path / "x.tsv")
    for asked in ((), ("--assignments", build), ("--assignments", tmp_path / "f.tsv")):
        code, out, err = call_in(capsys, named, "runs", "map", "okex2301", "--json", *asked)
        assert code == 0
        told = json.loads(out)
        assert (told["named"], told["classes"]) == (count, dict(classes))
        assert (f"build {build}" in err) == ("--assignments" not in asked or asked[1] == build)
    code, out, err = call_in(capsys, named, "runs", "map", "okex2301", "--assignments", "NONE")
    assert (code, err) == (0, "") and out.endswith("\n0 of 143 sequences have a name\n")
    (tmp_path / "f.tsv").write_text("id\tstatus\tlineage\tconfidence\nq\tunclassified\t\t\n", encoding="utf-8")
    code, _, err = call_in(capsys, named, "runs", "map", "okex2301", "--assignments", tmp_path / "f.tsv")
    assert code == 0 and f"{tmp_path / 'f.tsv'} names none of these sequences" in err
    assert call_in(capsys, named, "runs", "map", "okex2301", "--assignments", "x")[0] == 1


def test_a_damaged_file_is_skipped_unless_requested(capsys, caplog, workspace, tmp_path):
    classify(capsys, workspace)
    run = find_run(workspace, "okex2301")
    older = list_kept(run.folder, run.identity)[0]
    classify(capsys, workspace, "--min-confidence", "0.9")
    path = list_kept(run.folder, run.identity)[0].path
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 2
    path.write_bytes(raw)
    build = older.facts.build
    export = ("export", "--run", "okex2301", "--format", "tsv", "--output", tmp_path / "x.tsv")
    for verb in (export, ("search", "--run", "okex2301", "--seq-idx", 0), ("runs", "map", "okex2301")):
        caplog.clear()
        assert call_in(capsys, workspace, *verb)[0] == 0
        (told,) = {text for text in caplog.messages if text.startswith("assignments skipped")}
        assert told.startswith(f"assignments skipped: {path} is damaged; delete it, and classify the run again")
        caplog.clear()
        code, out, err = call_in(capsys, workspace, *verb, "--assignments", build)
        assert (code, out) == (1, "") and f"{path} is damaged" in err
        caplog.clear()
        assert call_in(capsys, workspace, *verb, "--assignments", "NONE")[0] == 0
        assert not [text for text in caplog.messages if text.startswith("assignments skipped")]
    # The newest undamaged one is used.
    assert call_in(capsys, workspace, *export)[0] == 0
    assert named_records(tmp_path / "x.tsv") > 100
    code, out, err = call_in(capsys, workspace, "runs", "verify", "okex2301")
    assert code == 1 and path.name in out
    path.unlink()
    assert call_in(capsys, workspace, "runs", "verify")[0] == 0


def test_missing_metadata_are_reported(capsys, named, tmp_path):
    (tmp_path / "bare.fa").write_text(">b1\nACGTTGCATGCATGCATTGACCAGTCAAGG\n")
    assert call_in(capsys, tmp_path, "embed", tmp_path / "bare.fa", "--dataset", "bare", "--model", "kmer6")[0] == 0
    for format in ("dwc", "qiime2"):
        code, _, err = call_in(
            capsys, tmp_path, "export", "--run", "bare", "--format", format, "--output", tmp_path / format,
            *(["--no-biom"] if format == "qiime2" else []),
        )  # fmt: skip
        assert code == 0
        assert "no record has a name" in err and "'ednabed classify --run bare/" in err
        assert "no record names its sample, so all reads are counted under no_sample" in err
        assert ("'ednabed embed FILE --samples samples.tsv'" in err) == (format == "dwc")


# -- a whole study -----------------------------------------------------------------------------------------------------


def test_the_asvs_and_counts_of_a_lab_come_out_with_its_ids_reads_and_names(capsys, workspace, shared, tmp_path):
    samples = shared / "data" / "samples"
    table = samples / "okex2301_12s_counts.tsv.gz"
    with gzip.open(table, "rt") as file:
        header, *lines = csv.reader(file, delimiter="\t")
    counts = {
        (line[0], sample): int(count)
        for line in lines
        for sample, count in zip(header[1:], line[1:], strict=True)
        if int(count)
    }
    asvs = samples / "okex2301_12s_asv.fasta.gz"
    assert (
        call_in(capsys, workspace, "embed", asvs, "--abundance", table, "--dataset", "lab", "--model", "kmer6")[0] == 0
    )
    code, _, err = call_in(
        capsys, workspace, "classify", "--run", "lab", "--reference", workspace / "data/fish", "--output",
        tmp_path / "names.tsv", "--taxon-table", tmp_path / "taxa.tsv",
    )  # fmt: skip
    assert code == 0, err
    for format, target in (("qiime2", "q"), ("dwc", "x.zip")):
        code, _, err = call_in(
            capsys, workspace, "export", "--run", "lab", "--format", format, "--output", tmp_path / target
        )
        assert code == 0, err
    written = biom.load_table(str(tmp_path / "q" / "feature-table.biom"))
    features, names = written.ids("observation"), written.ids("sample")
    found = written.matrix_data.tocoo()
    pairs = zip(found.row.tolist(), found.col.tolist(), found.data.tolist(), strict=True)
    assert {(features[row], names[column]): int(count) for row, column, count in pairs} == counts
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        text = archive.read("occurrence.txt").decode()
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    ids = [row["occurrenceID"].split(":") for row in rows]
    assert {
        (id, sample): int(row["organismQuantity"]) for (_, sample, id), row in zip(ids, rows, strict=True)
    } == counts
    given = {row["id"]: row["lineage"] for row in rows_of(tmp_path / "names.tsv")}
    assert {row["Feature ID"] for row in rows_of(tmp_path / "q" / "taxonomy.tsv")} == set(given)
    assert {id for id, _ in counts} == set(given)
    for (_, _, id), row in zip(ids, rows, strict=True):
        assert row["verbatimIdentification"] == given[id]
    sums: Counter[str] = Counter()
    for (_, sample), count in counts.items():
        sums[sample] += count
    taxa = rows_of(tmp_path / "taxa.tsv")
    assert {sample: sum(int(row[sample]) for row in taxa) for sample in sums} == dict(sums)
