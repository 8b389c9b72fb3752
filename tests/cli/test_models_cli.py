"""``ednabed models``: tables for people, JSON for programs, exit codes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ednabed.cli.common import Context
from ednabed.cli.main import cli
from ednabed.cli.models import models
from ednabed.errors import ModelError, UsageError
from ednabed.models import verify
from ednabed.models.catalog import CATALOGUE, find_card
from ednabed.models.weights import cache_folder

SHARED = Path(os.environ.get("EDNABED_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
TINY = SHARED / "golden" / "nt_tiny"
needs_shared = pytest.mark.skipif(not TINY.is_dir(), reason="the golden fixtures are not here (EDNABED_SHARED)")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("EDNABED_MODELS", raising=False)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(models, list(arguments), obj=Context(Path()), **cli.context_settings)


def put(card_name: str) -> Path:
    """Put the tiny checkpoint where a fetched model is."""
    card = find_card(card_name)
    folder = cache_folder(card) / "snapshots" / str(card.revision)
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (folder / name).write_bytes((TINY / "v2" / name).read_bytes())
    return folder


def announce(site: Path, name: str, code: str) -> None:
    info = site / "guest_pack-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-pack\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[ednabed.models]\n{name} = guest_pack:load\n")
    (site / "guest_pack.py").write_text(code)
    importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("guest_pack", None)


def test_list_shows_every_model_once() -> None:
    result = call("list")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split("  ")[0] == "NAME"
    assert [line.split()[0] for line in lines] == [card.name for card in CATALOGUE]
    line = next(line for line in lines if line.startswith("nt-v2-250m "))
    assert line.split()[:8] == ["nt-v2-250m", "768", "2048", "235.1M", "CC-BY-NC-SA-4.0", "940.6", "MB", "no"]
    line = next(line for line in lines if line.startswith("barcode-1 "))
    assert line.split()[:8] == ["barcode-1", "512", "none", "9.5M", "Apache-2.0", "9.5", "MB", "yes"]


@needs_shared
def test_list_as_json_states_which_weights_are_available() -> None:
    put("nt-v2-50m")
    rows = {row["name"]: row for row in json.loads(call("list", "--json").stdout)}
    assert rows["nt-v2-50m"]["weights_here"] is True
    assert rows["nt-v2-100m"]["weights_here"] is False
    assert rows["kmer6"]["weights_here"] is None
    assert rows["nt-2.5b-1000g"]["dimension"] == 2560
    assert set(rows["kmer6"]) == {
        "name", "dimension", "max_tokens", "parameters", "licence", "size_bytes", "weights_here", "notes",
    }  # fmt: skip


def test_list_shows_models_of_other_packages_without_importing_them(site: Path) -> None:
    announce(site, "guest", "raise SystemExit('imported')")
    assert "guest" in call("list").stdout.splitlines()[-1]
    assert "from the package guest-pack 2.0" in call("list").stdout
    row = json.loads(call("list", "--json").stdout)[-1]
    assert (row["name"], row["dimension"], row["notes"]) == ("guest", None, "from the package guest-pack 2.0")


def test_list_reports_a_refused_package(site: Path) -> None:
    announce(site, "kmer6", "")
    result = call("list")
    assert "guest-pack 2.0 announces a model 'kmer6', which is a name in ednabed's own catalogue" in result.stderr
    assert result.stdout.count("kmer6 ") == 1


def test_show_prints_spec_and_fingerprint_if_no_weights_are_needed() -> None:
    facts = json.loads(call("show", "kmer6", "--json").stdout)
    assert len(facts["fingerprint"]) == 64
    assert facts["spec"]["architecture"]["k"] == 6
    assert facts["hub_id"] is None
    text = call("show", "kmer6").stdout
    assert f"fingerprint: {facts['fingerprint']}" in text
    assert "spec layer: null" in text


def test_show_of_a_model_of_the_package() -> None:
    facts = json.loads(call("show", "barcode-1", "--json").stdout)
    assert (facts["weights_here"], facts["hub_id"], facts["problem"]) == (True, None, None)
    assert (facts["spec"]["model"], facts["spec"]["architecture"]["family"]) == ("barcode-1", "kmer-map")
    assert {"config.json", "model.safetensors"} <= {file["name"] for file in facts["files"]}
    text = call("show", "barcode-1").stdout
    assert f"fingerprint: {facts['fingerprint']}" in text
    assert "Apache License 2.0: free for any use" in text


def test_show_without_weights_gives_the_card() -> None:
    result = call("show", "nt-v2-50m")
    assert result.exit_code == 0
    assert "revision: 81b29e5786726d891dbf929404ef20adca5b36f1" in result.stdout
    assert "non-commercial use only" in result.stdout
    assert "fingerprint" not in result.stdout
    assert "'ednabed models fetch nt-v2-50m' downloads them" in result.stderr


@needs_shared
def test_show_with_weights_gives_files_spec_and_fingerprint() -> None:
    folder = put("nt-v2-50m")
    facts = json.loads(call("show", "nt-v2-50m", "--json").stdout)
    assert facts["folder"] == str(folder)
    assert facts["revision"] == folder.name
    assert {"name": "vocab.txt", "bytes": 28718} in facts["files"]
    assert facts["spec"]["model"] == "nt-v2-50m"
    assert facts["problem"] is None
    assert "path" not in facts
    assert "file: vocab.txt  28.7 kB" in call("show", "nt-v2-50m").stdout
    card_only = json.loads(call("show", "nt-v2-50m", "--card-only", "--json").stdout)
    assert card_only["spec"] is None
    assert card_only["files"] == facts["files"]


@needs_shared
def test_show_reports_damaged_weights_and_still_shows_the_card() -> None:
    folder = put("nt-v2-50m")
    (folder / "model.safetensors").write_bytes(b"damaged")
    result = call("show", "nt-v2-50m")
    assert result.exit_code == 0
    assert "problem: " in result.stdout
    assert "model.safetensors" in result.stdout
    assert "hub id: InstaDeepAI/" in result.stdout


@needs_shared
def test_show_of_a_folder() -> None:
    facts = json.loads(call("show", str(TINY / "v1"), "--json").stdout)
    assert (facts["name"], facts["weights_here"], facts["spec"]["dimension"]) == ("v1", True, 64)
    assert "not stated" in facts["licence_text"]


def test_show_of_a_model_of_another_package(site: Path) -> None:
    announce(
        site, "guest", "from ednabed.models.kmer import KmerEncoder\ndef load(**_): return KmerEncoder(name='guest')\n"
    )
    facts = json.loads(call("show", "guest", "--json").stdout)
    assert facts["notes"] == "from the package guest-pack 2.0"
    assert facts["spec"]["model"] == "guest"
    report = json.loads(call("verify", "guest", "--json").stdout)
    assert report["status"] == "unverifiable"
    assert report["message"] == "it can be loaded, but ednabed has no published vectors for guest-pack 2.0"


@needs_shared
def test_fetch_of_existing_weights_prints_their_folder() -> None:
    folder = put("nt-v2-50m")
    result = call("fetch", "nt-v2-50m")
    assert result.stdout == f"nt-v2-50m was already on this machine: {folder}\n"
    assert "non-commercial" in result.stderr
    facts = json.loads(call("fetch", "nt-v2-50m", "--json").stdout)
    assert (facts["folder"], facts["revision"], facts["was_here"]) == (str(folder), folder.name, True)


def test_fetch_without_weights_to_fetch_is_a_usage_error(site: Path) -> None:
    announce(site, "guest", "")
    for name in ("kmer6", "guest"):
        assert isinstance(call("fetch", name).exception, UsageError)


@needs_shared
def test_verify_reports_what_it_could_not_verify() -> None:
    result = call("verify", str(TINY / "v2"))
    assert result.exit_code == 0
    assert result.stdout.startswith("v2: unverifiable: no published vector")
    assert call("verify", "kmer6").stdout == (
        "kmer6: no weights: a formula without weights: there is nothing to verify\n"
    )
    assert json.loads(call("verify", "kmer6", "--json").stdout)["status"] == "no weights"


@needs_shared
@pytest.mark.parametrize("arguments", [[], ["--json"], ["--files"]])
def test_verify_fails_with_exit_code_1(arguments: list[str]) -> None:
    put("nt-v2-50m")
    result = call("verify", "nt-v2-50m", *arguments)
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "do not use these weights" in result.stdout
    if "--json" in arguments:
        assert json.loads(result.stdout)["vectors"][0]["passed"] is False
    if "--files" in arguments:
        assert "model.safetensors: differs" in result.stdout


def test_verify_prints_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    check = verify.VectorCheck(
        "ACGT", True, 1e-6, 1e-7, 1.0, {"max_abs": 2e-5, "mean_abs": 1e-5, "cosine": 0.999999}, passed=True
    )
    report = verify.Verification("m", "verified", "1 published vector reproduced", Path("here"), "source", (check,))
    monkeypatch.setattr(verify, "verify", lambda *_, **__: report)
    result = call("verify", "m")
    assert result.exit_code == 0
    assert "ACGT: passed: tokens equal, max |difference| 1.0e-06 (at most 2e-05)" in result.stdout


@pytest.mark.parametrize("verb", ["show", "fetch", "verify"])
def test_unknown_names_are_usage_errors(verb: str) -> None:
    assert isinstance(call(verb, "nt-v2-5m").exception, UsageError)
    assert isinstance(call(verb, "InstaDeepAI/nucleotide-transformer-250m-1000g").exception, UsageError)
    assert isinstance(call(verb, "../nowhere").exception, ModelError)


@pytest.mark.parametrize("verb", ["list", "show", "fetch", "verify"])
def test_help_has_an_example(verb: str) -> None:
    assert f"Example: ednabed models {verb}" in " ".join(call(verb, "--help").stdout.split())


def test_the_help_imports_nothing_heavy_and_the_list_no_framework() -> None:
    script = (
        "import sys, ednabed.cli.models as m\n"
        "heavy = {'numpy', 'torch', 'huggingface_hub', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "m.models(['list'], standalone_mode=False)\n"
        "assert not {'torch', 'httpx', 'httpx2', 'requests'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_errors_become_a_sentence_and_an_exit_code(tmp_path: Path) -> None:
    script = "import sys\nfrom ednabed.cli.main import main\nmain(sys.argv[1:])"
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for name, code, wanted in (
        ("nt-v2-5m", 2, "nearest: nt-v2-50m"),
        ("nt-v2-50m", 1, "HF_HUB_OFFLINE is set"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", script, "models", "fetch", name],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == code
        assert wanted in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
