"""Classify the sequences of runs by their stored vectors, and keep the results next to the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.base.arrays import FloatArray
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError
from ednabed.export.features import Feature, features, sample_names
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.sample_table import SampleTable
from ednabed.export.selection import Selection
from ednabed.reference.loose import LooseRuns
from ednabed.reference.opened import Reference
from ednabed.reference.sources import shown_path
from ednabed.search.queries import Query, QueryBatch
from ednabed.store.assignment import Assignment
from ednabed.store.assignments import COLUMNS, ClassifiedBy, KeptFile, check_writable, keep
from ednabed.taxonomy.classify import Classified, Classifier
from ednabed.workflows.identify import classify_batches, shares_json

# Number of distinct sequences that are classified at a time.
_BATCH = 4_096


def embeds_again(classifier: Classifier, runs: LooseRuns) -> bool:
    """Return whether sequences of runs must be embedded again, because the reference has another function."""
    return runs.spec.fingerprint != classifier.collection.spec.fingerprint


def classify_runs(
    classifier: Classifier,
    runs: LooseRuns,
    keeper: Keeper,
    *,
    samples: SampleTable | None = None,
    threads: int | None = None,
    show_progress: bool | None = False,
) -> Iterator[Classified]:
    """Classify each distinct sequence of runs; yield them in the order of an export of these runs.

    The vectors of the runs are used if the reference has the same function. Otherwise the stored bases are embedded by
    the function of the reference; the runs do not change.

    Args:
        classifier: See ``identify.open_classifier``.
        runs: The runs.
        keeper: Gets each assignment.
        samples: Table to which the reads of each sequence are added; None for none.
        threads: Number of threads for matrix products; None takes all cores.
        show_progress: True counts the finished sequences on standard error, None only on a terminal.

    Raises:
        StoreError: A run was created by an older tool, which did not store bases.
    """
    for source in runs.sources:
        if source.run.manifest is None:
            raise StoreError(
                f"{source.run.folder} was created by an older tool, which stored vectors without bases, so its "
                "sequences cannot be compared with a reference; embed the input again"
            )
    ids = FeatureIds(Selection(runs))
    engine = Engine(classifier.embedder) if embeds_again(classifier, runs) else None
    batches = (_batch(runs, chunk, vectors, norms, engine) for chunk, vectors, norms in _chunks(runs, ids))
    answers = classify_batches(classifier, batches, threads, runs.rows, "sequence", show_progress)
    names = {} if samples is None else sample_names(Selection(runs).samples())
    # The sequences are read a second time instead of being kept in memory.
    for chunk, _, _ in _chunks(runs, ids):
        for feature in chunk:
            found = next(answers)
            keeper.add(feature, found.assignment)
            if samples is not None:
                reads: dict[str | None, int] = {names[sample]: count for sample, count in feature.counts.items()}
                samples.add_feature(found.assignment, reads, uncounted=bool(feature.unknown))
            yield found


def _chunks(runs: LooseRuns, ids: FeatureIds) -> Iterator[tuple[list[Feature], FloatArray, FloatArray]]:
    """Yield the distinct sequences of runs in chunks, with their vectors and the norms of these."""
    for rows, vectors, norms in runs.blocks():
        for first in range(0, len(rows), _BATCH):
            part = slice(first, first + _BATCH)
            yield list(features(Selection(runs, rows[part]), Namer(), ids)), vectors[part], norms[part]


def _batch(
    runs: LooseRuns, chunk: Sequence[Feature], vectors: FloatArray, norms: FloatArray, engine: Engine | None
) -> QueryBatch:
    refused: dict[int, str] = {}
    if engine is not None:
        vectors, refused = engine.embed([(feature.sequence or "").encode() for feature in chunk])
    else:
        bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0)).tolist()
        refused = dict.fromkeys(bad, "its vector in the run is all zeros or not finite")
    keys = runs.keys
    queries = [
        Query(
            {"id": feature.id, **({"rejected": refused[i]} if i in refused else {})},
            int(keys[feature.row]),
            feature.sequence,
        )
        for i, feature in enumerate(chunk)
    ]
    accepted = [i for i in range(len(chunk)) if i not in refused]
    return QueryBatch(queries, accepted, vectors[accepted])


class Keeper:
    """Collects the assignments of the sequences of runs, to keep them next to each of these runs.

    Args:
        classifier: The classifier; its collection is a reference.
        runs: The runs.
        workspace: The folder of the reference is stored relative to this folder if it is inside it.
        align: Whether bases are compared.

    Raises:
        StoreError: The folder of a run is not writable.
    """

    def __init__(self, classifier: Classifier, runs: LooseRuns, workspace: Path, *, align: bool = True) -> None:
        for source in runs.sources:
            check_writable(source.run)
        self._classifier = classifier
        self._runs = runs
        self._workspace = workspace
        self._criteria = {**asdict(classifier.criteria), "align": align}
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []

    def add(self, feature: Feature, assignment: Assignment) -> None:
        """Add the assignment of one sequence."""
        row = assignment.to_dict()
        del row["id"]
        self._rows.append({"digest": feature.digest, **row})
        if len(self._rows) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._tables.append(pa.Table.from_pylist(self._rows, COLUMNS))
        self._rows = []

    def keep(self) -> list[KeptFile]:
        """Write a file next to each run, after all sequences of the runs have been added.

        Raises:
            StoreError: Another process is writing assignments of one of the runs.
        """
        self._flush()
        table = pa.concat_tables(self._tables)
        reference, calibration = self._classifier.collection, self._classifier.calibration
        assert isinstance(reference, Reference)
        by = ClassifiedBy(
            build=reference.manifest.build,
            reference=shown_path(reference.folder, self._workspace),
            model=reference.spec.model,
            fingerprint=reference.spec.fingerprint,
            calibrated=None if calibration is None else calibration.created,
            criteria=self._criteria,
            shares=shares_json(self._classifier),
        )
        written = []
        for source in self._runs.sources:
            digests = pa.chunked_array(source.run.load_records(["digest"]).column("digest")).unique()
            written.append(keep(source.run, table.filter(pc.is_in(table.column("digest"), value_set=digests)), by))
        return written
