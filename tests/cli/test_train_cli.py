"""``ednabed train``: from the example's labelled fishes to a model that the other commands accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import call_in
from ednabed.cli import main as entry
from taxonomy_support import randomly

FISHES = Path(__file__).resolve().parents[2] / "examples" / "fish_12s.tsv.gz"
UNKNOWN = FISHES.with_name("unknown_12s.fasta")
SMALL = ("--steps", "8", "--batch", "48", "--dimension", "16", "--pattern", "11111", "--validation", "10", "--cpu")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    with pytest.raises(SystemExit) as ended:
        entry.main(["--workspace", str(folder), "train", str(FISHES), "--output", "models/fish", *SMALL])
    assert not ended.value.code
    return folder


def test_output(capsys, tmp_path):
    code, out, err = call_in(
        capsys, tmp_path, "train", FISHES, "--output", "fish", *SMALL, "--licence", "CC0-1.0", "--seed", "3"
    )
    assert code == 0, err
    assert "fish_12s.tsv.gz: 1,550 of 1,550 records" in err
    assert "trained    8 steps on cpu" in out
    header = next(line for line in out.splitlines() if line.startswith("MARKER"))
    assert header.split()[-2:] == ["fish", "kmer6"]
    assert "genus → family" in out
    assert json.loads((tmp_path / "fish" / "config.json").read_text())["licence"] == "CC0-1.0"
    assert [path.name for path in tmp_path.iterdir()] == ["fish"]


def test_embed_search_and_versions_accept_the_model(capsys, workspace, monkeypatch):
    model = workspace / "models" / "fish"
    code, out, err = call_in(capsys, workspace, "embed", UNKNOWN, "--model", model, "--dataset", "unknown")
    assert code == 0, err
    assert "fish, 16 dimensions" in out
    code, out, err = call_in(capsys, workspace, "search", "--fasta", UNKNOWN, "--top-k", "1", "--model", model)
    assert code == 0, err
    # In EDNABED_MODELS its name is enough.
    code, out, err = call_in(capsys, workspace, "search", "--fasta", UNKNOWN, "--top-k", "1")
    assert code == 1 and "the folder of the model as --model" in err
    monkeypatch.setenv("EDNABED_MODELS", str(workspace / "models"))
    code, out, err = call_in(capsys, workspace, "search", "--fasta", UNKNOWN, "--top-k", "1")
    assert code == 0, err
    code, _, err = call_in(
        capsys, workspace, "versions", "register", "--version", "v1", "--model", model, "--description", "fishes"
    )
    assert code == 0, err
    code, out, err = call_in(capsys, workspace, "versions", "auto-tag", "--json")
    assert code == 0 and "v1" in out, err


def test_models_show_and_verify_a_trained_folder(capsys, workspace):
    model = workspace / "models" / "fish"
    code, out, err = call_in(capsys, workspace, "models", "show", model, "--json")
    shown = json.loads(out)
    assert code == 0 and shown["spec"]["architecture"]["family"] == "kmer-map", err
    code, out, _ = call_in(capsys, workspace, "models", "verify", model)
    assert code == 0 and "verified" in out
    report = json.loads((model / "training.json").read_text())
    assert report["schema"] == 2 and report["files"].keys() == {"config.json", "model.safetensors"}
    for name in ("training.json", "config.json"):
        raw = (model / name).read_bytes()
        (model / name).write_bytes(raw.replace(b'"licence": "', b'"licence": "X', 1))
        code, out, _ = call_in(capsys, workspace, "models", "verify", model)
        assert code == 1 and name in out and "failed" in out
        (model / name).write_bytes(raw)
    # A report of the first form has no checksums, only the hash of the weights.
    report = {key: value for key, value in report.items() if key not in ("files", "report_sha256")} | {"schema": 1}
    (model / "training.json").write_text(json.dumps(report))
    code, out, _ = call_in(capsys, workspace, "models", "verify", model)
    assert code == 0 and "verified" in out
    (model / "training.json").write_text(json.dumps(report | {"weights": "sha256:" + "0" * 64}))
    code, out, _ = call_in(capsys, workspace, "models", "verify", model)
    assert code == 1 and "failed" in out
    (model / "training.json").unlink()
    code, out, _ = call_in(capsys, workspace, "models", "verify", model)
    assert code == 0 and "unverifiable" in out


def test_short_barcodes_and_no_validation(capsys, tmp_path):
    """Barcodes of 65 bases are refused with the reason, and accepted with --shortest."""
    lines = ["id\tsequence\tlineage"]
    lines += [f"{i}\t{randomly(65, i)}\tA;P;C;O;F{i // 4};G{i // 2};G{i // 2} s{i}" for i in range(12)]
    (tmp_path / "short.tsv").write_text("\n".join(lines) + "\n")
    given = (
        "train",
        tmp_path / "short.tsv",
        "--output",
        "m",
        "--steps",
        "2",
        "--batch",
        "8",
        "--pattern",
        "111",
        "--cpu",
    )
    code, _, err = call_in(capsys, tmp_path, *given, "--validation", "0")
    assert code == 1 and "12 with characters that are not accepted or fewer than 100" in err
    code, out, err = call_in(capsys, tmp_path, *given, "--validation", "0", "--shortest", "40")
    assert code == 0, err
    assert "MARKER" not in out


def test_the_report_as_json(capsys, tmp_path):
    code, out, err = call_in(capsys, tmp_path, "train", FISHES, "--output", "fish", *SMALL, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report == json.loads((tmp_path / "fish" / "training.json").read_text(encoding="utf-8"))
    assert report["settings"]["patterns"] == ["11111"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent.fasta", "--output", "x"], 1, "absent.fasta"),
        (["-", "--output", "x"], 2, "give a file to train on"),
        ([FISHES, "--output", "x", "--pattern", "1101"], 2, "the same from both ends"),
        ([FISHES, "--output", "x", "--rate", "0"], 2, "a rate above 0"),
        ([FISHES, "--output", "x", "--init", "no-such-model"], 2, "no-such-model"),
        ([UNKNOWN, "--output", "x"], 1, "no record has a lineage"),
        ([FISHES, "--output", "x", "--init", "kmer6", "--pattern", "111"], 2, "--pattern"),
        ([FISHES], 2, "--output"),
    ],
)
def test_impossible_trainings(capsys, tmp_path, arguments, code, said):
    found, _, err = call_in(capsys, tmp_path, "train", *arguments, "--steps", "2")
    assert found == code, err
    assert said in err
    assert not (tmp_path / "x").exists()


def test_a_folder_that_exists(capsys, workspace):
    code, _, err = call_in(capsys, workspace, "train", FISHES, "--output", "models/fish", *SMALL)
    assert code == 2 and "exists; give a new folder" in err
