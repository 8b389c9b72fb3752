"""Options that a lab always sets: ednabed.toml in the workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_support import call_in
from ednabed.cli.defaults import find_defaults
from ednabed.cli.main import cli
from ednabed.errors import UsageError

SEQUENCE = "ACGTTGCAAGCTTAGCCATGCAAGTCCATGACGT"


@pytest.fixture
def workspace(tmp_path) -> Path:
    (tmp_path / "in.fa").write_text(f">a\n{SEQUENCE}\n>b\n{SEQUENCE[::-1]}\n")
    return tmp_path


def write(workspace: Path, text: str) -> None:
    (workspace / "ednabed.toml").write_text(text, encoding="utf-8")


def embedded(capsys, workspace, *more: str) -> tuple[dict, str]:
    code, out, err = call_in(capsys, workspace, "embed", workspace / "in.fa", "--dataset", "see", "--json", *more)
    assert code == 0, err
    return json.loads(out), err


def test_the_file_replaces_typing(capsys, workspace):
    typed, _ = embedded(capsys, workspace, "--model", "kmer6", "--strand", "both", "--min-length", "25")
    write(workspace, '[defaults]\nmodel = "kmer6"\nstrand = "both"\nthreads = 1\n\n[defaults.embed]\nmin_length = 25\n')
    taken, err = embedded(capsys, workspace, "--verbose")
    # It is the same run, whether options are typed or in the file.
    assert (taken["run"], taken["fingerprint"], taken["existed"]) == (typed["run"], typed["fingerprint"], True)
    manifest = json.loads((Path(taken["run"]) / "run.json").read_text(encoding="utf-8"))
    assert manifest["spec"]["strand"] == "both"
    line = next(line for line in err.splitlines() if line.startswith("defaults from"))
    assert line.startswith(f"defaults from {workspace / 'ednabed.toml'}: ")
    assert set(line.partition("toml: ")[2].split(", ")) == {
        "--model kmer6", "--strand both", "--threads 1", "--min-length 25",
    }  # fmt: skip


def test_the_command_line_overrides_the_environment_and_that_the_file(capsys, workspace, monkeypatch):
    write(workspace, '[defaults]\nmodel = "kmer6"\nstrand = "both"\n[defaults.table]\ndb = "from_file"\n')
    found, err = embedded(capsys, workspace, "--strand", "given", "--verbose")
    assert json.loads((Path(found["run"]) / "run.json").read_text())["spec"]["strand"] == "given"
    assert "--strand" not in err
    monkeypatch.chdir(workspace)
    source = workspace / "in.fa"
    assert call_in(capsys, workspace, "table", "import", source)[0] == 0
    monkeypatch.setenv("EDNABED_DB", "from_environment")
    assert call_in(capsys, workspace, "table", "import", source)[0] == 0
    assert call_in(capsys, workspace, "table", "import", source, "--db", "typed")[0] == 0
    assert {p.name for p in workspace.iterdir()} >= {"from_file", "from_environment", "typed"}
    monkeypatch.delenv("EDNABED_DB")
    _, out, _ = call_in(capsys, workspace, "table", "status", "--json")
    assert json.loads(out)["address"].endswith("from_file")


def test_typed_output_options_override_the_file(capsys, workspace):
    write(workspace, '[defaults]\nquiet = true\nmodel = "kmer6"\n')
    assert embedded(capsys, workspace)[1] == ""
    assert embedded(capsys, workspace)[1] == ""
    assert "defaults from" in embedded(capsys, workspace, "--verbose")[1]
    code, _, err = call_in(capsys, workspace, "--verbose", "runs", "list")
    assert code == 0
    assert "workspace:" in err


def test_tables_of_groups_and_commands(workspace):
    write(
        workspace,
        '[defaults]\ngpu = false\n[defaults.classify]\nmin-confidence = 1\n[defaults.table]\nvector-column = "v"\n'
        '[defaults.table.embed]\nvector-column = "w"\n[defaults.search]\ndataset = ["a", "b"]\n'
        "[defaults.train]\ncpu = true\n",
    )
    values = find_defaults(workspace, cli).values
    assert values["classify"]["min_confidence"] == 1
    assert (values["table"]["status"]["vector_column"], values["table"]["embed"]["vector_column"]) == ("v", "w")
    assert "vector_column" not in values["search"]
    assert values["search"]["datasets"] == ["a", "b"]
    assert (values["embed"]["use_gpu"], values["train"]["use_gpu"]) == (False, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[defaults.classify]\nconfidence = 0.9", "defaults.classify.confidence is unknown, expected an option "
         "or a command; the nearest is 'min-confidence'"),
        ('[defaults]\nmodle = "kmer6"', "defaults.modle is unknown, expected an option or a command; the "
         "nearest is 'model'"),
        ("[defaults.clasify]\nalpha = 0.1", "defaults.clasify is unknown, expected an option or a command; "
         "the nearest is 'classify'"),
        ("[defaults]\nalpha = 0.1", "defaults.alpha does not have the same meaning in every command; put it under "
         "[defaults.classify] or [defaults.discover]"),
        ("[default]\nmodel = 1", "'default' is unknown, expected the table [defaults]"),
        ("defaults = 3", "defaults is a whole number, expected the table [defaults]"),
        ('[defaults]\nthreads = "4"', "defaults.threads is '4' (a text), expected a whole number; correct the value"),
        ("[defaults]\nthreads = true", "defaults.threads is True (a boolean), expected a whole number"),
        ("[defaults]\nthreads = 0", "defaults.threads: 0 is not in the range x>=1; correct the value"),
        ("[defaults]\nmodel = 3", "defaults.model is 3 (a whole number), expected text in quotes"),
        ('[defaults]\nstrand = "bth"', "defaults.strand: 'bth' is not one of 'given', 'both'"),
        ('[defaults]\nquiet = "yes"', "defaults.quiet is 'yes' (a text), expected true or false"),
        ('[defaults.search]\ndataset = "a"', "defaults.search.dataset is 'a' (a text), expected a list"),
        ("[defaults.compress]\nexecute = true", "defaults.compress.execute cannot be a default; type --execute when "
         "needed"),
        ('[defaults.dashboard]\ntoken = "x"', "defaults.dashboard.token cannot be a default"),
        ("[defaults]\nmodel = ", "is not TOML: Invalid value (at line 2, column 9); correct that line"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_errors(capsys, workspace, text, said):
    write(workspace, text + "\n")
    code, out, err = call_in(capsys, workspace, "runs", "list")
    assert (code, out) == (2, "")
    assert err.startswith(f"ednabed: {workspace / 'ednabed.toml'}")
    assert said in err
    assert err.count("\n") == 1


def test_a_file_that_is_not_text(capsys, workspace):
    (workspace / "ednabed.toml").write_bytes(b"\xff\xfe")
    code, _, err = call_in(capsys, workspace, "runs", "list")
    assert code == 2
    assert "cannot be read as UTF-8 text" in err


KEYS = st.sampled_from(["model", "threads", "strand", "embed", "table", "classify", "alpha", "x", "quiet", "gpu"])
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 3), st.floats(0, 1), st.sampled_from(["kmer6", "both", ""])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_content_is_accepted_or_refused_with_the_file_named(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")

    def toml(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(toml, value)) + "]"
        return json.dumps(value)

    write(folder, f"defaults = {toml(content)}\n")
    try:
        found = find_defaults(folder, cli)
    except UsageError as error:
        assert "ednabed.toml" in str(error)
        assert "\n" not in str(error)
    else:
        assert found.values.keys() == cli.commands.keys()
