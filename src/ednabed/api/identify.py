"""What is it, and is it new: a reference, its model and its calibration put together for scripts and commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from ednabed import __version__
from ednabed.engine.progress import progress_bar
from ednabed.engine.threads import cores
from ednabed.errors import EdnabedError, StoreError
from ednabed.reference import layout
from ednabed.reference.opened import Reference, open_reference
from ednabed.search.queries import Query, QueryBatch, by_files, embedder_for
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import QUERIES, calibrate
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.classify import Classified, Classifier
from ednabed.taxonomy.labels import read_labels
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
    """Calibrate a reference and keep what was learned beside its build.

    Args:
        workspace: Folder that holds ``data``.
        reference: Folder of a reference, or name of a build; None is the workspace's.
        model: Where its model is; None takes the name in the reference.
        seed: Seed of the draws.
        queries: Most draws a marker.
        known: Share of queries whose species is supposed to be in the reference.
        threads: Threads; None takes all cores.
        show_progress: True counts the draws answered on standard error, None on a terminal only.

    Returns:
        The reference, what was learned, and why it is on whole sequences only (the model is not here); else None.

    Raises:
        StoreError: There is no reference, it has no labels, or too few to learn from; or meanwhile it was removed or
            got another build.
    """
    folder, name = layout.find_reference(workspace, reference)
    opened = open_reference(folder, name)
    # Before a model is loaded, which may take long: without labels it is not needed.
    read_labels(opened)
    lacking = None
    try:
        embedder = embedder_for(opened.spec, opened.name, model)
    except EdnabedError as error:
        if model is not None:
            raise
        embedder, lacking = None, str(error)
    threads = cores() if threads is None else threads
    with _told_if_replaced(opened, name):
        with threadpool_limits(threads):
            found = calibrate(
                opened, embedder, seed=seed, queries=queries, known=known, threads=threads, show_progress=show_progress
            )
        _check_build(opened, name)
        found.write(opened.build)
    return opened, found, lacking


@contextmanager
def _told_if_replaced(opened: Reference, name: str | None) -> Iterator[None]:
    """Say of what fails because the build was removed that it was."""
    try:
        yield
    except (OSError, StoreError):
        _check_build(opened, name)
        raise


def _check_build(opened: Reference, name: str | None) -> None:
    """Raise StoreError unless the reference, or the name of a build, still stands for the build that was opened."""
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
    use_letters: bool = True,
    threads: int | None = None,
) -> Classifier:
    """Open a reference to classify by.

    Args:
        workspace: Folder that holds ``data``.
        reference: Folder of a reference, or name of a build; None is the workspace's.
        model: Where its model is; None takes the name in the reference.
        criteria: When a name is given; None is ``Criteria()``.
        use_letters: Compare letters; False judges by vectors alone.
        threads: Threads that compare letters; None takes all cores.

    Raises:
        StoreError: There is no reference, it has no labels, or it is damaged.
        ModelError: The weights are not here.
        UsageError: Vectors alone are to judge, and nothing is calibrated.
    """
    opened = open_reference(*layout.find_reference(workspace, reference))
    calibration = Calibration.read(opened.build, opened.manifest.build)
    embedder = embedder_for(opened.spec, opened.name, model)
    return Classifier(
        opened,
        embedder,
        calibration,
        Criteria() if criteria is None else criteria,
        use_letters=use_letters,
        threads=cores() if threads is None else threads,
    )


def classify_files(
    classifier: Classifier, paths: Sequence[Path], threads: int | None = None, *, show_progress: bool | None = False
) -> Iterator[Classified]:
    """Yield what each record of some sequence files is, in the order of the input.

    Args:
        classifier: See ``open_classifier``.
        paths: The files; ``-`` is standard input.
        threads: Threads of the matrix products; None takes all cores.
        show_progress: True counts the queries done on standard error, None on a terminal only.

    Raises:
        InputError: A file cannot be read, or holds no record.
    """
    yield from looked_up(classifier, by_files(classifier.embedder, paths), threads, None, "query", show_progress)


def looked_up(
    classifier: Classifier,
    batches: Iterable[QueryBatch],
    threads: int | None,
    total: int | None,
    unit: str,
    show_progress: bool | None,
) -> Iterator[Classified]:
    """Yield what queries are, in their order, after a progress bar of looking them up.

    Args:
        classifier: See ``open_classifier``.
        batches: The queries.
        threads: Threads of the matrix products; None takes all cores.
        total: Number of queries; None where unknown.
        unit: What one query is called.
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


def about(classifier: Classifier, statuses: Mapping[str, int], *, align: bool = True) -> dict[str, Any]:
    """Return by what and how queries were classified, as plain JSON values.

    ``schema``; ``reference``, ``build``, ``model``, ``fingerprint``; ``calibrated`` (when, null where it was not) and
    ``calibration_schema``; ``criteria``; ``shares``, by marker, see ``shares_json``; ``unreached``, by marker the ranks
    at which the precision asked for was not reached; ``statuses``, queries by status; ``software``.

    Args:
        classifier: After its run.
        statuses: Queries by status.
        align: Whether letters were compared.
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
    """Return how common known species were among the queries of the last run, by marker (empty where unknown).

    ``known``, their share; ``source`` (``estimated``, ``fixed`` or ``default``); ``queries``, distinct ones; and
    ``lacking``, the share of queries of which the reference lacks nothing, the sequence, the species, the genus, the
    family, or the order.
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
    """Return the sample that each of several files is, for records that name none; nothing where it is one file.

    It is the file's name without endings; where several files have that, with the folder before it (``p1/reads``), and
    the whole path where several have that too.

    Args:
        paths: The files, as they are read.

    Returns:
        Path, as given, to sample.
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
    """Return the sample that a query is from: what its record says, else that of its file, else None.

    Args:
        query: A record of a file.
        files: See ``file_samples``.
    """
    if query.sample is not None or query.file is None:
        return query.sample
    return files.get(query.file)
