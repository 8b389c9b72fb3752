"""Sealed JSON: a file that names its schema and contains its own hash, so that a single flipped byte is detected.

A sealed file must be byte for byte what this module writes for its content, so a changed space is detected too. Files
of earlier schemas, which had no checksum, are read as they are; the next write seals the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ednabed.base.stored_json import parse_json


class Damaged(ValueError):
    """The bytes differ from those that were written."""


class Foreign(Damaged):
    """The file is not an object that names a schema, so it is not one of ours."""


class UnknownSchema(ValueError):
    """The file names a schema that is not supported; the message is that schema."""


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Return JSON in the format of ednabed's files: two-space indent, keys in the given order, final newline, no NaN.

    Args:
        value: A value that JSON can represent.
        ascii_only: Escape all other characters, for texts that may contain what UTF-8 cannot encode.

    Raises:
        ValueError: The value contains a number that is not finite.
    """
    return json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def json_sha256(value: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a value's JSON with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Seal:
    """The schema of one type of file, and the key of its checksum.

    Attributes:
        schema: The schema that is written.
        key: Key of the checksum.
        unsealed: Earlier schemas, which had no checksum; None means files that did not name a schema.
        ascii_only: See ``to_json``.
    """

    schema: str | int
    key: str = "sha256"
    unsealed: tuple[str | int | None, ...] = ()
    ascii_only: bool = False

    def text(self, body: Mapping[str, Any]) -> str:
        """Return the text of a file: the schema, then the body, then the checksum of both.

        Raises:
            ValueError: The body contains a number that is not finite.
        """
        content = {"schema": self.schema, **body}
        return to_json({**content, self.key: json_sha256(content)}, ascii_only=self.ascii_only)

    def read(self, raw: bytes) -> dict[str, Any]:
        """Return the body of a file, without schema and checksum.

        Raises:
            UnknownSchema: The file names a schema that is not supported.
            Foreign: It is not an object, or it does not name a schema although all files of this type do.
            Damaged: It is not JSON, its checksum does not match, or it differs from the format in which it was written.
        """
        try:
            body = parse_json(raw, _unique, undecodable=self.ascii_only)
            if not isinstance(body, dict):
                raise Foreign("it is not an object")
            schema, checksum = body.get("schema"), body.get(self.key)
            sealed = self._is(schema, (self.schema,))
            if not sealed and not self._is(schema, self.unsealed):
                if "schema" in body:
                    raise UnknownSchema(repr(schema))
                raise Foreign("it does not name a schema")
            if sealed != (self.key in body):
                raise Damaged(f"{self.key} {'is missing' if sealed else 'does not belong to schema ' + repr(schema)}")
            if sealed:
                expected = to_json(body, ascii_only=self.ascii_only).encode()
                del body[self.key]
                if expected != raw or checksum != json_sha256(body):
                    raise Damaged("its checksum does not match its content")
        except (Damaged, UnknownSchema):
            raise
        except ValueError as error:
            raise Damaged(str(error)) from error
        body.pop("schema", None)
        return body

    @staticmethod
    def _is(schema: Any, known: tuple[str | int | None, ...]) -> bool:
        # JSON's true equals 1 in Python, but is not a number.
        return any(schema == one and type(schema) is type(one) for one in known)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object, and refuse duplicated keys, of which JSON readers silently keep the last."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise Damaged(f"{next(key for key in keys if keys.count(key) > 1)!r} is duplicated")
    return result
