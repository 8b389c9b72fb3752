"""ednabed itself as a method under evaluation: the training records become a reference, as a user would make one."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ednabed import __version__
from ednabed.engine.embed import Engine
from ednabed.errors import StoreError
from ednabed.evaluate.predictions import Classify, Prediction, from_assignment
from ednabed.evaluate.splits import Labelled
from ednabed.models.base import Embedder
from ednabed.reference.build import BuildRequest, consolidate
from ednabed.reference.collection import Collection
from ednabed.reference.opened import Reference, open_reference
from ednabed.search.queries import Query, QueryBatch
from ednabed.sequences.lineage import format_lineage
from ednabed.store.files import clean
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import calibrate
from ednabed.taxonomy.calibration import Calibration
from ednabed.taxonomy.candidates import read_letters
from ednabed.taxonomy.classify import Classifier
from ednabed.taxonomy.labels import read_labels
from ednabed.taxonomy.situations import KNOWN, Shares

log = logging.getLogger("ednabed")

# Queries that are embedded and classified at once.
_AT_ONCE = 4_096


@dataclass
class Own:
    """An embedder with our assignment.

    Attributes:
        embedder: The embedder.
        use_letters: Compare letters of the candidates; False judges by vectors alone.
        of: Name of the reference that is measured, for messages.
        calibrated: Whether its training records sufficed for a calibration; known when it is prepared.
    """

    embedder: Embedder
    use_letters: bool = True
    of: str = "the reference"
    calibrated: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        """Name of the model, and whether letters are compared."""
        model = self.embedder.spec.model
        return f"ednabed {model}" + ("" if self.use_letters else ", vectors only")

    @property
    def settings(self) -> str:
        """Version and fingerprint."""
        how = "" if self.use_letters else " --no-align"
        learned = "calibrated" if self.calibrated else "fixed limits of identity"
        return f"ednabed {__version__}: classify{how}, model {self.embedder.spec.fingerprint[:12]}, {learned}"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Embed, consolidate and calibrate the training records in a folder of their own.

        Raises:
            StoreError: They are too few to calibrate, and vectors alone are to judge.
        """
        # Windows cannot remove files that are mapped into memory, so what is left there is removed with the system's
        # other temporary files.
        with tempfile.TemporaryDirectory(prefix="ednabed-evaluate-", ignore_cleanup_errors=True) as folder:
            workspace = Path(folder)
            table = workspace / "training.tsv"
            with table.open("w", encoding="utf-8", newline="\n") as file:
                # A column that is kept as the number of source records.
                file.write("id\tsequence\tlineage\tmarker\tn_records\n")
                for number, record in enumerate(training):
                    cells = (str(number), record.sequence, format_lineage(record.lineage), clean(record.marker))
                    file.write("\t".join((*cells, str(record.records))) + "\n")
            request = RunRequest(inputs=[table], workspace=workspace, dataset="training", use_counts=False)
            embed_to_run(request, self.embedder, show_progress=False)
            built = consolidate(BuildRequest(workspace))
            reference = open_reference(built.folder)
            calibration = self._calibrate(reference, threads)
            yield _Prepared(Classifier(
                reference, self.embedder, calibration, Criteria(), use_letters=self.use_letters, threads=threads
            ))  # fmt: skip

    def _calibrate(self, reference: Reference, threads: int) -> Calibration | None:
        """Calibrate what training records became; None where that cannot be, as for a user with such a reference."""
        try:
            found = calibrate(reference, self.embedder, threads=threads)
        except StoreError as error:
            what = f"what is left of {self.of} for training is too small to calibrate"
            if not self.use_letters:
                raise StoreError(f"{what}, and vectors alone cannot judge without; add labelled records") from error
            log.warning("%s, so %s names by fixed limits of identity, without confidences", what, self.name)
            self.calibrated = False
            return None
        self.calibrated = True
        return found


class _Prepared:
    """Classifies queries of which half are supposed to be of known species, or as one study."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._engine = Engine(classifier.embedder)

    def __call__(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return what queries are whose shares are those of the evaluation, not of a study."""
        # Without a calibration there is nothing to suppose.
        return self._run(queries, KNOWN if self._classifier.calibration is not None else None)

    @property
    def shares(self) -> dict[str, Shares]:
        """How common known species and others were taken to be in the last call, by marker."""
        return self._classifier.shares

    def together(self, queries: Sequence[tuple[str, str]], /) -> list[Prediction]:
        """Return what the queries of one study are: how many are of known species is estimated from them."""
        return self._run(queries, None)

    def _run(self, queries: Sequence[tuple[str, str]], known: float | None) -> list[Prediction]:
        self._classifier.criteria = Criteria(known=known)
        batches = (
            _batch(self._engine, queries[first : first + _AT_ONCE]) for first in range(0, len(queries), _AT_ONCE)
        )
        found = zip(queries, self._classifier.run(batches), strict=True)
        return [from_assignment(one.assignment, len(sequence)) for (_, sequence), one in found]


def _batch(engine: Engine, queries: Sequence[tuple[str, str]]) -> QueryBatch:
    vectors, refused = engine.embed([sequence.encode() for _, sequence in queries])
    places = [i for i in range(len(queries)) if i not in refused]
    asked = [
        Query({"id": name, **({"rejected": refused[i]} if i in refused else {})}, sequence=sequence)
        for i, (name, sequence) in enumerate(queries)
    ]
    return QueryBatch(asked, places, vectors[np.array(places, np.int64)])


def labelled_records(collection: Collection, marker: str | None = None) -> list[Labelled]:
    """Return what a collection knows, one record for each distinct sequence and lineage; letters are known of all.

    The marker is that of the sequence; ``records`` is the number of its records with that lineage.

    Args:
        collection: A reference or runs.
        marker: Take the records of this marker only; None takes all.

    Raises:
        StoreError: No record has a lineage.
    """
    labels = read_labels(collection)
    letters = read_letters(collection)
    chosen = labels.labelled & (letters.lengths > 0)
    if marker is not None:
        chosen &= np.array([name.casefold() == marker.casefold() for name in labels.markers])[labels.marker]
    rows = np.flatnonzero(chosen)
    positions = np.asarray(collection.positions[collection.starts[rows]], np.int64)
    ids = collection.take_records(positions, ["id"]).column("id").to_pylist()
    entries, place = labels.entries_of(rows)
    counted = zip(labels.entries[entries].tolist(), labels.records[entries].tolist(), place.tolist(), strict=True)
    return [
        Labelled(
            str(ids[p]), letters.text(int(rows[p])).decode(), labels.lineages[lineage],
            labels.markers[int(labels.marker[rows[p]])], int(records),
        )
        for lineage, records, p in counted
    ]  # fmt: skip
