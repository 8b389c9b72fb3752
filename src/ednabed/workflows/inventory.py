"""The inventory of a workspace: its runs, including damaged ones, and their sizes on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ednabed.base.files import folder_bytes
from ednabed.base.parquet_files import parquet_errors
from ednabed.errors import EdnabedError, StoreError
from ednabed.models.spec import Spec
from ednabed.reference.manifest import METADATA
from ednabed.reference.sources import Source, source_of
from ednabed.store.compressed_forms import estimate_size
from ednabed.store.runs import RECORDS, Run, find_run, runs_root, walk_runs
from ednabed.store.vectors import EMBEDDINGS, FORMS


@dataclass(frozen=True)
class RunInfo:
    """A run of the workspace.

    Attributes:
        dataset: Name of the study.
        run_id: Name of the run in its dataset.
        path: Its folder.
        records: Number of records with a vector; None if the run is damaged.
        dimension: Length of a vector; None if the run is damaged.
        model: Name of the model; None for a folder of an older tool, and if the manifest is damaged.
        fingerprint: Fingerprint of its function; None as for ``model``.
        created: UTC, ISO 8601; None as for ``model``.
        bytes: Size of its vectors on disk.
        fault: Why it cannot be used; None if it can.
    """

    dataset: str
    run_id: str
    path: Path
    records: int | None
    dimension: int | None
    model: str | None
    fingerprint: str | None
    created: str | None
    bytes: int
    fault: str | None = None

    @property
    def label(self) -> str:
        """``dataset/run_id``."""
        return f"{self.dataset}/{self.run_id}"


def run_infos(workspace: Path) -> list[RunInfo]:
    """Return the runs of a workspace, including damaged ones, sorted by dataset and run."""
    root = runs_root(workspace)
    return sorted((_info(folder, root) for folder in walk_runs(root)), key=lambda run: (run.dataset, run.run_id))


def _info(folder: Path, root: Path) -> RunInfo:
    within = folder.relative_to(root).parts
    dataset, run_id = (within[0], "/".join(within[1:])) if len(within) > 1 else (folder.parent.name, folder.name)
    size = sum((folder / form).stat().st_size for form in FORMS if (folder / form).is_file())
    records = dimension = model = fingerprint = created = fault = None
    try:
        run = Run.open(folder)
    except (EdnabedError, OSError) as error:
        fault = str(error)
    else:
        spec = None
        if run.manifest is not None:
            spec, created = run.manifest.spec, run.manifest.created
            model, fingerprint = spec.model, spec.fingerprint
        fault = fault_of(run, spec)
        if fault is None:
            vectors = run.vectors()
            records, dimension = vectors.rows, vectors.dimension
    return RunInfo(dataset, run_id, folder, records, dimension, model, fingerprint, created, size, fault)


def fault_of(run: Run, spec: Spec | None) -> str | None:
    """Return why a run cannot be used, judging by the headers of its files; None if no fault is found.

    Args:
        run: The run.
        spec: Its function; None if unknown.
    """
    import pyarrow.parquet as pq

    try:
        vectors = run.vectors()
        if spec is not None and vectors.dimension != spec.dimension:
            raise StoreError(
                f"{vectors.path} has vectors of {vectors.dimension} dimensions, but {spec.model} produces "
                f"{spec.dimension}"
            )
        if run.manifest is not None:
            with parquet_errors(run.damaged_records):
                records = pq.read_metadata(run.folder / RECORDS).num_rows
            if records != vectors.rows:
                raise StoreError(
                    f"{run.folder}: {vectors.rows} vectors and {records} records do not belong together; "
                    "'ednabed runs verify' shows which file is damaged"
                )
    except FileNotFoundError:
        return f"{run.folder / RECORDS} is missing; restore it from a backup or embed the input again"
    except (EdnabedError, OSError) as error:
        return str(error)
    return None


def usable_source(workspace: Path, run: Run | str) -> Source:
    """Return a run with its function, even if it is outside the folder of runs.

    Args:
        workspace: Folder that contains ``consolidated_data``.
        run: An opened run; or ``dataset/run``, a dataset (its newest run), or a folder.

    Raises:
        StoreError: The run does not exist, is damaged, or its function is unknown.
    """
    opened = find_run(workspace, run) if isinstance(run, str) else run
    source = source_of(opened, runs_root(workspace), workspace)
    fault = fault_of(opened, source.spec)
    if fault is not None:
        raise StoreError(fault)
    return source


def storage(workspace: Path, *, measure: bool = True) -> dict[str, Any]:
    """Return sizes in bytes; see ``DataManager.storage``."""
    entries = []
    for info in run_infos(workspace):
        entry: dict[str, Any] = {"run": f"{info.dataset}/{info.run_id}", "bytes": folder_bytes(info.path)}
        if info.fault is None:
            vectors = Run.open(info.path).vectors()
            entry["form"] = vectors.path.name
            if measure and vectors.path.name == EMBEDDINGS:
                size = vectors.path.stat().st_size
                entry["saved_lossless"] = max(0, size - estimate_size(vectors)[0])
                if info.fingerprint is not None:
                    entry["saved_float16"] = size - estimate_size(vectors, half=True)[0]
        entries.append(entry)
    references = sorted(path.parent for path in (workspace / "data").glob(f"*/{METADATA}"))
    return {
        "runs": sorted(entries, key=lambda entry: -entry["bytes"]),
        "runs_bytes": sum(entry["bytes"] for entry in entries),
        "references": {folder.relative_to(workspace).as_posix(): folder_bytes(folder) for folder in references},
        "table_bytes": folder_bytes(workspace / "data" / "lancedb"),
    }
