"""The library names parameters, the command line options; what is quoted stays as it is."""

from __future__ import annotations

import click
import pytest

from ednabed.cli.main import cli
from ednabed.cli.words import _OPTIONS, in_options


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max_tokens is 9, x takes 8", "--max-tokens is 9, x takes 8"),
        ("replace by resume=False (without max_sequences)", "replace by --no-resume (without --max-sequences)"),
        ("(run and seq_idx)", "(run and --seq-idx)"),
        ("'max_tokens' of a/batch_size.tsv and my_seq_idx", "'max_tokens' of a/batch_size.tsv and my_seq_idx"),
    ],
)  # fmt: skip
def test_parameters_become_options(text: str, shown: str) -> None:
    assert in_options(text) == shown


def test_every_option_exists() -> None:
    def options(command: click.Command) -> set[str]:
        found = {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
        if isinstance(command, click.Group):
            found = found.union(*(options(inner) for inner in command.commands.values()))
        return found

    assert set(_OPTIONS.values()) <= options(cli)
