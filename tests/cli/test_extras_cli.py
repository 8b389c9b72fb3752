"""A plain installation has neither torch nor LanceDB: the usual work runs, other commands name the extra."""

from __future__ import annotations

import json
import shutil

import pytest

from support import ednabed, without

A, B = "ACGTTGCATG" * 8, "TTGACCAGTC" * 8
HERRING = "Animalia;Chordata;Actinopteri;Clupeiformes;Clupeidae;Clupea;Clupea harengus"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, str]:
    return without(tmp_path_factory.mktemp("plain"), "torch", "lancedb", "lance")


@pytest.fixture(scope="module")
def workspace(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ws")
    (folder / "lake.fa").write_text(f">q\n{A}\n")
    (folder / "sea.tsv").write_text(f"id\tsequence\tlineage\na\t{A}\t{HERRING}\nb\t{B}\t\n")
    for verb in (("embed", "sea.tsv", "--dataset", "sea"), ("consolidate",)):
        done = ednabed(*verb, cwd=folder, env=plain)
        assert done.returncode == 0, done.stderr
    return folder


def test_barcodes_are_embedded_consolidated_and_searched(workspace, plain):
    done = ednabed("search", "--run", "sea", "--id", "b", "--top-k", "1", "--json", cwd=workspace, env=plain)
    assert done.returncode == 0, done.stderr
    assert [hit["id"] for hit in json.loads(done.stdout)["results"]] == ["b"]


def test_barcodes_are_classified(workspace, plain):
    done = ednabed("classify", "lake.fa", "--reference", "data/reference", cwd=workspace, env=plain)
    assert done.returncode == 0, done.stderr
    assert "Clupea harengus" in done.stdout.decode()


def test_the_run_names_no_torch(workspace, plain):
    (manifest,) = workspace.glob("consolidated_data/runs/sea/*/run.json")
    assert '"torch"' not in manifest.read_text()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("table", "import", "lake.fa"), "table"),
        (("train", "lake.fa", "--output", "m"), "train"),
        (("embed", "lake.fa", "--model", "nt", "--dataset", "x"), "nt"),
        # The error comes before anything is fetched.
        (("embed", "lake.fa", "--model", "nt-v2-50m", "--dataset", "x"), "nt"),
        (("embed", "lake.fa", "--model", "nt", "--dataset", "x", "--gpu"), "nt"),
    ],
)
def test_commands_that_need_more_name_the_extra(workspace, plain, shared, arguments, extra):
    if "nt" in arguments and not (workspace / "nt").exists():
        shutil.copytree(shared / "golden" / "nt_tiny" / "v2", workspace / "nt")
    given = ["./nt" if word == "nt" else word for word in arguments]
    before = sorted(workspace.rglob("*"))
    done = ednabed(*given, cwd=workspace, env=plain)
    assert done.returncode == 2, done.stderr
    assert f'pip install "ednabed[{extra}]"' in done.stderr.decode() and len(done.stderr.splitlines()) == 1
    assert sorted(workspace.rglob("*")) == before


def test_vectors_of_a_transformer_require_the_extra_not_another_model(plain, shared, tmp_path):
    shutil.copytree(shared / "golden" / "nt_tiny" / "v2", tmp_path / "nt")
    (tmp_path / "lake.fa").write_text(f">q\n{A}\n")
    made = ednabed("embed", "lake.fa", "--model", "./nt", "--dataset", "lake", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = ednabed("search", "--sequence", A, "--model", "./nt", cwd=tmp_path, env=plain)
    assert done.returncode == 2, done.stderr
    assert 'pip install "ednabed[nt]"' in done.stderr.decode() and b"cannot be used as this model" not in done.stderr
