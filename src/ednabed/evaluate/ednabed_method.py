"""ednabed itself as a method to evaluate: a reference is built from the training records, as a user would build it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ednabed.base.text import clean
from ednabed.base.version import __version__
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError
from ednabed.evaluate.predictions import Classify, Prediction, from_assignment
from ednabed.evaluate.splits import Labelled
from ednabed.models.base import Embedder
from ednabed.reference.build import BuildRequest, build_reference
from ednabed.reference.collection import Collection
from ednabed.reference.opened import Reference, open_reference
from ednabed.search.queries import Query, QueryBatch
from ednabed.sequences.lineage import format_lineage
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import calibrate
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.candidates import read_bases
from ednabed.taxonomy.classify import Classifier
from ednabed.taxonomy.labels import read_row_labels
from ednabed.taxonomy.situations import KNOWN, Shares

log = logging.getLogger("ednabed")

# Number of queries that are embedded and classified at once.
_BATCH_QUERIES = 4_096


@dataclass
class EdnabedMethod:
    """An embedder with ednabed's taxonomic assignment.

    Attributes:
        embedder: The embedder.
        align: Align the candidates to the query; False assigns by vectors alone.
        reference_name: Name of the measured reference, for messages.
        calibrated: Whether there were enough training records for a calibration; set by ``prepare``.
    """

    embedder: Embedder
    align: bool = True
    reference_name: str = "the reference"
    calibrated: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        """Name of the model, and whether vectors alone are compared."""
        model = self.embedder.spec.model
        return f"ednabed {model}" + ("" if self.align else ", vectors only")

    @property
    def settings(self) -> str:
        """Version, model fingerprint and whether it is calibrated."""
        how = "" if self.align else " --no-align"
        learned = "calibrated" if self.calibrated else "fixed identity thresholds"
        return f"ednabed {__version__}: classify{how}, model {self.embedder.spec.fingerprint[:12]}, {learned}"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Embed, consolidate and calibrate the training records in a temporary workspace.

        Raises:
            StoreError: There are too few records to calibrate, and assignment by vectors alone needs a calibration.
        """
        # Windows cannot remove memory-mapped files; they are left to the system's cleanup of temporary files.
        with tempfile.TemporaryDirectory(prefix="ednabed-evaluate-", ignore_cleanup_errors=True) as folder:
            workspace = Path(folder)
            table = workspace / "training.tsv"
            with table.open("w", encoding="utf-8", newline="\n") as file:
                # The column n_records is stored as the number of source records.
                file.write("id\tsequence\tlineage\tmarker\tn_records\n")
                for number, record in enumerate(training):
                    cells = (str(number), record.sequence, format_lineage(record.lineage), clean(record.marker))
                    file.write("\t".join((*cells, str(record.records))) + "\n")
            request = RunRequest(inputs=[table], workspace=workspace, dataset="training", use_counts=False)
            embed_to_run(request, self.embedder, show_progress=False)
            built = build_reference(BuildRequest(workspace))
            reference = open_reference(built.folder)
            calibration = self._calibrate(reference, threads)
            yield _Prepared(Classifier(
                reference, self.embedder, calibration, Criteria(), align=self.align, threads=threads
            ))  # fmt: skip

    def _calibrate(self, reference: Reference, threads: int) -> Calibration | None:
        """Calibrate the training reference; return None if it is too small, as for a user with such a reference."""
        try:
            found = calibrate(reference, self.embedder, threads=threads)
        except StoreError as error:
            reason = f"the part of {self.reference_name} that remains for training is too small to calibrate"
            if not self.align:
                raise StoreError(
                    f"{reason}, and vectors alone cannot be used without calibration; add labelled records"
                ) from error
            log.warning("%s, so %s names by fixed identity thresholds, without confidences", reason, self.name)
            self.calibrated = False
            return None
        self.calibrated = True
        return found


class _Prepared:
    """Classifies queries assuming that half are known species, or as one study."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._engine = Engine(classifier.embedder)

    def __call__(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return predictions for queries whose group shares are those of the evaluation, not of a study."""
        # Without a calibration no share is assumed.
        return self._run(queries, KNOWN if self._classifier.calibration is not None else None)

    @property
    def shares(self) -> dict[str, Shares]:
        """Shares of known species and other situations that the last call used, by marker."""
        return self._classifier.shares

    def together(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return predictions for the queries of one study, whose share of known species is estimated from them."""
        return self._run(queries, None)

    def _run(self, queries: Sequence[tuple[str, str]], known: float | None) -> list[Prediction]:
        self._classifier.criteria = Criteria(known=known)
        batches = (
            _batch(self._engine, queries[first : first + _BATCH_QUERIES])
            for first in range(0, len(queries), _BATCH_QUERIES)
        )
        found = zip(queries, self._classifier.run(batches), strict=True)
        return [from_assignment(one.assignment, len(sequence)) for (_, sequence), one in found]


def _batch(engine: Engine, queries: Sequence[tuple[str, str]]) -> QueryBatch:
    vectors, refused = engine.embed([sequence.encode() for _, sequence in queries])
    embedded = [i for i in range(len(queries)) if i not in refused]
    batch_queries = [
        Query({"id": name, **({"rejected": refused[i]} if i in refused else {})}, sequence=sequence)
        for i, (name, sequence) in enumerate(queries)
    ]
    return QueryBatch(batch_queries, embedded, vectors[np.array(embedded, np.int64)])


def labelled_records(collection: Collection, marker: str | None = None) -> list[Labelled]:
    """Return the labelled records of a collection, one for each distinct sequence and lineage.

    Records without bases are omitted. ``marker`` is the marker of the sequence, and ``records`` the number of its
    records with that lineage.

    Args:
        collection: A reference or runs.
        marker: Return only the records of this marker; None returns all.

    Raises:
        StoreError: No record has a lineage.
    """
    labels = read_row_labels(collection)
    bases = read_bases(collection)
    chosen = labels.labelled & (bases.lengths > 0)
    if marker is not None:
        chosen &= np.array([name.casefold() == marker.casefold() for name in labels.markers])[labels.marker]
    rows = np.flatnonzero(chosen)
    positions = np.asarray(collection.positions[collection.starts[rows]], np.int64)
    ids = collection.take_records(positions, ["id"]).column("id").to_pylist()
    entries, row_index = labels.entries_of(rows)
    counted = zip(labels.entries[entries].tolist(), labels.records[entries].tolist(), row_index.tolist(), strict=True)
    return [
        Labelled(
            str(ids[i]), bases.text(int(rows[i])).decode(), labels.lineages[lineage],
            labels.markers[int(labels.marker[rows[i]])], int(records),
        )
        for lineage, records, i in counted
    ]  # fmt: skip
