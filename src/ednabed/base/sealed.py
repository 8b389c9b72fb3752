"""Sealed JSON: a file that names its schema and carries a hash of itself, so that one flipped byte in it shows.

A sealed file must be byte for byte what this module writes for its content, so that a changed blank shows too. Schemas
of the time before a file had a checksum are read as they are; the next write seals the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ednabed.base.stored_json import parse_json


class Damaged(ValueError):
    """The bytes are not those that were written."""


class Foreign(Damaged):
    """The file is no object that names a schema, as all of ours are."""


class UnknownSchema(ValueError):
    """The file names another schema than those that are read; the message is that schema."""


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Write JSON in the one form that ednabed's files have: two blanks, keys as given, newline at the end, no NaN.

    Args:
        value: What JSON can hold.
        ascii_only: Escape everything else, for texts that may hold what UTF-8 cannot.

    Raises:
        ValueError: It holds a number that is not finite.
    """
    return json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def json_sha256(value: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a value's JSON with sorted keys and no blanks."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Seal:
    """The schema of a kind of file, and the key of its checksum.

    Attributes:
        schema: What is written.
        key: Key of the checksum.
        unsealed: Earlier schemas, which had no checksum; None stands for files that named no schema.
        ascii_only: See ``to_json``.
    """

    schema: str | int
    key: str = "sha256"
    unsealed: tuple[str | int | None, ...] = ()
    ascii_only: bool = False

    def text(self, body: Mapping[str, Any]) -> str:
        """Return the text of a file: the schema, then the body, then the checksum of both.

        Raises:
            ValueError: The body holds a number that is not finite.
        """
        told = {"schema": self.schema, **body}
        return to_json({**told, self.key: json_sha256(told)}, ascii_only=self.ascii_only)

    def read(self, raw: bytes) -> dict[str, Any]:
        """Return the body of a file, without schema and checksum.

        Raises:
            UnknownSchema: It names a schema that is not read.
            Foreign: It is no object, or names no schema, where all of this kind do.
            Damaged: It is not JSON, its checksum does not fit, or it is not in the form in which it was written.
        """
        try:
            body = parse_json(raw, _unique)
            if not isinstance(body, dict):
                raise Foreign("it is not an object")
            schema, told = body.get("schema"), body.get(self.key)
            sealed = self._is(schema, (self.schema,))
            if not sealed and not self._is(schema, self.unsealed):
                if "schema" in body:
                    raise UnknownSchema(repr(schema))
                raise Foreign("it names no schema")
            if sealed != (self.key in body):
                raise Damaged(f"{self.key} is {'absent' if sealed else 'not of schema ' + repr(schema)}")
            if sealed:
                whole = to_json(body, ascii_only=self.ascii_only).encode()
                del body[self.key]
                if whole != raw or told != json_sha256(body):
                    raise Damaged("its checksum does not fit its content")
        except (Damaged, UnknownSchema):
            raise
        except ValueError as error:
            raise Damaged(str(error)) from error
        body.pop("schema", None)
        return body

    @staticmethod
    def _is(schema: Any, known: tuple[str | int | None, ...]) -> bool:
        # JSON's true equals 1 in Python, but is no number.
        return any(schema == one and type(schema) is type(one) for one in known)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is duplicated, of which JSON readers keep the last in silence."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise Damaged(f"{next(key for key in keys if keys.count(key) > 1)!r} is duplicated")
    return result
