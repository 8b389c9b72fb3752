"""``ednabed versions``: options, output, and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli_support import call
from ednabed.store.runs import Run, find_run, runs_root
from ednabed.store.versions import Versions
from support import ednabed

KMER6 = "f003ebff2bd2"
SEQUENCES = ["ACGTTGCATGCATGCATTGACC" + tail for tail in ("A", "CC", "GGG", "TTTT", "ACGTA", "GATTACA")]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """lake by kmer6 and by kmer6-full (of which four sequences are common), river by kmer6 of both strands."""
    folder = tmp_path_factory.mktemp("made")
    for name, some in (("a", SEQUENCES[:5]), ("b", SEQUENCES[1:])):
        (folder / f"{name}.fa").write_text("".join(f">{s} tax=g:Gobius,s:niger\n{s}\n" for s in some))
    for arguments in (
        ("a.fa", "--dataset", "lake", "--model", "kmer6"),
        ("b.fa", "--dataset", "lake", "--model", "kmer6-full"),
        ("a.fa", "--dataset", "river", "--model", "kmer6", "--strand", "both"),
    ):
        done = ednabed("embed", *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def workspace(made, tmp_path, monkeypatch) -> Path:
    """A copy of it, which is the current folder; with a run of an older tool."""
    shutil.copytree(made, tmp_path / "ws")
    folder = runs_root(tmp_path / "ws") / "My_Dataset" / "2024-12-01"
    folder.mkdir(parents=True)
    np.save(folder / "embeddings.npy", np.eye(3, 512, dtype=np.float32))
    monkeypatch.chdir(tmp_path / "ws")
    monkeypatch.delenv("EDNABED_WORKSPACE", raising=False)
    return tmp_path / "ws"


def test_vectors_computed_elsewhere(workspace, capsys):
    # Another folder of unknown origin, whose vectors have another length.
    shutil.rmtree(runs_root(workspace) / "My_Dataset")
    folder = runs_root(workspace) / "Old" / "2023-01-01"
    folder.mkdir(parents=True)
    vectors = np.random.default_rng(1).standard_normal((5, 256)).astype(np.float32)
    vectors[4] = vectors[2] + 0.01
    np.save(folder / "embeddings.npy", vectors)
    register = ("versions", "register", "--version", "old", "--external", "--dimension", "256")
    code, out, err = call(capsys, *register, "--description", "from the 2023 server")
    assert (code, err) == (0, "") and out.startswith("old: external:old, fingerprint ")
    fingerprint = Versions.read(workspace).get("old").fingerprint
    assert call(capsys, *register)[1].endswith("was registered before\n")
    assert Versions.read(workspace).get("old").fingerprint == fingerprint
    # Another one of this length is another function; another length is not this version.
    assert call(capsys, "versions", "register", "--version", "other", "--external", "--dimension", "256")[0] == 0
    assert Versions.read(workspace).get("other").fingerprint != fingerprint
    assert call(capsys, *register[:-1], "128")[0] == 1

    code, _, err = call(capsys, "consolidate", "--version", "old")
    assert code == 0, err
    search = ("search", "--run", "Old", "--seq-idx", "2", "--top-k", "2", "--json")
    code, out, err = call(capsys, *search)
    assert code == 0, err
    assert [hit["seq_idx"] for hit in json.loads(out)["results"]] == [2, 4]
    # Tagged runs are searched without a reference.
    assert call(capsys, "versions", "tag-run", "Old", "--version", "old", "--assume")[0] == 0
    shutil.rmtree(workspace / "data" / "reference")
    assert [hit["seq_idx"] for hit in json.loads(call(capsys, *search)[1])["results"]] == [2, 4]
    assert call(capsys, "consolidate", "--version", "old")[0] == 0
    (workspace / "q.fa").write_text(f">q\n{SEQUENCES[0]}\n")
    for arguments in (("search", "--sequence", SEQUENCES[0]), ("search", "--fasta", "q.fa"), ("classify", "q.fa")):
        code, out, err = call(capsys, *arguments)
        assert (code, out) == (1, ""), arguments
        assert "external:old, a function that ednabed cannot compute" in err and "--seq-idx" in err


@pytest.mark.parametrize(
    "arguments",
    [("--external",), ("--dimension", "4"), ("--external", "--dimension", "4", "--model", "kmer6"),
     ("--external", "--dimension", "4", "--strand", "both")],
)  # fmt: skip
def test_options_that_external_excludes(tmp_path, capsys, arguments):
    code, _, err = call(capsys, "--workspace", tmp_path, "versions", "register", "--version", "v", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "data").exists()


@pytest.fixture
def registered(workspace, capsys) -> Path:
    for name, model in (("v1.0", "kmer6"), ("v2.0", "kmer6-full")):
        assert call(capsys, "versions", "register", "--version", name, "--model", model)[0] == 0
    return workspace


def old_address(workspace) -> str:
    folder = next(f for f in runs_root(workspace).glob("lake/*") if Run.open(f).manifest.spec.model == "kmer6")
    return f"lake/{folder.name}"


# -- register --------------------------------------------------------------------------------------------------------


def test_register_a_model(workspace, capsys):
    typed = ("versions", "register", "--version", "v1.0", "--model", "kmer6")
    code, out, err = call(capsys, *typed, "--description", "Initial baseline")
    assert (code, err) == (0, "")
    assert out == f"v1.0: kmer6, fingerprint {KMER6}, registered\n"
    assert Versions.read(workspace).get("v1.0").description == "Initial baseline"
    assert call(capsys, *typed)[:2] == (0, f"v1.0: kmer6, fingerprint {KMER6}, was registered before\n")
    assert call(capsys, *typed, "--description", "x")[1].endswith(", description changed\n")
    told = json.loads(call(capsys, *typed, "--json")[1])
    assert told["state"] == "was registered before"
    assert told["spec"] == Versions.read(workspace).get("v1.0").spec.to_dict()


def test_the_options_of_the_policy_are_part_of_the_function(workspace, capsys):
    code, _, _ = call(capsys, "versions", "register", "--version", "v1.0", "--model", "kmer6", "--strand", "both")
    assert code == 0
    assert Versions.read(workspace).get("v1.0").fingerprint == find_run(workspace, "river").manifest.spec.fingerprint


def test_register_a_model_folder(workspace, capsys, shared):
    folder = shared / "golden" / "nt_tiny" / "v2"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    code, out, _ = call(
        capsys, "versions", "register", "--version", "v1.0", "--model", folder, "--layer", "1", "--json"
    )
    assert code == 0
    assert json.loads(out)["spec"]["layer"] == 1


@pytest.mark.parametrize("how", ["label", "dataset", "folder"])
def test_register_the_function_of_a_run(workspace, capsys, how):
    run = find_run(workspace, "river")
    name = {"label": run.label, "dataset": "river", "folder": str(run.folder)}[how]
    code, _, err = call(capsys, "versions", "register", "--version", "v1.0", "--run", name)
    assert (code, err) == (0, "")
    assert Versions.read(workspace).get("v1.0").spec == run.manifest.spec


def test_a_model_without_local_weights_can_be_registered_by_a_run(workspace, capsys, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("EDNABED_MODELS", raising=False)
    code, out, err = call(capsys, "versions", "register", "--version", "v1.0", "--model", "nt-500m-1000g",
                          "--description", "Initial baseline")  # fmt: skip
    assert (code, out) == (1, "")
    sentence = err.splitlines()[-1]
    assert "the weights of nt-500m-1000g are not on this machine; run 'ednabed models fetch nt-500m-1000g'" in sentence
    assert sentence.endswith("; or give --run RUN with a run computed by it")
    assert not (workspace / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version", "v1.0"], 2, "give exactly one of --model MODEL, --run RUN and --external"),
        (
            ["--version", "v1.0", "--model", "kmer6", "--run", "river"],
            2,
            "give exactly one of --model MODEL, --run RUN and --external",
        ),
        (["--version", "v1.0", "--run", "river", "--strand", "given"], 2, "--strand applies only to --model"),
        (["--version", "v1.0", "--run", "river", "--max-tokens", "9"], 2, "--max-tokens applies only to --model"),
        (["--version", "a b", "--model", "kmer6"], 2, "version name 'a b'"),
        (["--version", "v1.0", "--model", "kmer7"], 2, "model 'kmer7' is unknown"),
        (["--version", "v1.0", "--run", "none"], 1, "there is no run 'none'"),
        (["--version", "v1.0", "--run", "My_Dataset"], 1, "so its model is unknown; register the version with"),
        (["--model", "kmer6"], 2, "--version"),
    ],
)
def test_register_refused(workspace, capsys, arguments, code, words):
    found, out, err = call(capsys, "versions", "register", *arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert not (workspace / "data").exists()


def test_register_under_another_name_or_for_another_function(registered, capsys):
    code, _, err = call(capsys, "versions", "register", "--version", "v3", "--model", "kmer6")
    assert code == 1
    assert "is already version 'v1.0'" in err
    code, _, err = call(capsys, "versions", "register", "--version", "v1.0", "--model", "kmer6-full")
    assert code == 1
    assert "choose another name" in err


# -- tags ------------------------------------------------------------------------------------------------------------


def test_tag_run(registered, capsys):
    place = old_address(registered)
    assert call(capsys, "versions", "tag-run", place, "--version", "v1.0") == (0, f"{place}: v1.0\n", "")
    assert call(capsys, "versions", "tag-run", place, "--version", "v1.0")[1] == f"{place}: v1.0, tagged before\n"
    told = json.loads(call(capsys, "versions", "tag-run", place, "--version", "v1.0", "--json")[1])
    assert (told["version"], told["assumed"], told["is_new"], told["previous"]) == ("v1.0", False, False, None)


@pytest.mark.parametrize("more", [[], ["--assume"]])
def test_tag_run_refused(registered, capsys, more):
    place = old_address(registered)
    code, out, err = call(capsys, "versions", "tag-run", place, "--version", "v2.0", *more)
    assert (code, out) == (1, "")
    assert all(words in err for words in (place, "kmer6 (", "kmer6-full (", KMER6, "its version is 'v1.0'"))
    assert Versions.read(registered).tags == {}
    assert call(capsys, "versions", "tag-run", "lake", "--version", "v9")[0] == 1
    assert call(capsys, "versions", "tag-run", "none", "--version", "v1.0")[0] == 1


def test_a_run_of_an_older_tool_is_marked_wherever_it_is_shown(registered, capsys):
    place = "My_Dataset/2024-12-01"
    code, _, err = call(capsys, "versions", "tag-run", place, "--version", "v1.0")
    assert code == 1
    assert "set --assume" in err
    code, out, _ = call(capsys, "versions", "tag-run", place, "--version", "v1.0", "--assume")
    assert (code, out) == (0, f"{place}: v1.0 (assumed)\n")
    (tag,) = Versions.read(registered).tags.values()
    assert tag.assumed
    assert f"{place}, tagged {tag.tagged}, ASSUMED" in call(capsys, "versions", "show", "v1.0")[1]
    rows = json.loads(call(capsys, "versions", "list", "--json")[1])
    assert [(row["version"], row["runs"], row["tagged"], row["assumed"]) for row in rows] == [
        ("v1.0", 2, 1, 1),
        ("v2.0", 1, 0, 0),
    ]
    assert "2 (1 assumed)" in call(capsys, "versions", "compare", "v1.0", "v2.0")[1]
    assert "1 assumed" in call(capsys, "versions", "auto-tag")[1]


def test_auto_tag(registered, capsys):
    code, out, err = call(capsys, "versions", "auto-tag")
    assert code == 0
    assert out == "v1.0: 1 tagged now, 0 tagged before\nv2.0: 1 tagged now, 0 tagged before\n"
    river = find_run(registered, "river")
    command = f"ednabed versions register --version NAME --run {river.label}"
    assert f"kmer6 (fingerprint {river.manifest.spec.fingerprint[:12]}), which computed {river.label}; " in err
    assert command in err
    assert "ednabed versions tag-run My_Dataset/2024-12-01 --version NAME --assume" in err
    assert call(capsys, *command.replace("NAME", "v3").split()[1:])[0] == 0
    code, out, err = call(capsys, "versions", "auto-tag", "--version", "v3", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["versions"] == {"v3": {"tagged": [river.label], "already": [], "assumed": []}}
    assert (told["unregistered"], told["unknown"], told["damaged"]) == ([], ["My_Dataset/2024-12-01"], [])


def test_auto_tag_without_versions(workspace, capsys):
    code, out, err = call(capsys, "versions", "auto-tag")
    assert (code, out) == (0, "")
    assert "no versions yet" in err
    assert err.count("register --version NAME --run") == 3
    assert call(capsys, "versions", "auto-tag", "--version", "v1.0")[0] == 1


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_auto_tag_names_a_damaged_run_and_continues(registered, capsys, more):
    folder = find_run(registered, "river").folder
    (folder / "run.json").write_text("{")
    code, out, err = call(capsys, "versions", "auto-tag", *more)
    assert code == 1
    assert f"river/{folder.name}" in err
    assert err.splitlines()[-1].startswith("ednabed: 1 damaged runs in ")
    assert len(Versions.read(registered).tags) == 2
    if more:
        assert len(json.loads(out)["damaged"]) == 1


# -- list, show, remove ----------------------------------------------------------------------------------------------


def test_an_empty_workspace(capsys, tmp_path):
    at = ("--workspace", tmp_path, "versions")
    code, out, err = call(capsys, *at, "list")
    assert (code, out) == (0, "")
    assert "'ednabed versions register' creates one" in err
    assert call(capsys, *at, "list", "--json")[:2] == (0, "[]\n")
    for verb in (("show", "v1"), ("remove", "v1"), ("compare", "v1", "v2"), ("auto-tag", "--version", "v1")):
        code, out, err = call(capsys, *at, *verb)
        assert (code, out) == (1, "")
        assert "no version 'v1'" in err
    assert list(tmp_path.iterdir()) == []


def test_list(registered, capsys):
    call(capsys, "versions", "register", "--version", "v1.0", "--model", "kmer6", "--description", "Initial baseline")
    call(capsys, "versions", "auto-tag")
    code, out, err = call(capsys, "versions", "list")
    assert (code, err) == (0, "")
    header, first, second = out.splitlines()
    assert header.split() == [
        "VERSION", "MODEL", "FINGERPRINT", "DIMENSION", "RUNS", "TAGGED", "ASSUMED", "CREATED", "DESCRIPTION"
    ]  # fmt: skip
    assert first.split()[:7] == ["v1.0", "kmer6", KMER6, "512", "1", "1", "0"]
    assert first.endswith("Initial baseline")
    assert second.split()[:2] == ["v2.0", "kmer6-full"]
    row = json.loads(call(capsys, "versions", "list", "--json")[1])[1]
    assert (row["version"], row["dimension"], row["runs"], row["tagged"], row["assumed"]) == ("v2.0", 4096, 1, 1, 0)
    assert len(row["fingerprint"]) == 64


def test_list_counts_the_runs_of_the_named_folder(registered, capsys):
    (registered / "moved").mkdir()
    find_run(registered, old_address(registered)).folder.rename(registered / "moved" / "r")
    assert [row["runs"] for row in json.loads(call(capsys, "versions", "list", "--json")[1])] == [0, 1]
    told = call(capsys, "versions", "list", "--json", "--runs-root", "moved")
    assert [row["runs"] for row in json.loads(told[1])] == [1, 0]


def test_show(registered, capsys):
    call(capsys, "versions", "register", "--version", "v1.0", "--model", "kmer6", "--description", "Initial baseline")
    code, out, err = call(capsys, "versions", "show", "v1.0")
    assert (code, err) == (0, "")
    for words in ("Initial baseline", KMER6, "model        kmer6", "strand       given", "run          none is tagged"):
        assert words in out
    call(capsys, "versions", "auto-tag")
    told = json.loads(call(capsys, "versions", "show", "v1.0", "--json")[1])
    assert [(tag["run"], tag["assumed"]) for tag in told["tags"]] == [(old_address(registered), False)]
    assert told["spec"]["model"] == "kmer6"


def test_remove(registered, capsys):
    call(capsys, "versions", "auto-tag")
    code, out, err = call(capsys, "versions", "remove", "v1.0")
    assert (code, out) == (1, "")
    assert "--force" in err
    assert call(capsys, "versions", "remove", "v1.0", "--force") == (0, "v1.0: removed, with 1 tags\n", "")
    assert list(Versions.read(registered).versions) == ["v2.0"]


# -- compare ---------------------------------------------------------------------------------------------------------


def test_compare(registered, capsys):
    code, out, err = call(capsys, "versions", "compare", "v1.0", "v2.0")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["v1.0", "v2.0"]
    cells = {line.split("  ")[0]: line.split()[1:] for line in lines[1:]}
    assert cells["dimension"] == ["512", "4,096"]
    assert cells["records"] == ["5", "5"]
    assert cells["common sequences"][1:2] == ["4,"]
    assert "overlap@3          1.000 (by chance 1.000)" in out
    code, out, _ = call(capsys, "versions", "compare", "v1.0", "v2.0", "--json")
    told = json.loads(out)
    assert [side["distinct"] for side in told["versions"]] == [5, 5]
    assert (told["common"], told["sampled"], told["pairs"], told["neighbours"]) == (4, 4, 6, 3)
    assert [entry["rank"] for entry in told["nearest_neighbour"]] == ["genus", "species"]
    assert [entry["accuracy"] for entry in told["nearest_neighbour"]] == [[1, 1], [1, 1]]


def test_compare_options(registered, capsys):
    typed = ("versions", "compare", "v1.0", "v2.0", "--json")
    told = json.loads(call(capsys, *typed, "--sample", "3", "--seed", "5", "--rank", "order", "--rank", "order")[1])
    assert (told["sampled"], told["seed"], told["neighbours"]) == (3, 5, 2)
    assert [(e["rank"], e["asked"], e["accuracy"]) for e in told["nearest_neighbour"]] == [("order", 0, None)]
    for wrong in (("--sample", "1"), ("--rank", "tribe"), ("--seed", "-1")):
        assert call(capsys, *typed, *wrong)[0] == 2
    code, _, err = call(capsys, "versions", "compare", "v1.0", "v1.0")
    assert code == 2
    assert "named twice" in err
    assert call(capsys, *typed, "--runs-root", "none")[0] == 1


def test_compare_reports_omitted_runs(registered, capsys):
    call(capsys, "versions", "tag-run", "My_Dataset/2024-12-01", "--version", "v1.0", "--assume")
    river = find_run(registered, "river")
    call(capsys, "versions", "register", "--version", "v3", "--run", "river")
    call(capsys, "versions", "tag-run", "river", "--version", "v3")
    river.folder.rename(registered / "moved")
    (find_run(registered, old_address(registered)).folder / "records.parquet").write_bytes(b"x")
    code, out, err = call(capsys, "versions", "compare", "v1.0", "v3")
    assert code == 0
    assert "no common sequences" in out
    assert "unknown" in out
    for words in (
        "damaged: ",
        "v1.0: runs without records, whose sequences cannot be matched: My_Dataset/2024-12-01",
        f"v3: tagged runs that are not in {runs_root(Path())} and were omitted: {river.label}",
        "v3: no runs in ",
    ):
        assert words in err
    told = json.loads(call(capsys, "versions", "compare", "v1.0", "v3", "--json")[1])
    assert (told["overlap"], told["spearman"], told["common"]) == (None, None, 0)
    assert told["versions"][1]["tagged_elsewhere"] == [river.label]
    assert len(told["damaged"]) == 1


def test_a_damaged_file_of_versions(registered, capsys):
    (registered / "data" / "versions.json").write_text("{")
    for verb in (
        ("list",),
        ("show", "v1.0"),
        ("auto-tag",),
        ("compare", "v1.0", "v2.0"),
        ("remove", "v1.0"),
        ("register", "--version", "v9", "--model", "kmer6"),
        ("tag-run", "lake", "--version", "v1.0"),
    ):
        code, out, err = call(capsys, "versions", *verb)
        assert (code, out) == (1, "")
        assert "versions.json is damaged" in err
        assert err.count("\n") == 1
