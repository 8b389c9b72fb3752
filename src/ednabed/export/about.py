"""What only its publisher can say of a data set: title, licence and contact, from a small TOML file.

    title = "Fish of the lake, 2026"
    abstract = "Water of twelve stations, 12S."
    license = "CC-BY"          # CC0, CC-BY or CC-BY-NC, the three that GBIF takes
    published = 2026-11-30

    [contact]
    given_name = "Kari"
    surname = "Nordmann"
    organization = "Institute of Lakes"
    email = "kari@example.org"
    orcid = "0000-0002-1825-0097"

``[[creator]]`` has the same keys, once for each who is to be cited; without any it is the contact. Of a person or
organisation at least ``surname`` or ``organization`` is needed; of a data set all but ``language`` and ``creator``,
because GBIF's profile requires them.
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
"""Name of a licence to its address and what it is called in a sentence."""
_KEYS = ("title", "abstract", "license", "language", "published", "contact", "creator")
_LANGUAGE = re.compile(r"[a-z]{3}")
_ORCID = re.compile(r"(?:\d{4}-){3}\d{3}[\dX]")


@dataclass(frozen=True)
class Agent:
    """A person or an organisation; what is unknown is empty."""

    given_name: str = ""
    surname: str = ""
    organization: str = ""
    email: str = ""
    orcid: str = ""


@dataclass(frozen=True)
class DatasetAbout:
    """What a data set is.

    Attributes:
        title: Its title.
        abstract: A description.
        license: One of ``LICENSES``.
        language: Language of the texts, three letters (ISO 639-2).
        published: Date of publication.
        contact: Whom to ask.
        creators: Who is to be cited, at least one.
    """

    title: str
    abstract: str
    license: str
    language: str
    published: date
    contact: Agent
    creators: tuple[Agent, ...]


def read_about(path: Path) -> DatasetAbout:
    """Read what a data set is.

    Args:
        path: The TOML file.

    Raises:
        InputError: It cannot be read, lacks something or has something that is not known.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{path}: is no TOML file that can be read ({error}); give one such as docs/formats.md shows"
        ) from error
    unknown = [key for key in body if key not in _KEYS]
    if unknown:
        raise InputError(f"{path}: has a key {unknown[0]!r}, expected some of {', '.join(_KEYS)}; correct or remove it")
    license_ = _text(path, body, "license", required=True)
    if license_ not in LICENSES:
        raise InputError(
            f"{path}: license is {license_!r}, expected one of {', '.join(LICENSES)}, which GBIF takes; choose one"
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
        raise InputError(f"{path}: creator is no list of tables; write [[creator]] once for each")
    return DatasetAbout(
        title=_text(path, body, "title", required=True),
        abstract=_text(path, body, "abstract", required=True),
        license=license_,
        language=language,
        published=published,
        contact=contact,
        creators=tuple(_agent(path, "creator", one) for one in creators) or (contact,),
    )


def _agent(path: Path, what: str, body: Any) -> Agent:
    keys = [field.name for field in fields(Agent)]
    if not isinstance(body, dict):
        raise InputError(f"{path}: has no [{what}], expected a table with some of {', '.join(keys)}; add it")
    unknown = [key for key in body if key not in keys]
    if unknown:
        raise InputError(
            f"{path}: {what} has a key {unknown[0]!r}, expected some of {', '.join(keys)}; correct or remove it"
        )
    agent = Agent(**{key: _text(path, body, key) for key in keys})
    if not agent.surname and not agent.organization:
        raise InputError(f"{path}: {what} has neither surname nor organization; add one")
    if agent.orcid and not _ORCID.fullmatch(agent.orcid):
        raise InputError(
            f"{path}: {what} has the orcid {agent.orcid!r}, expected one such as 0000-0002-1825-0097; correct it"
        )
    return agent


def _text(path: Path, body: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"{path}: {key} is {value!r}, expected a text; add it")
    return " ".join(value.split())
