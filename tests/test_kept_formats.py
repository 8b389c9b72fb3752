"""Files of earlier releases stay readable: ``tests/kept/workspace_1`` was written by the first form of each file.

It is never written anew: when a format changes, another workspace is added beside it, and both are read here. It holds
two runs (one compressed, and with assignments next to it), a reference with a named build, and versions; in
``workspace_2`` names of builds and versions are sealed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ednabed import EmbeddingEngine, get_data_manager
from ednabed.reference.kept import kept_names
from ednabed.store.assignment import Assignment
from ednabed.store.assignments import list_kept, verify_kept
from ednabed.store.runs import Run
from ednabed.store.versions import Versions
from support import ednabed

KEPT = sorted((Path(__file__).resolve().parent / "kept").glob("workspace_*"))


@pytest.fixture(params=KEPT, ids=[path.name for path in KEPT])
def workspace(request, tmp_path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "workspace"))


def test_there_is_something_kept():
    assert KEPT


def test_runs(workspace):
    data = get_data_manager(workspace)
    assert data.list_datasets() == ["first", "second"]
    for info in data.list_runs():
        run = Run.open(info.path)
        assert run.verify() == []
        assert run.load_embeddings().shape == (info.records, 512)
        version = Versions.read(workspace).of_run(run)
        assert version is not None
        assert version[0].name == "v1.0"


def test_references(workspace):
    data = get_data_manager(workspace)
    for name in (None, "kept"):
        reference = data.open_reference(name)
        assert reference.verify() == []
        assert reference.manifest.counts["records"] == 5
        assert reference.manifest.counts["sequences"] == 4
    _, answers = data.search(record_id="b1")
    (_, hits) = next(answers)
    assert [hit["id"] for hit in hits][:2] == ["a1", "a2"]
    assert hits[0]["datasets"] == {"first": 1, "second": 1}
    assert hits[0]["occurrences"] == 2


def test_vectors_do_not_move(workspace):
    """What this version computes is what was stored then, under the same fingerprint."""
    data = get_data_manager(workspace)
    engine = EmbeddingEngine("kmer6")
    for dataset in data.list_datasets():
        run = data.open_run(dataset)
        assert run.manifest is not None
        assert run.manifest.spec.fingerprint == engine.embedder.spec.fingerprint
        now = engine.get_embeddings(run.load_records(["sequence"]).column("sequence").to_pylist())
        np.testing.assert_allclose(now, run.load_embeddings(), atol=1e-6)


def test_adding_to_it_goes_on(workspace):
    (workspace / "c.fa").write_text(">c1\nACGTTGCATGCATGCATTGACCAGTCAAGGACCTTT\n", encoding="utf-8")
    assert ednabed("embed", "c.fa", "--dataset", "third", "--model", "kmer6", cwd=workspace).returncode == 0
    done = ednabed("consolidate", "--incremental", cwd=workspace)
    assert done.returncode == 0, done.stderr
    reference = get_data_manager(workspace).open_reference()
    assert [part.dataset for part in reference.manifest.runs] == ["first", "second", "third"]
    assert reference.verify() == []


def test_what_is_written_next_is_sealed(workspace):
    assert ednabed("reference", "verify", cwd=workspace).returncode == 0
    assert ednabed("versions", "verify", cwd=workspace).returncode == 0
    for arguments in (("reference", "tag", "again"), ("versions", "auto-tag")):
        done = ednabed(*arguments, cwd=workspace)
        assert done.returncode == 0, done.stderr
    assert b'"names_sha256"' in (workspace / "data" / "reference" / "names.json").read_bytes()
    assert get_data_manager(workspace).open_reference("kept").manifest.counts["records"] == 5


def test_assignments(workspace):
    data = get_data_manager(workspace)
    run = data.open_run("second")
    assert verify_kept(run) == []
    (kept,) = list_kept(run.folder, run.identity)
    assert (kept.facts.build, kept.facts.statuses["assigned"]) == ("2026-11-22_02-39-57-b62c14", 1)
    rows = kept.read().to_pylist()
    first = Assignment.from_dict({"id": rows[0]["digest"], **rows[0]})
    assert (first.lineage[6], first.tied[0], first.confidences) == ("Rattus sp. 1", first.lineage, (0.99,) * 7)
    names = kept_names(data.open_reference(), workspace)
    assert names.names.lineages == [";".join(first.lineage)]
