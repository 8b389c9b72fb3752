"""``ednabed.toml`` in the workspace: values for options that are not on the command line.

The table ``[defaults]`` has options that mean the same in every verb, ``[defaults.VERB]`` those of one verb,
``[defaults.GROUP]`` those of all verbs of a group, ``[defaults.GROUP.VERB]`` those of one of these. A key is the name
of an option without ``--``. What is on the command line goes first, then the environment, then this file.
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
"""What deletes or replaces is asked for each time; secrets have no place in a file that goes where the data go."""


@dataclass(frozen=True)
class Defaults:
    """What a file of defaults says.

    Attributes:
        file: Its path.
        values: For each verb its options by the names of their parameters, as click's ``default_map``.
    """

    file: Path
    values: dict[str, Any]


def find_defaults(workspace: Path, commands: click.Group) -> Defaults | None:
    """Read the defaults of a workspace.

    Args:
        workspace: The folder that may hold ``ednabed.toml``.
        commands: The verbs, against which all keys and values are checked.

    Returns:
        None where there is no such file.

    Raises:
        UsageError: The file cannot be read, has a key that is no option, or a value that the option does not take.
    """
    path = workspace / FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text ({error}); mend it or move it away") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}; mend that line") from None
    for key in content:
        if key != _TABLE:
            raise UsageError(f"{path}: {key!r} is unknown, expected the table [{_TABLE}]; put options below it")
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
        """Return the values of all verbs of a group; ``above`` are those that tables further up have for them."""
        own = {key: value for key, value in table.items() if not isinstance(value, dict)}
        options = {key for verb in _verbs(group) for key in _options(verb, shared=top)}
        for key in own:
            if _plain(key) not in options:
                self._unknown(f"{name}.{key}", key, options, _owners(group, _plain(key)) if top else [])
        for key in table.keys() - own.keys():
            if key not in group.commands:
                self._unknown(f"{name}.{key}", key, set(group.commands), [])
        values = above | {_plain(key): (value, f"{name}.{key}") for key, value in own.items()}
        found = {}
        for verb_name, verb in group.commands.items():
            below, place = table.get(verb_name, {}), f"{name}.{verb_name}"
            if isinstance(verb, click.Group):
                found[verb_name] = self.group(verb, below, place, values)
            else:
                found[verb_name] = self._verb(verb, below, place, values)
        return found

    def _verb(self, verb: click.Command, table: dict[str, Any], name: str, above: dict[str, Any]) -> dict[str, Any]:
        options, shared = _options(verb), _options(verb, shared=True)
        values = {}
        for key, (value, place) in above.items():
            # Directly below [defaults] an option counts only where it means the same everywhere.
            there = shared if place.count(".") == 1 else options
            if key in there:
                values[key] = value, place
        for key, value in table.items():
            if _plain(key) not in options:
                self._unknown(f"{name}.{key}", key, set(options), [])
            values[_plain(key)] = value, f"{name}.{key}"
        return {str(options[key].name): self._value(options[key], key, *values[key]) for key in values}

    def _unknown(self, place: str, key: str, known: set[str], owners: list[str]) -> None:
        if _plain(key) in _TYPED_ONLY:
            raise UsageError(f"{self.path}: {place} cannot be a default; type --{_plain(key)} where it is meant")
        if owners:
            tables = " or ".join(f"[{_TABLE}.{owner}]" for owner in owners[:3])
            raise UsageError(f"{self.path}: {place} does not mean the same in every verb; put it below {tables}")
        close = difflib.get_close_matches(_plain(key), sorted(known), n=1, cutoff=0)
        near = f"; the nearest is {close[0]!r}" if close else ""
        raise UsageError(f"{self.path}: {place} is unknown, expected an option of the verb or a verb{near}")

    def _value(self, option: click.Option, key: str, value: Any, place: str) -> Any:
        """Check a value; give it as the command line would."""
        if option.multiple:
            if not isinstance(value, list):
                self._wrong(place, value, 'a list, such as ["..."]')
            return [self._single(option, one, place) for one in value]
        checked = self._single(option, value, place)
        return not checked if f"--{key}" in option.secondary_opts else checked

    def _single(self, option: click.Option, value: Any, place: str) -> Any:
        kind = option.type
        if option.is_flag:
            wanted, right = "true or false", isinstance(value, bool)
        elif isinstance(kind, click.types.IntParamType):
            wanted, right = "a whole number", isinstance(value, int) and not isinstance(value, bool)
        elif isinstance(kind, click.types.FloatParamType):
            wanted, right = "a number", isinstance(value, int | float) and not isinstance(value, bool)
        else:
            wanted, right = "a text in quotes", isinstance(value, str)
        if not right:
            self._wrong(place, value, wanted)
        try:
            kind.convert(value, option, None)
        except click.BadParameter as error:
            raise UsageError(f"{self.path}: {place}: {error.message.rstrip('.')}; mend the value") from None
        return value

    def _wrong(self, place: str, value: Any, wanted: str) -> None:
        raise UsageError(f"{self.path}: {place} is {value!r} (a {_kind(value)}), expected {wanted}; mend the value")


def _plain(key: str) -> str:
    return key.replace("_", "-")


def _kind(value: Any) -> str:
    names = {bool: "truth value", int: "whole number", float: "number", str: "text", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)


def _verbs(group: click.Group) -> Iterator[click.Command]:
    for verb in group.commands.values():
        if isinstance(verb, click.Group):
            yield from _verbs(verb)
        else:
            yield verb


def _options(verb: click.Command, shared: bool = False) -> dict[str, click.Option]:
    """Return the options of a verb by their names in the file."""
    return {
        name.removeprefix("--"): option
        for option in verb.params
        if isinstance(option, click.Option) and (not shared or isinstance(option, SharedOption))
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--") and name.removeprefix("--") not in _TYPED_ONLY
    }


def _owners(group: click.Group, key: str, above: str = "") -> list[str]:
    """Return the verbs that have an option, such as ``table.embed``."""
    found = []
    for name, verb in group.commands.items():
        if isinstance(verb, click.Group):
            found += _owners(verb, key, f"{above}{name}.")
        elif key in _options(verb):
            found.append(above + name)
    return found
