"""``DataManager``: the runs, versions and references of a workspace, for scripts, the command line and the dashboard.

A facade over the other packages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ednabed.api.inventory import RunInfo, fault_of, run_infos, storage
from ednabed.api.names import AssignmentSource, HitLineages, assignments_state, find_assignments
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import FloatArray
from ednabed.models.spec import Spec
from ednabed.reference import layout
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.manifest import METADATA
from ednabed.reference.opened import Reference, open_reference
from ednabed.reference.sources import Source, find_sources, one_function, source_of
from ednabed.search.hits import Search, SearchOptions
from ednabed.search.queries import Query, QueryBatch, by_files, by_id, by_run, by_sequence, embedder_for
from ednabed.search.tables import TableSearch, by_row_id
from ednabed.store.defaults import workspace_folder
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS, REJECTED, Run, find_run, runs_root
from ednabed.store.vectors import COMPRESSED, EMBEDDINGS, HALF
from ednabed.tables.table import Database, VectorColumns

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
        self._reported: set[tuple[str, str]] = set()
        self._opened: tuple[list[tuple[str, Path]], LooseRuns] | None = None
        self._assignments: tuple[tuple[str, ...], AssignmentSource] | None = None

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
        return find_run(self.workspace, str(run.path.resolve() if isinstance(run, RunInfo) else run))

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
            Hits as returned by ``Search.run``, with the additional key ``path`` (the folder of the run).

        Raises:
            StoreError: The run or record does not exist, or the function of the run is unknown.
            UsageError: ``top_k`` is below 1.
        """
        run = self.open_run(query_run)
        query = self._source(run)
        batch = by_run(run, (query.dataset, query.run_id), query_seq_idx, None)
        options = SearchOptions(k=top_k)
        sources, unusable = self._sources(query.spec)
        if not exclude_same_run and query.identity not in {source.identity for source in sources}:
            sources.append(query)
        if not sources:
            return []
        reference = self._covering(sources)
        # A run may have been moved since it was added to the reference, which knows it by its old name and folder.
        folders = {source.folder: source.run.folder for source in sources}
        labels = {source.identity: source.label for source in sources}
        if reference is not None:
            now = {source.identity: source.run.folder for source in sources}
            parts = reference.manifest.runs
            folders = {part.folder: now.get(part.identity, self.workspace / part.folder) for part in parts}
            labels = {part.identity: part.label for part in parts}
        if exclude_same_run and query.identity in labels:
            options = replace(options, exclude_runs=(labels[query.identity],))
        _, hits = next(Search(reference or self._loose(sources, unusable), options).run(batch))
        return [{**hit, "path": folders[hit["source_file"].rpartition("/")[0]]} for hit in hits]

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
            The searched collection, and an iterator over the queries with their hits (``Search.run``).

        Raises:
            UsageError: Not exactly one query is given.
            InputError: The assignments do not exist.
            StoreError: A run, record or reference does not exist, or query and reference have different functions.
            ModelError: The model that embeds queries is not available.
        """
        _one_query(seq_idx, record_id, sequence, files, run)
        source = None if run is None else self._source(self.open_run(run))
        collection = self.collection(reference, source)
        if source is not None:
            _same_function(source, collection.spec, collection.name)
        names = self._assignments_of(collection, assignments)
        lineages = HitLineages(collection, names) if names else None
        search = Search(collection, options or SearchOptions(), lineages)
        return collection, self._answers(search, source, seq_idx, record_id, sequence, files, model)

    def _answers(
        self,
        search: Search,
        source: Source | None,
        seq_idx: int | None,
        record_id: str | None,
        sequence: str | None,
        files: Sequence[Path | str],
        model: str | None,
    ) -> Iterator[Answer]:
        collection = search.collection
        batches: Iterator[QueryBatch]
        if source is not None and (seq_idx is not None or record_id is not None):
            batches = iter([by_run(source.run, (source.dataset, source.run_id), seq_idx, record_id)])
        elif record_id is not None:
            batches = iter([by_id(collection, record_id)])
        elif sequence is not None:
            batches = iter([by_sequence(embedder_for(collection.spec, collection.name, model), sequence)])
        else:
            embedder = embedder_for(collection.spec, collection.name, model)
            batches = by_files(embedder, [Path(path) for path in files])
        for batch in batches:
            yield from search.run(batch)

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
            UsageError: Not exactly one query is given, or an option does not apply to tables.
            StoreError: The table has vectors of several or of unknown functions, or of another function than the query.
        """
        _one_query(seq_idx, record_id, sequence, files, run)
        table = database.open(VectorColumns(vector_column))
        search = TableSearch(table, options or SearchOptions())
        batches: Iterator[QueryBatch]
        if run is not None and (seq_idx is not None or record_id is not None):
            source = self._source(self.open_run(run))
            _same_function(source, search.spec, database.address)
            batches = iter([by_run(source.run, (source.dataset, source.run_id), seq_idx, record_id)])
        elif record_id is not None:
            batches = iter([by_row_id(table, record_id)])
        else:
            embedder = embedder_for(search.spec, database.address, model)
            if sequence is not None:
                batches = iter([by_sequence(embedder, sequence)])
            else:
                batches = by_files(embedder, [Path(path) for path in files])
        return search.notices, chain.from_iterable(map(search.run, batches))

    def collection(self, reference: str | None = None, source: Source | None = None) -> Collection:
        """Return the collection to search: a reference, or the runs of the workspace if it has no reference.

        Args:
            reference: A folder or the name of a build; None takes the reference of the workspace.
            source: Run that determines the function if there is no reference; None: all runs must have one function.
        """
        if reference is not None or (layout.default_folder(self.workspace) / METADATA).exists():
            return self.open_reference(reference)
        sources, unusable = self._sources(None if source is None else source.spec)
        if source is not None and source.identity not in {usable.identity for usable in sources}:
            sources.append(source)
        if not sources:
            raise StoreError(
                f"{self.runs_root} contains no run that can be searched; 'ednabed embed FILE' creates a run, "
                "'ednabed consolidate' a reference"
            )
        one_function(
            sources, None, "give a run of the intended function as `run`, or build a reference for each function"
        )
        return self._loose(sources, unusable)

    def loose_runs(self, runs: Sequence[Path | str | RunInfo]) -> LooseRuns:
        """Return runs as one collection, whether a reference contains them or not.

        Args:
            runs: Each ``dataset/run``, a dataset (its newest run), a folder, or an entry of ``list_runs``;
                duplicates count once.

        Raises:
            StoreError: A run does not exist, is damaged or of an unknown function, or the runs have several functions.
        """
        sources = {source.identity: source for source in (self._source(self.open_run(run)) for run in runs)}
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

    def _sources(self, spec: Spec | None) -> tuple[list[Source], dict[str, str]]:
        """Return the usable runs of the workspace (of one function if given), and the faults of the others."""
        found = find_sources(self.runs_root, self.workspace)
        sources = []
        unusable = {**found.refused, **found.left_out}
        for source in found.sources:
            if spec is None or source.spec.fingerprint == spec.fingerprint:
                fault = fault_of(source.run, source.spec)
                if fault is None:
                    sources.append(source)
                else:
                    unusable[source.folder] = fault
        return sources, unusable

    def _loose(self, sources: Sequence[Source], unusable: Mapping[str, str]) -> LooseRuns:
        """Return runs as one collection, and warn once about other runs that cannot be searched."""
        for fault in unusable.items():
            if fault not in self._reported:
                self._reported.add(fault)
                log.warning("not searched: %s: %s", *fault)
        key = [(source.identity, source.run.vectors().path) for source in sources]
        last = self._opened
        if last is None or last[0] != key:
            last = self._opened = key, LooseRuns(sources)
        return last[1]

    def _assignments_of(self, collection: Collection, assignments: str | None) -> AssignmentSource:
        """Return the requested assignments, read again only if their files have changed since the last search."""
        state = assignments_state(collection, self.workspace, assignments)
        last = self._assignments
        if last is None or last[0] != state:
            last = self._assignments = state, find_assignments(collection, self.workspace, assignments)
        return last[1]

    def _source(self, run: Run) -> Source:
        """Return a run as a source, even if it is outside the folder of runs.

        Raises:
            StoreError: The run is damaged, or its function is unknown.
        """
        source = source_of(run, self.runs_root, self.workspace)
        fault = fault_of(run, source.spec)
        if fault is not None:
            raise StoreError(fault)
        return source

    def _covering(self, sources: Sequence[Source]) -> Reference | None:
        """Return the reference of the workspace if it contains all these runs, else None."""
        if not sources or not (layout.default_folder(self.workspace) / METADATA).exists():
            return None
        reference = self.open_reference()
        known = {part.identity for part in reference.manifest.runs}
        if any(source.identity not in known for source in sources):
            return None
        return reference


def get_data_manager(workspace: Path | str | None = None) -> DataManager:
    """Return the ``DataManager`` of a workspace."""
    return DataManager(workspace)


def _one_query(
    seq_idx: int | None,
    record_id: str | None,
    sequence: str | None,
    files: Sequence[Path | str],
    run: Path | str | None,
) -> None:
    """Raise UsageError unless exactly one query is given."""
    if sum([seq_idx is not None, record_id is not None, sequence is not None, bool(files)]) != 1:
        raise UsageError("give exactly one query: `run` with `seq_idx`, `record_id`, `sequence` or `files`")
    if seq_idx is not None and run is None:
        raise UsageError("`seq_idx` counts the records of a run; give that run as `run`")


def _same_function(source: Source, spec: Spec, what: str) -> None:
    """Raise StoreError unless a run and the searched collection have the same function."""
    if source.spec.fingerprint != spec.fingerprint:
        raise StoreError(
            f"{source.label} was computed by {source.spec.model} ({source.spec.fingerprint[:12]}), {what} by "
            f"{spec.model} ({spec.fingerprint[:12]}): their vectors cannot be compared; search a collection of the "
            "same version"
        )
