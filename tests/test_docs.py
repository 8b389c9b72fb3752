"""The documentation says what the code does, and the README's commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ednabed.cli.common import SharedOption
from ednabed.cli.defaults import find_defaults
from ednabed.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]


def test_the_command_reference_is_fresh():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    # In a process of its own, because click remembers the help option of the first context that asked for it.
    made = subprocess.run(
        [sys.executable, "-m", "ednabed.cli.docs"], capture_output=True, check=True, encoding="utf-8"
    ).stdout
    assert made == page, "run 'make docs'"


def test_every_verb_has_an_example_and_every_option_a_help_line():
    def leaves(command: click.Command):
        if isinstance(command, click.Group):
            for verb in command.commands.values():
                yield from leaves(verb)
        else:
            yield command

    for verb in leaves(cli):
        assert verb.help and "Example:" in verb.help, verb.name
        for parameter in verb.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{verb.name} {parameter.name}"


def commands_in(page: Path) -> list[list[str]]:
    lines = re.findall(r"^    (ednabed [^#\n]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines]


PAGES = ["README.md", *(f"docs/{name}.md" for name in ("backup", "monthly_job", "storage"))]


@pytest.mark.parametrize("words", [words for page in PAGES for words in commands_in(ROOT / page)], ids=" ".join)
def test_the_commands_of_the_pages_parse(words):
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)
    words = words[1:]
    if words[0] == "--workspace":
        words = words[2:]
    while isinstance(command, click.Group):
        assert words[0] in command.commands, words
        command = command.commands[words.pop(0)]
        context = click.Context(command, parent=context)
    with context:
        command.parse_args(context, words)


def test_the_defaults_of_the_pages_are_taken(tmp_path):
    blocks = [
        block
        for page in ("configuration", "monthly_job")
        for block in re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / f"{page}.md").read_text("utf-8"), re.M | re.S)
    ]
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "ednabed.toml").write_text(block, encoding="utf-8")
        assert find_defaults(tmp_path, cli) is not None


def test_the_options_that_are_shared_are_those_of_the_page():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    listed = page.partition("same in every command: ")[2].partition("Other options")[0]
    shared = {option.opts[0] for option in shared_options(cli)}
    assert shared == {f"--{name}" for name in re.findall(r"`([a-z-]+)`", listed)} - {"--embed", "--validate"}


def shared_options(command: click.Command):
    for parameter in command.params:
        if isinstance(parameter, SharedOption):
            yield parameter
    if isinstance(command, click.Group):
        for verb in command.commands.values():
            yield from shared_options(verb)


def test_links_between_the_pages_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
