"""From runs to a build of a reference, from scratch or on top of the current one; whole or absent.

A build is written (``assemble``) in a folder whose name begins with a dot, and becomes the current one in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ednabed.engine.progress import progress_bar
from ednabed.errors import EdnabedError, StoreError
from ednabed.reference import index as indexes
from ednabed.reference import layout
from ednabed.reference.assemble import write_build
from ednabed.reference.manifest import METADATA, DamagedManifest, Part, ReferenceManifest
from ednabed.reference.parts import Examined, examine
from ednabed.reference.sources import UNREADABLE, Selection, Source, find_sources, one_function
from ednabed.store.runs import Run
from ednabed.store.version_file import readable
from ednabed.store.version_runs import find_root
from ednabed.store.versions import Version, Versions, tag_run


@dataclass(frozen=True)
class BuildRequest:
    """What to consolidate.

    Attributes:
        workspace: Folder that holds ``consolidated_data`` and ``data``.
        runs: Folder below which runs are; None is the workspace's.
        output: Folder of the reference, from the workspace; None is ``data/reference``.
        incremental: Add the new runs to the current build; False builds from scratch.
        version: Name of a registered version: take its runs only, and say of folders of older tools that it made them.
        index: ``auto``, ``flat`` or ``ivf``.
        drop_missing: A build from scratch may lose runs of the current build.
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
    """What came out.

    Attributes:
        folder: Folder of the reference.
        manifest: Manifest of the current build.
        changed: Whether there is a new build; False where an incremental command found nothing new.
        added: Runs that were read and added.
        refused: Folder to reason: runs that cannot go in.
        left_out: Folder to reason: runs that nobody asked for.
        vanished: Runs of the current build that are not below the runs folder any more, by name.
        dropped: Runs of the build before that the new one does not have, by name.
        changed_runs: Runs of the current build in whose place there is another content now, by name.
        retrained: Whether the index was trained anew.
        sources: The runs of the current build, as far as they are below the runs folder now.
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


def consolidate(request: BuildRequest, *, show_progress: bool | None = False) -> BuildResult:
    """Build a reference.

    Args:
        request: What to build.
        show_progress: True counts runs and sequences on standard error, None on a terminal only.

    Raises:
        StoreError: There is no run to take, the runs were made by several functions, a build from scratch would lose
            runs of the current one without ``drop_missing``, or another process writes this reference.
        UsageError: The version is not registered, or the index unknown.
    """
    indexes.choose_kind(0, request.index)
    version = None if request.version is None else Versions.read(request.workspace).get(request.version)
    root = find_root(request.workspace, request.runs)
    if not root.is_dir():
        raise StoreError(f"{root} is not a folder; 'ednabed embed FILE' makes runs, --runs-root says where they are")
    folder = request.folder
    layout.check_place(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with layout.writing(folder):
            try:
                layout.tidy(folder)
                return _consolidate(request, root, version, show_progress)
            finally:
                # While the lock is held, so that it is not taken from under another process.
                layout.remove_traces(folder)
    finally:
        _remove_empty(made)


def _consolidate(request: BuildRequest, root: Path, version: Version | None, show_progress: bool | None) -> BuildResult:
    folder = request.folder
    # Damaged files of names and of the build before would be found only after all the work.
    layout.read_names(folder)
    layout.read_previous(folder)
    current = _current(request)
    base = current if request.incremental else None
    if base is not None and version is not None and base.spec.fingerprint != version.fingerprint:
        raise StoreError(
            f"{folder} was made by {base.spec.model} ({base.spec.fingerprint[:12]}), version {version.name} is "
            f"{version.spec.model} ({version.fingerprint[:12]}): their vectors cannot be mixed; name another --output"
        )
    told = {} if base is None else {part.identity: base.spec for part in base.runs if part.assumed}
    selection = find_sources(root, request.workspace, version, told)
    known = {} if current is None else {part.identity: part for part in current.runs}
    vanished, changed_runs, blocked = _missing(known, selection, root, request)
    new = [source for source in selection.sources if base is None or source.identity not in known]
    if base is not None:
        for source in blocked:
            if source in new:
                new.remove(source)
                selection.refused[source.folder] = (
                    f"{source.label} is in the reference with another content; make the reference anew with "
                    "'ednabed consolidate --rebuild', which takes the run as it is now"
                )
        for source in one_function(new, base.spec, ""):
            new.remove(source)
            selection.refused[source.folder] = (
                f"{source.label} was made by {source.spec.model} ({source.spec.fingerprint[:12]}), the reference by "
                f"{base.spec.model} ({base.spec.fingerprint[:12]}; runs {', '.join(p.label for p in base.runs[:5])}): "
                "their vectors cannot be mixed; give each version a reference of its own with --version V --output DIR"
            )
    else:
        one_function(
            new,
            None,
            "take the runs of one with --version V ('ednabed versions register' names a version), and another "
            "--output for each",
        )
    if base is None:
        # Before the runs are read, which may take long, and again after it.
        _dropped(known, new, selection, request)
    examined = _examine(new, selection, show_progress)
    dropped = [] if base is not None else _dropped(known, [run.source for run in examined], selection, request)
    result = BuildResult(
        folder,
        current,  # type: ignore[arg-type]  # replaced below where there is none
        changed=False,
        refused=selection.refused,
        left_out=selection.left_out,
        vanished=vanished,
        dropped=dropped,
        changed_runs=changed_runs,
    )
    if not examined and base is None:
        raise StoreError(_nothing(root, selection))
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
        # What was said of them holds for search and later commands too.
        for source in result.sources:
            if source.assumed and Versions.read(request.workspace).of_run(source.run) is None:
                tag_run(request.workspace, source.run, version.name, assume=True)
    return result


def _note_sources(result: BuildResult, selection: Selection) -> None:
    held = {part.identity for part in result.manifest.runs}
    result.sources = [source for source in selection.sources if source.identity in held]


def _current(request: BuildRequest) -> ReferenceManifest | None:
    """Return the manifest of the current build, None where there is none.

    Where it is damaged and nothing is added to it, it is that of the newest sound build, whose runs are not to be lost.
    """
    try:
        return layout.open_manifest(request.folder) if (request.folder / METADATA).exists() else None
    except DamagedManifest:
        if request.incremental:
            raise
        return layout.newest_build(request.folder)


def _dropped(
    known: dict[str, Part], sources: Sequence[Source], selection: Selection, request: BuildRequest
) -> list[str]:
    """Return the runs of the current build that a build of these sources would not have, by name.

    A run in whose place there is another content now is not lost: the new build has what is there.

    Raises:
        StoreError: There are some, and it was not said that they may go.
    """
    identities, labels = {source.identity for source in sources}, {source.label for source in sources}
    lost = [part for identity, part in known.items() if identity not in identities and part.label not in labels]
    if not lost or request.drop_missing:
        return [part.label for part in lost]
    reasons = {**selection.refused, **selection.left_out}
    shown = "; ".join(f"{part.label} ({reasons.get(part.folder, 'not among the runs')})" for part in lost[:5])
    more = f"; and {len(lost) - 5:,} more" if len(lost) > 5 else ""
    raise StoreError(
        f"{request.folder} holds {len(lost):,} {'run' if len(lost) == 1 else 'runs'} that a build from scratch would "
        f"lose: {shown}{more}; put them back, add the new runs with 'ednabed consolidate --incremental', or say with "
        "--drop-missing (drop_missing=True) that they are to go; nothing was changed"
    )


def _missing(
    known: dict[str, Part], selection: Selection, root: Path, request: BuildRequest
) -> tuple[list[str], list[str], list[Source]]:
    """Return the runs of the current build that vanished, those that changed, and the sources in their place.

    A run whose files are not all there with their sizes counts as changed; their content is not read. An incremental
    build misses no run that lies where it was taken from, outside of this ``root``.
    """
    here = {source.identity: source for source in selection.sources}
    vanished, changed, blocked = [], [], []
    for identity, part in known.items():
        if identity in here:
            run = here[identity].run
            if run.manifest is not None and not run.is_complete():
                changed.append(part.label)
            continue
        others = [s for s in selection.sources if s.label == part.label and s.identity not in known]
        if others:
            changed.append(part.label)
            blocked += others
        elif part.folder in selection.refused:
            changed.append(part.label)
        elif part.folder not in selection.left_out and not (
            request.incremental and _lies_elsewhere(part, root, request)
        ):
            vanished.append(part.label)
    return vanished, changed, blocked


def _lies_elsewhere(part: Part, root: Path, request: BuildRequest) -> bool:
    place = (request.workspace / part.folder).resolve()
    if place.is_relative_to(root.resolve()):
        return False
    try:
        run = Run.open(place)
    except (EdnabedError, OSError):
        return False
    # To know a run of an older tool would need all its vectors to be read.
    return run.manifest is None or run.identity == part.identity


def _examine(sources: Sequence[Source], selection: Selection, show_progress: bool | None) -> list[Examined]:
    """Read the runs through; those that cannot go in are noted as refused."""
    sound = []
    with progress_bar(len(sources), show=show_progress, doing="reading runs", unit="run") as bar:
        for source in sources:
            try:
                sound.append(examine(source))
            except UNREADABLE as error:
                selection.refused[source.folder] = readable(str(error))
            bar.update(1)
    return sound


def _nothing(root: Path, selection: Selection) -> str:
    reasons = [*selection.refused.items(), *selection.left_out.items()]
    if not reasons:
        return f"{root} holds no run; 'ednabed embed FILE' makes one, --runs-root says where else to look"
    shown = "; ".join(f"{place}: {reason}" for place, reason in reasons[:3])
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return f"no run below {root} can go into a reference: {shown}{more}"


def _remove_empty(made: list[Path]) -> None:
    """Take away the folders that were made for a reference of which nothing came."""
    for place in made:
        try:
            place.rmdir()
        except OSError:
            return
