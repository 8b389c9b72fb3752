"""Versions: names and descriptions for fingerprints, and the runs that are tagged with them.

They lie in one small file (``version_file``). A run with a manifest belongs to the version of its fingerprint, and no
tag can say otherwise; a run of an older tool, whose origin nobody knows, belongs to a version only where a person said
so, and is marked as assumed wherever it is shown. Runs are known by ``Run.identity``, so they keep their version when
they are moved or compressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ednabed.errors import EdnabedError, StoreError
from ednabed.models.spec import Spec
from ednabed.store.files import check_name
from ednabed.store.runs import Run
from ednabed.store.version_file import Tag, Version, Versions, locked, readable, utc_now, versions_path, write_versions
from ednabed.store.version_runs import fault, find_root, open_runs, quoted, run_address, run_label

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
    """Outcome of ``tag_run``: the tag, whether it is new, and the version that the run was assumed to have before."""

    tag: Tag
    is_new: bool
    previous: str | None = None


@dataclass(frozen=True)
class AutoTagged:
    """Outcome of ``auto_tag``. Runs are given as ``find_run`` takes them: dataset/run, or the folder.

    Attributes:
        tagged: By version, the runs tagged now.
        already: By version, the runs that had this tag before; ``assumed`` ones are not among them.
        assumed: By version, the runs of unknown origin that a person tagged with it.
        unregistered: By fingerprint without a version, the name of the model and its runs.
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
    """Bind a name to a function. The same name for the same function again is fine, and may change the description.

    Args:
        workspace: Folder of the workspace.
        name: Letters, digits, dot, hyphen, underscore.
        spec: The function.
        description: For people; None leaves it as it is.

    Raises:
        UsageError: The name cannot be taken.
        StoreError: The name stands for another function, the function has another name, or the file is damaged or
            locked for too long.
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
    """Bind a name to a function that is not known here, so that vectors made elsewhere can be kept and compared.

    The same name and dimension again is the same function, and may change the description.

    Args:
        workspace: Folder of the workspace.
        name: Letters, digits, dot, hyphen, underscore.
        dimension: Length of its vectors.
        description: For people; None leaves it as it is.

    Raises:
        UsageError: The name cannot be taken, or the dimension is not positive.
        StoreError: The name stands for another function, or the file is damaged or locked for too long.
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
        assume: Take the caller's word for a run of unknown origin; its tag is marked as assumed. Its earlier tag, if
            any, is replaced.

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
        version: Tag only runs of this one; None: of all.
        root: Folder below which the runs are, taken from the workspace if relative; None: that of the workspace.

    Raises:
        StoreError: There is no such version or folder, or the file is damaged or locked for too long.
    """
    versions = Versions.read(workspace)
    wanted = list(versions.versions) if version is None else [versions.get(version).name]
    runs, damaged = open_runs(find_root(workspace, root))
    # Hashing is slow, so it is done before the file is locked.
    assumed: dict[str, list[str]] = {name: [] for name in wanted}
    unknown: list[str] = []
    known: list[Run] = []
    for run in runs:
        if run.manifest is not None:
            known.append(run)
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
    tagged: dict[str, list[str]] = {name: [] for name in wanted}
    already: dict[str, list[str]] = {name: [] for name in wanted}
    unregistered: dict[str, tuple[str, list[str]]] = {}
    with locked(workspace) if wanted and known else nullcontext():
        versions = Versions.read(workspace)
        tags = dict(versions.tags)
        for run in known:
            assert run.manifest is not None
            spec, place = run.manifest.spec, run_address(workspace, run)
            owner = versions.of_fingerprint(spec.fingerprint)
            if owner is None:
                unregistered.setdefault(spec.fingerprint, (spec.model, []))[1].append(place)
            elif owner.name in tagged:
                old = tags.get(run.identity)
                if old is not None and old.version == owner.name:
                    already[owner.name].append(place)
                else:
                    tagged[owner.name].append(place)
                    tags[run.identity] = Tag(owner.name, run_label(workspace, run), False, utc_now())
        if any(tagged.values()):
            write_versions(workspace, replace(versions, tags=tags))
    return AutoTagged(tagged, already, assumed, unregistered, unknown, damaged)


def remove(workspace: Path, name: str, *, force: bool = False) -> int:
    """Remove a version and its tags; return how many tags. The runs stay as they are.

    Raises:
        StoreError: There is no such version, or runs are tagged with it and ``force`` is False.
    """
    Versions.read(workspace).get(name)
    with locked(workspace):
        versions = Versions.read(workspace)
        versions.get(name)
        gone = versions.tags_of(name)
        if gone and not force:
            assumed = sum(tag.assumed for tag in gone.values())
            raise StoreError(
                f"version {name!r} is the tag of {len(gone)} runs ({assumed} of them assumed); "
                "--force removes it with its tags, the runs stay"
            )
        kept = {other: version for other, version in versions.versions.items() if other != name}
        write_versions(workspace, Versions(kept, {i: tag for i, tag in versions.tags.items() if i not in gone}))
    return len(gone)


def _check_registration(versions: Versions, name: str, spec: Spec) -> Version | None:
    """Return the version if it is there already; raise StoreError where name or function is taken."""
    known = versions.versions.get(name)
    if known is not None:
        if known.fingerprint != spec.fingerprint:
            raise StoreError(
                f"version {name!r} is {_named(known.spec)}, not {_named(spec)} ({_difference(known.spec, spec)}); "
                "take another name"
            )
        return known
    owner = versions.of_fingerprint(spec.fingerprint)
    if owner is not None:
        raise StoreError(
            f"{_named(spec)} is version {owner.name!r} already, and a run must have one version; use that name, or "
            f"'ednabed versions remove {owner.name}' first"
        )
    return None


def _check_tag(workspace: Path, versions: Versions, run: Run, name: str, assume: bool) -> None:
    """Raise StoreError where a run may not be tagged with a version."""
    spec = versions.get(name).spec
    place = run_address(workspace, run)
    if run.manifest is not None:
        own = run.manifest.spec
        if own.fingerprint != spec.fingerprint:
            owner = versions.of_fingerprint(own.fingerprint)
            hint = (
                f"its version is {owner.name!r}"
                if owner is not None
                else f"give it a version of its own: ednabed versions register --version NAME --run {quoted(place)}"
            )
            raise StoreError(
                f"{place} was made by {_named(own)}, version {name!r} is {_named(spec)} ({_difference(own, spec)}); "
                f"{hint}"
            )
        return
    dimension = run.vectors().dimension
    if dimension != spec.dimension:
        raise StoreError(
            f"{place} has vectors of length {dimension}, version {name!r} ({spec.model}) makes {spec.dimension}; "
            "another function made them, name its version"
        )
    if not assume:
        raise StoreError(
            f"{place} was made by an older tool and does not say by which model; if you know that it was "
            f"{spec.model}, add --assume, and the tag is marked as assumed"
        )


def _named(spec: Spec) -> str:
    return f"{spec.model} (fingerprint {spec.fingerprint[:12]})"


def _difference(first: Spec, second: Spec) -> str:
    """Say in which fields two functions differ."""
    a, b = first.to_dict(), second.to_dict()
    differing = [key for key in a if a[key] != b[key] and key not in ("model", "licence", "revision")]
    return "they differ in " + ", ".join(differing)
