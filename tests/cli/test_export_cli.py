"""``ednabed export``: from sequences to files and back, and one sentence per error."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import biom
import pyarrow.parquet as pq
import pytest

from cli_support import call_in
from ednabed.cli import export as export_module
from ednabed.store.runs import find_run
from ednabed.workflows.exports import FORMATS
from support import ednabed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLE, LABELS = EXAMPLES / "okex2301_12s.fasta.gz", EXAMPLES / "okex2301_12s_taxonomy.tsv"


def call(capsys, workspace, *arguments) -> tuple[int, str, str]:
    return call_in(capsys, workspace, "export", *arguments)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """The example of real samples, with its published names, and a small run; no reference."""
    folder = tmp_path_factory.mktemp("ws")
    (folder / "pond.fa").write_text(">p1;size=3;sample=P\nACGTTGCATGCATGCATTGACCAGTCAAGG\n")
    for arguments in ((SAMPLE, "--labels", LABELS, "--dataset", "okex2301"), ("pond.fa", "--dataset", "pond")):
        done = ednabed("embed", *arguments, "--model", "kmer6", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def with_reference(workspace, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ref") / "ws"
    shutil.copytree(workspace, folder)
    assert ednabed("consolidate", cwd=folder).returncode == 0
    return folder


def records_of_sample() -> list[tuple[str, str]]:
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().split()
    return sorted(zip(lines[::2], lines[1::2], strict=True))


def test_embed_and_export_give_the_same_file_back(capsys, workspace, tmp_path):
    target = tmp_path / "x.fasta"
    code, out, err = call(
        capsys, workspace, "--run", "okex2301", "--format", "fasta", "--occurrences", "--output", target
    )
    assert (code, out) == (0, "")
    assert err == f"143 distinct sequences, 234 records, 1,133,607 reads; in {target}\n"
    lines = target.read_text().split()
    assert sorted(zip(lines[::2], lines[1::2], strict=True)) == records_of_sample()


def test_real_samples_in_every_format(capsys, with_reference, tmp_path):
    pytest.importorskip("anndata")
    for format, (ending, _) in FORMATS.items():
        code, _, err = call(
            capsys, with_reference, "--dataset", "okex2301", "--format", format,
            "--output", tmp_path / f"{format}{ending}",
        )  # fmt: skip
        assert code == 0, err
        # References of other classifiers contain only named sequences.
        assert ("143 distinct sequences" in err) == (format not in ("sintax", "dada2")), err
    table = biom.load_table(str(tmp_path / "qiime2" / "feature-table.biom"))
    assert (table.shape, table.sum()) == ((143, 12), 1_133_607)


def test_a_table_that_was_exported_is_embedded_again(workspace, tmp_path):
    """Names, letters, samples and reads are those of the first run."""
    for ending in ("tsv", "parquet"):
        arguments = ("--run", "okex2301", "--format", ending, "--output", tmp_path / f"x.{ending}")
        assert ednabed("--workspace", workspace, "export", *arguments, cwd=tmp_path).returncode == 0
        done = ednabed("embed", f"x.{ending}", "--dataset", ending, "--model", "kmer6", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        columns = ["id", "sequence", "abundance", "sample", "lineage"]
        first, second = (
            sorted(map(str, find_run(folder, name).load_records(columns).to_pylist()))
            for folder, name in ((workspace, "okex2301"), (tmp_path, ending))
        )
        assert first == second


def test_the_complete_workspace_without_a_reference(capsys, workspace, tmp_path):
    code, out, err = call(capsys, workspace, "--format", "parquet", "--output", tmp_path / "x.parquet", "--json")
    assert code == 0
    assert "there is no reference: exporting from 2 runs" in err
    assert json.loads(out)["records"] == 235
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 235


def test_filters(capsys, with_reference, tmp_path):
    where = "sample = 'D01-01' AND abundance >= 100"
    code, out, _ = call(
        capsys, with_reference, "--where", where, "--format", "tsv", "--output", tmp_path / "x.tsv", "--json"
    )
    assert code == 0
    lines = (tmp_path / "x.tsv").read_text().splitlines()
    assert len(lines) - 1 == json.loads(out)["records"] > 0
    assert all("\tD01-01\t" in line for line in lines[1:])


def test_krona_by_sample(capsys, workspace, tmp_path):
    code, _, _ = call(
        capsys, workspace, "--run", "okex2301", "--format", "krona", "--per-sample", "--output", tmp_path / "k"
    )
    assert code == 0
    assert len(list((tmp_path / "k").glob("sample_*.txt"))) == 12


def test_sequences_go_through_a_pipe(workspace, tmp_path):
    if not Path(os.devnull).exists() or not Path("/dev", "stdout").exists():
        pytest.skip("no name for standard output here")
    done = ednabed("export", "--run", "pond", "--format", "fasta", "--output", Path("/dev", "stdout"), cwd=workspace)
    assert done.stdout.decode() == ">p1;size=3\nACGTTGCATGCATGCATTGACCAGTCAAGG\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--run", "pond", "--reference", "x"), 2, "--reference and --run exclude each other"),
        (("--run", "nobody"), 1, "nobody"),
        (("--dataset", "nobody"), 1, "has no dataset 'nobody'; it has okex2301, pond"),
        (("--dataset", "\udcff"), 2, "is not valid UTF-8"),
        (("--where", "sample ="), 2, "filter, position"),
        (("--where", "nothing = 1"), 2, "nothing"),
        (("--where", "abundance < 0"), 1, "nothing to export; select more records"),
        (("--obsm",), 2, "vectors in obsm is an option for h5ad, not for tsv"),
        (("--assignments", "absent.tsv"), 1, "absent.tsv: no such file"),
    ],
)
def test_impossible_exports_are_reported_in_one_sentence(capsys, with_reference, tmp_path, arguments, code, message):
    found, out, err = call(capsys, with_reference, *arguments, "--format", "tsv", "--output", tmp_path / "x.tsv")
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_command_knows_every_format():
    assert tuple(FORMATS) == export_module._FORMATS
    for format in FORMATS:
        assert format in export_module.export.help
