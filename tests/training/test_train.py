"""Complete trainings: the loss falls, results are reproducible, a kill loses nothing, bad input is reported."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ednabed.base.locks import exclusive
from ednabed.engine.embed import Engine
from ednabed.engine.open import open_embedder
from ednabed.errors import InputError, StoreError, UsageError
from ednabed.evaluate.splits import Labelled, write_records
from ednabed.models.barcode.files import WEIGHTS
from ednabed.models.load import load_encoder
from ednabed.training import loop
from ednabed.training.records import QUESTIONS, read_labelled
from ednabed.training.train import TrainRequest, train_model
from ednabed.training.validation import hold_out, measure_encoder
from taxonomy_support import world
from train_driver import request_of

DRIVER = Path(__file__).parents[1] / "train_driver.py"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Use one thread, so that sums are computed in the same order here and in other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def barcodes(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("barcodes") / "barcodes.tsv"
    made = world(genera=24, species=3, records=3, length=240, marker="COI")
    write_records(path, [Labelled(one.id, one.sequence, one.lineage, one.marker) for one in made])
    return path


@pytest.fixture(scope="module")
def trained(barcodes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    train_model(request_of(str(barcodes), str(folder), "60"), show_progress=False)
    return folder


def test_a_folder_with_weights_settings_and_report(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["config.json", WEIGHTS, "training.json"]
    assert list(trained.parent.iterdir()) == [trained], "work in progress is gone"
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    embedder = open_embedder(str(trained))
    assert report["fingerprint"] == embedder.spec.fingerprint
    assert report["weights"] == embedder.spec.weights
    assert report["inputs"][0]["name"] == "barcodes.tsv" and report["inputs"][0]["records"] == 216
    assert report["curves"][-1]["step"] == 60
    assert set(report["validation"]) == {"small", "kmer6"}
    assert report["held_out"][0]["queries"]["genus"] > 0
    assert report["settings"]["seed"] == 7


def test_it_learns(trained):
    """The loss falls; a point of the curves covers three batches, so several points are averaged."""
    curves = json.loads((trained / "training.json").read_text(encoding="utf-8"))["curves"]
    loss = [sum(value for name, value in point.items() if name.startswith("loss")) for point in curves]
    assert np.mean(loss[-7:]) < 0.9 * np.mean(loss[:7])


def test_validation_figures_match_the_written_model(trained, barcodes):
    """The figures of the report match the encoder as written, on records that training did not see."""
    records, _ = read_labelled([barcodes], min_length=50)
    held_out = hold_out(records, 5, 7)
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert measure_encoder(load_encoder(str(trained)), held_out) == report["validation"]["small"]
    queries = {query.sequence for one in held_out for query in one.split.queries if query.group != "record"}
    assert not queries & {record.sequence for one in held_out for record in one.split.training}


def test_training_is_reproducible(trained, barcodes, tmp_path):
    train_model(request_of(str(barcodes), str(tmp_path / "small"), "60"), show_progress=False)
    assert (tmp_path / "small" / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


@pytest.mark.parametrize("seed", range(2))
def test_kills_lose_nothing(trained, barcodes, tmp_path, seed):
    """Killed at random moments and started again, training ends with the same weights as without interruption."""
    random.seed(seed)
    output = tmp_path / "small"
    kills = 0
    while not output.exists():
        process = subprocess.Popen([sys.executable, str(DRIVER), str(barcodes), str(output), "60"])
        try:
            process.wait(timeout=random.uniform(3, 7) * (1 + kills / 3))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            assert not output.exists() or (output / "training.json").exists()
        else:
            assert process.returncode == 0
    assert (output / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


class Stopped(Exception):
    pass


def test_training_resumes_where_it_stopped(trained, barcodes, tmp_path, monkeypatch):
    """Stopped between steps and started again, training gives the same weights and runs only the missing steps."""
    monkeypatch.setattr(loop, "_SAVE_SECONDS", 0.0)
    request = request_of(str(barcodes), str(tmp_path / "small"), "60")
    real = loop.losses
    calls = []

    def counted(*given):
        calls.append(1)
        if len(calls) == 40:
            raise Stopped
        return real(*given)

    monkeypatch.setattr(loop, "losses", counted)
    with pytest.raises(Stopped):
        train_model(request, show_progress=False)
    assert not request.output.exists()
    train_model(request, show_progress=False)
    # 39 steps were saved, and the 40th call failed.
    assert len(calls) == 40 + 21
    assert (request.output / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    curves = [json.loads((p / "training.json").read_text())["curves"] for p in (trained, request.output)]
    assert curves[0] == curves[1]


def test_a_state_of_other_settings_is_not_resumed(barcodes, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_SECONDS", 0.0)
    output = tmp_path / "small"
    work = tmp_path / ".small.training"
    real = loop.train

    def stop(*given, **more):
        real(*given, **more)
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train", stop)
        with pytest.raises(Stopped):
            train_model(request_of(str(barcodes), str(output), "6"), show_progress=False)
    assert (work / loop.STATE).exists()
    with pytest.raises(StoreError, match="other data or settings"):
        train_model(request_of(str(barcodes), str(output), "9"), show_progress=False)
    # One flipped bit of a weight, and one of the metadata.
    raw = (work / loop.STATE).read_bytes()
    for at in (len(raw) - 3, raw.index(b"loss_")):
        (work / loop.STATE).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(StoreError, match=r"damaged \(it does not match its checksum\)"):
            train_model(request_of(str(barcodes), str(output), "6"), show_progress=False)
    (work / loop.STATE).write_bytes(b"\x80damaged")
    with pytest.raises(StoreError, match="damaged"):
        train_model(request_of(str(barcodes), str(output), "6"), show_progress=False)
    request = request_of(str(barcodes), str(output), "6")
    train_model(TrainRequest(**{**request.__dict__, "resume": False}), show_progress=False)
    assert output.exists() and not work.exists()


def test_the_work_folder_of_a_killed_training_is_removed(barcodes, tmp_path, monkeypatch):
    """This includes a kill after the model was finished, and a training that saved nothing."""
    output, work = tmp_path / "small", tmp_path / ".small.training"
    output.mkdir()
    work.mkdir()
    (work / "lock").touch()
    (work / loop.STATE).write_bytes(b"the last state")
    request = request_of(str(barcodes), str(output), "6")
    with exclusive(work / "lock", "training"), pytest.raises(UsageError, match="exists"):
        train_model(request, show_progress=False)
    assert (work / loop.STATE).exists(), "the state of a running command stays"
    with pytest.raises(UsageError, match="exists"):
        train_model(request, show_progress=False)
    assert not work.exists()
    output.rmdir()
    work.mkdir()
    (work / "lock").touch()

    def stop(*given, **more):
        raise Stopped

    monkeypatch.setattr(loop, "train", stop)
    with pytest.raises(Stopped):
        train_model(request, show_progress=False)
    assert list(tmp_path.glob(".*")) == []


def test_a_trained_model_is_trained_further(trained, barcodes, tmp_path):
    """Training starts from the table of the trained model, with its patterns and dimension."""
    request = request_of(str(barcodes), str(tmp_path / "further"), "1")
    request = TrainRequest(**{**request.__dict__, "init": str(trained), "dimension": None, "rate": 1e-12})
    train_model(request, show_progress=False)
    before, after = load_encoder(str(trained)), load_encoder(str(tmp_path / "further"))
    assert (after.dimension, after.patterns) == (16, ("11111",))
    np.testing.assert_allclose(after.table, before.table, atol=1e-6)
    with pytest.raises(UsageError, match="`dimension` is 8"):
        train_model(TrainRequest(**{**request.__dict__, "output": tmp_path / "x", "dimension": 8}))


def test_a_map_on_another_encoder(barcodes, tmp_path):
    """kmer6 represents any encoder: it stays unchanged, and the map on top becomes a separate model."""
    request = request_of(str(barcodes), str(tmp_path / "mapped"), "20")
    report = train_model(TrainRequest(**{**request.__dict__, "init": "kmer6"}), show_progress=False)
    assert set(report["validation"]) == {"mapped", "kmer6", "kmer6, the start"}
    assert report["validation"]["kmer6"] == report["validation"]["kmer6, the start"]
    embedder = open_embedder(str(tmp_path / "mapped"))
    assert embedder.spec.dimension == 16
    vectors, refused = Engine(embedder).embed([b"ACGTTGCA" * 30])
    assert not refused and np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)
    assert report["fingerprint"] == embedder.spec.fingerprint


def test_nucleotide_transformers_get_a_map_too(shared, barcodes, tmp_path):
    source = shared / "golden" / "nt_tiny" / "v2"
    request = request_of(str(barcodes), str(tmp_path / "mapped"), "3")
    train_model(TrainRequest(**{**request.__dict__, "init": str(source), "validation": 3}), show_progress=False)
    embedder = open_embedder(str(tmp_path / "mapped"), use_gpu=False)
    assert embedder.spec.dimension == 16
    assert embedder.spec.max_tokens == load_encoder(str(source)).max_tokens


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id\tsequence\na\t" + "ACGT" * 30 + "\n", "no record has a lineage"),
        ("id\tsequence\tgenus\tspecies\na\t" + "ACGT" * 30 + "\tG\tG s\n", "nothing to hold out.*`validation=0`"),
        ("", "empty"),
    ],
)
def test_records_without_usable_labels_are_refused(tmp_path, text, said):
    (tmp_path / "given.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        train_model(request_of(str(tmp_path / "given.tsv"), str(tmp_path / "model"), "5"), show_progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["given.tsv"]


def test_an_existing_folder_is_left_alone(barcodes, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="exists"):
        train_model(request_of(str(barcodes), str(tmp_path / "model"), "5"))
    with pytest.raises(UsageError, match="at least 1 step"):
        TrainRequest(inputs=[barcodes], output=tmp_path / "x", rate=0)


def test_weights_that_are_not_finite_are_reported(barcodes, tmp_path):
    request = request_of(str(barcodes), str(tmp_path / "model"), "12")
    with pytest.raises(StoreError, match="no longer finite"):
        train_model(
            TrainRequest(**{**request.__dict__, "weights": dict.fromkeys(QUESTIONS, float("inf"))}), show_progress=False
        )
    assert not (tmp_path / "model").exists()


def test_a_sample_contains_relatives_of_every_group(barcodes):
    records, _ = read_labelled([barcodes], min_length=50)
    (held_out,) = hold_out(records, 6, 0)
    part = held_out.sample(30, 4, 0)
    assert len(part.split.training) == 30
    assert {query.group for query in part.split.queries} == {query.group for query in held_out.split.queries}
    for group, column in (("record", 6), ("species", 5), ("genus", 4)):
        names = {query.lineage[column] for query in part.split.queries if query.group == group}
        in_training = {record.lineage[column] for record in part.split.training}
        assert names & in_training, group
    everything = held_out.sample(10_000, 10_000, 0)
    assert everything.split.training == held_out.split.training
    assert sorted(q.id for q in everything.split.queries) == sorted(q.id for q in held_out.split.queries)


def test_records_with_runs_of_n_do_not_stop_a_map(tmp_path):
    """Fragments of Ns only, which the encoder below refuses, neither contribute nor stop the training."""
    made = world(genera=8, species=2, records=2, length=160)
    rows = [Labelled(one.id, one.sequence[:60] + "N" * 400 + one.sequence[60:], one.lineage) for one in made]
    write_records(tmp_path / "holes.tsv", rows)
    request = request_of(str(tmp_path / "holes.tsv"), str(tmp_path / "mapped"), "4")
    train_model(TrainRequest(**{**request.__dict__, "init": "kmer6", "validation": 0}), show_progress=False)
    assert (tmp_path / "mapped").is_dir()


def test_files_with_the_same_name_are_two_markers(tmp_path):
    made = world(genera=4, species=1, records=1, length=120)
    paths = [tmp_path / folder / "s.tsv" for folder in ("coi", "12s")]
    for path, part in zip(paths, (made[:2], made[2:]), strict=True):
        write_records(path, [Labelled(one.id, one.sequence, one.lineage) for one in part])
    records, _ = read_labelled(paths)
    assert {record.marker for record in records} == set(map(str, paths))


def test_a_map_stores_the_full_path_of_its_base_model(trained, barcodes, tmp_path, monkeypatch):
    """The model can then be opened from any working folder."""
    train_model(
        TrainRequest(**{**request_of(str(barcodes), str(tmp_path / "k6"), "2").__dict__, "init": "kmer6"}),
        show_progress=False,
    )
    monkeypatch.chdir(tmp_path)
    request = request_of(str(barcodes), str(tmp_path / "above"), "2")
    train_model(TrainRequest(**{**request.__dict__, "init": "k6"}), show_progress=False)
    monkeypatch.chdir(tmp_path.parent)
    assert open_embedder(str(tmp_path / "above")).spec.dimension == 16


def test_paths_that_cannot_be_a_model_are_refused(barcodes, tmp_path):
    (tmp_path / "file").write_text("x")
    for output, message in ((tmp_path / "file" / "model", "is a file"), (tmp_path / "kmer6", "choose another name")):
        with pytest.raises(UsageError, match=message):
            train_model(request_of(str(barcodes), str(output), "2"))
