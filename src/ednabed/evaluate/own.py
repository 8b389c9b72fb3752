"""ednabed itself as a method under evaluation: the training records become a reference, as a user would make one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ednabed import __version__
from ednabed.engine.embed import Engine
from ednabed.evaluate.predictions import Classify, Prediction, from_assignment
from ednabed.evaluate.splits import Labelled
from ednabed.models.base import Embedder
from ednabed.reference.build import BuildRequest, consolidate
from ednabed.reference.collection import Collection
from ednabed.reference.opened import open_reference
from ednabed.search.queries import Query, QueryBatch
from ednabed.sequences.lineage import format_lineage
from ednabed.store.files import clean
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.taxonomy.assign import Criteria
from ednabed.taxonomy.calibrate import calibrate
from ednabed.taxonomy.candidates import read_letters
from ednabed.taxonomy.classify import Classifier
from ednabed.taxonomy.labels import read_labels

# Queries that are embedded and classified at once.
_AT_ONCE = 4_096


@dataclass(frozen=True)
class Own:
    """An embedder with our assignment.

    Attributes:
        embedder: The embedder.
        use_letters: Compare letters of the candidates; False judges by vectors alone.
    """

    embedder: Embedder
    use_letters: bool = True

    @property
    def name(self) -> str:
        """Name of the model, and whether letters are compared."""
        model = self.embedder.spec.model
        return f"ednabed {model}" + ("" if self.use_letters else ", vectors only")

    @property
    def settings(self) -> str:
        """Version and fingerprint."""
        how = "" if self.use_letters else " --no-align"
        return f"ednabed {__version__}: classify{how}, model {self.embedder.spec.fingerprint[:12]}, calibrated"

    @contextmanager
    def prepare(self, training: Sequence[Labelled], threads: int) -> Iterator[Classify]:
        """Embed, consolidate and calibrate the training records in a folder of their own."""
        # Windows cannot remove files that are mapped into memory, so what is left there is removed with the system's
        # other temporary files.
        with tempfile.TemporaryDirectory(prefix="ednabed-evaluate-", ignore_cleanup_errors=True) as folder:
            workspace = Path(folder)
            table = workspace / "training.tsv"
            with table.open("w", encoding="utf-8", newline="\n") as file:
                file.write("id\tsequence\tlineage\tmarker\n")
                for number, record in enumerate(training):
                    cells = (str(number), record.sequence, format_lineage(record.lineage), clean(record.marker))
                    file.write("\t".join(cells) + "\n")
            request = RunRequest(inputs=[table], workspace=workspace, dataset="training")
            embed_to_run(request, self.embedder, show_progress=False)
            built = consolidate(BuildRequest(workspace))
            reference = open_reference(built.folder)
            calibration = calibrate(reference, self.embedder, threads=threads)
            classifier = Classifier(
                reference, self.embedder, calibration, Criteria(), use_letters=self.use_letters, threads=threads
            )
            engine = Engine(self.embedder)

            def classify(queries: Sequence[tuple[str, str]]) -> list[Prediction]:
                batches = (
                    _batch(engine, queries[first : first + _AT_ONCE]) for first in range(0, len(queries), _AT_ONCE)
                )
                found = zip(queries, classifier.run(batches), strict=True)
                return [from_assignment(one.assignment, len(sequence)) for (_, sequence), one in found]

            yield classify


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

    The marker is that of the sequence.

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
    return [
        Labelled(
            str(ids[p]), letters.text(int(rows[p])).decode(), labels.lineages[lineage],
            labels.markers[int(labels.marker[rows[p]])],
        )
        for lineage, p in zip(labels.entries[entries].tolist(), place.tolist(), strict=True)
    ]  # fmt: skip
