"""Which runs are meant, and what people call them: for every command that walks over the runs of a workspace."""

from __future__ import annotations

from pathlib import Path

from ednabed.errors import EdnabedError, StoreError
from ednabed.store.runs import Run, runs_root, walk_runs
from ednabed.store.version_file import readable


def find_root(workspace: Path, root: Path | None = None) -> Path:
    """Return the folder of runs that is meant: taken from the workspace, as ``find_run`` does, else from here.

    Raises:
        StoreError: A folder was named and is not there.
    """
    if root is None:
        return runs_root(workspace)
    found = next((path for path in (workspace / root, root) if path.is_dir()), None)
    if found is None:
        raise StoreError(
            f"{root} is not a folder, neither in {workspace} nor here; name the folder that holds the runs"
        )
    return found


def open_runs(root: Path) -> tuple[list[Run], list[str]]:
    """Open every run below a folder, headers only.

    Returns:
        The runs, sorted by path, and one sentence for each folder that is damaged.
    """
    runs: list[Run] = []
    damaged: list[str] = []
    for folder in walk_runs(root):
        try:
            run = Run.open(folder)
            dimension = run.vectors().dimension
            if run.manifest is not None and dimension != run.manifest.spec.dimension:
                raise StoreError(f"vectors of length {dimension}, run.json says {run.manifest.spec.dimension}")
        except (EdnabedError, OSError) as error:
            damaged.append(fault(folder, error))
        else:
            runs.append(run)
    return runs, damaged


def fault(folder: Path, error: Exception) -> str:
    """Return the sentence of an error, with the folder where it does not name it itself."""
    return str(error) if str(folder) in str(error) else f"{folder}: {error}"


def run_address(workspace: Path, run: Run) -> str:
    """Return what a person types for this run: ``dataset/run`` in the folder of runs, else the folder."""
    try:
        place = run.folder.resolve().relative_to(runs_root(workspace).resolve())
    except ValueError:
        return str(run.folder)
    return place.as_posix() if len(place.parts) == 2 else str(run.folder)


def run_label(workspace: Path, run: Run) -> str:
    """Return the name of a run for people: ``dataset/run`` where it has one, else the folder."""
    known = run.manifest is not None and run.manifest.dataset is not None
    return readable(run.label if known else run_address(workspace, run))


def quoted(place: str) -> str:
    """Return a path as any shell takes it."""
    return f'"{place}"' if " " in place else place
