"""Versions: names and descriptions for fingerprints, and the runs that are tagged with them.

They are stored in one small file (``version_file``). A run with a manifest belongs to the version of its fingerprint,
and no tag can contradict this. A run of an older tool has an unknown origin; it belongs to a version only if a person
said so, and is marked as assumed wherever it is shown. Runs are identified by ``Run.identity``, so they keep their
version when they are moved or compressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ednabed.base.files import check_name
from ednabed.base.text import readable
from ednabed.base.times import utc_now
from ednabed.errors import EdnabedError, StoreError
from ednabed.models.spec import Spec
from ednabed.store.runs import Run
from ednabed.store.version_file import Tag, Version, Versions, locked, versions_path, write_versions
from ednabed.store.version_runs import fault, find_root, open_runs, quoted_path, run_address, run_label

__all__ = [
    "AutoTagged",
    "Registered",
    "Tag",
    "Tagged",
    "Version",
    "Versions",
    "auto_tag",
    "register",
    "register_external",
    "remove",
    "tag_run",
    "versions_path",
]


@dataclass(frozen=True)
class Registered:
    """Outcome of ``register``: the version, whether it is new, and whether its description was changed."""

    version: Version
    is_new: bool
    is_changed: bool = False


@dataclass(frozen=True)
class Tagged:
    """Outcome of ``tag_run``: the tag, whether it is new, and the version that the run was previously tagged with."""

    tag: Tag
    is_new: bool
    previous: str | None = None


@dataclass(frozen=True)
class AutoTagged:
    """Outcome of ``auto_tag``. Runs are named as ``find_run`` accepts them: dataset/run, or the folder.

    Attributes:
        tagged: Version to the runs tagged by this call.
        already: Version to the runs that already had this tag, without the ``assumed`` ones.
        assumed: Version to the runs of unknown origin that a person tagged with it.
        unregistered: Fingerprint without a version to the name of its model and its runs.
        unknown: Runs of unknown origin without a tag.
        damaged: One sentence for each run that cannot be opened.
    """

    tagged: Mapping[str, list[str]]
    already: Mapping[str, list[str]]
    assumed: Mapping[str, list[str]]
    unregistered: Mapping[str, tuple[str, list[str]]]
    unknown: list[str]
    damaged: list[str]


def register(workspace: Path, name: str, spec: Spec, description: str | None = None) -> Registered:
    """Bind a name to a function. Repeating the same binding is allowed, and can change the description.

    Args:
        workspace: Folder of the workspace.
        name: Letters, digits, dot, hyphen, underscore.
        spec: The function.
        description: For people; None leaves it unchanged.

    Raises:
        UsageError: The name is not valid.
        StoreError: The name is bound to another function, the function has another name, or the file is damaged or
            was locked for too long.
    """
    check_name("version", name)
    _check_registration(Versions.read(workspace), name, spec)
    with locked(workspace):
        versions = Versions.read(workspace)
        known = _check_registration(versions, name, spec)
        text = None if description is None else readable(description)
        if known is not None and text in (None, known.description):
            return Registered(known, is_new=False)
        version = (
            Version(name, spec, text or "", utc_now()) if known is None else replace(known, description=text or "")
        )
        write_versions(workspace, replace(versions, versions={**versions.versions, name: version}))
    return Registered(version, is_new=known is None, is_changed=known is not None)


def register_external(workspace: Path, name: str, dimension: int, description: str | None = None) -> Registered:
    """Bind a name to a function unknown to ednabed, so that vectors computed elsewhere can be stored and compared.

    The same name with the same dimension is taken as the same function; repeating it can change the description.

    Args:
        workspace: Folder of the workspace.
        name: Letters, digits, dot, hyphen, underscore.
        dimension: Length of its vectors.
        description: For people; None leaves it unchanged.

    Raises:
        UsageError: The name is not valid, or the dimension is not positive.
        StoreError: The name is bound to another function, or the file is damaged or was locked for too long.
    """
    known = Versions.read(workspace).versions.get(name)
    is_same = known is not None and known.spec.is_external and known.spec.dimension == dimension
    spec = known.spec if known is not None and is_same else Spec.of_external(name, dimension)
    return register(workspace, name, spec, description)


def tag_run(workspace: Path, run: Run, name: str, assume: bool = False) -> Tagged:
    """Tag a run with a version.

    Args:
        workspace: Folder of the workspace.
        run: The run; one of unknown origin is hashed.
        name: The version.
        assume: Accept the caller's statement about a run of unknown origin; its tag is marked as assumed and replaces
            any earlier tag.

    Raises:
        StoreError: There is no such version, the run's fingerprint contradicts it, the run is of unknown origin and
            ``assume`` is False or its vectors have another dimension, or the run or the file is damaged.
    """
    _check_tag(workspace, Versions.read(workspace), run, name, assume)
    identity = run.identity
    with locked(workspace):
        versions = Versions.read(workspace)
        _check_tag(workspace, versions, run, name, assume)
        old = versions.tags.get(identity)
        tag = Tag(name, run_label(workspace, run), run.manifest is None, utc_now())
        if old is not None and replace(old, tagged=tag.tagged) == tag:
            return Tagged(old, is_new=False)
        write_versions(workspace, replace(versions, tags={**versions.tags, identity: tag}))
    is_same = old is not None and old.version == name
    return Tagged(tag, is_new=not is_same, previous=None if old is None or is_same else old.version)


def auto_tag(workspace: Path, *, version: str | None = None, root: Path | None = None) -> AutoTagged:
    """Tag every run whose fingerprint has a version.

    Args:
        workspace: Folder of the workspace.
        version: Tag only runs of this version; None tags runs of all versions.
        root: Folder that contains the runs, relative to the workspace; None is the workspace's own folder of runs.

    Raises:
        StoreError: There is no such version or folder, or the file is damaged or was locked for too long.
    """
    versions = Versions.read(workspace)
    requested = list(versions.versions) if version is None else [versions.get(version).name]
    runs, damaged = open_runs(find_root(workspace, root))
    # Hashing is slow, so it is done before the file is locked.
    assumed: dict[str, list[str]] = {name: [] for name in requested}
    unknown: list[str] = []
    with_manifest: list[Run] = []
    for run in runs:
        if run.manifest is not None:
            with_manifest.append(run)
            continue
        try:
            found = versions.of_run(run)
        except (EdnabedError, OSError) as error:
            damaged.append(fault(run.folder, error))
            continue
        if found is None:
            unknown.append(run_address(workspace, run))
        elif found[0].name in assumed:
            assumed[found[0].name].append(run_address(workspace, run))
    tagged: dict[str, list[str]] = {name: [] for name in requested}
    already: dict[str, list[str]] = {name: [] for name in requested}
    unregistered: dict[str, tuple[str, list[str]]] = {}
    with locked(workspace) if requested and with_manifest else nullcontext():
        versions = Versions.read(workspace)
        tags = dict(versions.tags)
        for run in with_manifest:
            assert run.manifest is not None
            spec, address = run.manifest.spec, run_address(workspace, run)
            owner = versions.of_fingerprint(spec.fingerprint)
            if owner is None:
                unregistered.setdefault(spec.fingerprint, (spec.model, []))[1].append(address)
            elif owner.name in tagged:
                old = tags.get(run.identity)
                if old is not None and old.version == owner.name:
                    already[owner.name].append(address)
                else:
                    tagged[owner.name].append(address)
                    tags[run.identity] = Tag(owner.name, run_label(workspace, run), False, utc_now())
        if any(tagged.values()):
            write_versions(workspace, replace(versions, tags=tags))
    return AutoTagged(tagged, already, assumed, unregistered, unknown, damaged)


def remove(workspace: Path, name: str, *, force: bool = False) -> int:
    """Remove a version and its tags; return the number of tags removed. The runs do not change.

    Raises:
        StoreError: There is no such version, or runs are tagged with it and ``force`` is False.
    """
    Versions.read(workspace).get(name)
    with locked(workspace):
        versions = Versions.read(workspace)
        versions.get(name)
        removed_tags = versions.tags_of(name)
        if removed_tags and not force:
            assumed = sum(tag.assumed for tag in removed_tags.values())
            raise StoreError(
                f"{len(removed_tags)} runs are tagged with version {name!r} ({assumed} of them assumed); "
                "`force=True` removes it with its tags, but not the runs"
            )
        kept = {other: version for other, version in versions.versions.items() if other != name}
        tags = {identity: tag for identity, tag in versions.tags.items() if identity not in removed_tags}
        write_versions(workspace, Versions(kept, tags))
    return len(removed_tags)


def _check_registration(versions: Versions, name: str, spec: Spec) -> Version | None:
    """Return the version if it already exists; raise StoreError if the name or the function is taken."""
    known = versions.versions.get(name)
    if known is not None:
        if known.fingerprint != spec.fingerprint:
            raise StoreError(
                f"version {name!r} is {_named(known.spec)}, not {_named(spec)} ({_difference(known.spec, spec)}); "
                "choose another name"
            )
        return known
    owner = versions.of_fingerprint(spec.fingerprint)
    if owner is not None:
        raise StoreError(
            f"{_named(spec)} is already version {owner.name!r}, and a run must have one version; use that name, or run "
            f"'ednabed versions remove {owner.name}' first"
        )
    return None


def _check_tag(workspace: Path, versions: Versions, run: Run, name: str, assume: bool) -> None:
    """Raise StoreError if a run must not be tagged with a version."""
    spec = versions.get(name).spec
    address = run_address(workspace, run)
    if run.manifest is not None:
        run_spec = run.manifest.spec
        if run_spec.fingerprint != spec.fingerprint:
            owner = versions.of_fingerprint(run_spec.fingerprint)
            hint = (
                f"its version is {owner.name!r}"
                if owner is not None
                else "give it its own version with 'ednabed versions register --version NAME "
                f"--run {quoted_path(address)}'"
            )
            raise StoreError(
                f"{address} was computed by {_named(run_spec)}, but version {name!r} is {_named(spec)} "
                f"({_difference(run_spec, spec)}); {hint}"
            )
        return
    dimension = run.vectors().dimension
    if dimension != spec.dimension:
        raise StoreError(
            f"{address} has vectors of length {dimension}, but version {name!r} ({spec.model}) produces "
            f"{spec.dimension}; another function computed them, so give its version"
        )
    if not assume:
        raise StoreError(
            f"{address} was created by an older tool and does not record its model; if you know that it was "
            f"{spec.model}, set `assume=True`, and the tag is marked as assumed"
        )


def _named(spec: Spec) -> str:
    return f"{spec.model} (fingerprint {spec.fingerprint[:12]})"


def _difference(first: Spec, second: Spec) -> str:
    """Return a text that lists the fields in which two functions differ."""
    a, b = first.to_dict(), second.to_dict()
    differing = [key for key in a if a[key] != b[key] and key not in ("model", "licence", "revision")]
    return "they differ in " + ", ".join(differing)
