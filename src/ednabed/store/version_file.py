"""``data/versions.json``: names and descriptions for fingerprints, and the runs that are tagged with them.

The file carries a checksum of itself, and what does not fit together in it is refused, not guessed. Writers take turns
by a lock beside it; readers need none, because the file is replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ednabed.base.sealed import Damaged, Seal, UnknownSchema
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.store.files import write_atomic
from ednabed.store.runs import Run

VERSIONS_SCHEMA = "ednabed.versions/2"
VERSIONS_SCHEMA_1 = "ednabed.versions/1"
"""Of the time before the file had a checksum; still read."""
_SEAL = Seal(VERSIONS_SCHEMA, "versions_sha256", unsealed=(VERSIONS_SCHEMA_1,))
LOCK_SECONDS = 30.0
"""How long a writer waits for another one."""


@dataclass(frozen=True)
class Version:
    """A named function.

    Attributes:
        name: Such as ``v1.0``.
        spec: The function from a sequence to a vector.
        description: What people say about it.
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
        run: Name of the run (dataset/run or folder) when it was tagged; for people, the identity counts.
        assumed: Whether a person says so, because the run itself does not.
        tagged: UTC time, ISO 8601.
    """

    version: str
    run: str
    assumed: bool
    tagged: str


@dataclass(frozen=True)
class Versions:
    """Content of ``data/versions.json``; never changed, each change makes another one.

    Attributes:
        versions: By name, in order of registration.
        tags: By identity of the run.
    """

    versions: Mapping[str, Version] = field(default_factory=dict)
    tags: Mapping[str, Tag] = field(default_factory=dict)

    @classmethod
    def read(cls, workspace: Path) -> Versions:
        """Read the versions of a workspace; an empty one where there is no file.

        Raises:
            StoreError: The file is damaged, or of a schema that this version of ednabed does not know.
        """
        path = versions_path(workspace)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return cls()
        try:
            return cls._of(_SEAL.read(raw))
        except UnknownSchema as found:
            raise StoreError(
                f"{path} has schema {found}, this version of ednabed reads {VERSIONS_SCHEMA_1!r} and "
                f"{VERSIONS_SCHEMA!r}; update ednabed"
            ) from None
        except (Damaged, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{error.args[0]!r} is absent" if isinstance(error, KeyError) else str(error)
            raise StoreError(
                f"{path} is damaged ({what}); take it from a backup, or, where it was changed on purpose, give it "
                f"schema {VERSIONS_SCHEMA_1!r} and delete the line {_SEAL.key!r}"
            ) from error

    @classmethod
    def _of(cls, body: dict[str, Any]) -> Versions:
        """Check and take the parsed file; ValueError, KeyError or TypeError where it is not what ``to_text`` makes."""
        _fields("file", body, {"versions": dict, "tags": dict})
        versions: dict[str, Version] = {}
        owners: dict[str, str] = {}
        for name, entry in body["versions"].items():
            _fields(f"version {name!r}", entry, {"fingerprint": str, "spec": dict, "description": str, "created": str})
            version = Version(name, Spec.from_dict(entry["spec"]), entry["description"], entry["created"])
            if version.fingerprint != entry["fingerprint"]:
                raise ValueError(f"the spec of version {name!r} does not have its fingerprint")
            other = owners.setdefault(version.fingerprint, name)
            if other != name:
                raise ValueError(f"versions {other!r} and {name!r} have the same fingerprint")
            versions[name] = version
        for identity, entry in body["tags"].items():
            _fields(f"tag {identity!r}", entry, {"version": str, "run": str, "assumed": bool, "tagged": str})
            if entry["version"] not in versions:
                raise ValueError(f"tag {identity!r} names version {entry['version']!r}, which is not there")
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
        """Return the version of a name. Raises StoreError, with the names there are, when there is none."""
        if name not in self.versions:
            known = ", ".join(self.versions) or "none yet; 'ednabed versions register' makes one"
            raise StoreError(f"there is no version {name!r}; registered: {known}")
        return self.versions[name]

    def of_fingerprint(self, fingerprint: str) -> Version | None:
        """Return the version of a function, None where it has none."""
        return next((v for v in self.versions.values() if v.fingerprint == fingerprint), None)

    def of_run(self, run: Run) -> tuple[Version, bool] | None:
        """Return the version of a run and whether it is assumed; None where it has none.

        A run with a manifest has the version of its fingerprint, tagged or not; one of unknown origin that of its tag,
        for which its vectors are hashed if a tag for vectors of their length exists.

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
    """Return the file of the versions of a workspace."""
    return workspace / "data" / "versions.json"


@contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Keep other writers away; the system frees the lock when the process dies."""
    from filelock import FileLock, Timeout

    path = versions_path(workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StoreError(
            f"{path} was held by another ednabed command ('versions', or 'consolidate --version') for "
            f"{LOCK_SECONDS:g} seconds; wait until that has ended and run the same command again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def write_versions(workspace: Path, versions: Versions) -> None:
    """Replace the file; only while it is locked."""
    write_atomic(versions_path(workspace), versions.to_text())


def readable(text: str) -> str:
    """Return one line that UTF-8 takes; names of files may hold bytes that it does not."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").splitlines())


def utc_now() -> str:
    """Return the time as ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _fields(what: str, entry: Any, wanted: Mapping[str, type]) -> None:
    if not isinstance(entry, dict) or entry.keys() != wanted.keys():
        raise ValueError(f"{what} does not have the fields {', '.join(wanted)}")
    for key, kind in wanted.items():
        if not isinstance(entry[key], kind):
            raise ValueError(f"{key} of {what} is no {kind.__name__}")
