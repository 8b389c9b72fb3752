"""``DataManager``: the runs, versions and references of a workspace, for scripts, the command line and the dashboard.

A facade over the other packages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ednabed.base.arrays import FloatArray
from ednabed.errors import UsageError
from ednabed.reference import layout
from ednabed.reference.build import BuildRequest
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference, open_reference
from ednabed.reference.sources import Source
from ednabed.search.hit import Hit
from ednabed.search.hits import SearchOptions
from ednabed.search.queries import Query
from ednabed.store.defaults import workspace_folder
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS, REJECTED, Run, find_run, runs_root
from ednabed.store.vectors import COMPRESSED, EMBEDDINGS, HALF
from ednabed.tables.table import Database
from ednabed.workflows.consolidate import Consolidation, consolidate
from ednabed.workflows.inventory import RunInfo, run_infos, storage, usable_source
from ednabed.workflows.search import QueryInput, Searcher

log = logging.getLogger("ednabed")

Answer = tuple[Query, list[dict[str, Any]]]


class DataManager:
    """The runs and references of a workspace.

    Args:
        workspace: Folder that contains ``consolidated_data`` and ``data``; None takes ``EDNABED_WORKSPACE``, else the
            current folder.
    """

    def __init__(self, workspace: Path | str | None = None) -> None:
        self.workspace = workspace_folder(workspace)
        self.runs_root = runs_root(self.workspace)
        self._searcher = Searcher(self.workspace)

    def list_datasets(self) -> list[str]:
        """Return the names of the datasets that have a run, sorted."""
        return sorted({run.dataset for run in self.list_runs()})

    def list_runs(self, dataset: str | None = None) -> list[RunInfo]:
        """Return the runs, including damaged ones, sorted by dataset and run; ``dataset`` None takes all datasets."""
        return [run for run in run_infos(self.workspace) if dataset in (None, run.dataset)]

    def open_run(self, run: Path | str | RunInfo) -> Run:
        """Open a run: ``dataset/run``, a dataset (its newest run), a folder, or an entry of ``list_runs``.

        Raises:
            StoreError: The run does not exist, or is damaged.
        """
        return find_run(self.workspace, _name_of(run))

    def get_run_files(self, run: Path | str | RunInfo) -> dict[str, Path]:
        """Return the existing files of a run.

        Keys: ``embeddings`` (the form that is read), ``embeddings_npy``, ``embeddings_f16``, ``embeddings_npz``,
        ``records``, ``rejected``, ``manifest``.
        """
        found = self.open_run(run)
        names = {
            "embeddings_npy": EMBEDDINGS,
            "embeddings_f16": HALF,
            "embeddings_npz": COMPRESSED,
            "records": RECORDS,
            "rejected": REJECTED,
            "manifest": MANIFEST,
        }
        files = {key: found.folder / name for key, name in names.items() if (found.folder / name).is_file()}
        if any(key.startswith("embeddings") for key in files):
            files = {"embeddings": found.vectors().path, **files}
        return files

    def load_embeddings(self, run: Path | str | RunInfo, mmap: bool = True) -> FloatArray:
        """Return the vectors of a run, float32, shape (n, d); memory-mapped if requested and possible."""
        return self.open_run(run).load_embeddings(mmap)

    def load_records(self, run: Path | str | RunInfo, columns: list[str] | None = None):  # type: ignore[no-untyped-def]
        """Return the records of a run as a ``pyarrow.Table``, row i for vector i; ``columns`` None takes all."""
        return self.open_run(run).load_records(columns)

    def open_reference(self, reference: str | None = None) -> Reference:
        """Open a reference: a folder, the name of a build, or None for the reference of the workspace.

        Raises:
            StoreError: The reference does not exist, or is damaged.
        """
        return open_reference(*layout.find_reference(self.workspace, reference))

    def consolidate(
        self,
        *,
        runs_root: Path | str | None = None,
        output: Path | str | None = None,
        incremental: bool = False,
        version: str | None = None,
        index: str = "auto",
        drop_missing: bool = False,
        compress: bool = False,
        calibrate: bool = True,
    ) -> Consolidation:
        """Build a reference from the runs, as 'ednabed consolidate' does; progress is shown on a terminal only.

        Args:
            runs_root: Folder of the runs; None takes the runs of the workspace.
            output: Folder of the reference, relative to the workspace; None takes ``data/reference``.
            incremental: Add the new runs to the current build; False builds from scratch.
            version: Take only the runs of this version, and assume it for folders of older tools.
            index: ``auto``, ``flat`` or ``ivf``.
            drop_missing: Whether a build from scratch may lose runs of the current build.
            compress: Compress the runs (lossless) after the reference has been verified, and delete the originals.
            calibrate: Calibrate the reference, which takes some minutes; the result states why this is not possible.

        Returns:
            The build with the runs that were added and refused, the compressed runs, and the state of calibration.

        Raises:
            StoreError: There is no usable run, the runs have several functions, or runs of the current build would be
                lost without ``drop_missing``.
            UsageError: The version is not registered, or the index is unknown.
        """
        root = None if runs_root is None else Path(runs_root)
        request = BuildRequest(
            self.workspace, root, None if output is None else Path(output), incremental=incremental, version=version,
            index=index, drop_missing=drop_missing,
        )  # fmt: skip
        done = consolidate(request, compress=compress, calibrate=calibrate, show_progress=None)
        for folder, reason in {**done.build.refused, **done.not_compressed}.items():
            log.warning("%s: %s", folder, reason)
        if done.calibration.state == "none":
            log.warning("%s is not calibrated: %s", done.build.folder, done.calibration.reason)
        return done

    def search_across_embeddings(
        self, query_run: Path | str | RunInfo, query_seq_idx: int, top_k: int = 10, exclude_same_run: bool = True
    ) -> list[dict[str, Any]]:
        """Return the sequences most similar to a record of a run, from all runs of the same function.

        The search uses the reference of the workspace if it contains all of these runs (hits may then also be in runs
        that have been removed since), else it is an exact search over the runs.

        Args:
            query_run: ``dataset/run``, a dataset (its newest run), or a folder.
            query_seq_idx: Number of the record in the run, from 0.
            top_k: Maximum hits.
            exclude_same_run: Exclude the records of the query's run.

        Returns:
            Hits as dicts with the keys of ``Hit``, and the key ``path`` (the folder of the run).

        Raises:
            StoreError: The run or record does not exist, or the function of the run is unknown.
            UsageError: ``top_k`` is below 1.
        """
        found = self._searcher.similar_in_runs(
            self.open_run(query_run), query_seq_idx, top_k, exclude_same_run=exclude_same_run
        )
        return [{**hit.to_dict(), "path": folder} for hit, folder in found]

    def search(
        self,
        *,
        run: Path | str | None = None,
        seq_idx: int | None = None,
        record_id: str | None = None,
        sequence: str | None = None,
        files: Sequence[Path | str] = (),
        reference: str | None = None,
        model: str | None = None,
        options: SearchOptions | None = None,
        assignments: str | None = None,
    ) -> tuple[Collection, Iterator[Answer]]:
        """Search a reference, or the runs themselves if the workspace has no reference.

        Args:
            run: Run that contains the query (with ``seq_idx`` or ``record_id``), or whose function embeds it.
            seq_idx: Query: number of the record in the run, from 0.
            record_id: Query: id of a record, in ``run`` or, without one, in the searched collection.
            sequence: Query: bases.
            files: Queries: sequence files.
            reference: A folder or the name of a build; None takes the reference of the workspace.
            model: Name or folder of the model that embeds queries; None takes its name in the reference.
            options: Search options; None takes the defaults.
            assignments: Source of names for hits without a lineage of their own, see ``names.find_assignments``.

        Returns:
            The searched collection, and an iterator over the queries with their hits (dicts with the keys of ``Hit``).

        Raises:
            UsageError: Not exactly one query is given.
            InputError: The assignments do not exist.
            StoreError: A run, record or reference does not exist, or query and reference have different functions.
            ModelError: The model that embeds queries is not available.
        """
        collection, answers = self._searcher.search(
            QueryInput(None if run is None else _name_of(run), seq_idx, record_id, sequence, files),
            reference=reference,
            model=model,
            options=options,
            assignments=assignments,
        )
        return collection, _as_dicts(answers)

    def search_table(
        self,
        database: Database,
        *,
        run: Path | str | None = None,
        seq_idx: int | None = None,
        record_id: str | None = None,
        sequence: str | None = None,
        files: Sequence[Path | str] = (),
        vector_column: str = "vector",
        model: str | None = None,
        options: SearchOptions | None = None,
    ) -> tuple[list[str], Iterator[Answer]]:
        """Search a LanceDB table, with the parameters of ``search``; ``record_id`` without ``run`` is the id of a row.

        Returns:
            Notices, complete when the iterator has ended, and an iterator over the queries with their hits.

        Raises:
            UsageError: Not exactly one query is given, an option does not apply to tables, or the filter is not valid.
            StoreError: The table has vectors of several or of unknown functions, or of another function than the query.
        """
        notices, answers = self._searcher.search_table(
            database,
            QueryInput(None if run is None else _name_of(run), seq_idx, record_id, sequence, files),
            vector_column=vector_column,
            model=model,
            options=options,
        )
        return notices, _as_dicts(answers)

    def collection(self, reference: str | None = None, source: Source | None = None) -> Collection:
        """Return the collection to search: a reference, or the runs of the workspace if it has no reference.

        Args:
            reference: A folder or the name of a build; None takes the reference of the workspace.
            source: Run that determines the function if there is no reference; None: all runs must have one function.

        Raises:
            StoreError: The reference does not exist, no run can be searched, or the runs have several functions.
        """
        return self._searcher.collection(reference, source)

    def loose_runs(self, runs: Sequence[Path | str | RunInfo]) -> LooseRuns:
        """Return runs as one collection, whether a reference contains them or not.

        Args:
            runs: Each ``dataset/run``, a dataset (its newest run), a folder, or an entry of ``list_runs``;
                duplicates count once.

        Raises:
            StoreError: A run does not exist, is damaged or of an unknown function, or the runs have several functions.
            UsageError: No run was given.
        """
        sources = {source.identity: source for source in (usable_source(self.workspace, _name_of(run)) for run in runs)}
        if not sources:
            raise UsageError("give at least one run; 'ednabed runs list' lists them")
        return LooseRuns(list(sources.values()))

    def storage(self, measure: bool = True) -> dict[str, Any]:
        """Return sizes in bytes.

        Args:
            measure: Also estimate the savings of compression, which takes up to half a second per run.

        Returns:
            Keys: ``runs`` (a list, largest first: run, bytes, form; for uncompressed runs also
            ``saved_lossless``, measured on pieces of the file, and ``saved_float16``), ``runs_bytes``, ``references``
            (folder to bytes) and ``table_bytes``.
        """
        return storage(self.workspace, measure=measure)


def get_data_manager(workspace: Path | str | None = None) -> DataManager:
    """Return the ``DataManager`` of a workspace."""
    return DataManager(workspace)


def _name_of(run: Path | str | RunInfo) -> str:
    """Return the name or folder by which ``find_run`` finds a run."""
    return str(run.path.resolve() if isinstance(run, RunInfo) else run)


def _as_dicts(answers: Iterator[tuple[Query, list[Hit]]]) -> Iterator[Answer]:
    return ((query, [hit.to_dict() for hit in hits]) for query, hits in answers)
