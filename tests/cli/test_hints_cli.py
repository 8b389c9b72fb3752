"""Usage from the older guides is answered with the current command, and the page that maps it is correct."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ednabed.cli.hints import OPTIONS, SCRIPTS
from ednabed.cli.main import cli, main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "from_the_guides.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["embed", "--input", "f.fa"], "'ednabed embed FILE...'"),
        (["table", "import", "--input=f.fa"], "'ednabed table import FILE...'"),
        (["table", "embed", "--validate-only"], "'ednabed validate'"),
        (["run_embeddings.py", "--validate-only"], "'ednabed validate'"),
        (["run_embeddings.py", "--batch-size", "64"], "'ednabed table embed'"),
        (["scripts/consolidate_embeddings.py"], "'ednabed consolidate'"),
        (["scripts\\search_reference.py"], "'ednabed search'"),
        *[([name], f"'ednabed {command}'") for name, command in SCRIPTS.items()],
    ],
)
def test_old_words_are_answered(capsys: pytest.CaptureFixture[str], typed: list[str], hint: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("hint: ") and hint in last and "docs/from_the_guides.md" in last


@pytest.mark.parametrize("typed", [["nothing"], ["embed", "--nothing"], ["reference", "app"]])
def test_other_mistakes_have_no_hint(capsys: pytest.CaptureFixture[str], typed: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(typed)
    assert "hint:" not in capsys.readouterr().err


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words name, and the remaining words."""
    command: click.Command = cli
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command = command.commands[words.pop(0)]
    return command, words


def test_the_commands_of_the_hints_exist() -> None:
    for command in (*SCRIPTS.values(), *(path for path, _ in OPTIONS)):
        assert command_of(command.split())[1] == []
    for text in OPTIONS.values():
        for command in re.findall(r"'ednabed ([^']+)'", text):
            command_of([word for word in command.split() if word.islower()])


def test_every_command_and_flag_of_the_page_exists() -> None:
    spans = [shlex.split(span.replace("\\|", "|")) for span in re.findall(r"`ednabed ([^`]+)`", PAGE)]
    assert len(spans) > 20
    for words in spans:
        command, rest = command_of(words)
        options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        for word in rest:
            if word.startswith("--"):
                assert word in options, f"ednabed {' '.join(words)}: {word}"


def test_the_page_has_every_script_and_option_of_the_hints() -> None:
    for script in SCRIPTS:
        assert f"{script}.py" in PAGE
    for _, option in OPTIONS:
        assert option in PAGE
