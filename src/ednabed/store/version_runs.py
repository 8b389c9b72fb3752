"""Find the runs of a workspace and name them for people, for every command that walks through all runs."""

from __future__ import annotations

from pathlib import Path

from ednabed.base.text import readable
from ednabed.errors import EdnabedError, StoreError
from ednabed.store.runs import Run, runs_root, walk_runs


def find_root(workspace: Path, root: Path | None = None) -> Path:
    """Return the folder of runs: relative to the workspace, as in ``find_run``, or else to the current folder.

    Raises:
        StoreError: The given folder does not exist.
    """
    if root is None:
        return runs_root(workspace)
    found = next((path for path in (workspace / root, root) if path.is_dir()), None)
    if found is None:
        raise StoreError(
            f"{root} is not a folder in {workspace} or in the current folder; give the folder that contains the runs"
        )
    return found


def open_runs(root: Path) -> tuple[list[Run], list[str]]:
    """Open every run below a folder, reading headers only.

    Returns:
        The runs, sorted by path, and one sentence for each damaged folder.
    """
    runs: list[Run] = []
    damaged: list[str] = []
    for folder in walk_runs(root):
        try:
            run = Run.open(folder)
            dimension = run.vectors().dimension
            if run.manifest is not None and dimension != run.manifest.spec.dimension:
                expected = run.manifest.spec.dimension
                raise StoreError(f"its vectors have length {dimension}, but run.json states {expected}")
        except (EdnabedError, OSError) as error:
            damaged.append(fault(folder, error))
        else:
            runs.append(run)
    return runs, damaged


def fault(folder: Path, error: Exception) -> str:
    """Return the message of an error, preceded by the folder unless the message already names it."""
    return str(error) if str(folder) in str(error) else f"{folder}: {error}"


def run_address(workspace: Path, run: Run) -> str:
    """Return what a user types for this run: ``dataset/run`` if it is in the folder of runs, otherwise the folder."""
    try:
        relative = run.folder.resolve().relative_to(runs_root(workspace).resolve())
    except ValueError:
        return str(run.folder)
    return relative.as_posix() if len(relative.parts) == 2 else str(run.folder)


def run_label(workspace: Path, run: Run) -> str:
    """Return the name of a run for people: ``dataset/run`` if it has a dataset, otherwise the folder."""
    has_dataset = run.manifest is not None and run.manifest.dataset is not None
    return readable(run.label if has_dataset else run_address(workspace, run))


def quoted_path(path: str) -> str:
    """Return a path quoted as any shell accepts it."""
    return f'"{path}"' if " " in path else path
