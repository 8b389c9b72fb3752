"""Find, open, list and verify runs on disk. ``run_writer`` creates them.

A run is one immutable folder at ``consolidated_data/runs/<dataset>/<YYYY-MM-DD_HH-MM-SS>/``, or at the path given by
``--output``. Names that begin with a dot are work in progress and are never listed. Folders created by older tools that
contain only ``embeddings.npy`` (or ``.npz``) can be read; they have no manifest, so the origin of their vectors is
unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from ednabed.base.arrays import FloatArray, Ints
from ednabed.base.files import check_name, file_fault
from ednabed.base.parquet_files import checked_text, parquet_errors
from ednabed.errors import EdnabedError, StoreError, UsageError
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.vectors import EMBEDDINGS, FORMS, VectorFile

RECORDS = "records.parquet"
T = TypeVar("T")
REJECTED = "rejected.tsv"
_BATCH_ROWS = 65_536
_BATCH_BYTES = 100_000_000


def runs_root(workspace: Path) -> Path:
    """Return the folder that contains the datasets of a workspace."""
    return workspace / "consolidated_data" / "runs"


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Path of the folder.
        manifest: Contents of ``run.json``; None for a folder created by an older tool.
    """

    folder: Path
    manifest: RunManifest | None

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run folder. Raises StoreError if it is not a run folder or its manifest is damaged."""
        if not folder.is_dir():
            raise StoreError(f"{folder} is not a folder; 'ednabed runs list' shows the existing runs")
        if (folder / MANIFEST).exists():
            return cls(folder, RunManifest.read(folder))
        if any((folder / form).exists() for form in FORMS):
            return cls(folder, None)
        raise StoreError(
            f"{folder} contains neither {MANIFEST} nor {EMBEDDINGS}; 'ednabed runs list' shows the existing runs"
        )

    @property
    def label(self) -> str:
        """``dataset/run`` if the run has a dataset, otherwise the folder."""
        if self.manifest is None or self.manifest.dataset is None:
            return str(self.folder)
        return f"{self.manifest.dataset}/{self.manifest.run_id}"

    def load_embeddings(self, mmap: bool = True) -> FloatArray:
        """Return the vectors, float32, shape (n, d).

        They are memory-mapped if requested and possible, that is, if the form is ``embeddings.npy``. The other forms
        are read into memory; ``vectors().blocks()`` reads them block by block.

        Raises:
            StoreError: The array is missing, damaged, not a matrix of the type of its form, or would need a pickle.
        """

        def load(run: Run) -> FloatArray:
            vectors = run.vectors()
            mapped = vectors.mapped if mmap and vectors.dtype == np.float32 else None
            return vectors.load() if mapped is None else mapped

        return reread(self, load)

    def vectors(self) -> VectorFile:
        """Return the vector file: the preferred form among those that the manifest lists and that exist.

        Raises:
            StoreError: There is no vector file, or its header is damaged or has another type.
        """
        return reread(self, Run._vectors)

    def _vectors(self) -> VectorFile:
        known = [form for form in FORMS if self.manifest is None or form in self.manifest.files]
        # If no listed form exists, report the first as missing; unlisted forms belong to another manifest.
        fallback = known[0] if known else EMBEDDINGS
        return VectorFile.open(self.folder, next((form for form in known if (self.folder / form).exists()), fallback))

    def blocks(self) -> Iterator[FloatArray]:
        """Yield the vectors block by block, like ``VectorFile.blocks``, from the form that exists now.

        Raises:
            StoreError: The file is missing or damaged.
        """

        def begin(run: Run) -> Iterator[FloatArray]:
            # Reading the first block opens the file, which then stays readable to its end.
            blocks = run._vectors().blocks()
            return chain(list(islice(blocks, 1)), blocks)

        yield from reread(self, begin)

    def take(self, rows: Ints) -> FloatArray:
        """Return the vectors of the given rows, like ``VectorFile.take``, from the form that exists now.

        Raises:
            StoreError: The file is missing or damaged.
        """
        return reread(self, lambda run: run._vectors().take(rows))

    @cached_property
    def identity(self) -> str:
        """SHA-256 (64 hexadecimal digits) that identifies a run regardless of its location and form.

        For a folder created by an older tool, the vectors themselves are read and hashed.
        """
        if self.manifest is not None:
            return self.manifest.identity
        vectors = self.vectors()
        checksum = hashlib.sha256(f"vectors {vectors.rows} {vectors.dimension}\n".encode())
        for block in self.blocks():
            checksum.update(np.ascontiguousarray(block, "<f4").data)
        return checksum.hexdigest()

    def load_records(self, columns: list[str] | None = None):  # type: ignore[no-untyped-def]
        """Return the records as a ``pyarrow.Table``; row i belongs to vector i.

        Raises:
            StoreError: The records are missing or cannot be read.
        """
        import pyarrow.parquet as pq

        path = self.folder / RECORDS
        if not path.exists():
            raise StoreError(f"{path} is missing: {self.folder} was created by an older tool, so its rows have no ids")
        with parquet_errors(self.damaged_records):
            return checked_text(pq.read_table(path, columns=columns))

    @property
    def record_schema(self):  # type: ignore[no-untyped-def]
        """Columns of the records, as a ``pyarrow.Schema``. Raises StoreError like ``load_records``."""
        import pyarrow.parquet as pq

        path = self.folder / RECORDS
        try:
            with parquet_errors(self.damaged_records):
                return pq.read_schema(path)
        except FileNotFoundError as error:
            raise self.damaged_records("it is missing") from error

    def record_batches(self, rows: int | None = None, columns: list[str] | None = None):  # type: ignore[no-untyped-def]
        """Yield the records as ``pyarrow.RecordBatch`` without loading all of them; row i belongs to vector i.

        Args:
            rows: Maximum records per batch; None means about 65,536, or fewer if the sequences are long.
            columns: Columns to read; None reads all.

        Raises:
            StoreError: The records are missing or damaged.
        """
        import pyarrow.parquet as pq

        with ExitStack() as stack:
            try:
                with parquet_errors(self.damaged_records):
                    file = stack.enter_context(pq.ParquetFile(self.folder / RECORDS))
                    batches = file.iter_batches(rows or _batch_rows(file.metadata), columns=columns)
            except FileNotFoundError as error:
                raise self.damaged_records("it is missing") from error
            while True:
                # The yield stays outside, because it raises the caller's own errors.
                with parquet_errors(self.damaged_records):
                    batch = next(batches, None)
                    if batch is None:
                        return
                    checked_text(batch)
                yield batch

    def damaged_records(self, reason: str) -> StoreError:
        """Return the error to raise for records that cannot be read."""
        return StoreError(f"{self.folder / RECORDS} cannot be read ({reason}); embed the input again")

    def is_complete(self) -> bool:
        """Return whether every file in the manifest exists with its listed size; ``verify`` also reads the files."""

        def complete(run: Run) -> bool:
            files = {} if run.manifest is None else run.manifest.files
            paths = {run.folder / name: entry["bytes"] for name, entry in files.items()}
            return bool(paths) and all(path.is_file() and path.stat().st_size == size for path, size in paths.items())

        return reread(self, complete, sound=bool)

    def verify(self) -> list[str]:
        """Recompute every checksum, compare sizes, and return the faults found (an empty list for a sound run).

        Raises:
            StoreError: There is no manifest to verify against.
        """
        if self.manifest is None:
            raise StoreError(f"{self.folder} has no {MANIFEST}: nothing to verify against")
        return reread(self, Run._faults, sound=lambda faults: not faults)

    def _faults(self) -> list[str]:
        assert self.manifest is not None
        found = {name: file_fault(self.folder / name, entry) for name, entry in self.manifest.files.items()}
        return [f"{name} {fault}" for name, fault in found.items() if fault] or self._count_faults()

    def _count_faults(self) -> list[str]:
        assert self.manifest is not None
        vectors, records = self.vectors(), self.load_records(["id"])
        shape = (self.manifest.counts["embedded"], self.manifest.spec.dimension)
        faults = []
        if (vectors.rows, vectors.dimension) != shape:
            found = (vectors.rows, vectors.dimension)
            faults.append(f"{vectors.path.name} has shape {found}, but the manifest states {shape}")
        if records.num_rows != shape[0]:
            faults.append(f"{RECORDS} has {records.num_rows} rows, but the manifest states {shape[0]}")
        return faults


def reread(run: Run, read: Callable[[Run], T], *, sound: Callable[[T], bool] = lambda _: True) -> T:
    """Read from a run, and retry with its new manifest if ``compress`` replaced the form of its vectors meanwhile.

    Args:
        run: The run, as it was opened.
        read: Function that reads from the run.
        sound: Function that returns whether a result is valid; an invalid result is accepted only if the form was not
            replaced.

    Raises:
        StoreError: ``read`` raised it, or the folder now contains another run.
    """
    while True:
        forms = _forms(run.folder)
        try:
            found = read(run)
            if sound(found):
                return found
            fault: Exception | None = None
        except (StoreError, FileNotFoundError) as error:
            fault = error
        now = _reopened(run)
        if now is None or (now.manifest == run.manifest and _forms(run.folder) == forms):
            if fault is not None:
                raise fault
            return found
        if now.manifest is not None and now.identity != run.identity:
            raise StoreError(f"{run.folder} no longer contains the run that was opened; run the same command again")
        run = now


def _reopened(run: Run) -> Run | None:
    try:
        return Run.open(run.folder)
    except (EdnabedError, OSError):
        # The earlier failure reports what is wrong with it.
        return None


def _forms(folder: Path) -> list[str]:
    return [form for form in FORMS if (folder / form).exists()]


def find_run(workspace: Path, name: str) -> Run:
    """Open the run called ``dataset/run``, the newest run of a named dataset, or the run folder at a path.

    A path is relative to the workspace, like ``--output``, or otherwise to the current folder.

    Raises:
        StoreError: There is no such run.
        UsageError: The name is neither a valid run name nor an existing folder.
    """
    parts = name.replace("\\", "/").split("/")
    root = runs_root(workspace)
    paths = [path for path in (workspace / name, Path(name)) if path.is_dir()] if name else []
    if all(part and not part.startswith(".") for part in parts):
        try:
            candidate = root.joinpath(*(check_name("run", part) for part in parts))
        except UsageError:
            if not paths:
                raise
            return Run.open(paths[0])
        # Older tools nested their folders deeper.
        if len(parts) >= 2 and candidate.is_dir():
            return Run.open(candidate)
        newest = run_folders(candidate) if len(parts) == 1 else []
        if newest:
            return Run.open(newest[-1])
    if paths:
        return Run.open(paths[0])
    known = [folder.relative_to(root).as_posix() for folder in walk_runs(root)]
    shown = ", ".join(known[-5:]) if known else "none yet; 'ednabed embed' creates one"
    raise StoreError(f"there is no run {name!r} in {root} and no folder with that name; existing runs: {shown}")


def unfinished(root: Path) -> list[Path]:
    """Return the work folders of interrupted commands below ``root``."""
    return sorted(root.glob("*/.partial-*"))


def run_folders(dataset: Path) -> list[Path]:
    """Return the run folders of a dataset, oldest first; empty if the dataset does not exist."""
    if not dataset.is_dir():
        return []
    folders = (folder for folder in sorted(dataset.iterdir()) if folder.is_dir() and not folder.name.startswith("."))
    return [folder for folder in folders if any((folder / mark).exists() for mark in (MANIFEST, *FORMS))]


def walk_runs(root: Path) -> list[Path]:
    """Return every run folder below ``root`` at any depth, including ``root`` itself, sorted by path.

    Older tools nested their folders in many ways. Folders whose name begins with a dot are work in progress and are
    skipped.
    """
    found = []
    pending = [root] if root.is_dir() else []
    seen: set[Path] = set()
    while pending:
        folder = pending.pop()
        # A link may point to a parent folder.
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        if any((folder / mark).is_file() for mark in (MANIFEST, *FORMS)):
            found.append(folder)
        pending += [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(found)


def _batch_rows(metadata) -> int:  # type: ignore[no-untyped-def]
    """Return the number of records to read at once; fewer if the sequences are long."""
    size: int = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * int(metadata.num_rows) // max(1, size)))
