"""Which runs go into a reference: found below a folder, known by their content, of one function.

A run is *refused* when it is damaged or cannot be what it should be; that is an error of the command, though the other
runs go in. It is *left out* when nobody asked for it: another version, a copy of the same run, a folder of an older
tool whose maker nobody named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ednabed.errors import EdnabedError, StoreError
from ednabed.models.spec import Spec
from ednabed.store.runs import Run, walk_runs
from ednabed.store.version_file import readable
from ednabed.store.versions import Version, Versions

UNREADABLE = (EdnabedError, OSError, UnicodeError)
"""What reading a run may raise; the last comes from pyarrow for a path that is not UTF-8."""


@dataclass(frozen=True)
class Source:
    """A run that can go into a reference.

    Attributes:
        run: The run.
        identity: ``Run.identity``.
        spec: The function that made it, by its manifest or by what was said of it.
        dataset: Name of the study.
        run_id: Name of the run in it.
        folder: Where it lies, as seen from the workspace where it lies in it.
        created: UTC, ISO 8601.
        assumed: Whether only a user's word tells what made it.
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
class Selection:
    """What was found.

    Attributes:
        sources: Runs to take, in the order in which they go in (created, dataset, run_id).
        refused: Folder to reason.
        left_out: Folder to reason.
    """

    sources: list[Source] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def find_sources(
    root: Path, workspace: Path, version: Version | None = None, told: Mapping[str, Spec] | None = None
) -> Selection:
    """Find the runs below ``root``, nested at any depth.

    Args:
        root: Folder to look in.
        workspace: Places are told as seen from here; holds the registered versions.
        version: Take the runs of this version only, and say of folders of older tools that it made them.
        told: By identity, the functions of runs of older tools of which a user said so before.
    """
    versions = Versions.read(workspace)
    selection = Selection()
    seen: dict[str, Source] = {}
    for folder in walk_runs(root):
        place = seen_from(folder, workspace)
        try:
            source = _source(folder, root, place, versions, version, told or {})
        except UNREADABLE as error:
            selection.refused[place] = readable(str(error))
            continue
        if isinstance(source, str):
            selection.left_out[place] = source
        elif source.identity in seen:
            selection.left_out[place] = f"the same run as {seen[source.identity].folder}"
        else:
            seen[source.identity] = source
    selection.sources = sorted(seen.values(), key=lambda s: (s.created, s.dataset, s.run_id, s.identity))
    return selection


def source_of(run: Run, root: Path, workspace: Path) -> Source:
    """Return one run as a source; ``root`` is the folder of runs that it lies in, or else the folder above it.

    Raises:
        StoreError: Nobody knows what made it.
    """
    inside = run.folder.resolve().is_relative_to(root.resolve()) and run.folder.resolve() != root.resolve()
    folder = root.resolve() / run.folder.resolve().relative_to(root.resolve()) if inside else run.folder
    place = seen_from(run.folder, workspace)
    source = _source(folder, root.resolve() if inside else folder.parent, place, Versions.read(workspace), None, {})
    if isinstance(source, str):
        raise StoreError(f"{place} was {source}")
    return source


def one_function(sources: Sequence[Source], base: Spec | None, hint: str) -> list[Source]:
    """Return the sources that do not have the function of ``base``.

    Args:
        sources: Runs.
        base: Function of the reference; None: there is none yet, so all sources must have one and the same.
        hint: What to do, for the message.

    Raises:
        StoreError: Without ``base``, there are several functions; the message names them and the runs that have them.
    """
    if base is not None:
        return [source for source in sources if source.spec.fingerprint != base.fingerprint]
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.spec.fingerprint, []).append(source)
    if len(groups) > 1:
        told = "; ".join(
            f"{group[0].spec.model} ({fingerprint[:12]}): {_names(group)}" for fingerprint, group in groups.items()
        )
        raise StoreError(
            f"the runs were made by {len(groups)} functions, whose vectors cannot be compared: {told}; {hint}"
        )
    return []


def _names(sources: Sequence[Source]) -> str:
    shown = ", ".join(source.label for source in sources[:5])
    return shown if len(sources) <= 5 else f"{shown} and {len(sources) - 5} more"


def seen_from(folder: Path, workspace: Path) -> str:
    """Write a folder as seen from the workspace where it lies in it, with slashes, else in full."""
    try:
        return readable(folder.resolve().relative_to(workspace.resolve()).as_posix() or ".")
    except ValueError:
        return readable(str(folder.resolve()))


def _source(
    folder: Path, root: Path, place: str, versions: Versions, version: Version | None, told: Mapping[str, Spec]
) -> Source | str:
    """Return the run as a source, or why it is left out."""
    run = Run.open(folder)
    within = [readable(name) for name in folder.relative_to(root).parts]
    above, own = readable(folder.parent.name) or "-", readable(folder.name)
    dataset, run_id = (within[0], "/".join(within[1:])) if len(within) > 1 else (above, own)
    manifest = run.manifest
    if manifest is not None:
        if version is not None and manifest.spec.fingerprint != version.fingerprint:
            return f"made by {manifest.spec.model} ({manifest.spec.fingerprint[:12]}), not by version {version.name}"
        return Source(
            run,
            run.identity,
            manifest.spec,
            manifest.dataset or dataset,
            manifest.run_id if manifest.dataset or len(within) < 2 else run_id,
            place,
            manifest.created,
            assumed=False,
        )
    tagged = versions.of_run(run)
    maker = version if tagged is None else tagged[0]
    changed = datetime.fromtimestamp(run.vectors().path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    identity = run.identity if maker is not None or told else ""
    if maker is None and identity in told:
        return Source(run, identity, told[identity], dataset, run_id, place, changed, assumed=True)
    if maker is None:
        return (
            "made by an older tool, so nobody knows by which model; say so with 'ednabed consolidate --version V', or "
            "'ednabed versions tag-run RUN --version V --assume'"
        )
    if version is not None and maker.fingerprint != version.fingerprint:
        return f"tagged as version {maker.name}, not {version.name}"
    return Source(run, identity, maker.spec, dataset, run_id, place, changed, assumed=True)
