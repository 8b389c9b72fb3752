"""The two small files that state which builds of a reference are kept: ``names.json`` and ``previous.json``.

Each contains a checksum of itself. While one of them is damaged, no build is removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ednabed.base.atomic import write_atomic
from ednabed.base.files import check_name
from ednabed.base.sealed import Damaged, Seal, UnknownSchema
from ednabed.errors import StoreError

NAMES = "names.json"
PREVIOUS = "previous.json"
NAMES_SCHEMA = "ednabed.names/2"
NAMES_SCHEMA_1 = "ednabed.names/1"
"""Schema from before the file had a checksum; still read."""
PREVIOUS_SCHEMA = "ednabed.previous/1"
_NAMES_SEAL = Seal(NAMES_SCHEMA, "names_sha256", unsealed=(NAMES_SCHEMA_1,))
_PREVIOUS_SEAL = Seal(PREVIOUS_SCHEMA, "previous_sha256")


def read_names(folder: Path) -> dict[str, str]:
    """Return the build of each name of a reference; empty if no names were given.

    Raises:
        StoreError: The file is damaged or has an unknown schema.
    """
    return _read_builds(
        folder / NAMES, _NAMES_SEAL, "names", f"{NAMES_SCHEMA_1!r} and {NAMES_SCHEMA!r}",
        "the names of builds are unknown", "delete it and name the builds again",
    )  # fmt: skip


def read_previous(folder: Path) -> dict[str, str]:
    """Return, for each build, the build that was current before it; empty if nothing is known.

    Entries besides that of the current build exist only while a build is being published or restored, or after this
    was killed.

    Raises:
        StoreError: The file is damaged or has an unknown schema.
    """
    previous = _read_builds(
        folder / PREVIOUS, _PREVIOUS_SEAL, "previous", repr(PREVIOUS_SCHEMA),
        "the previous build is unknown", "delete it to give up the previous build",
    )  # fmt: skip
    return {check_name("build", build): before for build, before in previous.items()}


def _read_builds(path: Path, seal: Seal, field: str, known: str, lost: str, otherwise: str) -> dict[str, str]:
    """Return the only field of a file that states which builds are kept: texts to builds, empty without the file."""
    try:
        body = seal.read(path.read_bytes())
        builds = body.get(field)
        if (
            body.keys() != {field}
            or not isinstance(builds, dict)
            or not all(isinstance(b, str) for b in builds.values())
        ):
            raise Damaged(f"its only field has to be {field!r}, with texts")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnknownSchema as found:
        raise StoreError(f"{path} has schema {found}, this version of ednabed reads {known}; update ednabed") from None
    except Damaged as error:
        raise StoreError(
            f"{path} is damaged ({error}), so {lost} and no build is removed; restore it from a backup, or {otherwise}"
        ) from None
    return {name: check_name("build", build) for name, build in builds.items()}


def write_names(folder: Path, names: dict[str, str]) -> None:
    """Replace the names of the builds of a reference. Needs ``layout.writing``."""
    write_atomic(folder / NAMES, _NAMES_SEAL.text({"names": dict(sorted(names.items()))}))


def write_previous(folder: Path, previous: Mapping[str, str]) -> None:
    """Replace what is known of previous builds. Needs ``layout.writing``."""
    write_atomic(folder / PREVIOUS, _PREVIOUS_SEAL.text({"previous": dict(previous)}))
