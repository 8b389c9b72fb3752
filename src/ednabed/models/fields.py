"""Read settings from a ``config.json``; errors for missing or unsupported settings name file, key and value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ednabed.base.stored_json import BadJson, parse_json
from ednabed.errors import ModelError


def read_json_object(path: Path, advice: str) -> dict[str, Any]:
    """Return the JSON object in a file; of repeated keys the last wins.

    Args:
        path: The file.
        advice: Next step if the file is missing: the end of the message.

    Raises:
        ModelError: The file is missing, unreadable, not UTF-8, not JSON or not an object.
    """
    try:
        values = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; {advice}, complete with its config.json and weights") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from error
    except BadJson as error:
        raise ModelError(f"{path} is not JSON ({error}); fetch the file again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} contains a JSON {type(values).__name__}, expected an object; fetch the file again")
    return values


@dataclass(frozen=True)
class Fields:
    """The object in a JSON file, with checks whose errors name file, key, value and the supported values.

    Attributes:
        path: The file.
        values: The object.
        advice: Next step: the end of every message.
    """

    path: Path
    values: Mapping[str, Any]
    advice: str

    def refuse(self, key: str, supported: str) -> NoReturn:
        """Raise ModelError for the value of a key."""
        got = f"is {json.dumps(self.values[key])}" if key in self.values else "is missing"
        raise ModelError(f"{self.path}: {key} {got}, expected {supported}; {self.advice}")

    def require(self, key: str, supported: tuple[object, ...]) -> None:
        """Refuse a value that is not one of these; None means a missing key or null."""
        value = self.values.get(key)
        # JSON's true equals 1 in Python, but is not a number.
        if any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in supported):
            return
        words = ["no value" if choice is None else json.dumps(choice) for choice in supported]
        self.refuse(key, " or ".join(words))

    def integer(self, key: str, minimum: int, maximum: int) -> int:
        """Return a whole number within the bounds."""
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        self.refuse(key, f"a whole number from {minimum} to {maximum}")

    def boolean(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        if isinstance(value, bool):
            return value
        self.refuse(key, "true or false")

    def positive(self, key: str) -> float:
        """Return a finite number above 0."""
        value = self.values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            return float(value)
        self.refuse(key, "a finite number above 0")

    def text(self, key: str) -> str:
        """Return text that is not empty."""
        value = self.values.get(key)
        if isinstance(value, str) and value:
            return value
        self.refuse(key, "text")
