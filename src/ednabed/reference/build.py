"""Build a reference from runs, from scratch or by extending the current build; a build is complete or does not exist.

A build is written (``assemble``) in a folder whose name begins with a dot, and becomes the current one in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ednabed.base.text import readable
from ednabed.engine.progress import progress_bar
from ednabed.errors import EdnabedError, StoreError
from ednabed.reference import build_names, layout
from ednabed.reference import index as indexes
from ednabed.reference.assemble import write_build
from ednabed.reference.manifest import METADATA, DamagedManifest, Part, ReferenceManifest
from ednabed.reference.parts import Examined, examine
from ednabed.reference.sources import UNREADABLE, FoundRuns, Source, find_sources, one_function
from ednabed.store.runs import Run
from ednabed.store.version_runs import find_root
from ednabed.store.versions import Version, Versions, tag_run


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        workspace: Folder that holds ``consolidated_data`` and ``data``.
        runs: Folder that contains the runs, nested at any depth; None is the workspace's.
        output: Folder of the reference, relative to the workspace; None is ``data/reference``.
        incremental: Add the new runs to the current build; False builds from scratch.
        version: Name of a registered version: take only its runs, and assume that it made folders of older tools.
        index: ``auto``, ``flat`` or ``ivf``.
        drop_missing: Whether a build from scratch may lose runs of the current build.
    """

    workspace: Path
    runs: Path | None = None
    output: Path | None = None
    incremental: bool = False
    version: str | None = None
    index: str = "auto"
    drop_missing: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the reference."""
        if self.output is None:
            return layout.default_folder(self.workspace)
        return self.workspace / self.output


@dataclass
class BuildResult:
    """Result of a build.

    Attributes:
        folder: Folder of the reference.
        manifest: Manifest of the current build.
        changed: Whether there is a new build; False if an incremental command found nothing new.
        added: Runs that were read and added.
        refused: Folder to reason: runs that cannot be added.
        left_out: Folder to reason: runs that were not requested.
        vanished: Names of runs of the current build that are no longer below the runs folder.
        dropped: Names of runs of the previous build that the new one does not have.
        changed_runs: Names of runs of the current build whose content was replaced.
        retrained: Whether the index was trained again.
        sources: The runs of the current build that are below the runs folder now.
    """

    folder: Path
    manifest: ReferenceManifest
    changed: bool
    added: list[Part] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    changed_runs: list[str] = field(default_factory=list)
    retrained: bool = False
    sources: list[Source] = field(default_factory=list)


def build_reference(request: BuildRequest, *, show_progress: bool | None = False) -> BuildResult:
    """Build a reference.

    Args:
        request: What to build.
        show_progress: True shows the progress on standard error, None only on a terminal.

    Raises:
        StoreError: There is no usable run, the runs have several functions, a build from scratch would lose runs of
            the current one without ``drop_missing``, or another process is writing this reference.
        UsageError: The version is not registered, or the index is unknown.
    """
    indexes.choose_kind(0, request.index)
    version = None if request.version is None else Versions.read(request.workspace).get(request.version)
    root = find_root(request.workspace, request.runs)
    if not root.is_dir():
        raise StoreError(f"{root} is not a folder; create runs with 'ednabed embed FILE', or give another `runs_root`")
    folder = request.folder
    layout.check_replaceable(folder)
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with layout.writing(folder):
            try:
                layout.tidy(folder)
                return _build(request, root, version, show_progress)
            finally:
                # Done while the lock is held, so that another process's lock file is not removed.
                layout.remove_traces(folder)
    finally:
        _remove_empty(created)


def _build(request: BuildRequest, root: Path, version: Version | None, show_progress: bool | None) -> BuildResult:
    folder = request.folder
    # Otherwise a damaged file of names or of the previous build would only be found after all the work.
    build_names.read_names(folder)
    build_names.read_previous(folder)
    current = _current(request)
    base = current if request.incremental else None
    if base is not None and version is not None and base.spec.fingerprint != version.fingerprint:
        raise StoreError(
            f"{folder} was built with {base.spec.model} ({base.spec.fingerprint[:12]}), version {version.name} is "
            f"{version.spec.model} ({version.fingerprint[:12]}): their vectors cannot be mixed; give another `output`"
        )
    assumed = {} if base is None else {part.identity: base.spec for part in base.runs if part.assumed}
    selection = find_sources(root, request.workspace, version, assumed)
    known = {} if current is None else {part.identity: part for part in current.runs}
    vanished, changed_runs, blocked = _missing(known, selection, root, request)
    new = [source for source in selection.sources if base is None or source.identity not in known]
    if base is not None:
        for source in blocked:
            if source in new:
                new.remove(source)
                selection.refused[source.folder] = (
                    f"{source.label} is in the reference with different content; rebuild the reference with "
                    "'ednabed consolidate --rebuild', which takes the run as it is now"
                )
        for source in one_function(new, base.spec, ""):
            new.remove(source)
            selection.refused[source.folder] = (
                f"{source.label} was created with {source.spec.model} ({source.spec.fingerprint[:12]}), the reference "
                f"with {base.spec.model} ({base.spec.fingerprint[:12]}; runs "
                f"{', '.join(p.label for p in base.runs[:5])}): their vectors cannot be mixed; build a separate "
                "reference for each version by giving `version` and another `output`"
            )
    else:
        one_function(
            new,
            None,
            "choose the runs of one function with `version` ('ednabed versions register' names a version), and give "
            "another `output` for each",
        )
    if base is None:
        # Checked before the runs are read, which may take long, and again afterwards.
        _dropped(known, new, selection, request)
    examined = _examine(new, selection, show_progress)
    dropped = [] if base is not None else _dropped(known, [run.source for run in examined], selection, request)
    result = BuildResult(
        folder,
        current,  # type: ignore[arg-type]  # replaced below if there is none
        changed=False,
        refused=selection.refused,
        left_out=selection.left_out,
        vanished=vanished,
        dropped=dropped,
        changed_runs=changed_runs,
    )
    if not examined and base is None:
        raise StoreError(_no_run(root, selection))
    if not examined:
        _note_sources(result, selection)
        assert base is not None
        layout.check_sizes(folder, base)
        return result
    spec = examined[0].source.spec if base is None else base.spec
    registered = Versions.read(request.workspace).of_fingerprint(spec.fingerprint)
    name = None if registered is None else registered.name
    manifest, retrained = write_build(folder, base, examined, spec, name, request.index, show_progress=show_progress)
    result.manifest = manifest
    result.changed = True
    result.retrained = retrained
    result.added = manifest.runs[0 if base is None else len(base.runs) :]
    _note_sources(result, selection)
    if version is not None:
        # The assumption holds for search and later commands too.
        for source in result.sources:
            if source.assumed and Versions.read(request.workspace).of_run(source.run) is None:
                tag_run(request.workspace, source.run, version.name, assume=True)
    return result


def _note_sources(result: BuildResult, selection: FoundRuns) -> None:
    contained = {part.identity for part in result.manifest.runs}
    result.sources = [source for source in selection.sources if source.identity in contained]


def _current(request: BuildRequest) -> ReferenceManifest | None:
    """Return the manifest of the current build, None if there is none.

    If it is damaged and the build is from scratch, return the manifest of the newest intact build, so that its runs
    are not lost.
    """
    try:
        return layout.open_manifest(request.folder) if (request.folder / METADATA).exists() else None
    except DamagedManifest:
        if request.incremental:
            raise
        return layout.newest_build(request.folder)


def _dropped(
    known: dict[str, Part], sources: Sequence[Source], selection: FoundRuns, request: BuildRequest
) -> list[str]:
    """Return the names of runs of the current build that a build from these sources would not have.

    A run whose content was replaced is not lost: the new build has the new content.

    Raises:
        StoreError: There are such runs, and ``drop_missing`` is False.
    """
    identities, labels = {source.identity for source in sources}, {source.label for source in sources}
    lost = [part for identity, part in known.items() if identity not in identities and part.label not in labels]
    if not lost or request.drop_missing:
        return [part.label for part in lost]
    reasons = {**selection.refused, **selection.left_out}
    shown = "; ".join(f"{part.label} ({reasons.get(part.folder, 'not among the runs')})" for part in lost[:5])
    more = f"; and {len(lost) - 5:,} more" if len(lost) > 5 else ""
    raise StoreError(
        f"{request.folder} contains {len(lost):,} {'run' if len(lost) == 1 else 'runs'} that a build from scratch "
        f"would lose: {shown}{more}; restore them, add the new runs with 'ednabed consolidate --incremental', or drop "
        "them with `drop_missing=True`; nothing was changed"
    )


def _missing(
    known: dict[str, Part], selection: FoundRuns, root: Path, request: BuildRequest
) -> tuple[list[str], list[str], list[Source]]:
    """Return the names of vanished and of changed runs of the current build, and the sources that replaced them.

    A run with a missing file or a file of the wrong size counts as changed; contents are not read. For an incremental
    build, a run that was added from outside this ``root`` and is still there has not vanished.
    """
    present = {source.identity: source for source in selection.sources}
    vanished, changed, blocked = [], [], []
    for identity, part in known.items():
        if identity in present:
            run = present[identity].run
            if run.manifest is not None and not run.is_complete():
                changed.append(part.label)
            continue
        others = [s for s in selection.sources if s.label == part.label and s.identity not in known]
        if others:
            changed.append(part.label)
            blocked += others
        elif part.folder in selection.refused:
            changed.append(part.label)
        elif part.folder not in selection.left_out and not (request.incremental and _is_elsewhere(part, root, request)):
            vanished.append(part.label)
    return vanished, changed, blocked


def _is_elsewhere(part: Part, root: Path, request: BuildRequest) -> bool:
    folder = (request.workspace / part.folder).resolve()
    if folder.is_relative_to(root.resolve()):
        return False
    try:
        run = Run.open(folder)
    except (EdnabedError, OSError):
        return False
    # Identifying a run of an older tool would require reading all its vectors.
    return run.manifest is None or run.identity == part.identity


def _examine(sources: Sequence[Source], selection: FoundRuns, show_progress: bool | None) -> list[Examined]:
    """Read the runs completely; those that cannot be added are recorded as refused."""
    accepted = []
    with progress_bar(len(sources), show=show_progress, doing="reading runs", unit="run") as bar:
        for source in sources:
            try:
                accepted.append(examine(source))
            except UNREADABLE as error:
                selection.refused[source.folder] = readable(str(error))
            bar.update(1)
    return accepted


def _no_run(root: Path, selection: FoundRuns) -> str:
    reasons = [*selection.refused.items(), *selection.left_out.items()]
    if not reasons:
        return f"{root} contains no run; create one with 'ednabed embed FILE', or give another `runs_root`"
    shown = "; ".join(f"{folder}: {reason}" for folder, reason in reasons[:3])
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return f"no run below {root} can be added to a reference: {shown}{more}"


def _remove_empty(created: list[Path]) -> None:
    """Remove the empty folders that were created for a reference that was not built."""
    for folder in created:
        try:
            folder.rmdir()
        except OSError:
            return
