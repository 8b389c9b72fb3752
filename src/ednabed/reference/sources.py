"""Find the runs that go into a reference: below a folder, identified by their content, with one embedding function.

A run is *refused* if it is damaged or otherwise unusable; the command then reports an error, but the other runs are
added. A run is *left out* if it was not requested: it has another version, it is a copy of another run, or it is a
folder of an older tool and no version was given for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ednabed.base.text import readable
from ednabed.base.times import utc_changed
from ednabed.errors import EdnabedError, StoreError
from ednabed.models.spec import Spec
from ednabed.store.runs import Run, walk_runs
from ednabed.store.versions import Version, Versions

UNREADABLE = (EdnabedError, OSError, UnicodeError)
"""Exceptions that reading a run may raise; pyarrow raises the last one for a path that is not UTF-8."""


@dataclass(frozen=True)
class Source:
    """A run that can go into a reference.

    Attributes:
        run: The run.
        identity: ``Run.identity``.
        spec: The function that computed its vectors, from its manifest or as stated by the user.
        dataset: Name of the study.
        run_id: Name of the run in the study.
        folder: Folder of the run, relative to the workspace if it is inside.
        created: UTC, ISO 8601.
        assumed: Whether ``spec`` is known only from the user's statement.
    """

    run: Run
    identity: str
    spec: Spec
    dataset: str
    run_id: str
    folder: str
    created: str
    assumed: bool

    @property
    def label(self) -> str:
        """``dataset/run_id``."""
        return f"{self.dataset}/{self.run_id}"


@dataclass
class FoundRuns:
    """The runs that were found.

    Attributes:
        sources: Runs to add, in the order in which they are added (created, dataset, run_id).
        refused: Folder to reason.
        left_out: Folder to reason.
    """

    sources: list[Source] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def find_sources(
    root: Path, workspace: Path, version: Version | None = None, assumed: Mapping[str, Spec] | None = None
) -> FoundRuns:
    """Find the runs below ``root``, nested at any depth.

    Args:
        root: Folder to search.
        workspace: Folder that holds the registered versions; paths are reported relative to it.
        version: Take only the runs of this version, and assume that it made folders of older tools.
        assumed: Functions of runs of older tools as a user stated them before, by identity of the run.
    """
    versions = Versions.read(workspace)
    selection = FoundRuns()
    seen: dict[str, Source] = {}
    for folder in walk_runs(root):
        path = shown_path(folder, workspace)
        try:
            source = _source(folder, root, path, versions, version, assumed or {})
        except UNREADABLE as error:
            selection.refused[path] = readable(str(error))
            continue
        if isinstance(source, str):
            selection.left_out[path] = source
        elif source.identity in seen:
            selection.left_out[path] = f"the same run as {seen[source.identity].folder}"
        else:
            seen[source.identity] = source
    selection.sources = sorted(seen.values(), key=lambda s: (s.created, s.dataset, s.run_id, s.identity))
    return selection


def source_of(run: Run, root: Path, workspace: Path) -> Source:
    """Return one run as a source; its names are relative to ``root`` if it is inside, else to its parent folder.

    Raises:
        StoreError: The function that computed its vectors is unknown.
    """
    inside = run.folder.resolve().is_relative_to(root.resolve()) and run.folder.resolve() != root.resolve()
    folder = root.resolve() / run.folder.resolve().relative_to(root.resolve()) if inside else run.folder
    path = shown_path(run.folder, workspace)
    source = _source(folder, root.resolve() if inside else folder.parent, path, Versions.read(workspace), None, {})
    if isinstance(source, str):
        raise StoreError(f"{path} was {source}")
    return source


def one_function(sources: Sequence[Source], base: Spec | None, hint: str) -> list[Source]:
    """Return the sources that do not have the function of ``base``.

    Args:
        sources: Runs.
        base: Function of the reference; None if there is none yet, so that all sources must have the same function.
        hint: Next step for the message.

    Raises:
        StoreError: ``base`` is None and there are several functions; the message lists them and their runs.
    """
    if base is not None:
        return [source for source in sources if source.spec.fingerprint != base.fingerprint]
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.spec.fingerprint, []).append(source)
    if len(groups) > 1:
        listed = "; ".join(
            f"{group[0].spec.model} ({fingerprint[:12]}): {_names(group)}" for fingerprint, group in groups.items()
        )
        raise StoreError(
            f"the runs were created with {len(groups)} functions, whose vectors cannot be compared: {listed}; {hint}"
        )
    return []


def _names(sources: Sequence[Source]) -> str:
    shown = ", ".join(source.label for source in sources[:5])
    return shown if len(sources) <= 5 else f"{shown} and {len(sources) - 5} more"


def shown_path(folder: Path, workspace: Path) -> str:
    """Return the path of a folder with slashes, relative to the workspace if it is inside, else absolute."""
    try:
        return readable(folder.resolve().relative_to(workspace.resolve()).as_posix() or ".")
    except ValueError:
        return readable(str(folder.resolve()))


def _source(
    folder: Path, root: Path, path: str, versions: Versions, version: Version | None, assumed: Mapping[str, Spec]
) -> Source | str:
    """Return the run as a source, or the reason why it is left out."""
    run = Run.open(folder)
    within = [readable(name) for name in folder.relative_to(root).parts]
    parent, name = readable(folder.parent.name) or "-", readable(folder.name)
    dataset, run_id = (within[0], "/".join(within[1:])) if len(within) > 1 else (parent, name)
    manifest = run.manifest
    if manifest is not None:
        if version is not None and manifest.spec.fingerprint != version.fingerprint:
            return (
                f"created with {manifest.spec.model} ({manifest.spec.fingerprint[:12]}), not with version "
                f"{version.name}"
            )
        return Source(
            run,
            run.identity,
            manifest.spec,
            manifest.dataset or dataset,
            manifest.run_id if manifest.dataset or len(within) < 2 else run_id,
            path,
            manifest.created,
            assumed=False,
        )
    tagged = versions.of_run(run)
    used = version if tagged is None else tagged[0]
    changed = utc_changed(run.vectors().path).isoformat(timespec="seconds")
    identity = run.identity if used is not None or assumed else ""
    if used is None and identity in assumed:
        return Source(run, identity, assumed[identity], dataset, run_id, path, changed, assumed=True)
    if used is None:
        return (
            "created by an older tool, so the model is unknown; state it with 'ednabed consolidate --version V' or "
            "'ednabed versions tag-run RUN --version V --assume'"
        )
    if version is not None and used.fingerprint != version.fingerprint:
        return f"tagged as version {used.name}, not {version.name}"
    return Source(run, identity, used.spec, dataset, run_id, path, changed, assumed=True)
