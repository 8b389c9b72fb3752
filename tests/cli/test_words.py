"""The library names parameters in backticks, the command line shows the options of the running command."""

from __future__ import annotations

import logging

import click
import pytest

from ednabed.cli.main import cli, main
from ednabed.cli.words import _ALIASES, in_options
from ednabed.errors import UsageError
from ednabed.export.assignments import FORMATS
from ednabed.reference.index import KINDS


def context_of(path: str) -> click.Context:
    context = click.Context(cli, info_name="ednabed", **cli.context_settings)
    for name in path.split():
        assert isinstance(context.command, click.Group)
        context = click.Context(context.command.commands[name], info_name=name, parent=context)
    return context


@pytest.mark.parametrize(
    ("command", "text", "shown"),
    [
        ("search", "choose one by `seq_idx`: 3, 5", "choose one by --seq-idx: 3, 5"),
        ("search", "`record_id` or `run`", "--id or --run"),
        ("search", "`k` is 0; `exclude_runs`", "--top-k is 0; --exclude-run"),
        ("classify", "`run` and `abundance`", "--run and --abundance"),
        ("classify", "set `align=False`", "set --no-align"),
        ("embed", "set `resume=False` or another `output`", "set --no-resume or another --output"),
        ("embed", "`resume=True`, `resume`", "resume=True, resume"),
        ("embed", "give `inputs`", "give INPUT"),
        ("embed", "`use_gpu`, `use_gpu=True`, `use_gpu=False`", "--gpu, --gpu, --cpu"),
        ("embed", "set `precision=fp32` or `precision='bf16'`", "set --precision fp32 or --precision bf16"),
        ("embed", "another `workspace`, not `nothing_such`", "another --workspace, not nothing_such"),
        ("table embed", "`storage_options`, `vector_column`", "--storage-option, --vector-column"),
        ("runs list", "`seq_idx`, `resume=False`", "seq_idx, resume=False"),
        ("embed", "'a `b c` d' and seq_idx", "'a `b c` d' and seq_idx"),
    ],
)  # fmt: skip
def test_parameters_become_options(command: str, text: str, shown: str) -> None:
    assert in_options(text, context_of(command)) == shown
    with context_of(command):
        assert in_options(text) == shown


def test_without_a_command_only_the_backticks_go() -> None:
    assert in_options("`seq_idx` and `resume=False`") == "seq_idx and resume=False"


def test_errors_and_notices_show_options(tmp_path, capsys, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        logging.getLogger("ednabed").warning("`refit` is slow")
        raise UsageError("give another `seed` or `workspace`, or set `use_gpu=False`")

    monkeypatch.setattr("ednabed.workflows.maps.usable_source", refuse)
    with pytest.raises(SystemExit):
        main(["--workspace", str(tmp_path), "runs", "map", "x"])
    assert capsys.readouterr().err.splitlines() == [
        "--refit is slow",
        "ednabed: give another --seed or --workspace, or set use_gpu=False",
    ]


def test_every_option_exists() -> None:
    def options(command: click.Command) -> set[str]:
        found = {text for option in command.params for text in (option.name, *option.opts, *option.secondary_opts)}
        if isinstance(command, click.Group):
            found = found.union(*(options(inner) for inner in command.commands.values()))
        return found

    assert set(_ALIASES.values()) <= options(cli)


def choices(command: str, option: str) -> tuple[str, ...]:
    (found,) = [one for one in context_of(command).command.params if option in one.opts]
    return tuple(found.type.choices)


def test_choices_are_those_of_the_library():
    """The command line repeats them, so that ``-h`` does not import the library."""
    assert choices("consolidate", "--index") == KINDS
    assert choices("classify", "--format") == (*FORMATS, "table")
