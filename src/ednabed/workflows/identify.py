"""Classification and calibration for scripts and commands: a reference combined with its model and calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from threadpoolctl import threadpool_limits

from ednabed.base.version import __version__
from ednabed.engine.progress import progress_bar
from ednabed.engine.threads import cores
from ednabed.errors import EdnabedError, StoreError
from ednabed.export.assignments import AssignmentWriter
from ednabed.export.sample_table import SampleTable
from ednabed.reference import layout
from ednabed.reference.opened import Reference, open_reference
from ednabed.search.queries import Query, QueryBatch, by_files, embedder_for
from ednabed.store.assignment import Assignment
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import QUERIES, calibrate
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.classify import Classified, Classifier
from ednabed.taxonomy.labels import read_row_labels
from ednabed.taxonomy.situations import KNOWN, SITUATIONS


def calibrate_reference(
    workspace: Path,
    reference: str | None = None,
    *,
    model: str | None = None,
    seed: int = 0,
    queries: int = QUERIES,
    known: float = KNOWN,
    threads: int | None = None,
    show_progress: bool | None = False,
) -> tuple[Reference, Calibration, str | None]:
    """Calibrate a reference and store the calibration next to its build.

    Args:
        workspace: Folder that contains ``data``.
        reference: Folder of a reference, or name of a build; None takes the reference of the workspace.
        model: Name or folder of its model; None takes the name in the reference.
        seed: Random seed of the draws.
        queries: Maximum draws per marker.
        known: Assumed share of queries whose species is in the reference.
        threads: Number of threads; None takes all cores.
        show_progress: True counts the finished draws on standard error, None only on a terminal.

    Returns:
        The reference, the calibration, and why it used only full-length sequences (the model is not available), or
        None.

    Raises:
        StoreError: The reference does not exist, has no or too few labels, or was removed or replaced by another build
            meanwhile.
    """
    folder, name = layout.find_reference(workspace, reference)
    opened = open_reference(folder, name)
    # Check the labels before loading a model, which may take long.
    read_row_labels(opened)
    lacking = None
    try:
        embedder = embedder_for(opened.spec, opened.name, model)
    except EdnabedError as error:
        if model is not None:
            raise
        embedder, lacking = None, str(error)
    threads = cores() if threads is None else threads
    with _reporting_replaced_build(opened, name):
        with threadpool_limits(threads):
            found = calibrate(
                opened, embedder, seed=seed, queries=queries, known=known, threads=threads, show_progress=show_progress
            )
        _check_build(opened, name)
        found.write(opened.build)
    return opened, found, lacking


@contextmanager
def _reporting_replaced_build(opened: Reference, name: str | None) -> Iterator[None]:
    """Replace errors by a clear one if the build was removed or replaced meanwhile."""
    try:
        yield
    except (OSError, StoreError):
        _check_build(opened, name)
        raise


def _check_build(opened: Reference, name: str | None) -> None:
    """Raise StoreError unless the reference, or the name of a build, still refers to the build that was opened."""
    try:
        now = layout.open_manifest(opened.folder, name).build
    except StoreError:
        now = None
    if now == opened.manifest.build and opened.build.is_dir():
        return
    became = "removed" if now in (None, opened.manifest.build) else f"replaced by build {now}"
    raise StoreError(
        f"{opened.name} was calibrated on build {opened.manifest.build}, which was {became} meanwhile, so nothing was "
        "kept; run 'ednabed reference calibrate' again"
    )


def open_classifier(
    workspace: Path,
    reference: str | None = None,
    *,
    model: str | None = None,
    criteria: Criteria | None = None,
    align: bool = True,
    threads: int | None = None,
) -> Classifier:
    """Open a reference for classification.

    Args:
        workspace: Folder that contains ``data``.
        reference: Folder of a reference, or name of a build; None takes the reference of the workspace.
        model: Name or folder of its model; None takes the name in the reference.
        criteria: Criteria for names; None takes ``Criteria()``.
        align: Compare bases; False classifies by vectors alone.
        threads: Number of threads that compare bases; None takes all cores.

    Raises:
        StoreError: The reference does not exist, has no labels, or is damaged.
        ModelError: The weights are not available.
        UsageError: ``align`` is False, and the reference is not calibrated.
    """
    opened = open_reference(*layout.find_reference(workspace, reference))
    calibration = Calibration.read(opened.build, opened.manifest.build)
    embedder = embedder_for(opened.spec, opened.name, model)
    return Classifier(
        opened,
        embedder,
        calibration,
        Criteria() if criteria is None else criteria,
        align=align,
        threads=cores() if threads is None else threads,
    )


def classify_files(
    classifier: Classifier,
    paths: Sequence[Path],
    threads: int | None = None,
    *,
    samples: SampleTable | None = None,
    show_progress: bool | None = False,
) -> Iterator[Classified]:
    """Classify the records of sequence files; yield them in the order of the input.

    Args:
        classifier: See ``open_classifier``.
        paths: The files; ``-`` is standard input.
        threads: Number of threads for matrix products; None takes all cores.
        samples: Table to which the reads of each query are added; if several files are read, a record without a sample
            gets that of its file, see ``file_samples``. None for no table.
        show_progress: True counts the finished queries on standard error, None only on a terminal.

    Raises:
        InputError: A file cannot be read, or contains no record; or no record is in the count table of ``samples``.
    """
    files = file_samples(paths)
    batches = by_files(classifier.embedder, paths)
    for found in classify_batches(classifier, batches, threads, None, "query", show_progress):
        if samples is not None:
            samples.add(found.assignment, sample_of(found.query, files), found.query.abundance)
        yield found
    if samples is not None:
        samples.check()


def classify_batches(
    classifier: Classifier,
    batches: Iterable[QueryBatch],
    threads: int | None,
    total: int | None,
    unit: str,
    show_progress: bool | None,
) -> Iterator[Classified]:
    """Classify queries with a progress bar, and then yield them in their order.

    Args:
        classifier: See ``open_classifier``.
        batches: The queries.
        threads: Number of threads for matrix products; None takes all cores.
        total: Number of queries; None if unknown.
        unit: The word for one query.
        show_progress: See ``classify_files``.
    """
    with (
        threadpool_limits(cores() if threads is None else threads),
        progress_bar(total, show=show_progress, doing="classifying", unit=unit) as bar,
    ):
        found = classifier.run(batches, bar.update)
        first = next(found, None)
    if first is not None:
        yield first
        yield from found


class Tally:
    """Counts classified queries.

    Args:
        on_rejected: Called with the assignment of each query that could not be looked up; None for no calls.

    Attributes:
        statuses: Number of queries by status.
        reversed: Number of queries on the opposite strand to the reference.
        unrelated: Number of queries without a related sequence in the reference.
    """

    def __init__(self, on_rejected: Callable[[Assignment], object] | None = None) -> None:
        self.statuses: Counter[str] = Counter()
        self.reversed = self.unrelated = 0
        self._on_rejected = on_rejected

    def add(self, found: Classified) -> None:
        """Count a query."""
        assignment = found.assignment
        self.statuses[assignment.status] += 1
        self.reversed += assignment.strand == "-"
        self.unrelated += assignment.status == "unclassified" and not any(assignment.names)
        if assignment.status == "rejected" and self._on_rejected is not None:
            self._on_rejected(assignment)

    def each(self, answers: Iterable[Classified]) -> Iterator[Assignment]:
        """Count classified queries, and yield their assignments."""
        for found in answers:
            self.add(found)
            yield found.assignment


def write_assignments(assignments: Iterable[Assignment], target: Path | TextIO | None, format: str) -> None:
    """Write assignments as they arrive.

    Args:
        assignments: The assignments; read to the end even if they are not written.
        target: See ``AssignmentWriter``; None writes nothing.
        format: One of ``export.assignments.FORMATS``.
    """
    if target is None:
        for _ in assignments:
            pass
        return
    with AssignmentWriter(target, format) as writer:
        for one in assignments:
            writer.write(one)


def about(classifier: Classifier, statuses: Mapping[str, int], *, align: bool = True) -> dict[str, Any]:
    """Return how queries were classified, as plain JSON values.

    ``schema``; ``reference``, ``build``, ``model``, ``fingerprint``; ``calibrated`` (time, null if not calibrated) and
    ``calibration_schema``; ``criteria``; ``shares``, by marker, see ``shares_json``; ``unreached``, by marker the ranks
    at which the requested precision was not reached; ``statuses``, queries by status; ``software``.

    Args:
        classifier: The classifier, after its run.
        statuses: Number of queries by status.
        align: Whether bases were compared.
    """
    reference, calibration = classifier.collection, classifier.calibration
    return {
        "schema": "ednabed.classification/1",
        "reference": reference.name,
        "build": reference.manifest.build if isinstance(reference, Reference) else None,
        "model": reference.spec.model,
        "fingerprint": reference.spec.fingerprint,
        "calibrated": None if calibration is None else calibration.created,
        "calibration_schema": None if calibration is None else calibration.schema,
        "criteria": {**asdict(classifier.criteria), "align": align},
        "shares": shares_json(classifier),
        "unreached": classifier.unreached,
        "statuses": dict(statuses),
        "software": {"ednabed": __version__},
    }


def shares_json(classifier: Classifier) -> dict[str, Any]:
    """Return the shares of known species among the queries of the last run, by marker (empty if unknown).

    ``known``, the share; ``source`` (``estimated``, ``fixed`` or ``default``); ``queries``, the number of distinct
    queries; and ``lacking``, the shares of queries for which the reference lacks nothing, the sequence, the species,
    the genus, the family, or the order.
    """
    return {
        marker: {
            "known": round(shares.known, 4),
            "source": shares.source,
            "queries": shares.queries,
            "lacking": {name: round(share, 4) for name, share in zip(SITUATIONS, shares.shares, strict=True)},
        }
        for marker, shares in classifier.shares.items()
    }


def file_samples(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the sample name for each of several files, for records without a sample; empty for a single file.

    The sample name is the file name without extensions; if several files share it, the folder is prepended
    (``p1/reads``), and if that is also shared, the complete path is used.

    Args:
        paths: The input files.

    Returns:
        A mapping of path, as given, to sample.
    """
    if len(paths) < 2:
        return {}
    stems = {path: Path(path.name.removesuffix(".gz").removesuffix(".zst")).stem for path in paths}
    longer = {path: f"{path.resolve().parent.name}/{stem}" for path, stem in stems.items()}
    of_stem, of_longer = Counter(stems.values()), Counter(longer.values())
    return {
        path: stem if of_stem[stem] == 1 else longer[path] if of_longer[longer[path]] == 1 else path.as_posix()
        for path, stem in stems.items()
    }


def sample_of(query: Query, files: Mapping[Path, str]) -> str | None:
    """Return the sample of a query: the sample of its record, else that of its file, else None.

    Args:
        query: A record of a file.
        files: See ``file_samples``.
    """
    if query.sample is not None or query.file is None:
        return query.sample
    return files.get(query.file)
