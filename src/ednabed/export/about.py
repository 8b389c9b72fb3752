"""Metadata of a data set that only its publisher knows: title, licence and contact, read from a small TOML file.

    title = "Fish of the lake, 2026"
    abstract = "Water of twelve stations, 12S."
    license = "CC-BY"          # CC0, CC-BY or CC-BY-NC, the three that GBIF accepts
    published = 2026-11-30

    [contact]
    given_name = "Kari"
    surname = "Nordmann"
    organization = "Institute of Lakes"
    email = "kari@example.org"
    orcid = "0000-0002-1825-0097"

``[[creator]]`` has the same keys and is repeated for each creator to be cited; without any, the contact is the creator.
A person or an organisation needs at least ``surname`` or ``organization``. A data set needs all keys except
``language`` and ``creator``, because GBIF's profile requires them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from ednabed.errors import InputError

LICENSES = {
    "CC0": ("https://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0 1.0"),
    "CC-BY": ("https://creativecommons.org/licenses/by/4.0/legalcode", "CC BY 4.0"),
    "CC-BY-NC": ("https://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC BY-NC 4.0"),
}
"""Name of each licence, mapped to its URL and to its name in a sentence."""
_KEYS = ("title", "abstract", "license", "language", "published", "contact", "creator")
_LANGUAGE = re.compile(r"[a-z]{3}")
_ORCID = re.compile(r"(?:\d{4}-){3}\d{3}[\dX]")


@dataclass(frozen=True)
class Agent:
    """A person or an organisation; unknown fields are empty."""

    given_name: str = ""
    surname: str = ""
    organization: str = ""
    email: str = ""
    orcid: str = ""


@dataclass(frozen=True)
class DatasetAbout:
    """Metadata of a data set.

    Attributes:
        title: Title.
        abstract: Description.
        license: One of ``LICENSES``.
        language: Language of the texts, three letters (ISO 639-2).
        published: Date of publication.
        contact: Contact.
        creators: Creators to be cited, at least one.
    """

    title: str
    abstract: str
    license: str
    language: str
    published: date
    contact: Agent
    creators: tuple[Agent, ...]


def read_about(path: Path) -> DatasetAbout:
    """Read the metadata of a data set.

    Args:
        path: The TOML file.

    Raises:
        InputError: The file cannot be read, lacks a required key, or has an unknown key or an invalid value.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as TOML ({error}); give a file such as the one shown in docs/formats.md"
        ) from error
    unknown = [key for key in body if key not in _KEYS]
    if unknown:
        raise InputError(
            f"{path}: has the unknown key {unknown[0]!r}, expected keys from {', '.join(_KEYS)}; correct or remove it"
        )
    license_ = _text(path, body, "license", required=True)
    if license_ not in LICENSES:
        raise InputError(
            f"{path}: license is {license_!r}, expected one of {', '.join(LICENSES)}, which GBIF accepts; choose one"
        )
    language = _text(path, body, "language") or "eng"
    if not _LANGUAGE.fullmatch(language):
        raise InputError(f"{path}: language is {language!r}, expected three letters such as eng; correct it")
    published = body.get("published")
    if type(published) is not date:
        raise InputError(
            f"{path}: published is {published!r}, expected a date such as 2026-11-30; write it without quotes"
        )
    contact = _agent(path, "contact", body.get("contact"))
    creators = body.get("creator", [])
    if not isinstance(creators, list):
        raise InputError(f"{path}: creator is not a list of tables; write [[creator]] once for each creator")
    return DatasetAbout(
        title=_text(path, body, "title", required=True),
        abstract=_text(path, body, "abstract", required=True),
        license=license_,
        language=language,
        published=published,
        contact=contact,
        creators=tuple(_agent(path, "creator", creator) for creator in creators) or (contact,),
    )


def _agent(path: Path, key: str, body: Any) -> Agent:
    names = [field.name for field in fields(Agent)]
    if not isinstance(body, dict):
        raise InputError(f"{path}: has no [{key}], expected a table with keys from {', '.join(names)}; add it")
    unknown = [name for name in body if name not in names]
    if unknown:
        raise InputError(
            f"{path}: {key} has the unknown key {unknown[0]!r}, expected keys from {', '.join(names)}; "
            "correct or remove it"
        )
    agent = Agent(**{name: _text(path, body, name) for name in names})
    if not agent.surname and not agent.organization:
        raise InputError(f"{path}: {key} has neither surname nor organization; add one")
    if agent.orcid and not _ORCID.fullmatch(agent.orcid):
        raise InputError(
            f"{path}: {key} has the orcid {agent.orcid!r}, expected an ORCID such as 0000-0002-1825-0097; correct it"
        )
    return agent


def _text(path: Path, body: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"{path}: {key} is {value!r}, expected text; add it")
    return " ".join(value.split())
