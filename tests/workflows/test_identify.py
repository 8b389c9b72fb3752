"""Classification and calibration with a reference and its model: concurrent changes, samples by file, and progress."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from ednabed.engine.progress import progress_bar, without_bars
from ednabed.errors import StoreError
from ednabed.reference import layout
from ednabed.search.queries import Query
from ednabed.workflows import identify
from ednabed.workflows.identify import calibrate_reference, classify_files, file_samples, open_classifier, sample_of
from reference_support import add_run, consolidate, opened
from taxonomy_support import reference_of, world, write_fasta

LINEAGE = "Animalia;P;C;O;F;G;G s"


class Learned:
    """A stand-in for a calibration that records where it was written."""

    def __init__(self) -> None:
        self.written: list[Path] = []

    def write(self, build: Path) -> None:
        self.written.append(build)


@pytest.fixture
def workspace(tmp_path) -> Path:
    add_run(tmp_path, "lake", "a", [1, 2, 3], columns={"lineage": [LINEAGE] * 3})
    consolidate(tmp_path)
    return tmp_path


@pytest.fixture
def meanwhile(monkeypatch):
    """Run an action while a reference is calibrated; return the calibration."""

    def during(happening) -> Learned:
        learned = Learned()

        def calibrate(*_, **__):
            happening()
            return learned

        monkeypatch.setattr(identify, "calibrate", calibrate)
        return learned

    return during


def another_build(workspace: Path) -> str:
    add_run(workspace, "sea", "b", [7])
    return consolidate(workspace).manifest.build


# -- calibrate -------------------------------------------------------------------------------------------------------


def test_the_calibration_is_next_to_the_build(workspace, meanwhile):
    learned = meanwhile(lambda: None)
    reference, found, lacking = calibrate_reference(workspace)
    assert found is learned
    assert learned.written == [reference.build]
    assert lacking is not None and "hand" in lacking


def test_a_build_that_was_replaced_meanwhile(workspace, meanwhile):
    old = opened(workspace).manifest.build
    learned = meanwhile(lambda: another_build(workspace))
    with pytest.raises(StoreError) as told:
        calibrate_reference(workspace)
    new = opened(workspace).manifest.build
    assert f"was calibrated on build {old}, which was replaced by build {new} meanwhile" in str(told.value)
    assert "run 'ednabed reference calibrate' again" in str(told.value)
    assert learned.written == []


def test_a_build_that_only_its_name_keeps_is_calibrated_only_by_that_name(workspace, meanwhile):
    folder = workspace / "data" / "reference"
    old = layout.name_build(folder, "kept").build
    learned = meanwhile(lambda: another_build(workspace))
    with pytest.raises(StoreError, match="was replaced by build"):
        calibrate_reference(workspace)
    learned = meanwhile(lambda: None)
    calibrate_reference(workspace, "kept")
    assert learned.written == [layout.build_folder(folder, old)]
    learned = meanwhile(lambda: layout.remove_name(folder, "kept"))
    with pytest.raises(StoreError, match=f"build {old}, which was removed meanwhile"):
        calibrate_reference(workspace, "kept")
    assert learned.written == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_reference_that_was_removed_meanwhile(workspace, meanwhile, fails):
    def remove() -> None:
        shutil.rmtree(workspace / "data")
        if fails:
            raise FileNotFoundError(2, "No such file or directory", "records-00000.parquet")

    learned = meanwhile(remove)
    with pytest.raises(StoreError, match="which was removed meanwhile, so nothing was kept"):
        calibrate_reference(workspace)
    assert learned.written == []
    assert not (workspace / "data").exists()


def test_other_errors_are_not_changed(workspace, meanwhile):
    def fail() -> None:
        raise StoreError("too few")

    meanwhile(fail)
    with pytest.raises(StoreError, match=r"^too few$"):
        calibrate_reference(workspace)


def test_without_labels_no_model_is_opened(tmp_path, monkeypatch):
    add_run(tmp_path, "lake", "a", [1, 2])
    consolidate(tmp_path)
    monkeypatch.setattr(identify, "embedder_for", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(StoreError, match="has no record with a lineage"):
        calibrate_reference(tmp_path)


# -- classify --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "source", "by_file", "wanted"),
    [
        ("S1", "lake.fasta", True, "S1"),
        ("S1", "lake.fasta", False, "S1"),
        (None, "lake.fasta", True, "lake"),
        (None, "far/away/lake.v2.fasta.gz", True, "lake.v2"),
        (None, "lake.tsv.zst", True, "lake"),
        (None, "lake.fasta", False, None),
    ],
)
def test_the_sample_of_a_query(sample, source, by_file, wanted):
    files = file_samples([Path(source), Path("sea.fasta")] if by_file else [Path(source)])
    assert sample_of(Query({"id": "q"}, sample=sample, file=Path(source)), files) == wanted


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["p1/reads.fasta", "p2/reads.fasta.gz", "lake.fa"], ["p1/reads", "p2/reads", "lake"]),
        (["reads.fasta", "p2/reads.fasta"], ["here/reads", "p2/reads"]),
        (["a/p/reads.fa", "b/p/reads.fa", "q/reads.fa"], ["a/p/reads.fa", "b/p/reads.fa", "q/reads"]),
        (["p/reads.fa", "p/reads.fq"], ["p/reads.fa", "p/reads.fq"]),
        (["lake.fa", "lake.fa"], ["lake"]),
        (["p1/reads.fasta"], []),
    ],
)
def test_files_of_one_name_are_different_samples(paths, wanted, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert list(file_samples([Path(path) for path in paths]).values()) == wanted


def test_progress_is_counted_on_request(tmp_path, capsys):
    known = world(2, length=300)
    reference_of(tmp_path, known)
    path = write_fasta(tmp_path / "q.fa", [(f"q{i}", one.sequence) for i, one in enumerate(known[:7])])
    classifier = open_classifier(tmp_path, threads=1)
    capsys.readouterr()
    assert len(list(classify_files(classifier, [path], threads=1))) == 7
    # Standard error of a test is not a terminal.
    assert len(list(classify_files(classifier, [path], threads=1, show_progress=None))) == 7
    assert capsys.readouterr().err == ""
    assert len(list(classify_files(classifier, [path], threads=1, show_progress=True))) == 7
    last = capsys.readouterr().err.split("\r")[-1]
    assert last.startswith("classifying: 7query [")
    assert "?" not in last


def test_a_message_during_a_bar_is_a_line_of_its_own(capsys):
    with without_bars():
        print("before", file=sys.stderr)
    with progress_bar(None, show=True, doing="classifying") as bar:
        bar.update(3)
        with without_bars():
            print("between", file=sys.stderr)
    text = capsys.readouterr().err
    assert text.startswith("before\n")
    line = text.split("\n")[1]
    assert line.split("\r")[-1] == "between"
    assert line.split("\r")[-2].strip() == ""
    assert "classifying: 3seq" in text.split("between")[1]
