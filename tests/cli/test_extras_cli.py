"""A plain installation has neither torch nor LanceDB: the usual work goes without, and the rest names its extra."""

from __future__ import annotations

import shutil

import pytest

from support import ednabed

SAMPLE = "examples/okex2301_12s.fasta.gz"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, str]:
    """Variables of an environment in which torch and lancedb cannot be imported, nor found."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'lancedb', 'lance'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def workspace(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ws")
    (folder / "lake.fa").write_text(">a\n" + "ACGTTGCATG" * 8 + "\n>b\n" + "TTGACCAGTC" * 8 + "\n")
    for verb in (("embed", "lake.fa", "--dataset", "lake"), ("consolidate",)):
        done = ednabed(*verb, cwd=folder, env=plain)
        assert done.returncode == 0, done.stderr
    return folder


def test_barcodes_are_embedded_consolidated_and_searched(workspace, plain):
    done = ednabed("search", "--run", "lake", "--id", "a", cwd=workspace, env=plain)
    assert done.returncode == 0, done.stderr
    assert b"lake" in done.stdout


def test_the_run_names_no_torch(workspace, plain):
    (manifest,) = workspace.glob("consolidated_data/runs/lake/*/run.json")
    assert '"torch"' not in manifest.read_text()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("table", "import", "lake.fa"), "table"),
        (("train", "lake.fa", "--output", "m"), "train"),
        (("embed", "lake.fa", "--model", "nt", "--dataset", "x"), "nt"),
        (("embed", "lake.fa", "--model", "nt", "--dataset", "x", "--gpu"), "nt"),
    ],
)
def test_what_needs_more_names_its_extra(workspace, plain, shared, arguments, extra):
    if "nt" in arguments and not (workspace / "nt").exists():
        shutil.copytree(shared / "golden" / "nt_tiny" / "v2", workspace / "nt")
    given = ["./nt" if word == "nt" else word for word in arguments]
    before = sorted(workspace.rglob("*"))
    done = ednabed(*given, cwd=workspace, env=plain)
    assert done.returncode == 2, done.stderr
    assert f'pip install "ednabed[{extra}]"' in done.stderr.decode() and len(done.stderr.splitlines()) == 1
    assert sorted(workspace.rglob("*")) == before
