"""From runs to a build of a reference, from scratch or on top of the current one; whole or absent.

A build is written in a folder whose name begins with a dot, and becomes the current one in one step. Vectors stand in
the order in which their sequences first occur, run after run; so an incremental build copies the old vectors and adds
the new ones at the end.
"""

from __future__ import annotations

import logging
import platform
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError
from ednabed.models.base import FloatArray
from ednabed.models.spec import Spec
from ednabed.reference import index as indexes
from ednabed.reference import layout
from ednabed.reference.layout import INDEX, POSITIONS, ROWS, VECTORS
from ednabed.reference.manifest import METADATA, IndexFacts, Part, ReferenceManifest
from ednabed.reference.parts import (
    Examined,
    examine,
    keys_of,
    read_column,
    records_name,
    sequences_name,
    unified_digests,
    write_part,
)
from ednabed.reference.sources import Selection, Source, find_sources, one_function
from ednabed.reference.topk import lengths
from ednabed.store.files import fsync_file, sha256_file
from ednabed.store.runs import runs_root
from ednabed.store.vectors import BLOCK_BYTES, VectorFile
from ednabed.store.versions import Versions

log = logging.getLogger("ednabed")

ROW_TYPE = np.dtype([("key", "<u8"), ("norm", "<f4"), ("length", "<i4"), ("first", "<i8")])
"""One row a vector, and one more at the end: ``key`` puts ties in an order that does not depend on the order of runs;
``norm`` is the vector's length; ``length`` that of the sequence (-1 unknown); ``first`` is the first place of its
records in the positions, which end where the next row's begin."""


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
    """

    workspace: Path
    runs: Path | None = None
    output: Path | None = None
    incremental: bool = False
    version: str | None = None
    index: str = "auto"

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
    changed_runs: list[str] = field(default_factory=list)
    retrained: bool = False
    sources: list[Source] = field(default_factory=list)


def consolidate(request: BuildRequest) -> BuildResult:
    """Build a reference.

    Raises:
        StoreError: There is no run to take, the runs were made by several functions, or another process writes this
            reference.
        UsageError: The version is not registered, or the index unknown.
    """
    indexes.choose_kind(0, request.index)
    workspace = request.workspace
    version = None if request.version is None else Versions.read(workspace).get(request.version)
    root = runs_root(workspace) if request.runs is None else request.runs
    if not root.is_dir():
        raise StoreError(f"{root} is not a folder; 'ednabed embed FILE' makes runs, --runs-root says where they are")
    folder = request.folder
    known = not folder.exists() or any((folder / name).exists() for name in (METADATA, "builds"))
    if not known and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise StoreError(f"{folder} holds something else than a reference; name another --output")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with layout.writing(folder):
            return _consolidate(request, root, version)
    finally:
        _remove_empty(folder, made)


def _consolidate(request: BuildRequest, root: Path, version: Any) -> BuildResult:
    folder = request.folder
    current = layout.open_manifest(folder) if (folder / METADATA).exists() else None
    base = current if request.incremental else None
    if base is not None and version is not None and base.spec.fingerprint != version.fingerprint:
        raise StoreError(
            f"{folder} was made by {base.spec.model} ({base.spec.fingerprint[:12]}), version {version.name} is "
            f"{version.spec.model} ({version.fingerprint[:12]}): their vectors cannot be mixed; name another --output"
        )
    selection = find_sources(root, request.workspace, version)
    known = {} if current is None else {part.identity: part for part in current.runs}
    vanished, changed_runs, blocked = _missing(known, selection)
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
    examined = _examine(new, selection)
    result = BuildResult(
        folder,
        current,  # type: ignore[arg-type]  # replaced below where there is none
        changed=False,
        refused=selection.refused,
        left_out=selection.left_out,
        vanished=vanished,
        changed_runs=changed_runs,
    )
    if not examined and base is None:
        raise StoreError(_nothing(root, selection))
    if not examined:
        _note_sources(result, selection)
        return result
    spec = examined[0].source.spec if base is None else base.spec
    manifest, retrained = _write(request, base, examined, spec)
    result.manifest = manifest
    result.changed = True
    result.retrained = retrained
    result.added = manifest.runs[0 if base is None else len(base.runs) :]
    _note_sources(result, selection)
    return result


def _note_sources(result: BuildResult, selection: Selection) -> None:
    held = {part.identity for part in result.manifest.runs}
    result.sources = [source for source in selection.sources if source.identity in held]


def _missing(known: dict[str, Part], selection: Selection) -> tuple[list[str], list[str], list[Source]]:
    """Return the runs of the current build that vanished, those that changed, and the sources in their place."""
    here = {source.identity for source in selection.sources}
    places = {source.label: source for source in selection.sources if source.identity not in known}
    broken = set(selection.refused)
    vanished, changed, blocked = [], [], []
    for identity, part in known.items():
        if identity in here:
            continue
        if part.label in places:
            changed.append(part.label)
            blocked.append(places[part.label])
        elif part.folder in broken:
            changed.append(part.label)
        else:
            vanished.append(part.label)
    return vanished, changed, blocked


def _examine(sources: Sequence[Source], selection: Selection) -> list[Examined]:
    """Read the runs through; those that cannot go in are noted as refused."""
    sound = []
    with progress_bar(len(sources), doing="reading runs", unit="run") as bar:
        for source in sources:
            try:
                sound.append(examine(source))
            except (StoreError, OSError) as error:
                selection.refused[source.folder] = str(error)
            bar.update(1)
    return sound


def _nothing(root: Path, selection: Selection) -> str:
    reasons = [*selection.refused.items(), *selection.left_out.items()]
    if not reasons:
        return f"{root} holds no run; 'ednabed embed FILE' makes one, --runs-root says where else to look"
    shown = "; ".join(f"{place}: {reason}" for place, reason in reasons[:3])
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return f"no run below {root} can go into a reference: {shown}{more}"


def _write(
    request: BuildRequest, base: ReferenceManifest | None, examined: list[Examined], spec: Spec
) -> tuple[ReferenceManifest, bool]:
    folder = request.folder
    build = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + "-" + secrets.token_hex(3)
    work = layout.new_build(folder, build)
    try:
        old = None if base is None else layout.build_folder(folder, base.build)
        before = 0 if base is None else base.counts["sequences"]
        parts = [] if base is None else list(base.runs)
        if old is not None:
            for number in range(len(parts)):
                for name in (records_name(number), sequences_name(number)):
                    shutil.copyfile(old / name, work / name)
        rows, total = _number(work, len(parts), before, examined)
        table = np.zeros(total + 1, ROW_TYPE)
        if old is not None:
            table[:before] = np.load(old / ROWS, mmap_mode="r", allow_pickle=False)[:before]
        with (work / VECTORS).open("wb") as file:
            _header(file, total, spec.dimension)
            if old is not None:
                for block in VectorFile.open(old, VECTORS).blocks():
                    file.write(block.data)
            at = before
            for run, own in zip(examined, rows, strict=True):
                markers, sizes = write_part(work, len(parts), run.source, own, at)
                _append(file, run, own, at, sizes, table)
                parts.append(_part(run, markers, at, len(sizes)))
                at += len(sizes)
        fsync_file(work / VECTORS)
        positions = _positions(work, parts, table)
        np.save(work / POSITIONS, positions)
        np.save(work / ROWS, table)
        facts, retrained = _index(request, work, old, base, table, spec.dimension)
        registered = Versions.read(request.workspace).of_fingerprint(spec.fingerprint)
        manifest = ReferenceManifest(
            build=build,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            spec=spec,
            version=None if registered is None else registered.name,
            counts={
                "sequences": total,
                "records": len(positions),
                "runs": len(parts),
                "datasets": len({part.dataset for part in parts}),
                "letters": int(np.maximum(table["length"][:-1], 0).sum(dtype=np.int64)),
            },
            runs=parts,
            index=facts,
            software={"python": platform.python_version(), "system": platform.system()}
            | {p: package_version(p) for p in ("ednabed", "numpy", "pyarrow", "faiss-cpu")},
            files={
                path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size}
                for path in sorted(work.iterdir())
            },
        )
        for path in work.iterdir():
            fsync_file(path)
        layout.publish(folder, work, manifest)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return manifest, retrained


def _number(
    work: Path, old_parts: int, before: int, examined: list[Examined]
) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Give each record the number of its vector: that of the first record with this digest, new ones numbered on.

    Returns the numbers, one array a run, and the number of vectors in all.
    """
    known = read_column([work / sequences_name(i) for i in range(old_parts)], "digest") if old_parts else None
    chunks = [] if known is None else [unified_digests(chunk, f"old {i}:") for i, chunk in enumerate(known.chunks)]
    chunks += [run.names for run in examined]
    places = np.cumsum([before] + [run.rows for run in examined])
    coded = pa.concat_arrays(chunks).dictionary_encode()
    numbers = coded.indices.to_numpy().astype(np.int64)
    assert (numbers[:before] == np.arange(before)).all(), "a digest stands twice in the old build"
    return [numbers[a:b] for a, b in pairwise(places.tolist())], len(coded.dictionary)


def _header(file: Any, rows: int, dimension: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})


def _append(
    file: Any,
    run: Examined,
    own: npt.NDArray[np.int64],
    at: int,
    sizes: npt.NDArray[np.int32],
    table: npt.NDArray[Any],
) -> None:
    """Write the vectors that a run brings, in order of their numbers, and their rows of the table."""
    new = np.flatnonzero(own >= at)
    _, places = np.unique(own[new], return_index=True)
    brought = new[places]
    end = at + len(brought)
    table["key"][at:end] = keys_of(run.names.take(pa.array(brought)).to_pylist())
    table["length"][at:end] = sizes
    first = 0
    for block in run.source.run.vectors().blocks():
        chosen = brought[(brought >= first) & (brought < first + len(block))] - first
        vectors = np.ascontiguousarray(block[chosen], "<f4")
        table["norm"][at : at + len(vectors)] = lengths(vectors)
        file.write(vectors.data)
        at += len(vectors)
        first += len(block)


def _part(run: Examined, markers: dict[str, int], first: int, sequences: int) -> Part:
    source = run.source
    return Part(
        identity=source.identity,
        dataset=source.dataset,
        run_id=source.run_id,
        folder=source.folder,
        source_file=source.run.vectors().path.name,
        created=source.created,
        assumed=source.assumed,
        records=run.rows,
        first=first,
        sequences=sequences,
        markers=dict(sorted(markers.items())),
    )


def _positions(work: Path, parts: list[Part], table: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the records of each vector, one vector after another, and fill where each begins.

    A record's position is its number when the records of all parts are laid end to end. The records of one vector stand
    in order of (dataset, run_id, seq_idx), whatever the order of the parts.
    """
    starts = np.cumsum([0] + [part.records for part in parts])
    order = sorted(range(len(parts)), key=lambda i: (parts[i].dataset, parts[i].run_id, parts[i].identity))
    rows = [read_column([work / records_name(i)], "row").to_numpy() for i in order]
    places = [np.arange(starts[i], starts[i + 1]) for i in order]
    joined = np.concatenate(rows)
    table["first"] = np.concatenate([[0], np.cumsum(np.bincount(joined, minlength=len(table) - 1))])
    return np.asarray(np.concatenate(places)[np.argsort(joined, kind="stable")], np.int64)


def _index(
    request: BuildRequest,
    work: Path,
    old: Path | None,
    base: ReferenceManifest | None,
    table: npt.NDArray[Any],
    dimension: int,
) -> tuple[IndexFacts, bool]:
    """Write the index of a build; return what is known of it, and whether it was trained now."""
    import faiss

    total = len(table) - 1
    kind = indexes.choose_kind(total, request.index)
    if kind == "flat":
        if total <= indexes.FLAT_ROWS:
            faiss.write_index(indexes.flat(VectorFile.open(work, VECTORS).blocks(), dimension), str(work / INDEX))
        return IndexFacts("flat"), False
    vectors = VectorFile.open(work, VECTORS)
    norms = np.ascontiguousarray(table["norm"][:-1])
    index: Any = None
    facts: IndexFacts | None = None
    if base is not None and old is not None and base.index.kind == "ivf" and not indexes.outgrown(base.index, total):
        try:
            before = base.counts["sequences"]
            # Mapped indexes cannot grow; this reads the file, some 50 bytes a vector.
            indexes.open_index(old / INDEX, before, dimension, base.index)
            index = faiss.read_index(str(old / INDEX))
            indexes.add(index, _from(work, before))
            facts = indexes.measure(index, base.index, vectors, norms, _with_norms(work, norms))
        except indexes.DamagedIndex as error:
            log.warning("%s, so the index is trained anew", error)
            index = None
    retrained = index is None or facts is None or not facts.reached
    if retrained:
        index, facts = indexes.train(vectors)
        indexes.add(index, vectors.blocks())
        facts = indexes.measure(index, facts, vectors, norms, _with_norms(work, norms))
    assert facts is not None
    faiss.write_index(index, str(work / INDEX))
    return facts, retrained


def _from(work: Path, before: int) -> Iterator[FloatArray]:
    """Yield the vectors from number ``before`` on."""
    first = 0
    for block in VectorFile.open(work, VECTORS).blocks():
        if first + len(block) > before:
            yield block[max(0, before - first) :]
        first += len(block)


def _with_norms(
    work: Path, norms: npt.NDArray[np.float32]
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, npt.NDArray[np.float32]]]:
    first = 0
    file = VectorFile.open(work, VECTORS)
    for block in file.blocks(max(1, BLOCK_BYTES // (4 * file.dimension))):
        rows = np.arange(first, first + len(block))
        yield rows, block, norms[first : first + len(block)]
        first += len(block)


def _remove_empty(folder: Path, made: list[Path]) -> None:
    """Take away the folders that were made for a reference of which nothing came."""
    if not made or (folder / METADATA).exists():
        return
    for place in (folder / "builds", folder / ".lock"):
        try:
            place.rmdir() if place.is_dir() else place.unlink(missing_ok=True)
        except OSError:
            return
    for place in made:
        try:
            place.rmdir()
        except OSError:
            return
