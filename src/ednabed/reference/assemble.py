"""Write the files of a build, by extending an older build or from scratch.

Vectors are in the order in which their sequences first occur, run after run, so a build that extends another one copies
the old vectors and adds the new ones at the end. If several runs have a sequence, the vector of the run that was
created first is kept, even if that run is added later: runs computed with different precision differ in the last
digits, and results must not depend on the order in which runs were added.
"""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ednabed.base.arrays import Ints
from ednabed.base.files import file_entry, fsync_file, sha256_file
from ednabed.base.times import utc_now
from ednabed.base.topk import lengths
from ednabed.base.version import software_versions
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError
from ednabed.models.spec import Spec
from ednabed.reference import index as indexes
from ednabed.reference import layout
from ednabed.reference.layout import INDEX, POSITIONS, ROW_TYPE, ROWS, VECTORS
from ednabed.reference.manifest import Part, ReferenceManifest
from ednabed.reference.parts import (
    Examined,
    keys_of,
    read_column,
    records_name,
    sequences_name,
    unified_digests,
    write_part,
)
from ednabed.store.vectors import VectorFile


def write_build(
    folder: Path,
    base: ReferenceManifest | None,
    examined: list[Examined],
    spec: Spec,
    version: str | None,
    index: str,
    *,
    show_progress: bool | None = False,
) -> tuple[ReferenceManifest, bool]:
    """Write a build and make it the current one. Needs ``layout.writing``.

    Args:
        folder: Folder of the reference.
        base: Build that is extended, or None.
        examined: The runs to add, at least one.
        spec: The function that computed all vectors.
        version: Name of its registered version, or None.
        index: One of ``index.KINDS``.
        show_progress: True counts the sequences written on standard error, None only on a terminal.

    Returns:
        The manifest of the new build, and whether the index was trained now.

    Raises:
        StoreError: The old build is damaged, or a run was changed in the meantime.
    """
    old = None if base is None else layout.build_folder(folder, base.build)
    if old is not None and base is not None:
        _check_base(old, base)
    build, work = layout.new_build(folder)
    try:
        parts, rows, table = _write_runs(work, old, base, examined, spec.dimension, show_progress)
        _use_oldest_vectors(work, parts, examined, rows, table)
        positions = _positions(work, parts, table)
        np.save(work / POSITIONS, positions)
        np.save(work / ROWS, table)
        norms = np.ascontiguousarray(table["norm"][:-1])
        facts, retrained = indexes.write(work, index, norms, old, base)
        manifest = ReferenceManifest(
            build=build,
            created=utc_now(),
            spec=spec,
            version=version,
            counts={
                "sequences": len(table) - 1,
                "records": len(positions),
                "runs": len(parts),
                "datasets": len({part.dataset for part in parts}),
                "letters": int(np.maximum(table["length"][:-1], 0).sum(dtype=np.int64)),
            },
            runs=parts,
            index=facts,
            software=software_versions("numpy", "pyarrow", "faiss-cpu"),
            files={
                path.name: file_entry(path)
                | ({"seal": indexes.seal(path, layout.HEADER_BYTES)} if path.name in layout.SEALED else {})
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


def _write_runs(
    work: Path,
    old: Path | None,
    base: ReferenceManifest | None,
    examined: list[Examined],
    dimension: int,
    show_progress: bool | None,
) -> tuple[list[Part], list[Ints], npt.NDArray[Any]]:
    """Write the records, sequences and vectors of the old build and of the runs to add.

    Returns:
        The parts of the build, the number of the vector of each record of the runs to add, and the table of vectors
        (``layout.ROW_TYPE``).
    """
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
    with (
        (work / VECTORS).open("wb") as file,
        progress_bar(total - before, show=show_progress, doing="writing the reference") as bar,
    ):
        _header(file, total, dimension)
        if old is not None:
            for block in VectorFile.open(old, VECTORS).blocks():
                file.write(block.data)
        first = before
        for run, run_rows in zip(examined, rows, strict=True):
            markers, sizes = write_part(work, len(parts), run.source, run_rows, first)
            _append(file, run, run_rows, first, sizes, table, bar)
            parts.append(_part(run, markers, first, len(sizes)))
            first += len(sizes)
    return parts, rows, table


def _check_base(old: Path, base: ReferenceManifest) -> None:
    """Raise StoreError if the old build is damaged, because a damaged copy would get a valid checksum."""
    for name, entry in base.files.items():
        path = old / name
        # A damaged index is trained again.
        if name != INDEX and not (path.is_file() and sha256_file(path) == entry["sha256"]):
            state = "does not match its checksum" if path.is_file() else "is missing"
            raise StoreError(
                f"{path} {state}, so nothing can be added to this build; rebuild the reference with "
                "'ednabed consolidate --rebuild'"
            )


def _number(work: Path, old_parts: int, before: int, examined: list[Examined]) -> tuple[list[Ints], int]:
    """Number the vector of each record: equal digests share a number, and new ones continue the numbering.

    Returns the numbers, one array per run, and the total number of vectors.
    """
    known = read_column([work / sequences_name(i) for i in range(old_parts)], "digest") if old_parts else None
    chunks = [] if known is None else [unified_digests(chunk, f"old {i}:") for i, chunk in enumerate(known.chunks)]
    chunks += [run.names for run in examined]
    bounds = np.cumsum([before] + [run.rows for run in examined])
    coded = pa.concat_arrays(chunks).dictionary_encode()
    numbers = coded.indices.to_numpy().astype(np.int64)
    assert (numbers[:before] == np.arange(before)).all(), "a digest is duplicated in the old build"
    return [numbers[a:b] for a, b in pairwise(bounds.tolist())], len(coded.dictionary)


def _header(file: Any, rows: int, dimension: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})


def _append(
    file: Any,
    run: Examined,
    rows: Ints,
    first_row: int,
    sizes: npt.NDArray[np.int32],
    table: npt.NDArray[Any],
    bar: Any,
) -> None:
    """Write the vectors that a run adds, in order of their numbers, and their rows of the table."""
    new = np.flatnonzero(rows >= first_row)
    _, firsts = np.unique(rows[new], return_index=True)
    added = new[firsts]
    end = first_row + len(added)
    table["key"][first_row:end] = keys_of(run.names.take(pa.array(added)).to_pylist())
    table["length"][first_row:end] = sizes
    row, first = first_row, 0
    for block in run.source.run.blocks():
        chosen = added[(added >= first) & (added < first + len(block))] - first
        vectors = np.ascontiguousarray(block[chosen], "<f4")
        table["norm"][row : row + len(vectors)] = lengths(vectors)
        file.write(vectors.data)
        bar.update(len(vectors))
        row += len(vectors)
        first += len(block)


def _use_oldest_vectors(
    work: Path,
    parts: list[Part],
    examined: list[Examined],
    rows: list[Ints],
    table: npt.NDArray[Any],
) -> None:
    """Give each sequence the vector of its oldest run, in order of (created, identity)."""
    order = sorted(range(len(parts)), key=lambda i: (parts[i].created, parts[i].identity))
    rank = np.argsort(order)
    old = len(parts) - len(examined)
    if all(rank[i] > rank[:i].max(initial=-1) for i in range(old, len(parts))):
        return
    oldest = np.empty(len(table) - 1, np.int64)
    for i in reversed(order):
        oldest[read_column([work / records_name(i)], "row").to_numpy()] = i
    with (work / VECTORS).open("rb+") as file:
        for i, run, run_rows in zip(range(old, len(parts)), examined, rows, strict=True):
            numbers, records = np.unique(run_rows, return_index=True)
            replaced = (oldest[numbers] == i) & (numbers < parts[i].first)
            if replaced.any():
                _replace(file, run, numbers[replaced], records[replaced], table)


def _replace(file: Any, run: Examined, numbers: Ints, records: Ints, table: npt.NDArray[Any]) -> None:
    """Overwrite the vectors with the given numbers by those of the given records of a run."""
    size = 4 * run.source.spec.dimension
    begin = file.seek(0, 2) - (len(table) - 1) * size
    first = 0
    for block in run.source.run.blocks():
        in_block = (records >= first) & (records < first + len(block))
        vectors = np.ascontiguousarray(block[records[in_block] - first], "<f4")
        table["norm"][numbers[in_block]] = lengths(vectors)
        for number, vector in zip(numbers[in_block].tolist(), vectors, strict=True):
            file.seek(begin + number * size)
            file.write(vector.data)
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


def _positions(work: Path, parts: list[Part], table: npt.NDArray[Any]) -> Ints:
    """Return the positions of the records of each vector, one vector after another, and fill in where each begins.

    The position of a record is its number in the concatenated records of all parts. The records of one vector are in
    order of (dataset, run_id, seq_idx), whatever the order of the parts.
    """
    starts = np.cumsum([0] + [part.records for part in parts])
    order = sorted(range(len(parts)), key=lambda i: (parts[i].dataset, parts[i].run_id, parts[i].identity))
    rows = [read_column([work / records_name(i)], "row").to_numpy() for i in order]
    positions = [np.arange(starts[i], starts[i + 1]) for i in order]
    joined = np.concatenate(rows)
    table["first"] = np.concatenate([[0], np.cumsum(np.bincount(joined, minlength=len(table) - 1))])
    return np.asarray(np.concatenate(positions)[np.argsort(joined, kind="stable")], np.int64)
