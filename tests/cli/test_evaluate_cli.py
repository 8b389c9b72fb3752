"""``ednabed evaluate``: from a reference to a report, and a sentence for what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import call_in
from ednabed.cli import evaluate as cli_evaluate
from ednabed.evaluate import ednabed_method, tools
from ednabed.evaluate.ednabed_method import labelled_records
from ednabed.evaluate.methods import METHOD_NAMES
from ednabed.evaluate.splits import split
from ednabed.reference import layout
from ednabed.reference.opened import open_reference
from ednabed.sequences import open_records
from ednabed.sequences.lineage import format_lineage
from taxonomy_support import reference_of, world, world_workspace

FEW = ("--queries", "10", "--no-others", "--threads", "1")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return world_workspace(tmp_path_factory.mktemp("world") / "ws")


@pytest.fixture(scope="module")
def markers(tmp_path_factory) -> Path:
    """A workspace with a reference of two markers; the runs are of one each."""
    folder = tmp_path_factory.mktemp("markers")
    reference_of(folder, world(8, length=200, marker="COI"))
    reference_of(folder, world(8, length=200, seed=5, marker="12S"))
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Few draws."""
    real = ednabed_method.calibrate
    monkeypatch.setattr(ednabed_method, "calibrate", lambda *given, **more: real(*given, **{**more, "queries": 400}))


def test_a_report_as_json_and_as_a_file(capsys, workspace, quick, tmp_path):
    target = tmp_path / "report.md"
    code, out, err = call_in(capsys, workspace, "evaluate", *FEW, "--crop", "150", "--json", "--output", target)
    assert code == 0, err
    found = json.loads(out)
    assert [method["name"] for method in found["methods"]] == ["ednabed kmer6"]
    assert list(found["methods"][0]["crops"]) == ["full", "150"]
    sizes = found["split"]["queries"]
    assert sizes["record"] == 10
    assert all(0 < size <= 10 for size in sizes.values())
    assert found["threads"] == 1
    alone = found["neighbours"][0]
    assert alone["model"] == "kmer6"
    assert list(alone["figures"]) == ["full", "full, other strand", "150", "150, other strand"]
    assert 0 < alone["figures"]["full"]["species → genus"] <= 1
    text = target.read_text(encoding="utf-8")
    assert text.startswith("# Accuracy")
    assert "## Cropped to 150 bases" in text
    assert "## Vectors alone" in text and "| kmer6 | full, other strand |" in text


def test_what_a_model_may_be_trained_on(capsys, workspace, tmp_path):
    """The records that stay in training, of the same queries and seed, in a form that every reader takes."""
    target = tmp_path / "training.tsv"
    code, out, err = call_in(capsys, workspace, "evaluate", "--queries", "10", "--training-to", target)
    assert code == 0, err
    assert str(target) in out
    with open_records(target) as batches:
        rows = [row for batch in batches for row in batch.to_pylist()]
    records = labelled_records(open_reference(*layout.find_reference(workspace, None)))
    parted = split(records, queries=10)
    assert [(row["sequence"].decode(), row["lineage"]) for row in rows] == [
        (record.sequence, format_lineage(record.lineage)) for record in parted.training
    ]
    assert not {query.sequence for query in parted.queries if query.group == "genus"} & {
        row["sequence"].decode() for row in rows
    }
    code, _, err = call_in(capsys, workspace, "evaluate", "--queries", "10", "--training-to", tmp_path)
    assert code == 2 and "directory" in err


def test_queries_are_drawn_from_listed_records(capsys, workspace, tmp_path):
    """The records that leave training are all listed; a list that does not fit is refused before any work."""
    training, ids = tmp_path / "training.tsv", tmp_path / "unseen.txt"
    records = labelled_records(open_reference(*layout.find_reference(workspace, None)))
    families = sorted({record.lineage[4] for record in records} - {""})[:2]
    unseen = {record.id for record in records if record.lineage[4] in families}
    ids.write_text("\n".join(sorted(unseen)), encoding="utf-8")
    arguments = ("evaluate", "--queries", "10", "--unseen", ids, "--training-to", training)
    code, _, err = call_in(capsys, workspace, *arguments)
    assert code == 0, err
    with open_records(training) as batches:
        remaining = {row["sequence"].decode() for batch in batches for row in batch.to_pylist()}
    removed = {record.sequence for record in records} - remaining
    assert removed and removed <= {record.sequence for record in records if record.id in unseen}
    for content, words in (
        (b"nobody\n", "have an id in --unseen"), (b"\n", "only blank lines"), (b"\xff", "is not UTF-8"),
    ):  # fmt: skip
        ids.write_bytes(content)
        ended, _, err = call_in(capsys, workspace, *arguments)
        assert ended == 1 and words in err and "Traceback" not in err
    code, _, err = call_in(capsys, workspace, "evaluate", "--unseen", tmp_path / "absent.txt", "--no-others")
    assert code == 1 and "absent.txt: no such file" in err


def test_a_file_of_json_and_whole_queries_only(capsys, workspace, quick, tmp_path):
    target = tmp_path / "report.json"
    code, out, err = call_in(capsys, workspace, "evaluate", *FEW, "--no-crops", "--vectors-only", "--output", target)
    assert (code, out) == (0, ""), err
    found = json.loads(target.read_text(encoding="utf-8"))
    assert [method["name"] for method in found["methods"]] == ["ednabed kmer6", "ednabed kmer6, vectors only"]
    assert [list(method["crops"]) for method in found["methods"]] == [["full"], ["full"]]


def test_programs_that_are_absent_are_told_unless_they_are_not_asked_for(capsys, workspace, monkeypatch, quick):
    monkeypatch.setattr(tools.shutil, "which", lambda *_, **__: None)
    some = ("--queries", "3", "--no-crops", "--threads", "1")
    code, out, err = call_in(capsys, workspace, "evaluate", *some)
    assert code == 0, err
    assert "vsearch" in err
    assert "blastn" in err
    assert "| ednabed kmer6 |" in out
    code, _, err = call_in(capsys, workspace, "evaluate", *some, "--no-others")
    assert code == 0, err
    assert "vsearch" not in err


def test_a_reference_too_small_to_calibrate(capsys, caplog, monkeypatch, tmp_path):
    """It is measured as classify answers there, and that is told once, by the name of the user's reference."""
    # The stream of the log may be that of an earlier test.
    monkeypatch.setattr("logging.raiseExceptions", False)
    reference = reference_of(tmp_path, world(12, length=300))
    some = ("--queries", "5", "--no-crops", "--threads", "1", "--no-others", "--vectors-only")
    code, out, err = call_in(capsys, tmp_path, "evaluate", *some)
    assert code == 0, err
    small = f"the part of {reference.name} that remains for training is too small to calibrate"
    how = f"{small}, so ednabed kmer6 names by fixed identity thresholds, without confidences"
    library = [record.getMessage() for record in caplog.records if record.name == "ednabed"]
    assert [text for text in library if "calibrate" in text] == [how]
    assert f"ednabed kmer6, vectors only is omitted: {small}, and vectors alone cannot be used" in err
    assert "ednabed-evaluate-" not in err + out
    assert "fixed identity thresholds" in out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--crop", "100", "--no-crops"), 2, "--crop and --no-crops exclude each other"),
        (("--seed", "-1"), 2, "-1 is not in the range"),
        (("--marker", "ITS"), 1, "no labelled record of marker 'ITS'; its markers are: none"),
    ],
)
def test_what_cannot_be_measured(capsys, workspace, more, code, message):
    found, out, err = call_in(capsys, workspace, "evaluate", *FEW, *more)
    assert (found, out) == (code, "")
    assert message in err


def test_an_unknown_model_is_named(capsys, workspace):
    code, out, err = call_in(capsys, workspace, "evaluate", *FEW, "--model", "nosuch")
    assert code > 0
    assert out == ""
    assert "nosuch" in err
    assert "Traceback" not in err


def test_markers_of_all_runs_are_named(capsys, markers):
    code, _, err = call_in(capsys, markers, "evaluate", *FEW, "--marker", "ITS")
    assert code == 1
    assert "its markers are: 12S, COI" in err


def test_one_marker_of_several(capsys, markers, monkeypatch):
    asked = []

    def stop(data_split, methods, **more):
        asked.append((data_split.training, more["title"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("ednabed.evaluate.accuracy.evaluate", stop)
    for more in ((), ("--marker", "coi")):
        assert call_in(capsys, markers, "evaluate", *FEW, *more)[0] == 130
    (every, _), (some, title) = asked
    assert {one.marker for one in every} == {"COI", "12S"}
    assert {one.marker for one in some} == {"COI"}
    assert 0 < len(some) < len(every)
    assert title == "coi"


def test_a_negative_seed_of_calibration_is_refused(capsys, workspace):
    code, _, err = call_in(capsys, workspace, "reference", "calibrate", "--seed", "-1")
    assert code == 2
    assert "-1 is not in the range" in err


def test_other_methods_are_chosen(capsys, workspace, monkeypatch):
    assert cli_evaluate._OTHERS == METHOD_NAMES
    asked = []

    def stop(data_split, methods, **more):
        asked.append([method.name for method in methods])
        raise KeyboardInterrupt

    monkeypatch.setattr("ednabed.evaluate.accuracy.evaluate", stop)
    assert call_in(capsys, workspace, "evaluate", "--queries", "3")[0] == 130
    assert call_in(capsys, workspace, "evaluate", "--queries", "3", "--without", "naive-bayes")[0] == 130
    assert asked[0][-1] == "naive-bayes"
    assert asked[1] == asked[0][:-1]
    code, _, err = call_in(capsys, workspace, "evaluate", "--without", "nosuch")
    assert code == 2 and "nosuch" in err
