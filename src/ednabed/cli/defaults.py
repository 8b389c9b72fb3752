"""``ednabed.toml`` in the workspace: values for options that are not on the command line.

The table ``[defaults]`` has options with the same meaning in every command, ``[defaults.COMMAND]`` options of one
command, ``[defaults.GROUP]`` options of all commands in a group, and ``[defaults.GROUP.COMMAND]`` options of one of
them. A key is the name of an option without ``--``. The command line takes precedence, then the environment, then this
file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ednabed.cli.common import SharedOption
from ednabed.errors import UsageError

FILE = "ednabed.toml"
_TABLE = "defaults"
_TYPED_ONLY = ("execute", "force", "delete-original", "no-resume", "replace", "token", "storage-option")
"""Options that must be typed each time: they delete or replace data, or hold secrets, which do not belong with data."""


@dataclass(frozen=True)
class Defaults:
    """The content of a file of defaults.

    Attributes:
        file: Its path.
        values: Options of each command by parameter name, as click's ``default_map``.
    """

    file: Path
    values: dict[str, Any]


def find_defaults(workspace: Path, commands: click.Group) -> Defaults | None:
    """Read the defaults of a workspace.

    Args:
        workspace: Folder that may contain ``ednabed.toml``.
        commands: The commands against which all keys and values are checked.

    Returns:
        None if there is no such file.

    Raises:
        UsageError: The file cannot be read, or has a key that is not an option or a value that the option rejects.
    """
    path = workspace / FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text ({error}); correct it or move it away") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}; correct that line") from None
    for key in content:
        if key != _TABLE:
            raise UsageError(f"{path}: {key!r} is unknown, expected the table [{_TABLE}]; put options under it")
    table = content.get(_TABLE, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {_TABLE} is a {_kind(table)}, expected the table [{_TABLE}]")
    return Defaults(path, _Reader(path).group(commands, table, _TABLE, {}, top=True))


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def group(
        self, group: click.Group, table: dict[str, Any], name: str, above: dict[str, Any], *, top: bool = False
    ) -> dict[str, Any]:
        """Return the values of all commands in a group; ``above`` holds values from the tables above this one."""
        given = {key: value for key, value in table.items() if not isinstance(value, dict)}
        options = {key for verb in _verbs(group) for key in _options(verb, shared=top)}
        for key in given:
            if _plain(key) not in options:
                self._unknown(f"{name}.{key}", key, options, _owners(group, _plain(key)) if top else [])
        for key in table.keys() - given.keys():
            if key not in group.commands:
                self._unknown(f"{name}.{key}", key, set(group.commands), [])
        values = above | {_plain(key): (value, f"{name}.{key}") for key, value in given.items()}
        found = {}
        for verb_name, verb in group.commands.items():
            subtable, key_path = table.get(verb_name, {}), f"{name}.{verb_name}"
            if isinstance(verb, click.Group):
                found[verb_name] = self.group(verb, subtable, key_path, values)
            else:
                found[verb_name] = self._verb(verb, subtable, key_path, values)
        return found

    def _verb(self, verb: click.Command, table: dict[str, Any], name: str, above: dict[str, Any]) -> dict[str, Any]:
        options, shared = _options(verb), _options(verb, shared=True)
        values = {}
        for key, (value, key_path) in above.items():
            # Directly under [defaults], an option applies only to commands in which it has the shared meaning.
            applicable = shared if key_path.count(".") == 1 else options
            if key in applicable:
                values[key] = value, key_path
        for key, value in table.items():
            if _plain(key) not in options:
                self._unknown(f"{name}.{key}", key, set(options), [])
            values[_plain(key)] = value, f"{name}.{key}"
        return {str(options[key].name): self._value(options[key], key, *values[key]) for key in values}

    def _unknown(self, key_path: str, key: str, known: set[str], owners: list[str]) -> None:
        if _plain(key) in _TYPED_ONLY:
            raise UsageError(f"{self.path}: {key_path} cannot be a default; type --{_plain(key)} when needed")
        if owners:
            tables = " or ".join(f"[{_TABLE}.{owner}]" for owner in owners[:3])
            raise UsageError(
                f"{self.path}: {key_path} does not have the same meaning in every command; put it under {tables}"
            )
        close = difflib.get_close_matches(_plain(key), sorted(known), n=1, cutoff=0)
        nearest = f"; the nearest is {close[0]!r}" if close else ""
        raise UsageError(f"{self.path}: {key_path} is unknown, expected an option or a command{nearest}")

    def _value(self, option: click.Option, key: str, value: Any, key_path: str) -> Any:
        """Check a value and return it as the command line would give it."""
        if option.multiple:
            if not isinstance(value, list):
                self._wrong(key_path, value, 'a list, such as ["..."]')
            return [self._single(option, item, key_path) for item in value]
        checked = self._single(option, value, key_path)
        return not checked if f"--{key}" in option.secondary_opts else checked

    def _single(self, option: click.Option, value: Any, key_path: str) -> Any:
        kind = option.type
        if option.is_flag:
            expected, valid = "true or false", isinstance(value, bool)
        elif isinstance(kind, click.types.IntParamType):
            expected, valid = "a whole number", isinstance(value, int) and not isinstance(value, bool)
        elif isinstance(kind, click.types.FloatParamType):
            expected, valid = "a number", isinstance(value, int | float) and not isinstance(value, bool)
        else:
            expected, valid = "text in quotes", isinstance(value, str)
        if not valid:
            self._wrong(key_path, value, expected)
        try:
            kind.convert(value, option, None)
        except click.BadParameter as error:
            raise UsageError(f"{self.path}: {key_path}: {error.message.rstrip('.')}; correct the value") from None
        return value

    def _wrong(self, key_path: str, value: Any, expected: str) -> None:
        raise UsageError(
            f"{self.path}: {key_path} is {value!r} (a {_kind(value)}), expected {expected}; correct the value"
        )


def _plain(key: str) -> str:
    return key.replace("_", "-")


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "whole number", float: "number", str: "text", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)


def _verbs(group: click.Group) -> Iterator[click.Command]:
    for verb in group.commands.values():
        if isinstance(verb, click.Group):
            yield from _verbs(verb)
        else:
            yield verb


def _options(verb: click.Command, shared: bool = False) -> dict[str, click.Option]:
    """Return the options of a command by their names in the file."""
    return {
        name.removeprefix("--"): option
        for option in verb.params
        if isinstance(option, click.Option) and (not shared or isinstance(option, SharedOption))
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--") and name.removeprefix("--") not in _TYPED_ONLY
    }


def _owners(group: click.Group, key: str, above: str = "") -> list[str]:
    """Return the commands that have an option, such as ``table.embed``."""
    found = []
    for name, verb in group.commands.items():
        if isinstance(verb, click.Group):
            found += _owners(verb, key, f"{above}{name}.")
        elif key in _options(verb):
            found.append(above + name)
    return found
