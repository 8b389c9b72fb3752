"""``data/versions.json``: names and descriptions for fingerprints, and the runs that are tagged with them.

The file contains a checksum of itself, and inconsistent contents are rejected, not guessed. Writers take turns using a
lock file next to it; readers need no lock, because the file is replaced atomically.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ednabed.base.atomic import write_atomic
from ednabed.base.sealed import Damaged, Seal, UnknownSchema
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.store.runs import Run

VERSIONS_SCHEMA = "ednabed.versions/2"
VERSIONS_SCHEMA_1 = "ednabed.versions/1"
"""Schema from before the file had a checksum; still readable."""
_SEAL = Seal(VERSIONS_SCHEMA, "versions_sha256", unsealed=(VERSIONS_SCHEMA_1,))
LOCK_SECONDS = 30.0
"""Maximum time that a writer waits for another one."""


@dataclass(frozen=True)
class Version:
    """A named function.

    Attributes:
        name: Such as ``v1.0``.
        spec: The function from a sequence to a vector.
        description: Free text for people.
        created: UTC time, ISO 8601.
    """

    name: str
    spec: Spec
    description: str
    created: str

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the function, 64 hexadecimal digits."""
        return self.spec.fingerprint


@dataclass(frozen=True)
class Tag:
    """The statement that a run belongs to a version.

    Attributes:
        version: Name of the version.
        run: Name of the run (dataset/run or folder) when it was tagged; for people only, runs are matched by identity.
        assumed: Whether the version was stated by a person, because the run itself does not record it.
        tagged: UTC time, ISO 8601.
    """

    version: str
    run: str
    assumed: bool
    tagged: str


@dataclass(frozen=True)
class Versions:
    """Contents of ``data/versions.json``; immutable, each change creates a new object.

    Attributes:
        versions: By name, in order of registration.
        tags: By identity of the run.
    """

    versions: Mapping[str, Version] = field(default_factory=dict)
    tags: Mapping[str, Tag] = field(default_factory=dict)

    @classmethod
    def read(cls, workspace: Path) -> Versions:
        """Read the versions of a workspace; empty if there is no file.

        Raises:
            StoreError: The file is damaged, or has a schema that this version of ednabed does not know.
        """
        path = versions_path(workspace)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return cls()
        try:
            return cls._from_body(_SEAL.read(raw))
        except UnknownSchema as found:
            raise StoreError(
                f"{path} has schema {found}, but this version of ednabed reads {VERSIONS_SCHEMA_1!r} and "
                f"{VERSIONS_SCHEMA!r}; update ednabed"
            ) from None
        except (Damaged, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise StoreError(
                f"{path} is damaged ({what}); restore it from a backup, or, if it was changed on purpose, set its "
                f"schema to {VERSIONS_SCHEMA_1!r} and delete the line {_SEAL.key!r}"
            ) from error

    @classmethod
    def _from_body(cls, body: dict[str, Any]) -> Versions:
        """Convert the parsed file; raise ValueError, KeyError or TypeError if it is not what ``to_text`` writes."""
        _require_fields("file", body, {"versions": dict, "tags": dict})
        versions: dict[str, Version] = {}
        owners: dict[str, str] = {}
        for name, entry in body["versions"].items():
            _require_fields(
                f"version {name!r}", entry, {"fingerprint": str, "spec": dict, "description": str, "created": str}
            )
            version = Version(name, Spec.from_dict(entry["spec"]), entry["description"], entry["created"])
            if version.fingerprint != entry["fingerprint"]:
                raise ValueError(f"the spec of version {name!r} does not have its fingerprint")
            other = owners.setdefault(version.fingerprint, name)
            if other != name:
                raise ValueError(f"versions {other!r} and {name!r} have the same fingerprint")
            versions[name] = version
        for identity, entry in body["tags"].items():
            _require_fields(f"tag {identity!r}", entry, {"version": str, "run": str, "assumed": bool, "tagged": str})
            if entry["version"] not in versions:
                raise ValueError(f"tag {identity!r} has version {entry['version']!r}, which does not exist")
        return cls(versions, {identity: Tag(**entry) for identity, entry in body["tags"].items()})

    def to_text(self) -> str:
        """Return the text of the file."""
        versions = {
            version.name: {
                "fingerprint": version.fingerprint,
                "spec": version.spec.to_dict(),
                "description": version.description,
                "created": version.created,
            }
            for version in self.versions.values()
        }
        tags = {identity: dict(vars(tag)) for identity, tag in self.tags.items()}
        return _SEAL.text({"versions": versions, "tags": tags})

    def get(self, name: str) -> Version:
        """Return the version with a name. Raises StoreError, listing the existing names, if there is none."""
        if name not in self.versions:
            known = ", ".join(self.versions) or "none yet; 'ednabed versions register' creates one"
            raise StoreError(f"there is no version {name!r}; registered: {known}")
        return self.versions[name]

    def of_fingerprint(self, fingerprint: str) -> Version | None:
        """Return the version of a function, or None if it has none."""
        return next((v for v in self.versions.values() if v.fingerprint == fingerprint), None)

    def of_run(self, run: Run) -> tuple[Version, bool] | None:
        """Return the version of a run and whether it is assumed, or None if the run has no version.

        A run with a manifest has the version of its fingerprint, tagged or not. A run of unknown origin has the version
        of its tag; to find the tag, its vectors are hashed if any tag exists for vectors of their length.

        Raises:
            StoreError: The vectors of a run of unknown origin are damaged.
        """
        if run.manifest is not None:
            version = self.of_fingerprint(run.manifest.spec.fingerprint)
            return None if version is None else (version, False)
        dimension = run.vectors().dimension
        if not any(tag.assumed and self.get(tag.version).spec.dimension == dimension for tag in self.tags.values()):
            return None
        tag = self.tags.get(run.identity)
        return None if tag is None else (self.get(tag.version), tag.assumed)

    def tags_of(self, name: str) -> dict[str, Tag]:
        """Return the tags with a version, by identity of the run."""
        return {identity: tag for identity, tag in self.tags.items() if tag.version == name}


def versions_path(workspace: Path) -> Path:
    """Return the path of the versions file of a workspace."""
    return workspace / "data" / "versions.json"


@contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Lock out other writers; the system releases the lock when the process dies.

    Raises:
        StoreError: Another command held the lock for ``LOCK_SECONDS``.
    """
    from filelock import FileLock, Timeout

    path = versions_path(workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StoreError(
            f"{path} was locked by another command ('ednabed versions', or 'ednabed consolidate --version') for "
            f"{LOCK_SECONDS:g} seconds; wait until it has finished and run the same command again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def write_versions(workspace: Path, versions: Versions) -> None:
    """Replace the file; the caller must hold the lock."""
    write_atomic(versions_path(workspace), versions.to_text())


def _require_fields(what: str, entry: Any, expected: Mapping[str, type]) -> None:
    if not isinstance(entry, dict) or entry.keys() != expected.keys():
        raise ValueError(f"{what} does not have the fields {', '.join(expected)}")
    for key, kind in expected.items():
        if not isinstance(entry[key], kind):
            raise ValueError(f"{key} of {what} is not of type {kind.__name__}")
