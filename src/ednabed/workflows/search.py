"""Search in the references, runs and tables of a workspace, and write the results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TextIO

from ednabed.errors import StoreError, UsageError
from ednabed.models.spec import Spec
from ednabed.reference import layout
from ednabed.reference.collection import Collection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.manifest import METADATA
from ednabed.reference.opened import Reference, open_reference
from ednabed.reference.sources import Source, find_sources, one_function
from ednabed.search.hit import Hit
from ednabed.search.hits import Search, SearchOptions
from ednabed.search.output import HitWriter
from ednabed.search.queries import Query, QueryBatch, by_files, by_id, by_run, by_sequence, embedder_for
from ednabed.search.tables import TableSearch, by_row_id
from ednabed.store.runs import Run, runs_root
from ednabed.tables.table import Database, VectorColumns
from ednabed.workflows.inventory import fault_of, usable_source
from ednabed.workflows.names import AssignmentSource, HitLineages, assignments_state, find_assignments

log = logging.getLogger("ednabed")

Answer = tuple[Query, list[Hit]]


@dataclass(frozen=True)
class QueryInput:
    """What is searched for: exactly one of ``seq_idx`` (with ``run``), ``record_id``, ``sequence`` and ``files``.

    Attributes:
        run: Run that contains the query (with ``seq_idx`` or ``record_id``), or whose function embeds it.
        seq_idx: Number of the record in the run, from 0.
        record_id: Id of a record, in ``run`` or, without one, in the searched collection.
        sequence: Bases.
        files: Sequence files.

    Raises:
        UsageError: Not exactly one query is given.
    """

    run: Path | str | None = None
    seq_idx: int | None = None
    record_id: str | None = None
    sequence: str | None = None
    files: Sequence[Path | str] = ()

    def __post_init__(self) -> None:
        given = [self.seq_idx is not None, self.record_id is not None, self.sequence is not None, bool(self.files)]
        if sum(given) != 1:
            raise UsageError("give exactly one query: `run` with `seq_idx`, `record_id`, `sequence` or `files`")
        if self.seq_idx is not None and self.run is None:
            raise UsageError("`seq_idx` counts the records of a run; give that run as `run`")

    @property
    def is_in_run(self) -> bool:
        """Whether the query is a record of ``run``."""
        return self.run is not None and (self.seq_idx is not None or self.record_id is not None)


class Searcher:
    """Searches the references, runs and tables of a workspace; it keeps open what the last search opened.

    Args:
        workspace: Folder that contains ``consolidated_data`` and ``data``.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._runs_root = runs_root(workspace)
        self._reported: set[tuple[str, str]] = set()
        self._opened: tuple[list[tuple[str, Path]], LooseRuns] | None = None
        self._assignments: tuple[tuple[str, ...], AssignmentSource] | None = None

    def search(
        self,
        query: QueryInput,
        *,
        reference: str | None = None,
        model: str | None = None,
        options: SearchOptions | None = None,
        assignments: str | None = None,
    ) -> tuple[Collection, Iterator[Answer]]:
        """See ``DataManager.search``."""
        source = None if query.run is None else usable_source(self.workspace, str(query.run))
        collection = self.collection(reference, source)
        if source is not None:
            _same_function(source, collection.spec, collection.name)
        names = self._assignments_of(collection, assignments)
        lineages = HitLineages(collection, names) if names else None
        search = Search(collection, options or SearchOptions(), lineages)
        return collection, _answers(search, query, source, model)

    def search_table(
        self,
        database: Database,
        query: QueryInput,
        *,
        vector_column: str = "vector",
        model: str | None = None,
        options: SearchOptions | None = None,
    ) -> tuple[list[str], Iterator[Answer]]:
        """See ``DataManager.search_table``."""
        table = database.open(VectorColumns(vector_column))
        search = TableSearch(table, options or SearchOptions())
        source = None
        if query.is_in_run:
            source = usable_source(self.workspace, str(query.run))
            _same_function(source, search.spec, database.address)
        batches = _batches(
            query, source, search.spec, database.address, model, lambda record_id: by_row_id(table, record_id)
        )
        return search.notices, chain.from_iterable(map(search.run, batches))

    def similar_in_runs(self, run: Run, seq_idx: int, k: int, *, exclude_same_run: bool) -> list[tuple[Hit, Path]]:
        """See ``DataManager.search_across_embeddings``; each hit is returned with the folder of its run."""
        query = usable_source(self.workspace, run)
        batch = by_run(run, (query.dataset, query.run_id), seq_idx, None)
        options = SearchOptions(k=k)
        sources, unusable = self.sources(query.spec)
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
        _, hits = next(Search(reference or self.loose(sources, unusable), options).run(batch))
        return [(hit, folders[str(hit.source_file).rpartition("/")[0]]) for hit in hits]

    def collection(self, reference: str | None = None, source: Source | None = None) -> Collection:
        """See ``DataManager.collection``.

        Raises:
            StoreError: The reference does not exist, no run can be searched, or the runs have several functions.
        """
        if reference is not None or (layout.default_folder(self.workspace) / METADATA).exists():
            return open_reference(*layout.find_reference(self.workspace, reference))
        sources, unusable = self.sources(None if source is None else source.spec)
        if source is not None and source.identity not in {usable.identity for usable in sources}:
            sources.append(source)
        if not sources:
            raise StoreError(
                f"{self._runs_root} contains no run that can be searched; 'ednabed embed FILE' creates a run, "
                "'ednabed consolidate' a reference"
            )
        one_function(
            sources, None, "give a run of the intended function as `run`, or build a reference for each function"
        )
        return self.loose(sources, unusable)

    def sources(self, spec: Spec | None) -> tuple[list[Source], dict[str, str]]:
        """Return the usable runs of the workspace (of one function if given), and the faults of the others."""
        found = find_sources(self._runs_root, self.workspace)
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

    def loose(self, sources: Sequence[Source], unusable: Mapping[str, str]) -> LooseRuns:
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

    def _covering(self, sources: Sequence[Source]) -> Reference | None:
        """Return the reference of the workspace if it contains all these runs, else None."""
        if not sources or not (layout.default_folder(self.workspace) / METADATA).exists():
            return None
        reference = open_reference(*layout.find_reference(self.workspace, None))
        known = {part.identity for part in reference.manifest.runs}
        if any(source.identity not in known for source in sources):
            return None
        return reference


def _answers(search: Search, query: QueryInput, source: Source | None, model: str | None) -> Iterator[Answer]:
    collection = search.collection
    batches = _batches(
        query, source, collection.spec, collection.name, model, lambda record_id: by_id(collection, record_id)
    )
    for batch in batches:
        yield from search.run(batch)


def _batches(
    query: QueryInput,
    source: Source | None,
    spec: Spec,
    name: str,
    model: str | None,
    with_id: Callable[[str], QueryBatch],
) -> Iterator[QueryBatch]:
    """Return the queries in batches.

    Args:
        query: The query or queries.
        source: Their run, if one is given.
        spec: The function of what is searched.
        name: The name of what is searched.
        model: See ``Searcher.search``.
        with_id: Returns the record with an id of what is searched.
    """
    if source is not None and query.is_in_run:
        return iter([by_run(source.run, (source.dataset, source.run_id), query.seq_idx, query.record_id)])
    if query.record_id is not None:
        return iter([with_id(query.record_id)])
    embedder = embedder_for(spec, name, model)
    if query.sequence is not None:
        return iter([by_sequence(embedder, query.sequence)])
    return by_files(embedder, [Path(path) for path in query.files])


def _same_function(source: Source, spec: Spec, what: str) -> None:
    """Raise StoreError unless a run and the searched collection have the same function."""
    if source.spec.fingerprint != spec.fingerprint:
        raise StoreError(
            f"{source.label} was computed by {source.spec.model} ({source.spec.fingerprint[:12]}), {what} by "
            f"{spec.model} ({spec.fingerprint[:12]}): their vectors cannot be compared; search a collection of the "
            "same version"
        )


@dataclass
class SearchReport:
    """What was written by ``write_answers``.

    Attributes:
        without_hits: Number of queries that were searched and have no hit.
        assigned: Number of hits whose lineage is that of an assignment.
        unnamed: Number of hits without a lineage.
    """

    without_hits: int = 0
    assigned: int = 0
    unnamed: int = 0


def write_answers(
    answers: Iterator[Answer],
    target: Path | TextIO,
    format: str,
    *,
    single: bool,
    aligned: bool,
    on_rejected: Callable[[Query], None],
) -> SearchReport:
    """Write queries with their hits as they are found.

    Args:
        answers: The queries with their hits.
        target: See ``HitWriter``, as for the next three.
        format: One of ``output.FORMATS``.
        single: There is exactly one query.
        aligned: The alignments are written.
        on_rejected: Called with each query that could not be searched.
    """
    report = SearchReport()
    # Errors that concern the search as a whole are raised before any file or folder is created.
    first = next(answers, None)
    with HitWriter(target, format, single=single, aligned=aligned) as writer:
        for query, hits in chain([] if first is None else [first], answers):
            writer.write(query.info, hits)
            if "rejected" in query.info:
                on_rejected(query)
                continue
            report.without_hits += not hits
            report.assigned += sum(hit.lineage_from == "assignment" for hit in hits)
            report.unnamed += sum(hit.lineage is None for hit in hits)
    return report
