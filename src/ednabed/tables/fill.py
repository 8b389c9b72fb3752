"""Fill in the vectors of a LanceDB table exactly once, regardless of interruptions and other writers.

Pending rows are read from the table itself (``pending``) until a scan finds none; vectors are written back in
merges of thousands of rows. Between merges, the results of slow models are kept in a journal on this machine.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ednabed.base.arrays import FloatArray
from ednabed.engine.embed import Engine
from ednabed.engine.progress import progress_bar
from ednabed.errors import StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.sequences import normalise, raw_records
from ednabed.store.checkpoint import write_checkpoint
from ednabed.store.journal import VectorJournal, digest_bytes
from ednabed.tables.journals import open_journal
from ednabed.tables.pending import PendingRows, Results, Rows
from ednabed.tables.prepare import add_columns, check_table, make_room
from ednabed.tables.provenance import check_functions
from ednabed.tables.table import TABLE, Table

log = logging.getLogger("ednabed")

# A merge scans the ids of the entire table, so merges are few and large; the journal protects the work in between.
MERGE_ROWS = 10_000
MIN_LENGTH = 20
"""Default minimum sequence length for a table, in bases."""
_MERGE_BYTES = 256_000_000
_MERGE_SECONDS = 600.0
_JOURNAL_SECONDS = 10.0
# Size of the cache of vectors for sequences that recur further down the table.
_RECENT_BYTES = 256_000_000
# Maximum passes over the table. The first fills the existing rows, the others the rows added meanwhile; with a writer
# that never stops, there would be no last pass.
_PASSES = 20
# Maximum consecutive passes in which no row accepts a vector because other programs have changed every row meanwhile.
_FRUITLESS = 5


@dataclass
class EmbedStats:
    """Outcome of ``embed_table``.

    Attributes:
        rows: Rows in the table at the start.
        pending: Rows that were pending at the start.
        embedded: Rows that got a vector.
        rejected: Rows that were marked as rejected.
        computed: Distinct sequences computed.
        taken_up: Sequences whose vector was reused from an interrupted attempt.
        left: Rows still pending at the end, because ``max_sequences`` was reached or other programs keep adding rows.
        seconds: Wall time.
        model: Name of the model.
        fingerprint: Fingerprint of the function.
        device: Device that computed the vectors.
        precision: Precision of the computation.
    """

    rows: int
    pending: int
    model: str
    fingerprint: str
    device: str
    precision: str
    embedded: int = 0
    rejected: int = 0
    computed: int = 0
    taken_up: int = 0
    left: int = 0
    seconds: float = 0.0


def embed_table(
    table: Table,
    embedder: Embedder,
    workspace: Path,
    *,
    batch_size: int | None = None,
    max_sequences: int | None = None,
    min_length: int = MIN_LENGTH,
    resume: bool = True,
    show_progress: bool | None = None,
) -> EmbedStats:
    """Compute the vectors of all pending rows of the table.

    A vector column of another dimension in which every row is pending is replaced, with a warning.

    Args:
        table: The table and its vector column, which is added if it is missing.
        embedder: The function.
        workspace: Folder for the checkpoint file and unfinished work.
        batch_size: Maximum sequences per batch; None applies only the token budget.
        max_sequences: Maximum rows to embed in this call; None embeds all.
        min_length: Minimum sequence length, in bases.
        resume: False also replaces vectors computed by another function.
        show_progress: True, False, or None to show progress only on a terminal.

    Raises:
        UsageError: ``max_sequences`` is not positive.
        StoreError: The ids of the table are not unique, its vector column contains vectors of another dimension, or
            vectors of another or unknown function and ``resume`` is True.
        EmbeddingError: The encoder failed on the record it names; vectors merged before are kept.
    """
    if max_sequences is not None and max_sequences < 1:
        raise UsageError(f"`max_sequences` is {max_sequences}; it must be at least 1")
    job = _Job(table, embedder, workspace, batch_size, min_length, resume)
    return job.run(max_sequences, show_progress)


class _Job:
    """The work of one command on one table."""

    def __init__(
        self,
        table: Table,
        embedder: Embedder,
        workspace: Path,
        batch_size: int | None,
        min_length: int,
        resume: bool,
    ) -> None:
        self.table = table
        self.embedder = embedder
        self.workspace = workspace
        self.engine = Engine(embedder, batch_size)
        self.min_length = min_length
        self.resume = resume
        self.fingerprint = embedder.spec.fingerprint
        self.rows = PendingRows(table, self.fingerprint, embedder.spec.dimension, resume)
        self.waiting = Results()
        self.merged_at = time.monotonic()
        self.computed_before_merge = 0
        self.recent: dict[bytes, FloatArray] = {}

    def run(self, max_sequences: int | None, show_progress: bool | None) -> EmbedStats:
        started = time.monotonic()
        table, spec, encoder = self.table, self.embedder.spec, self.embedder.encoder
        # Since it was opened, other programs may have written to it.
        table.refresh()
        # Replacing only some of the rows would leave vectors of two functions in one column.
        check_table(table, spec, resume=self.resume or max_sequences is not None)
        make_room(table, spec)
        add_columns(table, spec)
        pending = self.rows.count()
        stats = EmbedStats(table.count(), pending, spec.model, self.fingerprint, encoder.device, encoder.precision)
        goal = pending if max_sequences is None else min(pending, max_sequences)
        merge_rows = int(np.clip(goal // 4, MERGE_ROWS, max(MERGE_ROWS, _MERGE_BYTES // (4 * spec.dimension))))
        room = max_sequences
        passes = fruitless = 0
        opened = open_journal(self.workspace, table, self.embedder, _JOURNAL_SECONDS)
        with opened as journal, progress_bar(goal, show=show_progress) as bar:
            carried = _carried(journal)
            while room != 0 and passes < _PASSES:
                passes += 1
                before = stats.embedded + stats.rejected
                seen = 0
                for window in self.rows.windows(MERGE_ROWS):
                    window = window.first(room)
                    seen += len(window.ids)
                    room = None if room is None else room - len(window.ids)
                    self._compute(window, journal, carried, stats, bar)
                    if len(self.waiting) >= merge_rows or self._merge_is_due():
                        self._merge(journal, carried, stats)
                    if room == 0:
                        break
                self._merge(journal, carried, stats)
                if not seen:
                    for window in self.rows.windows(MERGE_ROWS, rejected=True):
                        self._compute(window, journal, carried, stats, bar)
                    self._merge(journal, carried, stats)
                    # Vectors that an interrupted attempt left for deleted rows are of no use.
                    journal.reset()
                    break
                fruitless = fruitless + 1 if stats.embedded + stats.rejected == before else 0
                if fruitless == _FRUITLESS:
                    raise StoreError(
                        f"{table.label}: {seen} pending rows did not accept a vector, "
                        "because another program keeps changing their sequences; run the command again when it has "
                        "finished"
                    )
                table.refresh()
        table.refresh()
        if room == 0 or passes == _PASSES:
            stats.left = self.rows.count()
        if self.resume:
            # Another function may have written to the same column meanwhile.
            check_functions(table, spec)
        if stats.embedded or stats.rejected:
            try:
                table.optimize()
            except StoreError as error:
                # Another writer was using the same files; every vector is in the table nevertheless.
                log.warning("all vectors are in the table, but its compaction is left to the next command (%s)", error)
        stats.seconds = time.monotonic() - started
        return stats

    def _compute(
        self,
        window: Rows,
        journal: VectorJournal,
        carried: dict[bytes, FloatArray],
        stats: EmbedStats,
        bar: Any,
    ) -> None:
        """Embed one window of rows and add the results to ``waiting``."""
        ids, sequences = window.ids, window.sequences
        accepted, refused = normalise(
            raw_records(ids, sequences, TABLE), alphabet=self.embedder.spec.alphabet, min_length=self.min_length
        )
        reasons = dict(zip(refused.column("record").to_pylist(), refused.column("reason").to_pylist(), strict=True))
        positions = accepted.column("record").to_numpy()
        number: dict[bytes, int] = {}
        digests = [digest_bytes(d) for d in accepted.column("digest").to_pylist()]
        number_of_row = np.fromiter((number.setdefault(d, len(number)) for d in digests), np.int64, len(digests))
        distinct = list(number)
        first_row = np.unique(number_of_row, return_index=True)[1]
        vectors = np.zeros((len(distinct), self.embedder.spec.dimension), np.float32)
        todo = []
        for i, digest in enumerate(distinct):
            kept = carried.pop(digest, None)
            if kept is not None:
                stats.taken_up += 1
            else:
                kept = self.recent.get(digest)
            if kept is None:
                todo.append(i)
            else:
                vectors[i] = kept
        normalised = accepted.column("sequence")
        row_ids = accepted.column("id")
        todo_rows = first_row[todo] if todo else np.empty(0, np.int64)
        unusable, batches = self.engine.stream(
            [normalised[int(r)].as_py().encode() for r in todo_rows], [row_ids[int(r)].as_py() for r in todo_rows]
        )
        todo_numbers = np.array(todo, np.int64)
        for batch in batches:
            batch_numbers = todo_numbers[batch.index]
            vectors[batch_numbers] = batch.vectors
            journal.append([distinct[i] for i in batch_numbers.tolist()], batch.vectors, batch.truncated)
            stats.computed += len(batch_numbers)
            if len(batch_numbers) and journal.is_flushed:
                # Vectors on the disk survive a kill, so the checkpoint may count them.
                done = stats.embedded + stats.computed - self.computed_before_merge
                self._write_checkpoint(row_ids[int(todo_rows[batch.index[-1]])].as_py(), done, stats.model)
            bar.update(len(batch_numbers))
        refused_numbers = {int(todo_numbers[i]): reason for i, reason in unusable.items()}
        self._remember(distinct, vectors, refused_numbers)
        reasons |= {
            int(p): refused_numbers[n]
            for p, n in zip(positions, number_of_row.tolist(), strict=True)
            if n in refused_numbers
        }
        bar.update(len(ids) - (len(todo) - len(unusable)))
        self.waiting.add(window, positions, number_of_row, vectors, reasons)

    def _remember(self, digests: list[bytes], vectors: FloatArray, refused: dict[int, str]) -> None:
        self.recent.update((d, vectors[i]) for i, d in enumerate(digests) if i not in refused)
        while len(self.recent) * 4 * vectors.shape[1] > _RECENT_BYTES:
            del self.recent[next(iter(self.recent))]

    def _write_checkpoint(self, last_id: str, total: int, model: str) -> None:
        try:
            write_checkpoint(self.workspace, last_id=last_id, total=total, model=model)
        except OSError as error:
            # The file is for information only; the vectors are in the table or the journal.
            log.warning("the checkpoint file could not be written (%s); nothing else depends on it", error)

    def _merge_is_due(self) -> bool:
        return len(self.waiting) >= MERGE_ROWS and time.monotonic() - self.merged_at >= _MERGE_SECONDS

    def _merge(self, journal: VectorJournal, carried: dict[bytes, FloatArray], stats: EmbedStats) -> None:
        """Write the waiting results to the table, then reset the journal."""
        waiting = self.waiting
        if waiting.ids:
            stats.embedded += self.rows.write_vectors(waiting)
            self._write_checkpoint(waiting.ids[-1], stats.embedded, stats.model)
        if waiting.refused_ids:
            stats.rejected += self.rows.write_rejections(waiting)
        if len(waiting):
            self.computed_before_merge = stats.computed
            self.waiting = Results()
            self.merged_at = time.monotonic()
            journal.reset()
            if carried:
                journal.append(list(carried), np.stack(list(carried.values())), np.zeros(len(carried), bool))
                journal.flush()


def _carried(journal: VectorJournal) -> dict[bytes, FloatArray]:
    """Return the vectors left by an interrupted attempt, by digest."""
    digests, _ = journal.entries()
    return dict(zip(digests, journal.read(np.arange(len(digests))), strict=True))
